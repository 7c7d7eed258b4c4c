//! What a run trains: an adapter beside the frozen base, or the network itself.

use crate::config::{Init, Optimiser, TrainConfig};
use crate::error::TrainError;
use nurture_model::{Config, Decoder, Freeze, Learning, LoraSpec, Parameter, Projection, Slot};
use serde_json::{Value, json};

/// What a run trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A LoRA adapter.
    Lora(LoraSpec),
    /// The network, but for what is frozen: names of parts as in `nurture_model::Freeze`.
    Full {
        /// Parts that stay as they are.
        freeze: Vec<String>,
        /// Whether the network's head is its embedding.
        tied: bool,
    },
}

impl From<&LoraSpec> for Subject {
    fn from(lora: &LoraSpec) -> Subject {
        Subject::Lora(lora.clone())
    }
}

impl From<&Subject> for Subject {
    fn from(subject: &Subject) -> Subject {
        subject.clone()
    }
}

impl From<LoraSpec> for Subject {
    fn from(lora: LoraSpec) -> Subject {
        Subject::Lora(lora)
    }
}

/// Largest rank that is accepted: far above any in use.
const MAX_RANK: usize = 1 << 14;

impl Subject {
    /// The network itself, but for the parts named in `freeze`.
    pub fn full(network: &Decoder, freeze: Vec<String>) -> Subject {
        Subject::Full { freeze, tied: network.tied() }
    }

    /// The adapter's shape, where an adapter trains.
    pub fn lora(&self) -> Option<&LoraSpec> {
        match self {
            Subject::Lora(lora) => Some(lora),
            Subject::Full { .. } => None,
        }
    }

    /// Parts of the network that stay as they are.
    pub(crate) fn freeze(&self, c: &Config, tied: bool) -> Result<Freeze, TrainError> {
        let names = match self {
            Subject::Lora(_) => &[][..],
            Subject::Full { freeze, .. } => freeze,
        };
        Freeze::parse(names, c, tied).map_err(|problem| TrainError::Setting { key: "freeze", problem })
    }

    /// Refuses what cannot be meant.
    pub(crate) fn check(&self, model: &Decoder, config: &TrainConfig) -> Result<(), TrainError> {
        let refuse = |key, problem: String| Err(TrainError::Setting { key, problem });
        let Subject::Lora(lora) = self else {
            if config.init != Init::Random
                || config.b_ratio != 1.0
                || config.dora
                || !config.tokens.is_empty()
            {
                let problem =
                    "only an adapter has a beginning, a second matrix, magnitudes and tokens of its own"
                        .to_string();
                return refuse("init", problem);
            }
            return self.freeze(model.config(), model.tied()).map(drop);
        };
        if lora.rank == 0 || lora.rank > MAX_RANK {
            return refuse("adapter.rank", format!("{} is not in 1..{MAX_RANK}", lora.rank));
        }
        if !(lora.alpha.is_finite() && lora.alpha > 0.0) {
            return refuse("adapter.alpha", format!("{}: a positive number is expected", lora.alpha));
        }
        if config.optimiser == Optimiser::Muon {
            return refuse("optimiser", "muon: for the weights of a network, not for an adapter".to_string());
        }
        if config.init == Init::Principal && !lora.rank.is_multiple_of(2) {
            let problem = format!(
                "{}: an adapter that begins as its weights' strongest part has two halves",
                lora.rank
            );
            return refuse("adapter.rank", problem);
        }
        if let Some(id) = config.tokens.iter().find(|&&id| id as usize >= model.config().vocab) {
            return refuse(
                "adapter.tokens",
                format!("token {id} of a vocabulary of {}", model.config().vocab),
            );
        }
        if lora.targets.is_empty() {
            return refuse("adapter.targets", "none: no projection would carry an adapter".to_string());
        }
        Ok(())
    }

    /// Values that train: pairs, magnitudes, own tokens and a head of the adapter, or parameters of the network.
    ///
    /// # Errors
    /// Parts to freeze that are not there.
    pub fn trained(&self, model: &Decoder, config: &TrainConfig) -> Result<u64, TrainError> {
        let c = model.config();
        let own = match self {
            Subject::Lora(lora) => {
                let rows = |p: &Projection| if c.has(*p) { p.shape(c).1 } else { 0 };
                let magnitudes = c.layers * lora.targets.iter().map(rows).sum::<usize>();
                let magnitudes = if config.dora { magnitudes } else { 0 };
                lora.parameters(c) + magnitudes + config.tokens.len() * c.width
            }
            Subject::Full { .. } => {
                let freeze = self.freeze(c, model.tied())?;
                model.trainable(&freeze).iter().map(Parameter::count).sum()
            }
        };
        Ok((own + if config.has_head() { c.width } else { 0 }) as u64)
    }

    /// What memory depends on.
    pub(crate) fn learning(&self, c: &Config, config: &TrainConfig) -> Result<Learning, TrainError> {
        Ok(Learning {
            lora: self.lora().cloned(),
            floats: self.own(c)?.iter().map(|p| p.floats() as u64).sum::<u64>()
                + ((config.tokens.len() + usize::from(config.has_head())) * c.width) as u64,
            moment_bytes: config.optimiser.bytes(),
            recompute: config.recompute,
            average: config.ema > 0.0,
        })
    }

    /// Parameters of the network that train themselves (biases, which are few, left out).
    fn own(&self, c: &Config) -> Result<Vec<Parameter>, TrainError> {
        match self {
            Subject::Lora(_) => Ok(Vec::new()),
            Subject::Full { tied, .. } => Ok(c.trainable(*tied, &self.freeze(c, *tied)?)),
        }
    }

    /// Operations of a token for the gradients of the network's own weights, beside those of forward and backward: in
    /// the blocks, and in the head where there is loss.
    pub(crate) fn own_flop(&self, c: &Config) -> Result<(f64, f64), TrainError> {
        let (mut blocks, mut head) = (0.0, 0.0);
        for p in self.own(c)?.iter().filter(|p| p.is_matrix()) {
            let flop = 2.0 * p.count() as f64;
            match (p.slot, self) {
                (Slot::Weight(..) | Slot::Router(_), _) => blocks += flop,
                (Slot::Expert(..), _) => {
                    let share = c.experts.map_or(1.0, |e| e.active as f64 / e.count as f64);
                    blocks += flop * share;
                }
                (Slot::Positions, _) => {} // rows are added, not multiplied
                (Slot::Embed, Subject::Full { tied: false, .. }) => {} // rows are added, not multiplied
                _ => head += flop,
            }
        }
        Ok((blocks, head))
    }

    /// Key and settings for the identity of a run.
    pub(crate) fn identity(&self) -> (&'static str, Value) {
        match self {
            Subject::Lora(lora) => {
                let targets: Vec<&str> = lora.targets.iter().map(|p| p.name()).collect();
                let all = json!({ "rank": lora.rank, "alpha": lora.alpha, "rslora": lora.rslora, "targets": targets });
                ("lora", all)
            }
            Subject::Full { freeze, .. } => ("full", json!({ "freeze": freeze })),
        }
    }
}
