//! The safetensors writer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::header::{MAX_DIMS, MAX_HEADER, MAX_TENSORS};
use crate::atomic::AtomicFile;
use crate::error::shown;
use crate::tensor_writer::Place;
use crate::{FormatError, TensorSpec, TensorWriter};

/// Begins a safetensors file: the header is written, the tensors follow through the writer, in any order.
///
/// Wide types come first, then names in order, so that every tensor is aligned and equal content gives equal bytes.
/// `__metadata__` always holds `"format": "pt"`: some readers fail without it. `metadata` adds to it.
/// Quantised types are refused: the format has no names for them.
pub fn create(
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec],
) -> Result<TensorWriter, FormatError> {
    let path = path.as_ref();
    let refuse = |problem: String| Err(FormatError::request(path, problem));
    if tensors.len() >= MAX_TENSORS {
        return refuse(format!("at most {MAX_TENSORS} tensors can be written"));
    }
    let mut texts = metadata.clone();
    texts.insert("format".to_string(), "pt".to_string());
    let mut header = Map::new();
    header.insert("__metadata__".to_string(), json!(texts));
    let mut order: Vec<&TensorSpec> = tensors.iter().collect();
    order.sort_by(|a, b| b.dtype.block_bytes().cmp(&a.dtype.block_bytes()).then_with(|| a.name.cmp(&b.name)));
    let mut places = HashMap::new();
    let mut offset = 0u64;
    for tensor in order {
        let name = &tensor.name;
        let end = tensor.bytes().and_then(|bytes| offset.checked_add(bytes));
        let Some(end) = end.filter(|_| !tensor.dtype.is_quantised() && tensor.shape.len() <= MAX_DIMS) else {
            return refuse(format!(
                "tensor \"{}\" of shape {:?} and type {} cannot be stored as safetensors",
                shown(name),
                tensor.shape,
                tensor.dtype
            ));
        };
        let entry =
            json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [offset, end] });
        if header.insert(name.clone(), entry).is_some() {
            return refuse(format!(
                "tensor \"{}\" stands twice in the list, or its name is reserved",
                shown(name)
            ));
        }
        places.insert(name.clone(), Place { offset, bytes: end - offset, dtype: tensor.dtype, written: 0 });
        offset = end;
    }
    let mut bytes = vec![0; 8];
    bytes.extend(Value::Object(header).to_string().as_bytes());
    // Blanks after the object keep the data aligned.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    let length = bytes.len() as u64 - 8;
    if length > MAX_HEADER {
        return refuse(format!("a header of {length} bytes; at most {MAX_HEADER} are allowed"));
    }
    bytes.splice(..8, length.to_le_bytes());
    let data = bytes.len() as u64;
    let Some(size) = data.checked_add(offset) else {
        return refuse("the tensors are larger than a file can be".to_string());
    };
    places.values_mut().for_each(|place| place.offset += data);
    TensorWriter::new(AtomicFile::create(path)?, &bytes, size, places)
}
