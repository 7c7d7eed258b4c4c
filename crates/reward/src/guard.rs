//! Guards against answers that please a rule by running wild.

use crate::answer::Score;
use std::collections::HashSet;

/// Bounds on the length of an answer in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// fewest
    pub min: usize,
    /// most
    pub max: usize,
    /// over so many characters beyond either bound the score falls to 0 in a straight line
    pub fall: usize,
}

impl Length {
    /// Strict: inside 1, falling beyond. Lenient: the same.
    pub fn score(&self, text: &str) -> Score {
        let n = text.trim().chars().count();
        let beyond = self.min.saturating_sub(n).max(n.saturating_sub(self.max));
        Score::both(match beyond {
            0 => 1.0,
            _ if beyond >= self.fall => 0.0,
            _ => 1.0 - beyond as f64 / self.fall as f64,
        })
    }
}

/// Share of a text's runs of four words (of Chinese: characters) that stood there before. 0 for short texts.
pub fn repetition(text: &str) -> f64 {
    let mut units: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let mut from = 0;
        for (at, c) in word.char_indices() {
            if ('\u{2e80}'..='\u{9fff}').contains(&c) {
                if from < at {
                    units.push(&word[from..at]);
                }
                from = at + c.len_utf8();
                units.push(&word[at..from]);
            }
        }
        if from < word.len() {
            units.push(&word[from..]);
        }
    }
    let runs = units.windows(4);
    let all = runs.len();
    let distinct = runs.collect::<HashSet<_>>().len();
    if all == 0 { 0.0 } else { (all - distinct) as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let l = Length { min: 2, max: 4, fall: 4 };
        let of = |text: &str| l.score(text).strict;
        assert_eq!(
            [of("ab"), of("诗诗诗诗"), of("abcde"), of("abcdefgh"), of("a")],
            [1.0, 1.0, 0.75, 0.0, 0.75]
        );
        assert_eq!(Length { min: 0, max: 1, fall: 0 }.score("ab").strict, 0.0);
    }

    #[test]
    fn saying_it_again() {
        assert_eq!(repetition("one two three"), 0.0);
        assert!(repetition(&"so it goes on ".repeat(20)) > 0.9);
        assert!(repetition(&"春眠不觉晓".repeat(10)) > 0.85);
        assert_eq!(repetition("春眠不觉晓 处处闻啼鸟 夜来风雨声 花落知多少"), 0.0);
    }
}
