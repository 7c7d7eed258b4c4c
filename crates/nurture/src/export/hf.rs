//! A merged network as a Hugging Face folder: one file or shards, in F32, F16 or BF16, in either dialect of `config.json`.

use crate::engine::Model;
use crate::network;
use crate::said;
use anyhow::{Result, bail};
use nurture_formats::{TensorSpec, safetensors, write_atomic};
use nurture_kernels::DType;
use nurture_model::{Adapter, families::HfTensor};
use nurture_quantise::encode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Whose words `config.json` uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigDialect {
    /// `torch_dtype`, `rope_theta`, `rope_scaling`: transformers 4, read by version 5 and nearly everything else
    #[default]
    V4,
    /// `dtype`, `rope_parameters`: transformers 5
    V5,
}

/// How the folder is written.
#[derive(Clone, Copy, Debug)]
pub struct HfOptions {
    /// type of the matrices
    pub dtype: DType,
    /// dialect of the configuration
    pub dialect: ConfigDialect,
    /// most bytes of one file of weights
    pub shard_bytes: u64,
}

const CHUNK: usize = 4 << 20;

/// Writes weights, configuration and tokenizer into the existing folder `dir`.
///
/// # Errors
/// A network that the configuration has no words for; a value that the type cannot hold; the disk.
pub fn write_hf(model: &Model, adapter: Option<&Adapter>, options: HfOptions, dir: &Path) -> Result<u64> {
    if options.dtype.is_quantised() {
        let dtype = options.dtype;
        bail!(said!(
            "a Hugging Face folder cannot hold {dtype}; use f32, f16 or bf16",
            "Hugging Face 目录存不下 {dtype}；请用 f32、f16 或 bf16"
        ));
    }
    let decoder = model.decoder();
    let list = decoder.hf_tensors();
    let spec = |t: &HfTensor| TensorSpec::new(&t.name, options.dtype, t.shape.clone());
    let bytes = |t: &HfTensor| options.dtype.bytes_of(t.shape.iter().product()).unwrap_or(0) as u64;
    // shards in the order of the network
    let mut shards = vec![Vec::new()];
    let (mut size, mut total) = (0u64, 0u64);
    for p in &list {
        if size > 0 && size + bytes(p) > options.shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes(p);
        total += bytes(p);
        if let Some(last) = shards.last_mut() {
            last.push(p);
        }
    }
    let mut map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => network::WEIGHTS.to_string(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        };
        let specs: Vec<TensorSpec> = shard.iter().map(|p| spec(p)).collect();
        let mut file = safetensors::create(dir.join(&name), &BTreeMap::new(), &specs)?;
        for p in shard {
            map.insert(p.name.clone(), json!(name));
            let cols = p.shape.last().copied().unwrap_or(1);
            let pool = model.cpu().pool();
            decoder.hf_values(pool, adapter, p, CHUNK, |values| -> Result<()> {
                Ok(file.append(&p.name, &encode(pool, options.dtype, cols, values)?)?)
            })?;
        }
        file.finish()?;
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        write_atomic(dir.join("model.safetensors.index.json"), format!("{index:#}\n").as_bytes())?;
    }
    for (name, bytes) in network::text_files(model)? {
        write_atomic(dir.join(name), &bytes)?;
    }
    let dtype = match options.dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    };
    let config = dialect(network::config(model)?, options.dialect, dtype);
    write_atomic(dir.join("config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(total)
}

/// The configuration in the words of one dialect, whichever it came in.
fn dialect(config: Value, to: ConfigDialect, dtype: &str) -> Value {
    let Value::Object(mut c) = config else { return config };
    c.remove("dtype");
    c.remove("torch_dtype");
    let gemma = c.get("model_type").and_then(Value::as_str).is_some_and(|t| t.starts_with("gemma3"));
    match to {
        ConfigDialect::V5 => {
            c.insert("dtype".into(), json!(dtype));
            if c.contains_key("rope_parameters") {
                return Value::Object(c);
            }
            let theta = c.remove("rope_theta").unwrap_or(json!(10000.0));
            let local = c.remove("rope_local_base_freq").unwrap_or(json!(10000.0));
            let mut full = match c.remove("rope_scaling") {
                Some(Value::Object(s)) => s,
                _ => Map::new(),
            };
            if let Some(kind) = full.remove("type") {
                full.entry("rope_type").or_insert(kind);
            }
            full.entry("rope_type").or_insert(json!("default"));
            full.insert("rope_theta".into(), theta);
            let parameters = match gemma {
                true => json!({
                    "full_attention": full,
                    "sliding_attention": { "rope_type": "default", "rope_theta": local },
                }),
                false => Value::Object(full),
            };
            c.insert("rope_parameters".into(), parameters);
        }
        ConfigDialect::V4 => {
            c.insert("torch_dtype".into(), json!(dtype));
            if let Some(Value::Object(p)) = c.remove("rope_parameters") {
                let of = |p: &Map<String, Value>, key: &str| p.get(key).and_then(Value::as_object).cloned();
                let mut full = of(&p, "full_attention").unwrap_or_else(|| p.clone());
                if let Some(local) = of(&p, "sliding_attention").and_then(|s| s.get("rope_theta").cloned()) {
                    c.insert("rope_local_base_freq".into(), local);
                }
                let theta = full.remove("rope_theta");
                c.insert("rope_theta".into(), theta.unwrap_or(json!(10000.0)));
                let plain = full.get("rope_type").is_none_or(|t| t == "default");
                c.insert("rope_scaling".into(), if plain { Value::Null } else { Value::Object(full) });
            }
        }
    }
    Value::Object(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_both_dialects() {
        let llama3 = json!({ "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0 });
        for v4 in [
            json!({ "model_type": "llama", "rope_theta": 1e5, "rope_scaling": null, "torch_dtype": "float32" }),
            json!({ "model_type": "llama", "rope_theta": 5e5, "rope_scaling": llama3, "torch_dtype": "float32" }),
            json!({
                "model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 1e4,
                "rope_scaling": null, "torch_dtype": "float32",
            }),
        ] {
            let v5 = dialect(v4.clone(), ConfigDialect::V5, "float32");
            assert!(v5.get("rope_theta").is_none() && v5["dtype"] == "float32", "{v5}");
            let own = if v5["model_type"] == "llama" {
                &v5["rope_parameters"]
            } else {
                &v5["rope_parameters"]["full_attention"]
            };
            assert_eq!(own["rope_theta"], v4["rope_theta"]);
            let back = dialect(v5, ConfigDialect::V4, "float32");
            for (key, value) in v4.as_object().unwrap() {
                assert_eq!(&back[key], value, "{key}");
            }
        }
    }
}
