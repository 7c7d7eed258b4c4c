//! What a run will take, before it begins: memory buffer by buffer, operations, and time where a speed is known.

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::examples::plan;
use crate::flops::FlopsPerToken;
use crate::keep::windows_of;
use crate::preference::moved_on;
use crate::reinforce::{PolicyLoss, Reinforce, rollout_tokens, rollout_written};
use crate::subject::Subject;
use nurture_data::{PrefixTree, TokenExample};
use nurture_formats::write_atomic;
use nurture_model::{Config, KvCache, KvType, TrainingShape, keep_memory, memory_table};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the file in the run's folder.
pub const FORECAST: &str = "forecast.json";

/// A row of the memory table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastRow {
    /// What it is.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The forecast of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Optimiser steps.
    pub steps: u64,
    /// Micro-batches.
    pub micro_batches: u64,
    /// Tokens of the examples, repeated passes counted.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
    /// Tokens that are computed: what sequences of a micro-batch share counts once.
    #[serde(default)]
    pub computed_tokens: u64,
    /// Tokens that the largest micro-batch computes.
    pub largest_micro_batch: u64,
    /// The memory table.
    pub memory: Vec<ForecastRow>,
    /// Its sum: the peak to expect.
    pub memory_bytes: u64,
    /// Useful operations of the whole run, what is shared counted once; see [`FlopsPerToken`].
    pub flop: f64,
    /// Speed in useful operations that the estimate of the time stands on, GFLOP/s.
    pub gflops: Option<f64>,
    /// Seconds of training, where a speed is known. Nothing is ever derived from it.
    pub seconds: Option<f64>,
    /// The machine's rate of float32 multiply-adds, GFLOP/s, where it was measured.
    #[serde(default)]
    pub ceiling: Option<f64>,
    /// Of practice the trial that the estimate of the time stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// what the memory table was made from
    #[serde(skip)]
    pub(crate) shape: Option<TrainingShape>,
}

/// A short trial of practice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Answers that were made.
    pub answers: u64,
    /// Their mean length in tokens.
    pub length: f64,
    /// Tokens of answers made in a second.
    pub tok_s: f64,
    /// Speed of learning from them, useful GFLOP/s.
    pub gflops: f64,
}

/// The memory table of a shape.
fn table(
    c: &Config,
    subject: &Subject,
    config: &TrainConfig,
    shape: &TrainingShape,
) -> Result<Vec<ForecastRow>, TrainError> {
    let rows = memory_table(c, subject.learning(c, config)?, shape).into_iter();
    Ok(rows.map(|row| ForecastRow { name: row.name.to_string(), bytes: row.bytes }).collect())
}

/// Forecasts a run over these examples.
///
/// `base_bytes` is what the base's weights take in memory (`Decoder::weight_bytes`).
///
/// # Errors
/// Settings that cannot be used, no examples, or one that no micro-batch holds.
pub fn forecast(
    c: &Config,
    subject: impl Into<Subject>,
    config: &TrainConfig,
    examples: &[TokenExample],
    base_bytes: u64,
    threads: usize,
) -> Result<Forecast, TrainError> {
    config.check()?;
    let subject: Subject = subject.into();
    if examples.is_empty() {
        return Err(TrainError::NoExamples);
    }
    if let Some(how) = &config.reinforce {
        return of_practice(c, &subject, config, how, examples, base_bytes, threads);
    }
    let plan = plan(config, examples)?;
    let steps = config.total_steps(examples.len());
    let mut shape = TrainingShape { tokens: 0, loss_rows: 0, longest: 0, threads, base_bytes };
    let (mut micro_batches, mut tokens, mut trained_tokens, mut computed_tokens) = (0u64, 0u64, 0u64, 0u64);
    let (mut loss_rows, mut flop) = (0u64, 0f64);
    let mut referenced = vec![!config.preference.is_some_and(|p| p.referenced()); examples.len()];
    for step in plan.steps(0).take(usize::try_from(steps).unwrap_or(usize::MAX)) {
        flop += divergence_flop(c, config, examples, &step.packs);
        for numbers in &step.packs {
            let pack: Vec<&TokenExample> = numbers.iter().filter_map(|&i| examples.get(i)).collect();
            let tree = tree_of(config, &pack);
            // what the base says of an example is asked once
            if numbers.iter().any(|&i| !referenced[i]) {
                flop += FlopsPerToken::tree_forward(c, &tree);
                numbers.iter().for_each(|&i| referenced[i] = true);
            }
            shape.tokens = shape.tokens.max(tree.rows());
            shape.loss_rows = shape.loss_rows.max(tree.losses.len());
            loss_rows += tree.losses.len() as u64;
            shape.longest = shape.longest.max(tree.longest());
            micro_batches += 1;
            tokens += pack.iter().map(|e| e.tokens.len() as u64).sum::<u64>();
            trained_tokens += pack.iter().map(|e| e.trained_tokens() as u64).sum::<u64>();
            computed_tokens += tree.rows() as u64;
            flop += FlopsPerToken::tree(c, &tree);
        }
    }
    let (blocks, head) = subject.own_flop(c)?;
    flop += blocks * computed_tokens as f64 + head * loss_rows as f64;
    let mut memory = table(c, &subject, config, &shape)?;
    // an id and a flag a token, and the text of the example's own id with its bookkeeping
    let bytes = examples.iter().map(|e| 5 * e.tokens.len() as u64 + 128).sum();
    memory.push(ForecastRow { name: "examples".to_string(), bytes });
    if config.preference.is_some_and(|p| p.referenced()) {
        // a number under a number, in a table that is at most half full
        let bytes = 32 * examples.len() as u64;
        memory.push(ForecastRow { name: "log-probabilities of the base".to_string(), bytes });
    }
    if config.preference.is_some_and(|p| !p.pairs()) {
        // the answers of a step once more, each behind another prompt
        let longest = examples.iter().map(|e| e.tokens.len()).max().unwrap_or(0) as u64;
        let bytes = config.batch as u64 * (5 * longest + 128);
        memory.push(ForecastRow { name: "answers moved on".to_string(), bytes });
    }
    if config.scores() {
        // states of the pairs' ends, their norms and both gradients
        let bytes = 4 * (2 * config.batch * (4 * c.width + 3)) as u64;
        memory.push(ForecastRow { name: "states that are read".to_string(), bytes });
    }
    Ok(Forecast {
        steps,
        micro_batches,
        tokens,
        trained_tokens,
        computed_tokens,
        largest_micro_batch: shape.tokens as u64,
        memory_bytes: memory.iter().map(|row| row.bytes).sum(),
        memory,
        flop,
        gflops: None,
        seconds: None,
        ceiling: None,
        tried: None,
        shape: Some(shape),
    })
}

/// The same where examples are prompts and what is learnt from are the answers to them: the most that it can be, every
/// answer as long as it may.
fn of_practice(
    c: &Config,
    subject: &Subject,
    config: &TrainConfig,
    how: &Reinforce,
    prompts: &[TokenExample],
    base_bytes: u64,
    threads: usize,
) -> Result<Forecast, TrainError> {
    let steps = config.total_steps(prompts.len());
    let prompt = prompts.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
    let longest = prompt + how.max_new;
    let mean = prompts.iter().map(|e| e.tokens.len()).sum::<usize>().div_ceil(prompts.len().max(1));
    let groups = config.batch.min(prompts.len()).max(1);
    let answers = groups * how.samples;
    let (said, asked) = (answers * how.max_new, groups * mean);
    let rows = asked + said;
    let shape = TrainingShape {
        tokens: rows.min(config.micro_tokens),
        loss_rows: said.min(config.micro_tokens),
        longest,
        threads,
        base_bytes,
    };
    let (spoken, learnt) = round_flop(c, subject, config, how, prompts, how.max_new as f64)?;
    let mut memory = table(c, subject, config, &shape)?;
    let (held, at_once) = rollout_tokens(c, longest, answers);
    let keys = rollout_written(how, prompt, (held, at_once)) * KvCache::token_bytes(KvType::F32, c);
    // what a step of the engine computes: its activations, logits of 32 rows, and the answers themselves
    let engine = 4
        * (512 * (4 * c.width + 2 * c.q_width() + 2 * c.kv_width() + 3 * c.ffn)
            + 32 * c.vocab
            + at_once * c.width);
    memory.push(ForecastRow { name: "keys and values of answers".to_string(), bytes: keys as u64 });
    memory.push(ForecastRow { name: "engine of the answers".to_string(), bytes: engine as u64 });
    let trained = 4 * subject.lora().map_or(0, |l| 3 * l.parameters(c)) as u64;
    // tokens, flags, log-probabilities and texts of a round, in the journal's line and as examples
    let texts = answers as u64 * (24 * longest as u64 + 512) + prompts.len() as u64 * (5 * mean as u64 + 128);
    memory.push(ForecastRow { name: "the adapter that speaks".to_string(), bytes: trained });
    if how.loss == PolicyLoss::Ppo {
        // states of all rows that are read, their norms and both gradients
        let bytes = 4 * (shape.loss_rows * (4 * c.width + 3)) as u64;
        memory.push(ForecastRow { name: "states that are read".to_string(), bytes });
    }
    memory.push(ForecastRow { name: "examples".to_string(), bytes: texts });
    let tokens = steps * (answers * (mean + how.max_new)) as u64;
    Ok(Forecast {
        steps,
        micro_batches: steps * rows.div_ceil(config.micro_tokens.max(1)) as u64 * how.inner as u64,
        tokens,
        trained_tokens: steps * said as u64,
        computed_tokens: steps * rows as u64,
        largest_micro_batch: shape.tokens as u64,
        memory_bytes: memory.iter().map(|row| row.bytes).sum(),
        memory,
        flop: steps as f64 * (spoken + learnt),
        gflops: None,
        seconds: None,
        ceiling: None,
        tried: None,
        shape: Some(shape),
    })
}

/// Operations of a round whose answers have `length` tokens each: of speaking, and of learning from what was said. A token
/// counts as in one sequence of the mean length. The vocabulary is computed twice, for the log-probabilities and for their
/// gradients; the base reads the answers where the policy is held to it, and values are read once before.
fn round_flop(
    c: &Config,
    subject: &Subject,
    config: &TrainConfig,
    how: &Reinforce,
    prompts: &[TokenExample],
    length: f64,
) -> Result<(f64, f64), TrainError> {
    let (blocks, head) = subject.own_flop(c)?;
    let mean = prompts.iter().map(|e| e.tokens.len()).sum::<usize>() as f64 / prompts.len().max(1) as f64;
    let groups = config.batch.min(prompts.len()).max(1) as f64;
    let said = groups * how.samples as f64 * length;
    let rows = groups * mean + said;
    let one = FlopsPerToken::new(c, ((mean + length).round() as usize).max(1));
    let pass = one.frozen + one.attention;
    let step = rows * (pass + blocks) + said * (1.5 * one.head + head);
    let base = if how.kl > 0.0 { rows * pass / 2.0 + said * one.head / 2.0 } else { 0.0 };
    let values = if how.loss == PolicyLoss::Ppo { rows * pass / 2.0 } else { 0.0 };
    Ok((rows * pass / 2.0 + said * one.head / 2.0, how.inner as f64 * step + base + values))
}

/// What a pass over a pack computes: a reward model predicts no token.
fn tree_of<'e>(config: &TrainConfig, pack: &[&'e TokenExample]) -> PrefixTree<'e> {
    let mut tree = PrefixTree::new(pack, config.shares());
    if config.scores() {
        tree.losses.clear();
    }
    tree
}

/// Operations of KTO's estimate of the divergence in a step: tuned network and base read the moved answers.
fn divergence_flop(c: &Config, config: &TrainConfig, examples: &[TokenExample], packs: &[Vec<usize>]) -> f64 {
    if config.preference.is_none_or(|p| p.pairs()) {
        return 0.0;
    }
    let all: Vec<usize> = packs.iter().flatten().copied().collect();
    let runs = moved_on(examples, &all, config.micro_tokens, c.context);
    let one = |run: &Vec<TokenExample>| {
        let run: Vec<&TokenExample> = run.iter().collect();
        2.0 * FlopsPerToken::tree_forward(c, &PrefixTree::new(&run, config.shares()))
    };
    runs.iter().map(one).sum()
}

/// Useful operations of a step over the examples with these numbers, as [`crate::useful_flop`], with what KTO reads beside
/// them; what the base says of the examples is known already.
///
/// # Errors
/// Parts to freeze that are not there.
pub fn preference_flop(
    c: &Config,
    subject: &Subject,
    config: &TrainConfig,
    examples: &[TokenExample],
    packs: &[Vec<usize>],
) -> Result<f64, TrainError> {
    let (blocks, head) = subject.own_flop(c)?;
    let one = |pack: &Vec<usize>| {
        let pack: Vec<&TokenExample> = pack.iter().filter_map(|&i| examples.get(i)).collect();
        FlopsPerToken::packed(c, &tree_of(config, &pack), blocks, head)
    };
    Ok(packs.iter().map(one).sum::<f64>() + divergence_flop(c, config, examples, packs))
}

impl Forecast {
    /// With the windows of general text of these lengths that [`crate::Keep`] adds to the steps.
    ///
    /// # Errors
    /// Parts to freeze that are not there.
    pub fn keeping(
        mut self,
        c: &Config,
        subject: &Subject,
        config: &TrainConfig,
        windows: &[usize],
    ) -> Result<Forecast, TrainError> {
        if !config.keep.is_on() || windows.is_empty() {
            return Ok(self);
        }
        let (blocks, head) = subject.own_flop(c)?;
        let seen = (self.steps * config.keep.windows as u64).min(windows.len() as u64) as usize;
        let mut used = vec![false; windows.len()];
        // windows of a step are computed together, as many as a micro-batch holds
        let mut most = 0;
        for step in 0..self.steps {
            let mut together = 0;
            for at in windows_of(step, config.keep.windows, windows.len(), config.seed) {
                let len = windows[at];
                together = if together + len <= config.micro_tokens { together + len } else { len };
                most = most.max(together);
                self.tokens += len as u64;
                self.computed_tokens += len as u64;
                self.flop += FlopsPerToken::kept(c, len) + (blocks + head) * len as f64;
                used[at] = true;
            }
        }
        self.flop += (0..windows.len())
            .filter(|&at| used[at])
            .map(|at| FlopsPerToken::read_once(c, windows[at]))
            .sum::<f64>();
        let longest = windows.iter().copied().max().unwrap_or(0);
        if let Some(shape) = self.shape.as_mut().filter(|s| s.tokens < most) {
            (shape.tokens, shape.longest) = (most, shape.longest.max(longest));
            for row in table(c, subject, config, shape)? {
                if let Some(old) = self.memory.iter_mut().find(|old| old.name == row.name) {
                    *old = row;
                }
            }
        }
        let bytes = 4 * (seen * longest * c.width) as u64;
        self.memory.push(ForecastRow { name: "the base's outputs on general text".to_string(), bytes });
        for (name, bytes) in keep_memory(c, longest) {
            if let Some(row) = self.memory.iter_mut().find(|row| row.name == name) {
                row.bytes = row.bytes.max(bytes);
            }
        }
        self.memory_bytes = self.memory.iter().map(|row| row.bytes).sum();
        Ok(self)
    }

    /// With what the process holds already beside the base's weights: the program, the tokenizer, the data.
    pub fn beside(mut self, bytes: u64) -> Forecast {
        self.memory.push(ForecastRow { name: "program, tokenizer and data".to_string(), bytes });
        self.memory_bytes += bytes;
        self
    }

    /// With an estimate of the time from a speed that was measured, in useful GFLOP/s (a short calibration).
    pub fn at_speed(mut self, gflops: f64) -> Forecast {
        if gflops > 0.0 && gflops.is_finite() {
            self.gflops = Some(gflops);
            self.seconds = Some(self.flop * 1e-9 / gflops);
        }
        self
    }

    /// With an estimate of the time of practice from a trial: every round's answers are taken to be as long as the trial's, as
    /// fast to make, and all learnt from; the rules are taken to need no time.
    ///
    /// # Errors
    /// Parts to freeze that are not there.
    pub fn as_tried(
        mut self,
        c: &Config,
        subject: &Subject,
        config: &TrainConfig,
        prompts: &[TokenExample],
        tried: Tried,
    ) -> Result<Forecast, TrainError> {
        let Some(how) = &config.reinforce else { return Ok(self) };
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if !(positive(tried.length) && positive(tried.tok_s) && positive(tried.gflops)) {
            return Ok(self);
        }
        let (spoken, most) = round_flop(c, subject, config, how, prompts, how.max_new as f64)?;
        let (_, learnt) = round_flop(c, subject, config, how, prompts, tried.length)?;
        let steps = self.steps as f64;
        // what is kept of breadth was added to the whole
        let beside = (self.flop - steps * (spoken + most)).max(0.0);
        let answers = (config.batch.min(prompts.len()).max(1) * how.samples) as f64;
        self.seconds = Some(
            steps * answers * tried.length / tried.tok_s + (steps * learnt + beside) * 1e-9 / tried.gflops,
        );
        self.gflops = Some(tried.gflops);
        self.tried = Some(tried);
        Ok(self)
    }

    /// With seconds that each step takes beside its passes, where a speed is known.
    pub fn with_steps_of(mut self, seconds: f64) -> Forecast {
        self.seconds = self.seconds.map(|all| all + self.steps as f64 * seconds);
        self
    }

    /// With the rate of multiply-adds that the machine reaches, against which speeds can be shown.
    pub fn under(mut self, ceiling: f64) -> Forecast {
        self.ceiling = (ceiling > 0.0 && ceiling.is_finite()).then_some(ceiling);
        self
    }

    /// Writes it as JSON, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        let path = path.as_ref();
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| TrainError::io(path, "writing", e.into()))?;
        text.push(b'\n');
        Ok(write_atomic(path, &text)?)
    }
}
