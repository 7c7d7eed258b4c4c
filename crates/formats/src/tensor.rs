//! What a stored tensor is, and the table of all tensors of a file or folder.

use std::collections::HashMap;
use std::path::Path;

use nurture_kernels::DType;

use crate::error::shown;
use crate::{FormatError, ReadAt};

/// Where a tensor lies and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name the file gives it.
    pub name: String,
    /// Element type as stored.
    pub dtype: DType,
    /// Row-major shape, outermost dimension first: a weight is `[rows, columns]` = `[out, in]`.
    /// (GGUF stores dimensions innermost first; the reader turns them round.)
    pub shape: Vec<usize>,
    /// Which file of the source holds it (0 where there is one file).
    pub file: usize,
    /// Offset of the first byte from the start of that file.
    pub offset: u64,
    /// Stored length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no value.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }
}

/// A model file or folder seen as named tensors that can be read by range.
pub trait TensorSource {
    /// All tensors of a supported element type, in the order of the file.
    fn tensors(&self) -> &[TensorInfo];

    /// The tensor of this name; the error names the nearest ones, or the element type if that is not supported.
    fn tensor(&self, name: &str) -> Result<&TensorInfo, FormatError>;

    /// The tensor of this name, or `None` where [`TensorSource::tensor`] would give an error.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// Fills `buf` with the stored bytes of `info`, beginning `offset` bytes into the tensor.
    fn read_into(&self, info: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<(), FormatError>;
}

/// Tensors by name: the supported ones with their place, the others with the name of their type.
#[derive(Debug, Default)]
pub(crate) struct TensorTable {
    infos: Vec<TensorInfo>,
    index: HashMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Supported(usize),
    Unsupported(String),
}

impl TensorTable {
    pub(crate) fn infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Adds a tensor whose name is not yet in the table.
    pub(crate) fn push(&mut self, info: TensorInfo) {
        self.index.insert(info.name.clone(), Entry::Supported(self.infos.len()));
        self.infos.push(info);
    }

    /// Adds a tensor that can be named but not read.
    pub(crate) fn push_unsupported(&mut self, name: String, dtype: String) {
        self.index.insert(name, Entry::Unsupported(dtype));
    }

    /// Names and types of the tensors that cannot be read.
    pub(crate) fn unsupported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index.iter().filter_map(|(name, entry)| match entry {
            Entry::Unsupported(dtype) => Some((name.as_str(), dtype.as_str())),
            Entry::Supported(_) => None,
        })
    }

    /// Takes over all tensors of another table, whose names must be new.
    pub(crate) fn append(&mut self, other: TensorTable, file: usize) {
        let TensorTable { infos, index } = other;
        for info in infos {
            self.push(TensorInfo { file, ..info });
        }
        for (name, entry) in index {
            if let Entry::Unsupported(dtype) = entry {
                self.push_unsupported(name, dtype);
            }
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TensorInfo> {
        match self.index.get(name) {
            Some(Entry::Supported(i)) => self.infos.get(*i),
            _ => None,
        }
    }

    pub(crate) fn find(&self, file: &Path, name: &str) -> Result<&TensorInfo, FormatError> {
        match self.index.get(name) {
            Some(Entry::Supported(i)) => self
                .infos
                .get(*i)
                .ok_or_else(|| FormatError::request(file, format!("tensor table lost \"{}\"", shown(name)))),
            Some(Entry::Unsupported(dtype)) => Err(FormatError::UnsupportedType {
                file: file.to_path_buf(),
                name: shown(name),
                dtype: dtype.clone(),
            }),
            None => Err(FormatError::NoTensor {
                file: file.to_path_buf(),
                name: shown(name),
                nearest: self.nearest(name),
            }),
        }
    }

    /// Up to three names with the smallest edit distance. Looks at a bounded number of names of bounded length.
    fn nearest(&self, name: &str) -> Vec<String> {
        let wanted: Vec<u8> = name.bytes().take(128).collect();
        let mut scored: Vec<(usize, &str)> = self
            .infos
            .iter()
            .take(4096)
            .filter(|info| info.name.len() <= 128)
            .map(|info| (distance(&wanted, info.name.as_bytes()), info.name.as_str()))
            .collect();
        scored.sort_unstable();
        scored.iter().take(3).map(|(_, name)| shown(name)).collect()
    }
}

/// Levenshtein distance in bytes, one row at a time.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let up = *cell;
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(up + 1);
            diagonal = up;
            left = here;
            *cell = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Reads a range of a tensor, with the tensor's name in what goes wrong.
pub(crate) fn read_range(
    file: &Path,
    source: &dyn ReadAt,
    info: &TensorInfo,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), FormatError> {
    let start = range_in_file(file, info, offset, buf.len())?;
    source.read_exact_at(buf, start).map_err(|source| {
        let action = format!("reading tensor \"{}\" at byte {start}", shown(&info.name));
        FormatError::io(file, action, source)
    })
}

/// Checks a range of a tensor and gives its offset in the file.
fn range_in_file(file: &Path, info: &TensorInfo, offset: u64, len: usize) -> Result<u64, FormatError> {
    let inside = offset.checked_add(len as u64).is_some_and(|end| end <= info.bytes);
    match info.offset.checked_add(offset) {
        Some(start) if inside => Ok(start),
        _ => Err(FormatError::request(
            file,
            format!(
                "bytes {offset} to {offset}+{len} were asked of tensor \"{}\", which has {}",
                shown(&info.name),
                info.bytes
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("kitten", "sitting", 3), ("", "xy", 2)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), want, "{b} {a}");
        }
    }

    #[test]
    fn a_missing_tensor_names_its_neighbours() {
        let mut table = TensorTable::default();
        for name in ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "output.weight"] {
            let info = TensorInfo {
                name: name.to_string(),
                dtype: DType::F32,
                shape: vec![1],
                file: 0,
                offset: 0,
                bytes: 4,
            };
            table.push(info);
        }
        table.push_unsupported("blk.0.odd".into(), "IQ1_S".into());
        let error = table.find(Path::new("m.gguf"), "blk.0.atn_q.weight").unwrap_err().to_string();
        assert!(
            error.starts_with("m.gguf: no tensor \"blk.0.atn_q.weight\"; nearest: \"blk.0.attn_q.weight\""),
            "{error}"
        );
        let error = table.find(Path::new("m.gguf"), "blk.0.odd").unwrap_err().to_string();
        assert!(error.contains("\"blk.0.odd\" is stored as IQ1_S"), "{error}");
    }
}
