//! Exams, scorers and statistics.

mod error;
pub mod score;
pub mod stats;

pub use error::EvalError;
