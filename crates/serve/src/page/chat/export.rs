//! A conversation as a file: Markdown to read, JSON to work with.

use super::super::query::Pairs;
use super::super::view::{View, date};
use super::on_store;
use crate::error::ApiError;
use crate::service::Service;
use crate::store::{Conversation, Message};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};

/// Most messages of a file.
const MOST: usize = 100_000;

/// The branch that is shown, as `md` or `json`.
pub(crate) async fn export(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    let markdown = match query.get("as") {
        None | Some("md") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("as", "\"as\" can be md or json")),
    };
    let (head, messages) = on_store(&service, &view, move |store, owner| {
        let head = store.conversation(owner, &id)?;
        let messages = head.leaf.map(|leaf| store.branch(owner, leaf, MOST)).transpose()?;
        Ok((head, messages.unwrap_or_default()))
    })
    .await?;
    let (text, kind, ending) = match markdown {
        true => (as_markdown(&head, &messages), "text/markdown; charset=utf-8", "md"),
        false => (as_json(&head, &messages).to_string(), "application/json", "json"),
    };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // the id alone: a title may hold anything
    let name = format!("attachment; filename=\"conversation-{}.{ending}\"", head.id);
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn as_markdown(head: &Conversation, messages: &[Message]) -> String {
    let mut out = format!("# {}\n", head.title);
    if !head.system.is_empty() {
        out.push_str(&format!("\n## system\n\n{}\n", head.system));
    }
    for m in messages {
        let who = if m.model.is_empty() { m.role.clone() } else { format!("{} ({})", m.role, m.model) };
        out.push_str(&format!("\n## {who} · {} UTC\n\n{}\n", date(m.created.max(0) as u64), m.content));
    }
    out
}

fn as_json(head: &Conversation, messages: &[Message]) -> Value {
    let messages: Vec<Value> = messages
        .iter()
        .map(|m| {
            let mut object = json!({ "role": m.role, "content": m.content, "created": m.created });
            if m.role == "assistant" {
                object["model"] = json!(m.model);
                object["generation"] = json!(m.generation);
                object["finish_reason"] = json!(m.finish);
                object["tokens"] = json!(m.tokens);
            }
            object
        })
        .collect();
    let system = (!head.system.is_empty()).then(|| json!({ "role": "system", "content": head.system }));
    let messages: Vec<Value> = system.into_iter().chain(messages).collect();
    json!({ "id": head.id, "title": head.title, "created": head.created, "messages": messages })
}
