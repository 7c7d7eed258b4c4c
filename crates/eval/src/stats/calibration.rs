//! Whether a model's confidence can be believed.

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Number of bins that is usual for the expected calibration error (Guo et al. 2017).
pub const DEFAULT_BINS: usize = 15;

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Items in the bin.
    pub items: usize,
    /// Mean confidence of the items, 0 if there are none.
    pub confidence: f64,
    /// Accuracy of the items, 0 if there are none.
    pub accuracy: f64,
}

/// Confidence against accuracy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: `Σ (items in bin / items) · |accuracy − confidence|`. 0 is perfect.
    pub ece: f64,
    /// Bins of equal width over `(0, 1]`, lowest first.
    pub bins: Vec<CalibrationBin>,
}

/// Calibration of pairs (probability that the model gave its answer, whether the answer was right) over `bins`
/// bins of equal width (at least one).
///
/// Source: Guo et al. 2017, "On calibration of modern neural networks", equation 5.
///
/// # Errors
/// No items, or a probability outside `[0, 1]`.
pub fn calibration(answers: &[(f64, bool)], bins: usize) -> Result<Calibration, EvalError> {
    const WHAT: &str = "calibration";
    if answers.is_empty() {
        return Err(EvalError::Empty { what: WHAT });
    }
    if let Some(index) = answers.iter().position(|(p, _)| !(0.0..=1.0).contains(p)) {
        return Err(EvalError::OutOfRange { what: WHAT, index, value: answers[index].0, range: "[0, 1]" });
    }
    let bins = bins.max(1);
    let mut sums = vec![(0usize, 0.0f64, 0usize); bins];
    for &(p, right) in answers {
        // bins are open below and closed above, except that 0 falls into the first
        let bin = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        sums[bin].0 += 1;
        sums[bin].1 += p;
        sums[bin].2 += usize::from(right);
    }
    let bins: Vec<CalibrationBin> = sums
        .into_iter()
        .map(|(items, p, right)| {
            let n = items.max(1) as f64;
            CalibrationBin { items, confidence: p / n, accuracy: right as f64 / n }
        })
        .collect();
    let gap = |b: &CalibrationBin| b.items as f64 * (b.accuracy - b.confidence).abs();
    Ok(Calibration { ece: bins.iter().map(gap).sum::<f64>() / answers.len() as f64, bins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_with_two_bins() {
        // low bin: 0.25 right, 0.5 wrong: confidence 0.375, accuracy 0.5; high bin: 0.75 right, 1.0 right: 0.875, 1.0
        let c = calibration(&[(0.25, true), (0.5, false), (0.75, true), (1.0, true)], 2).unwrap();
        assert_eq!(c.bins[0], CalibrationBin { items: 2, confidence: 0.375, accuracy: 0.5 });
        assert_eq!(c.bins[1], CalibrationBin { items: 2, confidence: 0.875, accuracy: 1.0 });
        assert!((c.ece - 0.125).abs() < 1e-12);
    }

    #[test]
    fn certain_and_right_is_perfect_certain_and_wrong_is_worst() {
        assert_eq!(calibration(&[(1.0, true); 5], DEFAULT_BINS).unwrap().ece, 0.0);
        assert_eq!(calibration(&[(1.0, false); 5], DEFAULT_BINS).unwrap().ece, 1.0);
        assert_eq!(calibration(&[(0.0, false)], DEFAULT_BINS).unwrap().bins[0].items, 1);
    }

    #[test]
    fn a_probability_outside_its_range_is_refused() {
        for p in [f64::NAN, -0.1, 1.1] {
            assert!(matches!(
                calibration(&[(0.5, true), (p, true)], 10),
                Err(EvalError::OutOfRange { index: 1, .. })
            ));
        }
    }
}
