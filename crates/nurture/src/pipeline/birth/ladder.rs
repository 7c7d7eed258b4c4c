//! The ladder: smaller newborns of the same form are raised first, a power law is fitted to what they reached, and the
//! model's own figure is predicted before it learns (Kaplan et al. 2020, Hoffmann et al. 2022).
//!
//! Loss against computation `C`: `L = a · C^-b`, and `L = e + a · C^-b` only where four rungs or more tell `e` apart. A rung
//! reads as many tokens for each parameter as the model, with the same vocabulary.

use super::plan;
use crate::recipe::{Newborn, Notes};
use crate::report::data::{BirthReport, LadderReport, RungReport};
use nurture_model::Shape;

/// The newborns of the rungs, for the model of shape `shape`.
pub(super) fn rungs(new: &Newborn, shape: &Shape, bytes: usize) -> Vec<Newborn> {
    let size = |shape: &Shape| shape.config(new.tie).active_parameters(new.tie) as f64;
    let mut depths = new.ladder.clone();
    depths.sort_unstable();
    depths.dedup();
    let rung = |depth: usize| {
        // sizes that belong to the depth follow it
        let mut rung = Newborn {
            depth,
            ladder: Vec::new(),
            vocab: Some(shape.vocab),
            width: None,
            heads: None,
            kv_heads: None,
            ffn: None,
            rate: None,
            ..new.clone()
        };
        let own = plan::shape(&rung, bytes, &mut Notes::default());
        rung.tokens = new.tokens.map(|tokens| ((tokens as f64 * size(&own) / size(shape)) as usize).max(1));
        rung
    };
    depths.into_iter().map(rung).collect()
}

/// What a newborn reached: bits per byte over all its held-out text.
pub(super) fn reached(report: &BirthReport) -> Option<f64> {
    let bytes: u64 = report.languages.iter().map(|l| l.held_bytes).sum();
    let bits: Option<Vec<f64>> =
        report.languages.iter().map(|l| Some(l.after? * l.held_bytes as f64)).collect();
    (bytes > 0).then(|| bits.map(|bits| bits.iter().sum::<f64>() / bytes as f64)).flatten()
}

/// The figures of a rung.
pub(super) fn rung(depth: usize, report: &BirthReport) -> Option<RungReport> {
    Some(RungReport {
        depth: depth as u64,
        parameters: report.parameters,
        tokens: report.tokens,
        flop: report.flop,
        bits_per_byte: reached(report)?,
    })
}

/// A straight line through `(x, y)`: slope, value at the mean of `x`, mean of `x`, sum of squares left, of `x`.
struct Line {
    slope: f64,
    middle: f64,
    mean: f64,
    left: f64,
    spread: f64,
}

fn line(points: &[(f64, f64)]) -> Line {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / spread;
    let left = points.iter().map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2)).sum();
    Line { slope, middle: my, mean: mx, left, spread }
}

/// Quantiles of Student's t for an interval of 95 %, by degrees of freedom from 1 on.
const T: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];

/// The law of the rungs, and what it says of `flop` operations. `None` where there are fewer than two, or they lie on one spot.
pub(super) fn fit(rungs: Vec<RungReport>, flop: f64) -> Option<LadderReport> {
    let good = |r: &RungReport| r.flop > 0.0 && r.bits_per_byte > 0.0 && r.bits_per_byte.is_finite();
    if rungs.len() < 2 || !rungs.iter().all(good) || flop.is_nan() || flop <= 0.0 {
        return None;
    }
    let above = |floor: f64| -> Vec<(f64, f64)> {
        rungs.iter().map(|r| (r.flop.ln(), (r.bits_per_byte - floor).ln())).collect()
    };
    let plain = line(&above(0.0));
    if plain.spread < 1e-6 {
        return None;
    }
    // what is left of the losses themselves, so that laws with and without a floor compare
    let left = |floor: f64| -> f64 {
        let l = line(&above(floor));
        let miss = |r: &RungReport| {
            let said = floor + (l.middle + l.slope * (r.flop.ln() - l.mean)).exp();
            (said - r.bits_per_byte).powi(2)
        };
        rungs.iter().map(miss).sum()
    };
    let lowest = rungs.iter().map(|r| r.bits_per_byte).fold(f64::INFINITY, f64::min);
    let floors = (1..100).map(|i| lowest * f64::from(i) / 100.0);
    let best = floors.min_by(|a, b| left(*a).total_cmp(&left(*b))).unwrap_or(0.0);
    // told apart: a quarter of what is left without it, and not at an end of what was tried
    let inside = best > 0.015 * lowest && best < 0.975 * lowest;
    let told = rungs.len() >= 4 && inside && left(best) < left(0.0) / 4.0 && line(&above(best)).slope < 0.0;
    let floor = told.then_some(best);
    let l = if told { line(&above(best)) } else { plain };
    let x = flop.ln() - l.mean;
    let at = |y: f64| floor.unwrap_or(0.0) + y.exp();
    let y = l.middle + l.slope * x;
    let free = rungs.len() - 2 - usize::from(told);
    // one degree of freedom gives no interval worth the name
    let interval = (free >= 2).then(|| {
        let n = rungs.len() as f64;
        let wide = T[(free - 1).min(T.len() - 1)]
            * (l.left / free as f64 * (1.0 + 1.0 / n + x * x / l.spread)).sqrt();
        (at(y - wide), at(y + wide))
    });
    Some(LadderReport { rungs, exponent: -l.slope, floor, predicted: at(y), interval, flop, came: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rungs_of(law: impl Fn(f64) -> f64, n: i32) -> Vec<RungReport> {
        let one = |i: i32| {
            let flop = 1e12 * 4f64.powi(i);
            RungReport { depth: i as u64 + 1, parameters: 1, tokens: 1, flop, bits_per_byte: law(flop) }
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn a_law_is_found_again_and_goes_on() {
        let law = |c: f64| 40.0 * c.powf(-0.09);
        for n in [2, 3, 5] {
            let got = fit(rungs_of(law, n), 1e15).unwrap();
            assert!((got.exponent - 0.09).abs() < 1e-9 && got.floor.is_none(), "{got:?}");
            assert!((got.predicted / law(1e15) - 1.0).abs() < 1e-9);
            assert_eq!(got.interval.is_some(), n >= 4);
        }
        let bent = |c: f64| 1.2 + 300.0 * c.powf(-0.2);
        let got = fit(rungs_of(bent, 5), 1e15).unwrap();
        let floor = got.floor.unwrap();
        assert!((floor - 1.2).abs() < 0.05, "{got:?}");
        assert!((got.predicted / bent(1e15) - 1.0).abs() < 0.01, "{got:?}");
        // three points bend in too many ways
        assert_eq!(fit(rungs_of(bent, 3), 1e15).unwrap().floor, None);
    }

    #[test]
    fn noise_widens_the_interval_and_makes_no_floor() {
        let mut rungs = rungs_of(|c| 40.0 * c.powf(-0.09), 5);
        for (r, by) in rungs.iter_mut().zip([1.03, 0.97, 1.02, 0.98, 1.01]) {
            r.bits_per_byte *= by;
        }
        let got = fit(rungs, 1e15).unwrap();
        let (low, high) = got.interval.unwrap();
        let true_one = 40.0 * 1e15f64.powf(-0.09);
        assert!(low < true_one && true_one < high && high / low > 1.05, "{got:?}");
        assert_eq!(got.floor, None, "{got:?}");
    }

    #[test]
    fn what_tells_nothing_gives_no_law() {
        assert!(fit(rungs_of(|_| 2.0, 1), 1e15).is_none());
        assert!(fit(rungs_of(|_| f64::NAN, 3), 1e15).is_none());
        let same = vec![rungs_of(|_| 2.0, 1).remove(0); 3];
        assert!(fit(same, 1e15).is_none());
        assert!(fit(rungs_of(|_| 2.0, 3), 0.0).is_none());
    }

    #[test]
    fn rungs_read_as_much_for_each_parameter() {
        let new = Newborn { depth: 4, ladder: vec![3, 1, 2, 1], tokens: Some(600_000), ..Newborn::default() };
        let shape = plan::shape(&new, 1_200_000, &mut Notes::default());
        let rungs = rungs(&new, &shape, 1_200_000);
        assert_eq!(rungs.iter().map(|r| r.depth).collect::<Vec<_>>(), [1, 2, 3]);
        for rung in &rungs {
            assert!(rung.ladder.is_empty() && rung.vocab == Some(shape.vocab));
            let own = plan::shape(rung, 1_200_000, &mut Notes::default());
            let per = |tokens: usize, shape: &Shape| {
                tokens as f64 / shape.config(true).active_parameters(true) as f64
            };
            let (a, b) = (per(rung.tokens.unwrap(), &own), per(600_000, &shape));
            assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
        }
    }
}
