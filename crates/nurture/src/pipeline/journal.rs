//! What an exam has answered so far, item by item, so that one that was killed goes on with the next item.
//!
//! The first line says whose answers they are (exam, model, hash of everything that is asked); each further line is an
//! answer. A line that a kill cut off is thrown away. The file goes when the exam is over.

use crate::json_lines::JsonLines;
use anyhow::{Context as _, Result};
use nurture_eval::{ExamInfo, ItemResult, Model, Paper};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    info: ExamInfo,
    model: Model,
    /// hash of items, labels and limits
    asked: String,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    lines: JsonLines,
}

impl Journal {
    /// Opens the journal of an exam; answers that an earlier process left for the very same exam come with it.
    pub(super) fn open(
        path: &Path,
        info: &ExamInfo,
        model: &Model,
        paper: &Paper<'_>,
    ) -> Result<(Journal, Vec<ItemResult>)> {
        let asked = super::sha256(format!("{:?}", (paper.items, paper.labels, paper.max_tokens)).as_bytes());
        let head = Head { info: info.clone(), model: model.clone(), asked };
        let (mut lines, old) = JsonLines::open::<Value>(path)?;
        let mut old = old.into_iter();
        let mut answers: Vec<ItemResult> = Vec::new();
        if old.next().is_some_and(|line| serde_json::from_value::<Head>(line).is_ok_and(|h| h == head)) {
            for answer in old.filter_map(|line| serde_json::from_value::<ItemResult>(line).ok()) {
                let known = paper.items.iter().any(|i| i.id == answer.id && i.question == answer.question);
                if known && answers.iter().all(|a| a.id != answer.id) {
                    answers.push(answer);
                }
            }
        } else {
            lines.clear().and_then(|()| lines.append(&[head])).with_context(|| path.display().to_string())?;
        }
        Ok((Journal { path: path.to_path_buf(), lines }, answers))
    }

    /// Writes answers down, on the disk before it returns.
    pub(super) fn write(&mut self, answers: &[ItemResult]) -> std::io::Result<()> {
        self.lines.append(answers)
    }

    /// The exam is over and its files are written.
    pub(super) fn done(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_eval::{ExamKind, Item, Manner, Mode, Role};

    fn answer(id: &str) -> ItemResult {
        ItemResult {
            id: id.into(),
            kind: ExamKind::Free,
            question: format!("question {id}"),
            gold: vec!["x".into()],
            answer: "行\n".into(),
            correct: false,
            score: 0.25,
            logprob: None,
            probability: Some(0.1),
            margins: None,
            prompt_tokens: 3,
            answer_tokens: 1,
            cut: true,
        }
    }

    #[test]
    fn what_a_kill_leaves_is_taken_up_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("desk.base.part.jsonl");
        let items: Vec<Item> = ["a", "b", "c"]
            .iter()
            .map(|id| Item {
                id: id.to_string(),
                question: format!("question {id}"),
                messages: Vec::new(),
                gold: vec!["x".into()],
                options: Vec::new(),
            })
            .collect();
        let info = ExamInfo {
            name: "desk".into(),
            kind: ExamKind::Free,
            scorer: None,
            mode: Mode::Exact,
            manner: Manner::default(),
        };
        let model = Model::new(Role::Base, "m");
        let paper = Paper { items: &items, labels: &[], max_tokens: 8 };
        let open = |info: &ExamInfo, paper: &Paper<'_>| Journal::open(&path, info, &model, paper).unwrap();

        let (mut journal, old) = open(&info, &paper);
        assert!(old.is_empty());
        journal.write(&[answer("a"), answer("c")]).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        // cut anywhere in its last line, the answers before it stay and the file can be written on
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut journal, old) = open(&info, &paper);
            assert_eq!(old, [answer("a")], "{cut}");
            journal.write(&[answer("c")]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{cut}");
        }
        assert_eq!(open(&info, &paper).1, [answer("a"), answer("c")]);
        // another limit of tokens, or other items: nothing is taken up
        let other = Paper { max_tokens: 9, ..paper };
        assert!(open(&info, &other).1.is_empty());
        std::fs::write(&path, &whole).unwrap();
        let fewer = Paper { items: &items[1..], ..paper };
        assert!(open(&info, &fewer).1.is_empty());
        let (journal, _) = open(&info, &paper);
        journal.done();
        assert!(!path.exists());
    }
}
