//! Simple fonts: one byte a character, by an encoding and its differences.

use hayro_syntax::object::{Array, Dict, Name, Object, Stream};

use super::glyph_names;

/// Text and width (in thousandths of the font size) of each code.
pub(super) struct Simple {
    pub(super) text: Vec<Option<String>>,
    pub(super) width: Vec<f32>,
}

/// Widths of Helvetica from the space to the tilde, for fonts that bring none: the fourteen that every program has.
#[rustfmt::skip]
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556,
    556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// What a font is, as far as its dictionary says.
pub(super) fn read(font: &Dict<'_>) -> Simple {
    let descriptor = font.get::<Dict<'_>>("FontDescriptor");
    let embedded = descriptor.as_ref().is_some_and(|d| {
        ["FontFile", "FontFile2", "FontFile3"].iter().any(|key| d.get::<Stream<'_>>(*key).is_some())
    });
    let symbolic =
        descriptor.as_ref().and_then(|d| d.get::<i32>("Flags")).is_some_and(|flags| flags & 4 != 0);
    let encoding = font.get::<Object<'_>>("Encoding");
    let (base, differences) = match encoding {
        Some(Object::Name(name)) => (Some(name.as_str().to_string()), None),
        Some(Object::Dict(dict)) => (
            dict.get::<Name<'_>>("BaseEncoding").map(|n| n.as_str().to_string()),
            dict.get::<Array<'_>>("Differences"),
        ),
        _ => (None, None),
    };
    // an embedded symbol font has an encoding of its own; of that only letters and figures are a safe guess
    let own = embedded && symbolic && base.is_none();
    let mut text: Vec<Option<String>> = (0..=255u8)
        .map(|code| if own && !code.is_ascii_alphanumeric() { None } else { of_base(base.as_deref(), code) })
        .collect();
    if let Some(differences) = differences {
        let mut code = 0usize;
        for entry in differences.iter::<Object<'_>>() {
            match entry {
                Object::Number(n) => code = usize::try_from(n.as_i64()).unwrap_or(usize::MAX),
                Object::Name(name) => {
                    if let Some(slot) = text.get_mut(code) {
                        *slot = glyph_names::text(name.as_str());
                    }
                    code = code.saturating_add(1);
                }
                _ => {}
            }
        }
    }
    Simple { text, width: widths(font, descriptor.as_ref()) }
}

fn of_base(base: Option<&str>, code: u8) -> Option<String> {
    if code < 0x20 {
        return None;
    }
    let codec = match base {
        Some("MacRomanEncoding") => encoding_rs::MACINTOSH,
        _ => encoding_rs::WINDOWS_1252,
    };
    // Type 1's standard encoding has curly quotes where ASCII has straight ones
    match (base, code) {
        (None | Some("StandardEncoding"), 0x27) => return Some("’".into()),
        (None | Some("StandardEncoding"), 0x60) => return Some("‘".into()),
        _ => {}
    }
    let text = codec.decode_without_bom_handling(&[code]).0.into_owned();
    if text.chars().all(|c| !c.is_control() && c != '\u{FFFD}') {
        return Some(text);
    }
    // codes that Windows leaves free are bullets (ISO 32000-1, annex D.2, note 3)
    (base == Some("WinAnsiEncoding")).then(|| "•".into())
}

fn widths(font: &Dict<'_>, descriptor: Option<&Dict<'_>>) -> Vec<f32> {
    let name = font.get::<Name<'_>>("BaseFont").map(|n| n.as_str().to_lowercase()).unwrap_or_default();
    let fixed = name.contains("courier") || name.contains("mono");
    let missing = descriptor.and_then(|d| d.get::<f32>("MissingWidth")).filter(|w| *w > 0.0);
    let mut widths: Vec<f32> = (0..256usize)
        .map(|code| {
            let plain = code.checked_sub(32).and_then(|n| HELVETICA.get(n)).map_or(556.0, |w| f32::from(*w));
            if fixed { 600.0 } else { missing.unwrap_or(plain) }
        })
        .collect();
    let first = font.get::<i32>("FirstChar").and_then(|f| usize::try_from(f).ok()).unwrap_or(0);
    // the glyphs of a type 3 font are measured in its own space
    let scale = match font.get::<Array<'_>>("FontMatrix") {
        Some(matrix) => {
            matrix.iter::<f32>().next().filter(|a| a.is_finite()).map_or(1.0, |a| a.abs() * 1000.0)
        }
        None => 1.0,
    };
    if let Some(given) = font.get::<Array<'_>>("Widths") {
        for (n, width) in given.iter::<f32>().take(256).enumerate() {
            if let Some(slot) = widths.get_mut(first.saturating_add(n)) {
                *slot = width * scale;
            }
        }
    }
    widths
}
