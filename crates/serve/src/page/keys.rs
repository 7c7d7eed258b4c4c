//! Keys and what they may use, for administrators: part of the page of the models.

use super::models::must_manage;
use super::view::View;
use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::service::Service;
use crate::store::{KeyLimits, KeyRecord, Used};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use minijinja::{Value, context};
use serde_json::json;

type Result<T> = std::result::Result<T, ApiError>;

/// Days over which use is shown.
const DAYS: u32 = 30;

/// The keys of the store with their use, for the template; none without a store.
pub(crate) async fn listed(service: &Service, view: &View) -> Result<Vec<Value>> {
    if !view.manage || service.store().is_none() {
        return Ok(Vec::new());
    }
    let keys = service
        .with_store(|store| {
            let of = |k: KeyRecord| Ok((store.used(k.number, DAYS)?, k));
            store.keys()?.into_iter().map(of).collect::<std::result::Result<Vec<(Used, KeyRecord)>, _>>()
        })
        .await?;
    let now = crate::models::now() as i64;
    let shown = |n: Option<u64>| n.map_or("–".to_string(), |n| n.to_string());
    Ok(keys
        .iter()
        .map(|(used, k)| {
            context! {
                id => &k.id, name => &k.name, admin => k.admin, opens => k.opens(now), since => k.created.max(0) as u64,
                requests => used.requests, tokens => used.tokens(), per_minute => shown(k.limits.requests_per_minute.map(u64::from)),
                per_day => shown(k.limits.tokens_per_day), parallel => shown(k.limits.parallel.map(u64::from)),
            }
        })
        .collect())
}

/// `{"name": …, "admin": "on", "requests_per_minute": …, "tokens_per_day": …, "parallel": …}`, numbers as the form sends them.
/// The key is in the answer, once.
pub(crate) async fn add(
    State(service): State<Service>,
    view: View,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let name = fields.text("name")?.ok_or_else(|| ApiError::missing("name"))?;
    let admin = fields.text("admin")?.is_some();
    let mut number = |field: &str| -> Result<Option<u64>> {
        let text = fields.text(field)?.filter(|t| !t.trim().is_empty());
        let wrong = || {
            ApiError::invalid(
                field,
                view.lang.pick("A whole number above 0 is needed.", "应为大于 0 的整数。"),
            )
        };
        text.map(|t| t.trim().parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(wrong)).transpose()
    };
    let small = |n: Option<u64>| n.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let limits = KeyLimits {
        requests_per_minute: small(number("requests_per_minute")?),
        tokens_per_day: number("tokens_per_day")?,
        parallel: small(number("parallel")?),
    };
    fields.done()?;
    let (actor, worker) = (view.owner.clone(), service.clone());
    let (key, record) = service
        .with_store(move |store| {
            let added = store.add_key(&actor, &name, admin, limits, None)?;
            worker.sync()?;
            Ok(added)
        })
        .await?;
    service.log(&json!({ "event": "key added", "key": record.id }));
    Ok(json_response(&json!({ "id": record.id, "shown": key })))
}

pub(crate) async fn revoke(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let (actor, worker, asked) = (view.owner.clone(), service.clone(), id.clone());
    service
        .with_store(move |store| {
            store.revoke_key(&actor, &asked)?;
            worker.sync()
        })
        .await?;
    service.log(&json!({ "event": "key revoked", "key": id }));
    Ok(json_response(&json!({ "id": id, "location": "/models" })))
}
