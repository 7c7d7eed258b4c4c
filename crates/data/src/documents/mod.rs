//! Documents: the bytes of one file to one [`Document`], whatever its format.
//!
//! Every reader here is a function of bytes, so that files, members of archives and tests come the same way. Each is
//! bounded: what a file may unpack to, how deep it may nest, how many pages are looked at. What a reader leaves out
//! although it may matter (scanned pages, characters without meaning) it says in a [`Note`].
//!
//! Left out on purpose: pictures, page headers and footers of word processors, comments, deleted text, forms. There is no
//! character recognition: a scanned page is named.

pub(crate) mod blocks;
mod docx;
mod html;
mod markdown;
mod numbering;
mod pdf;
mod plain;
mod problem;
mod xml;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::rows::ReadLimits;

pub(crate) use docx::check_archive;
pub use problem::{DocumentProblem, Note, page_list};

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFormat {
    /// Plain text.
    Txt,
    /// Markdown (CommonMark with tables).
    Md,
    /// HTML.
    Html,
    /// Word's Office Open XML.
    Docx,
    /// PDF.
    Pdf,
}

impl DocumentFormat {
    /// The format that a file name's ending stands for.
    pub fn of_name(name: &Path) -> Option<DocumentFormat> {
        let ending = name.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "txt" | "text" => DocumentFormat::Txt,
            "md" | "markdown" => DocumentFormat::Md,
            "html" | "htm" | "xhtml" => DocumentFormat::Html,
            "docx" | "docm" => DocumentFormat::Docx,
            "pdf" => DocumentFormat::Pdf,
            _ => return None,
        })
    }

    /// Its name, as the usual ending.
    pub fn name(self) -> &'static str {
        match self {
            DocumentFormat::Txt => "txt",
            DocumentFormat::Md => "md",
            DocumentFormat::Html => "html",
            DocumentFormat::Docx => "docx",
            DocumentFormat::Pdf => "pdf",
        }
    }
}

/// A document with what there is to say about how it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRead {
    /// The document.
    pub document: Document,
    /// Its text as it is learnt in pre-training: of txt and md the file's own text, of the others
    /// [`Document::plain_text`].
    pub text: String,
    /// What was left out although it may matter.
    pub notes: Vec<Note>,
}

/// Reads a document from the bytes of its file. `id` becomes its [`Document::id`].
///
/// # Errors
/// What is wrong with the file: another format than its name says, broken, encrypted, too large, without text.
pub fn read_document(
    format: DocumentFormat,
    id: &str,
    bytes: &[u8],
    limits: &ReadLimits,
) -> Result<DocumentRead, DocumentProblem> {
    let mut notes = Vec::new();
    let (mut document, own) = match format {
        DocumentFormat::Txt => {
            let text = plain::decode(bytes)?;
            (plain::parse(&text), Some(text))
        }
        DocumentFormat::Md => {
            let text = plain::decode(bytes)?;
            (markdown::parse(&text), Some(text))
        }
        DocumentFormat::Html => (html::parse(&html::decode(bytes)?), None),
        DocumentFormat::Docx => (docx::parse(bytes, limits)?, None),
        DocumentFormat::Pdf => (pdf::parse(bytes, limits, &mut notes)?, None),
    };
    document.id = id.to_string();
    let text = own.unwrap_or_else(|| document.plain_text());
    if text.len() > limits.document_bytes {
        return Err(DocumentProblem::TooLarge { what: "its text", cap: limits.document_bytes as u64 });
    }
    if text.trim().is_empty() {
        return Err(DocumentProblem::NoText);
    }
    Ok(DocumentRead { document, text, notes })
}
