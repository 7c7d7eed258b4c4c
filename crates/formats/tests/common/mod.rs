//! Hand-made files: bytes are put together here without the crate's own writers, so that anything can be wrong.

#![allow(dead_code)] // each test file uses its part

use nurture_formats::{FormatError, GgufFile, SafetensorsFile, TensorSource};

/// A GGUF file from its parts.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    pub(crate) fn gguf(version: u32, tensors: u64, keys: u64) -> Raw {
        Raw::default().bytes(b"GGUF").u32(version).u64(tensors).u64(keys)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn u32(self, x: u32) -> Raw {
        self.bytes(&x.to_le_bytes())
    }

    pub(crate) fn u64(self, x: u64) -> Raw {
        self.bytes(&x.to_le_bytes())
    }

    pub(crate) fn string(self, s: &str) -> Raw {
        self.u64(s.len() as u64).bytes(s.as_bytes())
    }

    /// A key and its value's type.
    pub(crate) fn key(self, key: &str, kind: u32) -> Raw {
        self.string(key).u32(kind)
    }

    pub(crate) fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Raw {
        let raw = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(raw, |raw, &dim| raw.u64(dim)).u32(kind).u64(offset)
    }

    /// Padding to the data, then so many bytes of data.
    pub(crate) fn data(mut self, len: usize) -> Raw {
        self.0.resize(self.0.len().next_multiple_of(32), 0);
        self.0.extend((0..len).map(|i| i as u8));
        self
    }

    pub(crate) fn open(&self) -> Result<GgufFile, FormatError> {
        GgufFile::from_source("m.gguf", self.0.clone())
    }
}

/// A small valid file with keys of several kinds and two tensors.
pub(crate) fn small_gguf() -> Raw {
    Raw::gguf(3, 2, 4)
        .key("general.architecture", 8)
        .string("llama")
        .key("llama.block_count", 4)
        .u32(2)
        .key("tokens", 9)
        .u32(8)
        .u64(3)
        .string("a")
        .string("")
        .string("养")
        .key("nested", 9)
        .u32(9)
        .u64(1)
        .u32(6)
        .u64(2)
        .u32(0)
        .u32(0)
        .tensor("a.weight", &[32, 2], 2, 0)
        .tensor("b.weight", &[3], 0, 64)
        .data(64 + 12)
}

pub(crate) fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

pub(crate) fn open_safetensors(bytes: Vec<u8>) -> Result<SafetensorsFile, FormatError> {
    SafetensorsFile::from_source("m.safetensors", bytes)
}

pub(crate) const SMALL_HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},"c":{"dtype":"I64","shape":[1],"data_offsets":[26,34]}}  "#;

/// Reads every tensor of a file that opened: what the header promises must be there.
pub(crate) fn read_all(source: &dyn TensorSource) {
    for info in source.tensors() {
        assert_eq!(info.dtype.bytes_of(info.len()).map(|n| n as u64), Some(info.bytes));
        let mut buf = vec![0; info.bytes as usize];
        source.read_into(info, 0, &mut buf).unwrap();
    }
}
