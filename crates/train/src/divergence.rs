//! Whether the loss climbs instead of falling.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// When a run counts as diverging, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Divergence {
    /// Steps over which the loss is averaged.
    pub window: usize,
    /// Nats by which the average may stand above the lowest one so far.
    pub rise: f64,
    /// What to do.
    pub action: OnDivergence,
}

impl Default for Divergence {
    /// One nat over 20 steps: far outside the noise of a run that learns. A warning.
    fn default() -> Self {
        Divergence { window: 20, rise: 1.0, action: OnDivergence::Warn }
    }
}

/// What to do when the loss climbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDivergence {
    /// Mark the step's metrics and add a warning to the outcome.
    #[default]
    Warn,
    /// End the run with an error.
    Stop,
    /// Do not look.
    Off,
}

/// The losses seen, as far as they matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LossWatch {
    pub(crate) recent: VecDeque<f64>,
    /// lowest average over a window so far
    pub(crate) best: Option<f64>,
}

impl LossWatch {
    /// Takes a step's loss; gives the average of the window where it stands too high.
    pub(crate) fn see(&mut self, settings: &Divergence, loss: f64) -> Option<f64> {
        if settings.action == OnDivergence::Off || settings.window == 0 {
            return None;
        }
        self.recent.push_back(loss);
        while self.recent.len() > settings.window {
            self.recent.pop_front();
        }
        if self.recent.len() < settings.window {
            return None;
        }
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let best = self.best.map_or(mean, |best| best.min(mean));
        self.best = Some(best);
        (mean > best + settings.rise).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_alarm(settings: Divergence, losses: impl Iterator<Item = f64>) -> Option<usize> {
        let mut watch = LossWatch::default();
        losses.enumerate().find_map(|(at, loss)| watch.see(&settings, loss).map(|_| at))
    }

    #[test]
    fn climbing_is_seen_and_noise_is_not() {
        let settings = Divergence { window: 4, rise: 0.5, action: OnDivergence::Warn };
        let noisy = (0..200).map(|i| 3.0 - 0.01 * f64::from(i) + if i % 2 == 0 { 0.9 } else { -0.9 });
        assert_eq!(first_alarm(settings, noisy), None);
        let climbing = (0..40).map(|i| if i < 20 { 2.0 } else { 2.0 + 0.2 * f64::from(i - 20) });
        // the mean over steps 22..=25 is 2.7, over 21..=24 only 2.5
        assert_eq!(first_alarm(settings, climbing.clone()), Some(25));
        assert_eq!(first_alarm(Divergence { action: OnDivergence::Off, ..settings }, climbing), None);
    }
}
