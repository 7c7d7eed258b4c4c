//! `POST /v1/completions`: texts or token ids, many at once, with echo and figures as evaluation harnesses ask for them.

use crate::answers::{Charge, Job};
use crate::ask::{Ask, TOP};
use crate::body::Json;
use crate::error::ApiError;
use crate::fields::{Fields, token_ids};
use crate::http::{Caller, aside};
use crate::models::Served;
use crate::reply::{Reply, Shape};
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::Value;

type Result<T> = std::result::Result<T, ApiError>;

/// New tokens where a request does not say how many: OpenAI's.
const MOST: usize = 16;

pub(crate) async fn completions(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let most = fields.count("max_tokens", 0, u32::MAX.into())?.unwrap_or(MOST);
    let mut ask = Ask::take(&service, &mut fields, Some(most))?;
    let logprobs = match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(0),
        Some(v) => match v.as_u64().filter(|&n| n <= TOP) {
            Some(n) => Some(n as usize),
            None => {
                let message = format!("\"logprobs\" must be a whole number from 0 to {TOP}");
                return Err(ApiError::invalid("logprobs", message));
            }
        },
    };
    ask.sampling.logprobs = logprobs;
    let echo = fields.switch("echo")?.unwrap_or(false);
    if most == 0 && !echo {
        return Err(ApiError::invalid(
            "max_tokens",
            "\"max_tokens\" is 0 and \"echo\" is off: nothing would come back",
        ));
    }
    match fields.count("best_of", 1, 128)? {
        Some(n) if n != ask.choices => {
            let message = "\"best_of\" is supported only where it equals \"n\"";
            return Err(ApiError::unsupported("best_of", message));
        }
        _ => {}
    }
    fields.refuse(&["suffix"])?;
    let prompts = texts_or_tokens(&mut fields, "prompt", service.config().prompts)?;
    fields.done()?;
    let most_choices = service.config().prompts.max(service.config().choices);
    if prompts.len() * ask.choices > most_choices {
        let message = format!(
            "{} prompts with {} choices each are more than {most_choices} answers",
            prompts.len(),
            ask.choices
        );
        return Err(ApiError::invalid("n", message));
    }
    let prompts = encode(&ask.model, prompts, "prompt").await?;
    let scores = logprobs.filter(|_| echo);
    let requests = ask.requests(&service, caller.tenant, &prompts, "prompt", scores)?;
    let job = Job::start(&service, requests, Charge::Choices(ask.choices), "prompt")?;
    let reply = Reply::new(&service, Shape::Text, ask, logprobs.is_some(), echo.then_some(prompts));
    reply.send(service, job).await
}

/// A text, or tokens as they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    Text(String),
    Tokens(Vec<u32>),
}

/// A field that is a string, a list of strings, a list of token ids or a list of such lists.
pub(crate) fn texts_or_tokens(fields: &mut Fields, field: &str, most: usize) -> Result<Vec<Input>> {
    let value = fields.needed(field)?;
    let wrong = || {
        let message = format!(
            "\"{field}\" must be a string, a list of strings, a list of token ids, or a list of lists of token ids"
        );
        ApiError::invalid(field, message)
    };
    let list = match value {
        Value::String(text) => return Ok(vec![Input::Text(text)]),
        Value::Array(list) if !list.is_empty() => list,
        _ => return Err(wrong()),
    };
    if list[0].is_number() {
        return Ok(vec![Input::Tokens(token_ids(&list).ok_or_else(wrong)?)]);
    }
    if list.len() > most {
        return Err(ApiError::invalid(
            field,
            format!("\"{field}\" takes at most {most} entries, not {}", list.len()),
        ));
    }
    let one = |v: Value| match v {
        Value::String(text) => Ok(Input::Text(text)),
        Value::Array(ids) => token_ids(&ids).map(Input::Tokens).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    list.into_iter().map(one).collect()
}

/// Texts become tokens, the beginning-of-sequence token before them where the vocabulary wants one.
pub(crate) async fn encode(
    model: &std::sync::Arc<Served>,
    inputs: Vec<Input>,
    param: &'static str,
) -> Result<Vec<Vec<u32>>> {
    let size = inputs.iter().map(|i| if let Input::Text(t) = i { t.len() } else { 0 }).sum();
    let model = model.clone();
    aside(size, move || {
        let one = |input| match input {
            Input::Tokens(ids) => Ok(ids),
            Input::Text(text) => model.tokens(&text, param),
        };
        inputs.into_iter().map(one).collect()
    })
    .await?
}
