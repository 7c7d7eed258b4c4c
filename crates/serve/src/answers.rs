//! From the engine's events to pieces of text, for all choices of a request together.

use crate::access::Running;
use crate::error::ApiError;
use crate::metrics::Ended;
use crate::service::Service;
use nurture_infer::engine::{Cancel, Event, Finish, Request, Usage};
use nurture_infer::{Pick, StopTexts};
use nurture_text::{StreamDecoder, Tokenizer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How the prompts of requests that are handed in together are charged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Charge {
    /// so many requests behind each other have one prompt, which counts once
    Choices(usize),
    /// of each what had to be computed for it
    Computed,
}

/// What is charged of a job's requests. A prompt that nobody began to read costs nothing.
struct Bill {
    charge: Charge,
    /// prompts that were charged already
    paid: Vec<AtomicBool>,
}

impl Bill {
    fn new(charge: Charge, requests: usize) -> Bill {
        Bill { charge, paid: (0..requests).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Of the request in place `i`, which ended.
    fn of(&self, i: usize, usage: &Usage) -> Usage {
        let paid = |n: usize| self.paid.get(i / n.max(1)).is_some_and(|p| p.swap(true, Relaxed));
        let prompt = match self.charge {
            _ if !usage.began => 0,
            Charge::Choices(n) if paid(n) => 0,
            Charge::Choices(_) => usage.prompt,
            Charge::Computed => usage.prompt.saturating_sub(usage.cached),
        };
        Usage { prompt, ..*usage }
    }
}

/// Requests at work. Dropping it cancels them: so does a client that goes away.
pub(crate) struct Job {
    events: UnboundedReceiver<(usize, Event)>,
    cancels: Vec<Cancel>,
    _running: Running,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancels.iter().for_each(Cancel::cancel);
    }
}

impl Job {
    /// Hands in all requests, or none.
    pub(crate) fn start(
        service: &Service,
        requests: Vec<Request>,
        charge: Charge,
        param: &str,
    ) -> Result<Job, ApiError> {
        let (sender, events) = unbounded_channel();
        let tenant = requests.first().map_or(0, |r| r.tenant);
        let access = service.access();
        let running = access.begin(tenant, requests.len())?;
        let bill = Arc::new(Bill::new(charge, requests.len()));
        let mut job = Job { events, cancels: Vec::with_capacity(requests.len()), _running: running };
        for (i, request) in requests.into_iter().enumerate() {
            let (sender, access, bill) = (sender.clone(), access.clone(), bill.clone());
            let sink = move |event| {
                // also of those whose client has gone
                if let Event::Done(_, usage) = &event {
                    access.charge(tenant, &bill.of(i, usage));
                }
                sender.send((i, event)).is_ok()
            };
            let cancel = service.engine().submit_with(request, sink);
            job.cancels.push(cancel.map_err(|e| ApiError::refused(param, &e))?);
        }
        Ok(job)
    }

    /// The next event with its request's place; `None` after the last of all.
    pub(crate) async fn next(&mut self) -> Option<(usize, Event)> {
        self.events.recv().await
    }

    fn try_next(&mut self) -> Option<(usize, Event)> {
        self.events.try_recv().ok()
    }
}

/// A token with its figures.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) log_probability: Option<f32>,
    pub(crate) top: Vec<(u32, f32)>,
    /// characters of the choice's text before it
    pub(crate) offset: usize,
}

/// What happened to a choice.
#[derive(Debug)]
pub(crate) enum Said {
    /// figures of the prompt's tokens from the second on
    Scores(Vec<Pick>),
    /// more text and the tokens that were taken for it
    Piece(String, Vec<Token>),
    /// it ended
    End(&'static str),
}

/// A choice in the making.
struct Choice<'t> {
    decoder: StreamDecoder<'t>,
    stops: StopTexts,
    /// the end of its text, as long as a stop text may be, and the stop text that ended it
    tail: String,
    stopped_by: Option<String>,
    /// characters decoded so far
    characters: usize,
    ended: bool,
    tokens: usize,
    usage: Usage,
    last: Option<Instant>,
}

impl Choice<'_> {
    /// Notes which stop text ended the text.
    fn note(&mut self, text: &str, stops: &[String], stopped: bool) {
        if stops.is_empty() {
            return;
        }
        self.tail.push_str(text);
        if stopped {
            let first = |s: &&String| self.tail.find(s.as_str()).map(|at| at + s.len());
            self.stopped_by = stops.iter().filter(|s| first(s).is_some()).min_by_key(first).cloned();
        }
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.tail.len().saturating_sub(longest);
        let from = (from..self.tail.len()).find(|&i| self.tail.is_char_boundary(i)).unwrap_or(0);
        self.tail.drain(..from);
    }
}

/// All choices of a request.
pub(crate) struct Answers<'t> {
    job: Job,
    service: Service,
    model: String,
    choices: Vec<Choice<'t>>,
    pauses: Vec<Duration>,
    stops: Vec<String>,
}

impl<'t> Answers<'t> {
    pub(crate) fn new(
        service: &Service,
        model: &str,
        job: Job,
        tokenizer: &'t Tokenizer,
        stops: &[String],
    ) -> Answers<'t> {
        let choice = |_| Choice {
            decoder: StreamDecoder::plain(tokenizer),
            stops: StopTexts::new(stops),
            tail: String::new(),
            stopped_by: None,
            characters: 0,
            ended: false,
            tokens: 0,
            usage: Usage::default(),
            last: None,
        };
        let choices = (0..job.cancels.len()).map(choice).collect();
        Answers {
            job,
            service: service.clone(),
            model: model.to_string(),
            choices,
            pauses: Vec::new(),
            stops: stops.to_vec(),
        }
    }

    /// What came since the last call, at least one thing; empty when all is said.
    ///
    /// # Errors
    /// A request that failed or was too slow: the others are ended with it.
    pub(crate) async fn next(&mut self) -> Result<Vec<(usize, Said)>, ApiError> {
        let mut said = Vec::new();
        while said.is_empty() {
            let Some(event) = self.job.next().await else { break };
            self.take(event, &mut said)?;
            while let Some(event) = self.job.try_next() {
                self.take(event, &mut said)?;
            }
        }
        self.service.metrics().between(&self.model, &self.pauses);
        self.pauses.clear();
        Ok(said)
    }

    fn take(&mut self, (i, event): (usize, Event), said: &mut Vec<(usize, Said)>) -> Result<(), ApiError> {
        let Some(choice) = self.choices.get_mut(i) else { return Ok(()) };
        match event {
            Event::Scores(scores) => said.push((i, Said::Scores(scores))),
            Event::Hidden(_) => {}
            Event::Token(_) if choice.ended => {}
            Event::Token(Pick { token, log_probability, top }) => {
                let now = Instant::now();
                self.pauses.extend(choice.last.replace(now).map(|last| now - last));
                choice.tokens += 1;
                let offset = choice.characters;
                let text = choice.decoder.push(token);
                choice.characters += text.chars().count();
                let released = choice.stops.push(text.as_bytes());
                let token = Token { id: token, log_probability, top, offset };
                // whole characters went in, and stop texts begin with whole ones
                let piece = String::from_utf8_lossy(&released.bytes).into_owned();
                said.push((i, Said::Piece(piece, vec![token])));
                choice.note(&text, &self.stops, released.stopped);
                if released.stopped {
                    choice.ended = true;
                    self.job.cancels[i].cancel();
                    said.push((i, Said::End("stop")));
                }
            }
            Event::Done(finish, usage) => {
                choice.usage = usage;
                let name = match &finish {
                    _ if choice.ended => "stop",
                    Finish::Stop => "stop",
                    Finish::Length | Finish::Context => "length",
                    Finish::Cancelled => "cancelled",
                    Finish::Deadline => "deadline",
                    Finish::Ruled(_) | Finish::Crowded(_) | Finish::Failed(_) => "failed",
                };
                self.service.metrics().ended(&self.model, Ended { finish: name, usage });
                if choice.ended {
                    return Ok(());
                }
                choice.ended = true;
                match finish {
                    Finish::Cancelled => return Err(ApiError::closing()),
                    Finish::Deadline => return Err(ApiError::deadline()),
                    Finish::Ruled(why) => return Err(ApiError::rule(&why)),
                    Finish::Crowded(_) => return Err(ApiError::crowded()),
                    Finish::Failed(why) => return Err(ApiError::internal(why)),
                    Finish::Stop | Finish::Length | Finish::Context => {}
                }
                let text = choice.decoder.finish();
                let released = choice.stops.push(text.as_bytes());
                let stopped = released.stopped;
                choice.note(&text, &self.stops, stopped);
                let rest =
                    [released.bytes, if stopped { Vec::new() } else { choice.stops.finish() }].concat();
                if !rest.is_empty() {
                    said.push((i, Said::Piece(String::from_utf8_lossy(&rest).into_owned(), Vec::new())));
                }
                said.push((i, Said::End(if stopped { "stop" } else { name })));
            }
        }
        Ok(())
    }

    /// The stop text that ended a choice, if one did.
    pub(crate) fn stopped_by(&self, choice: usize) -> Option<&str> {
        self.choices.get(choice)?.stopped_by.as_deref()
    }

    /// Tokens of prompts (each counted once for its `n` choices), of these kept from before, and generated ones.
    pub(crate) fn counts(&self, n: usize) -> (usize, usize, usize) {
        let first = || self.choices.iter().step_by(n.max(1));
        let generated = self.choices.iter().map(|c| c.tokens).sum();
        (first().map(|c| c.usage.prompt).sum(), first().map(|c| c.usage.cached).sum(), generated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_charged_once_and_only_if_read() {
        let read = Usage { prompt: 100, began: true, cached: 64, generated: 7, ..Usage::default() };
        let waited = Usage { began: false, cached: 0, generated: 0, ..read };
        let charged = |charge, ends: &[(usize, &Usage)]| -> Vec<(usize, usize)> {
            let bill = Bill::new(charge, ends.len());
            ends.iter().map(|&(i, u)| bill.of(i, u)).map(|u| (u.prompt, u.generated)).collect()
        };
        // two choices of each of two prompts; the first one's first choice never ran
        let ends = [(0, &waited), (1, &read), (3, &read), (2, &read)];
        assert_eq!(charged(Charge::Choices(2), &ends), [(0, 0), (100, 7), (100, 7), (0, 7)]);
        assert_eq!(charged(Charge::Choices(1), &ends[..2]), [(0, 0), (100, 7)]);
        assert_eq!(charged(Charge::Computed, &ends[..2]), [(0, 0), (36, 7)]);
    }
}
