//! Where a text reads like a special token, or could be completed to one by its neighbours.

use std::collections::HashSet;

use super::added::{Added, Matcher};

/// The special tokens' texts, indexed for one pass over a text.
pub(crate) struct Specials {
    whole: Matcher,
    /// Proper beginnings and endings of them.
    beginnings: HashSet<String>,
    endings: HashSet<String>,
    /// Bytes of the longest.
    longest: usize,
}

impl Specials {
    pub(super) fn new(added: &[Added]) -> Self {
        let texts = || added.iter().filter(|a| a.special).map(|a| a.content.as_str());
        let (mut beginnings, mut endings) = (HashSet::new(), HashSet::new());
        for text in texts() {
            for (left, right) in text.char_indices().skip(1).filter_map(|(i, _)| text.split_at_checked(i)) {
                if !beginnings.contains(left) {
                    beginnings.insert(left.to_owned());
                }
                if !endings.contains(right) {
                    endings.insert(right.to_owned());
                }
            }
        }
        Specials {
            whole: Matcher::new(texts().map(|t| (t.to_owned(), 0))),
            beginnings,
            endings,
            longest: texts().map(str::len).max().unwrap_or(0),
        }
    }

    /// Byte offsets, ascending, such that no special token can be read in `text`, whatever stands before and behind
    /// it, if none may span one of them. Empty for nearly every text. A special token of a single character has no
    /// inside; it gets an offset on either side.
    pub(crate) fn cuts(&self, text: &str) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (start, c) in text.char_indices() {
            if let Some(shortest) = self.whole.shortest_at(text, start) {
                cuts.push(start + c.len_utf8());
                if shortest == c.len_utf8() {
                    cuts.push(start);
                }
            }
        }
        // With and without outer white space, because many templates take it off.
        for core in [text, text.trim()] {
            let from = core.as_ptr() as usize - text.as_ptr() as usize;
            let near = |at: usize| core.is_char_boundary(at);
            let tails = (core.len().saturating_sub(self.longest)..core.len()).filter(|&at| near(at));
            if tails.filter_map(|at| core.get(at..)).any(|tail| self.beginnings.contains(tail)) {
                cuts.push(from + core.len());
            }
            let heads = (1..=core.len().min(self.longest)).filter(|&at| near(at));
            if heads.filter_map(|at| core.get(..at)).any(|head| self.endings.contains(head)) {
                cuts.push(from);
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_inside_and_at_open_ends() {
        let added: Vec<_> =
            ["<|im_end|>", "§"].iter().zip(0..).map(|(s, i)| Added::plain(i, s, true)).collect();
        let specials = Specials::new(&added);
        assert_eq!(specials.cuts("an ordinary text < with > signs"), [] as [usize; 0]);
        assert_eq!(specials.cuts("a<|im_end|>b"), [2]);
        assert_eq!(specials.cuts("x§y"), [1, 3]);
        assert_eq!(specials.cuts("half <|im_ "), [10]);
        assert_eq!(specials.cuts("  end|> of one"), [2]);
        assert_eq!(specials.cuts("|>"), [0]);
    }
}
