//! `POST /v1/chat/completions`.

use crate::answers::Job;
use crate::ask::{Ask, TOP};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::{Caller, Json, aside};
use crate::reply::{Reply, Shape};
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use nurture_text::Message;
use serde_json::Value;

type Result<T> = std::result::Result<T, ApiError>;

const MESSAGES: usize = 2048;
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
    let messages = messages(&mut fields)?;
    ask.rule = response_format(&mut fields)?;
    text_only(&mut fields)?;
    // a speed hint, and what only concerns tools, which are refused
    fields.harmless(&["prediction", "parallel_tool_calls"]);
    match fields.take("tool_choice") {
        None => {}
        Some(Value::String(s)) if s == "none" || s == "auto" => {}
        Some(_) => {
            return Err(ApiError::unsupported("tool_choice", "tools are not supported by this server"));
        }
    }
    fields.refuse(&[
        "tools",
        "functions",
        "function_call",
        "audio",
        "web_search_options",
        "reasoning_effort",
        "verbosity",
    ])?;
    fields.done()?;
    let model = ask.model.clone();
    let size = messages.iter().map(|m| m.content.len()).sum();
    let prompt = aside(size, move || model.prompt(messages)).await??;
    // rules are made beside the threads that serve connections: a large schema takes its time
    let size = if ask.rule.is_some() { usize::MAX } else { 0 };
    let maker = service.clone();
    let (ask, requests) = aside(size, move || {
        let requests = ask.requests(&maker, caller.tenant, &[prompt], "messages", None);
        (ask, requests)
    })
    .await?;
    let requests = requests?;
    let job = Job::start(&service, requests, "messages")?;
    Reply::new(&service, Shape::Chat, ask, logprobs, None).send(service, job).await
}

/// `response_format`: the JSON schema that the answer must satisfy, if any.
fn response_format(fields: &mut Fields) -> Result<Option<String>> {
    let Some(value) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::inner(value, "response_format")?;
    let schema = match format.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(r#"{"type": "object"}"#.to_string()),
        Some("json_schema") => {
            let place = "response_format.json_schema";
            let mut inner = Fields::inner(format.needed("json_schema")?, place)?;
            // the rule always holds, strict or not; names and descriptions are for people
            inner.harmless(&["name", "description", "strict"]);
            let schema = inner.needed("schema")?;
            inner.done()?;
            if !schema.is_object() {
                return Err(ApiError::invalid(format!("{place}.schema"), "the schema must be an object"));
            }
            Some(schema.to_string())
        }
        _ => {
            let message = "\"response_format.type\" can be text, json_object or json_schema";
            return Err(ApiError::invalid("response_format.type", message));
        }
    };
    format.done()?;
    Ok(schema)
}

fn text_only(fields: &mut Fields) -> Result<()> {
    let modalities = fields.list("modalities", 8)?.unwrap_or_default();
    if modalities.iter().any(|m| m != "text") {
        return Err(ApiError::unsupported("modalities", "only text is supported by this server"));
    }
    Ok(())
}

/// The conversation.
pub(crate) fn messages(fields: &mut Fields) -> Result<Vec<Message>> {
    let list = fields.list("messages", MESSAGES)?.ok_or_else(|| ApiError::missing("messages"))?;
    if list.is_empty() {
        return Err(ApiError::invalid("messages", "\"messages\" is empty: at least one is needed"));
    }
    list.into_iter().enumerate().map(|(i, value)| message(value, &format!("messages[{i}]"))).collect()
}

fn message(value: Value, place: &str) -> Result<Message> {
    let mut fields = Fields::inner(value, place)?;
    let role = fields.text("role")?.ok_or_else(|| ApiError::missing(&fields.name("role")))?;
    let Some(role) = ROLES.iter().find(|r| **r == role) else {
        let name = fields.name("role");
        let message = format!("\"{name}\" is \"{role}\"; it can be {}", ROLES.join(", "));
        return Err(ApiError::invalid(name, message));
    };
    let content = match fields.needed("content")? {
        Value::String(text) => text,
        Value::Array(parts) => {
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
    Ok(Message::new(if *role == "developer" { "system" } else { role }, content))
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
