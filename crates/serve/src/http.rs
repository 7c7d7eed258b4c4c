//! What happens to every request before and after its route: one door for all routes and all forms of keys.

use crate::access::Access;
use crate::error::ApiError;
use crate::page;
use crate::service::Service;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use serde_json::json;
use std::net::IpAddr;
use std::time::Instant;
use tokio::sync::Semaphore;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const URI_BYTES: usize = 8 << 10;
/// The connection's own buffer bounds a head only roughly.
const HEAD_BYTES: usize = 32 << 10;
/// Texts of more bytes are worked on beside the threads that serve connections.
const LONG_TEXT: usize = 4 << 10;
/// So many at once: tokens of a text take many times its room, and more would not be sooner.
static LONG_TEXTS: Semaphore = Semaphore::const_new(2);

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller {
    /// the key; 0 without keys
    pub(crate) tenant: u64,
    pub(crate) admin: bool,
}

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Routes that need no key: whether it lives. Of the pages: [`page::is_public`].
const PUBLIC: &[&str] = &["/health/live", "/health/ready"];

/// The door.
pub(crate) async fn door(State(service): State<Service>, mut request: Request, next: Next) -> Response<Body> {
    let begin = Instant::now();
    let id = request_id(&service, request.headers());
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_string());
    let route = matched.unwrap_or_else(|| "unknown".into());
    let peer = request.extensions().get::<Peer>().map(|p| p.0.to_string());
    let mut response = match admit(&service, &request) {
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            page::to_login(&request).unwrap_or_else(|| error.into_response())
        }
        Err(error) => error.into_response(),
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    if route.starts_with("/v1/messages")
        && let Some(error) = response.extensions().get::<ApiError>()
    {
        let body = error.anthropic().to_string();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    let status = response.status();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    service.metrics().responded(&route, status.as_u16());
    // health checks would drown everything else
    if !(route.starts_with("/health/") && status.is_success()) {
        let code = response.extensions().get::<ApiError>().and_then(|e| e.code).unwrap_or_default();
        service.log(&json!({
            "event": "request", "id": id, "peer": peer, "method": method.as_str(), "route": route,
            "status": status.as_u16(), "code": code, "ms": begin.elapsed().as_secs_f64() * 1e3,
        }));
    }
    response
}

/// The client's own id where it is a plain word, else a new one.
fn request_id(service: &Service, headers: &HeaderMap) -> String {
    let plain = |s: &&str| {
        (1..=128).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let own = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(plain);
    own.map_or_else(|| format!("req-{:016x}", service.random()), String::from)
}

fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path) || page::is_public(path)
}

fn admit(service: &Service, request: &Request) -> Result<Caller, ApiError> {
    let uri = request.uri();
    if uri.to_string().len() > URI_BYTES {
        let message = format!("the address is longer than {URI_BYTES} bytes");
        return Err(ApiError::status(StatusCode::URI_TOO_LONG, "uri_too_long", message));
    }
    let head: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > HEAD_BYTES {
        let message = format!("the headers are larger than {HEAD_BYTES} bytes");
        return Err(ApiError::status(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            message,
        ));
    }
    check_host(service, request)?;
    let of_page = page::is_page(uri.path());
    if of_page && page::from_elsewhere(request) {
        let message = "another site's page may not change anything here";
        return Err(ApiError::forbidden("cross_site_request", message));
    }
    let key = key(request.headers()).map(Access::hash);
    // a session stands for the key that it was begun with, on the pages alone
    let key = key.or_else(|| service.pages().sessions.key(request.headers()).filter(|_| of_page));
    let caller = key.and_then(|k| service.access().find_hash(&k));
    match caller {
        Some(caller) => {
            if request.method() == Method::POST {
                service.access().request(caller)?;
            }
            Ok(caller)
        }
        None if !service.is_closed() || is_public(uri.path()) => Ok(Caller::default()),
        None => Err(ApiError::unauthorized()),
    }
}

/// The key: `Authorization: Bearer KEY`, or `X-Api-Key: KEY`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let bearer = text(&header::AUTHORIZATION).and_then(|v| {
        let (scheme, key) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| text(&HeaderName::from_static("x-api-key")))
}

/// A page of another site must not reach a service of this machine by a name that it made point here (DNS rebinding).
/// Where the service listens to others too it has a key, which no such page knows; then only given names are asked for.
fn check_host(service: &Service, request: &Request) -> Result<(), ApiError> {
    let config = service.config();
    let own = config.address.ip().is_loopback();
    if !own && config.hosts.is_empty() {
        return Ok(());
    }
    // an address that names a host counts before the header, and two headers count as none
    let mut headers = request.headers().get_all(header::HOST).iter();
    let header = headers.next().filter(|_| headers.next().is_none()).and_then(|v| v.to_str().ok());
    let host = request.uri().authority().map(|a| a.as_str()).or(header).unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || !own);
    if local || config.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let message =
        format!("the host `{}` is not served here; `--allow-host` permits a name", name.escape_debug());
    Err(ApiError::forbidden("host_not_allowed", message))
}

/// Does work on `size` bytes of text: at once if it is little, else on a thread of its own, a few at a time.
pub(crate) async fn aside<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if size < LONG_TEXT {
        return Ok(work());
    }
    let fault = || ApiError::internal("a fault of ours while reading the text");
    let place = LONG_TEXTS.acquire().await.map_err(|_| fault())?;
    // the place goes with the work: a client that leaves does not end it
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| fault())
}
