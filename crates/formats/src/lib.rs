//! Files that other tools read and write: GGUF, safetensors, HF folder, PEFT adapter.
//!
//! Readers treat every byte as hostile: each count and length is checked against a limit and against the bytes
//! that are really there before memory is taken, and each error names the file, the offset and the tensor or key.
//! Tensors are read by range, never mapped. Writers let a file appear whole or not at all.
//!
//! This crate does not know what a model is: it hands out names, shapes and bytes.

pub mod adapter;
mod atomic;
mod error;
mod folder;
pub mod gguf;
mod hf;
mod model_file;
mod read_at;
pub mod safetensors;
mod tensor;
mod tensor_writer;

pub use adapter::{
    Adapter, AdapterConfig, LoraPair, SCORE_HEAD, TOKEN_ROWS, TargetModules, load_adapter, lora_names,
    magnitude_name, save_adapter,
};
pub use atomic::{AtomicFile, write_atomic, write_atomic_with};
pub use error::FormatError;
pub use folder::save_folder;
pub use gguf::{Array, FromValue, GgufFile, Metadata, Strings, Value};
pub use hf::HfFolder;
pub use model_file::ModelFile;
pub use read_at::{FileAt, ReadAt};
pub use safetensors::SafetensorsFile;
pub use tensor::{TensorInfo, TensorSource};
pub use tensor_writer::{TensorSpec, TensorWriter};
