//! What `nurture prepare --out` leaves: the examples as they are after cleaning, and the ledger.
//!
//! Conversations (answers written as the assistant's turn) and documents go into files of their own, each in the shape that
//! every tool reads: `{"messages": [...]}` and `{"text": ...}`. An id says which row of which file it was.

use anyhow::Result;
use nurture_data::{Asked, Example};
use nurture_formats::write_atomic_with;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes `NAME.jsonl` for conversations and `NAME-texts.jsonl` for documents into a folder, and gives back what was
/// written. A file of that name from before is replaced; one for which there is nothing now is removed.
///
/// # Errors
/// The disk.
pub fn write_examples(
    dir: &Path,
    name: &str,
    examples: &[Example],
    asked: &BTreeMap<String, Asked>,
) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for texts in [false, true] {
        let file = dir.join(format!("{name}{}.jsonl", if texts { "-texts" } else { "" }));
        let mut rows = examples.iter().filter(|e| e.text().is_some() == texts).peekable();
        if rows.peek().is_none() {
            if file.exists() {
                std::fs::remove_file(&file)?;
            }
            continue;
        }
        write_atomic_with(&file, |to| {
            for example in rows {
                serde_json::to_writer(&mut *to, &row(example, asked.get(&example.id)))?;
                to.write_all(b"\n")?;
            }
            Ok(())
        })?;
        out.push(file);
    }
    Ok(out)
}

fn row(example: &Example, asked: Option<&Asked>) -> Value {
    let mut row = match example.text() {
        Some(text) => json!({ "id": example.id, "text": text }),
        None => json!({ "id": example.id, "messages": example.with_answer() }),
    };
    if let (Some(group), Some(row)) = (&example.group, row.as_object_mut()) {
        row.insert("group".into(), json!(group));
    }
    if let (Some(asked), Some(row)) = (asked, row.as_object_mut()) {
        row.insert("rule".into(), json!(asked.rule));
        row.insert("passage".into(), json!(asked.passage));
    }
    row
}

/// Writes the questions that were made of documents, each with its passage, into a run's folder; none, no file.
pub(super) fn write_questions(dir: &Path, asked: &BTreeMap<String, Asked>) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    Ok(write_atomic_with(dir.join("questions.jsonl"), |to| {
        for (id, asked) in asked {
            let mut row = json!(asked);
            row["id"] = json!(id);
            serde_json::to_writer(&mut *to, &row)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    })?)
}
