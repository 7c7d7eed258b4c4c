//! Which text encoding a file is in, found by looking at all of its bytes once.

use std::io::Read;

use serde::{Deserialize, Serialize};

/// Text encodings that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without byte order mark.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, low byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// GB18030, which contains GBK and GB2312.
    #[serde(rename = "gb18030")]
    Gb18030,
}

impl Encoding {
    /// The name as it is written in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Gb18030 => "gb18030",
        }
    }

    pub(crate) fn codec(self) -> &'static encoding_rs::Encoding {
        match self {
            Encoding::Utf8 => encoding_rs::UTF_8,
            Encoding::Utf16Le => encoding_rs::UTF_16LE,
            Encoding::Utf16Be => encoding_rs::UTF_16BE,
            Encoding::Gb18030 => encoding_rs::GB18030,
        }
    }
}

/// What looking at the bytes says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Text(Encoding),
    /// Zero bytes, the first at this offset, in no pattern of UTF-16.
    Binary(u64),
}

const CHUNK: usize = 1 << 16;

/// Reads `input` to its end with bounded memory and decides.
///
/// A byte order mark decides; then zero bytes as UTF-16 has them; then valid UTF-8; then valid GB18030.
/// Chinese UTF-8 with one broken byte is often valid GB18030 by accident, so a file in which well-formed UTF-8
/// characters outnumber the malformed places by more than three to one stays UTF-8, and reading it names the
/// broken byte. In GB18030 text about one character in eight looks like UTF-8, so the two sides lie far apart.
pub(crate) fn look(input: &mut dyn Read) -> std::io::Result<Look> {
    let mut chunk = vec![0u8; CHUNK];
    let mut filled = read_full(input, &mut chunk)?;
    let first = chunk.get(..filled).unwrap_or_default();
    if first.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return Ok(Look::Text(Encoding::Utf8));
    }
    if first.starts_with(&[0xFF, 0xFE]) {
        return Ok(Look::Text(Encoding::Utf16Le));
    }
    if first.starts_with(&[0xFE, 0xFF]) {
        return Ok(Look::Text(Encoding::Utf16Be));
    }
    if let Some(found) = zero_pattern(first) {
        return Ok(found);
    }

    let mut gb = encoding_rs::GB18030.new_decoder_without_bom_handling();
    let mut gb_valid = true;
    let mut utf8 = Utf8Tally::default();
    let mut sink = String::with_capacity(CHUNK * 2);
    loop {
        let bytes = chunk.get(..filled).unwrap_or_default();
        let last = filled < CHUNK;
        utf8.feed(bytes);
        let mut rest = bytes;
        while gb_valid {
            sink.clear();
            let (result, read) = gb.decode_to_string_without_replacement(rest, &mut sink, last);
            rest = rest.get(read..).unwrap_or_default();
            match result {
                encoding_rs::DecoderResult::InputEmpty => break,
                encoding_rs::DecoderResult::OutputFull => {}
                encoding_rs::DecoderResult::Malformed(..) => gb_valid = false,
            }
        }
        if last {
            break;
        }
        filled = read_full(input, &mut chunk)?;
    }
    utf8.finish();
    let broken_utf8 = utf8.wide > 3 * utf8.malformed;
    let encoding =
        if utf8.malformed == 0 || broken_utf8 || !gb_valid { Encoding::Utf8 } else { Encoding::Gb18030 };
    Ok(Look::Text(encoding))
}

/// Text without zero bytes is `None`. UTF-16 without a mark shows by its spaces, line ends, commas and quotes: read in
/// the other byte order they are characters that hardly any text has. (Zero bytes alone say too little: U+4E00 "one",
/// common in Chinese, has its zero byte where Latin letters have none.) A zero character is in no text.
fn zero_pattern(bytes: &[u8]) -> Option<Look> {
    let first = bytes.iter().position(|&b| b == 0)?;
    let (mut little, mut big, mut zero) = (0usize, 0usize, false);
    for pair in bytes.chunks_exact(2) {
        match pair {
            [0, 0] => zero = true,
            [b'\t' | b'\n' | b'\r' | b' ' | b',' | b'"', 0] => little += 1,
            [0, b'\t' | b'\n' | b'\r' | b' ' | b',' | b'"'] => big += 1,
            _ => {}
        }
    }
    Some(match (zero, little > 4 * big, big > 4 * little) {
        (false, true, _) => Look::Text(Encoding::Utf16Le),
        (false, _, true) => Look::Text(Encoding::Utf16Be),
        _ => Look::Binary(first as u64),
    })
}

/// Counts well-formed multi-byte characters and malformed places of a stream.
#[derive(Default)]
struct Utf8Tally {
    wide: u64,
    malformed: u64,
    /// The unfinished character at the end of the previous chunk: at most 3 bytes.
    tail: Vec<u8>,
}

impl Utf8Tally {
    fn feed(&mut self, bytes: &[u8]) {
        let joined;
        let mut rest = if self.tail.is_empty() {
            bytes
        } else {
            let mut all = std::mem::take(&mut self.tail);
            all.extend_from_slice(bytes);
            joined = all;
            joined.as_slice()
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.count(text.as_bytes());
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.count(good);
                    match error.error_len() {
                        Some(len) => {
                            self.malformed += 1;
                            rest = bad.get(len..).unwrap_or_default();
                        }
                        None => {
                            self.tail = bad.to_vec();
                            return;
                        }
                    }
                }
            }
        }
    }

    fn count(&mut self, valid: &[u8]) {
        self.wide += valid.iter().filter(|&&b| b >= 0xC0).count() as u64;
    }

    fn finish(&mut self) {
        self.malformed += u64::from(!self.tail.is_empty());
    }
}

/// Fills `buffer` as far as the input goes; a short count means the end.
pub(crate) fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Look) {
        assert_eq!(look(&mut &bytes[..]).unwrap(), expected);
    }

    #[test]
    fn finds_each_encoding() {
        let text = "问题,类别\n一张卡在哪里？一一😀,查询\n";
        check(text.as_bytes(), Look::Text(Encoding::Utf8));
        check(b"plain ascii", Look::Text(Encoding::Utf8));
        check(b"", Look::Text(Encoding::Utf8));
        check(&[b"\xEF\xBB\xBF", text.as_bytes()].concat(), Look::Text(Encoding::Utf8));
        check(&encoding_rs::GB18030.encode(text).0, Look::Text(Encoding::Gb18030));
        let wide: Vec<u16> = text.encode_utf16().collect();
        let le: Vec<u8> = wide.iter().flat_map(|u| u.to_le_bytes()).collect();
        let be: Vec<u8> = wide.iter().flat_map(|u| u.to_be_bytes()).collect();
        check(&le, Look::Text(Encoding::Utf16Le));
        check(&be, Look::Text(Encoding::Utf16Be));
        check(&[b"\xFF\xFE", &le[..]].concat(), Look::Text(Encoding::Utf16Le));
        check(b"\x89PNG\0\0\0\0\0\x01\x02\0", Look::Binary(4));
    }

    #[test]
    fn characters_across_chunk_borders_are_whole() {
        for shift in 0..4 {
            let text = "a".repeat(CHUNK - shift) + &"养成".repeat(40_000);
            check(text.as_bytes(), Look::Text(Encoding::Utf8));
            check(&encoding_rs::GB18030.encode(&text).0, Look::Text(Encoding::Gb18030));
        }
    }

    #[test]
    fn one_broken_byte_does_not_turn_utf8_into_gb18030() {
        let mut bytes = "今天天气很好，我们去公园。".repeat(20).into_bytes();
        bytes.remove(4);
        check(&bytes, Look::Text(Encoding::Utf8));
    }
}
