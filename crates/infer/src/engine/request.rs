//! What is asked of the engine and what it answers.

use super::adapters::Loaded;
use super::picker::{Picker, Sampled};
use crate::InferError;
use crate::sampling::{Pick, Sampling};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Which hidden state stands for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// that of its last token
    Last,
    /// the mean over its tokens
    Mean,
}

/// A hidden state scaled to length 1, so that the product of two is their cosine.
pub fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}

/// A request.
pub struct Request {
    /// token ids, at least one
    pub prompt: Vec<u32>,
    /// most tokens to generate; 0 where only scores or a hidden state are asked for
    pub most: usize,
    /// how tokens are chosen and where the text ends
    pub picker: Box<dyn Picker>,
    /// `None`: the base alone
    pub adapter: Option<Arc<Loaded>>,
    /// whose request it is: nothing cached is shared between tenants
    pub tenant: u64,
    /// after that moment it ends with what it has
    pub deadline: Option<Instant>,
    /// log-probabilities of the prompt's tokens are wanted, with so many best tokens at each place
    pub scores: Option<usize>,
    /// the hidden state of the prompt after the last norm `[D]` is wanted
    pub hidden: Option<Pooling>,
}

impl Request {
    /// Greedy, without an adapter, until `most` tokens or one of `stops`.
    pub fn new(prompt: Vec<u32>, most: usize, stops: &[u32]) -> Request {
        Request::sampled(prompt, most, Sampling::default(), stops)
    }

    /// With a sampler.
    pub fn sampled(prompt: Vec<u32>, most: usize, how: Sampling, stops: &[u32]) -> Request {
        let picker = Box::new(Sampled::new(how, stops));
        Request { prompt, most, picker, adapter: None, tenant: 0, deadline: None, scores: None, hidden: None }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} tokens, {} more)", self.prompt.len(), self.most)
    }
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Refused {
    #[error("the prompt is empty: there is no token to continue from")]
    Empty,
    #[error("token {token} at place {place} of the prompt is beyond the vocabulary of {vocab}")]
    Token { token: u32, place: usize, vocab: usize },
    #[error("the prompt has {tokens} tokens and leaves no room for an answer in the context of {context}")]
    TooLong { tokens: usize, context: usize },
    #[error(
        "the prompt has {tokens} tokens, the memory for keys and values holds {room} in all: give the engine more, or shorten it"
    )]
    NeverFits { tokens: usize, room: usize },
    #[error("{waiting} requests wait already: try again later")]
    QueueFull { waiting: usize },
    #[error("the adapter \"{name}\" does not fit the base: {problem}")]
    Adapter { name: String, problem: String },
    #[error("the engine is closing down and takes no more requests")]
    Closing,
    #[error("the engine has stopped")]
    Gone,
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// the picker said so: a stop token, a stop string, the end of a grammar
    Stop,
    /// as many tokens as were asked for
    Length,
    /// the context is full
    Context,
    /// the receiver wanted no more
    Cancelled,
    /// the deadline passed
    Deadline,
    /// the rule of the text cannot be followed any further: what was asked for is at fault
    Ruled(String),
    /// the rule of the text grew beyond what all rules may take together: later it may go on
    Crowded(String),
    /// it cannot go on; others are not touched
    Failed(String),
}

impl Finish {
    /// What ends a text when the choice of its token fails.
    pub(crate) fn of(error: InferError) -> Finish {
        match error {
            InferError::Constraint { why } => Finish::Ruled(why),
            full @ InferError::RuleMemory { .. } => Finish::Crowded(full.to_string()),
            other => Finish::Failed(other.to_string()),
        }
    }
}

/// Counts and times of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// tokens of the prompt
    pub prompt: usize,
    /// whether it ever ran: of a request that only waited nothing was computed
    pub began: bool,
    /// of these, tokens whose keys were kept from earlier requests
    pub cached: usize,
    /// tokens generated, without one that ended the text
    pub generated: usize,
    /// guessed tokens that went through the network, and those that were right
    pub guessed: (usize, usize),
    /// how often its pages were taken away for others
    pub preempted: usize,
    /// time until it first ran
    pub queued: Duration,
    /// time until its first token
    pub first: Option<Duration>,
    /// time in all
    pub total: Duration,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// of the prompt's tokens from the second on, over the whole vocabulary, with as many best tokens as were asked for
    Scores(Vec<Pick>),
    /// of the prompt, after the last norm `[D]`
    Hidden(Vec<f32>),
    /// the next token
    Token(Pick),
    /// the last event of every request
    Done(Finish, Usage),
}

/// Receives a request's events on the engine's own thread: it must be quick. `false`: no more is wanted.
pub trait Sink: Send {
    /// Takes an event.
    fn put(&mut self, event: Event) -> bool;
}

impl<F: FnMut(Event) -> bool + Send> Sink for F {
    fn put(&mut self, event: Event) -> bool {
        self(event)
    }
}

/// Cancels a request from anywhere; its pages are free at the engine's next step.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the request at the next step.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}
