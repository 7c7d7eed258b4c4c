//! A step of preference: what the base says, what the divergence is, and the objective over the packs.

use super::{Answer, PairLoss, Preference, PreferenceMethod, Rewards, judged_loss, pair_loss, ranking_loss};
use crate::config::TrainConfig;
use crate::deferred::{Found, Objective, Reads};
use crate::error::TrainError;
use crate::keep::Lessons;
use crate::learner::{Learner, Update};
use nurture_data::TokenExample;
use nurture_model::ScoreOptions;

/// The objective of a step, pack by pack.
struct Step<'a> {
    p: &'a Preference,
    lessons: &'a Lessons,
    /// examples of each pack
    packs: &'a [Vec<usize>],
    /// the base's log-probability of each example of each pack
    references: Vec<Vec<f64>>,
    /// pairs, or judged answers, of the step
    count: f64,
    /// tokens of the better answers of the step
    chosen_tokens: f64,
    kl: f64,
    /// sums over the answers seen: rewards of good and bad ones, their numbers, right ones
    rewards: [f64; 2],
    numbers: [f64; 2],
    right: f64,
}

impl Step<'_> {
    fn answer(&self, pack: usize, at: usize, found: &Found) -> Answer {
        let tokens = &found.logp[at];
        Answer {
            logp: tokens.iter().map(|&l| f64::from(l)).sum(),
            reference: self.references[pack].get(at).copied().unwrap_or(0.0),
            tokens: tokens.len(),
        }
    }

    fn pairs(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        let mut value = 0.0;
        let likelihood = self.p.likelihood();
        for (first, own) in (0..).step_by(2).zip(factors.chunks_exact_mut(2)) {
            let (chosen, rejected) = (self.answer(pack, first, found), self.answer(pack, first + 1, found));
            let loss = pair_loss(self.p, &chosen, &rejected);
            value += loss.value / self.count;
            for (own, slope) in own.iter_mut().zip(loss.slopes) {
                own.fill((slope / self.count) as f32);
            }
            if likelihood > 0.0 {
                value -= likelihood * chosen.logp / self.chosen_tokens;
                let each = (likelihood / self.chosen_tokens) as f32;
                own[0].iter_mut().for_each(|f| *f -= each);
            }
            self.note(&loss);
        }
        value
    }

    fn note(&mut self, loss: &PairLoss) {
        for (i, reward) in loss.rewards.into_iter().enumerate() {
            self.rewards[i] += reward;
            self.numbers[i] += 1.0;
        }
        self.right += f64::from(u8::from(loss.rewards[0] > loss.rewards[1]));
    }

    fn judged(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        let mut value = 0.0;
        for (at, own) in factors.iter_mut().enumerate() {
            let good = self.packs[pack].get(at).and_then(|&i| self.lessons.judged.get(i)) == Some(&true);
            let answer = self.answer(pack, at, found);
            let (loss, slope, reward) = judged_loss(self.p, &answer, good, self.kl);
            value += loss / self.count;
            own.fill((slope / self.count) as f32);
            let side = usize::from(!good);
            self.rewards[side] += reward;
            self.numbers[side] += 1.0;
            self.right += f64::from(u8::from((reward > self.p.beta * self.kl) == good));
        }
        value
    }
}

impl Objective for Step<'_> {
    fn weigh(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        match self.p.pairs() {
            true => self.pairs(pack, found, factors),
            false => self.judged(pack, found, factors),
        }
    }

    fn reads(&self) -> Reads {
        if self.p.method == PreferenceMethod::Reward { Reads::Ends } else { Reads::Nothing }
    }

    fn weigh_values(&mut self, _pack: usize, values: &[Vec<f32>], factors: &mut [Vec<f32>]) -> f64 {
        let mut value = 0.0;
        for (worth, own) in values.chunks_exact(2).zip(factors.chunks_exact_mut(2)) {
            let worth = |i: usize| worth[i].first().map_or(0.0, |&w| f64::from(w));
            let loss = ranking_loss(self.p, worth(0), worth(1));
            value += loss.value / self.count;
            for (own, slope) in own.iter_mut().zip(loss.slopes) {
                own.fill((slope / self.count) as f32);
            }
            self.note(&loss);
        }
        value
    }
}

/// The prompt of `example` with the answer of `other`, cut to `most` tokens: what KTO measures the divergence on.
pub(crate) fn mismatched(example: &TokenExample, other: &TokenExample, most: usize) -> TokenExample {
    let begin = |e: &TokenExample| e.trained.iter().position(|t| *t).unwrap_or(e.tokens.len());
    let (a, b) = (begin(example), begin(other));
    let mut tokens = [&example.tokens[..a], &other.tokens[b..]].concat();
    let mut trained: Vec<bool> =
        std::iter::repeat_n(false, a).chain(other.trained[b..].iter().copied()).collect();
    tokens.truncate(most);
    trained.truncate(most);
    TokenExample { id: example.id.clone(), source: example.source, tokens, trained }
}

/// The step's answers, each moved on to the next prompt, in runs of at most `micro_tokens`.
pub(crate) fn moved_on(
    examples: &[TokenExample],
    step: &[usize],
    micro_tokens: usize,
    context: usize,
) -> Vec<Vec<TokenExample>> {
    let mut out: Vec<Vec<TokenExample>> = Vec::new();
    let mut room = 0;
    for (at, &i) in step.iter().enumerate() {
        let before = step[(at + step.len() - 1) % step.len()];
        let one = mismatched(&examples[i], &examples[before], micro_tokens.min(context));
        if out.is_empty() || one.tokens.len() > room {
            out.push(Vec::new());
            room = micro_tokens;
        }
        room = room.saturating_sub(one.tokens.len());
        if let Some(last) = out.last_mut() {
            last.push(one);
        }
    }
    out
}

impl Learner<'_> {
    /// A step of preference over the examples of `lessons` with these indices, one pack a micro-batch; pairs stand together
    /// in a pack, the better answer first. Windows of general text as in [`Learner::update_keeping`].
    ///
    /// # Errors
    /// As [`Learner::update`]; settings without a preference.
    #[allow(clippy::too_many_arguments)]
    pub fn prefer(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<usize>],
        lessons: &Lessons,
        windows: &[(usize, &[u32])],
    ) -> Result<Update, TrainError> {
        let Some(p) = &config.preference else {
            let problem = "none is set: there is nothing to prefer by".to_string();
            return Err(TrainError::Setting { key: "preference", problem });
        };
        let examples = &lessons.examples;
        let given: Vec<Vec<&TokenExample>> =
            packs.iter().map(|p| p.iter().filter_map(|&i| examples.get(i)).collect()).collect();
        let mut references = vec![Vec::new(); packs.len()];
        if p.referenced() {
            for ((pack, given), references) in packs.iter().zip(&given).zip(&mut references) {
                *references = self.references(config, pack, given)?;
            }
        }
        let all: Vec<usize> = packs.iter().flatten().copied().collect();
        let kl = if p.pairs() { 0.0 } else { self.divergence(config, examples, &all)? };
        let chosen = all.iter().step_by(p.group());
        let mut objective = Step {
            p,
            lessons,
            packs,
            references,
            count: (all.len() / p.group()).max(1) as f64,
            chosen_tokens: chosen.map(|&i| examples[i].trained_tokens()).sum::<usize>().max(1) as f64,
            kl,
            rewards: [0.0; 2],
            numbers: [0.0; 2],
            right: 0.0,
        };
        let update = self.update_deferred(config, step, rate, &given, windows, &mut objective)?;
        let mean = |i: usize| objective.rewards[i] / objective.numbers[i].max(1.0);
        let rewards = Rewards {
            chosen: mean(0),
            rejected: mean(1),
            margins: mean(0) - mean(1),
            accuracies: objective.right / objective.count,
            kl: (!p.pairs()).then_some(kl),
        };
        Ok(Update { preferred: Some(rewards), ..update })
    }

    /// The base's log-probabilities of examples, made when first needed.
    fn references(
        &mut self,
        config: &TrainConfig,
        pack: &[usize],
        given: &[&TokenExample],
    ) -> Result<Vec<f64>, TrainError> {
        if pack.iter().any(|i| !self.references.contains_key(i)) {
            let sums = self.score(config, given, true, ScoreOptions::default())?.sums();
            self.references.extend(pack.iter().copied().zip(sums));
        }
        Ok(pack.iter().map(|i| self.references.get(i).copied().unwrap_or(0.0)).collect())
    }

    /// KTO's estimate of the divergence from the base: on the step's prompts, each with the answer before it.
    fn divergence(
        &mut self,
        config: &TrainConfig,
        examples: &[TokenExample],
        step: &[usize],
    ) -> Result<f64, TrainError> {
        let context = self.context();
        let mut sum = 0.0;
        for run in moved_on(examples, step, config.micro_tokens, context) {
            let run: Vec<&TokenExample> = run.iter().collect();
            let tuned = self.score(config, &run, false, ScoreOptions::default())?.sums();
            let base = self.score(config, &run, true, ScoreOptions::default())?.sums();
            sum += tuned.iter().zip(&base).map(|(t, b)| t - b).sum::<f64>();
        }
        Ok((sum / step.len().max(1) as f64).max(0.0))
    }
}
