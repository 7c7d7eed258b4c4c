//! Signing in and out, and what a reader prefers.

use super::lang::PageLang;
use super::query::{Pairs, local};
use super::session::set_cookie;
use super::view::{LANG, THEME, View};
use crate::error::ApiError;
use crate::service::Service;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use minijinja::context;
use std::time::Duration;

type Result<T> = std::result::Result<T, ApiError>;

/// Most bytes of a form's body.
const FORM: usize = 8 << 10;
/// What a wrong key costs, so that guessing goes slowly.
const WRONG: Duration = Duration::from_millis(700);

/// To another page.
pub(crate) fn to(place: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(value) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn keep(response: &mut Response<Body>, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

pub(crate) async fn form(view: View, RawQuery(query): RawQuery) -> Result<Response<Body>> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    view.page("login.html", context! { next => local(query.get("next")), wrong => false })
}

pub(crate) async fn sign_in(
    State(service): State<Service>,
    view: View,
    request: Request,
) -> Result<Response<Body>> {
    let time = service.config().body_time;
    let body = tokio::time::timeout(time, to_bytes(request.into_body(), FORM)).await;
    let body = body.ok().and_then(|b| b.ok()).ok_or_else(|| ApiError::body("the form did not arrive"))?;
    let form = Pairs::parse(&String::from_utf8_lossy(&body));
    let (key, next) = (form.get("key").unwrap_or_default().trim(), local(form.get("next")));
    if service.access().find(key).is_none() {
        tokio::time::sleep(WRONG).await;
        let mut response = view.page("login.html", context! { next, wrong => true })?;
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let token = service.pages().sessions.begin(key);
    let token = token.ok_or_else(|| ApiError::internal("the system gives no random numbers"))?;
    let mut response = to(next);
    keep(&mut response, &set_cookie(&token, service.secure()));
    Ok(response)
}

pub(crate) async fn sign_out(State(service): State<Service>, request: Request) -> Response<Body> {
    service.pages().sessions.end(request.headers());
    let mut response = to("/login");
    keep(&mut response, &set_cookie("", service.secure()));
    response
}

/// Language and colours: cookies of a year.
pub(crate) async fn set(RawQuery(query): RawQuery) -> Response<Body> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    // `lang` in an address would win over the cookie
    let back = local(query.get("back"));
    let mut response = to(back.split_once("?lang=").map_or(back, |(path, _)| path));
    let mut year = |name: &str, value: &str| {
        keep(&mut response, &format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"));
    };
    if let Some(lang) = query.get("lang") {
        year(LANG, PageLang::of(lang).pick("en", "zh"));
    }
    if let Some(theme @ ("dark" | "light" | "auto")) = query.get("theme") {
        year(THEME, theme);
    }
    response
}
