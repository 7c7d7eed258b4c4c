//! Fonts: codes in a content stream to characters and widths.
//!
//! What a character is, is asked in this order: the font's `ToUnicode` map; for fonts of the East, the character collection
//! (`Adobe-GB1` and its like) by way of the encoding's map from codes to its numbers, such as `GBK-EUC-H`; for simple
//! fonts their encoding. Where nothing says it, the character is counted as unknown, never guessed from its shape.

use std::collections::HashMap;
use std::rc::Rc;

use hayro_cmap::{BfString, CMap, CMapName, CidFamily, WritingMode, load_embedded};
use hayro_syntax::object::{Array, Dict, Name, Object, ObjectIdentifier, Stream, String as PdfString};
use unicode_normalization::UnicodeNormalization;

use crate::documents::DocumentProblem;

use super::filters;
use super::simple::{self, Simple};

/// Largest character map of a font, unpacked.
const MAP_BYTES: usize = 16 << 20;

/// One character of a string that is shown.
pub(super) struct Shown {
    /// Its text; `None`: the font does not say.
    pub(super) text: Option<String>,
    /// Its advance, in font sizes.
    pub(super) width: f32,
    /// Whether it is the single byte 32, which alone is widened by word spacing.
    pub(super) space: bool,
}

/// A font as far as reading needs it.
pub(super) struct Font {
    to_unicode: Option<CMap>,
    kind: Kind,
    /// Whether its text runs downwards.
    pub(super) vertical: bool,
}

enum Kind {
    Simple(Simple),
    Composite {
        /// Codes to numbers of the collection; `None`: two bytes are the number.
        cmap: Option<Rc<CMap>>,
        /// Numbers to characters.
        collection: Option<Rc<CMap>>,
        widths: HashMap<u32, f32>,
        default_width: f32,
    },
}

/// The fonts of a file, each read once.
#[derive(Default)]
pub(super) struct Fonts {
    fonts: HashMap<ObjectIdentifier, Rc<Font>>,
    maps: HashMap<Vec<u8>, Option<Rc<CMap>>>,
}

impl Fonts {
    pub(super) fn get(&mut self, dict: &Dict<'_>) -> Result<Rc<Font>, DocumentProblem> {
        if let Some(font) = dict.obj_id().and_then(|id| self.fonts.get(&id)) {
            return Ok(font.clone());
        }
        let font = Rc::new(self.read(dict)?);
        if let Some(id) = dict.obj_id() {
            self.fonts.insert(id, font.clone());
        }
        Ok(font)
    }

    fn predefined(&mut self, name: CMapName<'_>) -> Option<Rc<CMap>> {
        let key = name.to_bytes().to_vec();
        if let Some(known) = self.maps.get(&key) {
            return known.clone();
        }
        let map = load_embedded(name).and_then(|bytes| CMap::parse(bytes, load_embedded)).map(Rc::new);
        self.maps.insert(key, map.clone());
        map
    }

    fn read(&mut self, dict: &Dict<'_>) -> Result<Font, DocumentProblem> {
        let to_unicode = match dict.get::<Stream<'_>>("ToUnicode") {
            Some(stream) => {
                filters::decoded(&stream, MAP_BYTES)?.and_then(|data| CMap::parse(&data, load_embedded))
            }
            None => None,
        };
        if dict.get::<Name<'_>>("Subtype").is_none_or(|n| n.as_str() != "Type0") {
            return Ok(Font { to_unicode, kind: Kind::Simple(simple::read(dict)), vertical: false });
        }
        let mut vertical = false;
        let mut family = None;
        let cmap = match dict.get::<Object<'_>>("Encoding") {
            Some(Object::Name(name)) => {
                vertical = name.as_str().ends_with("-V") || name.as_str() == "V";
                match CMapName::from_bytes(&name) {
                    CMapName::IdentityH | CMapName::IdentityV => None,
                    known => self.predefined(known),
                }
            }
            Some(Object::Stream(stream)) => {
                let data = filters::decoded(&stream, MAP_BYTES)?;
                data.and_then(|data| CMap::parse(&data, load_embedded)).map(Rc::new)
            }
            _ => None,
        };
        if let Some(cmap) = &cmap {
            vertical |= cmap.metadata().writing_mode == Some(WritingMode::Vertical);
            family = cmap.metadata().character_collection.as_ref().map(|c| c.family.clone());
        }
        let descendant =
            dict.get::<Array<'_>>("DescendantFonts").and_then(|fonts| fonts.iter::<Dict<'_>>().next());
        if let Some(info) = descendant.as_ref().and_then(|d| d.get::<Dict<'_>>("CIDSystemInfo")) {
            let text =
                |key: &str| info.get::<PdfString<'_>>(key).map(|s| s.as_bytes().to_vec()).unwrap_or_default();
            let own = CidFamily::from_registry_ordering(&text("Registry"), &text("Ordering"));
            if own.ucs2_cmap().is_some() {
                family = Some(own);
            }
        }
        let collection = family.and_then(|f| f.ucs2_cmap()).and_then(|name| self.predefined(name));
        let mut widths = HashMap::new();
        let mut default_width = 1000.0;
        if let Some(descendant) = &descendant {
            default_width = descendant.get::<f32>("DW").filter(|w| w.is_finite()).unwrap_or(1000.0);
            if let Some(given) = descendant.get::<Array<'_>>("W") {
                read_widths(&given, &mut widths);
            }
        }
        Ok(Font { to_unicode, kind: Kind::Composite { cmap, collection, widths, default_width }, vertical })
    }
}

/// `first [w w w]` and `first last w`, as they follow each other.
fn read_widths(given: &Array<'_>, widths: &mut HashMap<u32, f32>) {
    const MOST: usize = 1 << 17;
    let mut waiting: Vec<u32> = Vec::new();
    for entry in given.iter::<Object<'_>>() {
        match entry {
            Object::Number(n) => match waiting.as_slice() {
                [first, last] => {
                    for cid in *first..=*last {
                        if widths.len() >= MOST {
                            return;
                        }
                        widths.insert(cid, n.as_f32());
                    }
                    waiting.clear();
                }
                _ => waiting.push(u32::try_from(n.as_i64()).unwrap_or(0).min(0xFFFF)),
            },
            Object::Array(list) => {
                if let Some(&first) = waiting.last() {
                    for (n, width) in list.iter::<f32>().enumerate() {
                        if widths.len() >= MOST {
                            return;
                        }
                        widths.insert(first.saturating_add(n as u32), width);
                    }
                }
                waiting.clear();
            }
            _ => waiting.clear(),
        }
    }
}

impl Font {
    /// The characters of a string.
    pub(super) fn each(&self, bytes: &[u8], mut see: impl FnMut(Shown)) {
        match &self.kind {
            Kind::Simple(simple) => {
                for &code in bytes {
                    let mapped = self.unicode(u32::from(code));
                    let text = mapped.or_else(|| simple.text.get(usize::from(code)).cloned().flatten());
                    let width = simple.width.get(usize::from(code)).copied().unwrap_or(0.0) / 1000.0;
                    see(Shown { text: text.and_then(readable), width, space: code == b' ' });
                }
            }
            Kind::Composite { cmap, collection, widths, default_width } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let (code, length, cid) = next_code(cmap.as_deref(), rest);
                    rest = rest.get(length..).unwrap_or_default();
                    let text = self
                        .unicode(code)
                        .or_else(|| bf_text(collection.as_deref()?.lookup_bf_string(cid?)?));
                    let width =
                        cid.and_then(|cid| widths.get(&cid)).copied().unwrap_or(*default_width) / 1000.0;
                    see(Shown { text: text.and_then(readable), width, space: length == 1 && code == 32 });
                }
            }
        }
    }

    fn unicode(&self, code: u32) -> Option<String> {
        bf_text(self.to_unicode.as_ref()?.lookup_bf_string(code)?)
    }
}

/// The code at the front, its bytes, and its number in the collection. The map has entries for one, two or four bytes, and
/// the first that fits counts, as the code space of these maps is free of overlaps.
fn next_code(cmap: Option<&CMap>, bytes: &[u8]) -> (u32, usize, Option<u32>) {
    let code = |n: usize| bytes.get(..n).map(|b| b.iter().fold(0u32, |c, b| c << 8 | u32::from(*b)));
    let Some(cmap) = cmap else {
        let length = bytes.len().min(2);
        let code = code(length).unwrap_or(0);
        return (code, length, Some(code));
    };
    for length in 1..=4usize {
        let Some(code) = code(length) else { break };
        if let Some(cid) = cmap.lookup_cid_code(code, length as u8) {
            return (code, length, Some(cid));
        }
    }
    // no entry: a byte of ASCII alone, others in pairs
    let length = if bytes.first().is_some_and(|b| *b < 0x80) { 1 } else { bytes.len().min(2) };
    (code(length).unwrap_or(0), length, None)
}

fn bf_text(found: BfString) -> Option<String> {
    Some(match found {
        BfString::Char(c) => c.to_string(),
        BfString::String(text) => text,
    })
}

/// Text as people write it: radicals, ligatures and compatibility forms that fonts name become ordinary characters;
/// control characters fall away. `None` where nothing is left that has a meaning.
fn readable(text: String) -> Option<String> {
    let odd =
        |c: char| matches!(c, '\u{2E80}'..='\u{2FDF}' | '\u{F900}'..='\u{FAFF}' | '\u{FB00}'..='\u{FB06}');
    let plain = |c: char| {
        !(c.is_control() || matches!(c, '\u{FFFD}' | '\u{FEFF}' | '\u{00AD}' | '\u{E000}'..='\u{F8FF}'))
    };
    if text.chars().all(|c| plain(c) && !odd(c)) {
        return (!text.is_empty()).then_some(text);
    }
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{00AD}' => out.push('-'),
            c if odd(c) => out.extend(c.nfkc()),
            c if plain(c) => out.push(c),
            _ => {}
        }
    }
    (!out.is_empty()).then_some(out)
}
