//! Bytes to text with bounded memory, counting lines on the way.

use std::io::Read;
use std::path::Path;

use encoding_rs::{Decoder, DecoderResult};

use crate::encoding::{Encoding, Look, look, read_full};
use crate::error::DataError;
use crate::input::Input;

const CHUNK: usize = 1 << 16;

/// Decodes a stream chunk by chunk. The text not yet consumed is `rest()`; `line()` is the line of its first
/// character, counted from 1.
pub(crate) struct TextReader {
    input: Box<dyn Read + Send>,
    file: String,
    path: std::path::PathBuf,
    encoding: Encoding,
    decoder: Decoder,
    raw: Vec<u8>,
    raw_start: usize,
    raw_end: usize,
    /// Bytes of the file that the decoder has taken.
    taken: u64,
    input_ended: bool,
    done: bool,
    text: String,
    start: usize,
    line: usize,
}

impl TextReader {
    /// Opens `input`; without an encoding it is read once before, to find it.
    pub(crate) fn open(input: &Input, file: &str, encoding: Option<Encoding>) -> Result<Self, DataError> {
        let path = input.path();
        let io = |source| DataError::Io { path: path.to_path_buf(), source };
        let encoding = match encoding {
            Some(encoding) => encoding,
            None => match look(&mut input.open()?).map_err(io)? {
                Look::Text(encoding) => encoding,
                Look::Binary(byte) => return Err(DataError::Binary { file: file.to_string(), byte }),
            },
        };
        Ok(Self::new(Box::new(input.open()?), path, file, encoding))
    }

    pub(crate) fn new(input: Box<dyn Read + Send>, path: &Path, file: &str, encoding: Encoding) -> Self {
        TextReader {
            input,
            file: file.to_string(),
            path: path.to_path_buf(),
            encoding,
            decoder: encoding.codec().new_decoder_with_bom_removal(),
            raw: vec![0; CHUNK],
            raw_start: 0,
            raw_end: 0,
            taken: 0,
            input_ended: false,
            done: false,
            text: String::with_capacity(3 * CHUNK),
            start: 0,
            line: 1,
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Line of the first character of `rest()`.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    pub(crate) fn rest(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// Takes `bytes` of `rest()` as read; must end between characters.
    pub(crate) fn consume(&mut self, bytes: usize) {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        let (lines, bytes) = (newlines(taken), taken.len());
        self.line += lines;
        self.start += bytes;
    }

    /// Makes `rest()` non-empty; false at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<bool, DataError> {
        while self.rest().is_empty() {
            if self.done {
                return Ok(false);
            }
            self.text.clear();
            self.start = 0;
            if self.raw_start == self.raw_end && !self.input_ended {
                self.raw_start = 0;
                self.raw_end = read_full(&mut self.input, &mut self.raw)
                    .map_err(|source| DataError::Io { path: self.path.clone(), source })?;
                self.input_ended = self.raw_end < self.raw.len();
            }
            let bytes = self.raw.get(self.raw_start..self.raw_end).unwrap_or_default();
            let (result, read) =
                self.decoder.decode_to_string_without_replacement(bytes, &mut self.text, self.input_ended);
            self.raw_start += read;
            self.taken += read as u64;
            match result {
                DecoderResult::InputEmpty => self.done = self.input_ended,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(bad, after) => {
                    return Err(DataError::Encoding {
                        file: self.file.clone(),
                        line: self.line + newlines(&self.text),
                        byte: self.taken.saturating_sub(u64::from(bad) + u64::from(after)),
                        encoding: self.encoding.name(),
                    });
                }
            }
        }
        Ok(true)
    }

    /// Takes white space and returns what follows.
    pub(crate) fn skip_space(&mut self) -> Result<Option<char>, DataError> {
        while self.fill()? {
            let space = self.rest().len() - self.rest().trim_start().len();
            self.consume(space);
            if let Some(next) = self.rest().chars().next() {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Reads one line without its end (`\n` or `\r\n`) into `out` and returns its number; `None` at the end.
    pub(crate) fn next_line(&mut self, out: &mut String, cap: usize) -> Result<Option<usize>, DataError> {
        out.clear();
        if !self.fill()? {
            return Ok(None);
        }
        let line = self.line;
        while self.fill()? {
            let rest = self.rest();
            let (part, taken, ended) = match rest.split_once('\n') {
                Some((part, _)) => (part, part.len() + 1, true),
                None => (rest, rest.len(), false),
            };
            if out.len() + part.len() > cap {
                return Err(DataError::RowTooLong { file: self.file.clone(), line, cap });
            }
            out.push_str(part);
            self.consume(taken);
            if ended {
                break;
            }
        }
        if out.ends_with('\r') {
            out.pop();
        }
        Ok(Some(line))
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&b| b == b'\n').count()
}
