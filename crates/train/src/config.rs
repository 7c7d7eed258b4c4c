//! How to train: every value that the result depends on, beside the base, the adapter's shape and the examples.

use crate::divergence::Divergence;
use crate::error::TrainError;
use crate::keep::Keep;
use crate::preference::{Preference, PreferenceMethod};
use crate::reinforce::{PolicyLoss, Reinforce};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunLength {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the examples; a fraction is a part of a pass, rounded to whole steps (at least one).
    Epochs(f64),
}

/// How gradients become steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimiser {
    /// AdamW (Loshchilov & Hutter 2019) with moments in float32.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// AdamW with moments of eight bits (`nurture_kernels::adamw8`).
    #[serde(rename = "adamw8bit")]
    AdamW8,
    /// Muon (Jordan et al. 2024) for the projections of the blocks of a network that trains itself, AdamW for the rest.
    #[serde(rename = "muon")]
    Muon,
    /// Schedule-free AdamW (Defazio et al. 2024): what is saved is an average of the way, and the rate need not fall.
    #[serde(rename = "schedule_free")]
    ScheduleFree,
}

/// How an adapter begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// `A` random, `B` zero.
    #[default]
    Random,
    /// Half of its rank as the strongest part of each weight, the other half as what takes it away again and does not
    /// train (PiSSA; `nurture_model::Adapter::principal`).
    Principal,
}

impl Optimiser {
    /// Bytes that it remembers for each float that trains.
    pub fn bytes(self) -> f64 {
        match self {
            Optimiser::AdamW | Optimiser::ScheduleFree => 8.0,
            // a byte each, and two scales for 256
            Optimiser::AdamW8 => 2.0 + 8.0 / 256.0,
            // projections have one moment, the rest two; a little is not worth a table
            Optimiser::Muon => 8.0,
        }
    }
}

/// The settings of supervised fine-tuning.
///
/// A step learns from `batch` sequences. Each trained token of the step weighs the same, one over their number, so
/// that the step does not depend on how it is cut into micro-batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// How long.
    pub length: RunLength,
    /// Sequences of one optimiser step.
    pub batch: usize,
    /// Most tokens computed at once. Sequences stand behind each other without padding and do not see each other;
    /// a step with more tokens is done in several micro-batches. Memory grows with it, hardly speed.
    pub micro_tokens: usize,
    /// Whether only the input of each block is kept for the backward pass and the block computed again there: less
    /// memory, about a third more work, the same bits.
    pub recompute: bool,
    /// How gradients become steps.
    pub optimiser: Optimiser,
    /// Whether what sequences of a micro-batch begin with alike is computed once. The update is the same up to
    /// rounding; without it each sequence is computed for itself.
    pub sharing: bool,
    /// Share of each target that is spread evenly over the vocabulary (label smoothing). 0: none.
    pub label_smoothing: f64,
    /// Factor on the squared logarithm of the sum of exponentials of the logits (z-loss). 0: none.
    pub z_loss: f64,
    /// Size of the noise on embedded tokens in training (NEFTune's alpha). 0: none. With noise, what sequences begin with
    /// alike is not shared: each has its own.
    pub neftune: f64,
    /// Decay of the average of the weights that is saved instead of the last ones (EMA). 0: none.
    pub ema: f64,
    /// Whether the lengths of the tuned rows train beside an adapter's pairs (DoRA; `nurture_model::Magnitude`).
    pub dora: bool,
    /// Tokens whose rows of the embedding (and of a head that is the embedding) train as the adapter's own; they begin
    /// as the base's and do not decay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// How an adapter begins.
    pub init: Init,
    /// Rate of the second matrix of a LoRA pair, as a multiple of that of the first (LoRA+).
    pub b_ratio: f64,
    /// Peak learning rate.
    pub rate: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// How the rate falls after it.
    pub schedule: Schedule,
    /// Decays of AdamW's two moments.
    pub betas: (f64, f64),
    /// Added to the root of AdamW's second moment.
    pub eps: f64,
    /// Decoupled weight decay; norms and biases do not decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; larger ones are scaled down to it. 0: no clipping.
    pub clip: f64,
    /// Seed of the adapter's first values and of the order of the examples.
    pub seed: u64,
    /// Steps between two checkpoints (there is always one at the end). 0: only at the end.
    pub checkpoint_every: u64,
    /// When the loss counts as climbing.
    pub divergence: Divergence,
    /// Breadth that is kept beside what is learnt.
    pub keep: Keep,
    /// Reinforcement learning: examples are prompts then, and what is learnt from are the answers to them. `None`: the
    /// examples themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reinforce: Option<Reinforce>,
    /// What is preferred, where answers are compared rather than imitated. `batch` then counts pairs, where there are pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<Preference>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            length: RunLength::Epochs(1.0),
            batch: 16,
            micro_tokens: 1024,
            recompute: false,
            optimiser: Optimiser::AdamW,
            label_smoothing: 0.0,
            z_loss: 0.0,
            neftune: 0.0,
            ema: 0.0,
            dora: false,
            tokens: Vec::new(),
            init: Init::Random,
            b_ratio: 1.0,
            sharing: true,
            rate: 1e-3,
            warmup: 0,
            schedule: Schedule::Cosine,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 0,
            checkpoint_every: 50,
            divergence: Divergence::default(),
            keep: Keep::default(),
            reinforce: None,
            preference: None,
        }
    }
}

impl TrainConfig {
    /// Whether sequences share what they begin with alike: `sharing`, unless noise makes each of them its own.
    pub fn shares(&self) -> bool {
        self.sharing && self.neftune == 0.0
    }

    /// Examples that are never parted: two where answers come in pairs.
    pub fn group(&self) -> usize {
        self.preference.map_or(1, |p| p.group())
    }

    /// Whether a head that reads numbers from the states trains beside the rest.
    pub fn has_head(&self) -> bool {
        self.scores() || self.reinforce.as_ref().is_some_and(|how| how.loss == PolicyLoss::Ppo)
    }

    /// Whether what trains is a reward model: it tells what an answer is worth, and never speaks.
    pub fn scores(&self) -> bool {
        self.preference.is_some_and(|p| p.method == PreferenceMethod::Reward)
    }

    /// Optimiser steps for so many examples.
    pub fn total_steps(&self, examples: usize) -> u64 {
        let per_epoch = (examples / self.group()).div_ceil(self.batch.max(1)).max(1);
        match self.length {
            RunLength::Steps(steps) => steps,
            RunLength::Epochs(epochs) => ((epochs * per_epoch as f64).round() as u64).max(1),
        }
    }

    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |key, problem: String| Err(TrainError::Setting { key, problem });
        let range = |key, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            refuse(key, format!("{value} is not in {low}..{high}"))
        };
        match self.length {
            RunLength::Steps(0) => return refuse("length", "0 steps: nothing to do".into()),
            RunLength::Steps(_) => {}
            RunLength::Epochs(epochs) if epochs > 0.0 && epochs <= 1e6 => {}
            RunLength::Epochs(epochs) => return refuse("length", format!("{epochs} epochs")),
        }
        if self.batch == 0 {
            return refuse("batch", "0: a step needs at least one sequence".into());
        }
        if self.micro_tokens < 2 {
            return refuse(
                "micro_tokens",
                format!("{}: a sequence has at least 2 tokens", self.micro_tokens),
            );
        }
        if self.rate == 0.0 {
            return refuse("rate", "0: nothing would be learnt".into());
        }
        range("rate", self.rate, 0.0, 10.0)?;
        range("betas", self.betas.0, 0.0, 1.0 - 1e-9)?;
        range("betas", self.betas.1, 0.0, 1.0 - 1e-9)?;
        range("eps", self.eps, 1e-30, 1.0)?;
        range("weight_decay", self.weight_decay, 0.0, 100.0)?;
        range("clip", self.clip, 0.0, f64::MAX)?;
        range("keep.strength", self.keep.strength, 0.0, 1e6)?;
        range("label_smoothing", self.label_smoothing, 0.0, 0.999)?;
        range("z_loss", self.z_loss, 0.0, 1.0)?;
        range("neftune", self.neftune, 0.0, 1e3)?;
        range("ema", self.ema, 0.0, 1.0 - 1e-9)?;
        range("b_ratio", self.b_ratio, 1e-3, 1e3)?;
        if self.optimiser == Optimiser::ScheduleFree && self.ema > 0.0 {
            return refuse("ema", "schedule_free saves an average already; leave one of them out".into());
        }
        if self.optimiser == Optimiser::ScheduleFree && self.betas.0 == 0.0 {
            return refuse(
                "betas",
                "0: schedule_free trains between two points, by the first of them".into(),
            );
        }
        if let Some(how) = &self.reinforce {
            how.check()?;
        }
        if let Some(p) = &self.preference {
            if let Some((key, problem)) = p.problem() {
                return refuse(key, problem);
            }
            if p.method == PreferenceMethod::Kto && self.batch < 2 {
                return refuse("batch", "1: kto compares the answers of a step with each other".into());
            }
            if self.label_smoothing > 0.0 || self.z_loss > 0.0 {
                let problem = "a preference has no next token to soften; see preference.label_smoothing";
                let key = if self.label_smoothing > 0.0 { "label_smoothing" } else { "z_loss" };
                return refuse(key, problem.into());
            }
            if self.neftune > 0.0 {
                return refuse("neftune", "noise would part an answer from its reference".into());
            }
        }
        range("divergence.rise", self.divergence.rise, 0.0, f64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_in_steps() {
        let config = |length| TrainConfig { length, batch: 16, ..TrainConfig::default() };
        assert_eq!(config(RunLength::Epochs(3.0)).total_steps(100), 21);
        assert_eq!(config(RunLength::Epochs(0.5)).total_steps(100), 4);
        assert_eq!(config(RunLength::Epochs(0.001)).total_steps(100), 1);
        assert_eq!(config(RunLength::Steps(5)).total_steps(100), 5);
    }

    #[test]
    fn odd_values_are_named() {
        type Spoil = fn(&mut TrainConfig);
        let cases: [(&str, Spoil); 9] = [
            ("length", |c| c.length = RunLength::Steps(0)),
            ("length", |c| c.length = RunLength::Epochs(f64::NAN)),
            ("batch", |c| c.batch = 0),
            ("micro_tokens", |c| c.micro_tokens = 0),
            ("rate", |c| c.rate = f64::NAN),
            ("rate", |c| c.rate = 0.0),
            ("betas", |c| c.betas.1 = 1.0),
            ("eps", |c| c.eps = 0.0),
            ("clip", |c| c.clip = -1.0),
        ];
        for (key, spoil) in cases {
            let mut config = TrainConfig::default();
            config.check().unwrap();
            spoil(&mut config);
            let error = config.check().unwrap_err();
            assert!(matches!(error, TrainError::Setting { key: found, .. } if found == key), "{error}");
        }
    }

    #[test]
    fn written_as_json_and_back() {
        let config = TrainConfig { length: RunLength::Steps(7), ..TrainConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""length":{"steps":7}"#), "{text}");
        assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<TrainConfig>(r#"{"ratte": 1}"#).is_err());
    }
}
