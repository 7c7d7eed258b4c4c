//! The exam of an encoder-decoder: each source once, the greedy target and the best of several beams against what is right.

use super::super::exams::Names;
use super::super::{Event, Mark, Stopped, Textbooks, Watch, prepare};
use crate::pairs::{Vocabularies, write_all};
use crate::recipe::Recipe;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_eval::score::chrf::corpus_chrf;
use nurture_eval::stats::wilson;
use nurture_formats::write_atomic;
use nurture_infer::Beams;
use nurture_model::Cpu;
use nurture_model::seq2seq::Seq2Seq;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A source with all targets that are right.
pub(super) struct PairItem {
    id: String,
    question: String,
    gold: Vec<String>,
}

/// An exam: each source once.
pub(super) struct PairPaper {
    pub(super) name: String,
    pub(super) items: Vec<PairItem>,
}

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

/// The exams of the recipe: rows held out, and files with free answers.
pub(super) fn papers(r: &Recipe, books: &Textbooks, watch: &mut dyn Watch) -> Result<Vec<PairPaper>> {
    let papers = prepare::exams(r, &books.loaded, &books.held, &mut Names::default(), watch)?;
    let mut out = Vec::new();
    for paper in papers {
        // what is asked alike has all its answers right
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut items: Vec<PairItem> = Vec::new();
        for e in &paper.loaded.examples {
            let pair = super::pair(e)?;
            match places.get(&pair.from) {
                Some(&at) => {
                    if !items[at].gold.contains(&pair.to) {
                        items[at].gold.push(pair.to);
                    }
                }
                None => {
                    places.insert(pair.from.clone(), items.len());
                    items.push(PairItem { id: pair.id, question: pair.from, gold: vec![pair.to] });
                }
            }
        }
        if items.is_empty() {
            let name = &paper.name;
            bail!(said!("exam {name}: no item", "考试 {name}：没有题目"));
        }
        out.push(PairPaper { name: paper.name, items });
    }
    Ok(out)
}

/// Sits an exam, and leaves each answer in `eval/`.
#[allow(clippy::too_many_arguments)]
pub(super) fn sit(
    dir: &Path,
    paper: &PairPaper,
    cpu: &Cpu,
    network: &Seq2Seq,
    words: &Vocabularies,
    beams: &Beams,
    longest: usize,
    watch: &mut dyn Watch,
) -> Result<PairResult> {
    let began = std::time::Instant::now();
    let texts: Vec<&str> = paper.items.iter().map(|i| i.question.as_str()).collect();
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
        name: paper.name.clone(),
        items: paper.items.len() as u64,
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
    for ((item, greedy), best) in paper.items.iter().zip(&greedy).zip(&best) {
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
    let interval = wilson(result.best as usize, paper.items.len());
    result.interval = [interval.low, interval.high];
    result.chrf = corpus_chrf(compared.iter().map(|(answer, gold)| (answer.as_str(), *gold)));
    result.seconds = began.elapsed().as_secs_f64();
    let folder = dir.join("eval");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    write_atomic(folder.join(format!("{}.tuned.jsonl", paper.name)), &lines)?;
    super::super::write_json(&folder.join(format!("{}.tuned.json", paper.name)), &result)?;
    watch.event(Event::Marked(&paper.name, Mark::Right(result.best as usize, paper.items.len())));
    Ok(result)
}
