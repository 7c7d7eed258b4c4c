//! A source of the recipe to the files that it stands for: one file; a folder or zip archive of files; the data sets of a
//! LLaMA-Factory `dataset_info.json`.
//!
//! Documents of a folder or archive are one part, whose rows are the documents; each table in it is a part of its own, with
//! its own columns. Files are taken in the order of their paths. Hidden ones (`.git`, `~$draft.docx`, `__MACOSX`) are
//! passed over; others that no reader is for end in the ledger as `not_read`.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::documents::{DocumentFormat, DocumentProblem};
use crate::error::DataError;
use crate::input::{Input, OpenArchive, Place};
use crate::llama_factory;
use crate::rows::{FileFormat, SourceSpec};

/// Deepest folder, and most files, below one source.
const DEPTH: usize = 64;
const FILES: usize = 2_000_000;

/// A part of a source with a ledger line of its own.
pub(crate) struct Part {
    /// Which source of the recipe.
    pub(crate) spec: usize,
    /// As it is named in ids.
    pub(crate) name: String,
    pub(crate) kind: PartKind,
}

pub(crate) enum PartKind {
    /// Rows of a table.
    Table { spec: Box<SourceSpec>, place: Place },
    /// Documents, each with the path that names it.
    Documents(Vec<Member>),
}

/// A document that has not been read yet, or a file that will not be.
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) what: Result<(DocumentFormat, Place), DocumentProblem>,
}

/// The parts of all sources. `names` are those of the sources in ids.
pub(crate) fn parts(specs: &[SourceSpec], names: &[String]) -> Result<Vec<Part>, DataError> {
    let mut out = Vec::new();
    for (at, (spec, name)) in specs.iter().zip(names).enumerate() {
        let found = of_source(spec, name)?;
        out.extend(found.into_iter().map(|(name, kind)| Part { spec: at, name, kind }));
    }
    Ok(out)
}

/// The files below a folder that a source would read, in the order of their paths.
///
/// # Errors
/// A folder that cannot be listed, or leads into itself.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    walk(folder, &mut Vec::new(), Path::new(""), &mut found)?;
    let file = |(_, place): Found| match place {
        Ok(Place::File(path)) => Some(path),
        _ => None,
    };
    Ok(found.into_iter().filter_map(file).collect())
}

fn of_source(spec: &SourceSpec, name: &str) -> Result<Vec<(String, PartKind)>, DataError> {
    let path = &spec.path;
    let meta = fs::metadata(path).map_err(|source| DataError::Io { path: path.clone(), source })?;
    let document = |problem| DataError::Document { file: name.to_string(), problem };
    if meta.is_dir() {
        if path.join(llama_factory::FILE).is_file() {
            return llama_factory::parts(&path.join(llama_factory::FILE), spec);
        }
        let mut files = Vec::new();
        walk(path, &mut Vec::new(), Path::new(name), &mut files)?;
        return Ok(sort_out(files, name, spec));
    }
    if path.file_name().is_some_and(|f| f == llama_factory::FILE) {
        return llama_factory::parts(path, spec);
    }
    let place = Place::File(path.clone());
    if spec.format.is_none() && meta.is_file() {
        if let Some(format) = DocumentFormat::of_name(path).filter(|f| !is_text(*f)) {
            return Ok(vec![one_document(name, format, place)]);
        }
        if FileFormat::of_name(path).is_none() {
            match Input::File(path.clone()).head()? {
                head if head.starts_with(b"%PDF-") => {
                    return Ok(vec![one_document(name, DocumentFormat::Pdf, place)]);
                }
                head if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") => {
                    let archive = Rc::new(OpenArchive::open(path)?.map_err(document)?);
                    let files = archive.members().map_err(document)?.into_iter().map(|(member, index)| {
                        let id = PathBuf::from(name).join(&member);
                        (
                            id,
                            Ok(Place::Member {
                                archive: archive.clone(),
                                index,
                                name: PathBuf::from(member),
                            }),
                        )
                    });
                    return Ok(sort_out(files.collect(), name, spec));
                }
                _ => {}
            }
        }
    }
    Ok(vec![(name.to_string(), PartKind::Table { spec: Box::new(spec.clone()), place })])
}

/// Read as rows of one column where they stand alone: streamed, and cut at nothing.
fn is_text(format: DocumentFormat) -> bool {
    matches!(format, DocumentFormat::Txt | DocumentFormat::Md)
}

fn one_document(name: &str, format: DocumentFormat, place: Place) -> (String, PartKind) {
    let member = Member { id: name.to_string(), what: Ok((format, place)) };
    (name.to_string(), PartKind::Documents(vec![member]))
}

type Found = (PathBuf, Result<Place, DocumentProblem>);

/// Files below a folder in the order of their paths. `above`: the real folders on the way, to notice a loop of links.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, id: &Path, out: &mut Vec<Found>) -> Result<(), DataError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| DataError::Io { path, source }
    };
    let real = folder.canonicalize().map_err(io(folder))?;
    if above.contains(&real) || above.len() >= DEPTH {
        return Err(DataError::FolderLoop { path: folder.to_path_buf(), depth: above.len() });
    }
    above.push(real);
    let mut entries: Vec<_> =
        fs::read_dir(folder).and_then(|list| list.collect::<Result<Vec<_>, _>>()).map_err(io(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if is_hidden(&name.to_string_lossy()) {
            continue;
        }
        let (path, id) = (entry.path(), id.join(&name));
        let meta = fs::metadata(&path).map_err(io(&path))?;
        if meta.is_dir() {
            walk(&path, above, &id, out)?;
        } else if meta.is_file() {
            out.push((id, Ok(Place::File(path))));
        } else {
            // a pipe or device would be waited for without end
            out.push((id, Err(DocumentProblem::NotAFile)));
        }
        if out.len() > FILES {
            let problem = DocumentProblem::TooMany { what: "its files are", cap: FILES as u64 };
            return Err(DataError::Document { file: folder.display().to_string(), problem });
        }
    }
    above.pop();
    Ok(())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with("~$")
        || name == "__MACOSX"
        || name == "Thumbs.db"
        || name == "desktop.ini"
}

/// Files of a folder or archive: documents together, tables each by itself.
fn sort_out(files: Vec<Found>, name: &str, spec: &SourceSpec) -> Vec<(String, PartKind)> {
    let (mut documents, mut tables) = (Vec::new(), Vec::new());
    for (id, place) in files {
        // the name of the source itself was chosen by the user
        let below = id.strip_prefix(name).unwrap_or(&id);
        if below.components().any(|c| is_hidden(&c.as_os_str().to_string_lossy())) {
            continue;
        }
        let shown = id.to_string_lossy().replace('\\', "/");
        let what = match place {
            Err(problem) => Err(problem),
            Ok(place) => match (DocumentFormat::of_name(&id), FileFormat::of_name(&id)) {
                (Some(format), _) => Ok((format, place)),
                (None, Some(_)) => {
                    let mut own = spec.clone();
                    own.path.clone_from(&id);
                    tables.push((shown, PartKind::Table { spec: Box::new(own), place }));
                    continue;
                }
                (None, None) => Err(match ending(&id).as_str() {
                    "zip" => DocumentProblem::NestedArchive,
                    other => DocumentProblem::NotRead { ending: other.to_string() },
                }),
            },
        };
        documents.push(Member { id: shown, what });
    }
    let mut out = Vec::new();
    if !documents.is_empty() || tables.is_empty() {
        out.push((name.to_string(), PartKind::Documents(documents)));
    }
    out.extend(tables);
    out
}

fn ending(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
