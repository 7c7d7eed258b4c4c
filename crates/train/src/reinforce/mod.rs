//! Reinforcement learning under rules: the policy answers, rules mark the answers, and what was better than its group
//! becomes likelier.
//!
//! A step is a round: each prompt is answered several times by the batched engine with the weights as they stand, in exact
//! mode, so that its log-probabilities are the trainer's ([`rollout`]); the owner's [`Grader`] marks the answers; both are
//! written down ([`journal`]) before they are used; advantages within the group ([`advantage`]) weigh the tokens
//! ([`objective`]); the optimiser steps once for each inner pass over the round.
//!
//! PPO ([`critic`]) reads a value before each token from the policy's own states instead, so that a prompt needs no group.
//!
//! Left out on purpose: a value network of its own beside the policy, filters on what is sampled (top-k, top-p): the policy that is trained is the
//! one that spoke, at one temperature; off-policy corrections for another engine, because there is no other engine.

mod advantage;
mod critic;
mod journal;
mod objective;
mod rollout;
mod round;

pub use advantage::advantages;
pub use critic::{Credit, Critic, credits, whiten};
pub use journal::ROLLOUTS;
pub use objective::{Policy, Stats, Trial};
pub(crate) use rollout::rollout_written;
pub use rollout::{Rollout, rollout_tokens, sample};
pub(crate) use round::Rounds;
pub use round::{Attempt, Grade, Grader, Practice};

use crate::error::TrainError;
use serde::{Deserialize, Serialize};

/// How rewards become gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyLoss {
    /// Advantages over the group's spread; the mean over each answer's tokens, then over answers (Shao et al. 2024).
    #[default]
    Grpo,
    /// Advantages without the spread, tokens over the longest answer allowed: long wrong answers are not spared
    /// (Liu et al. 2025).
    DrGrpo,
    /// The mean over all tokens of the round, with a higher upper clip (Yu et al. 2025).
    Dapo,
    /// Whole answers against the mean of the others (Kool et al. 2019, Ahmadian et al. 2024).
    Rloo,
    /// Each token against the value of its place, which a head learns beside (Schulman et al. 2017).
    Ppo,
}

impl PolicyLoss {
    /// Whether the divergence from the base is taken off the reward, not added to the loss.
    pub(crate) fn charges(self) -> bool {
        matches!(self, PolicyLoss::Rloo | PolicyLoss::Ppo)
    }
}

/// What becomes of answers that were cut off at their longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// They count as they are marked.
    #[default]
    Keep,
    /// They are marked but not learnt from.
    Mask,
    /// In the last fifth of the length the reward falls by up to 1, in a straight line.
    Punish,
}

/// The settings of reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforce {
    /// How rewards become gradients.
    pub loss: PolicyLoss,
    /// Answers to each prompt: the group.
    pub samples: usize,
    /// Most tokens of an answer.
    pub max_new: usize,
    /// Temperature of the policy, when it speaks and when it learns.
    pub temperature: f64,
    /// Passes over the answers of a round, a step of the optimiser each.
    pub inner: usize,
    /// How far below 1 the ratio of new to old probability still counts.
    pub clip_low: f64,
    /// How far above 1.
    pub clip_high: f64,
    /// Factor on the divergence from the base; 0: none, and it is not measured.
    pub kl: f64,
    /// What becomes of answers that were cut off.
    pub overlong: Overlong,
    /// PPO: how values are learnt and used.
    pub critic: Critic,
    /// What the grader goes by, in its own words: a run is only resumed under the same rules.
    pub rules: String,
}

impl Default for Reinforce {
    fn default() -> Reinforce {
        Reinforce {
            loss: PolicyLoss::Grpo,
            samples: 8,
            max_new: 256,
            temperature: 1.0,
            inner: 1,
            clip_low: 0.2,
            clip_high: 0.2,
            kl: 0.0,
            overlong: Overlong::Keep,
            critic: Critic::default(),
            rules: String::new(),
        }
    }
}

impl Reinforce {
    /// Refuses values that cannot be meant.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let refuse = |key, problem: String| Err(TrainError::Setting { key, problem });
        if self.samples == 0 || self.samples == 1 && self.loss != PolicyLoss::Ppo {
            return refuse(
                "samples",
                format!("{}: an answer is judged against others of its prompt", self.samples),
            );
        }
        if self.max_new == 0 {
            return refuse("max_new", "0: an answer has at least one token".into());
        }
        if self.inner == 0 {
            return refuse("inner", "0: nothing would be learnt".into());
        }
        for (key, value, low, high) in [
            ("temperature", self.temperature, 1e-3, 100.0),
            ("clip_low", self.clip_low, 0.0, 1.0),
            ("clip_high", self.clip_high, 0.0, 1e6),
            ("kl", self.kl, 0.0, 1e6),
            ("critic.weight", self.critic.weight, 0.0, 1e6),
            ("critic.gamma", self.critic.gamma, 0.0, 1.0),
            ("critic.lambda", self.critic.lambda, 0.0, 1.0),
            ("critic.clip", self.critic.clip, 0.0, 1e6),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(key, format!("{value} is not in {low}..{high}"));
            }
        }
        Ok(())
    }

    /// How log-probabilities are taken.
    pub(crate) fn score_options(&self) -> nurture_model::ScoreOptions {
        nurture_model::ScoreOptions { temperature: self.temperature as f32, entropy: false }
    }
}
