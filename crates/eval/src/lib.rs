//! Exams, scorers and statistics.
