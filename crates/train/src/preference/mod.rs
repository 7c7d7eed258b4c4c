//! Preference: learning from a better and a worse answer, or from answers that are marked good or bad. What is learnt is to
//! answer so, or (a reward model) to tell what an answer is worth.
//!
//! A pair is two examples that follow each other, the better one first, and is never parted. What both begin with, the
//! prompt, is computed once. The reference is the base: the same weights with the adapter off, or, where the network
//! itself trains, the base that is in memory anyway; its log-probabilities are made once an example and remembered.
//!
//! Left out on purpose: judges that name the better of two answers, sampling new answers (that is reinforcement), and
//! sums of several losses.

mod losses;
mod step;

pub use losses::{Answer, PairLoss, judged_loss, pair_loss, ranking_loss};
pub(crate) use step::moved_on;

use serde::{Deserialize, Serialize};

/// Which preference is learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceMethod {
    /// Direct preference optimisation, against the base (Rafailov et al. 2023).
    #[default]
    Dpo,
    /// Kahneman–Tversky optimisation: answers marked good or bad (Ethayarajh et al. 2024).
    Kto,
    /// Odds ratio beside the likelihood of the better answer, without a reference (Hong et al. 2024).
    Orpo,
    /// Length-normalised likelihood with a margin, without a reference (Meng et al. 2024).
    Simpo,
    /// A reward model: a head reads each answer's worth, the better one's is to be the larger (Bradley & Terry 1952,
    /// Ouyang et al. 2022).
    Reward,
}

/// What DPO does with the margin of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoLoss {
    /// `-log σ(β margin)`; with label smoothing the conservative form.
    #[default]
    Sigmoid,
    /// `max(0, 1 - β margin)` (SLiC, Zhao et al. 2023).
    Hinge,
    /// `(margin per token - 1 / 2β)²` (IPO, Azar et al. 2023).
    Ipo,
    /// The sigmoid without its bias where a share of the pairs is turned round (Chowdhury et al. 2024).
    Robust,
}

/// The settings of a preference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preference {
    /// Which one.
    pub method: PreferenceMethod,
    /// DPO: the loss of a margin.
    pub loss: DpoLoss,
    /// How far the tuned network may go from the base; of ORPO the weight of the odds ratio, of SimPO the scale.
    pub beta: f64,
    /// Share of the pairs that is taken to be turned round (DPO sigmoid and robust, SimPO).
    pub label_smoothing: f64,
    /// SimPO: the margin that is asked for.
    pub gamma: f64,
    /// Factor on the mean loss of the better answers' tokens beside it (of ORPO it is 1).
    pub sft: f64,
    /// KTO: weight of good answers.
    pub desirable: f64,
    /// KTO: weight of bad answers.
    pub undesirable: f64,
    /// Reward model: factor on the squared sum of a pair's rewards, which keeps them around zero (Eisenstein et al. 2023).
    #[serde(skip_serializing_if = "is_zero")]
    pub center: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for Preference {
    fn default() -> Self {
        Preference {
            method: PreferenceMethod::Dpo,
            loss: DpoLoss::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            gamma: 1.0,
            sft: 0.0,
            desirable: 1.0,
            undesirable: 1.0,
            center: 0.0,
        }
    }
}

impl Preference {
    /// Whether examples come in pairs.
    pub fn pairs(&self) -> bool {
        self.method != PreferenceMethod::Kto
    }

    /// Examples that stay together.
    pub fn group(&self) -> usize {
        if self.pairs() { 2 } else { 1 }
    }

    /// Whether the base's log-probabilities are needed.
    pub fn referenced(&self) -> bool {
        matches!(self.method, PreferenceMethod::Dpo | PreferenceMethod::Kto)
    }

    /// Factor on the likelihood of the better answers.
    pub(crate) fn likelihood(&self) -> f64 {
        if self.method == PreferenceMethod::Orpo { 1.0 } else { self.sft }
    }

    /// The key that cannot be meant, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let range = |key, value: f64, low: f64, high: f64| {
            (!(low..=high).contains(&value)).then(|| (key, format!("{value} is not in {low}..{high}")))
        };
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Some(("preference.beta", format!("{}: a positive number is expected", self.beta)));
        }
        range("preference.label_smoothing", self.label_smoothing, 0.0, 0.499)
            .or_else(|| range("preference.gamma", self.gamma, 0.0, 1e3))
            .or_else(|| range("preference.sft", self.sft, 0.0, 1e3))
            .or_else(|| range("preference.desirable", self.desirable, 0.0, 1e3))
            .or_else(|| range("preference.undesirable", self.undesirable, 0.0, 1e3))
            .or_else(|| range("preference.center", self.center, 0.0, 1e3))
    }
}

/// How a step's answers are rewarded as the learner stands, before the update.
///
/// A reward is `β` times the log-probability, less the base's where there is a reference; of ORPO and SimPO it is per token; a
/// reward model reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rewards {
    /// Mean reward of the better (good) answers.
    pub chosen: f64,
    /// Mean reward of the worse (bad) answers.
    pub rejected: f64,
    /// Their difference.
    pub margins: f64,
    /// Share of the pairs whose better answer has the larger reward; of judged answers, share on the right side of the
    /// divergence.
    pub accuracies: f64,
    /// KTO: estimated divergence from the base, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}
