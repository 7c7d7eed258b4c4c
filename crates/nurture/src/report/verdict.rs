//! The judgement: deeper or not, and at what price, from intervals and never from a bare difference.
use serde::{Deserialize, Serialize};

use super::data::{ExamReport, TextReport};
use crate::lang::Text;

/// What the exams have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl VerdictKind {
    /// The verdict in a word or three.
    pub const fn word(self) -> Text {
        match self {
            VerdictKind::Deeper => Text::new("Deeper", "更深"),
            VerdictKind::DeeperButNarrower => Text::new("Deeper, but narrower", "更深，但变窄"),
            VerdictKind::NotShown => Text::new("No gain shown", "未见增益"),
            VerdictKind::Worse => Text::new("Worse", "变差"),
        }
    }
}

/// The judgement and what it was measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// What it is.
    pub kind: VerdictKind,
    /// The gain that was asked for (`eval.min_gain`).
    pub min_gain: f64,
    /// The loss that was allowed (`eval.max_breadth_loss`).
    pub max_breadth_loss: f64,
}

impl Verdict {
    /// Whether the run reached what it was for; otherwise the program ends with exit code 3.
    pub fn passed(&self) -> bool {
        self.kind == VerdictKind::Deeper
    }
}

/// Judges. Any exam whose whole interval lies below zero makes it worse; otherwise one exam whose whole interval
/// lies above `min_gain`, or one text of the field read with fewer bits beyond doubt, makes it deeper. A general text whose
/// bits per byte rose by more than `max_breadth_loss` makes it narrower: there the bare figure counts, because a
/// loss should not hide behind a wide interval.
pub fn judge(
    exams: &[ExamReport],
    depth_texts: &[TextReport],
    breadth: &[TextReport],
    min_gain: f64,
    max_breadth_loss: f64,
) -> Verdict {
    let worse =
        exams.iter().any(|exam| exam.paired.ci[1] < 0.0) || depth_texts.iter().any(|text| text.ci[0] > 0.0);
    let deeper = exams.iter().any(|exam| exam.paired.ci[0] > min_gain)
        || depth_texts.iter().any(|text| text.ci[1] < 0.0);
    // A rise that is no number (a broken text, an overflow) is no proof of breadth either.
    let kept = |text: &TextReport| text.rise() <= max_breadth_loss;
    let kind = match (worse, deeper, breadth.iter().all(kept)) {
        (true, ..) => VerdictKind::Worse,
        (false, false, _) => VerdictKind::NotShown,
        (false, true, true) => VerdictKind::Deeper,
        (false, true, false) => VerdictKind::DeeperButNarrower,
    };
    Verdict { kind, min_gain, max_breadth_loss }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::Paired;

    #[test]
    fn intervals_decide() {
        let exam = |lo, hi| ExamReport {
            paired: Paired { ci: [lo, hi], ..Default::default() },
            ..Default::default()
        };
        let text =
            |diff| TextReport { base_bpb: 1.0, diff, ci: [diff - 0.01, diff + 0.01], ..Default::default() };
        let check = |exams: &[ExamReport], texts: &[TextReport], breadth: &[TextReport], want| {
            assert_eq!(judge(exams, texts, breadth, 0.02, 0.05).kind, want);
        };
        check(&[exam(0.1, 0.2)], &[], &[], VerdictKind::Deeper);
        check(&[exam(0.01, 0.2)], &[], &[], VerdictKind::NotShown); // less than was asked for
        check(&[exam(-0.1, 0.2)], &[], &[], VerdictKind::NotShown);
        check(&[exam(-0.2, -0.1)], &[], &[], VerdictKind::Worse);
        check(&[exam(0.1, 0.2), exam(-0.2, -0.1)], &[], &[], VerdictKind::Worse);
        check(&[], &[], &[], VerdictKind::NotShown);
        check(&[exam(0.1, 0.2)], &[], &[text(0.04)], VerdictKind::Deeper);
        check(&[exam(0.1, 0.2)], &[], &[text(-0.1), text(0.06)], VerdictKind::DeeperButNarrower);
        check(&[exam(0.1, 0.2)], &[], &[text(f64::NAN)], VerdictKind::DeeperButNarrower);
        check(&[], &[text(-0.1)], &[], VerdictKind::Deeper);
        check(&[], &[text(0.1)], &[], VerdictKind::Worse);
        check(&[exam(f64::NAN, f64::NAN)], &[], &[], VerdictKind::NotShown);
    }
}
