//! The events of a response, in OpenAI's order, numbered.

use super::{Head, item, message_item, part};
use crate::ask::Ask;
use crate::reply::PING;
use crate::service::Service;
use crate::tools::Call;
use crate::voice::{Piece, Voice};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

pub(super) struct Writer<'a> {
    sender: Sender<Bytes>,
    service: &'a Service,
    head: &'a Head,
    ask: &'a Ask,
    owner: String,
    out: String,
    number: u64,
    /// the message that is open: its id and text
    open: Option<(String, String)>,
    output: Vec<Value>,
    pieces: Vec<Piece>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        sender: Sender<Bytes>,
        service: &'a Service,
        head: &'a Head,
        ask: &'a Ask,
        owner: String,
    ) -> Writer<'a> {
        let (out, output, pieces) = Default::default();
        Writer { sender, service, head, ask, owner, out, number: 0, open: None, output, pieces }
    }

    fn event(&mut self, kind: &str, mut value: Value) {
        value["type"] = kind.into();
        value["sequence_number"] = self.number.into();
        self.number += 1;
        self.out.push_str(&format!("event: {kind}\ndata: {value}\n\n"));
    }

    pub(super) async fn run(mut self, voice: &mut Voice<'_>) {
        let begun = self.head.object(self.ask, Vec::new(), None, None);
        self.event("response.created", json!({ "response": begun }));
        self.event("response.in_progress", json!({ "response": begun }));
        let mut finish = "stop";
        loop {
            let out = std::mem::take(&mut self.out);
            if !out.is_empty() && self.sender.send(out.into()).await.is_err() {
                return;
            }
            match tokio::time::timeout(PING, voice.next()).await {
                Err(_) => self.out.push_str(": waiting\n\n"),
                Ok(Err(error)) => return self.failed(&error).await,
                Ok(Ok(None)) => break,
                Ok(Ok(Some(pieces))) => {
                    for piece in pieces {
                        match piece {
                            Piece::End(end) => finish = end,
                            Piece::Text(text) => self.text(&text),
                            Piece::Call(call) => self.call(call),
                        }
                    }
                }
            }
        }
        self.close();
        let output = std::mem::take(&mut self.output);
        let object = self.head.object(self.ask, output, Some(finish), Some(voice.counts()));
        let owner = std::mem::take(&mut self.owner);
        if let Err(error) = self.head.keep(self.service, owner, &self.pieces, &object).await {
            return self.failed(&error).await;
        }
        let kind = if finish == "length" { "response.incomplete" } else { "response.completed" };
        self.event(kind, json!({ "response": object }));
        _ = self.sender.send(self.out.into()).await;
    }

    async fn failed(mut self, error: &crate::error::ApiError) {
        let output = std::mem::take(&mut self.output);
        let mut object = self.head.object(self.ask, output, None, None);
        object["status"] = "failed".into();
        object["error"] = json!({ "code": error.code, "message": error.message });
        self.event("response.failed", json!({ "response": object }));
        _ = self.sender.send(self.out.into()).await;
    }

    fn text(&mut self, text: &str) {
        let index = self.output.len();
        if self.open.is_none() {
            let id = format!("msg_{:016x}", self.service.random());
            let begun = message_item(&id, "in_progress", &[]);
            self.event("response.output_item.added", json!({ "output_index": index, "item": begun }));
            self.event(
                "response.content_part.added",
                json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part("") }),
            );
            self.open = Some((id, String::new()));
        }
        let Some((id, whole)) = &mut self.open else { return };
        whole.push_str(text);
        let delta = json!({
            "item_id": id, "output_index": index, "content_index": 0, "delta": text, "logprobs": [],
        });
        self.event("response.output_text.delta", delta);
    }

    fn close(&mut self) {
        let Some((id, text)) = self.open.take() else { return };
        let index = self.output.len();
        let place = json!({ "item_id": id, "output_index": index, "content_index": 0 });
        let with = |field: &str, value: Value| {
            let mut object = place.clone();
            object[field] = value;
            object
        };
        let mut done = with("text", text.as_str().into());
        done["logprobs"] = json!([]);
        self.event("response.output_text.done", done);
        self.event("response.content_part.done", with("part", part(&text)));
        let whole = message_item(&id, "completed", &[part(&text)]);
        self.event("response.output_item.done", json!({ "output_index": index, "item": whole }));
        self.output.push(whole);
        self.pieces.push(Piece::Text(text));
    }

    fn call(&mut self, call: Call) {
        self.close();
        let index = self.output.len();
        let arguments = call.arguments.clone();
        let piece = Piece::Call(call);
        let Some(whole) = item(self.service, &piece) else { return };
        let mut begun = whole.clone();
        begun["status"] = "in_progress".into();
        begun["arguments"] = "".into();
        let id = whole["id"].clone();
        self.event("response.output_item.added", json!({ "output_index": index, "item": begun }));
        let place = json!({ "item_id": id, "output_index": index });
        let (mut delta, mut done) = (place.clone(), place);
        delta["delta"] = arguments.as_str().into();
        done["arguments"] = arguments.into();
        done["name"] = whole["name"].clone();
        self.event("response.function_call_arguments.delta", delta);
        self.event("response.function_call_arguments.done", done);
        self.event("response.output_item.done", json!({ "output_index": index, "item": whole }));
        self.output.push(whole);
        self.pieces.push(piece);
    }
}
