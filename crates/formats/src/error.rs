//! The one error type of this crate: each variant carries the file and the place in it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("{}: {action}: {source}", file.display())]
    Io {
        /// The file or folder concerned.
        file: PathBuf,
        /// What was being done, e.g. `reading tensor "output.weight"`.
        action: String,
        /// The system's own reason.
        source: io::Error,
    },
    /// There was no room for the file; nothing of it is left behind.
    #[error(
        "{}: no space left on the disk (or the quota or the limit on file sizes is reached); nothing was kept of the unfinished file: free some space and try again",
        file.display()
    )]
    DiskFull {
        /// The file that could not be written.
        file: PathBuf,
    },
    /// The bytes break the format.
    #[error("{}: byte {offset}: {item}: {problem}", file.display())]
    Malformed {
        /// The file concerned.
        file: PathBuf,
        /// Offset of the broken item from the start of the file, in bytes.
        offset: u64,
        /// What stands there, e.g. `tensor "blk.0.attn_q.weight"` or `key "general.alignment"`.
        item: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is of another kind or version than the reader knows.
    #[error("{}: {problem}", file.display())]
    NotSupported {
        /// The file concerned.
        file: PathBuf,
        /// What it is and what would be accepted.
        problem: String,
    },
    /// No tensor of this name.
    #[error("{}: no tensor \"{name}\"{}", file.display(), hint(nearest))]
    NoTensor {
        /// The file or folder concerned.
        file: PathBuf,
        /// The name that was asked for.
        name: String,
        /// Names in the file that come nearest, best first.
        nearest: Vec<String>,
    },
    /// The tensor exists, but its element type cannot be read.
    #[error(
        "{}: tensor \"{name}\" is stored as {dtype}, which is not supported; use a file with one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL",
        file.display()
    )]
    UnsupportedType {
        /// The file concerned.
        file: PathBuf,
        /// The tensor's name.
        name: String,
        /// The file's name or number of the type.
        dtype: String,
    },
    /// A metadata or configuration key is missing, or its value is of the wrong kind.
    #[error("{}: key \"{key}\": {problem}", file.display())]
    Key {
        /// The file concerned.
        file: PathBuf,
        /// The key's name.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller asked for something impossible (a range outside of a tensor, two tensors of one name to write).
    #[error("{}: {problem}", file.display())]
    Request {
        /// The file concerned.
        file: PathBuf,
        /// What was asked for and why it cannot be.
        problem: String,
    },
}

impl FormatError {
    /// Wraps a system error; a full disk becomes [`FormatError::DiskFull`].
    pub(crate) fn io(file: &Path, action: impl Into<String>, source: io::Error) -> FormatError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                FormatError::DiskFull { file: file.to_path_buf() }
            }
            _ => FormatError::Io { file: file.to_path_buf(), action: action.into(), source },
        }
    }

    pub(crate) fn malformed(
        file: &Path,
        offset: u64,
        item: impl Into<String>,
        problem: impl Into<String>,
    ) -> FormatError {
        FormatError::Malformed {
            file: file.to_path_buf(),
            offset,
            item: item.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn key(file: &Path, key: &str, problem: impl Into<String>) -> FormatError {
        FormatError::Key { file: file.to_path_buf(), key: key.to_string(), problem: problem.into() }
    }

    pub(crate) fn request(file: &Path, problem: impl Into<String>) -> FormatError {
        FormatError::Request { file: file.to_path_buf(), problem: problem.into() }
    }

    pub(crate) fn not_supported(file: &Path, problem: impl Into<String>) -> FormatError {
        FormatError::NotSupported { file: file.to_path_buf(), problem: problem.into() }
    }
}

fn hint(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    let names: Vec<String> = nearest.iter().map(|name| format!("\"{name}\"")).collect();
    format!("; nearest: {}", names.join(", "))
}

/// A name from a file, made fit for a message: control characters escaped, cut after 100 characters.
pub(crate) fn shown(name: &str) -> String {
    clipped(&name.chars().take(101).flat_map(char::escape_debug).collect::<String>(), 100)
}

/// The message of a JSON error, which may quote a whole hostile string.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    clipped(&error.to_string(), 300)
}

fn clipped(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_as_such() {
        let error = FormatError::io(Path::new("a.bin"), "writing", io::ErrorKind::StorageFull.into());
        assert!(error.to_string().contains("no space left"), "{error}");
        assert!(error.to_string().contains("a.bin"), "{error}");
    }

    #[test]
    fn hostile_names_are_cut_and_escaped() {
        assert_eq!(shown("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 101);
    }
}
