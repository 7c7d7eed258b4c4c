//! Where the bytes of a file come from: the disk, or an archive.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use zip::ZipArchive;

use crate::archive;
use crate::documents::DocumentProblem;
use crate::error::DataError;
use crate::rows::ReadLimits;

/// Bytes that can be read more than once.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A file on disk, read as a stream.
    File(PathBuf),
    /// A member of an archive, held whole.
    Memory {
        /// Its path in the archive.
        name: PathBuf,
        /// What is in it.
        bytes: Arc<[u8]>,
    },
}

/// What readers of tables need.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

impl Input {
    /// The path, for messages and for the format's ending.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Input::File(path) => path,
            Input::Memory { name, .. } => name,
        }
    }

    /// Opens it at its beginning.
    pub(crate) fn open(&self) -> Result<Box<dyn ReadSeek>, DataError> {
        Ok(match self {
            Input::File(path) => {
                Box::new(File::open(path).map_err(|source| DataError::Io { path: path.clone(), source })?)
            }
            Input::Memory { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
        })
    }

    /// The first bytes, at most eight.
    pub(crate) fn head(&self) -> Result<Vec<u8>, DataError> {
        let mut head = vec![0; 8];
        let io = |source| DataError::Io { path: self.path().to_path_buf(), source };
        let n = crate::encoding::read_full(&mut self.open()?, &mut head).map_err(io)?;
        head.truncate(n);
        Ok(head)
    }
}

/// An archive that is open, and how much was unpacked of it.
pub(crate) struct OpenArchive {
    zip: RefCell<ZipArchive<BufReader<File>>>,
    unpacked: Cell<u64>,
}

impl OpenArchive {
    pub(crate) fn open(path: &Path) -> Result<Result<OpenArchive, DocumentProblem>, DataError> {
        let file = File::open(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
        Ok(archive::open(BufReader::new(file), "zip")
            .map(|zip| OpenArchive { zip: RefCell::new(zip), unpacked: Cell::new(0) }))
    }

    /// Path and number of each member that is a file, in the order of the paths.
    pub(crate) fn members(&self) -> Result<Vec<(String, usize)>, DocumentProblem> {
        let mut zip = self.zip.borrow_mut();
        let mut out = Vec::new();
        for index in 0..zip.len() {
            let file =
                zip.by_index_raw(index).map_err(|e| DocumentProblem::Unpack { what: e.to_string() })?;
            if !file.is_dir() {
                out.push((archive::name(file.name_raw()).replace('\\', "/"), index));
            }
        }
        out.sort();
        Ok(out)
    }
}

/// A file that has not been read yet.
#[derive(Clone)]
pub(crate) enum Place {
    /// On disk.
    File(PathBuf),
    /// In an archive.
    Member {
        /// The archive.
        archive: Rc<OpenArchive>,
        /// Which member.
        index: usize,
        /// Its path in the archive.
        name: PathBuf,
    },
}

impl Place {
    /// Its bytes as an input; those of a member are unpacked here.
    pub(crate) fn input(&self, limits: &ReadLimits) -> Result<Input, DocumentProblem> {
        match self {
            Place::File(path) => Ok(Input::File(path.clone())),
            Place::Member { archive, index, name } => {
                let all = limits.archive_bytes;
                let cap = limits.document_bytes as u64;
                let bytes = archive::member(&mut archive.zip.borrow_mut(), *index, cap, "it, unpacked,")?;
                archive.unpacked.set(archive.unpacked.get() + bytes.len() as u64);
                if archive.unpacked.get() > all {
                    return Err(DocumentProblem::TooLarge { what: "the archive, unpacked,", cap: all });
                }
                Ok(Input::Memory { name: name.clone(), bytes: bytes.into() })
            }
        }
    }

    /// All its bytes, at most `limits.document_bytes`.
    pub(crate) fn bytes(&self, limits: &ReadLimits) -> Result<Result<Vec<u8>, DocumentProblem>, DataError> {
        let input = match self.input(limits) {
            Ok(input) => input,
            Err(problem) => return Ok(Err(problem)),
        };
        let cap = limits.document_bytes as u64;
        let mut bytes = Vec::new();
        input
            .open()?
            .take(cap + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| DataError::Io { path: input.path().to_path_buf(), source })?;
        if bytes.len() as u64 > cap {
            return Ok(Err(DocumentProblem::TooLarge { what: "the file", cap }));
        }
        Ok(Ok(bytes))
    }
}
