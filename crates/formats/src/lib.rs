//! Files that other tools read and write: GGUF, safetensors, HF folder, PEFT adapter.
//!
//! Readers treat every byte as hostile: each count and length is checked against a limit and against the bytes
//! that are really there before memory is taken, and each error names the file, the offset and the tensor or key.
//! Tensors are read by range, never mapped. Writers let a file appear whole or not at all.
//!
//! This crate does not know what a model is: it hands out names, shapes and bytes.

mod error;
pub mod gguf;
mod read_at;
mod tensor;

pub use error::FormatError;
pub use gguf::{Array, FromValue, GgufFile, Metadata, Strings, Value};
pub use read_at::{FileAt, ReadAt};
pub use tensor::{TensorInfo, TensorSource};
