//! What is known and what is here, without the network.

use std::path::PathBuf;

use crate::catalogue::{Catalogue, Entry};
use crate::error::HubError;
use crate::hash;
use crate::options::PullOptions;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::Store;

/// Whether a name's file is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Whole, with the right length.
    Here {
        /// Where to open it.
        path: PathBuf,
        /// Where its bytes came from, in words.
        source: String,
    },
    /// A transfer broke off; the next pull goes on from it.
    Partial {
        /// Bytes here so far.
        bytes: u64,
    },
    /// Not here.
    Absent,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Catalogue name or canonical hub id.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: String,
    /// The catalogue entry; `None` for files pulled by hub id.
    pub entry: Option<Entry>,
    /// Whether it is here.
    pub state: State,
}

/// The catalogue's entries in its order, then the files that were pulled by hub id.
///
/// # Errors
/// Only for a malformed catalogue; an unreadable store counts as an empty one.
pub fn list(store: &Store, options: &PullOptions) -> Result<Vec<Listed>, HubError> {
    let catalogue = options.catalogue.clone().map_or_else(Catalogue::embedded, Ok)?;
    let records = store.records();
    let mut listed = Vec::new();
    for entry in catalogue.entries() {
        let state = if store.has_blob(&entry.sha256, Some(entry.bytes)) {
            let source = store.record(&entry.name).map_or_else(|| "the store".to_owned(), |r| r.source);
            let place = format!("{}/{}", entry.kind.folder(), entry.file);
            State::Here { path: store.shown(&entry.sha256, &place), source }
        } else {
            match store.part_bytes(&entry.sha256) {
                0 => State::Absent,
                bytes => State::Partial { bytes },
            }
        };
        let (name, sha256) = (entry.name.clone(), entry.sha256.clone());
        listed.push(Listed { name, bytes: entry.bytes, sha256, entry: Some(entry.clone()), state });
    }
    for record in records.into_iter().filter(|r| catalogue.find(&r.id).is_none()) {
        let state = if store.has_blob(&record.sha256, Some(record.bytes)) {
            let path = store.shown(&record.sha256, &record.place);
            State::Here { path, source: record.source }
        } else {
            State::Absent
        };
        listed.push(Listed {
            name: record.id,
            bytes: record.bytes,
            sha256: record.sha256,
            entry: None,
            state,
        });
    }
    Ok(listed)
}

/// Where the file of a name, id or path is, if it is here; asks no network and changes nothing.
pub fn resolve(text: &str, store: &Store, options: &PullOptions) -> Option<PathBuf> {
    let catalogue = options.catalogue.clone().map_or_else(Catalogue::embedded, Ok).ok()?;
    match Reference::parse(text, &catalogue).ok()? {
        Reference::Path(path) => Some(path),
        Reference::Entry(entry) => {
            let place = format!("{}/{}", entry.kind.folder(), entry.file);
            store.has_blob(&entry.sha256, Some(entry.bytes)).then(|| store.shown(&entry.sha256, &place))
        }
        Reference::Hub(id) => {
            let record = store.record(&id.canonical())?;
            store
                .has_blob(&record.sha256, Some(record.bytes))
                .then(|| store.shown(&record.sha256, &record.place))
        }
    }
}

/// Hashes the whole file that the store holds for this sha256 and compares.
///
/// # Errors
/// [`HubError::Corrupt`] when it differs; [`HubError::Io`] when it cannot be read.
pub fn verify(
    sha256: &str,
    store: &Store,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), HubError> {
    let path = store.blob_path(sha256);
    let found = hash::of_file(&path, options, progress)?;
    if found == sha256 {
        return Ok(());
    }
    Err(HubError::Corrupt { path, expected: sha256.to_owned(), found })
}
