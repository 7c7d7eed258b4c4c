//! Exams, scorers and statistics: what a model answered, what that shows, and what it does not.
//!
//! Reading order: [`score`] (is this answer right?), [`ExamResult`] (one model, one exam), [`Comparison`] (base and tuned
//! on the same items), [`PerplexityComparison`] (the same for plain text, cut by [`llama_cpp_windows`] or
//! [`strided_windows`]), [`verdict`] (deeper or not); [`stats`] holds the formulas with their sources.
//!
//! Everything is a pure function of its arguments: same results and seed, same figures.

mod compare;
mod drift;
mod error;
mod exam;
mod perplexity;
mod result;
mod windows;

pub mod judge;
pub mod score;
pub mod stats;
pub mod verdict;

pub use compare::{Changed, Comparison, Gain, LabelChange, Paired, Side};
pub use drift::{Drift, DriftGroup, DriftItem};
pub use error::EvalError;
pub use exam::{Ask, Examinee, Hear, Item, Manner, Paper, Pick, SitError};
pub use perplexity::{PerplexityComparison, PerplexityResult, WindowNll};
pub use result::{ExamFiles, ExamInfo, ExamKind, ExamResult, ItemResult, Mode, Model, Refusals, Role};
pub use verdict::{Asked, Breadth, Finding, Gate, Verdict, VerdictKind};
pub use windows::{Window, WindowScheme, llama_cpp_windows, strided_windows};

pub(crate) use compare::same;
