//! Tokens matched as whole strings before anything else is done to the text: special ones and user-defined ones.

use std::collections::HashMap;
use std::sync::LazyLock;

use tokenizers::utils::SysRegex;

/// One such token, with the flags of `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    /// Not part of the words of a text: turn markers, beginning, end, padding.
    pub(super) special: bool,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    /// Matched after the normalizer, against its normalized form.
    pub(super) normalized: bool,
}

impl Added {
    /// A token that is matched exactly as it is spelt.
    pub(super) fn plain(id: u32, content: &str, special: bool) -> Self {
        let content = content.to_owned();
        Added { id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }
    }
}

/// A match: byte range and the index of the token in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) index: usize,
}

/// Leftmost-longest matching of a set of strings.
pub(super) struct Matcher {
    by_text: HashMap<String, usize>,
    /// For every first byte, the lengths that occur, longest first.
    lengths: Vec<Vec<usize>>,
}

impl Matcher {
    /// `patterns`: text and the caller's index of it. Empty texts are left out.
    pub(super) fn new(patterns: impl Iterator<Item = (String, usize)>) -> Self {
        let mut lengths = vec![Vec::new(); 256];
        let mut by_text = HashMap::new();
        for (text, index) in patterns {
            if let Some(list) = text.bytes().next().and_then(|b| lengths.get_mut(usize::from(b))) {
                list.push(text.len());
                by_text.insert(text, index);
            }
        }
        for list in &mut lengths {
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
        }
        Matcher { by_text, lengths }
    }

    /// The length of the shortest pattern that stands at `at`.
    pub(super) fn shortest_at(&self, text: &str, at: usize) -> Option<usize> {
        let first = *text.as_bytes().get(at)?;
        let lengths = self.lengths.get(usize::from(first))?;
        lengths
            .iter()
            .rev()
            .copied()
            .find(|&len| text.get(at..at + len).is_some_and(|t| self.by_text.contains_key(t)))
    }

    /// All matches from left to right. `allow(index, range)` may turn one down; a shorter one at the same place
    /// is tried then.
    pub(super) fn find(
        &self,
        text: &str,
        added: &[Added],
        allow: impl Fn(&Added, std::ops::Range<usize>) -> bool,
    ) -> Vec<Hit> {
        let mut hits = Vec::new();
        if self.by_text.is_empty() {
            return hits;
        }
        let (bytes, mut at, mut free) = (text.as_bytes(), 0, 0);
        while let Some(&first) = bytes.get(at) {
            let lengths = self.lengths.get(usize::from(first)).map(Vec::as_slice).unwrap_or_default();
            let hit = lengths.iter().find_map(|&len| {
                let index = *self.by_text.get(text.get(at..at + len)?)?;
                let token = added.get(index)?;
                let ok =
                    (!token.single_word || stands_alone(text, at, at + len)) && allow(token, at..at + len);
                ok.then_some((index, len, token))
            });
            let Some((index, len, token)) = hit else {
                at += 1;
                continue;
            };
            let (mut start, mut end) = (at, at + len);
            if token.lstrip {
                start = text.get(..start).map_or(start, |t| t.trim_end().len()).max(free);
            }
            if token.rstrip {
                end += text.get(end..).map_or(0, |t| t.len() - t.trim_start().len());
            }
            hits.push(Hit { start, end, index });
            (at, free) = (end, end);
        }
        hits
    }
}

/// Whether no word character touches the match, by the regular expressions' idea of one (`\w`: letters, marks, digits,
/// connectors, joiners).
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    static WORD: LazyLock<Option<SysRegex>> = LazyLock::new(|| SysRegex::new(r"\w").ok());
    let word = |c: Option<char>| {
        let (Some(c), Some(word)) = (c, WORD.as_ref()) else { return false };
        word.find_iter(c.encode_utf8(&mut [0; 4])).next().is_some()
    };
    let before = word(text.get(..start).and_then(|t| t.chars().next_back()));
    let after = word(text.get(end..).and_then(|t| t.chars().next()));
    !before && !after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_at_the_leftmost_place_wins() {
        let added: Vec<_> =
            ["<a>", "<a><b>", "b>"].iter().zip(0..).map(|(s, i)| Added::plain(i, s, true)).collect();
        let matcher = Matcher::new(added.iter().map(|a| a.content.clone()).zip(0..));
        let found = |text: &str| -> Vec<_> {
            matcher.find(text, &added, |_, _| true).iter().map(|h| (h.start, h.end, h.index)).collect()
        };
        assert_eq!(found("x<a><b><a>b>"), [(1, 7, 1), (7, 10, 0), (10, 12, 2)]);
        assert_eq!(found("中<a"), []);
        let without_long = matcher.find("<a><b>", &added, |a, _| a.id != 1);
        assert_eq!(without_long.len(), 2);
    }
}
