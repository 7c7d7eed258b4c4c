//! Saving an adapter folder whole or not at all, and loading it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nurture_kernels::DType;
use serde_json::Value;

use super::config::AdapterConfig;
use super::lora::{LoraPair, pairs};
use crate::atomic::{folder_of, sync_folder, temporary_beside, write_atomic};
use crate::error::shown;
use crate::hf::read_json;
use crate::{FormatError, SafetensorsFile, TensorSource, TensorSpec, safetensors};

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
    let dir = dir.as_ref();
    let previous = previous_of(dir)?;
    if !dir.exists() && previous.exists() {
        // An earlier save was killed between its two renames.
        fs::rename(&previous, dir).map_err(|e| FormatError::io(dir, "restoring the previous adapter", e))?;
    }
    check_replaceable(dir)?;
    let parent = folder_of(dir);
    fs::create_dir_all(parent).map_err(|e| FormatError::io(parent, "creating the folder", e))?;
    let temp = TempDir(temporary_beside(dir)?);
    fs::create_dir(&temp.0).map_err(|e| FormatError::io(&temp.0, "creating the folder", e))?;

    let specs: Vec<TensorSpec> =
        tensors.iter().map(|(name, shape, _)| TensorSpec::new(name, DType::F32, shape.clone())).collect();
    let mut writer = safetensors::create(temp.0.join(WEIGHTS_NAME), &BTreeMap::new(), &specs)?;
    for (name, _, values) in tensors {
        writer.append_f32(name, values)?;
    }
    writer.finish()?;
    write_atomic(temp.0.join(CONFIG_NAME), config.to_json().as_bytes())?;
    if let Some(extra) = extra {
        write_atomic(temp.0.join(EXTRA_NAME), format!("{extra:#}\n").as_bytes())?;
    }

    // A folder cannot be renamed over a full one, so the old one steps aside first; `load_adapter` knows where to.
    let io = |e| FormatError::io(dir, "putting the adapter in place", e);
    if dir.exists() {
        remove_folder(&previous)?;
        fs::rename(dir, &previous).map_err(io)?;
    }
    if let Err(error) = fs::rename(&temp.0, dir) {
        if previous.exists() {
            fs::rename(&previous, dir).map_err(io)?;
        }
        return Err(io(error));
    }
    sync_folder(parent)?;
    remove_folder(&previous)
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

/// Where an adapter stands while its successor takes its place.
fn previous_of(dir: &Path) -> Result<PathBuf, FormatError> {
    match dir.file_name() {
        Some(name) => Ok(folder_of(dir).join(format!(".{}.previous", name.to_string_lossy()))),
        None => Err(FormatError::request(dir, "not a folder name that an adapter can be saved under")),
    }
}

/// Only what `save_adapter` writes may be replaced: nothing of the user's is ever removed.
fn check_replaceable(dir: &Path) -> Result<(), FormatError> {
    if !dir.exists() {
        return Ok(());
    }
    let io = |e| FormatError::io(dir, "looking into the folder", e);
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if ![CONFIG_NAME, WEIGHTS_NAME, EXTRA_NAME].iter().any(|known| name == *known) {
            let problem = format!(
                "will not be replaced by an adapter, because it also holds \"{}\"; choose another folder or move that away",
                shown(&name.to_string_lossy())
            );
            return Err(FormatError::request(dir, problem));
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), FormatError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FormatError::io(path, "removing the previous adapter", e))
        }
        _ => Ok(()),
    }
}

/// Removes what is left of an unfinished save; after the rename there is nothing to remove.
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
