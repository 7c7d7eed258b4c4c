//! Adapters while the service runs: list, load or replace, unload. Only with an admin key.

use crate::error::{ApiError, json_response};
use crate::http::{Caller, Json};
use crate::models::Served;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::path::PathBuf;

type Result<T> = std::result::Result<T, ApiError>;

fn must_be_admin(caller: Caller) -> Result<()> {
    match caller.admin {
        true => Ok(()),
        false => Err(ApiError::forbidden(
            "admin_key_needed",
            "this needs an admin key (`--admin-key` names the file)",
        )),
    }
}

fn entry(model: &Served) -> Value {
    json!({
        "name": model.name, "generation": model.generation(), "path": model.path, "loaded": model.created,
        "own_system": model.manner.system.is_some(), "own_template": model.manner.template.is_some(),
    })
}

pub(crate) async fn list(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    let models = service.models().list();
    let data: Vec<Value> = models.iter().filter(|m| m.adapter.is_some()).map(|m| entry(m)).collect();
    Ok(json_response(&json!({ "object": "list", "data": data })))
}

/// `{"name": …, "path": folder}`; a name that is there already gets a new generation, requests at work end on the old one.
pub(crate) async fn load(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    let name = fields.text("name")?.ok_or_else(|| ApiError::missing("name"))?;
    let path = fields.text("path")?.map(PathBuf::from).ok_or_else(|| ApiError::missing("path"))?;
    fields.done()?;
    let worker = service.clone();
    let work = move || worker.models().load(&name, &path);
    let loaded = tokio::task::spawn_blocking(work).await;
    let model = loaded.map_err(|_| ApiError::internal("a fault of ours while reading the adapter"))??;
    service.note(caller, "adapter loaded", &model.name).await?;
    service.log(&json!({ "event": "adapter loaded", "name": model.name, "generation": model.generation() }));
    let mut response = json_response(&entry(&model));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub(crate) async fn unload(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    service.models().unload(&name)?;
    service.note(caller, "adapter unloaded", &name).await?;
    service.log(&json!({ "event": "adapter unloaded", "name": name }));
    Ok(json_response(&json!({ "name": name, "unloaded": true })))
}
