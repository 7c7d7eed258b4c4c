//! The content-addressed cache on disk.
//!
//! ```text
//! <root>/blobs/sha256/<hash>        the bytes, read-only; appear whole or not at all
//! <root>/models/<file>              the same file under its own name (hard link; a copy where there are none)
//! <root>/models/<hub>/<owner>/<repo>/<file>   …for files pulled by hub id
//! <root>/data/…                     the same for data sets
//! <root>/records/<key>.json         which id stands for which blob, and where it came from
//! <root>/parts/                     transfers that broke off and can go on
//! <root>/locks/<key>.lock           held while a file is being pulled; never removed
//! <root>/hashes/<key>.json          sha256 of files outside the store, by path, length and time of change
//! <root>/tmp/                       work space of pip, emptied after use
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::HubError;
use crate::options::PullOptions;
use crate::progress::{Progress, Tell};
use crate::{fs as whole, hash};

/// The cache under one folder. Cheap to clone; nothing is created before it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// The usual root of the store: `NURTURE_HOME`, else `XDG_CACHE_HOME/nurture`, else `~/.cache/nurture`
/// (`LOCALAPPDATA/nurture` where there is no `HOME`). `env` looks variables up; empty ones and a relative
/// `XDG_CACHE_HOME` count as unset. `None` when nothing is set.
pub fn default_root(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let get = |key: &str| env(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    get("NURTURE_HOME")
        .or_else(|| get("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("nurture")))
        .or_else(|| get("HOME").map(|p| p.join(".cache").join("nurture")))
        .or_else(|| get("LOCALAPPDATA").map(|p| p.join("nurture")))
}

/// What the store remembers about a pulled name or id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Catalogue name or canonical hub id.
    pub(crate) id: String,
    /// Where the file is shown, relative to the root, with `/`.
    pub(crate) place: String,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// The source in words.
    pub(crate) source: String,
}

#[derive(Serialize, Deserialize)]
struct KnownHash {
    path: PathBuf,
    bytes: u64,
    changed_ns: u128,
    sha256: String,
}

impl Store {
    /// The store under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the bytes of this sha256 lie, if they do.
    pub fn blob_path(&self, sha256: &str) -> PathBuf {
        self.root.join("blobs").join("sha256").join(sha256)
    }

    /// sha256 of any file, from memory where path, length and time of change are those of the last time.
    pub fn sha256_of(
        &self,
        path: &Path,
        options: &PullOptions,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<String, HubError> {
        let real = fs::canonicalize(path).map_err(HubError::io("find", path))?;
        let meta = fs::metadata(&real).map_err(HubError::io("look at", path))?;
        let age = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let changed_ns = meta.modified().map_or(0, age);
        let memory = self.keyed("hashes", &real.to_string_lossy());
        if let Some(known) = read_json::<KnownHash>(&memory)
            && (known.path.as_path(), known.bytes, known.changed_ns)
                == (real.as_path(), meta.len(), changed_ns)
            && hash::is_sha256(&known.sha256)
        {
            return Ok(known.sha256);
        }
        let sha256 = hash::of_file(&real, options, progress)?;
        // Within the clock's grain a file can change without its time of change; such a hash is not kept.
        let settled =
            meta.modified().ok().and_then(|t| t.elapsed().ok()).is_some_and(|d| d > Duration::from_secs(2));
        if settled {
            let known = KnownHash { path: real, bytes: meta.len(), changed_ns, sha256: sha256.clone() };
            // Only a convenience: a store that cannot be written does not spoil the answer.
            let _ = write_json(&memory, &known);
        }
        Ok(sha256)
    }

    /// The path of a place given with `/`.
    pub(crate) fn at(&self, place: &str) -> PathBuf {
        place.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    pub(crate) fn part_path(&self, key: &str, origin: &str) -> PathBuf {
        let origin: String = hash::of_text(origin).chars().take(12).collect();
        self.root.join("parts").join(format!("{key}.{origin}.part"))
    }

    pub(crate) fn tmp_path(&self, key: &str) -> PathBuf {
        self.root.join("tmp").join(key)
    }

    /// Removes what transfers of this key left behind.
    pub(crate) fn clear_parts(&self, key: &str) {
        let Ok(entries) = fs::read_dir(self.root.join("parts")) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{key}.")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Bytes that transfers of this key left behind.
    pub(crate) fn part_bytes(&self, key: &str) -> u64 {
        let Ok(entries) = fs::read_dir(self.root.join("parts")) else { return 0 };
        let ours = |name: &str| name.starts_with(&format!("{key}.")) && name.ends_with(".part");
        let sizes = entries.flatten().filter(|e| ours(&e.file_name().to_string_lossy()));
        sizes.filter_map(|e| e.metadata().ok()).map(|m| m.len()).max().unwrap_or(0)
    }

    /// Whether the blob lies there with the right length (`None`: any).
    pub(crate) fn has_blob(&self, sha256: &str, bytes: Option<u64>) -> bool {
        fs::metadata(self.blob_path(sha256)).is_ok_and(|m| m.is_file() && bytes.is_none_or(|b| b == m.len()))
    }

    /// The friendly path when it shows the blob, else the blob's own.
    pub(crate) fn shown(&self, sha256: &str, place: &str) -> PathBuf {
        let (blob, place) = (self.blob_path(sha256), self.at(place));
        if same_file(&blob, &place) { place } else { blob }
    }

    /// Makes the blob visible under its friendly name and returns the path to use. In a store that may only be read (a
    /// service's, or one that was copied there without its links) that is the blob itself.
    pub(crate) fn show(&self, sha256: &str, place: &str) -> Result<PathBuf, HubError> {
        let blob = self.blob_path(sha256);
        if !same_file(&blob, &self.at(place)) {
            match whole::link_or_copy(&blob, &self.at(place)) {
                Err(HubError::Io { source, .. }) if whole::only_read(&source) => {}
                made => made?,
            }
        }
        Ok(self.shown(sha256, place))
    }

    /// Takes the lock of a key; waits, with word to the caller, while another holds it.
    pub(crate) fn lock(
        &self,
        key: &str,
        options: &PullOptions,
        tell: &mut Tell<'_>,
    ) -> Result<File, HubError> {
        let path = self.root.join("locks").join(format!("{key}.lock"));
        whole::create_parent(&path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(HubError::io("create", &path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        tell(Progress::Waiting);
                        told = true;
                    }
                    options.check_cancel()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::Error(source)) => {
                    let what = "lock (the store must lie on a file system with locks; set NURTURE_HOME)";
                    return Err(HubError::Io { what, path, source });
                }
            }
        }
    }

    pub(crate) fn record(&self, id: &str) -> Option<Record> {
        let record: Record = read_json(&self.keyed("records", id))?;
        let safe = crate::reference::is_safe_repo_path(&record.place) && hash::is_sha256(&record.sha256);
        (record.id == id && safe).then_some(record)
    }

    pub(crate) fn save_record(&self, record: &Record) -> Result<(), HubError> {
        write_json(&self.keyed("records", &record.id), record)
    }

    /// The hash that a record of this id names, or one of another id whose file is shown at the same place.
    pub(crate) fn recorded(&self, id: &str, place: &str) -> Option<String> {
        let own = self.record(id);
        own.or_else(|| self.records().into_iter().find(|r| r.place == place)).map(|r| r.sha256)
    }

    /// All records, by id.
    pub(crate) fn records(&self) -> Vec<Record> {
        let Ok(entries) = fs::read_dir(self.root.join("records")) else { return Vec::new() };
        let mut records: Vec<Record> = entries
            .flatten()
            .filter_map(|e| read_json::<Record>(&e.path()))
            .filter_map(|r| self.record(&r.id))
            .collect();
        records.sort_by(|a, b| a.id.cmp(&b.id));
        records
    }

    fn keyed(&self, folder: &str, id: &str) -> PathBuf {
        self.root.join(folder).join(format!("{}.json", hash::of_text(id)))
    }
}

/// Reads a small file of ours; whatever is wrong with it, it only means that nothing is remembered.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), HubError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| HubError::Io {
        what: "write",
        path: path.to_path_buf(),
        source: e.into(),
    })?;
    whole::write_whole(path, &bytes)
}

/// Whether two names show one file: one inode, or a copy made where hard links are missing.
fn same_file(blob: &Path, place: &Path) -> bool {
    let (Ok(a), Ok(b)) = (fs::metadata(blob), fs::symlink_metadata(place)) else { return false };
    if whole::same_inode(blob, place) {
        return true;
    }
    b.is_file() && a.len() == b.len() && a.modified().ok() == b.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_follows_the_first_variable_that_counts() {
        let root = |set: &[(&str, &str)]| {
            default_root(|key| set.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
        };
        let home = ("HOME", "/home/a");
        assert_eq!(root(&[home, ("XDG_CACHE_HOME", "/x"), ("NURTURE_HOME", "here")]), Some("here".into()));
        assert_eq!(root(&[home, ("XDG_CACHE_HOME", "/x"), ("NURTURE_HOME", "")]), Some("/x/nurture".into()));
        assert_eq!(root(&[home, ("XDG_CACHE_HOME", "x")]), Some("/home/a/.cache/nurture".into()));
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn hashes_of_outside_files_are_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("store"));
        let path = dir.path().join("model.gguf");
        fs::write(&path, b"one").unwrap();
        let old = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let options = PullOptions::default();
        let mut hashed = 0;
        let mut count = |p: Progress<'_>| hashed += usize::from(matches!(p, Progress::Hashing { .. }));
        let first = store.sha256_of(&path, &options, &mut count).unwrap();
        assert_eq!(first, hash::of_text("one"));
        assert_eq!(store.sha256_of(&path, &options, &mut count).unwrap(), first);
        fs::write(&path, b"two").unwrap();
        assert_eq!(store.sha256_of(&path, &options, &mut count).unwrap(), hash::of_text("two"));
        assert_eq!(hashed, 2, "the second answer came from memory");
    }
}
