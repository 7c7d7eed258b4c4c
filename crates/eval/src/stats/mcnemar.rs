//! The p-value of a paired difference in accuracy.

/// Exact two-sided McNemar p-value for `only_base` items that only the base got right and `only_tuned` that only
/// the tuned model got right.
///
/// Under the hypothesis of no difference each discordant pair is a fair coin:
/// `p = min(1, 2 · Σ_{k ≤ min(b, c)} C(b + c, k) / 2^(b + c))`. Items on which both agree carry no information.
/// No pairs give 1; below about 1e-308 it reads 0. Source: McNemar 1947, "Note on the sampling error of the
/// difference between correlated proportions or percentages"; the exact form in Fagerland, Lydersen and Laake 2013,
/// "The McNemar test for binary matched-pairs data".
pub fn mcnemar_exact(only_base: usize, only_tuned: usize) -> f64 {
    let n = only_base as f64 + only_tuned as f64;
    let k = only_base.min(only_tuned) as f64;
    if only_base == only_tuned {
        return 1.0;
    }
    // the largest term through logarithms, the tail as a sum of ratios to it: neither can overflow
    let largest = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) - n * std::f64::consts::LN_2;
    let (mut sum, mut term, mut j) = (1.0, 1.0, k);
    while j > 0.0 && term > 1e-18 * sum {
        term *= j / (n - j + 1.0);
        sum += term;
        j -= 1.0;
    }
    (2.0 * largest.exp() * sum).min(1.0)
}

/// `ln n!` for a whole `n ≥ 0`: the product up to 20 (exact in f64), Stirling's series above (error < 1e-12).
fn ln_factorial(n: f64) -> f64 {
    if n <= 20.0 {
        return ((1..=n as u64).product::<u64>() as f64).ln();
    }
    let n2 = n * n;
    n * n.ln() - n
        + 0.5 * (std::f64::consts::TAU * n).ln()
        + (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * n2)) / n2) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_factorial_agrees_with_known_values() {
        // 5! = 120 by hand; the others: lgamma of the C library
        for (n, want) in [
            (0.0, 0.0),
            (5.0, 120f64.ln()),
            (20.0, 42.335_616_460_753_485),
            (21.0, 45.380_138_898_476_91),
            (100.0, 363.739_375_555_563_47),
            (1e6, 12_815_518.384_658_169),
        ] {
            assert!((ln_factorial(n) - want).abs() <= 1e-12 * want.max(1.0), "{n}: {}", ln_factorial(n));
        }
    }

    /// Small ones by hand (2·11/1024, 2·9/256, 2/64), the others by exact fractions of whole numbers.
    #[test]
    fn known_p_values() {
        for (b, c, want) in [
            (0, 0, 1.0),
            (4, 4, 1.0),
            (3, 4, 1.0),
            (1, 9, 0.021_484_375),
            (7, 1, 0.070_312_5),
            (0, 6, 0.031_25),
            (30, 50, 0.032_992_618_426_476_18),
            (480, 520, 0.217_448_293_204_140_94),
            (100, 900, 1.340_343_558_001_259_2e-161),
            (4_900, 5_100, 0.046_585_527_704_947_39),
            (24_600, 25_400, 0.000_352_501_458_601_797_3),
        ] {
            let p = mcnemar_exact(b, c);
            assert!((p - want).abs() <= 1e-9 * want, "{b},{c}: {p}");
            assert_eq!(p, mcnemar_exact(c, b));
        }
    }

    #[test]
    fn huge_counts_neither_overflow_nor_hang() {
        assert_eq!(mcnemar_exact(0, usize::MAX), 0.0);
        assert!((0.9..=1.0).contains(&mcnemar_exact(50_000_000, 50_000_001)));
    }
}
