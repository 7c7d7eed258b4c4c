//! `POST /v1/score`: how likely are these answers? Each is read as the assistant's turn, its end among them, over the whole
//! vocabulary.

use crate::answers::{Charge, Job};
use crate::ask::model;
use crate::body::Json;
use crate::chat::messages;
use crate::classify::tree_of;
use crate::error::{ApiError, json_response};
use crate::http::{Caller, aside};
use crate::service::Service;
use crate::tools::Turn;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use nurture_infer::engine::{Event, Finish, Request};
use serde_json::{Value, json};
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

const ANSWERS: usize = 64;

pub(crate) async fn score(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = model(&service, &mut fields)?;
    let list = fields.list("answers", ANSWERS)?.ok_or_else(|| ApiError::missing("answers"))?;
    let texts: Option<Vec<String>> =
        list.iter().map(|v| v.as_str().filter(|t| !t.trim().is_empty()).map(String::from)).collect();
    let wanted = || ApiError::invalid("answers", "\"answers\" must be a list of strings that are not blank");
    let answers = texts.filter(|t| !t.is_empty()).ok_or_else(wanted)?;
    let conversation = match fields.text("input")? {
        None => messages(&mut fields)?,
        Some(text) => {
            let system = fields.text("system")?;
            system.iter().map(|s| Turn::new("system", s)).chain([Turn::new("user", text)]).collect()
        }
    };
    fields.done()?;
    let (asked, own) = (model.clone(), answers.clone());
    let tree = move || tree_of(&asked, conversation, &own, "answers");
    let (prompt, tokens) = aside(usize::MAX, tree).await??;
    let deadline = Some(Instant::now() + service.config().timeout);
    let mut requests = Vec::with_capacity(tokens.len());
    for answer in &tokens {
        if prompt.len() + answer.len() >= service.context() {
            let context = service.context();
            return Err(ApiError::too_long("answers", context, prompt.len(), Some(answer.len())));
        }
        requests.push(Request {
            adapter: model.adapter.clone(),
            tenant: caller.tenant,
            deadline,
            scores: Some(0),
            ..Request::new([&prompt[..], answer].concat(), 0, &[])
        });
    }
    let mut job = Job::start(&service, requests, Charge::Choices(1), "answers")?;
    let mut logs: Vec<Option<Vec<f64>>> = vec![None; tokens.len()];
    while let Some((i, event)) = job.next().await {
        match event {
            Event::Scores(scores) => {
                let skip = scores.len().saturating_sub(tokens[i].len());
                let own = scores.iter().skip(skip).map(|s| s.log_probability.map(f64::from));
                logs[i] = own.collect();
            }
            Event::Done(Finish::Deadline, _) => return Err(ApiError::deadline()),
            Event::Done(Finish::Cancelled, _) => return Err(ApiError::closing()),
            Event::Done(Finish::Failed(why), _) => return Err(ApiError::internal(why)),
            _ => {}
        }
    }
    let mut data: Vec<Value> = Vec::with_capacity(answers.len());
    let mut read = 0;
    for ((i, answer), logs) in answers.iter().enumerate().zip(logs) {
        let logs = logs.ok_or_else(|| ApiError::internal("the engine gave no scores"))?;
        let sum: f64 = logs.iter().sum();
        read += prompt.len() + logs.len();
        data.push(json!({
            "index": i, "answer": answer, "logprob": sum, "tokens": logs.len(), "mean_logprob": sum / logs.len().max(1) as f64,
        }));
    }
    Ok(json_response(&json!({
        "object": "list", "model": model.name, "data": data,
        "usage": { "prompt_tokens": read, "total_tokens": read },
    })))
}
