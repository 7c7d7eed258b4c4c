//! What can go wrong between messages and tokens.

use thiserror::Error;

/// Every failure of this crate. The message says what is wrong, where, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TextError {
    /// The vocabulary contradicts itself or lacks something.
    #[error("tokenizer: {field}: {problem}")]
    Vocabulary {
        /// The GGUF key or the place in `tokenizer.json`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `tokenizer.ggml.model` names an algorithm this crate does not have.
    #[error("tokenizer model {found:?} is not supported; supported are {known}")]
    UnknownModel {
        /// The name in the file.
        found: String,
        /// The names that would do.
        known: &'static str,
    },
    /// `tokenizer.ggml.pre` names a way of splitting text that this crate does not have.
    /// Guessing would give wrong tokens without a sign of it, so it is refused.
    #[error("pre-tokenizer {found:?} (tokenizer.ggml.pre) is not known; known are {known}")]
    UnknownPreTokenizer {
        /// The name in the file.
        found: String,
        /// The names that would do.
        known: String,
    },
    /// A file of a Hugging Face folder could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file is not what it should be.
    #[error("{file}: {problem}")]
    Json {
        /// `tokenizer.json`, `tokenizer_config.json`, ...
        file: &'static str,
        /// Where and what.
        problem: String,
    },
    /// The text could not be split into tokens.
    #[error("encoding failed: {0}")]
    Encode(String),
    /// Whoever watched the making of a vocabulary wanted it to stop.
    #[error("stopped")]
    Stopped,
    /// A token id beyond the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of ids.
        vocab_size: usize,
    },
    /// No built-in template of that name.
    #[error("no built-in chat template is named {found:?}; there is: {known}")]
    UnknownTemplate {
        /// The name asked for.
        found: String,
        /// The names that exist.
        known: &'static str,
    },
    /// The template's source is not valid.
    #[error("chat template {name:?} line {line}: {problem}")]
    TemplateSyntax {
        /// The template's name.
        name: String,
        /// 1-based line in its source, 0 if unknown.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// The template stopped while rendering: its own `raise_exception`, a missing variable, a limit.
    #[error("chat template {name:?} line {line}: {problem}")]
    TemplateRender {
        /// The template's name.
        name: String,
        /// 1-based line in its source, 0 if unknown.
        line: usize,
        /// What happened.
        problem: String,
    },
    /// A limit of the sandbox was reached.
    #[error("chat template {name:?}: {what} exceeds the limit of {limit}")]
    TemplateLimit {
        /// The template's name.
        name: String,
        /// What grew too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The trained part of a turn cannot be found in what the template wrote.
    #[error("message {turn} ({role}): {problem}")]
    Mask {
        /// Index into the messages, from 0.
        turn: usize,
        /// Its role.
        role: String,
        /// Why the mask cannot be made.
        problem: String,
    },
    /// The conversation uses every character that could serve as an invisible mark.
    #[error("the messages contain all 32 Unicode noncharacters U+FDD0..U+FDEF; remove one")]
    NoFreeMark,
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, TextError>;
