//! Which language a text is mostly in: by script, and for the Latin script by its most frequent words.
//!
//! What is told apart is what this project needs: Chinese, English, everything else. Left out on purpose: a classifier of
//! many languages; the counts say what there is, and a filter needs no more.

use serde::{Deserialize, Serialize};

/// The language of most of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
    /// Any other.
    Other,
}

/// The letters of a text by language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letters {
    /// Chinese characters.
    pub zh: u64,
    /// Letters of words that were taken for English.
    pub en: u64,
    /// All other letters.
    pub other: u64,
}

impl Letters {
    /// Adds those of another text.
    pub(crate) fn add(&mut self, more: Letters) {
        self.zh += more.zh;
        self.en += more.en;
        self.other += more.other;
    }

    /// The language of most of them: a Chinese character counts as much as two letters, because it says as much. `None`
    /// where there are none.
    pub fn language(self) -> Option<Language> {
        let all = [(2 * self.zh, Language::Zh), (self.en, Language::En), (self.other, Language::Other)];
        all.into_iter().rev().max_by_key(|(n, _)| *n).filter(|(n, _)| *n > 0).map(|(_, language)| language)
    }
}

const ENGLISH: &[&str] = &[
    "the", "of", "and", "to", "is", "that", "it", "for", "was", "with", "be", "this", "are", "you", "not",
    "have", "from", "my", "what", "how", "which", "can", "do", "does", "if", "your", "or", "at", "by", "we",
    "when", "why", "there",
];
/// Frequent words of German, French, Spanish, Italian, Portuguese and Dutch that English does not have.
const NOT_ENGLISH: &[&str] = &[
    "der", "das", "und", "ist", "nicht", "ein", "eine", "mit", "auf", "wie", "ich", "sie", "le", "les",
    "des", "et", "est", "une", "que", "pour", "dans", "je", "vous", "qui", "el", "los", "las", "una", "por",
    "con", "para", "es", "il", "di", "che", "per", "sono", "della", "um", "uma", "os", "com", "não", "het",
    "een", "van", "niet", "en", "la", "y",
];

/// Counts the letters of a text by language.
pub fn letters(text: &str) -> Letters {
    let mut out = Letters::default();
    let (mut latin, mut accented, mut kana) = (0u64, 0u64, 0u64);
    let (mut english, mut foreign) = (0u64, 0u64);
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if ENGLISH.contains(&word.as_str()) {
            english += 1;
        } else if NOT_ENGLISH.contains(&word.as_str()) {
            foreign += 1;
        }
        word.clear();
    };
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' => {
                latin += 1;
                // no frequent word is longer
                if word.len() < 8 {
                    word.push(c.to_ascii_lowercase());
                }
                continue;
            }
            '\u{C0}'..='\u{24F}' if c.is_alphabetic() => {
                latin += 1;
                accented += 1;
                if word.len() < 8 {
                    word.extend(c.to_lowercase());
                }
                continue;
            }
            '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' => out.zh += 1,
            '\u{20000}'..='\u{3FFFF}' => out.zh += 1,
            '\u{3040}'..='\u{30FF}' => {
                kana += 1;
                out.other += 1;
            }
            c if c.is_alphabetic() => out.other += 1,
            _ => {}
        }
        end(&mut word);
    }
    end(&mut word);
    // kana among Chinese characters: Japanese
    if kana * 20 > out.zh {
        out.other += std::mem::take(&mut out.zh);
    }
    let is_english = match english.cmp(&foreign) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => accented * 50 <= latin,
    };
    *if is_english { &mut out.en } else { &mut out.other } += latin;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        let check = |text: &str, want: Option<Language>| {
            assert_eq!(letters(text).language(), want, "{text}: {:?}", letters(text));
        };
        check("Where is my card?", Some(Language::En));
        check("card_arrival", Some(Language::En));
        check("我的银行卡在哪里？", Some(Language::Zh));
        check("请用 SmolLM2 的 tokenizer 处理这段话，然后告诉我结果", Some(Language::Zh));
        check("カードはどこですか、教えてください", Some(Language::Other));
        check("Wo ist meine Karte? Ich warte und sie ist nicht da", Some(Language::Other));
        check("Où est ma carte, et que dois-je faire pour la recevoir ?", Some(Language::Other));
        check("¿Dónde está mi tarjeta?", Some(Language::Other));
        check("Где моя карта?", Some(Language::Other));
        check("12 + 30 = 42", None);
        check("", None);
    }
}
