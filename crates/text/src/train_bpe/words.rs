//! The words of a text, each once, with how often it stands there.

use super::split;
use crate::tokenizer::Seed;
use std::collections::HashMap;

/// Distinct words that are kept by default: some hundred megabytes.
const MOST: usize = 4_000_000;

/// Counts words of any number of texts in bounded memory.
///
/// Where there are more distinct words than `most`, the rarest are forgotten (those seen once, then twice, until half are
/// left): they bear the least on the merges. [`WordCounts::forgotten`] says how many occurrences that cost.
#[derive(Debug)]
pub struct WordCounts {
    counts: HashMap<Box<str>, u64, Seed>,
    most: usize,
    forgotten: u64,
    total: u64,
}

impl Default for WordCounts {
    fn default() -> Self {
        WordCounts::with_most(MOST)
    }
}

impl WordCounts {
    /// Keeps at most so many distinct words.
    pub fn with_most(most: usize) -> Self {
        WordCounts { counts: HashMap::with_hasher(Seed::new()), most: most.max(1), forgotten: 0, total: 0 }
    }

    /// Counts the words of a text: a whole document, or a part that ends where a word ends (at a line's end).
    pub fn add(&mut self, text: &str) {
        split::words(text, &mut |word| {
            self.total += 1;
            match self.counts.get_mut(word) {
                Some(n) => *n += 1,
                None => {
                    self.counts.insert(word.into(), 1);
                }
            }
        });
        let mut rare = 0;
        while self.counts.len() > self.most {
            rare += 1;
            let mut lost = 0;
            // down to half, so that the next time is far
            self.counts.retain(|_, n| {
                let keep = *n > rare;
                lost += if keep { 0 } else { *n };
                keep
            });
            self.forgotten += lost;
            if self.counts.len() <= self.most / 2 {
                break;
            }
        }
    }

    /// Distinct words.
    pub fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Words counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Occurrences that were counted and then forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The words with their counts, in order of their bytes: whatever follows depends on nothing else.
    pub(super) fn into_words(self) -> Vec<(Box<str>, u64)> {
        let mut words: Vec<_> = self.counts.into_iter().collect();
        words.sort_unstable();
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_are_forgotten_and_counted() {
        let mut words = WordCounts::with_most(4);
        words.add("a a a b b b c d e f g");
        assert!(words.distinct() <= 4, "{words:?}");
        let (total, forgotten) = (words.total(), words.forgotten());
        let kept: u64 = words.into_words().iter().map(|(_, n)| n).sum();
        assert_eq!(kept + forgotten, total);
    }
}
