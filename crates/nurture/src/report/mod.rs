//! The report (soon).
