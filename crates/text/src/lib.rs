//! Tokenizer, chat template, and the one renderer from messages to tokens with loss mask.
//! Knows nothing of tensors.

mod message;

pub use message::Message;
