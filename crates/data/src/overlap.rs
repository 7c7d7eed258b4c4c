//! Does the exam share questions with the training data? Three looks, from certain to likely: the same question, nearly the
//! same question, a question of which much stands in the training data word by word.
//!
//! What is special: the exam is indexed and the training data stream past it, so memory follows the smaller of the two.
//! Runs of 13 units (words; characters in scripts without spaces), the length that GPT-3's authors settled on, are the
//! evidence; runs that many training rows hold are wording, such as a template or the name of a law, and prove nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::clean::{Sensitive, kinds_only};
use crate::digest::{Parts, normalised, question, raw_question};
use crate::example::Example;
use crate::near::NearIndex;
use crate::units::{NEAR_WINDOW, jaccard, units, window_set, windows};

/// Units of a run that counts as copied.
const RUN: usize = 13;
/// A run in more training rows than this, or than one row in [`COMMON_SHARE`], is wording.
const COMMON_ROWS: u32 = 10;
const COMMON_SHARE: usize = 20;

/// How an exam item overlaps with the training data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapKind {
    /// The same question; case, width and white space aside.
    #[default]
    Same,
    /// Nearly the same question: `share` of the windows of both are shared.
    Near,
    /// `share` of the question's words or characters stand in the training data in runs of 13 or more.
    Copied,
}

/// An exam item whose question also stands in the training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Id of the exam item.
    pub exam: String,
    /// Id of the first training example with the same question, or of the one with the most copied runs.
    pub training: String,
    /// How they overlap.
    #[serde(default)]
    pub kind: OverlapKind,
    /// How much of it, from 0 to 1.
    #[serde(default)]
    pub share: f64,
}

/// From where on an item overlaps.
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapOptions {
    /// Similarity of two questions (shared windows of five units over all), from 0.5 to 1.
    pub similarity: f64,
    /// Share of a question that is copied.
    pub copied: f64,
    /// Kinds of values that training rows may hold as placeholders: of a value of these kinds only its kind counts, on
    /// both sides.
    pub redacted: Vec<Sensitive>,
    /// Seed of the hash functions.
    pub seed: u64,
}

impl Default for OverlapOptions {
    fn default() -> Self {
        OverlapOptions { similarity: 0.8, copied: 0.5, redacted: Vec::new(), seed: 0 }
    }
}

/// Exam items that overlap with the training data, in the order of the exam, each once.
pub fn overlap(exam: &[Example], training: &[Example], options: &OverlapOptions) -> Vec<Overlap> {
    let questions: Vec<String> = exam.iter().map(|e| asked_of(e, options)).collect();
    let asked: Vec<Vec<u64>> = questions.iter().map(|q| of(q)).collect();
    let mut found: Vec<Option<Overlap>> = vec![None; exam.len()];
    same(exam, &questions, training, options, &mut found);
    near(exam, &asked, training, options, &mut found);
    copied(exam, &asked, training, options, &mut found);
    found.into_iter().flatten().collect()
}

/// The normalised question, without sensitive values where training rows have none.
fn asked_of(example: &Example, options: &OverlapOptions) -> String {
    match options.redacted[..] {
        [] => question(example),
        _ => normalised(&kinds_only(&raw_question(example), &options.redacted)),
    }
}

fn of(text: &str) -> Vec<u64> {
    let mut out = Vec::new();
    units(text, &mut out);
    out
}

fn note(
    found: &mut [Option<Overlap>],
    at: usize,
    exam: &[Example],
    training: &Example,
    kind: OverlapKind,
    share: f64,
) {
    if let (Some(slot @ None), Some(item)) = (found.get_mut(at), exam.get(at)) {
        *slot = Some(Overlap { exam: item.id.clone(), training: training.id.clone(), kind, share });
    }
}

fn same(
    exam: &[Example],
    questions: &[String],
    training: &[Example],
    options: &OverlapOptions,
    found: &mut [Option<Overlap>],
) {
    let key = |question: &str| Parts::default().add(question.as_bytes()).finish();
    let mut items: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, question) in questions.iter().enumerate() {
        items.entry(key(question)).or_default().push(at);
    }
    for example in training {
        for at in items.remove(&key(&asked_of(example, options))).unwrap_or_default() {
            note(found, at, exam, example, OverlapKind::Same, 1.0);
        }
    }
}

fn near(
    exam: &[Example],
    asked: &[Vec<u64>],
    training: &[Example],
    options: &OverlapOptions,
    found: &mut [Option<Overlap>],
) {
    let set = |units: &[u64]| window_set(units, NEAR_WINDOW, options.seed);
    let mut index = NearIndex::new(options.similarity, options.seed, exam.len());
    let mut rows = Vec::new();
    for (at, units) in asked.iter().enumerate() {
        let windows = set(units);
        if let Some(signature) =
            index.signature(&windows).filter(|_| found.get(at).is_some_and(Option::is_none))
            && index.insert(&signature).is_some()
        {
            rows.push((at, windows));
        }
    }
    if rows.is_empty() {
        return;
    }
    for example in training {
        let windows = set(&of(&asked_of(example, options)));
        let Some(signature) = index.signature(&windows) else { continue };
        // all items that are alike, not only the first
        index.find(&signature, |row, _| {
            if let Some((at, other)) = rows.get(row as usize) {
                let share = jaccard(&windows, other);
                if share >= options.similarity {
                    note(found, *at, exam, example, OverlapKind::Near, share);
                }
            }
            false
        });
    }
}

/// A run of the exam in the training data.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Training rows that hold it, and the first and last of them, counted from 1.
    rows: u32,
    first: usize,
    last: usize,
}

fn copied(
    exam: &[Example],
    asked: &[Vec<u64>],
    training: &[Example],
    options: &OverlapOptions,
    found: &mut [Option<Overlap>],
) {
    let runs = |units: &[u64]| {
        let mut out = Vec::new();
        if units.len() >= RUN {
            windows(units, RUN, options.seed, &mut out);
        }
        out
    };
    let open: Vec<(usize, Vec<u64>)> = asked
        .iter()
        .enumerate()
        .filter(|(at, _)| found.get(*at).is_some_and(Option::is_none))
        .map(|(at, units)| (at, runs(units)))
        .filter(|(_, runs)| !runs.is_empty())
        .collect();
    let mut held: HashMap<u64, Run> =
        open.iter().flat_map(|(_, runs)| runs).map(|run| (*run, Run::default())).collect();
    if held.is_empty() {
        return;
    }
    for (at, example) in training.iter().enumerate() {
        // the system text is the same for many rows
        for turn in example.with_answer().iter().filter(|m| m.role != "system") {
            for run in runs(&of(&kinds_only(&turn.content, &options.redacted))) {
                if let Some(run) = held.get_mut(&run)
                    && run.last != at + 1
                {
                    *run = Run {
                        rows: run.rows + 1,
                        first: if run.rows == 0 { at + 1 } else { run.first },
                        last: at + 1,
                    };
                }
            }
        }
    }
    let common = COMMON_ROWS.max(u32::try_from(training.len() / COMMON_SHARE).unwrap_or(u32::MAX));
    for (at, runs) in open {
        let length = runs.len() + RUN - 1;
        let (mut evidence, mut wording) = (vec![false; length], vec![false; length]);
        let mut sources: HashMap<usize, usize> = HashMap::new();
        for (start, run) in runs.iter().enumerate() {
            let Some(run) = held.get(run).filter(|r| r.rows > 0) else { continue };
            let marks = if run.rows > common { &mut wording } else { &mut evidence };
            marks.iter_mut().skip(start).take(RUN).for_each(|m| *m = true);
            if run.rows <= common {
                *sources.entry(run.first).or_default() += 1;
            }
        }
        let copied = evidence.iter().filter(|m| **m).count();
        let only_wording = wording.iter().zip(&evidence).filter(|(w, e)| **w && !**e).count();
        let share = copied as f64 / (length - only_wording).max(1) as f64;
        let most = sources.into_iter().max_by_key(|(row, n)| (*n, std::cmp::Reverse(*row)));
        if let Some(training) =
            most.and_then(|(row, _)| training.get(row - 1)).filter(|_| share >= options.copied)
        {
            note(found, at, exam, training, OverlapKind::Copied, share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Answer;
    use nurture_text::Message;

    fn row(id: &str, user: &str, answer: &str) -> Example {
        let messages = vec![
            Message::new("system", "Answer with one word out of this long list of words that every row has"),
            Message::new("user", user),
        ];
        Example {
            id: id.into(),
            source: 0,
            line: 1,
            messages,
            answer: Answer::Free(vec![answer.into()]),
            group: None,
        }
    }

    fn found(exam: &[Example], training: &[Example]) -> Vec<(String, String, OverlapKind)> {
        let all = overlap(exam, training, &OverlapOptions::default());
        assert!(all.iter().all(|o| o.share > 0.0 && o.share <= 1.0), "{all:?}");
        all.into_iter().map(|o| (o.exam, o.training, o.kind)).collect()
    }

    fn hit(exam: &str, training: &str, kind: OverlapKind) -> (String, String, OverlapKind) {
        (exam.into(), training.into(), kind)
    }

    const LONG: &str = "the inspector found that the seal of the second pump had been replaced with a part of another maker \
                        which does not bear the pressure of the winter season";
    const LAW: &str = "承租人未经出租人同意转租的，出租人可以解除合同；承租人经出租人同意，可以将租赁物转租给第三人，租赁合同继续有效";

    #[test]
    fn same_near_and_copied_in_both_languages() {
        let training = [
            row("t1", "Where is my card?", "here"),
            row("t2", &format!("Report 7 says: {LONG}. What follows?"), "stop"),
            row("t3", "请解释转租的规定。", LAW),
            row(
                "t4",
                "甲将房屋出租给乙，乙未经甲同意又将房屋转租给丙，丙损坏了房屋的门窗，甲应当向谁主张赔偿损失？",
                "乙",
            ),
        ];
        let exam = [
            row("e1", "WHERE is  my card？", "?"),
            row("e2", &format!("Last year {LONG}! Who is to blame?"), "?"),
            row("e3", &format!("判断对错：{LAW}。"), "对"),
            row(
                "e4",
                "甲将房屋出租给乙，乙未经甲同意又将房屋转租给丙，丙损坏了房屋的门窗，甲应当向谁主张赔偿？",
                "乙",
            ),
            row("e5", "Where is my other card?", "?"),
            row("e6", "乙把汽车借给丙，丙又借给丁，丁在高速公路上发生事故并逃离现场，责任由谁承担？", "丁"),
        ];
        use OverlapKind::*;
        assert_eq!(
            found(&exam, &training),
            [hit("e1", "t1", Same), hit("e2", "t2", Copied), hit("e3", "t3", Copied), hit("e4", "t4", Near)]
        );
        assert_eq!(found(&exam, &[]), []);
        assert_eq!(found(&[], &training), []);
    }

    #[test]
    fn wording_that_many_rows_share_proves_nothing() {
        let template = "Read the following report with care and answer the question behind it with one single word only please";
        let training: Vec<Example> =
            (0..40).map(|n| row(&format!("t{n}"), &format!("{template}: pump {n}"), "x")).collect();
        let exam = [row("e1", &format!("{template}: valve 9 is leaking oil since Monday"), "x")];
        assert_eq!(found(&exam, &training), []);
        assert_eq!(
            found(&exam, &training[..3]),
            [hit("e1", "t0", OverlapKind::Copied)],
            "three rows are no template"
        );
    }

    #[test]
    fn values_that_were_redacted_hide_no_item() {
        let training = [
            row("t1", "Write to [EMAIL_7] today", "x"),
            row("t2", &format!("{LONG} says [EMAIL_1]"), "x"),
            row("t3", "Is password: [SECRET_1] of [PHONE_2] good?", "x"),
            row("t4", "Call [PHONE_1] for a plumber", "x"),
        ];
        let exam = [
            row("e1", "Write to li.lei@example.com today", "?"),
            row("e2", &format!("{LONG} says han@example.org"), "?"),
            row("e3", "Is password: hunter2hunter! of 13800138000 good?", "?"),
            row("e4", "Call li.lei@example.com for a plumber", "?"),
        ];
        assert_eq!(found(&exam[..1], &training), [], "as they stand, they differ");
        let options = OverlapOptions {
            redacted: vec![Sensitive::Email, Sensitive::Phone, Sensitive::Secret],
            ..OverlapOptions::default()
        };
        let all = overlap(&exam, &training, &options);
        let all: Vec<_> = all.iter().map(|o| (o.exam.as_str(), o.training.as_str(), o.kind)).collect();
        use OverlapKind::Same;
        assert_eq!(
            all,
            [("e1", "t1", Same), ("e2", "t2", Same), ("e3", "t3", Same)],
            "another kind is another"
        );
    }

    #[test]
    fn every_item_that_is_alike_is_found() {
        let exam: Vec<Example> =
            (0..5).map(|n| row(&format!("e{n}"), &format!("{LONG} x{n}"), "?")).collect();
        assert_eq!(found(&exam, &[row("t", LONG, "x")]).len(), 5);
    }
}
