//! Saving an adapter folder whole or not at all, and loading it.

use std::collections::BTreeMap;
use std::path::Path;

use nurture_kernels::DType;
use serde_json::Value;

use super::config::AdapterConfig;
use super::lora::{LoraPair, SCORE_HEAD, TOKEN_ROWS, pairs};
use crate::atomic::write_atomic;
use crate::folder::{previous_of, save_folder};
use crate::hf::read_json;
use crate::{FormatError, SafetensorsFile, TensorInfo, TensorSource, TensorSpec, safetensors};

/// PEFT's name of the settings.
pub const CONFIG_NAME: &str = "adapter_config.json";
/// PEFT's name of the weights.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";
/// What Nurture records beside them.
pub const EXTRA_NAME: &str = "nurture.json";

const MAX_CONFIG: u64 = 16 << 20;

/// A loaded adapter.
#[derive(Debug)]
pub struct Adapter {
    /// The content of `adapter_config.json`.
    pub config: AdapterConfig,
    /// The weights, read on demand.
    pub weights: SafetensorsFile,
    /// The content of `nurture.json`, if it is there.
    pub extra: Option<Value>,
}

impl Adapter {
    /// The tensors as pairs, sorted by module path; an error names a tensor that is no LoRA factor, has no partner
    /// or another rank than the settings say.
    pub fn pairs(&self) -> Result<Vec<LoraPair>, FormatError> {
        if let Some((name, _)) = self.weights.unsupported().min() {
            self.weights.tensor(name)?;
        }
        pairs(self.weights.path(), &self.config, self.weights.tensors())
    }

    /// The rows `[tokens, D]` of `trainable_token_indices`, where there are any; an error where the file lacks them or holds
    /// another number of them.
    pub fn token_rows(&self) -> Result<Option<TensorInfo>, FormatError> {
        let wanted = self.config.trainable_token_indices.len();
        if wanted == 0 {
            return Ok(None);
        }
        let info = self.weights.tensor(TOKEN_ROWS)?;
        match info.shape[..] {
            [rows, _] if rows == wanted => Ok(Some(info.clone())),
            _ => {
                let problem = format!("shape {:?} for {wanted} tokens of adapter_config.json", info.shape);
                let what = format!("tensor \"{TOKEN_ROWS}\"");
                Err(FormatError::malformed(self.weights.path(), info.offset, what, problem))
            }
        }
    }

    /// The head of a reward model, where there is one; an error where the settings speak of one that the file lacks.
    pub fn score_head(&self) -> Result<Option<TensorInfo>, FormatError> {
        match self.config.scores() {
            true => self.weights.tensor(SCORE_HEAD).cloned().map(Some),
            false => Ok(None),
        }
    }
}

/// Saves an adapter as folder `dir`: written beside it, flushed, then put in its place.
///
/// Tensors are `(name, shape, values)` with names as of [`super::lora_names`]. `extra` goes to `nurture.json`.
/// An older adapter in `dir` is replaced; a folder that holds anything else is refused. At every moment either the
/// old or the new adapter can be loaded. Equal content gives equal bytes.
pub fn save_adapter(
    dir: impl AsRef<Path>,
    config: &AdapterConfig,
    tensors: &[(String, Vec<usize>, &[f32])],
    extra: Option<&Value>,
) -> Result<(), FormatError> {
    save_folder(dir, "adapter", &[CONFIG_NAME, WEIGHTS_NAME, EXTRA_NAME], |temp| {
        let specs: Vec<TensorSpec> =
            tensors.iter().map(|(name, shape, _)| TensorSpec::new(name, DType::F32, shape.clone())).collect();
        let mut writer = safetensors::create(temp.join(WEIGHTS_NAME), &BTreeMap::new(), &specs)?;
        for (name, _, values) in tensors {
            writer.append_f32(name, values)?;
        }
        writer.finish()?;
        write_atomic(temp.join(CONFIG_NAME), config.to_json().as_bytes())?;
        match extra {
            Some(extra) => write_atomic(temp.join(EXTRA_NAME), format!("{extra:#}\n").as_bytes()),
            None => Ok(()),
        }
    })
}

/// Opens an adapter folder, as PEFT or [`save_adapter`] wrote it.
pub fn load_adapter(dir: impl AsRef<Path>) -> Result<Adapter, FormatError> {
    let dir = dir.as_ref();
    let found = if dir.exists() {
        dir.to_path_buf()
    } else {
        Some(previous_of(dir)?).filter(|p| p.exists()).unwrap_or_else(|| dir.to_path_buf())
    };
    let config_path = found.join(CONFIG_NAME);
    if !config_path.exists() {
        return Err(FormatError::not_supported(
            dir,
            format!("not an adapter folder: it has no {CONFIG_NAME}"),
        ));
    }
    let object = match read_json(&config_path, MAX_CONFIG)? {
        Value::Object(object) => object,
        _ => return Err(FormatError::malformed(&config_path, 0, "JSON", "not an object")),
    };
    let config = AdapterConfig::from_json(&config_path, &object)?;
    let weights_path = found.join(WEIGHTS_NAME);
    if !weights_path.exists() && found.join("adapter_model.bin").exists() {
        let problem = "holds only adapter_model.bin, which can run code when read; save it as safetensors";
        return Err(FormatError::not_supported(dir, problem));
    }
    let weights = SafetensorsFile::open(weights_path)?;
    let extra_path = found.join(EXTRA_NAME);
    let extra = if extra_path.exists() { Some(read_json(&extra_path, MAX_CONFIG)?) } else { None };
    Ok(Adapter { config, weights, extra })
}
