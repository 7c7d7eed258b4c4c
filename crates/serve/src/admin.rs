//! Adapters and keys while the service runs. Only with an admin key.

use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::http::Caller;
use crate::models::Served;
use crate::service::Service;
use crate::store::{KeyLimits, KeyRecord, Store, Used};
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

fn key_entry(key: &KeyRecord, today: Used) -> Value {
    json!({
        "id": key.id, "name": key.name, "admin": key.admin, "created": key.created, "expires": key.expires,
        "revoked": key.revoked, "requests_per_minute": key.limits.requests_per_minute,
        "tokens_per_day": key.limits.tokens_per_day, "parallel": key.limits.parallel,
        "used_today": { "requests": today.requests, "tokens": today.tokens() },
    })
}

pub(crate) async fn keys(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    let read = |store: &Store| {
        let keys = store.keys()?;
        keys.into_iter()
            .map(|k| Ok((store.used(k.number, 1)?, k)))
            .collect::<std::result::Result<Vec<_>, _>>()
    };
    let keys = service.with_store(read).await?;
    let data: Vec<Value> = keys.iter().map(|(used, key)| key_entry(key, *used)).collect();
    Ok(json_response(&json!({ "object": "list", "data": data })))
}

/// Makes a key; the answer is the only place where it is shown.
pub(crate) async fn add_key(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    let name = fields.text("name")?.ok_or_else(|| ApiError::missing("name"))?;
    let admin = fields.switch("admin")?.unwrap_or(false);
    let most = u64::from(u32::MAX);
    let days = fields.count("days", 1, 36_500)?;
    let limits = KeyLimits {
        requests_per_minute: fields.count("requests_per_minute", 1, most)?.map(|n| n as u32),
        tokens_per_day: fields.count("tokens_per_day", 1, i64::MAX as u64)?.map(|n| n as u64),
        parallel: fields.count("parallel", 1, most)?.map(|n| n as u32),
    };
    fields.done()?;
    let expires = days.map(|d| crate::models::now() as i64 + d as i64 * 86_400);
    let actor = service.owner(caller);
    let (key, record) = service.with_store(move |s| s.add_key(&actor, &name, admin, limits, expires)).await?;
    service.sync_aside().await?;
    let mut entry = key_entry(&record, Used::default());
    entry["key"] = key.into();
    let mut response = json_response(&entry);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub(crate) async fn revoke_key(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    must_be_admin(caller)?;
    let (actor, own) = (service.owner(caller), id.clone());
    service.with_store(move |s| s.revoke_key(&actor, &own)).await?;
    service.sync_aside().await?;
    Ok(json_response(&json!({ "id": id, "revoked": true })))
}
