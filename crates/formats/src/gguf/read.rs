//! The GGUF reader. Every length in the file is checked against a limit and against the bytes that are really
//! there before memory is taken for it.

use std::path::{Path, PathBuf};

use nurture_kernels::DType;

use super::cursor::Cursor;
use super::ggml_type;
use super::value::{Array, Metadata, Strings, Value};
use crate::error::shown;
use crate::tensor::{TensorTable, read_range};
use crate::{FileAt, FormatError, ReadAt, TensorInfo, TensorSource};

/// Largest number of metadata keys.
pub const MAX_KEYS: u64 = 1 << 16;
/// Largest number of tensors.
pub const MAX_TENSORS: u64 = 1 << 20;
/// Longest string value, in bytes (templates are the longest in use).
pub const MAX_STRING: u64 = 16 << 20;
/// Longest key, in bytes (the specification's limit).
pub const MAX_KEY: u64 = 65_535;
/// Longest tensor name, in bytes (the specification says 64).
pub const MAX_NAME: u64 = 1024;
/// Most elements of one array.
pub const MAX_ARRAY: u64 = 1 << 26;
/// Most bytes of header, metadata and tensor list together.
pub const MAX_HEADER: u64 = 1 << 30;
/// Deepest nesting of arrays in arrays; 1 is a plain array.
pub const MAX_NESTING: usize = 4;
/// Most dimensions of a tensor (ggml's limit).
pub const MAX_DIMS: u32 = 4;

const DEFAULT_ALIGNMENT: u64 = 32;

/// An opened GGUF file: its metadata and tensor list in memory, its tensors read on demand.
pub struct GgufFile {
    path: PathBuf,
    source: Box<dyn ReadAt>,
    version: u32,
    alignment: u64,
    data_offset: u64,
    metadata: Metadata,
    table: TensorTable,
}

impl std::fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path)
            .field("version", &self.version)
            .field("keys", &self.metadata.len())
            .field("tensors", &self.table.infos().len())
            .finish_non_exhaustive()
    }
}

impl GgufFile {
    /// Opens a file of GGUF version 2 or 3 (little-endian) and checks its header, metadata and tensor list.
    ///
    /// Tensors of an element type that is not supported do not stand in the way; asking for them is an error.
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile, FormatError> {
        let path = path.as_ref();
        GgufFile::from_source(path, FileAt::open(path)?)
    }

    /// Reads from any source of bytes; `path` is only the name that errors give.
    pub fn from_source(
        path: impl Into<PathBuf>,
        source: impl ReadAt + 'static,
    ) -> Result<GgufFile, FormatError> {
        let path = path.into();
        let mut cursor = Cursor::new(&source, &path);
        let (version, tensors, keys) = read_preamble(&mut cursor, &path)?;
        let metadata = read_metadata(&mut cursor, &path, keys)?;
        let alignment = alignment(&metadata)?;
        let (data_offset, table) = read_tensors(&mut cursor, &path, tensors, alignment)?;
        Ok(GgufFile { path, source: Box::new(source), version, alignment, data_offset, metadata, table })
    }

    /// The file's path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// GGUF version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of the tensors, in bytes.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Offset of the tensor data in the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Length of the file when it was opened.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Name and type of each tensor whose element type is not supported.
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.unsupported()
    }
}

impl TensorSource for GgufFile {
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

/// Magic, version and the two counts.
fn read_preamble(cursor: &mut Cursor<'_>, path: &Path) -> Result<(u32, u64, u64), FormatError> {
    let magic: [u8; 4] = cursor.array()?;
    if &magic != b"GGUF" {
        let problem = match &magic {
            b"ggjt" | b"tjgg" | b"lmgg" | b"fmgg" => {
                "an old GGML file; convert it to GGUF with llama.cpp's converter"
            }
            _ => "not a GGUF file: it does not begin with \"GGUF\"",
        };
        return Err(FormatError::not_supported(path, problem));
    }
    let version = cursor.u32()?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => {
            return Err(FormatError::not_supported(
                path,
                "a big-endian GGUF file; only little-endian files can be read",
            ));
        }
        _ => {
            let problem = format!("GGUF version {version}; versions 2 and 3 can be read");
            return Err(FormatError::not_supported(path, problem));
        }
    }
    let at = cursor.position();
    let tensors = cursor.u64()?;
    let keys = cursor.u64()?;
    // A tensor takes at least 24 bytes of the list, a key at least 13.
    for (what, count, limit, least, at) in
        [("tensors", tensors, MAX_TENSORS, 24, at), ("keys", keys, MAX_KEYS, 13, at + 8)]
    {
        if count > limit {
            return cursor.fail_at(at, format!("{count} {what}; at most {limit} are allowed"));
        }
        if count * least > cursor.remaining() {
            let problem =
                format!("{count} {what} cannot stand in the {} bytes that follow", cursor.remaining());
            return cursor.fail_at(at, problem);
        }
    }
    Ok((version, tensors, keys))
}

fn read_metadata(cursor: &mut Cursor<'_>, path: &Path, keys: u64) -> Result<Metadata, FormatError> {
    let mut metadata = Metadata::new(path);
    let mut scratch = Vec::new();
    for i in 0..keys {
        cursor.item_number("key number", i);
        let start = cursor.position();
        let key = cursor.string(MAX_KEY, &mut scratch)?.to_string();
        cursor.item("key", &key);
        if metadata.contains(&key) {
            return cursor.fail_at(start, "the key stands twice in the metadata");
        }
        let kind = cursor.u32()?;
        let value = read_value(cursor, kind)?;
        check_header_size(cursor)?;
        metadata.set(&key, value);
    }
    Ok(metadata)
}

fn check_header_size(cursor: &Cursor<'_>) -> Result<(), FormatError> {
    if cursor.position() > MAX_HEADER {
        return cursor.fail(format!("metadata and tensor list are longer than {MAX_HEADER} bytes"));
    }
    Ok(())
}

fn read_value(cursor: &mut Cursor<'_>, kind: u32) -> Result<Value, FormatError> {
    Ok(match kind {
        0 => Value::U8(u8::from_le_bytes(cursor.array()?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        4 => Value::U32(cursor.u32()?),
        5 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        7 => {
            let at = cursor.position();
            match cursor.array::<1>()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [x] => return cursor.fail_at(at, format!("a bool of value {x}")),
            }
        }
        8 => Value::String(cursor.string(MAX_STRING, &mut Vec::new())?.to_string()),
        9 => Value::Array(read_array(cursor, 1)?),
        10 => Value::U64(cursor.u64()?),
        11 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        _ => return cursor.fail_at(cursor.position() - 4, format!("unknown value type {kind}")),
    })
}

fn read_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Array, FormatError> {
    let start = cursor.position();
    if depth > MAX_NESTING {
        return cursor.fail_at(start, format!("arrays nested deeper than {MAX_NESTING}"));
    }
    let kind = cursor.u32()?;
    let count = cursor.u64()?;
    if count > MAX_ARRAY {
        return cursor
            .fail_at(start + 4, format!("an array of {count} elements; at most {MAX_ARRAY} are allowed"));
    }
    let Some(least) = least_bytes(kind) else {
        return cursor.fail_at(start, format!("unknown array element type {kind}"));
    };
    cursor.expect(count * least, "an array")?;
    Ok(match kind {
        0 => Array::U8(numbers(cursor, count, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, count, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, count, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, count, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, count, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, count, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, count, f32::from_le_bytes)?),
        7 => {
            let at = cursor.position();
            let bytes = numbers(cursor, count, u8::from_le_bytes)?;
            if let Some(i) = bytes.iter().position(|&x| x > 1) {
                return cursor.fail_at(at + i as u64, "a bool that is neither 0 nor 1");
            }
            Array::Bool(bytes.into_iter().map(|x| x == 1).collect())
        }
        8 => {
            let mut strings = Strings::default();
            let mut scratch = Vec::new();
            for _ in 0..count {
                strings.push(cursor.string(MAX_STRING, &mut scratch)?);
            }
            Array::Strings(strings)
        }
        9 => {
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(read_array(cursor, depth + 1)?);
            }
            Array::Arrays(arrays)
        }
        10 => Array::U64(numbers(cursor, count, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, count, i64::from_le_bytes)?),
        _ => Array::F64(numbers(cursor, count, f64::from_le_bytes)?),
    })
}

/// The fewest bytes that one array element of this type can take.
fn least_bytes(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => return None,
    })
}

fn numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    count: u64,
    from: fn([u8; N]) -> T,
) -> Result<Vec<T>, FormatError> {
    const CHUNK: u64 = 16 * 1024;
    let mut out = Vec::new();
    let mut bytes = Vec::new();
    let mut left = count;
    while left > 0 {
        let n = left.min(CHUNK);
        bytes.clear();
        cursor.append(&mut bytes, n * N as u64)?;
        out.extend(bytes.as_chunks::<N>().0.iter().map(|chunk| from(*chunk)));
        left -= n;
    }
    Ok(out)
}

pub(super) fn alignment(metadata: &Metadata) -> Result<u64, FormatError> {
    let key = "general.alignment";
    let alignment = metadata.find::<u64>(key)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        let problem = format!("{alignment} is not a power of two of at most 1048576");
        return Err(FormatError::key(metadata.file(), key, problem));
    }
    Ok(alignment)
}

/// A tensor as the list gives it.
struct Listed {
    name: String,
    /// Offset of its entry in the file, for errors.
    entry: u64,
    kind: u32,
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
    /// `None` for types of unknown size.
    bytes: Option<u64>,
}

fn read_tensors(
    cursor: &mut Cursor<'_>,
    path: &Path,
    count: u64,
    alignment: u64,
) -> Result<(u64, TensorTable), FormatError> {
    let mut scratch = Vec::new();
    let mut listed = Vec::new();
    let mut names = std::collections::HashSet::new();
    for i in 0..count {
        cursor.item_number("tensor number", i);
        let tensor = read_tensor(cursor, &mut scratch, alignment)?;
        if !names.insert(tensor.name.clone()) {
            return cursor.fail_at(tensor.entry, "the tensor stands twice in the list");
        }
        check_header_size(cursor)?;
        listed.push(tensor);
    }
    let data = cursor.position().next_multiple_of(alignment);
    check_places(path, cursor, &listed, data)?;
    let mut table = TensorTable::default();
    for Listed { name, kind, shape, offset, bytes, .. } in listed {
        match (DType::from_ggml_id(kind), bytes) {
            (Some(dtype), Some(bytes)) => {
                table.push(TensorInfo { name, dtype, shape, file: 0, offset: data + offset, bytes });
            }
            _ => table.push_unsupported(name, ggml_type::name(kind)),
        }
    }
    Ok((data, table))
}

fn read_tensor(
    cursor: &mut Cursor<'_>,
    scratch: &mut Vec<u8>,
    alignment: u64,
) -> Result<Listed, FormatError> {
    let entry = cursor.position();
    let name = cursor.string(MAX_NAME, scratch)?.to_string();
    cursor.item("tensor", &name);
    let at = cursor.position();
    let dims = cursor.u32()?;
    if dims > MAX_DIMS {
        return cursor.fail_at(at, format!("{dims} dimensions; at most {MAX_DIMS} are allowed"));
    }
    let mut shape = Vec::new();
    let mut values: usize = 1;
    for _ in 0..dims {
        let at = cursor.position();
        let dim = cursor.u64()?;
        if dim == 0 {
            return cursor.fail_at(at, "a dimension of 0");
        }
        let product = usize::try_from(dim).ok().and_then(|dim| Some((dim, values.checked_mul(dim)?)));
        let Some((dim, product)) = product else {
            return cursor.fail_at(at, format!("dimension {dim} makes the number of values overflow"));
        };
        values = product;
        shape.push(dim);
    }
    let row = shape.first().copied().unwrap_or(1);
    shape.reverse();
    let at = cursor.position();
    let kind = cursor.u32()?;
    let bytes = match ggml_type::block(kind) {
        None => None,
        Some((block, block_bytes)) => {
            if !row.is_multiple_of(block) {
                let name = ggml_type::name(kind);
                return cursor
                    .fail_at(at, format!("rows of {row} values are not whole blocks of {name} ({block})"));
            }
            let Some(bytes) = (values / block).checked_mul(block_bytes) else {
                return cursor.fail_at(at, "its size in bytes overflows");
            };
            Some(bytes as u64)
        }
    };
    let at = cursor.position();
    let offset = cursor.u64()?;
    if !offset.is_multiple_of(alignment) {
        return cursor
            .fail_at(at, format!("data offset {offset} is not a multiple of the alignment {alignment}"));
    }
    Ok(Listed { name, entry, kind, shape, offset, bytes })
}

/// Every tensor must lie inside the file, and no two may share a byte.
fn check_places(path: &Path, cursor: &Cursor<'_>, listed: &[Listed], data: u64) -> Result<(), FormatError> {
    let size = cursor.position() + cursor.remaining();
    let fail = |tensor: &Listed, problem: String| {
        let item = format!("tensor \"{}\"", shown(&tensor.name));
        Err(FormatError::malformed(path, tensor.entry, item, problem))
    };
    let mut order: Vec<&Listed> = listed.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    let mut previous: Option<(&Listed, u64)> = None;
    for tensor in order {
        let start = data.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes.unwrap_or(0)));
        let Some((start, end)) = start.zip(end).filter(|&(_, end)| end <= size) else {
            return fail(
                tensor,
                format!(
                    "its data (offset {data}+{}, {} bytes) ends past the end of the file ({size} bytes): the file is cut short or damaged",
                    tensor.offset,
                    tensor.bytes.unwrap_or(0)
                ),
            );
        };
        if let Some((before, before_end)) = previous
            && start < before_end
        {
            return fail(
                tensor,
                format!(
                    "its data begins at byte {start}, inside that of \"{}\", which ends at {before_end}",
                    shown(&before.name)
                ),
            );
        }
        previous = Some((tensor, end));
    }
    Ok(())
}
