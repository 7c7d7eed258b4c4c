//! The chat: conversations as trees of messages, shown branch by branch.

mod answer;
mod ask;
mod export;
mod turns;

pub(crate) use ask::ask;
pub(crate) use export::export;

use super::lang::PageLang;
use super::query::{Pairs, in_path};
use super::view::{View, html, safe};
use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::service::Service;
use crate::store::{Change, NewFeedback, Store, StoreError, Verdict};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::Response;
use minijinja::{Value, context};
use serde_json::json;

type Result<T> = std::result::Result<T, ApiError>;

/// Conversations of a page of the history.
const HISTORY: usize = 40;
/// Turns of a page of a conversation.
const TURNS: usize = 20;
/// Longest title, in characters.
const TITLE: usize = 120;
/// Longest question or system text, in bytes.
const TEXT: usize = 1 << 20;

/// Does work on the store on a thread that may wait for the disk.
async fn on_store<T: Send + 'static>(
    service: &Service,
    view: &View,
    work: impl FnOnce(&Store, &str) -> std::result::Result<T, StoreError> + Send + 'static,
) -> Result<T> {
    let (owner, lang) = (view.owner.clone(), view.lang);
    let store = service.pages().store(service)?;
    let done = tokio::task::spawn_blocking(move || work(&store, &owner)).await;
    done.map_err(|_| ApiError::internal("a fault of ours while asking the store"))?.map_err(|e| told(e, lang))
}

fn told(error: StoreError, lang: PageLang) -> ApiError {
    match error {
        StoreError::Missing { .. } => {
            ApiError::not_found("not_found", lang.pick("There is no such conversation.", "没有这个对话。"))
        }
        StoreError::Invalid { what, .. } => ApiError::invalid(what, error.to_string()),
        other => ApiError::internal(other.to_string()),
    }
}

/// An empty conversation.
pub(crate) async fn new(
    State(service): State<Service>,
    view: View,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    let asked = query.get("q").unwrap_or_default().to_string();
    let (list, more) = listed(&service, &view, asked.clone(), None).await?;
    let models = service.model_names();
    // the deep model first and its base beside it, where there is one
    let chosen = models.get(1).or(models.first()).cloned().unwrap_or_default();
    let beside = if models.len() > 1 { models[0].clone() } else { String::new() };
    let values = context! {
        id => "", title => "", turns => "", earlier => "", system => "", chosen, beside, used => 0, at => "", settings => "{}",
    };
    page(&service, &view, values, list, more, &asked)
}

/// A conversation: the branch that was shown last, or the one of message `at`.
pub(crate) async fn conversation(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    let at = query.number("at");
    let (head, branch) = on_store(&service, &view, move |store, owner| {
        let head = store.conversation(owner, &id)?;
        let leaf = match at {
            // a message of another conversation is none of this one
            Some(message) => {
                let leaf = store.newest_leaf(owner, message)?;
                store.change_conversation(owner, &id, &Change { leaf: Some(leaf), ..Change::default() })?;
                Some(leaf)
            }
            None => head.leaf,
        };
        let branch = leaf.map(|leaf| turns::read(store, owner, leaf, TURNS)).transpose()?.unwrap_or_default();
        Ok((head, branch))
    })
    .await?;
    let (list, more) = listed(&service, &view, String::new(), None).await?;
    let (earlier, leaf) = (branch.earlier, branch.leaf);
    let (used, last) = (branch.used.tokens, branch.used.models.clone());
    let turns = made(&view, branch, &head.id).await?;
    let names = service.model_names();
    let known = |name: Option<&String>| name.filter(|n| names.contains(n)).cloned();
    let chosen = known(last.first()).or_else(|| names.get(1).or(names.first()).cloned()).unwrap_or_default();
    let beside = known(last.get(1)).unwrap_or_default();
    let number = |m: Option<i64>| m.map_or(String::new(), |m| m.to_string());
    let values = context! {
        id => head.id, title => head.title, turns => safe(turns), system => head.system, chosen, beside,
        earlier => number(earlier), used, at => number(leaf), settings => head.settings,
    };
    page(&service, &view, values, list, more, "")
}

/// Rendering of texts does not hold up the threads that serve connections.
async fn made(view: &View, branch: turns::Branch, conversation: &str) -> Result<String> {
    let (view, conversation) = (view.clone(), conversation.to_string());
    let made = tokio::task::spawn_blocking(move || branch.html(&view, &conversation)).await;
    made.map_err(|_| ApiError::internal("a fault of ours while making a page"))?
}

fn page(
    service: &Service,
    view: &View,
    values: Value,
    list: String,
    more: String,
    asked: &str,
) -> Result<Response<Body>> {
    let words = context! {
        copy => view.lang.pick("Copy", "复制"),
        copied => view.lang.pick("Copied", "已复制"),
        sure => view.lang.pick("Sure?", "确定？"),
        lost => view.lang.pick("The server cannot be reached.", "无法连接服务器。"),
        answers => view.lang.pick("The model is answering", "模型正在回答"),
        answered => view.lang.pick("The answer is complete", "回答完毕"),
        stopped => view.lang.pick("Stopped", "已停止"),
        thanks => view.lang.pick("Noted", "已记下"),
        left_out => view.lang.pick("the oldest {n} messages did not fit and were not read", "最早的 {n} 条消息放不下，未被读取"),
    };
    let own = context! {
        models => service.model_names(), context => service.context(), list => safe(list), more, asked, words,
    };
    view.page("chat.html", context! { ..values, ..own })
}

/// A page of the history as HTML, and where the next one begins.
async fn listed(
    service: &Service,
    view: &View,
    asked: String,
    after: Option<(i64, String)>,
) -> Result<(String, String)> {
    let mut found = on_store(service, view, move |store, owner| {
        let after = after.as_ref().map(|(time, id)| (*time, id.as_str()));
        store.conversations(owner, Some(asked.trim()), after, HISTORY + 1)
    })
    .await?;
    let more = if found.len() > HISTORY {
        found.truncate(HISTORY);
        found.last().map(|c| format!("{}.{}", c.updated, c.id)).unwrap_or_default()
    } else {
        String::new()
    };
    let conversations: Vec<Value> = found
        .iter()
        .map(|c| context! { id => &c.id, title => &c.title, updated => c.updated.max(0) as u64 })
        .collect();
    Ok((view.part("history.html", context! { conversations, more => &more })?, more))
}

/// A part of the history: `q` in title or text, `after` a place.
pub(crate) async fn history(
    State(service): State<Service>,
    view: View,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    let after = query
        .get("after")
        .and_then(|a| a.split_once('.'))
        .and_then(|(t, id)| Some((t.parse().ok()?, id.to_string())));
    let asked = query.get("q").unwrap_or_default().to_string();
    Ok(html(listed(&service, &view, asked, after).await?.0))
}

/// The turns before message `before` (an answer), with what leads further up.
pub(crate) async fn earlier(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>> {
    let query = Pairs::parse(query.as_deref().unwrap_or_default());
    let before = query.number("before").ok_or_else(|| ApiError::missing("before"))?;
    let asked = id.clone();
    let branch = on_store(&service, &view, move |store, owner| {
        store.conversation(owner, &asked)?;
        turns::read(store, owner, before, TURNS)
    })
    .await?;
    let earlier = branch.earlier.map_or(String::new(), |m| m.to_string());
    let turns = made(&view, branch, &id).await?;
    let button = view.part("earlier.html", context! { earlier })?;
    Ok(html(button + &turns))
}

/// `{"title": …}` or `{"leaf": …}`.
pub(crate) async fn change(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let title = fields.text("title")?.map(|t| shortened(&t, TITLE)).filter(|t| !t.is_empty());
    let leaf = fields.count("leaf", 0, i64::MAX as u64)?.map(|n| n as i64);
    fields.done()?;
    let place = format!("/c/{}", in_path(&id));
    on_store(&service, &view, move |store, owner| {
        let leaf = leaf.map(|m| store.newest_leaf(owner, m)).transpose()?;
        store.change_conversation(owner, &id, &Change { title, leaf, ..Change::default() })
    })
    .await?;
    Ok(json_response(&json!({ "location": place })))
}

pub(crate) async fn delete(
    State(service): State<Service>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    on_store(&service, &view, move |store, owner| store.delete_conversation(owner, &id)).await?;
    Ok(json_response(&json!({ "location": "/" })))
}

/// `{"conversation": …, "message": …, "verdict": "up" | "down" | "right" | "edited" | "none", "correction": …}`.
pub(crate) async fn feedback(
    State(service): State<Service>,
    view: View,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let conversation = fields.text("conversation")?.ok_or_else(|| ApiError::missing("conversation"))?;
    let message =
        fields.count("message", 0, i64::MAX as u64)?.ok_or_else(|| ApiError::missing("message"))? as i64;
    let word = fields.text("verdict")?.ok_or_else(|| ApiError::missing("verdict"))?;
    let correction = fields.text("correction")?.filter(|c| !c.trim().is_empty());
    fields.done()?;
    let verdict = match (word.as_str(), Verdict::of(&word)) {
        ("none", _) => None,
        (_, Some(verdict)) => Some(verdict),
        _ => return Err(ApiError::invalid("verdict", "\"verdict\" can be up, down, right, edited or none")),
    };
    on_store(&service, &view, move |store, owner| {
        let Some(verdict) = verdict else { return store.withdraw_feedback(owner, message).map(|_| ()) };
        let answer = store.message(owner, message)?;
        let before =
            answer.parent.map(|p| store.branch(owner, p, ask::READ)).transpose()?.unwrap_or_default();
        let system = store.conversation(owner, &conversation)?.system;
        let system = (!system.is_empty()).then(|| json!({ "role": "system", "content": system }));
        let said = before.iter().map(|m| json!({ "role": m.role, "content": m.content }));
        let prompt: Vec<serde_json::Value> = system.into_iter().chain(said).collect();
        let new = NewFeedback {
            message: Some(message),
            verdict,
            model: answer.model,
            generation: answer.generation,
            prompt: json!(prompt).to_string(),
            answer: answer.content,
            correction,
            comment: String::new(),
        };
        store.give_feedback(owner, &new).map(|_| ())
    })
    .await?;
    Ok(json_response(&json!({ "kept": true })))
}

/// The first words of a text on one line.
fn shortened(text: &str, most: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", flat[..end].trim_end()),
        None => flat,
    }
}
