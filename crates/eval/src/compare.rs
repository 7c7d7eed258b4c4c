//! Base against tuned on the same items.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::score::Scorer;
use crate::stats::{Bootstrap, Confusion, Interval, PairedMean, mcnemar_exact, minimum_detectable};
use crate::{EvalError, ExamInfo, ExamKind, ExamResult, ItemResult, Model, Refusals};

/// How many confusions of a model are kept in a comparison.
const MOST_CONFUSIONS: usize = 10;
/// How many changed answers are kept in a comparison.
const MOST_CHANGED: usize = 10;

/// Right and wrong on the same items, base against tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Gain in accuracy: `(only_tuned − only_base) / items`.
    pub diff: f64,
    /// Its 95 % interval (paired bootstrap).
    pub ci: Interval,
    /// Its two-sided p-value (exact McNemar).
    pub p: f64,
    /// Items that only the base got right.
    pub only_base: usize,
    /// Items that only the tuned model got right.
    pub only_tuned: usize,
    /// Items that both got right.
    pub both: usize,
    /// Items that neither got right.
    pub neither: usize,
    /// The least true gain that this many items and discordant pairs find with a probability of 80 %; `None` with
    /// too few items to show any.
    pub minimum_detectable: Option<f64>,
}

impl Paired {
    /// Counts two vectors of right and wrong over the same items, in the same order.
    ///
    /// # Errors
    /// No items, or different numbers of them.
    pub fn new(base: &[bool], tuned: &[bool], bootstrap: Bootstrap) -> Result<Self, EvalError> {
        const WHAT: &str = "paired accuracy";
        if base.len() != tuned.len() {
            return Err(EvalError::Lengths { what: WHAT, base: base.len(), tuned: tuned.len() });
        }
        if base.is_empty() {
            return Err(EvalError::Empty { what: WHAT });
        }
        let count = |b: bool, t: bool| base.iter().zip(tuned).filter(|&(&x, &y)| (x, y) == (b, t)).count();
        let (only_base, only_tuned) = (count(true, false), count(false, true));
        let n = base.len() as f64;
        let steps: Vec<f64> = base.iter().zip(tuned).map(|(&b, &t)| f64::from(t) - f64::from(b)).collect();
        Ok(Paired {
            diff: (only_tuned as f64 - only_base as f64) / n,
            ci: bootstrap.mean(&steps)?,
            p: mcnemar_exact(only_base, only_tuned),
            only_base,
            only_tuned,
            both: count(true, true),
            neither: count(false, false),
            minimum_detectable: minimum_detectable(base.len(), (only_base + only_tuned) as f64 / n),
        })
    }
}

/// An item that the tuned model answered better or worse than the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The item.
    pub id: String,
    /// Its question.
    pub question: String,
    /// Its accepted answers.
    pub gold: Vec<String>,
    /// What the base answered.
    pub base_answer: String,
    /// What the tuned model answered.
    pub tuned_answer: String,
    /// Score of the base.
    pub base_score: f64,
    /// Score of the tuned model.
    pub tuned_score: f64,
}

impl Changed {
    /// Whether the tuned answer is the better one.
    pub fn gained(&self) -> bool {
        self.tuned_score > self.base_score
    }
}

/// One label under both models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelChange {
    /// The label.
    pub label: String,
    /// Items whose right answer it is.
    pub support: usize,
    /// Share of them that the base got right.
    pub base_recall: f64,
    /// Share of them that the tuned model got right.
    pub tuned_recall: f64,
    /// F1 of the base.
    pub base_f1: f64,
    /// F1 of the tuned model.
    pub tuned_f1: f64,
}

/// Figures of one side, as [`ExamResult`] has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Who.
    pub model: Model,
    /// Number of right answers.
    pub correct: usize,
    /// Accuracy.
    pub accuracy: f64,
    /// Its 95 % interval.
    pub accuracy_ci: Interval,
    /// Mean score.
    pub mean_score: f64,
    /// Interval of the mean score, for graded scorers.
    pub mean_score_ci: Option<Interval>,
    /// Corpus BLEU or chrF, see [`ExamResult::corpus`].
    pub corpus: Option<f64>,
    /// Refusals, where they are scored.
    pub refusals: Option<Refusals>,
    /// Labels only: macro-F1.
    pub macro_f1: Option<f64>,
    /// Labels only: Matthews' correlation.
    pub mcc: Option<f64>,
    /// Expected calibration error, where probabilities were computed.
    pub ece: Option<f64>,
    /// Labels only: most frequent confusions first.
    pub confusions: Vec<Confusion>,
}

/// Gain that a verdict goes by: the paired difference in accuracy, or in the mean score of a graded exam.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// tuned − base.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci: Interval,
    /// Its two-sided p-value.
    pub p: f64,
}

/// One exam, base against tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The exam.
    #[serde(flatten)]
    pub info: ExamInfo,
    /// Number of items.
    pub n: usize,
    /// The base.
    pub base: Side,
    /// The tuned model.
    pub tuned: Side,
    /// Right and wrong, item by item.
    pub paired: Paired,
    /// Graded scorers only: the score, item by item.
    pub paired_score: Option<PairedMean>,
    /// Labels only: accuracy of always giving the most frequent label.
    pub majority_accuracy: Option<f64>,
    /// Labels only: every label, in alphabetical order.
    pub labels: Vec<LabelChange>,
    /// Items answered better than by the base.
    pub gained: usize,
    /// Items answered worse than by the base.
    pub lost: usize,
    /// Up to ten of them: half gained, half lost where there are enough, spread evenly over the exam.
    pub changed: Vec<Changed>,
}

impl Comparison {
    /// Compares two results of one exam. Items are matched by id; their order may differ.
    ///
    /// # Errors
    /// Another exam, kind, scorer or mode; other items; an item with another question or other accepted answers.
    pub fn new(base: &ExamResult, tuned: &ExamResult, bootstrap: Bootstrap) -> Result<Self, EvalError> {
        same("name of the exam", &base.info.name, &tuned.info.name)?;
        same("kind of exam", &base.info.kind, &tuned.info.kind)?;
        same("scorer", &base.info.scorer, &tuned.info.scorer)?;
        same("mode", &base.info.mode, &tuned.info.mode)?;
        same("manner of asking", &base.info.manner, &tuned.info.manner)?;
        let pairs = pair(base, tuned)?;
        let column = |f: &dyn Fn(&ItemResult) -> bool| -> (Vec<bool>, Vec<bool>) {
            pairs.iter().map(|(b, t)| (f(b), f(t))).unzip()
        };
        let (base_right, tuned_right) = column(&|i| i.correct);
        let graded = base.info.scorer.is_some_and(Scorer::is_graded);
        let paired_score = if graded {
            let (b, t): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(b, t)| (b.score, t.score)).unzip();
            Some(bootstrap.paired_mean(&b, &t)?)
        } else {
            None
        };
        let gained: Vec<_> = pairs.iter().filter(|(b, t)| t.score > b.score).collect();
        let lost: Vec<_> = pairs.iter().filter(|(b, t)| t.score < b.score).collect();
        Ok(Comparison {
            info: base.info.clone(),
            n: pairs.len(),
            base: side(base),
            tuned: side(tuned),
            paired: Paired::new(&base_right, &tuned_right, bootstrap)?,
            paired_score,
            majority_accuracy: base.majority_accuracy,
            labels: if base.info.kind == ExamKind::Label { label_changes(base, tuned) } else { Vec::new() },
            gained: gained.len(),
            lost: lost.len(),
            changed: select(&gained, &lost, MOST_CHANGED)
                .into_iter()
                .map(|&&(b, t)| Changed {
                    id: b.id.clone(),
                    question: b.question.clone(),
                    gold: b.gold.clone(),
                    base_answer: b.answer.clone(),
                    tuned_answer: t.answer.clone(),
                    base_score: b.score,
                    tuned_score: t.score,
                })
                .collect(),
        })
    }

    /// What a verdict goes by: the score where it is graded, else the accuracy.
    pub fn gain(&self) -> Gain {
        match &self.paired_score {
            Some(s) => Gain { diff: s.diff, ci: s.ci, p: s.p },
            None => Gain { diff: self.paired.diff, ci: self.paired.ci, p: self.paired.p },
        }
    }
}

/// Both results of each item, in the base's order.
fn pair<'a>(
    base: &'a ExamResult,
    tuned: &'a ExamResult,
) -> Result<Vec<(&'a ItemResult, &'a ItemResult)>, EvalError> {
    let exam = &base.info.name;
    let ids = |r: &'a ExamResult| -> HashMap<&'a str, &'a ItemResult> {
        r.items.iter().map(|i| (i.id.as_str(), i)).collect()
    };
    let (base_ids, tuned_ids) = (ids(base), ids(tuned));
    let missing = |r: &'a ExamResult, other: &HashMap<&str, &ItemResult>| -> Vec<&'a str> {
        r.items.iter().map(|i| i.id.as_str()).filter(|id| !other.contains_key(id)).collect()
    };
    let (only_base, only_tuned) = (missing(base, &tuned_ids), missing(tuned, &base_ids));
    if let Some(first) = only_base.first().or(only_tuned.first()) {
        return Err(EvalError::ItemsDiffer {
            exam: exam.clone(),
            only_base: only_base.len(),
            only_tuned: only_tuned.len(),
            first: first.to_string(),
        });
    }
    // the ids of a result are unique unless its public fields were changed by hand
    same("number of items", &base.items.len(), &tuned.items.len())?;
    let pairs: Vec<_> = base.items.iter().filter_map(|b| Some((b, *tuned_ids.get(b.id.as_str())?))).collect();
    for (b, t) in &pairs {
        let field = if b.question != t.question {
            "the question"
        } else if b.gold != t.gold {
            "the list of accepted answers"
        } else {
            continue;
        };
        return Err(EvalError::ItemChanged { exam: exam.clone(), id: b.id.clone(), field });
    }
    Ok(pairs)
}

fn side(r: &ExamResult) -> Side {
    let label = r.info.kind == ExamKind::Label;
    Side {
        model: r.model.clone(),
        correct: r.correct,
        accuracy: r.accuracy,
        accuracy_ci: r.accuracy_ci,
        mean_score: r.mean_score,
        mean_score_ci: r.mean_score_ci,
        corpus: r.corpus,
        refusals: r.refusals,
        macro_f1: r.macro_f1,
        mcc: r.mcc,
        ece: r.ece,
        confusions: if label { r.confusion_matrix().confusions(MOST_CONFUSIONS) } else { Vec::new() },
    }
}

fn label_changes(base: &ExamResult, tuned: &ExamResult) -> Vec<LabelChange> {
    let mut out: BTreeMap<String, LabelChange> = BTreeMap::new();
    for (r, is_base) in [(base, true), (tuned, false)] {
        for l in r.confusion_matrix().per_label() {
            let row = out.entry(l.label.clone()).or_insert(LabelChange {
                label: l.label,
                support: l.support,
                base_recall: 0.0,
                tuned_recall: 0.0,
                base_f1: 0.0,
                tuned_f1: 0.0,
            });
            let (recall, f1) = if is_base {
                (&mut row.base_recall, &mut row.base_f1)
            } else {
                (&mut row.tuned_recall, &mut row.tuned_f1)
            };
            (*recall, *f1) = (l.recall, l.f1);
        }
    }
    out.into_values().collect()
}

/// At most `most` of both lists, half from each where there are enough, spread evenly over each list (an exam is often
/// sorted by label), turn about beginning with `a`.
fn select<'a, T>(a: &'a [T], b: &'a [T], most: usize) -> Vec<&'a T> {
    let half = most / 2;
    let from_b = b.len().min(half.max(most.saturating_sub(a.len())));
    let from_a = a.len().min(most - from_b);
    let spread = |v: &'a [T], k: usize| (0..k).map(move |i| &v[i * v.len() / k]);
    let (mut a, mut b) = (spread(a, from_a), spread(b, from_b));
    let mut out = Vec::with_capacity(from_a + from_b);
    loop {
        let (x, y) = (a.next(), b.next());
        if x.is_none() && y.is_none() {
            return out;
        }
        out.extend(x.into_iter().chain(y));
    }
}

/// Refuses to compare what answers different questions.
pub(crate) fn same<T: PartialEq + Debug>(field: &'static str, base: &T, tuned: &T) -> Result<(), EvalError> {
    if base == tuned {
        return Ok(());
    }
    Err(EvalError::Incomparable { field, base: format!("{base:?}"), tuned: format!("{tuned:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::{graded_exam, label_exam};
    use crate::{Mode, Role};

    fn compare(base: &[(&str, &str)], tuned: &[(&str, &str)]) -> Comparison {
        let (b, t) = (label_exam(Role::Base, base), label_exam(Role::Tuned, tuned));
        Comparison::new(&b, &t, Bootstrap::default()).unwrap()
    }

    #[test]
    fn the_four_cells_and_their_figures() {
        // 2 both, 9 only tuned, 1 only base, 3 neither
        let base = [vec![true; 2], vec![false; 9], vec![true], vec![false; 3]].concat();
        let tuned = [vec![true; 11], vec![false; 4]].concat();
        let p = Paired::new(&base, &tuned, Bootstrap::default()).unwrap();
        assert_eq!((p.both, p.only_tuned, p.only_base, p.neither), (2, 9, 1, 3));
        assert!((p.diff - 8.0 / 15.0).abs() < 1e-12);
        assert!((p.p - 0.021_484_375).abs() < 1e-12);
        assert!(p.ci.low > 0.1 && p.ci.high < 0.9 && p.ci.low < p.diff && p.diff < p.ci.high, "{p:?}");
        assert!(p.minimum_detectable.unwrap() >= 6.0 / 15.0);
        assert!(matches!(Paired::new(&base, &[], Bootstrap::default()), Err(EvalError::Lengths { .. })));
        assert!(matches!(Paired::new(&[], &[], Bootstrap::default()), Err(EvalError::Empty { .. })));
    }

    #[test]
    fn labels_confusions_and_changes() {
        let c = compare(
            &[("a", "b"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "b")],
            &[("a", "a"), ("a", "a"), ("b", "b"), ("b", "c"), ("c", "b")],
        );
        assert_eq!((c.gained, c.lost, c.paired.only_tuned, c.paired.only_base), (2, 1, 2, 1));
        assert_eq!(c.base.confusions[0], Confusion { gold: "a".into(), answer: "b".into(), count: 2 });
        let ids: Vec<_> = c.changed.iter().map(|c| (c.id.as_str(), c.gained())).collect();
        assert_eq!(ids, [("i0", true), ("i3", false), ("i1", true)]);
        let a = &c.labels[0];
        assert_eq!((a.label.as_str(), a.support, a.base_recall, a.tuned_recall), ("a", 2, 0.0, 1.0));
        assert_eq!(c.gain().diff, c.paired.diff);
    }

    #[test]
    fn a_graded_exam_goes_by_its_score() {
        let (b, t) = (graded_exam(Role::Base, &[0.2; 30]), graded_exam(Role::Tuned, &[0.6; 30]));
        let c = Comparison::new(&b, &t, Bootstrap::default()).unwrap();
        assert_eq!((c.paired.diff, c.gained, c.changed.len()), (0.0, 30, 10));
        assert!((c.gain().diff - 0.4).abs() < 1e-12 && c.gain().p < 0.001);
        assert!(c.labels.is_empty() && c.base.confusions.is_empty());
    }

    #[test]
    fn order_does_not_matter_items_do() {
        let pairs = [("a", "a"), ("b", "a"), ("c", "c")];
        let base = label_exam(Role::Base, &pairs);
        let mut tuned = label_exam(Role::Tuned, &pairs);
        tuned.items.reverse();
        let c = Comparison::new(&base, &tuned, Bootstrap::default()).unwrap();
        assert_eq!((c.gained, c.lost, c.paired.both), (0, 0, 2));
        assert_eq!(c.paired.p, 1.0);

        let check = |f: &dyn Fn(&mut ExamResult), want: &str| {
            let mut t = tuned.clone();
            f(&mut t);
            let e = Comparison::new(&base, &t, Bootstrap::default()).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        };
        check(&|t| t.items[0].id = "other".into(), "(1 only in base, 1 only in tuned, first 'i2')");
        check(&|t| t.items.truncate(2), "(1 only in base, 0 only in tuned, first 'i0')");
        check(&|t| t.items.push(t.items[0].clone()), "number of items");
        check(&|t| t.items[0].question += "?", "item 'i2': the question differs");
        check(&|t| t.items[0].gold[0] += "?", "accepted answers differs");
        check(&|t| t.info.mode = Mode::Fast, "mode is 'Exact' for base and 'Fast' for tuned");
        check(&|t| t.info.name = "x".into(), "name of the exam");
    }

    #[test]
    fn selection_mixes_and_spreads() {
        let (a, b): (Vec<i32>, Vec<i32>) = ((0..100).collect(), (1000..1003).collect());
        assert_eq!(select(&a, &b, 10), [&0, &1000, &14, &1001, &28, &1002, &42, &57, &71, &85]);
        assert_eq!(select(&a, &[], 4), [&0, &25, &50, &75]);
        assert_eq!(select(&b, &a, 10).len(), 10);
        assert_eq!(select::<i32>(&[], &[], 10).len(), 0);
    }

    #[test]
    fn a_comparison_reads_back() {
        let c = compare(&[("a", "b"), ("b", "b")], &[("a", "a"), ("b", "b")]);
        let text = serde_json::to_string(&c).unwrap();
        let back: Comparison = serde_json::from_str(&text).unwrap();
        assert_eq!((back.n, back.changed, back.info), (c.n, c.changed, c.info));
    }
}
