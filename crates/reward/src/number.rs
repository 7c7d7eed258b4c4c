//! The right number, exactly: compared as fractions, never as floats.

use crate::answer::{Answer, Score};
use regex::Regex;
use std::cmp::Ordering;
use std::sync::LazyLock;

/// A rational number; `1,234.50`, `-3`, `3/4` and `50%` are such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    above: i128,
    /// positive, without a common factor
    below: i128,
}

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"[-−－+]?(?:\d{1,3}(?:[,，]\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?\s?[%％]?|[-−－+]?\.\d+").ok()
});

/// Longest number that is read, in characters.
const LONGEST: usize = 30;

impl Number {
    /// Reads a text that is a number and nothing else, but for blanks, a currency sign in front and a full stop behind.
    pub fn parse(text: &str) -> Option<Number> {
        let text =
            text.trim().trim_end_matches(['.', '。']).trim_start_matches(['$', '￥', '¥', '€', '£']).trim();
        let found = NUMBER.as_ref()?.find(text)?;
        if found.range() != (0..text.len()) {
            return None;
        }
        read(text)
    }

    fn new(above: i128, below: i128) -> Option<Number> {
        if below == 0 {
            return None;
        }
        let by = gcd(above.unsigned_abs(), below.unsigned_abs()) as i128 * below.signum();
        Some(Number { above: above / by, below: below / by })
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// Digits of other scripts' widths and signs become the plain ones; separators go.
fn plain(text: &str) -> String {
    let one = |c: char| match c {
        '０'..='９' => char::from_u32(c as u32 - '０' as u32 + '0' as u32),
        '−' | '－' => Some('-'),
        '．' => Some('.'),
        '％' => Some('%'),
        ',' | '，' | '+' => None,
        c if c.is_whitespace() => None,
        c => Some(c),
    };
    text.chars().filter_map(one).collect()
}

fn read(text: &str) -> Option<Number> {
    if text.chars().count() > LONGEST {
        return None;
    }
    let text = plain(text);
    let (text, percent) = text.strip_suffix('%').map_or((&text[..], false), |t| (t, true));
    let (text, sign) = text.strip_prefix('-').map_or((text, 1), |t| (t, -1));
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let (whole, part) = above.split_once('.').unwrap_or((above, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let below: i128 = below.parse().ok()?;
    let below = below.checked_mul(10i128.checked_pow(part.len() as u32)?)?;
    Number::new(sign * digits, below.checked_mul(if percent { 100 } else { 1 })?)
}

/// The numbers of a text, in order. A minus right behind a digit or letter is a dash.
pub fn numbers(text: &str) -> Vec<Number> {
    let Some(pattern) = NUMBER.as_ref() else { return Vec::new() };
    let one = |m: regex::Match<'_>| {
        let found = m.as_str();
        let joined = text[..m.start()].chars().next_back().is_some_and(char::is_alphanumeric);
        read(if joined { found.trim_start_matches(['-', '−', '－', '+']) } else { found })
    };
    pattern.find_iter(text).filter_map(one).collect()
}

/// What stands where a final answer is announced: behind the last `####`, or in the last `\boxed{}`.
fn announced(text: &str) -> Option<&str> {
    let behind = text.rfind("####").map(|at| (at, text[at + 4..].trim()));
    let boxed = text.rfind("\\boxed{").and_then(|at| {
        let inner = &text[at + 7..];
        Some((at, inner[..inner.find('}')?].trim()))
    });
    match (behind, boxed) {
        (Some(a), Some(b)) => Some(if a.0.cmp(&b.0) == Ordering::Greater { a.1 } else { b.1 }),
        (a, b) => a.or(b).map(|found| found.1),
    }
}

/// The number that a reference means: announced, or the reference itself, or its last.
pub(crate) fn right(reference: &str) -> Option<Number> {
    announced(reference)
        .and_then(|text| Number::parse(text).or_else(|| numbers(text).last().copied()))
        .or_else(|| Number::parse(reference))
        .or_else(|| numbers(reference).last().copied())
}

/// Strict: the answer is the number, or announces it and nothing else. Lenient: its announced or last number is right.
pub(crate) fn score(a: &Answer<'_>) -> Score {
    let right: Vec<Number> = a.reference.iter().filter_map(|r| right(r)).collect();
    let is = |n: Option<Number>| n.is_some_and(|n| right.contains(&n));
    let place = announced(a.text);
    let strict = is(Number::parse(place.unwrap_or(a.text)));
    let found = numbers(place.unwrap_or(a.text));
    let found = if found.is_empty() { numbers(a.text) } else { found };
    Score::of(strict, is(found.last().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(text: &str, reference: &str) -> (bool, bool) {
        let reference = [reference.to_string()];
        let s = score(&Answer { question: "", text, reference: &reference, worth: &[] });
        (s.strict == 1.0, s.lenient == 1.0)
    }

    #[test]
    fn equal_however_written() {
        for (a, b) in [
            ("1,234.50", "1234.5"),
            ("３０", "30"),
            ("-0", "0"),
            ("6/8", "0.75"),
            ("50%", "1/2"),
            ("$ 12.", "12"),
            ("007", "7"),
            (".5", "1/2"),
        ] {
            assert_eq!(Number::parse(a), Number::parse(b), "{a} {b}");
            assert!(Number::parse(a).is_some(), "{a}");
        }
        for no in ["", "1 2", "12 apples", "1/0", "--3", "1e5", "9999999999999999999999999999999999999999"] {
            assert_eq!(Number::parse(no), None, "{no}");
        }
        // what floats would call equal
        assert_ne!(Number::parse("0.1000000000000000001"), Number::parse("0.1"));
    }

    #[test]
    fn strict_and_lenient() {
        assert_eq!(looks("42", "42"), (true, true));
        assert_eq!(looks("40 and 2 make 42", "#### 42"), (false, true));
        assert_eq!(looks("First 7. #### 42", "42"), (true, true));
        assert_eq!(looks("so \\boxed{42} apples of 50", "42"), (true, true));
        assert_eq!(looks("#### 42 apples", "42"), (false, true));
        assert_eq!(looks("42, or perhaps 43", "42"), (false, false));
        assert_eq!(looks("It is 5-3", "3"), (false, true), "a dash is no sign");
        assert_eq!(looks("nothing", "42"), (false, false));
    }
}
