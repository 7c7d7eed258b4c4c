//! Chinese regulated verse (近体诗), checked by rule: lines and their length, tones, rhyme.
//!
//! Checks, each counted: the number of lines; the length of each; in each line the second and fourth place (and sixth of
//! seven) alternate between level and oblique (二四六分明); lines of a couplet are opposed in their second place (对), and
//! couplets follow each other alike (粘); even lines end level and rhyme with each other; odd lines behind the first end
//! oblique; no character of the rhyme comes twice. Strict: all of them hold and all places asked for are known to the table.
//! Lenient: the share that holds, of those that can be judged.
//!
//! Left out on purpose: parallelism of meaning, three equal tones at the end of a line, and the licences that poets took.

mod forms;
mod tones;

pub use tones::Tones;

use crate::answer::Score;
use tones::{Tone, can_be, readings};

/// The form of a poem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// lines: 4 (绝句) or 8 (律诗)
    pub lines: usize,
    /// characters of a line: 5 or 7
    pub length: usize,
}

impl Form {
    /// `5x4`, `7x4`, `5x8`, `7x8`: characters of a line by lines.
    pub fn named(name: &str) -> Option<Form> {
        let (length, lines) = match name {
            "5x4" => (5, 4),
            "7x4" => (7, 4),
            "5x8" => (5, 8),
            "7x8" => (7, 8),
            _ => return None,
        };
        Some(Form { lines, length })
    }
}

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verse {
    /// what is asked for; `None`: any of the four forms, by what is there
    pub form: Option<Form>,
    /// whose tones
    pub tones: Tones,
}

/// How many checks were made, held, and could not be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    held: usize,
    broken: usize,
    open: usize,
}

impl Count {
    fn see(&mut self, holds: Option<bool>) {
        match holds {
            Some(true) => self.held += 1,
            Some(false) => self.broken += 1,
            None => self.open += 1,
        }
    }
}

fn is_character(c: char) -> bool {
    ('\u{3400}'..='\u{9fff}').contains(&c)
}

/// The lines of a poem: runs of characters between punctuation and line ends.
fn lines(text: &str) -> Vec<Vec<char>> {
    let lines = text.split(|c: char| !is_character(c));
    lines.map(|line| line.chars().collect::<Vec<_>>()).filter(|line| !line.is_empty()).collect()
}

impl Verse {
    /// The scores of a poem.
    pub fn score(&self, text: &str) -> Score {
        let lines = lines(text);
        let form = self.form.unwrap_or_else(|| Form {
            lines: if lines.len() > 4 { 8 } else { 4 },
            length: if lines.first().is_some_and(|l| l.len() > 5) { 7 } else { 5 },
        });
        if lines.is_empty() || form.lines == 0 {
            return Score::default();
        }
        let other = text.chars().any(|c| c.is_alphanumeric() && !is_character(c));
        let count = self.count(&lines, form);
        let judged = count.held + count.broken;
        let strict = count.broken == 0 && count.open == 0 && !other;
        let lenient = if judged == 0 { 0.0 } else { count.held as f64 / judged as f64 };
        Score { strict: f64::from(u8::from(strict)), lenient }
    }

    fn count(&self, lines: &[Vec<char>], form: Form) -> Count {
        let mut count = Count::default();
        count.see(Some(lines.len() == form.lines));
        for i in 0..form.lines {
            count.see(Some(lines.get(i).is_some_and(|l| l.len() == form.length)));
        }
        let at = |line: usize, place: usize| lines.get(line).and_then(|l| l.get(place)).copied();
        for i in 0..form.lines {
            for place in (1..form.length.saturating_sub(2)).step_by(2) {
                count.see(self.differ(at(i, place), at(i, place + 2)));
            }
            // couplets: the second line is opposed to the first; the next begins as this one ended
            if i > 0 {
                let opposed = self.differ(at(i, 1), at(i - 1, 1));
                count.see(if i % 2 == 1 { opposed } else { self.agree(at(i, 1), at(i - 1, 1)) });
            }
            let last = form.length.checked_sub(1).and_then(|p| at(i, p));
            match (i % 2 == 1, i) {
                (true, _) => count.see(self.is(last, Tone::Level)),
                (false, 0) => {} // the first line may rhyme or not
                (false, _) => count.see(self.is(last, Tone::Oblique)),
            }
        }
        let ends: Vec<Option<char>> = (1..form.lines).step_by(2).map(|i| at(i, form.length - 1)).collect();
        for (i, end) in ends.iter().enumerate().skip(1) {
            count.see(self.rhymes(ends[0], *end));
            count.see(Some(end.is_some() && !ends[..i].contains(end)));
        }
        count
    }

    fn is(&self, c: Option<char>, tone: Tone) -> Option<bool> {
        c.map_or(Some(false), |c| can_be(c, tone, self.tones))
    }

    /// Whether two places can have different tones; a place that is not there breaks the rule.
    fn differ(&self, a: Option<char>, b: Option<char>) -> Option<bool> {
        self.both(a, b, |x, y| x != y)
    }

    fn agree(&self, a: Option<char>, b: Option<char>) -> Option<bool> {
        self.both(a, b, |x, y| x == y)
    }

    fn both(&self, a: Option<char>, b: Option<char>, f: impl Fn(Tone, Tone) -> bool) -> Option<bool> {
        let (Some(a), Some(b)) = (a, b) else { return Some(false) };
        let (a, b) = (readings(a, self.tones), readings(b, self.tones));
        if a.is_empty() || b.is_empty() {
            return None;
        }
        Some(a.iter().any(|x| b.iter().any(|y| f(x.1, y.1))))
    }

    /// Whether two characters can rhyme: the same group, both level.
    fn rhymes(&self, a: Option<char>, b: Option<char>) -> Option<bool> {
        let (Some(a), Some(b)) = (a, b) else { return Some(false) };
        let (a, b) = (readings(a, self.tones), readings(b, self.tones));
        if a.is_empty() || b.is_empty() {
            return None;
        }
        Some(a.iter().any(|x| x.1 == Tone::Level && b.contains(x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verse(lines: usize, length: usize, tones: Tones) -> Verse {
        Verse { form: Some(Form { lines, length }), tones }
    }

    /// Made for this test.
    const OWN: &str = "山中春雨过，\n门外晓风轻。\n坐看白云起，\n闲听流水声。";

    #[test]
    fn a_poem_that_keeps_the_rules() {
        let s = verse(4, 5, Tones::Modern).score(OWN);
        assert_eq!((s.strict, s.lenient), (1.0, 1.0));
        let traditional = OWN.replace('门', "門").replace('晓', "曉").replace('云', "雲").replace('声', "聲");
        assert_eq!(verse(4, 5, Tones::Modern).score(&traditional).strict, 1.0);
        let any = Verse { form: None, tones: Tones::Modern };
        assert_eq!(any.score(OWN).strict, 1.0);
    }

    #[test]
    fn each_rule_can_be_broken() {
        let v = verse(4, 5, Tones::Modern);
        for (what, poem) in [
            ("a line too few", "山中春雨过，门外晓风轻。坐看白云起。"),
            ("a character too many", "山中春雨过，门外晓风轻轻。坐看白云起，闲听流水声。"),
            ("tones within a line", "山中春风过，门外晓风轻。坐看白云起，闲听流水声。"),
            ("opposition", "山中春雨过，中门外雨轻。坐看白云起，闲听流水声。"),
            ("the rhyme", "山中春雨过，门外晓风轻。坐看白云起，闲听流水长。"),
            ("the same rhyme twice", "山中春雨过，门外晓风声。坐看白云起，闲听流水声。"),
            ("an odd line that ends level", "山中春雨过，门外晓风轻。坐看白云生，闲听流水声。"),
            ("other words beside it", "Here: 山中春雨过，门外晓风轻。坐看白云起，闲听流水声。"),
        ] {
            let s = v.score(poem);
            assert_eq!(s.strict, 0.0, "{what}");
            assert!(s.lenient > 0.4, "{what}: {s:?}");
        }
        assert_eq!(v.score("").lenient, 0.0);
        assert!(v.score("hello").lenient == 0.0 && v.score(&"山".repeat(9999)).strict == 0.0);
        // known places only count
        let s = v.score("山龘春雨过，门外晓风轻。坐看白云起，闲听流水声。");
        assert!(s.strict == 0.0 && s.lenient == 1.0, "{s:?}");
    }

    #[test]
    fn seven_characters_and_old_tones() {
        // 出 is level today and was oblique
        let poem = "日出江边春水绿，\n人归柳外晚风轻。\n何时再听楼头笛，\n一夜相思到月明。";
        let (now, old) = (verse(4, 7, Tones::Modern).score(poem), verse(4, 7, Tones::Classical).score(poem));
        assert!(old.lenient > now.lenient, "{now:?} {old:?}");
    }
}
