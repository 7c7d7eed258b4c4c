//! Replays the fuzzers' seeds and kept finds (`fuzz/seeds`): none may panic, and the seeds that are whole must open.

mod common;

use std::path::{Path, PathBuf};

use common::{open_safetensors, read_all};
use nurture_formats::GgufFile;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files
}

/// Finds are named after what was wrong; whole files carry the format's own extension.
fn must_open(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

#[test]
fn gguf() {
    for path in seeds("gguf") {
        match GgufFile::from_source(&path, std::fs::read(&path).unwrap()) {
            Ok(file) => read_all(&file),
            Err(error) => assert!(!must_open(&path, "gguf"), "{error}"),
        }
    }
}

#[test]
fn safetensors() {
    for path in seeds("safetensors") {
        match open_safetensors(std::fs::read(&path).unwrap()) {
            Ok(file) => read_all(&file),
            Err(error) => assert!(!must_open(&path, "safetensors"), "{}: {error}", path.display()),
        }
    }
}
