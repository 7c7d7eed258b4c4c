//! What tests share: where real models and data sets lie, and loud skips where they are missing.
//! Used as a dev-dependency only.

use std::path::{Path, PathBuf};

/// SmolLM2-135M-Instruct as the catalogue names it.
pub const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Gemma-3-270M as the catalogue names it.
pub const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

/// The path of a real model: in `NURTURE_TEST_MODELS`, else in the store (`NURTURE_HOME`, else the cache directory).
/// Prints that the test is skipped where it is not there (`nurture pull` brings it).
pub fn model(file: &str) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let store = var("NURTURE_HOME")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("nurture")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/nurture")));
    let places = [var("NURTURE_TEST_MODELS"), store.map(|s| s.join("models"))];
    let found = places.into_iter().flatten().map(|d| d.join(file)).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped: the model {file} is not on this machine (nurture pull brings it)");
    }
    found
}

/// A file of the data sets that developers share: `shared/data/<path>` beside the checkout.
/// Prints that the test is skipped where it is not there.
pub fn data(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("shared/data").join(path))
        .find(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: shared/data/{path} is not beside this checkout");
    }
    found
}

/// A file of this repository, e.g. a sample.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
