//! The one wording of tools: what a model is told of them, how its calls are written, what it reads as their results.
//!
//! All of it is text of ordinary turns, in the notation that the model's family was trained on. So every chat template serves,
//! what stands in a tool's description never becomes a special token, and what is learnt from data is what a service asks
//! for later. Left out on purpose: reading calls back out of an answer, which those do who know which tools were offered.

use crate::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// What stands before a call in the tagged style.
    pub const OPEN: &str = "<tool_call>";
    /// What stands behind it.
    pub const CLOSE: &str = "</tool_call>";

    /// By the words of the chat template.
    pub fn of_template(template: &str) -> ToolStyle {
        let bare = ["<|python_tag|>", "<|start_header_id|>", "<start_of_turn>"];
        match !template.contains(ToolStyle::OPEN) && bare.iter().any(|word| template.contains(word)) {
            true => ToolStyle::Bare,
            false => ToolStyle::Tagged,
        }
    }

    /// What the arguments of a call are called.
    pub fn arguments(self) -> &'static str {
        match self {
            ToolStyle::Tagged => "arguments",
            ToolStyle::Bare => "parameters",
        }
    }

    /// A call as the model writes it.
    pub fn call(self, name: &str, arguments: &Value) -> String {
        let object = json!({ "name": name, self.arguments(): arguments });
        match self {
            ToolStyle::Tagged => format!("{}\n{object}\n{}", ToolStyle::OPEN, ToolStyle::CLOSE),
            ToolStyle::Bare => object.to_string(),
        }
    }

    /// A tool's result as the model reads it.
    pub fn result(self, content: &str) -> String {
        match self {
            ToolStyle::Tagged => format!("<tool_response>\n{content}\n</tool_response>"),
            ToolStyle::Bare => content.to_string(),
        }
    }

    /// A tool as JSON on one line, one of those that [`ToolStyle::offer`] takes; `parameters` is the JSON schema of its arguments,
    /// otherwise it has none.
    pub fn tool(name: &str, description: Option<&str>, parameters: Option<&Value>) -> String {
        let nothing = json!({ "type": "object", "properties": {} });
        let mut function = json!({ "name": name, "parameters": parameters.unwrap_or(&nothing) });
        if let Some(description) = description {
            function["description"] = description.into();
        }
        json!({ "type": "function", "function": function }).to_string()
    }

    /// Puts what the model is told of its tools into the system turn, behind what stands there.
    pub fn offer(self, tools: &[String], messages: &mut Vec<Message>) {
        if tools.is_empty() {
            return;
        }
        let (list, open, close) = (tools.join("\n"), ToolStyle::OPEN, ToolStyle::CLOSE);
        let offer = match self {
            ToolStyle::Tagged => format!(
                "# Tools\n\nThese functions can help with the question; they are described within <tools></tools>:\n\
                 <tools>\n{list}\n</tools>\n\nTo call a function, write a JSON object with its name and its arguments within \
                 {open}{close}, once for each call:\n{open}\n{{\"name\": <function-name>, \"arguments\": \
                 <arguments-as-JSON-object>}}\n{close}"
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_follow_templates() {
        for (template, style) in [
            ("<|im_start|>", ToolStyle::Tagged),
            ("<start_of_turn>", ToolStyle::Bare),
            ("<|start_header_id|>", ToolStyle::Bare),
            ("<|im_start|> <tool_call>", ToolStyle::Tagged),
            ("<start_of_turn> <tool_call>", ToolStyle::Tagged),
            ("Q: A:", ToolStyle::Tagged),
        ] {
            assert_eq!(ToolStyle::of_template(template), style, "{template}");
        }
    }

    #[test]
    fn the_offer_stands_behind_the_system_text() {
        let tools = [ToolStyle::tool("f", Some("d"), None)];
        for style in [ToolStyle::Tagged, ToolStyle::Bare] {
            let mut messages = vec![Message::new("system", "Be brief."), Message::new("user", "q")];
            style.offer(&tools, &mut messages);
            assert!(
                messages[0].content.starts_with("Be brief.\n\n") && messages[0].content.contains(&tools[0])
            );
            assert!(messages[0].content.contains(&format!("\"{}\": <arguments", style.arguments())));
            let mut alone = vec![Message::new("user", "q")];
            style.offer(&[], &mut alone);
            assert_eq!(alone.len(), 1);
            style.offer(&tools, &mut alone);
            assert_eq!(alone.iter().map(|m| m.role.as_str()).collect::<Vec<_>>(), ["system", "user"]);
        }
        let call = ToolStyle::Tagged.call("f", &json!({ "x": 1 }));
        assert_eq!(call, "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"x\":1}}\n</tool_call>");
        assert_eq!(ToolStyle::Bare.call("f", &json!({})), "{\"name\":\"f\",\"parameters\":{}}");
    }
}
