//! Teaching an encoder-decoder pairs of source and target: the loop of [`crate::Trainer`] for another kind of network.
//!
//! A pair is a [`TokenExample`] whose tokens are the source, which carries no loss, and behind it the target, all of which does;
//! so ledger, plan, identity and metrics are those of all runs, and a decoder can learn the same examples. Killed
//! anywhere and resumed, it ends with the same bytes.
//!
//! Left out on purpose: adapters, preference, reinforcement, breadth that is kept, noise and recomputation: settings that ask
//! for them are refused. Checkpoints are written while the loop waits, as of any network that trains itself.

mod expected;

pub use expected::pair_forecast;

use crate::checkpoint::{self, CHECKPOINTS, State, Tokens};
use crate::config::{Init, TrainConfig};
use crate::divergence::{LossWatch, OnDivergence};
use crate::error::{TrainError, Warning};
use crate::examples;
use crate::identity::Identity;
use crate::keep::Lessons;
use crate::metrics::{METRICS, MetricsFile, StepMetrics};
use crate::optimiser::Memory;
use crate::process::{peak_rss, rss};
use crate::pupil::{Change, Tensor, Tensors};
use crate::trainer::{Outcome, RunFiles};
use nurture_data::{BatchPlan, TokenExample};
use nurture_model::seq2seq::{PairBatch, Seq2Seq, Seq2SeqGrads};
use nurture_model::{Cpu, Softening};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// A pair as an example: the source, and behind it the target, which carries loss.
pub fn pair_example(id: String, source: usize, from: &[u32], to: &[u32]) -> TokenExample {
    let mut trained = vec![false; from.len()];
    trained.resize(from.len() + to.len(), true);
    TokenExample { id, source, tokens: [from, to].concat(), trained }
}

/// Source and target of an example.
pub(crate) fn parted(e: &TokenExample) -> (&[u32], &[u32]) {
    e.tokens.split_at(e.trained.iter().take_while(|t| !**t).count())
}

/// The network that learns, with its gradients.
#[derive(Debug)]
struct Pupil {
    network: Seq2Seq,
    gradients: Seq2SeqGrads,
}

impl Tensors for Pupil {
    fn tensors(&self) -> Vec<Tensor> {
        let one = |p: &nurture_model::seq2seq::Seq2SeqParameter| Tensor {
            name: p.name.clone(),
            shape: p.shape.clone(),
            floats: p.floats(),
            decays: p.is_matrix(),
            hidden: p.is_hidden_matrix(),
            second: false,
            half: false,
        };
        self.network.parameters().iter().map(one).collect()
    }

    fn values(&self) -> Vec<&[f32]> {
        (0..self.network.parameters().len()).map(|i| self.network.floats(i).unwrap_or_default()).collect()
    }

    fn gradients(&self) -> Vec<&[f32]> {
        self.gradients.iter().collect()
    }

    fn change(&mut self, _: &Cpu, change: Change<'_>) {
        for (i, g) in self.gradients.iter().enumerate() {
            if let Some(values) = self.network.floats_mut(i) {
                change(i, values, g);
            }
        }
    }
}

/// A run that teaches an encoder-decoder.
#[derive(Debug)]
pub struct PairTrainer<'a> {
    cpu: &'a Cpu,
    pupil: Pupil,
    memory: Memory,
    config: TrainConfig,
    lessons: Lessons,
    plan: BatchPlan,
    total: u64,
    identity: Identity,
    checkpoints: PathBuf,
    metrics: MetricsFile,
    warnings: Vec<Warning>,
    done: u64,
    tokens: Tokens,
    seconds: f64,
    last_loss: f64,
    watch: LossWatch,
    saved: Option<u64>,
}

/// Refuses settings that mean nothing here.
fn check(config: &TrainConfig) -> Result<(), TrainError> {
    config.check()?;
    for (key, given) in [
        ("preference", config.preference.is_some()),
        ("reinforce", config.reinforce.is_some()),
        ("keep", config.keep.is_on()),
        ("dora", config.dora),
        ("tokens", !config.tokens.is_empty()),
        ("init", config.init != Init::Random),
        ("b_ratio", config.b_ratio != 1.0),
        ("neftune", config.neftune > 0.0),
        ("recompute", config.recompute),
        ("sharing", config.sharing),
    ] {
        if given {
            let problem = "an encoder-decoder that learns pairs has no such thing".to_string();
            return Err(TrainError::Setting { key, problem });
        }
    }
    Ok(())
}

/// Refuses examples that the network cannot take.
fn check_examples(network: &Seq2Seq, config: &TrainConfig, all: &[TokenExample]) -> Result<(), TrainError> {
    let c = network.config();
    if all.is_empty() {
        return Err(TrainError::NoExamples);
    }
    for e in all {
        let id = || e.id.clone();
        if e.tokens.len() != e.trained.len() {
            return Err(TrainError::Mask { id: id(), tokens: e.tokens.len(), flags: e.trained.len() });
        }
        let (from, to) = parted(e);
        if from.is_empty() || to.is_empty() || e.trained[from.len()..].contains(&false) {
            return Err(TrainError::Untrained { id: id() });
        }
        for (part, vocab) in [(from, c.source_vocab), (to, c.target_vocab)] {
            if let Some(&token) = part.iter().find(|&&t| t as usize >= vocab) {
                return Err(TrainError::Token { id: id(), token, vocab });
            }
            if part.len() > c.context {
                return Err(TrainError::BeyondContext { id: id(), tokens: part.len(), context: c.context });
            }
        }
        let (tokens, micro_tokens) = (e.tokens.len(), config.micro_tokens);
        if tokens > micro_tokens {
            return Err(TrainError::BeyondMicroBatch { id: id(), tokens, micro_tokens });
        }
    }
    Ok(())
}

/// The pairs of a pack as a batch.
fn batch<'e>(start: u32, pack: impl Iterator<Item = &'e TokenExample>) -> PairBatch {
    let mut batch = PairBatch::default();
    for e in pack {
        let (from, to) = parted(e);
        batch.push(from, to, start);
    }
    batch
}

impl<'a> PairTrainer<'a> {
    /// Goes on with a run from its newest whole checkpoint, or begins it where there is none; see [`PairTrainer::warnings`].
    ///
    /// # Errors
    /// As [`crate::Trainer::resume`].
    pub fn resume(
        cpu: &'a Cpu,
        network: &Seq2Seq,
        config: TrainConfig,
        examples: Vec<TokenExample>,
        files: &RunFiles,
    ) -> Result<Self, TrainError> {
        check(&config)?;
        check_examples(network, &config, &examples)?;
        let total = config.total_steps(examples.len());
        let plan = examples::plan(&config, &examples)?;
        let lessons = Lessons::from(examples);
        let how = network.config().to_json();
        let identity = Identity::of(&config, "seq2seq", how, &lessons, &files.base_sha256);
        let network = network.to_trainable(cpu.pool());
        let mut pupil = Pupil { gradients: Seq2SeqGrads::zeros(&network), network };
        let mut memory = Memory::new(&config, &pupil);
        std::fs::create_dir_all(&files.folder)
            .map_err(|e| TrainError::io(&files.folder, "creating the folder", e))?;
        let checkpoints = files.folder.join(CHECKPOINTS);
        checkpoint::sweep(&checkpoints)?;
        let (found, mut warnings) = checkpoint::newest(&checkpoints)?;
        if let Some(found) = &found {
            let changed = |differences| TrainError::Changed { checkpoint: found.path.clone(), differences };
            let differences = found.state.identity.differences(&identity);
            if !differences.is_empty() {
                return Err(changed(differences));
            }
            found.restore_to(cpu, &mut pupil, &mut memory).map_err(|problem| changed(vec![problem]))?;
        } else if !warnings.is_empty() {
            warnings.push(Warning::FromTheBeginning { folder: files.folder.clone() });
        }
        let state = found.map(|f| f.state);
        let done = state.as_ref().map_or(0, |s| s.step);
        Ok(PairTrainer {
            cpu,
            pupil,
            memory,
            config,
            lessons,
            plan,
            total,
            identity,
            checkpoints,
            metrics: MetricsFile::open(files.folder.join(METRICS), done)?,
            warnings,
            done,
            tokens: state.as_ref().map(State::tokens).unwrap_or_default(),
            seconds: state.as_ref().map_or(0.0, State::seconds),
            last_loss: state.as_ref().map_or(0.0, State::last_loss),
            watch: state.as_ref().map(State::watch).unwrap_or_default(),
            saved: state.map(|s| s.step),
        })
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.done
    }

    /// Steps of the run.
    pub fn total_steps(&self) -> u64 {
        self.total
    }

    /// What the owner should hear: broken checkpoints, a climbing loss.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The network as it stands.
    pub fn network(&self) -> &Seq2Seq {
        &self.pupil.network
    }

    /// Goes through all steps that are left. `on_step` hears of each one and may break off; then, as at the end, a checkpoint
    /// is written.
    ///
    /// # Errors
    /// As [`PairTrainer::step`].
    pub fn run(
        &mut self,
        mut on_step: impl FnMut(&StepMetrics) -> ControlFlow<()>,
    ) -> Result<Outcome, TrainError> {
        while let Some(metrics) = self.step()? {
            if on_step(&metrics).is_break() {
                break;
            }
        }
        self.checkpoint()?;
        Ok(self.outcome())
    }

    /// One step: all its micro-batches and the update, a line of metrics, and a checkpoint where one is due. `None` when all
    /// steps are done.
    ///
    /// # Errors
    /// As [`crate::Trainer::step`].
    pub fn step(&mut self) -> Result<Option<StepMetrics>, TrainError> {
        if self.done >= self.total || self.memory.is_settled() {
            return Ok(None);
        }
        let Some(plan) = self.plan.step(self.done) else { return Ok(None) };
        let began = Instant::now();
        let (step, c) = (self.done + 1, &self.config);
        let rate = c.rate * c.schedule.factor(step, self.total, c.warmup);
        let softening = Softening { smoothing: c.label_smoothing as f32, z: c.z_loss as f32 };
        let get = |i: &usize| self.lessons.examples.get(*i);
        let trained: usize = plan.packs.iter().flatten().filter_map(get).map(|e| e.trained_tokens()).sum();
        let tokens: usize = plan.packs.iter().flatten().filter_map(get).map(|e| e.tokens.len()).sum();
        if trained == 0 {
            return Err(TrainError::NoExamples);
        }
        let weight = (1.0 / trained as f64) as f32;
        let mut sum = 0f64;
        self.pupil.gradients.clear();
        for pack in &plan.packs {
            let Pupil { network, gradients } = &mut self.pupil;
            let batch = batch(network.config().start, pack.iter().filter_map(get));
            let losses = network.train(self.cpu, &batch, weight, softening, gradients)?;
            let owners = pack.iter().filter_map(get).flat_map(|e| std::iter::repeat_n(e, e.trained_tokens()));
            for (e, &loss) in owners.zip(&losses) {
                if !loss.is_finite() {
                    return Err(TrainError::LossNotFinite { step, id: e.id.clone(), loss, rate });
                }
                sum += f64::from(loss);
            }
        }
        let grad_norm = self.pupil.gradient_norm(self.cpu, step, rate)?;
        let clipped = if c.clip > 0.0 { (c.clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        self.memory.step(self.cpu, c, step, rate, clipped, &mut self.pupil);
        let (loss, seconds) = (sum / trained as f64, began.elapsed().as_secs_f64());
        let climbing = self.watch.see(&c.divergence, loss);
        let metrics = StepMetrics {
            step,
            total_steps: self.total,
            epoch: plan.epoch + 1,
            loss,
            keep: None,
            preferred: None,
            rate,
            grad_norm,
            tokens: tokens as u64,
            trained_tokens: trained as u64,
            computed_tokens: tokens as u64,
            seconds,
            tok_s: tokens as f64 / seconds.max(1e-9),
            rss_bytes: rss(),
            rewards: None,
            diverging: climbing.is_some(),
        };
        self.metrics.append(&metrics)?;
        self.done = step;
        self.tokens.given += tokens as u64;
        self.tokens.trained += trained as u64;
        self.tokens.computed += tokens as u64;
        self.seconds += seconds;
        self.last_loss = loss;
        if let Some(mean) = climbing {
            let best = self.watch.best.unwrap_or(mean);
            if self.config.divergence.action == OnDivergence::Stop {
                let window = self.config.divergence.window;
                return Err(TrainError::Diverged { step, mean, best, window });
            }
            if !self.warnings.iter().any(|w| matches!(w, Warning::Diverging { .. })) {
                self.warnings.push(Warning::Diverging { step, mean, best });
            }
        }
        let every = self.config.checkpoint_every;
        if step == self.total || (every > 0 && step.is_multiple_of(every)) {
            self.checkpoint()?;
        }
        Ok(Some(metrics))
    }

    /// Writes a checkpoint of the steps done, unless there is one.
    ///
    /// # Errors
    /// The disk; the older checkpoints are then untouched.
    pub fn checkpoint(&mut self) -> Result<(), TrainError> {
        if self.saved == Some(self.done) || self.done == 0 || self.memory.is_settled() {
            return Ok(());
        }
        self.metrics.sync()?;
        let (id, tokens) = (self.identity.clone(), self.tokens);
        let state = State::new(id, self.done, tokens, self.seconds, self.last_loss, &self.watch);
        let tensors = checkpoint::tensors_of(&self.pupil, &self.memory, false);
        checkpoint::save(&self.checkpoints, &state, &tensors)?;
        self.saved = Some(self.done);
        Ok(())
    }

    /// What the run took so far.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            steps: self.done,
            finished: self.done >= self.total,
            tokens: self.tokens.given,
            trained_tokens: self.tokens.trained,
            computed_tokens: self.tokens.computed,
            seconds: self.seconds,
            last_loss: self.last_loss,
            peak_rss: peak_rss(),
        }
    }

    /// Ends a run whose steps are all done: from here on the network is the average of its weights, where the settings ask for
    /// one (`ema`).
    pub fn finish(&mut self) {
        if self.done >= self.total {
            self.memory.settle(self.cpu, &mut self.pupil);
        }
    }
}
