//! Is the tuned model deeper, and at what price?
//!
//! The rule, in one place:
//!
//! * A **gain** (or loss) is shown in a depth exam if the 95 % interval of the paired difference is clear of zero
//!   *and* its p-value, corrected for the number of depth exams (Holm 1979), is below [`Thresholds::alpha`]. Both,
//!   because the bootstrap's interval is too narrow with few items.
//! * **Breadth** is shown to be narrower if the interval of a perplexity ratio lies above
//!   [`Thresholds::perplexity_ratio`], or that of a breadth exam's difference below −[`Thresholds::exam_loss`]. It is
//!   shown to be kept if the interval lies wholly on the good side. Between them it is unclear, and said to be so.
//!   A comparison of fewer than [`Thresholds::least_windows`] windows is always unclear.
//!
//! | depth | breadth narrower | outcome |
//! | --- | --- | --- |
//! | a gain, no loss | no | deeper |
//! | a gain, no loss | yes | deeper but narrower |
//! | no gain, a loss | either | worse |
//! | anything else | yes | worse |
//! | anything else | no | not shown |

use serde::{Deserialize, Serialize};

use crate::stats::Interval;
use crate::{Comparison, Gain, PerplexityComparison};

/// Where the lines are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Greatest p-value of a shown difference.
    pub alpha: f64,
    /// Greatest ratio of perplexities (tuned / base) on general text that still counts as breadth kept.
    pub perplexity_ratio: f64,
    /// Greatest loss of accuracy (or mean score) in a breadth exam that still counts as breadth kept.
    pub exam_loss: f64,
    /// Least number of windows from which a perplexity interval is believed.
    pub least_windows: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { alpha: 0.05, perplexity_ratio: 1.10, exam_loss: 0.02, least_windows: 10 }
    }
}

/// What must hold for a run to end well (the program's exit code 3 otherwise).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// If given, the interval of the gain of every depth exam must lie above it, not only the gain itself.
    pub min_gain: Option<f64>,
    /// Whether "deeper but narrower" passes.
    pub allow_narrower: bool,
}

/// The verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A gain in the own field is shown, breadth is not shown to be lost.
    Deeper,
    /// A gain in the own field is shown, and a loss of breadth too.
    DeeperButNarrower,
    /// Neither a gain nor a loss is shown.
    NotShown,
    /// A loss is shown and no gain.
    Worse,
}

/// What breadth is measured by.
#[derive(Debug, Clone, Copy)]
pub enum Breadth<'a> {
    /// Perplexity on general text.
    Text(&'a PerplexityComparison),
    /// An exam outside the own field.
    Exam(&'a Comparison),
}

/// A fact that led to the verdict; whoever prints it finds the words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// A depth exam shows a gain.
    GainShown {
        /// Name of the exam.
        exam: String,
        /// The gain.
        gain: Gain,
        /// Its p-value, corrected for the number of depth exams.
        corrected_p: f64,
    },
    /// A depth exam shows a loss.
    LossShown {
        /// Name of the exam.
        exam: String,
        /// The gain, negative.
        gain: Gain,
        /// Its p-value, corrected for the number of depth exams.
        corrected_p: f64,
    },
    /// A depth exam shows neither.
    NoDifferenceShown {
        /// Name of the exam.
        exam: String,
        /// The gain.
        gain: Gain,
        /// Its p-value, corrected for the number of depth exams.
        corrected_p: f64,
        /// The least gain in accuracy that the exam could have shown; `None` with too few items, or for a graded exam.
        minimum_detectable: Option<f64>,
    },
    /// Nothing examined the own field.
    NoDepthExam,
    /// General text is known as well as before, within the tolerance.
    BreadthKept {
        /// Name of the text.
        text: String,
        /// Perplexity, tuned / base.
        ratio: f64,
        /// Its interval.
        ci: Interval,
    },
    /// The interval contains the tolerance, or there are too few windows.
    BreadthUnclear {
        /// Name of the text.
        text: String,
        /// Perplexity, tuned / base.
        ratio: f64,
        /// Its interval.
        ci: Interval,
        /// Number of windows.
        windows: usize,
    },
    /// General text is known less well than the tolerance allows.
    Narrower {
        /// Name of the text.
        text: String,
        /// Perplexity, tuned / base.
        ratio: f64,
        /// Its interval.
        ci: Interval,
    },
    /// A breadth exam is passed as well as before, within the tolerance.
    BreadthExamKept {
        /// Name of the exam.
        exam: String,
        /// tuned − base.
        gain: Gain,
    },
    /// A breadth exam's interval contains the tolerance.
    BreadthExamUnclear {
        /// Name of the exam.
        exam: String,
        /// tuned − base.
        gain: Gain,
    },
    /// A breadth exam is passed less well than the tolerance allows.
    BreadthExamLost {
        /// Name of the exam.
        exam: String,
        /// tuned − base.
        gain: Gain,
    },
    /// Nothing examined breadth.
    BreadthNotExamined,
    /// A depth exam's gain does not clear the gate.
    BelowMinGain {
        /// Name of the exam.
        exam: String,
        /// The gain.
        gain: Gain,
        /// What the gate asks for.
        min_gain: f64,
    },
}

/// The verdict, with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// Whether the run ends well.
    pub passed: bool,
    /// The facts: depth exams in their order, breadth in its order, the gate.
    pub reasons: Vec<Reason>,
    /// The lines that were drawn.
    pub thresholds: Thresholds,
    /// The gate.
    pub gate: Gate,
}

impl Verdict {
    /// Judges depth and breadth by the rule of this module.
    pub fn new(depth: &[&Comparison], breadth: &[Breadth<'_>], thresholds: Thresholds, gate: Gate) -> Self {
        let mut reasons = depth_reasons(depth, &thresholds);
        let gain = reasons.iter().any(|r| matches!(r, Reason::GainShown { .. }));
        let loss = reasons.iter().any(|r| matches!(r, Reason::LossShown { .. }));
        reasons.extend(breadth.iter().map(|b| breadth_reason(b, &thresholds)));
        if breadth.is_empty() {
            reasons.push(Reason::BreadthNotExamined);
        }
        let narrower =
            reasons.iter().any(|r| matches!(r, Reason::Narrower { .. } | Reason::BreadthExamLost { .. }));
        let outcome = match (gain, loss, narrower) {
            (true, false, false) => Outcome::Deeper,
            (true, false, true) => Outcome::DeeperButNarrower,
            (false, true, _) | (_, _, true) => Outcome::Worse,
            _ => Outcome::NotShown,
        };
        let mut passed = match outcome {
            Outcome::Deeper => true,
            Outcome::DeeperButNarrower => gate.allow_narrower,
            Outcome::NotShown | Outcome::Worse => false,
        };
        if let Some(min_gain) = gate.min_gain {
            // written so that NaN fails
            for c in depth.iter().filter(|c| !c.gain().ci.above(min_gain)) {
                passed = false;
                reasons.push(Reason::BelowMinGain { exam: c.info.name.clone(), gain: c.gain(), min_gain });
            }
        }
        Verdict { outcome, passed, reasons, thresholds, gate }
    }
}

fn depth_reasons(depth: &[&Comparison], thresholds: &Thresholds) -> Vec<Reason> {
    if depth.is_empty() {
        return vec![Reason::NoDepthExam];
    }
    let corrected = holm(&depth.iter().map(|c| c.gain().p).collect::<Vec<_>>());
    depth
        .iter()
        .zip(corrected)
        .map(|(c, corrected_p)| {
            let (exam, gain) = (c.info.name.clone(), c.gain());
            let sure = corrected_p < thresholds.alpha;
            if sure && gain.ci.above(0.0) {
                Reason::GainShown { exam, gain, corrected_p }
            } else if sure && gain.ci.below(0.0) {
                Reason::LossShown { exam, gain, corrected_p }
            } else {
                let graded = c.paired_score.is_some();
                let minimum_detectable = if graded { None } else { c.paired.minimum_detectable };
                Reason::NoDifferenceShown { exam, gain, corrected_p, minimum_detectable }
            }
        })
        .collect()
}

fn breadth_reason(breadth: &Breadth<'_>, thresholds: &Thresholds) -> Reason {
    match breadth {
        Breadth::Text(c) => {
            let (text, ratio, ci) = (c.name.clone(), c.ratio, c.ratio_ci);
            if c.windows < thresholds.least_windows {
                Reason::BreadthUnclear { text, ratio, ci, windows: c.windows }
            } else if ci.above(thresholds.perplexity_ratio) {
                Reason::Narrower { text, ratio, ci }
            } else if ci.high <= thresholds.perplexity_ratio {
                Reason::BreadthKept { text, ratio, ci }
            } else {
                Reason::BreadthUnclear { text, ratio, ci, windows: c.windows }
            }
        }
        Breadth::Exam(c) => {
            let (exam, gain) = (c.info.name.clone(), c.gain());
            if gain.ci.below(-thresholds.exam_loss) && gain.p < thresholds.alpha {
                Reason::BreadthExamLost { exam, gain }
            } else if gain.ci.low >= -thresholds.exam_loss {
                Reason::BreadthExamKept { exam, gain }
            } else {
                Reason::BreadthExamUnclear { exam, gain }
            }
        }
    }
}

/// p-values corrected for being several: the `i`-th smallest of `m` times `m − i`, never less than one before it.
/// Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut least = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max((p[i] * (p.len() - rank) as f64).min(1.0));
        corrected[i] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::label_exam;
    use crate::stats::Bootstrap;
    use crate::{Mode, Model, PerplexityResult, Role, WindowNll, WindowScheme};

    /// An exam of 60 items of which base and tuned get the first so many right, tuned from the other end.
    fn exam(only_base: usize, only_tuned: usize) -> Comparison {
        let answers = |right: &dyn Fn(usize) -> bool| -> Vec<(&str, &str)> {
            (0..60).map(|i| ("a", if right(i) { "a" } else { "b" })).collect()
        };
        let base = label_exam(Role::Base, &answers(&|i| i < only_base));
        let tuned = label_exam(Role::Tuned, &answers(&|i| i >= 60 - only_tuned));
        Comparison::new(&base, &tuned, Bootstrap::default()).unwrap()
    }

    /// Perplexities whose ratio varies around `ratio` by ±`spread` from window to window.
    fn text(ratio: f64, spread: f64, windows: usize) -> PerplexityComparison {
        let result = |role, factor: &dyn Fn(usize) -> f64| {
            let per_window = (0..windows)
                .map(|i| WindowNll { tokens: 100, bytes: 400, nll: 100.0 * (3.0 + factor(i).ln()) })
                .collect();
            let scheme = WindowScheme::Strided { n_ctx: 512 };
            PerplexityResult::new("general", Mode::Exact, Model::new(role, "m"), scheme, per_window, 1.0)
                .unwrap()
        };
        let tuned = result(Role::Tuned, &|i| ratio + if i % 2 == 0 { spread } else { -spread });
        PerplexityComparison::new(&result(Role::Base, &|_| 1.0), &tuned, Bootstrap::default()).unwrap()
    }

    fn judge(depth: &[&Comparison], breadth: &[Breadth<'_>], gate: Gate) -> Verdict {
        Verdict::new(depth, breadth, Thresholds::default(), gate)
    }

    #[test]
    fn the_table_of_outcomes() {
        let (gain, loss, same) = (exam(2, 30), exam(30, 2), exam(5, 6));
        let (kept, narrower, unclear) = (text(1.02, 0.01, 40), text(1.4, 0.1, 40), text(1.1, 0.3, 40));
        use Outcome::*;
        for (depth, breadth, want) in [
            (vec![&gain], &kept, Deeper),
            (vec![&gain], &unclear, Deeper),
            (vec![&gain], &narrower, DeeperButNarrower),
            (vec![&gain, &same], &kept, Deeper),
            (vec![&gain, &loss], &kept, NotShown),
            (vec![&gain, &loss], &narrower, Worse),
            (vec![&loss], &kept, Worse),
            (vec![&loss, &same], &kept, Worse),
            (vec![&same], &kept, NotShown),
            (vec![&same], &narrower, Worse),
            (vec![], &kept, NotShown),
        ] {
            let v = judge(&depth, &[Breadth::Text(breadth)], Gate::default());
            assert_eq!(v.outcome, want, "{:#?}", v.reasons);
            assert_eq!(v.passed, want == Deeper);
        }
    }

    #[test]
    fn an_interval_clear_of_zero_is_not_enough_with_few_pairs() {
        let c = exam(0, 5);
        assert!(c.paired.ci.low > 0.0 && c.paired.p > 0.05);
        let v = judge(&[&c], &[], Gate::default());
        assert_eq!(v.outcome, Outcome::NotShown);
        assert!(matches!(v.reasons[0], Reason::NoDifferenceShown { minimum_detectable: Some(_), .. }));
        assert_eq!(v.reasons[1], Reason::BreadthNotExamined);
    }

    #[test]
    fn several_exams_must_be_surer() {
        // p = 0.039 alone; one of two is no proof
        let (weak, same) = (exam(1, 8), exam(5, 6));
        assert_eq!(judge(&[&weak], &[], Gate::default()).outcome, Outcome::Deeper);
        assert_eq!(judge(&[&weak, &same], &[], Gate::default()).outcome, Outcome::NotShown);
    }

    #[test]
    fn holm_by_hand() {
        let got = holm(&[0.04, 0.01, 0.03, 0.9]);
        for (g, want) in got.iter().zip([0.09, 0.04, 0.09, 0.9]) {
            assert!((g - want).abs() < 1e-12, "{got:?}");
        }
    }

    #[test]
    fn the_gate_asks_for_the_lower_end_of_the_interval() {
        let c = exam(0, 30);
        let with = |min_gain| judge(&[&c], &[], Gate { min_gain: Some(min_gain), allow_narrower: false });
        assert!(with(0.3).passed);
        let v = with(0.45); // the gain is 0.5, its interval begins lower
        assert!(!v.passed && v.outcome == Outcome::Deeper);
        assert!(matches!(v.reasons.last(), Some(Reason::BelowMinGain { .. })));
        assert!(!with(f64::NAN).passed);
    }

    #[test]
    fn breadth_reasons_and_the_leave_to_be_narrower() {
        let gain = exam(0, 30);
        let narrower = text(1.4, 0.1, 40);
        let gate = Gate { min_gain: None, allow_narrower: true };
        assert!(judge(&[&gain], &[Breadth::Text(&narrower)], gate).passed);

        let t = Thresholds::default();
        let reason = |c: &PerplexityComparison| breadth_reason(&Breadth::Text(c), &t);
        assert!(matches!(reason(&narrower), Reason::Narrower { .. }));
        assert!(matches!(reason(&text(1.4, 0.1, 9)), Reason::BreadthUnclear { windows: 9, .. }));
        assert!(matches!(reason(&text(1.1, 0.3, 40)), Reason::BreadthUnclear { .. }));
        assert!(matches!(reason(&text(1.02, 0.01, 40)), Reason::BreadthKept { .. }));
        let reason = |c: &Comparison| breadth_reason(&Breadth::Exam(c), &t);
        assert!(matches!(reason(&exam(20, 1)), Reason::BreadthExamLost { .. }));
        assert!(matches!(reason(&exam(5, 5)), Reason::BreadthExamUnclear { .. }));
        assert!(matches!(reason(&exam(0, 0)), Reason::BreadthExamKept { .. }));
        let v = judge(&[&gain], &[Breadth::Exam(&exam(20, 1))], Gate::default());
        assert_eq!(v.outcome, Outcome::DeeperButNarrower);
    }

    #[test]
    fn reasons_are_data() {
        let v = judge(&[&exam(0, 30)], &[Breadth::Text(&text(1.0, 0.01, 40))], Gate::default());
        let json = serde_json::to_value(&v).unwrap();
        assert_eq!(json["outcome"], "deeper");
        assert_eq!(json["reasons"][0]["reason"], "gain_shown");
        assert_eq!(json["reasons"][0]["gain"]["diff"], 0.5);
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap().outcome, v.outcome);
        assert!(serde_json::from_str::<Gate>(r#"{"min_gian": 0.1}"#).is_err());
    }
}
