//! `recipe.lock.toml`: the recipe with nothing left open, and the hashes of all that went into the run.
//!
//! The file is itself a recipe: running it repeats the run. It holds no time, no host and no measured value, so
//! the same inputs give the same bytes.
use serde::{Deserialize, Serialize};

use super::{Derived, Loaded, Override, Recipe, Resolved};

/// File in a run's folder that a process at work there holds; it stays there afterwards.
pub const TAKEN: &str = ".lock";

/// A file that went into a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputHash {
    /// What it was for: `train`, `depth`, `breadth`, `template`.
    pub role: String,
    /// The file.
    pub path: String,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// The `[lock]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the program that wrote it.
    pub version: String,
    /// SHA-256 of the base model's file.
    pub base_sha256: String,
    /// Name of the base model's file.
    pub base_file: String,
    /// SHA-256 of the recipe's text as it was written by hand.
    pub recipe_sha256: String,
    /// Optimiser steps that follow from the recipe.
    pub steps: usize,
    /// The overrides, in their order.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// The input files, by role and path.
    #[serde(default)]
    pub inputs: Vec<InputHash>,
    /// Values that were derived, with their reasons: the file gives them, whoever wrote the recipe did not.
    #[serde(default)]
    pub derived: Vec<Derived>,
    /// The same of each further stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Vec<Derived>>,
}

impl Lock {
    /// What it says of stage `i`.
    pub(super) fn stage(&self, i: usize) -> Lock {
        match i.checked_sub(1) {
            None => self.clone(),
            Some(later) => {
                Lock { derived: self.then.get(later).cloned().unwrap_or_default(), ..self.clone() }
            }
        }
    }
}

impl Resolved {
    /// Gives values that an earlier run derived, and its lock file now gives, their reasons back.
    pub fn recall(&mut self, loaded: &Loaded) {
        let Some(lock) = &loaded.lock else { return };
        let typed = |key: &str| loaded.overrides.iter().any(|o| o.key == key);
        for value in self.values.iter_mut().filter(|v| v.given && !typed(&v.key)) {
            if let Some(was) = lock.derived.iter().find(|d| d.key == value.key && d.value == value.value) {
                *value = was.clone();
            }
        }
    }
}

/// The text of the lock file. Inputs are sorted by role and path; everything else keeps the table's order.
///
/// # Errors
/// A path or text that TOML cannot hold.
pub fn lock(recipe: &Recipe, resolved: &Resolved, lock: Lock) -> Result<String, toml::ser::Error> {
    lock_stages(recipe, &[resolved], lock)
}

/// The same for a recipe of several stages; `resolved` has one for each.
///
/// # Errors
/// A path or text that TOML cannot hold.
pub fn lock_stages(
    recipe: &Recipe,
    resolved: &[&Resolved],
    mut lock: Lock,
) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct File {
        #[serde(flatten)]
        recipe: Recipe,
        lock: Lock,
    }
    let derived = |r: &Resolved| -> Vec<Derived> { r.values.iter().filter(|v| !v.given).cloned().collect() };
    lock.inputs.sort();
    lock.steps = resolved.iter().map(|r| r.steps).sum();
    let mut recipe = recipe.clone();
    if let Some((first, then)) = resolved.split_first() {
        lock.derived = derived(first);
        lock.then = then.iter().map(|r| derived(r)).collect();
        let stages = recipe.stages();
        for ((stage, resolved), own) in stages.iter().skip(1).zip(then).zip(&mut recipe.then) {
            let full = resolved.apply(stage);
            (own.data, own.train) = (full.data, full.train);
        }
        recipe = first.apply(&recipe);
    }
    // the run may be moved: it is where its lock file is
    recipe.run.dir = super::Run::default().dir;
    let body = toml::to_string(&File { recipe, lock })?;
    Ok(format!(
        "# Written by the run; running this file repeats it. 由运行写出；运行本文件即可重复。\n{body}"
    ))
}
