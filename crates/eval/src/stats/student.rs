//! The mean of a few runs and how sure it is.

use super::{Interval, Z_95};

/// 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Mean and its two-sided 95 % interval by Student's t: of a few runs that differ in their seed. `None` with fewer than
/// two, or with one that is no number. Source: Student 1908, "The probable error of a mean".
pub fn mean_of_runs(values: &[f64]) -> Option<(f64, Interval)> {
    let n = values.len();
    if n < 2 || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let free = n - 1;
    // beyond the table the first term of the expansion in 1 / degrees of freedom
    let t = T_95.get(free - 1).copied().unwrap_or(Z_95 + (Z_95.powi(3) + Z_95) / (4.0 * free as f64));
    let half = t * (variance / n as f64).sqrt();
    Some((mean, Interval { low: mean - half, high: mean + half }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_runs_are_less_sure_than_many() {
        // by hand: mean 0.2, s = 0.01, t(2) = 4.303
        let (mean, ci) = mean_of_runs(&[0.19, 0.20, 0.21]).unwrap();
        assert!((mean - 0.2).abs() < 1e-12);
        assert!((ci.high - 0.2 - 4.303 * 0.01 / 3f64.sqrt()).abs() < 1e-9, "{ci:?}");
        let many: Vec<f64> = (0..40).map(|n| 0.2 + 0.01 * f64::from(n % 3 - 1)).collect();
        let (_, close) = mean_of_runs(&many).unwrap();
        assert!(close.high - close.low < 0.3 * (ci.high - ci.low));
        // t(39) = 2.0227
        let s =
            (many.iter().map(|v| (v - many.iter().sum::<f64>() / 40.0).powi(2)).sum::<f64>() / 39.0).sqrt();
        assert!(((close.high - close.low) / (2.0 * s / 40f64.sqrt()) - 2.0227).abs() < 3e-3);
        for none in [&[][..], &[0.1], &[0.1, f64::NAN]] {
            assert_eq!(mean_of_runs(none), None);
        }
    }
}
