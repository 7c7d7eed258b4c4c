//! sha256 of files and byte streams.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::HubError;
use crate::options::PullOptions;
use crate::progress::{Progress, Tell};

/// Whether `text` is a sha256 in lower-case hex.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The digest of what was fed so far, in lower-case hex.
pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// sha256 of a short text, for names of files in the store.
pub(crate) fn of_text(text: &str) -> String {
    hex(Sha256::new_with_prefix(text.as_bytes()))
}

/// Hashes at most `limit` bytes of an open file from where it stands; returns the state and the count.
pub(crate) fn feed(
    file: &mut File,
    path: &Path,
    limit: u64,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<(Sha256, u64), HubError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut done = 0;
    let mut file = file.take(limit);
    loop {
        options.check_cancel()?;
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, done)),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(HubError::io("read", path)(e)),
        };
        hasher.update(buffer.get(..n).unwrap_or_default());
        done += n as u64;
        tell(Progress::Hashing { done, total: limit });
    }
}

/// sha256 of a whole file.
pub(crate) fn of_file(path: &Path, options: &PullOptions, tell: &mut Tell<'_>) -> Result<String, HubError> {
    let mut file = File::open(path).map_err(HubError::io("open", path))?;
    let len = file.metadata().map_err(HubError::io("look at", path))?.len();
    let (hasher, _) = feed(&mut file, path, len, options, tell)?;
    Ok(hex(hasher))
}
