//! GGUF keys and names (llama.cpp's conventions).

use super::{Dialect, Names, apply, family, gemma3, gpt2};
use crate::adapter::floats;
use crate::config::{Config, Experts, Family, MlpKind, NormKind, Positions, RopeScaling};
use crate::error::ModelError;
use nurture_formats::{GgufFile, TensorSource};
use nurture_kernels::Activation;

pub(super) const NAMES: Names = Names {
    embed: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    attn_norm: "blk.{}.attn_norm.weight",
    q: "blk.{}.attn_q.weight",
    k: "blk.{}.attn_k.weight",
    v: "blk.{}.attn_v.weight",
    o: "blk.{}.attn_output.weight",
    q_norm: "blk.{}.attn_q_norm.weight",
    k_norm: "blk.{}.attn_k_norm.weight",
    post_attn_norm: "blk.{}.post_attention_norm.weight",
    ffn_norm: "blk.{}.ffn_norm.weight",
    gate: "blk.{}.ffn_gate.weight",
    up: "blk.{}.ffn_up.weight",
    down: "blk.{}.ffn_down.weight",
    post_ffn_norm: "blk.{}.post_ffw_norm.weight",
    router: "blk.{}.ffn_gate_inp.weight",
    stacked: true,
    ..super::own::NONE
};

/// Layers of the one Gemma 3 whose scores are scaled by the width of the stream over the heads (27B).
pub(super) const GEMMA3_27B_LAYERS: usize = 62;

pub(super) fn read(file: &GgufFile) -> Result<(Config, Dialect), ModelError> {
    let meta = file.metadata();
    let arch = meta.str("general.architecture")?;
    let in_gguf = |f: &Family| *f != Family::Own;
    let Some(family) = family(arch).filter(in_gguf) else {
        return Err(ModelError::Architecture { file: file.path().to_path_buf(), found: arch.to_string() });
    };
    if family == Family::Gpt2 {
        return gpt2::read_gguf(file);
    }
    let key = |name: &str| format!("{arch}.{name}");
    let bad = |name: &str, problem: String| ModelError::Config {
        file: file.path().to_path_buf(),
        key: key(name),
        problem,
    };
    let heads = meta.usize(&key("attention.head_count"))?;
    let width = meta.usize(&key("embedding_length"))?;
    let layers = meta.usize(&key("block_count"))?;
    let head_dim = match meta.find::<usize>(&key("attention.key_length"))? {
        Some(n) => n,
        None => width.checked_div(heads).unwrap_or(0),
    };
    if let Some(n) = meta.find::<usize>(&key("attention.value_length"))?
        && n != head_dim
    {
        return Err(bad("attention.value_length", format!("{n}, while keys have {head_dim}: not supported")));
    }
    if let Some(n) = meta.find::<usize>(&key("rope.dimension_count"))?
        && n != head_dim
    {
        return Err(bad(
            "rope.dimension_count",
            format!("{n} of {head_dim}: partial rotation is not supported"),
        ));
    }
    let scaling = match meta.find::<&str>(&key("rope.scaling.type"))? {
        None | Some("none") => None,
        Some("linear") => Some(RopeScaling::Linear(meta.f32(&key("rope.scaling.factor"))? as f64)),
        Some(other) => return Err(bad("rope.scaling.type", format!("\"{other}\" is not supported"))),
    };
    let scaling = match file.info("rope_freqs.weight") {
        Some(info) => Some(RopeScaling::Factors(floats(file, info, file.path())?)),
        None => scaling,
    };
    let window = meta.find::<usize>(&key("attention.sliding_window"))?.filter(|&w| w > 0);
    let gemma = family == Family::Gemma3;
    let scaled_by = if gemma && layers == GEMMA3_27B_LAYERS { width / heads.max(1) } else { head_dim };
    let mut config = Config {
        family,
        norm: NormKind::Rms,
        positions: Positions::Rope,
        mlp: MlpKind::Gated,
        biases: false,
        experts: match family {
            Family::Qwen3Moe => Some(Experts {
                count: meta.usize(&key("expert_count"))?,
                active: meta.usize(&key("expert_used_count"))?,
                ffn: meta.usize(&key("expert_feed_forward_length"))?,
                normalise: true,
                balance: 0.001,
            }),
            _ => None,
        },
        vocab: file.tensor(NAMES.embed)?.shape.first().copied().unwrap_or(0),
        width,
        layers,
        heads,
        kv_heads: meta.find(&key("attention.head_count_kv"))?.unwrap_or(heads),
        head_dim,
        ffn: meta.usize(&key("feed_forward_length"))?,
        norm_eps: meta.f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope_theta: meta.find::<f64>(&key("rope.freq_base"))?.unwrap_or(10_000.0),
        rope_scaling: scaling,
        local_rope_theta: None,
        windows: match gemma {
            true => gemma3::windows(layers.min(1 << 12), window, gemma3::GLOBAL_EVERY),
            false => vec![window; layers.min(1 << 12)],
        },
        activation: Activation::Silu,
        attention_scale: 1.0 / (scaled_by as f32).sqrt(),
        embed_scale: 1.0,
        qk_norm: false,
        post_norms: false,
        context: meta.find(&key("context_length"))?.unwrap_or(2048),
    };
    apply(&mut config);
    let dialect = Dialect {
        names: NAMES,
        neighbour_rope: family == Family::Llama,
        norms_minus_one: false,
        transposed: false,
        without: "",
    };
    Ok((config, dialect))
}
