//! One sequence at a time: prompt in, tokens out, keys and values kept for the next turn.

use crate::InferError;
use crate::sampler::Sampler;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, Mode};

/// Tokens of a prompt that go through the network at once; bounds the activations' memory.
const CHUNK: usize = 256;

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
    /// a stop token
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

/// A sequence in the making.
#[derive(Debug)]
pub struct Generator<'m> {
    model: &'m Decoder,
    adapter: Option<&'m Adapter>,
    cpu: &'m Cpu,
    mode: Mode,
    cache: KvCache,
    buffers: Buffers,
    /// tokens whose keys stand in the cache
    past: Vec<u32>,
    /// after the last of them `[V]`
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
        let logits = vec![0f32; model.config().vocab];
        Generator { model, adapter, cpu, mode, cache, buffers: Buffers::new(), past: Vec::new(), logits }
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
        if tokens.is_empty() {
            return Err(InferError::Empty);
        }
        if tokens.len() > self.cache.rows() {
            let context = self.cache.rows();
            return Err(InferError::TooLong { tokens: tokens.len(), room: context, context });
        }
        let shared = self.past.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // the last token is computed again if all are there: its logits are not kept
        let shared = shared.min(tokens.len() - 1);
        self.past.truncate(shared);
        let width = self.model.config().width;
        for chunk in tokens[shared..].chunks(CHUNK) {
            let mut batch = Batch::default();
            let at = self.past.len();
            batch.push(chunk, at, vec![(0, at + chunk.len())], 0);
            let x = self.model.forward(
                self.cpu,
                self.mode,
                self.adapter,
                &batch,
                &mut self.cache,
                &mut self.buffers,
            )?;
            self.past.extend_from_slice(chunk);
            if self.past.len() == tokens.len() {
                self.model.logits(self.cpu, self.mode, &x[x.len() - width..], &mut self.logits);
            }
        }
        Ok((&mut self.logits, tokens.len() - shared))
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
        let (_, prefilled) = self.read(prompt)?;
        let mut all = prompt.to_vec();
        let finish = loop {
            if all.len() - prompt.len() == most {
                break Finish::Length;
            }
            let Some(token) = sampler.pick(&mut self.logits, &all[prompt.len()..]) else {
                return Err(InferError::NotFinite { tokens: all.len() });
            };
            if stop.ends(token) {
                break Finish::Stop;
            }
            all.push(token);
            if !each(token) {
                break Finish::Interrupted;
            }
            if all.len() == self.cache.rows() {
                break Finish::Context;
            }
            if all.len() - prompt.len() < most {
                self.read(&all)?;
            }
        };
        Ok(Generated { tokens: all.split_off(prompt.len()), finish, prefilled })
    }
}
