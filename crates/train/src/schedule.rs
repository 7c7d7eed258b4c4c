//! The learning rate of each step: a pure function of the step's number.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Along half a cosine towards zero (Loshchilov & Hutter 2017, without restarts).
    #[default]
    Cosine,
    /// In a straight line towards zero.
    Linear,
    /// Not at all.
    Constant,
    /// Not at all, then over the last fifth of the run towards zero as one less the root of the way (warm-up, stable,
    /// decay: Hu et al. 2024; the form of the end: Hägele et al. 2024).
    Wsd,
}

impl Schedule {
    /// The factor on the peak rate in step `step` of `total`, both from 1.
    ///
    /// The warm-up rises in a straight line: step `s` of `warmup` has `s / (warmup + 1)`, so that already the first
    /// step learns and step `warmup + 1` is the first at the peak. The fall would reach zero one step behind the
    /// end: no step is wasted on a rate of zero.
    ///
    /// ```
    /// use nurture_train::Schedule;
    /// assert_eq!(Schedule::Linear.factor(1, 12, 3), 0.25);
    /// assert_eq!(Schedule::Linear.factor(4, 12, 3), 1.0);
    /// assert_eq!(Schedule::Constant.factor(12, 12, 3), 1.0);
    /// ```
    pub fn factor(self, step: u64, total: u64, warmup: u64) -> f64 {
        if step <= warmup {
            return step as f64 / (warmup + 1) as f64;
        }
        let falling = total.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - 1 - warmup) as f64 / falling).min(1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Wsd => {
                // whole steps: the last fifth, at least one
                let end = (total / 5).max(1).min(total.saturating_sub(warmup).max(1));
                let into = (step + end).saturating_sub(total + 1) as f64;
                if step + end > total { 1.0 - (into / end as f64).min(1.0).sqrt() } else { 1.0 }
            }
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(schedule: Schedule, total: u64, warmup: u64) -> Vec<f64> {
        (1..=total).map(|step| schedule.factor(step, total, warmup)).collect()
    }

    #[test]
    fn values() {
        assert_eq!(all(Schedule::Linear, 7, 3), [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]);
        assert_eq!(all(Schedule::Constant, 4, 1), [0.5, 1.0, 1.0, 1.0]);
        // ten steps, two of them the end: the first of these still at the peak
        let half = 1.0 - 0.5f64.sqrt();
        assert_eq!(all(Schedule::Wsd, 10, 1), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, half]);
        let want = [1.0, (2.0 + 2f64.sqrt()) / 4.0, 0.5, (2.0 - 2f64.sqrt()) / 4.0];
        for (got, want) in all(Schedule::Cosine, 4, 0).iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
    }

    #[test]
    fn no_step_learns_nothing_and_odd_numbers_are_harmless() {
        for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant, Schedule::Wsd] {
            for (total, warmup) in [(1, 0), (1, 1), (1, 5), (30, 30), (30, 2)] {
                let rates = all(schedule, total, warmup);
                assert!(
                    rates.iter().all(|r| *r > 0.0 && *r <= 1.0),
                    "{schedule:?} {total} {warmup}: {rates:?}"
                );
            }
            // beyond the end, which a caller may ask for to draw a curve
            assert!((0.0..=1.0).contains(&schedule.factor(99, 10, 2)));
        }
    }
}
