//! From the spelling of a piece to its bytes.

use std::sync::LazyLock;

/// GPT-2's alphabet: printable Latin-1 characters stand for their own byte, the other 68 bytes for U+0100 onwards.
static BYTE_OF: LazyLock<[Option<u8>; 324]> = LazyLock::new(|| {
    let mut table = [None; 324];
    let mut next = 256usize;
    for byte in 0..=255u8 {
        let own = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let at = if own {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        if let Some(slot) = table.get_mut(at) {
            *slot = Some(byte);
        }
    }
    table
});

/// The byte that a character of the alphabet stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    BYTE_OF.get(c as usize).copied().flatten()
}

/// The character that stands for a byte.
pub(crate) fn char_of(byte: u8) -> char {
    let at = BYTE_OF.iter().position(|&b| b == Some(byte)).unwrap_or_default();
    char::from_u32(at as u32).unwrap_or_default()
}

/// Bytes of a byte-level piece. One spelt with any other character is taken literally, as the decoder does.
pub(super) fn byte_level(piece: &str) -> Vec<u8> {
    piece.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| piece.as_bytes().to_vec())
}

/// Bytes of a SentencePiece piece.
pub(super) fn sentence_piece(piece: &str) -> Vec<u8> {
    match byte_piece(piece) {
        Some(byte) => vec![byte],
        None => piece.replace('▁', " ").into_bytes(),
    }
}

/// The byte of a `<0xNN>` piece.
pub(super) fn byte_piece(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_each_byte_once() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('中'), None);
        assert_eq!(byte_level("ĠMama"), b" Mama");
        assert_eq!(sentence_piece("▁a"), b" a");
        assert_eq!(sentence_piece("<0x0A>"), b"\n");
    }
}
