//! `/v1/responses`: OpenAI's newer shape. With a store, responses are kept (unless `store` is false) and later ones may go on from
//! them.

mod input;
mod output;

use crate::ask::Ask;
use crate::body::Json;
use crate::chat::{ANY_OBJECT, schema};
use crate::error::{ApiError, json_response};
use crate::fields::Fields;
use crate::http::Caller;
use crate::models::now;
use crate::reply::event_stream;
use crate::service::Service;
use crate::store::StoredResponse;
use crate::tools::{self, Tools, Turn};
use crate::voice::{Piece, Voice};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use output::Writer;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, ApiError>;

/// Entries and bytes of metadata.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// What is said back in every form of the response.
#[derive(Debug)]
struct Head {
    id: String,
    created: u64,
    previous: Option<String>,
    keep: bool,
    /// the request's settings as they are said back
    echo: Map<String, Value>,
    /// own input, to be kept
    input: Vec<Turn>,
}

pub(crate) async fn create(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let asked_to_keep = fields.switch("store")?;
    if asked_to_keep == Some(true) && service.store().is_none() {
        return Err(ApiError::no_store());
    }
    let mut echo = Map::new();
    for field in ["tools", "tool_choice", "temperature", "top_p", "max_output_tokens", "text", "user"] {
        echo.extend(fields.peek(field).map(|v| (field.to_string(), v.clone())));
    }
    echo.insert("metadata".into(), metadata(&mut fields)?);
    let most = fields.count("max_output_tokens", 1, u32::MAX.into())?;
    let mut ask = Ask::take(&service, &mut fields, most)?;
    ask.single()?;
    let instructions = fields.text("instructions")?;
    let previous = fields.text("previous_response_id")?;
    let input = input::turns(&mut fields)?;
    echo.insert(
        "parallel_tool_calls".into(),
        fields.peek("parallel_tool_calls").cloned().unwrap_or(true.into()),
    );
    let tools = Tools::responses(&mut fields)?;
    ask.bind(tools, text_format(&mut fields)?);
    if fields.text("truncation")?.is_some_and(|t| t != "disabled") {
        let message = "\"truncation\" can only be \"disabled\": prompts are never cut here";
        return Err(ApiError::unsupported("truncation", message));
    }
    if fields.count("top_logprobs", 0, 20)?.is_some_and(|n| n > 0) {
        let message = "\"top_logprobs\" is not supported here; /v1/chat/completions has it";
        return Err(ApiError::unsupported("top_logprobs", message));
    }
    if fields
        .take("reasoning")
        .is_some_and(|r| r.as_object().is_none_or(|r| r.values().any(|v| !v.is_null())))
    {
        return Err(ApiError::unsupported("reasoning", "\"reasoning\" is not supported by this server"));
    }
    fields.refuse(&[
        "background",
        "include",
        "max_tool_calls",
        "prompt",
        "conversation",
        "context_management",
    ])?;
    fields.done()?;
    // what went before
    let owner = service.owner(caller);
    let mut turns: Vec<Turn> = Vec::new();
    if let Some(id) = previous.clone() {
        let missing = |e: ApiError| match e.status.as_u16() {
            404 => ApiError { param: Some("previous_response_id".into()), ..e },
            _ => e,
        };
        let owner = owner.clone();
        let chain = service.with_store(move |s| s.chain(&owner, &id)).await.map_err(missing)?;
        for kept in chain {
            turns.extend(input::kept(&kept)?);
        }
    }
    turns.extend(input.iter().cloned());
    tools::check(&turns, "input")?;
    if let Some(text) = &instructions {
        turns.insert(0, Turn::new("system", text));
    }
    echo.insert("instructions".into(), instructions.into());
    let (ask, job) = ask.begin(&service, caller, turns, "input").await?;
    let head = Head {
        id: format!("resp_{:016x}{:016x}", service.random(), service.random()),
        created: now(),
        previous,
        keep: asked_to_keep.unwrap_or(true) && service.store().is_some(),
        echo,
        input,
    };
    if ask.stream {
        return Ok(event_stream(|sender| async move {
            let mut voice = Voice::new(&service, &ask, job);
            Writer::new(sender, &service, &head, &ask, owner).run(&mut voice).await;
        }));
    }
    let mut voice = Voice::new(&service, &ask, job);
    let (pieces, finish) = voice.whole().await?;
    let items: Vec<Value> = pieces.iter().filter_map(|p| item(&service, p)).collect();
    let object = head.object(&ask, items, Some(finish), Some(voice.counts()));
    head.keep(&service, owner, &pieces, &object).await?;
    Ok(json_response(&object))
}

pub(crate) async fn get(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    let owner = service.owner(caller);
    let kept = service.with_store(move |s| s.response(&owner, &id)).await?;
    let object: Value = serde_json::from_str(&kept.object)
        .map_err(|e| ApiError::internal(format!("the kept response cannot be read: {e}")))?;
    Ok(json_response(&object))
}

pub(crate) async fn delete(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    let (owner, own) = (service.owner(caller), id.clone());
    service.with_store(move |s| s.delete_response(&owner, &own)).await?;
    Ok(json_response(&json!({ "id": id, "object": "response", "deleted": true })))
}

fn metadata(fields: &mut Fields) -> Result<Value> {
    let (entries, key, value) = METADATA;
    let map = match fields.take("metadata") {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(ApiError::invalid("metadata", "\"metadata\" must be an object")),
    };
    let fits = |(k, v): (&String, &Value)| k.len() <= key && v.as_str().is_some_and(|v| v.len() <= value);
    if map.len() > entries || !map.iter().all(fits) {
        let message = format!(
            "\"metadata\" takes at most {entries} entries, with keys of at most {key} and texts of at most {value} bytes"
        );
        return Err(ApiError::invalid("metadata", message));
    }
    Ok(map.into())
}

/// `text.format`: the schema of the answer, if any.
fn text_format(fields: &mut Fields) -> Result<Option<String>> {
    let Some(value) = fields.take("text") else { return Ok(None) };
    let mut text = Fields::inner(value, "text")?;
    text.refuse(&["verbosity"])?;
    let format = text.take("format");
    text.done()?;
    let Some(format) = format else { return Ok(None) };
    let mut format = Fields::inner(format, "text.format")?;
    match format.text("type")?.as_deref() {
        Some("text") => format.done().map(|()| None),
        Some("json_object") => format.done().map(|()| Some(ANY_OBJECT.to_string())),
        Some("json_schema") => schema(format).map(Some),
        _ => {
            let message = "\"text.format.type\" can be text, json_object or json_schema";
            Err(ApiError::invalid("text.format.type", message))
        }
    }
}

/// A piece of the answer as an item of the output.
fn item(service: &Service, piece: &Piece) -> Option<Value> {
    match piece {
        Piece::Text(text) => {
            Some(message_item(&format!("msg_{:016x}", service.random()), "completed", &[part(text)]))
        }
        Piece::Call(call) => Some(json!({
            "id": format!("fc_{:016x}", service.random()), "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": call.arguments,
        })),
        Piece::End(_) => None,
    }
}

fn message_item(id: &str, status: &str, content: &[Value]) -> Value {
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

impl Head {
    /// The response; without an end it is still at work.
    fn object(
        &self,
        ask: &Ask,
        output: Vec<Value>,
        finish: Option<&str>,
        counts: Option<(usize, usize, usize)>,
    ) -> Value {
        let (status, details) = match finish {
            None => ("in_progress", Value::Null),
            Some("length") => ("incomplete", json!({ "reason": "max_output_tokens" })),
            Some(_) => ("completed", Value::Null),
        };
        let usage = counts.map(|(prompt, cached, generated)| {
            json!({
                "input_tokens": prompt, "input_tokens_details": { "cached_tokens": cached }, "output_tokens": generated,
                "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": prompt + generated,
            })
        });
        let said = |field: &str, or: Value| self.echo.get(field).cloned().unwrap_or(or);
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "background": false,
            "error": null, "incomplete_details": details, "instructions": said("instructions", Value::Null),
            "max_output_tokens": said("max_output_tokens", Value::Null), "model": ask.model.name, "output": output,
            "parallel_tool_calls": said("parallel_tool_calls", true.into()), "previous_response_id": self.previous,
            "reasoning": { "effort": null, "summary": null }, "store": self.keep,
            "temperature": said("temperature", 1.0.into()), "text": said("text", json!({ "format": { "type": "text" } })),
            "tool_choice": said("tool_choice", "auto".into()), "tools": said("tools", json!([])),
            "top_p": said("top_p", 1.0.into()), "truncation": "disabled", "usage": usage,
            "user": said("user", Value::Null), "metadata": said("metadata", json!({})),
        })
    }

    /// Keeps it, if it is to be kept.
    async fn keep(&self, service: &Service, owner: String, pieces: &[Piece], object: &Value) -> Result<()> {
        if !self.keep {
            return Ok(());
        }
        let mut answer = Turn::new("assistant", "");
        for piece in pieces {
            match piece {
                Piece::Text(text) => answer.content.push_str(text),
                Piece::Call(call) => answer.calls.push(call.clone()),
                Piece::End(_) => {}
            }
        }
        let messages = input::to_keep(self.input.iter().chain([&answer]));
        let (id, previous) = (self.id.clone(), self.previous.clone());
        let response = StoredResponse { id, previous, messages, object: object.to_string() };
        service.with_store(move |s| s.keep_response(&owner, &response)).await
    }
}
