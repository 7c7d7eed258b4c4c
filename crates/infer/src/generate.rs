//! One sequence at a time: prompt in, tokens out, keys and values kept for the next turn.

use crate::InferError;
use crate::constraint::{Constraint, Deadline};
use crate::drafts::Drafts;
use crate::sampler::Sampler;
use crate::sampling::Pick;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, KvType, Mode};
use std::time::Instant;

/// Tokens of a prompt that go through the network at once; bounds the activations' memory.
const CHUNK: usize = 256;

/// Where a constraint allows at most one token in this many, only their logits are computed.
const FEW: usize = 64;

/// Says when a text is at its end. Sees every new token.
pub trait Stop {
    /// Whether `token` ends the text (and does not belong to it).
    fn ends(&mut self, token: u32) -> bool;
}

/// Stops at any of these tokens.
#[derive(Clone, Debug, Default)]
pub struct StopIds(pub Vec<u32>);

impl Stop for StopIds {
    fn ends(&mut self, token: u32) -> bool {
        self.0.contains(&token)
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// a stop token, or a constraint that is complete
    Stop,
    /// as many tokens as were asked for
    Length,
    /// the context is full
    Context,
    /// the receiver wanted no more
    Interrupted,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// the new tokens, without the stop token
    pub tokens: Vec<u32>,
    /// why it ended
    pub finish: Finish,
    /// prompt tokens that were computed (the others were still in the cache)
    pub prefilled: usize,
}

/// What is to be generated.
pub struct Request<'r, 'c> {
    /// what to continue
    pub prompt: &'r [u32],
    /// most new tokens
    pub most: usize,
    /// chooses them
    pub sampler: &'r mut Sampler,
    /// ends the text
    pub stop: &'r mut dyn Stop,
    /// what the text must be
    pub constraint: Option<&'c mut (dyn Constraint + 'c)>,
    /// proposes tokens that are checked many at once; not used beside a constraint
    pub drafts: Option<&'r mut Drafts>,
}

/// A sequence in the making.
#[derive(Debug)]
pub struct Generator<'m> {
    pub(crate) model: &'m Decoder,
    pub(crate) adapter: Option<&'m Adapter>,
    pub(crate) cpu: &'m Cpu,
    pub(crate) mode: Mode,
    pub(crate) cache: KvCache,
    pub(crate) buffers: Buffers,
    /// tokens whose keys stand in the cache
    pub(crate) past: Vec<u32>,
    /// the residual stream after the last tokens `[rows, D]`
    hidden: Vec<f32>,
    /// after the same `[rows, V]`, or of some tokens
    logits: Vec<f32>,
}

impl<'m> Generator<'m> {
    /// A generator with room for `context` tokens; keys and values are stored as the mode has it. The same prompt gives the same logits bit for bit within a mode.
    pub fn new(
        model: &'m Decoder,
        adapter: Option<&'m Adapter>,
        cpu: &'m Cpu,
        mode: Mode,
        context: usize,
    ) -> Generator<'m> {
        Generator::with_kv(model, adapter, cpu, mode, context, mode.kv())
    }

    /// The same with another way to store keys and values.
    pub fn with_kv(
        model: &'m Decoder,
        adapter: Option<&'m Adapter>,
        cpu: &'m Cpu,
        mode: Mode,
        context: usize,
        kv: KvType,
    ) -> Generator<'m> {
        let cache = KvCache::of(kv, model.config(), context);
        let (buffers, past) = (Buffers::new(), Vec::new());
        Generator { model, adapter, cpu, mode, cache, buffers, past, hidden: Vec::new(), logits: Vec::new() }
    }

    /// Forgets the past: the next prompt is computed whole (benchmarks).
    pub fn reset(&mut self) {
        self.past.clear();
    }

    /// Tokens in the cache.
    pub fn past(&self) -> &[u32] {
        &self.past
    }

    /// Makes the cache hold exactly `tokens`, computing only what it does not hold yet, and gives the logits `[V]`
    /// after the last one (to be changed freely) and the number of tokens computed.
    ///
    /// # Errors
    /// An empty or over-long prompt; a token beyond the vocabulary.
    pub fn read(&mut self, tokens: &[u32]) -> Result<(&mut [f32], usize), InferError> {
        let computed = self.advance(tokens, 1)?;
        self.head();
        Ok((&mut self.logits, computed))
    }

    /// Makes the cache hold exactly `tokens` and `hidden` the outputs of the last `rows` of them. Gives the number of tokens
    /// computed.
    fn advance(&mut self, tokens: &[u32], rows: usize) -> Result<usize, InferError> {
        self.check(tokens)?;
        let width = self.model.config().width;
        let shared = self.past.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // outputs are not kept: the last tokens are computed again if all are there
        let first_row = tokens.len().saturating_sub(rows);
        let shared = shared.min(first_row);
        self.past.truncate(shared);
        self.hidden.clear();
        for chunk in tokens[shared..].chunks(CHUNK) {
            let at = self.past.len();
            let x = self.pass(chunk)?;
            let from = first_row.saturating_sub(at);
            let rows = x.get(from * width..).unwrap_or_default().to_vec();
            self.hidden.extend(rows);
        }
        Ok(tokens.len() - shared)
    }

    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), InferError> {
        if tokens.is_empty() {
            return Err(InferError::Empty);
        }
        if tokens.len() > self.cache.rows() {
            let context = self.cache.rows();
            return Err(InferError::TooLong { tokens: tokens.len(), room: context, context });
        }
        Ok(())
    }

    /// Runs tokens that follow what the cache holds; gives their outputs `[T, D]`.
    pub(crate) fn pass(&mut self, tokens: &[u32]) -> Result<&[f32], InferError> {
        let mut batch = Batch::default();
        let at = self.past.len();
        batch.push(tokens, at, vec![(0, at + tokens.len())], 0);
        let Generator { model, adapter, cpu, mode, cache, buffers, past, .. } = self;
        let x = model.forward(cpu, *mode, *adapter, &batch, cache, buffers)?;
        past.extend_from_slice(tokens);
        Ok(x)
    }

    /// Logits of all rows of `hidden`.
    fn head(&mut self) {
        let c = self.model.config();
        self.logits.resize(self.hidden.len() / c.width * c.vocab, 0.0);
        self.model.logits(self.cpu, self.adapter, self.mode, &self.hidden, &mut self.logits);
    }

    /// Continues `prompt` by up to `most` tokens. `each` receives every token as it comes and answers whether to go
    /// on.
    ///
    /// # Errors
    /// See [`Generator::read`]; a logit that is not a number.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        most: usize,
        sampler: &mut Sampler,
        stop: &mut dyn Stop,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<Generated, InferError> {
        self.run(Request { prompt, most, sampler, stop, constraint: None, drafts: None }, |pick| {
            each(pick.token)
        })
    }

    /// Does what `request` says. `each` receives every token as it comes and answers whether to go on.
    ///
    /// # Errors
    /// See [`Generator::read`]; a logit that is not a number; what a constraint says.
    pub fn run(
        &mut self,
        request: Request<'_, '_>,
        each: impl FnMut(Pick) -> bool,
    ) -> Result<Generated, InferError> {
        let Request { prompt, most, sampler, stop, constraint, drafts } = request;
        self.check(prompt)?;
        let rows = self.cache.rows();
        let mut text = Text {
            all: prompt.to_vec(),
            prompt: prompt.len(),
            most,
            rows,
            stop,
            constraint,
            ends: false,
            each,
        };
        let (mut prefilled, mut deadline, mut drafts) = (None, Deadline::new(), drafts);
        let finish = 'text: loop {
            // what must come needs no look at the network
            let room = text.room();
            if let Some(rule) = &mut text.constraint {
                if rule.done() {
                    break Finish::Stop;
                }
                let ending = deadline.due(&mut **rule, room);
                text.ends = ending.is_some();
                let must = match ending {
                    Some(way) => way,
                    None => rule.forced()?,
                };
                if text.ends || !must.is_empty() {
                    if let Some(finish) = text.take_all(must)? {
                        break finish;
                    }
                    continue;
                }
            }
            if room == 0 {
                break if text.written().len() == most { Finish::Length } else { Finish::Context };
            }
            // the prompt goes through the network alone
            let draft = match &mut drafts {
                Some(drafts) if prefilled.is_some() && text.constraint.is_none() => {
                    drafts.propose(&text.all, room - 1)
                }
                _ => Vec::new(),
            };
            let begin = Instant::now();
            let with = [&text.all[..], &draft].concat();
            let computed = self.advance(&with, 1 + draft.len())?;
            let first = prefilled.is_none();
            prefilled.get_or_insert(computed);
            if !draft.is_empty() {
                self.head();
            }
            let mut kept = 0;
            let finish = loop {
                let pick = self.choose(sampler, &mut text, kept, !draft.is_empty())?;
                let token = pick.token;
                if let Some(finish) = text.take_free(pick, &mut deadline)? {
                    break Some(finish);
                }
                if draft.get(kept) != Some(&token) {
                    break None;
                }
                kept += 1;
            };
            if let (Some(drafts), false) = (&mut drafts, first) {
                drafts.outcome(draft.len(), kept, begin.elapsed().as_secs_f64());
            }
            if let Some(finish) = finish {
                break 'text finish;
            }
        };
        let tokens = text.all.split_off(prompt.len());
        Ok(Generated { tokens, finish, prefilled: prefilled.unwrap_or(0) })
    }

    /// The token after row `row` of `hidden`, whose logits are there already or not.
    fn choose<E: FnMut(Pick) -> bool>(
        &mut self,
        sampler: &mut Sampler,
        text: &mut Text<'_, '_, E>,
        row: usize,
        ready: bool,
    ) -> Result<Pick, InferError> {
        let (width, vocab) = (self.model.config().width, self.model.config().vocab);
        let history = &text.all[text.prompt..];
        let mask = match &mut text.constraint {
            Some(rule) => Some(rule.mask()?),
            None => None,
        };
        let few = mask.map_or(usize::MAX, |m| m.count());
        let pick = if few <= vocab / FEW && sampler.settings().logprobs.is_none() && !ready {
            let ids: Vec<u32> = mask.into_iter().flat_map(|m| m.tokens()).collect();
            let mut logits = vec![0f32; ids.len()];
            let x = &self.hidden[row * width..][..width];
            self.model.logits_at(self.cpu, self.adapter, self.mode, x, &ids, &mut logits);
            sampler.sample_among(&ids, &mut logits, history)
        } else {
            if !ready {
                self.head();
            }
            sampler.sample(&mut self.logits[row * vocab..][..vocab], history, mask)
        };
        pick.ok_or(InferError::NotFinite { tokens: text.all.len() })
    }
}

/// A text as it grows.
struct Text<'r, 'c, E> {
    /// prompt and what followed
    all: Vec<u32>,
    prompt: usize,
    most: usize,
    /// tokens that the cache can hold
    rows: usize,
    stop: &'r mut dyn Stop,
    constraint: Option<&'c mut (dyn Constraint + 'c)>,
    /// only the way to its end is left
    ends: bool,
    each: E,
}

impl<E: FnMut(Pick) -> bool> Text<'_, '_, E> {
    fn written(&self) -> &[u32] {
        &self.all[self.prompt..]
    }

    /// Tokens that may still come.
    fn room(&self) -> usize {
        (self.most + self.prompt).min(self.rows).saturating_sub(self.all.len())
    }

    /// A token came; says whether the text is at its end.
    fn take(&mut self, pick: Pick) -> Result<Option<Finish>, InferError> {
        if self.written().len() == self.most {
            return Ok(Some(Finish::Length));
        }
        if self.stop.ends(pick.token) {
            return Ok(Some(Finish::Stop));
        }
        if let Some(rule) = &mut self.constraint {
            rule.accept(pick.token)?;
        }
        self.all.push(pick.token);
        if !(self.each)(pick) {
            return Ok(Some(Finish::Interrupted));
        }
        let done = self.ends || self.constraint.as_mut().is_some_and(|rule| rule.done());
        Ok((self.all.len() == self.rows && !done).then_some(Finish::Context))
    }

    /// Takes tokens that the constraint forces.
    fn take_all(&mut self, tokens: Vec<u32>) -> Result<Option<Finish>, InferError> {
        for token in tokens {
            if let Some(finish) = self.take(Pick::bare(token))? {
                return Ok(Some(finish));
            }
        }
        Ok(self.ends.then_some(Finish::Stop))
    }

    /// Takes a chosen token, or ends the text where after it the constraint could no longer be met.
    fn take_free(&mut self, pick: Pick, deadline: &mut Deadline) -> Result<Option<Finish>, InferError> {
        let room = self.room();
        if let Some(rule) = &mut self.constraint
            && !self.stop.ends(pick.token)
            && let Some(way) = deadline.instead(&mut **rule, pick.token, room)
        {
            self.ends = true;
            return self.take_all(way);
        }
        self.take(pick)
    }
}
