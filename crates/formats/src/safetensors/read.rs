//! The safetensors reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nurture_kernels::DType;

use super::header::{Entry, Header, MAX_DIMS, MAX_HEADER};
use crate::error::{json_problem, shown};
use crate::tensor::{TensorTable, read_range};
use crate::{FileAt, FormatError, ReadAt, TensorInfo, TensorSource};

/// An opened safetensors file: its header in memory, its tensors read on demand.
pub struct SafetensorsFile {
    path: PathBuf,
    source: Box<dyn ReadAt>,
    metadata: BTreeMap<String, String>,
    pub(crate) table: TensorTable,
}

impl std::fmt::Debug for SafetensorsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafetensorsFile")
            .field("path", &self.path)
            .field("tensors", &self.table.infos().len())
            .finish_non_exhaustive()
    }
}

impl SafetensorsFile {
    /// Opens a file and checks its header: names once, ranges inside the file, without overlap or gap, and as long
    /// as shape and type say. Tensors of other types than F32, F16 and BF16 can be named but not read.
    pub fn open(path: impl AsRef<Path>) -> Result<SafetensorsFile, FormatError> {
        let path = path.as_ref();
        SafetensorsFile::from_source(path, FileAt::open(path)?)
    }

    /// Reads from any source of bytes; `path` is only the name that errors give.
    pub fn from_source(
        path: impl Into<PathBuf>,
        source: impl ReadAt + 'static,
    ) -> Result<SafetensorsFile, FormatError> {
        let path = path.into();
        let header = read_header(&path, &source)?;
        let data = 8 + header.len() as u64;
        let parsed: Header = serde_json::from_slice(&header).map_err(|error| {
            // The header is one line in practice; columns count from 1.
            let column = if error.line() == 1 { error.column().saturating_sub(1) as u64 } else { 0 };
            FormatError::malformed(&path, 8 + column, "header", json_problem(&error))
        })?;
        let check = Check { path: &path, header: &header, data, size: source.size() };
        let sizes = parsed
            .entries
            .iter()
            .map(|(name, entry)| check.entry(name, entry))
            .collect::<Result<Vec<_>, _>>()?;
        check.coverage(&parsed.entries)?;
        let mut table = TensorTable::default();
        for ((name, entry), (dtype, shape)) in parsed.entries.into_iter().zip(sizes) {
            match dtype {
                Some(dtype) => {
                    let (begin, end) = entry.data_offsets;
                    table.push(TensorInfo {
                        name,
                        dtype,
                        shape,
                        file: 0,
                        offset: data + begin,
                        bytes: end - begin,
                    });
                }
                None => table.push_unsupported(name, shown(&entry.dtype)),
            }
        }
        Ok(SafetensorsFile { path, source: Box::new(source), metadata: parsed.metadata, table })
    }

    /// The file's path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The texts under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Name and type of each tensor whose element type is not supported.
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.unsupported()
    }
}

impl TensorSource for SafetensorsFile {
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
        read_range(&self.path, &*self.source, info, offset, buf)
    }
}

fn read_header(path: &Path, source: &dyn ReadAt) -> Result<Vec<u8>, FormatError> {
    let fail = |offset, problem: String| Err(FormatError::malformed(path, offset, "header", problem));
    let size = source.size();
    if size < 8 {
        return fail(0, format!("the file has {size} bytes: not a safetensors file, or cut short"));
    }
    let mut length = [0; 8];
    let io = |error| FormatError::io(path, "reading the header", error);
    source.read_exact_at(&mut length, 0).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return fail(
            0,
            format!("a header of {length} bytes, at most {MAX_HEADER} are allowed: not a safetensors file?"),
        );
    }
    if length > size - 8 {
        return fail(0, format!("a header of {length} bytes in a file of {size}: cut short or damaged"));
    }
    let mut header = vec![0; length as usize];
    source.read_exact_at(&mut header, 8).map_err(io)?;
    if header.first() != Some(&b'{') {
        return fail(8, "does not begin with \"{\": not a safetensors file".to_string());
    }
    Ok(header)
}

/// What the checks of one file need to know.
struct Check<'a> {
    path: &'a Path,
    header: &'a [u8],
    /// Offset of the data in the file.
    data: u64,
    size: u64,
}

impl Check<'_> {
    fn fail<T>(&self, name: &str, problem: String) -> Result<T, FormatError> {
        // Errors are rare, so the place of the name is looked for only now.
        let quoted = serde_json::to_vec(name).unwrap_or_default();
        let place = self.header.windows(quoted.len().max(1)).position(|window| window == quoted).unwrap_or(0);
        let item = format!("tensor \"{}\"", shown(name));
        Err(FormatError::malformed(self.path, 8 + place as u64, item, problem))
    }

    /// Checks one tensor by itself; gives its type, if supported, and its shape.
    fn entry(&self, name: &str, entry: &Entry) -> Result<(Option<DType>, Vec<usize>), FormatError> {
        let (begin, end) = entry.data_offsets;
        let room = self.size - self.data;
        if begin > end || end > room {
            let problem = format!(
                "data_offsets [{begin}, {end}] do not lie in the {room} bytes of data: the file is cut short or damaged"
            );
            return self.fail(name, problem);
        }
        if entry.shape.len() > MAX_DIMS {
            return self
                .fail(name, format!("{} dimensions; at most {MAX_DIMS} are allowed", entry.shape.len()));
        }
        let values = entry.shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
        let shape: Option<Vec<usize>> = entry.shape.iter().map(|&dim| dim.try_into().ok()).collect();
        let (Some(values), Some(shape)) = (values, shape) else {
            return self.fail(name, format!("the number of values of shape {:?} overflows", entry.shape));
        };
        let (dtype, width) = match element(&entry.dtype) {
            Some(known) => known,
            // Of a type nobody here knows, only the place can be checked.
            None => return Ok((None, shape)),
        };
        if values.checked_mul(width) != Some(end - begin) {
            let problem = format!(
                "shape {:?} of {} does not fit its {} bytes of data",
                entry.shape,
                entry.dtype,
                end - begin
            );
            return self.fail(name, problem);
        }
        Ok((dtype, shape))
    }

    /// The tensors together must cover the data exactly once.
    fn coverage(&self, entries: &[(String, Entry)]) -> Result<(), FormatError> {
        let mut order: Vec<(&str, (u64, u64))> =
            entries.iter().map(|(name, entry)| (name.as_str(), entry.data_offsets)).collect();
        order.sort_by_key(|(_, range)| *range);
        let mut covered = 0;
        for (name, (begin, end)) in order {
            if begin != covered {
                let what = if begin < covered {
                    "shares bytes with another tensor"
                } else {
                    "leaves a gap before it"
                };
                let problem = format!(
                    "its data begins at {begin}, but the tensors before it end at {covered}: it {what}"
                );
                return self.fail(name, problem);
            }
            covered = end;
        }
        let room = self.size - self.data;
        if covered != room {
            let problem = format!("the tensors end at {covered}, but {room} bytes of data follow the header");
            return Err(FormatError::malformed(self.path, self.data + covered, "data", problem));
        }
        Ok(())
    }
}

/// The supported type, if it is one, and the bytes of a value, of a type name; `None` for unknown names.
fn element(name: &str) -> Option<(Option<DType>, u64)> {
    Some(match name {
        "F32" => (Some(DType::F32), 4),
        "F16" => (Some(DType::F16), 2),
        "BF16" => (Some(DType::BF16), 2),
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => (None, 1),
        "U16" | "I16" => (None, 2),
        "U32" | "I32" => (None, 4),
        "U64" | "I64" | "F64" | "C64" => (None, 8),
        _ => return None,
    })
}
