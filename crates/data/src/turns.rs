//! Conversations: OpenAI messages, ShareGPT turns, Alpaca history.

use nurture_text::Message;
use serde_json::{Map, Value};

use crate::convert::{bad_field, missing_answer, scalar};
use crate::error::RowProblem;
use crate::mapping::SchemaKind;

/// Reads the turns of `field` onto `messages`. At least one turn must be the assistant's.
pub(crate) fn read(
    row: &Map<String, Value>,
    field: &str,
    kind: SchemaKind,
    messages: &mut Vec<Message>,
) -> Result<(), RowProblem> {
    let turns = match row.get(field) {
        Some(Value::Array(turns)) if !turns.is_empty() => turns,
        None | Some(Value::Null | Value::Array(_)) => {
            return Err(RowProblem::MissingInput { field: field.to_string() });
        }
        Some(_) => return Err(bad_field(field, "is not a list of turns")),
    };
    let (role_key, content_key) = match kind {
        SchemaKind::Sharegpt => ("from", "value"),
        _ => ("role", "content"),
    };
    let mut answered = false;
    for (at, turn) in turns.iter().enumerate() {
        let wrong = |problem: String| bad_field(field, format!("turn {}: {problem}", at + 1));
        let Value::Object(turn) = turn else { return Err(wrong("is not an object".into())) };
        let Some(role) = turn.get(role_key).and_then(Value::as_str) else {
            return Err(wrong(format!("has no text \"{role_key}\"")));
        };
        let role = standard_role(role).ok_or_else(|| {
            wrong(format!(
                "the role \"{role}\" is none of system, user, assistant, tool (or human, gpt, ...)"
            ))
        })?;
        if turn
            .get("tool_calls")
            .is_some_and(|calls| !calls.is_null() && calls.as_array().is_none_or(|c| !c.is_empty()))
        {
            return Err(wrong("has tool_calls beside its content, which are not read yet".into()));
        }
        let content = content(turn.get(content_key))
            .map_err(|problem| wrong(format!("\"{content_key}\" {problem}")))?;
        if role == "assistant" {
            if content.trim().is_empty() {
                return Err(missing_answer(&format!("{field}, turn {}", at + 1)));
            }
            answered = true;
        }
        if role == "system" && at == 0 {
            // The conversation's own system turn stands for the row's system field.
            messages.clear();
        }
        messages.push(Message::new(role, content));
    }
    if answered { Ok(()) } else { Err(missing_answer(&format!("{field}: no assistant turn"))) }
}

/// The role in OpenAI's words.
pub(crate) fn standard_role(role: &str) -> Option<&'static str> {
    Some(match role.trim().to_ascii_lowercase().as_str() {
        "system" | "developer" => "system",
        "user" | "human" => "user",
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" | "function_call" => "assistant",
        "tool" | "function" | "observation" | "tool_response" => "tool",
        _ => return None,
    })
}

/// A text, or a list of text parts. The error ends a sentence that begins with the name of the field.
pub(crate) fn content(value: Option<&Value>) -> Result<String, &'static str> {
    match value {
        None | Some(Value::Null) => Err("is missing"),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for part in parts {
                let written = part.get("text").or_else(|| part.get("value")).and_then(Value::as_str);
                match (part.get("type").and_then(Value::as_str), written) {
                    (Some("text") | None, Some(written)) => text.push_str(written),
                    _ => return Err("has a part that is not text, which is not read yet"),
                }
            }
            Ok(text)
        }
        Some(_) => Err("is not a text"),
    }
}

/// Reads a list of [question, answer] pairs; null and an empty list are no history.
pub(crate) fn read_history(
    row: &Map<String, Value>,
    field: &str,
    messages: &mut Vec<Message>,
) -> Result<(), RowProblem> {
    let pairs = match row.get(field) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(pairs)) => pairs,
        Some(_) => return Err(bad_field(field, "is not a list of [question, answer] pairs")),
    };
    for pair in pairs {
        let texts: Option<Vec<String>> = pair.as_array().and_then(|p| p.iter().map(scalar).collect());
        let Some([question, answer]) = texts.as_deref() else {
            return Err(bad_field(field, "is not a list of [question, answer] pairs"));
        };
        messages.push(Message::new("user", question.as_str()));
        messages.push(Message::new("assistant", answer.as_str()));
    }
    Ok(())
}
