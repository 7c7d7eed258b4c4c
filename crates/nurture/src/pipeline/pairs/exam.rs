//! The exam of an encoder-decoder: each source once, the greedy target and the best of several beams against what is right.

use super::super::exams::{Exam, Names};
use super::super::{Event, ExamPaper, Mark, Stopped, Watch, prepare};
use crate::pairs::{Vocabularies, write_all};
use crate::recipe::Recipe;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_data::{Answer, Example, Loaded};
use nurture_eval::score::chrf::corpus_chrf;
use nurture_eval::stats::wilson;
use nurture_formats::write_atomic;
use nurture_infer::Beams;
use nurture_model::Cpu;
use nurture_model::seq2seq::Seq2Seq;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an exam showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairResult {
    pub(super) name: String,
    pub(super) items: u64,
    /// the greedy target is right
    pub(super) greedy: u64,
    /// the best of the beams is right
    pub(super) best: u64,
    /// one of the beams is right
    pub(super) among: u64,
    pub(super) beams: u64,
    /// 95 % interval of the share of right best beams (Wilson)
    pub(super) interval: [f64; 2],
    /// corpus chrF of the best beams, 0 to 1
    pub(super) chrf: f64,
    /// targets that were cut
    pub(super) cut: u64,
    pub(super) seconds: f64,
    /// a few items, right ones and wrong ones
    pub(super) shown: Vec<Shown>,
}

/// An item as the report shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(super) question: String,
    pub(super) gold: Vec<String>,
    pub(super) answers: Vec<String>,
    pub(super) right: bool,
}

/// A line of `eval/NAME.tuned.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    question: &'a str,
    gold: &'a [String],
    greedy: &'a str,
    beams: Vec<(&'a str, f64)>,
    correct: bool,
}

/// Each target that is right.
fn right(e: &Example) -> Vec<String> {
    match &e.answer {
        Answer::Free(all) => all.clone(),
        _ => e.expected().map(String::from).into_iter().collect(),
    }
}

/// The exams of the recipe, rows held out and files with free answers: each source once, with all targets that are right.
pub(super) fn papers(
    r: &Recipe,
    books: &Loaded,
    held: &[Example],
    watch: &mut dyn Watch,
) -> Result<Vec<ExamPaper>> {
    let mut papers = prepare::exams(r, books, held, &mut Names::default(), watch)?;
    for paper in &mut papers {
        // what is asked alike has all its answers right
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut items: Vec<Example> = Vec::new();
        for e in std::mem::take(&mut paper.loaded.examples) {
            let from = super::pair(&e)?.from;
            match places.get(&from).and_then(|at| items.get_mut(*at)) {
                Some(item) => {
                    let mut gold = right(item);
                    gold.extend(right(&e));
                    let mut seen = BTreeSet::new();
                    gold.retain(|g| seen.insert(g.clone()));
                    if gold.len() > 1 {
                        (item.messages, item.answer) = (item.prompt().to_vec(), Answer::Free(gold));
                    }
                }
                None => {
                    places.insert(from, items.len());
                    items.push(e);
                }
            }
        }
        if items.is_empty() {
            let name = &paper.name;
            bail!(said!("exam {name}: no item", "考试 {name}：没有题目"));
        }
        paper.loaded.examples = items;
    }
    Ok(papers)
}

/// Sits an exam, and leaves each answer in `eval/`.
#[allow(clippy::too_many_arguments)]
pub(super) fn sit(
    dir: &Path,
    exam: &Exam,
    cpu: &Cpu,
    network: &Seq2Seq,
    words: &Vocabularies,
    beams: &Beams,
    longest: usize,
    watch: &mut dyn Watch,
) -> Result<PairResult> {
    let began = std::time::Instant::now();
    let texts: Vec<&str> = exam.items.iter().map(|i| i.question.as_str()).collect();
    let longest = longest.min(network.config().context);
    let (what, all) = (said!("answers", "作答"), 2 * texts.len());
    let mut ask = |how: &Beams, before: usize| -> Result<Vec<Vec<crate::pairs::Answer>>> {
        let mut out = Vec::with_capacity(texts.len());
        write_all(cpu, network, words, &texts, how, longest, |i, answers| {
            out.push(answers);
            watch.event(Event::Progress(&what, before + i + 1, all));
            !watch.stopped()
        })?;
        if out.len() < texts.len() { Err(Stopped.into()) } else { Ok(out) }
    };
    let greedy = ask(&Beams { count: 1, ..*beams }, 0)?;
    let best = ask(beams, texts.len())?;
    let mut result = PairResult {
        name: exam.info.name.clone(),
        items: exam.items.len() as u64,
        greedy: 0,
        best: 0,
        among: 0,
        beams: beams.count as u64,
        interval: [0.0, 1.0],
        chrf: 0.0,
        cut: 0,
        seconds: 0.0,
        shown: Vec::new(),
    };
    let (mut lines, mut compared) = (Vec::new(), Vec::new());
    for ((item, greedy), best) in exam.items.iter().zip(&greedy).zip(&best) {
        let right = |text: &str| item.gold.iter().any(|g| g == text);
        let first = |all: &'_ [crate::pairs::Answer]| all.first().map(|a| a.text.clone()).unwrap_or_default();
        let (plain, top) = (first(greedy), first(best));
        let correct = right(&top);
        result.greedy += u64::from(right(&plain));
        result.best += u64::from(correct);
        result.among += u64::from(best.iter().any(|a| right(&a.text)));
        result.cut += u64::from(best.first().is_none_or(|a| a.cut));
        // some of each kind
        if result.shown.iter().filter(|s| s.right == correct).count() < 8 {
            let answers = best.iter().map(|a| a.text.clone()).collect();
            let (question, gold) = (item.question.clone(), item.gold.clone());
            result.shown.push(Shown { question, gold, answers, right: correct });
        }
        let beams = best.iter().map(|a| (a.text.as_str(), a.score)).collect();
        let line =
            Line { id: &item.id, question: &item.question, gold: &item.gold, greedy: &plain, beams, correct };
        lines.extend(serde_json::to_vec(&line)?);
        lines.push(b'\n');
        compared.push((top, &item.gold[..]));
    }
    let interval = wilson(result.best as usize, exam.items.len());
    result.interval = [interval.low, interval.high];
    result.chrf = corpus_chrf(compared.iter().map(|(answer, gold)| (answer.as_str(), *gold)));
    result.seconds = began.elapsed().as_secs_f64();
    let folder = dir.join("eval");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    write_atomic(folder.join(format!("{}.tuned.jsonl", exam.info.name)), &lines)?;
    super::super::write_json(&folder.join(format!("{}.tuned.json", exam.info.name)), &result)?;
    watch.event(Event::Marked(&exam.info.name, Mark::Right(result.best as usize, exam.items.len())));
    Ok(result)
}
