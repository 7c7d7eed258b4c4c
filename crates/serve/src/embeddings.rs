//! `POST /v1/embeddings`: the mean of a text's hidden states after the last norm (or that of its last token), of length 1.

use crate::answers::{Charge, Job};
use crate::ask::model;
use crate::body::Json;
use crate::completions::{encode, texts_or_tokens};
use crate::error::{ApiError, json_response};
use crate::http::Caller;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use base64::Engine as _;
use nurture_infer::engine::{Event, Finish, Pooling, Request, unit};
use serde_json::{Value, json};
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

pub(crate) async fn embeddings(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = model(&service, &mut fields)?;
    fields.harmless(&["user"]);
    let width = service.engine().model().config().width;
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(ApiError::invalid("encoding_format", "\"encoding_format\" can be float or base64"));
        }
    };
    if fields.count("dimensions", 1, u32::MAX.into())?.is_some_and(|n| n != width) {
        let message = format!("this model gives {width} dimensions and no other number");
        return Err(ApiError::unsupported("dimensions", message));
    }
    let pooling = match fields.text("pooling")?.as_deref() {
        None | Some("mean") => Pooling::Mean,
        Some("last") => Pooling::Last,
        Some(_) => return Err(ApiError::invalid("pooling", "\"pooling\" can be mean or last")),
    };
    let inputs = texts_or_tokens(&mut fields, "input", service.config().prompts)?;
    fields.done()?;
    let prompts = encode(&model, inputs, "input").await?;
    let count = prompts.len();
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let requests = prompts.into_iter().map(|prompt| Request {
        adapter: model.adapter.clone(),
        tenant: caller.tenant,
        deadline: Some(Instant::now() + service.config().timeout),
        hidden: Some(pooling),
        ..Request::new(prompt, 0, &[])
    });
    let mut job = Job::start(&service, requests.collect(), Charge::Choices(1), "input")?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    while let Some((i, event)) = job.next().await {
        match event {
            Event::Hidden(vector) => vectors[i] = Some(unit(vector)),
            Event::Done(Finish::Deadline, _) => return Err(ApiError::deadline()),
            Event::Done(Finish::Cancelled, _) => return Err(ApiError::closing()),
            Event::Done(Finish::Failed(why), _) => return Err(ApiError::internal(why)),
            _ => {}
        }
    }
    let entry = |(i, vector): (usize, Option<Vec<f32>>)| {
        let vector = vector.ok_or_else(|| ApiError::internal("the engine gave no vector"))?;
        let embedding: Value = match base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            false => vector.into(),
        };
        Ok(json!({ "object": "embedding", "index": i, "embedding": embedding }))
    };
    let data = vectors.into_iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
    Ok(json_response(&json!({
        "object": "list", "data": data, "model": model.name,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}
