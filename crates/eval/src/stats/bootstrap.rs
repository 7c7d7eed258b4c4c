//! Resampling: intervals for means and ratios of paired figures, and a p-value by sign flips.

use nurture_kernels::Rng;
use serde::{Deserialize, Serialize};

use super::Interval;
use crate::EvalError;

/// How often to resample, and from which seed.
///
/// Intervals are percentile intervals (Efron 1979, "Bootstrap methods: another look at the jackknife"; for paired
/// test sets Koehn 2004, "Statistical significance tests for machine translation evaluation"). With few items, or
/// few items that differ, they are too narrow; that is why a verdict also asks for the p-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples (at least 1 is drawn).
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { resamples: 10_000, seed: 1 }
    }
}

/// Difference (tuned − base) of the mean of a per-item figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedMean {
    /// Number of items.
    pub n: usize,
    /// Mean of the base.
    pub base: f64,
    /// Mean of the tuned model.
    pub tuned: f64,
    /// `tuned − base`.
    pub diff: f64,
    /// 95 % percentile interval of the difference, items resampled as pairs.
    pub ci: Interval,
    /// p-value by sign flips, see [`Bootstrap::sign_flip_p`].
    pub p: f64,
}

impl Bootstrap {
    /// 95 % interval of the mean of `values`.
    ///
    /// # Errors
    /// No values, or one that is not finite.
    pub fn mean(&self, values: &[f64]) -> Result<Interval, EvalError> {
        self.ratio(values, &vec![1.0; values.len()])
    }

    /// 95 % interval of `Σ numerators / Σ denominators`, both of an item drawn together: a mean weighted by the size
    /// of each item, such as the loss of a token over windows of different length.
    ///
    /// # Errors
    /// No values, different lengths, a value that is not finite, a denominator that is not above 0.
    pub fn ratio(&self, numerators: &[f64], denominators: &[f64]) -> Result<Interval, EvalError> {
        const WHAT: &str = "bootstrap interval";
        let n = same_length(WHAT, numerators, denominators)?;
        finite(WHAT, numerators)?;
        finite(WHAT, denominators)?;
        if let Some(index) = denominators.iter().position(|&d| d <= 0.0) {
            return Err(EvalError::OutOfRange {
                what: WHAT,
                index,
                value: denominators[index],
                range: "(0, ∞)",
            });
        }
        let items: Vec<(f64, f64)> = numerators.iter().copied().zip(denominators.iter().copied()).collect();
        let mut rng = Rng::new(self.seed);
        let mut means: Vec<f64> = (0..self.resamples.max(1))
            .map(|_| {
                let (mut top, mut bottom) = (0.0, 0.0);
                for _ in 0..n {
                    let (a, b) = items[rng.below(n)];
                    top += a;
                    bottom += b;
                }
                top / bottom
            })
            .collect();
        means.sort_by(f64::total_cmp);
        Ok(Interval { low: quantile(&means, 0.025), high: quantile(&means, 0.975) })
    }

    /// Two-sided p-value that paired differences are as likely to be positive as negative: the share of random sign
    /// flips whose sum is at least as far from 0, counting the data themselves once.
    ///
    /// Assumes nothing about the distribution but symmetry; the least value is `1 / (resamples + 1)`. Source: Fisher
    /// 1935, "The design of experiments"; Noreen 1989, "Computer-intensive methods for testing hypotheses".
    ///
    /// # Errors
    /// No values, or one that is not finite.
    pub fn sign_flip_p(&self, differences: &[f64]) -> Result<f64, EvalError> {
        const WHAT: &str = "sign-flip test";
        if differences.is_empty() {
            return Err(EvalError::Empty { what: WHAT });
        }
        finite(WHAT, differences)?;
        let moved: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
        let seen = moved.iter().sum::<f64>().abs();
        // sums that are equal on paper differ in their last bits; a tie counts as at least as far
        let tie = 1e-12 * moved.iter().map(|d| d.abs()).sum::<f64>();
        let mut rng = Rng::stream(self.seed, 1);
        let flips = self.resamples.max(1);
        let as_far = (0..flips)
            .filter(|_| {
                let mut sum = 0.0;
                for chunk in moved.chunks(64) {
                    let mut signs = rng.next_u64();
                    for &d in chunk {
                        sum += if signs & 1 == 0 { d } else { -d };
                        signs >>= 1;
                    }
                }
                sum.abs() >= seen - tie
            })
            .count();
        Ok((as_far + 1) as f64 / (flips + 1) as f64)
    }

    /// The paired difference of a per-item figure: `base[i]` and `tuned[i]` belong to the same item.
    ///
    /// # Errors
    /// No items, different lengths, a value that is not finite.
    pub fn paired_mean(&self, base: &[f64], tuned: &[f64]) -> Result<PairedMean, EvalError> {
        const WHAT: &str = "paired difference";
        let n = same_length(WHAT, base, tuned)?;
        finite(WHAT, base)?;
        finite(WHAT, tuned)?;
        let differences: Vec<f64> = base.iter().zip(tuned).map(|(b, t)| t - b).collect();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / n as f64;
        Ok(PairedMean {
            n,
            base: mean(base),
            tuned: mean(tuned),
            diff: mean(&differences),
            ci: self.mean(&differences)?,
            p: self.sign_flip_p(&differences)?,
        })
    }
}

fn same_length(what: &'static str, base: &[f64], tuned: &[f64]) -> Result<usize, EvalError> {
    if base.len() != tuned.len() {
        return Err(EvalError::Lengths { what, base: base.len(), tuned: tuned.len() });
    }
    if base.is_empty() {
        return Err(EvalError::Empty { what });
    }
    Ok(base.len())
}

/// Refuses NaN and infinities, which would spread into every figure unseen.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), EvalError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => {
            Err(EvalError::OutOfRange { what, index, value: values[index], range: "the finite numbers" })
        }
        None => Ok(()),
    }
}

/// Quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996). `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mcnemar_exact;

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        let v = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(quantile(&v, 0.5), 3.0);
        assert!((quantile(&v, 0.1) - 1.4).abs() < 1e-12);
        assert_eq!(quantile(&[7.0], 0.975), 7.0);
    }

    /// For many items the percentile interval is the normal one: mean ± 1.96·σ/√n.
    #[test]
    fn mean_interval_is_normal_in_the_limit() {
        let values: Vec<f64> = (0..2000).map(|i| if i % 4 == 0 { 1.0 } else { 0.0 }).collect();
        let i = Bootstrap::default().mean(&values).unwrap();
        let half = 1.96 * (0.25f64 * 0.75 / 2000.0).sqrt();
        assert!((i.low - (0.25 - half)).abs() < 0.0015, "{i:?}");
        assert!((i.high - (0.25 + half)).abs() < 0.0015, "{i:?}");
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut rng = Rng::new(5);
        let runs = 400;
        let covered = (0..runs)
            .filter(|&seed| {
                let sample: Vec<f64> = (0..60).map(|_| rng.uniform().powi(2)).collect();
                let i = Bootstrap { resamples: 400, seed }.mean(&sample).unwrap();
                i.low <= 1.0 / 3.0 && 1.0 / 3.0 <= i.high
            })
            .count();
        let rate = covered as f64 / runs as f64;
        assert!((0.91..0.98).contains(&rate), "coverage {rate}");
    }

    #[test]
    fn same_seed_same_interval_other_seed_another() {
        let v: Vec<f64> = (0..50).map(|i| (i * i % 17) as f64).collect();
        let at = |seed| Bootstrap { resamples: 500, seed }.mean(&v).unwrap();
        assert_eq!(at(3), at(3));
        assert_ne!(at(3), at(4));
    }

    #[test]
    fn ratio_weighs_items_by_size() {
        // every item has the ratio 2, so resampling changes nothing
        let i = Bootstrap::default().ratio(&[2.0, 4.0, 20.0], &[1.0, 2.0, 10.0]).unwrap();
        assert_eq!(i, Interval { low: 2.0, high: 2.0 });
    }

    #[test]
    fn sign_flips_agree_with_the_exact_test() {
        let b = Bootstrap { resamples: 40_000, seed: 9 };
        for (lost, won) in [(1, 9), (30, 50), (5, 5)] {
            let mut d = vec![0.0; 40];
            d.extend(vec![-1.0; lost]);
            d.extend(vec![1.0; won]);
            let (p, exact) = (b.sign_flip_p(&d).unwrap(), mcnemar_exact(lost, won));
            assert!((p - exact).abs() < 0.005, "{lost},{won}: {p} against {exact}");
        }
        assert_eq!(b.sign_flip_p(&[0.0, 0.0]).unwrap(), 1.0);
    }

    #[test]
    fn paired_mean_has_its_sign_and_pairs_items() {
        let base: Vec<f64> = (0..100).map(|i| i as f64).collect();
        let tuned: Vec<f64> = base.iter().map(|b| b - 0.5).collect();
        let m = Bootstrap::default().paired_mean(&base, &tuned).unwrap();
        // unpaired, the spread of the items would hide the difference; paired, it is the same on every item
        assert_eq!((m.diff, m.ci.low, m.ci.high), (-0.5, -0.5, -0.5));
        assert!(m.p < 1e-3);
    }

    #[test]
    fn bad_figures_are_refused() {
        let b = Bootstrap::default();
        assert!(matches!(b.mean(&[]), Err(EvalError::Empty { .. })));
        assert!(matches!(b.mean(&[1.0, f64::NAN]), Err(EvalError::OutOfRange { index: 1, .. })));
        assert!(matches!(b.ratio(&[1.0], &[0.0]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(b.paired_mean(&[1.0], &[]), Err(EvalError::Lengths { .. })));
    }
}
