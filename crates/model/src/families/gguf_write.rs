//! A network in the words of a GGUF file: keys, tensor names, and the order of rows.

use super::gemma3;
use super::gguf::GEMMA3_27B_LAYERS;
use crate::adapter::Projection;
use crate::config::{Config, Family, RopeScaling};
use crate::decoder::Decoder;
use crate::parameters::Slot;
use nurture_formats::Value;
use nurture_kernels::Rope;

/// A parameter as a GGUF file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufParameter {
    /// the parameters that stand below each other in it, with the rows (of a vector the values) of each; none: the divisors of
    /// the rotary frequencies
    pub parts: Vec<(Slot, usize)>,
    /// its name
    pub name: String,
    /// `[rows, cols]`, `[n]`, or of experts `[experts, rows, cols]`
    pub shape: Vec<usize>,
    /// width of a head whose rows pair neighbours in the file (queries and keys of the Llama family)
    pub neighbours: Option<usize>,
}

impl GgufParameter {
    /// The row of the network that stands at row `row` of the file.
    pub fn row(&self, row: usize) -> usize {
        match self.neighbours {
            None => row,
            Some(d) => row / d * d + row % d % 2 * (d / 2) + row % d / 2,
        }
    }
}

impl Decoder {
    /// All tensors, in the order of the network.
    pub fn gguf_parameters(&self) -> Vec<GgufParameter> {
        let c = &self.config;
        let names = super::gguf_names(c.family);
        let mut out: Vec<GgufParameter> = Vec::new();
        for p in self.parameter_list() {
            let name = names.tensor(p.slot);
            let rows = p.shape.first().copied().unwrap_or(0);
            if let Some(whole) = out.iter_mut().find(|t| t.name == name) {
                // the next expert, or rows below those that are there
                if let Some(n) = whole.shape.first_mut() {
                    *n += if matches!(p.slot, Slot::Expert(..)) { 1 } else { rows };
                }
                whole.parts.push((p.slot, rows));
                continue;
            }
            let mut shape = p.shape;
            if matches!(p.slot, Slot::Expert(..)) {
                shape.insert(0, 1);
            }
            let rotated = matches!(
                p.slot,
                Slot::Weight(_, Projection::Q | Projection::K) | Slot::Bias(_, Projection::Q | Projection::K)
            );
            let neighbours = (rotated && c.family == Family::Llama).then_some(c.head_dim);
            out.push(GgufParameter { parts: vec![(p.slot, rows)], name, shape, neighbours });
        }
        if self.gguf_rope_factors().is_some() {
            let shape = vec![c.head_dim / 2];
            let name = "rope_freqs.weight".to_string();
            out.push(GgufParameter { parts: Vec::new(), name, shape, neighbours: None });
        }
        out
    }

    /// The divisors of the rotary frequencies, where a GGUF file stores them.
    pub fn gguf_rope_factors(&self) -> Option<Vec<f32>> {
        match &self.config.rope_scaling {
            Some(RopeScaling::Factors(by)) => Some(by.clone()),
            Some(RopeScaling::Llama3 { .. }) => {
                let plain = Rope::new(self.config.head_dim, self.config.rope_theta);
                let (scaled, _) = self.config.ropes();
                Some(plain.inv_freq.iter().zip(&scaled.inv_freq).map(|(p, s)| p / s).collect())
            }
            None | Some(RopeScaling::Linear(_)) => None,
        }
    }

    /// The keys that describe the network, `general.architecture` among them.
    ///
    /// # Errors
    /// What GGUF has no words for (in the text).
    pub fn gguf_keys(&self) -> Result<Vec<(String, Value)>, String> {
        let c = &self.config;
        // one architecture has another word there than in Hugging Face's folders
        let arch = if c.family == Family::Qwen3Moe { "qwen3moe" } else { c.family.name() };
        if c.family == Family::Own {
            return Err(format!(
                "a form that no family has ({arch}): save it as a Hugging Face folder, which this program reads, or raise one of a family's form (model.new.shape)"
            ));
        }
        if c.family == Family::Gpt2 {
            return gpt2_keys(c);
        }
        let window = c.windows.iter().flatten().next().copied();
        check(c, window)?;
        let mut out = vec![("general.architecture".to_string(), Value::String(arch.to_string()))];
        let mut count = |key: &str, n: usize| -> Result<(), String> {
            let n = u32::try_from(n).map_err(|_| format!("{key} of {n}"))?;
            out.push((format!("{arch}.{key}"), Value::U32(n)));
            Ok(())
        };
        for (key, n) in [
            ("block_count", c.layers),
            ("context_length", c.context),
            ("embedding_length", c.width),
            ("feed_forward_length", c.ffn),
            ("attention.head_count", c.heads),
            ("attention.head_count_kv", c.kv_heads),
            ("attention.key_length", c.head_dim),
            ("attention.value_length", c.head_dim),
            ("rope.dimension_count", c.head_dim),
            ("vocab_size", c.vocab),
        ] {
            count(key, n)?;
        }
        if let Some(n) = window {
            count("attention.sliding_window", n)?;
        }
        if let (Family::Qwen3Moe, Some(e)) = (c.family, &c.experts) {
            count("expert_count", e.count)?;
            count("expert_used_count", e.active)?;
            count("expert_feed_forward_length", e.ffn)?;
        }
        let mut number = |key: &str, x: f32| out.push((format!("{arch}.{key}"), Value::F32(x)));
        number("attention.layer_norm_rms_epsilon", c.norm_eps);
        number("rope.freq_base", c.rope_theta as f32);
        if let Some(RopeScaling::Linear(factor)) = c.rope_scaling {
            number("rope.scaling.factor", factor as f32);
            out.push((format!("{arch}.rope.scaling.type"), Value::String("linear".to_string())));
        }
        Ok(out)
    }
}

/// The keys of GPT-2.
fn gpt2_keys(c: &Config) -> Result<Vec<(String, Value)>, String> {
    check(c, None)?;
    let mut out = vec![("general.architecture".to_string(), Value::String("gpt2".to_string()))];
    for (key, n) in [
        ("block_count", c.layers),
        ("context_length", c.context),
        ("embedding_length", c.width),
        ("feed_forward_length", c.ffn),
        ("attention.head_count", c.heads),
    ] {
        let n = u32::try_from(n).map_err(|_| format!("{key} of {n}"))?;
        out.push((format!("gpt2.{key}"), Value::U32(n)));
    }
    out.push(("gpt2.attention.layer_norm_epsilon".to_string(), Value::F32(c.norm_eps)));
    Ok(out)
}

/// What a reader of the file derives from the architecture's name alone must be so.
fn check(c: &Config, window: Option<usize>) -> Result<(), String> {
    let gemma = c.family == Family::Gemma3;
    let windows = match gemma {
        true => gemma3::windows(c.layers, window, gemma3::GLOBAL_EVERY),
        false => vec![window; c.layers],
    };
    if c.family == Family::Gpt2 && c.kv_heads != c.heads {
        return Err("a GPT-2 with grouped heads".to_string());
    }
    if c.experts.is_some_and(|e| !e.normalise) {
        return Err("experts whose weights are not made to sum to one".to_string());
    }
    if c.windows != windows {
        return Err("windows that differ by layer in another way than GGUF readers expect".to_string());
    }
    if gemma && c.local_rope_theta != Some(gemma3::LOCAL_THETA) {
        return Err(format!("a rotary base of {:?} in layers with a window", c.local_rope_theta));
    }
    let by = if gemma && c.layers == GEMMA3_27B_LAYERS { c.width / c.heads } else { c.head_dim };
    let wanted = 1.0 / (by as f32).sqrt();
    if (c.attention_scale - wanted).abs() > 1e-6 * wanted {
        return Err(format!("attention scores scaled by {} instead of {wanted}", c.attention_scale));
    }
    Ok(())
}
