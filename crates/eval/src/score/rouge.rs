//! ROUGE-1, -2 and -L (Lin 2004) as F1, equal to the package `rouge-score` without stemming.
//!
//! Words are runs of `a`–`z` and digits in lower case. Chinese, Japanese and Thai characters count alone (the package
//! would drop them), as do letters of other alphabets in words. Or words are what jieba cuts (its dictionary, and its hidden
//! Markov model for what stands in none), as figures of other programs for Chinese often are: coarser, and they depend on the
//! dictionary's edition. It is unpacked at the first use, in some tenths of a second and 35 MB.

use std::collections::HashMap;
use std::sync::LazyLock;

use jieba_rs::Jieba;
use regex::Regex;

use super::tokens::is_standalone;

/// Longest texts that are compared for ROUGE-L, in words: its work grows with their product.
const LONGEST: usize = 20_000;

/// Which ROUGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rouge {
    /// Runs of so many words.
    N(usize),
    /// The longest common subsequence.
    L,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Runs of letters and digits; of scripts without spaces each character.
    Characters,
    /// What jieba cuts, punctuation left out.
    Jieba,
}

static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// What jieba for Python takes for one word outside of Chinese.
static LATIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[a-z0-9]+(?:\.[0-9]+)?%?").unwrap());

impl Words {
    fn of(self, text: &str) -> Vec<String> {
        match self {
            Words::Characters => words(text),
            Words::Jieba => {
                let text = text.to_lowercase();
                let mut words = Vec::new();
                for word in JIEBA.cut(&text, true).into_iter().map(|token| token.word) {
                    // jieba for Python parts "3-5" and "example.org", unless the dictionary has them (c++)
                    match word.is_ascii() && !JIEBA.has_word(word) {
                        true => words.extend(LATIN.find_iter(word).map(|m| m.as_str().to_string())),
                        false if word.contains(char::is_alphanumeric) => words.push(word.to_string()),
                        false => {}
                    }
                }
                words
            }
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.chars().flat_map(char::to_lowercase) {
        let alone = is_standalone(c);
        let word = c.is_alphanumeric() && !alone;
        match out.last_mut().filter(|_| open && word) {
            Some(last) => last.push(c),
            None if alone || word => out.push(c.into()),
            None => {}
        }
        open = word;
    }
    out
}

fn f1(common: usize, answer: usize, gold: usize) -> f64 {
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (answer + gold) as f64 }
}

/// F1 of an answer against one reference.
pub fn rouge(kind: Rouge, words: Words, answer: &str, reference: &str) -> f64 {
    let (answer, gold) = (words.of(answer), words.of(reference));
    match kind {
        Rouge::N(n) => {
            let mut left: HashMap<&[String], usize> = HashMap::new();
            for gram in gold.windows(n.max(1)) {
                *left.entry(gram).or_default() += 1;
            }
            let (mut common, mut given) = (0, 0);
            for gram in answer.windows(n.max(1)) {
                given += 1;
                if let Some(n) = left.get_mut(gram).filter(|n| **n > 0) {
                    *n -= 1;
                    common += 1;
                }
            }
            f1(common, given, (gold.len() + 1).saturating_sub(n.max(1)))
        }
        Rouge::L => {
            let (answer, gold) = (&answer[..answer.len().min(LONGEST)], &gold[..gold.len().min(LONGEST)]);
            // one row of the table of common lengths
            let mut row = vec![0usize; gold.len() + 1];
            for a in answer {
                let mut corner = 0;
                for (j, g) in gold.iter().enumerate() {
                    let above = row[j + 1];
                    row[j + 1] = if a == g { corner + 1 } else { above.max(row[j]) };
                    corner = above;
                }
            }
            f1(row[gold.len()], answer.len(), gold.len())
        }
    }
}
