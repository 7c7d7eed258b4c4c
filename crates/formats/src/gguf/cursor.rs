//! A buffered walk over the header of a file that trusts no length.

use std::path::Path;

use crate::error::shown;
use crate::{FormatError, ReadAt};

const BUFFER: usize = 256 * 1024;

/// Reads little-endian values one after the other; each error names the file, the offset and the item being read.
pub(crate) struct Cursor<'a> {
    source: &'a dyn ReadAt,
    file: &'a Path,
    buffer: Vec<u8>,
    /// Next unread byte of `buffer`.
    at: usize,
    /// Offset in the file of the end of `buffer`.
    buffer_end: u64,
    size: u64,
    /// What is being read, for errors.
    item: String,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt, file: &'a Path) -> Cursor<'a> {
        let size = source.size();
        Cursor { source, file, buffer: Vec::new(), at: 0, buffer_end: 0, size, item: "header".to_string() }
    }

    /// Names what is read next.
    pub(crate) fn item(&mut self, kind: &str, name: &str) {
        self.item = format!("{kind} \"{}\"", shown(name));
    }

    pub(crate) fn item_number(&mut self, kind: &str, number: u64) {
        self.item = format!("{kind} {number}");
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.buffer_end - (self.buffer.len() - self.at) as u64
    }

    /// Bytes between here and the end of the file.
    pub(crate) fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position())
    }

    pub(crate) fn fail<T>(&self, problem: impl Into<String>) -> Result<T, FormatError> {
        self.fail_at(self.position(), problem)
    }

    pub(crate) fn fail_at<T>(&self, offset: u64, problem: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError::malformed(self.file, offset, self.item.clone(), problem))
    }

    /// Errors unless `len` more bytes are there.
    pub(crate) fn expect(&self, len: u64, what: &str) -> Result<(), FormatError> {
        if len <= self.remaining() {
            return Ok(());
        }
        self.fail(format!(
            "{what} needs {len} more bytes, but the file ends after {}: it is cut short or damaged",
            self.remaining()
        ))
    }

    fn refill(&mut self) -> Result<(), FormatError> {
        let len = (self.size.saturating_sub(self.buffer_end)).min(BUFFER as u64) as usize;
        self.buffer.resize(len, 0);
        self.at = 0;
        self.source
            .read_exact_at(&mut self.buffer, self.buffer_end)
            .map_err(|source| FormatError::io(self.file, format!("reading {}", self.item), source))?;
        self.buffer_end += len as u64;
        Ok(())
    }

    /// Fills `out`.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        self.expect(out.len() as u64, "a value")?;
        let mut rest = out;
        while !rest.is_empty() {
            if self.at == self.buffer.len() {
                self.refill()?;
            }
            let ready = self.buffer.get(self.at..).unwrap_or_default();
            let n = ready.len().min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(ready.get(..n).unwrap_or_default());
            self.at += n;
            rest = later;
        }
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        if let Some(bytes) = self.buffer.get(self.at..).and_then(|ready| ready.first_chunk::<N>()) {
            self.at += N;
            return Ok(*bytes);
        }
        let mut out = [0; N];
        self.read(&mut out)?;
        Ok(out)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Appends `len` bytes to `out`, which grows only as they arrive.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, len: u64) -> Result<(), FormatError> {
        self.expect(len, "a value")?;
        let mut left = len;
        while left > 0 {
            if self.at == self.buffer.len() {
                self.refill()?;
            }
            let ready = self.buffer.get(self.at..).unwrap_or_default();
            let n = (ready.len() as u64).min(left) as usize;
            out.extend_from_slice(ready.get(..n).unwrap_or_default());
            self.at += n;
            left -= n as u64;
        }
        Ok(())
    }

    /// A string with its length before it, checked to be UTF-8 and at most `limit` bytes long; put in `scratch`.
    pub(crate) fn string<'s>(
        &mut self,
        limit: u64,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s str, FormatError> {
        let start = self.position();
        let len = self.u64()?;
        if len > limit {
            return self.fail_at(start, format!("a string of {len} bytes; at most {limit} are allowed"));
        }
        self.expect(len, "a string")?;
        scratch.clear();
        self.append(scratch, len)?;
        match std::str::from_utf8(scratch) {
            Ok(s) => Ok(s),
            Err(error) => {
                let offset = start + 8 + error.valid_up_to() as u64;
                self.fail_at(offset, "a string that is not UTF-8")
            }
        }
    }
}
