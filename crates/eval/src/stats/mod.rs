//! Statistics of exams: intervals, paired tests, classification figures.
//!
//! All intervals are 95 %, all tests two-sided. Everything that draws random numbers takes its seed from
//! [`Bootstrap`], so the same results give the same figures on every machine.

mod bootstrap;
mod calibration;
mod classification;
mod mcnemar;
mod power;
mod student;
mod wilson;

use serde::{Deserialize, Serialize};

pub(crate) use bootstrap::finite;
pub use bootstrap::{Bootstrap, PairedMean};
pub use calibration::{Calibration, CalibrationBin, DEFAULT_BINS, calibration};
pub use classification::{Confusion, ConfusionMatrix, LabelScore};
pub use mcnemar::mcnemar_exact;
pub use power::{INDEPENDENT_DISCORDANT_RATE, minimum_detectable};
pub use student::mean_of_runs;
pub use wilson::wilson;

/// 97.5 % quantile of the standard normal distribution: the half-width of a two-sided 95 % interval.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the interval lies wholly above `value`.
    pub fn above(&self, value: f64) -> bool {
        self.low > value
    }

    /// Whether the interval lies wholly below `value`.
    pub fn below(&self, value: f64) -> bool {
        self.high < value
    }
}
