//! The pages: chat, runs, data, models. Made by the server from templates, with small scripts of our own; nothing is fetched
//! from elsewhere, and no script stands inside a page.
//!
//! Left out on purpose: a build step, frameworks, pictures, a second way to the model (chats go through the same settings,
//! queue and engine as the API).

mod chat;
mod colours;
mod curve;
mod data;
mod keys;
mod lang;
mod markdown;
mod models;
mod query;
mod recipe;
mod runs;
mod session;
mod sign;
mod view;
mod workshop;

pub use lang::{PageLang, Told};
pub use workshop::{
    Answered, Expected, Live, Masked, Point, Refusal, RunLine, RunState, SourceRows, Workshop,
};

use crate::error::ApiError;
use crate::service::Service;
use crate::store::Store;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use bytes::Bytes;
use minijinja::context;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, OnceLock};

/// Nothing but this site's own files; frames show only what it serves itself, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The files of the pages: name, kind, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("base.mjs", "text/javascript; charset=utf-8", include_str!("assets/base.mjs")),
    ("chat.mjs", "text/javascript; charset=utf-8", include_str!("assets/chat.mjs")),
];

/// Most bytes of conversations without a store.
const FORGETFUL: i64 = 64 << 20;

/// What the pages keep beside the service.
#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) sessions: session::Sessions,
    workshop: OnceLock<runs::Shared>,
    /// conversations of a service without a store: they end with it
    forgetful: Mutex<Option<Arc<Store>>>,
}

impl Pages {
    pub(crate) fn workshop(&self) -> Option<runs::Shared> {
        self.workshop.get().cloned()
    }

    /// Where conversations are kept.
    pub(crate) fn store(&self, service: &Service) -> Result<Arc<Store>, ApiError> {
        if let Some(store) = service.store() {
            return Ok(store.clone());
        }
        let mut forgetful = self.forgetful.lock().unwrap_or_else(|e| e.into_inner());
        Ok(match &*forgetful {
            Some(store) => store.clone(),
            None => forgetful.insert(Arc::new(Store::in_memory_of(FORGETFUL)?)).clone(),
        })
    }

    /// Opens the pages of runs and data; only the first call counts.
    pub(crate) fn open(&self, workshop: Arc<dyn Workshop>) {
        _ = self.workshop.set(workshop);
    }
}

/// Routes of the pages.
pub(crate) fn routes(service: &Service) -> Router<Service> {
    Router::new()
        .route("/", get(chat::new))
        .route("/c/{id}", get(chat::conversation))
        .route("/c/{id}/export", get(chat::export))
        .route("/page/ask", post(chat::ask))
        .route("/page/history", get(chat::history))
        .route("/page/c/{id}", get(chat::earlier).post(chat::change).delete(chat::delete))
        .route("/page/feedback", post(chat::feedback))
        .route("/runs", get(runs::list))
        .route("/runs/new", get(runs::new))
        .route("/runs/{name}", get(runs::run))
        .route("/page/runs", get(runs::list_part).post(runs::start))
        .route("/page/recipe", post(runs::compose))
        .route("/page/runs/{name}/live", get(runs::live))
        .route("/page/runs/{name}/report", get(runs::report))
        .route("/page/runs/{name}/stop", post(runs::stop))
        .route("/page/runs/{name}/resume", post(runs::resume))
        .route("/data", get(data::list))
        .route("/data/{name}", get(data::run))
        .route("/page/data/{name}/examples", get(data::examples))
        .route("/models", get(models::page))
        .route("/page/models", post(models::load))
        .route("/page/models/{name}/unload", post(models::unload))
        .route("/page/keys", post(keys::add))
        .route("/page/keys/{id}/revoke", post(keys::revoke))
        .route("/login", get(sign::form).post(sign::sign_in))
        .route("/logout", post(sign::sign_out))
        .route("/page/set", get(sign::set))
        .route("/page/{asset}", get(asset))
        .layer(from_fn_with_state(service.clone(), dress))
}

/// Whether an address belongs to the pages: there a session counts, and other sites are kept out.
pub(crate) fn is_page(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "" | "c" | "runs" | "data" | "models" | "login" | "logout" | "page")
}

/// Whether an address holds no data of anybody.
pub(crate) fn is_public(path: &str) -> bool {
    path == "/login"
        || path == "/page/set"
        || ASSETS.iter().any(|(name, ..)| path.strip_prefix("/page/") == Some(name))
}

/// Whether a request that changes something comes from our own pages. A session's cookie is not sent along from other sites
/// in the first place; this also guards a service without keys, and the form of signing in.
pub(crate) fn from_elsewhere(request: &Request) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let text = |name: &HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    match text(&HeaderName::from_static("sec-fetch-site")) {
        Some(site) => !matches!(site, "same-origin" | "none"),
        None => match (text(&header::ORIGIN), text(&header::HOST)) {
            (None, _) => false,
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_none_or(|(_, o)| !o.eq_ignore_ascii_case(host))
            }
            (Some(_), None) => true,
        },
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("text/html"))
}

/// A reader without a session is shown the way to one; scripts and other clients get the error.
pub(crate) fn to_login(request: &Request) -> Option<Response<Body>> {
    let asks =
        *request.method() == Method::GET && is_page(request.uri().path()) && wants_html(request.headers());
    let place = query::local(request.uri().path_and_query().map(|p| p.as_str()));
    asks.then(|| match place {
        "/" => sign::to("/login"),
        place => sign::to(&format!("/login?next={}", query::in_path(place))),
    })
}

/// What every page wears; errors become pages where a person reads them.
async fn dress(State(service): State<Service>, request: Request, next: Next) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let reader = wants_html(&parts.headers);
    let view = view::View::of(&service, &parts);
    parts.extensions.insert(view.caller);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    let code = response.extensions().get::<ApiError>().cloned();
    if let Some(code) = code.filter(|_| reader && !status.is_success()) {
        let told =
            axum::body::to_bytes(std::mem::take(response.body_mut()), 64 << 10).await.unwrap_or_default();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap_or_default();
        let message = told["error"]["message"].as_str().unwrap_or_default();
        if let Ok(mut page) = view.page("error.html", context! { status => status.as_u16(), message }) {
            *page.status_mut() = status;
            page.extensions_mut().insert(code);
            response = page;
        }
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A file of the pages; a browser that has it already is told so.
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response<Body> {
    let Some((_, kind, text)) = ASSETS.iter().find(|(n, ..)| *n == name) else {
        return ApiError::not_found("unknown_route", "there is nothing at this address").into_response();
    };
    let tag: String = Sha256::digest(text).iter().take(12).map(|b| format!("{b:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let same =
        headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|t| t.contains(&tag));
    let mut response = Response::new(if same { Body::empty() } else { Body::from(*text) });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// A stream of events from a channel.
fn events(receiver: tokio::sync::mpsc::Receiver<Bytes>) -> Response<Body> {
    let mut response = Response::new(runs::stream(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // proxies that collect answers would spoil it
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_pages_are_known() {
        for path in ["/", "/c/x", "/runs", "/page/ask", "/login"] {
            assert!(is_page(path), "{path}");
        }
        for path in ["/v1/models", "/metrics", "/admin/adapters", "/health/live", "/datax"] {
            assert!(!is_page(path), "{path}");
        }
        assert!(is_public("/page/style.css") && is_public("/login"));
        assert!(
            !is_public("/page/ask")
                && !is_public("/")
                && !is_public("/page/style.css/x")
                && !is_public("/page/")
        );
    }

    #[test]
    fn other_sites_change_nothing() {
        let asked = |method: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri("/page/ask");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            from_elsewhere(&request.body(Body::empty()).unwrap())
        };
        assert!(!asked("POST", &[("sec-fetch-site", "same-origin")]));
        assert!(
            asked("POST", &[("sec-fetch-site", "cross-site")])
                && asked("DELETE", &[("sec-fetch-site", "same-site")])
        );
        assert!(!asked("POST", &[("origin", "http://a:1"), ("host", "a:1")]) && !asked("POST", &[]));
        assert!(
            asked("POST", &[("origin", "http://b:1"), ("host", "a:1")])
                && asked("POST", &[("origin", "null"), ("host", "a")])
        );
        assert!(!asked("GET", &[("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, _, text) in ASSETS {
            assert!(!text.contains("http://") && !text.contains("https://"), "{name}");
            // no way from text to markup or code but the server's own pieces
            assert!(!text.contains("eval(") && !text.contains("document.write"), "{name}");
        }
        assert!(!POLICY.contains("unsafe"));
    }
}
