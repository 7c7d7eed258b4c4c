//! From advantages and log-probabilities to the gradient: the losses of the family, token by token.
//!
//! With the ratio `c = exp(logp − old)` and the advantage `A` a token (for RLOO a whole answer) costs
//! `−min(c · A, clip(c, 1 − low, 1 + high) · A)` (Schulman et al. 2017), and, where the policy is held to its base,
//! `kl · (exp(ref − logp) − (ref − logp) − 1)`, an estimate of the divergence that is never negative. RLOO takes the
//! divergence off the reward instead, and PPO off the reward of each token; PPO's advantages are those of the tokens, and its value
//! is learnt beside ([`super::critic`]).

use super::critic::value_loss;
use super::{Credit, PolicyLoss, Reinforce};
use crate::deferred::{Found, Objective, Reads};
use nurture_model::ScoreOptions;

/// An answer as the objective sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// How much better than its group it was.
    pub advantage: f64,
    /// Log-probability of each of its tokens when it was spoken.
    pub old: Vec<f32>,
    /// The same by the base; empty where the policy is not held to it.
    pub base: Vec<f32>,
    /// PPO: what is known of each of its tokens.
    pub credits: Vec<Credit>,
}

/// What came out beside the gradient, summed over tokens (RLOO: answers for what is clipped).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tokens looked at.
    pub tokens: f64,
    /// Tokens (RLOO: answers) whose gradient the clip took away.
    pub clipped: f64,
    /// What `clipped` is a share of.
    pub of: f64,
    /// Estimated divergence from the base, nats.
    pub kl: f64,
    /// PPO: half the squared errors of the values.
    pub value: f64,
}

/// The objective of a round. Answers stand in packs; their numbers are indices into `trials`.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    how: &'a Reinforce,
    trials: &'a [Trial],
    packs: &'a [Vec<usize>],
    /// answers of the round, those that are not learnt from included
    answers: f64,
    /// tokens of the round that may be learnt from
    tokens: f64,
    /// What came out so far.
    pub stats: Stats,
}

impl<'a> Policy<'a> {
    /// An objective over `answers` answers with `tokens` tokens in all, of which `packs` hold those that are learnt from.
    pub fn new(
        how: &'a Reinforce,
        trials: &'a [Trial],
        packs: &'a [Vec<usize>],
        answers: usize,
        tokens: usize,
    ) -> Policy<'a> {
        let (answers, tokens) = (answers.max(1) as f64, tokens.max(1) as f64);
        Policy { how, trials, packs, answers, tokens, stats: Stats::default() }
    }

    /// Value of one answer's loss; its derivatives go to `factors`.
    fn answer(&mut self, trial: &Trial, logp: &[f32], factors: &mut [f32]) -> f64 {
        let how = self.how;
        if how.loss == PolicyLoss::Rloo {
            return self.whole(trial, logp, factors);
        }
        let share = match how.loss {
            PolicyLoss::DrGrpo => 1.0 / (self.answers * how.max_new as f64),
            PolicyLoss::Dapo | PolicyLoss::Ppo => 1.0 / self.tokens,
            _ => 1.0 / (self.answers * logp.len().max(1) as f64),
        };
        let mut value = 0.0;
        for (i, (&logp, factor)) in logp.iter().zip(factors).enumerate() {
            let logp = f64::from(logp);
            let old = trial.old.get(i).map_or(logp, |&o| f64::from(o));
            let advantage = trial.credits.get(i).map_or(trial.advantage, |c| c.advantage);
            let (mut loss, mut slope, clipped) = clip(how, (logp - old).exp(), advantage);
            if let Some(&base) = trial.base.get(i) {
                let apart = f64::from(base) - logp;
                let kl = apart.exp() - apart - 1.0;
                self.stats.kl += kl;
                if !how.loss.charges() {
                    loss += how.kl * kl;
                    slope += how.kl * (1.0 - apart.exp());
                }
            }
            self.stats.clipped += f64::from(u8::from(clipped));
            self.stats.of += 1.0;
            value += share * loss;
            *factor = (share * slope) as f32;
        }
        self.stats.tokens += logp.len() as f64;
        value
    }

    /// The same where the ratio is that of the whole answer.
    fn whole(&mut self, trial: &Trial, logp: &[f32], factors: &mut [f32]) -> f64 {
        let sum = |all: &[f32]| all.iter().map(|&l| f64::from(l)).sum::<f64>();
        let (loss, slope, clipped) = clip(self.how, (sum(logp) - sum(&trial.old)).exp(), trial.advantage);
        factors.fill((slope / self.answers) as f32);
        self.stats.clipped += f64::from(u8::from(clipped));
        self.stats.of += 1.0;
        self.stats.tokens += logp.len() as f64;
        for (&logp, &base) in logp.iter().zip(&trial.base) {
            let apart = f64::from(base) - f64::from(logp);
            self.stats.kl += apart.exp() - apart - 1.0;
        }
        loss / self.answers
    }
}

/// Loss, its derivative by the log-probability, and whether the clip took that away.
fn clip(how: &Reinforce, ratio: f64, advantage: f64) -> (f64, f64, bool) {
    let bounded = ratio.clamp(1.0 - how.clip_low, 1.0 + how.clip_high);
    let (free, held) = (ratio * advantage, bounded * advantage);
    match free <= held {
        true => (-free, -free, false),
        false => (-held, 0.0, true),
    }
}

impl Objective for Policy<'_> {
    fn options(&self) -> ScoreOptions {
        self.how.score_options()
    }

    fn weigh(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        let (trials, packs) = (self.trials, self.packs);
        let numbers = packs.get(pack).map_or(&[][..], |p| &p[..]);
        let mut value = 0.0;
        for ((number, logp), factors) in numbers.iter().zip(&found.logp).zip(factors) {
            if let Some(trial) = trials.get(*number) {
                value += self.answer(trial, logp, factors);
            }
        }
        value
    }

    fn reads(&self) -> Reads {
        if self.how.loss == PolicyLoss::Ppo { Reads::Tokens } else { Reads::Nothing }
    }

    fn weigh_values(&mut self, pack: usize, values: &[Vec<f32>], factors: &mut [Vec<f32>]) -> f64 {
        let (trials, packs) = (self.trials, self.packs);
        let numbers = packs.get(pack).map_or(&[][..], |p| &p[..]);
        let critic = &self.how.critic;
        let share = critic.weight / self.tokens;
        let mut value = 0.0;
        for ((number, values), factors) in numbers.iter().zip(values).zip(factors) {
            let credits = trials.get(*number).map_or(&[][..], |t| &t.credits[..]);
            for ((credit, &v), factor) in credits.iter().zip(values).zip(factors) {
                let (loss, slope) = value_loss(critic, credit, f64::from(v));
                self.stats.value += loss;
                value += share * loss;
                *factor = (share * slope) as f32;
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of finite differences agrees with the factors, inside and outside the clip.
    #[test]
    fn factors_are_derivatives() {
        let logp = vec![vec![-1.0f32, -2.0, -0.3], vec![-0.7f32, -1.1]];
        let trials = [
            Trial {
                advantage: 1.5,
                old: vec![-1.1, -2.6, -0.3],
                base: vec![-1.2, -1.9, -0.5],
                credits: Vec::new(),
            },
            Trial { advantage: -0.5, old: vec![-0.3, -1.4], base: vec![-0.9, -1.0], credits: Vec::new() },
        ];
        let packs = [vec![0, 1]];
        for loss in
            [PolicyLoss::Grpo, PolicyLoss::DrGrpo, PolicyLoss::Dapo, PolicyLoss::Rloo, PolicyLoss::Ppo]
        {
            let kl = if loss.charges() { 0.0 } else { 0.3 };
            let how = Reinforce { loss, kl, clip_high: 0.28, max_new: 4, ..Reinforce::default() };
            let at = |logp: &[Vec<f32>]| {
                let mut policy = Policy::new(&how, &trials, &packs, 2, 5);
                let found = Found { logp: logp.to_vec(), entropy: Vec::new() };
                let mut factors = found.zeros();
                (policy.weigh(0, &found, &mut factors), factors, policy.stats)
            };
            let (_, factors, stats) = at(&logp);
            assert!(stats.clipped > 0.0 && stats.clipped < stats.of, "{loss:?}: {stats:?}");
            for s in 0..logp.len() {
                for t in 0..logp[s].len() {
                    let moved = |by: f32| {
                        let mut logp = logp.clone();
                        logp[s][t] += by;
                        (at(&logp).0, logp[s][t])
                    };
                    let ((up, a), (down, b)) = (moved(1e-3), moved(-1e-3));
                    let slope = (up - down) / f64::from(a - b);
                    let got = f64::from(factors[s][t]);
                    assert!((slope - got).abs() < 1e-4 + 2e-3 * got.abs(), "{loss:?} {s} {t}: {slope} {got}");
                }
            }
        }
    }
}
