//! Which examples each step trains on: a pure function of examples, seed and step, so that a resumed run goes on
//! exactly where the killed one would have gone.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::prefix_tree::PrefixTree;
use crate::prefixes::{Prefixes, worth_sharing};
use crate::rng::stream;
use crate::tokens::TokenExample;

/// How examples are put into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// How often each example is seen.
    pub epochs: u32,
    /// Examples that one optimiser step learns from.
    pub batch: usize,
    /// Most tokens that are computed at once; a step with more is done in several packs. What sequences of a pack
    /// share counts once.
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
        "example {} has {tokens} tokens, but only {pack_tokens} are worked on at once; raise train.micro_tokens, or lower \
         train.max_len",
        index + 1
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
    /// Indices of its examples, in packs of at most `pack_tokens` computed tokens (see [`crate::PrefixTree`]). The
    /// gradients of the packs add up to the step's.
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
    prefixes: Prefixes,
    config: PlanConfig,
    /// consecutive examples that are never parted, and the tokens that each such group computes; empty: each example
    /// is its own
    groups: (usize, Vec<usize>),
}

/// Equal sequences of a step.
struct Unit {
    examples: Vec<usize>,
    tokens: usize,
    /// tokens that it shares with the unit before it
    shared: usize,
}

/// Units that are computed together.
struct Run<'a> {
    units: &'a [Unit],
    tokens: usize,
}

impl BatchPlan {
    /// A plan for these examples; those that begin alike come into the same pack where they can. The plan holds no
    /// tokens.
    ///
    /// # Errors
    /// Nothing to plan, or an example that no pack holds.
    pub fn new(examples: &[TokenExample], config: PlanConfig) -> Result<Self, PlanError> {
        let sequences: Vec<&[u32]> = examples.iter().map(|e| e.tokens.as_slice()).collect();
        let lengths = sequences.iter().map(|s| s.len()).collect();
        Ok(BatchPlan { prefixes: Prefixes::new(&sequences), ..BatchPlan::apart(lengths, config)? })
    }

    /// A plan in which each `group` consecutive examples (a pair of answers) stay together: a step learns from `batch`
    /// groups, and a group stands in one pack. With `sharing`, what the examples of a group begin with alike counts once.
    ///
    /// # Errors
    /// As [`BatchPlan::new`]; a group that no pack holds.
    pub fn grouped(
        examples: &[TokenExample],
        group: usize,
        sharing: bool,
        config: PlanConfig,
    ) -> Result<Self, PlanError> {
        if group <= 1 {
            return match sharing {
                true => BatchPlan::new(examples, config),
                false => BatchPlan::apart(examples.iter().map(|e| e.tokens.len()).collect(), config),
            };
        }
        let sizes: Vec<usize> = examples
            .chunks(group)
            .map(|group| PrefixTree::new(&group.iter().collect::<Vec<_>>(), sharing).rows())
            .collect();
        let checked = BatchPlan::apart(sizes, config)?;
        let lengths = examples.iter().map(|e| e.tokens.len()).collect();
        Ok(BatchPlan { groups: (group, checked.lengths), lengths, ..checked })
    }

    /// A plan for examples of these lengths in tokens that share nothing. Its steps have the same examples.
    ///
    /// # Errors
    /// As [`BatchPlan::new`].
    pub fn apart(lengths: Vec<usize>, config: PlanConfig) -> Result<Self, PlanError> {
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
            None => Ok(BatchPlan { lengths, prefixes: Prefixes::apart(), config, groups: (1, Vec::new()) }),
        }
    }

    /// Optimiser steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.units_of_all().div_ceil(self.config.batch) as u64
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

    /// Examples, or groups of them.
    fn units_of_all(&self) -> usize {
        if self.groups.1.is_empty() { self.lengths.len() } else { self.groups.1.len() }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.units_of_all()).collect();
        stream(self.config.seed, "epoch", epoch).shuffle(&mut order);
        order
    }

    /// Each tree of shared beginnings is cut where that repeats least, into runs that fit; then first fit, largest
    /// run first: close to the fewest packs, and the same ones every time.
    fn pack(&self, examples: &[usize]) -> Vec<Vec<usize>> {
        if !self.groups.1.is_empty() {
            return self.pack_groups(examples);
        }
        let units = self.units(examples);
        let mut runs: Vec<Run<'_>> = Vec::new();
        for tree in units.chunk_by(|_, next| next.shared > 0) {
            cut(tree, self.config.pack_tokens, &mut runs);
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.tokens));
        let mut packs: Vec<(usize, Vec<usize>)> = Vec::new();
        for run in runs {
            let fits = packs.iter().position(|(used, _)| used + run.tokens <= self.config.pack_tokens);
            let at = fits.unwrap_or(packs.len());
            if at == packs.len() {
                packs.push((0, Vec::new()));
            }
            packs[at].0 += run.tokens;
            packs[at].1.extend(run.units.iter().flat_map(|unit| &unit.examples));
        }
        packs.into_iter().map(|(_, pack)| pack).collect()
    }

    /// First fit, largest group first.
    fn pack_groups(&self, groups: &[usize]) -> Vec<Vec<usize>> {
        let (each, sizes) = &self.groups;
        let size = |at: usize| sizes.get(at).copied().unwrap_or(0);
        let mut sorted = groups.to_vec();
        sorted.sort_by_key(|&at| std::cmp::Reverse(size(at)));
        let mut packs: Vec<(usize, Vec<usize>)> = Vec::new();
        for at in sorted {
            let fits = packs.iter().position(|(used, _)| used + size(at) <= self.config.pack_tokens);
            let to = fits.unwrap_or(packs.len());
            if to == packs.len() {
                packs.push((0, Vec::new()));
            }
            packs[to].0 += size(at);
            packs[to].1.extend((at * each..(at + 1) * each).filter(|&i| i < self.lengths.len()));
        }
        packs.into_iter().map(|(_, pack)| pack).collect()
    }

    /// The examples in the order of their tokens, equal ones together.
    fn units(&self, examples: &[usize]) -> Vec<Unit> {
        let mut sorted = examples.to_vec();
        sorted.sort_by_key(|&at| self.prefixes.rank(at));
        let mut units: Vec<Unit> = Vec::new();
        for at in sorted {
            let tokens = self.lengths.get(at).copied().unwrap_or(0);
            let last = units
                .last_mut()
                .and_then(|u| u.examples.last().map(|&l| self.prefixes.alike(l, at)).zip(Some(u)));
            let shared = match last {
                Some((alike, unit)) if alike > 0 && alike == tokens && tokens == unit.tokens => {
                    unit.examples.push(at);
                    continue;
                }
                Some((alike, _)) => worth_sharing(alike),
                None => 0,
            };
            units.push(Unit { examples: vec![at], tokens, shared });
        }
        units
    }
}

/// Cuts the sequences of a tree, in order, into runs of at most `limit` tokens so that the fewest tokens are computed
/// again, and among such ways into the fewest runs.
fn cut<'a>(tree: &'a [Unit], limit: usize, runs: &mut Vec<Run<'a>>) {
    // for the first `n` sequences: (tokens repeated, runs), where the last run begins, and its tokens
    let mut best = vec![((0, 0), 0, 0)];
    for to in 1..=tree.len() {
        let mut tokens = 0;
        let mut found = ((usize::MAX, usize::MAX), to - 1, 0);
        for from in (0..to).rev() {
            tokens += tree[from].tokens
                - tree.get(from + 1).filter(|_| from + 1 < to).map_or(0, |next| next.shared);
            // one alone fits: the plan was refused otherwise
            if tokens > limit && from + 1 < to {
                break;
            }
            let ((repeated, count), ..) = best[from];
            let cost = (repeated + if from > 0 { tree[from].shared } else { 0 }, count + 1);
            if cost <= found.0 {
                found = (cost, from, tokens);
            }
        }
        best.push(found);
    }
    let (mut to, begin) = (tree.len(), runs.len());
    while to > 0 {
        let (_, from, tokens) = best[to];
        runs.push(Run { units: &tree[from..to], tokens });
        to = from;
    }
    runs[begin..].reverse();
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
        BatchPlan::apart(lengths, PlanConfig { epochs, batch, pack_tokens: 128, seed }).unwrap()
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
        assert!(matches!(BatchPlan::apart(vec![], config), Err(PlanError::Nothing { .. })));
        assert!(matches!(
            BatchPlan::apart(vec![1], PlanConfig { batch: 0, ..config }),
            Err(PlanError::Nothing { .. })
        ));
        let too_long = PlanError::TooLong { index: 1, tokens: 11, pack_tokens: 10 };
        assert_eq!(BatchPlan::apart(vec![10, 11], config).unwrap_err(), too_long);
    }

    /// Examples after one of two long prompts, some of them twice, and some that share nothing.
    fn prompted(count: u32) -> Vec<TokenExample> {
        let one = |n: u32| {
            let prompt = match n % 5 {
                0 => vec![],
                odd => vec![odd % 2 + 1; 60],
            };
            let own = (0..4 + n % 7).map(|i| 10 + n / 2 * 2 + i * 1000);
            let tokens: Vec<u32> = prompt.into_iter().chain(own).collect();
            TokenExample { id: n.to_string(), source: 0, trained: vec![true; tokens.len()], tokens }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn shared_beginnings_come_together_and_the_step_stays() {
        let examples = prompted(203);
        for (batch, pack_tokens) in [(16, 128), (16, 90), (16, 4096), (64, 256)] {
            let config = PlanConfig { epochs: 2, batch, pack_tokens, seed: 5 };
            let apart = BatchPlan::apart(examples.iter().map(|e| e.tokens.len()).collect(), config).unwrap();
            let plan = BatchPlan::new(&examples, config).unwrap();
            let (mut computed, mut once, mut given) = (0, 0, 0);
            for (number, (step, other)) in plan.steps(0).zip(apart.steps(0)).enumerate() {
                assert_eq!(plan.step(number as u64).as_ref(), Some(&step));
                let sorted = |s: &Step| {
                    let mut all: Vec<usize> = s.examples().collect();
                    all.sort_unstable();
                    all
                };
                assert_eq!(sorted(&step), sorted(&other), "the same examples a step");
                for pack in &step.packs {
                    let pack: Vec<&TokenExample> = pack.iter().map(|&at| &examples[at]).collect();
                    let rows = crate::PrefixTree::new(&pack, true).rows();
                    assert!(rows <= pack_tokens, "{rows} tokens in a pack of {pack_tokens}");
                    computed += rows;
                }
                let all: Vec<&TokenExample> = step.examples().map(|at| &examples[at]).collect();
                once += crate::PrefixTree::new(&all, true).rows();
                given += all.iter().map(|e| e.tokens.len()).sum::<usize>();
                assert!(step.packs.len() <= other.packs.len());
            }
            assert!(computed >= once && computed < given);
            if pack_tokens == 4096 {
                assert_eq!(computed, once, "one pack holds a step");
            }
        }
    }

    #[test]
    fn pairs_stay_together_and_their_prompt_counts_once() {
        let pair = |n: u32| {
            let one = |last: u32| {
                let tokens: Vec<u32> = (0..20 + n % 5).chain([500 + n, 600 + last]).collect();
                TokenExample { id: n.to_string(), source: 0, trained: vec![true; tokens.len()], tokens }
            };
            [one(1), one(2)]
        };
        let examples: Vec<TokenExample> = (0..23).flat_map(pair).collect();
        let config = PlanConfig { epochs: 2, batch: 5, pack_tokens: 60, seed: 3 };
        let plan = BatchPlan::grouped(&examples, 2, true, config).unwrap();
        assert_eq!((plan.steps_per_epoch(), plan.total_steps()), (5, 10));
        let mut seen = Vec::new();
        for (number, step) in plan.steps(0).enumerate().take(5) {
            assert_eq!(plan.step(number as u64).as_ref(), Some(&step));
            for pack in &step.packs {
                for pair in pack.chunks(2) {
                    assert!(pair[0] % 2 == 0 && pair[1] == pair[0] + 1, "{pack:?}");
                }
                let pack: Vec<&TokenExample> = pack.iter().map(|&at| &examples[at]).collect();
                assert!(PrefixTree::new(&pack, true).rows() <= 60);
            }
            seen.extend(step.examples());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..46).collect::<Vec<_>>());
        // a pair that no pack holds, though each of its sequences would fit
        let small = PlanConfig { pack_tokens: 25, ..config };
        let error = BatchPlan::grouped(&examples, 2, true, small).unwrap_err();
        assert!(matches!(error, PlanError::TooLong { tokens: 26, .. }), "{error}");
        assert!(BatchPlan::grouped(&examples, 2, false, PlanConfig { pack_tokens: 40, ..config }).is_err());
        assert_eq!(BatchPlan::grouped(&examples, 1, true, config).unwrap().steps_per_epoch(), 10);
    }

    #[test]
    fn a_tree_is_cut_where_least_is_repeated() {
        let unit = |tokens, shared| Unit { examples: vec![0], tokens, shared };
        let runs = |tree: &[Unit], limit| {
            let mut runs = Vec::new();
            cut(tree, limit, &mut runs);
            runs.iter().map(|r| (r.units.len(), r.tokens)).collect::<Vec<_>>()
        };
        // two documents of 50 tokens after a trunk of 10: cut between them, though the first run could hold more
        let tree = [unit(55, 0), unit(56, 50), unit(57, 50), unit(55, 10), unit(58, 50)];
        assert_eq!(runs(&tree, 1000), [(5, 55 + 6 + 7 + 45 + 8)]);
        assert_eq!(runs(&tree, 115), [(3, 55 + 6 + 7), (2, 55 + 8)]);
        assert_eq!(runs(&tree, 58), [(1, 55), (1, 56), (1, 57), (1, 55), (1, 58)]);
        assert_eq!(runs(&[unit(9, 0)], 9), [(1, 9)]);
    }
}
