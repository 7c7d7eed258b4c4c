//! Feedback becomes the next lesson: what people said about answers, as examples to imitate (SFT), pairs of a better and a
//! worse answer (preference) and single judged answers, with a ledger in which every piece of feedback has its place.
//!
//! | verdict | to imitate | pair | judged |
//! | --- | --- | --- | --- |
//! | `up`, `right` | the answer | better than each bad answer to the same prompt | good |
//! | `edited` | the correction | the correction is better than the answer | correction good, answer bad |
//! | `down` | – | worse than each good answer to the same prompt | bad |
//!
//! Who gave feedback does not leave the store. An answer that is called good by one and bad by another teaches nothing: it is
//! left out, and the ledger says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nurture_data::{Fate, Ledger};
use nurture_formats::FormatError;
use nurture_serve::store::{Feedback, Store, StoreError, Verdict};
use serde_json::{Value, json};

/// Rows read from the store at a time.
const PAGE: usize = 1000;
/// Ids that the ledger keeps for each reason.
const EXAMPLES: usize = 20;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lesson {
    /// conversations to imitate
    pub sft: Vec<Value>,
    /// better and worse answers
    pub preference: Vec<Value>,
    /// single answers, good or bad
    pub judged: Vec<Value>,
}

/// Why a lesson could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// the file
        path: PathBuf,
        /// why
        source: std::io::Error,
    },
    /// A file that could not be written whole.
    #[error(transparent)]
    Write(#[from] FormatError),
    /// Something is there already.
    #[error("{}: is there already; choose another folder, or replace it with --force", path.display())]
    Exists {
        /// the file
        path: PathBuf,
    },
}

/// Reads all feedback (with `models` only on theirs) and sorts it into a lesson.
///
/// # Errors
/// Those of the store.
pub fn lesson(store: &Store, models: &[String]) -> Result<(Lesson, Ledger), FeedbackError> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = store.feedback_after(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        all.extend(page);
    }
    Ok(sort(all, models))
}

/// An answer to a prompt, and whether it is good.
struct Judgement {
    id: String,
    messages: Vec<Value>,
    answer: String,
    good: bool,
}

fn sort(all: Vec<Feedback>, models: &[String]) -> (Lesson, Ledger) {
    let mut ledger = Ledger::new(["feedback"], EXAMPLES);
    let mut fates: Vec<(String, Fate)> = Vec::new();
    let mut judgements: Vec<(usize, Judgement)> = Vec::new();
    for f in all {
        let id = format!("feedback:{}", f.id);
        let place = fates.len();
        let fate = match read(&f, &id) {
            _ if !models.is_empty() && !models.contains(&f.model) => Fate::Dropped("other_model".into()),
            Err(reason) => Fate::Dropped(reason.into()),
            Ok(found) => {
                judgements.extend(found.into_iter().map(|j| (place, j)));
                Fate::Used
            }
        };
        fates.push((id, fate));
    }
    // the same answer to the same prompt, as a key
    let key = |j: &Judgement| (json!(j.messages).to_string(), j.answer.clone());
    let mut said: BTreeMap<(String, String), BTreeSet<bool>> = BTreeMap::new();
    for (_, j) in &judgements {
        said.entry(key(j)).or_default().insert(j.good);
    }
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Judgement> = Vec::new();
    // what a row still gives, and why not all
    let mut gives: BTreeMap<usize, (usize, Option<Fate>)> = BTreeMap::new();
    for (place, j) in judgements {
        let entry = gives.entry(place).or_default();
        let key = key(&j);
        if said.get(&key).is_some_and(|s| s.len() > 1) {
            entry.1 = Some(Fate::Dropped("contradicted".into()));
        } else if !seen.insert((key, j.good)) {
            entry.1.get_or_insert(Fate::Duplicate);
        } else {
            entry.0 += 1;
            kept.push(j);
        }
    }
    for (place, (count, why)) in gives {
        if let (0, Some(why)) = (count, why) {
            fates[place].1 = why;
        }
    }
    for (id, fate) in &fates {
        ledger.count(0, fate, id);
    }
    (write_down(&kept), ledger)
}

/// The judgements in a piece of feedback, or why there is none.
fn read(f: &Feedback, id: &str) -> Result<Vec<Judgement>, &'static str> {
    let prompt: Vec<Value> = serde_json::from_str(&f.prompt).map_err(|_| "broken_prompt")?;
    let mut messages = Vec::with_capacity(prompt.len());
    for m in &prompt {
        match (m["role"].as_str(), m["content"].as_str()) {
            (Some(role), Some(content)) => messages.push(json!({ "role": role, "content": content })),
            _ => return Err("broken_prompt"),
        }
    }
    if !messages.iter().any(|m| m["role"] == "user") {
        return Err("no_question");
    }
    let one = |answer: &str, good| Judgement {
        id: id.to_string(),
        messages: messages.clone(),
        answer: answer.to_string(),
        good,
    };
    let blank = f.answer.trim().is_empty();
    match (f.verdict, &f.correction) {
        (Verdict::Edited, Some(better)) if !better.trim().is_empty() => {
            let mut found = vec![one(better, true)];
            if !blank && better.trim() != f.answer.trim() {
                found.push(one(&f.answer, false));
            }
            Ok(found)
        }
        (Verdict::Edited, _) => Err("no_correction"),
        _ if blank => Err("no_answer"),
        (Verdict::Up | Verdict::Right, _) => Ok(vec![one(&f.answer, true)]),
        (Verdict::Down, _) => Ok(vec![one(&f.answer, false)]),
    }
}

fn write_down(judgements: &[Judgement]) -> Lesson {
    let mut lesson = Lesson::default();
    let turn = |text: &str| json!([{ "role": "assistant", "content": text }]);
    for j in judgements {
        if j.good {
            let mut messages = j.messages.clone();
            messages.push(json!({ "role": "assistant", "content": j.answer }));
            lesson.sft.push(json!({ "id": j.id, "messages": messages }));
            for worse in judgements.iter().filter(|w| !w.good && w.messages == j.messages) {
                lesson.preference.push(json!({
                    "id": format!("{}+{}", j.id, worse.id), "prompt": j.messages, "chosen": turn(&j.answer),
                    "rejected": turn(&worse.answer),
                }));
            }
        }
        lesson.judged.push(json!({
            "id": j.id, "prompt": j.messages, "completion": turn(&j.answer), "label": j.good,
        }));
    }
    lesson
}

/// Writes `sft.jsonl`, `preference.jsonl`, `judged.jsonl` (those that have rows) and `ledger.json` into a folder; each file is whole
/// or absent. Returns the files.
///
/// # Errors
/// A file that is there already and is not to be replaced; the disk.
pub fn write(
    lesson: &Lesson,
    ledger: &Ledger,
    dir: &Path,
    replace: bool,
) -> Result<Vec<PathBuf>, FeedbackError> {
    let lines = |rows: &[Value]| rows.iter().map(|r| r.to_string() + "\n").collect::<String>();
    let mut files = vec![
        ("sft.jsonl", lines(&lesson.sft)),
        ("preference.jsonl", lines(&lesson.preference)),
        ("judged.jsonl", lines(&lesson.judged)),
    ];
    let account = serde_json::to_string_pretty(ledger).unwrap_or_default() + "\n";
    files.push(("ledger.json", account));
    let path = |name: &str| dir.join(name);
    if !replace && let Some((name, _)) = files.iter().find(|(name, _)| path(name).exists()) {
        return Err(FeedbackError::Exists { path: path(name) });
    }
    let failed = |path: PathBuf| move |source| FeedbackError::File { path, source };
    std::fs::create_dir_all(dir).map_err(failed(dir.to_path_buf()))?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = path(name);
        if text.is_empty() {
            // an older lesson must not look like this one
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(path)(e)),
                _ => continue,
            }
        }
        nurture_formats::write_atomic(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: i64, verdict: Verdict, question: &str, answer: &str, correction: Option<&str>) -> Feedback {
        Feedback {
            id,
            owner: "key-secret".into(),
            message: None,
            verdict,
            model: "base".into(),
            generation: 0,
            prompt: json!([{ "role": "user", "content": question }]).to_string(),
            answer: answer.into(),
            correction: correction.map(String::from),
            comment: String::new(),
            created: 0,
        }
    }

    #[test]
    fn every_verdict_teaches_what_it_says() {
        let mut broken = given(9, Verdict::Up, "q", "a", None);
        broken.prompt = "{".into();
        let all = vec![
            given(1, Verdict::Edited, "q1", "bad", Some("good")),
            given(2, Verdict::Up, "q2", "yes", None),
            given(3, Verdict::Down, "q2", "no", None),
            given(4, Verdict::Down, "q3", "alone", None),
            given(5, Verdict::Up, "q2", "yes", None),
            given(6, Verdict::Right, "q4", "disputed", None),
            given(7, Verdict::Down, "q4", "disputed", None),
            given(8, Verdict::Up, "q5", " ", None),
            broken,
        ];
        let (lesson, ledger) = sort(all, &[]);
        let answers: Vec<&str> =
            lesson.sft.iter().map(|e| e["messages"][1]["content"].as_str().unwrap()).collect();
        assert_eq!(answers, ["good", "yes"]);
        let pairs: Vec<(&str, &str)> = lesson
            .preference
            .iter()
            .map(|p| {
                (p["chosen"][0]["content"].as_str().unwrap(), p["rejected"][0]["content"].as_str().unwrap())
            })
            .collect();
        assert_eq!(pairs, [("good", "bad"), ("yes", "no")]);
        let labels: Vec<bool> = lesson.judged.iter().map(|j| j["label"].as_bool().unwrap()).collect();
        assert_eq!(labels, [true, false, true, false, false]);
        let l = &ledger.sources[0];
        assert!(ledger.adds_up());
        assert_eq!((l.rows, l.used, l.duplicate), (9, 4, 1));
        assert_eq!(
            (l.dropped["contradicted"], l.dropped["no_answer"], l.dropped["broken_prompt"]),
            (2, 1, 1)
        );
        let text = json!([lesson.sft, lesson.preference, lesson.judged]).to_string();
        assert!(!text.contains("secret"), "who said it stays in the store");
        let (none, ledger) = sort(vec![given(1, Verdict::Up, "q", "a", None)], &["other".into()]);
        assert_eq!((none, ledger.sources[0].dropped["other_model"]), (Lesson::default(), 1));
    }

    #[test]
    fn files_are_read_as_training_data() {
        let dir = tempfile::tempdir().unwrap();
        let (lesson, ledger) = sort(vec![given(1, Verdict::Edited, "q1", "bad", Some("good"))], &[]);
        assert_eq!(write(&lesson, &ledger, dir.path(), false).unwrap().len(), 4);
        assert!(matches!(write(&lesson, &ledger, dir.path(), false), Err(FeedbackError::Exists { .. })));
        let spec = nurture_data::SourceSpec::new(dir.path().join("sft.jsonl"));
        let read = nurture_data::load_training(&[spec], &Default::default()).unwrap();
        assert_eq!(read.examples.len(), 1);
        let (up, ledger) = sort(vec![given(1, Verdict::Up, "q1", "fine", None)], &[]);
        write(&up, &ledger, dir.path(), true).unwrap();
        assert!(
            !dir.path().join("preference.jsonl").exists(),
            "an older lesson is not left beside a new one"
        );
    }
}
