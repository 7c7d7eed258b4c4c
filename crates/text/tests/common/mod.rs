//! What the tests share: the strings, the goldens, the real vocabularies.
#![allow(dead_code, unreachable_pub)]

pub mod gguf;
pub mod strings;

use std::path::PathBuf;

/// A file under `tests/goldens`.
pub fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A JSON file under `tests/goldens`.
pub fn golden_json(name: &str) -> serde_json::Value {
    serde_json::from_str(&golden(name)).unwrap()
}

/// A real model file: in the folder `NURTURE_TEST_MODELS`, or in the cache. Absent ones are skipped aloud.
pub fn model(file: &str) -> Option<PathBuf> {
    let home = std::env::var_os("NURTURE_HOME").map(PathBuf::from);
    let cache = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/nurture")));
    let folders =
        [std::env::var_os("NURTURE_TEST_MODELS").map(PathBuf::from), cache.map(|c| c.join("models"))];
    let found = folders.into_iter().flatten().map(|f| f.join(file)).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped: {file} is neither in $NURTURE_TEST_MODELS nor in the model cache");
    }
    found
}
