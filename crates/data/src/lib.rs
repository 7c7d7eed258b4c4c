//! Readers, examples, splits and the ledger that accounts for every row.
