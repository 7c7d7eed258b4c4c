//! The GGUF writer (version 3).

use std::collections::HashMap;
use std::path::Path;

use super::read::{
    MAX_ARRAY, MAX_DIMS, MAX_KEY, MAX_KEYS, MAX_NAME, MAX_NESTING, MAX_STRING, MAX_TENSORS, alignment,
};
use super::value::{Array, Metadata, Value};
use crate::atomic::AtomicFile;
use crate::error::shown;
use crate::tensor_writer::Place;
use crate::{FormatError, TensorSpec, TensorWriter};

/// Begins a GGUF file: the header is written, the tensors follow through the writer, in any order.
///
/// The alignment is that of the key `general.alignment`, else 32 bytes. What the reader would refuse
/// (doubled names, more than four dimensions, rows that are not whole blocks, over-long strings) is refused here.
///
/// ```
/// use nurture_formats::{GgufFile, Metadata, TensorSource, TensorSpec, Value, gguf};
/// use nurture_kernels::DType;
/// # let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("tiny.gguf");
/// let mut meta = Metadata::new(&path);
/// meta.set("general.architecture", Value::String("llama".into()));
/// let mut writer = gguf::create(&path, &meta, &[TensorSpec::new("output_norm.weight", DType::F32, [2])])?;
/// writer.append_f32("output_norm.weight", &[1.0, 2.0])?;
/// writer.finish()?;
/// assert_eq!(GgufFile::open(&path)?.tensor("output_norm.weight")?.shape, [2]);
/// # Ok::<(), nurture_formats::FormatError>(())
/// ```
pub fn create(
    path: impl AsRef<Path>,
    metadata: &Metadata,
    tensors: &[TensorSpec],
) -> Result<TensorWriter, FormatError> {
    let path = path.as_ref();
    let refuse = |problem: String| Err(FormatError::request(path, problem));
    let alignment = alignment(metadata)?;
    if metadata.len() as u64 > MAX_KEYS || tensors.len() as u64 > MAX_TENSORS {
        return refuse(format!("at most {MAX_KEYS} keys and {MAX_TENSORS} tensors can be written"));
    }
    let mut header = Vec::new();
    header.extend(b"GGUF");
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        if key.len() as u64 > MAX_KEY || !is_writable(value) {
            return refuse(format!(
                "key \"{}\" or its value is longer or deeper than GGUF allows",
                shown(key)
            ));
        }
        put_string(&mut header, key);
        put_value(&mut header, value);
    }
    let mut places = HashMap::new();
    // Relative to the start of the data; made absolute when the header's length is known.
    let mut offset = 0u64;
    for tensor in tensors {
        let name = &tensor.name;
        let Some(bytes) = tensor.bytes().filter(|&bytes| bytes > 0) else {
            return refuse(format!(
                "tensor \"{}\" of shape {:?} cannot be stored as {}",
                shown(name),
                tensor.shape,
                tensor.dtype
            ));
        };
        if name.len() as u64 > MAX_NAME || tensor.shape.len() > MAX_DIMS as usize {
            return refuse(format!("tensor \"{}\" has too long a name or too many dimensions", shown(name)));
        }
        put_string(&mut header, name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&dim| header.extend((dim as u64).to_le_bytes()));
        header.extend(tensor.dtype.ggml_id().to_le_bytes());
        header.extend(offset.to_le_bytes());
        let place = Place { offset, bytes, dtype: tensor.dtype, written: 0 };
        if places.insert(name.clone(), place).is_some() {
            return refuse(format!("tensor \"{}\" stands twice in the list", shown(name)));
        }
        let Some(next) = offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(alignment))
        else {
            return refuse("the tensors are larger than a file can be".to_string());
        };
        offset = next;
    }
    let data = (header.len() as u64).next_multiple_of(alignment);
    let Some(size) = data.checked_add(offset) else {
        return refuse("the tensors are larger than a file can be".to_string());
    };
    places.values_mut().for_each(|place| place.offset += data);
    TensorWriter::new(AtomicFile::create(path)?, &header, size, places)
}

/// Whether the reader's limits allow the value.
fn is_writable(value: &Value) -> bool {
    match value {
        Value::String(s) => s.len() as u64 <= MAX_STRING,
        Value::Array(array) => is_writable_array(array, 1),
        _ => true,
    }
}

fn is_writable_array(array: &Array, depth: usize) -> bool {
    depth <= MAX_NESTING
        && array.len() as u64 <= MAX_ARRAY
        && match array {
            Array::Strings(strings) => strings.iter().all(|s| s.len() as u64 <= MAX_STRING),
            Array::Arrays(inner) => inner.iter().all(|array| is_writable_array(array, depth + 1)),
            _ => true,
        }
}

fn put_string(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(x) => put(0, &x.to_le_bytes()),
        Value::I8(x) => put(1, &x.to_le_bytes()),
        Value::U16(x) => put(2, &x.to_le_bytes()),
        Value::I16(x) => put(3, &x.to_le_bytes()),
        Value::U32(x) => put(4, &x.to_le_bytes()),
        Value::I32(x) => put(5, &x.to_le_bytes()),
        Value::F32(x) => put(6, &x.to_le_bytes()),
        Value::Bool(x) => put(7, &[u8::from(*x)]),
        Value::String(s) => {
            put(8, &[]);
            put_string(out, s);
        }
        Value::Array(array) => {
            put(9, &[]);
            put_array(out, array);
        }
        Value::U64(x) => put(10, &x.to_le_bytes()),
        Value::I64(x) => put(11, &x.to_le_bytes()),
        Value::F64(x) => put(12, &x.to_le_bytes()),
    }
}

/// Element type, count, elements.
fn put_array(out: &mut Vec<u8>, array: &Array) {
    let kind: u32 = match array {
        Array::U8(_) => 0,
        Array::I8(_) => 1,
        Array::U16(_) => 2,
        Array::I16(_) => 3,
        Array::U32(_) => 4,
        Array::I32(_) => 5,
        Array::F32(_) => 6,
        Array::Bool(_) => 7,
        Array::Strings(_) => 8,
        Array::Arrays(_) => 9,
        Array::U64(_) => 10,
        Array::I64(_) => 11,
        Array::F64(_) => 12,
    };
    out.extend(kind.to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(xs) => out.extend(xs),
        Array::I8(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U64(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(xs) => xs.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(xs) => out.extend(xs.iter().map(|&x| u8::from(x))),
        Array::Strings(xs) => xs.iter().for_each(|s| put_string(out, s)),
        Array::Arrays(xs) => xs.iter().for_each(|array| put_array(out, array)),
    }
}
