//! The door: what every request must satisfy before it may wait. Asked on the caller's own thread.

use super::config::EngineConfig;
use super::request::{Refused, Request};
use nurture_model::Config;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

#[derive(Debug)]
pub(crate) struct Gate {
    context: usize,
    room: usize,
    most_waiting: usize,
    waiting: AtomicUsize,
    closing: AtomicBool,
}

impl Gate {
    pub(crate) fn new(config: &EngineConfig, model: &Config) -> Gate {
        Gate {
            context: if config.context == 0 { model.context } else { config.context },
            room: config.longest(model),
            most_waiting: config.waiting,
            waiting: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn most_waiting(&self) -> usize {
        self.most_waiting
    }

    /// Checks a request and counts it among those that wait.
    pub(crate) fn enter(&self, request: &Request, model: &Config) -> Result<(), Refused> {
        if self.closing.load(SeqCst) {
            return Err(Refused::Closing);
        }
        let tokens = request.prompt.len();
        if tokens == 0 {
            return Err(Refused::Empty);
        }
        let vocab = model.vocab;
        if let Some(place) = request.prompt.iter().position(|&t| t as usize >= vocab) {
            return Err(Refused::Token { token: request.prompt[place], place, vocab });
        }
        let needed = tokens + usize::from(request.most > 0);
        if needed > self.context {
            return Err(Refused::TooLong { tokens, context: self.context });
        }
        if needed > self.room {
            return Err(Refused::NeverFits { tokens, room: self.room });
        }
        if let Some((adapter, problem)) = request.adapter.as_ref().and_then(|a| Some((a, a.misfit(model)?))) {
            return Err(Refused::Adapter { name: adapter.name().to_string(), problem });
        }
        let more = |n: usize| (n < self.most_waiting).then_some(n + 1);
        match self.waiting.fetch_update(SeqCst, SeqCst, more) {
            Ok(_) => Ok(()),
            Err(waiting) => Err(Refused::QueueFull { waiting }),
        }
    }

    /// One less waits.
    pub(crate) fn leave(&self) {
        _ = self.waiting.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, SeqCst);
    }
}
