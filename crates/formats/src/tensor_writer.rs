//! Writing tensor data in any order into a file whose header is already laid out.

use std::collections::HashMap;

use nurture_kernels::DType;

use crate::FormatError;
use crate::atomic::AtomicFile;
use crate::error::shown;

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Row-major shape, outermost dimension first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of this name, element type and shape.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, shape: shape.into() }
    }

    /// Stored length in bytes, or `None` where rows are not whole blocks or the number overflows.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let rows_are_whole = self.shape.last().copied().unwrap_or(1).is_multiple_of(self.dtype.block_len());
        let values = self.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))?;
        let bytes = self.dtype.bytes_of(values)?;
        rows_are_whole.then_some(bytes as u64)
    }
}

/// A tensor file under construction: every tensor must be filled before [`TensorWriter::finish`] puts the file in
/// its place. Dropping the writer leaves nothing behind.
#[derive(Debug)]
pub struct TensorWriter {
    file: AtomicFile,
    places: HashMap<String, Place>,
}

#[derive(Debug)]
pub(crate) struct Place {
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) dtype: DType,
    pub(crate) written: u64,
}

impl TensorWriter {
    pub(crate) fn new(
        mut file: AtomicFile,
        header: &[u8],
        size: u64,
        places: HashMap<String, Place>,
    ) -> Result<TensorWriter, FormatError> {
        file.write_at(0, header)?;
        file.set_len(size)?;
        Ok(TensorWriter { file, places })
    }

    /// Adds stored bytes to a tensor; a tensor may come in pieces, and tensors in any order.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let Some(place) = self.places.get_mut(name) else {
            return Err(FormatError::request(
                self.file.path(),
                format!("tensor \"{}\" was not announced", shown(name)),
            ));
        };
        if bytes.len() as u64 > place.bytes - place.written {
            let problem = format!("more than the {} bytes of tensor \"{}\"", place.bytes, shown(name));
            return Err(FormatError::request(self.file.path(), problem));
        }
        self.file.write_at(place.offset + place.written, bytes)?;
        place.written += bytes.len() as u64;
        Ok(())
    }

    /// Adds values to an F32 tensor.
    pub fn append_f32(&mut self, name: &str, values: &[f32]) -> Result<(), FormatError> {
        if let Some(place) = self.places.get(name)
            && place.dtype != DType::F32
        {
            let problem = format!("tensor \"{}\" is {}, not F32", shown(name), place.dtype);
            return Err(FormatError::request(self.file.path(), problem));
        }
        let mut bytes = Vec::new();
        for chunk in values.chunks(64 * 1024) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
            self.append(name, &bytes)?;
        }
        Ok(())
    }

    /// Flushes the file and puts it in its place; an error if a tensor is not filled.
    pub fn finish(self) -> Result<(), FormatError> {
        let unfilled =
            self.places.iter().filter(|(_, place)| place.written < place.bytes).map(|(name, _)| name).min();
        if let Some(name) = unfilled {
            let problem = format!("tensor \"{}\" was announced but not filled", shown(name));
            return Err(FormatError::request(self.file.path(), problem));
        }
        self.file.commit()
    }
}
