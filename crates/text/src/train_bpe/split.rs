//! Words of a text as the splitting `deepseek-v3` of `tokenizer/pre.rs` makes them, one pass over the characters. The
//! tests hold it to those patterns, which take many times as long.

use std::sync::LazyLock;
use tokenizers::utils::SysRegex;

const LETTER: u8 = 1;
const MARK: u8 = 2;
const NUMBER: u8 = 4;
const SYMBOL: u8 = 8;
const SPACE: u8 = 16;
/// Chinese and Japanese characters, whose runs stand alone.
const HAN: u8 = 32;

/// What each character is, by the regular expressions' own tables.
static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let all: String = ('\0'..=char::MAX).collect();
    let mut classes = vec![0u8; char::MAX as usize + 1];
    let table = [
        (r"\p{L}+", LETTER),
        (r"\p{M}+", MARK),
        (r"\p{N}+", NUMBER),
        (r"[\p{P}\p{S}]+", SYMBOL),
        (r"\s+", SPACE),
        ("[一-龥\u{3040}-ゟ゠-ヿ]+", HAN),
    ];
    for (pattern, bit) in table {
        let Ok(regex) = SysRegex::new(pattern) else { continue };
        for (from, to) in regex.find_iter(&all) {
            for c in all.get(from..to).unwrap_or_default().chars() {
                if let Some(class) = classes.get_mut(c as usize) {
                    *class |= bit;
                }
            }
        }
    }
    classes
});

fn class(c: char) -> u8 {
    CLASSES.get(c as usize).copied().unwrap_or(0)
}

/// Where a run of characters that `is` ends, from byte `from`.
fn run(text: &str, from: usize, is: impl Fn(char) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.find(|c| !is(c)).map_or(text.len(), |n| from + n)
}

fn is(bits: u8) -> impl Fn(char) -> bool {
    move |c| class(c) & bits != 0
}

/// Whether a piece begins with a Chinese or Japanese character, or inside a character, by its first byte.
pub(super) fn begins_han(first: u8) -> bool {
    matches!(first, 0xE3..=0xE9 | 0x80..=0xBF)
}

/// Calls `word` for each word; together they are the text.
pub(super) fn words<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let end = match class(c) {
            k if k & NUMBER != 0 => {
                let digits = text.get(at..).unwrap_or_default().char_indices().skip(1).take(3);
                let digits = digits.enumerate().find(|&(n, (_, c))| n == 2 || class(c) & NUMBER == 0);
                let end = digits.map_or(text.len(), |(_, (n, _))| at + n);
                // the third may be one too
                let third =
                    text.get(end..).and_then(|r| r.chars().next()).filter(|&c| class(c) & NUMBER != 0);
                let whole = text.get(at..end).unwrap_or_default();
                end + third.filter(|_| whole.chars().count() < 3).map_or(0, char::len_utf8)
            }
            k if k & HAN != 0 => run(text, at, is(HAN)),
            _ => {
                let end = run(text, at, |c| class(c) & (NUMBER | HAN) == 0);
                fragment(text.get(at..end).unwrap_or_default(), word);
                at = end;
                continue;
            }
        };
        word(text.get(at..end).unwrap_or_default());
        at = end;
    }
}

/// Words of a part without numbers and Chinese.
fn fragment<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let (mut at, mut gap) = (0, 0);
    while at < text.len() {
        let Some(end) = next(text, at) else {
            // what no pattern takes stays together
            at += text.get(at..).and_then(|r| r.chars().next()).map_or(1, char::len_utf8);
            continue;
        };
        if gap < at {
            word(text.get(gap..at).unwrap_or_default());
        }
        word(text.get(at..end).unwrap_or_default());
        (at, gap) = (end, end);
    }
    if gap < text.len() {
        word(text.get(gap..).unwrap_or_default());
    }
}

/// The end of the word that begins at `at`, alternative by alternative.
fn next(text: &str, at: usize) -> Option<usize> {
    let mut chars = text.get(at..)?.chars();
    let first = chars.next()?;
    let (kind, after) = (class(first), at + first.len_utf8());
    let second = chars.next();
    let second_is = |bits: u8| second.is_some_and(|c| class(c) & bits != 0);
    if first.is_ascii_punctuation() && second.is_some_and(|c| c.is_ascii_alphabetic()) {
        return Some(run(text, after, |c| c.is_ascii_alphabetic()));
    }
    let line_end = matches!(first, '\r' | '\n');
    let leads = !line_end && kind & (LETTER | SYMBOL) == 0 && second_is(LETTER | MARK);
    if leads || kind & (LETTER | MARK) != 0 {
        return Some(run(text, after, is(LETTER | MARK)));
    }
    if kind & SYMBOL != 0 || first == ' ' && second_is(SYMBOL) {
        let symbols = run(text, after, is(SYMBOL));
        return Some(run(text, symbols, |c| matches!(c, '\r' | '\n')));
    }
    if kind & SPACE == 0 {
        return None;
    }
    let end = run(text, at, is(SPACE));
    let space = text.get(at..end)?;
    if let Some(last) = space.rfind(['\r', '\n']) {
        return Some(at + last + 1);
    }
    // the last space belongs to what follows, unless it is the only one
    let last = space.chars().next_back().map_or(0, char::len_utf8);
    Some(if end == text.len() || last == space.len() { end } else { end - last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::splitting;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    /// The pieces that the patterns make, without the step to the byte alphabet.
    fn by_pattern(text: &str, patterns: &tokenizers::PreTokenizerWrapper) -> Vec<(usize, usize)> {
        let mut string = PreTokenizedString::from(text);
        patterns.pre_tokenize(&mut string).unwrap();
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, at, _)| at).filter(|(a, b)| a < b).collect()
    }

    #[test]
    fn the_pass_over_the_characters_splits_as_the_patterns_do() {
        let patterns = splitting("deepseek-v3").unwrap();
        let check = |text: &str| {
            let mut found = Vec::new();
            let mut at = 0;
            words(text, &mut |w| {
                found.push((at, at + w.len()));
                at += w.len();
            });
            assert_eq!(found, by_pattern(text, &patterns), "{text:?}");
            assert_eq!(at, text.len());
        };
        for text in [
            "",
            "Hello world, it's 12345 o'clock.\n\n  Next   line\t\r\n",
            "床前明月光，疑是地上霜。\n举头望明月，AI模型v3的“低头”思故乡！2024年12月",
            "x=3;  y = foo(bar)\u{3000}\u{3000}第一回 甄士隐梦幻识通灵",
            "e\u{301}\u{301} \u{301}a ⅷ½٣٤٥٦ \u{200b}\u{7}\u{7}a \u{7} \u{85}b 々〇ひらカナ한국어 ру́сский   ",
        ] {
            check(text);
        }
        // all short strings over what the alternatives tell apart
        let kinds = ['a', '中', '1', ' ', '\n', '\t', ',', '。', '\u{301}', '\u{7}'];
        for n in 0..kinds.len().pow(5) {
            let digits = (0..5u32).map(|i| n / kinds.len().pow(i) % kinds.len());
            check(&digits.map(|d| kinds[d]).collect::<String>());
        }
    }
}
