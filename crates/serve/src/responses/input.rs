//! What a response is asked about: a text, or items.

use super::Result;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::tools::{Call, Turn};
use serde_json::{Value, json};

const ITEMS: usize = 2048;
const PARTS: usize = 1024;

/// `input`.
pub(super) fn turns(fields: &mut Fields) -> Result<Vec<Turn>> {
    let list = match fields.needed("input")? {
        Value::String(text) => return Ok(vec![Turn::new("user", text)]),
        Value::Array(list) if (1..=ITEMS).contains(&list.len()) => list,
        _ => {
            let message = format!("\"input\" must be a string or a list of 1 to {ITEMS} items");
            return Err(ApiError::invalid("input", message));
        }
    };
    let mut turns: Vec<Turn> = Vec::with_capacity(list.len());
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("input[{i}]");
        let mut item = Fields::inner(value, &place)?;
        item.harmless(&["id", "status"]);
        let needed = |item: &mut Fields, field: &str| -> Result<String> {
            item.text(field)?.ok_or_else(|| ApiError::missing(&item.name(field)))
        };
        match item.text("type")?.as_deref() {
            None | Some("message") => {
                item.harmless(&["phase"]);
                let role = match needed(&mut item, "role")?.as_str() {
                    "developer" | "system" => "system",
                    "user" => "user",
                    "assistant" => "assistant",
                    other => {
                        let message = format!(
                            "\"{place}.role\" is \"{}\"; it can be system, developer, user or assistant",
                            other.escape_debug()
                        );
                        return Err(ApiError::invalid(format!("{place}.role"), message));
                    }
                };
                let name = item.name("content");
                turns.push(Turn::new(role, text(item.needed("content")?, &name)?));
            }
            Some("function_call") => {
                let call = Call {
                    id: needed(&mut item, "call_id")?,
                    name: needed(&mut item, "name")?,
                    arguments: needed(&mut item, "arguments")?,
                };
                match turns.last_mut().filter(|t| t.role == "assistant") {
                    Some(turn) => turn.calls.push(call),
                    None => turns.push(Turn { calls: vec![call], ..Turn::new("assistant", "") }),
                }
            }
            Some("function_call_output") => {
                let id = needed(&mut item, "call_id")?;
                let name = item.name("output");
                let output = text(item.needed("output")?, &name)?;
                turns.push(Turn { answers: Some(id), ..Turn::new("tool", output) });
            }
            Some(other) => {
                let message = format!(
                    "\"{place}\": items of the type \"{}\" are not supported by this server",
                    other.escape_debug()
                );
                return Err(ApiError::unsupported(place, message));
            }
        }
        item.done()?;
    }
    Ok(turns)
}

/// A string or a list of text parts.
fn text(value: Value, place: &str) -> Result<String> {
    let list = match value {
        Value::String(text) => return Ok(text),
        Value::Array(list) if list.len() <= PARTS => list,
        _ => {
            return Err(ApiError::invalid(
                place,
                format!("\"{place}\" must be a string or a list of text parts"),
            ));
        }
    };
    let mut out = String::new();
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("{place}[{i}]");
        let mut part = Fields::inner(value, &place)?;
        match part.text("type")?.as_deref() {
            Some("input_text" | "output_text" | "text") => {}
            _ => {
                let message = format!("\"{place}\": only parts of text are supported");
                return Err(ApiError::unsupported(place, message));
            }
        }
        part.harmless(&["annotations", "logprobs"]);
        out.push_str(&part.text("text")?.ok_or_else(|| ApiError::missing(&part.name("text")))?);
        part.done()?;
    }
    Ok(out)
}

/// Turns as they are kept.
pub(super) fn to_keep<'t>(turns: impl Iterator<Item = &'t Turn>) -> String {
    let call = |c: &Call| json!([c.id, c.name, c.arguments]);
    let one = |t: &Turn| {
        let calls: Vec<Value> = t.calls.iter().map(call).collect();
        json!({ "role": t.role, "content": t.content, "calls": calls, "answers": t.answers })
    };
    Value::from(turns.map(one).collect::<Vec<_>>()).to_string()
}

/// The same back.
pub(super) fn kept(text: &str) -> Result<Vec<Turn>> {
    let read = || -> Option<Vec<Turn>> {
        let list: Vec<Value> = serde_json::from_str(text).ok()?;
        let string = |v: &Value| v.as_str().map(String::from);
        let call =
            |v: &Value| Some(Call { id: string(&v[0])?, name: string(&v[1])?, arguments: string(&v[2])? });
        let one = |v: &Value| {
            let calls = v["calls"].as_array()?.iter().map(call).collect::<Option<Vec<_>>>()?;
            Some(Turn {
                calls,
                answers: string(&v["answers"]),
                ..Turn::new(v["role"].as_str()?, string(&v["content"])?)
            })
        };
        list.iter().map(one).collect()
    };
    read().ok_or_else(|| ApiError::internal("a kept response cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let call = Call { id: "c".into(), name: "f".into(), arguments: "{\"x\": \"灯\"}".into() };
        let turns = vec![
            Turn::new("user", "q\n\"?"),
            Turn { calls: vec![call.clone()], ..Turn::new("assistant", "") },
            Turn { answers: Some("c".into()), ..Turn::new("tool", "1") },
        ];
        let back = kept(&to_keep(turns.iter())).unwrap();
        assert_eq!(format!("{back:?}"), format!("{turns:?}"));
        assert!(kept("[{}]").is_err() && kept("x").is_err());
    }

    #[test]
    fn calls_join_the_message_before_them() {
        let body = br#"{"input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "message", "role": "assistant", "content": "let me see"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "1"}]}"#;
        let turns = turns(&mut Fields::parse(body).unwrap()).unwrap();
        let shape: Vec<(&str, usize)> = turns.iter().map(|t| (t.role.as_str(), t.calls.len())).collect();
        assert_eq!(shape, [("user", 0), ("assistant", 2), ("tool", 0)]);
        for wrong in [
            r#"[]"#,
            "3",
            r#"[{"role": "god", "content": ""}]"#,
            r#"[{"type": "item_reference", "id": "x"}]"#,
        ] {
            let body = format!("{{\"input\": {wrong}}}");
            assert!(super::turns(&mut Fields::parse(body.as_bytes()).unwrap()).is_err(), "{wrong}");
        }
    }
}
