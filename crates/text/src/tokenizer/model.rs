//! The two ways from a word to pieces.

use super::bpe::{Bpe, Piece};
use super::unigram::Unigram;

/// What splits words.
pub(super) enum Model {
    Bpe(Box<Bpe>),
    Unigram(Unigram),
}

impl Model {
    /// All pieces by id.
    pub(super) fn pieces(&self) -> &[String] {
        match self {
            Model::Bpe(m) => &m.pieces,
            Model::Unigram(m) => &m.pieces,
        }
    }

    /// The id of a piece, special or not.
    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        match self {
            Model::Bpe(m) => m.id(piece),
            Model::Unigram(m) => m.id(piece),
        }
    }

    /// Splits one word. Offsets are bytes of `word`.
    pub(super) fn encode(&self, word: &str) -> Vec<Piece> {
        match self {
            Model::Bpe(m) => m.encode(word),
            Model::Unigram(m) => m.encode(word),
        }
    }
}
