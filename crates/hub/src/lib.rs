//! The catalogue of models and data sets, pull, and the content-addressed cache.
