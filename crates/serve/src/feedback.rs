//! `POST /v1/feedback`: what somebody thinks of an answer, from any client. It is kept with the model's generation and the prompt
//! and becomes a lesson with `nurture data feedback`.

use crate::ask::model;
use crate::body::Json;
use crate::chat::messages;
use crate::error::{ApiError, json_response};
use crate::http::Caller;
use crate::service::Service;
use crate::store::{NewFeedback, Verdict};
use crate::tools;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

pub(crate) async fn give(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>, ApiError> {
    let model = model(&service, &mut fields)?;
    let turns = messages(&mut fields)?;
    let answer = fields.text("answer")?.ok_or_else(|| ApiError::missing("answer"))?;
    let verdict = fields.text("verdict")?.ok_or_else(|| ApiError::missing("verdict"))?;
    let Some(verdict) = Verdict::of(&verdict) else {
        let words = Verdict::ALL.map(Verdict::word).join(", ");
        return Err(ApiError::invalid("verdict", format!("\"verdict\" can be {words}")));
    };
    let correction = fields.text("correction")?;
    let comment = fields.text("comment")?.unwrap_or_default();
    fields.done()?;
    let plain = tools::spell(turns, model.style(), None);
    let prompt: Vec<Value> = plain.iter().map(|m| json!({ "role": m.role, "content": m.content })).collect();
    let new = NewFeedback {
        message: None,
        verdict,
        model: model.name.clone(),
        generation: model.generation() as i64,
        prompt: Value::from(prompt).to_string(),
        answer,
        correction,
        comment,
    };
    let owner = service.owner(caller);
    let id = service.with_store(move |s| s.give_feedback(&owner, &new)).await?;
    let mut response = json_response(&json!({ "object": "feedback", "id": id }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
