//! Answers on their way: pieces of text become closed blocks and an open one, and in the end a message in the store. A reader
//! who goes away, or presses stop, ends it; what was said until then is kept.

use super::super::markdown;
use super::super::view::View;
use super::turns;
use crate::answers::{Answers, Job, Said};
use crate::ask::Ask;
use crate::error::ApiError;
use crate::service::Service;
use crate::store::{Message, Revision};
use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Sender, channel};

/// How often a reader is shown more.
const SHOW: Duration = Duration::from_millis(60);
/// How often what was said is written down while it goes on.
const KEEP: Duration = Duration::from_secs(5);
/// A silent stream says so often that it lives.
const PING: Duration = Duration::from_secs(15);

/// One model that answers.
pub(super) struct Lane {
    pub(super) ask: Ask,
    pub(super) job: Job,
    pub(super) message: Message,
    /// what stood there before
    pub(super) begun: String,
    /// tokens before the answer
    pub(super) prompt: usize,
    /// messages that did not fit
    pub(super) left_out: usize,
}

/// Answers with events: `begin`, then `text` and `end` of each lane.
pub(super) fn run(
    service: Service,
    view: View,
    conversation: String,
    begin: Value,
    lanes: Vec<Lane>,
) -> Response<Body> {
    let (sender, receiver) = channel::<Bytes>(16);
    tokio::spawn(async move {
        // nobody else holds the channel yet, and it has room
        _ = sender.send(event("begin", &begin)).await;
        for (i, lane) in lanes.into_iter().enumerate() {
            let (service, view, sender) = (service.clone(), view.clone(), sender.clone());
            let conversation = conversation.clone();
            tokio::spawn(async move {
                Answering::new(&lane).run(service, view, conversation, i, lane, sender).await
            });
        }
    });
    super::super::events(receiver)
}

fn event(name: &str, value: &Value) -> Bytes {
    format!("event: {name}\ndata: {value}\n\n").into()
}

/// How far an answer is.
struct Answering {
    text: String,
    /// bytes of the text whose blocks are closed and were sent
    closed: usize,
    tokens: i64,
    began: Instant,
    first: Option<Instant>,
    shown: Instant,
    kept: Instant,
}

impl Answering {
    fn new(lane: &Lane) -> Answering {
        let now = Instant::now();
        let closed = lane.begun.len();
        Answering {
            text: lane.begun.clone(),
            closed,
            tokens: 0,
            began: now,
            first: None,
            shown: now,
            kept: now,
        }
    }

    async fn run(
        mut self,
        service: Service,
        view: View,
        conversation: String,
        number: usize,
        lane: Lane,
        sender: Sender<Bytes>,
    ) {
        let Lane { ask, job, mut message, begun, prompt, left_out } = lane;
        let before = if begun.is_empty() { (0, 0.0) } else { (message.tokens, message.seconds) };
        let mut answers =
            Answers::new(&service, &ask.model.name, job, ask.model.renderer.tokenizer(), &ask.stops);
        // an answer that goes on is rendered anew from its beginning
        self.closed = 0;
        let mut finish = "stopped";
        let mut error = None;
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(PING, answers.next()) => next,
                () = sender.closed() => break,
            };
            let mut ended = false;
            match next {
                Err(_) => {
                    if sender.send(": waiting\n\n".into()).await.is_err() {
                        break;
                    }
                }
                Ok(Err(e)) => {
                    (finish, error) = ("error", Some(e));
                    break;
                }
                Ok(Ok(said)) if said.is_empty() => break,
                Ok(Ok(said)) => {
                    for (_, said) in said {
                        match said {
                            Said::Piece(text, tokens) => {
                                self.text.push_str(&text);
                                self.tokens += tokens.len() as i64;
                                self.first.get_or_insert_with(Instant::now);
                            }
                            Said::End(why) => (finish, ended) = (why, true),
                            Said::Scores(_) => {}
                        }
                    }
                }
            }
            let due = self.shown.elapsed() >= SHOW;
            if due && !ended && sender.send(event("text", &self.show(number))).await.is_err() {
                break;
            }
            if self.kept.elapsed() >= KEEP && !ended {
                self.keep(&service, &view, &mut message, "", prompt, before).await;
            }
        }
        // whoever goes away while it ends has lost nothing
        self.keep(&service, &view, &mut message, finish, prompt, before).await;
        drop(answers);
        let used = message.prompt_tokens + message.tokens;
        let (worker, answer, id) = (view.clone(), message.clone(), message.id);
        let versions =
            super::on_store(&service, &view, move |store, owner| turns::versions(store, owner, id)).await;
        let versions = versions.unwrap_or_else(|_| vec![id]);
        let html = tokio::task::spawn_blocking(move || {
            turns::answer_html(&worker, &answer, (&versions, ""), number == 0, true, &conversation)
        });
        let html =
            html.await.unwrap_or_else(|_| Err(ApiError::internal("a fault of ours while making the page")));
        let end = match html {
            Ok(html) => json!({
                "lane": number, "id": message.id, "html": html, "used": used, "context": service.context(),
                "left_out": left_out, "error": error.map(|e| e.message),
            }),
            Err(e) => json!({ "lane": number, "error": e.message }),
        };
        _ = sender.send(event("end", &end)).await;
    }

    /// What is new: blocks that are closed now, and the open one in full.
    fn show(&mut self, lane: usize) -> Value {
        let open = self.closed + markdown::open_block(&self.text[self.closed..]);
        let closed = (open > self.closed).then(|| markdown::render(&self.text[self.closed..open], true));
        self.closed = open;
        // colours come when a block is closed
        let open = markdown::render(&self.text[open..], false);
        self.shown = Instant::now();
        json!({ "lane": lane, "closed": closed, "open": open })
    }

    async fn keep(
        &mut self,
        service: &Service,
        view: &View,
        message: &mut Message,
        finish: &str,
        prompt: usize,
        before: (i64, f64),
    ) {
        self.kept = Instant::now();
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        let revision = Revision {
            content: self.text.clone(),
            finish: finish.to_string(),
            prompt_tokens: prompt as i64,
            tokens: before.0 + self.tokens,
            seconds: before.1 + seconds,
        };
        message.content.clone_from(&revision.content);
        message.finish.clone_from(&revision.finish);
        (message.prompt_tokens, message.tokens, message.seconds) =
            (revision.prompt_tokens, revision.tokens, revision.seconds);
        let id = message.id;
        let kept =
            super::on_store(service, view, move |store, owner| store.revise_message(owner, id, &revision))
                .await;
        // the conversation was deleted meanwhile, or the disk is full: the reader still has the answer
        if let Err(e) = kept {
            service.log(&json!({ "event": "answer not kept", "code": e.code, "ms": self.began.elapsed().as_secs_f64() * 1e3 }));
        }
    }
}
