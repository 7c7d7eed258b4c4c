//! Tools in the rows of a data file: their lists and calls, in the shapes in which they come, become the one wording of
//! [`ToolStyle`], which is also that of the service.

use nurture_text::{Message, ToolStyle};
use serde_json::{Map, Value, json};

/// The calls of a turn as the model writes them: an object with `name` and `arguments` (or `parameters`; as an object
/// or as its JSON text), or a list of such, perhaps within `function`.
pub(crate) fn calls(style: ToolStyle, value: &Value) -> Result<String, &'static str> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let calls: Result<Vec<String>, _> = list.iter().map(|one| call(style, one)).collect();
    Ok(calls?.join("\n"))
}

fn call(style: ToolStyle, value: &Value) -> Result<String, &'static str> {
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
    Ok(style.call(name, &arguments))
}

/// Puts what the row's tools are into the system turn.
pub(crate) fn offer(
    style: ToolStyle,
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
    let list: Result<Vec<String>, _> = tools.iter().map(tool).collect();
    style.offer(&list?, messages);
    Ok(())
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
    let description = tool.get("description").and_then(Value::as_str);
    Ok(ToolStyle::tool(name, description, schema))
}
