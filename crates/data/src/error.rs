//! What can go wrong between a data file and its examples. Every message says what, where, and what to do.

use std::path::PathBuf;

use thiserror::Error;

use crate::documents::DocumentProblem;
use crate::mapping::{Mapping, SchemaKind};

/// A failure that ends reading: the file as a whole cannot be used, or the policy is to stop at a bad row.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A byte sequence that the encoding does not have.
    #[error(
        "{file}:{line}: byte {byte} is not valid {encoding}; save the file as UTF-8, or name its encoding \
         (encoding = \"gb18030\", \"utf-16le\", ...)"
    )]
    Encoding {
        /// The file as it is named in ids.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// Offset in the file, counted from 0.
        byte: u64,
        /// The encoding that was tried.
        encoding: &'static str,
    },
    /// Zero bytes that no text encoding explains.
    #[error("{file}: byte {byte} is zero: this is not a text file; give the text, csv or json export of it")]
    Binary {
        /// The file as it is named in ids.
        file: String,
        /// Offset of the first zero byte.
        byte: u64,
    },
    /// A document that cannot be read and the policy is to stop, or a table that is broken as a whole.
    #[error("{file}: {problem}")]
    Document {
        /// The file as it is named in ids.
        file: String,
        /// What is wrong with it, and what to do.
        problem: DocumentProblem,
    },
    /// One document of a source cannot be read and the policy is to stop.
    #[error(
        "{file}: {problem}. Or set data.on_bad_row = \"drop\" to leave such files out (each one is then listed in the \
         ledger)"
    )]
    BadDocument {
        /// The file as it is named in ids.
        file: String,
        /// What is wrong with it, and what to do.
        problem: DocumentProblem,
    },
    /// Folders that lead into themselves.
    #[error(
        "{}: this folder leads back to one above it, or lies {depth} levels deep; take out the link, or name the folders \
         that are meant",
        path.display()
    )]
    FolderLoop {
        /// The folder where it was noticed.
        path: PathBuf,
        /// How deep it lies below the source.
        depth: usize,
    },
    /// The extension says nothing and neither does the content.
    #[error(
        "{file}: cannot tell its format from the name or the first character; give its name one of the endings .jsonl, \
         .json, .csv, .tsv, .parquet, .xlsx, .txt, .md, .html, .docx, .pdf or .zip"
    )]
    UnknownFormat {
        /// The file as it is named in ids.
        file: String,
    },
    /// One row is larger than the cap, which usually means an unclosed quote or a missing line end.
    #[error(
        "{file}:{line}: the row that starts here is longer than {cap} bytes; look for an unclosed quote or missing \
         line ends"
    )]
    RowTooLong {
        /// The file as it is named in ids.
        file: String,
        /// Line where the row starts.
        line: usize,
        /// The cap in bytes.
        cap: usize,
    },
    /// A quote that never closes, or text behind a closing quote.
    #[error(
        "{file}:{line}: {problem}; write a quote inside a quoted field twice (\"\"); a file in which quotes are plain \
         characters is better saved as jsonl"
    )]
    Quote {
        /// The file as it is named in ids.
        file: String,
        /// Line of the opening quote.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The frame around the rows of a JSON file is broken, so that later rows cannot be found.
    #[error("{file}:{line}: {problem}; repair the file here, rows after this place cannot be found")]
    JsonFrame {
        /// The file as it is named in ids.
        file: String,
        /// Line of the problem.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A setting that cannot be used.
    #[error("{file}: {problem}")]
    Setting {
        /// The file as it is named in ids.
        file: String,
        /// What is wrong, and what is possible.
        problem: String,
    },
    /// One row cannot be used and the policy is to stop.
    #[error(
        "{file}:{line}: {problem}; repair the row, or set data.on_bad_row = \"drop\" to leave such rows out (each \
         one is then listed in the ledger)"
    )]
    BadRow {
        /// The file as it is named in ids.
        file: String,
        /// Line where the row starts.
        line: usize,
        /// What is wrong with it.
        problem: RowProblem,
    },
    /// The file holds no rows at all.
    #[error("{file}: no rows: the file is empty or holds only its header")]
    NoRows {
        /// The file as it is named in ids.
        file: String,
    },
    /// Not one example is left after reading all the sources.
    #[error(
        "no examples are left from {sources}: {rows} rows read, none used; the reasons stand in the ledger: {reasons}"
    )]
    NothingLeft {
        /// The sources, joined.
        sources: String,
        /// Rows that were read.
        rows: u64,
        /// Reasons with counts, joined.
        reasons: String,
    },
    /// The columns fit no known schema, or more than one.
    #[error("{file}: {}", unclear(columns, example, other.as_deref(), *nameless))]
    SchemaUnclear {
        /// The file as it is named in ids.
        file: String,
        /// The columns that were seen, joined.
        columns: String,
        /// A mapping that could fit.
        example: Box<Mapping>,
        /// Another one that fits as well; `None`: nothing fits.
        other: Option<Box<Mapping>>,
        /// Whether the columns have no names in the file.
        nameless: bool,
    },
    /// A mapping names a column that is not there.
    #[error(
        "{file}: `{part}` names the column \"{name}\", but the columns are {columns}{}",
        nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
    )]
    NoSuchColumn {
        /// The file as it is named in ids.
        file: String,
        /// The part that the column was to play.
        part: &'static str,
        /// The name.
        name: String,
        /// The columns that are there, joined.
        columns: String,
        /// The column that was probably meant.
        nearest: Option<String>,
    },
    /// A mapping that its kind cannot use.
    #[error("{file}: mapping of kind \"{kind}\": {problem}")]
    Mapping {
        /// The file as it is named in ids.
        file: String,
        /// The kind of the mapping.
        kind: SchemaKind,
        /// What is wrong.
        problem: String,
    },
    /// Pairs of better and worse answers, which are not examples to imitate.
    #[error(
        "{file}: column \"{column}\" marks preference data; this method would imitate the worse answers too. Learn from \
         them with train.method = \"dpo\", \"orpo\", \"simpo\" (pairs) or \"kto\" (marks), or take the good answers alone: {{ path = ..., kind = \"prompt_completion\", user = \"...\", answer = \"...\" }}"
    )]
    Preference {
        /// The file as it is named in ids.
        file: String,
        /// The column that shows it.
        column: String,
    },
    /// Two labels become the same words.
    #[error("labels \"{first}\" and \"{second}\" both become \"{words}\" as words; set labels = \"as_is\"")]
    LabelClash {
        /// One label.
        first: String,
        /// The other label.
        second: String,
        /// What both become.
        words: String,
    },
    /// A template that cannot be filled.
    #[error("template: {problem}")]
    Template {
        /// What is wrong.
        problem: String,
    },
}

/// Why one row cannot become an example. `code` is the reason under which the ledger counts it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// The row is not JSON.
    #[error("broken JSON at column {column}: {what}")]
    BrokenJson {
        /// Column in bytes, counted from 1.
        column: usize,
        /// What the parser said.
        what: String,
    },
    /// The row is JSON but not an object.
    #[error("the row is {found}, not an object with fields")]
    NotAnObject {
        /// The JSON type found.
        found: &'static str,
    },
    /// A key stands twice in one object.
    #[error("the key \"{key}\" stands twice in this row")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A csv row of another width than the header.
    #[error("the row has {found} fields where the first row has {expected}")]
    FieldCount {
        /// Fields of the first row.
        expected: usize,
        /// Fields of this row.
        found: usize,
    },
    /// The question, text or conversation is absent or empty.
    #[error("field \"{field}\" is missing or empty")]
    MissingInput {
        /// The field.
        field: String,
    },
    /// The answer, label or assistant turn is absent or empty.
    #[error("the row has no answer: field \"{field}\" is missing or empty")]
    MissingAnswer {
        /// The field.
        field: String,
    },
    /// A field of another type than its kind needs.
    #[error("field \"{field}\": {problem}")]
    BadField {
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A choice item whose answer points at none of its options.
    #[error("the answer \"{answer}\" is none of the {options} options, nor a letter or number of one")]
    AnswerNotAnOption {
        /// The answer as it stands.
        answer: String,
        /// Number of options.
        options: usize,
    },
    /// A document of several that cannot be read.
    #[error("{0}")]
    Document(DocumentProblem),
    /// A label in an exam that no training row has.
    #[error(
        "the label \"{label}\" never appears in the training data{}",
        nearest.as_ref().map_or_else(String::new, |near| format!("; the nearest one there is \"{near}\""))
    )]
    UnknownLabel {
        /// The label.
        label: String,
        /// The label that was probably meant.
        nearest: Option<String>,
    },
}

impl RowProblem {
    /// The reason under which the ledger counts such rows.
    pub fn code(&self) -> &'static str {
        match self {
            RowProblem::BrokenJson { .. } => "broken_json",
            RowProblem::NotAnObject { .. } => "not_an_object",
            RowProblem::DuplicateKey { .. } => "duplicate_key",
            RowProblem::FieldCount { .. } => "field_count",
            RowProblem::MissingInput { .. } => "missing_input",
            RowProblem::MissingAnswer { .. } => "missing_answer",
            RowProblem::BadField { .. } => "bad_field",
            RowProblem::AnswerNotAnOption { .. } => "answer_not_an_option",
            RowProblem::Document(problem) => problem.code(),
            RowProblem::UnknownLabel { .. } => "unknown_label",
        }
    }
}

fn unclear(columns: &str, example: &Mapping, other: Option<&Mapping>, nameless: bool) -> String {
    let problem = match other {
        Some(_) => "there is both an answer and a category, and either could be what is to be learnt",
        None => "the columns fit no known shape of training data",
    };
    let hint = match (other, nameless) {
        (Some(other), _) => format!(" to learn the category, or {} to learn the answer", other.in_recipe()),
        (None, true) => {
            " (the first record was taken as data; columns with plainer names are known as such)".into()
        }
        (None, false) => {
            " (kinds: messages, sharegpt, instruction, prompt_completion, question_answer, label, choice, \
                          text)"
                .into()
        }
    };
    let example = example.in_recipe();
    format!(
        "{problem}. Its columns: {columns}. Say in the recipe what they are, for example: {example}{hint}"
    )
}
