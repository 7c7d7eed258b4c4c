//! The metadata of a GGUF file: carried over from another, or made from a Hugging Face folder.

use crate::engine::Model;
use anyhow::{Result, anyhow};
use nurture_formats::{Array, GgufFile, Metadata, Strings, Value};
use nurture_quantise::Mix;

/// Version of the layout of quantised blocks.
const QUANTISATION: u32 = 2;

fn set_type(meta: &mut Metadata, mix: Mix) {
    meta.set("general.file_type", Value::U32(mix.file_type()));
    meta.set("general.quantization_version", Value::U32(QUANTISATION));
}

/// All keys of a file, with the new type.
pub(super) fn of_file(file: &GgufFile, mix: Mix) -> Metadata {
    let mut meta = Metadata::new(file.path());
    for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("split.")) {
        meta.set(key, value.clone());
    }
    set_type(&mut meta, mix);
    meta
}

/// The keys of a model with the chat template in use.
pub(super) fn of_model(model: &Model, mix: Mix) -> Result<Metadata> {
    let mut meta = match model.path().is_dir() {
        false => of_file(&GgufFile::open(model.path())?, mix),
        true => made(model)?,
    };
    set_type(&mut meta, mix);
    let template = model.renderer().template().source().to_string();
    meta.set("tokenizer.chat_template", Value::String(template));
    Ok(meta)
}

fn made(model: &Model) -> Result<Metadata> {
    let path = model.path();
    let mut meta = Metadata::new(path);
    let keys = model.decoder().gguf_keys();
    for (key, value) in keys.map_err(|p| anyhow!("{}: GGUF has no words for {p}", path.display()))? {
        meta.set(&key, value);
    }
    meta.set("general.type", Value::String("model".to_string()));
    let name = path.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    meta.set("general.name", Value::String(name.unwrap_or_else(|| "model".to_string())));
    let v = model.tokenizer().to_gguf(model.decoder().config().vocab)?;
    let strings = |list: &[String]| {
        let mut out = Strings::default();
        list.iter().for_each(|s| out.push(s));
        Value::Array(Array::Strings(out))
    };
    let mut set = |key: &str, value: Value| meta.set(&format!("tokenizer.ggml.{key}"), value);
    set("model", Value::String(v.model.to_string()));
    set("pre", Value::String(v.pre.to_string()));
    set("tokens", strings(&v.tokens));
    set("token_type", Value::Array(Array::I32(v.types)));
    if let Some(scores) = v.scores {
        set("scores", Value::Array(Array::F32(scores)));
    }
    if let Some(merges) = v.merges {
        set("merges", strings(&merges));
    }
    for (key, id) in v.ids {
        set(key, Value::U32(id));
    }
    set("add_bos_token", Value::Bool(v.add_bos));
    set("add_eos_token", Value::Bool(v.add_eos));
    if let Some(on) = v.add_space_prefix {
        set("add_space_prefix", Value::Bool(on));
    }
    sampling(model, &mut meta);
    Ok(meta)
}

/// How the model's makers sample from it, where they say so.
fn sampling(model: &Model, meta: &mut Metadata) {
    let read = std::fs::read(model.path().join("generation_config.json")).ok();
    let json: Option<serde_json::Value> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(json) = json else { return };
    for (from, to) in [("temperature", "temp"), ("top_p", "top_p"), ("min_p", "min_p")] {
        if let Some(x) = json.get(from).and_then(serde_json::Value::as_f64) {
            meta.set(&format!("general.sampling.{to}"), Value::F32(x as f32));
        }
    }
    if let Some(k) = json.get("top_k").and_then(|k| i32::try_from(k.as_i64()?).ok()) {
        meta.set("general.sampling.top_k", Value::I32(k));
    }
    if let Some(x) = json.get("repetition_penalty").and_then(serde_json::Value::as_f64) {
        meta.set("general.sampling.penalty_repeat", Value::F32(x as f32));
    }
}
