//! Tokenizer, chat template, and the one renderer from messages to tokens with loss mask.
//! Knows nothing of tensors.

mod error;
mod message;
mod tokenizer;

pub use error::{Result, TextError};
pub use message::Message;
pub use tokenizer::{Encoded, GgufTokenizerKeys, HfTokenizerFiles, SpecialNames, StreamDecoder, Tokenizer};
