//! A recipe with `model.seq2seq`: an encoder-decoder from birth that learns pairs.
//!
//! ```text
//! rows ─ ledger, hold out ─> vocabulary ─> random network ─ forecast, train ─> model/ ─ exam ─> report
//! ```
//!
//! Reading, cleaning, holding out, weights, the dial, the drawing of exams, lock file, ledger, forecast, metrics, checkpoints and the
//! lock on the folder are those of every run; so it is taken up where it was killed and ends with the same bytes. Vocabulary and
//! first weights are made anew each time: they are a function of rows and seed, and quick.
//!
//! Left out on purpose: an exam of the base (there is none: the exam says what came of nothing), so no gain, no breadth and no
//! verdict; the report is short (`report.md`, `report.json`, without a page); a killed exam begins again.

mod exam;
mod report;

pub use report::PairReport;
pub(crate) use report::markdown;

use super::stage::SLACK;
use super::{
    Context, Done, Event, OUTCOME, Stopped, Textbooks, Watch, exams, facts, folder, prepare, read_json,
};
use crate::lang::Said;
use crate::pairs::{Vocabularies, save};
use crate::recipe::{self, BaseFacts, DataFacts, Notes, Recipe, Seq2SeqForm};
use crate::report::data::ReportKind;
use crate::{messages, said};
use anyhow::{Context as _, Result, bail};
use nurture_data::{Example, Fate, Ledger, TOO_LONG, TokenExample, repeat_by_weight};
use nurture_formats::write_atomic;
use nurture_hub::Pulled;
use nurture_infer::Beams;
use nurture_model::Cpu;
use nurture_model::seq2seq::{Bend, Seq2Seq, Seq2SeqConfig, Seq2SeqFamily};
use nurture_text::{TrainBpe, WordCounts};
use nurture_train::pairs::{PairTrainer, pair_example, pair_forecast};
use nurture_train::{FORECAST, Forecast, Outcome, RunFiles, TrainConfig};
use serde_json::{Map, json};
use std::path::Path;

/// The end of every text, and what a target begins after.
const SPECIALS: [&str; 2] = ["<|endoftext|>", "<|pad|>"];
const EOS: u32 = 0;
const PAD: u32 = 1;
/// Width for each block, and the least.
const WIDTH_PER_BLOCK: usize = 64;
const LEAST_WIDTH: usize = 128;
const HEAD: usize = 32;
/// Buckets of relative positions, and from where all are one: T5's own.
const BUCKETS: usize = 32;
const FARTHEST: usize = 128;
/// Positions that a form with vectors of positions knows.
const CONTEXT: usize = 1024;
/// Pairs of a step and passes over them, where the recipe leaves them open.
const BATCH: usize = 128;
const PASSES: [(recipe::Effort, f64); 3] =
    [(recipe::Effort::Quick, 4.0), (recipe::Effort::Normal, 10.0), (recipe::Effort::Thorough, 20.0)];
/// Rate at the width of 256; it falls with the root of the width.
const RATE: f64 = 1e-3;

/// Source and target of a row.
struct Pair {
    id: String,
    file: usize,
    from: String,
    to: String,
}

/// The last question and its answer.
fn pair(e: &Example) -> Result<Pair> {
    let from = e.prompt().iter().rev().find(|m| m.role == "user").map(|m| m.content.clone());
    match (from, e.expected()) {
        (Some(from), Some(to)) if !from.is_empty() && !to.is_empty() => {
            Ok(Pair { id: e.id.clone(), file: e.source, from, to: to.to_string() })
        }
        _ => {
            let id = &e.id;
            bail!(said!(
                "{id}: a pair needs a question and an answer; name the columns: data.train = [{{ path = …, kind = \"question_answer\", user = …, answer = … }}]",
                "{id}：成对数据需要问题和答案；请写明列名：data.train = [{{ path = …, kind = \"question_answer\", user = …, answer = … }}]"
            ))
        }
    }
}

/// The vocabulary of the texts.
fn vocabulary<'t>(
    size: usize,
    texts: impl Iterator<Item = &'t str>,
    watch: &mut dyn Watch,
) -> Result<nurture_text::Tokenizer> {
    let mut words = WordCounts::default();
    texts.for_each(|t| words.add(t));
    let specials = SPECIALS.map(String::from).to_vec();
    let how = TrainBpe { vocab_size: size, specials, ..TrainBpe::default() };
    let what = said!("merges", "合并");
    let made = how.train(words, &mut |done, all| {
        watch.event(Event::Progress(&what, done, all));
        !watch.stopped()
    });
    made.map_err(|e| match e {
        nurture_text::TextError::Stopped => Stopped.into(),
        e => anyhow::Error::from(e),
    })
}

/// The shape that the recipe asks for.
fn shape(how: &recipe::Seq2Seq, words: &Vocabularies, notes: &mut Notes) -> Result<Seq2SeqConfig> {
    let t5 = how.form == Seq2SeqForm::T5;
    notes.add("model.seq2seq.form", how.form.word().to_string(), t5, || {
        said!("whose form it has", "照谁的形式")
    });
    let usual = (how.depth * WIDTH_PER_BLOCK).max(LEAST_WIDTH);
    let width = notes.choose("model.seq2seq.width", how.width, usual, |_| {
        said!("{WIDTH_PER_BLOCK} for each block, as for small models", "每层 {WIDTH_PER_BLOCK}，小模型的比例")
    });
    let heads = notes.choose("model.seq2seq.heads", how.heads, (width / HEAD).max(1), |_| {
        said!("heads of {HEAD}: sequences are short", "每头宽 {HEAD}：序列短")
    });
    let ffn = match t5 {
        true => (width * 5 / 2).next_multiple_of(32),
        false => 4 * width,
    };
    let ffn = notes.choose("model.seq2seq.ffn", how.ffn, ffn, |_| match t5 {
        true => said!(
            "a gated part as large as a plain one of four widths",
            "带门的前馈，与四倍宽的普通前馈一样大"
        ),
        false => said!("four widths, as in 2017", "四倍宽，与 2017 年相同"),
    });
    let target = words.target.vocab_size();
    let source = words.source.as_ref().map_or(target, |w| w.vocab_size());
    notes.state(
        "vocabulary",
        format!("{source} → {target}"),
        said!(
            "made of the pairs, at most model.seq2seq.vocab each",
            "由成对数据建立，每份最多 model.seq2seq.vocab"
        ),
    );
    let root = (width as f32).sqrt();
    let config = Seq2SeqConfig {
        family: if t5 { Seq2SeqFamily::T5 } else { Seq2SeqFamily::Marian },
        source_vocab: source,
        target_vocab: target,
        shared: words.source.is_none(),
        tied: true,
        width,
        heads,
        head_dim: width.checked_div(heads).unwrap_or(0),
        ffn,
        gated: t5,
        bend: if t5 { Bend::Gelu } else { Bend::Relu },
        encoder_layers: how.depth,
        decoder_layers: how.depth,
        norm_eps: if t5 { 1e-6 } else { 1e-5 },
        embed_scale: if t5 { 1.0 } else { root },
        head_scale: if t5 { 1.0 / root } else { 1.0 },
        buckets: if t5 { BUCKETS } else { 0 },
        max_distance: if t5 { FARTHEST } else { 0 },
        context: if t5 { 1 << 20 } else { CONTEXT },
        start: PAD,
        eos: EOS,
        pad: PAD,
    };
    config.check().map_err(|(key, problem)| {
        said!("model.seq2seq: {key}: {problem}", "model.seq2seq：{key}：{problem}")
    })?;
    Ok(config)
}

/// The recipe with what is left open filled in as pairs want it, and the reasons.
fn filled(r: &Recipe, rows: usize, width: usize) -> (Recipe, Vec<(&'static str, Said)>) {
    let (mut out, mut why) = (r.clone(), Vec::new());
    let word = r.train.effort.word();
    if r.train.epochs.is_none() {
        out.train.epochs = PASSES.iter().find(|(e, _)| *e == r.train.effort).map(|(_, passes)| *passes);
        why.push((
            "train.epochs",
            said!("effort {word}: a newborn has all to learn", "力度 {word}：新生模型一切从头学起"),
        ));
    }
    if r.train.batch.is_none() {
        out.train.batch = Some(BATCH.min(rows.max(1)));
        why.push((
            "train.batch",
            said!("pairs are short: many make a steady gradient", "成对数据短：多些才有稳定的梯度"),
        ));
    }
    if r.train.rate.is_none() {
        let rate = RATE * (256.0 / width as f64).sqrt();
        out.train.rate = Some((rate * 1e5).round() / 1e5);
        let reason = said!(
            "1e-3 at a width of 256; wider networks take smaller steps",
            "宽 256 时取 1e-3；越宽步子越小"
        );
        why.push(("train.rate", reason));
    }
    (out, why)
}

/// Runs such a recipe.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(
    loaded: &recipe::Loaded,
    how: &recipe::Seq2Seq,
    ctx: &Context,
    watch: &mut dyn Watch,
) -> Result<Done> {
    let r = &loaded.recipe;
    let dir = r.run_dir();
    let model_dir = dir.join("model");
    let trained = crate::network::network_dir(&dir).is_some_and(|d| d == model_dir);
    if !ctx.train && !trained {
        let dir = dir.display();
        bail!(said!(
            "{dir}: nothing was trained yet; nurture train (or run) does it",
            "{dir}：还没有训练结果；先用 nurture train（或 run）训练"
        ));
    }
    let taken = if dir.exists() { Some(folder::take(&dir)?) } else { None };

    watch.event(Event::Stage(said!("Pairs", "成对数据")));
    let Textbooks { loaded: mut books, held } = prepare::textbooks(r, watch)?;
    let pairs: Vec<Pair> = books.examples.iter().map(pair).collect::<Result<_>>()?;
    if pairs.is_empty() {
        bail!(said!("data.train: no pair is left to learn from", "data.train：没有可学的成对数据"));
    }
    let papers = exam::papers(r, &books, &held, watch)?;

    watch.event(Event::Stage(said!("The vocabulary", "词表")));
    let (from, to) = (|| pairs.iter().map(|p| p.from.as_str()), || pairs.iter().map(|p| p.to.as_str()));
    let words = match how.shared {
        true => Vocabularies { target: vocabulary(how.vocab, from().chain(to()), watch)?, source: None },
        false => Vocabularies {
            target: vocabulary(how.vocab, to(), watch)?,
            source: Some(vocabulary(how.vocab, from(), watch)?),
        },
    };
    let mut notes = Notes::default();
    let config = shape(how, &words, &mut notes)?;
    let network = Seq2Seq::newborn(config.clone(), r.train.seed).map_err(|(key, problem)| {
        said!("model.seq2seq: {key}: {problem}", "model.seq2seq：{key}：{problem}")
    })?;
    notes.state("parameters", network.size().to_string(), said!("of the network", "网络的参数量"));

    let tokens = |p: &Pair| -> Result<TokenExample> {
        let (from, to) = (words.source(&p.from, EOS)?, words.target(&p.to, EOS)?);
        Ok(pair_example(p.id.clone(), p.file, &from, &to))
    };
    let examples = pairs.iter().map(tokens).collect::<Result<_>>()?;
    let examples = within(r, config.context, examples, &mut books.ledger)?;
    let examples = repeat_by_weight(examples, 1, &mut books, &prepare::weights(r), r.train.seed);
    let (filled, open) = filled(r, examples.len(), config.width);
    let lengths = || examples.iter().map(|e| e.tokens.len());
    let facts = DataFacts {
        train_examples: examples.len(),
        train_tokens: lengths().sum(),
        trained_tokens: examples.iter().map(TokenExample::trained_tokens).sum(),
        longest_tokens: lengths().max().unwrap_or(0),
        widest_tokens: 0,
        labels: 0,
        exam_items: papers.iter().map(|p| p.loaded.examples.len()).collect(),
    };
    let base = BaseFacts { params: network.size(), context: config.context };
    let mut resolved = recipe::derive(&filled, &facts, &base);
    resolved.values.retain(|v| !["keep", "train.max_len"].contains(&v.key.as_str()));
    for (key, reason) in open {
        for value in resolved.values.iter_mut().filter(|v| v.key == key) {
            (value.given, value.reason) = (false, reason.clone());
        }
    }
    resolved.recall(loaded);
    let depth = exams::draw(r, papers, &resolved.exams, &books.examples, &super::clean::redacted(r), watch)?;
    watch.event(Event::Values(&notes.0));
    watch.event(Event::Values(&resolved.values));

    let mut inputs = Vec::new();
    let exams = r.eval.depth.iter().map(|e| ("depth", &e.path));
    for (role, path) in r.data.train.iter().map(|s| ("train", &s.path)).chain(exams) {
        let (sha256, bytes) = super::inputs::input_hash(path)?;
        let path = path.display().to_string();
        inputs.push(recipe::InputHash { role: role.to_string(), path, sha256, bytes });
    }
    inputs.sort();
    let born = json!({ "config": config.to_json(), "seed": r.train.seed, "vocabulary": words.target.to_hf(None, 1)?.tokenizer });
    let pulled = Pulled {
        sha256: super::sha256(born.to_string().as_bytes()),
        bytes: network.bytes() as u64,
        source: "born here".to_string(),
        path: model_dir.clone(),
        already: false,
        entry: None,
    };
    let _taken = match taken {
        Some(taken) => taken,
        None => folder::take(&dir)?,
    };
    folder::settle(&dir, loaded, &resolved, &pulled, &inputs, ctx, watch)?;
    super::write_json(&dir.join("ledger.json"), &books.ledger)?;
    depth.write_overlap(&dir)?;

    let threads = r.train.threads.filter(|n| *n > 0);
    let cpu =
        Cpu::new(threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)));
    // there is no base whose breadth could be kept, and pairs share no beginning
    let keep = nurture_train::Keep::default();
    let settings =
        TrainConfig { sharing: false, keep, ..super::settings::settings(&filled, &resolved, Vec::new()) };
    // a run that was thrown away leaves nothing behind
    let trained = crate::network::network_dir(&dir).is_some_and(|d| d == model_dir);
    let plan = expected(&cpu, &network, &settings, &examples, &dir, trained)?;
    plan.write(dir.join(FORECAST))?;
    watch.event(Event::Forecast(&plan));

    let outcome: Option<Outcome> = match trained {
        true => {
            watch.event(Event::Reused(said!("training: done before", "训练：之前已完成")));
            read_json(&dir.join(OUTCOME))
        }
        false => {
            watch.event(Event::Stage(said!("Training", "训练")));
            let files = RunFiles { folder: dir.clone(), base_sha256: pulled.sha256.clone() };
            let trainer = PairTrainer::resume(&cpu, &network, settings, examples, &files)?;
            Some(teach(trainer, watch, |trainer| {
                super::write_json(&dir.join(OUTCOME), &trainer.outcome())?;
                let mut notes = Map::new();
                notes.insert("base_sha256".into(), json!(pulled.sha256));
                notes.insert("steps".into(), json!(trainer.steps_done()));
                let writing = json!({
                    "beams": how.beams, "length_penalty": how.length_penalty, "max_tokens": how.max_tokens,
                });
                notes.insert("seq2seq".into(), writing);
                save(&model_dir, trainer.network(), &words, &notes)
            })?)
        }
    };
    if !ctx.eval {
        return Ok(Done { dir, report: None, outcome });
    }
    // what is examined is what was saved
    let network = Seq2Seq::open(&model_dir, cpu.pool())?;
    let beams = Beams { count: how.beams, length_penalty: how.length_penalty };
    let mut results = Vec::new();
    for exam in &depth.exams {
        let name = &exam.info.name;
        watch.event(Event::Stage(said!("Exam: {name}", "考试：{name}")));
        results.push(exam::sit(&dir, exam, &cpu, &network, &words, &beams, how.max_tokens, watch)?);
    }
    watch.event(Event::Stage(said!("Report", "报告")));
    let data = PairReport {
        kind: ReportKind::Pairs,
        name: r.name().to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        command: ctx.command.clone(),
        form: how.form.word().to_string(),
        parameters: network.size(),
        source_vocab: config.source_vocab as u64,
        target_vocab: config.target_vocab as u64,
        pairs: pairs.len() as u64,
        derived: notes.0.into_iter().chain(resolved.values).collect(),
        forecast_seconds: plan.seconds,
        forecast_bytes: plan.memory_bytes,
        outcome: outcome.clone(),
        exams: results,
    };
    super::write_json(&dir.join("report.json"), &data)?;
    write_atomic(dir.join("report.md"), markdown(&data, ctx.lang).as_bytes())?;
    Ok(Done { dir, report: None, outcome })
}

/// The examples that the network takes; longer ones are refused or left out, as the recipe says.
fn within(
    r: &Recipe,
    context: usize,
    all: Vec<TokenExample>,
    ledger: &mut Ledger,
) -> Result<Vec<TokenExample>> {
    let most = r.train.max_len.unwrap_or(usize::MAX);
    let fits = |e: &TokenExample| {
        let trained = e.trained_tokens();
        e.tokens.len() <= most && trained <= context && e.tokens.len() - trained <= context
    };
    let over: Vec<&TokenExample> = all.iter().filter(|e| !fits(e)).collect();
    let Some(first) = over.first() else { return Ok(all) };
    if r.data.over_long != recipe::OverLong::Drop {
        let (n, id, tokens) = (over.len(), &first.id, first.tokens.len());
        bail!(said!(
            "{n} pairs are too long, the first at {id} with {tokens} tokens: data.over_long = \"drop\" leaves them out (targets are never cut)",
            "{n} 对太长，第一对在 {id}，有 {tokens} 个词元：data.over_long = \"drop\" 会舍弃它们（译文从不截断）"
        ));
    }
    for e in over {
        let _ = ledger.move_used(e.source, &Fate::Dropped(TOO_LONG.into()), &e.id);
    }
    Ok(all.into_iter().filter(fits).collect())
}

/// What training will take; refused where the memory is not there.
fn expected(
    cpu: &Cpu,
    network: &Seq2Seq,
    settings: &TrainConfig,
    examples: &[TokenExample],
    dir: &Path,
    trained: bool,
) -> Result<Forecast> {
    let held = nurture_train::rss().unwrap_or(0);
    let first: Option<Forecast> = read_json(&dir.join(FORECAST));
    let plan = pair_forecast(cpu, network, settings, examples, first.is_none())?.beside(held + SLACK);
    // the first forecast is the one that counts
    if let Some(first) = first.filter(|f| f.tokens == plan.tokens) {
        return Ok(first);
    }
    let room = facts::memory_available().map(|free| free + held);
    if let Some(room) = room.filter(|&room| plan.memory_bytes > room && !trained) {
        return Err(super::too_large(plan.memory_bytes, room, None).into());
    }
    Ok(plan)
}

/// The loop, heard by whoever watches.
fn teach(
    mut trainer: PairTrainer<'_>,
    watch: &mut dyn Watch,
    save: impl FnOnce(&PairTrainer<'_>) -> Result<()>,
) -> Result<Outcome> {
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
    while let Some(m) = trainer.step()? {
        watch.event(Event::Step(&m));
        if watch.stopped() {
            break;
        }
    }
    trainer.checkpoint()?;
    for w in trainer.warnings().iter().skip(before) {
        watch.event(Event::Warning(&messages::warning(w)));
    }
    let outcome = trainer.outcome();
    if !outcome.finished {
        return Err(Stopped.into());
    }
    trainer.finish();
    save(&trainer).context("saving the model")?;
    Ok(outcome)
}
