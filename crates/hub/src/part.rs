//! A file on its way into the store: hashed while written, resumable, published only when right.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{FailureKind, HubError, Stop, is_disk_full};
use crate::options::PullOptions;
use crate::progress::{Progress, Tell};
use crate::store::Store;
use crate::{fs as whole, hash};

/// What is known of the file before it is here.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    /// Names the lock and the partial files.
    pub(crate) key: String,
    pub(crate) sha256: Option<String>,
    pub(crate) bytes: Option<u64>,
}

/// What lies beside a partial file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartState {
    /// The sender's tag of the version that these bytes belong to.
    pub(crate) etag: Option<String>,
    /// For sources that come in items: finished items and the length at their end.
    pub(crate) items: Option<(usize, u64)>,
}

/// The partial file of one source.
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    len: u64,
    limit: u64,
    needed: Option<u64>,
    pub(crate) state: PartState,
    /// Whether its first bytes come from an earlier pull.
    pub(crate) resumed: bool,
}

impl Part {
    /// Opens the partial file of this source and hashes what an earlier pull left.
    pub(crate) fn open(
        store: &Store,
        want: &Want,
        origin: &str,
        options: &PullOptions,
        tell: &mut Tell<'_>,
    ) -> Result<Self, HubError> {
        let path = store.part_path(&want.key, origin);
        whole::create_parent(&path)?;
        let state: PartState = fs::read(state_path(&path))
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(HubError::io("open", &path))?;
        let there = file.metadata().map_err(HubError::io("look at", &path))?.len();
        let keep = state.items.map_or(there, |(_, end)| end);
        let limit = want.bytes.unwrap_or(options.max_bytes);
        let usable = keep <= there && keep <= limit;
        let (hasher, len) = hash::feed(&mut file, &path, if usable { keep } else { 0 }, options, tell)?;
        let mut part = Self {
            file,
            path,
            hasher,
            len,
            limit,
            needed: want.bytes,
            state: if usable { state } else { PartState::default() },
            resumed: len > 0,
        };
        part.cut(len)?;
        if len > 0 {
            tell(Progress::Resuming { from: len });
        }
        Ok(part)
    }

    /// Bytes here so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Length of the whole file in bytes, when known.
    pub(crate) fn needed(&self) -> Option<u64> {
        self.needed
    }

    /// Tells how long the file will be, and that no more than this is taken.
    pub(crate) fn expect_bytes(&mut self, total: u64) -> Result<(), Stop> {
        if total > self.limit {
            let reason = format!("the file there has {total} bytes, but at most {} are expected", self.limit);
            return Err(Stop::Source(FailureKind::Mismatch, reason));
        }
        self.needed = Some(total);
        Ok(())
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let after = self.len + bytes.len() as u64;
        if after > self.limit {
            let reason = format!("the source sends more than the {} bytes that are expected", self.limit);
            self.remove();
            return Err(Stop::Source(FailureKind::Mismatch, reason));
        }
        if let Err(source) = self.file.write_all(bytes) {
            return Err(self.write_failed(source).into());
        }
        self.hasher.update(bytes);
        self.len = after;
        Ok(())
    }

    /// Throws away what is here.
    pub(crate) fn restart(&mut self) -> Result<(), HubError> {
        self.hasher = Sha256::new();
        self.len = 0;
        self.resumed = false;
        self.state = PartState::default();
        whole::remove_file(&state_path(&self.path))?;
        self.cut(0)
    }

    /// Remembers, beside the bytes, what is needed to go on from here.
    pub(crate) fn save_state(&mut self) -> Result<(), HubError> {
        self.file.sync_data().map_err(HubError::io("write", &self.path))?;
        let bytes = serde_json::to_vec(&self.state).map_err(|e| HubError::Io {
            what: "write",
            path: self.path.clone(),
            source: e.into(),
        })?;
        whole::write_whole(&state_path(&self.path), &bytes)
    }

    /// Checks the whole file and moves it to its place in the store; returns its sha256 and length.
    pub(crate) fn finish(mut self, store: &Store, expected: Option<&str>) -> Result<(String, u64), Stop> {
        let sha256 = hash::hex(self.hasher.clone());
        if let Some(expected) = expected
            && expected != sha256
        {
            self.remove();
            let reason =
                format!("the bytes have sha256 {sha256}, but {expected} is expected; they were removed");
            return Err(Stop::Source(FailureKind::Mismatch, reason));
        }
        if let Err(source) = self.file.sync_all() {
            return Err(self.write_failed(source).into());
        }
        // The blob and its friendly name are one file; read-only keeps editors from changing both.
        let _ = self.file.metadata().map(|m| {
            let mut permissions = m.permissions();
            permissions.set_readonly(true);
            if cfg!(unix) {
                let _ = self.file.set_permissions(permissions);
            }
        });
        whole::rename(&self.path, &store.blob_path(&sha256))?;
        let _ = fs::remove_file(state_path(&self.path));
        Ok((sha256, self.len))
    }

    fn cut(&mut self, len: u64) -> Result<(), HubError> {
        let cut = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len)));
        cut.map(|_| ()).map_err(HubError::io("write", &self.path))
    }

    /// A full disk costs the partial file, so that the machine is not left full; other errors keep it.
    fn write_failed(&mut self, source: std::io::Error) -> HubError {
        if is_disk_full(&source) {
            self.remove();
            return HubError::DiskFull {
                path: self.path.clone(),
                needed: self.needed,
                reason: source.to_string(),
            };
        }
        HubError::Io { what: "write", path: self.path.clone(), source }
    }

    fn remove(&mut self) {
        let _ = self.file.set_len(0);
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(state_path(&self.path));
    }
}

fn state_path(part: &std::path::Path) -> PathBuf {
    part.with_extension("state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(bytes: u64) -> Want {
        Want { key: "k".into(), sha256: None, bytes: Some(bytes) }
    }

    #[test]
    fn more_bytes_than_expected_are_refused_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut part = Part::open(&store, &want(4), "o", &PullOptions::default(), &mut |_| {}).unwrap();
        part.write(b"1234").unwrap();
        assert!(matches!(part.write(b"5"), Err(Stop::Source(FailureKind::Mismatch, _))));
        assert!(!store.part_path("k", "o").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_from_other_errors_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut part = Part::open(&store, &want(9), "o", &PullOptions::default(), &mut |_| {}).unwrap();
        part.write(b"1234").unwrap();
        part.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let Err(Stop::Fatal(error)) = part.write(b"5678") else { panic!("a full disk took bytes") };
        assert!(matches!(error, HubError::DiskFull { needed: Some(9), .. }), "{error:?}");
        assert!(error.to_string().contains("NURTURE_HOME"), "{error}");
        assert!(!store.part_path("k", "o").exists());
    }
}
