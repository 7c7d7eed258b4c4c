//! Several runs side by side: what they share, what sets them apart, and who goes how deep at what price.

use crate::lang::Said;
use crate::report::Saved;
use crate::report::data::ReportData;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_eval::{Comparison, ExamFiles, ExamResult, VerdictKind, stats::Bootstrap};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Runs compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compared {
    /// The runs, in the order in which they were named.
    pub runs: Vec<RunLine>,
    /// Exams that all of them sat on the same items, each run against the first.
    pub exams: Vec<ExamLine>,
    /// Keys of the recipes that are not the same in all runs, with each run's value.
    pub differ: Vec<(String, Vec<String>)>,
    /// Runs that differ in nothing but their seed.
    pub seeds: Vec<Seeds>,
    /// What a reader must know.
    pub warnings: Vec<Said>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunLine {
    /// Its name.
    pub name: String,
    /// Its verdict.
    pub verdict: VerdictKind,
    /// Its base model.
    pub base: String,
    /// Mean gain over its exams of the own field, a fraction; `None` without exams.
    pub gain: Option<f64>,
    /// The greatest relative rise of bits per byte over its general texts; `None` without texts.
    pub rise: Option<f64>,
    /// Mean divergence from the base on general prompts, nats a token; `None` without prompts.
    pub divergence: Option<f64>,
    /// Seconds of training.
    pub seconds: Option<f64>,
}

/// One exam that all runs sat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExamLine {
    /// Its name.
    pub name: String,
    /// Items.
    pub items: u64,
    /// What the base scores.
    pub base: f64,
    /// Each run.
    pub runs: Vec<Score>,
}

/// A run in one exam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// What it scores.
    pub score: f64,
    /// Against the first run on the same items.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Its p-value.
    pub p: f64,
}

/// Runs of one recipe with several seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seeds {
    /// Their names.
    pub runs: Vec<String>,
    /// Mean of their gains.
    pub mean: f64,
    /// Standard deviation of one run's gain from seed to seed (n − 1).
    pub deviation: f64,
    /// Smallest and greatest gain.
    pub range: [f64; 2],
}

/// Keys that say nothing of what a run learns.
const ASIDE: [&str; 5] = ["lock", "run", "train.threads", "train.samples", "eval.seeds"];

/// A key of a further stage as one of the first.
fn of_any_stage(key: &str) -> &str {
    key.strip_prefix("then[").and_then(|rest| rest.split_once("].")).map_or(key, |(_, inner)| inner)
}

/// What tells seeds apart, in the first stage and in further ones.
fn is_seed(key: &str) -> bool {
    of_any_stage(key) == "train.seed"
}

struct Run {
    /// where the answers of its exams are
    dir: PathBuf,
    report: ReportData,
    keys: BTreeMap<String, String>,
}

/// Compares the runs in these folders.
///
/// # Errors
/// Fewer than two; a folder without a report; an encoder-decoder's.
pub fn compare(folders: &[PathBuf]) -> Result<Compared> {
    if folders.len() < 2 {
        bail!(said!("name two runs or more to compare", "请给出至少两次运行来比较"));
    }
    let runs = folders.iter().map(|dir| open(dir)).collect::<Result<Vec<Run>>>()?;
    let mut out = Compared { runs: runs.iter().map(line).collect(), ..Compared::default() };
    let mut seen = BTreeSet::new();
    for line in &mut out.runs {
        // two folders may hold runs of one name
        let wish = line.name.clone();
        let mut n = 1;
        while !seen.insert(line.name.clone()) {
            n += 1;
            line.name = format!("{wish} ({n})");
        }
    }
    let all: BTreeSet<&String> = runs.iter().flat_map(|r| r.keys.keys()).collect();
    for key in all {
        let values: Vec<String> = runs.iter().map(|r| r.keys.get(key).cloned().unwrap_or_default()).collect();
        if values.iter().any(|v| *v != values[0]) {
            out.differ.push((key.clone(), values));
        }
    }
    let bases: BTreeSet<&str> = runs.iter().map(|r| r.report.base.sha256.as_str()).collect();
    if bases.len() > 1 {
        out.warnings.push(said!(
            "The runs have different base models: perplexities do not compare between them.",
            "这些运行的基座模型不同：困惑度之间不可比。"
        ));
    }
    out.seeds = seeds(&runs, &out.runs);
    exams(&runs, &mut out)?;
    Ok(out)
}

fn open(dir: &Path) -> Result<Run> {
    let path = dir.join("report.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) => {
            let dir = dir.display();
            bail!(said!(
                "{dir}: no report.json there; nurture run (or eval) writes it",
                "{dir}：没有 report.json；先用 nurture run（或 eval）生成"
            ))
        }
    };
    let report = match Saved::read(&text).with_context(|| path.display().to_string())? {
        Saved::Run(report) => *report,
        Saved::Pairs(_) => {
            let dir = dir.display();
            bail!(said!(
                "{dir}: the run of an encoder-decoder, which has no base and no gain to compare; its report.md says what it can do",
                "{dir}：这是编码器–解码器的运行，没有基座，也就没有可比较的增益；它的成绩见 report.md"
            ))
        }
    };
    let mut keys = BTreeMap::new();
    let lock = std::fs::read_to_string(dir.join("recipe.lock.toml")).unwrap_or_default();
    if let Ok(table) = lock.parse::<toml::Table>() {
        flatten(&toml::Value::Table(table), String::new(), &mut keys);
    }
    keys.retain(|key, _| {
        let key = of_any_stage(key);
        !ASIDE.iter().any(|aside| key == *aside || key.starts_with(&format!("{aside}.")))
    });
    // of a run with several stages the answers lie with the last one
    let dir = crate::recipe::stage_dirs(dir).pop().unwrap_or_else(|| dir.to_path_buf());
    Ok(Run { dir, report, keys })
}

fn flatten(value: &toml::Value, at: String, out: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                flatten(inner, if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, out);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (i, inner) in items.iter().enumerate() {
                flatten(inner, format!("{at}[{i}]"), out);
            }
        }
        other => {
            out.insert(at, other.to_string());
        }
    }
}

fn line(run: &Run) -> RunLine {
    let r = &run.report;
    let mean = |values: Vec<f64>| match values.len() {
        0 => None,
        n => Some(values.iter().sum::<f64>() / n as f64),
    };
    RunLine {
        name: r.run.clone(),
        verdict: r.verdict.kind,
        base: r.base.name.clone(),
        gain: mean(r.exams.iter().map(|e| e.paired.diff).collect()),
        rise: r.breadth.iter().map(|t| t.rise()).filter(|r| r.is_finite()).reduce(f64::max),
        divergence: mean(r.drifts.iter().map(|d| d.kl).collect()),
        seconds: r.outcome.seconds,
    }
}

fn seeds(runs: &[Run], lines: &[RunLine]) -> Vec<Seeds> {
    let mut groups: Vec<(BTreeMap<&String, &String>, Vec<usize>)> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let rest: BTreeMap<&String, &String> = run.keys.iter().filter(|(k, _)| !is_seed(k)).collect();
        match groups.iter_mut().find(|(keys, _)| *keys == rest) {
            Some((_, members)) => members.push(i),
            None => groups.push((rest, vec![i])),
        }
    }
    let mut out = Vec::new();
    for (_, members) in groups {
        let own = |i: usize| -> Vec<(&String, &String)> {
            runs[i].keys.iter().filter(|(k, _)| is_seed(k)).collect()
        };
        let different: BTreeSet<_> = members.iter().map(|&i| own(i)).collect();
        let gains: Vec<f64> = members.iter().filter_map(|&i| lines[i].gain).collect();
        if members.len() < 2 || different.len() < members.len() || gains.len() < members.len() {
            continue;
        }
        let n = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / n;
        out.push(Seeds {
            runs: members.iter().map(|&i| lines[i].name.clone()).collect(),
            mean,
            deviation: (gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt(),
            range: [
                gains.iter().copied().fold(f64::INFINITY, f64::min),
                gains.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ],
        });
    }
    out
}

/// A run's answers in an exam; `None` where it has none.
fn result(dir: &Path, exam: &str, role: &str) -> Option<ExamResult> {
    let file =
        |ending: &str| std::fs::read_to_string(dir.join("eval").join(format!("{exam}.{role}.{ending}"))).ok();
    ExamResult::from_files(&ExamFiles { summary: file("json")?, items: file("jsonl")? }).ok()
}

fn exams(runs: &[Run], out: &mut Compared) -> Result<()> {
    let first = &runs[0];
    // what a judge prefers is against the base of the same run, and says nothing of other runs
    for exam in first.report.exams.iter().filter(|e| e.scorer != "judge") {
        let all: Option<Vec<ExamResult>> = runs.iter().map(|r| result(&r.dir, &exam.name, "tuned")).collect();
        let Some(all) = all else { continue };
        let mut line = ExamLine { name: exam.name.clone(), base: exam.base.accuracy, ..ExamLine::default() };
        for result in &all {
            match Comparison::new(&all[0], result, Bootstrap::default()) {
                Ok(c) => {
                    let gain = c.gain();
                    line.items = c.n as u64;
                    line.runs.push(Score {
                        score: if exam.graded { c.tuned.mean_score } else { c.tuned.accuracy },
                        diff: gain.diff,
                        ci: [gain.ci.low, gain.ci.high],
                        p: gain.p,
                    });
                }
                Err(e) => {
                    let (name, problem) = (&exam.name, e.to_string());
                    out.warnings
                        .push(said!("“{name}” is not compared: {problem}", "“{name}”未比较：{problem}"));
                    break;
                }
            }
        }
        if line.runs.len() == runs.len() {
            out.exams.push(line);
        }
    }
    Ok(())
}
