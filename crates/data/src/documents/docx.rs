//! Word documents (Office Open XML, ECMA-376 part 1): paragraphs, headings by their styles, automatic numbers, lists,
//! tables, footnotes.
//!
//! Read as the document stands: inserted text is there, deleted text is not. Page headers and footers, comments and
//! pictures are left out.

use std::collections::HashMap;
use std::io::Cursor;

use crate::archive;
use crate::document::{Block, Document};
use crate::rows::ReadLimits;

use super::blocks::Blocks;
use super::numbering::{Mark, Numbering};
use super::problem::DocumentProblem;
use super::xml::{Xml, attribute, walk};

const WHAT: &str = "the text in it, unpacked,";

/// Whether the bytes begin as an archive, and what else they could be.
pub(crate) fn check_archive(bytes: &[u8], format: &'static str) -> Result<(), DocumentProblem> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(());
    }
    // the container of Office 97 holds old documents and new ones that are locked
    if bytes.starts_with(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") {
        let utf16: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let locked = memchr::memmem::find(bytes, &utf16).is_some();
        return Err(if locked {
            DocumentProblem::Encrypted
        } else {
            DocumentProblem::OtherFormat { format, found: Some("one of Office 97 to 2003") }
        });
    }
    let found = if bytes.starts_with(b"%PDF") {
        Some("a pdf")
    } else if bytes.starts_with(b"{\\rtf") {
        Some("rich text (rtf)")
    } else {
        None
    };
    Err(DocumentProblem::OtherFormat { format, found })
}

pub(super) fn parse(bytes: &[u8], limits: &ReadLimits) -> Result<Document, DocumentProblem> {
    check_archive(bytes, "docx")?;
    let mut zip = archive::open(Cursor::new(bytes), "docx")?;
    let cap = limits.document_bytes as u64;
    let mut part = |name: &str| archive::named(&mut zip, name, cap, WHAT);
    let Some(main) = part("word/document.xml")? else {
        return Err(DocumentProblem::OtherFormat { format: "docx", found: Some("another kind of archive") });
    };
    let styles = part("word/styles.xml")?.map_or_else(|| Ok(Styles::default()), |b| Styles::read(&b))?;
    let numbering =
        part("word/numbering.xml")?.map_or_else(|| Ok(Numbering::default()), |b| Numbering::read(&b))?;
    let title = part("docProps/core.xml")?.and_then(|b| core_title(&b));
    let notes: Vec<Vec<u8>> = ["word/footnotes.xml", "word/endnotes.xml"]
        .into_iter()
        .filter_map(|n| part(n).transpose())
        .collect::<Result<_, _>>()?;
    let mut reader = Reader { styles, numbering, ..Reader::default() };
    walk(&main, "document.xml", |xml| reader.see(xml))?;
    for note in &notes {
        walk(note, "footnotes.xml", |xml| reader.see(xml))?;
    }
    let title = title.or_else(|| reader.blocks.first_heading());
    Ok(Document { id: String::new(), title, blocks: reader.blocks.done() })
}

fn core_title(bytes: &[u8]) -> Option<String> {
    let (mut inside, mut title) = (false, String::new());
    let read = walk(bytes, "core.xml", |xml| {
        match xml {
            Xml::Start(e) => inside = e.local_name().as_ref() == "title",
            Xml::End(_) => inside = false,
            Xml::Text(t) if inside => title.push_str(t),
            Xml::Text(_) => {}
        }
        Ok(())
    });
    let title = title.trim().to_string();
    (read.is_ok() && !title.is_empty()).then_some(title)
}

/// What a style says about structure.
#[derive(Clone, Debug, Default)]
struct Style {
    based_on: Option<String>,
    heading: Option<u8>,
    num: Option<String>,
    level: Option<usize>,
}

#[derive(Debug, Default)]
struct Styles(HashMap<String, Style>);

impl Styles {
    fn read(bytes: &[u8]) -> Result<Styles, DocumentProblem> {
        let mut styles = Styles::default();
        let mut id = None::<String>;
        walk(bytes, "styles.xml", |xml| {
            match xml {
                Xml::Start(e) => {
                    let value = || attribute(e, "val");
                    if e.local_name().as_ref() == "style" {
                        id = attribute(e, "styleId");
                        if let Some(id) = &id {
                            styles.0.insert(id.clone(), Style::default());
                        }
                    } else if let Some(style) = id.as_ref().and_then(|id| styles.0.get_mut(id)) {
                        match e.local_name().as_ref() {
                            "name" => {
                                style.heading = style.heading.or(value().and_then(|v| heading_name(&v)))
                            }
                            "basedOn" => style.based_on = value(),
                            "outlineLvl" => {
                                let level = value().and_then(|v| v.parse::<u8>().ok()).filter(|l| *l < 9);
                                style.heading = level.map(|l| l + 1).or(style.heading);
                            }
                            "numId" => style.num = value(),
                            "ilvl" => style.level = value().and_then(|v| v.parse().ok()),
                            _ => {}
                        }
                    }
                }
                Xml::End("style") => id = None,
                _ => {}
            }
            Ok(())
        })?;
        Ok(styles)
    }

    /// What a style and those that it builds on say.
    fn resolved(&self, id: &str) -> Style {
        let mut found = Style::default();
        let mut next = Some(id);
        for _ in 0..32 {
            let Some(style) = next.and_then(|id| self.0.get(id)) else { break };
            found.heading = found.heading.or(style.heading);
            if found.num.is_none() {
                found.num.clone_from(&style.num);
            }
            found.level = found.level.or(style.level);
            next = style.based_on.as_deref();
        }
        found
    }
}

/// `heading 2`, `Heading2`, `标题 2`, `Title`.
fn heading_name(name: &str) -> Option<u8> {
    let name = name.trim().to_lowercase();
    if name == "title" || name == "标题" {
        return Some(1);
    }
    let rest = name.strip_prefix("heading").or_else(|| name.strip_prefix("标题"))?;
    rest.trim().parse().ok().filter(|level| (1..=9).contains(level))
}

#[derive(Default)]
struct Paragraph {
    text: String,
    style: Style,
    own_heading: Option<Option<u8>>,
    num: Option<String>,
    level: Option<usize>,
    code: bool,
}

#[derive(Default)]
struct Reader {
    styles: Styles,
    numbering: Numbering,
    blocks: Blocks,
    /// Open paragraphs: text boxes hold paragraphs inside of paragraphs.
    paragraphs: Vec<Paragraph>,
    /// Open tables with their rows of cells.
    tables: Vec<Vec<Vec<String>>>,
    /// Inside of `w:t` or `m:t`.
    in_text: bool,
    /// Depth of what is left out.
    hidden: usize,
}

/// Left out with all that is inside: deleted text, what text was moved from, second forms of the same picture.
const HIDDEN: [&str; 4] = ["del", "moveFrom", "Fallback", "separator"];

impl Reader {
    fn see(&mut self, xml: Xml<'_, '_>) -> Result<(), DocumentProblem> {
        match xml {
            Xml::Start(e) => {
                let name = e.local_name();
                let name = name.as_ref();
                if self.hidden > 0 || HIDDEN.contains(&name) {
                    self.hidden += 1;
                    return Ok(());
                }
                self.start(name, |key| attribute(e, key));
            }
            Xml::End(_) if self.hidden > 0 => self.hidden -= 1,
            Xml::End(name) => self.end(name),
            Xml::Text(text) if self.in_text && self.hidden == 0 => self.write(text),
            Xml::Text(_) => {}
        }
        Ok(())
    }

    fn write(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn start(&mut self, name: &str, attribute: impl Fn(&str) -> Option<String>) {
        match name {
            "p" => self.paragraphs.push(Paragraph::default()),
            "t" => self.in_text = true,
            // also a tab stop in a paragraph's settings: white space at the beginning falls away
            "tab" | "ptab" => self.write("\t"),
            "br" | "cr" => self.write("\n"),
            "noBreakHyphen" => self.write("-"),
            "tbl" => self.tables.push(Vec::new()),
            "tr" => {
                if let Some(table) = self.tables.last_mut() {
                    table.push(Vec::new());
                }
            }
            "tc" => {
                if let Some(row) = self.tables.last_mut().and_then(|t| t.last_mut()) {
                    row.push(String::new());
                }
            }
            "pStyle" => {
                let style = attribute("val").map(|id| (self.styles.resolved(&id), is_code(&id)));
                if let (Some(paragraph), Some((style, code))) = (self.paragraphs.last_mut(), style) {
                    paragraph.style = style;
                    paragraph.code = code;
                }
            }
            "outlineLvl" | "numId" | "ilvl" => {
                let Some(paragraph) = self.paragraphs.last_mut() else { return };
                let value = attribute("val");
                match name {
                    "outlineLvl" => {
                        let level = value.and_then(|v| v.parse::<u8>().ok());
                        paragraph.own_heading = Some(level.filter(|l| *l < 9).map(|l| l + 1));
                    }
                    "numId" => paragraph.num = value,
                    _ => paragraph.level = value.and_then(|v| v.parse().ok()),
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.finish(paragraph);
                }
            }
            "tbl" => {
                let Some(rows) = self.tables.pop() else { return };
                // a table in a cell is part of that cell
                match self.tables.last_mut().and_then(|t| t.last_mut()).and_then(|row| row.last_mut()) {
                    Some(cell) => {
                        let inner = Document { blocks: vec![Block::Table(rows)], ..Document::default() };
                        join(cell, &inner.plain_text());
                    }
                    None => self.blocks.table(rows),
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, p: Paragraph) {
        if p.text.trim().is_empty() {
            return;
        }
        let num = p.num.as_deref().or(p.style.num.as_deref()).filter(|num| *num != "0");
        let level = p.level.or(p.style.level).unwrap_or(0);
        let mark = num.and_then(|num| self.numbering.next(num, level));
        let text = match &mark {
            Some(Mark::Number(number)) => format!("{number} {}", p.text.trim_start()),
            _ => p.text,
        };
        if let Some(cell) = self.tables.last_mut().and_then(|t| t.last_mut()).and_then(|row| row.last_mut()) {
            return join(cell, &text);
        }
        match (p.own_heading.unwrap_or(p.style.heading), mark) {
            (Some(level), _) => self.blocks.heading(level, &text),
            (None, Some(_)) => self.blocks.item(&text),
            (None, None) if p.code => self.blocks.code(&text),
            (None, None) => self.blocks.paragraph(&text),
        }
    }
}

fn is_code(style: &str) -> bool {
    let style = style.to_lowercase();
    ["code", "sourcecode", "htmlpreformatted", "macrotext"].contains(&style.as_str())
}

fn join(cell: &mut String, text: &str) {
    if !cell.is_empty() {
        cell.push('\n');
    }
    cell.push_str(text.trim());
}
