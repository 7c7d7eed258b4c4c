//! Every answer that is not the one that was asked for, in OpenAI's shape: `{"error": {message, type, param, code}}`.

use crate::store::StoreError;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use nurture_infer::engine::Refused;
use serde_json::{Value, json};

/// What a client is told when something is wrong with its request, or with us.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// HTTP status
    pub status: StatusCode,
    /// OpenAI's `type`
    pub kind: &'static str,
    /// OpenAI's `code`
    pub code: Option<&'static str>,
    /// the field that is to blame
    pub param: Option<String>,
    /// what is wrong and what to do
    pub message: String,
    /// seconds after which a new try makes sense
    pub retry_after: Option<u64>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> ApiError {
        ApiError { status, kind, code: Some(code), param: None, message: message.into(), retry_after: None }
    }

    /// A field with a value that cannot be.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::BAD_REQUEST, INVALID, "invalid_value", message);
        ApiError { param: Some(param.into()), ..error }
    }

    /// A field or value that the API knows and this server does not do.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("unsupported_parameter"), ..ApiError::invalid(param, message) }
    }

    /// A field that is missing.
    pub fn missing(param: &str) -> ApiError {
        let message = format!("you must provide the parameter \"{param}\"");
        ApiError { code: Some("missing_required_parameter"), ..ApiError::invalid(param, message) }
    }

    /// A field that nobody knows.
    pub fn unknown(param: &str) -> ApiError {
        let message = format!("Unrecognized request argument supplied: {param}");
        ApiError { code: Some("unknown_parameter"), ..ApiError::invalid(param, message) }
    }

    /// A body that cannot be read.
    pub fn body(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, "invalid_json", message)
    }

    /// A prompt (with its answer) that does not fit.
    pub fn too_long(param: &str, context: usize, prompt: usize, answer: Option<usize>) -> ApiError {
        let message = match answer {
            None => format!(
                "This model's maximum context length is {context} tokens, but the prompt has {prompt} tokens and needs room \
                 for an answer. Please shorten it."
            ),
            Some(answer) => format!(
                "This model's maximum context length is {context} tokens, but {} tokens were requested: {prompt} in the \
                 prompt and {answer} for the answer. Please reduce either.",
                prompt + answer
            ),
        };
        ApiError { code: Some("context_length_exceeded"), ..ApiError::invalid(param, message) }
    }

    /// A text that cannot fit, whatever its tokens are.
    pub fn too_many_bytes(param: &str, context: usize, bytes: usize) -> ApiError {
        let message = format!(
            "This model's maximum context length is {context} tokens, but the text has {bytes} bytes, which are more tokens than \
             that. Please shorten it."
        );
        ApiError { code: Some("context_length_exceeded"), ..ApiError::invalid(param, message) }
    }

    /// A schema that nothing can follow, which shows itself only on the way.
    pub fn rule(why: &str) -> ApiError {
        let message = format!("the schema of the answer or of a tool cannot be followed: {why}");
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, "invalid_schema", message)
    }

    /// No key, or a wrong one.
    pub fn unauthorized() -> ApiError {
        let message = "Incorrect or missing API key: send it as `Authorization: Bearer KEY`";
        ApiError::new(StatusCode::UNAUTHORIZED, INVALID, "invalid_api_key", message)
    }

    /// Not for this caller.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", code, message)
    }

    /// No such model, route or adapter.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, INVALID, code, message)
    }

    /// No model of that name.
    pub fn no_model(name: &str) -> ApiError {
        let message = format!("The model `{name}` does not exist here; GET /v1/models lists those that do");
        ApiError { param: Some("model".into()), ..ApiError::not_found("model_not_found", message) }
    }

    /// What needs the store, without one.
    pub fn no_store() -> ApiError {
        let message = "this server runs without a store (`--no-store`), so nothing is kept";
        ApiError::new(StatusCode::NOT_IMPLEMENTED, INVALID, "no_store", message)
    }

    /// Another status of the protocol.
    pub fn status(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(status, INVALID, code, message)
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error", message)
    }

    /// The time for the request is over.
    pub fn deadline() -> ApiError {
        let message = "the request took longer than this server allows and was ended";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "deadline_exceeded", message)
    }

    /// The server goes down.
    pub fn closing() -> ApiError {
        let message = "the server is shutting down and takes no more requests";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "shutting_down", message);
        ApiError { retry_after: Some(5), ..error }
    }

    /// Too many at once; `waiting` requests wait.
    pub fn busy(waiting: usize) -> ApiError {
        let message = format!("{waiting} requests wait already, more are not taken; try again later");
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue_full", message);
        ApiError { retry_after: Some(1 + waiting as u64 / 16), ..error }
    }

    /// The schemas and tools of all requests take what they may.
    pub fn crowded() -> ApiError {
        let message = "the schemas and tools of the requests at work take all the memory that is set aside for them; try again \
                       later, and if that does not help, with a simpler schema or fewer choices";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "too_many_rules", message);
        ApiError { retry_after: Some(2), ..error }
    }

    /// What the engine's door said about a prompt in field `param`.
    pub fn refused(param: &str, refused: &Refused) -> ApiError {
        match refused {
            Refused::TooLong { tokens, context } => ApiError::too_long(param, *context, *tokens, None),
            Refused::NeverFits { tokens, room } => ApiError::too_long(param, *room, *tokens, None),
            Refused::QueueFull { waiting } => ApiError::busy(*waiting),
            Refused::Closing => ApiError::closing(),
            Refused::Gone => ApiError::internal(refused.to_string()),
            Refused::Empty | Refused::Token { .. } => ApiError::invalid(param, refused.to_string()),
            Refused::Adapter { .. } => ApiError::invalid("model", refused.to_string()),
        }
    }

    /// The same in Anthropic's shape.
    pub(crate) fn anthropic(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        json!({ "type": "error", "error": { "type": kind, "message": self.message } })
    }

    /// The object under `error`.
    pub fn object(&self) -> Value {
        json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.code })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match &error {
            StoreError::Missing { .. } => ApiError::not_found("not_found", error.to_string()),
            StoreError::Invalid { what, .. } => ApiError::invalid(*what, error.to_string()),
            _ => ApiError::internal(error.to_string()),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = json_response(&json!({ "error": self.object() }));
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // for the log line, and for routes with a shape of their own
        response.extensions_mut().insert(self);
        response
    }
}

/// A response with a JSON body.
pub(crate) fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
