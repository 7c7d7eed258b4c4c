//! A network that was trained itself, as a Hugging Face folder: weights, configuration, tokenizer, and what it must
//! remember to be used as it was trained. Other people's tools load it as any model; so does this program.

use crate::engine::Model;
use crate::export::{ConfigDialect, HfOptions, write_hf};
use anyhow::{Context, Result, anyhow};
use nurture_formats::{adapter, save_folder, write_atomic};
use nurture_kernels::DType;
use nurture_model::{Adapter, Decoder, families::TokenRoles};
use nurture_text::Tokenizer;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Name of the weights in the folder.
pub const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Files about text that a base in Hugging Face's form hands on as they are.
const TEXT: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "added_tokens.json",
    "tokenizer.model",
];

/// The folder in a run's folder where its result lies: that of the last stage that has one, or the run's own.
pub fn result_dir(path: &Path) -> PathBuf {
    let has = |p: &PathBuf| saved(&p.join("model")) || p.join("adapter").join(adapter::CONFIG_NAME).is_file();
    crate::recipe::stage_dirs(path).into_iter().rev().find(has).unwrap_or_else(|| path.to_path_buf())
}

fn saved(p: &Path) -> bool {
    p.join(CONFIG).is_file() && p.join(adapter::EXTRA_NAME).is_file()
}

/// The folder of the trained network in a run's folder, or the folder itself; `None` where neither holds one that this
/// program saved.
pub fn network_dir(path: &Path) -> Option<PathBuf> {
    [result_dir(path).join("model"), path.to_path_buf()].into_iter().find(|p| saved(p))
}

/// Whether a network of this base can be saved: asked before it is trained.
///
/// # Errors
/// A base that Hugging Face's configuration has no words for.
pub fn check(base: &Model) -> Result<()> {
    config(base).map(drop)
}

/// Saves `network`, which was trained from `base`, as folder `dir`, whole or not at all. `extra` goes to `nurture.json`.
/// Equal networks give equal bytes.
///
/// # Errors
/// The disk, or a folder that holds something else.
pub fn save(dir: &Path, base: &Model, network: &Decoder, extra: &Map<String, Value>) -> Result<()> {
    write(dir, network, text_files(base)?, &config(base)?, extra)
}

/// Saves `base` and an adapter on it as one network, in float32: what the adapter adds is rounded once, to the weights.
///
/// # Errors
/// A base that Hugging Face's configuration has no words for, the disk, or a folder that holds something else.
pub fn save_merged(dir: &Path, base: &Model, with: &Adapter, extra: &Map<String, Value>) -> Result<()> {
    let options = HfOptions { dtype: DType::F32, dialect: ConfigDialect::default(), shard_bytes: u64::MAX };
    save_folder(dir, "model", &known(), |folder| {
        write_hf(base, Some(with), options, folder)?;
        Ok(write_atomic(
            folder.join(adapter::EXTRA_NAME),
            format!("{:#}\n", Value::Object(extra.clone())).as_bytes(),
        )?)
    })
}

fn known() -> Vec<&'static str> {
    TEXT.into_iter().chain([CONFIG, WEIGHTS, adapter::EXTRA_NAME]).collect()
}

/// Saves a network that came from no other, with a tokenizer of its own and the source of its chat template.
///
/// # Errors
/// The disk, or a folder that holds something else.
pub fn save_new(
    dir: &Path,
    network: &Decoder,
    tokenizer: &Tokenizer,
    template: &str,
    extra: &Map<String, Value>,
) -> Result<()> {
    let config = network.hf_config(roles(tokenizer)).map_err(|problem| anyhow!("{problem}"))?;
    write(dir, network, own_files(tokenizer, template, network.config().context)?, &config, extra)
}

fn write(
    dir: &Path,
    network: &Decoder,
    mut files: Vec<(&'static str, Vec<u8>)>,
    config: &Value,
    extra: &Map<String, Value>,
) -> Result<()> {
    files.push((CONFIG, format!("{config:#}\n").into_bytes()));
    files.push((adapter::EXTRA_NAME, format!("{:#}\n", Value::Object(extra.clone())).into_bytes()));
    save_folder(dir, "model", &known(), |folder| {
        network.write_safetensors(folder.join(WEIGHTS))?;
        for (name, bytes) in &files {
            write_atomic(folder.join(name), bytes)?;
        }
        Ok::<(), anyhow::Error>(())
    })
}

/// `config.json`: the base's own, or one made from what a GGUF file says.
pub(crate) fn config(base: &Model) -> Result<Value> {
    if base.path().is_dir() {
        let path = base.path().join(CONFIG);
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let mut config: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        if let Some(keys) = config.as_object_mut() {
            keys.remove("quantization_config");
            let key = if keys.contains_key("dtype") { "dtype" } else { "torch_dtype" };
            keys.insert(key.to_string(), json!("float32"));
        }
        return Ok(config);
    }
    base.decoder().hf_config(roles(base.tokenizer())).map_err(|problem| {
        anyhow!(
            "{}: its trained weights could not be saved for other tools: {problem}; train an adapter instead (train.adapter)",
            base.path().display()
        )
    })
}

fn roles(tokens: &Tokenizer) -> TokenRoles {
    let names = tokens.special_names();
    TokenRoles { bos: names.bos.and_then(|n| tokens.id(&n)), eos: tokens.eos(), pad: tokens.pad() }
}

/// Tokenizer and template.
pub(crate) fn text_files(base: &Model) -> Result<Vec<(&'static str, Vec<u8>)>> {
    if base.path().is_dir() {
        let mut out = Vec::new();
        for name in TEXT {
            let path = base.path().join(name);
            if path.is_file() {
                out.push((name, std::fs::read(&path).with_context(|| path.display().to_string())?));
            }
        }
        return Ok(out);
    }
    own_files(base.tokenizer(), base.renderer().template().source(), base.decoder().config().context)
}

fn own_files(tokenizer: &Tokenizer, template: &str, context: usize) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let files = tokenizer.to_hf(Some(template), context)?;
    Ok(vec![
        ("tokenizer.json", files.tokenizer.into_bytes()),
        ("tokenizer_config.json", files.config.into_bytes()),
        ("generation_config.json", files.generation.into_bytes()),
    ])
}
