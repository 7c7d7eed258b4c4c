//! Decisions a second: one of BANKING77's 77 labels for each question, the list of labels in the system prompt.
//!
//! `cargo run --release -p nurture --example decide_speed -- MODEL.gguf BANKING77_FOLDER [--items 200] [--exact] [--adapter DIR]
//! [--out ITEMS.jsonl]`
//!
//! Prints one JSON object: the rates of the greedy walk, of the best-first walk (many at once, and one after the other) and of all
//! labels' probabilities, and how well those are calibrated before and after temperature scaling, which is fitted on the first half
//! of the items and told of the second. `--out` writes the tokens for `bench/peers/llama_cpp_decide.py`.

use anyhow::{Context, bail};
use nurture::engine::{LoadOptions, Model};
use nurture::eval::stats::{DEFAULT_BINS, calibration};
use nurture::infer::{Chooser, Decision, Temperature, Trie};
use nurture::model::Mode;
use nurture::text::Message;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let (mut paths, mut items, mut mode) = (Vec::<PathBuf>::new(), 200, Mode::Fast);
    let (mut adapter, mut out) = (None::<PathBuf>, None::<PathBuf>);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--items" => items = value()?.parse()?,
            "--exact" => mode = Mode::Exact,
            "--adapter" => adapter = Some(value()?.into()),
            "--out" => out = Some(value()?.into()),
            _ => paths.push(word.into()),
        }
    }
    let [model, folder] = &paths[..] else { bail!("a model and the folder of BANKING77 are needed") };
    let model = Model::load(model, &LoadOptions::default())?;
    let adapter = adapter.map(|dir| model.adapter(&dir)).transpose()?;
    let words = |label: &str| label.replace('_', " ");
    let labels: Vec<String> = serde_json::from_slice(&std::fs::read(folder.join("categories.json"))?)?;
    let mut labels: Vec<String> = labels.iter().map(|l| words(l)).collect();
    labels.sort();
    let system = format!("Name the intent of the customer's message. It is one of: {}.", labels.join(", "));
    let mut rows = rows(&std::fs::read_to_string(folder.join("dev_exam.csv"))?);
    // the file goes by class
    nurture::kernels::Rng::new(1).shuffle(&mut rows);
    rows.truncate(items);
    let prompt = |text: &str| -> anyhow::Result<Vec<u32>> {
        let messages = [Message::new("system", system.clone()), Message::new("user", text)];
        Ok(model.renderer().prompt(&messages)?.tokens)
    };
    let prompts: Vec<Vec<u32>> = rows.iter().map(|r| prompt(&r.0)).collect::<Result<_, _>>()?;
    let gold: Vec<usize> =
        rows.iter().map(|r| labels.iter().position(|l| *l == words(&r.1)).unwrap_or(usize::MAX)).collect();
    let answers: Vec<Vec<u32>> = labels
        .iter()
        .map(|label| {
            let turns = [Message::new("system", system.clone()), Message::new("user", rows[0].0.clone())];
            let whole = [&turns[..], &[Message::new("assistant", label.clone())]].concat();
            let rendered = model.renderer().example(&whole)?;
            let end = rendered.turns.last().map_or(0, |t| t.tokens.end);
            rendered.tokens[..end]
                .strip_prefix(&prompts[0][..])
                .map(<[u32]>::to_vec)
                .context("the answer melts")
        })
        .collect::<Result<_, _>>()?;
    let tries = [Trie::new(&answers)?];
    let mut chooser = Chooser::new(model.decoder(), adapter.as_ref(), model.cpu(), mode);
    chooser.choose(&prompts[..2], &tries, |_| ())?; // the label list is computed once, as a server would keep it
    let n = prompts.len() as f64;

    let begin = Instant::now();
    let greedy = chooser.choose(&prompts, &tries, |_| ())?;
    let greedy_rate = n / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let best = chooser.best(&prompts, &tries, 0.0, |_| ())?;
    let best_rate = n / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for (p, b) in prompts.iter().zip(&best) {
        let one = chooser.best(std::slice::from_ref(p), &tries, 0.0, |_| ())?;
        assert_eq!(one[0].answer(), b.answer(), "a decision does not depend on those beside it");
    }
    let single_rate = n / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let all = chooser.best(&prompts, &tries, 0.999, |_| ())?;
    let all_rate = n / begin.elapsed().as_secs_f64();

    let right = |d: &[usize]| d.iter().zip(&gold).filter(|(a, b)| a == b).count() as f64 / n;
    let greedy_answers: Vec<usize> = greedy.iter().map(|c| c.answer).collect();
    let best_answers: Vec<usize> = best.iter().map(Decision::answer).collect();
    let same = greedy_answers.iter().zip(&best_answers).filter(|(a, b)| a == b).count() as f64 / n;
    let held: Vec<(Vec<f64>, usize)> =
        all.iter().zip(&gold).map(|(d, &g)| logs(d, labels.len(), g)).collect();
    let (fit, rest) = held.split_at(held.len() / 2);
    let temperature = Temperature::fit(fit);
    let ece = |t: Temperature| -> anyhow::Result<f64> {
        let pairs: Vec<(f64, bool)> =
            rest.iter().map(|(logs, gold)| (t.probabilities(logs)[0].min(1.0), *gold == 0)).collect();
        Ok(calibration(&pairs, DEFAULT_BINS)?.ece)
    };
    let tokens = |p: &Vec<u32>| p.len();
    let shared = prompts
        .iter()
        .fold(prompts[0].len(), |s, p| p.iter().zip(&prompts[0][..s]).take_while(|(a, b)| a == b).count());
    println!(
        "{}",
        json!({
            "engine": "nurture", "mode": mode.name(), "items": rows.len(), "labels": labels.len(), "shared_tokens": shared,
            "prompt_tokens": prompts.iter().map(tokens).sum::<usize>() as f64 / n,
            "label_tokens": best_answers.iter().map(|&a| answers[a].len()).sum::<usize>() as f64 / n,
            "greedy_per_s": greedy_rate, "best_first_per_s": best_rate, "best_first_one_by_one_per_s": single_rate,
            "all_labels_per_s": all_rate,
            "opened": best.iter().map(|d| d.opened).sum::<usize>() as f64 / n,
            "opened_for_all": all.iter().map(|d| d.opened).sum::<usize>() as f64 / n,
            "accuracy_greedy": right(&greedy_answers), "accuracy_best_first": right(&best_answers), "same_answer": same,
            "temperature": temperature.0, "ece_before": ece(Temperature(1.0))?, "ece_after": ece(temperature)?,
        })
    );
    if let Some(path) = out {
        let mut text = String::new();
        for (p, a) in prompts.iter().zip(&best_answers) {
            let _ = writeln!(text, "{}", json!({ "shared": shared, "prompt": p, "label": answers[*a] }));
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Log-probabilities, the best first, and the place of the right answer; what was not reached shares the rest evenly.
fn logs(d: &Decision, labels: usize, gold: usize) -> (Vec<f64>, usize) {
    let missing = labels - d.ranking.len();
    let each = (d.rest.max(1e-12) / missing.max(1) as f64).ln();
    let mut logs: Vec<f64> = d.ranking.iter().map(|r| r.1).collect();
    let place = d.ranking.iter().position(|r| r.0 == gold).unwrap_or(logs.len());
    logs.extend(std::iter::repeat_n(each, missing));
    (logs, place)
}

/// Rows `(text, category)` of a csv file with quoted fields.
fn rows(text: &str) -> Vec<(String, String)> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    let pair = |row: Vec<String>| <[String; 2]>::try_from(row).ok().map(|[a, b]| (a, b));
    rows.into_iter().skip(1).filter_map(pair).collect()
}
