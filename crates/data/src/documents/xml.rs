//! XML of office files as a stream of elements and text, bounded.
//!
//! Office files declare no document type; one that does is refused, so that no entity of its own can grow. What is left
//! are the five predefined entities and characters by number.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::problem::DocumentProblem;

/// Deepest nesting of elements.
const DEPTH: usize = 256;

/// A step through the XML.
pub(super) enum Xml<'a, 'e> {
    /// An element begins (one that is empty begins and ends).
    Start(&'a BytesStart<'e>),
    /// The element of this local name ends.
    End(&'a str),
    /// Text, entities resolved.
    Text(&'a str),
}

/// Bytes as UTF-8, or UTF-16 by its mark.
fn decode(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding.decode(bytes).0.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Walks through `bytes`; `see` hears everything in order.
pub(super) fn walk(
    bytes: &[u8],
    part: &str,
    mut see: impl FnMut(Xml<'_, '_>) -> Result<(), DocumentProblem>,
) -> Result<(), DocumentProblem> {
    let text = decode(bytes);
    let mut reader = Reader::from_str(&text);
    let mut depth = 0usize;
    let broken = |what: String| DocumentProblem::Broken { format: "docx", what: format!("{part}: {what}") };
    loop {
        match reader.read_event().map_err(|e| broken(e.to_string()))? {
            Event::Start(e) => {
                depth += 1;
                if depth > DEPTH {
                    return Err(DocumentProblem::TooMany { what: "its elements nest", cap: DEPTH as u64 });
                }
                see(Xml::Start(&e))?;
            }
            Event::Empty(e) => {
                see(Xml::Start(&e))?;
                see(Xml::End(e.local_name().as_ref()))?;
            }
            Event::End(e) => {
                depth = depth.saturating_sub(1);
                see(Xml::End(e.local_name().as_ref()))?;
            }
            Event::Text(t) => see(Xml::Text(&t))?,
            Event::CData(t) => see(Xml::Text(&t))?,
            Event::GeneralRef(r) => {
                let named = match &*r {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => None,
                };
                let c = named.or_else(|| r.resolve_char_ref().ok().flatten());
                see(Xml::Text(c.unwrap_or('\u{FFFD}').encode_utf8(&mut [0; 4])))?;
            }
            Event::DocType(_) => return Err(DocumentProblem::Doctype),
            Event::Eof if depth > 0 => return Err(broken("it ends in the middle".into())),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// The value of an attribute by its local name.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    element.attributes().with_checks(false).flatten().find(|a| a.key.local_name().as_ref() == name).map(|a| {
        quick_xml::escape::unescape(&a.value).map_or_else(|_| a.value.to_string(), |v| v.into_owned())
    })
}
