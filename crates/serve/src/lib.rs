//! The HTTP service: an OpenAI-compatible API over one base and many adapters. It never prints, reads the environment or
//! exits; whoever runs it hears of every request through a [`LogSink`] and says when to stop.
//!
//! ```text
//! server (connections) ─> http (the door: host, key, request id) ─> chat, completions, … ─> ask (settings)
//!     ─> answers (events to text) ─> reply (whole, or as server-sent events)
//! ```
//!
//! `access` knows who comes and what they may use, `store` what is kept: conversations, feedback, responses, keys.
//!
//! A request's fields are taken one by one (`fields.rs`); what is left over is refused by name, so nothing that would change
//! an answer is ignored in silence.

mod access;
mod admin;
mod answers;
mod anthropic;
mod ask;
mod body;
mod chat;
mod classify;
mod completions;
mod config;
mod embeddings;
mod error;
mod feedback;
mod fields;
mod health;
mod http;
mod keys;
mod metrics;
mod models;
mod openapi;
mod page;
mod picker;
mod reply;
mod responses;
mod routes;
mod score;
mod server;
mod service;
mod slow;
pub mod store;
mod tls;
mod tokens;
mod tools;
mod voice;

pub use config::ServeConfig;
pub use error::ApiError;
pub use keys::Keys;
pub use models::Manner;
pub use page::{
    Answered, Expected, Live, Masked, PageLang, Point, Refusal, RunLine, RunState, SourceRows, Told, Workshop,
};
pub use routes::router;
pub use server::{ServeError, Server};
pub use service::{LogSink, Parts, Service};
