//! Answers in OpenAI's two shapes, whole or as server-sent events.

use crate::answers::{Answers, Job, Said, Token};
use crate::ask::Ask;
use crate::error::{ApiError, json_response};
use crate::models::now;
use crate::service::Service;
use crate::tools::{Call, Calls, Heard};
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use nurture_infer::Pick;
use nurture_text::{StreamDecoder, Tokenizer};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};

/// A silent stream says so often that it lives.
pub(crate) const PING: Duration = Duration::from_secs(15);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Text,
}

/// How an answer is written down.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) shape: Shape,
    pub(crate) ask: Ask,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) logprobs: bool,
    /// of each prompt its tokens, to be written before the answer
    pub(crate) echo: Option<Vec<Vec<u32>>>,
}

/// Text and figures of a choice: a piece of it, or all.
#[derive(Debug, Default)]
struct Part {
    text: String,
    calls: Vec<Call>,
    tokens: Vec<Token>,
    scores: Option<Vec<Pick>>,
    finish: Option<&'static str>,
}

impl Reply {
    pub(crate) fn new(
        service: &Service,
        shape: Shape,
        ask: Ask,
        logprobs: bool,
        echo: Option<Vec<Vec<u32>>>,
    ) -> Reply {
        let prefix = if shape == Shape::Chat { "chatcmpl" } else { "cmpl" };
        let id = format!("{prefix}-{:016x}{:08x}", service.random(), service.random() as u32);
        Reply { shape, ask, id, created: now(), logprobs, echo }
    }

    /// Answers as the request asked for it.
    pub(crate) async fn send(self, service: Service, job: Job) -> Result<Response<Body>, ApiError> {
        if self.ask.stream { Ok(self.stream(service, job)) } else { self.whole(service, job).await }
    }

    fn hearer(&self) -> Option<Calls> {
        self.ask.tools.as_ref().map(|tools| Calls::new(tools.clone(), self.ask.model.style()))
    }

    /// Tells calls from text.
    fn heard(&self, service: &Service, hearer: &mut Option<Calls>, said: Said) -> Vec<Out> {
        let Some(calls) = hearer else { return vec![Out::Said(said)] };
        let (heard, mut tokens, end) = match said {
            Said::Piece(text, tokens) => (calls.push(&text), tokens, None),
            Said::End(finish) => (calls.finish(), Vec::new(), Some(finish)),
            scores @ Said::Scores(_) => return vec![Out::Said(scores)],
        };
        let mut out = Vec::new();
        for heard in heard {
            out.push(match heard {
                Heard::Text(text) => Out::Said(Said::Piece(text, std::mem::take(&mut tokens))),
                Heard::Call(call) => Out::Call(Call { id: new_call_id(service), ..call }),
            });
        }
        if !tokens.is_empty() {
            out.push(Out::Said(Said::Piece(String::new(), tokens)));
        }
        out.extend(end.map(|finish| {
            let called = calls.any() && finish == "stop";
            Out::Said(Said::End(if called { "tool_calls" } else { finish }))
        }));
        out
    }

    fn tokenizer(&self) -> &Tokenizer {
        self.ask.model.renderer.tokenizer()
    }

    async fn whole(self, service: Service, job: Job) -> Result<Response<Body>, ApiError> {
        let mut answers =
            Answers::new(&service, &self.ask.model.name, job, self.tokenizer(), &self.ask.stops);
        let (mut parts, mut hearers): (Vec<Part>, Vec<Option<Calls>>) = Default::default();
        loop {
            let said = answers.next().await?;
            if said.is_empty() {
                break;
            }
            for (i, said) in said {
                while parts.len() <= i {
                    parts.push(Part::default());
                    hearers.push(self.hearer());
                }
                for heard in self.heard(&service, &mut hearers[i], said) {
                    parts[i].add(heard);
                }
            }
        }
        let choices: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| {
                let mut choice = Map::new();
                choice.insert("index".into(), i.into());
                match self.shape {
                    Shape::Chat => {
                        let mut message =
                            json!({ "role": "assistant", "content": part.text, "refusal": null });
                        if !part.calls.is_empty() {
                            message["tool_calls"] = part.calls.iter().map(call).collect();
                            if part.text.is_empty() {
                                message["content"] = Value::Null;
                            }
                        }
                        choice.insert("message".into(), message);
                        choice.insert("logprobs".into(), self.chat_logprobs(part));
                    }
                    Shape::Text => {
                        choice.insert("text".into(), format!("{}{}", self.echoed(i), part.text).into());
                        choice.insert("logprobs".into(), self.text_logprobs(i, part, true));
                    }
                }
                choice.insert("finish_reason".into(), part.finish.unwrap_or("stop").into());
                choice.into()
            })
            .collect();
        let mut object = self.object(false, choices);
        object["usage"] = self.usage(&answers);
        Ok(json_response(&object))
    }

    fn stream(self, service: Service, job: Job) -> Response<Body> {
        event_stream(|sender| self.run_stream(service, job, sender))
    }

    async fn run_stream(self, service: Service, job: Job, sender: Sender<Bytes>) {
        let mut answers =
            Answers::new(&service, &self.ask.model.name, job, self.tokenizer(), &self.ask.stops);
        let mut begun: Vec<bool> = Vec::new();
        // of each choice what hears its calls, and how many there were
        let mut hearers: Vec<(Option<Calls>, usize)> = Vec::new();
        loop {
            let mut out = String::new();
            match tokio::time::timeout(PING, answers.next()).await {
                Err(_) => out.push_str(": waiting\n\n"),
                Ok(Err(error)) => {
                    event(&mut out, &json!({ "error": error.object() }));
                    _ = sender.send(out.into()).await;
                    return;
                }
                Ok(Ok(said)) if said.is_empty() => break,
                Ok(Ok(said)) => {
                    for (i, said) in said {
                        while begun.len() <= i {
                            begun.push(false);
                            hearers.push((self.hearer(), 0));
                        }
                        let (hearer, calls) = &mut hearers[i];
                        for heard in self.heard(&service, hearer, said) {
                            let first = !std::mem::replace(&mut begun[i], true);
                            self.chunks(&mut out, i, heard, first, calls);
                        }
                    }
                }
            }
            if !out.is_empty() && sender.send(out.into()).await.is_err() {
                return;
            }
        }
        let mut out = String::new();
        if self.ask.include_usage {
            let mut object = self.object(true, Vec::new());
            object["usage"] = self.usage(&answers);
            event(&mut out, &object);
        }
        out.push_str("data: [DONE]\n\n");
        _ = sender.send(out.into()).await;
    }

    /// Writes the events of one thing that was said.
    fn chunks(&self, out: &mut String, i: usize, said: Out, first: bool, calls: &mut usize) {
        let mut put = |choice: Value| {
            let mut object = self.object(true, vec![choice]);
            if self.ask.include_usage {
                object["usage"] = Value::Null;
            }
            event(out, &object);
        };
        let mut part = Part::default();
        part.add(said);
        let finish = part.finish.map_or(Value::Null, Value::from);
        match self.shape {
            Shape::Chat => {
                if first {
                    let delta = json!({ "role": "assistant", "content": "", "refusal": null });
                    put(json!({ "index": i, "delta": delta, "logprobs": null, "finish_reason": null }));
                }
                let figures = self.logprobs && !part.tokens.is_empty();
                if part.text.is_empty() && part.calls.is_empty() && part.finish.is_none() && !figures {
                    return; // half a character, or what may become a stop text
                }
                let delta = match part.calls.first() {
                    Some(one) => {
                        let mut entry = call(one);
                        entry["index"] = (*calls).into();
                        *calls += 1;
                        json!({ "tool_calls": [entry] })
                    }
                    None if part.finish.is_some() => json!({}),
                    None => json!({ "content": part.text }),
                };
                let logprobs = if part.tokens.is_empty() { Value::Null } else { self.chat_logprobs(&part) };
                put(json!({ "index": i, "delta": delta, "logprobs": logprobs, "finish_reason": finish }));
            }
            Shape::Text => {
                let echo = if first { self.echoed(i) } else { String::new() };
                if echo.is_empty() && part.text.is_empty() && part.finish.is_none() && !self.logprobs {
                    return;
                }
                let logprobs = self.text_logprobs(i, &part, first);
                put(json!({
                    "index": i, "text": format!("{echo}{}", part.text), "logprobs": logprobs, "finish_reason": finish,
                }));
            }
        }
    }

    fn object(&self, chunk: bool, choices: Vec<Value>) -> Value {
        let kind = match (self.shape, chunk) {
            (Shape::Chat, true) => "chat.completion.chunk",
            (Shape::Chat, false) => "chat.completion",
            (Shape::Text, _) => "text_completion",
        };
        json!({
            "id": self.id, "object": kind, "created": self.created, "model": self.ask.model.name,
            "system_fingerprint": fingerprint(self.ask.model.generation()), "choices": choices,
        })
    }

    fn usage(&self, answers: &Answers<'_>) -> Value {
        let (prompt, cached, generated) = answers.counts(self.ask.choices);
        json!({
            "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }

    fn prompt_of(&self, choice: usize) -> Option<&[u32]> {
        self.echo.as_ref()?.get(choice / self.ask.choices).map(Vec::as_slice)
    }

    fn echoed(&self, choice: usize) -> String {
        self.prompt_of(choice).map_or_else(String::new, |ids| self.tokenizer().decode_plain(ids))
    }

    fn chat_logprobs(&self, part: &Part) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let entry = |id: u32, logprob: f32| {
            let bytes = self.tokenizer().token_bytes(id).unwrap_or_default();
            json!({ "token": String::from_utf8_lossy(&bytes), "logprob": logprob, "bytes": bytes })
        };
        let content: Vec<Value> = part
            .tokens
            .iter()
            .map(|t| {
                let mut object = entry(t.id, t.log_probability.unwrap_or(0.0));
                object["top_logprobs"] = t.top.iter().map(|&(id, l)| entry(id, l)).collect();
                object
            })
            .collect();
        json!({ "content": content, "refusal": null })
    }

    /// The older shape: four lists. With `begin` those of the echoed prompt stand first.
    fn text_logprobs(&self, choice: usize, part: &Part, begin: bool) -> Value {
        if !self.logprobs || (part.tokens.is_empty() && part.scores.is_none() && !begin) {
            return Value::Null;
        }
        let mut lists = Lists::default();
        let prompt = self.prompt_of(choice).unwrap_or_default();
        let (offsets, shift) = offsets(self.tokenizer(), prompt);
        if begin && let Some((&first, _)) = prompt.split_first() {
            lists.put(self.tokenizer(), first, None, &[], 0);
            for (score, &offset) in part.scores.iter().flatten().zip(&offsets[1..]) {
                lists.put(self.tokenizer(), score.token, score.log_probability, &score.top, offset);
            }
        }
        for t in &part.tokens {
            lists.put(self.tokenizer(), t.id, t.log_probability, &t.top, shift + t.offset);
        }
        lists.value()
    }
}

/// Of each token the characters of the text before it, and those of the whole text. A character that is split over tokens stands
/// with the last of them.
fn offsets(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<usize>, usize) {
    let mut decoder = StreamDecoder::plain(tokenizer);
    let (mut offsets, mut characters) = (Vec::with_capacity(ids.len()), 0);
    for &id in ids {
        offsets.push(characters);
        characters += decoder.push(id).chars().count();
    }
    (offsets, characters + decoder.finish().chars().count())
}

/// What was said, calls told apart.
#[derive(Debug)]
enum Out {
    Said(Said),
    Call(Call),
}

/// A call in OpenAI's shape.
fn call(call: &Call) -> Value {
    json!({
        "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments },
    })
}

impl Part {
    fn add(&mut self, said: Out) {
        match said {
            Out::Said(Said::Scores(scores)) => self.scores = Some(scores),
            Out::Said(Said::Piece(text, tokens)) => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Out::Said(Said::End(finish)) => self.finish = Some(finish),
            Out::Call(call) => self.calls.push(call),
        }
    }
}

#[derive(Default)]
struct Lists {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

impl Lists {
    fn put(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        logprob: Option<f32>,
        top: &[(u32, f32)],
        offset: usize,
    ) {
        let spelled = spelled(tokenizer, id);
        self.text_offset.push(offset.into());
        self.token_logprobs.push(logprob.into());
        self.top_logprobs.push(match logprob {
            None => Value::Null,
            Some(own) => {
                let mut map: Map<String, Value> =
                    top.iter().map(|&(t, l)| (self::spelled(tokenizer, t), l.into())).collect();
                // the token itself always stands among them
                map.entry(spelled.clone()).or_insert_with(|| own.into());
                map.into()
            }
        });
        self.tokens.push(spelled.into());
    }

    fn value(self) -> Value {
        json!({
            "tokens": self.tokens, "token_logprobs": self.token_logprobs, "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// A token's text; one that is not UTF-8 by itself as `bytes:\xe4\xbd`, so that no two look the same.
fn spelled(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    String::from_utf8(bytes)
        .unwrap_or_else(|e| e.as_bytes().iter().fold("bytes:".to_string(), |s, b| s + &format!("\\x{b:02x}")))
}

/// A response that is written while the answer comes. A client that goes away ends the work, whatever it is doing.
pub(crate) fn event_stream<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(Sender<Bytes>) -> F,
) -> Response<Body> {
    let (sender, receiver) = channel::<Bytes>(8);
    let gone = sender.clone();
    let work = work(sender);
    tokio::spawn(async move {
        // the client drops the receiver: then the job is dropped too
        tokio::select! {
            () = work => {}
            () = gone.closed() => {}
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<Bytes, Infallible>(piece), receiver))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // proxies that collect answers would spoil it
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An id for a call.
pub(crate) fn new_call_id(service: &Service) -> String {
    format!("call_{:016x}{:08x}", service.random(), service.random() as u32)
}

/// What changes when answers to the same seed may change.
fn fingerprint(generation: u64) -> String {
    format!("nurture-{}-{generation}", env!("CARGO_PKG_VERSION"))
}

fn event(out: &mut String, value: &Value) {
    out.push_str("data: ");
    out.push_str(&value.to_string());
    out.push_str("\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_text::HfTokenizerFiles;

    #[test]
    fn offsets_count_whole_characters() {
        // é¦ĸ are the bytes of 首
        let tokenizer = r#"{
            "added_tokens": [{"id": 5, "content": "<end>", "special": true}], "normalizer": null, "post_processor": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "é": 2, "¦": 3, "ĸ": 4}, "merges": []}}"#;
        let files = HfTokenizerFiles { tokenizer, config: None, chat_template: None, generation: None };
        let tokenizer = Tokenizer::from_hf(files).unwrap();
        let ids = [5, 0, 2, 3, 4, 1, 2];
        assert_eq!(tokenizer.decode_plain(&ids), "a首b\u{fffd}");
        assert_eq!(offsets(&tokenizer, &ids), (vec![0, 0, 1, 1, 1, 2, 3], 4));
        assert_eq!(offsets(&tokenizer, &[]), (vec![], 0));
    }
}
