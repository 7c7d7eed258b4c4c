//! Text as it is generated, one token after another, never half a character.

use super::{Spelling, Tokenizer, bytes};

/// Turns ids into text piece by piece. The pieces, with [`StreamDecoder::finish`] at the end, put together are
/// [`Tokenizer::decode`] of all ids; the one exception is a SentencePiece vocabulary's run of byte tokens that is
/// broken UTF-8 after a good beginning, where the good beginning is kept instead of replaced.
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
    plain: bool,
    strip_first_space: bool,
}

impl<'t> StreamDecoder<'t> {
    /// Special tokens are spelt out.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        // A vocabulary with a prefix space takes it off again when decoding: ask it.
        let space = tokenizer.model.id("▁").filter(|_| tokenizer.spelling != Spelling::ByteLevel);
        let strip_first_space = space.is_some_and(|id| tokenizer.decode(&[id]).is_empty());
        StreamDecoder { tokenizer, pending: Vec::new(), plain: false, strip_first_space }
    }

    /// Special tokens are left out.
    pub fn plain(tokenizer: &'t Tokenizer) -> Self {
        StreamDecoder { plain: true, ..StreamDecoder::new(tokenizer) }
    }

    /// Takes one more token; gives the text that is certain now, often empty in the middle of a character.
    pub fn push(&mut self, id: u32) -> String {
        if self.plain && self.tokenizer.is_special(id) {
            return String::new();
        }
        let mut out = String::new();
        let lone_byte = self.tokenizer.spelling == Spelling::SentencePiece
            && self.tokenizer.token(id).and_then(bytes::byte_piece).is_some();
        if !lone_byte && self.tokenizer.spelling == Spelling::SentencePiece {
            out.push_str(&self.finish());
        }
        let Some(mut bytes) = self.tokenizer.token_bytes(id) else { return out };
        if std::mem::take(&mut self.strip_first_space) && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        self.pending.extend(bytes);
        out.push_str(&self.drain());
        out
    }

    /// What is left when no more tokens come: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        match self.tokenizer.spelling {
            Spelling::ByteLevel => String::from_utf8_lossy(&rest).into_owned(),
            Spelling::SentencePiece | Spelling::Words => "\u{FFFD}".repeat(rest.len()),
        }
    }

    /// Gives out all but an unfinished last character.
    fn drain(&mut self) -> String {
        let mut out = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(good) => {
                    out.push_str(good);
                    rest = &[];
                }
                Err(e) => {
                    let (good, bad) = rest.split_at(e.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(good));
                    rest = bad;
                    if let Some(skip) = e.error_len() {
                        let signs = if self.tokenizer.spelling == Spelling::ByteLevel { 1 } else { skip };
                        out.push_str(&"\u{FFFD}".repeat(signs));
                        rest = rest.get(skip..).unwrap_or_default();
                        continue;
                    }
                }
            }
            break;
        }
        self.pending = rest.to_vec();
        out
    }
}
