//! Unicode and white space, evened out without touching a word.
//!
//! Left out on purpose: full-width letters and signs stay (they are right in Chinese), and so do quotes, dashes and the
//! indent of a line, which code needs.

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// The text with composed characters (NFC), `\n` as its only line end, plain spaces, no invisible or control characters,
/// no spaces before line ends, at most one empty line in a row and none at either end. `None` where it is so already.
pub(crate) fn tidy(text: &str) -> Option<String> {
    let composed = match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => None,
        _ => Some(text.nfc().collect::<String>()),
    };
    let source = composed.as_deref().unwrap_or(text);
    let mut out = String::with_capacity(source.len());
    let (mut line_ends, mut spaces) = (0usize, String::new());
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\r' => {
                if chars.peek() == Some(&'\n') {
                    chars.next();
                }
                '\n'
            }
            '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
            c if invisible(c) => continue,
            c if space(c) => ' ',
            c => c,
        };
        match c {
            '\n' => {
                spaces.clear();
                line_ends += 1;
            }
            ' ' | '\t' => spaces.push(c),
            c => {
                if !out.is_empty() {
                    out.extend(std::iter::repeat_n('\n', line_ends.min(2)));
                }
                line_ends = 0;
                out.push_str(&spaces);
                spaces.clear();
                out.push(c);
            }
        }
    }
    (out != text).then_some(out)
}

/// Spaces that look like one, and the ideographic one.
fn space(c: char) -> bool {
    matches!(c, '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

/// Controls, marks of byte order and direction, and what has no width. The joiners stay: some scripts and emoji need them.
fn invisible(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2060}' | '\u{FEFF}' | '\u{FFFD}' => true,
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evens_out() {
        let check = |text: &str, want: &str| {
            assert_eq!(tidy(text).as_deref().unwrap_or(text), want, "{text:?}");
            assert_eq!(tidy(want), None, "twice is once: {want:?}");
        };
        check("plain text", "plain text");
        check("\u{feff}  a\r\nb\rc  ", "  a\nb\nc");
        check("a \t\n\n\n\n\u{a0}b", "a\n\n b");
        check("cafe\u{301}", "café");
        check("\u{3000}\u{3000}第一条\u{200b}　总则", "  第一条 总则");
        check("fn f() {\n    x\n}\n", "fn f() {\n    x\n}");
        check("zero\0 bell\u{7}", "zero bell");
        check("👨‍👩‍👧 ok", "👨‍👩‍👧 ok");
        check(" \n \n", "");
        check("，。！Ａ", "，。！Ａ");
    }
}
