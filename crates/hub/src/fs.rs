//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::HubError;

/// Creates a folder and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(HubError::io("create the folder", path))
}

/// Creates the folder that `path` lies in.
pub(crate) fn create_parent(path: &Path) -> Result<(), HubError> {
    path.parent().map_or(Ok(()), create_dir)
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(HubError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Writes a small file through a temporary one beside it: write, fsync, rename.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    create_parent(path)?;
    let temporary = beside(path);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        HubError::io("write", path)(e)
    })
}

/// Moves a finished and synced file to its place and makes the new name last.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), HubError> {
    create_parent(to)?;
    fs::rename(from, to).map_err(HubError::io("move a file to", to))?;
    sync_parent(to);
    Ok(())
}

/// Shows the file `blob` under a second name: a hard link, or a copy where the file system has none.
pub(crate) fn link_or_copy(blob: &Path, place: &Path) -> Result<(), HubError> {
    create_parent(place)?;
    let temporary = beside(place);
    remove_file(&temporary)?;
    let result = fs::hard_link(blob, &temporary).or_else(|_| copy(blob, &temporary));
    result.and_then(|()| fs::rename(&temporary, place)).map_err(|e| {
        let _ = fs::remove_file(&temporary);
        HubError::io("write", place)(e)
    })?;
    // A rename between two names of one file does nothing and leaves both.
    let _ = fs::remove_file(&temporary);
    sync_parent(place);
    Ok(())
}

/// Whether two names are hard links to the same bytes. Only Unix can tell; elsewhere they never are.
pub(crate) fn same_inode(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |m: fs::Metadata| (m.dev(), m.ino());
        let (one, other) = (fs::metadata(one).map(inode), fs::symlink_metadata(other).map(inode));
        matches!((one, other), (Ok(a), Ok(b)) if a == b)
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        false
    }
}

/// Whether a place can be read and not written.
pub(crate) fn only_read(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// Copies bytes and time of change; the latter tells later that this is the blob's copy.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut copy = File::create(to)?;
    let mut blob = File::open(from)?;
    std::io::copy(&mut blob, &mut copy)?;
    copy.set_modified(blob.metadata()?.modified()?)?;
    copy.sync_all()
}

/// A temporary name in the same folder, distinct for each process and thread.
fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{:?}.tmp", std::process::id(), std::thread::current().id()));
    path.with_file_name(name)
}

/// Only Unix can sync a folder; elsewhere a crash may lose the newest name, never mix two files.
fn sync_parent(path: &Path) {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let _ = File::open(parent).and_then(|d| d.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}
