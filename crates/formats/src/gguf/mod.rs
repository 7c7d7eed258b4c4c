//! GGUF: the one-file model format of ggml and llama.cpp, versions 2 and 3.
//!
//! Layout: magic, version, two counts; metadata (key, type, value); tensor list (name, dimensions, type, offset);
//! padding; tensor data. All numbers are little-endian.

mod cursor;
mod ggml_type;
mod read;
mod value;
mod write;

pub use read::{
    GgufFile, MAX_ARRAY, MAX_DIMS, MAX_HEADER, MAX_KEY, MAX_KEYS, MAX_NAME, MAX_NESTING, MAX_STRING,
    MAX_TENSORS,
};
pub use value::{Array, FromValue, Metadata, Strings, Value};
pub use write::create;
