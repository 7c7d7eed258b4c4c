//! How many tokens are worked on at once where the recipe leaves it open and examples share much.
//!
//! A micro-batch that holds a whole step computes what its examples share once; a smaller one repeats it in each of its parts.
//! The choice depends on the data and the network's shape, never on what this machine has free: a run that goes on elsewhere,
//! or beside other work, must come to the same one.

use anyhow::Result;
use nurture_data::TokenExample;
use nurture_model::Config;
use nurture_train::{RunLength, Subject, TrainConfig, forecast};

/// Most bytes of kept activations for which it is raised.
const MOST: u64 = 2 << 30;
/// Work that must be saved for it.
const WORTH: f64 = 0.9;

/// Tokens at once that save a good part of the work, if there are such; `config` holds the usual ones.
pub(super) fn more_at_once(
    c: &Config,
    subject: &Subject,
    config: &TrainConfig,
    examples: &[TokenExample],
) -> Result<Option<usize>> {
    if !config.shares() {
        return Ok(None);
    }
    // a pass over the data shows what the others will do
    let pass = (examples.len() / config.group()).div_ceil(config.batch.max(1)) as u64;
    let length = RunLength::Steps(config.total_steps(examples.len()).min(pass));
    let at = |micro_tokens: usize| {
        let config = TrainConfig { micro_tokens, length, ..config.clone() };
        let f = forecast(c, subject, &config, examples, 0, 1)?;
        let kept = f.memory.iter().find(|row| row.name == "kept activations").map_or(0, |row| row.bytes);
        anyhow::Ok((micro_tokens, f.computed_tokens as f64, kept))
    };
    let (_, usual, _) = at(config.micro_tokens)?;
    let mut more = Vec::new();
    for times in [2, 4] {
        more.push(at(times * config.micro_tokens)?);
    }
    more.retain(|(_, _, kept)| *kept <= MOST);
    let best = more.iter().map(|m| m.1).fold(f64::INFINITY, f64::min);
    let enough = more.iter().find(|m| m.1 <= 1.02 * best && m.1 <= WORTH * usual);
    Ok(enough.map(|m| m.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_model::{Cpu, Decoder, LoraSpec, PROJECTIONS};

    #[test]
    fn a_step_behind_one_long_document_is_computed_at_once_and_others_are_not() {
        let folder = nurture_testing::repository("crates/model/tests/goldens/qwen3");
        let file = nurture_formats::ModelFile::open(folder).unwrap();
        let model = Decoder::load(&file, Cpu::new(1).pool()).unwrap();
        let subject = LoraSpec { rank: 2, alpha: 4.0, rslora: false, targets: PROJECTIONS.to_vec() }.into();
        let config = TrainConfig { micro_tokens: 64, batch: 8, ..TrainConfig::default() };
        let after = |document: u32| -> Vec<TokenExample> {
            let one = |n: u32| TokenExample {
                id: n.to_string(),
                source: 0,
                tokens: (0..document).chain((0..10).map(|i| 60 + (7 * n + i) % 90)).collect(),
                trained: (0..document + 10).map(|i| i >= document).collect(),
            };
            (0..24).map(one).collect()
        };
        let found = |document| more_at_once(model.config(), &subject, &config, &after(document)).unwrap();
        // 50 + 8 · 10 tokens are one micro-batch of 256 (of 128 they are two)
        assert_eq!(found(50), Some(256));
        assert_eq!(found(0), None);
    }
}
