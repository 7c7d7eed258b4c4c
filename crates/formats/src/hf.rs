//! A Hugging Face model folder: `config.json`, safetensors in one file or in shards, tokenizer files beside them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{json_problem, shown};
use crate::read_at::read_small;
use crate::safetensors::UniqueMap;
use crate::tensor::TensorTable;
use crate::{FormatError, SafetensorsFile, TensorInfo, TensorSource};

const MAX_CONFIG: u64 = 16 << 20;
const MAX_INDEX: u64 = 100 << 20;
const MAX_SHARDS: usize = 10_000;

/// An opened model folder.
#[derive(Debug)]
pub struct HfFolder {
    path: PathBuf,
    config: serde_json::Value,
    files: Vec<SafetensorsFile>,
    table: TensorTable,
}

/// `model.safetensors.index.json`; its other keys do not matter for reading.
#[derive(Deserialize)]
struct Index {
    /// Tensor name to file name.
    weight_map: UniqueMap<String>,
}

impl HfFolder {
    /// Opens a folder with `config.json` and `model.safetensors` or `model.safetensors.index.json` and its shards.
    ///
    /// Each tensor of the index must be in the shard it names, and no tensor in two shards.
    pub fn open(path: impl AsRef<Path>) -> Result<HfFolder, FormatError> {
        let path = path.as_ref();
        let config_path = path.join("config.json");
        if !config_path.exists() {
            let problem = if path.join("adapter_config.json").exists() {
                "holds an adapter, not a model; name the base model and give this folder as the adapter"
            } else {
                "not a model folder: it has no config.json"
            };
            return Err(FormatError::not_supported(path, problem));
        }
        let config = read_json(&config_path, MAX_CONFIG)?;
        let index_path = path.join("model.safetensors.index.json");
        let single = path.join("model.safetensors");
        let mut folder =
            HfFolder { path: path.to_path_buf(), config, files: Vec::new(), table: TensorTable::default() };
        if index_path.exists() {
            folder.open_shards(&index_path)?;
        } else if single.exists() {
            folder.add(SafetensorsFile::open(single)?)?;
        } else {
            let problem = if path.join("pytorch_model.bin").exists() {
                "holds only pytorch_model.bin, which can run code when read; convert it to safetensors"
            } else {
                "no weights: neither model.safetensors nor model.safetensors.index.json is there"
            };
            return Err(FormatError::not_supported(path, problem));
        }
        Ok(folder)
    }

    fn open_shards(&mut self, index_path: &Path) -> Result<(), FormatError> {
        let Index { weight_map: UniqueMap(entries) } = read_json(index_path, MAX_INDEX)?;
        // Shards in the order of their first mention, each opened once.
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (tensor, name) in &entries {
            if numbers.contains_key(name.as_str()) {
                continue;
            }
            if !is_plain_file_name(name) {
                let problem = format!("names \"{}\", which is not a file of this folder", shown(name));
                return Err(FormatError::key(index_path, &format!("weight_map.{}", shown(tensor)), problem));
            }
            if numbers.len() == MAX_SHARDS {
                return Err(FormatError::key(
                    index_path,
                    "weight_map",
                    format!("more than {MAX_SHARDS} files"),
                ));
            }
            numbers.insert(name, self.files.len());
            self.add(SafetensorsFile::open(self.path.join(name))?)?;
        }
        for (tensor, name) in &entries {
            let found = self.table.find(&self.path, tensor);
            let missing = match &found {
                Ok(info) => numbers.get(name.as_str()) != Some(&info.file),
                Err(FormatError::NoTensor { .. }) => true,
                // Of a type that cannot be read: an error only when it is asked for.
                Err(_) => false,
            };
            if missing {
                let problem = format!("should be in \"{}\", but is not", shown(name));
                return Err(FormatError::key(index_path, &format!("weight_map.{}", shown(tensor)), problem));
            }
        }
        Ok(())
    }

    fn add(&mut self, mut file: SafetensorsFile) -> Result<(), FormatError> {
        let table = std::mem::take(&mut file.table);
        if let Some(name) = table.names().filter(|name| self.table.contains(name)).min() {
            let problem = format!("tensor \"{}\" is in another file of the folder, too", shown(name));
            return Err(FormatError::not_supported(file.path(), problem));
        }
        self.table.append(table, self.files.len());
        self.files.push(file);
        Ok(())
    }

    /// The folder's path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of `config.json`.
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// The safetensors files, in the order of [`TensorInfo::file`].
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(SafetensorsFile::path)
    }

    /// `tokenizer.json`, if it is there.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        self.beside("tokenizer.json")
    }

    /// `tokenizer_config.json`, if it is there.
    pub fn tokenizer_config(&self) -> Option<PathBuf> {
        self.beside("tokenizer_config.json")
    }

    /// `generation_config.json`, if it is there.
    pub fn generation_config(&self) -> Option<PathBuf> {
        self.beside("generation_config.json")
    }

    /// `chat_template.jinja`, if it is there.
    pub fn chat_template(&self) -> Option<PathBuf> {
        self.beside("chat_template.jinja")
    }

    fn beside(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.join(name)).filter(|path| path.is_file())
    }
}

impl TensorSource for HfFolder {
    fn tensors(&self) -> &[TensorInfo] {
        self.table.infos()
    }

    fn tensor(&self, name: &str) -> Result<&TensorInfo, FormatError> {
        self.table.find(&self.path, name)
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.table.get(name)
    }

    fn read_into(&self, info: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        match self.files.get(info.file) {
            Some(file) => file.read_into(info, offset, buf),
            None => {
                let problem = format!("tensor \"{}\" is not of this folder", shown(&info.name));
                Err(FormatError::request(&self.path, problem))
            }
        }
    }
}

/// Whether a name from the index stays inside the folder.
fn is_plain_file_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0'])
}

/// Reads and parses a JSON file of bounded size.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, limit: u64) -> Result<T, FormatError> {
    let bytes = read_small(path, limit)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let offset = byte_offset(&bytes, error.line(), error.column());
        FormatError::malformed(path, offset, "JSON", json_problem(&error))
    })
}

/// Offset of a line and column that count from 1.
fn byte_offset(bytes: &[u8], line: usize, column: usize) -> u64 {
    let before: usize =
        bytes.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)) as u64
}
