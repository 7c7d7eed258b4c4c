//! safetensors: a JSON header (name, type, shape, byte range of each tensor) before the plain tensor data.
//!
//! Source: the format description in the safetensors repository (`README.md`, "Format").

mod header;
mod read;
mod write;

pub(crate) use header::UniqueMap;
pub use header::{MAX_DIMS, MAX_HEADER, MAX_TENSORS};
pub use read::SafetensorsFile;
pub use write::create;
