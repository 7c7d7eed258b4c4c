//! GPT-2: layer norms and biases everywhere, learned positions, an MLP without gate, one tensor for q, k and v. Hugging
//! Face's files hold the matrices of the blocks with their inputs as rows (`Conv1D`), and some leave away `transformer.` in
//! front of the names.

use super::hf::Keys;
use super::{Dialect, Names};
use crate::config::{Config, Family, MlpKind, NormKind, Positions};
use crate::error::ModelError;
use nurture_formats::{GgufFile, HfFolder, TensorSource};
use nurture_kernels::Activation;
use serde_json::Value;

pub(super) const HF_NAMES: Names = Names {
    embed: "transformer.wte.weight",
    positions: "transformer.wpe.weight",
    norm: "transformer.ln_f.weight",
    head: "lm_head.weight",
    attn_norm: "transformer.h.{}.ln_1.weight",
    q: "transformer.h.{}.attn.c_attn.weight",
    k: "transformer.h.{}.attn.c_attn.weight",
    v: "transformer.h.{}.attn.c_attn.weight",
    o: "transformer.h.{}.attn.c_proj.weight",
    ffn_norm: "transformer.h.{}.ln_2.weight",
    up: "transformer.h.{}.mlp.c_fc.weight",
    down: "transformer.h.{}.mlp.c_proj.weight",
    fused: true,
    ..super::own::NONE
};

pub(super) const GGUF_NAMES: Names = Names {
    embed: "token_embd.weight",
    positions: "position_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    attn_norm: "blk.{}.attn_norm.weight",
    q: "blk.{}.attn_qkv.weight",
    k: "blk.{}.attn_qkv.weight",
    v: "blk.{}.attn_qkv.weight",
    o: "blk.{}.attn_output.weight",
    ffn_norm: "blk.{}.ffn_norm.weight",
    up: "blk.{}.ffn_up.weight",
    down: "blk.{}.ffn_down.weight",
    fused: true,
    ..super::own::NONE
};

pub(super) fn apply(c: &mut Config) {
    c.norm = NormKind::Layer;
    c.positions = Positions::Learned;
    c.mlp = MlpKind::Plain;
    c.biases = true;
    c.activation = Activation::GeluTanh;
}

/// Sizes that both kinds of file name.
struct Sizes {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    ffn: usize,
    context: usize,
    norm_eps: f32,
}

fn config(s: Sizes) -> Config {
    let head_dim = s.width.checked_div(s.heads).unwrap_or(0);
    let mut config = Config {
        family: Family::Gpt2,
        vocab: s.vocab,
        width: s.width,
        layers: s.layers,
        heads: s.heads,
        kv_heads: s.heads,
        head_dim,
        ffn: s.ffn,
        norm_eps: s.norm_eps,
        windows: vec![None; s.layers.min(1 << 12)],
        attention_scale: (head_dim as f32).powf(-0.5),
        context: s.context,
        ..super::own::plain()
    };
    apply(&mut config);
    config
}

pub(super) fn read_hf(keys: &Keys<'_>, folder: &HfFolder) -> Result<(Config, Dialect), ModelError> {
    let width = keys.need("n_embd")?;
    let act = keys.get("activation_function").and_then(Value::as_str).unwrap_or("gelu_new");
    if !["gelu_new", "gelu_pytorch_tanh"].contains(&act) {
        return Err(keys.bad("activation_function", format!("\"{act}\" is not supported; gelu_new is")));
    }
    for (key, usual) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ] {
        if keys.get(key).and_then(Value::as_bool).unwrap_or(usual) != usual {
            return Err(keys.bad(key, format!("is {}: not supported", !usual)));
        }
    }
    let config = config(Sizes {
        vocab: keys.need("vocab_size")?,
        width,
        layers: keys.need("n_layer")?,
        heads: keys.need("n_head")?,
        ffn: keys.count("n_inner")?.unwrap_or(width.saturating_mul(4)),
        context: keys.count("n_positions")?.or(keys.count("n_ctx")?).unwrap_or(1024),
        norm_eps: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5) as f32,
    });
    let without = if folder.info(HF_NAMES.embed).is_some() { "" } else { "transformer." };
    let dialect =
        Dialect { names: HF_NAMES, neighbour_rope: false, norms_minus_one: false, transposed: true, without };
    Ok((config, dialect))
}

pub(super) fn read_gguf(file: &GgufFile) -> Result<(Config, Dialect), ModelError> {
    let meta = file.metadata();
    let config = config(Sizes {
        vocab: file.tensor(GGUF_NAMES.embed)?.shape.first().copied().unwrap_or(0),
        width: meta.usize("gpt2.embedding_length")?,
        layers: meta.usize("gpt2.block_count")?,
        heads: meta.usize("gpt2.attention.head_count")?,
        ffn: meta.usize("gpt2.feed_forward_length")?,
        context: meta.usize("gpt2.context_length")?,
        norm_eps: meta.f32("gpt2.attention.layer_norm_epsilon")?,
    });
    let dialect = Dialect {
        names: GGUF_NAMES,
        neighbour_rope: false,
        norms_minus_one: false,
        transposed: false,
        without: "",
    };
    Ok((config, dialect))
}
