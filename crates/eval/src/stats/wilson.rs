//! The interval of an accuracy.

use super::{Interval, Z_95};

/// Wilson's 95 % score interval of `successes` out of `n`, without continuity correction.
///
/// Unlike `p ± 1.96·sqrt(p(1−p)/n)` it stays inside `[0, 1]` and keeps a width at 0 % and 100 %.
/// With no items it is `[0, 1]`: nothing is known. Source: Wilson 1927, "Probable inference, the law of
/// succession, and statistical inference".
pub fn wilson(successes: usize, n: usize) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let k = successes.min(n);
    let (n_f, z2) = (n as f64, Z_95 * Z_95);
    let p = k as f64 / n_f;
    let scale = 1.0 + z2 / n_f;
    let centre = (p + z2 / (2.0 * n_f)) / scale;
    let half = Z_95 * (p * (1.0 - p) / n_f + z2 / (4.0 * n_f * n_f)).sqrt() / scale;
    // at the two ends the formula gives the end itself; say so without rounding
    let low = if k == 0 { 0.0 } else { centre - half };
    let high = if k == n { 1.0 } else { centre + half };
    Interval { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    #[test]
    fn published_intervals() {
        for (k, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let i = wilson(k, n);
            assert!((i.low - low).abs() < 5e-5 && (i.high - high).abs() < 5e-5, "{k}/{n}: {i:?}");
        }
    }

    #[test]
    fn ends_are_exact_and_mirror() {
        assert_eq!(wilson(0, 20).low, 0.0);
        assert_eq!(wilson(20, 20).high, 1.0);
        assert!((wilson(20, 20).low - (1.0 - wilson(0, 20).high)).abs() < 1e-12);
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }
}
