//! PDF (ISO 32000): its text layer in the order of reading.
//!
//! `hayro-syntax` finds objects and pages and mends broken tables of contents; what a page shows is read here: content
//! streams to glyphs with places (`content`), codes to characters (`font`), glyphs to rows, columns, tables and
//! paragraphs (`layout`, `columns`, `paragraphs`).
//!
//! Left out on purpose: forms, annotations, the logical structure tree (most files have none, and many a wrong one), and
//! character recognition: pages without text are named.

mod bombs;
mod columns;
mod content;
mod filters;
mod font;
mod glyph_names;
mod layout;
mod paragraphs;
mod running;
mod simple;

use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use crate::document::Document;
use crate::rows::ReadLimits;

use super::problem::{DocumentProblem, Note};

/// Most pages of a file.
const PAGES: usize = 50_000;
/// Stack of the thread that reads: nested structures of a hostile file end in an error, not in ours.
const STACK: usize = 64 << 20;

pub(super) fn parse(
    bytes: &[u8],
    limits: &ReadLimits,
    notes: &mut Vec<Note>,
) -> Result<Document, DocumentProblem> {
    let head = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    if memchr::memmem::find(head, b"%PDF-").is_none() {
        let found = head.starts_with(b"PK\x03\x04").then_some("an archive");
        return Err(DocumentProblem::OtherFormat { format: "pdf", found });
    }
    let cap = limits.document_bytes as u64;
    bombs::check(bytes, cap)?;
    let owned = bytes.to_vec();
    let text_cap = limits.document_bytes;
    let reading = std::thread::Builder::new()
        .name("pdf".into())
        .stack_size(STACK)
        .spawn(move || read(owned, text_cap))
        .map_err(|e| broken(format!("no thread to read it: {e}")))?;
    let (document, found) =
        reading.join().map_err(|_| broken("its structure cannot be followed".into()))??;
    notes.extend(found);
    Ok(document)
}

fn broken(what: String) -> DocumentProblem {
    DocumentProblem::Broken { format: "pdf", what }
}

fn read(bytes: Vec<u8>, cap: usize) -> Result<(Document, Vec<Note>), DocumentProblem> {
    let pdf = Pdf::new(bytes).map_err(|e| match e {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => DocumentProblem::Encrypted,
        LoadPdfError::Decryption(_) => broken("it is encrypted in a way that cannot be read".into()),
        LoadPdfError::Invalid => broken("neither its table of objects nor its pages can be found".into()),
    })?;
    let pages = pdf.pages();
    let of = pages.len();
    if of > PAGES {
        return Err(DocumentProblem::TooMany { what: "its pages are", cap: PAGES as u64 });
    }
    let mut fonts = font::Fonts::default();
    let mut laid: Vec<layout::Page> = Vec::new();
    let (mut scanned, mut unmapped, mut unknown) = (Vec::new(), Vec::new(), 0usize);
    let mut held = 0usize;
    for (n, page) in pages.iter().enumerate() {
        let shown = content::show(page, &mut fonts, cap)?;
        held += shown.glyphs.len();
        if held > cap {
            return Err(DocumentProblem::TooLarge { what: "its text", cap: cap as u64 });
        }
        if shown.unmapped > 0 {
            unmapped.push(n + 1);
            unknown += shown.unmapped;
        }
        if shown.glyphs.is_empty() && shown.unmapped == 0 && shown.pictures {
            scanned.push(n + 1);
        }
        laid.push(layout::Page::new(shown.glyphs));
    }
    if scanned.len() == of && of > 0 {
        return Err(DocumentProblem::Scanned { pages: of });
    }
    let mut notes = Vec::new();
    notes.extend(running::remove(&mut laid));
    let body = layout::body_size(&laid);
    let blocks = paragraphs::blocks(&laid, body);
    if !scanned.is_empty() {
        notes.push(Note::Scanned { pages: scanned, of });
    }
    if unknown > 0 {
        notes.push(Note::Unmapped { pages: unmapped, characters: unknown });
    }
    let title = pdf.metadata().title.as_deref().and_then(text_string).or_else(|| {
        blocks.iter().find_map(|b| match b {
            crate::document::Block::Heading { level: 1, text } => Some(text.replace('\n', " ")),
            _ => None,
        })
    });
    Ok((Document { id: String::new(), title, blocks }, notes))
}

/// A text string of the file's own information: UTF-16 or UTF-8 by its mark, else Latin; nothing that says nothing.
fn text_string(bytes: &[u8]) -> Option<String> {
    let text = match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding.decode(bytes).0.into_owned(),
        None => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    let empty = ["", "untitled", "(anonymous)", "unspecified"].contains(&text.to_lowercase().as_str());
    (!empty).then(|| text.to_string())
}
