//! The page of the models: what is served, what it takes, and for whoever may: load and unload.

use super::runs::{ask, time};
use super::view::{View, bytes};
use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::service::Service;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use minijinja::{Value, context};
use serde_json::json;
use std::path::PathBuf;

type Result<T> = std::result::Result<T, ApiError>;

pub(super) fn must_manage(view: &View) -> Result<()> {
    if view.manage {
        return Ok(());
    }
    let message = view.lang.pick("This needs an admin key.", "这需要管理员密钥。");
    Err(ApiError::forbidden("admin_key_needed", message))
}

pub(crate) async fn page(State(service): State<Service>, view: View) -> Result<Response<Body>> {
    let lang = view.lang;
    let runs: Vec<String> = match service.pages().workshop().filter(|_| view.manage) {
        Some(_) => {
            let with_adapter = |w: &dyn super::workshop::Workshop| {
                let names = w.runs().into_iter().map(|r| r.name);
                Ok(names.filter(|n| w.adapter(n).is_some()).collect())
            };
            ask(&service, lang, with_adapter).await?
        }
        None => Vec::new(),
    };
    let base_bytes = service.engine().model().weight_bytes() as u64;
    let models: Vec<Value> = service
        .models()
        .list()
        .iter()
        .map(|m| {
            let size = match &m.path {
                None => base_bytes,
                Some(dir) => size_of(dir),
            };
            // where things lie on the server is nobody's business but the admin's
            let path = m.path.as_ref().filter(|_| view.manage).map(|p| p.display().to_string());
            context! {
                name => &m.name, base => m.adapter.is_none(), size => bytes(size), generation => m.generation(),
                since => m.created, system => m.manner.system.is_some(), path => path.unwrap_or_default(),
            }
        })
        .collect();
    let s = service.engine().stats();
    let page_rows = |n: usize| bytes(n as u64 * s.page_bytes as u64);
    let figures = vec![
        (lang.pick("context (tokens)", "上下文（词元）"), service.context().to_string()),
        (lang.pick("running, waiting", "运行、排队"), format!("{}, {}", s.running, s.waiting)),
        (lang.pick("keys and values in use", "键值占用"), page_rows(s.pages.saturating_sub(s.pages_free))),
        (lang.pick("of at most", "上限"), page_rows(s.pages)),
        (lang.pick("up for", "已运行"), time(service.uptime().as_secs_f64(), lang)),
    ];
    let keys = super::keys::listed(&service, &view).await?;
    view.page("models.html", context! { models, figures, runs, keys, store => service.store().is_some() })
}

/// Bytes of the files in an adapter's folder.
fn size_of(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.filter_map(|e| e.ok()?.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

/// `{"name": …, "run": …}` or `{"name": …, "path": …}`.
pub(crate) async fn load(
    State(service): State<Service>,
    view: View,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let name = fields.text("name")?.ok_or_else(|| ApiError::missing("name"))?;
    let run = fields.text("run")?.filter(|r| !r.is_empty());
    let path = fields.text("path")?.filter(|p| !p.is_empty());
    fields.done()?;
    let dir = match (run, path) {
        (Some(run), _) => {
            let unknown = super::workshop::Refusal::Unknown;
            ask(&service, view.lang, move |w| w.adapter(&run).ok_or(unknown)).await?
        }
        (None, Some(path)) => PathBuf::from(path),
        (None, None) => {
            let message = view.lang.pick("Choose a run or name a folder.", "请选择运行，或写出目录。");
            return Err(ApiError::invalid("path", message));
        }
    };
    let worker = service.clone();
    let loaded = tokio::task::spawn_blocking(move || worker.models().load(&name, &dir)).await;
    let model = loaded.map_err(|_| ApiError::internal("a fault of ours while reading the adapter"))??;
    service.note(view.caller, "adapter loaded", &model.name).await?;
    service.log(&json!({ "event": "adapter loaded", "name": model.name, "generation": model.generation() }));
    Ok(json_response(&json!({ "name": model.name, "location": "/models" })))
}

pub(crate) async fn unload(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    service.models().unload(&name)?;
    service.note(view.caller, "adapter unloaded", &name).await?;
    service.log(&json!({ "event": "adapter unloaded", "name": name }));
    Ok(json_response(&json!({ "name": name, "location": "/models" })))
}
