//! Who sits an exam.

use super::sha256_of;
use crate::engine::Model;
use anyhow::Result;
use nurture_model::Adapter;
use std::path::Path;

/// Who sits an exam: the base, or what was raised from it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tuned<'a> {
    /// the base
    No,
    /// the base with an adapter, in its folder
    Adapter(&'a Adapter, &'a Path),
    /// a network of its own, in its folder
    Network(&'a Model, &'a Path),
}

impl<'a> Tuned<'a> {
    /// The model that computes.
    pub(super) fn model(self, base: &'a Model) -> &'a Model {
        match self {
            Tuned::Network(model, _) => model,
            _ => base,
        }
    }

    pub(super) fn adapter(self) -> Option<&'a Adapter> {
        match self {
            Tuned::Adapter(adapter, _) => Some(adapter),
            _ => None,
        }
    }

    /// Hash of the weights that were trained.
    pub(super) fn sha256(self) -> Result<Option<String>> {
        match self {
            Tuned::No => Ok(None),
            Tuned::Adapter(_, dir) => sha256_of(&dir.join(nurture_formats::adapter::WEIGHTS_NAME)).map(Some),
            Tuned::Network(_, dir) => sha256_of(&dir.join(crate::network::WEIGHTS)).map(Some),
        }
    }
}
