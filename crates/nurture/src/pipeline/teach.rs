//! The training of a stage: steps until the last one, and what the result must remember.

use super::{Event, Stopped, Training, Watch, samples};
use crate::engine::Model;
use crate::recipe::Recipe;
use crate::{messages, said};
use anyhow::Result;
use nurture_hub::Pulled;
use nurture_train::reinforce::Practice;
use nurture_train::{Lessons, Outcome, RunFiles, Subject, TrainConfig, Trainer};
use serde_json::json;

/// The system prompt of the recipe with its labels.
pub(super) fn system_text(r: &Recipe, t: &Training) -> Option<String> {
    let labels = || t.loaded.labels.as_ref().map(|l| l.sorted().join(", ")).unwrap_or_default();
    r.data.system.as_ref().map(|s| s.replace("{labels}", &labels()))
}

/// By what name the base is found again: as the recipe calls it, and a newborn by its folder, where an adapter needs it.
pub(super) fn base_name(r: &Recipe, pulled: &Pulled) -> String {
    match r.train.adapter {
        Some(_) if r.model.base.is_none() => pulled.path.display().to_string(),
        _ => r.model.name().to_string(),
    }
}

/// What an adapter must remember to be used as it was trained.
pub(super) fn recorded(
    r: &Recipe,
    t: &Training,
    pulled: &Pulled,
    model: &Model,
) -> serde_json::Map<String, serde_json::Value> {
    let template = model.renderer().template();
    let system = system_text(r, t);
    // a path is kept as it was given, so that equal recipes give equal bytes
    let mut extra = serde_json::Map::new();
    extra.insert("base".into(), json!({ "name": base_name(r, pulled), "sha256": pulled.sha256 }));
    extra.insert("template".into(), json!({ "name": template.name(), "source": template.source() }));
    extra.insert("system".into(), json!(system));
    extra.insert("user".into(), json!(r.data.user));
    extra.insert("labels".into(), json!(t.loaded.labels.as_ref().map(|l| l.sorted().to_vec())));
    extra
}

/// Trains to the end and saves what came of it; goes on where an earlier command stopped.
#[allow(clippy::too_many_arguments)]
pub(super) fn train(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    lessons: Lessons,
    practice: Option<Practice<'_>>,
    files: &RunFiles,
    watch: &mut dyn Watch,
    ask: impl FnOnce(u64) -> Result<samples::Samples>,
    save: impl FnOnce(&Trainer<'_>) -> Result<()>,
) -> Result<Outcome> {
    let mut trainer = Trainer::resume(model.cpu(), model.decoder(), subject, config.clone(), lessons, files)?;
    if let Some(practice) = practice {
        trainer.practise(practice)?;
    }
    for w in trainer.warnings() {
        watch.event(Event::Warning(&messages::warning(w)));
    }
    let before = trainer.warnings().len();
    if trainer.steps_done() > 0 {
        let (done, all) = (trainer.steps_done(), trainer.total_steps());
        watch.event(Event::Reused(said!(
            "goes on after step {done} of {all}",
            "从第 {done} 步继续，共 {all} 步"
        )));
    }
    let samples = ask(trainer.steps_done())?;
    samples.catch_up(model, trainer.learner(), trainer.steps_done(), trainer.total_steps())?;
    while let Some(m) = trainer.step()? {
        watch.event(Event::Step(&m));
        samples.ask(model, trainer.learner(), m.step, m.total_steps)?;
        if watch.stopped() {
            break;
        }
    }
    trainer.checkpoint()?;
    let outcome = trainer.outcome();
    for w in trainer.warnings().iter().skip(before) {
        watch.event(Event::Warning(&messages::warning(w)));
    }
    if !outcome.finished {
        return Err(Stopped.into());
    }
    trainer.finish();
    save(&trainer)?;
    Ok(outcome)
}
