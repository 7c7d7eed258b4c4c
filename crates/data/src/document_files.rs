//! The documents of a source, one at a time: of one file, a folder or an archive.

use crate::documents::{DocumentFormat, DocumentProblem, DocumentRead, read_document};
use crate::error::DataError;
use crate::input::Place;
use crate::parts::{Member, PartKind, parts};
use crate::rows::{FileFormat, ReadLimits, SourceSpec};

/// Iterates over the documents of a source in the order of their paths. Tables are passed over: they are rows.
/// `Err` ends it; a document that cannot be read is `(its path, Err(problem))`. Held are one file and its text.
pub struct DocumentFiles {
    members: std::vec::IntoIter<Member>,
    limits: ReadLimits,
}

impl DocumentFiles {
    /// Lists the documents of a source. `name` is what the source is called in their ids.
    ///
    /// # Errors
    /// A source that cannot be opened or listed.
    pub fn open(spec: &SourceSpec, name: &str, limits: ReadLimits) -> Result<Self, DataError> {
        let mut members = Vec::new();
        for part in parts(std::slice::from_ref(spec), &[name.to_string()])? {
            match part.kind {
                PartKind::Documents(found) => members.extend(found),
                // txt and md that stand alone are rows of one column, but documents all the same
                PartKind::Table { spec, place: place @ Place::File(_) }
                    if spec.format.or_else(|| FileFormat::of_name(&spec.path)) == Some(FileFormat::Text) =>
                {
                    let format = DocumentFormat::of_name(&spec.path).unwrap_or(DocumentFormat::Txt);
                    members.push(Member { id: part.name, what: Ok((format, place)) });
                }
                PartKind::Table { .. } => {}
            }
        }
        Ok(DocumentFiles { members: members.into_iter(), limits })
    }
}

impl Iterator for DocumentFiles {
    type Item = Result<(String, Result<DocumentRead, DocumentProblem>), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Member { id, what } = self.members.next()?;
        let read = match what {
            Err(problem) => Err(problem),
            Ok((format, place)) => match place.bytes(&self.limits) {
                Err(error) => return Some(Err(error)),
                Ok(bytes) => bytes.and_then(|bytes| read_document(format, &id, &bytes, &self.limits)),
            },
        };
        Some(Ok((id, read)))
    }
}
