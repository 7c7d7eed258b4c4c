//! The run's folder: whose it is, what in it may be taken up, and what a killed run left unfinished.

use super::{Context, Event, Stage, Watch, sha256};
use crate::lang::Said;
use crate::recipe::{self, InputHash, Lock, Resolved};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_formats::write_atomic;
use nurture_hub::Pulled;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

/// Says what the results in the folder belong to.
pub(super) const LOCK_FILE: &str = "recipe.lock.toml";

/// Everything that a run writes beside the lock file. The configuration of what was raised stands first: while it is
/// there, training counts as done.
const RESULTS: [&str; 22] = [
    "adapter/adapter_config.json",
    "model/config.json",
    "adapter",
    "model",
    "checkpoints",
    "eval",
    "metrics.jsonl",
    super::SAMPLES,
    nurture_train::reinforce::ROLLOUTS,
    "ledger.json",
    nurture_train::FORECAST,
    super::OUTCOME,
    "report.json",
    "report.md",
    "report.html",
    "report-public.md",
    "report-public.html",
    "exam-overlap.json",
    "questions.jsonl",
    recipe::MERGED,
    recipe::STAGES,
    super::FIGURES,
];

/// What may differ between two commands of one run: what the result does not depend on.
const FREE: [&str; 9] = [
    "lock.version",
    "lock.recipe_sha256",
    "lock.overrides",
    "run.dir",
    "run.name",
    "train.threads",
    "train.samples.prompts",
    "train.samples.every",
    "train.samples.max_tokens",
];

/// Gates of the verdict: they change what is said of the results, not the results.
const GATES: [&str; 4] = ["eval.gate", "eval.min_gain", "eval.max_breadth_loss", "eval.seeds"];

/// Takes the folder for this process: two runs in one would spoil each other.
pub(super) fn take(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).with_context(|| format!("creating the run's folder {}", dir.display()))?;
    let path = dir.join(recipe::TAKEN);
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    // a process that a killed run was just starting holds its files for some moments more
    let mut patience = 20;
    let locked = loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) if patience > 0 => patience -= 1,
            locked => break locked,
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    match locked {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let dir = dir.display();
            bail!(said!(
                "{dir}: another run is working in this folder; wait for it, or give this one a name of its own: --set run.name=NAME",
                "{dir}：另一次运行正在使用这个目录；请等它结束，或另起名字：--set run.name=名字"
            ))
        }
        Err(fs::TryLockError::Error(e)) => return Err(e).with_context(|| path.display().to_string()),
    }
    sweep(dir)?;
    sweep(&dir.join("eval"))?;
    Ok(file)
}

/// Removes what a killed run left half written: nobody else writes here while the folder is taken.
fn sweep(dir: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with(".nurture-") && name.ends_with(".tmp") {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes the lock file, or checks that the folder belongs to the very same run. Answers whether an earlier command
/// has worked on this run.
///
/// Other exams on the same training are sat again; anything else that differs is refused.
pub(super) fn settle(
    dir: &Path,
    loaded: &recipe::Loaded,
    resolved: &Resolved,
    pulled: &Pulled,
    inputs: &[InputHash],
    ctx: &Context,
    watch: &mut dyn Watch,
) -> Result<bool> {
    let text = recipe::lock(&loaded.recipe, resolved, lock(loaded, pulled, inputs))?;
    let path = dir.join(LOCK_FILE);
    if ctx.fresh {
        // the lock file last: whatever a kill leaves half removed still says whose it is
        RESULTS.iter().try_for_each(|name| remove(&dir.join(name)))?;
        remove(&path)?;
    }
    let old = match fs::read_to_string(&path) {
        Ok(old) => old,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if let Some(name) = RESULTS.iter().find(|name| dir.join(name).exists()) {
                let dir = dir.display();
                bail!(said!(
                    "{dir}: holds {name}, but no {LOCK_FILE} that says what it belongs to. Give this run a name of its own (--set run.name=NAME), or throw the old files away (--fresh)",
                    "{dir}：有 {name}，却没有说明它属于哪次运行的 {LOCK_FILE}。请另起名字（--set run.name=名字），或丢弃旧文件（--fresh）"
                ));
            }
            write_atomic(path, text.as_bytes())?;
            return Ok(false);
        }
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let differ = differences(&leaves(&old, &path)?, &leaves(&text, &path)?);
    let (exams, training): (Vec<_>, Vec<_>) = differ.iter().partition(|d| d.of_exams);
    if let Some(d) = training.first() {
        let (dir, Difference { what, was, is, .. }) = (dir.display(), d);
        let more = match training.len() - 1 {
            0 => Said::default(),
            n => said!(" (and {n} more)", "（另有 {n} 处）"),
        };
        let Said { en, zh } = more;
        bail!(said!(
            "{dir}: holds another run: {what} was {was}, now it is {is}{en}. Give this one a name of its own (--set run.name=NAME), or throw the old one away (--fresh)",
            "{dir}：里面是另一次运行：{what} 原为 {was}，现为 {is}{zh}。请另起名字（--set run.name=名字），或丢弃旧的（--fresh）"
        ));
    }
    if let Some(d) = exams.first() {
        let what = &d.what;
        watch.event(Event::Warning(&said!(
            "the exams have changed ({what}): they are sat again, the training is kept",
            "考试有改动（{what}）：重新考试，训练沿用"
        )));
        ["eval", "exam-overlap.json"].iter().try_for_each(|name| remove(&dir.join(name)))?;
    }
    write_atomic(path, text.as_bytes())?;
    Ok(true)
}

/// Writes the lock file of a run of several stages into its folder. Each stage's own lock file says whose the stage is; here
/// only another kind of run is refused, and stages of which the recipe knows nothing.
pub(super) fn settle_stages(
    dir: &Path,
    loaded: &recipe::Loaded,
    stages: &[Stage],
    pulled: &Pulled,
    ctx: &Context,
) -> Result<()> {
    let path = dir.join(LOCK_FILE);
    if ctx.fresh {
        RESULTS.iter().try_for_each(|name| remove(&dir.join(name)))?;
        remove(&path)?;
    }
    let known: Vec<&str> = stages.iter().map(Stage::name).collect();
    let stage = |p: &std::path::PathBuf| p.file_name().is_some_and(|n| known.iter().any(|k| n == *k));
    let strange = recipe::stage_dirs(dir).into_iter().find(|p| !stage(p));
    let single = RESULTS[..8].iter().map(|name| dir.join(name)).find(|p| p.exists());
    if let Some(other) = strange.or(single) {
        let (dir, other) = (dir.display(), other.strip_prefix(dir).unwrap_or(&other).display());
        bail!(said!(
            "{dir}: holds {other}, which belongs to no stage of this recipe. Give this run a name of its own (--set run.name=NAME), or throw the old files away (--fresh)",
            "{dir}：有 {other}，不属于本配方的任何阶段。请另起名字（--set run.name=名字），或丢弃旧文件（--fresh）"
        ));
    }
    let resolved: Vec<&Resolved> = stages.iter().map(|s| &s.resolved).collect();
    let mut inputs: Vec<InputHash> = stages.iter().flat_map(|s| s.inputs.iter().cloned()).collect();
    inputs.sort();
    inputs.dedup();
    let text = recipe::lock_stages(&loaded.recipe, &resolved, lock(loaded, pulled, &inputs))?;
    Ok(write_atomic(path, text.as_bytes())?)
}

/// What stands in the lock file beside the recipe.
fn lock(loaded: &recipe::Loaded, pulled: &Pulled, inputs: &[InputHash]) -> Lock {
    Lock {
        version: env!("CARGO_PKG_VERSION").to_string(),
        base_sha256: pulled.sha256.clone(),
        base_file: pulled.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        recipe_sha256: sha256(loaded.text.as_bytes()),
        overrides: loaded.overrides.clone(),
        inputs: inputs.to_vec(),
        ..Lock::default()
    }
}

/// One thing in which two lock files differ.
#[derive(Debug, PartialEq)]
struct Difference {
    what: String,
    was: String,
    is: String,
    /// only the exams depend on it
    of_exams: bool,
}

/// A lock file as flat keys and values; input files by their role and path.
fn leaves(text: &str, path: &Path) -> Result<BTreeMap<String, String>> {
    let path = path.display();
    let root: toml::Table = toml::from_str(text).map_err(|_| {
        said!(
            "{path}: damaged; throw this run away (--fresh) or repair it",
            "{path}：已损坏；请丢弃这次运行（--fresh），或修好它"
        )
    })?;
    let mut out = BTreeMap::new();
    flatten("", &toml::Value::Table(root), &mut out);
    Ok(out)
}

fn flatten(key: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
    let put = |out: &mut BTreeMap<String, String>, value: &toml::Value| {
        if !FREE.contains(&key) && !GATES.contains(&key) && !key.starts_with("lock.derived") {
            out.insert(key.to_string(), value.to_string());
        }
    };
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(&inner, value, out);
            }
        }
        toml::Value::Array(files) if key == "lock.inputs" => {
            let text = |t: &toml::Value, k: &str| t.get(k).and_then(|v| v.as_str()).unwrap_or("").to_string();
            for file in files {
                let role = text(file, "role");
                let what = format!("the content of {} ({role})", text(file, "path"));
                out.insert(what, format!("sha256 {}", text(file, "sha256")));
            }
        }
        toml::Value::Array(all) if all.iter().any(toml::Value::is_table) && key != "lock.overrides" => {
            for (i, value) in all.iter().enumerate() {
                flatten(&format!("{key}[{i}]"), value, out);
            }
        }
        leaf => put(out, leaf),
    }
}

fn differences(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let shown = |v: Option<&String>| v.map_or_else(|| "not there".to_string(), Clone::clone);
    let differing = keys.into_iter().filter(|key| was.get(*key) != is.get(*key));
    let mut out: Vec<Difference> = differing
        .map(|key| Difference {
            what: key.clone(),
            was: shown(was.get(key)),
            is: shown(is.get(key)),
            of_exams: key.starts_with("eval.") || key.ends_with("(depth)") || key.ends_with("(breadth)"),
        })
        .collect();
    // what the user wrote before what follows from it
    out.sort_by_key(|d| d.what.starts_with("lock."));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
        [run]
        name = "r"
        dir = "/a/runs"
        [train]
        rate = 0.001
        [eval]
        min_gain = 0.0
        [[eval.depth]]
        items = 12
        [lock]
        version = "0.1.0"
        recipe_sha256 = "aa"
        steps = 10
        overrides = []
        [[lock.inputs]]
        role = "depth"
        path = "/a/exam.jsonl"
        sha256 = "11"
        bytes = 1
        [[lock.inputs]]
        role = "train"
        path = "/a/train.jsonl"
        sha256 = "22"
        bytes = 2
    "#;

    fn against(changes: &[(&str, &str)]) -> Vec<(String, bool)> {
        let mut new = OLD.to_string();
        for (from, to) in changes {
            assert!(new.contains(from), "{from}");
            new = new.replace(from, to);
        }
        let path = Path::new("recipe.lock.toml");
        let differ = differences(&leaves(OLD, path).unwrap(), &leaves(&new, path).unwrap());
        differ.into_iter().map(|d| (d.what, d.of_exams)).collect()
    }

    #[test]
    fn what_the_result_does_not_depend_on_may_differ() {
        let threads = ("[train]", "[train]\nthreads = 1");
        let overrides = ("overrides = []", "[[lock.overrides]]\nkey = \"train.threads\"\nvalue = \"1\"");
        assert_eq!(against(&[threads, overrides, ("\"aa\"", "\"bb\""), ("= 0.0\n", "= 0.5\n")]), []);
    }

    #[test]
    fn exams_may_change_and_training_may_not() {
        assert_eq!(against(&[("items = 12", "items = 9")]), [("eval.depth[0].items".to_string(), true)]);
        assert_eq!(
            against(&[("\"11\"", "\"33\"")]),
            [("the content of /a/exam.jsonl (depth)".to_string(), true)]
        );
        assert_eq!(
            against(&[("steps = 10", "steps = 20"), ("0.001", "0.002"), ("\"22\"", "\"33\"")]),
            [
                ("the content of /a/train.jsonl (train)".to_string(), false),
                ("train.rate".to_string(), false),
                ("lock.steps".to_string(), false),
            ]
        );
    }
}
