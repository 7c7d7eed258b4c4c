//! Probabilities that can be believed: temperature scaling (Guo et al. 2017, "On calibration of modern neural networks").

/// The temperature that makes a model's probabilities of answers agree with how often they are right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature(pub f64);

impl Temperature {
    /// The temperature with the least mean negative log-likelihood of the right answers. `items`: log-probabilities of the
    /// answers, and which one is right (an index into them; items whose right answer is not there count for nothing). 1 where there
    /// is no item.
    pub fn fit(items: &[(Vec<f64>, usize)]) -> Temperature {
        // convex in the inverse temperature: golden section
        let loss = |inverse: f64| -> f64 {
            let of = |(logs, right): &(Vec<f64>, usize)| {
                logs.get(*right).map(|l| log_sum(logs, inverse) - inverse * l)
            };
            items.iter().filter_map(of).sum()
        };
        if items.iter().all(|(logs, right)| logs.get(*right).is_none()) {
            return Temperature(1.0);
        }
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (0.01f64, 20.0f64);
        while high - low > 1e-6 {
            let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
            if loss(a) <= loss(b) { high = b } else { low = a }
        }
        Temperature(2.0 / (low + high))
    }

    /// Probabilities of answers at this temperature; they add up to 1.
    pub fn probabilities(self, logs: &[f64]) -> Vec<f64> {
        let sum = log_sum(logs, 1.0 / self.0);
        logs.iter().map(|l| (l / self.0 - sum).exp()).collect()
    }
}

/// `ln Σ e^(inverse · l)`.
fn log_sum(logs: &[f64], inverse: f64) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|l| (inverse * (l - top)).exp()).sum();
    inverse * top + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;

    #[test]
    fn a_known_temperature_is_found_again() {
        let mut rng = Rng::new(3);
        for truth in [0.5, 1.0, 2.5] {
            let items: Vec<(Vec<f64>, usize)> = (0..20_000)
                .map(|_| {
                    let logs: Vec<f64> = (0..5).map(|_| -4.0 * rng.uniform()).collect();
                    // the right answer is drawn as the truth has it
                    let p = Temperature(truth).probabilities(&logs);
                    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    let mut u = rng.uniform();
                    let right = p.iter().position(|p| {
                        u -= p;
                        u < 0.0
                    });
                    (logs, right.unwrap_or(4))
                })
                .collect();
            let found = Temperature::fit(&items).0;
            assert!((found / truth - 1.0).abs() < 0.08, "{found} instead of {truth}");
        }
        assert_eq!(Temperature::fit(&[]), Temperature(1.0));
        assert_eq!(Temperature::fit(&[(vec![-1.0], 3)]), Temperature(1.0));
    }
}
