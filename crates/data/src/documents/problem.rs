//! Why a document cannot be read, and what was left out of one that can.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a file cannot become a document. The message goes on after the file's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentProblem {
    /// The content is not what the name says.
    #[error("this is no {format} file{}", found.map_or_else(String::new, |f| format!(" but {f}; give it the right ending, or save it as {format}")))]
    OtherFormat {
        /// The format that the name stands for.
        format: &'static str,
        /// What it looks like, where that can be told.
        found: Option<&'static str>,
    },
    /// The format is right, but something in it is broken.
    #[error("the {format} file is broken: {what}; open it in the program that made it and save it again")]
    Broken {
        /// The format.
        format: &'static str,
        /// What is broken.
        what: String,
    },
    /// Locked by a password.
    #[error("it is locked by a password; save a copy without one")]
    Encrypted,
    /// More than the limits allow.
    #[error(
        "{what} comes to more than {cap} bytes, as in files made to exhaust memory; split the file if it is honest"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        cap: u64,
    },
    /// Too many parts or levels.
    #[error("{what} more than {cap}, as in files made to exhaust the reader; split the file if it is honest")]
    TooMany {
        /// What there is too much of, with its verb.
        what: &'static str,
        /// The limit.
        cap: u64,
    },
    /// XML that defines entities of its own, which could grow without bound.
    #[error(
        "its XML declares a document type, which office programs never write and which can grow without bound; it is not read"
    )]
    Doctype,
    /// Pages, but none with text.
    #[error(
        "{pages} pages and no text: it is scanned, or drawn; run character recognition (OCR) over it first, for example \
         ocrmypdf"
    )]
    Scanned {
        /// Number of pages.
        pages: usize,
    },
    /// Nothing to read in it.
    #[error("there is no text in it")]
    NoText,
    /// Text in no known encoding.
    #[error("byte {byte} is not valid {encoding}; save the file as UTF-8")]
    Encoding {
        /// Offset of the first bad byte.
        byte: u64,
        /// The encoding that was tried.
        encoding: &'static str,
    },
    /// Zero bytes that no text encoding explains.
    #[error("byte {byte} is zero: this is not a text file")]
    Binary {
        /// Offset of the first zero byte.
        byte: u64,
    },
    /// A file in a folder or archive that no reader is for.
    #[error("files ending in \"{ending}\" are not read")]
    NotRead {
        /// The ending, perhaps empty.
        ending: String,
    },
    /// An archive within an archive.
    #[error("an archive inside an archive is not opened; unpack it first")]
    NestedArchive,
    /// A member of an archive that cannot be unpacked.
    #[error("it cannot be unpacked: {what}")]
    Unpack {
        /// What the archive reader said.
        what: String,
    },
    /// Neither a file nor a folder.
    #[error("it is neither a file nor a folder")]
    NotAFile,
}

impl DocumentProblem {
    /// The reason under which the ledger counts such files.
    pub fn code(&self) -> &'static str {
        match self {
            DocumentProblem::OtherFormat { .. } => "other_format",
            DocumentProblem::Broken { .. } => "broken_file",
            DocumentProblem::Encrypted => "encrypted",
            DocumentProblem::TooLarge { .. } | DocumentProblem::TooMany { .. } => "too_large",
            DocumentProblem::Doctype => "doctype",
            DocumentProblem::Scanned { .. } => "scanned",
            DocumentProblem::NoText => "no_text",
            DocumentProblem::Encoding { .. } => "bad_encoding",
            DocumentProblem::Binary { .. } => "binary",
            DocumentProblem::NotRead { .. } => "not_read",
            DocumentProblem::NestedArchive => "nested_archive",
            DocumentProblem::Unpack { .. } => "cannot_unpack",
            DocumentProblem::NotAFile => "not_a_file",
        }
    }
}

/// What a reader left out although it may matter. `Display` is English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// Pages with pictures or drawings and no text.
    #[error("{} of {of} pages hold pictures and no text (scanned?) and were not read: {}", pages.len(), page_list(pages))]
    Scanned {
        /// Their numbers from 1.
        pages: Vec<usize>,
        /// Pages in all.
        of: usize,
    },
    /// Characters whose fonts do not say what they are.
    #[error("{characters} characters on {} pages have no meaning in their font and were left out: {}", pages.len(), page_list(pages))]
    Unmapped {
        /// Pages that have them, from 1.
        pages: Vec<usize>,
        /// How many.
        characters: usize,
    },
    /// Lines that stand at the same edge of many pages, such as the running title and the page number.
    #[error("{lines} running lines at the edges of pages were left out, such as \"{example}\"")]
    RunningLines {
        /// How many in all.
        lines: usize,
        /// One of them.
        example: String,
    },
    /// Sheets of a workbook beside the one that was read.
    #[error("sheet \"{read}\" was read; others were not: {}; name one in `part` to read it instead", others.join(", "))]
    OtherSheets {
        /// The sheet that was read.
        read: String,
        /// The others that have cells.
        others: Vec<String>,
    },
}

/// Page numbers as people write them: `1-3, 7`; long lists are cut short.
pub fn page_list(pages: &[usize]) -> String {
    const SHOWN: usize = 20;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == page => *last = page,
            _ => runs.push((page, page)),
        }
    }
    let mut out: Vec<String> = runs
        .iter()
        .take(SHOWN)
        .map(|&(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
        .collect();
    if runs.len() > SHOWN {
        out.push("…".into());
    }
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_listed_as_runs() {
        assert_eq!(page_list(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(page_list(&[]), "");
        let odd: Vec<usize> = (0..40).map(|i| 2 * i + 1).collect();
        assert!(page_list(&odd).ends_with("39, …"), "{}", page_list(&odd));
    }
}
