//! Tools in conversations: what the model is told of them, how its calls are written, and what it reads as their results.
//!
//! All of it is text of ordinary turns, in the notation that the model's family was trained on, exactly as the service
//! writes it for a request with tools: so every chat template serves, and what is learnt is what is asked for later.

use nurture_text::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// How a family of models writes calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStyle {
    /// `<tool_call>` around JSON with `name` and `arguments`: SmolLM2, Qwen, Hermes.
    #[default]
    Tagged,
    /// JSON with `name` and `parameters` as the whole answer: Llama 3, Gemma.
    Bare,
}

impl ToolStyle {
    /// By the words of the chat template.
    pub fn of_template(template: &str) -> ToolStyle {
        let bare = ["<|python_tag|>", "<|start_header_id|>", "<start_of_turn>"];
        match !template.contains(OPEN) && bare.iter().any(|word| template.contains(word)) {
            true => ToolStyle::Bare,
            false => ToolStyle::Tagged,
        }
    }

    fn arguments(self) -> &'static str {
        match self {
            ToolStyle::Tagged => "arguments",
            ToolStyle::Bare => "parameters",
        }
    }

    /// The calls of a turn as the model writes them: an object with `name` and `arguments` (or `parameters`; as an object
    /// or as its JSON text), or a list of such, perhaps within `function`.
    pub(crate) fn calls(self, value: &Value) -> Result<String, &'static str> {
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let calls: Result<Vec<String>, _> = list.iter().map(|call| self.call(call)).collect();
        Ok(calls?.join("\n"))
    }

    fn call(self, value: &Value) -> Result<String, &'static str> {
        let call = value.get("function").filter(|f| f.is_object()).unwrap_or(value);
        let Some(name) = call.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return Err("is a call without the name of its function");
        };
        let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
            None | Some(Value::Null) => json!({}),
            Some(Value::String(text)) if text.trim().is_empty() => json!({}),
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
            Some(other) => other.clone(),
        };
        if !arguments.is_object() {
            return Err("is a call whose arguments are no JSON object");
        }
        let object = json!({ "name": name, self.arguments(): arguments });
        Ok(match self {
            ToolStyle::Tagged => format!("{OPEN}\n{object}\n{CLOSE}"),
            ToolStyle::Bare => object.to_string(),
        })
    }

    /// A tool's result as the model reads it.
    pub(crate) fn result(self, content: &str) -> String {
        match self {
            ToolStyle::Tagged => format!("<tool_response>\n{content}\n</tool_response>"),
            ToolStyle::Bare => content.to_string(),
        }
    }

    /// Puts what the row's tools are into the system turn.
    pub(crate) fn offer(
        self,
        row: &Map<String, Value>,
        field: &str,
        messages: &mut Vec<Message>,
    ) -> Result<(), &'static str> {
        let parsed;
        let tools = match row.get(field) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(()),
            Some(Value::String(text)) => {
                parsed = serde_json::from_str::<Value>(text).map_err(|_| "is no JSON list of tools")?;
                &parsed
            }
            Some(value) => value,
        };
        let Value::Array(tools) = tools else { return Err("is no list of tools") };
        if tools.is_empty() {
            return Ok(());
        }
        let list: Result<Vec<String>, _> = tools.iter().map(tool).collect();
        let list = list?.join("\n");
        let offer = match self {
            ToolStyle::Tagged => format!(
                "# Tools\n\nThese functions can help with the question; they are described within <tools></tools>:\n\
                 <tools>\n{list}\n</tools>\n\nTo call a function, write a JSON object with its name and its arguments within \
                 {OPEN}{CLOSE}, once for each call:\n{OPEN}\n{{\"name\": <function-name>, \"arguments\": \
                 <arguments-as-JSON-object>}}\n{CLOSE}"
            ),
            ToolStyle::Bare => format!(
                "These functions can help with the question:\n{list}\n\nTo call a function, answer with nothing but a JSON \
                 object of this form: {{\"name\": <function-name>, \"parameters\": <arguments-as-JSON-object>}}. \
                 Otherwise answer in words."
            ),
        };
        match messages.first_mut().filter(|m| m.role == "system") {
            Some(system) => system.content = format!("{}\n\n{offer}", system.content),
            None => messages.insert(0, Message::new("system", offer)),
        }
        Ok(())
    }
}

/// A tool as JSON on one line, whichever of the usual shapes it comes in.
fn tool(value: &Value) -> Result<String, &'static str> {
    let parsed;
    let value = match value {
        Value::String(text) => {
            parsed = serde_json::from_str::<Value>(text).map_err(|_| "has a tool that is no JSON object")?;
            &parsed
        }
        value => value,
    };
    let tool = value.get("function").filter(|f| f.is_object()).unwrap_or(value);
    let Some(name) = tool.get("name").and_then(Value::as_str) else {
        return Err("has a tool without a name");
    };
    let schema = tool.get("parameters").or_else(|| tool.get("input_schema")).filter(|s| !s.is_null());
    let nothing = json!({ "type": "object", "properties": {} });
    let mut function = json!({ "name": name, "parameters": schema.unwrap_or(&nothing) });
    if let Some(description) = tool.get("description").and_then(Value::as_str) {
        function["description"] = description.into();
    }
    Ok(json!({ "type": "function", "function": function }).to_string())
}
