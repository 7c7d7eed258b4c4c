//! Helpers that the test files share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use nurture_data::{DataError, Example, LoadOptions, Loaded, SourceSpec, load_training};

/// A folder that is removed at the end, with files in it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a file is written");
        path
    }
}

/// Reads one file as training data with the default options.
pub(crate) fn load(name: &str, bytes: impl AsRef<[u8]>) -> Result<Loaded, DataError> {
    load_with(name, bytes, &LoadOptions::default())
}

pub(crate) fn load_with(
    name: &str,
    bytes: impl AsRef<[u8]>,
    options: &LoadOptions,
) -> Result<Loaded, DataError> {
    let folder = Folder::new();
    let loaded = load_training(&[SourceSpec::new(folder.file(name, bytes))], options);
    if let Ok(loaded) = &loaded {
        assert!(loaded.ledger.adds_up(), "{:?}", loaded.ledger);
    }
    loaded
}

/// `role: content` of each message of the training conversation.
pub(crate) fn shown(example: &Example) -> Vec<String> {
    example.with_answer().iter().map(|m| format!("{}: {}", m.role, m.content)).collect()
}

/// A real data set beside the checkout, or `None` with a loud line.
pub(crate) fn real(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(path))
        .find(|candidate| candidate.exists());
    if found.is_none() {
        eprintln!("skipped: shared/data/{path} is not beside the checkout");
    }
    found
}
