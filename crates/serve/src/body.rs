//! Bodies of requests: JSON, read within bounds of size, time and depth, and of what all of them take in memory together.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::service::Service;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Time for a body that is too large to be thrown away.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes that all bodies may take together, read and as JSON values.
const TOGETHER: usize = 64 << 20;
/// What one body may always take: large ones of others do not keep an ordinary question out.
const FREE: usize = 64 << 10;

/// What the bodies take that are being read or answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// A part of it, given back with this.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    fn hold(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        let all = self.budget.0.fetch_add(bytes, Relaxed) + bytes;
        if all <= TOGETHER || self.bytes <= FREE {
            return Ok(());
        }
        let message = "too many large bodies are being read at once; try again in a moment";
        let error = ApiError::status(StatusCode::SERVICE_UNAVAILABLE, "too_many_bodies", message);
        Err(ApiError { kind: "server_error", retry_after: Some(1), ..error })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Relaxed);
    }
}

/// A JSON body.
pub(crate) struct Json(pub(crate) Fields);

impl FromRequest<Service> for Json {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Service) -> Result<Json, ApiError> {
        let config = service.config();
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).and_then(|v| v.to_str().ok());
        let kind = header(header::CONTENT_TYPE).unwrap_or_default();
        // a browser sends other kinds to other sites without asking
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let message = "the body must be sent with `Content-Type: application/json`";
            return Err(ApiError::status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                message,
            ));
        }
        let length = header(header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
        if length.is_some_and(|n| n > config.body as u64) {
            // a client that is still writing would not hear a connection that is closed at once
            _ = tokio::time::timeout(LINGER, discard(body, config.body * 4)).await;
            return Err(too_large(config.body));
        }
        let mut held = service.bodies().hold();
        let read = read(body, config.body, &mut held);
        let bytes = tokio::time::timeout(config.body_time, read).await.map_err(|_| {
            let message = format!("the body did not arrive within {} s", config.body_time.as_secs());
            ApiError::status(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })??;
        // what it takes as values is known before they are made
        let values = Fields::weight(&bytes)?;
        if values > TOGETHER / 2 + bytes.len() {
            let message = "the body holds too many values: send fewer at once";
            return Err(ApiError::status(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
        }
        held.grow(values)?;
        Fields::parse(&bytes).map(|fields| Json(fields.holding(held)))
    }
}

fn too_large(most: usize) -> ApiError {
    let message = format!("the body is larger than {most} bytes");
    ApiError::status(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

async fn read(mut body: Body, most: usize, held: &mut Held) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::body(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(too_large(most));
        }
        held.grow(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads what nobody wants, at most so many bytes.
async fn discard(mut body: Body, mut most: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |d| d.len());
        most = match most.checked_sub(bytes) {
            Some(left) => left,
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_what_there_is_and_small_ones_always_come_in() {
        let budget = Budget::default();
        let mut large: Vec<Held> = (0..8).map(|_| budget.hold()).collect();
        for held in &mut large {
            held.grow(TOGETHER / 8).unwrap();
        }
        let mut one_more = budget.hold();
        let refused = one_more.grow(FREE + 1).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (503, Some(1)));
        drop(one_more);
        budget.hold().grow(FREE).unwrap();
        drop(large.pop());
        budget.hold().grow(TOGETHER / 8).unwrap();
        drop(large);
        assert_eq!(budget.0.load(Relaxed), 0, "all is given back");
    }
}
