//! The whole recipe, stage by stage: base, textbooks, dial, forecast, exam of the base, training, exam of what was
//! raised, report. Silent: whoever runs it hears [`Event`]s.
//!
//! Each stage leaves its result in the run's folder, whole or not at all; the same recipe again takes up what is there.
//! `recipe.lock.toml` says what the results belong to; another recipe in the same folder is refused.

mod birth;
mod clean;
mod cleaned;
mod exams;
mod facts;
mod fit;
mod folder;
mod held_out;
mod journal;
mod judge;
mod pack;
mod prepare;
mod prompts;
mod report;
mod rewards;
mod samples;
mod teacher;
mod texts;

pub use birth::Born;
pub use clean::name as sensitive_name;
pub use cleaned::write_examples;
pub use exams::{Depth, Reading, overlaps};
pub use prepare::{ExamPaper, Textbooks, Training, items, render, textbooks};
pub use prompts::Prompts;
pub use report::reason_text;
pub use samples::{SAMPLES, Sample, read_samples};

use crate::engine::{LoadOptions, Model};
use crate::lang::{Lang, Said};
use crate::recipe::{self, BaseFacts, Derived, InputHash, Recipe, Resolved};
use crate::report::data::ReportData;
use crate::{messages, said};
use anyhow::{Context as _, Result, bail};
use nurture_data::SourceFound;
use nurture_formats::write_atomic;
use nurture_hub::{Progress as PullProgress, PullOptions, Pulled, Store, pull};
use nurture_model::{Adapter, Family, LoraSpec, PROJECTIONS};
use nurture_train::reinforce::Practice;
use nurture_train::{
    FORECAST, Forecast, Lessons, Outcome, RunFiles, RunLength, StepMetrics, Subject, TrainConfig, Trainer,
    forecast,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What happens, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage begins.
    Stage(Said),
    /// The base model is being pulled.
    Pull(PullProgress<'a>),
    /// The base model is here.
    Base(&'a Pulled),
    /// A data file was looked at.
    Source(&'a SourceFound),
    /// Every value of the run with its reason.
    Values(&'a [Derived]),
    /// What the run will take.
    Forecast(&'a Forecast),
    /// Something is done in part: `(what, done, all)`.
    Progress(&'a Said, usize, usize),
    /// A training step.
    Step(&'a StepMetrics),
    /// A stage was done by an earlier run of the same recipe.
    Reused(Said),
    /// An exam is over: `(name, right, of)`; for texts the perplexity.
    Marked(&'a str, Mark),
    /// What the reader must know.
    Warning(&'a Said),
}

/// A figure of one exam or text.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// right answers
    Right(usize, usize),
    /// mean score, items
    Score(f64, usize),
    /// perplexity
    Perplexity(f64),
    /// mean divergence from the base, nats a token
    Divergence(f64),
}

/// Whoever watches a run.
pub trait Watch {
    /// Hears what happens.
    fn event(&mut self, event: Event<'_>);
    /// Whether the run should stop at the next whole step.
    fn stopped(&self) -> bool;
    /// The value of an environment variable that the recipe names for a key; a program without an environment has none.
    fn variable(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
}

/// What a run needs to know beside its recipe.
#[derive(Debug)]
pub struct Context {
    /// where models are kept
    pub store: Store,
    /// how they are pulled
    pub pull: PullOptions,
    /// language of the report
    pub lang: Lang,
    /// the command that was typed, for the report
    pub command: String,
    /// throw away what an earlier run left in the folder
    pub fresh: bool,
    /// train (else only examine what is there)
    pub train: bool,
    /// examine and report
    pub eval: bool,
    /// the value of an environment variable, for the keys that a recipe names
    pub variable: fn(&str) -> Option<String>,
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Done {
    /// the run's folder
    pub dir: PathBuf,
    /// what the report says; `None` where nothing was examined
    pub report: Option<ReportData>,
    /// what training took
    pub outcome: Option<Outcome>,
}

/// The error of a run that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped; the same command goes on from here")]
pub struct Stopped;

const OUTCOME: &str = "outcome.json";
/// Stacks of threads, code that is not loaded yet, gaps between blocks: measured, about the same for all recipes.
const SLACK: u64 = 12 << 20;

/// What a recipe trains with: the base model, and the textbooks as the trainer will see them.
#[derive(Debug)]
pub struct Prepared {
    /// the base model's file
    pub pulled: Pulled,
    /// the base model with the tokenizer and template that every stage uses
    pub model: Model,
    /// what the dial needs to know of it
    pub base: BaseFacts,
    /// rows as token sequences with their loss masks
    pub training: Training,
    /// how the base model was born, where it was
    pub born: Option<Born>,
}

/// The first stages of a recipe: brings the base model and reads the textbooks. Writes nothing but the store.
///
/// # Errors
/// Whatever pulling, loading or a data file says.
pub fn prepare(r: &Recipe, store: &Store, options: &PullOptions, watch: &mut dyn Watch) -> Result<Prepared> {
    if r.model.new.is_none() {
        watch.event(Event::Stage(said!("Base model", "基座模型")));
    }
    let born = match &r.model.new {
        Some(new) => Some(birth::birth(r, new, store, options, watch)?),
        None => None,
    };
    let pulled = match &born {
        Some(born) => born.pulled.clone(),
        None if Path::new(r.model.name()).is_dir() => network_folder(Path::new(r.model.name()))?,
        None => pull(r.model.name(), store, options, &mut |p| watch.event(Event::Pull(p)))?,
    };
    watch.event(Event::Base(&pulled));
    let template =
        r.model.template.clone().or_else(|| pulled.entry.as_ref().and_then(|e| e.template.clone()));
    let recorded_template =
        crate::engine::recorded(&pulled.path).and_then(|extra| crate::engine::recorded_template(&extra));
    let threads = r.train.threads.unwrap_or(0);
    let options = LoadOptions { threads, template, recorded_template, ..LoadOptions::default() };
    let model = Model::load(&pulled.path, &options)?;

    watch.event(Event::Stage(said!("Textbooks", "教材")));
    let base = BaseFacts { params: model.decoder().parameters(), context: model.decoder().config().context };
    let training = prepare::training(r, &model, recipe::max_len(r, &base), watch)?;
    Ok(Prepared { pulled, model, base, training, born })
}

/// A network in Hugging Face's form as the base: its folder, or the folder of the run that trained it.
fn network_folder(path: &Path) -> Result<Pulled> {
    let inner = path.join("model");
    let folder = if inner.join(crate::network::WEIGHTS).is_file() { inner } else { path.to_path_buf() };
    let weights = folder.join(crate::network::WEIGHTS);
    if !weights.is_file() {
        let (path, file) = (path.display(), crate::network::WEIGHTS);
        bail!(said!(
            "{path}: no network lies here ({file} is missing); a run that trained an adapter is exported first (nurture export)",
            "{path}：这里没有网络（缺 {file}）；训练适配器的运行请先导出（nurture export）"
        ));
    }
    let bytes = weights.metadata().with_context(|| weights.display().to_string())?.len();
    Ok(Pulled {
        sha256: sha256_of(&weights)?,
        bytes,
        source: "local".to_string(),
        path: folder,
        already: true,
        entry: None,
    })
}

/// Runs a recipe.
///
/// # Errors
/// Whatever any stage says; [`Stopped`] where the watcher wanted it to stop.
pub fn run(loaded: &recipe::Loaded, ctx: &Context, watch: &mut dyn Watch) -> Result<Done> {
    let began = Instant::now();
    let r = &loaded.recipe;
    let dir = r.run_dir();
    let adapter_dir = dir.join("adapter");
    let network_dir = dir.join("model");
    let has_result = || match &r.train.adapter {
        Some(_) => adapter_dir.join(nurture_formats::adapter::CONFIG_NAME).exists(),
        None => crate::network::network_dir(&network_dir).is_some(),
    };
    if !ctx.train && !has_result() {
        let dir = dir.display();
        bail!(said!(
            "{dir}: nothing was trained yet; nurture train (or run) does it",
            "{dir}：还没有训练结果；先用 nurture train（或 run）训练"
        ));
    }
    let judge = if ctx.eval { judge::endpoint(r, &ctx.variable)? } else { None };
    // a folder that is there is taken at once; one that is not is made only when the recipe has proven possible
    let taken = if dir.exists() { Some(folder::take(&dir)?) } else { None };

    let Prepared { pulled, model, base, training, born } = prepare(r, &ctx.store, &ctx.pull, watch)?;
    let papers = prepare::exams(r, &training.loaded, &training.held, watch)?;
    let mut resolved = recipe::derive(r, &prepare::facts(r, &training, &papers), &base);
    if r.train.micro_tokens.is_none() && r.train.method != recipe::Method::Grpo {
        let (c, config) = (model.decoder().config(), train_config(r, &resolved, &model)?);
        let more = pack::more_at_once(c, &subject(r, &resolved, &model)?, &config, &training.tokens)?;
        more.into_iter().for_each(|tokens| resolved.at_once(tokens));
    }
    resolved.recall(loaded);
    let quick = r.train.effort == recipe::Effort::Quick;
    let mut depth = exams::draw(r, papers, &resolved, &training, watch)?;
    let texts = exams::texts(r, &training.held, &model, quick)?;
    watch.event(Event::Values(&resolved.values));
    let (keep, keep_inputs) = texts::keep(r, &resolved, &model)?;

    let mut prompts = prompts::open(r, quick)?;
    let mut inputs = inputs(r, &texts, &prompts, keep_inputs)?;
    inputs.extend(born.iter().flat_map(|b| b.inputs.iter().cloned()));
    inputs.sort();
    let _taken = match taken {
        Some(taken) => taken,
        None => folder::take(&dir)?,
    };
    let begun_before = folder::settle(&dir, loaded, &resolved, &pulled, &inputs, ctx, watch)?;
    write_json(&dir.join("ledger.json"), &exams::ledger(&training, &depth))?;
    cleaned::write_questions(&dir, &training.loaded.asked)?;

    let subject = subject(r, &resolved, &model)?;
    let config = train_config(r, &resolved, &model)?;
    let decoder = model.decoder();
    let threads = model.cpu().pool().threads();
    let bytes = decoder.weight_bytes() as u64;
    let lengths: Vec<usize> = keep.iter().map(Vec::len).collect();
    let held = nurture_train::rss().unwrap_or(0).saturating_sub(bytes);
    let plan_of = |subject: &Subject, config: &TrainConfig| -> Result<Forecast> {
        let plan = forecast(decoder.config(), subject, config, &training.tokens, bytes, threads)?;
        Ok(plan.keeping(decoder.config(), subject, config, &lengths)?.beside(held + SLACK))
    };
    let mut plan = plan_of(&subject, &config)?;
    let trained = has_result();
    // what this process holds already is in the forecast too
    let room = facts::memory_available().map(|free| free + nurture_train::rss().unwrap_or(0));
    if let Some(room) = room.filter(|&room| plan.memory_bytes > room && !trained) {
        watch.event(Event::Forecast(&plan));
        let longest = training.tokens.iter().map(|e| e.tokens.len()).chain(lengths.iter().copied()).max();
        let layers = decoder.config().layers;
        let need = |s: &Subject, c: &TrainConfig| Ok(plan_of(s, c)?.memory_bytes);
        let fit = fit::fitting(&subject, &config, layers, longest.unwrap_or(0), room, need)?;
        return Err(too_large(plan.memory_bytes, room, fit.as_ref()).into());
    }
    let forecast_file = dir.join(FORECAST);
    plan = match read_json::<Forecast>(&forecast_file) {
        // the first forecast is the one that counts: what came later knows more
        Some(first) if first.tokens == plan.tokens => first,
        // how long the answers become is not known before: the first steps tell the time
        _ if config.reinforce.is_some() => plan.under(facts::ceiling(&model)),
        _ => {
            let (speed, beside) =
                facts::training_speed(&model, &subject, &config, &training.tokens, &training.judged)?;
            plan.at_speed(speed).with_steps_of(beside).under(facts::ceiling(&model))
        }
    };
    plan.write(&forecast_file)?;
    watch.event(Event::Forecast(&plan));

    if ctx.eval && !depth.exams.is_empty() {
        watch.event(Event::Stage(said!("Exam of the base", "基座考试")));
        depth.sit(&dir, &model, &pulled, Tuned::No, watch)?;
    }

    let outcome = if trained {
        watch.event(Event::Reused(said!("training: done before", "训练：之前已完成")));
        read_json(&dir.join(OUTCOME))
    } else {
        watch.event(Event::Stage(said!("Training", "训练")));
        let lessons = Lessons {
            examples: training.tokens.clone(),
            keep: keep.clone(),
            judged: training.judged.clone(),
        };
        let files = RunFiles { folder: dir.clone(), base_sha256: pulled.sha256.clone() };
        let system = system_text(r, &training);
        let ask = |done| samples::Samples::open(&dir, &model, &r.train.samples, system.as_deref(), done);
        let practice = rewards::practice(r, &model, &training, watch)?;
        let outcome = train(&model, &subject, &config, lessons, practice, &files, watch, ask, |trainer| {
            // the result last: once it is there, training counts as done
            write_json(&dir.join(OUTCOME), &trainer.outcome())?;
            let extra = recorded(r, &training, &pulled, &model);
            match trainer.learner().network() {
                None => Ok(trainer.save_adapter(&adapter_dir, Some(base_name(r, &pulled)), extra)?),
                Some(network) => {
                    let mut notes = trainer.notes();
                    notes.extend(extra);
                    crate::network::save(&network_dir, &model, network, &notes)
                }
            }
        })?;
        Some(outcome)
    };
    if !ctx.eval {
        return Ok(Done { dir, report: None, outcome });
    }

    if !depth.exams.is_empty() {
        watch.event(Event::Stage(said!("Exam of what was raised", "养成后的考试")));
    }
    // what is examined is what was saved
    let (adapter, network);
    let tuned = match &subject {
        Subject::Lora(_) => {
            adapter = model.adapter(&adapter_dir)?;
            Tuned::Adapter(&adapter, &adapter_dir)
        }
        Subject::Full { .. } => {
            let template = model.renderer().template();
            let recorded = (template.name().to_string(), template.source().to_string());
            let options = LoadOptions {
                threads: r.train.threads.unwrap_or(0),
                recorded_template: Some(recorded),
                ..LoadOptions::default()
            };
            network = Model::load(&network_dir, &options)?;
            Tuned::Network(&network, &network_dir)
        }
    };
    depth.sit(&dir, &model, &pulled, tuned, watch)?;
    if let (Some(judge), Some(how)) = (&judge, &r.eval.judge) {
        let model = judge.model();
        watch.event(Event::Stage(said!(
            "Judgement by {model}, each pair in both orders",
            "由 {model} 评判，每对回答两种顺序"
        )));
        depth.judge(&dir, judge, how.max_tokens, watch)?;
    }
    let mut reading = texts;
    if !reading.texts.is_empty() {
        watch.event(Event::Stage(said!("Reading: perplexity of texts", "阅读：文本的困惑度")));
    }
    reading.read(&dir, &model, &pulled, Tuned::No, watch)?;
    reading.read(&dir, &model, &pulled, tuned, watch)?;
    if !prompts.is_empty() {
        watch.event(Event::Stage(said!(
            "General prompts: the base answers, both read",
            "通用提示：基座作答，两者都读"
        )));
    }
    for set in &mut prompts {
        set.read(&dir, &model, &pulled, tuned, watch)?;
    }

    watch.event(Event::Stage(said!("Report", "报告")));
    let data = report::put_together(&report::Parts {
        dir: &dir,
        loaded,
        ctx,
        pulled: &pulled,
        model: &model,
        subject: &subject,
        tuned,
        training: &training,
        resolved: &resolved,
        depth: &depth,
        reading: &reading,
        prompts: &prompts,
        forecast: &plan,
        outcome: outcome.as_ref(),
        inputs: &inputs,
        born: born.as_ref(),
        seconds: match begun_before {
            false => Some(began.elapsed().as_secs_f64()),
            // the time of a run done in several goes is not known; of one that was done, it stands in its report
            true => read_json::<ReportData>(&dir.join("report.json")).and_then(|r| r.outcome.total_seconds),
        },
    })?;
    write_json(&dir.join("report.json"), &data)?;
    write_atomic(dir.join("report.md"), crate::report::markdown(&data, ctx.lang).as_bytes())?;
    write_atomic(dir.join("report.html"), crate::report::html(&data, ctx.lang).as_bytes())?;
    Ok(Done { dir, report: Some(data), outcome })
}

/// The refusal of a run that needs more memory than there is.
fn too_large(need: u64, room: u64, fit: Option<&fit::Fit>) -> Said {
    let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let (need, room) = (gb(need), gb(room));
    match fit {
        Some(fit) => {
            let (typed, with) = (fit.typed(), gb(fit.bytes));
            said!(
                "training needs about {need} of memory, there are {room}; with {typed} it takes about {with}",
                "训练约需 {need} 内存，只有 {room}；加上 {typed} 约需 {with}"
            )
        }
        None => said!(
            "training needs about {need} of memory, there are {room}, and no setting makes it fit: take a smaller base model, or a machine with more memory",
            "训练约需 {need} 内存，只有 {room}，怎样设置都放不下：请换更小的基座模型，或内存更大的机器"
        ),
    }
}

/// What trains: the adapter of the recipe, or the network.
fn subject(r: &Recipe, resolved: &Resolved, model: &Model) -> Result<Subject> {
    let Some(a) = &r.train.adapter else {
        crate::network::check(model)?;
        return Ok(Subject::full(model.decoder(), r.train.freeze.clone()));
    };
    let c = model.decoder().config();
    if c.family == Family::Gpt2 {
        bail!(said!(
            "a GPT-2 keeps q, k and v in one matrix, to which LoRA as other tools know it does not fit: train the network itself, without train.adapter",
            "GPT-2 的 q、k、v 在同一个矩阵里，与其他工具所用的 LoRA 对不上：请去掉 train.adapter，直接训练网络本身"
        ));
    }
    let names = a.modules();
    let targets: Vec<_> =
        PROJECTIONS.into_iter().filter(|p| names.contains(&p.name()) && c.has(*p)).collect();
    if targets.is_empty() {
        bail!(said!(
            "train.adapter.targets: this base has none of these projections (experts carry no adapters)",
            "train.adapter.targets：这个基座没有这些投影（专家不带适配器）"
        ));
    }
    // beginning as the strongest part of each weight takes two halves, at the same scale
    let (rank, alpha) = match a.init {
        recipe::AdapterInit::Random => (a.rank, resolved.alpha),
        recipe::AdapterInit::Pissa if a.rslora => (2 * a.rank, resolved.alpha * 2f64.sqrt()),
        recipe::AdapterInit::Pissa => (2 * a.rank, resolved.alpha * 2.0),
    };
    Ok(LoraSpec { rank, alpha, rslora: a.rslora, targets }.into())
}

/// The ids of tokens that the recipe names.
fn own_tokens(names: &[String], model: &Model) -> Result<Vec<u32>> {
    names
        .iter()
        .map(|name| {
            model.tokenizer().id(name).ok_or_else(|| {
                said!(
                    "train.adapter.tokens: \"{name}\" is no token of this base's vocabulary: name one that is there, such as a reserved one",
                    "train.adapter.tokens：\"{name}\" 不是该基座词表里的词元：请写词表里已有的，例如保留词元"
                )
                .into()
            })
        })
        .collect()
}

fn train_config(recipe: &Recipe, r: &Resolved, model: &Model) -> Result<TrainConfig> {
    let adapter = recipe.train.adapter.as_ref();
    Ok(TrainConfig {
        recompute: recipe.train.recompute,
        optimiser: match recipe.train.optimiser {
            recipe::Optimiser::AdamW => nurture_train::Optimiser::AdamW,
            recipe::Optimiser::AdamW8 => nurture_train::Optimiser::AdamW8,
            recipe::Optimiser::Muon => nurture_train::Optimiser::Muon,
            recipe::Optimiser::ScheduleFree => nurture_train::Optimiser::ScheduleFree,
        },
        label_smoothing: recipe.train.label_smoothing,
        z_loss: recipe.train.z_loss,
        neftune: recipe.train.neftune,
        ema: recipe.train.ema,
        init: match adapter.map(|a| a.init) {
            Some(recipe::AdapterInit::Pissa) => nurture_train::Init::Principal,
            _ => nurture_train::Init::Random,
        },
        b_ratio: adapter.map_or(1.0, |a| a.b_ratio),
        dora: adapter.is_some_and(|a| a.dora),
        tokens: own_tokens(adapter.map_or(&[], |a| &a.tokens), model)?,
        length: RunLength::Steps(r.steps as u64),
        batch: r.batch,
        micro_tokens: r.micro_tokens,
        rate: r.rate,
        warmup: r.warmup_steps as u64,
        schedule: match r.schedule {
            recipe::Schedule::Cosine => nurture_train::Schedule::Cosine,
            recipe::Schedule::Linear => nurture_train::Schedule::Linear,
            recipe::Schedule::Constant => nurture_train::Schedule::Constant,
            recipe::Schedule::Wsd => nurture_train::Schedule::Wsd,
        },
        weight_decay: r.weight_decay,
        clip: r.clip,
        divergence: nurture_train::Divergence {
            action: match recipe.train.on_divergence {
                recipe::OnDivergence::Stop => nurture_train::OnDivergence::Stop,
                recipe::OnDivergence::Warn => nurture_train::OnDivergence::Warn,
                recipe::OnDivergence::Off => nurture_train::OnDivergence::Off,
            },
            ..nurture_train::Divergence::default()
        },
        keep: nurture_train::Keep {
            windows: r.keep_windows.0,
            strength: if r.keep_windows.0 > 0 { r.keep_strength } else { 0.0 },
        },
        preference: preference(recipe),
        seed: r.seed,
        checkpoint_every: r.checkpoint_every as u64,
        reinforce: rewards::settings(recipe),
        ..TrainConfig::default()
    })
}

/// What answers are compared by, where they are.
fn preference(r: &Recipe) -> Option<nurture_train::Preference> {
    use nurture_train::{DpoLoss, PreferenceMethod};
    let p = &r.train.preference;
    Some(nurture_train::Preference {
        method: match r.train.method {
            recipe::Method::Dpo => PreferenceMethod::Dpo,
            recipe::Method::Kto => PreferenceMethod::Kto,
            recipe::Method::Orpo => PreferenceMethod::Orpo,
            recipe::Method::Simpo => PreferenceMethod::Simpo,
            _ => return None,
        },
        loss: match p.loss {
            recipe::DpoLoss::Sigmoid => DpoLoss::Sigmoid,
            recipe::DpoLoss::Hinge => DpoLoss::Hinge,
            recipe::DpoLoss::Ipo => DpoLoss::Ipo,
            recipe::DpoLoss::Robust => DpoLoss::Robust,
        },
        beta: r.train.beta(),
        label_smoothing: p.label_smoothing,
        gamma: p.gamma,
        sft: p.sft,
        desirable: p.desirable,
        undesirable: p.undesirable,
    })
}

/// The system prompt of the recipe with its labels.
fn system_text(r: &Recipe, t: &Training) -> Option<String> {
    let labels = || t.loaded.labels.as_ref().map(|l| l.sorted().join(", ")).unwrap_or_default();
    r.data.system.as_ref().map(|s| s.replace("{labels}", &labels()))
}

/// By what name the base is found again: as the recipe calls it, and a newborn by its folder, where an adapter needs it.
fn base_name(r: &Recipe, pulled: &Pulled) -> String {
    match r.train.adapter {
        Some(_) if r.model.base.is_none() => pulled.path.display().to_string(),
        _ => r.model.name().to_string(),
    }
}

/// What an adapter must remember to be used as it was trained.
fn recorded(
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

#[allow(clippy::too_many_arguments)]
fn train(
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

/// Hashes of everything that goes in.
fn inputs(r: &Recipe, texts: &Reading, prompts: &[Prompts], keep: Vec<InputHash>) -> Result<Vec<InputHash>> {
    let mut out = keep;
    let mut add = |role: &str, path: &Path| -> Result<()> {
        let (sha256, bytes) = input_hash(path)?;
        out.push(InputHash { role: role.to_string(), path: path.display().to_string(), sha256, bytes });
        Ok(())
    };
    r.data.train.iter().try_for_each(|s| add("train", &s.path))?;
    if r.data.questions.teacher.is_some() {
        add("teacher", &r.run_dir().join(teacher::JOURNAL))?;
    }
    let role = |general| if general { "breadth" } else { "depth" };
    for exams in [(&r.eval.depth, false), (&r.eval.breadth_exams, true)] {
        exams.0.iter().try_for_each(|e| add(role(exams.1), &e.path))?;
        exams.0.iter().filter_map(|e| e.shots_from.as_ref()).try_for_each(|p| add("shots", p))?;
    }
    out.extend(texts.inputs());
    out.extend(prompts.iter().map(Prompts::input));
    out.sort();
    Ok(out)
}

/// Hash and bytes of a source: of a file its own; of a folder that of all names and hashes below it. A
/// `dataset_info.json` stands for the files beside it.
fn input_hash(path: &Path) -> Result<(String, u64)> {
    let folder = if path.ends_with("dataset_info.json") { path.parent() } else { None }.unwrap_or(path);
    if !folder.is_dir() {
        let bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        return Ok((sha256_of(path)?, bytes));
    }
    let (mut names, mut all) = (String::new(), 0);
    for file in nurture_data::files_below(folder)? {
        let hash = sha256_of(&file)?;
        all += std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        names += &format!("{hash}  {name}\n");
    }
    Ok((sha256(names.as_bytes()), all))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(write_atomic(path, &text)?)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Hash of a file of any size.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match file.read(&mut piece).with_context(|| path.display().to_string())? {
            0 => break,
            n => hash.update(piece.get(..n).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Who sits an exam: the base, or what was raised from it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tuned<'a> {
    /// the base
    No,
    /// the base with an adapter, in its folder
    Adapter(&'a Adapter, &'a Path),
    /// a network of its own, in its folder
    Network(&'a Model, &'a Path),
}

impl<'a> Tuned<'a> {
    /// The model that computes.
    fn model(self, base: &'a Model) -> &'a Model {
        match self {
            Tuned::Network(model, _) => model,
            _ => base,
        }
    }

    fn adapter(self) -> Option<&'a Adapter> {
        match self {
            Tuned::Adapter(adapter, _) => Some(adapter),
            _ => None,
        }
    }

    /// Hash of the weights that were trained.
    fn sha256(self) -> Result<Option<String>> {
        match self {
            Tuned::No => Ok(None),
            Tuned::Adapter(_, dir) => sha256_of(&dir.join(nurture_formats::adapter::WEIGHTS_NAME)).map(Some),
            Tuned::Network(_, dir) => sha256_of(&dir.join(crate::network::WEIGHTS)).map(Some),
        }
    }
}
