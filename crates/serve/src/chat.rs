//! `POST /v1/chat/completions`.

use crate::ask::{Ask, TOP};
use crate::body::Json;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::Caller;
use crate::reply::{Reply, Shape};
use crate::service::Service;
use crate::tools::{self, Call, Tools, Turn};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::Value;

type Result<T> = std::result::Result<T, ApiError>;

const MESSAGES: usize = 2048;
/// A schema for JSON without one.
pub(crate) const ANY_OBJECT: &str = r#"{"type": "object"}"#;
/// Most calls in one message.
const CALLS: usize = 128;
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

pub(crate) async fn completions(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let (older, newer) = (
        fields.count("max_tokens", 1, u32::MAX.into())?,
        fields.count("max_completion_tokens", 1, u32::MAX.into())?,
    );
    if older.is_some() && newer.is_some() {
        let message = "\"max_tokens\" and \"max_completion_tokens\" say the same; give only one of them";
        return Err(ApiError::invalid("max_tokens", message));
    }
    let mut ask = Ask::take(&service, &mut fields, newer.or(older))?;
    let logprobs = fields.switch("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, TOP)?;
    if top.is_some() && !logprobs {
        return Err(ApiError::invalid("top_logprobs", "\"top_logprobs\" needs \"logprobs\": true"));
    }
    ask.sampling.logprobs = logprobs.then_some(top.unwrap_or(0));
    let turns = messages(&mut fields)?;
    let tools = Tools::chat(&mut fields)?;
    let schema = response_format(&mut fields)?;
    ask.bind(tools, schema);
    text_only(&mut fields)?;
    // a speed hint
    fields.harmless(&["prediction"]);
    fields.refuse(&[
        "functions",
        "function_call",
        "audio",
        "web_search_options",
        "reasoning_effort",
        "verbosity",
    ])?;
    fields.done()?;
    let (ask, job) = ask.begin(&service, caller, turns, "messages").await?;
    Reply::new(&service, Shape::Chat, ask, logprobs, None).send(service, job).await
}

/// `response_format`: the JSON schema that the answer must satisfy, if any.
fn response_format(fields: &mut Fields) -> Result<Option<String>> {
    let Some(value) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::inner(value, "response_format")?;
    let schema = match format.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(ANY_OBJECT.to_string()),
        Some("json_schema") => {
            let place = "response_format.json_schema";
            Some(schema(Fields::inner(format.needed("json_schema")?, place)?)?)
        }
        _ => {
            let message = "\"response_format.type\" can be text, json_object or json_schema";
            return Err(ApiError::invalid("response_format.type", message));
        }
    };
    format.done()?;
    Ok(schema)
}

/// The schema among the fields of a format.
pub(crate) fn schema(mut fields: Fields) -> Result<String> {
    // the rule always holds, strict or not; names and descriptions are for people
    fields.harmless(&["name", "description", "strict"]);
    let place = fields.name("schema");
    let schema = fields.needed("schema")?;
    fields.done()?;
    match schema.is_object() {
        true => Ok(schema.to_string()),
        false => Err(ApiError::invalid(place, "the schema must be an object")),
    }
}

fn text_only(fields: &mut Fields) -> Result<()> {
    let modalities = fields.list("modalities", 8)?.unwrap_or_default();
    if modalities.iter().any(|m| m != "text") {
        return Err(ApiError::unsupported("modalities", "only text is supported by this server"));
    }
    Ok(())
}

/// The conversation.
pub(crate) fn messages(fields: &mut Fields) -> Result<Vec<Turn>> {
    let list = fields.list("messages", MESSAGES)?.ok_or_else(|| ApiError::missing("messages"))?;
    if list.is_empty() {
        return Err(ApiError::invalid("messages", "\"messages\" is empty: at least one is needed"));
    }
    let turns = list.into_iter().enumerate().map(|(i, value)| message(value, &format!("messages[{i}]")));
    let turns = turns.collect::<Result<Vec<_>>>()?;
    tools::check(&turns, "messages")?;
    Ok(turns)
}

fn message(value: Value, place: &str) -> Result<Turn> {
    let mut fields = Fields::inner(value, place)?;
    let role = fields.text("role")?.ok_or_else(|| ApiError::missing(&fields.name("role")))?;
    let Some(role) = ROLES.iter().find(|r| **r == role) else {
        let name = fields.name("role");
        let message = format!("\"{name}\" is \"{role}\"; it can be {}", ROLES.join(", "));
        return Err(ApiError::invalid(name, message));
    };
    let calls = match *role {
        "assistant" => calls(&mut fields)?,
        _ => Vec::new(),
    };
    let answers = match *role {
        "tool" => {
            let id = fields.text("tool_call_id")?;
            Some(id.ok_or_else(|| ApiError::missing(&fields.name("tool_call_id")))?)
        }
        _ => None,
    };
    let content = match fields.take("content") {
        None if !calls.is_empty() => String::new(),
        None => return Err(ApiError::missing(&fields.name("content"))),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let texts = parts.map(|(i, part)| text_part(part, &format!("{}[{i}]", fields.name("content"))));
            texts.collect::<Result<Vec<_>>>()?.concat()
        }
        _ => {
            let name = fields.name("content");
            return Err(ApiError::invalid(
                &name,
                format!("\"{name}\" must be a string or a list of text parts"),
            ));
        }
    };
    fields.harmless(&["refusal", "annotations"]);
    fields.refuse(&["name", "tool_calls", "tool_call_id", "function_call", "audio"])?;
    fields.done()?;
    // templates know the older word
    let role = if *role == "developer" { "system" } else { role };
    Ok(Turn { calls, answers, ..Turn::new(role, content) })
}

/// The calls of an assistant's message.
fn calls(fields: &mut Fields) -> Result<Vec<Call>> {
    let place = fields.name("tool_calls");
    let list = fields.list("tool_calls", CALLS)?.unwrap_or_default();
    let one = |(i, value): (usize, Value)| {
        let place = format!("{place}[{i}]");
        let mut call = Fields::inner(value, &place)?;
        let id = call.text("id")?.ok_or_else(|| ApiError::missing(&call.name("id")))?;
        // some clients keep the place in the stream
        call.harmless(&["index", "type"]);
        let mut function = Fields::inner(call.needed("function")?, &format!("{place}.function"))?;
        call.done()?;
        let name = function.text("name")?.ok_or_else(|| ApiError::missing(&function.name("name")))?;
        let arguments = function.text("arguments")?.unwrap_or_else(|| "{}".into());
        function.done()?;
        Ok(Call { id, name, arguments })
    };
    list.into_iter().enumerate().map(one).collect()
}

fn text_part(value: Value, place: &str) -> Result<String> {
    let mut part = Fields::inner(value, place)?;
    let kind = part.text("type")?;
    if kind.as_deref() != Some("text") {
        return Err(ApiError::unsupported(
            place,
            format!("\"{place}\": only parts of type \"text\" are supported"),
        ));
    }
    let text = part.text("text")?.ok_or_else(|| ApiError::missing(&part.name("text")))?;
    part.done()?;
    Ok(text)
}
