//! Cleaning: what is done to examples between reading and rendering, and what was found on the way.
//!
//! The order: tidy, boilerplate, languages, secrets and personal data, exact duplicates (cleaning makes new ones), near
//! duplicates. Every row that goes is counted in the ledger with its reason; every row that changes is counted too.
//! All texts of an example are covered: each turn, each right answer, each option. Labels are not: they are a closed set.
//!
//! Left out on purpose: judging quality. A filter that nobody can check would hide what the model learns.

mod identifiers;
mod language;
mod lines;
mod personal;
mod redact;
mod secrets;
mod tidy;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::example::{Answer, Example};
use crate::ledger::{Fate, Ledger};
use crate::near::NearIndex;
use crate::units::{NEAR_WINDOW, jaccard, units, window_set};

pub use identifiers::{is_credit_code, is_id_card, is_luhn};
pub use language::{Language, Letters, letters};
pub use lines::RepeatedLine;
pub use personal::Sensitive;
pub(crate) use redact::kinds_only;

/// The ledger's reason for rows in a language that was not asked for.
pub const OTHER_LANGUAGE: &str = "language";
/// The ledger's reason for rows with personal data.
pub const PERSONAL_DATA: &str = "personal_data";
/// The ledger's reason for rows with a key, token or password.
pub const SECRET: &str = "secret";
/// The ledger's reason for rows of which cleaning left nothing.
pub const NOTHING_LEFT: &str = "empty_after_cleaning";

/// Places, pairs and lines that the report names.
const MOST_SHOWN: usize = 20;

/// What happens to rows that are near duplicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NearPolicy {
    /// Nobody looks.
    #[default]
    Off,
    /// They are counted and stay.
    Report,
    /// They are left out; the first of several alike stays.
    Drop,
}

/// What happens to sensitive values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SensitivePolicy {
    /// Nobody looks.
    #[default]
    Off,
    /// They are counted and stay.
    Report,
    /// Each is replaced by a placeholder, the same value by the same one.
    Redact,
    /// The row is left out.
    Drop,
}

/// What is cleaned. The default does nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanOptions {
    /// Even out Unicode and white space.
    pub tidy: bool,
    /// Take out lines of documents that stand in at least this share of them (and in at least three); 0: none.
    pub boilerplate: f64,
    /// Keep rows that are mostly in one of these languages; empty: all. Rows without letters stay.
    pub languages: Vec<Language>,
    /// Near duplicates.
    pub near: NearPolicy,
    /// Shared windows of five words or characters over all (Jaccard), from which rows are near duplicates.
    pub similarity: f64,
    /// Personal data.
    pub personal: SensitivePolicy,
    /// Kinds that count as personal data.
    pub personal_kinds: Vec<Sensitive>,
    /// Keys, tokens, passwords.
    pub secrets: SensitivePolicy,
    /// Seed of the hash functions.
    pub seed: u64,
}

impl Default for CleanOptions {
    fn default() -> Self {
        CleanOptions {
            tidy: false,
            boilerplate: 0.0,
            languages: Vec::new(),
            near: NearPolicy::Off,
            similarity: 0.8,
            personal: SensitivePolicy::Off,
            personal_kinds: Sensitive::PERSONAL.to_vec(),
            secrets: SensitivePolicy::Off,
            seed: 0,
        }
    }
}

/// Sensitive values of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensitiveFound {
    /// Rows that hold one.
    pub rows: u64,
    /// Places.
    pub places: u64,
    /// Different values.
    pub values: u64,
    /// Ids of the first rows.
    pub examples: Vec<String>,
}

/// Two rows that are nearly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearPair {
    /// The row that came first.
    pub first: String,
    /// The later one.
    pub second: String,
    /// Shared windows over all.
    pub similarity: f64,
}

/// What cleaning found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CleanReport {
    /// Examples that were looked at.
    pub rows: u64,
    /// Examples that tidying changed.
    pub tidied: u64,
    /// Lines of documents that were taken out.
    pub boilerplate_lines: u64,
    /// The most frequent of them.
    pub boilerplate: Vec<RepeatedLine>,
    /// Letters of all examples by language.
    pub letters: Letters,
    /// Rows by the language of most of their letters.
    pub languages: BTreeMap<String, u64>,
    /// Sensitive values by kind; values themselves are not kept.
    pub sensitive: BTreeMap<Sensitive, SensitiveFound>,
    /// Rows whose values were replaced.
    pub redacted: u64,
    /// Rows that are near duplicates of an earlier one.
    pub near_duplicates: u64,
    /// The first of them.
    pub near_pairs: Vec<NearPair>,
    /// Bytes of memory that the search for near duplicates took, texts aside.
    pub near_bytes: u64,
}

/// Cleans examples; rows that go leave `ledger`'s used ones. Labels must not be written in their form yet, nor the common
/// system text set. `drop_duplicates` also drops rows that cleaning made equal.
pub(crate) fn clean(
    examples: &mut Vec<Example>,
    options: &CleanOptions,
    drop_duplicates: bool,
    ledger: &mut Ledger,
) -> CleanReport {
    let mut work = Work {
        fates: vec![None; examples.len()],
        changed: vec![false; examples.len()],
        report: CleanReport { rows: examples.len() as u64, ..CleanReport::default() },
        options,
    };
    if options.tidy {
        work.tidy(examples);
    }
    if options.boilerplate > 0.0 {
        work.boilerplate(examples);
    }
    work.languages(examples);
    let mut redacted = vec![false; examples.len()];
    if options.personal != SensitivePolicy::Off || options.secrets != SensitivePolicy::Off {
        work.sensitive(examples, &mut redacted);
    }
    if drop_duplicates && work.changed.contains(&true) {
        work.exact(examples);
    }
    if options.near != NearPolicy::Off {
        work.near(examples);
    }
    let Work { fates, mut report, .. } = work;
    let mut at = 0;
    examples.retain(|example| {
        let (fate, redacted) = (fates.get(at).cloned().flatten(), redacted.get(at).copied().unwrap_or(false));
        at += 1;
        match fate {
            // every example was counted as used before, so there is one to move
            Some(fate) => !ledger.move_used(example.source, &fate, &example.id),
            None => {
                if redacted {
                    report.redacted += 1;
                    ledger.note_redacted(example.source, &example.id);
                }
                true
            }
        }
    });
    report
}

/// Evens out examples of an exam, so that they look as the training data do. Nothing is dropped.
pub(crate) fn tidy_only(examples: &mut [Example]) {
    for example in examples {
        change(example, |text| tidy::tidy(text).filter(|t| !t.is_empty()));
    }
}

struct Work<'a> {
    /// Where each example ends; `None`: it stays.
    fates: Vec<Option<Fate>>,
    changed: Vec<bool>,
    report: CleanReport,
    options: &'a CleanOptions,
}

impl Work<'_> {
    fn drop(&mut self, at: usize, fate: Fate) {
        if let Some(slot) = self.fates.get_mut(at) {
            *slot = Some(fate);
        }
    }

    fn change(&mut self, at: usize, example: &mut Example, with: impl FnMut(&str) -> Option<String>) -> bool {
        if !change(example, with) {
            return false;
        }
        if let Some(changed) = self.changed.get_mut(at) {
            *changed = true;
        }
        if texts(example).all(str::is_empty) {
            self.drop(at, Fate::Dropped(NOTHING_LEFT.into()));
        }
        true
    }

    fn tidy(&mut self, examples: &mut [Example]) {
        for (at, example) in examples.iter_mut().enumerate() {
            self.report.tidied += u64::from(self.change(at, example, tidy::tidy));
        }
    }

    fn boilerplate(&mut self, examples: &mut [Example]) {
        let mut lines = lines::Lines::default();
        examples.iter().filter_map(Example::text).for_each(|text| lines.look(text));
        let mut found = lines.repeated(self.options.boilerplate);
        let mut gone = 0;
        for (at, example) in examples.iter_mut().enumerate() {
            if example.text().is_none() {
                continue;
            }
            self.change(at, example, |text| {
                let (kept, lines) = found.strip(text)?;
                gone += lines;
                // an empty line on either side of what went is one too many
                Some(if self.options.tidy { tidy::tidy(&kept).unwrap_or(kept) } else { kept })
            });
        }
        self.report.boilerplate_lines = gone;
        self.report.boilerplate = found.shown(MOST_SHOWN);
    }

    fn languages(&mut self, examples: &[Example]) {
        for (at, example) in examples.iter().enumerate() {
            let mut all = Letters::default();
            texts(example).for_each(|text| all.add(letters(text)));
            self.report.letters.add(all);
            let language = all.language();
            let name = match language {
                Some(Language::Zh) => "zh",
                Some(Language::En) => "en",
                Some(Language::Other) => "other",
                None => "none",
            };
            *self.report.languages.entry(name.to_string()).or_default() += 1;
            let wanted = &self.options.languages;
            if language.is_some_and(|l| !wanted.is_empty() && !wanted.contains(&l)) && self.stays(at) {
                self.drop(at, Fate::Dropped(OTHER_LANGUAGE.into()));
            }
        }
    }

    fn stays(&self, at: usize) -> bool {
        self.fates.get(at).is_none_or(Option::is_none)
    }

    fn sensitive(&mut self, examples: &mut [Example], redacted: &mut [bool]) {
        let mut redactor = redact::Redactor::new(self.options);
        for (at, example) in examples.iter_mut().enumerate() {
            if !self.stays(at) {
                continue;
            }
            let mut kinds = HashSet::new();
            let changed = change(example, |text| redactor.text(text, &mut kinds));
            for kind in &kinds {
                let found = self.report.sensitive.entry(*kind).or_default();
                found.rows += 1;
                if found.examples.len() < MOST_SHOWN {
                    found.examples.push(example.id.clone());
                }
            }
            let secret = kinds.remove(&Sensitive::Secret);
            if secret && self.options.secrets == SensitivePolicy::Drop {
                self.drop(at, Fate::Dropped(SECRET.into()));
            } else if !kinds.is_empty() && self.options.personal == SensitivePolicy::Drop {
                self.drop(at, Fate::Dropped(PERSONAL_DATA.into()));
            } else if changed {
                redacted.iter_mut().skip(at).take(1).for_each(|r| *r = true);
                self.changed.iter_mut().skip(at).take(1).for_each(|c| *c = true);
            }
        }
        for (kind, places, values) in redactor.counts() {
            let found = self.report.sensitive.entry(kind).or_default();
            (found.places, found.values) = (places, values);
        }
    }

    fn exact(&mut self, examples: &[Example]) {
        let mut seen = HashSet::with_capacity(examples.len());
        for (at, example) in examples.iter().enumerate() {
            if self.stays(at) && !seen.insert(digest::of_example(example)) {
                self.drop(at, Fate::Duplicate);
            }
        }
    }

    fn near(&mut self, examples: &[Example]) {
        let (seed, similarity) = (self.options.seed, self.options.similarity);
        let mut index = NearIndex::new(similarity, seed, examples.len());
        // the example of each row of the index
        let mut kept: Vec<usize> = Vec::with_capacity(examples.len());
        let set = |example: &Example| {
            let mut all = Vec::new();
            texts(example).for_each(|text| units(text, &mut all));
            window_set(&all, NEAR_WINDOW, seed)
        };
        for (at, example) in examples.iter().enumerate() {
            if !self.stays(at) {
                continue;
            }
            let windows = set(example);
            let Some(signature) = index.signature(&windows) else { continue };
            let mut exact = 0.0;
            let row = index.find(&signature, |row, _| {
                let other = kept.get(row as usize).and_then(|at| examples.get(*at));
                other.is_some_and(|other| {
                    let alike = same_lesson(&other.answer, &example.answer);
                    exact = if alike { jaccard(&windows, &set(other)) } else { 0.0 };
                    alike && exact >= similarity
                })
            });
            let Some(first) = row.and_then(|row| kept.get(row as usize)).and_then(|at| examples.get(*at))
            else {
                if index.insert(&signature).is_some() {
                    kept.push(at);
                }
                continue;
            };
            self.report.near_duplicates += 1;
            if self.report.near_pairs.len() < MOST_SHOWN {
                let (first, second) = (first.id.clone(), example.id.clone());
                self.report.near_pairs.push(NearPair { first, second, similarity: exact });
            }
            if self.options.near == NearPolicy::Drop {
                self.drop(at, Fate::NearDuplicate);
            }
        }
        self.report.near_bytes = (index.bytes() + kept.capacity() * size_of::<usize>()) as u64;
    }
}

/// Whether two rows with nearly the same words teach the same: of closed answers the right one must be equal.
fn same_lesson(a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (Answer::Label(a), Answer::Label(b)) => a == b,
        (Answer::Choice { .. }, Answer::Choice { .. }) => a == b,
        // turned round, a pair has the same words and teaches the opposite
        (Answer::Pair { .. }, Answer::Pair { .. }) => a == b,
        (Answer::Judged { good: a, .. }, Answer::Judged { good: b, .. }) => a == b,
        _ => true,
    }
}

/// All texts of an example but its label.
fn texts(example: &Example) -> impl Iterator<Item = &str> {
    let two: [&str; 2] = match &example.answer {
        Answer::Pair { chosen, rejected } => [chosen, rejected],
        Answer::Judged { answer, .. } => [answer, ""],
        _ => [""; 2],
    };
    let answers: &[String] = match &example.answer {
        Answer::Free(all) => all,
        Answer::Choice { options, .. } => options,
        _ => &[],
    };
    let messages = example.messages.iter().map(|m| m.content.as_str());
    messages.chain(answers.iter().map(String::as_str)).chain(two.into_iter().filter(|t| !t.is_empty()))
}

/// Changes all texts of an example but its label. Options stay where two of them would become the same.
fn change(example: &mut Example, mut with: impl FnMut(&str) -> Option<String>) -> bool {
    let mut changed = false;
    let mut one = |text: &mut String| {
        if let Some(new) = with(text) {
            *text = new;
            changed = true;
        }
    };
    for message in &mut example.messages {
        one(&mut message.content);
    }
    match &mut example.answer {
        Answer::Free(all) => all.iter_mut().for_each(&mut one),
        Answer::Choice { options, .. } => {
            let mut new = options.clone();
            new.iter_mut().for_each(&mut one);
            if new.iter().collect::<HashSet<_>>().len() == new.len() {
                *options = new;
            }
        }
        Answer::Pair { chosen, rejected } => {
            let (mut better, mut worse) = (chosen.clone(), rejected.clone());
            one(&mut better);
            one(&mut worse);
            if better != worse {
                (*chosen, *rejected) = (better, worse);
            }
        }
        Answer::Judged { answer, .. } => one(answer),
        Answer::Label(_) | Answer::Chat | Answer::Text => {}
    }
    changed
}

#[cfg(test)]
mod tests;
