//! Hugging Face's `config.json` (both dialects, transformers 4 and 5) and names.

use super::{Dialect, Names, apply, family, gemma3, gpt2, own};
use crate::config::{Config, Family, MlpKind, NormKind, Positions, RopeScaling};
use crate::error::ModelError;
use nurture_formats::HfFolder;
use nurture_kernels::Activation;
use serde_json::Value;
use std::path::Path;

pub(super) const NAMES: Names = Names {
    embed: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head.weight",
    attn_norm: "model.layers.{}.input_layernorm.weight",
    q: "model.layers.{}.self_attn.q_proj.weight",
    k: "model.layers.{}.self_attn.k_proj.weight",
    v: "model.layers.{}.self_attn.v_proj.weight",
    o: "model.layers.{}.self_attn.o_proj.weight",
    q_norm: "model.layers.{}.self_attn.q_norm.weight",
    k_norm: "model.layers.{}.self_attn.k_norm.weight",
    post_attn_norm: "",
    ffn_norm: "model.layers.{}.post_attention_layernorm.weight",
    gate: "model.layers.{}.mlp.gate_proj.weight",
    up: "model.layers.{}.mlp.up_proj.weight",
    down: "model.layers.{}.mlp.down_proj.weight",
    post_ffn_norm: "",
    positions: "",
    router: "model.layers.{}.mlp.gate.weight",
    expert: "model.layers.{}.mlp.experts.{e}.",
    fused: false,
    stacked: false,
};

pub(super) const GEMMA_NAMES: Names = Names {
    post_attn_norm: "model.layers.{}.post_attention_layernorm.weight",
    ffn_norm: "model.layers.{}.pre_feedforward_layernorm.weight",
    post_ffn_norm: "model.layers.{}.post_feedforward_layernorm.weight",
    ..NAMES
};

/// Typed access to a JSON object with errors that name file and key.
pub(super) struct Keys<'a> {
    file: &'a Path,
    json: &'a Value,
}

impl Keys<'_> {
    pub(super) fn bad(&self, key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Config {
            file: self.file.join("config.json"),
            key: key.to_string(),
            problem: problem.into(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|v| !v.is_null())
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.get(key)
            .map(|v| {
                v.as_u64()
                    .and_then(|n| n.try_into().ok())
                    .ok_or_else(|| self.bad(key, "is not a whole number"))
            })
            .transpose()
    }

    pub(super) fn need(&self, key: &str) -> Result<usize, ModelError> {
        self.count(key)?.ok_or_else(|| self.bad(key, "is missing"))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.get(key).map(|v| v.as_f64().ok_or_else(|| self.bad(key, "is not a number"))).transpose()
    }
}

pub(super) fn read(folder: &HfFolder) -> Result<(Config, Dialect), ModelError> {
    let keys = Keys { file: folder.path(), json: folder.config() };
    let arch = keys.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    let Some(family) = family(arch).filter(|_| keys.get("text_config").is_none()) else {
        return Err(ModelError::Architecture { file: folder.path().to_path_buf(), found: arch.to_string() });
    };
    if family == Family::Gpt2 {
        return gpt2::read_hf(&keys, folder);
    }
    let heads = keys.need("num_attention_heads")?;
    let width = keys.need("hidden_size")?;
    let layers = keys.need("num_hidden_layers")?;
    let head_dim = match keys.count("head_dim")? {
        Some(n) => n,
        None => width.checked_div(heads).unwrap_or(0),
    };
    let gemma = family == Family::Gemma3;
    let (rope_theta, rope_scaling, local_rope_theta) = rope(&keys)?;
    let scaled_by = keys.number("query_pre_attn_scalar")?.filter(|_| gemma).unwrap_or(head_dim as f64);
    for (key, wanted) in
        [("attn_logit_softcapping", "no soft cap"), ("final_logit_softcapping", "no soft cap")]
    {
        if keys.get(key).is_some() {
            return Err(keys.bad(key, format!("is set; only models with {wanted} are supported")));
        }
    }
    let experts = match family {
        Family::Qwen3Moe => Some(own::experts(&keys)?),
        _ => None,
    };
    if keys.count("decoder_sparse_step")?.unwrap_or(1) != 1
        || keys.get("mlp_only_layers").and_then(Value::as_array).is_some_and(|a| !a.is_empty())
    {
        return Err(keys.bad("mlp_only_layers", "asks for blocks without experts: not supported"));
    }
    let mut config = Config {
        family,
        norm: NormKind::Rms,
        positions: Positions::Rope,
        mlp: MlpKind::Gated,
        biases: false,
        experts,
        vocab: keys.need("vocab_size")?,
        width,
        layers,
        heads,
        kv_heads: keys.count("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        ffn: keys.need("intermediate_size")?,
        norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope_theta,
        rope_scaling,
        local_rope_theta,
        windows: windows(&keys, layers.min(1 << 12), gemma)?,
        activation: Activation::Silu,
        attention_scale: (1.0 / scaled_by.sqrt()) as f32,
        embed_scale: 1.0,
        qk_norm: false,
        post_norms: false,
        context: keys.count("max_position_embeddings")?.unwrap_or(2048),
    };
    apply(&mut config);
    if family == Family::Own {
        own::read(&keys, &mut config)?;
    }
    let names = super::hf_names(family);
    let dialect =
        Dialect { names, neighbour_rope: false, norms_minus_one: gemma, transposed: false, without: "" };
    Ok((config, dialect))
}

/// Rotary base, scaling, and the base of layers with a window: `rope_parameters` (v5; nested by layer type in some)
/// wins over `rope_theta`, `rope_scaling` and `rope_local_base_freq` (v4).
fn rope(keys: &Keys<'_>) -> Result<(f64, Option<RopeScaling>, Option<f64>), ModelError> {
    let theta = |v: &Value| v.get("rope_theta").and_then(Value::as_f64);
    let plain = keys.number("rope_theta")?;
    let local = keys.number("rope_local_base_freq")?;
    match keys.get("rope_parameters") {
        Some(p) if p.get("full_attention").is_some() => {
            let full = &p["full_attention"];
            let slide = p.get("sliding_attention").and_then(theta);
            Ok((theta(full).or(plain).unwrap_or(10_000.0), scaling(keys, full)?, slide.or(local)))
        }
        Some(p) => Ok((theta(p).or(plain).unwrap_or(10_000.0), scaling(keys, p)?, local)),
        None => {
            let s = keys.get("rope_scaling").map(|s| scaling(keys, s)).transpose()?.flatten();
            Ok((plain.unwrap_or(10_000.0), s, local))
        }
    }
}

fn scaling(keys: &Keys<'_>, json: &Value) -> Result<Option<RopeScaling>, ModelError> {
    let kind =
        json.get("rope_type").or_else(|| json.get("type")).and_then(Value::as_str).unwrap_or("default");
    let number = |key: &str| {
        let n = json.get(key).and_then(Value::as_f64).filter(|n| n.is_finite() && *n > 0.0);
        n.ok_or_else(|| keys.bad(&format!("rope parameters: {key}"), "is not a positive number"))
    };
    Ok(match kind {
        "default" => None,
        "linear" => Some(RopeScaling::Linear(number("factor")?)),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: number("original_max_position_embeddings")?,
        }),
        other => return Err(keys.bad("rope parameters", format!("rope type \"{other}\" is not supported"))),
    })
}

/// The window of each layer: by `layer_types`, else by Gemma's pattern, else the same for all.
fn windows(keys: &Keys<'_>, layers: usize, gemma: bool) -> Result<Vec<Option<usize>>, ModelError> {
    let used = keys.get("use_sliding_window").and_then(Value::as_bool).unwrap_or(true);
    let window = keys.count("sliding_window")?.filter(|&w| used && w > 0);
    if let Some(types) = keys.get("layer_types").and_then(Value::as_array) {
        if types.len() != layers {
            return Err(keys.bad("layer_types", format!("{} entries for {layers} layers", types.len())));
        }
        return types
            .iter()
            .map(|t| match t.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") => window
                    .map(Some)
                    .ok_or_else(|| keys.bad("sliding_window", "is missing, but layers ask for it")),
                other => {
                    Err(keys.bad("layer_types", format!("\"{}\" is not supported", other.unwrap_or("?"))))
                }
            })
            .collect();
    }
    if gemma {
        let every = keys.count("sliding_window_pattern")?.or(keys.count("_sliding_window_pattern")?);
        return Ok(gemma3::windows(layers, window, every.unwrap_or(gemma3::GLOBAL_EVERY)));
    }
    Ok(vec![window; layers])
}
