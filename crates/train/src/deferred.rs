//! Objectives whose gradient depends on the log-probabilities of the very pass: the seam for preference and
//! reinforcement.
//!
//! An [`Objective`] sees sequences, token by token, and says how it depends on each log-probability, and on the numbers that a
//! head reads from the states ([`Reads`]): the worth of an answer, the value of a place in it. It knows nothing of
//! trees, chunks or the network: what several sequences learn alike is computed once, and their factors add up.

use nurture_data::{Paths, PrefixTree};
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

/// Where a head reads a number from the states of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Nowhere.
    #[default]
    Nothing,
    /// At its last token: one number, and no log-probability is computed.
    Ends,
    /// Before each of its trained tokens, where that token is chosen.
    Tokens,
}

impl Reads {
    /// The rows of a tree that are read.
    pub(crate) fn rows(self, tree: &PrefixTree<'_>, paths: &Paths) -> Vec<usize> {
        match self {
            Reads::Nothing => Vec::new(),
            Reads::Ends => paths.ends.clone(),
            Reads::Tokens => tree.losses.iter().map(|l| l.row).collect(),
        }
    }

    /// What was read in them, by sequence.
    pub(crate) fn by_sequence(self, paths: &Paths, values: &[f32]) -> Vec<Vec<f32>> {
        match self {
            Reads::Tokens => pick(&paths.losses, values),
            _ => values.iter().map(|&v| vec![v]).collect(),
        }
    }

    /// The reverse: factors of a row's sequences add up.
    pub(crate) fn fold(self, paths: &Paths, own: &[Vec<f32>], factors: &mut [f32]) {
        match self {
            Reads::Tokens => fold(&paths.losses, own, factors),
            _ => factors.iter_mut().zip(own.iter().flatten()).for_each(|(f, o)| *f += o),
        }
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

    /// Where the learner's head reads.
    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    /// The same for the numbers that the head reads, one list a sequence; their share of the value is added.
    fn weigh_values(&mut self, _pack: usize, _values: &[Vec<f32>], _factors: &mut [Vec<f32>]) -> f64 {
        0.0
    }
}

/// For each sequence the values of its places.
fn pick(places: &[Vec<usize>], from: &[f32]) -> Vec<Vec<f32>> {
    places.iter().map(|path| path.iter().filter_map(|&at| from.get(at).copied()).collect()).collect()
}

/// Values of loss rows as values of the sequences that have them.
pub(crate) fn by_sequence(paths: &Paths, scores: &Scores) -> Found {
    Found { logp: pick(&paths.losses, &scores.logp), entropy: pick(&paths.losses, &scores.entropy) }
}

/// The reverse: factors of a row's sequences add up, in the order of the sequences.
pub(crate) fn fold(places: &[Vec<usize>], own: &[Vec<f32>], factors: &mut [f32]) {
    for (path, own) in places.iter().zip(own) {
        for (&at, f) in path.iter().zip(own) {
            factors[at] += f;
        }
    }
}
