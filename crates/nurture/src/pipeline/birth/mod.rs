//! Birth: a base model from nothing but text. A vocabulary is learnt, a network gets random weights, and learns the
//! language; what comes out is a model folder like any other.
//!
//! ```text
//! text ─ part, hold out ─> vocabulary ─> first/ (random) ─ train ─> model/ , birth.json
//! ```
//!
//! It happens in the store, under a key of everything that its result depends on, so that all recipes that ask for the same
//! newborn share one. Killed anywhere, it goes on: `first/` is whole or not there, training has its checkpoints, and
//! `model/` comes last.

mod form;
mod ladder;
mod plan;
mod texts;

use super::{
    Event, Stopped, Watch, facts, folder, read_json, samples, sha256, sha256_of, too_large, train, write_json,
};
use crate::engine::{LoadOptions, Model};
use crate::network;
use crate::recipe::{InputHash, Newborn, Notes, Recipe};
use crate::report::data::{BirthReport, CurvePoint, LadderReport, LanguageReport, RungReport};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_data::document_sequences;
use nurture_eval::{Examinee, Model as Named, Role, SitError, WindowScheme, strided_windows};
use nurture_hub::{PullOptions, Pulled, Store};
use nurture_model::Decoder;
use nurture_text::{ChatTemplate, TrainBpe, WordCounts};
use nurture_train::{Lessons, RunFiles, Subject, TrainConfig, forecast};
use serde_json::{Map, json};
use std::path::Path;
use texts::{Language, Texts};

/// Folder in the store.
const NEWBORNS: &str = "newborns";
/// What is known of a newborn, beside its model.
const BIRTH: &str = "birth.json";
/// Windows by which each language is measured, at most.
const WINDOWS: usize = 64;
/// Points of the curve that are kept.
const POINTS: usize = 400;

/// A model that was born here.
#[derive(Clone, Debug)]
pub struct Born {
    /// where it is
    pub pulled: Pulled,
    /// the texts that it learnt from
    pub inputs: Vec<InputHash>,
    /// how it went
    pub report: BirthReport,
}

/// Brings the newborn of a recipe into the world, or finds it in the store.
///
/// # Errors
/// Texts that cannot be read or are too few; a shape that cannot be; the disk; [`Stopped`].
pub(super) fn birth(
    r: &Recipe,
    new: &Newborn,
    store: &Store,
    options: &PullOptions,
    watch: &mut dyn Watch,
) -> Result<Born> {
    watch.event(Event::Stage(said!("Birth: the text", "出生：文本")));
    let files = texts::files(&new.text, store, options, watch)?;
    let texts = texts::read(&files, watch)?;
    let dir = store.root().join(NEWBORNS).join(key(r, new, &texts));
    let model = dir.join("model");
    let born = |already: bool| -> Result<Born> {
        let path = dir.join(BIRTH);
        let report = read_json(&path).with_context(|| path.display().to_string())?;
        let weights = model.join(network::WEIGHTS);
        let pulled = Pulled {
            sha256: sha256_of(&weights)?,
            bytes: weights.metadata().with_context(|| weights.display().to_string())?.len(),
            source: "born here".to_string(),
            path: model.clone(),
            already,
            entry: None,
        };
        Ok(Born { pulled, inputs: texts.inputs.clone(), report })
    };
    let there = || network::network_dir(&dir).is_some();
    if there() {
        watch.event(Event::Reused(said!("born before", "之前已出生")));
        return born(true);
    }
    let mut rungs = Vec::new();
    if !new.ladder.is_empty() {
        let bytes = texts.bytes();
        let shape = plan::shape(new, bytes, &mut Notes::default());
        for rung in ladder::rungs(new, &shape, bytes) {
            let depth = rung.depth;
            watch.event(Event::Stage(said!("Ladder: depth {depth}", "阶梯：{depth} 层")));
            let born = birth(r, &rung, store, options, watch)?;
            rungs.extend(ladder::rung(depth, &born.report));
        }
        watch.event(Event::Stage(said!("Ladder: the model itself", "阶梯：模型本身")));
    }
    let _taken = folder::take(&dir)?;
    if !there() {
        raise(r, new, &texts, rungs, &dir, watch)?;
        for rest in ["first", nurture_train::CHECKPOINTS] {
            let rest = dir.join(rest);
            if rest.exists() {
                std::fs::remove_dir_all(&rest).with_context(|| rest.display().to_string())?;
            }
        }
    }
    born(false)
}

/// Name of a newborn's folder: a hash of all that its result depends on.
fn key(r: &Recipe, new: &Newborn, texts: &Texts) -> String {
    // the texts count by what they say, wherever they lie
    let sizes = Newborn { text: Vec::new(), ..new.clone() };
    let hashes: Vec<&str> = texts.inputs.iter().map(|i| i.sha256.as_str()).collect();
    let all = json!({
        "version": env!("CARGO_PKG_VERSION"), "new": sizes, "effort": r.train.effort, "seed": r.train.seed,
        "texts": hashes,
    });
    sha256(all.to_string().as_bytes()).chars().take(16).collect()
}

/// The work itself.
fn raise(
    r: &Recipe,
    new: &Newborn,
    texts: &Texts,
    rungs: Vec<RungReport>,
    dir: &Path,
    watch: &mut dyn Watch,
) -> Result<()> {
    let mut notes = Notes::default();
    let bytes = texts.bytes();
    let mut shape = plan::shape(new, bytes, &mut notes);
    if let Err((key, problem)) = shape.check() {
        bail!(said!("model.new.{key}: {problem}", "model.new.{key}：{problem}"));
    }
    let first = dir.join("first");
    if network::network_dir(&first).is_none() {
        watch.event(Event::Stage(said!("Birth: the vocabulary", "出生：词表")));
        let mut words = WordCounts::default();
        texts.train().for_each(|d| words.add(&d.text));
        let how = TrainBpe { vocab_size: shape.vocab, ..TrainBpe::default() };
        let what = said!("merges", "合并");
        let tokenizer = how
            .train(words, &mut |done, all| {
                watch.event(Event::Progress(&what, done, all));
                !watch.stopped()
            })
            .map_err(|e| match e {
                nurture_text::TextError::Stopped => Stopped.into(),
                e => anyhow::Error::from(e),
            })?;
        shape.vocab = tokenizer.vocab_size();
        let network = Decoder::newborn(&shape, new.tie, r.train.seed);
        let template = ChatTemplate::named("chatml")?;
        network::save_new(&first, &network, &tokenizer, template.source(), &Map::new())?;
    }
    let options = LoadOptions { threads: r.train.threads.unwrap_or(0), ..LoadOptions::default() };
    let model = Model::load(&first, &options)?;
    let (decoder, tokenizer) = (model.decoder(), model.tokenizer());

    watch.event(Event::Stage(said!("Birth: learning to read", "出生：学语言")));
    let context = decoder.config().context;
    let mut sequences = Vec::new();
    for d in texts.train() {
        let tokens = tokenizer.encode(&d.text, false)?;
        let (begin, end) = (tokenizer.bos(), tokenizer.eos());
        sequences.extend(document_sequences(&d.id, d.source, &tokens, begin, end, context));
    }
    let lessons = plan::Lessons {
        parameters: decoder.config().active_parameters(decoder.tied()) as usize,
        sequences: sequences.len(),
        tokens: sequences.iter().map(|s| s.tokens.len()).sum(),
        longest: sequences.iter().map(|s| s.tokens.len()).max().unwrap_or(0),
    };
    let mut config = plan::course(new, &shape, r.train.effort, r.train.seed, lessons, &mut notes);
    config.checkpoint_every = r.train.checkpoint_every.map_or(config.checkpoint_every, |n| n as u64);
    watch.event(Event::Values(&notes.0));
    let subject = Subject::full(decoder, Vec::new());
    let plan = expected(&model, &subject, &config, &sequences)?;
    watch.event(Event::Forecast(&plan));
    let law = ladder::fit(rungs, plan.flop);
    if let Some(law) = &law {
        let bits = format!("{:.3}", law.predicted);
        watch.event(Event::Stage(said!(
            "The ladder predicts {bits} bits per byte",
            "阶梯预测每字节 {bits} 比特"
        )));
    }

    let mut report = BirthReport {
        parameters: decoder.parameters(),
        vocab: tokenizer.vocab_size() as u64,
        derived: notes.0,
        languages: measured(texts, &model, decoder, watch)?,
        ..BirthReport::default()
    };
    let files =
        RunFiles { folder: dir.to_path_buf(), base_sha256: sha256_of(&first.join(network::WEIGHTS))? };
    let lessons = Lessons::from(sequences);
    let ask = |done| samples::Samples::open(dir, &model, &Default::default(), None, done);
    // the weights as they stand after the last step, for the measure below
    let mut raised = None;
    let outcome = train(&model, &subject, &config, lessons, None, &files, watch, ask, |trainer| {
        raised = trainer.learner().network().map(|network| {
            let folder = dir.join("raised");
            network::save(&folder, &model, network, &trainer.notes()).map(|()| folder)
        });
        Ok(())
    })?;
    let Some(raised) = raised.transpose()? else { bail!("the network was not trained") };
    let grown = Model::load(&raised, &options)?;
    for (now, before) in measured(texts, &grown, grown.decoder(), watch)?.iter().zip(&mut report.languages) {
        before.after = now.before;
    }
    report.curve = curve(dir);
    report.seconds = outcome.seconds;
    report.tokens = outcome.tokens;
    report.forecast_seconds = plan.seconds;
    report.flop = plan.flop;
    report.ladder = law.map(|law| LadderReport { came: ladder::reached(&report), ..law });
    write_json(&dir.join(BIRTH), &report)?;
    // the model last: once it is there, it is born
    std::fs::rename(&raised, dir.join("model")).with_context(|| raised.display().to_string())?;
    Ok(())
}

/// What learning will take; refused where the memory is not there.
fn expected(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    sequences: &[nurture_data::TokenExample],
) -> Result<nurture_train::Forecast> {
    let (decoder, threads) = (model.decoder(), model.cpu().pool().threads());
    let bytes = decoder.weight_bytes() as u64;
    let held = nurture_train::rss().unwrap_or(0).saturating_sub(bytes);
    let plan = forecast(decoder.config(), subject, config, sequences, bytes, threads)?;
    let plan = plan.beside(held + super::stage::SLACK);
    let room = facts::memory_available().map(|free| free + nurture_train::rss().unwrap_or(0));
    if let Some(room) = room.filter(|&room| plan.memory_bytes > room) {
        return Err(too_large(plan.memory_bytes, room, None).into());
    }
    let (speed, beside) = facts::training_speed(model, subject, config, sequences, &[])?;
    Ok(plan.at_speed(speed).with_steps_of(beside).under(facts::ceiling(model)))
}

/// Each language with what `network` makes of its held-out text (in `before`).
fn measured(
    texts: &Texts,
    model: &Model,
    network: &Decoder,
    watch: &mut dyn Watch,
) -> Result<Vec<LanguageReport>> {
    let tokenizer = model.tokenizer();
    let examinee = Examinee { decoder: network, adapter: None, cpu: model.cpu(), renderer: model.renderer() };
    let n_ctx = network.config().context;
    let mut out = Vec::new();
    for language in &texts.languages {
        let mut report = LanguageReport {
            name: language.name.to_string(),
            train_bytes: Language::bytes(&language.train) as u64,
            held_bytes: Language::bytes(&language.held) as u64,
            ..LanguageReport::default()
        };
        let encoded = language.held.iter().map(|d| tokenizer.encode(&d.text, false));
        let documents = encoded.collect::<Result<Vec<_>, _>>()?;
        let tokens: usize = documents.iter().map(Vec::len).sum();
        if tokens > 0 {
            report.bytes_per_token = report.held_bytes as f64 / tokens as f64;
            let mut windows = strided_windows(&documents, n_ctx, tokenizer.bos())?;
            let (all, mut at) = (windows.len(), 0);
            // spread over all of it
            windows.retain(|_| {
                at += 1;
                all <= WINDOWS || at * WINDOWS / all != (at - 1) * WINDOWS / all
            });
            let bytes = |w: &nurture_eval::Window| {
                let tokens = documents.get(w.document).and_then(|d| d.get(w.source.clone())).unwrap_or(&[]);
                tokens.iter().filter_map(|&t| tokenizer.token_bytes(t)).map(|b| b.len()).sum()
            };
            let what = said!("held-out text", "留出的文本");
            let read = examinee.read(
                language.name,
                Named::new(Role::Base, "newborn"),
                WindowScheme::Strided { n_ctx },
                &windows,
                bytes,
                |done, all| {
                    watch.event(Event::Progress(&what, done, all));
                    !watch.stopped()
                },
            );
            let read = read.map_err(|e| match e {
                SitError::Interrupted => Stopped.into(),
                e => anyhow::Error::from(e),
            })?;
            report.before = read.bits_per_byte;
        }
        out.push(report);
    }
    Ok(out)
}

/// The steps, thinned out.
fn curve(dir: &Path) -> Vec<CurvePoint> {
    let steps = nurture_train::read_metrics(dir.join(nurture_train::METRICS)).unwrap_or_default();
    let every = steps.len().div_ceil(POINTS).max(1);
    let point = |m: &nurture_train::StepMetrics| CurvePoint {
        step: m.step,
        loss: m.loss,
        rate: m.rate,
        grad_norm: m.grad_norm,
        tok_s: m.tok_s,
        preferred: None,
        rewards: None,
    };
    steps.iter().step_by(every).map(point).collect()
}
