//! The losses as functions of log-probabilities, with their derivatives. Everything else is plumbing.

use super::{DpoLoss, Preference, PreferenceMethod};

/// An answer as its losses see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Log-probability of all its tokens together, nats.
    pub logp: f64,
    /// The same by the base; 0 where the method has no reference.
    pub reference: f64,
    /// Its tokens.
    pub tokens: usize,
}

impl Answer {
    fn ratio(&self) -> f64 {
        self.logp - self.reference
    }

    fn each(&self) -> f64 {
        self.tokens.max(1) as f64
    }

    /// Log-probability per token; below zero, so that odds are finite.
    fn mean(&self) -> f64 {
        (self.logp / self.each()).min(-1e-9)
    }
}

/// The loss of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// Its value, without the likelihood term.
    pub value: f64,
    /// Its derivatives by the log-probability of the better and of the worse answer.
    pub slopes: [f64; 2],
    /// Rewards of the better and of the worse answer.
    pub rewards: [f64; 2],
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `-log σ(x)`.
fn softplus_of_minus(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `-(1 - ε) log σ(x) - ε log σ(-x)` and its derivative.
fn smoothed(x: f64, epsilon: f64) -> (f64, f64) {
    let value = (1.0 - epsilon) * softplus_of_minus(x) + epsilon * softplus_of_minus(-x);
    (value, epsilon * sigmoid(x) - (1.0 - epsilon) * sigmoid(-x))
}

/// The loss of a better and a worse answer.
pub fn pair_loss(p: &Preference, chosen: &Answer, rejected: &Answer) -> PairLoss {
    let (beta, epsilon) = (p.beta, p.label_smoothing);
    match p.method {
        PreferenceMethod::Reward => ranking_loss(p, chosen.logp, rejected.logp),
        PreferenceMethod::Orpo => {
            let (c, r) = (chosen.mean(), rejected.mean());
            // log odds: log p - log (1 - p) with p = e^mean
            let log_rest = |x: f64| (-x.exp_m1()).ln();
            let odds = (c - log_rest(c)) - (r - log_rest(r));
            let slope = -beta * sigmoid(-odds);
            PairLoss {
                value: beta * softplus_of_minus(odds),
                slopes: [slope / -c.exp_m1() / chosen.each(), -slope / -r.exp_m1() / rejected.each()],
                rewards: [beta * c, beta * r],
            }
        }
        PreferenceMethod::Simpo => {
            let (c, r) = (chosen.logp / chosen.each(), rejected.logp / rejected.each());
            let (value, slope) = smoothed(beta * (c - r) - p.gamma, epsilon);
            let slope = beta * slope;
            PairLoss {
                value,
                slopes: [slope / chosen.each(), -slope / rejected.each()],
                rewards: [beta * c, beta * r],
            }
        }
        PreferenceMethod::Dpo | PreferenceMethod::Kto => {
            let (c, r) = (chosen.ratio(), rejected.ratio());
            let rewards = [beta * c, beta * r];
            let x = beta * (c - r);
            let even = |(value, slope): (f64, f64)| (value, [beta * slope, -beta * slope]);
            let (value, slopes) = match p.loss {
                DpoLoss::Sigmoid => even(smoothed(x, epsilon)),
                DpoLoss::Hinge => even(((1.0 - x).max(0.0), if x < 1.0 { -1.0 } else { 0.0 })),
                DpoLoss::Robust => {
                    let scale = 1.0 / (1.0 - 2.0 * epsilon);
                    let value = (1.0 - epsilon) * softplus_of_minus(x) - epsilon * softplus_of_minus(-x);
                    let slope = -(1.0 - epsilon) * sigmoid(-x) - epsilon * sigmoid(x);
                    even((scale * value, scale * slope))
                }
                DpoLoss::Ipo => {
                    let off = c / chosen.each() - r / rejected.each() - 1.0 / (2.0 * beta);
                    (off * off, [2.0 * off / chosen.each(), -2.0 * off / rejected.each()])
                }
            };
            PairLoss { value, slopes, rewards }
        }
    }
}

/// The loss of a reward model on what its head read of a better and a worse answer.
pub fn ranking_loss(p: &Preference, chosen: f64, rejected: f64) -> PairLoss {
    let (value, slope) = smoothed(chosen - rejected, 0.0);
    let sum = chosen + rejected;
    let pull = 2.0 * p.center * sum;
    PairLoss {
        value: value + p.center * sum * sum,
        slopes: [slope + pull, pull - slope],
        rewards: [chosen, rejected],
    }
}

/// KTO's loss of one judged answer at an estimated divergence `kl`: `(value, derivative, reward)`.
pub fn judged_loss(p: &Preference, answer: &Answer, good: bool, kl: f64) -> (f64, f64, f64) {
    let (weight, sign) = if good { (p.desirable, 1.0) } else { (p.undesirable, -1.0) };
    let s = sigmoid(sign * p.beta * (answer.ratio() - kl));
    (weight * (1.0 - s), -weight * sign * p.beta * s * (1.0 - s), p.beta * answer.ratio())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(logp: f64, reference: f64, tokens: usize) -> Answer {
        Answer { logp, reference, tokens }
    }

    fn all() -> Vec<Preference> {
        let mut out = Vec::new();
        for label_smoothing in [0.0, 0.2] {
            for loss in [DpoLoss::Sigmoid, DpoLoss::Hinge, DpoLoss::Ipo, DpoLoss::Robust] {
                out.push(Preference { loss, label_smoothing, ..Preference::default() });
            }
            out.push(Preference { method: PreferenceMethod::Reward, ..Preference::default() });
            for method in [PreferenceMethod::Orpo, PreferenceMethod::Simpo] {
                out.push(Preference { method, label_smoothing, beta: 0.7, ..Preference::default() });
            }
        }
        out
    }

    #[test]
    fn slopes_equal_differences() {
        let h = 1e-5;
        for p in all() {
            for (c, r) in [
                (answer(-20.0, -22.0, 9), answer(-31.0, -30.0, 14)),
                (answer(-3.0, -2.0, 4), answer(-1.0, -2.5, 2)),
                (answer(-0.4, -0.1, 40), answer(-200.0, -150.0, 33)),
            ] {
                let at = |dc: f64, dr: f64| {
                    let (mut c, mut r) = (c, r);
                    c.logp += dc;
                    r.logp += dr;
                    pair_loss(&p, &c, &r).value
                };
                let got = pair_loss(&p, &c, &r);
                let want = [(at(h, 0.0) - at(-h, 0.0)) / (2.0 * h), (at(0.0, h) - at(0.0, -h)) / (2.0 * h)];
                for (g, w) in got.slopes.iter().zip(want) {
                    assert!((g - w).abs() < 1e-6 * (1.0 + w.abs()), "{p:?}: {g}, by differences {w}");
                }
                assert!(
                    got.slopes[0] <= 0.0 && got.slopes[1] >= 0.0
                        || p.label_smoothing > 0.0
                        || p.loss == DpoLoss::Ipo
                );
            }
        }
        for good in [true, false] {
            let p = Preference { method: PreferenceMethod::Kto, undesirable: 1.3, ..Preference::default() };
            let at = |d: f64| judged_loss(&p, &answer(-12.0 + d, -11.0, 5), good, 0.4).0;
            let want = (at(h) - at(-h)) / (2.0 * h);
            let got = judged_loss(&p, &answer(-12.0, -11.0, 5), good, 0.4).1;
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        }
    }

    #[test]
    fn extremes_stay_numbers() {
        for p in all() {
            for (c, r) in [
                (answer(0.0, -1e5, 1), answer(-1e6, 0.0, 1)),
                (answer(-1e6, 0.0, 1), answer(0.0, -1e6, 1)),
                (answer(-1e-7, 0.0, 3), answer(-1e-7, 0.0, 3)),
                (answer(0.0, 0.0, 0), answer(0.0, 0.0, 0)),
            ] {
                let l = pair_loss(&p, &c, &r);
                let all = [l.value, l.slopes[0], l.slopes[1], l.rewards[0], l.rewards[1]];
                assert!(all.iter().all(|v| v.is_finite()), "{p:?}: {l:?}");
            }
        }
        // at the base itself: no margin yet
        let l = pair_loss(&Preference::default(), &answer(-5.0, -5.0, 3), &answer(-9.0, -9.0, 3));
        assert!((l.value - 2f64.ln()).abs() < 1e-12 && l.rewards == [0.0, 0.0]);
        assert!((l.slopes[0] + 0.05).abs() < 1e-12);
    }
}
