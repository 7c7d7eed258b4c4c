//! Members of zip archives, bounded: nothing is unpacked to disk, and a member only as far as the limit goes.

use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::documents::DocumentProblem;

/// Most members of an archive.
const MEMBERS: usize = 200_000;

/// Opens an archive.
pub(crate) fn open<R: Read + Seek>(input: R, format: &'static str) -> Result<ZipArchive<R>, DocumentProblem> {
    let archive = ZipArchive::new(input).map_err(|e| DocumentProblem::Broken {
        format,
        what: format!("its directory cannot be read ({e})"),
    })?;
    if archive.len() > MEMBERS {
        return Err(DocumentProblem::TooMany { what: "its members are", cap: MEMBERS as u64 });
    }
    Ok(archive)
}

/// The bytes of a member, at most `cap`.
pub(crate) fn member<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
    cap: u64,
    what: &'static str,
) -> Result<Vec<u8>, DocumentProblem> {
    let file = archive.by_index(index).map_err(problem)?;
    let mut bytes = Vec::new();
    // the size that stands in the archive may lie, so it is not even a hint
    file.take(cap + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| DocumentProblem::Unpack { what: e.to_string() })?;
    if bytes.len() as u64 > cap {
        return Err(DocumentProblem::TooLarge { what, cap });
    }
    Ok(bytes)
}

/// The bytes of the member of this name, if there is one.
pub(crate) fn named<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    name: &str,
    cap: u64,
    what: &'static str,
) -> Result<Option<Vec<u8>>, DocumentProblem> {
    match archive.index_for_name(name) {
        Some(index) => member(archive, index, cap, what).map(Some),
        None => Ok(None),
    }
}

/// The name of a member. Old Windows programs write GBK without saying so.
pub(crate) fn name(raw: &[u8]) -> String {
    match std::str::from_utf8(raw) {
        Ok(name) => name.to_string(),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(raw).0.into_owned(),
    }
}

fn problem(error: ZipError) -> DocumentProblem {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
            DocumentProblem::Encrypted
        }
        other => DocumentProblem::Unpack { what: other.to_string() },
    }
}

/// Unpacks all members to nowhere: whether they stay within `cap` together. For readers that unpack by themselves.
pub(crate) fn check_size<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    cap: u64,
    what: &'static str,
) -> Result<(), DocumentProblem> {
    let mut total = 0u64;
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(problem)?;
        let room = cap.saturating_sub(total) + 1;
        total += std::io::copy(&mut file.take(room), &mut std::io::sink())
            .map_err(|e| DocumentProblem::Unpack { what: e.to_string() })?;
        if total > cap {
            return Err(DocumentProblem::TooLarge { what, cap });
        }
    }
    Ok(())
}
