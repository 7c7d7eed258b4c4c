//! A network as a Hugging Face folder: `config.json` and `model.safetensors`.
//!
//! The configuration is written in the keys of transformers 4 (`rope_theta`, `rope_scaling`), which transformers 5 and
//! all other readers understand too.

use super::own;
use crate::adapter::{Adapter, PROJECTIONS};
use crate::config::{Config, Family, RopeScaling};
use crate::decoder::{Block, Decoder};
use crate::error::ModelError;
use crate::parameters::Slot;
use nurture_formats::{TensorSpec, safetensors};
use nurture_kernels::{Activation, DType, Pool};
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

/// A tensor of a Hugging Face folder.
#[derive(Clone, Debug, PartialEq)]
pub struct HfTensor {
    /// its name
    pub name: String,
    /// `[rows, cols]` or `[n]`
    pub shape: Vec<usize>,
    /// the parameters that it holds
    pub parts: Vec<Slot>,
    /// its rows are inputs
    turned: bool,
}

/// Values that are worked on at once.
const CHUNK: usize = 1 << 20;

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
        let has_bias = |p| {
            let biased = |b: &Block| b.projected(p).is_some_and(|one| one.bias.is_some());
            self.blocks.iter().all(biased) && !self.blocks.is_empty()
        };
        let biased: Vec<bool> = PROJECTIONS.iter().map(|&p| has_bias(p)).collect();
        let windowed = c.windows.iter().flatten().next().copied();
        let (architecture, kind) = match c.family {
            Family::Llama if windowed.is_some() => ("MistralForCausalLM", "mistral"),
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Family::Qwen3Moe => ("Qwen3MoeForCausalLM", "qwen3_moe"),
            Family::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
            Family::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
            Family::Own => ("NurtureForCausalLM", "nurture"),
        };
        if c.family == Family::Gpt2 {
            return self.gpt2_config(roles);
        }
        // q, k, v, o, gate, up, down
        let wanted: &[&[bool; 7]] = match c.family {
            Family::Qwen2 => &[&[true, true, true, false, false, false, false]],
            Family::Llama if windowed.is_none() => {
                &[&[false; 7], &[true, true, true, true, false, false, false]]
            }
            _ => &[&[false; 7]],
        };
        if c.family != Family::Own && !wanted.iter().any(|w| w[..] == biased[..]) {
            return Err(format!("biases that the family {kind} does not have in this form"));
        }
        let act = match c.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        };
        let layer_types = || {
            let types = c.windows.iter().map(|w| match w {
                Some(_) => "sliding_attention",
                None => "full_attention",
            });
            json!(types.collect::<Vec<_>>())
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
            put("layer_types", layer_types());
        } else if c.family == Family::Own {
            put("sliding_window", json!(windowed));
            put("rope_local_base_freq", json!(c.local_rope_theta));
            put("layer_types", layer_types());
            own::put(c, &mut out);
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
            if let (Family::Qwen3Moe, Some(e)) = (c.family, &c.experts) {
                put("decoder_sparse_step", json!(1));
                put("mlp_only_layers", json!([]));
                own::put_experts(e, &mut out);
            }
        }
        Ok(Value::Object(out))
    }

    /// The same of GPT-2, whose keys are its own.
    fn gpt2_config(&self, roles: TokenRoles) -> Result<Value, String> {
        let c = &self.config;
        if c.kv_heads != c.heads || c.windows.iter().any(Option::is_some) || !self.tied() {
            return Err("a GPT-2 with grouped heads, windows or a head of its own".to_string());
        }
        Ok(json!({
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "torch_dtype": "float32",
            "vocab_size": c.vocab, "n_embd": c.width, "n_layer": c.layers, "n_head": c.heads, "n_inner": c.ffn,
            "n_positions": c.context, "n_ctx": c.context, "layer_norm_epsilon": shortest(c.norm_eps),
            "activation_function": "gelu_new", "tie_word_embeddings": true,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": roles.bos, "eos_token_id": roles.eos, "pad_token_id": roles.pad,
        }))
    }

    /// All tensors of a Hugging Face folder, in the order of the network.
    pub fn hf_tensors(&self) -> Vec<HfTensor> {
        let names = super::hf_names(self.config.family);
        let mut out: Vec<HfTensor> = Vec::new();
        for p in self.parameter_list() {
            let name = names.tensor(p.slot);
            if let Some(whole) = out.iter_mut().find(|t| t.name == name) {
                // rows below those that are there; of a matrix with inputs as rows, columns beside them
                if let (Some(n), Some(more)) = (whole.shape.last_mut(), p.shape.first()) {
                    *n += more;
                }
                whole.parts.push(p.slot);
                continue;
            }
            let turned = self.config.family == Family::Gpt2 && p.is_hidden_matrix();
            let shape = if turned { p.shape.iter().rev().copied().collect() } else { p.shape };
            out.push(HfTensor { name, shape, parts: vec![p.slot], turned });
        }
        out
    }

    /// The values of a tensor of [`Decoder::hf_tensors`], merged with `adapter`: whole rows, at most about `most` values at
    /// once where the file keeps the order of the network.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn hf_values<E>(
        &self,
        pool: &Pool,
        adapter: Option<&Adapter>,
        tensor: &HfTensor,
        most: usize,
        mut put: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows_of = |slot| match self.weight_at(slot) {
            Some(w) => (w.rows(), w.cols()),
            None => (1, self.vector(slot).map_or(0, <[f32]>::len)),
        };
        if tensor.turned || tensor.parts.len() > 1 {
            let count = tensor.shape.iter().product();
            let (mut out, mut beside) = (vec![0f32; count], 0);
            let width = tensor.shape.last().copied().unwrap_or(0);
            for &slot in &tensor.parts {
                let (rows, cols) = rows_of(slot);
                let mut values = vec![0f32; rows * cols];
                self.merged_rows(pool, adapter, slot, 0, &mut values);
                if tensor.turned {
                    for (r, row) in values.chunks_exact(cols).enumerate() {
                        row.iter().enumerate().for_each(|(c, v)| out[c * width + beside + r] = *v);
                    }
                    beside += rows;
                } else {
                    out[beside..beside + values.len()].copy_from_slice(&values);
                    beside += values.len();
                }
            }
            return put(&out);
        }
        let Some(&slot) = tensor.parts.first() else { return Ok(()) };
        let (rows, cols) = rows_of(slot);
        // Gemma's files leave out the 1 that its norms add
        let norm = matches!(slot, Slot::Norm(..) | Slot::LastNorm);
        let less = if norm && self.config.family == Family::Gemma3 { 1.0 } else { 0.0 };
        let step = (most / cols.max(1)).max(1);
        for first in (0..rows).step_by(step) {
            let mut values = vec![0f32; step.min(rows - first) * cols];
            self.merged_rows(pool, adapter, slot, first, &mut values);
            if less != 0.0 {
                values.iter_mut().for_each(|v| *v -= less);
            }
            put(&values)?;
        }
        Ok(())
    }

    /// Writes `model.safetensors` in F32 under Hugging Face's names. Equal networks give equal bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let list = self.hf_tensors();
        let specs: Vec<TensorSpec> =
            list.iter().map(|t| TensorSpec::new(&t.name, DType::F32, t.shape.clone())).collect();
        let mut file = safetensors::create(path, &BTreeMap::new(), &specs)?;
        let pool = Pool::new(1);
        for t in &list {
            self.hf_values(&pool, None, t, CHUNK, |values| file.append_f32(&t.name, values))?;
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
