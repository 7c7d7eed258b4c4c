//! Readers, examples, splits and the ledger that accounts for every row.
//!
//! The way through: `parts` finds the files of a source (a file, a folder, an archive), `rows` turns a table into rows
//! (encoding, format and header found by looking), `documents` a document into its text; `schema` finds
//! what the columns mean, `convert` makes an `Example` of a row, `load` does all of it for the sources of a recipe
//! and writes the `Ledger`. `sample` splits and thins out; `tokens` and `plan` take over when the renderer has made
//! token sequences: lengths, and which sequences a step trains on; `prefix_tree` lays a micro-batch out so that what
//! its sequences share stands there once.
//!
//! Left out on purpose: the tokenizer and the chat template (`nurture-text`), the network, and any guess where the
//! columns could mean two things: that is an error which shows a mapping to copy.

mod archive;
mod choice;
mod clean;
mod convert;
mod delimited;
mod digest;
mod document;
mod document_files;
mod documents;
mod encoding;
mod error;
mod example;
mod input;
mod json_rows;
mod labels;
mod ledger;
mod llama_factory;
mod load;
mod mapping;
mod near;
mod overlap;
mod parts;
mod pieces;
mod plan;
mod preference;
mod prefix_tree;
mod prefixes;
mod questions;
mod rng;
mod rows;
mod sample;
mod schema;
mod tables;
mod template;
mod text_reader;
mod tokens;
mod tools;
mod turns;
mod units;
mod weight;
mod why;

pub use clean::{
    CleanOptions, CleanReport, Language, Letters, NOTHING_LEFT, NearPair, NearPolicy, OTHER_LANGUAGE,
    PERSONAL_DATA, RepeatedLine, SECRET, Sensitive, SensitiveFound, SensitivePolicy, is_credit_code,
    is_id_card, is_luhn, letters,
};
pub use digest::normalised;
pub use document::{Block, Document};
pub use document_files::DocumentFiles;
pub use documents::{DocumentFormat, DocumentProblem, DocumentRead, Note, page_list, read_document};
pub use encoding::Encoding;
pub use error::{DataError, RowProblem};
pub use example::{Answer, Example, TEXT_ROLE};
pub use labels::{LabelForm, LabelSet};
pub use ledger::{Fate, Ledger, SourceLedger};
pub use load::{
    Conflicts, DocumentPassages, LoadOptions, Loaded, OnBadRow, SourceFound, TRANSLATED, load_exam,
    load_training, passages,
};
pub use mapping::{Fields, Mapping, SchemaKind, Tags};
pub use near::{NearIndex, Signature, near_windows};
/// How tools and calls are written; its home is beside the renderer.
pub use nurture_text::ToolStyle;
pub use overlap::{Overlap, OverlapKind, OverlapOptions, overlap};
pub use parts::files_below;
pub use pieces::document_sequences;
pub use plan::{BatchPlan, PlanConfig, PlanError, Step, Steps};
pub use prefix_tree::{Paths, PrefixTree, Segment, TreeLoss};
pub use questions::{
    Asked, NO_QUESTIONS, Proposed, QuestionRule, QuestionSource, document_passages, questions,
};
pub use rng::stream;
pub use rows::{BadRow, FileFormat, FileFound, ReadLimits, Row, RowReader, SourceSpec};
pub use sample::{HoldOutBy, HoldOutSize, NOT_SAMPLED, hold_out, keep_sample, stratified};
pub use schema::SchemaFound;
pub use template::{ChoiceStyle, PromptTemplate};
pub use tokens::{
    LengthPolicy, NO_TRAINED_TOKENS, OverLong, TOO_LONG, TokenError, TokenExample, fit_groups, fit_lengths,
};
pub use weight::{repeat_by_weight, sample_by_weight, without_copy};
pub use why::Why;
