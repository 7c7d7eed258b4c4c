//! What examples must fulfil before a run begins.

use crate::error::TrainError;
use nurture_data::{BatchPlan, PlanConfig, PlanError, TokenExample};
use nurture_model::Config;

use crate::keep::Lessons;

use crate::config::TrainConfig;

/// Refuses what the network cannot take or nothing can be learnt from, by the id of the first such example.
pub(crate) fn check(c: &Config, config: &TrainConfig, lessons: &Lessons) -> Result<(), TrainError> {
    let examples: &[TokenExample] = &lessons.examples;
    if examples.is_empty() {
        return Err(TrainError::NoExamples);
    }
    for example in examples {
        let id = || example.id.clone();
        let (tokens, flags) = (example.tokens.len(), example.trained.len());
        if tokens != flags {
            return Err(TrainError::Mask { id: id(), tokens, flags });
        }
        if let Some(&token) = example.tokens.iter().find(|&&token| token as usize >= c.vocab) {
            return Err(TrainError::Token { id: id(), token, vocab: c.vocab });
        }
        if tokens > c.context {
            return Err(TrainError::BeyondContext { id: id(), tokens, context: c.context });
        }
        if tokens > config.micro_tokens {
            return Err(TrainError::BeyondMicroBatch { id: id(), tokens, micro_tokens: config.micro_tokens });
        }
        if let Some(how) = &config.reinforce {
            let max_new = how.max_new;
            for (limit, what) in
                [(c.context, "the base's context"), (config.micro_tokens, "worked on at once (micro_tokens)")]
            {
                if tokens + max_new > limit {
                    return Err(TrainError::NoRoom { id: id(), tokens, max_new, limit, what });
                }
            }
            if tokens == 0 {
                return Err(TrainError::Untrained { id: id() });
            }
            continue;
        }
        if example.trained_tokens() == 0 {
            return Err(TrainError::Untrained { id: id() });
        }
    }
    if let Some(p) = &config.preference {
        let (count, marks) = (examples.len(), lessons.judged.len());
        let problem = match p.pairs() {
            true if !count.is_multiple_of(2) => Some(format!("{count} examples: pairs are two each")),
            false if marks != count => Some(format!("{count} answers with {marks} marks of good or bad")),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(TrainError::Setting { key: "preference", problem });
        }
    }
    if config.keep.is_on() && lessons.keep.is_empty() {
        return Err(TrainError::NoKeepText);
    }
    for (index, window) in lessons.keep.iter().enumerate() {
        let id = || format!("text to keep, window {index}");
        let tokens = window.len();
        if let Some(&token) = window.iter().find(|&&token| token as usize >= c.vocab) {
            return Err(TrainError::Token { id: id(), token, vocab: c.vocab });
        }
        if tokens > c.context {
            return Err(TrainError::BeyondContext { id: id(), tokens, context: c.context });
        }
        if tokens > config.micro_tokens {
            return Err(TrainError::BeyondMicroBatch { id: id(), tokens, micro_tokens: config.micro_tokens });
        }
    }
    Ok(())
}

/// The plan of a run over these examples.
pub(crate) fn plan(config: &TrainConfig, examples: &[TokenExample]) -> Result<BatchPlan, PlanError> {
    let per_epoch = (examples.len() / config.group()).div_ceil(config.batch.max(1)).max(1) as u64;
    let epochs = config.total_steps(examples.len()).div_ceil(per_epoch);
    let plan = PlanConfig {
        epochs: u32::try_from(epochs).unwrap_or(u32::MAX),
        batch: config.batch,
        pack_tokens: config.micro_tokens,
        seed: config.seed,
    };
    BatchPlan::grouped(examples, config.group(), config.shares(), plan)
}
