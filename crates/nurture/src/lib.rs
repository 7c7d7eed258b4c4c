//! Raise a deep model: one binary and one library from data to a tuned, examined model.
pub mod lang;
pub mod recipe;
pub mod report;
