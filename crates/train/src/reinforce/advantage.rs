//! How much better than its group an answer was.

use super::{PolicyLoss, Reinforce};

/// Added to the spread, so that a group of almost equal rewards is not blown up (as TRL does).
const SPREAD: f64 = 1e-4;

/// Advantages of answers with these rewards, `samples` of one prompt behind each other.
///
/// Rewards are numbers; groups are whole.
pub fn advantages(how: &Reinforce, rewards: &[f64]) -> Vec<f64> {
    let one = |group: &[f64]| -> Vec<f64> {
        let n = group.len() as f64;
        let sum: f64 = group.iter().sum();
        let mean = sum / n;
        match how.loss {
            PolicyLoss::Rloo => group.iter().map(|r| r - (sum - r) / (n - 1.0).max(1.0)).collect(),
            // of PPO values say it, token by token
            PolicyLoss::DrGrpo | PolicyLoss::Ppo => group.iter().map(|r| r - mean).collect(),
            PolicyLoss::Grpo | PolicyLoss::Dapo => {
                let spread = spread(group);
                group.iter().map(|r| (r - mean) / (spread + SPREAD)).collect()
            }
        }
    };
    // a mean of equal numbers may be off by a rounding error
    let flat = |group: &[f64]| group.iter().all(|r| *r == group[0]);
    let groups = rewards.chunks(how.samples.max(1));
    groups.flat_map(|g| if flat(g) { vec![0.0; g.len()] } else { one(g) }).collect()
}

/// Standard deviation, over `n − 1`.
pub(crate) fn spread(group: &[f64]) -> f64 {
    let n = group.len() as f64;
    let mean = group.iter().sum::<f64>() / n;
    (group.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
}
