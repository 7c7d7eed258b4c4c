//! The exams of a run: items drawn once, sat by base and tuned model, every answer kept in a file.

use super::journal::Journal;
use super::{Event, Mark, Stopped, Training, Tuned, Watch, prepare, sha256, texts, write_json};
use crate::engine::Model;
use crate::lang::Said;
use crate::recipe::{self, ExamPlan, InputHash, Recipe};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_data::{Example, Fate, Ledger, Loaded, Overlap, OverlapOptions, Sensitive, overlap, stratified};
use nurture_eval::{
    Comparison, ExamFiles, ExamInfo, ExamResult, Examinee, Gain, Item, Mode, Model as Named, Paper,
    PerplexityComparison, PerplexityResult, Role, SitError, stats::Bootstrap,
};
use nurture_formats::write_atomic;
use nurture_hub::Pulled;
use nurture_text::{Message, Tokenizer};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One exam with its items and results.
#[derive(Debug)]
pub struct Exam {
    /// what it is
    pub info: ExamInfo,
    /// items as put to the model
    pub items: Vec<Item>,
    /// items in the file
    pub of: usize,
    /// whether they were drawn evenly
    pub stratified: bool,
    /// answers to choose from
    pub labels: Vec<String>,
    /// longest free answer
    pub max_tokens: usize,
    /// whether it examines breadth, not the own field
    pub general: bool,
    /// what became of the rows
    pub ledger: Ledger,
    /// items that also stand in training
    pub overlap: Vec<Overlap>,
    /// whether those are left out
    pub left_out: bool,
    /// results of base and tuned
    pub results: [Option<ExamResult>; 2],
}

/// All exams of the own field.
#[derive(Debug, Default)]
pub struct Depth {
    /// in the recipe's order
    pub exams: Vec<Exam>,
}

/// Texts whose perplexity is measured.
#[derive(Debug, Default)]
pub struct Reading {
    /// own field: `true`; general: `false`
    pub texts: Vec<(bool, texts::Text)>,
    /// results of base and tuned, by text
    pub results: Vec<[Option<PerplexityResult>; 2]>,
}

/// Draws the items of each exam. `redacted`: kinds of values that may be placeholders in `books`.
pub(super) fn draw(
    r: &Recipe,
    papers: Vec<prepare::ExamPaper>,
    plans: &[ExamPlan],
    books: &[Example],
    redacted: &[Sensitive],
    watch: &mut dyn Watch,
) -> Result<Depth> {
    let mut exams = Vec::new();
    let (all, seed) = (r.exams(), r.train.seed);
    let plans = all.iter().zip(plans).filter(|((_, e, _), _)| e.has_items());
    for (paper, (_, plan)) in papers.into_iter().zip(plans) {
        let prepare::ExamPaper { name, kind, scorer, max_tokens, manner, shots, general, mut loaded, .. } =
            paper;
        let turns = worked(&name, manner.shots, shots, &loaded.examples, seed)?;
        let of = loaded.examples.len();
        let shared = shared_with(r, &loaded.examples, books, redacted);
        let left_out = r.eval.overlap == recipe::Overlap::LeaveOut;
        let also: HashSet<&str> = shared.iter().filter(|_| left_out).map(|o| o.exam.as_str()).collect();
        let mut kept: Vec<Example> = Vec::new();
        for e in std::mem::take(&mut loaded.examples) {
            if also.contains(e.id.as_str()) {
                let _ = loaded.ledger.move_used(e.source, &Fate::Dropped("also_in_training".into()), &e.id);
            } else {
                kept.push(e);
            }
        }
        if !shared.is_empty() {
            let n = shared.len();
            watch.event(Event::Warning(&if left_out {
                said!(
                    "{name}: {n} of {of} items also stand in the training data; they are left out (exam-overlap.json)",
                    "{name}：{of} 题中有 {n} 题也出现在训练数据里，已剔除（exam-overlap.json）"
                )
            } else {
                said!(
                    "{name}: {n} of {of} items also stand in the training data, and count all the same: eval.overlap = \"report\" (exam-overlap.json)",
                    "{name}：{of} 题中有 {n} 题也出现在训练数据里，仍计分：eval.overlap = \"report\"（exam-overlap.json）"
                )
            }));
        }
        if kept.is_empty() {
            anyhow::bail!(said!(
                "{name}: all of its {of} items also stand in the training data, so that nothing can be examined; give an exam of its own, or set data.hold_out",
                "{name}：{of} 题全部也在训练数据里，没有可考的题；请另给一份考试，或设 data.hold_out"
            ));
        }
        let strata: Vec<&str> = kept.iter().map(|e| if plan.stratified { e.stratum() } else { "" }).collect();
        let chosen: HashSet<usize> = stratified(&strata, plan.items, seed).into_iter().collect();
        let drawn: Vec<Example> = kept
            .into_iter()
            .enumerate()
            .filter_map(|(i, e)| {
                if chosen.contains(&i) {
                    return Some(e);
                }
                let _ = loaded.ledger.move_used(
                    e.source,
                    &Fate::Dropped(nurture_data::NOT_SAMPLED.into()),
                    &e.id,
                );
                None
            })
            .collect();
        exams.push(Exam {
            info: ExamInfo { name, kind, scorer, mode: Mode::Exact, manner },
            items: after(&turns, prepare::items(&drawn, kind)),
            of,
            stratified: plan.stratified && drawn.len() < of,
            labels: loaded.labels.as_ref().map(|l| l.sorted().to_vec()).unwrap_or_default(),
            max_tokens,
            general,
            ledger: loaded.ledger,
            overlap: shared,
            left_out,
            results: [None, None],
        });
    }
    Ok(Depth { exams })
}

/// Turns of the worked examples of an exam: drawn evenly by seed, none of them an item of the exam.
fn worked(name: &str, count: usize, from: Vec<Example>, exam: &[Example], seed: u64) -> Result<Vec<Message>> {
    let taken = overlap(&from, exam, &OverlapOptions::default());
    let also: HashSet<&str> = taken.iter().map(|o| o.exam.as_str()).collect();
    let fit: Vec<Example> =
        from.into_iter().filter(|e| e.expected().is_some() && !also.contains(e.id.as_str())).collect();
    if fit.len() < count {
        let there = fit.len();
        bail!(said!(
            "{name}: {count} worked examples are asked for (shots), but shots_from holds {there} that are not in the exam",
            "{name}：要求 {count} 个示例（shots），但 shots_from 里不在考题中的只有 {there} 个"
        ));
    }
    let strata: Vec<&str> = fit.iter().map(Example::stratum).collect();
    let mut out = Vec::new();
    for i in stratified(&strata, count, seed) {
        let Some(e) = fit.get(i) else { continue };
        out.extend(e.prompt().iter().filter(|m| m.role != "system").cloned());
        out.push(Message::new("assistant", e.expected().unwrap_or_default()));
    }
    Ok(out)
}

/// Items with worked examples behind their system turn.
fn after(turns: &[Message], mut items: Vec<Item>) -> Vec<Item> {
    for item in &mut items {
        let at = item.messages.iter().take_while(|m| m.role == "system").count();
        item.messages.splice(at..at, turns.iter().cloned());
    }
    items
}

/// Items of one exam that the training data hold too, as the recipe looks for them.
fn shared_with(r: &Recipe, exam: &[Example], training: &[Example], redacted: &[Sensitive]) -> Vec<Overlap> {
    if r.eval.overlap == recipe::Overlap::Off {
        return Vec::new();
    }
    let options = OverlapOptions {
        copied: r.eval.overlap_share,
        redacted: redacted.to_vec(),
        seed: r.train.seed,
        ..OverlapOptions::default()
    };
    overlap(exam, training, &options)
}

/// Each exam of the recipe with its number of items and those of them that the training data hold too.
///
/// # Errors
/// Whatever an exam's file says.
pub fn overlaps(
    r: &Recipe,
    books: &Loaded,
    held: &[Example],
    watch: &mut dyn Watch,
) -> Result<Vec<(String, usize, Vec<Overlap>)>> {
    let papers = prepare::exams(r, books, held, &mut Names::default(), watch)?;
    let redacted = super::clean::redacted(r);
    let one = |p: prepare::ExamPaper| {
        let shared = shared_with(r, &p.loaded.examples, &books.examples, &redacted);
        (p.name, p.loaded.examples.len(), shared)
    };
    Ok(papers.into_iter().map(one).collect())
}

/// Names that exams, texts and sets of prompts of a run have: what each of them leaves in `eval/` lies under its own.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The name that is wished, or with a number behind it where something else has it.
    pub(super) fn take(&mut self, wish: &str) -> String {
        let mut name = wish.to_string();
        for n in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            name = format!("{wish}-{n}");
        }
        name
    }
}

/// Opens the texts of the recipe; documents that were held out are one of them.
pub(super) fn texts(
    r: &Recipe,
    held: &[Example],
    tokenizer: &Tokenizer,
    quick: bool,
    names: &mut Names,
) -> Result<Reading> {
    // enough windows for an interval, few enough for the quick dial
    let most = quick.then_some(20);
    let mut out = Reading::default();
    for (key, exam, general) in r.exams().iter().filter(|(_, e, _)| !e.has_items()) {
        let mut text = if key == "data.hold_out" {
            texts::Text::new(key, key.clone(), &super::held_out::text(held), tokenizer, most)?
        } else {
            texts::file(&exam.path.to_string_lossy(), tokenizer, most)?
        };
        text.name = names.take(exam.name.as_deref().unwrap_or(&text.name));
        out.texts.push((!general, text));
    }
    for name in r.eval.breadth.iter().filter(|n| !super::prompts::is_prompts(n)) {
        for mut text in texts::open(name, tokenizer, most)? {
            text.name = names.take(&text.name);
            out.texts.push((false, text));
        }
    }
    out.results = out.texts.iter().map(|_| [None, None]).collect();
    Ok(out)
}

/// The ledger of the run: training and exams.
pub(super) fn ledger(t: &Training, depth: &Depth) -> serde_json::Value {
    let exams: Vec<_> = depth
        .exams
        .iter()
        .map(|e| serde_json::json!({ "exam": e.info.name, "ledger": e.ledger, "overlap": e.overlap.len() }))
        .collect();
    serde_json::json!({ "train": t.loaded.ledger, "conflicts": t.loaded.conflicts, "cleaning": t.loaded.cleaning, "exams": exams })
}

fn named(model: &Model, pulled: &Pulled, tuned: Tuned<'_>) -> Result<Named> {
    let name = model.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let trained = tuned.sha256()?;
    let base = Some(pulled.sha256.clone());
    Ok(match tuned {
        Tuned::No => Named { role: Role::Base, name, weights_sha256: base, adapter_sha256: None },
        Tuned::Adapter(..) => {
            Named { role: Role::Tuned, name, weights_sha256: base, adapter_sha256: trained }
        }
        Tuned::Network(..) => {
            Named { role: Role::Tuned, name, weights_sha256: trained, adapter_sha256: None }
        }
    })
}

pub(super) fn stop(e: SitError) -> anyhow::Error {
    match e {
        SitError::Interrupted => Stopped.into(),
        SitError::TooLong { exam, id, tokens, room } => said!(
            "exam “{exam}”, item {id}: it takes {tokens} tokens, but only {room} fit before its answer; shorten it (worked examples count too), leave it out, or take a base with a longer context",
            "考试“{exam}”第 {id} 题：它有 {tokens} 个词元，答案之前只放得下 {room} 个；请缩短它（示例也算在内），去掉它，或换上下文更长的基座"
        )
        .into(),
        other => other.into(),
    }
}

/// One model before the exams.
pub(super) struct Sitting<'a> {
    /// where its results stand
    at: usize,
    /// in the names of its files
    role: &'static str,
    pub(super) folder: PathBuf,
    pub(super) who: Named,
    pub(super) examinee: Examinee<'a>,
}

impl<'a> Sitting<'a> {
    pub(super) fn new(
        dir: &Path,
        model: &'a Model,
        pulled: &Pulled,
        tuned: Tuned<'a>,
    ) -> Result<Sitting<'a>> {
        let (at, role) = if matches!(tuned, Tuned::No) { (0, "base") } else { (1, "tuned") };
        let folder = dir.join("eval");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let who = named(model, pulled, tuned)?;
        let model = tuned.model(model);
        let examinee = Examinee {
            decoder: model.decoder(),
            adapter: tuned.adapter(),
            cpu: model.cpu(),
            renderer: model.renderer(),
        };
        Ok(Sitting { at, role, folder, who, examinee })
    }
}

impl Sitting<'_> {
    /// Sits one exam, or takes up what is there.
    pub(super) fn one(&self, info: &ExamInfo, paper: Paper<'_>, watch: &mut dyn Watch) -> Result<ExamResult> {
        let file =
            |ending: &str| -> PathBuf { self.folder.join(format!("{}.{}.{ending}", info.name, self.role)) };
        let old = std::fs::read_to_string(file("json")).ok().zip(std::fs::read_to_string(file("jsonl")).ok());
        let old = old.and_then(|(summary, items)| ExamResult::from_files(&ExamFiles { summary, items }).ok());
        let same = |r: &ExamResult| {
            r.info == *info
                && r.model == self.who
                && r.items.len() == paper.items.len()
                && r.items.iter().zip(paper.items).all(|(a, b)| a.id == b.id && a.question == b.question)
        };
        let name = &info.name;
        if let Some(result) = old.filter(same) {
            watch.event(Event::Reused(said!("{name}: examined before", "{name}：之前已考")));
            return Ok(result);
        }
        let what = Said::new(name, name);
        let (mut journal, already) = Journal::open(&file("part.jsonl"), info, &self.who, &paper)?;
        if !already.is_empty() {
            let (n, all) = (already.len(), paper.items.len());
            watch.event(Event::Reused(said!(
                "{name}: goes on after {n} of {all} answers",
                "{name}：已有 {n} 个答案，共 {all} 题，继续"
            )));
        }
        let mut hear = |new: &[nurture_eval::ItemResult], done, all| {
            journal.write(new)?;
            watch.event(Event::Progress(&what, done, all));
            Ok(!watch.stopped())
        };
        let result =
            self.examinee.sit(info.clone(), self.who.clone(), paper, already, &mut hear).map_err(stop)?;
        let files = result.to_files()?;
        write_atomic(file("jsonl"), files.items.as_bytes())?;
        write_atomic(file("json"), files.summary.as_bytes())?;
        journal.done();
        Ok(result)
    }
}

impl Depth {
    /// Says in the run's folder which items also stand in the training data.
    pub(super) fn write_overlap(&self, dir: &Path) -> Result<()> {
        if self.exams.iter().all(|e| e.overlap.is_empty()) {
            return Ok(());
        }
        let all: Vec<_> = self.exams.iter().map(|e| (&e.info.name, &e.overlap)).collect();
        write_json(&dir.join("exam-overlap.json"), &serde_json::json!(all))
    }

    /// Sits all exams, or takes up what is there.
    pub(super) fn sit(
        &mut self,
        dir: &Path,
        model: &Model,
        pulled: &Pulled,
        tuned: Tuned<'_>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let sitting = Sitting::new(dir, model, pulled, tuned)?;
        let at = sitting.at;
        self.write_overlap(dir)?;
        for exam in &mut self.exams {
            let paper = Paper { items: &exam.items, labels: &exam.labels, max_tokens: exam.max_tokens };
            let result = sitting.one(&exam.info, paper, watch)?;
            let graded = result.info.scorer.is_some_and(|s| s.is_graded());
            let mark = if graded {
                Mark::Score(result.mean_score, result.n)
            } else {
                Mark::Right(result.correct, result.n)
            };
            // a judge has not spoken yet
            if result.info.scorer != Some(nurture_eval::score::Scorer::Judge) {
                watch.event(Event::Marked(&exam.info.name, mark));
            }
            exam.results[at] = Some(result);
        }
        Ok(())
    }

    /// What the tuned model of the stage before reached, exam by exam.
    pub(super) fn results_of_tuned(&mut self) -> Vec<Option<ExamResult>> {
        self.exams.iter_mut().map(|e| e.results[1].take()).collect()
    }

    /// Each exam against what the stage before reached; judged ones, where only two stand against each other, have none.
    pub(super) fn since(&self, earlier: &[Option<ExamResult>]) -> Result<Vec<Option<Gain>>> {
        let one = |(e, before): (&Exam, &Option<ExamResult>)| -> Result<Option<Gain>> {
            match (before, &e.results[1]) {
                (Some(before), Some(now)) if now.info.scorer != Some(nurture_eval::score::Scorer::Judge) => {
                    Ok(Some(Comparison::new(before, now, Bootstrap::default())?.gain()))
                }
                _ => Ok(None),
            }
        };
        self.exams.iter().zip(earlier).filter(|(e, _)| !e.general).map(one).collect()
    }

    /// Base against tuned, exam by exam.
    pub fn compare(&self) -> Result<Vec<(&Exam, Comparison)>> {
        let mut out = Vec::new();
        for e in &self.exams {
            if let [Some(base), Some(tuned)] = &e.results {
                out.push((e, Comparison::new(base, tuned, Bootstrap::default())?));
            }
        }
        Ok(out)
    }
}

impl Reading {
    /// Reads all texts, or takes up what is there.
    pub(super) fn read(
        &mut self,
        dir: &Path,
        model: &Model,
        pulled: &Pulled,
        tuned: Tuned<'_>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let Sitting { at, role, folder, who, examinee } = Sitting::new(dir, model, pulled, tuned)?;
        for ((_, text), results) in self.texts.iter().zip(&mut self.results) {
            let file = folder.join(format!("{}.{role}.json", text.name));
            let hash = sha256(&text.origin.1);
            let old: Option<PerplexityResult> = super::read_json(&file);
            let same = |r: &PerplexityResult| {
                r.model == who
                    && r.text_sha256.as_ref() == Some(&hash)
                    && r.windows == text.scheme
                    && r.per_window.len() == text.windows.len()
            };
            let result = match old.filter(same) {
                Some(r) => {
                    let name = &text.name;
                    watch.event(Event::Reused(said!("{name}: read before", "{name}：之前已读")));
                    r
                }
                None => {
                    let what = Said::new(&text.name, &text.name);
                    let bytes = |w: &_| text.bytes(model.tokenizer(), w);
                    let mut r = examinee
                        .read(&text.name, who.clone(), text.scheme, &text.windows, bytes, |done, all| {
                            watch.event(Event::Progress(&what, done, all));
                            !watch.stopped()
                        })
                        .map_err(stop)?;
                    r.text_sha256 = Some(hash);
                    write_json(&file, &r)?;
                    r
                }
            };
            watch.event(Event::Marked(&text.name, Mark::Perplexity(result.ppl)));
            results[at] = Some(result);
        }
        Ok(())
    }

    /// Base against tuned: own field (`true`) or general (`false`).
    pub fn compare(&self, own: bool) -> Result<Vec<PerplexityComparison>> {
        let mut out = Vec::new();
        for ((field, _), results) in self.texts.iter().zip(&self.results) {
            if let ([Some(base), Some(tuned)], true) = (results, *field == own) {
                out.push(PerplexityComparison::new(base, tuned, Bootstrap::default())?);
            }
        }
        Ok(out)
    }

    pub(super) fn inputs(&self) -> impl Iterator<Item = InputHash> + '_ {
        self.texts.iter().map(|(own, t)| InputHash {
            role: if *own { "depth" } else { "breadth" }.to_string(),
            path: t.origin.0.clone(),
            sha256: sha256(&t.origin.1),
            bytes: t.origin.1.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::ExamKind;
    use nurture_text::{TrainBpe, WordCounts};

    #[test]
    fn texts_and_prompts_of_one_name_leave_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let path = |name: &str| put(name, &format!("A text of its own lies in {name}.\n"));
        let tokenizer = TrainBpe { vocab_size: 300, ..TrainBpe::default() };
        let tokenizer = tokenizer.train(WordCounts::default(), &mut |_, _| true).unwrap();
        let mut r = Recipe::default();
        let perplexity = |path, name: &str| recipe::Exam {
            path,
            name: Some(name.into()),
            kind: Some(ExamKind::Perplexity),
            ..recipe::Exam::default()
        };
        r.eval.depth = vec![perplexity(path("own/laws.txt"), "field")];
        let prompts = put("c/test.jsonl", "{\"prompt\": \"Who are you?\"}\n");
        let breadth = [path("a/test.txt"), path("b/test.txt"), path("desk.txt"), prompts];
        r.eval.breadth = breadth.iter().map(|p| p.display().to_string()).collect();
        let mut names = Names::default();
        assert_eq!(names.take("desk"), "desk", "an exam has it");
        let reading = texts(&r, &[], &tokenizer, false, &mut names).unwrap();
        let all: Vec<(bool, &str)> = reading.texts.iter().map(|(own, t)| (*own, t.name.as_str())).collect();
        assert_eq!(all, [(true, "field"), (false, "test"), (false, "test-2"), (false, "desk-2")]);
        let origins: Vec<&String> = reading.texts.iter().skip(1).map(|(_, t)| &t.origin.0).collect();
        assert!(origins.into_iter().eq(&r.eval.breadth[..3]));
        let sets = super::super::prompts::open(&r, false, &mut names).unwrap();
        assert_eq!(sets[0].name, "test-3");
    }

    #[test]
    fn an_exam_of_addresses_meets_training_rows_without_them() {
        let mut r = Recipe::default();
        r.data.clean.personal = recipe::Sensitive::Redact;
        r.data.clean.secrets = recipe::Sensitive::Redact;
        let kinds = super::super::clean::redacted(&r);
        assert!(kinds.contains(&Sensitive::Email) && kinds.contains(&Sensitive::Secret));
        assert_eq!(super::super::clean::redacted(&Recipe::default()), []);
    }
}
