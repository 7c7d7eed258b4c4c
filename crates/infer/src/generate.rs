//! One sequence at a time: prompt in, tokens out, keys and values kept for the next turn.

use crate::InferError;
use crate::constraint::Constraint;
use crate::sampler::Sampler;
use crate::sampling::Pick;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, Mode};

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
    /// A generator with room for `context` tokens. The same prompt gives the same logits bit for bit within a mode.
    pub fn new(
        model: &'m Decoder,
        adapter: Option<&'m Adapter>,
        cpu: &'m Cpu,
        mode: Mode,
        context: usize,
    ) -> Generator<'m> {
        let cache = KvCache::new(model.config(), context);
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
        self.model.logits(self.cpu, self.mode, &self.hidden, &mut self.logits);
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
        self.run(Request { prompt, most, sampler, stop, constraint: None }, |pick| each(pick.token))
    }

    /// Does what `request` says. `each` receives every token as it comes and answers whether to go on.
    ///
    /// # Errors
    /// See [`Generator::read`]; a logit that is not a number; what a constraint says.
    pub fn run(
        &mut self,
        request: Request<'_, '_>,
        mut each: impl FnMut(Pick) -> bool,
    ) -> Result<Generated, InferError> {
        let Request { prompt, most, sampler, stop, mut constraint } = request;
        self.check(prompt)?;
        let mut all = prompt.to_vec();
        let mut prefilled = None;
        let finish = 'text: loop {
            // what must come needs no look at the network
            let mut forced = Vec::new();
            if let Some(rule) = &mut constraint {
                if rule.done() {
                    break Finish::Stop;
                }
                forced = rule.forced()?;
            }
            let free = forced.is_empty();
            let picks = if free {
                if all.len() - prompt.len() == most {
                    break Finish::Length;
                }
                let computed = self.advance(&all, 1)?;
                prefilled.get_or_insert(computed);
                vec![self.choose(sampler, &all[prompt.len()..], &mut constraint, all.len())?]
            } else {
                forced.into_iter().map(Pick::bare).collect()
            };
            for pick in picks {
                if all.len() - prompt.len() == most {
                    break 'text Finish::Length;
                }
                let token = pick.token;
                if stop.ends(token) {
                    break 'text Finish::Stop;
                }
                if let Some(rule) = &mut constraint {
                    rule.accept(token)?;
                }
                all.push(token);
                if !each(pick) {
                    break 'text Finish::Interrupted;
                }
                if all.len() == self.cache.rows() {
                    break 'text Finish::Context;
                }
            }
        };
        let prefilled = prefilled.unwrap_or(0);
        Ok(Generated { tokens: all.split_off(prompt.len()), finish, prefilled })
    }

    /// The token after the last row of `hidden`.
    fn choose(
        &mut self,
        sampler: &mut Sampler,
        history: &[u32],
        constraint: &mut Option<&mut (dyn Constraint + '_)>,
        tokens: usize,
    ) -> Result<Pick, InferError> {
        let vocab = self.model.config().vocab;
        let mask = match constraint {
            Some(rule) => Some(rule.mask()?),
            None => None,
        };
        let few = mask.map_or(usize::MAX, |m| m.count());
        let pick = if few <= vocab / FEW && sampler.settings().logprobs.is_none() {
            let ids: Vec<u32> = mask.into_iter().flat_map(|m| m.tokens()).collect();
            let mut logits = vec![0f32; ids.len()];
            self.model.logits_at(self.cpu, self.mode, &self.hidden, &ids, &mut logits);
            sampler.sample_among(&ids, &mut logits, history)
        } else {
            self.head();
            sampler.sample(&mut self.logits, history, mask)
        };
        pick.ok_or(InferError::NotFinite { tokens })
    }
}
