//! Breadth while depth is learnt: windows of general text on which the tuned network is held to its base.
//!
//! Each step adds `strength · mean KL(base ‖ tuned)` over the tokens of a few windows. No answer is needed for them,
//! so any plain text will do, in every language that is to be kept.

use nurture_data::{TokenExample, stream};
use serde::{Deserialize, Serialize};

/// How firmly breadth is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Windows of general text in each step. 0: none.
    pub windows: usize,
    /// Factor on their mean divergence, beside the mean loss of the examples.
    pub strength: f64,
}

impl Keep {
    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.windows > 0 && self.strength > 0.0
    }
}

/// What a run learns from.
#[derive(Clone, Debug, Default)]
pub struct Lessons {
    /// Examples with their loss masks.
    pub examples: Vec<TokenExample>,
    /// Windows of general text for [`Keep`].
    pub keep: Vec<Vec<u32>>,
    /// Of each example whether it is a good answer, where answers are judged one by one; else empty.
    pub judged: Vec<bool>,
}

impl From<Vec<TokenExample>> for Lessons {
    fn from(examples: Vec<TokenExample>) -> Self {
        Lessons { examples, ..Lessons::default() }
    }
}

/// Indices of the windows of step `step` (from 0): a new order for each pass over them, from seed and pass alone.
pub(crate) fn windows_of(step: u64, per_step: usize, count: usize, seed: u64) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let first = step * per_step as u64;
    let mut order: (Option<u64>, Vec<usize>) = (None, Vec::new());
    (first..first + per_step as u64)
        .filter_map(|at| {
            let pass = at / count as u64;
            if order.0 != Some(pass) {
                let mut all: Vec<usize> = (0..count).collect();
                stream(seed, "keep", pass).shuffle(&mut all);
                order = (Some(pass), all);
            }
            order.1.get((at % count as u64) as usize).copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_takes_every_window_once_in_its_own_order() {
        let all: Vec<usize> = (0..10).flat_map(|step| windows_of(step, 3, 10, 7)).collect();
        for pass in all.chunks(10) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(all[..10], all[10..20]);
        assert_eq!(windows_of(4, 3, 10, 7), all[12..15]);
        assert!(windows_of(4, 3, 0, 7).is_empty());
    }
}
