//! What an exam of a given size can show at all.

use super::Z_95;

/// 80 % quantile of the standard normal distribution: the power that [`minimum_detectable`] promises.
const Z_POWER_80: f64 = 0.841_621_233_572_914_2;

/// Discordant rate to assume before a run. Two independent models of the same accuracy `a` disagree in correctness
/// on `2a(1−a)` of the items, at most on half of them; a tuned model and its base usually on fewer.
pub const INDEPENDENT_DISCORDANT_RATE: f64 = 0.5;

/// The least true gain in accuracy that a paired test at 5 % on `items` items finds with a probability of 80 %,
/// when on `discordant_rate` of the items one of both models is right and the other wrong.
///
/// Before a run, take [`INDEPENDENT_DISCORDANT_RATE`]; afterwards, discordant pairs / items. Solves
/// `n·d² = (z₀.₉₇₅·sqrt(ψ) + z₀.₈·sqrt(ψ − d²))²` for `d`, where `ψ = max(rate, d)` because a gain of `d` needs at
/// least `d·n` discordant pairs. Never less than `6/n`: the exact test needs six pairs, all one way, for p < 0.05.
/// `None` with fewer than six items or a rate outside `[0, 1]`: no gain can be shown. Source: Connor 1987, "Sample
/// size for testing differences in proportions for the paired-sample design", after Miettinen 1968.
pub fn minimum_detectable(items: usize, discordant_rate: f64) -> Option<f64> {
    const LEAST_PAIRS: usize = 6;
    if items < LEAST_PAIRS || !(0.0..=1.0).contains(&discordant_rate) {
        return None;
    }
    let n = items as f64;
    // missing(d) / d falls with d, so there is one root; at d = 1 nothing is missing since n ≥ 6 > z²
    let missing = |d: f64| {
        let rate = discordant_rate.max(d);
        Z_95 * rate.sqrt() + Z_POWER_80 * (rate - d * d).max(0.0).sqrt() - d * n.sqrt()
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if missing(middle) > 0.0 { low = middle } else { high = middle }
    }
    Some(f64::max(high, LEAST_PAIRS as f64 / n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mcnemar_exact;
    use nurture_kernels::Rng;

    /// The formula solved by an independent program (bisection, 200 steps, own normal quantiles).
    #[test]
    fn known_effects() {
        for (n, rate, want) in [
            (1540, 0.5, 0.050_442_426),
            (160, 0.5, 0.155_462_211),
            (400, 0.2, 0.062_460_894),
            (160, 0.0, 0.048_336_998),
            (30, 0.5, 0.347_644_752),
        ] {
            let got = minimum_detectable(n, rate).unwrap();
            assert!((got - want).abs() < 1e-8, "{n} {rate}: {got}");
        }
    }

    #[test]
    fn too_few_items_show_nothing() {
        assert_eq!(minimum_detectable(5, 0.5), None);
        assert_eq!(minimum_detectable(100, f64::NAN), None);
        assert_eq!(minimum_detectable(6, 0.5), Some(1.0));
    }

    /// A simulated run with that gain is found about four times in five by the exact test.
    #[test]
    fn power_is_near_eighty_percent() {
        let (n, rate) = (400, 0.2);
        let gain = minimum_detectable(n, rate).unwrap();
        let mut rng = Rng::new(1);
        let runs = 2000;
        let found = (0..runs)
            .filter(|_| {
                let (mut lost, mut won) = (0, 0);
                for _ in 0..n {
                    let u = rng.uniform();
                    if u < (rate - gain) / 2.0 {
                        lost += 1
                    } else if u < rate {
                        won += 1
                    }
                }
                mcnemar_exact(lost, won) < 0.05
            })
            .count() as f64
            / runs as f64;
        // the exact test is a little conservative
        assert!((0.72..0.85).contains(&found), "power {found}");
    }
}
