//! Which examples each step trains on: a pure function of lengths, seed and step, so that a resumed run goes on
//! exactly where the killed one would have gone.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rng::stream;

/// How examples are put into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// How often each example is seen.
    pub epochs: u32,
    /// Examples that one optimiser step learns from.
    pub batch: usize,
    /// Most tokens that are computed at once; a step with more is done in several packs.
    pub pack_tokens: usize,
    /// The run's seed.
    pub seed: u64,
}

/// A plan that cannot be made.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No examples, or a batch, epoch or pack of nothing.
    #[error("nothing to plan: {what} is 0")]
    Nothing {
        /// What is 0.
        what: &'static str,
    },
    /// A sequence that fits no pack.
    #[error(
        "example {index} has {tokens} tokens, but a pack holds {pack_tokens}; raise pack_tokens or lower max_tokens"
    )]
    TooLong {
        /// Index of the example.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// The limit.
        pack_tokens: usize,
    },
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Indices of its examples, in packs of at most `pack_tokens` tokens. Sequences of a pack stand behind each other
    /// without padding; the gradients of the packs add up to the step's.
    pub packs: Vec<Vec<usize>>,
}

impl Step {
    /// Indices of all examples of the step.
    pub fn examples(&self) -> impl Iterator<Item = usize> + '_ {
        self.packs.iter().flatten().copied()
    }
}

/// The plan of a run. Every example stands once in every epoch; an epoch's last step may be smaller.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    lengths: Vec<usize>,
    config: PlanConfig,
}

impl BatchPlan {
    /// A plan for examples of these lengths in tokens.
    pub fn new(lengths: Vec<usize>, config: PlanConfig) -> Result<Self, PlanError> {
        let zero = |what| Err(PlanError::Nothing { what });
        match (lengths.len(), config.batch, config.epochs) {
            (0, ..) => return zero("the number of examples"),
            (_, 0, _) => return zero("batch"),
            (.., 0) => return zero("epochs"),
            _ => {}
        }
        match lengths.iter().enumerate().find(|(_, tokens)| **tokens > config.pack_tokens) {
            Some((index, &tokens)) => {
                Err(PlanError::TooLong { index, tokens, pack_tokens: config.pack_tokens })
            }
            None => Ok(BatchPlan { lengths, config }),
        }
    }

    /// Optimiser steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.config.batch) as u64
    }

    /// Optimiser steps of the run.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.config.epochs)
    }

    /// The examples of step `step` (from 0); `None` behind the end. Shuffles a whole epoch: to go through many steps
    /// use `steps`.
    pub fn step(&self, step: u64) -> Option<Step> {
        self.steps(step).next()
    }

    /// All steps from `first` on.
    pub fn steps(&self, first: u64) -> Steps<'_> {
        Steps { plan: self, next: first, epoch: None, order: Vec::new() }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        stream(self.config.seed, "epoch", epoch).shuffle(&mut order);
        order
    }

    /// First fit, longest first: close to the fewest packs, and the same ones every time.
    fn pack(&self, examples: &[usize]) -> Vec<Vec<usize>> {
        let length = |at: usize| self.lengths.get(at).copied().unwrap_or(0);
        let mut by_length = examples.to_vec();
        by_length.sort_by_key(|&at| std::cmp::Reverse(length(at)));
        let mut packs: Vec<(usize, Vec<usize>)> = Vec::new();
        for at in by_length {
            let tokens = length(at);
            match packs.iter_mut().find(|(used, _)| used + tokens <= self.config.pack_tokens) {
                Some((used, pack)) => {
                    *used += tokens;
                    pack.push(at);
                }
                None => packs.push((tokens, vec![at])),
            }
        }
        packs.into_iter().map(|(_, pack)| pack).collect()
    }
}

/// Goes through the steps of a plan, shuffling each epoch once.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    plan: &'a BatchPlan,
    next: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let plan = self.plan;
        if self.next >= plan.total_steps() {
            return None;
        }
        let (epoch, within) = (self.next / plan.steps_per_epoch(), self.next % plan.steps_per_epoch());
        if self.epoch != Some(epoch) {
            self.order = plan.order(epoch);
            self.epoch = Some(epoch);
        }
        let batch = self.order.chunks(plan.config.batch).nth(within as usize)?;
        self.next += 1;
        Some(Step { epoch: epoch as u32, packs: plan.pack(batch) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(n: usize, epochs: u32, batch: usize, seed: u64) -> BatchPlan {
        let lengths = (0..n).map(|at| 5 + (at * 37) % 90).collect();
        BatchPlan::new(lengths, PlanConfig { epochs, batch, pack_tokens: 128, seed }).unwrap()
    }

    #[test]
    fn every_example_stands_once_in_every_epoch() {
        let plan = plan(103, 3, 16, 5);
        assert_eq!((plan.steps_per_epoch(), plan.total_steps()), (7, 21));
        for epoch in 0..3 {
            let steps: Vec<Step> = plan.steps(epoch * 7).take(7).collect();
            let mut seen: Vec<usize> = steps.iter().flat_map(Step::examples).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..103).collect::<Vec<_>>());
            assert!(steps.iter().all(|s| u64::from(s.epoch) == epoch));
        }
        let first: Vec<usize> =
            plan.steps(0).take(7).flat_map(|s| s.examples().collect::<Vec<_>>()).collect();
        let second: Vec<usize> =
            plan.steps(7).take(7).flat_map(|s| s.examples().collect::<Vec<_>>()).collect();
        assert_ne!(first, second, "each epoch has its own order");
    }

    #[test]
    fn a_step_depends_on_seed_and_number_only() {
        let plan = plan(50, 4, 8, 5);
        let through: Vec<Step> = plan.steps(0).collect();
        assert_eq!(through.len() as u64, plan.total_steps());
        for (number, step) in through.iter().enumerate() {
            assert_eq!(plan.step(number as u64).as_ref(), Some(step));
        }
        assert_eq!(plan.step(plan.total_steps()), None);
        assert_ne!(plan.step(0), self::plan(50, 4, 8, 6).step(0));
    }

    #[test]
    fn packs_hold_their_tokens_and_no_step_needs_twice_the_fewest() {
        let plan = plan(400, 1, 32, 5);
        for step in plan.steps(0) {
            let tokens: Vec<usize> =
                step.packs.iter().map(|pack| pack.iter().map(|&at| plan.lengths[at]).sum()).collect();
            assert!(tokens.iter().all(|t| *t <= 128));
            let fewest = tokens.iter().sum::<usize>().div_ceil(128);
            assert!(
                step.packs.len() < 2 * fewest,
                "{} packs, {fewest} would hold the tokens",
                step.packs.len()
            );
        }
    }

    #[test]
    fn impossible_plans_are_refused() {
        let config = PlanConfig { epochs: 1, batch: 4, pack_tokens: 10, seed: 0 };
        assert!(matches!(BatchPlan::new(vec![], config), Err(PlanError::Nothing { .. })));
        assert!(matches!(
            BatchPlan::new(vec![1], PlanConfig { batch: 0, ..config }),
            Err(PlanError::Nothing { .. })
        ));
        let too_long = PlanError::TooLong { index: 1, tokens: 11, pack_tokens: 10 };
        assert_eq!(BatchPlan::new(vec![10, 11], config).unwrap_err(), too_long);
    }
}
