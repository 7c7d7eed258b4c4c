//! One stage: derived and forecast before anything begins, then trained.

use super::settings::{subject, train_config};
use super::teach::{base_name, recorded, system_text, train};
use super::{
    Context, Depth, Event, Training, Watch, cleaned, exams, facts, fit, folder, pack, read_json, rewards,
    samples, texts, write_json,
};
use crate::engine::{LoadOptions, Model};
use crate::recipe::{self, BaseFacts, DataFacts, InputHash, Loaded, Recipe, Resolved};
use crate::{network, said};
use anyhow::Result;
use nurture_hub::Pulled;
use nurture_train::{FORECAST, Forecast, Lessons, Outcome, RunFiles, Subject, TrainConfig, forecast};
use std::path::{Path, PathBuf};

/// What training took, beside its result.
pub(super) const OUTCOME: &str = "outcome.json";
/// Stacks of threads, code that is not loaded yet, gaps between blocks: measured, about the same for all recipes.
pub(super) const SLACK: u64 = 12 << 20;

/// Whether the training of a recipe is done.
pub(super) fn has_result(r: &Recipe) -> bool {
    let dir = r.run_dir();
    match &r.train.adapter {
        Some(_) => dir.join("adapter").join(nurture_formats::adapter::CONFIG_NAME).exists(),
        None => network::network_dir(&dir.join("model")).is_some(),
    }
}

/// A stage of which everything is known but what it begins with.
pub(super) struct Stage {
    /// the stage as a recipe of its own
    pub(super) loaded: Loaded,
    /// its folder
    pub(super) dir: PathBuf,
    pub(super) training: Training,
    pub(super) resolved: Resolved,
    /// windows of general text
    keep: Vec<Vec<u32>>,
    keep_inputs: Vec<InputHash>,
    /// what goes in
    pub(super) inputs: Vec<InputHash>,
}

impl Stage {
    /// Derives what the recipe leaves open. `model` is what the whole run begins with: a later stage begins with one of the
    /// same vocabulary and shape.
    pub(super) fn new(
        loaded: Loaded,
        training: Training,
        data: &DataFacts,
        model: &Model,
        base: &BaseFacts,
    ) -> Result<Stage> {
        let r = &loaded.recipe;
        let mut resolved = recipe::derive(r, data, base);
        if r.train.micro_tokens.is_none() && r.train.method != recipe::Method::Grpo {
            let (c, config) = (model.decoder().config(), train_config(r, &resolved, model)?);
            let more = pack::more_at_once(c, &subject(r, &resolved, model)?, &config, &training.tokens)?;
            more.into_iter().for_each(|tokens| resolved.at_once(tokens));
        }
        resolved.recall(&loaded);
        let (dir, keep, keep_inputs, inputs) = (r.run_dir(), Vec::new(), Vec::new(), Vec::new());
        Ok(Stage { loaded, dir, training, resolved, keep, keep_inputs, inputs })
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.loaded.recipe
    }

    pub(super) fn name(&self) -> &str {
        self.recipe().name()
    }

    /// Opens the general text on which breadth is kept.
    pub(super) fn keep(&mut self, model: &Model) -> Result<()> {
        (self.keep, self.keep_inputs) = texts::keep(self.recipe(), &self.resolved, model)?;
        Ok(())
    }

    /// Notes what goes in, `beside` what only the caller knows.
    pub(super) fn note(
        &mut self,
        reading: &exams::Reading,
        prompts: &[super::Prompts],
        beside: &[InputHash],
    ) -> Result<()> {
        let keep = std::mem::take(&mut self.keep_inputs);
        self.inputs = super::inputs::inputs(self.recipe(), reading, prompts, keep)?;
        self.inputs.extend_from_slice(beside);
        self.inputs.sort();
        Ok(())
    }

    /// Makes the folder this stage's, or sees that it is. Answers whether an earlier command has worked on it.
    pub(super) fn settle(
        &self,
        pulled: &Pulled,
        depth: &Depth,
        ctx: &Context,
        watch: &mut dyn Watch,
    ) -> Result<bool> {
        let begun =
            folder::settle(&self.dir, &self.loaded, &self.resolved, pulled, &self.inputs, ctx, watch)?;
        write_json(&self.dir.join("ledger.json"), &exams::ledger(&self.training, depth))?;
        cleaned::write_questions(&self.dir, &self.training.loaded.asked)?;
        Ok(begun)
    }

    /// What the stage will take. `bytes`: of the weights that it begins with; `beside`: what the process will hold besides.
    pub(super) fn forecast(
        &self,
        model: &Model,
        bytes: u64,
        beside: u64,
        fresh: bool,
        watch: &mut dyn Watch,
    ) -> Result<Forecast> {
        let r = self.recipe();
        let (subject, config) = (subject(r, &self.resolved, model)?, train_config(r, &self.resolved, model)?);
        let tokens = &self.training.tokens;
        let (decoder, threads) = (model.decoder(), model.cpu().pool().threads());
        let lengths: Vec<usize> = self.keep.iter().map(Vec::len).collect();
        let plan_of = |subject: &Subject, config: &TrainConfig| -> Result<Forecast> {
            let plan = forecast(decoder.config(), subject, config, tokens, bytes, threads)?;
            Ok(plan.keeping(decoder.config(), subject, config, &lengths)?.beside(beside + SLACK))
        };
        let plan = plan_of(&subject, &config)?;
        // what this process holds already is in the forecast too
        let room = facts::memory_available().map(|free| free + nurture_train::rss().unwrap_or(0));
        if let Some(room) = room.filter(|&room| plan.memory_bytes > room && (fresh || !has_result(r))) {
            watch.event(Event::Forecast(&plan));
            let longest = tokens.iter().map(|e| e.tokens.len()).chain(lengths.iter().copied()).max();
            let layers = decoder.config().layers;
            let need = |s: &Subject, c: &TrainConfig| Ok(plan_of(s, c)?.memory_bytes);
            let fit = fit::fitting(&subject, &config, layers, longest.unwrap_or(0), room, need)?;
            return Err(fit::too_large(plan.memory_bytes, room, fit.as_ref()).into());
        }
        let before = read_json::<Forecast>(&self.dir.join(FORECAST)).filter(|_| !fresh);
        Ok(match before {
            // the first forecast is the one that counts: what came later knows more
            Some(first) if first.tokens == plan.tokens => first,
            _ => match &config.reinforce {
                Some(how) => {
                    let tried = facts::practice_speed(model, &subject, &config, how, tokens)?;
                    plan.as_tried(decoder.config(), &subject, &config, tokens, tried)?
                }
                None => {
                    let (speed, beside) =
                        facts::training_speed(model, &subject, &config, tokens, &self.training.judged)?;
                    plan.at_speed(speed).with_steps_of(beside)
                }
            }
            .under(facts::ceiling(model)),
        })
    }

    /// Trains what the stage begins with, or takes up what an earlier command has trained.
    pub(super) fn train(
        &self,
        model: &Model,
        pulled: &Pulled,
        watch: &mut dyn Watch,
    ) -> Result<Option<Outcome>> {
        let (r, dir) = (self.recipe(), &self.dir);
        if has_result(r) {
            watch.event(Event::Reused(said!("training: done before", "训练：之前已完成")));
            return Ok(read_json(&dir.join(OUTCOME)));
        }
        watch.event(Event::Stage(said!("Training", "训练")));
        let (subject, config) = (subject(r, &self.resolved, model)?, train_config(r, &self.resolved, model)?);
        let lessons = Lessons {
            examples: self.training.tokens.clone(),
            keep: self.keep.clone(),
            judged: self.training.judged.clone(),
        };
        let files = RunFiles { folder: dir.clone(), base_sha256: pulled.sha256.clone() };
        let system = system_text(r, &self.training);
        let ask = |done| samples::Samples::open(dir, model, &r.train.samples, system.as_deref(), done);
        let practice = rewards::practice(r, model, pulled, &self.training, watch)?;
        let outcome = train(model, &subject, &config, lessons, practice, &files, watch, ask, |trainer| {
            // the result last: once it is there, training counts as done
            write_json(&dir.join(OUTCOME), &trainer.outcome())?;
            let extra = recorded(r, &self.training, pulled, model);
            match trainer.learner().network() {
                None => Ok(trainer.save_adapter(dir.join("adapter"), Some(base_name(r, pulled)), extra)?),
                Some(trained) => {
                    let mut notes = trainer.notes();
                    notes.extend(extra);
                    network::save(&dir.join("model"), model, trained, &notes)
                }
            }
        })?;
        Ok(Some(outcome))
    }

    /// How the stage trains.
    pub(super) fn config(&self, model: &Model) -> Result<TrainConfig> {
        train_config(self.recipe(), &self.resolved, model)
    }

    /// What trains, for the model that the stage begins with.
    pub(super) fn subject(&self, model: &Model) -> Result<Subject> {
        subject(self.recipe(), &self.resolved, model)
    }

    /// The network that the stage has trained.
    pub(super) fn network(&self, model: &Model) -> Result<Model> {
        open(self.recipe(), &self.dir.join("model"), model)
    }

    /// What the next stage begins with: the network, or adapter and base merged into one (in float32; once).
    pub(super) fn left(
        &self,
        model: &Model,
        pulled: &Pulled,
        network: Option<Model>,
    ) -> Result<(Model, Pulled)> {
        let folder = match &self.recipe().train.adapter {
            None => self.dir.join("model"),
            Some(_) => self.dir.join(recipe::MERGED),
        };
        if self.recipe().train.adapter.is_some() && network::network_dir(&folder).is_none() {
            let adapter = model.adapter(&self.dir.join("adapter"))?;
            let extra = recorded(self.recipe(), &self.training, pulled, model);
            network::save_merged(&folder, model, &adapter, &extra)?;
        }
        let model = match network {
            Some(network) => network,
            None => open(self.recipe(), &folder, model)?,
        };
        Ok((model, super::network_folder(&folder)?))
    }
}

/// A network of this run, with the template of the model that it came from.
fn open(r: &Recipe, folder: &Path, from: &Model) -> Result<Model> {
    let template = from.renderer().template();
    let options = LoadOptions {
        threads: r.train.threads.unwrap_or(0),
        recorded_template: Some((template.name().to_string(), template.source().to_string())),
        ..LoadOptions::default()
    };
    Model::load(folder, &options)
}
