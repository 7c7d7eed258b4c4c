//! What can go wrong with a rule. A wrong answer is never an error.

use std::path::PathBuf;

/// Why answers could not be marked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// No rules, or none that gives anything.
    #[error("no reward: {0}")]
    Nothing(&'static str),
    /// A weight or share that cannot be meant.
    #[error("rule {rule}: {key} is {value}; from {min} to {max} is expected")]
    Setting {
        /// The rule.
        rule: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A pattern that is none.
    #[error("the pattern {pattern:?}: {problem}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A schema that cannot be checked by.
    #[error("the schema, at {place}: {problem}")]
    Schema {
        /// JSON pointer into the schema.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A row without what its rule compares with.
    #[error("rule {rule}: the row of the question {question:?} has no answer to compare with")]
    NoReference {
        /// The rule.
        rule: &'static str,
        /// The question, cut.
        question: String,
    },
    /// A program that cannot be started.
    #[error("{}: cannot be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The owner's program did not do its part.
    #[error("{}: {problem}", program.display())]
    Command {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        problem: String,
    },
    /// The system refused something on the way.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl RewardError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> RewardError {
        move |source| RewardError::Io { action, source }
    }
}

/// The beginning of a text, for messages.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
