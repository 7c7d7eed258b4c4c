//! A network as a Hugging Face folder: `config.json` and `model.safetensors`.
//!
//! The configuration is written in the keys of transformers 4 (`rope_theta`, `rope_scaling`), which transformers 5 and
//! all other readers understand too.

use crate::adapter::PROJECTIONS;
use crate::config::{Config, Family, RopeScaling};
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::parameters::Slot;
use nurture_formats::{TensorSpec, safetensors};
use nurture_kernels::{Activation, DType};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens that `config.json` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRoles {
    /// beginning of sequence
    pub bos: Option<u32>,
    /// end of sequence
    pub eos: Option<u32>,
    /// padding
    pub pad: Option<u32>,
}

/// Llama 3's stretching of frequencies as GGUF stores it: `original` and the two limits are the same in all released
/// models, the factor differs.
const LLAMA3: [(f64, f64, f64, f64); 4] =
    [(8.0, 1.0, 4.0, 8192.0), (32.0, 1.0, 4.0, 8192.0), (16.0, 1.0, 4.0, 8192.0), (4.0, 1.0, 4.0, 8192.0)];

impl Decoder {
    /// The content of `config.json`.
    ///
    /// # Errors
    /// A network that Hugging Face's configuration has no words for (in `problem`).
    pub fn hf_config(&self, roles: TokenRoles) -> Result<Value, String> {
        let c = &self.config;
        let has_bias =
            |p| self.blocks.iter().all(|b| b.projected(p).bias.is_some()) && !self.blocks.is_empty();
        let biased: Vec<bool> = PROJECTIONS.iter().map(|&p| has_bias(p)).collect();
        let windowed = c.windows.iter().flatten().next().copied();
        let (architecture, kind) = match c.family {
            Family::Llama if windowed.is_some() => ("MistralForCausalLM", "mistral"),
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Family::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
        };
        // q, k, v, o, gate, up, down
        let wanted: &[&[bool; 7]] = match c.family {
            Family::Qwen2 => &[&[true, true, true, false, false, false, false]],
            Family::Llama if windowed.is_none() => {
                &[&[false; 7], &[true, true, true, true, false, false, false]]
            }
            _ => &[&[false; 7]],
        };
        if !wanted.iter().any(|w| w[..] == biased[..]) {
            return Err(format!("biases that the family {kind} does not have in this form"));
        }
        let act = match c.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        };
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            out.insert(key.to_string(), value);
        };
        put("architectures", json!([architecture]));
        put("model_type", json!(kind));
        put("torch_dtype", json!("float32"));
        put("vocab_size", json!(c.vocab));
        put("hidden_size", json!(c.width));
        put("intermediate_size", json!(c.ffn));
        put("num_hidden_layers", json!(c.layers));
        put("num_attention_heads", json!(c.heads));
        put("num_key_value_heads", json!(c.kv_heads));
        put("head_dim", json!(c.head_dim));
        put("max_position_embeddings", json!(c.context));
        put("rms_norm_eps", json!(shortest(c.norm_eps)));
        put("rope_theta", json!(c.rope_theta));
        put("tie_word_embeddings", json!(self.tied()));
        put("attention_dropout", json!(0.0));
        for (key, id) in
            [("bos_token_id", roles.bos), ("eos_token_id", roles.eos), ("pad_token_id", roles.pad)]
        {
            put(key, json!(id));
        }
        put("rope_scaling", rope_scaling(c)?);
        if c.family == Family::Gemma3 {
            put("hidden_activation", json!(act));
            put("query_pre_attn_scalar", json!((1.0 / (c.attention_scale as f64).powi(2)).round()));
            put("rope_local_base_freq", json!(c.local_rope_theta));
            put("sliding_window", json!(windowed));
            let types = c.windows.iter().map(|w| match w {
                Some(_) => "sliding_attention",
                None => "full_attention",
            });
            put("layer_types", json!(types.collect::<Vec<_>>()));
        } else {
            put("hidden_act", json!(act));
            if c.windows.iter().any(|w| *w != windowed) {
                return Err(format!("windows that differ by layer in the family {kind}"));
            }
            put("attention_bias", json!(biased[0] && biased[3]));
            match c.family {
                Family::Llama => put("mlp_bias", json!(false)),
                _ => put("use_sliding_window", json!(windowed.is_some())),
            }
            if windowed.is_some() {
                put("sliding_window", json!(windowed));
                put("max_window_layers", json!(0));
            }
        }
        Ok(Value::Object(out))
    }

    /// Writes `model.safetensors` in F32 under Hugging Face's names. Equal networks give equal bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let list = self.parameter_list();
        let specs: Vec<TensorSpec> =
            list.iter().map(|p| TensorSpec::new(&p.name, DType::F32, p.shape.clone())).collect();
        let mut file = safetensors::create(path, &BTreeMap::new(), &specs)?;
        // Gemma's files leave out the 1 that its norms add
        let less = if self.config.family == Family::Gemma3 { 1.0 } else { 0.0 };
        for p in &list {
            match self.weight_at(p.slot) {
                Some(w) => {
                    let mut rows = Vec::new();
                    for first in (0..w.rows()).step_by(64) {
                        rows.resize(64.min(w.rows() - first) * w.cols(), 0.0);
                        match w.floats() {
                            Some(tiles) => nurture_kernels::untile(tiles, w.cols(), first, &mut rows),
                            None => {
                                for (i, row) in rows.chunks_exact_mut(w.cols()).enumerate() {
                                    w.row_into(first + i, row);
                                }
                            }
                        }
                        file.append_f32(&p.name, &rows)?;
                    }
                }
                None => {
                    let norm = matches!(p.slot, Slot::Norm(..) | Slot::LastNorm);
                    let values = self.vector(p.slot).unwrap_or_default().iter();
                    let values: Vec<f32> = values.map(|v| if norm { v - less } else { *v }).collect();
                    file.append_f32(&p.name, &values)?;
                }
            }
        }
        Ok(file.finish()?)
    }
}

/// A float as the shortest decimal that reads back as it: 1e-5, not 9.999999747378752e-6.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(x as f64)
}

fn rope_scaling(c: &Config) -> Result<Value, String> {
    let llama3 = |(factor, low, high, original): (f64, f64, f64, f64)| {
        json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original,
        })
    };
    Ok(match &c.rope_scaling {
        None => Value::Null,
        Some(RopeScaling::Linear(factor)) => json!({ "rope_type": "linear", "factor": factor }),
        Some(RopeScaling::Llama3 { factor, low, high, original }) => {
            llama3((*factor, *low, *high, *original))
        }
        Some(RopeScaling::Factors(_)) => {
            let (have, _) = c.ropes();
            let found = LLAMA3.into_iter().find(|&(factor, low, high, original)| {
                let scaling = Some(RopeScaling::Llama3 { factor, low, high, original });
                let (made, _) = Config { rope_scaling: scaling, ..c.clone() }.ropes();
                have.inv_freq.iter().zip(&made.inv_freq).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs())
            });
            match found {
                Some(values) => llama3(values),
                None => return Err("rotary frequencies that are not Llama 3's".to_string()),
            }
        }
    })
}
