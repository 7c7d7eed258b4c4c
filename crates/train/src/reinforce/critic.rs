//! The value of each place of an answer, and what it says about each token (PPO).
//!
//! A head on the policy's own states reads, before each token, what the answer will be worth from there (`V`). With the reward
//! `r` of each token (its divergence from the base taken off; the answer's own reward at its end) the advantage is generalised
//! advantage estimation (Schulman et al. 2016): `A_t = δ_t + γ λ A_{t+1}` with `δ_t = r_t + γ V_{t+1} − V_t`, and what the value
//! learns is `A_t + V_t`. Advantages are then brought to mean 0 and deviation 1 over the round.
//!
//! Left out on purpose: a value beyond the end of an answer that was cut off; it counts as an end.

use serde::{Deserialize, Serialize};

/// The settings of the value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Critic {
    /// Factor on the value's loss beside the policy's.
    pub weight: f64,
    /// Decay of the rewards that are still to come, γ.
    pub gamma: f64,
    /// How far advantages trust rewards rather than values, λ: 1 rewards alone.
    pub lambda: f64,
    /// How far a value may move from what it was and still count.
    pub clip: f64,
}

impl Default for Critic {
    fn default() -> Critic {
        Critic { weight: 0.1, gamma: 1.0, lambda: 0.95, clip: 0.2 }
    }
}

/// What is known of a token when it is learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Credit {
    /// How much better it was than what was expected.
    pub advantage: f64,
    /// The value of its place when it was spoken.
    pub value: f64,
    /// What the value should have been.
    pub target: f64,
}

/// The credits of an answer with these rewards and values of its tokens.
pub fn credits(critic: &Critic, rewards: &[f64], values: &[f32]) -> Vec<Credit> {
    let mut out = vec![Credit::default(); rewards.len().min(values.len())];
    let (mut later, mut next) = (0.0, 0.0);
    for ((credit, reward), &value) in out.iter_mut().zip(rewards).zip(values).rev() {
        let value = f64::from(value);
        let delta = reward + critic.gamma * next - value;
        later = delta + critic.gamma * critic.lambda * later;
        *credit = Credit { advantage: later, value, target: later + value };
        next = value;
    }
    out
}

/// Brings the advantages of all tokens of a round to mean 0 and deviation 1.
pub fn whiten(round: &mut [Vec<Credit>]) {
    let all = || round.iter().flatten().map(|c| c.advantage);
    let n = all().count() as f64;
    if n < 2.0 {
        return;
    }
    let mean = all().sum::<f64>() / n;
    let variance = all().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let scale = (variance + 1e-8).sqrt().recip();
    round.iter_mut().flatten().for_each(|c| c.advantage = (c.advantage - mean) * scale);
}

/// Half the squared error of a value, the larger of that as it is and held to what it was: `(loss, derivative)`.
pub(super) fn value_loss(critic: &Critic, credit: &Credit, value: f64) -> (f64, f64) {
    let held = value.clamp(credit.value - critic.clip, credit.value + critic.clip);
    let (free, bound) = (value - credit.target, held - credit.target);
    match free.abs() >= bound.abs() {
        true => (0.5 * free * free, free),
        false => (0.5 * bound * bound, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_decay_targets_are_what_came() {
        let critic = Critic { lambda: 1.0, ..Critic::default() };
        let got = credits(&critic, &[0.0, -0.5, 2.0], &[0.25, 1.0, -3.0]);
        let targets: Vec<f64> = got.iter().map(|c| c.target).collect();
        assert_eq!(targets, [1.5, 1.5, 2.0]);
        assert_eq!(got[1].advantage, 0.5);
        // values alone: one step ahead
        let got =
            credits(&Critic { lambda: 0.0, gamma: 0.5, ..critic }, &[0.0, -0.5, 2.0], &[0.25, 1.0, -3.0]);
        assert_eq!(got.iter().map(|c| c.target).collect::<Vec<_>>(), [0.5, -2.0, 2.0]);
        assert!(credits(&critic, &[], &[]).is_empty());
    }

    #[test]
    fn advantages_are_whitened_over_the_round() {
        let one = |advantage| Credit { advantage, ..Credit::default() };
        let mut round = vec![vec![one(1.0), one(3.0)], vec![one(5.0)]];
        whiten(&mut round);
        let got: Vec<f64> = round.iter().flatten().map(|c| c.advantage).collect();
        assert!(got[1].abs() < 1e-9 && (got[2] - 1.0).abs() < 1e-6 && (got[0] + 1.0).abs() < 1e-6, "{got:?}");
        let mut flat = vec![vec![one(2.0); 4]];
        whiten(&mut flat);
        assert!(flat[0].iter().all(|c| c.advantage == 0.0));
    }

    #[test]
    fn the_slope_of_a_value_s_loss_equals_its_differences() {
        let critic = Critic::default();
        for (value, was, target) in
            [(0.5, 0.4, 1.0), (0.9, 0.4, 1.0), (0.9, 0.4, 0.2), (-2.0, 0.4, -3.0), (1.5, 0.4, 0.9)]
        {
            let credit = Credit { advantage: 0.0, value: was, target };
            let at = |v| value_loss(&critic, &credit, v).0;
            let want = (at(value + 1e-6) - at(value - 1e-6)) / 2e-6;
            let got = value_loss(&critic, &credit, value).1;
            assert!((got - want).abs() < 1e-6, "{value} {was} {target}: {got}, by differences {want}");
        }
    }
}
