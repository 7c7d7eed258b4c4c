//! Whether it lives, whether it is ready, what it counts, what it serves. Nothing here waits for the engine.

use crate::error::{ApiError, json_response};
use crate::models::Served;
use crate::service::Service;
use crate::store::{Erased, Store};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

/// A step that takes longer than this is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Seconds between two looks for texts that are too old.
const RETAIN: u64 = 3600;

pub(crate) async fn live() -> Response<Body> {
    json_response(&json!({ "status": "live" }))
}

pub(crate) async fn ready(State(service): State<Service>) -> Response<Body> {
    let stats = service.engine().stats();
    let status = match () {
        () if service.is_closing() => "closing",
        () if service.stalled() > STUCK => "stalled",
        () => "ready",
    };
    let mut response = json_response(&json!({
        "status": status, "running": stats.running, "waiting": stats.waiting, "models": service.model_names(),
    }));
    if status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

pub(crate) async fn metrics(State(service): State<Service>) -> Response<Body> {
    let mut response = Response::new(Body::from(service.metrics().page(&service)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn entry(service: &Service, model: &Served) -> Value {
    let base = service.models().base();
    json!({
        "id": model.name, "object": "model", "created": model.created, "owned_by": "nurture",
        "parent": model.adapter.is_some().then_some(&base.name),
        "context_length": service.context(), "generation": model.generation(),
        // whether a conversation without a system message gets one
        "own_system": model.manner.system.is_some(),
    })
}

pub(crate) async fn models(State(service): State<Service>) -> Response<Body> {
    let data: Vec<Value> = service.models().list().iter().map(|m| entry(&service, m)).collect();
    json_response(&json!({ "object": "list", "data": data }))
}

pub(crate) async fn model(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Response<Body>, ApiError> {
    Ok(json_response(&entry(&service, &*service.models().get(&name)?)))
}

/// Looks every second whether the engine goes on and whether keys changed, and every hour for texts that are too old.
pub(crate) async fn watch(service: Service) {
    let (mut steps, mut seconds) = (None, 0u64);
    loop {
        let stats = service.engine().stats();
        if (stats.running == 0 && stats.waiting == 0) || steps != Some(stats.steps) {
            service.note_alive();
        }
        steps = Some(stats.steps);
        let worker = service.clone();
        let synced = tokio::task::spawn_blocking(move || worker.sync()).await;
        if let Ok(Err(e)) = synced {
            service.log(&json!({ "event": "store failed", "why": e.to_string() }));
        }
        if seconds % RETAIN == 0 && service.store().is_some() {
            match service.with_store(Store::retain).await {
                Ok(erased) if erased != Erased::default() => {
                    service.log(&json!({ "event": "retention", "conversations": erased.conversations }));
                }
                Ok(_) => {}
                Err(e) => service.log(&json!({ "event": "store failed", "why": e.message })),
            }
        }
        seconds += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
