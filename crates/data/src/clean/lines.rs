//! Boilerplate: lines that stand in many documents, such as headers, footers and notices.
//!
//! Digits count as one digit, so that `Page 3 of 20` and `第 4 页` are found. Headings (`#`), table rows and lines
//! without a letter stay. Only documents are looked at: turns of a conversation repeat for good reasons.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::units::mix;

/// Lines that are remembered at a time; beyond it, those seen once are forgotten.
const MOST_LINES: usize = 1 << 21;
/// Documents in which a line stands before it can be boilerplate at all.
const FEWEST: u32 = 3;
/// Characters of a line that are shown.
const SHOWN: usize = 80;

/// A line that was taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedLine {
    /// Its beginning, as it stood first.
    pub text: String,
    /// Documents that held it.
    pub documents: u64,
}

/// How many documents hold each line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Number of documents, and the last of them.
    seen: HashMap<u64, (u32, u32)>,
    documents: u32,
}

impl Lines {
    /// Looks at one document.
    pub(crate) fn look(&mut self, text: &str) {
        self.documents = self.documents.saturating_add(1);
        for key in text.split('\n').filter_map(key) {
            let entry = self.seen.entry(key).or_insert((0, 0));
            if entry.1 != self.documents {
                *entry = (entry.0.saturating_add(1), self.documents);
            }
        }
        if self.seen.len() > MOST_LINES {
            self.seen.retain(|_, (count, _)| *count > 1);
        }
    }

    /// The lines that stand in at least this share of the documents.
    pub(crate) fn repeated(self, share: f64) -> Boilerplate {
        let least = ((f64::from(self.documents) * share).ceil() as u32).max(FEWEST);
        let lines = self.seen.into_iter().filter(|(_, (count, _))| *count >= least);
        Boilerplate { lines: lines.map(|(key, (count, _))| (key, (count, None))).collect() }
    }
}

/// The lines to take out.
#[derive(Debug, Default)]
pub(crate) struct Boilerplate {
    lines: HashMap<u64, (u32, Option<String>)>,
}

impl Boilerplate {
    /// The document without them and the number of lines that went; `None` where it holds none.
    pub(crate) fn strip(&mut self, text: &str) -> Option<(String, u64)> {
        let mut gone = 0;
        let kept: Vec<&str> = text
            .split('\n')
            .filter(|line| match key(line).and_then(|key| self.lines.get_mut(&key)) {
                Some((_, shown)) => {
                    shown.get_or_insert_with(|| {
                        // it is shown on terminals
                        let plain = |c: char| if c.is_control() { ' ' } else { c };
                        line.trim().chars().take(SHOWN).map(plain).collect()
                    });
                    gone += 1;
                    false
                }
                None => true,
            })
            .collect();
        (gone > 0).then(|| (kept.join("\n"), gone))
    }

    /// The first `most` of them, the most frequent first.
    pub(crate) fn shown(self, most: usize) -> Vec<RepeatedLine> {
        let found = self.lines.into_values();
        let mut lines: Vec<RepeatedLine> = found
            .filter_map(|(count, text)| Some(RepeatedLine { text: text?, documents: count.into() }))
            .collect();
        lines.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.text.cmp(&b.text)));
        lines.truncate(most);
        lines
    }
}

/// What makes two lines the same; `None` for lines that are never boilerplate.
fn key(line: &str) -> Option<u64> {
    let line = line.trim();
    if line.starts_with(['#', '|']) || !line.chars().any(char::is_alphabetic) {
        return None;
    }
    let mut digits = false;
    let mut hash = 0x5EED_0F11_4E5A_11CE_u64;
    for c in line.chars().filter(|c| !c.is_whitespace()) {
        let digit = c.is_ascii_digit();
        if !(digit && digits) {
            hash = mix(hash ^ u64::from(if digit { '0' } else { c }));
        }
        digits = digit;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_documents_share_goes() {
        let documents: Vec<String> = (1..=10)
            .map(|n| {
                let rare = if n < 3 { "Only in two.\n" } else { "" };
                format!("# Guide\nPump {n} pumps water.\n{rare}```\nPage {n} of 120\n版权所有 第{n}页")
            })
            .collect();
        let mut lines = Lines::default();
        documents.iter().for_each(|d| lines.look(d));
        let mut found = lines.repeated(0.5);
        let stripped: Vec<_> = documents.iter().map(|d| found.strip(d)).collect();
        // "Pump 1 pumps water." differs in digits only: the share decides
        assert_eq!(stripped[9], Some(("# Guide\n```".to_string(), 3)));
        assert_eq!(stripped[0].as_ref().unwrap().0, "# Guide\nOnly in two.\n```");
        let shown = found.shown(2);
        assert_eq!(shown.len(), 2);
        assert!(shown.iter().all(|l| l.documents == 10));

        let mut lines = Lines::default();
        documents.iter().take(2).for_each(|d| lines.look(d));
        assert_eq!(lines.repeated(0.1).strip(&documents[0]), None, "two documents prove nothing");
        let mut lines = Lines::default();
        (0..5).for_each(|_| lines.look("same line\nsame line"));
        lines.look("another");
        assert!(lines.repeated(0.9).strip("same line").is_none(), "each document counts once");
    }
}
