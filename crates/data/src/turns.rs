//! Conversations: OpenAI messages, ShareGPT turns, Alpaca history.

use nurture_text::{Message, ToolStyle};
use serde_json::{Map, Value};

use crate::convert::{bad_field, missing_answer, scalar};
use crate::error::RowProblem;
use crate::mapping::{SchemaKind, Tags};
use crate::tools;

/// How the turns of a file are written.
pub(crate) struct Turns<'a> {
    /// The column.
    pub(crate) field: &'a str,
    /// OpenAI's or ShareGPT's words.
    pub(crate) kind: SchemaKind,
    /// Words of its own.
    pub(crate) tags: Option<&'a Tags>,
    /// How calls of tools are written for the model.
    pub(crate) style: ToolStyle,
}

/// Who speaks.
enum Speaker {
    Said(&'static str),
    /// The assistant, and its words are calls as JSON.
    Calls,
    /// A tool, with what it gave.
    Result,
}

impl Turns<'_> {
    /// Reads the turns onto `messages`. At least one turn must be the assistant's.
    pub(crate) fn read(
        &self,
        row: &Map<String, Value>,
        messages: &mut Vec<Message>,
    ) -> Result<(), RowProblem> {
        let field = self.field;
        let turns = match row.get(field) {
            Some(Value::Array(turns)) if !turns.is_empty() => turns,
            None | Some(Value::Null | Value::Array(_)) => {
                return Err(RowProblem::MissingInput { field: field.to_string() });
            }
            Some(_) => return Err(bad_field(field, "is not a list of turns")),
        };
        let (role_key, content_key) = match (self.tags, self.kind) {
            (Some(tags), _) => (tags.role.as_str(), tags.content.as_str()),
            (None, SchemaKind::Sharegpt) => ("from", "value"),
            (None, _) => ("role", "content"),
        };
        let mut answered = false;
        let mut results = false;
        for (at, turn) in turns.iter().enumerate() {
            let wrong = |problem: String| bad_field(field, format!("turn {}: {problem}", at + 1));
            let Value::Object(turn) = turn else { return Err(wrong("is not an object".into())) };
            let Some(role) = turn.get(role_key).and_then(Value::as_str) else {
                return Err(wrong(format!("has no text \"{role_key}\"")));
            };
            let speaker = self.speaker(role).ok_or_else(|| {
                wrong(format!(
                    "the role \"{role}\" is none of system, user, assistant, tool (or human, gpt, ...)"
                ))
            })?;
            if let Some(key) = unlearnt(turn) {
                return Err(wrong(format!(
                    "\"{key}\" keeps a single turn from being learnt, which is not possible here; cut the conversation \
                     before it, or take the key out"
                )));
            }
            let calls = ["tool_calls", "function_call"].into_iter().find_map(|key| {
                turn.get(key).filter(|v| !v.is_null() && v.as_array().is_none_or(|list| !list.is_empty()))
            });
            let content = match turn.get(content_key) {
                None | Some(Value::Null) if calls.is_some() => String::new(),
                value => content(value).map_err(|problem| wrong(format!("\"{content_key}\" {problem}")))?,
            };
            let spelled =
                |calls: &Value| tools::calls(self.style, calls).map_err(|problem| wrong(problem.to_string()));
            let (role, content) = match speaker {
                Speaker::Calls => {
                    let calls = serde_json::from_str(&content).map_err(|_| {
                        wrong(format!("\"{content_key}\" is no JSON of a call with name and arguments"))
                    })?;
                    ("assistant", spelled(&calls)?)
                }
                Speaker::Result => {
                    let text = self.style.result(&content);
                    // results of parallel calls are one turn: many templates want turns to alternate
                    match messages.last_mut().filter(|_| results) {
                        Some(last) => last.content = format!("{}\n{text}", last.content),
                        None => messages.push(Message::new("user", text)),
                    }
                    results = true;
                    continue;
                }
                Speaker::Said("assistant") => match calls {
                    Some(calls) if content.trim().is_empty() => ("assistant", spelled(calls)?),
                    Some(calls) => ("assistant", format!("{content}\n{}", spelled(calls)?)),
                    None => ("assistant", content),
                },
                Speaker::Said(_) if calls.is_some() => {
                    return Err(wrong(format!("calls a tool as \"{role}\"; only the assistant can")));
                }
                Speaker::Said(role) => (role, content),
            };
            results = false;
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
            // Calls that follow each other, each in a turn of its own, are one turn.
            match messages.last_mut().filter(|last| at > 0 && last.role == "assistant" && role == "assistant")
            {
                Some(last) if self.is_call(&last.content) && self.is_call(&content) => {
                    last.content = format!("{}\n{content}", last.content);
                }
                _ => messages.push(Message::new(role, content)),
            }
        }
        if answered { Ok(()) } else { Err(missing_answer(&format!("{field}: no assistant turn"))) }
    }

    fn is_call(&self, content: &str) -> bool {
        self.style == ToolStyle::Tagged && content.ends_with(ToolStyle::CLOSE)
    }

    fn speaker(&self, role: &str) -> Option<Speaker> {
        if let Some(tags) = self.tags {
            let own = [
                (&tags.system, Speaker::Said("system")),
                (&tags.user, Speaker::Said("user")),
                (&tags.assistant, Speaker::Said("assistant")),
                (&tags.observation, Speaker::Result),
                (&tags.function, Speaker::Calls),
            ];
            if let Some((_, speaker)) = own.into_iter().find(|(name, _)| *name == role) {
                return Some(speaker);
            }
        }
        Some(match role.trim().to_ascii_lowercase().as_str() {
            "system" | "developer" => Speaker::Said("system"),
            "user" | "human" => Speaker::Said("user"),
            "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Speaker::Said("assistant"),
            "function_call" | "tool_call" => Speaker::Calls,
            "tool" | "function" | "observation" | "tool_response" | "ipython" => Speaker::Result,
            _ => return None,
        })
    }
}

/// The key by which a turn says that it is not to be learnt: ms-swift's `loss`, OpenAI's `weight`.
fn unlearnt(turn: &Map<String, Value>) -> Option<&'static str> {
    let off = |value: &Value| value == &Value::Bool(false) || value.as_f64() == Some(0.0);
    ["loss", "weight", "loss_scale"].into_iter().find(|key| turn.get(*key).is_some_and(off))
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
