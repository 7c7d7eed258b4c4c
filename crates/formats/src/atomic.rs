//! Files that appear whole or not at all: written beside their place under a temporary name, flushed to the disk,
//! then renamed. A process that is killed on the way leaves the old file (and perhaps a `.nurture-*.tmp`).

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::FormatError;

/// A file under construction. Dropping it without [`AtomicFile::commit`] removes it and leaves the old file alone.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temp: PathBuf,
    /// `None` once committed.
    file: Option<File>,
}

impl AtomicFile {
    /// Begins a new file for `path`, whose folder must exist.
    pub fn create(path: impl Into<PathBuf>) -> Result<AtomicFile, FormatError> {
        let path = path.into();
        let temp = temporary_beside(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temp)
            .map_err(|source| FormatError::io(&path, "creating", source))?;
        Ok(AtomicFile { path, temp, file: Some(file) })
    }

    /// Where the file will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the length; bytes never written are zero.
    pub(crate) fn set_len(&mut self, len: u64) -> Result<(), FormatError> {
        self.file().and_then(|file| file.set_len(len)).map_err(|e| FormatError::io(&self.path, "sizing", e))
    }

    /// Writes `bytes` at `offset`.
    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        self.file()
            .and_then(|file| {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)
            })
            .map_err(|e| FormatError::io(&self.path, "writing", e))
    }

    /// Flushes the file to the disk and puts it in its place.
    pub fn commit(mut self) -> Result<(), FormatError> {
        self.file()
            .and_then(|file| file.sync_all())
            .map_err(|e| FormatError::io(&self.path, "flushing", e))?;
        std::fs::rename(&self.temp, &self.path)
            .map_err(|e| FormatError::io(&self.path, "putting in place", e))?;
        self.file = None;
        sync_folder(folder_of(&self.path))
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is already closed"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file()?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody is left to tell; a leftover temporary file does no harm.
            let _ = std::fs::remove_file(&self.temp);
        }
    }
}

/// Writes a whole file in one step: readers see the old bytes or the new ones, whatever happens in between.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), FormatError> {
    write_atomic_with(path, |out| out.write_all(bytes))
}

/// As [`write_atomic`], with the bytes written by `fill`. If it fails, nothing of the new file is left.
pub fn write_atomic_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    let mut file = AtomicFile::create(path.as_ref())?;
    {
        let mut out = io::BufWriter::with_capacity(64 * 1024, &mut file);
        fill(&mut out)
            .and_then(|()| out.flush())
            .map_err(|source| FormatError::io(path.as_ref(), "writing", source))?;
    }
    file.commit()
}

/// A name beside `path` that no other process or thread uses.
pub(crate) fn temporary_beside(path: &Path) -> Result<PathBuf, FormatError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if path.file_name().is_none() {
        return Err(FormatError::request(path, "not a name that can be written to"));
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(folder_of(path).join(format!(".nurture-{}-{number}.tmp", std::process::id())))
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames in a folder survive a power cut. Only Unix can open folders for this.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FormatError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| FormatError::io(folder, "flushing the folder", source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_disk_that_fills_keeps_the_old_file_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"old").unwrap();
        let error = write_atomic_with(&path, |out| {
            out.write_all(&[0; 200_000])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(matches!(error, FormatError::DiskFull { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn missing_folders_and_nameless_paths_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write_atomic(dir.path().join("no/such/file"), b"").is_err());
        assert!(write_atomic("/", b"").is_err());
        assert!(write_atomic("..", b"").is_err());
    }
}
