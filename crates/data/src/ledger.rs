//! The ledger: every input row ends in exactly one place, and the counts add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Whole, in training or in the exam.
    Used,
    /// The same as an earlier row.
    Duplicate,
    /// Nearly the same as an earlier row.
    NearDuplicate,
    /// Left out for this reason (a code such as `broken_json`).
    Dropped(String),
    /// Used, but its end was cut off.
    Cut,
    /// Kept back from training.
    HeldOut,
}

/// The rows of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLedger {
    /// The file as it is named in ids.
    pub source: String,
    /// Rows read.
    pub rows: u64,
    /// Rows used whole.
    pub used: u64,
    /// Rows that repeat an earlier one.
    pub duplicate: u64,
    /// Rows that nearly repeat an earlier one.
    #[serde(default)]
    pub near_duplicate: u64,
    /// Rows used with their end cut off.
    pub cut: u64,
    /// Rows kept back from training.
    pub held_out: u64,
    /// Rows of which sensitive values were replaced before they got their fate: they stand among the others and are no
    /// part of the sum.
    #[serde(default)]
    pub redacted: u64,
    /// How often rows are seen again in a pass, because the source's weight is above 1; no part of the sum.
    #[serde(default)]
    pub repeated: u64,
    /// Rows whose words a translator wrote (they have a key `translated`), whatever became of them; no part of the sum.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub translated: u64,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Ids of the first rows of each fate but `used`.
    pub examples: BTreeMap<String, Vec<String>>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl SourceLedger {
    /// Whether every row has exactly one fate.
    pub fn adds_up(&self) -> bool {
        let fates = [self.used, self.duplicate, self.near_duplicate, self.cut, self.held_out];
        let sum = fates.iter().chain(self.dropped.values()).try_fold(0u64, |sum, n| sum.checked_add(*n));
        sum == Some(self.rows)
    }

    fn slot(&mut self, fate: &Fate) -> &mut u64 {
        match fate {
            Fate::Used => &mut self.used,
            Fate::Duplicate => &mut self.duplicate,
            Fate::NearDuplicate => &mut self.near_duplicate,
            Fate::Cut => &mut self.cut,
            Fate::HeldOut => &mut self.held_out,
            Fate::Dropped(reason) => self.dropped.entry(reason.clone()).or_default(),
        }
    }
}

/// The rows of all sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// One entry a source, in the order of the recipe.
    pub sources: Vec<SourceLedger>,
    /// How many ids are kept for each reason and source.
    pub examples_per_reason: usize,
}

impl Ledger {
    /// An empty ledger for these sources.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a str>, examples_per_reason: usize) -> Self {
        let sources = sources
            .into_iter()
            .map(|source| SourceLedger { source: source.to_string(), ..SourceLedger::default() })
            .collect();
        Ledger { sources, examples_per_reason }
    }

    /// Counts a new row of `source` with its fate. A source that is not in the ledger is added without a name, so
    /// that no row goes uncounted.
    pub fn count(&mut self, source: usize, fate: &Fate, id: &str) {
        let keep = self.examples_per_reason;
        let entry = self.entry(source);
        entry.rows += 1;
        *entry.slot(fate) += 1;
        note(entry, fate, id, keep);
    }

    /// Gives a row that was counted as used another fate: a later stage decided. Returns false, and changes nothing,
    /// if no used row is left there.
    #[must_use]
    pub fn move_used(&mut self, source: usize, fate: &Fate, id: &str) -> bool {
        let keep = self.examples_per_reason;
        let entry = self.entry(source);
        if entry.used == 0 {
            return false;
        }
        entry.used -= 1;
        *entry.slot(fate) += 1;
        note(entry, fate, id, keep);
        true
    }

    /// Notes that sensitive values of a used row were replaced; its fate stays.
    pub fn note_redacted(&mut self, source: usize, id: &str) {
        let keep = self.examples_per_reason;
        let entry = self.entry(source);
        entry.redacted += 1;
        note_id(entry, "redacted", id, keep);
    }

    /// Notes that a translator wrote the words of a row that was counted.
    pub fn note_translated(&mut self, source: usize) {
        self.entry(source).translated += 1;
    }

    /// Whether every row of every source has exactly one fate.
    pub fn adds_up(&self) -> bool {
        self.sources.iter().all(SourceLedger::adds_up)
    }

    /// The sums over all sources, without ids.
    pub fn total(&self) -> SourceLedger {
        let mut total = SourceLedger { source: "total".to_string(), ..SourceLedger::default() };
        for source in &self.sources {
            total.rows += source.rows;
            total.used += source.used;
            total.duplicate += source.duplicate;
            total.near_duplicate += source.near_duplicate;
            total.redacted += source.redacted;
            total.cut += source.cut;
            total.held_out += source.held_out;
            total.repeated += source.repeated;
            total.translated += source.translated;
            for (reason, n) in &source.dropped {
                *total.dropped.entry(reason.clone()).or_default() += n;
            }
        }
        total
    }

    fn entry(&mut self, source: usize) -> &mut SourceLedger {
        if source >= self.sources.len() {
            self.sources.resize_with(source + 1, SourceLedger::default);
        }
        // In range: resized above.
        &mut self.sources[source]
    }
}

fn note(entry: &mut SourceLedger, fate: &Fate, id: &str, keep: usize) {
    let name = match fate {
        Fate::Used => return,
        Fate::Duplicate => "duplicate",
        Fate::NearDuplicate => "near_duplicate",
        Fate::Cut => "cut",
        Fate::HeldOut => "held_out",
        Fate::Dropped(reason) => reason,
    };
    note_id(entry, name, id, keep);
}

fn note_id(entry: &mut SourceLedger, name: &str, id: &str, keep: usize) {
    let ids = entry.examples.entry(name.to_string()).or_default();
    if ids.len() < keep {
        ids.push(id.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_counted_once_and_keeps_adding_up() {
        let mut ledger = Ledger::new(["a.csv", "b.csv"], 2);
        for line in 1..=5 {
            ledger.count(0, &Fate::Used, &format!("a.csv:{line}"));
            ledger.count(1, &Fate::Dropped("broken_json".into()), &format!("b.csv:{line}"));
        }
        ledger.count(1, &Fate::Duplicate, "b.csv:6");
        assert!(ledger.adds_up());
        assert!(ledger.move_used(0, &Fate::Cut, "a.csv:1"));
        assert!(ledger.move_used(0, &Fate::HeldOut, "a.csv:2"));
        assert!(ledger.move_used(0, &Fate::NearDuplicate, "a.csv:4"));
        ledger.note_redacted(0, "a.csv:3");
        assert!(!ledger.move_used(1, &Fate::Cut, "b.csv:1"), "b.csv has no used row");
        assert!(ledger.adds_up());
        assert_eq!((ledger.sources[0].used, ledger.sources[0].cut, ledger.sources[0].held_out), (2, 1, 1));
        assert_eq!((ledger.total().near_duplicate, ledger.total().redacted), (1, 1));
        ledger.note_translated(1);
        assert_eq!((ledger.total().translated, ledger.adds_up()), (1, true));
        assert_eq!(ledger.sources[0].examples["redacted"], ["a.csv:3"]);
        assert_eq!(ledger.sources[1].examples["broken_json"], ["b.csv:1", "b.csv:2"]);
        assert_eq!((ledger.total().rows, ledger.total().dropped["broken_json"]), (11, 5));
        let json = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
        ledger.sources[0].used += 1;
        assert!(!ledger.adds_up(), "a wrong count must show");
    }
}
