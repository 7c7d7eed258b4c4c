//! Beam search, whoever computes the logits: an encoder-decoder that writes a target, or a decoder that continues a prompt.
//!
//! The beams are those of transformers' `generate` with `early_stopping = False`: in each step at least twice as many continuations as
//! beams are looked at; of the better part those that end are kept as finished, scored by their log-probability over a power of
//! their length; it is over when the best unfinished one, scored at its present length, is no better than the worst that is kept.
//!
//! Left out on purpose: constraints, groups of beams, sampling among beams; the engine, which serves many requests at once.

use crate::{InferError, Written};
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, Mode};

/// How beams are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beams {
    /// how many hypotheses go on side by side
    pub count: usize,
    /// the power of the length by which log-probabilities are divided: 0 prefers short targets, large values long ones
    pub length_penalty: f64,
}

impl Default for Beams {
    /// Four beams, mean log-probabilities.
    fn default() -> Beams {
        Beams { count: 4, length_penalty: 1.0 }
    }
}

/// Most beams that are accepted: more change nothing but the time.
pub const MAX_BEAMS: usize = 64;

/// `ln softmax` in float64; `None` where a logit is not a number.
pub(crate) fn log_probabilities(logits: &[f32]) -> Option<impl Iterator<Item = f64>> {
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    if logits.iter().any(|l| l.is_nan()) || !top.is_finite() {
        return None;
    }
    let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
    let all = f64::from(top) + sum.ln();
    Some(logits.iter().map(move |l| f64::from(*l) - all))
}

/// A target on its way.
struct Running<S> {
    tokens: Vec<u32>,
    score: f64,
    state: S,
}

/// The search of one source.
struct Search<S> {
    running: Vec<Running<S>>,
    finished: Vec<Written>,
    open: bool,
}

impl<S: Clone> Search<S> {
    /// One step: the logits of what follows each running target. `None`: not a number.
    fn step(
        &mut self,
        how: &Beams,
        logits: &[f32],
        vocab: usize,
        ends: &[u32],
        longest: usize,
    ) -> Option<()> {
        let looked_at = (1 + ends.len()).max(2) * how.count;
        // (score, beam, token) of the best continuations, best first
        let mut best: Vec<(f64, usize, u32)> = Vec::new();
        for (beam, (row, r)) in logits.chunks_exact(vocab).zip(&self.running).enumerate() {
            let mut all: Vec<(f64, usize, u32)> =
                log_probabilities(row)?.zip(0..).map(|(p, token)| (r.score + p, beam, token)).collect();
            let few = looked_at.min(all.len());
            if few < all.len() {
                all.select_nth_unstable_by(few, |a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
            }
            best.extend_from_slice(&all[..few]);
        }
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        best.truncate(looked_at);
        let mut next = Vec::new();
        for (rank, &(score, beam, token)) in best.iter().enumerate() {
            let before = &self.running[beam];
            let length = before.tokens.len() + 1;
            let ended = ends.contains(&token);
            if ended || length >= longest {
                if rank < how.count {
                    let mut tokens = before.tokens.clone();
                    if !ended {
                        tokens.push(token);
                    }
                    let score = score / (length as f64).powf(how.length_penalty);
                    self.finished.push(Written { tokens, ended, score });
                }
            } else if next.len() < how.count {
                let mut tokens = before.tokens.clone();
                tokens.push(token);
                next.push(Running { tokens, score, state: before.state.clone() });
            }
        }
        // the older of two equal ones first
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(how.count);
        self.running = next;
        let best = self.running.first().map(|r| r.score / (r.tokens.len() as f64).powf(how.length_penalty));
        let worst = self.finished.last().filter(|_| self.finished.len() == how.count).map(|w| w.score);
        self.open = match (best, worst) {
            (Some(best), Some(worst)) => best > worst,
            (best, None) => best.is_some(),
            (None, _) => false,
        };
        Some(())
    }
}

/// Whoever computes what follows.
pub(crate) trait Continue {
    /// What has been written of one target.
    type State: Clone;

    /// Writes one more token of each target; the logits of what follows.
    fn write(
        &mut self,
        cpu: &Cpu,
        states: &mut [Self::State],
        tokens: &[u32],
    ) -> Result<Vec<f32>, InferError>;
}

/// Goes on from `firsts` (a state and the token that it begins with), `vocab` logits a row.
pub(crate) fn search<C: Continue>(
    cpu: &Cpu,
    by: &mut C,
    firsts: Vec<(C::State, u32)>,
    vocab: usize,
    ends: &[u32],
    how: &Beams,
    longest: usize,
) -> Result<Vec<Vec<Written>>, InferError> {
    assert!((1..=MAX_BEAMS).contains(&how.count), "beams");
    let begin = |(state, token): (C::State, u32)| {
        let running = vec![Running { tokens: Vec::new(), score: 0.0, state }];
        (token, Search { running, finished: Vec::new(), open: longest > 0 })
    };
    let mut searches: Vec<(u32, Search<C::State>)> = firsts.into_iter().map(begin).collect();
    for step in 0..longest {
        let open = || {
            searches
                .iter()
                .filter(|(_, s)| s.open)
                .flat_map(|(first, s)| s.running.iter().map(move |r| (first, r)))
        };
        let tokens: Vec<u32> = open().map(|(first, r)| r.tokens.last().copied().unwrap_or(*first)).collect();
        let mut states: Vec<C::State> = open().map(|(_, r)| r.state.clone()).collect();
        if states.is_empty() {
            break;
        }
        let logits = by.write(cpu, &mut states, &tokens)?;
        let (mut rows, mut states) = (&logits[..], states.into_iter());
        for (_, search) in searches.iter_mut().filter(|(_, s)| s.open) {
            let (here, rest) = rows.split_at(search.running.len() * vocab);
            rows = rest;
            search.running.iter_mut().zip(&mut states).for_each(|(r, state)| r.state = state);
            search.step(how, here, vocab, ends, longest).ok_or(InferError::NotFinite { tokens: step })?;
        }
    }
    Ok(searches.into_iter().map(|(_, s)| s.finished).collect())
}

/// A decoder with the keys of prompts and of what was written behind them.
struct Behind<'m> {
    model: &'m Decoder,
    adapter: Option<&'m Adapter>,
    mode: Mode,
    cache: KvCache,
    buffers: Buffers,
    rows: usize,
}

/// Rows of keys in order, and which prompt they belong to.
#[derive(Clone)]
struct Chain {
    prompt: usize,
    keys: Vec<(usize, usize)>,
}

impl Chain {
    fn push(&mut self, row: usize, count: usize) {
        match self.keys.last_mut() {
            Some(last) if last.0 + last.1 == row => last.1 += count,
            _ => self.keys.push((row, count)),
        }
    }

    fn len(&self) -> usize {
        self.keys.iter().map(|k| k.1).sum()
    }
}

impl Behind<'_> {
    fn pass(&mut self, cpu: &Cpu, batch: &Batch) -> Result<Vec<f32>, InferError> {
        let Behind { model, adapter, mode, cache, buffers, .. } = self;
        Ok(model.forward(cpu, *mode, *adapter, batch, cache, buffers)?.to_vec())
    }
}

impl Continue for Behind<'_> {
    type State = Chain;

    fn write(&mut self, cpu: &Cpu, states: &mut [Chain], tokens: &[u32]) -> Result<Vec<f32>, InferError> {
        let mut batch = Batch::default();
        for (chain, &token) in states.iter_mut().zip(tokens) {
            let position = chain.len();
            chain.push(self.rows, 1);
            self.rows += 1;
            batch.push(&[token], position, chain.keys.clone(), chain.prompt);
        }
        let x = self.pass(cpu, &batch)?;
        let mut logits = vec![0f32; states.len() * self.model.config().vocab];
        self.model.logits(cpu, self.adapter, self.mode, &x, &mut logits);
        Ok(logits)
    }
}

/// The best continuations of each prompt by a decoder, best first, at most as many as there are beams; each has at most `longest`
/// tokens, the one of `ends` that ends it counted. Prompts are read once; beams share what they have in common.
///
/// # Errors
/// An empty prompt, one that does not fit into the context with what is to be written, a token beyond the vocabulary; logits that are
/// not numbers.
///
/// # Panics
/// If there is no beam, or more than [`MAX_BEAMS`].
#[allow(clippy::too_many_arguments)]
pub fn continue_by_beams(
    cpu: &Cpu,
    mode: Mode,
    model: &Decoder,
    adapter: Option<&Adapter>,
    prompts: &[&[u32]],
    ends: &[u32],
    how: &Beams,
    longest: usize,
) -> Result<Vec<Vec<Written>>, InferError> {
    let c = model.config();
    for prompt in prompts {
        if prompt.is_empty() {
            return Err(InferError::Empty);
        }
        let room = c.context.saturating_sub(longest);
        if prompt.len() > room {
            return Err(InferError::TooLong { tokens: prompt.len(), room, context: c.context });
        }
    }
    let given: usize = prompts.iter().map(|p| p.len()).sum();
    let rows = given + prompts.len() * how.count * longest;
    let cache = KvCache::of(mode.kv(), c, rows);
    let mut by = Behind { model, adapter, mode, cache, buffers: Buffers::new(), rows: 0 };
    let (mut batch, mut firsts) = (Batch::default(), Vec::new());
    for (prompt, tokens) in prompts.iter().enumerate() {
        let (Some(last), before) = (tokens.last(), tokens.len() - 1) else { continue };
        let mut chain = Chain { prompt, keys: Vec::new() };
        if before > 0 {
            chain.push(by.rows, before);
            batch.push(&tokens[..before], 0, chain.keys.clone(), prompt);
            by.rows += before;
        }
        firsts.push((chain, *last));
    }
    if !batch.is_empty() {
        by.pass(cpu, &batch)?;
    }
    search(cpu, &mut by, firsts, c.vocab, ends, how, longest)
}
