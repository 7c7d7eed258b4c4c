//! Objectives whose gradient depends on the log-probabilities of the very pass: the seam for preference and
//! reinforcement.
//!
//! An [`Objective`] sees sequences, token by token, and says how it depends on each log-probability. It knows nothing of
//! trees, chunks or the network: what several sequences learn alike is computed once, and their factors add up.

use nurture_data::Paths;
use nurture_model::{ScoreOptions, Scores};

/// What was found for the sequences of a pack, in their order: a value for each of their trained tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Log-probabilities, nats.
    pub logp: Vec<Vec<f32>>,
    /// Entropies, nats; empty lists unless they were asked for.
    pub entropy: Vec<Vec<f32>>,
}

impl Found {
    /// Zeros in the shape of the log-probabilities.
    pub fn zeros(&self) -> Vec<Vec<f32>> {
        self.logp.iter().map(|s| vec![0.0; s.len()]).collect()
    }

    /// The log-probability of each sequence's trained tokens together.
    pub fn sums(&self) -> Vec<f64> {
        self.logp.iter().map(|s| s.iter().map(|&l| f64::from(l)).sum()).collect()
    }
}

/// What a step improves, by the log-probabilities of its sequences.
pub trait Objective {
    /// How log-probabilities are taken.
    fn options(&self) -> ScoreOptions {
        ScoreOptions::default()
    }

    /// From what was found for pack number `pack` (from 0) to the derivatives of the step's objective, to be *lowered*, by
    /// each log-probability. `factors` has the shape of `found.logp` and comes with zeros. Gives the pack's share of
    /// the objective's value.
    fn weigh(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64;
}

/// Values of loss rows as values of the sequences that have them.
pub(crate) fn by_sequence(paths: &Paths, scores: &Scores) -> Found {
    let pick = |from: &[f32]| -> Vec<Vec<f32>> {
        paths
            .losses
            .iter()
            .map(|path| path.iter().filter_map(|&at| from.get(at).copied()).collect())
            .collect()
    };
    Found { logp: pick(&scores.logp), entropy: pick(&scores.entropy) }
}

/// The reverse: factors of a row's sequences add up, in the order of the sequences.
pub(crate) fn fold(paths: &Paths, own: &[Vec<f32>], factors: &mut [f32]) {
    for (path, own) in paths.losses.iter().zip(own) {
        for (&at, f) in path.iter().zip(own) {
            factors[at] += f;
        }
    }
}
