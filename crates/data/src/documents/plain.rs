//! Plain text: encoding found by looking, paragraphs by empty lines.

use crate::document::Document;
use crate::encoding::{Encoding, Look, look};

use super::blocks::Blocks;
use super::problem::DocumentProblem;

/// The text of a file in an encoding that is found by looking.
pub(super) fn decode(bytes: &[u8]) -> Result<String, DocumentProblem> {
    // reading from memory does not fail
    match look(&mut { bytes }) {
        Ok(Look::Text(encoding)) => decode_as(bytes, encoding),
        Ok(Look::Binary(byte)) => Err(DocumentProblem::Binary { byte }),
        Err(_) => Err(DocumentProblem::NoText),
    }
}

pub(super) fn decode_as(bytes: &[u8], encoding: Encoding) -> Result<String, DocumentProblem> {
    let mut decoder = encoding.codec().new_decoder_with_bom_removal();
    let mut text = String::new();
    text.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len()));
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        encoding_rs::DecoderResult::InputEmpty => Ok(text),
        _ => Err(DocumentProblem::Encoding {
            byte: (read as u64).saturating_sub(1),
            encoding: encoding.name(),
        }),
    }
}

/// Paragraphs are what stands between empty lines.
pub(super) fn parse(text: &str) -> Document {
    let mut blocks = Blocks::default();
    let mut paragraph = String::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            blocks.paragraph(&paragraph);
            paragraph.clear();
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    Document { id: String::new(), title: None, blocks: blocks.done() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Block;

    #[test]
    fn paragraphs_by_empty_lines_in_any_encoding() {
        let text = "第一段\r\n第二行\r\n\r\n  \r\nNext one \r\n";
        let want = [Block::Paragraph("第一段\n第二行".into()), Block::Paragraph("Next one".into())];
        assert_eq!(parse(text).blocks, want);
        let gb = encoding_rs::GB18030.encode(text).0.into_owned();
        assert_eq!(decode(&gb).unwrap(), text);
        assert_eq!(decode(b"\xEF\xBB\xBFa").unwrap(), "a");
        assert_eq!(decode(b"a\0b\x01").unwrap_err(), DocumentProblem::Binary { byte: 1 });
        assert!(matches!(decode(b"abc \xff\xff d"), Err(DocumentProblem::Encoding { byte: 4, .. })));
    }
}
