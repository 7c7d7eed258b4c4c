//! What can be wrong with figures handed to this crate.

/// An examination that cannot be counted, compared or read back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A statistic of nothing.
    #[error("{what}: nothing to count; at least one item is needed")]
    Empty {
        /// What was to be computed.
        what: &'static str,
    },
    /// Paired figures of different lengths.
    #[error("{what}: base has {base} values, tuned has {tuned}; pairing needs the same items on both sides")]
    Lengths {
        /// What was to be computed.
        what: &'static str,
        /// Number of values of the base.
        base: usize,
        /// Number of values of the tuned model.
        tuned: usize,
    },
    /// A figure outside its range, or NaN or infinite.
    #[error("{what}: value {value} at position {index} is outside {range}")]
    OutOfRange {
        /// What was to be computed.
        what: &'static str,
        /// Position in the input, from 0.
        index: usize,
        /// The value.
        value: f64,
        /// The range it had to lie in.
        range: &'static str,
    },
    /// Two items of one exam with the same id.
    #[error("exam '{exam}': the id '{id}' stands for two items; ids must be unique")]
    DuplicateId {
        /// Name of the exam.
        exam: String,
        /// The repeated id.
        id: String,
    },
    /// Base and tuned did not sit the same items.
    #[error(
        "exam '{exam}': base and tuned sat different items ({only_base} only in base, {only_tuned} only in tuned, \
         first '{first}'); examine both on the same file and selection"
    )]
    ItemsDiffer {
        /// Name of the exam.
        exam: String,
        /// Number of ids that only the base has.
        only_base: usize,
        /// Number of ids that only the tuned model has.
        only_tuned: usize,
        /// One such id.
        first: String,
    },
    /// The same id, but another question or another right answer.
    #[error("exam '{exam}', item '{id}': {field} differs between base and tuned; examine both again")]
    ItemChanged {
        /// Name of the exam.
        exam: String,
        /// The item.
        id: String,
        /// Which field differs.
        field: &'static str,
    },
    /// Two results that answer different questions.
    #[error("cannot compare: {field} is '{base}' for base and '{tuned}' for tuned")]
    Incomparable {
        /// Which field differs.
        field: &'static str,
        /// Its value for the base.
        base: String,
        /// Its value for the tuned model.
        tuned: String,
    },
    /// The text gives no window to score.
    #[error(
        "the text has {tokens} tokens, at least {needed} are needed to score one window; give a longer text"
    )]
    TextTooShort {
        /// Tokens of the text (of its longest document).
        tokens: usize,
        /// Least number of tokens.
        needed: usize,
    },
    /// A window too short to have context and a prediction.
    #[error("windows of {n_ctx} tokens cannot be scored; the least is {least}")]
    WindowTooShort {
        /// Window length that was asked for, tokens.
        n_ctx: usize,
        /// Least window length, tokens.
        least: usize,
    },
    /// A result file that cannot be read.
    #[error("{file}, line {line}: {message}")]
    Json {
        /// `summary` or `items`.
        file: &'static str,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
}
