//! The right words, alone or contained.

use crate::answer::{Answer, Score};

/// Lower case, one blank between words, no full stop at the end.
fn even(text: &str) -> String {
    let text = text.trim().trim_end_matches(['.', '。', '!', '！']);
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Whether `part` occurs in `text` as words of its own (letters of Latin script beside it would make it another word).
fn has(text: &str, part: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !part.is_empty()
        && text.match_indices(part).any(|(at, found)| {
            let before = word(text[..at].chars().next_back()) && word(found.chars().next());
            let behind = word(text[at + found.len()..].chars().next()) && word(found.chars().next_back());
            !before && !behind
        })
}

/// Strict: character by character, but for blanks around it. Lenient: contained, whatever the case and spacing.
pub(crate) fn exact(a: &Answer<'_>) -> Score {
    let strict = a.reference.iter().any(|r| r.trim() == a.text.trim());
    let text = even(a.text);
    Score::of(strict, a.reference.iter().any(|r| has(&text, &even(r)) || text == even(r)))
}

/// Strict: contained as it stands. Lenient: whatever the case and spacing.
pub(crate) fn contains(a: &Answer<'_>) -> Score {
    let strict = a.reference.iter().any(|r| has(a.text, r.trim()));
    let text = even(a.text);
    Score::of(strict, a.reference.iter().any(|r| has(&text, &even(r))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_words() {
        let yes = ["Yes".to_string()];
        let look = |f: fn(&Answer<'_>) -> Score, text| {
            let s = f(&Answer { question: "", text, reference: &yes, worth: &[] });
            (s.strict, s.lenient)
        };
        assert_eq!(look(exact, " Yes\n"), (1.0, 1.0));
        assert_eq!(look(exact, "yes."), (0.0, 1.0));
        assert_eq!(look(exact, "Well, yes"), (0.0, 1.0));
        assert_eq!(look(exact, "Yesterday"), (0.0, 0.0));
        assert_eq!(look(contains, "Well: Yes!"), (1.0, 1.0));
        assert_eq!(look(contains, "eyes"), (0.0, 0.0));
        let is = ["是".to_string()];
        assert_eq!(
            contains(&Answer { question: "", text: "答案是的", reference: &is, worth: &[] }).strict,
            1.0
        );
    }
}
