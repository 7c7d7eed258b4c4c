//! What would make a run fit that does not: the mildest change of the recipe whose forecast stays within the memory.

use crate::lang::Said;
use crate::said;
use anyhow::Result;
use nurture_train::{Optimiser, Subject, TrainConfig};

/// Keys of the recipe with other values.
type Sets = Vec<(&'static str, String)>;

/// Keys of the recipe with other values, and the memory that the run would take with them.
#[derive(Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) sets: Sets,
    pub(super) bytes: u64,
}

impl Fit {
    /// As it is typed.
    pub(super) fn typed(&self) -> String {
        self.sets.iter().map(|(key, value)| format!("--set {key}={value}")).collect::<Vec<_>>().join(" ")
    }
}

/// The mildest change with which a run takes at most `room` bytes. First what changes no result (fewer tokens at once,
/// recomputation), then smaller moments, then a smaller rank. `shortest`: a micro-batch must hold so many tokens.
/// `need` gives the bytes of a run.
pub(super) fn fitting(
    subject: &Subject,
    config: &TrainConfig,
    layers: usize,
    shortest: usize,
    room: u64,
    need: impl Fn(&Subject, &TrainConfig) -> Result<u64>,
) -> Result<Option<Fit>> {
    let micro = |tokens: usize| ("train.micro_tokens", tokens.to_string());
    let halves = std::iter::successors(Some(config.micro_tokens / 2), |m| Some(m / 2));
    let mut smaller: Vec<usize> = halves.take_while(|&m| m > shortest.max(32)).collect();
    smaller.extend((shortest < config.micro_tokens).then_some(shortest.max(16)));
    let smallest = smaller.last().copied().unwrap_or(config.micro_tokens);
    let mut tries: Vec<(Subject, TrainConfig, Sets)> = Vec::new();
    let mut add = |subject: &Subject, config: TrainConfig, sets| tries.push((subject.clone(), config, sets));
    for &m in &smaller {
        add(subject, TrainConfig { micro_tokens: m, ..config.clone() }, vec![micro(m)]);
    }
    let again = ("train.recompute", "true".to_string());
    for m in std::iter::once(config.micro_tokens).chain(smaller.iter().copied()) {
        let mut sets = if config.recompute { Vec::new() } else { vec![again.clone()] };
        sets.extend((m != config.micro_tokens).then(|| micro(m)));
        add(subject, TrainConfig { recompute: true, micro_tokens: m, ..config.clone() }, sets);
    }
    let least = TrainConfig { recompute: true, micro_tokens: smallest, ..config.clone() };
    let mut sets = if config.recompute { Vec::new() } else { vec![again] };
    sets.extend((smallest != config.micro_tokens).then(|| micro(smallest)));
    let mut least = least;
    if config.optimiser != Optimiser::AdamW8 {
        least.optimiser = Optimiser::AdamW8;
        sets.push(("train.optimiser", "adamw8bit".to_string()));
        add(subject, least.clone(), sets.clone());
    }
    match subject {
        Subject::Lora(lora) => {
            let mut rank = lora.rank / 2;
            while rank > 0 {
                let smaller = Subject::Lora(nurture_model::LoraSpec { rank, ..lora.clone() });
                let half = config.init == nurture_train::Init::Principal;
                let named = ("train.adapter.rank", (if half { rank / 2 } else { rank }).max(1).to_string());
                add(&smaller, least.clone(), [sets.clone(), vec![named]].concat());
                rank /= 2;
            }
        }
        Subject::Full { tied, .. } => {
            for kept in [layers / 2, layers / 4, 1] {
                let freeze =
                    vec!["embed".to_string(), format!("layers.0-{}", layers.saturating_sub(kept + 1))];
                let names = freeze.iter().map(|f| format!("\"{f}\"")).collect::<Vec<_>>().join(",");
                let named = ("train.freeze", format!("'[{names}]'"));
                let part = Subject::Full { freeze, tied: *tied };
                add(&part, least.clone(), [sets.clone(), vec![named]].concat());
            }
        }
    }
    for (subject, config, sets) in tries {
        let bytes = need(&subject, &config)?;
        if bytes <= room && !sets.is_empty() {
            return Ok(Some(Fit { sets, bytes }));
        }
    }
    Ok(None)
}

/// The refusal of a run that needs more memory than there is.
pub(super) fn too_large(need: u64, room: u64, fit: Option<&Fit>) -> Said {
    let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let (need, room) = (gb(need), gb(room));
    match fit {
        Some(fit) => {
            let (typed, with) = (fit.typed(), gb(fit.bytes));
            said!(
                "training needs about {need} of memory, there are {room}; with {typed} it takes about {with}",
                "训练约需 {need} 内存，只有 {room}；加上 {typed} 约需 {with}"
            )
        }
        None => said!(
            "training needs about {need} of memory, there are {room}, and no setting makes it fit: take a smaller base model, or a machine with more memory",
            "训练约需 {need} 内存，只有 {room}，怎样设置都放不下：请换更小的基座模型，或内存更大的机器"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_model::LoraSpec;

    #[test]
    fn the_mildest_change_that_fits_is_named() {
        let subject = Subject::Lora(LoraSpec { rank: 16, alpha: 32.0, rslora: false, targets: Vec::new() });
        let config = TrainConfig { micro_tokens: 2048, ..TrainConfig::default() };
        // ten bytes a token, a third with recomputation; a hundred a rank, half with small moments
        let need = |subject: &Subject, config: &TrainConfig| {
            let rank = subject.lora().map_or(0, |l| l.rank as u64);
            let tokens = 10 * config.micro_tokens as u64 / if config.recompute { 3 } else { 1 };
            Ok(tokens + rank * if config.optimiser == Optimiser::AdamW8 { 50 } else { 100 })
        };
        let at = |room| {
            fitting(&subject, &config, 30, 300, room, need).unwrap().map_or_else(String::new, |f| {
                assert!(f.bytes <= room);
                f.typed()
            })
        };
        assert_eq!(at(12_000), "--set train.micro_tokens=1024");
        assert_eq!(at(4_600), "--set train.micro_tokens=300");
        assert_eq!(at(3_400), "--set train.recompute=true --set train.micro_tokens=512");
        let small = "--set train.recompute=true --set train.micro_tokens=300 --set train.optimiser=adamw8bit";
        assert_eq!(at(1_900), small);
        assert_eq!(at(1_150), format!("{small} --set train.adapter.rank=2"));
        assert_eq!(at(100), "", "nothing helps");
    }
}
