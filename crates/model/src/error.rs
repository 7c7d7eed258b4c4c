use nurture_formats::FormatError;
use std::path::PathBuf;

/// What can be wrong with a model or an adapter.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file itself.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A family that is not supported.
    #[error(
        "{file}: the architecture \"{found}\" is not supported; supported: llama, mistral, qwen2, qwen3, qwen3_moe (Hugging Face), gemma3, gpt2"
    )]
    Architecture {
        /// the model
        file: PathBuf,
        /// what it says it is
        found: String,
    },
    /// A setting that makes no sense or is not supported.
    #[error("{file}: {key}: {problem}")]
    Config {
        /// the model
        file: PathBuf,
        /// the key
        key: String,
        /// what is wrong
        problem: String,
    },
    /// A tensor of another shape than the configuration asks for.
    #[error("{file}: tensor \"{tensor}\" has shape {found:?}, the configuration asks for {wanted:?}")]
    Shape {
        /// the model
        file: PathBuf,
        /// the tensor
        tensor: String,
        /// stored shape
        found: Vec<usize>,
        /// expected shape
        wanted: Vec<usize>,
    },
    /// A weight that is not a number.
    #[error(
        "{file}: tensor \"{tensor}\" holds a value that is not finite (row {row}); the file is damaged: pull or convert it again"
    )]
    NotFinite {
        /// the model or adapter
        file: PathBuf,
        /// the tensor
        tensor: String,
        /// first row with such a value
        row: usize,
    },
    /// An adapter that does not fit this base.
    #[error("{file}: {problem}")]
    Adapter {
        /// the adapter
        file: PathBuf,
        /// what does not fit
        problem: String,
    },
    /// A position beyond those that the network has vectors for.
    #[error(
        "position {position} is beyond the {known} positions that this model knows: make the text shorter"
    )]
    Position {
        /// the position
        position: u32,
        /// positions known
        known: usize,
    },
    /// A token beyond the vocabulary.
    #[error("token {token} at place {place} is beyond the vocabulary of {vocab}")]
    Token {
        /// the id
        token: u32,
        /// its index in the batch
        place: usize,
        /// number of tokens known
        vocab: usize,
    },
}
