//! The loop: plan, step, metrics, checkpoint; and how it goes on after it was killed.

use crate::checkpoint::{self, CHECKPOINTS, Loaded, Snapshot, State, Tokens};
use crate::config::TrainConfig;
use crate::divergence::{LossWatch, OnDivergence};
use crate::error::{TrainError, Warning};
use crate::examples;
use crate::identity::Identity;
use crate::keep::{Lessons, windows_of};
use crate::learner::Learner;
use crate::metrics::{METRICS, MetricsFile, StepMetrics};
use crate::process::{peak_rss, rss};
use crate::reinforce::{Practice, Rounds};
use crate::subject::Subject;
use crate::writer::Writer;
use nurture_data::{BatchPlan, TokenExample};
use nurture_formats::save_adapter;
use nurture_model::{Cpu, Decoder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where a run keeps its files, and what it must be told about its base.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The run's folder: `metrics.jsonl` and `checkpoints/` appear in it.
    pub folder: PathBuf,
    /// SHA-256 of the base model's file: a run is only resumed on the same base.
    pub base_sha256: String,
}

/// What a run took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Steps done, those before a resume included.
    pub steps: u64,
    /// Whether these are all.
    pub finished: bool,
    /// Tokens of the examples, repeated passes counted.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
    /// Tokens that were computed: what examples of a micro-batch share counts once.
    #[serde(default)]
    pub computed_tokens: u64,
    /// Seconds of the steps that count (work lost to a kill is not among them).
    pub seconds: f64,
    /// Loss of the last step.
    pub last_loss: f64,
    /// Most memory that this process occupied, bytes, where the system tells it.
    pub peak_rss: Option<u64>,
}

/// A run of supervised fine-tuning of a LoRA adapter or of the network.
#[derive(Debug)]
pub struct Trainer<'a> {
    learner: Learner<'a>,
    config: TrainConfig,
    subject: Subject,
    lessons: Lessons,
    plan: BatchPlan,
    total: u64,
    identity: Identity,
    checkpoints: PathBuf,
    metrics: MetricsFile,
    warnings: Vec<Warning>,
    // what a checkpoint keeps beside the learner
    done: u64,
    tokens: Tokens,
    seconds: f64,
    last_loss: f64,
    watch: LossWatch,
    /// step of the newest checkpoint, which may still be on its way to the disk
    saved: Option<u64>,
    writer: Writer,
    folder: PathBuf,
    rounds: Option<Rounds<'a>>,
}

impl<'a> Trainer<'a> {
    /// Begins a run.
    ///
    /// # Errors
    /// Settings or examples that cannot be used (named); a folder that holds checkpoints already; the disk.
    pub fn new(
        cpu: &'a Cpu,
        model: &'a Decoder,
        subject: impl Into<Subject>,
        config: TrainConfig,
        lessons: impl Into<Lessons>,
        files: &RunFiles,
    ) -> Result<Self, TrainError> {
        if !checkpoint::list(&files.folder.join(CHECKPOINTS))?.is_empty() {
            return Err(TrainError::AlreadyBegun { folder: files.folder.clone() });
        }
        Self::build(cpu, model, subject.into(), config, lessons.into(), files, |_| Ok((None, Vec::new())))
    }

    /// Goes on with a run from its newest whole checkpoint, or begins it where there is none: see
    /// [`Trainer::warnings`]. The arguments must be those that the run was begun with; the threads may differ.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`TrainError::Changed`] names each setting that differs, other data, or another base.
    pub fn resume(
        cpu: &'a Cpu,
        model: &'a Decoder,
        subject: impl Into<Subject>,
        config: TrainConfig,
        lessons: impl Into<Lessons>,
        files: &RunFiles,
    ) -> Result<Self, TrainError> {
        Self::build(cpu, model, subject.into(), config, lessons.into(), files, |folder| {
            checkpoint::sweep(folder)?;
            checkpoint::newest(folder)
        })
    }

    fn build(
        cpu: &'a Cpu,
        model: &'a Decoder,
        subject: Subject,
        config: TrainConfig,
        lessons: Lessons,
        files: &RunFiles,
        find: impl FnOnce(&Path) -> Result<(Option<Loaded>, Vec<Warning>), TrainError>,
    ) -> Result<Self, TrainError> {
        config.check()?;
        subject.check(model, &config)?;
        examples::check(model.config(), &config, &lessons)?;
        let identity = Identity::new(&config, &subject, &lessons, &files.base_sha256);
        let total = config.total_steps(lessons.examples.len());
        let plan = examples::plan(&config, &lessons.examples)?;
        let mut learner = Learner::begin(cpu, model, &subject, &config)?;
        std::fs::create_dir_all(&files.folder)
            .map_err(|e| TrainError::io(&files.folder, "creating the folder", e))?;
        let checkpoints = files.folder.join(CHECKPOINTS);
        let (found, mut warnings) = find(&checkpoints)?;
        if let Some(found) = &found {
            let differences = found.state.identity.differences(&identity);
            if !differences.is_empty() {
                return Err(TrainError::Changed { checkpoint: found.path.clone(), differences });
            }
            found.restore(&mut learner).map_err(|problem| TrainError::Changed {
                checkpoint: found.path.clone(),
                differences: vec![problem],
            })?;
        } else if !warnings.is_empty() {
            warnings.push(Warning::FromTheBeginning { folder: files.folder.clone() });
        }
        let state = found.map(|f| f.state);
        let done = state.as_ref().map_or(0, |s| s.step);
        Ok(Trainer {
            learner,
            config,
            subject,
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
            writer: Writer::default(),
            folder: files.folder.clone(),
            rounds: None,
        })
    }

    /// Gives a run of reinforcement learning what it needs to practise; to be called before the first step.
    ///
    /// # Errors
    /// The journal of the answers cannot be read or written.
    pub fn practise(&mut self, practice: Practice<'a>) -> Result<(), TrainError> {
        let run = format!("{} {}", self.identity.config_sha256, self.identity.data_sha256);
        self.rounds = Some(Rounds::open(practice, &self.folder, &run, self.done)?);
        Ok(())
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

    /// The learner: what trains, and its last gradients.
    pub fn learner(&self) -> &Learner<'a> {
        &self.learner
    }

    /// The examples, in the order in which they were given.
    pub fn examples(&self) -> &[TokenExample] {
        &self.lessons.examples
    }

    /// Goes through all steps that are left. `on_step` hears of each one and may break off; then, as at the end,
    /// a checkpoint is written.
    ///
    /// # Errors
    /// As [`Trainer::step`].
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

    /// One step: all its micro-batches and the update, a line of metrics, and a checkpoint where one is due.
    /// `None` when all steps are done.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, gradients that are all zero, a climbing loss (where the settings say
    /// so), each with the step; the disk, where a checkpoint that was begun in an earlier step may be what failed.
    /// Nothing that was saved before is lost.
    pub fn step(&mut self) -> Result<Option<StepMetrics>, TrainError> {
        self.writer.look()?;
        if self.done >= self.total || self.learner.memory.is_settled() {
            return Ok(None);
        }
        let Some(plan) = self.plan.step(self.done) else { return Ok(None) };
        let began = Instant::now();
        let step = self.done + 1;
        let rate = self.config.rate * self.config.schedule.factor(step, self.total, self.config.warmup);
        let packs: Vec<Vec<&TokenExample>> = plan
            .packs
            .iter()
            .map(|p| p.iter().filter_map(|&i| self.lessons.examples.get(i)).collect())
            .collect();
        let windows =
            windows_of(self.done, self.config.keep.windows, self.lessons.keep.len(), self.config.seed);
        let keep: Vec<(usize, &[u32])> = windows.iter().map(|&i| (i, &self.lessons.keep[i][..])).collect();
        let (update, rewards) = match (&self.config.reinforce, &mut self.rounds) {
            (None, _) if self.config.preference.is_some() => {
                (self.learner.prefer(&self.config, step, rate, &plan.packs, &self.lessons, &keep)?, None)
            }
            (None, _) => (self.learner.update_keeping(&self.config, step, rate, &packs, &keep)?, None),
            (Some(how), Some(rounds)) => {
                let prompts: Vec<(usize, &TokenExample)> =
                    plan.examples().filter_map(|i| Some((i, self.lessons.examples.get(i)?))).collect();
                let (update, rewards) =
                    rounds.step(&mut self.learner, &self.config, how, step, rate, &prompts, &keep)?;
                (update, Some(rewards))
            }
            (Some(_), None) => {
                let problem = "nobody marks the answers: Trainer::practise comes first".to_string();
                return Err(TrainError::Setting { key: "reinforce", problem });
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        // the value of a policy's objective hovers around zero whatever it learns
        let climbing = match rewards {
            None => self.watch.see(&self.config.divergence, update.loss),
            Some(_) => None,
        };
        let metrics = StepMetrics {
            step,
            total_steps: self.total,
            epoch: plan.epoch + 1,
            loss: update.loss,
            keep: update.keep,
            preferred: update.preferred,
            rate,
            grad_norm: update.grad_norm,
            tokens: update.tokens,
            trained_tokens: update.trained_tokens,
            computed_tokens: update.computed_tokens,
            seconds,
            tok_s: update.tokens as f64 / seconds.max(1e-9),
            rss_bytes: rss(),
            rewards,
            diverging: climbing.is_some(),
        };
        self.metrics.append(&metrics)?;
        self.done = step;
        self.tokens.given += update.tokens;
        self.tokens.trained += update.trained_tokens;
        self.tokens.computed += update.computed_tokens;
        self.seconds += seconds;
        self.last_loss = update.loss;
        if let Some(mean) = climbing {
            self.climbing(step, mean)?;
        }
        let every = self.config.checkpoint_every;
        if step == self.total {
            self.checkpoint()?;
        } else if every > 0 && step.is_multiple_of(every) {
            self.begin_checkpoint()?;
        }
        Ok(Some(metrics))
    }

    fn climbing(&mut self, step: u64, mean: f64) -> Result<(), TrainError> {
        let best = self.watch.best.unwrap_or(mean);
        if self.config.divergence.action == OnDivergence::Stop {
            let window = self.config.divergence.window;
            return Err(TrainError::Diverged { step, mean, best, window });
        }
        if !self.warnings.iter().any(|w| matches!(w, Warning::Diverging { .. })) {
            self.warnings.push(Warning::Diverging { step, mean, best });
        }
        Ok(())
    }

    /// Writes a checkpoint of the steps done, unless there is one, and waits until it is on the disk.
    ///
    /// # Errors
    /// The disk; the older checkpoints are then untouched.
    pub fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.begin_checkpoint()?;
        self.writer.wait()
    }

    /// The same without waiting for the disk, where an adapter trains: its values are copied, and written while the loop
    /// goes on.
    fn begin_checkpoint(&mut self) -> Result<(), TrainError> {
        if self.saved == Some(self.done) || self.done == 0 || self.learner.memory.is_settled() {
            return Ok(());
        }
        let state = State::new(
            self.identity.clone(),
            self.done,
            self.tokens,
            self.seconds,
            self.last_loss,
            &self.watch,
        );
        if self.subject.lora().is_some() {
            // the one before it first: two copies at once are more memory than the forecast says
            self.writer.wait()?;
            let snapshot = Snapshot::new(state, &self.learner);
            self.writer.begin(&self.checkpoints, snapshot, self.metrics.handle()?)?;
        } else {
            self.metrics.sync()?;
            checkpoint::save(&self.checkpoints, &state, &checkpoint::tensors(&self.learner))?;
        }
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

    /// Ends a run whose steps are all done: what is saved from here on is the average of the weights, where the settings
    /// ask for one (`ema`), else the last ones.
    pub fn finish(&mut self) {
        if self.done >= self.total {
            self.learner.settle();
        }
    }

    /// What the run was, for whoever uses its result: its identity and the steps done.
    pub fn notes(&self) -> Map<String, Value> {
        let mut notes = Map::new();
        let id = &self.identity;
        for (key, value) in [
            ("base_sha256", json!(id.base_sha256)),
            ("config_sha256", json!(id.config_sha256)),
            ("data_sha256", json!(id.data_sha256)),
            ("steps", json!(self.done)),
            ("total_steps", json!(self.total)),
        ] {
            notes.insert(key.to_string(), value);
        }
        notes
    }

    /// Saves the adapter as a PEFT folder. `base` is the name of the base model that PEFT shall look for;
    /// `nurture.json` takes the identity of the run and the keys of `extra`. Equal runs give equal bytes.
    ///
    /// # Errors
    /// The disk, or a folder that holds something else; a run that trains no adapter.
    pub fn save_adapter(
        &self,
        folder: impl AsRef<Path>,
        base: Option<String>,
        extra: Map<String, Value>,
    ) -> Result<(), TrainError> {
        let Subject::Lora(lora) = &self.subject else {
            let problem = "the network itself was trained: there is no adapter to save".to_string();
            return Err(TrainError::Setting { key: "adapter", problem });
        };
        let mut notes = self.notes();
        notes.extend(extra);
        let scores = self.learner.head().filter(|_| self.config.scores()).map(|(values, _)| values.to_vec());
        let adapter = self.learner.adapter().clone().with_score(scores.unwrap_or_default());
        let tensors = adapter.tensors();
        let mut config = lora.peft_config(base);
        config.use_dora = self.config.dora;
        config.trainable_token_indices = adapter.tokens().ids().to_vec();
        if self.config.scores() {
            // as transformers' `…ForSequenceClassification` with one label
            config.task_type = Some("SEQ_CLS".to_string());
            config.modules_to_save = vec!["score".to_string()];
        }
        Ok(save_adapter(folder, &config, &tensors, Some(&Value::Object(notes)))?)
    }
}
