//! What can go wrong, and what only deserves a word.

use nurture_data::PlanError;
use nurture_formats::FormatError;
use nurture_model::ModelError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a run cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Breadth is to be kept, but there is no text for it.
    #[error("keep: no text to keep breadth on; name one, or set its strength to 0")]
    NoKeepText,
    /// A setting that cannot be used.
    #[error("{key}: {problem}")]
    Setting {
        /// The key of `TrainConfig` or of the adapter's shape.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to learn from.
    #[error(
        "no training examples: the data is empty, or every row was dropped (the ledger gives the reasons)"
    )]
    NoExamples,
    /// Tokens and mask of different length.
    #[error("example {id}: {tokens} tokens but {flags} loss flags")]
    Mask {
        /// The example.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// Its flags.
        flags: usize,
    },
    /// An example in which no token carries loss.
    #[error("example {id}: none of its tokens is trained; nothing can be learnt from it")]
    Untrained {
        /// The example.
        id: String,
    },
    /// An example beyond what the base was made for.
    #[error(
        "example {id}: {tokens} tokens, but the base model's context is {context}; shorten it or leave it out"
    )]
    BeyondContext {
        /// The example.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// The base's context.
        context: usize,
    },
    /// An example that no micro-batch holds.
    #[error(
        "example {id}: {tokens} tokens, but a micro-batch holds {micro_tokens}; raise micro_tokens or shorten the example"
    )]
    BeyondMicroBatch {
        /// The example.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// The setting.
        micro_tokens: usize,
    },
    /// A token that the base does not know.
    #[error(
        "example {id}: token {token} is beyond the vocabulary of {vocab}: made with another model's tokenizer?"
    )]
    Token {
        /// The example.
        id: String,
        /// The token.
        token: u32,
        /// Tokens that the base knows.
        vocab: usize,
    },
    /// The plan of the steps.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file that other tools read too.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system refused.
    #[error("{}: {action}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The loss stopped being a number.
    #[error(
        "step {step}: the loss of example {id} is {loss}; lower the rate (it is {rate:e} in this step), or look at the example"
    )]
    LossNotFinite {
        /// Step, from 1.
        step: u64,
        /// The example.
        id: String,
        /// What it was instead.
        loss: f32,
        /// Rate of the step.
        rate: f64,
    },
    /// A gradient stopped being a number.
    #[error(
        "step {step}: the gradient of {tensor} holds a value that is not finite; lower the rate (it is {rate:e} in this step)"
    )]
    GradientNotFinite {
        /// Step, from 1.
        step: u64,
        /// The parameter, as PEFT names it.
        tensor: String,
        /// Rate of the step.
        rate: f64,
    },
    /// Nothing flows back.
    #[error(
        "step {step}: every gradient is exactly zero, so nothing is being learnt; if the loss is zero too, the examples are \
         already known by heart (fewer epochs); otherwise look whether the adapter's A and B are both zero, or alpha is 0"
    )]
    ZeroGradient {
        /// Step, from 1.
        step: u64,
    },
    /// The loss climbs, and the settings say to stop then.
    #[error(
        "step {step}: the loss climbs: {mean:.4} on average over the last {window} steps, after {best:.4} at best; lower the rate, \
         lengthen the warm-up, or go on all the same with on_divergence = \"warn\""
    )]
    Diverged {
        /// Step, from 1.
        step: u64,
        /// Mean loss of the window.
        mean: f64,
        /// Lowest such mean.
        best: f64,
        /// Steps of the window.
        window: usize,
    },
    /// The policy could not answer, or its answers not be marked.
    #[error("step {step}: practice: {source}")]
    Practice {
        /// Step, from 1.
        step: u64,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A prompt that leaves no room for its answer.
    #[error(
        "prompt {id}: {tokens} tokens and an answer of {max_new}, but {limit} are {what}; shorten it, or lower the longest answer"
    )]
    NoRoom {
        /// The prompt.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// Most tokens of the answer.
        max_new: usize,
        /// Tokens that there are.
        limit: usize,
        /// What they are.
        what: &'static str,
    },
    /// The folder already holds a run.
    #[error("{}: holds checkpoints of a run already; resume it, or choose another folder", folder.display())]
    AlreadyBegun {
        /// The run's folder.
        folder: PathBuf,
    },
    /// The checkpoint belongs to another run.
    #[error(
        "{}: cannot be resumed, because this differs from when it was written: {}; put it back, or begin a new run in another folder",
        checkpoint.display(),
        differences.join("; ")
    )]
    Changed {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// What differs, with both values.
        differences: Vec<String>,
    },
}

impl TrainError {
    pub(crate) fn io(file: &Path, action: &'static str, source: io::Error) -> TrainError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                TrainError::Format(FormatError::DiskFull { file: file.to_path_buf() })
            }
            _ => TrainError::Io { file: file.to_path_buf(), action, source },
        }
    }
}

/// What the owner of a run should hear, though the run goes on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A checkpoint is damaged; an older one, or the beginning, takes its place.
    #[error("{}: not used: {problem}", checkpoint.display())]
    BrokenCheckpoint {
        /// The file.
        checkpoint: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There was nothing to resume from.
    #[error("{}: no usable checkpoint; the run begins at its first step", folder.display())]
    FromTheBeginning {
        /// The run's folder.
        folder: PathBuf,
    },
    /// The loss climbs.
    #[error("step {step}: the loss climbs: {mean:.4} on average, after {best:.4} at best")]
    Diverging {
        /// First step at which it was seen, from 1.
        step: u64,
        /// Mean loss of the window.
        mean: f64,
        /// Lowest such mean.
        best: f64,
    },
}
