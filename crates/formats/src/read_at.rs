//! Positioned reads: the parsers take their bytes from a file or from memory in the same way.
//!
//! Files are not mapped: a file that is cut while it is used gives an error instead of a signal, and memory
//! holds the weights once, in the form the kernels want.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::FormatError;

/// A source of bytes that can be read at any offset, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Length in bytes when the source was opened.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset` on, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file with its length.
#[derive(Debug)]
pub struct FileAt {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    size: u64,
}

impl FileAt {
    /// Opens a regular file for reading.
    pub fn open(path: &Path) -> Result<FileAt, FormatError> {
        let fail = |source| FormatError::io(path, "opening", source);
        // Looked at first: opening a named pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(fail)?;
        if !kind.is_file() {
            return Err(FormatError::not_supported(path, "not a regular file"));
        }
        let file = File::open(path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        #[cfg(not(unix))]
        let file = std::sync::Mutex::new(file);
        Ok(FileAt { file, size })
    }
}

impl ReadAt for FileAt {
    fn size(&self) -> u64 {
        self.size
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }

    #[cfg(not(unix))]
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = self.file.lock().map_err(|_| io::Error::other("a reading thread has failed"))?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buf)
    }
}

/// Reads a whole small file, refusing more than `limit` bytes before reading them.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, FormatError> {
    let file = FileAt::open(path)?;
    if file.size > limit {
        let problem = format!("{} bytes long; a file of this kind may have at most {limit}", file.size);
        return Err(FormatError::not_supported(path, problem));
    }
    let mut bytes = vec![0; file.size as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|source| FormatError::io(path, "reading", source))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..100).collect();
        std::fs::write(&path, &bytes).unwrap();
        let sources: [Box<dyn ReadAt>; 2] = [Box::new(bytes.clone()), Box::new(FileAt::open(&path).unwrap())];
        for source in sources {
            assert_eq!(source.size(), 100);
            let mut buf = [0; 7];
            source.read_exact_at(&mut buf, 93).unwrap();
            assert_eq!(buf[..], bytes[93..]);
            assert!(source.read_exact_at(&mut buf, 94).is_err());
            assert!(source.read_exact_at(&mut buf, u64::MAX - 1).is_err());
        }
    }

    #[test]
    fn folders_and_long_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(FileAt::open(dir.path()).is_err());
        let path = dir.path().join("x");
        std::fs::write(&path, [0; 11]).unwrap();
        assert!(read_small(&path, 10).unwrap_err().to_string().contains("at most 10"));
    }
}
