//! What the files in a run's folder tell. Everything may be half there, or of another program: what cannot be read is left out.

use super::told;
use crate::pipeline::{SAMPLES, read_samples};
use crate::report::{Saved, data::ReportData, verdict};
use crate::{recipe, said};
use anyhow::Result;
use nurture_data::{Ledger, SourceLedger};
use nurture_eval::VerdictKind;
use nurture_serve::{Answered, Expected, Live, Point, RunLine, RunState, SourceRows, Told};
use nurture_train::{FORECAST, Forecast, METRICS, Outcome, StepMetrics, read_metrics};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const LOCK: &str = "recipe.lock.toml";
const OUTCOME: &str = "outcome.json";
const REPORT: &str = "report.json";
/// Largest file that is read whole.
const MOST: u64 = 256 << 20;
/// Rounds of answers that are shown, and characters of each answer.
const ROUNDS: usize = 5;
const ANSWER: usize = 1_000;
/// Steps whose mean tells the pace.
const RECENT: usize = 20;

/// Whether a run lies here, or begins to.
pub(super) fn is_run(dir: &Path) -> bool {
    [LOCK, METRICS, recipe::TAKEN].iter().any(|name| dir.join(name).is_file())
}

/// The folder of the stage that the run is at: the last that has steps; of a run of one stage its own.
fn at_work(dir: &Path) -> PathBuf {
    let begun = |p: &PathBuf| p.join(METRICS).is_file();
    recipe::stage_dirs(dir).into_iter().rev().find(begun).unwrap_or_else(|| dir.to_path_buf())
}

/// A small file as text.
pub(super) fn text(path: &Path, most: u64) -> Option<String> {
    if fs::metadata(path).ok()?.len() > most {
        return None;
    }
    fs::read_to_string(path).ok()
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&text(path, MOST)?).ok()
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Whether a process holds the folder. Asking takes the lock for an instant.
fn is_taken(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(recipe::TAKEN)) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// What a list shows of runs, kept as long as their files do not change.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<HashMap<String, (Times, Head)>>);

/// When lock file and report last changed.
type Times = [Option<SystemTime>; 2];

#[derive(Clone, Debug, Default)]
struct Head {
    base: String,
    method: String,
    verdict: Option<Told>,
    good: bool,
}

impl Heads {
    pub(super) fn line(&self, run: &str, dir: &Path) -> RunLine {
        let head = self.head(run, dir);
        let stage = at_work(dir);
        let last = last_step(&stage.join(METRICS));
        let has = |name: &str| dir.join(name).exists();
        let result = |name: &str| stage.join(name).exists();
        let trained = result("adapter/adapter_config.json") || result("model/config.json");
        let state = match () {
            () if is_taken(dir) => RunState::Working,
            () if has(REPORT) => RunState::Done,
            () if trained => RunState::Trained,
            () => RunState::Stopped,
        };
        let newest =
            [LOCK, METRICS, REPORT, OUTCOME].iter().filter_map(|name| changed(&stage.join(name))).max();
        let since = newest.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        RunLine {
            name: run.to_string(),
            state,
            steps: last.map_or((0, 0), |m| (m.step, m.total_steps)),
            base: head.base,
            method: head.method,
            verdict: head.verdict,
            good: head.good,
            changed: since.map_or(0, |d| d.as_secs()),
        }
    }

    fn head(&self, run: &str, dir: &Path) -> Head {
        let times = [changed(&dir.join(LOCK)), changed(&dir.join(REPORT))];
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, head)) = all.get(run).filter(|(kept, _)| *kept == times) {
            return head.clone();
        }
        let head = head(dir);
        if all.len() > 10_000 {
            all.clear();
        }
        all.insert(run.to_string(), (times, head.clone()));
        head
    }
}

fn head(dir: &Path) -> Head {
    let table: toml::Table =
        text(&dir.join(LOCK), 1 << 22).and_then(|t| toml::from_str(&t).ok()).unwrap_or_default();
    let word = |section: &str, key: &str| {
        let value = table.get(section).and_then(|s| s.get(key));
        value.and_then(|v| v.as_str()).unwrap_or_default().to_string()
    };
    // a report is long; here only its end counts
    let kind =
        report(dir).filter(|r| !(r.exams.is_empty() && r.depth_texts.is_empty())).map(|r| r.verdict.kind);
    let newborn = table.get("model").is_some_and(|m| m.get("new").is_some());
    Head {
        base: if newborn { "newborn".into() } else { word("model", "base") },
        method: word("train", "method"),
        verdict: kind.map(|k| told(&verdict::word(k).into())),
        good: kind == Some(VerdictKind::Deeper),
    }
}

pub(super) fn report(dir: &Path) -> Option<ReportData> {
    match Saved::read(&text(&dir.join(REPORT), MOST)?).ok()? {
        Saved::Run(report) => Some(*report),
        // it has no verdict and no page
        Saved::Pairs(_) => None,
    }
}

/// The last whole line, without reading the file from its beginning.
fn last_step(path: &Path) -> Option<StepMetrics> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(8 << 10))).ok()?;
    let mut bytes = Vec::new();
    file.take(8 << 10).read_to_end(&mut bytes).ok()?;
    bytes.rsplit(|b| *b == b'\n').find_map(|line| serde_json::from_slice(line).ok())
}

/// What may change; the caller adds how the run stands.
pub(super) fn live(dir: &Path) -> Result<Live> {
    let dir = &at_work(dir);
    let steps = if fs::metadata(dir.join(METRICS)).is_ok_and(|m| m.len() > MOST) {
        Vec::new()
    } else {
        read_metrics(dir.join(METRICS))?
    };
    let forecast: Option<Forecast> = json(&dir.join(FORECAST));
    let outcome: Option<Outcome> = json(&dir.join(OUTCOME));
    let recent = &steps[steps.len().saturating_sub(RECENT)..];
    let pace = recent.iter().map(|m| m.seconds).sum::<f64>() / recent.len().max(1) as f64;
    let left = steps.last().map(|m| m.total_steps.saturating_sub(m.step) as f64 * pace);
    let point = |m: &StepMetrics| Point {
        step: m.step,
        loss: m.loss,
        rate: m.rate,
        norm: m.grad_norm,
        speed: m.tok_s,
        memory: m.rss_bytes,
    };
    Ok(Live {
        points: steps.iter().map(point).collect(),
        left,
        expected: expected(forecast.as_ref(), outcome.as_ref()),
        answers: answers(dir),
        ..Live::default()
    })
}

fn expected(forecast: Option<&Forecast>, outcome: Option<&Outcome>) -> Vec<Expected> {
    if forecast.is_none() && outcome.is_none() {
        return Vec::new();
    }
    let same = |text: String| Told::new(text.clone(), text);
    let count = |n: u64| same(n.to_string());
    let seconds = |s: f64| match s {
        s if s < 90.0 => Told::new(format!("{s:.1} s"), format!("{s:.1} 秒")),
        s if s < 5400.0 => Told::new(format!("{:.1} min", s / 60.0), format!("{:.1} 分钟", s / 60.0)),
        s => Told::new(format!("{:.1} h", s / 3600.0), format!("{:.1} 小时", s / 3600.0)),
    };
    let memory = |b: u64| same(format!("{:.2} GB", b as f64 / 1e9));
    let row =
        |name: Told, forecast: Option<Told>, outcome: Option<Told>| Expected { name, forecast, outcome };
    let (f, o) = (forecast, outcome);
    let mut rows = vec![
        row(Told::new("steps", "步数"), f.map(|f| count(f.steps)), o.map(|o| count(o.steps))),
        row(Told::new("tokens", "词元"), f.map(|f| count(f.tokens)), o.map(|o| count(o.tokens))),
        row(
            Told::new("tokens that carry loss", "计损失的词元"),
            f.map(|f| count(f.trained_tokens)),
            o.map(|o| count(o.trained_tokens)),
        ),
        row(
            Told::new("time of training", "训练用时"),
            f.and_then(|f| f.seconds).map(seconds),
            o.map(|o| seconds(o.seconds)),
        ),
        row(
            Told::new("most memory", "内存峰值"),
            f.map(|f| memory(f.memory_bytes)),
            o.and_then(|o| o.peak_rss).map(memory),
        ),
    ];
    rows.retain(|r| r.forecast.is_some() || r.outcome.is_some());
    rows
}

/// The last rounds of answers.
fn answers(dir: &Path) -> Vec<Answered> {
    let path = dir.join(SAMPLES);
    if fs::metadata(&path).is_ok_and(|m| m.len() > MOST) {
        return Vec::new();
    }
    let all = read_samples(&path).unwrap_or_default();
    let mut steps: Vec<u64> = all.iter().map(|s| s.step).collect();
    steps.dedup();
    let first = steps[steps.len().saturating_sub(ROUNDS)..].first().copied().unwrap_or(0);
    let short = |text: String| match text.char_indices().nth(ANSWER) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    let late = all.into_iter().filter(|s| s.step >= first);
    late.map(|s| Answered { step: s.step, question: short(s.prompt), answer: short(s.text) }).collect()
}

/// A number that changes when anything does that is shown.
pub(super) fn version(dir: &Path, live: &Live) -> u64 {
    let mut hash = DefaultHasher::new();
    let dir = &at_work(dir);
    for name in [LOCK, METRICS, REPORT, OUTCOME, FORECAST, SAMPLES] {
        let file = fs::metadata(dir.join(name)).ok();
        file.as_ref().map(fs::Metadata::len).hash(&mut hash);
        file.and_then(|f| f.modified().ok()).hash(&mut hash);
    }
    (live.line.state as u8, &live.log, live.line.steps).hash(&mut hash);
    hash.finish()
}

/// What became of the rows, of the training files and of the exams.
pub(super) fn ledger(dir: &Path) -> Vec<SourceRows> {
    let dir = &at_work(dir);
    let Some(file) = json::<serde_json::Value>(&dir.join("ledger.json")) else { return Vec::new() };
    let of = |value: &serde_json::Value| {
        serde_json::from_value::<Ledger>(value.clone()).map(|l| l.sources).unwrap_or_default()
    };
    let mut out: Vec<SourceRows> = of(&file["train"]).iter().map(|s| rows(s, "")).collect();
    for exam in file["exams"].as_array().into_iter().flatten() {
        let name = exam["exam"].as_str().unwrap_or_default();
        out.extend(of(&exam["ledger"]).iter().map(|s| rows(s, name)));
    }
    out
}

fn rows(s: &SourceLedger, exam: &str) -> SourceRows {
    let ids = |name: &str| s.examples.get(name).cloned().unwrap_or_default();
    let mut fates = vec![(Told::new("used", "使用"), s.used, Vec::new())];
    for (name, told, count) in [
        ("cut", Told::new("used, its end cut off", "使用，末尾截断"), s.cut),
        ("duplicate", Told::new("the same as an earlier row", "与前面的行相同"), s.duplicate),
        ("held_out", Told::new("kept back from training", "留出，不参与训练"), s.held_out),
    ] {
        if count > 0 {
            fates.push((told, count, ids(name)));
        }
    }
    for (reason, count) in &s.dropped {
        let words = said!("left out: {reason}", "未使用：{reason}");
        fates.push((told(&words), *count, ids(reason)));
    }
    let source = if exam.is_empty() { s.source.clone() } else { format!("{exam} · {}", s.source) };
    SourceRows { source, rows: s.rows, fates }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(!is_run(dir.path()));
        put(LOCK, "[model]\nbase = \"small\"\n[train]\nmethod = \"sft\"\n");
        assert!(is_run(dir.path()));
        let step = |n: u64, loss: f64| {
            format!(
                "{{\"step\":{n},\"total_steps\":10,\"epoch\":1,\"loss\":{loss},\"rate\":0.001,\"grad_norm\":1.0,\"tokens\":8,\"trained_tokens\":4,\"seconds\":2.0,\"tok_s\":4.0,\"rss_bytes\":null}}\n"
            )
        };
        put(METRICS, &(step(1, 3.0) + &step(2, 2.0) + "{\"step\":3,\"tot"));
        let heads = Heads::default();
        let line = heads.line("x", dir.path());
        assert_eq!((line.state, line.steps, line.base.as_str()), (RunState::Stopped, (2, 10), "small"));
        let live = live(dir.path()).unwrap();
        assert_eq!((live.points.len(), live.left), (2, Some(16.0)));
        let before = version(dir.path(), &live);
        put(SAMPLES, "{\"step\":1,\"prompt\":\"q\",\"text\":\"a\"}\nhalf");
        assert_ne!(version(dir.path(), &live), before);
        assert_eq!(answers(dir.path())[0].answer, "a");
        put(
            "ledger.json",
            r#"{"train":{"sources":[{"source":"a.jsonl","rows":3,"used":2,"duplicate":0,"cut":0,"held_out":0,"dropped":{"broken_json":1},"examples":{"broken_json":["a.jsonl:2"]}}],"examples_per_reason":3},"exams":[]}"#,
        );
        let rows = ledger(dir.path());
        assert_eq!((rows[0].rows, rows[0].fates.len(), rows[0].fates[1].2[0].as_str()), (3, 2, "a.jsonl:2"));
        // the folder is taken while a run works
        let taken = File::create(dir.path().join(recipe::TAKEN)).unwrap();
        taken.lock().unwrap();
        assert_eq!(heads.line("x", dir.path()).state, RunState::Working);
        drop(taken);
        put(REPORT, "not json at all");
        assert_eq!(heads.line("x", dir.path()).state, RunState::Done);
        assert!(report(dir.path()).is_none());
    }

    #[test]
    fn nonsense_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in [LOCK, FORECAST, OUTCOME, SAMPLES, "ledger.json"] {
            fs::write(dir.path().join(name), b"\xff\x00{{{").unwrap();
        }
        assert!(ledger(dir.path()).is_empty());
        let line = Heads::default().line("x", dir.path());
        assert_eq!((line.base.as_str(), line.state), ("", RunState::Stopped));
        assert!(live(dir.path()).is_ok_and(|l| l.points.is_empty()));
    }
}
