//! The recipe: one TOML file that says what to raise, from what, how, and how to examine it.
//!
//! | file | holds |
//! | --- | --- |
//! | `fields` | every key and word with its documentation in both languages: the one table |
//! | `table` | what a field is; the macros that write struct and table entry from one place |
//! | `tree`, `check`, `nearest`, `paths`, `overrides` | reading, with line numbers and helpful refusals |
//! | `stages` | further stages: what they take from the first, and each as a recipe of its own |
//! | `derive` | what the one dial means for this data, each value with its reason |
//! | `lock` | the resolved recipe with its hashes, itself a recipe that repeats the run |
//! | `docs` | help text, documentation page and JSON schema from the table |
mod check;
mod derive;
mod docs;
mod error;
mod fields;
mod lock;
mod nearest;
mod overrides;
mod paths;
mod stages;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::path::{Path, PathBuf};

pub use derive::{BaseFacts, DIALS, DataFacts, Derived, Dial, ExamPlan, Resolved, derive, max_len};
pub(crate) use derive::{Notes, thousands};
pub use docs::{help, json_schema, markdown};
pub use error::{Fault, Place, RecipeError};
pub use fields::{
    Adapter, AdapterInit, AdapterKind, Ask, Clean, Data, DpoLoss, Effort, Encoding, Eval, Exam, ExamKind,
    Export, ExportFormat, Gate, HoldOut, HoldOutBy, Judge, Keep, Labels, Language, Method, Model,
    NearDuplicates, Newborn, OnBadRow, OnDivergence, Optimiser, OptionsAs, OverLong, Overlap, Overlong,
    PersonalKind, Pick, PolicyLoss, Practice, Preference, QuestionRule, Questions, Recipe, Reward,
    RewardKind, Run, Samples, Schedule, Score, Sensitive, Seq2Seq, Seq2SeqForm, Source, SourceKind, Target,
    Teacher, Then, Train, VerseForm, VerseTones,
};
pub use lock::{InputHash, Lock, TAKEN, lock, lock_stages};
pub use overrides::Override;
pub use stages::{MERGED, STAGES, stage_dirs};
pub use table::{Absent, Choice, Field, Kind, Section, looks_like_path};

// the parts of a newborn
pub use fields::{MlpKind, NormKind, Positions, Shape};

use crate::lang::Said;
use crate::messages::system_said;
use crate::said;
use check::Folders;
use tree::{Node, Value};

/// Recipes are short; anything longer is a mistake, such as a data file given in place of a recipe.
const MAX_BYTES: u64 = 1 << 20;

/// A recipe as it was read, before anything is derived.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The recipe, its paths absolute if the folders were.
    pub recipe: Recipe,
    /// The text of the file.
    pub text: String,
    /// The overrides, in the order in which they were applied.
    pub overrides: Vec<Override>,
    /// What the file says about an earlier run, if it is a lock file.
    pub lock: Option<Lock>,
}

impl Loaded {
    /// Makes `folder` the run's, except for what an override says of it.
    fn stay_in(&mut self, folder: &Path) {
        let given = |key: &str| self.overrides.iter().any(|o| o.key == key);
        let run = &mut self.recipe.run;
        if let Some(parent) = folder.parent().filter(|_| !given("run.dir")) {
            run.dir = parent.to_path_buf();
        }
        if let Some(name) = folder.file_name().filter(|_| !given("run.name")) {
            run.name = Some(name.to_string_lossy().into_owned());
        }
    }
}

impl Recipe {
    /// Reads a recipe file and applies overrides (`key=value`).
    ///
    /// Input paths in the file start at its folder; paths in overrides, and `run.dir`, start at `cwd`
    /// (pass it absolute). A lock file in the folder of its run stands for the run in this folder, wherever it was
    /// moved to, unless an override says otherwise.
    ///
    /// # Errors
    /// [`RecipeError`]: unreadable, not TOML, or against the table of fields.
    pub fn load(file: &Path, overrides: &[String], cwd: &Path) -> Result<Loaded, RecipeError> {
        let read =
            |problem: Said| RecipeError::new(Place::Whole(file.to_path_buf()), Fault::Read { problem });
        let path = cwd.join(file);
        let size = std::fs::metadata(&path).map_err(|error| read(system_said(&error)))?.len();
        if size > MAX_BYTES {
            return Err(read(said!("{size} bytes are too many for a recipe", "{size} 字节，作为配方太大了")));
        }
        let bytes = std::fs::read(&path).map_err(|error| read(system_said(&error)))?;
        let text =
            String::from_utf8(bytes).map_err(|_| read(said!("it is not UTF-8 text", "它不是 UTF-8 文本")))?;
        let mut loaded = Recipe::parse(&text, file, overrides, cwd)?;
        if let Some(folder) = path.parent().filter(|f| loaded.lock.is_some() && f.join(TAKEN).exists()) {
            loaded.stay_in(folder);
        }
        Ok(loaded)
    }

    /// Like [`Recipe::load`], from text; `file` gives the name for messages and the folder for paths.
    ///
    /// # Errors
    /// [`RecipeError`]: not TOML, or against the table of fields.
    pub fn parse(text: &str, file: &Path, overrides: &[String], cwd: &Path) -> Result<Loaded, RecipeError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let syntax = |place, error: toml::de::Error| {
            RecipeError::new(place, Fault::Syntax { problem: error.message().to_string() })
        };
        let place = |offset: usize| locate(file, text, offset);
        let folder = cwd.join(file.parent().unwrap_or(Path::new("")));
        let mut root = Node::parse(text, &place)?;
        root.place = Place::Whole(file.to_path_buf());

        let lock = match &mut root.value {
            Value::Table(entries) => entries.remove("lock"),
            _ => None,
        };
        let lock = lock
            .map(|(at, node)| node.to_toml().try_into::<Lock>().map_err(|e| syntax(at, e)))
            .transpose()?;

        // The file alone first, so that a complaint about it is not blamed on an override.
        let section: &'static Section = const { &Recipe::SECTION };
        check::table(&mut root, section, "", Folders { input: &folder, output: cwd }, false)?;
        let typed = Folders { input: cwd, output: cwd };
        let overrides =
            overrides.iter().map(|set| overrides::apply(&mut root, set, typed)).collect::<Result<_, _>>()?;
        check::table(&mut root, section, "", typed, true)?;
        stages::inherit(&mut root);

        let whole = Place::Whole(file.to_path_buf());
        let mut recipe: Recipe = root.to_toml().try_into().map_err(|error| syntax(whole.clone(), error))?;
        recipe.finish(file, cwd, whole)?;
        Ok(Loaded { recipe, text: text.to_string(), overrides, lock })
    }

    /// What the table alone cannot say.
    fn finish(&mut self, file: &Path, cwd: &Path, place: Place) -> Result<(), RecipeError> {
        let need = |section: Section, at: &str, name: &str| {
            let key = check::join(at, name);
            section.field(name).map_or(Ok(()), |field| Err(check::missing(place.clone(), &key, field)))
        };
        if self.data.train.is_empty() {
            need(Data::SECTION, "data", "train")?;
        }
        match &self.model.new {
            None if self.model.base.is_none() && self.model.seq2seq.is_none() => {
                need(Model::SECTION, "model", "base")?
            }
            Some(new) if new.text.is_empty() => need(Newborn::SECTION, "model.new", "text")?,
            _ => {}
        }
        self.check_together("", &place)?;
        self.check_stages(&place)?;
        if self.train.method == Method::Reward {
            // it never speaks: there is no breadth to keep or to measure
            self.eval.breadth.clear();
            self.train.keep.share = 0.0;
        }
        self.check_shots(&place)?;
        if let Some(judge) = &self.eval.judge {
            for (name, value) in [("url", &judge.url), ("model", &judge.model)] {
                if value.is_empty() {
                    need(Judge::SECTION, "eval.judge", name)?;
                }
            }
        }
        if self.run.name.is_none() {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            self.run.name = Some(if paths::is_file_name(&stem) { stem } else { "run".into() });
        }
        // A default was never typed, so the check above has not seen it.
        self.run.dir = cwd.join(&self.run.dir);
        self.name_exams();
        Ok(())
    }

    /// Keys that contradict each other.
    fn check_together(&self, at: &str, place: &Place) -> Result<(), RecipeError> {
        let train = &self.train;
        let apart = |place: &Place, key: &str, other: &str, why| {
            apart(place, &format!("{at}{key}"), &format!("{at}{other}"), why)
        };
        if self.model.base.is_some() && self.model.new.is_some() {
            let why = said!(
                "a base is there, or it is born: leave one of them out",
                "基座要么现成，要么新生：请去掉其一"
            );
            return Err(apart(place, "model.base", "model.new", why));
        }
        self.check_pairs(place)?;
        let practises = train.method == Method::Grpo;
        if practises && train.rewards.is_empty() {
            let missing = Train::SECTION
                .field("rewards")
                .map(|field| check::missing(place.clone(), &format!("{at}train.rewards"), field));
            return missing.map_or(Ok(()), Err);
        }
        if !practises && !train.rewards.is_empty() {
            let word = format!("train.method = \"{}\"", train.method.word());
            let why = said!("only grpo practises by rules", "只有 grpo 按规则练习");
            return Err(apart(place, "train.rewards", &word, why));
        }
        if practises && train.practice.samples < 2 && train.practice.loss != PolicyLoss::Ppo {
            let word = format!("train.practice.loss = \"{}\"", train.practice.loss.word());
            let why = said!(
                "an answer is judged against others of its prompt: at least 2 (ppo takes 1)",
                "一个回答要与同一提示的其他回答相比：至少 2（ppo 可以为 1）"
            );
            return Err(apart(place, "train.practice.samples = 1", &word, why));
        }
        if practises {
            let softened = [
                ("train.label_smoothing", train.label_smoothing),
                ("train.z_loss", train.z_loss),
                ("train.neftune", train.neftune),
            ];
            if let Some((key, _)) = softened.iter().find(|(_, value)| *value > 0.0) {
                let why = said!(
                    "the policy that learns must be the one that answered",
                    "学习的策略必须就是作答的策略"
                );
                return Err(apart(place, key, "train.method = \"grpo\"", why));
            }
        }
        if train.method == Method::Reward {
            let word = "train.method = \"reward\"";
            if train.adapter.is_none() {
                let missing = Train::SECTION
                    .field("adapter")
                    .map(|field| check::missing(place.clone(), "train.adapter", field));
                return missing.map_or(Ok(()), Err);
            }
            let speaks = [
                ("train.samples.prompts", !train.samples.prompts.is_empty()),
                ("eval.breadth_exams", !self.eval.breadth_exams.is_empty()),
            ];
            if let Some((key, _)) = speaks.iter().find(|(_, given)| *given) {
                let why =
                    said!("a reward model scores answers and never speaks", "奖励模型只给答案评分，从不作答");
                return Err(apart(place, key, word, why));
            }
        }
        if train.adapter.is_some() && !train.freeze.is_empty() {
            return Err(apart(
                place,
                "train.freeze",
                "train.adapter",
                said!(
                    "beside an adapter the whole base is frozen anyway",
                    "有适配器时整个基座本来就是冻结的"
                ),
            ));
        }
        if train.adapter.is_some() && train.optimiser == Optimiser::Muon {
            return Err(apart(
                place,
                "train.optimiser = \"muon\"",
                "train.adapter",
                said!(
                    "it is made for the weights of a network; take adamw",
                    "它是为网络自身的权重设计的；请用 adamw"
                ),
            ));
        }
        if train.optimiser == Optimiser::ScheduleFree {
            if train.ema > 0.0 {
                let why = said!("it saves an average already", "它本来就保存平均值");
                return Err(apart(place, "train.ema", "train.optimiser = \"schedule_free\"", why));
            }
            if train.schedule.is_some_and(|s| s != Schedule::Constant) {
                let why = said!("with it the rate does not fall", "用它时学习率不下降");
                return Err(apart(place, "train.schedule", "train.optimiser = \"schedule_free\"", why));
            }
        }
        Ok(())
    }

    /// What an encoder-decoder that learns pairs has no use for.
    fn check_pairs(&self, place: &Place) -> Result<(), RecipeError> {
        let Some(how) = &self.model.seq2seq else { return Ok(()) };
        let train = &self.train;
        let method = format!("train.method = \"{}\"", train.method.word());
        let given: [(&str, bool); 16] = [
            ("then", !self.then.is_empty()),
            ("model.base", self.model.base.is_some()),
            ("model.new", self.model.new.is_some()),
            ("model.template", self.model.template.is_some()),
            ("data.system", self.data.system.is_some()),
            (&method, train.method != Method::Sft),
            ("train.adapter", train.adapter.is_some()),
            ("train.freeze", !train.freeze.is_empty()),
            ("train.neftune", train.neftune > 0.0),
            ("train.recompute", train.recompute),
            ("train.keep", train.keep != Keep::default()),
            ("train.samples.prompts", !train.samples.prompts.is_empty()),
            ("eval.judge", self.eval.judge.is_some()),
            ("eval.breadth", ![Vec::new(), Eval::default().breadth].contains(&self.eval.breadth)),
            ("eval.breadth_exams", !self.eval.breadth_exams.is_empty()),
            ("eval.seeds", self.eval.seeds > 1),
        ];
        if let Some((key, _)) = given.iter().find(|(_, on)| *on) {
            let why = said!(
                "an encoder-decoder from birth learns pairs and nothing else: leave it out",
                "从出生养起的编码器–解码器只学成对数据：请去掉它"
            );
            return Err(apart(place, key, "model.seq2seq", why));
        }
        let plain = Exam::default();
        for (at, exam, _) in &self.exams() {
            let kind = exam.kind.is_none_or(|k| [ExamKind::Free, ExamKind::Label].contains(&k));
            let given: [(&str, bool); 8] = [
                ("kind", !kind),
                ("score", exam.score != plain.score),
                ("max_tokens", exam.max_tokens != plain.max_tokens),
                ("system", exam.system.is_some()),
                ("ask", exam.ask != plain.ask),
                ("options_as", exam.options_as != plain.options_as),
                ("pick", exam.pick != plain.pick),
                ("shots", exam.shots > 0),
            ];
            if let Some((key, _)) = given.iter().find(|(_, on)| *on) {
                let why = said!(
                    "an encoder-decoder writes a target for each source, as long as model.seq2seq.max_tokens says, and right is what equals an answer: leave it out",
                    "编码器–解码器为每条源文写出译文，长度由 model.seq2seq.max_tokens 决定，与答案相同才算对：请去掉它"
                );
                return Err(apart(place, &format!("{at}.{key}"), "model.seq2seq", why));
            }
        }
        if !how.shared && how.form == Seq2SeqForm::T5 {
            let why = said!(
                "this form has one vocabulary; take form = \"transformer\"",
                "这种形式只有一份词表；请用 form = \"transformer\""
            );
            return Err(apart(place, "model.seq2seq.shared = false", "form = \"t5\"", why));
        }
        Ok(())
    }

    /// Worked examples come from somewhere, and not from the exam.
    fn check_shots(&self, place: &Place) -> Result<(), RecipeError> {
        for (at, exam, _) in &self.exams() {
            let key = |name: &str| format!("{at}.{name}");
            match &exam.shots_from {
                None if exam.shots > 0 => {
                    if let Some(field) = Exam::SECTION.field("shots_from") {
                        return Err(check::missing(place.clone(), &key("shots_from"), field));
                    }
                }
                Some(path) if *path == exam.path => {
                    let why = said!(
                        "an exam that shows its own answers proves nothing: take other rows",
                        "考题自带答案就什么也证明不了：请换别的数据"
                    );
                    return Err(apart(place, &key("shots_from"), &key("path"), why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Each exam gets a name of its own.
    fn name_exams(&mut self) {
        let mut taken = std::collections::BTreeSet::new();
        for exam in self.eval.depth.iter_mut().chain(&mut self.eval.breadth_exams) {
            let stem = exam.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let wish = exam.name.take().or(stem).unwrap_or_else(|| "exam".into());
            let mut name = wish.clone();
            for number in 2.. {
                if taken.insert(name.clone()) {
                    break;
                }
                name = format!("{wish}-{number}");
            }
            exam.name = Some(name);
        }
    }

    /// Name of the run.
    pub fn name(&self) -> &str {
        self.run.name.as_deref().unwrap_or("run")
    }

    /// Folder of the run, `<dir>/<name>`.
    pub fn run_dir(&self) -> PathBuf {
        self.run.dir.join(self.name())
    }
}

/// The refusal of two keys that cannot stand together.
fn apart(place: &Place, key: &str, other: &str, why: Said) -> RecipeError {
    let (key, other) = (key.to_string(), other.to_string());
    RecipeError::new(place.clone(), Fault::Apart { key, other, why })
}

/// Line and column of a byte offset.
fn locate(file: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place::File { file: file.to_path_buf(), line, column }
}
