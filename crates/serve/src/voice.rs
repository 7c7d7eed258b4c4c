//! One answer as APIs of blocks want it: text and calls in their order, then the end.

use crate::answers::{Answers, Job, Said};
use crate::ask::Ask;
use crate::error::ApiError;
use crate::reply::new_call_id;
use crate::service::Service;
use crate::tools::{Call, Calls, Heard};

/// A piece of the answer.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    Call(Call),
    /// `stop`, `length` or `tool_calls`
    End(&'static str),
}

/// An answer in the making.
pub(crate) struct Voice<'a> {
    answers: Answers<'a>,
    calls: Option<Calls>,
    service: Service,
}

impl<'a> Voice<'a> {
    pub(crate) fn new(service: &Service, ask: &'a Ask, job: Job) -> Voice<'a> {
        let tokenizer = ask.model.renderer.tokenizer();
        let answers = Answers::new(service, &ask.model.name, job, tokenizer, &ask.stops);
        let calls = ask.tools.as_ref().map(|tools| Calls::new(tools.clone(), ask.model.style()));
        Voice { answers, calls, service: service.clone() }
    }

    /// What came since the last call; empty when all is said, or when what came is held back.
    ///
    /// # Errors
    /// An answer that failed or was too slow.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Piece>>, ApiError> {
        let said = self.answers.next().await?;
        if said.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::new();
        for (_, said) in said {
            let (text, end) = match said {
                Said::Scores(_) => continue,
                Said::Piece(text, _) => (Some(text), None),
                Said::End(finish) => (None, Some(finish)),
            };
            let heard = match (&mut self.calls, text) {
                (None, text) => text.into_iter().map(Heard::Text).collect(),
                (Some(calls), Some(text)) => calls.push(&text),
                (Some(calls), None) => calls.finish(),
            };
            for heard in heard {
                match heard {
                    Heard::Text(text) if text.is_empty() => {}
                    Heard::Text(text) => out.push(Piece::Text(text)),
                    Heard::Call(call) => {
                        out.push(Piece::Call(Call { id: new_call_id(&self.service), ..call }));
                    }
                }
            }
            if let Some(finish) = end {
                let called = self.calls.as_ref().is_some_and(Calls::any) && finish == "stop";
                out.push(Piece::End(if called { "tool_calls" } else { finish }));
            }
        }
        Ok(Some(out))
    }

    /// The whole answer: neighbouring texts are one, and how it ended.
    ///
    /// # Errors
    /// As [`Voice::next`].
    pub(crate) async fn whole(&mut self) -> Result<(Vec<Piece>, &'static str), ApiError> {
        let (mut out, mut finish): (Vec<Piece>, _) = (Vec::new(), "stop");
        while let Some(pieces) = self.next().await? {
            for piece in pieces {
                match (piece, out.last_mut()) {
                    (Piece::End(end), _) => finish = end,
                    (Piece::Text(more), Some(Piece::Text(text))) => text.push_str(&more),
                    (piece, _) => out.push(piece),
                }
            }
        }
        Ok((out, finish))
    }

    /// Tokens of the prompt, of these kept from before, and of the answer.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        self.answers.counts(1)
    }

    /// The stop text that ended it.
    pub(crate) fn stopped_by(&self) -> Option<&str> {
        self.answers.stopped_by(0)
    }
}
