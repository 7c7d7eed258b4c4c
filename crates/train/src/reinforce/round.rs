//! A round: answers, marks, the journal, advantages, and the steps of the optimiser.

use super::advantage::{advantages, spread};
use super::critic::{Credit, credits, whiten};
use super::journal::{Journal, Line};
use super::objective::{Policy, Stats, Trial};
use super::rollout::{Rollout, sample};
use super::{Overlong, PolicyLoss, Reinforce};
use crate::config::TrainConfig;
use crate::deferred::Reads;
use crate::error::TrainError;
use crate::learner::{Learner, Update};
use crate::metrics::RewardMetrics;
use nurture_data::{BatchPlan, PlanConfig, TokenExample, stream};
use nurture_infer::engine::Loaded;
use nurture_model::{Cpu, Decoder};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// An answer to be marked.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Index of its prompt among the run's examples.
    pub prompt: usize,
    /// Its tokens, without the one that ended it.
    pub tokens: &'a [u32],
    /// The token that ended it; `None`: it was cut off.
    pub end: Option<u32>,
}

/// What an answer is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grade {
    /// What the policy is trained on.
    pub reward: f64,
    /// The strict look at it.
    pub strict: f64,
    /// The lenient look at it.
    pub lenient: f64,
    /// Strict and lenient score by each rule.
    pub scores: Vec<(f64, f64)>,
    /// The answer as a text, for the journal.
    pub text: String,
}

/// Marks answers.
pub trait Grader {
    /// The grades of these answers, in their order.
    ///
    /// # Errors
    /// Whatever keeps it from marking. A wrong answer is no error.
    fn grade(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Grade>, Box<dyn Error + Send + Sync>>;
}

/// What a run needs for practice beside its settings: a share of network and processor for the engine, and who marks.
#[allow(missing_debug_implementations)] // a grader has nothing to show
pub struct Practice<'a> {
    /// The base, shared.
    pub model: Arc<Decoder>,
    /// The processor, shared.
    pub cpu: Arc<Cpu>,
    /// Tokens that end an answer.
    pub stops: Vec<u32>,
    /// Marks the answers.
    pub grader: Box<dyn Grader + 'a>,
}

/// Practice under way.
pub(crate) struct Rounds<'a> {
    practice: Practice<'a>,
    journal: Journal,
}

impl std::fmt::Debug for Rounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rounds({:?})", self.journal)
    }
}

impl<'a> Rounds<'a> {
    pub(crate) fn open(
        practice: Practice<'a>,
        folder: &Path,
        run: &str,
        steps: u64,
    ) -> Result<Rounds<'a>, TrainError> {
        Ok(Rounds { practice, journal: Journal::open(folder, run, steps)? })
    }

    /// Step `step` (from 1) on these prompts, each with its index among the run's examples.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn step(
        &mut self,
        learner: &mut Learner<'_>,
        config: &TrainConfig,
        how: &Reinforce,
        step: u64,
        rate: f64,
        prompts: &[(usize, &TokenExample)],
        keep: &[(usize, &[u32])],
    ) -> Result<(Update, RewardMetrics), TrainError> {
        let lines = self.answers(learner, config, how, step, prompts)?;
        let mut rewards: Vec<f64> = lines.iter().map(|l| reward(how, l)).collect();
        // the answers as examples, and what the objective must know of each
        let of = |l: &Line| prompts.iter().find(|p| p.0 == l.prompt).map(|p| p.1);
        let examples: Vec<TokenExample> = lines
            .iter()
            .filter_map(|l| {
                let mut tokens = of(l)?.tokens.clone();
                let mut trained = vec![false; tokens.len()];
                tokens.extend(&l.tokens);
                trained.resize(tokens.len(), true);
                Some(TokenExample { id: format!("{} ({})", l.id, l.sample + 1), source: 0, tokens, trained })
            })
            .collect();
        let masked = |l: &Line| how.overlong == Overlong::Mask && !l.ended;
        let all: Vec<usize> = (0..lines.len()).filter(|&i| !masked(&lines[i])).collect();
        let mut base: Vec<Vec<f32>> = vec![Vec::new(); lines.len()];
        if how.kl > 0.0 {
            for pack in packs(config, step, &examples, &all)? {
                let these: Vec<&TokenExample> = pack.iter().map(|&i| &examples[i]).collect();
                let found = learner.score(config, &these, true, how.score_options())?;
                for (&i, logp) in pack.iter().zip(found.logp) {
                    base[i] = logp;
                }
            }
        }
        if how.loss == PolicyLoss::Rloo {
            for ((reward, l), base) in rewards.iter_mut().zip(&lines).zip(&base) {
                let apart = l.logp.iter().zip(base).map(|(&o, &b)| f64::from(o) - f64::from(b));
                *reward -= how.kl * apart.sum::<f64>();
            }
        }
        let mut credits = vec![Vec::new(); lines.len()];
        if how.loss == PolicyLoss::Ppo {
            for pack in packs(config, step, &examples, &all)? {
                let these: Vec<&TokenExample> = pack.iter().map(|&i| &examples[i]).collect();
                let values = learner.read(config, &these, Reads::Tokens)?;
                for (&i, values) in pack.iter().zip(&values) {
                    credits[i] = credit(how, &lines[i], rewards[i], &base[i], values);
                }
            }
        }
        let trust = explained(&credits);
        whiten(&mut credits);
        let advantages = advantages(how, &rewards);
        let trials: Vec<Trial> = lines
            .iter()
            .zip(advantages)
            .zip(base)
            .zip(credits)
            .map(|(((l, advantage), base), credits)| Trial { advantage, old: l.logp.clone(), base, credits })
            .collect();

        // what is no better and no worse than its group has no gradient, unless it is held to the base or to a value
        let held = how.loss == PolicyLoss::Ppo || how.kl > 0.0 && !how.loss.charges();
        let chosen: Vec<usize> =
            all.iter().copied().filter(|&i| held || trials[i].advantage != 0.0).collect();
        let tokens: usize = all.iter().map(|&i| lines[i].tokens.len()).sum();
        let mut stats = Stats::default();
        let mut update: Option<Update> = None;
        if !chosen.is_empty() {
            let packs = packs(config, step, &examples, &chosen)?;
            let these: Vec<Vec<&TokenExample>> =
                packs.iter().map(|p| p.iter().map(|&i| &examples[i]).collect()).collect();
            for inner in 0..how.inner as u64 {
                let number = (step - 1) * how.inner as u64 + inner + 1;
                let mut policy = Policy::new(how, &trials, &packs, lines.len(), tokens);
                let done = learner.update_deferred(config, number, rate, &these, keep, &mut policy);
                let done = match done {
                    // every answer has left the clip, or all came as their values said: nothing more is to be had
                    Err(TrainError::ZeroGradient { .. }) if inner > 0 || how.loss == PolicyLoss::Ppo => break,
                    done => done?,
                };
                let s = policy.stats;
                stats.tokens += s.tokens;
                stats.clipped += s.clipped;
                stats.of += s.of;
                stats.kl += s.kl;
                stats.value += s.value;
                update = Some(match update {
                    None => done,
                    Some(before) => Update {
                        tokens: before.tokens + done.tokens,
                        trained_tokens: before.trained_tokens + done.trained_tokens,
                        computed_tokens: before.computed_tokens + done.computed_tokens,
                        ..done
                    },
                });
            }
        }
        let metrics = RewardMetrics { explained: trust, ..summary(how, &lines, &rewards, &stats) };
        let nothing = Update {
            preferred: None,
            loss: 0.0,
            keep: None,
            grad_norm: 0.0,
            tokens: 0,
            trained_tokens: 0,
            computed_tokens: 0,
        };
        Ok((update.unwrap_or(nothing), metrics))
    }

    /// The answers of a round with their marks, written down.
    fn answers(
        &mut self,
        learner: &Learner<'_>,
        config: &TrainConfig,
        how: &Reinforce,
        step: u64,
        prompts: &[(usize, &TokenExample)],
    ) -> Result<Vec<Line>, TrainError> {
        let want = |lines: &[Line]| {
            let places = prompts.iter().flat_map(|p| (0..how.samples).map(|s| (p.0, s)));
            lines.iter().map(|l| (l.prompt, l.sample)).eq(places)
        };
        if let Some(lines) = self.journal.take(step).filter(|lines| want(lines)) {
            return finite(step, lines);
        }
        let asked: Vec<(&[u32], Vec<u64>)> = prompts
            .iter()
            .map(|(index, e)| {
                let seeds = (0..how.samples as u64)
                    .map(|s| stream(config.seed, &format!("rollout {step} {index}"), s).next_u64());
                (&e.tokens[..], seeds.collect())
            })
            .collect();
        let failed = |source: Box<dyn Error + Send + Sync>| TrainError::Practice { step, source };
        let adapter;
        let (model, adapter) = match learner.shared_network() {
            Some(network) => (network, None),
            None => {
                adapter = Loaded::new("policy", learner.adapter().clone());
                (self.practice.model.clone(), Some(&adapter))
            }
        };
        let rollouts: Vec<Rollout> =
            sample(&model, &self.practice.cpu, adapter, how, &self.practice.stops, &asked)
                .map_err(|why| failed(why.into()))?;
        drop(model);
        let places: Vec<(usize, &TokenExample, usize)> =
            prompts.iter().flat_map(|p| (0..how.samples).map(|s| (p.0, p.1, s))).collect();
        let attempts: Vec<Attempt<'_>> = rollouts
            .iter()
            .zip(&places)
            .map(|(r, place)| {
                let tokens = &r.tokens[..r.tokens.len() - usize::from(r.ended)];
                let end = r.tokens.last().copied().filter(|_| r.ended);
                Attempt { prompt: place.0, tokens, end }
            })
            .collect();
        let grades = self.practice.grader.grade(&attempts).map_err(failed)?;
        if grades.len() != rollouts.len() {
            let why = format!("{} grades for {} answers", grades.len(), rollouts.len());
            return Err(failed(why.into()));
        }
        let of = rollouts.len();
        let lines: Vec<Line> = rollouts
            .into_iter()
            .zip(grades)
            .zip(&places)
            .map(|((r, g), &(prompt, example, sample))| Line {
                step,
                prompt,
                sample,
                of,
                id: example.id.clone(),
                reward: g.reward,
                strict: g.strict,
                lenient: g.lenient,
                scores: g.scores,
                ended: r.ended,
                text: g.text,
                tokens: r.tokens,
                logp: r.logp,
            })
            .collect();
        let lines = finite(step, lines)?;
        self.journal.append(&lines)?;
        Ok(lines)
    }
}

/// Rewards must be numbers.
fn finite(step: u64, lines: Vec<Line>) -> Result<Vec<Line>, TrainError> {
    match lines.iter().find(|l| !l.reward.is_finite()) {
        Some(l) => {
            let why = format!("the reward of answer {} to {} is {}", l.sample + 1, l.id, l.reward);
            Err(TrainError::Practice { step, source: why.into() })
        }
        None => Ok(lines),
    }
}

/// The credits of an answer: its reward stands at its end, and each token pays for its divergence from the base.
fn credit(how: &Reinforce, line: &Line, reward: f64, base: &[f32], values: &[f32]) -> Vec<Credit> {
    let mut rewards: Vec<f64> = (0..line.logp.len())
        .map(|i| match (line.logp.get(i), base.get(i)) {
            (Some(&own), Some(&base)) => how.kl * (f64::from(base) - f64::from(own)),
            _ => 0.0,
        })
        .collect();
    if let Some(last) = rewards.last_mut() {
        *last += reward;
    }
    credits(&how.critic, &rewards, values)
}

/// Share of the targets' variance that the values knew beforehand; below 0 where they mislead. `None` where targets are alike.
fn explained(round: &[Vec<Credit>]) -> Option<f64> {
    let variance = |of: &dyn Fn(&Credit) -> f64| {
        let n = round.iter().flatten().count().max(1) as f64;
        let mean = round.iter().flatten().map(of).sum::<f64>() / n;
        round.iter().flatten().map(|c| (of(c) - mean).powi(2)).sum::<f64>() / n
    };
    let all = variance(&|c| c.target);
    (all > 1e-12).then(|| 1.0 - variance(&|c| c.target - c.value) / all)
}

/// What counts: the reward, less what an over-long answer loses.
fn reward(how: &Reinforce, l: &Line) -> f64 {
    let room = (how.max_new / 5).max(1);
    let over = match how.overlong {
        Overlong::Punish => (l.tokens.len() + room).saturating_sub(how.max_new),
        _ => 0,
    };
    l.reward - over as f64 / room as f64
}

/// Packs of those answers that fit into a micro-batch, answers to one prompt together where they can.
fn packs(
    config: &TrainConfig,
    step: u64,
    examples: &[TokenExample],
    chosen: &[usize],
) -> Result<Vec<Vec<usize>>, TrainError> {
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let these: Vec<TokenExample> = chosen.iter().map(|&i| examples[i].clone()).collect();
    let plan = PlanConfig {
        epochs: 1,
        batch: these.len(),
        pack_tokens: config.micro_tokens,
        seed: config.seed ^ step,
    };
    let plan = match config.shares() {
        true => BatchPlan::new(&these, plan)?,
        false => BatchPlan::apart(these.iter().map(|e| e.tokens.len()).collect(), plan)?,
    };
    let packs = plan.step(0).map(|s| s.packs).unwrap_or_default();
    Ok(packs.into_iter().map(|p| p.into_iter().map(|i| chosen[i]).collect()).collect())
}

fn summary(how: &Reinforce, lines: &[Line], rewards: &[f64], stats: &Stats) -> RewardMetrics {
    let n = lines.len().max(1) as f64;
    let mean = |f: &dyn Fn(&Line) -> f64| lines.iter().map(f).sum::<f64>() / n;
    let tokens: f64 = lines.iter().map(|l| l.tokens.len() as f64).sum();
    let logp: f64 = lines.iter().flat_map(|l| &l.logp).map(|&p| f64::from(p)).sum();
    let groups = rewards.chunks(how.samples.max(1));
    let all = groups.len().max(1) as f64;
    RewardMetrics {
        reward: mean(&|l| l.reward),
        spread: groups.clone().map(spread).sum::<f64>() / all,
        strict: mean(&|l| l.strict),
        lenient: mean(&|l| l.lenient),
        kl: (how.kl > 0.0 && stats.tokens > 0.0).then(|| stats.kl / stats.tokens),
        length: tokens / n,
        entropy: -logp / tokens.max(1.0),
        value: (how.loss == PolicyLoss::Ppo && stats.tokens > 0.0).then(|| stats.value / stats.tokens),
        explained: None,
        clipped: if stats.of > 0.0 { stats.clipped / stats.of } else { 0.0 },
        cut: mean(&|l| f64::from(u8::from(!l.ended))),
        flat: groups.filter(|g| g.iter().all(|r| *r == g[0])).count() as u64,
        groups: all as u64,
        answers: lines.len() as u64,
    }
}
