//! Families: which keys of a file say what, and how its tensors are called. One small file each.

mod gemma3;
mod gguf;
mod gguf_write;
mod hf;
mod hf_write;
mod llama;
mod qwen;

pub use gguf_write::GgufParameter;
pub use hf_write::TokenRoles;

use crate::config::{Config, Family};
use crate::error::ModelError;
use nurture_formats::ModelFile;

/// How a file calls the tensors of a decoder. Names of a block have `{}` in place of the layer's number.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names are those of `Block`
pub struct Names {
    pub embed: &'static str,
    pub norm: &'static str,
    pub head: &'static str,
    pub attn_norm: &'static str,
    pub q: &'static str,
    pub k: &'static str,
    pub v: &'static str,
    pub o: &'static str,
    pub q_norm: &'static str,
    pub k_norm: &'static str,
    pub post_attn_norm: &'static str,
    pub ffn_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub post_ffn_norm: &'static str,
}

/// What differs between files of the same network.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// tensor names
    pub names: Names,
    /// rows of q and k pair neighbours (`2i`, `2i + 1`) instead of halves: GGUF files of the Llama family
    pub neighbour_rope: bool,
    /// norm weights are stored without the 1 that the network adds: Gemma in Hugging Face's form
    pub norms_minus_one: bool,
}

/// Reads configuration and dialect of a model.
///
/// # Errors
/// An unknown architecture, a missing key, or a number that makes no sense.
pub fn read(file: &ModelFile) -> Result<(Config, Dialect), ModelError> {
    let (config, dialect) = match file {
        ModelFile::Gguf(f) => gguf::read(f)?,
        ModelFile::Hf(f) => hf::read(f)?,
    };
    check(file, &config)?;
    Ok((config, dialect))
}

/// Bounds within which all later arithmetic is safe.
fn check(file: &ModelFile, c: &Config) -> Result<(), ModelError> {
    let bad = |key: &str, problem: String| {
        Err(ModelError::Config { file: file.path().to_path_buf(), key: key.to_string(), problem })
    };
    for (key, value, most) in [
        ("vocabulary", c.vocab, 1 << 22),
        ("width", c.width, 1 << 16),
        ("layers", c.layers, 1 << 10),
        ("heads", c.heads, 1 << 10),
        ("key/value heads", c.kv_heads, 1 << 10),
        ("head width", c.head_dim, 1 << 12),
        ("MLP width", c.ffn, 1 << 18),
    ] {
        if value == 0 || value > most {
            return bad(key, format!("{value} is not between 1 and {most}"));
        }
    }
    if !c.heads.is_multiple_of(c.kv_heads) || c.heads / c.kv_heads > 64 {
        return bad("heads", format!("{} query heads on {} key/value heads", c.heads, c.kv_heads));
    }
    if !c.head_dim.is_multiple_of(2) {
        return bad("head width", format!("{} is odd", c.head_dim));
    }
    if c.windows.len() != c.layers || c.windows.contains(&Some(0)) {
        return bad("sliding window", format!("{} windows for {} layers", c.windows.len(), c.layers));
    }
    for (key, value) in [
        ("norm epsilon", c.norm_eps as f64),
        ("rope base", c.rope_theta),
        ("attention scale", c.attention_scale as f64),
        ("embedding scale", c.embed_scale as f64),
    ] {
        if !value.is_finite() || value <= 0.0 {
            return bad(key, format!("{value} is not a positive number"));
        }
    }
    Ok(())
}

/// The family of an architecture name.
fn family(name: &str) -> Option<Family> {
    Some(match name {
        "llama" | "mistral" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma3" | "gemma3_text" => Family::Gemma3,
        _ => return None,
    })
}

/// How a Hugging Face folder of the family calls its tensors.
pub(crate) fn hf_names(family: Family) -> Names {
    if family == Family::Gemma3 { hf::GEMMA_NAMES } else { hf::NAMES }
}

/// What a family adds to the common numbers.
fn apply(c: &mut Config) {
    match c.family {
        Family::Llama => llama::apply(c),
        Family::Qwen2 | Family::Qwen3 => qwen::apply(c),
        Family::Gemma3 => gemma3::apply(c),
    }
}
