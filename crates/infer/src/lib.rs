//! Sampling, generation, speculation and decisions over token ids. Text, templates and HTTP are the callers' business: what a token means is
//! hidden behind [`Stop`] and the [`Trie`] of allowed answers.

mod beams;
mod best_first;
mod calibrate;
mod choose;
mod constraint;
mod drafts;
pub mod engine;
mod generate;
#[cfg(feature = "grammar")]
mod grammar;
mod mask;
mod ngrams;
mod pairs;
mod row;
#[cfg(feature = "grammar")]
mod rule_memory;
mod ruled;
mod sampler;
mod sampling;
mod score;
mod stop;
mod trie;

pub use beams::{Beams, MAX_BEAMS, continue_by_beams};
pub use best_first::Decision;
pub use calibrate::Temperature;
pub use choose::{Choice, Chooser, Scores};
pub use constraint::Constraint;
pub use drafts::{DraftFigures, Drafts};
pub use generate::{Finish, Generated, Generator, Request, Stop, StopIds};
#[cfg(feature = "grammar")]
pub use grammar::{Grammar, Grammars, MAX_GRAMMAR_BYTES, Rule};
pub use mask::TokenMask;
pub use ngrams::Ngrams;
pub use pairs::{Written, beam_search, write_targets};
#[cfg(feature = "grammar")]
pub use rule_memory::RULE_BYTES;
pub use ruled::Ruled;
pub use sampler::Sampler;
pub use sampling::{COLDEST, Pick, Sampling};
pub use stop::{Released, StopTexts};
pub use trie::Trie;

/// What can go wrong while generating or deciding.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The network refused a batch.
    #[error(transparent)]
    Model(#[from] nurture_model::ModelError),
    /// A prompt that does not fit.
    #[error("the prompt has {tokens} tokens, but only {room} fit into the context of {context}")]
    TooLong {
        /// tokens of the prompt
        tokens: usize,
        /// room for a prompt
        room: usize,
        /// all that fits
        context: usize,
    },
    /// Nothing to go on from.
    #[error("the prompt is empty: there is no token to continue from")]
    Empty,
    /// Logits that are not numbers.
    #[error(
        "the network gave a logit that is not a number after {tokens} tokens; the weights or the adapter are damaged"
    )]
    NotFinite {
        /// tokens seen so far
        tokens: usize,
    },
    /// Answers that cannot be told apart or are empty.
    #[error("answers {first} and {second} are the same tokens")]
    SameAnswers {
        /// index of one
        first: usize,
        /// index of the other
        second: usize,
    },
    /// A rule that cannot be made or followed.
    #[error("the constraint: {why}")]
    Constraint {
        /// what its machinery says
        why: String,
    },
    /// No room for a rule, or for what it becomes on its way.
    #[error("the rules at work take all of the {most} bytes that they may have together")]
    RuleMemory {
        /// bytes of all rules
        most: usize,
    },
    /// An answer without a token.
    #[error("answer {0} has no token")]
    EmptyAnswer(usize),
}
