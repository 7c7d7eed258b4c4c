//! All routes.

use crate::error::ApiError;
use crate::service::Service;
use crate::{admin, chat, classify, completions, embeddings, health, http, page, tokens};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

/// The whole service as a router.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/classify", post(classify::classify))
        .route("/v1/models", get(health::models))
        .route("/v1/models/{name}", get(health::model))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/admin/adapters", get(admin::list).post(admin::load))
        .route("/admin/adapters/{name}", delete(admin::unload))
        .merge(page::routes(&service))
        .fallback(|| async { ApiError::not_found("unknown_route", "there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            let message = "this address does not take this method";
            ApiError::status(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(from_fn_with_state(service.clone(), http::door))
        .with_state(service)
}
