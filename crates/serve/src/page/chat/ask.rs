//! `POST /page/ask`: a question, or another answer to one, put to one or two models; the answers come as events.
//!
//! | field | means |
//! | --- | --- |
//! | `conversation` | where; without it a new one begins |
//! | `text` with `parent` | a question after that answer |
//! | `text` with `edit` | that question asked otherwise: a new branch |
//! | `user` | another answer to that question |
//! | `on` | that answer goes on where it ended |
//! | `models`, `settings`, `system` | who answers, how tokens are chosen (the API's names), the system text of a new conversation |

use super::super::view::{View, safe};
use super::answer::{Lane, run};
use super::{Result, TEXT, TITLE, on_store, shortened, turns};
use crate::answers::{Charge, Job};
use crate::ask::Ask;
use crate::body::Json;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::models::Served;
use crate::service::Service;
use crate::store::{Change, Conversation, Message, NewConversation, NewMessage, Store, StoreError};
use crate::tools::Turn as Said;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most messages before a question that are looked at: more never fit.
pub(super) const READ: usize = 2048;
/// Most models that answer at once.
const LANES: usize = 4;
/// Tokens of an answer where nothing is said.
const USUAL: usize = 512;

/// What is asked.
#[derive(Debug)]
struct Asked {
    conversation: Option<String>,
    text: Option<String>,
    parent: Option<i64>,
    edit: Option<i64>,
    user: Option<i64>,
    on: Option<i64>,
    system: String,
    settings: Value,
}

impl Asked {
    fn take(fields: &mut Fields) -> Result<(Asked, Vec<String>)> {
        let mut number = |name: &str| -> Result<Option<i64>> {
            Ok(fields.count(name, 0, i64::MAX as u64)?.map(|n| n as i64))
        };
        let (parent, edit, user, on) = (number("parent")?, number("edit")?, number("user")?, number("on")?);
        let asked = Asked {
            conversation: fields.text("conversation")?.filter(|c| !c.is_empty()),
            text: fields.text("text")?.filter(|t| !t.trim().is_empty()),
            parent,
            edit,
            user,
            on,
            system: fields.text("system")?.unwrap_or_default(),
            settings: fields.take("settings").unwrap_or_else(|| json!({})),
        };
        let models = fields.list("models", LANES)?.unwrap_or_default();
        let models: Vec<String> =
            models.iter().filter_map(|m| m.as_str()).filter(|m| !m.is_empty()).map(String::from).collect();
        let ways = [asked.text.is_some(), asked.user.is_some(), asked.on.is_some()];
        if ways.iter().filter(|w| **w).count() != 1 {
            return Err(ApiError::invalid("text", "exactly one of \"text\", \"user\" and \"on\" is needed"));
        }
        if models.is_empty() && asked.on.is_none() {
            return Err(ApiError::missing("models"));
        }
        for (name, text) in [("text", asked.text.as_deref()), ("system", Some(asked.system.as_str()))] {
            if text.is_some_and(|t| t.len() > TEXT) {
                return Err(ApiError::invalid(name, format!("\"{name}\" has at most {TEXT} bytes")));
            }
        }
        Ok((asked, models))
    }
}

/// What the store knows of it, before anything is changed.
struct Found {
    head: Option<Conversation>,
    /// up to the question that is there already, or to the answer before a new one; the oldest first
    before: Vec<Message>,
    /// the question that is there already
    question: Option<Message>,
    /// the answer that goes on
    begun: Option<Message>,
}

fn find(store: &Store, owner: &str, asked: &Asked) -> std::result::Result<Found, StoreError> {
    let head = asked.conversation.as_deref().map(|id| store.conversation(owner, id)).transpose()?;
    let begun = asked.on.map(|m| store.message(owner, m)).transpose()?;
    let question = begun.as_ref().and_then(|b| b.parent).or(asked.user);
    let question = question.map(|m| store.message(owner, m)).transpose()?;
    let above = match (&question, asked.edit) {
        (Some(q), _) => q.parent,
        (None, Some(edited)) => store.message(owner, edited)?.parent,
        (None, None) => asked.parent,
    };
    let before = above.map(|leaf| store.branch(owner, leaf, READ)).transpose()?.unwrap_or_default();
    Ok(Found { head, before, question, begun })
}

pub(crate) async fn ask(
    State(service): State<Service>,
    view: View,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let (asked, models) = Asked::take(&mut fields)?;
    fields.done()?;
    let asked = Arc::new(asked);
    let looked = asked.clone();
    let found = on_store(&service, &view, move |store, owner| find(store, owner, &looked)).await?;
    let models = match &found.begun {
        Some(answer) => vec![answer.model.clone()],
        None => models,
    };
    let system = found.head.as_ref().map_or(asked.system.clone(), |h| h.system.clone());
    // everything that can be refused is refused before anything is written down
    let question =
        found.question.as_ref().map(|q| q.content.clone()).or(asked.text.clone()).unwrap_or_default();
    let mut prepared = Vec::new();
    for name in &models {
        let (service, asked, tenant) = (service.clone(), asked.clone(), view.caller.tenant);
        let model = service.models().get(name)?;
        let mut said: Vec<(String, String)> =
            found.before.iter().map(|m| (m.role.clone(), m.content.clone())).collect();
        said.push(("user".into(), question.clone()));
        let (system, begun) = (system.clone(), found.begun.as_ref().map(|b| b.content.clone()));
        let work =
            move || prepare(&service, &asked.settings, model, &system, &said, begun.as_deref(), tenant);
        let made = tokio::task::spawn_blocking(work).await;
        prepared.push(made.map_err(|_| ApiError::internal("a fault of ours while reading the text"))??);
    }
    let begun = prepared.into_iter().map(|p| p.start(&service)).collect::<Result<Vec<Begun>>>()?;
    // what cannot be written down is not answered: the jobs go with it
    let (head, question, answers) = write_down(&service, &view, &asked, found, &begun).await?;
    let lane = |(b, message): (Begun, Message)| Lane {
        ask: b.ask,
        job: b.job,
        message,
        begun: b.begun,
        prompt: b.prompt,
        left_out: b.left_out,
    };
    let lanes: Vec<Lane> = begun.into_iter().zip(answers).map(lane).collect();
    let first = lanes.first().map(|l| l.message.id);
    let mut answers = Vec::new();
    for (i, lane) in lanes.iter().enumerate() {
        answers.push(safe(turns::waiting_html(&view, &lane.message, i, &lane.begun)?));
    }
    let turn = match asked.on {
        // it goes on in its place
        Some(_) => turns::waiting_html(&view, &lanes[0].message, 0, &lanes[0].begun)?,
        None => turns::turn_html(&view, &head.id, &question, answers)?,
    };
    let begin = json!({
        "conversation": head.id, "title": head.title, "location": format!("/c/{}", head.id), "turn": turn,
        "question": question.id, "leaf": first, "on": asked.on, "replaces": asked.user.or(asked.edit),
    });
    Ok(run(service, view, head.id, begin, lanes))
}

/// A request that the engine will take, with what the answer needs to know of it.
struct Prepared {
    ask: Ask,
    requests: Vec<nurture_infer::engine::Request>,
    begun: String,
    /// tokens before the answer
    prompt: usize,
    /// messages that did not fit
    left_out: usize,
}

/// The same at work.
struct Begun {
    ask: Ask,
    job: Job,
    begun: String,
    prompt: usize,
    left_out: usize,
}

impl Prepared {
    fn start(self, service: &Service) -> Result<Begun> {
        let Prepared { ask, requests, begun, prompt, left_out } = self;
        let job = Job::start(service, requests, Charge::Choices(ask.choices), "text")?;
        Ok(Begun { ask, job, begun, prompt, left_out })
    }
}

fn prepare(
    service: &Service,
    settings: &Value,
    model: Arc<Served>,
    system: &str,
    said: &[(String, String)],
    begun: Option<&str>,
    tenant: u64,
) -> Result<Prepared> {
    let mut map = match settings {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    map.retain(|_, v| !v.is_null());
    map.insert("model".into(), model.name.clone().into());
    let mut fields = Fields::inner(Value::Object(map), "settings")?;
    let most = fields.count("max_tokens", 1, u32::MAX.into())?.unwrap_or(USUAL);
    let ask = Ask::take(service, &mut fields, Some(most))?;
    fields.done()?;
    let room = service.context().saturating_sub(most);
    let (mut tokens, left_out) = fit(&model, system, said, room)?;
    let prompt = tokens.len();
    if let Some(begun) = begun {
        let more = model.renderer.tokenizer().encode(begun, false);
        tokens.extend(more.map_err(|e| ApiError::invalid("on", e.to_string()))?);
    }
    let requests = ask.requests(service, tenant, &[tokens], "text", None)?;
    Ok(Prepared { ask, requests, begun: begun.unwrap_or_default().to_string(), prompt, left_out })
}

/// The tokens of a conversation whose oldest messages stay out where all of them do not fit; how many stayed out.
fn fit(model: &Served, system: &str, said: &[(String, String)], room: usize) -> Result<(Vec<u32>, usize)> {
    // a token has seldom more than eight bytes: what cannot fit is not even rendered
    let (mut first, mut bytes) = (said.len().saturating_sub(1), 0);
    while first > 0 && bytes + said[first - 1].1.len() <= room.saturating_mul(8) {
        first -= 1;
        bytes += said[first].1.len();
    }
    loop {
        // a branch begins with a question
        while first + 1 < said.len() && said[first].0 != "user" {
            first += 1;
        }
        let system = (!system.is_empty()).then(|| Said::new("system", system));
        let messages: Vec<Said> = system
            .into_iter()
            .chain(said[first..].iter().map(|(role, text)| Said::new(role, text.as_str())))
            .collect();
        let tokens = model.prompt(messages, None)?;
        if tokens.len() <= room || first + 1 >= said.len() {
            return Ok((tokens, first));
        }
        // what is over, in messages of the usual length
        let each = (tokens.len() / (said.len() - first)).max(1);
        first = (first + ((tokens.len() - room) / each).max(1)).min(said.len() - 1);
    }
}

/// Writes question and empty answers down.
async fn write_down(
    service: &Service,
    view: &View,
    asked: &Arc<Asked>,
    found: Found,
    begun: &[Begun],
) -> Result<(Conversation, Message, Vec<Message>)> {
    let models: Vec<(String, i64)> =
        begun.iter().map(|p| (p.ask.model.name.clone(), p.ask.model.generation() as i64)).collect();
    let asked = asked.clone();
    let settings = asked.settings.to_string();
    on_store(service, view, move |store, owner| {
        let head = match found.head {
            Some(head) => {
                let change = Change { settings: Some(settings), ..Change::default() };
                store.change_conversation(owner, &head.id, &change)?;
                head
            }
            None => {
                let title = shortened(asked.text.as_deref().unwrap_or_default(), TITLE / 2);
                let model = models.first().map(|m| m.0.clone()).unwrap_or_default();
                let system = asked.system.clone();
                store.new_conversation(owner, &NewConversation { title, model, system, settings })?
            }
        };
        let question = match found.question {
            Some(question) => question,
            None => {
                let parent = found.before.last().map(|m| m.id);
                let text = asked.text.clone().unwrap_or_default();
                store.add_message(owner, &head.id, &NewMessage { parent, ..NewMessage::of("user", text) })?
            }
        };
        let answers = match found.begun {
            Some(begun) => vec![begun],
            None => models
                .iter()
                .map(|(model, generation)| {
                    let new = NewMessage {
                        parent: Some(question.id),
                        model: model.clone(),
                        generation: *generation,
                        ..NewMessage::of("assistant", "")
                    };
                    store.add_message(owner, &head.id, &new)
                })
                .collect::<std::result::Result<Vec<_>, _>>()?,
        };
        let leaf = answers.first().map(|a| a.id);
        store.change_conversation(owner, &head.id, &Change { leaf, ..Change::default() })?;
        Ok((head, question, answers))
    })
    .await
}
