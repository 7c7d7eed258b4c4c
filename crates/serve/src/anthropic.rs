//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's shapes.

use crate::ask::{self, Ask};
use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::fields::Fields;
use crate::http::{Caller, aside};
use crate::reply::{PING, event_stream};
use crate::service::Service;
use crate::tools::{self, Call, Tools, Turn};
use crate::voice::{Piece, Voice};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

type Result<T> = std::result::Result<T, ApiError>;

const MESSAGES: usize = 2048;
const BLOCKS: usize = 1024;

pub(crate) async fn messages(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let most = fields.count("max_tokens", 1, u32::MAX.into())?;
    let most = most.ok_or_else(|| ApiError::missing("max_tokens"))?;
    let mut ask = Ask::take(&service, &mut fields, Some(most))?;
    ask.single()?;
    ask.stops.extend(ask::stops(&mut fields, "stop_sequences")?);
    let turns = conversation(&mut fields)?;
    let tools = Tools::messages(&mut fields)?;
    ask.bind(tools, None);
    fields.harmless(&["inference_geo"]);
    thinking(&mut fields)?;
    fields.refuse(&["container", "context_management", "mcp_servers", "output_config", "output_format"])?;
    fields.done()?;
    let (ask, job) = ask.begin(&service, caller, turns, "messages").await?;
    let id = format!("msg_{:016x}{:08x}", service.random(), service.random() as u32);
    if ask.stream {
        return Ok(event_stream(|sender| async move {
            let writer = Writer { sender, id, open: false, index: 0 };
            let mut voice = Voice::new(&service, &ask, job);
            writer.run(&ask, &mut voice).await;
        }));
    }
    let mut voice = Voice::new(&service, &ask, job);
    let (pieces, finish) = voice.whole().await?;
    let content: Vec<Value> = pieces.iter().filter_map(block).collect();
    let (reason, sequence) = reason(finish, &voice);
    Ok(json_response(&json!({
        "id": id, "type": "message", "role": "assistant", "model": ask.model.name, "content": content,
        "stop_reason": reason, "stop_sequence": sequence, "usage": usage(&voice),
    })))
}

pub(crate) async fn count_tokens(
    State(service): State<Service>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = ask::model(&service, &mut fields)?;
    let turns = conversation(&mut fields)?;
    let tools = Tools::messages(&mut fields)?;
    thinking(&mut fields)?;
    fields.done()?;
    let tokens = aside(usize::MAX, move || model.prompt(turns, tools.as_ref())).await??;
    Ok(json_response(&json!({ "input_tokens": tokens.len() })))
}

fn thinking(fields: &mut Fields) -> Result<()> {
    let Some(value) = fields.take("thinking") else { return Ok(()) };
    match value.get("type").and_then(Value::as_str) {
        Some("disabled") => Ok(()),
        _ => Err(ApiError::unsupported("thinking", "\"thinking\" is not supported by this server")),
    }
}

/// `system` and `messages`.
fn conversation(fields: &mut Fields) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    if let Some(system) = fields.take("system") {
        let mut text = Turn::new("system", "");
        blocks(system, "system", &mut |block, place| {
            let Block::Text(more) = block else { return Err(misplaced(place, "system")) };
            text.content.push_str(&more);
            Ok(())
        })?;
        turns.push(text);
    }
    let list = fields.list("messages", MESSAGES)?.ok_or_else(|| ApiError::missing("messages"))?;
    if list.is_empty() {
        return Err(ApiError::invalid("messages", "\"messages\" is empty: at least one is needed"));
    }
    let count = list.len();
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("messages[{i}]");
        let mut message = Fields::inner(value, &place)?;
        let role = message.text("role")?.ok_or_else(|| ApiError::missing(&message.name("role")))?;
        let content = message.needed("content")?;
        message.done()?;
        let mut own = Turn::new(&role, "");
        match role.as_str() {
            "assistant" if i + 1 == count => {
                let message =
                    "the last message is the assistant's: answers cannot be begun for the model here";
                return Err(ApiError::unsupported(place, message));
            }
            "assistant" => blocks(content, &format!("{place}.content"), &mut |block, place| match block {
                Block::Text(text) => {
                    own.content.push_str(&text);
                    Ok(())
                }
                Block::Use(call) => {
                    own.calls.push(call);
                    Ok(())
                }
                Block::Result(..) => Err(misplaced(place, "assistant")),
            })?,
            "user" => blocks(content, &format!("{place}.content"), &mut |block, place| match block {
                Block::Text(text) => {
                    own.content.push_str(&text);
                    Ok(())
                }
                Block::Result(id, text) => {
                    turns.push(Turn { answers: Some(id), ..Turn::new("tool", text) });
                    Ok(())
                }
                Block::Use(_) => Err(misplaced(place, "user")),
            })?,
            _ => {
                let name = format!("{place}.role");
                let message =
                    format!("\"{name}\" is \"{}\"; it can be user or assistant", role.escape_debug());
                return Err(ApiError::invalid(name, message));
            }
        }
        if !(own.content.is_empty() && own.calls.is_empty())
            || turns.last().is_none_or(|t| t.answers.is_none())
        {
            turns.push(own);
        }
    }
    tools::check(&turns, "messages")?;
    Ok(turns)
}

fn misplaced(place: &str, role: &str) -> ApiError {
    ApiError::invalid(place, format!("\"{place}\" cannot stand in a message of the role {role}"))
}

enum Block {
    Text(String),
    Use(Call),
    Result(String, String),
}

/// A string, or a list of content blocks.
fn blocks(content: Value, place: &str, put: &mut dyn FnMut(Block, &str) -> Result<()>) -> Result<()> {
    let list = match content {
        Value::String(text) => return put(Block::Text(text), place),
        Value::Array(list) if list.len() <= BLOCKS => list,
        Value::Array(_) => {
            return Err(ApiError::invalid(place, format!("\"{place}\" has more than {BLOCKS} blocks")));
        }
        _ => {
            return Err(ApiError::invalid(
                place,
                format!("\"{place}\" must be a string or a list of blocks"),
            ));
        }
    };
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("{place}[{i}]");
        let mut block = Fields::inner(value, &place)?;
        block.harmless(&["cache_control", "citations"]);
        let kind = block.text("type")?.unwrap_or_default();
        let needed = |block: &mut Fields, field: &str| -> Result<String> {
            block.text(field)?.ok_or_else(|| ApiError::missing(&block.name(field)))
        };
        let found = match kind.as_str() {
            "text" => Block::Text(needed(&mut block, "text")?),
            "tool_use" => {
                let (id, name) = (needed(&mut block, "id")?, needed(&mut block, "name")?);
                block.harmless(&["caller"]);
                Block::Use(Call { id, name, arguments: block.needed("input")?.to_string() })
            }
            "tool_result" => {
                let id = needed(&mut block, "tool_use_id")?;
                let failed = block.switch("is_error")?.unwrap_or(false);
                let mut text = if failed { "Error: ".to_string() } else { String::new() };
                if let Some(content) = block.take("content") {
                    blocks(content, &block.name("content"), &mut |inner, place| {
                        let Block::Text(more) = inner else { return Err(misplaced(place, "tool result")) };
                        text.push_str(&more);
                        Ok(())
                    })?;
                }
                Block::Result(id, text)
            }
            _ => {
                let message = format!(
                    "\"{place}\": blocks of the type \"{}\" are not supported by this server",
                    kind.escape_debug()
                );
                return Err(ApiError::unsupported(&place, message));
            }
        };
        block.done()?;
        put(found, &place)?;
    }
    Ok(())
}

fn input(call: &Call) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}))
}

fn block(piece: &Piece) -> Option<Value> {
    match piece {
        Piece::Text(text) => Some(json!({ "type": "text", "text": text })),
        Piece::Call(call) => {
            Some(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input(call) }))
        }
        Piece::End(_) => None,
    }
}

fn reason(finish: &str, voice: &Voice<'_>) -> (&'static str, Option<String>) {
    match (finish, voice.stopped_by()) {
        ("tool_calls", _) => ("tool_use", None),
        ("length", _) => ("max_tokens", None),
        (_, Some(text)) => ("stop_sequence", Some(text.to_string())),
        _ => ("end_turn", None),
    }
}

fn usage(voice: &Voice<'_>) -> Value {
    let (prompt, cached, generated) = voice.counts();
    json!({
        "input_tokens": prompt - cached.min(prompt), "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0,
        "output_tokens": generated,
    })
}

/// Writes the events of an answer.
struct Writer {
    sender: Sender<Bytes>,
    id: String,
    /// whether a block of text is open
    open: bool,
    index: usize,
}

impl Writer {
    async fn run(mut self, ask: &Ask, voice: &mut Voice<'_>) {
        let mut out = String::new();
        let usage_now = json!({
            "input_tokens": ask.prompt_tokens, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
            "output_tokens": 0,
        });
        event(
            &mut out,
            "message_start",
            json!({ "message": {
                "id": self.id, "type": "message", "role": "assistant", "model": ask.model.name, "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": usage_now,
            }}),
        );
        let mut finish = "stop";
        loop {
            if !out.is_empty() && self.sender.send(std::mem::take(&mut out).into()).await.is_err() {
                return;
            }
            match tokio::time::timeout(PING, voice.next()).await {
                Err(_) => event(&mut out, "ping", json!({})),
                Ok(Err(error)) => {
                    out.push_str(&format!("event: error\ndata: {}\n\n", error.anthropic()));
                    _ = self.sender.send(out.into()).await;
                    return;
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(pieces))) => {
                    for piece in pieces {
                        self.piece(&mut out, piece, &mut finish);
                    }
                }
            }
        }
        self.close(&mut out);
        let (reason, sequence) = reason(finish, voice);
        let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
        event(&mut out, "message_delta", json!({ "delta": delta, "usage": usage(voice) }));
        event(&mut out, "message_stop", json!({}));
        _ = self.sender.send(out.into()).await;
    }

    fn piece(&mut self, out: &mut String, piece: Piece, finish: &mut &'static str) {
        match piece {
            Piece::End(end) => *finish = end,
            Piece::Text(text) => {
                if !self.open {
                    self.open = true;
                    let block = json!({ "type": "text", "text": "" });
                    event(out, "content_block_start", json!({ "index": self.index, "content_block": block }));
                }
                let delta = json!({ "type": "text_delta", "text": text });
                event(out, "content_block_delta", json!({ "index": self.index, "delta": delta }));
            }
            Piece::Call(call) => {
                self.close(out);
                let block = json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": {} });
                event(out, "content_block_start", json!({ "index": self.index, "content_block": block }));
                let delta = json!({ "type": "input_json_delta", "partial_json": call.arguments });
                event(out, "content_block_delta", json!({ "index": self.index, "delta": delta }));
                self.open = true;
                self.close(out);
            }
        }
    }

    fn close(&mut self, out: &mut String) {
        if std::mem::take(&mut self.open) {
            event(out, "content_block_stop", json!({ "index": self.index }));
            self.index += 1;
        }
    }
}

fn event(out: &mut String, kind: &str, mut value: Value) {
    value["type"] = kind.into();
    out.push_str(&format!("event: {kind}\ndata: {value}\n\n"));
}
