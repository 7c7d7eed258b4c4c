//! Hashes of what goes into a run, and the small files that say so.

use super::{Prompts, Reading};
use crate::recipe::{InputHash, Recipe};
use anyhow::{Context as _, Result};
use nurture_formats::write_atomic;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Hashes of everything that goes in.
pub(super) fn inputs(
    r: &Recipe,
    texts: &Reading,
    prompts: &[Prompts],
    keep: Vec<InputHash>,
) -> Result<Vec<InputHash>> {
    let mut out = keep;
    let mut add = |role: &str, path: &Path| -> Result<()> {
        let (sha256, bytes) = input_hash(path)?;
        out.push(InputHash { role: role.to_string(), path: path.display().to_string(), sha256, bytes });
        Ok(())
    };
    r.data.train.iter().try_for_each(|s| add("train", &s.path))?;
    if r.data.questions.teacher.is_some() {
        add("teacher", &r.run_dir().join(super::teacher::JOURNAL))?;
    }
    for path in r.train.rewards.iter().filter_map(|rule| rule.path.as_deref()) {
        let weights = crate::engine::adapter_dir(path).join(nurture_formats::adapter::WEIGHTS_NAME);
        add("reward model", &weights)?;
    }
    let role = |general| if general { "breadth" } else { "depth" };
    for exams in [(&r.eval.depth, false), (&r.eval.breadth_exams, true)] {
        exams.0.iter().try_for_each(|e| add(role(exams.1), &e.path))?;
        exams.0.iter().filter_map(|e| e.shots_from.as_ref()).try_for_each(|p| add("shots", p))?;
    }
    out.extend(texts.inputs());
    out.extend(prompts.iter().map(Prompts::input));
    out.sort();
    Ok(out)
}

/// Hash and bytes of a source: of a file its own; of a folder that of all names and hashes below it. A
/// `dataset_info.json` stands for the files beside it.
pub(super) fn input_hash(path: &Path) -> Result<(String, u64)> {
    let folder = if path.ends_with("dataset_info.json") { path.parent() } else { None }.unwrap_or(path);
    if !folder.is_dir() {
        let bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        return Ok((sha256_of(path)?, bytes));
    }
    let (mut names, mut all) = (String::new(), 0);
    for file in nurture_data::files_below(folder)? {
        let hash = sha256_of(&file)?;
        all += std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        names += &format!("{hash}  {name}\n");
    }
    Ok((sha256(names.as_bytes()), all))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(write_atomic(path, &text)?)
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Hash of a file of any size.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match file.read(&mut piece).with_context(|| path.display().to_string())? {
            0 => break,
            n => hash.update(piece.get(..n).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
