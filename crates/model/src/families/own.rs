//! Combinations that no published family has: their `config.json` (`model_type` "nurture") names each part. Other tools do not
//! read it; what does fit a family is saved as that family.

use super::Names;
use super::hf::{self, Keys};
use crate::config::{Config, Experts, Family, MlpKind, NormKind, Positions};
use crate::error::ModelError;
use nurture_kernels::Activation;
use serde_json::{Map, Value, json};

/// No name at all, to be filled.
pub(super) const NONE: Names = Names {
    embed: "",
    norm: "",
    head: "",
    attn_norm: "",
    q: "",
    k: "",
    v: "",
    o: "",
    q_norm: "",
    k_norm: "",
    post_attn_norm: "",
    ffn_norm: "",
    gate: "",
    up: "",
    down: "",
    post_ffn_norm: "",
    positions: "",
    router: "",
    expert: "",
    fused: false,
    stacked: false,
};

/// Those of Llama, and for what it does not have names of the same kind.
pub(super) const NAMES: Names = Names {
    post_attn_norm: "model.layers.{}.self_attn.post_norm.weight",
    post_ffn_norm: "model.layers.{}.mlp.post_norm.weight",
    positions: "model.embed_positions.weight",
    ..hf::NAMES
};

/// The plain form of everything, its sizes still to be filled.
pub(super) fn plain() -> Config {
    Config {
        family: Family::Own,
        vocab: 0,
        width: 0,
        layers: 0,
        heads: 0,
        kv_heads: 0,
        head_dim: 0,
        ffn: 0,
        norm: NormKind::Rms,
        positions: Positions::Rope,
        mlp: MlpKind::Gated,
        biases: false,
        experts: None,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        local_rope_theta: None,
        windows: Vec::new(),
        activation: Activation::Silu,
        attention_scale: 1.0,
        embed_scale: 1.0,
        qk_norm: false,
        post_norms: false,
        context: 0,
    }
}

const NORMS: [(&str, NormKind); 2] = [("rms", NormKind::Rms), ("layer", NormKind::Layer)];
const POSITIONS: [(&str, Positions); 4] = [
    ("rope", Positions::Rope),
    ("learned", Positions::Learned),
    ("sinusoidal", Positions::Sinusoidal),
    ("none", Positions::None),
];
const MLPS: [(&str, MlpKind); 2] = [("gated", MlpKind::Gated), ("plain", MlpKind::Plain)];
const ACTIVATIONS: [(&str, Activation); 2] =
    [("silu", Activation::Silu), ("gelu_pytorch_tanh", Activation::GeluTanh)];

fn word<T: Copy>(keys: &Keys<'_>, key: &str, all: &[(&str, T)]) -> Result<T, ModelError> {
    let word = keys.get(key).and_then(Value::as_str).unwrap_or("(none)");
    let known = || all.iter().map(|(w, _)| *w).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|(w, _)| *w == word).map(|(_, v)| *v);
    found.ok_or_else(|| keys.bad(key, format!("\"{word}\" is none of {}", known())))
}

fn name<T: PartialEq>(all: &[(&'static str, T)], value: &T) -> &'static str {
    all.iter().find(|(_, v)| v == value).map_or("", |(w, _)| w)
}

/// Reads what the common keys do not say.
pub(super) fn read(keys: &Keys<'_>, c: &mut Config) -> Result<(), ModelError> {
    let flag = |key: &str| keys.get(key).and_then(Value::as_bool).unwrap_or(false);
    c.norm = word(keys, "norm", &NORMS)?;
    c.positions = word(keys, "positions", &POSITIONS)?;
    c.mlp = word(keys, "mlp", &MLPS)?;
    c.activation = word(keys, "hidden_act", &ACTIVATIONS)?;
    c.biases = flag("biases");
    c.qk_norm = flag("qk_norm");
    c.post_norms = flag("post_norms");
    c.embed_scale = keys.number("embed_scale")?.unwrap_or(1.0) as f32;
    if keys.get("num_experts").is_some() {
        c.experts = Some(experts(keys)?);
    }
    Ok(())
}

/// The keys of a mixture of experts, as Qwen 3 has them.
pub(super) fn experts(keys: &Keys<'_>) -> Result<Experts, ModelError> {
    Ok(Experts {
        // transformers 5 writes the second name
        count: match keys.count("num_local_experts")? {
            Some(n) => n,
            None => keys.need("num_experts")?,
        },
        active: keys.need("num_experts_per_tok")?,
        ffn: keys.need("moe_intermediate_size")?,
        normalise: keys.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(false),
        balance: keys.number("router_aux_loss_coef")?.unwrap_or(0.001) as f32,
    })
}

/// Adds the keys of [`experts`].
pub(super) fn put_experts(e: &Experts, out: &mut Map<String, Value>) {
    let balance: f64 = e.balance.to_string().parse().unwrap_or(f64::from(e.balance));
    for (key, value) in [
        ("num_experts", json!(e.count)),
        ("num_experts_per_tok", json!(e.active)),
        ("moe_intermediate_size", json!(e.ffn)),
        ("norm_topk_prob", json!(e.normalise)),
        ("router_aux_loss_coef", json!(balance)),
    ] {
        out.insert(key.to_string(), value);
    }
}

/// Adds the keys of [`read`].
pub(super) fn put(c: &Config, out: &mut Map<String, Value>) {
    let scale: f64 = c.embed_scale.to_string().parse().unwrap_or(f64::from(c.embed_scale));
    for (key, value) in [
        ("norm", json!(name(&NORMS, &c.norm))),
        ("positions", json!(name(&POSITIONS, &c.positions))),
        ("mlp", json!(name(&MLPS, &c.mlp))),
        ("hidden_act", json!(name(&ACTIVATIONS, &c.activation))),
        ("biases", json!(c.biases)),
        ("qk_norm", json!(c.qk_norm)),
        ("post_norms", json!(c.post_norms)),
        ("embed_scale", json!(scale)),
    ] {
        out.insert(key.to_string(), value);
    }
    if let Some(e) = &c.experts {
        put_experts(e, out);
    }
}
