//! The whole recipe: base, textbooks, dial, forecast, exam of the base, training, exam of what was raised, report.
//! Silent: whoever runs it hears [`Event`]s.
//!
//! A recipe is a stage, or several (`[[then]]`), each of which begins with what the one before left. All of them sit the
//! exams that were drawn in the beginning, and are compared with the first base. What a stage leaves lies in its folder,
//! whole or not at all; the same recipe again takes up what is there. `recipe.lock.toml` says what the results belong to;
//! another recipe in the same folder is refused.

mod birth;
mod clean;
mod cleaned;
mod exams;
mod facts;
mod fit;
mod folder;
mod held_out;
mod inputs;
mod journal;
mod judge;
mod judges;
mod pack;
mod pairs;
mod prepare;
mod prompts;
mod report;
mod rewards;
mod road;
mod samples;
mod settings;
mod stage;
mod teach;
mod teacher;
mod texts;
mod who;

pub use birth::Born;
pub use clean::name as sensitive_name;
pub use cleaned::write_examples;
pub use exams::{Depth, Reading, overlaps};
pub use pairs::PairReport;
pub use prepare::{ExamPaper, Textbooks, Training, items, render, textbooks};
pub use prompts::Prompts;
pub use report::reason_text;
pub use samples::{SAMPLES, Sample, read_samples};

pub(crate) use inputs::{sha256, sha256_of};
pub(crate) use pairs::markdown as pair_markdown;
pub(crate) use who::Tuned;

use crate::engine::{LoadOptions, Model};
use crate::lang::{Lang, Said};
use crate::recipe::{self, BaseFacts, Derived, Loaded, Recipe};
use crate::report::data::ReportData;
use crate::said;
use anyhow::{Context as _, Result, bail};
use fit::too_large;
use inputs::{read_json, write_json};
use nurture_data::SourceFound;
use nurture_formats::write_atomic;
use nurture_hub::{Progress as PullProgress, PullOptions, Pulled, Store, pull};
use nurture_train::{Forecast, Outcome, StepMetrics, Subject};
use stage::{OUTCOME, Stage};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use teach::train;

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
    /// What one stage of several will take.
    Planned(&'a str, &'a Forecast),
    /// What all stages will take together.
    Road(Road),
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

/// The forecast of several stages.
#[derive(Clone, Copy, Debug)]
pub struct Road {
    /// how many stages
    pub stages: usize,
    /// seconds of training of those whose time is known
    pub seconds: f64,
    /// steps of practice, whose time the first of them tell
    pub practice: u64,
    /// peak memory
    pub memory_bytes: u64,
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
    if r.model.seq2seq.is_some() {
        bail!(said!(
            "model.seq2seq: this command is for decoders; nurture run, train and eval take such a recipe",
            "model.seq2seq：该命令用于解码器；这类配方请用 nurture run、train 或 eval"
        ));
    }
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
pub fn run(loaded: &Loaded, ctx: &Context, watch: &mut dyn Watch) -> Result<Done> {
    if let Some(how) = &loaded.recipe.model.seq2seq {
        return pairs::run(loaded, how, ctx, watch);
    }
    let began = Instant::now();
    let dir = loaded.recipe.run_dir();
    let all = loaded.stages();
    let several = all.len() > 1;
    if let Some(none) = all.iter().find(|l| !ctx.train && !stage::has_result(&l.recipe)) {
        let dir = none.recipe.run_dir();
        let dir = dir.display();
        bail!(said!(
            "{dir}: nothing was trained yet; nurture train (or run) does it",
            "{dir}：还没有训练结果；先用 nurture train（或 run）训练"
        ));
    }
    let judge = if ctx.eval { judge::endpoint(&loaded.recipe, &ctx.variable)? } else { None };
    // a folder that is there is taken at once; one that is not is made only when the recipe has proven possible
    let taken = if dir.exists() { Some(folder::take(&dir)?) } else { None };

    let Some(first) = all.first().map(|l| l.recipe.clone()) else { bail!("no stage") };
    let Prepared { pulled, model, base, training, born } = prepare(&first, &ctx.store, &ctx.pull, watch)?;
    let mut names = exams::Names::default();
    let papers = prepare::exams(&first, &training.loaded, &training.held, &mut names, watch)?;
    let mut stages: Vec<Stage> = Vec::new();
    let mut training = Some(training);
    for loaded in all {
        let name = loaded.recipe.name();
        let books = match training.take() {
            Some(books) => books,
            None => {
                watch.event(Event::Stage(said!("Textbooks of {name}", "{name} 的教材")));
                prepare::training(&loaded.recipe, &model, recipe::max_len(&loaded.recipe, &base), watch)?
            }
        };
        let data = prepare::facts(&loaded.recipe, &books, &papers);
        stages.push(Stage::new(loaded, books, &data, &model, &base)?);
    }
    let quick = first.train.effort == recipe::Effort::Quick;
    // an exam must share nothing with what any stage learns from
    let books: Cow<'_, [nurture_data::Example]> = match &stages[..] {
        [only] => Cow::Borrowed(&only.training.loaded.examples[..]),
        more => more.iter().flat_map(|s| s.training.loaded.examples.iter().cloned()).collect(),
    };
    let plans = stages.first().map(|s| s.resolved.exams.clone()).unwrap_or_default();
    let redacted: Vec<_> = stages.iter().flat_map(|s| clean::redacted(s.recipe())).collect();
    let mut depth = exams::draw(&first, papers, &plans, &books, &redacted, watch)?;
    drop(books);
    let held = stages.first().map(|s| &s.training.held[..]).unwrap_or_default();
    let mut reading = exams::texts(&first, held, model.tokenizer(), quick, &mut names)?;
    for s in &mut stages {
        if several {
            let name = s.name();
            watch.event(Event::Stage(said!("Values of {name}", "{name} 的取值")));
        }
        watch.event(Event::Values(&s.resolved.values));
        s.keep(&model)?;
    }
    let mut prompts = prompts::open(&first, quick, &mut names)?;
    let born_of: Vec<_> = born.iter().flat_map(|b| b.inputs.iter().cloned()).collect();
    for (i, s) in stages.iter_mut().enumerate() {
        s.note(&reading, &prompts, if i == 0 { &born_of } else { &[] })?;
    }
    let _taken = match taken {
        Some(taken) => taken,
        None => folder::take(&dir)?,
    };
    let mut begun_before = match (several, stages.first()) {
        (false, Some(only)) => only.settle(&pulled, &depth, ctx, watch)?,
        _ => {
            folder::settle_stages(&dir, loaded, &stages, &pulled, ctx)?;
            false
        }
    };
    let plans = forecasts(&stages, &model, ctx, watch)?;

    // what the stage begins with, from the second one on
    let mut before: Option<(Model, Pulled)> = None;
    let mut done: Vec<road::StageDone> = Vec::new();
    let mut outcome = None;
    let last = stages.len().saturating_sub(1);
    let ground_dir = stages.first().map(|s| s.dir.clone()).unwrap_or_default();
    for (i, (s, plan)) in stages.iter().zip(&plans).enumerate() {
        let stage_began = Instant::now();
        let (own, own_pulled) = before.as_ref().map_or((&model, &pulled), |(m, p)| (m, p));
        let mut begun = begun_before;
        let mut _taken = None;
        if several {
            let (name, of) = (s.name(), stages.len());
            let at = i + 1;
            watch.event(Event::Stage(said!("Stage {at} of {of}: {name}", "阶段 {at}/{of}：{name}")));
            _taken = Some(folder::take(&s.dir)?);
            begun = s.settle(own_pulled, &depth, ctx, watch)?;
            begun_before |= begun;
        }
        plan.write(s.dir.join(nurture_train::FORECAST))?;
        if i == 0 && ctx.eval && !depth.exams.is_empty() {
            watch.event(Event::Stage(said!("Exam of the base", "基座考试")));
            depth.sit(&s.dir, &model, &pulled, Tuned::No, watch)?;
        }
        outcome = s.train(own, own_pulled, watch)?;
        let mut network = None;
        if ctx.eval {
            if !depth.exams.is_empty() {
                watch.event(Event::Stage(said!("Exam of what was raised", "养成后的考试")));
            }
            // what is examined is what was saved
            let subject = s.subject(own)?;
            let (adapter_dir, network_dir) = (s.dir.join("adapter"), s.dir.join("model"));
            let adapter;
            let tuned = match &subject {
                Subject::Lora(_) => {
                    adapter = own.adapter(&adapter_dir)?;
                    Tuned::Adapter(&adapter, &adapter_dir)
                }
                Subject::Full { .. } => Tuned::Network(network.insert(s.network(own)?), &network_dir),
            };
            let earlier = depth.results_of_tuned();
            depth.sit(&s.dir, own, own_pulled, tuned, watch)?;
            let since = depth.since(&earlier)?;
            if let (Some(judge), Some(how)) = (&judge, &first.eval.judge) {
                let model = judge.model();
                watch.event(Event::Stage(said!(
                    "Judgement by {model}, each pair in both orders",
                    "由 {model} 评判，每对回答两种顺序"
                )));
                depth.judge(&s.dir, judge, how.max_tokens, watch)?;
            }
            if !reading.texts.is_empty() {
                watch.event(Event::Stage(said!("Reading: perplexity of texts", "阅读：文本的困惑度")));
            }
            if i == 0 {
                reading.read(&s.dir, &model, &pulled, Tuned::No, watch)?;
            }
            reading.read(&s.dir, own, own_pulled, tuned, watch)?;
            if !prompts.is_empty() {
                watch.event(Event::Stage(said!(
                    "General prompts: the base answers, both read",
                    "通用提示：基座作答，两者都读"
                )));
            }
            for set in &mut prompts {
                let base = exams::Sitting::new(&ground_dir, &model, &pulled, Tuned::No)?;
                let raised = exams::Sitting::new(&s.dir, own, own_pulled, tuned)?;
                set.read(&base, &raised, watch)?;
            }
            if i == last {
                watch.event(Event::Stage(said!("Report", "报告")));
            }
            let data = report::put_together(&report::Parts {
                dir: &s.dir,
                loaded: &s.loaded,
                ctx,
                pulled: &pulled,
                model: &model,
                subject: &subject,
                config: &s.config(own)?,
                tuned,
                training: &s.training,
                resolved: &s.resolved,
                depth: &depth,
                reading: &reading,
                prompts: &prompts,
                forecast: plan,
                outcome: outcome.as_ref(),
                inputs: &s.inputs,
                born: born.as_ref().filter(|_| i == 0),
                seconds: match begun {
                    false if several => Some(stage_began.elapsed().as_secs_f64()),
                    false => Some(began.elapsed().as_secs_f64()),
                    // the time of a run done in several goes is not known; of one that was done, it stands in its report
                    true => {
                        read_json::<ReportData>(&s.dir.join(REPORT)).and_then(|r| r.outcome.total_seconds)
                    }
                },
            })?;
            write_report(&s.dir, &data, ctx.lang)?;
            done.push(road::StageDone { data, since, method: s.recipe().train.method });
        }
        if i < last {
            before = Some(s.left(own, own_pulled, network)?);
        }
    }
    if !ctx.eval {
        return Ok(Done { dir, report: None, outcome });
    }
    let data = if several {
        let seconds = match begun_before {
            false => Some(began.elapsed().as_secs_f64()),
            true => read_json::<ReportData>(&dir.join(REPORT)).and_then(|r| r.outcome.total_seconds),
        };
        let data = road::whole(&loaded.recipe, &ctx.command, done, seconds)?;
        write_report(&dir, &data, ctx.lang)?;
        data
    } else {
        done.pop().map(|d| d.data).unwrap_or_default()
    };
    Ok(Done { dir, report: Some(data), outcome })
}

const REPORT: &str = "report.json";
/// Pictures of a run of several stages.
const FIGURES: &str = "figures";

pub(crate) fn write_report(dir: &Path, data: &ReportData, lang: Lang) -> Result<()> {
    write_json(&dir.join(REPORT), data)?;
    write_atomic(dir.join("report.md"), crate::report::markdown(data, lang).as_bytes())?;
    write_atomic(dir.join("report.html"), crate::report::html(data, lang).as_bytes())?;
    let figures = crate::report::figures(data, lang);
    if !figures.is_empty() {
        let folder = dir.join(FIGURES);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, svg) in figures {
            write_atomic(folder.join(format!("{name}.svg")), svg.as_bytes())?;
        }
    }
    Ok(())
}

/// What each stage will take, all before the first begins.
fn forecasts(stages: &[Stage], model: &Model, ctx: &Context, watch: &mut dyn Watch) -> Result<Vec<Forecast>> {
    let bytes = model.decoder().weight_bytes() as u64;
    let held = nurture_train::rss().unwrap_or(0).saturating_sub(bytes);
    let mut plans: Vec<Forecast> = Vec::new();
    for (i, s) in stages.iter().enumerate() {
        let plan = match i {
            // settled already: what may be taken up is there
            0 if stages.len() == 1 => s.forecast(model, bytes, held, false, watch)?,
            0 => s.forecast(model, bytes, held, ctx.fresh, watch)?,
            // the first base stays to be compared with, and this stage's own is in float32
            _ => s.forecast(model, model.decoder().parameters() * 4, held + bytes, ctx.fresh, watch)?,
        };
        watch.event(match stages.len() {
            1 => Event::Forecast(&plan),
            _ => Event::Planned(s.name(), &plan),
        });
        plans.push(plan);
    }
    if plans.len() > 1 {
        watch.event(Event::Road(Road {
            stages: plans.len(),
            seconds: plans.iter().filter_map(|p| p.seconds).sum(),
            practice: plans.iter().filter(|p| p.seconds.is_none()).map(|p| p.steps).sum(),
            memory_bytes: plans.iter().map(|p| p.memory_bytes).max().unwrap_or(0),
        }));
    }
    Ok(plans)
}
