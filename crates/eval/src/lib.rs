//! Exams, scorers and statistics.

mod error;
pub mod stats;

pub use error::EvalError;
