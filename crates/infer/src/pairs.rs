//! Writing targets of an encoder-decoder: greedily, by sampling, or the best of several beams.
//!
//! Many sources are written at once; what one gets does not depend on those beside it. The beams are those of transformers'
//! `generate` with one end and `early_stopping = False`: in each step twice as many continuations as beams are looked at; of
//! the better half those that end are kept as finished, scored by their log-probability over a power of their length;
//! it is over when the best unfinished one, scored at its present length, is no better than the worst that is kept.
//!
//! Left out on purpose: constraints, stop texts, groups of beams; the engine, which serves decoders alone.

use crate::{InferError, Sampler, Sampling};
use nurture_model::Cpu;
use nurture_model::seq2seq::{Decoding, Hypothesis, Seq2Seq};

/// A target that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// its tokens, without the one that ends it
    pub tokens: Vec<u32>,
    /// whether it came to its end, rather than to the longest that was asked for
    pub ended: bool,
    /// of beams: log-probability over the power of the length; else the log-probability of the tokens
    pub score: f64,
}

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
fn log_probabilities(logits: &[f32]) -> Option<impl Iterator<Item = f64>> {
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    if logits.iter().any(|l| l.is_nan()) || !top.is_finite() {
        return None;
    }
    let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
    let all = f64::from(top) + sum.ln();
    Some(logits.iter().map(move |l| f64::from(*l) - all))
}

/// Writes a target for each source with at most `longest` tokens (its end counted), as `how` says; source `i` draws its
/// random numbers by the seed and `i`.
///
/// # Errors
/// A source or target that the network cannot take; logits that are not numbers.
pub fn write_targets(
    cpu: &Cpu,
    network: &Seq2Seq,
    sources: &[&[u32]],
    how: &Sampling,
    longest: usize,
) -> Result<Vec<Written>, InferError> {
    let c = network.config();
    let mut out = vec![Written { tokens: Vec::new(), ended: false, score: 0.0 }; sources.len()];
    let mut decoding = network.read(cpu, sources)?;
    let seeded = |i: usize| Sampling { seed: how.seed.wrapping_add(i as u64), ..how.clone() };
    let mut samplers: Vec<Sampler> = (0..sources.len()).map(|i| Sampler::new(seeded(i))).collect();
    let mut alive: Vec<Hypothesis> = (0..sources.len()).map(Hypothesis::of).collect();
    for step in 0..longest {
        let last = |h: &Hypothesis| out[h.source].tokens.last().copied().unwrap_or(c.start);
        let tokens: Vec<u32> = alive.iter().map(last).collect();
        let mut logits = decoding.write(cpu, &mut alive, &tokens)?;
        let mut rows = logits.chunks_exact_mut(c.target_vocab);
        let mut failed = false;
        alive.retain(|h| {
            let (Some(row), written) = (rows.next(), &mut out[h.source]) else { return false };
            let own = log_probabilities(row).map(|p| p.collect::<Vec<f64>>());
            let (Some(own), Some(token)) = (own, samplers[h.source].pick(row, &written.tokens)) else {
                failed = true;
                return false;
            };
            written.score += own[token as usize];
            written.ended = token == c.eos;
            if !written.ended {
                written.tokens.push(token);
            }
            !written.ended
        });
        if failed {
            return Err(InferError::NotFinite { tokens: step });
        }
        if alive.is_empty() {
            break;
        }
    }
    Ok(out)
}

/// A target on its way.
#[derive(Clone)]
struct Running {
    tokens: Vec<u32>,
    score: f64,
    state: Hypothesis,
}

/// The search of one source.
struct Search {
    running: Vec<Running>,
    finished: Vec<Written>,
    open: bool,
}

impl Search {
    /// One step: the logits of what follows each running target. `None`: not a number.
    fn step(&mut self, how: &Beams, logits: &[f32], vocab: usize, eos: u32, longest: usize) -> Option<()> {
        // (score, beam, token) of the best continuations, best first
        let mut best: Vec<(f64, usize, u32)> = Vec::new();
        for (beam, (row, r)) in logits.chunks_exact(vocab).zip(&self.running).enumerate() {
            let mut all: Vec<(f64, usize, u32)> =
                log_probabilities(row)?.zip(0..).map(|(p, token)| (r.score + p, beam, token)).collect();
            let few = (2 * how.count).min(all.len());
            if few < all.len() {
                all.select_nth_unstable_by(few, |a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
            }
            best.extend_from_slice(&all[..few]);
        }
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        best.truncate(2 * how.count);
        let mut next = Vec::new();
        for (rank, &(score, beam, token)) in best.iter().enumerate() {
            let before = &self.running[beam];
            let length = before.tokens.len() + 1;
            if token == eos || length >= longest {
                if rank < how.count {
                    let mut tokens = before.tokens.clone();
                    if token != eos {
                        tokens.push(token);
                    }
                    let score = score / (length as f64).powf(how.length_penalty);
                    self.finished.push(Written { tokens, ended: token == eos, score });
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

/// The best targets of each source, best first, at most as many as there are beams; each has at most `longest` tokens (its end
/// counted).
///
/// # Errors
/// As [`write_targets`].
///
/// # Panics
/// If there is no beam, or more than [`MAX_BEAMS`].
pub fn beam_search(
    cpu: &Cpu,
    network: &Seq2Seq,
    sources: &[&[u32]],
    how: &Beams,
    longest: usize,
) -> Result<Vec<Vec<Written>>, InferError> {
    assert!((1..=MAX_BEAMS).contains(&how.count), "beams");
    let c = network.config();
    let mut decoding: Decoding<'_> = network.read(cpu, sources)?;
    let begin = |source| Search {
        running: vec![Running { tokens: Vec::new(), score: 0.0, state: Hypothesis::of(source) }],
        finished: Vec::new(),
        open: longest > 0,
    };
    let mut searches: Vec<Search> = (0..sources.len()).map(begin).collect();
    for step in 0..longest {
        let open = || searches.iter().filter(|s| s.open).flat_map(|s| &s.running);
        let tokens: Vec<u32> = open().map(|r| r.tokens.last().copied().unwrap_or(c.start)).collect();
        let mut states: Vec<Hypothesis> = open().map(|r| r.state.clone()).collect();
        if states.is_empty() {
            break;
        }
        let logits = decoding.write(cpu, &mut states, &tokens)?;
        let (mut rows, mut states) = (&logits[..], states.into_iter());
        for search in searches.iter_mut().filter(|s| s.open) {
            let (here, rest) = rows.split_at(search.running.len() * c.target_vocab);
            rows = rest;
            search.running.iter_mut().zip(&mut states).for_each(|(r, state)| r.state = state);
            let went_on = search.step(how, here, c.target_vocab, c.eos, longest);
            went_on.ok_or(InferError::NotFinite { tokens: step })?;
        }
    }
    Ok(searches.into_iter().map(|s| s.finished).collect())
}
