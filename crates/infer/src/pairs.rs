//! Writing targets of an encoder-decoder: greedily, by sampling, or the best of several beams.
//!
//! Many sources are written at once; what one gets does not depend on those beside it.
//!
//! Left out on purpose: constraints, stop texts; the engine, which serves decoders alone.

use crate::beams::{Beams, Continue, log_probabilities, search};
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

impl Continue for Decoding<'_> {
    type State = Hypothesis;

    fn write(
        &mut self,
        cpu: &Cpu,
        states: &mut [Hypothesis],
        tokens: &[u32],
    ) -> Result<Vec<f32>, InferError> {
        Ok(Decoding::write(self, cpu, states, tokens)?)
    }
}

/// The best targets of each source, best first, at most as many as there are beams; each has at most `longest` tokens (its end
/// counted).
///
/// # Errors
/// As [`write_targets`].
///
/// # Panics
/// If there is no beam, or more than [`crate::MAX_BEAMS`].
pub fn beam_search(
    cpu: &Cpu,
    network: &Seq2Seq,
    sources: &[&[u32]],
    how: &Beams,
    longest: usize,
) -> Result<Vec<Vec<Written>>, InferError> {
    let c = network.config();
    let mut decoding = network.read(cpu, sources)?;
    let firsts = (0..sources.len()).map(|i| (Hypothesis::of(i), c.start)).collect();
    search(cpu, &mut decoding, firsts, c.target_vocab, &[c.eos], how, longest)
}
