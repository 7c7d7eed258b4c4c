//! Figures of a classifier: confusions, macro-F1, Matthews' correlation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How often each right label was answered with each label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfusionMatrix {
    /// (gold, answer) → count; labels in alphabetical order, so that every figure has one order.
    counts: BTreeMap<(String, String), usize>,
}

/// One wrong answer and how often it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The right label.
    pub gold: String,
    /// The label that was answered.
    pub answer: String,
    /// How many items.
    pub count: usize,
}

/// Figures of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// Items whose right answer it is.
    pub support: usize,
    /// Items that were answered with it.
    pub answered: usize,
    /// Items for which both hold.
    pub correct: usize,
    /// `correct / answered`, 0 if it was never answered.
    pub precision: f64,
    /// `correct / support`, 0 if it is never right.
    pub recall: f64,
    /// Harmonic mean of both: `2·correct / (support + answered)`.
    pub f1: f64,
}

impl ConfusionMatrix {
    /// Counts pairs of (right label, answer).
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut counts = BTreeMap::new();
        for (gold, answer) in pairs {
            *counts.entry((gold.to_owned(), answer.to_owned())).or_insert(0) += 1;
        }
        ConfusionMatrix { counts }
    }

    /// Number of items.
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Items with this right label and this answer.
    pub fn count(&self, gold: &str, answer: &str) -> usize {
        self.counts.get(&(gold.to_owned(), answer.to_owned())).copied().unwrap_or(0)
    }

    /// The wrong answers, most frequent first, equal counts in alphabetical order, at most `most`.
    pub fn confusions(&self, most: usize) -> Vec<Confusion> {
        let mut wrong: Vec<_> = self.counts.iter().filter(|((gold, answer), _)| gold != answer).collect();
        wrong.sort_by(|a, b| b.1.cmp(a.1)); // stable: keeps the alphabetical order of the map
        wrong
            .into_iter()
            .take(most)
            .map(|((gold, answer), &count)| Confusion { gold: gold.clone(), answer: answer.clone(), count })
            .collect()
    }

    /// Figures of every label that is right or was answered at least once, in alphabetical order.
    pub fn per_label(&self) -> Vec<LabelScore> {
        let labels: BTreeSet<&String> = self.counts.keys().flat_map(|(g, a)| [g, a]).collect();
        let (mut support, mut answered) = (BTreeMap::new(), BTreeMap::new());
        for ((g, a), n) in &self.counts {
            *support.entry(g).or_insert(0) += n;
            *answered.entry(a).or_insert(0) += n;
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        labels
            .into_iter()
            .map(|label| {
                let support = support.get(label).copied().unwrap_or(0);
                let answered = answered.get(label).copied().unwrap_or(0);
                let correct = self.count(label, label);
                LabelScore {
                    label: label.clone(),
                    support,
                    answered,
                    correct,
                    precision: share(correct, answered),
                    recall: share(correct, support),
                    f1: share(2 * correct, support + answered),
                }
            })
            .collect()
    }

    /// Unweighted mean of the labels' F1: a rare label counts as much as a frequent one. The labels are those of
    /// [`per_label`](Self::per_label), an F1 of 0/0 counts as 0 (both as in scikit-learn). 0 without items.
    pub fn macro_f1(&self) -> f64 {
        let labels = self.per_label();
        labels.iter().map(|l| l.f1).sum::<f64>() / labels.len().max(1) as f64
    }

    /// Matthews' correlation for any number of labels: 1 perfect, 0 no better than a constant answer or chance.
    ///
    /// `(c·s − Σ pₖtₖ) / sqrt((s² − Σ pₖ²)(s² − Σ tₖ²))` with `s` items, `c` correct, `pₖ` times answered, `tₖ` times
    /// right; 0 where the root is 0. Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category
    /// correlation coefficient".
    pub fn mcc(&self) -> f64 {
        let labels = self.per_label();
        let sum = |f: &dyn Fn(&LabelScore) -> f64| labels.iter().map(f).sum::<f64>();
        let s = self.total() as f64;
        let c = sum(&|l| l.correct as f64);
        let both = sum(&|l| l.answered as f64 * l.support as f64);
        let answered = sum(&|l| (l.answered as f64).powi(2));
        let right = sum(&|l| (l.support as f64).powi(2));
        let root = ((s * s - answered) * (s * s - right)).sqrt();
        if root > 0.0 { (c * s - both) / root } else { 0.0 }
    }

    /// Accuracy of always answering the most frequent right label: what a score must be held against. 0 without items.
    pub fn majority_accuracy(&self) -> f64 {
        let most = self.per_label().iter().map(|l| l.support).max().unwrap_or(0);
        most as f64 / self.total().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two by two: TP 6, FN 2, FP 1, TN 3.
    fn binary() -> ConfusionMatrix {
        let cells = [("y", "y", 6), ("y", "n", 2), ("n", "y", 1), ("n", "n", 3)];
        ConfusionMatrix::new(cells.iter().flat_map(|&(g, a, n)| std::iter::repeat_n((g, a), n)))
    }

    #[test]
    fn binary_figures_by_hand() {
        let m = binary();
        // MCC = (6·3 − 1·2) / sqrt(7·8·4·5)
        assert!((m.mcc() - 16.0 / 1120f64.sqrt()).abs() < 1e-12);
        // F1(y) = 12/15, F1(n) = 6/9
        assert!((m.macro_f1() - (0.8 + 6.0 / 9.0) / 2.0).abs() < 1e-12);
        assert_eq!(m.majority_accuracy(), 8.0 / 12.0);
    }

    /// Three labels, worked out by hand: right a a b b c c, answered a b b b c a.
    #[test]
    fn three_labels_by_hand() {
        let m =
            ConfusionMatrix::new([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "c"), ("c", "a")]);
        // F1: a 2/4, b 4/5, c 2/3
        assert!((m.macro_f1() - (0.5 + 0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        // s 6, c 4, answered 2 3 1, right 2 2 2: (24 − 12) / sqrt((36 − 14)(36 − 12))
        assert!((m.mcc() - 12.0 / 528f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_constant_answer_has_no_correlation() {
        let m = ConfusionMatrix::new([("a", "a"), ("a", "a"), ("b", "a")]);
        assert_eq!(m.mcc(), 0.0);
        let b = &m.per_label()[1];
        assert_eq!((b.support, b.answered, b.precision, b.f1), (1, 0, 0.0, 0.0));
    }

    #[test]
    fn an_answer_outside_the_labels_costs() {
        let m = ConfusionMatrix::new([("a", "a"), ("b", "b"), ("b", "?")]);
        // F1: ? 0, a 1, b 2/3
        assert!((m.macro_f1() - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn confusions_are_ordered_by_count_then_label() {
        let m = ConfusionMatrix::new([("b", "a"), ("a", "c"), ("a", "b"), ("a", "b"), ("a", "a")]);
        let got: Vec<_> =
            m.confusions(2).into_iter().map(|c| format!("{}>{} {}", c.gold, c.answer, c.count)).collect();
        assert_eq!(got, ["a>b 2", "a>c 1"]);
        assert_eq!(m.confusions(9).len(), 3);
    }

    #[test]
    fn nothing_gives_zeros() {
        let m = ConfusionMatrix::default();
        assert_eq!((m.macro_f1(), m.mcc(), m.majority_accuracy()), (0.0, 0.0, 0.0));
    }
}
