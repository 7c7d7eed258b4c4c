//! `POST /v1/classify`: which of these labels? Probabilities of all of them, exact.
//!
//! Labels are rendered as the assistant's turn, their end token included, so they form a tree of tokens. At each place where
//! labels part the tokens that may follow share the probability among themselves, as in decoding under a constraint; so the
//! probabilities of all labels add up to 1. Places of one depth are asked together, as many as may run, and the prompt is computed once.

use crate::answers::{Charge, Job};
use crate::ask::model;
use crate::body::Json;
use crate::chat::messages;
use crate::error::{ApiError, json_response};
use crate::http::{Caller, aside};
use crate::models::Served;
use crate::service::Service;
use crate::tools::Turn;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use nurture_infer::InferError;
use nurture_infer::engine::{Event, Finish, Past, Picked, Picker, Request};
use nurture_text::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

const LABELS: usize = 1024;
const LABEL_BYTES: usize = 1024;

pub(crate) async fn classify(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = model(&service, &mut fields)?;
    let labels = labels(fields.list("labels", LABELS)?.ok_or_else(|| ApiError::missing("labels"))?)?;
    let system = fields.text("system")?;
    let conversations: Vec<Vec<Turn>> = match fields.take("input") {
        None => {
            let mut conversation = messages(&mut fields)?;
            conversation.splice(0..0, system.map(|s| Turn::new("system", s)));
            vec![conversation]
        }
        Some(input) => inputs(input, service.config().prompts)?
            .into_iter()
            .map(|text| {
                system.iter().map(|s| Turn::new("system", s)).chain([Turn::new("user", text)]).collect()
            })
            .collect(),
    };
    fields.done()?;
    let deadline = Instant::now() + service.config().timeout;
    let (mut data, mut tokens) = (Vec::new(), 0);
    for (index, conversation) in conversations.into_iter().enumerate() {
        let (asked, own) = (model.clone(), labels.clone());
        let (prompt, answers) =
            aside(usize::MAX, move || tree_of(&asked, conversation, &own, "labels")).await??;
        let most = prompt.len() + answers.iter().map(Vec::len).max().unwrap_or(0);
        if most > service.context() {
            return Err(ApiError::too_long(
                "input",
                service.context(),
                prompt.len(),
                Some(most - prompt.len()),
            ));
        }
        tokens += prompt.len();
        let scores = walk(&service, caller, &model, &prompt, &answers, &labels, deadline).await?;
        let mut ranking: Vec<(usize, f64)> = scores.into_iter().map(f64::exp).enumerate().collect();
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let scored = |&(i, p): &(usize, f64)| json!({ "label": labels[i], "probability": p });
        let best = ranking.first().map(|r| labels[r.0].clone());
        let all: Vec<Value> = ranking.iter().map(scored).collect();
        data.push(json!({ "index": index, "label": best, "probabilities": all }));
    }
    Ok(json_response(&json!({
        "object": "list", "model": model.name, "data": data,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

fn labels(list: Vec<Value>) -> Result<Vec<String>> {
    let text = |v: Value| match v {
        Value::String(s) if !s.trim().is_empty() && s.len() <= LABEL_BYTES => Ok(s),
        _ => {
            let message =
                format!("each of \"labels\" must be a string of 1 to {LABEL_BYTES} bytes that is not blank");
            Err(ApiError::invalid("labels", message))
        }
    };
    let labels = list.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    if labels.len() < 2 {
        return Err(ApiError::invalid("labels", "\"labels\" must name at least two labels"));
    }
    Ok(labels)
}

fn inputs(value: Value, most: usize) -> Result<Vec<String>> {
    let list = match value {
        Value::Array(list) if (1..=most).contains(&list.len()) => list,
        Value::String(text) => return Ok(vec![text]),
        _ => Vec::new(),
    };
    let texts: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(String::from)).collect();
    texts.filter(|t| !t.is_empty()).ok_or_else(|| {
        ApiError::invalid("input", format!("\"input\" must be a string or a list of 1 to {most} strings"))
    })
}

/// The prompt's tokens and each label's tokens behind it.
pub(crate) fn tree_of(
    model: &Served,
    conversation: Vec<Turn>,
    labels: &[String],
    param: &str,
) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
    let conversation = model.spelled(conversation, None);
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    model.bears("input", longest + conversation.iter().map(|m| m.content.len()).sum::<usize>())?;
    let text = |e: nurture_text::TextError| ApiError::invalid("input", e.to_string());
    let prompt = model.renderer.prompt(&conversation).map_err(text)?.tokens;
    if prompt.len() >= model.context {
        return Err(ApiError::too_long("input", model.context, prompt.len(), None));
    }
    let whole = |label: &str| -> Result<Vec<u32>> {
        let turn = conversation.iter().cloned().chain([Message::new("assistant", label)]);
        let rendered = model.renderer.example(&turn.collect::<Vec<_>>()).map_err(text)?;
        let end = rendered.turns.last().map_or(0, |t| t.tokens.end);
        match rendered.tokens.get(..end).and_then(|t| t.strip_prefix(&prompt[..])) {
            Some(tokens) if !tokens.is_empty() => Ok(tokens.to_vec()),
            _ => {
                let message =
                    format!("with this chat template the answer \"{label}\" changes the prompt's own tokens");
                Err(ApiError::invalid(param, message))
            }
        }
    };
    let first = whole(&labels[0])?;
    // where the label's own tokens and the end token are all there is to it, the prompt need not be read again for each
    let alone = |label: &str| model.renderer.tokenizer().encode(label, false).map_err(text);
    let mut answers = Vec::with_capacity(labels.len());
    match first.split_last() {
        Some((&end, body)) if body == alone(&labels[0])? => {
            for label in labels {
                let mut tokens = alone(label)?;
                tokens.push(end);
                answers.push(tokens);
            }
        }
        _ => {
            for label in labels {
                answers.push(whole(label)?);
            }
        }
    }
    Ok((prompt, answers))
}

/// A place in the tree: labels that have these tokens in common.
struct Node {
    path: Vec<u32>,
    members: Vec<usize>,
    log_probability: f64,
}

/// The logarithms of the labels' probabilities.
async fn walk(
    service: &Service,
    caller: Caller,
    model: &Served,
    prompt: &[u32],
    answers: &[Vec<u32>],
    labels: &[String],
    deadline: Instant,
) -> Result<Vec<f64>> {
    let mut out = vec![f64::NEG_INFINITY; answers.len()];
    let mut open =
        vec![Node { path: Vec::new(), members: (0..answers.len()).collect(), log_probability: 0.0 }];
    while !open.is_empty() {
        let mut asked: Vec<(Node, BTreeMap<u32, Vec<usize>>)> = Vec::new();
        for mut node in open {
            let parts = loop {
                if let [one] = node.members[..] {
                    out[one] = node.log_probability;
                    break BTreeMap::new();
                }
                let mut parts: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
                for &m in &node.members {
                    let Some(&token) = answers[m].get(node.path.len()) else {
                        let other = node.members.iter().find(|&&o| o != m).map_or(m, |&o| o);
                        let message =
                            format!("\"{}\" and \"{}\" cannot be told apart", labels[m], labels[other]);
                        return Err(ApiError::invalid("labels", message));
                    };
                    parts.entry(token).or_default().push(m);
                }
                match parts.first_key_value() {
                    Some((&token, _)) if parts.len() == 1 => node.path.push(token),
                    _ => break parts,
                }
            };
            if !parts.is_empty() {
                asked.push((node, parts));
            }
        }
        let (sender, shares) = channel();
        let mut begun = 0;
        while begun < asked.len() {
            // no more than there is room for, with half of the queue left to others
            let free = service.access().free(caller.tenant).unwrap_or(usize::MAX);
            let some = free.min(service.engine().queue() / 2).clamp(1, asked.len() - begun);
            let requests = (begun..begun + some).map(|place| {
                let (node, parts) = &asked[place];
                let tokens = parts.keys().copied().collect();
                Request {
                    picker: Box::new(Look { place, tokens, sender: sender.clone() }),
                    adapter: model.adapter.clone(),
                    tenant: caller.tenant,
                    deadline: Some(deadline),
                    ..Request::new([prompt, &node.path].concat(), 1, &[])
                }
            });
            let mut job = Job::start(service, requests.collect(), Charge::Computed, "input")?;
            while let Some((_, event)) = job.next().await {
                match event {
                    Event::Done(Finish::Deadline, _) => return Err(ApiError::deadline()),
                    Event::Done(Finish::Cancelled, _) => return Err(ApiError::closing()),
                    Event::Done(Finish::Failed(why), _) => return Err(ApiError::internal(why)),
                    _ => {}
                }
            }
            begun += some;
        }
        open = Vec::new();
        for (place, logs) in shares.try_iter() {
            let (node, parts) = &asked[place];
            for ((&token, members), log) in parts.iter().zip(logs) {
                let path = [&node.path[..], &[token]].concat();
                open.push(Node {
                    path,
                    members: members.clone(),
                    log_probability: node.log_probability + log,
                });
            }
        }
    }
    Ok(out)
}

/// Looks at the next tokens instead of choosing one.
struct Look {
    place: usize,
    /// ascending
    tokens: Vec<u32>,
    sender: Sender<(usize, Vec<f64>)>,
}

impl Picker for Look {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> std::result::Result<Picked, InferError> {
        let logs = log_shares(self.tokens.iter().map(|&t| f64::from(logits[t as usize])));
        let logs = logs.ok_or(InferError::NotFinite { tokens: past.prompt.len() })?;
        // nobody listens any more: then nobody misses it
        _ = self.sender.send((self.place, logs));
        Ok(Picked::End)
    }

    fn few(&mut self, _vocab: usize) -> Option<Vec<u32>> {
        Some(self.tokens.clone())
    }
}

/// Logarithms of the softmax; `None` where one is not a number.
fn log_shares(logits: impl Iterator<Item = f64> + Clone) -> Option<Vec<f64>> {
    let top = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() || logits.clone().any(f64::is_nan) {
        return None;
    }
    let sum: f64 = logits.clone().map(|l| (l - top).exp()).sum();
    Some(logits.map(|l| l - top - sum.ln()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let logs = log_shares([1.0, 1.0, 3.0].into_iter()).unwrap();
        assert!((logs.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-12 && logs[0] == logs[1]);
        assert!((logs[2] - logs[0] - 2.0).abs() < 1e-12);
        assert_eq!(log_shares([f64::NAN, 1.0].into_iter()), None);
    }
}
