//! Is the tuned model deeper, and at what price?
//!
//! * A **gain** is shown if the whole 95 % interval of the paired difference lies above zero (for an exam: above
//!   [`Gate::min_gain`], if that is more) *and* its paired p-value, corrected for the number of exams and texts of the
//!   field (Holm 1979), is below [`ALPHA`]. Both, because with few items the bootstrap's interval is too narrow.
//! * A **loss** is shown if the whole interval lies below zero. No p-value is asked for: doubt counts against the run.
//! * A general text is **narrower** if its bits per byte rose by more than [`Gate::max_breadth_loss`]. Here the bare
//!   figure counts, because a loss should not hide behind a wide interval. So it is with the divergence on general
//!   prompts, where [`Gate::max_divergence`] is set. A general exam is narrower if its whole interval lies below zero.
//!
//! | a loss | a gain | a narrower text | outcome |
//! | --- | --- | --- | --- |
//! | yes | either | either | worse |
//! | no | no | either | not shown |
//! | no | yes | yes | deeper but narrower |
//! | no | yes | no | deeper |

use serde::{Deserialize, Serialize};

use crate::Gain;

/// Greatest corrected p-value of a shown gain.
pub const ALPHA: f64 = 0.05;

/// Which verdicts are good enough for a run: anything else is exit code 3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Deeper, and no narrower than allowed.
    #[default]
    Deeper,
    /// Deeper, narrower or not.
    DeeperOrNarrower,
    /// Anything but worse.
    NotWorse,
    /// Whatever the exams show.
    Nothing,
}

/// What a run is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// Which verdicts are good enough.
    pub asked: Asked,
    /// Gain in accuracy (or mean score) that an exam's whole interval must exceed.
    pub min_gain: f64,
    /// Greatest rise of bits per byte on general text, relative to the base, that counts as breadth kept.
    pub max_breadth_loss: f64,
    /// Greatest mean divergence from the base on general prompts, nats a token; `None`: it is only reported.
    pub max_divergence: Option<f64>,
}

/// What general texts, prompts and exams show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Breadth<'a> {
    /// Relative rises of bits per byte on general texts.
    pub rises: &'a [f64],
    /// Mean divergences on sets of general prompts, nats a token.
    pub divergences: &'a [f64],
    /// Gains on general exams.
    pub exams: &'a [Gain],
}

impl Breadth<'_> {
    /// Whether it is no narrower than the gate allows. What is no number keeps nothing.
    pub fn kept(&self, gate: &Gate) -> bool {
        let within = |d: &f64| gate.max_divergence.is_none_or(|most| *d <= most);
        self.rises.iter().all(|&rise| rise <= gate.max_breadth_loss)
            && self.divergences.iter().all(within)
            && self.exams.iter().all(|gain| gain.ci.high >= 0.0)
    }
}

/// What the exams have shown, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Better in its field beyond doubt, and no narrower than allowed.
    Deeper,
    /// Better in its field, but general text became harder than allowed.
    DeeperButNarrower,
    /// The exams cannot tell the models apart, or the gain is smaller than asked for.
    #[default]
    NotShown,
    /// Worse in its field beyond doubt.
    Worse,
}

/// What one exam or text of the field shows by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A gain, as large as asked for.
    Gain,
    /// Neither.
    #[default]
    Neither,
    /// A loss.
    Loss,
}

/// The judgement, with what it rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// In one word.
    pub kind: VerdictKind,
    /// What was asked for.
    #[serde(flatten)]
    pub gate: Gate,
    /// What each exam shows, in their order.
    pub exams: Vec<Finding>,
    /// What each text of the field shows, in their order.
    pub texts: Vec<Finding>,
}

impl Verdict {
    /// Judges by the rule of this module: gains of the field's exams, gains on the field's texts (each may be empty),
    /// and what breadth shows. What is no number proves nothing and keeps nothing.
    pub fn new(exams: &[Gain], texts: &[Gain], breadth: Breadth<'_>, gate: Gate) -> Self {
        let p: Vec<f64> = exams.iter().chain(texts).map(|gain| gain.p).collect();
        let corrected = holm(&p);
        let find = |gain: &Gain, p: f64, least: f64| {
            if gain.ci.below(0.0) {
                Finding::Loss
            } else if gain.ci.above(least.max(0.0)) && p < ALPHA {
                Finding::Gain
            } else {
                Finding::Neither
            }
        };
        let findings = |gains: &[Gain], p: &[f64], least: f64| -> Vec<Finding> {
            gains.iter().zip(p).map(|(gain, &p)| find(gain, p, least)).collect()
        };
        let (exam_p, text_p) = corrected.split_at(exams.len());
        let (exams, texts) = (findings(exams, exam_p, gate.min_gain), findings(texts, text_p, 0.0));
        let shown = |what| exams.iter().chain(&texts).any(|&finding| finding == what);
        let kept = breadth.kept(&gate);
        let kind = match (shown(Finding::Loss), shown(Finding::Gain), kept) {
            (true, ..) => VerdictKind::Worse,
            (false, false, _) => VerdictKind::NotShown,
            (false, true, false) => VerdictKind::DeeperButNarrower,
            (false, true, true) => VerdictKind::Deeper,
        };
        Verdict { kind, gate, exams, texts }
    }

    /// Whether the run reached what it was for; otherwise the program ends with exit code 3.
    pub fn passed(&self) -> bool {
        match self.gate.asked {
            Asked::Deeper => self.kind == VerdictKind::Deeper,
            Asked::DeeperOrNarrower => {
                matches!(self.kind, VerdictKind::Deeper | VerdictKind::DeeperButNarrower)
            }
            Asked::NotWorse => self.kind != VerdictKind::Worse,
            Asked::Nothing => true,
        }
    }
}

/// p-values corrected for being several: the `i`-th smallest of `m` times `m − i`, never less than one before it; NaN
/// counts as 1. Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
fn holm(p: &[f64]) -> Vec<f64> {
    let p: Vec<f64> = p.iter().map(|&p| if p.is_nan() { 1.0 } else { p }).collect();
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
    use crate::stats::{Bootstrap, Interval};
    use crate::{
        Comparison, Mode, Model, PerplexityComparison, PerplexityResult, Role, WindowNll, WindowScheme,
    };

    const GATE: Gate =
        Gate { asked: Asked::Deeper, min_gain: 0.02, max_breadth_loss: 0.05, max_divergence: None };

    fn gain(low: f64, high: f64, p: f64) -> Gain {
        Gain { diff: (low + high) / 2.0, ci: Interval { low, high }, p }
    }

    #[test]
    fn breadth_is_lost_in_each_of_three_ways() {
        let (same, worse) = (gain(-0.1, 0.1, 0.9), gain(-0.2, -0.1, 0.001));
        let strict = Gate { max_divergence: Some(0.1), ..GATE };
        for (breadth, gate, kept) in [
            (Breadth::default(), strict, true),
            (Breadth { divergences: &[0.05, 0.1], ..Breadth::default() }, strict, true),
            (Breadth { divergences: &[0.05, 0.11], ..Breadth::default() }, strict, false),
            (Breadth { divergences: &[f64::NAN], ..Breadth::default() }, strict, false),
            (Breadth { divergences: &[9.0], ..Breadth::default() }, GATE, true),
            (Breadth { exams: &[same], ..Breadth::default() }, GATE, true),
            (Breadth { exams: &[same, worse], ..Breadth::default() }, GATE, false),
            (Breadth { exams: &[gain(f64::NAN, f64::NAN, f64::NAN)], ..Breadth::default() }, GATE, false),
        ] {
            assert_eq!(breadth.kept(&gate), kept, "{breadth:?} {gate:?}");
        }
    }

    #[test]
    fn the_gate_decides_what_is_good_enough() {
        use VerdictKind::*;
        let passes =
            |kind, asked| Verdict { kind, gate: Gate { asked, ..GATE }, ..Verdict::default() }.passed();
        for (asked, good) in [
            (Asked::Deeper, &[Deeper][..]),
            (Asked::DeeperOrNarrower, &[Deeper, DeeperButNarrower]),
            (Asked::NotWorse, &[Deeper, DeeperButNarrower, NotShown]),
            (Asked::Nothing, &[Deeper, DeeperButNarrower, NotShown, Worse]),
        ] {
            for kind in [Deeper, DeeperButNarrower, NotShown, Worse] {
                assert_eq!(passes(kind, asked), good.contains(&kind), "{asked:?} {kind:?}");
            }
        }
    }

    #[test]
    fn the_table_of_outcomes() {
        use VerdictKind::*;
        let (better, same, worse) = (gain(0.1, 0.2, 0.001), gain(-0.1, 0.1, 0.9), gain(-0.2, -0.1, 0.001));
        let nan = gain(f64::NAN, f64::NAN, f64::NAN);
        type Case<'a> = (&'a [Gain], &'a [Gain], &'a [f64], VerdictKind);
        let cases: [Case<'_>; 17] = [
            (&[better], &[], &[], Deeper),
            (&[better, same], &[], &[0.04], Deeper),
            (&[], &[better], &[-0.1], Deeper),
            (&[same], &[better], &[], Deeper),
            (&[], &[gain(0.001, 0.01, 0.001)], &[], Deeper), // `min_gain` is of accuracy, not of texts
            (&[better], &[], &[-0.1, 0.06], DeeperButNarrower),
            (&[better], &[], &[f64::NAN], DeeperButNarrower),
            (&[same], &[], &[], NotShown),
            (&[same], &[], &[0.06], NotShown),
            (&[gain(0.01, 0.2, 0.001)], &[], &[], NotShown), // surely a gain, not surely what was asked for
            (&[gain(0.1, 0.2, 0.06)], &[], &[], NotShown),   // the interval alone is no proof
            (&[nan], &[nan], &[], NotShown),
            (&[], &[], &[], NotShown),
            (&[worse], &[], &[], Worse),
            (&[better, worse], &[], &[], Worse),
            (&[better], &[worse], &[], Worse),
            (&[better, gain(-0.2, -0.1, 0.06)], &[], &[], Worse), // doubt counts against the run
        ];
        for (exams, texts, rises, want) in cases {
            let verdict = Verdict::new(exams, texts, Breadth { rises, ..Breadth::default() }, GATE);
            assert_eq!(verdict.kind, want, "{exams:?} {texts:?} {rises:?}");
            assert_eq!(verdict.passed(), want == Deeper);
            assert_eq!((verdict.exams.len(), verdict.texts.len()), (exams.len(), texts.len()));
        }
        let verdict = Verdict::new(&[same, better], &[worse], Breadth::default(), GATE);
        assert_eq!(verdict.exams, [Finding::Neither, Finding::Gain]);
        assert_eq!(verdict.texts, [Finding::Loss]);
    }

    /// An exam of 60 items of which base and tuned get so many right, the one from the first, the other from the last.
    fn exam(only_base: usize, only_tuned: usize) -> Gain {
        let answers = |right: &dyn Fn(usize) -> bool| -> Vec<(&str, &str)> {
            (0..60).map(|i| ("a", if right(i) { "a" } else { "b" })).collect()
        };
        let base = label_exam(Role::Base, &answers(&|i| i < only_base));
        let tuned = label_exam(Role::Tuned, &answers(&|i| i >= 60 - only_tuned));
        Comparison::new(&base, &tuned, Bootstrap::default()).unwrap().gain()
    }

    #[test]
    fn an_interval_clear_of_zero_is_not_enough_with_few_pairs() {
        let few = exam(0, 5);
        assert!(few.ci.low > 0.0 && few.p > 0.05);
        assert_eq!(
            Verdict::new(&[few], &[], Breadth::default(), Gate::default()).kind,
            VerdictKind::NotShown
        );
        assert_eq!(
            Verdict::new(&[exam(0, 6)], &[], Breadth::default(), Gate::default()).kind,
            VerdictKind::Deeper
        );
    }

    #[test]
    fn several_exams_must_be_surer() {
        // p = 0.039 alone; one of two is no proof
        let (weak, same) = (exam(1, 8), exam(5, 6));
        assert_eq!(Verdict::new(&[weak], &[], Breadth::default(), Gate::default()).kind, VerdictKind::Deeper);
        assert_eq!(
            Verdict::new(&[weak, same], &[], Breadth::default(), Gate::default()).kind,
            VerdictKind::NotShown
        );
        assert_eq!(
            Verdict::new(&[weak], &[same], Breadth::default(), Gate::default()).kind,
            VerdictKind::NotShown
        );
    }

    /// Windows whose perplexity changes by `ratio`, ± `spread` from window to window.
    fn text(ratio: f64, spread: f64) -> PerplexityComparison {
        let result = |role, factor: &dyn Fn(usize) -> f64| {
            let per_window = (0..40)
                .map(|i| WindowNll { tokens: 100, bytes: 400, nll: 100.0 * (3.0 + factor(i).ln()) })
                .collect();
            let scheme = WindowScheme::Strided { n_ctx: 512 };
            PerplexityResult::new("text", Mode::Exact, Model::new(role, "m"), scheme, per_window, 1.0)
                .unwrap()
        };
        let tuned = result(Role::Tuned, &|i| ratio + if i % 2 == 0 { spread } else { -spread });
        PerplexityComparison::new(&result(Role::Base, &|_| 1.0), &tuned, Bootstrap::default()).unwrap()
    }

    #[test]
    fn texts_count_by_what_they_surprise_less() {
        let judge = |own: &PerplexityComparison, general: &PerplexityComparison| {
            Verdict::new(&[], &[own.gain()], Breadth { rises: &[general.rise()], ..Breadth::default() }, GATE)
                .kind
        };
        // 3 nats a token at the base: a ratio of 1.1 is a rise of 0.0953 / 3 = 3.2 %, one of 1.2 of 6.1 %
        assert!((text(1.1, 0.0).rise() - 1.1f64.ln() / 3.0).abs() < 1e-12);
        assert_eq!(judge(&text(0.8, 0.1), &text(1.1, 0.0)), VerdictKind::Deeper);
        assert_eq!(judge(&text(0.8, 0.1), &text(1.2, 0.0)), VerdictKind::DeeperButNarrower);
        assert_eq!(judge(&text(1.0, 0.1), &text(1.0, 0.0)), VerdictKind::NotShown);
        assert_eq!(judge(&text(1.2, 0.1), &text(1.0, 0.0)), VerdictKind::Worse);
        let gain = text(0.8, 0.1).gain();
        assert!(gain.ci.low < gain.diff && gain.diff < gain.ci.high && gain.ci.low > 0.0, "{gain:?}");
    }

    #[test]
    fn holm_by_hand() {
        let got = holm(&[0.04, 0.01, 0.03, 0.9]);
        for (g, want) in got.iter().zip([0.09, 0.04, 0.09, 0.9]) {
            assert!((g - want).abs() < 1e-12, "{got:?}");
        }
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }

    #[test]
    fn a_verdict_reads_back_and_so_does_one_without_findings() {
        let verdict = Verdict::new(
            &[gain(0.1, 0.2, 0.001)],
            &[],
            Breadth { rises: &[0.0], ..Breadth::default() },
            GATE,
        );
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["kind"], "deeper");
        assert_eq!((&json["min_gain"], &json["exams"][0]), (&0.02.into(), &"gain".into()));
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
        let old = r#"{"kind": "worse", "min_gain": 0.02, "max_breadth_loss": 0.05}"#;
        let old: Verdict = serde_json::from_str(old).unwrap();
        assert_eq!((old.kind, old.gate, old.exams.len()), (VerdictKind::Worse, GATE, 0));
    }
}
