//! Splitting a text into what is compared: words, numbers, single Chinese characters, meaningful symbols.

/// One unit of comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Normalised text, never empty.
    pub(super) text: String,
    /// Whether nothing stood between it and the token before it.
    pub(super) glued: bool,
}

impl Token {
    /// A number, or a character that Chinese numbers are written with.
    pub(super) fn is_numeral(&self) -> bool {
        let start = self.text.strip_prefix('-').unwrap_or(&self.text);
        start.starts_with(|c: char| c.is_ascii_digit() || "〇零一二两三四五六七八九十百千万亿".contains(c))
    }
}

pub(super) fn is_article(token: &str) -> bool {
    matches!(token, "a" | "an" | "the")
}

/// The tokens of a text, see [`normalise`](super::normalise) for the rules.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().flat_map(fold).collect();
    let mut out = Vec::new();
    let (mut at, mut glued) = (0, false);
    while at < chars.len() {
        let (text, next) = number(&chars, at)
            .or_else(|| word(&chars, at))
            .or_else(|| {
                (is_standalone(chars[at]) || is_symbol(chars[at])).then(|| (chars[at].into(), at + 1))
            })
            .unwrap_or((String::new(), at + 1));
        let something = !text.is_empty();
        if something {
            out.push(Token { text, glued });
        }
        (at, glued) = (next, something);
    }
    out
}

/// The character at `i`; a space beyond the end.
fn char_at(chars: &[char], i: usize) -> char {
    chars.get(i).copied().unwrap_or(' ')
}

/// Length of the run of ASCII digits from `at`.
fn digits(chars: &[char], at: usize) -> usize {
    (at..).take_while(|&i| char_at(chars, i).is_ascii_digit()).count()
}

/// A number from `at` and where it ends: digits, an optional minus sign before, a point, colon or slash inside.
fn number(chars: &[char], at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut i = at;
    if char_at(chars, at) == '-' {
        // after a word, number or second hyphen it is a dash or a range, not a sign
        let before = if at == 0 { ' ' } else { char_at(chars, at - 1) };
        if is_word(before) || is_mark(before) || is_standalone(before) || before == '-' {
            return None;
        }
        text.push('-');
        i += 1;
    }
    let first = digits(chars, i);
    if first == 0 {
        return None;
    }
    text.extend(&chars[i..i + first]);
    i += first;
    let mut thousands = first <= 3;
    loop {
        let (joint, group) = (char_at(chars, i), digits(chars, i + 1));
        match joint {
            ',' if thousands && group == 3 => {}
            '.' | '/' if group > 0 => {
                thousands = false;
                text.push(joint);
            }
            // a time; any other colon between digits separates ("answer 1:450")
            ':' if group == 2 => {
                thousands = false;
                text.push(joint);
            }
            _ => return Some((text, i)),
        }
        text.extend(&chars[i + 1..i + 1 + group]);
        i += 1 + group;
    }
}

/// A word from `at` and where it ends: letters, then also digits; apostrophes inside go; `c++` and `c#` stay whole.
fn word(chars: &[char], at: usize) -> Option<(String, usize)> {
    if !is_word(char_at(chars, at)) {
        return None;
    }
    let (mut text, mut i) = (String::new(), at);
    loop {
        let c = char_at(chars, i);
        if is_word(c) || is_mark(c) {
            text.push(c);
        } else if c != '\'' || !is_word(char_at(chars, i + 1)) {
            break;
        }
        i += 1;
    }
    let suffix = chars[i..].iter().take_while(|c| matches!(c, '+' | '#')).count();
    let after = char_at(chars, i + suffix);
    if !is_word(after) && !is_standalone(after) {
        text.extend(&chars[i..i + suffix]);
        i += suffix;
    }
    Some((text, i))
}

/// Width and case folding of one character; zero-width characters vanish.
fn fold(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        '\u{200b}' | '\u{200c}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => (None, None),
        // the full-width comma never groups thousands
        '，' => (Some('、'), None),
        '\u{ff01}'..='\u{ff5e}' => (char::from_u32(c as u32 - 0xff01 + 0x21), None),
        '￥' => (Some('¥'), None),
        '￡' => (Some('£'), None),
        '℃' => (Some('°'), Some('c')),
        '℉' => (Some('°'), Some('f')),
        '−' | '–' | '‐' | '‑' => (Some('-'), None),
        '’' | '‘' => (Some('\''), None),
        'ς' => (Some('σ'), None),
        _ => (Some(c), None),
    };
    first.into_iter().chain(second).flat_map(char::to_lowercase)
}

/// Letters and digits of scripts that put words together from them.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() && !is_standalone(c)
}

/// Scripts without spaces between words: each character is compared alone.
pub(super) fn is_standalone(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}'     // Thai, Lao
        | '\u{1000}'..='\u{109f}'   // Myanmar
        | '\u{1780}'..='\u{17ff}'   // Khmer
        | '\u{3005}'..='\u{3007}'   // 々 〆 〇
        | '\u{3041}'..='\u{309f}'   // Hiragana
        | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Marks that belong to the letter before them (accents; vowel and joining signs of Indic scripts).
fn is_mark(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{0591}'..='\u{05c7}' | '\u{064b}'..='\u{065f}'
        | '\u{0900}'..='\u{0dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{200d}')
        && !matches!(c, '\u{0964}' | '\u{0965}') // danda: the full stop of Indic scripts
}

/// Symbols without which an answer means something else.
fn is_symbol(c: char) -> bool {
    "%‰°$€£¥+=<>±×÷√≤≥≠≈&@^".contains(c) || matches!(c, '\u{20a0}'..='\u{20cf}')
}
