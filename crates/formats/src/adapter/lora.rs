//! The tensor names of a LoRA adapter, and their pairs.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::AdapterConfig;
use crate::error::shown;
use crate::{FormatError, TensorInfo};

const PREFIX: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";
const MAGNITUDE: &str = ".lora_magnitude_vector";

/// The tensor `[tokens, D]` with the rows of `trainable_token_indices`, in their order: whole rows, whatever PEFT's name of it says.
pub const TOKEN_ROWS: &str = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";

/// The tensor `[1, D]` that reads a score from the last normed state: the module `score` of transformers' classifiers, saved whole
/// (`modules_to_save`).
pub const SCORE_HEAD: &str = "base_model.model.score.weight";

/// The names of a module's A and B: `base_model.model.{module}.lora_A.weight` and `…lora_B.weight`.
///
/// ```
/// let (a, _) = nurture_formats::lora_names("model.layers.0.self_attn.q_proj");
/// assert_eq!(a, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
/// ```
pub fn lora_names(module: &str) -> (String, String) {
    (format!("{PREFIX}{module}{A}"), format!("{PREFIX}{module}{B}"))
}

/// The name of a module's magnitudes, `base_model.model.{module}.lora_magnitude_vector` (DoRA).
pub fn magnitude_name(module: &str) -> String {
    format!("{PREFIX}{module}{MAGNITUDE}")
}

/// The two factors of one module's update, `scale · B·A`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair {
    /// Module path in the base model, e.g. `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// `[rank, in]`.
    pub a: TensorInfo,
    /// `[out, rank]`.
    pub b: TensorInfo,
    /// The shared dimension.
    pub rank: usize,
    /// Factor of the product.
    pub scale: f64,
    /// `[out]`, the lengths of the rows of the tuned weight (DoRA).
    pub magnitude: Option<TensorInfo>,
}

/// Sorts tensors into pairs by module path; every tensor must belong to one, and the shapes must fit.
pub(super) fn pairs(
    file: &Path,
    config: &AdapterConfig,
    tensors: &[TensorInfo],
) -> Result<Vec<LoraPair>, FormatError> {
    let mut halves: BTreeMap<&str, (Option<&TensorInfo>, Option<&TensorInfo>)> = BTreeMap::new();
    let mut magnitudes: BTreeMap<&str, &TensorInfo> = BTreeMap::new();
    let fail = |info: &TensorInfo, problem: String| {
        Err(FormatError::malformed(file, info.offset, format!("tensor \"{}\"", shown(&info.name)), problem))
    };
    let elsewhere = |t: &&TensorInfo| match t.name.as_str() {
        TOKEN_ROWS => !config.trainable_token_indices.is_empty(),
        SCORE_HEAD => config.scores(),
        _ => false,
    };
    for info in tensors.iter().filter(|t| !elsewhere(t)) {
        let path = info.name.strip_prefix(PREFIX);
        let a = path.and_then(|path| path.strip_suffix(A));
        let b = path.and_then(|path| path.strip_suffix(B));
        let magnitude = path.and_then(|path| path.strip_suffix(MAGNITUDE)).filter(|_| config.use_dora);
        if let Some(module) = magnitude {
            magnitudes.insert(module, info);
            continue;
        }
        match (a, b) {
            (Some(module), _) => halves.entry(module).or_default().0 = Some(info),
            (_, Some(module)) => halves.entry(module).or_default().1 = Some(info),
            _ => return fail(info, format!("not a LoRA factor: expected {PREFIX}…{A} or …{B}")),
        }
    }
    let mut out = Vec::new();
    for (module, half) in halves {
        let (a, b) = match half {
            (Some(a), Some(b)) => (a, b),
            (Some(alone), None) | (None, Some(alone)) => {
                return fail(alone, "its other factor is missing".to_string());
            }
            (None, None) => continue,
        };
        let rank = config.rank(module);
        match (a.shape.as_slice(), b.shape.as_slice()) {
            (&[a_rank, _], &[_, b_rank]) if a_rank == b_rank => {
                if a_rank != rank {
                    return fail(a, format!("its rank is {a_rank}, but adapter_config.json says {rank}"));
                }
            }
            (a_shape, b_shape) => {
                return fail(
                    a,
                    format!("shapes {a_shape:?} and {b_shape:?} are not [rank, in] and [out, rank]"),
                );
            }
        }
        let magnitude = magnitudes.remove(module).cloned();
        match &magnitude {
            None if config.use_dora => {
                return fail(a, format!("its magnitudes ({PREFIX}{}{MAGNITUDE}) are missing", shown(module)));
            }
            Some(m) if m.shape != b.shape[..1] => {
                return fail(m, format!("shape {:?}, but {:?} is expected", m.shape, &b.shape[..1]));
            }
            _ => {}
        }
        let (module, scale) = (module.to_string(), config.scale(module));
        out.push(LoraPair { module, a: a.clone(), b: b.clone(), rank, scale, magnitude });
    }
    if let Some(alone) = magnitudes.values().next() {
        return fail(alone, "no LoRA pair belongs to it".to_string());
    }
    Ok(out)
}
