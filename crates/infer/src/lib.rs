//! Sampling, generation and decisions over token ids.
