//! A regular expression. The engine takes time in proportion to the text, whatever the expression.

use crate::answer::Score;
use crate::error::RewardError;
use regex::{Regex, RegexBuilder};

/// Most bytes of a compiled expression.
const LARGEST: usize = 1 << 20;

/// A regular expression that an answer must follow.
#[derive(Clone, Debug)]
pub struct Pattern {
    whole: Regex,
    part: Regex,
}

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// It is none, or it grows too large.
    pub fn new(pattern: &str) -> Result<Pattern, RewardError> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(LARGEST)
                .build()
                .map_err(|e| RewardError::Pattern { pattern: pattern.to_string(), problem: e.to_string() })
        };
        Ok(Pattern { part: compile(pattern)?, whole: compile(&format!(r"\A(?:{pattern})\z"))? })
    }

    /// Strict: the whole answer, but for blanks around it. Lenient: a part of it.
    pub fn score(&self, text: &str) -> Score {
        Score::of(self.whole.is_match(text.trim()), self.part.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_or_a_part() {
        let p = Pattern::new("a|bc+").unwrap();
        assert_eq!(p.score(" bcc "), Score::of(true, true));
        assert_eq!(p.score("x bcc"), Score::of(false, true));
        assert_eq!(p.score("b"), Score::of(false, false));
        assert!(Pattern::new("(").is_err() && Pattern::new("a{1000}{1000}").is_err());
        // would take for ever by backtracking
        let evil = Pattern::new("(a+)+b").unwrap();
        assert_eq!(evil.score(&"a".repeat(20_000)), Score::default());
    }
}
