//! Further stages (`[[then]]`): what they take over from the first, and each of them as a recipe of its own.
//!
//! A stage is nothing new: it is the recipe once more, with other textbooks and another way to teach, whose base is what the
//! stage before left. So whatever holds for a recipe (lock, resume, forecast, ledger) holds for each stage.

use super::check;
use super::error::{Place, RecipeError};
use super::tree::{Node, Value};
use super::{Loaded, Model, Recipe, Run, apart, paths};
use crate::said;
use std::path::{Path, PathBuf};

/// Folder of the stages in the run's.
pub const STAGES: &str = "stages";

/// Where a stage that trained an adapter puts it together with its base, for the next one.
pub const MERGED: &str = "merged";

/// Keys that a stage has as the first stage has them, if it does not give them.
const SHARED: [(&str, &[&str]); 2] = [
    ("data", &["clean", "labels", "on_bad_row", "over_long", "system", "user"]),
    ("train", &["adapter", "effort", "keep", "max_len", "seed", "threads"]),
];

/// Writes into each stage what it leaves to the first one.
pub(super) fn inherit(root: &mut Node) {
    let Value::Table(entries) = &mut root.value else { return };
    let Some((_, mut then)) = entries.remove("then") else { return };
    let place = then.place.clone();
    if let Value::List(stages) = &mut then.value {
        for stage in stages {
            for (table, keys) in SHARED {
                let first = match entries.get(table) {
                    Some((_, Node { value: Value::Table(first), .. })) => first,
                    _ => continue,
                };
                let Value::Table(own) = &mut stage.value else { continue };
                let at = stage.place.clone();
                let (_, own) = own.entry(table.to_string()).or_insert_with(|| (at.clone(), Node::empty(at)));
                let Value::Table(own) = &mut own.value else { continue };
                for key in keys {
                    if let Some(given) = first.get(*key) {
                        own.entry((*key).to_string()).or_insert_with(|| given.clone());
                    }
                }
            }
        }
    }
    entries.insert("then".to_string(), (place, then));
}

impl Recipe {
    /// Each stage as a recipe of its own, in order: this recipe itself where it has no further ones. A later stage lies in
    /// `stages/` of the run, and names the one before by its folder beside it.
    pub fn stages(&self) -> Vec<Recipe> {
        if self.then.is_empty() {
            return vec![self.clone()];
        }
        let dir = self.run_dir().join(STAGES);
        let word = |r: &super::Train| r.method.word().to_string();
        let first = Recipe { then: Vec::new(), ..self.clone() };
        let mut out: Vec<Recipe> = Vec::new();
        let all = std::iter::once((word(&self.train), None))
            .chain(self.then.iter().map(|t| (t.name.clone().unwrap_or_else(|| word(&t.train)), Some(t))));
        for (at, (name, then)) in all.enumerate() {
            let name = Some(format!("{:02}-{name}", at + 1));
            let mut stage = first.clone();
            stage.run = Run { name, dir: dir.clone() };
            if let (Some(then), Some(before)) = (then, out.last()) {
                let left = match before.train.adapter {
                    Some(_) => format!("../{}/{MERGED}", before.name()),
                    None => format!("../{}", before.name()),
                };
                stage.model = Model { base: Some(left), new: None, seq2seq: None, template: None };
                (stage.data, stage.train) = (then.data.clone(), then.train.clone());
            }
            out.push(stage);
        }
        out
    }

    /// What the table of fields cannot say of further stages.
    pub(super) fn check_stages(&self, place: &Place) -> Result<(), RecipeError> {
        let methods = || std::iter::once(self.train.method).chain(self.then.iter().map(|t| t.train.method));
        if !self.then.is_empty() && methods().any(|m| m == super::Method::Reward) {
            let why = said!(
                "a reward model never speaks, so that no stage can go on with it: give it a recipe of its own",
                "奖励模型从不作答，别的阶段无法接着它学：请另写一份配方"
            );
            return Err(apart(place, "then", "train.method = \"reward\"", why));
        }
        for (i, then) in self.then.iter().enumerate() {
            let at = format!("then[{i}].");
            if then.data.train.is_empty()
                && let Some(field) = super::Data::SECTION.field("train")
            {
                return Err(check::missing(place.clone(), &format!("{at}data.train"), field));
            }
            if then.data.hold_out.is_some() {
                let why = said!(
                    "all stages sit the same exams: rows are held out in [data], or given as an exam",
                    "各阶段考同样的题：请在 [data] 里留出，或另给一场考试"
                );
                return Err(apart(place, &format!("{at}data.hold_out"), "then", why));
            }
            let stage = Recipe {
                model: Model::default(),
                data: then.data.clone(),
                train: then.train.clone(),
                ..Recipe::default()
            };
            stage.check_together(&at, place)?;
        }
        Ok(())
    }
}

impl Loaded {
    /// The stages, each as it were a recipe that was read by itself. The texts are those of the whole.
    pub fn stages(&self) -> Vec<Loaded> {
        let of = |(i, recipe): (usize, Recipe)| Loaded {
            recipe,
            lock: self.lock.as_ref().map(|whole| whole.stage(i)),
            ..self.clone()
        };
        self.recipe.stages().into_iter().enumerate().map(of).collect()
    }
}

/// The folders of a run's stages that lie in `run`, in their order; none where the run has one stage alone.
pub fn stage_dirs(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(run.join(STAGES)) else { return Vec::new() };
    let mut out: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).collect();
    out.retain(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(paths::is_file_name));
    out.sort();
    out
}
