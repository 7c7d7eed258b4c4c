//! Families: which keys of a file say what, and how its tensors are called. One small file each.

mod gemma3;
mod gguf;
mod gguf_write;
mod gpt2;
mod hf;
mod hf_write;
mod llama;
mod own;
mod qwen;

pub use gguf_write::GgufParameter;
pub use hf_write::{HfTensor, TokenRoles};

use crate::adapter::Projection;
use crate::config::{Config, Family, MlpKind, Positions};
use crate::error::ModelError;
use crate::parameters::{Norm, Slot};
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
    pub positions: &'static str,
    /// `[E, D]`
    pub router: &'static str,
    /// up to the projection's own name; `{e}` in place of the expert
    pub expert: &'static str,
    /// q, k and v stand below each other in one tensor
    pub fused: bool,
    /// the experts of a layer stand below each other in one tensor `[E, rows, cols]`, called as the projection, `_exps`
    pub stacked: bool,
}

impl Names {
    fn norm_name(&self, n: Norm) -> &'static str {
        match n {
            Norm::Attn => self.attn_norm,
            Norm::PostAttn => self.post_attn_norm,
            Norm::Ffn => self.ffn_norm,
            Norm::PostFfn => self.post_ffn_norm,
            Norm::Q => self.q_norm,
            Norm::K => self.k_norm,
        }
    }

    /// The name of the tensor of all experts' projections.
    pub(crate) fn experts(&self, p: Projection) -> String {
        self.projection(p).replace(".weight", "_exps.weight")
    }

    fn projection(&self, p: Projection) -> &'static str {
        match p {
            Projection::Q => self.q,
            Projection::K => self.k,
            Projection::V => self.v,
            Projection::O => self.o,
            Projection::Gate => self.gate,
            Projection::Up => self.up,
            Projection::Down => self.down,
        }
    }

    /// The name of the tensor that a parameter is, or is a part of.
    pub(crate) fn tensor(&self, slot: Slot) -> String {
        let name = match slot {
            Slot::Embed => self.embed,
            Slot::Positions => self.positions,
            Slot::Head => self.head,
            Slot::LastNorm | Slot::LastNormBias => self.norm,
            Slot::Norm(_, n) | Slot::NormBias(_, n) => self.norm_name(n),
            Slot::Weight(_, p) | Slot::Bias(_, p) => self.projection(p),
            Slot::Router(_) => self.router,
            Slot::Expert(_, _, p) if self.stacked => {
                return at(&self.experts(p), slot.layer().unwrap_or(0));
            }
            Slot::Expert(_, e, p) => {
                let of = self.expert.replace("{e}", &e.to_string());
                return at(&format!("{of}{}.weight", p.name()), slot.layer().unwrap_or(0));
            }
        };
        let name = at(name, slot.layer().unwrap_or(0));
        match slot {
            Slot::Bias(..) | Slot::NormBias(..) | Slot::LastNormBias => match name.strip_suffix("weight") {
                Some(start) => format!("{start}bias"),
                None => name,
            },
            _ => name,
        }
    }

    /// The name of a parameter: its tensor's, and which part of it, where it is one.
    pub(crate) fn of(&self, slot: Slot) -> String {
        let name = self.tensor(slot);
        match slot {
            Slot::Weight(_, p) | Slot::Bias(_, p) if self.fused && p < Projection::O => {
                format!("{name}[{}]", ["q", "k", "v"][p as usize])
            }
            _ => name,
        }
    }
}

/// A name of a block's tensor in block `l`.
fn at(name: &str, l: usize) -> String {
    name.replace("{}", &l.to_string())
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
    /// matrices of the blocks stand with their inputs as rows (GPT-2 in Hugging Face's form)
    pub transposed: bool,
    /// beginning of the names that this file leaves away
    pub without: &'static str,
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
    if let Some(e) = &c.experts {
        if e.count == 0 || e.count > 1 << 10 || e.active == 0 || e.active > e.count {
            return bad("experts", format!("{} of {} active", e.active, e.count));
        }
        if e.ffn == 0 || e.ffn > 1 << 18 || c.mlp != MlpKind::Gated {
            return bad("experts", format!("an MLP of width {} with or without gate", e.ffn));
        }
        if !e.balance.is_finite() || e.balance < 0.0 {
            return bad("balancing loss", format!("{} is not a number from 0 on", e.balance));
        }
    }
    if c.positions == Positions::Sinusoidal && c.context.saturating_mul(c.width) > 1 << 28 {
        return bad("context", format!("{} positions of {} values to be made", c.context, c.width));
    }
    if c.context == 0 || c.context > 1 << 24 {
        return bad("context", format!("{} is not between 1 and {}", c.context, 1 << 24));
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
        // Hugging Face's word and GGUF's
        "qwen3_moe" | "qwen3moe" => Family::Qwen3Moe,
        "gemma3" | "gemma3_text" => Family::Gemma3,
        "gpt2" => Family::Gpt2,
        "nurture" => Family::Own,
        _ => return None,
    })
}

/// How a Hugging Face folder of the family calls its tensors.
pub(crate) fn hf_names(family: Family) -> Names {
    match family {
        Family::Gemma3 => hf::GEMMA_NAMES,
        Family::Gpt2 => gpt2::HF_NAMES,
        Family::Own => own::NAMES,
        _ => hf::NAMES,
    }
}

/// How a GGUF file of the family calls its tensors.
pub(crate) fn gguf_names(family: Family) -> Names {
    match family {
        Family::Gpt2 => gpt2::GGUF_NAMES,
        _ => gguf::NAMES,
    }
}

/// Windows by Gemma's pattern: `every - 1` layers with a window, then one without.
pub(crate) fn gemma3_windows(layers: usize, window: Option<usize>, every: usize) -> Vec<Option<usize>> {
    gemma3::windows(layers, window, every)
}

/// What a family adds to the common numbers.
fn apply(c: &mut Config) {
    match c.family {
        Family::Llama => llama::apply(c),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => qwen::apply(c),
        Family::Gemma3 => gemma3::apply(c),
        Family::Gpt2 => gpt2::apply(c),
        Family::Own => {}
    }
}
