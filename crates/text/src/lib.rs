//! Tokenizer, chat template, and the one renderer from messages to tokens with loss mask.
