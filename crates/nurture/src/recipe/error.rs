//! What can be wrong with a recipe, said in both languages: what, where, and what to do.
use std::fmt;
use std::path::PathBuf;

use crate::lang::{Lang, Said};
use crate::say;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A recipe file as a whole.
    Whole(PathBuf),
    /// In a recipe file.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an override.
    Set(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Place::Whole(file) => write!(f, "{}", file.display()),
            Place::Set(text) => write!(f, "--set {text}"),
        }
    }
}

/// A recipe that cannot be used. `Display` speaks English; [`RecipeError::message`] either language.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipeError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub fault: Box<Fault>,
}

/// What is wrong with a place in a recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The file cannot be read.
    Read {
        /// What the system said, or what is wrong with it.
        problem: Said,
    },
    /// Not TOML.
    Syntax {
        /// What the parser said (English).
        problem: String,
    },
    /// A key that no table has.
    UnknownKey {
        /// The whole key, `train.epoch`.
        key: String,
        /// The key that was probably meant, whole.
        nearest: Option<String>,
        /// The table, empty for the top.
        table: String,
        /// The keys of the table.
        allowed: Vec<&'static str>,
    },
    /// A value of the wrong type.
    WrongType {
        /// The whole key.
        key: String,
        /// What is needed.
        expected: Said,
        /// What stands there.
        found: Said,
    },
    /// A number outside its range, an empty text, a name that is no file name.
    BadValue {
        /// The whole key.
        key: String,
        /// What stands there.
        found: String,
        /// What is needed.
        expected: Said,
    },
    /// A word that is not one of the allowed ones.
    UnknownWord {
        /// The whole key.
        key: String,
        /// What stands there.
        found: String,
        /// The word that was probably meant.
        nearest: Option<&'static str>,
        /// The allowed words.
        allowed: Vec<&'static str>,
    },
    /// A word that is planned, but not in this version.
    NotYet {
        /// The whole key.
        key: String,
        /// The word.
        found: String,
        /// The words that this version can do.
        allowed: Vec<&'static str>,
    },
    /// A key that must be given.
    Missing {
        /// The whole key.
        key: String,
        /// How it would be written.
        example: String,
        /// What it is for.
        doc: Said,
    },
    /// Two keys that contradict each other.
    Apart {
        /// The key that is refused.
        key: String,
        /// The one that it contradicts.
        other: String,
        /// Why.
        why: Said,
    },
    /// An override that is not `key=value`, or names a place that is not there.
    BadOverride {
        /// What is wrong.
        problem: Said,
    },
}

impl RecipeError {
    pub(crate) fn new(place: Place, fault: Fault) -> Self {
        RecipeError { place, fault: Box::new(fault) }
    }

    /// The message in one language.
    pub fn message(&self, lang: Lang) -> String {
        let place = &self.place;
        match &*self.fault {
            Fault::Read { problem } => {
                let problem = problem.get(lang);
                say!(lang, "{place}: cannot read the recipe: {problem}", "{place}：读不了配方：{problem}")
            }
            Fault::Syntax { problem } => {
                let problem = problem.trim().replace('\n', "; ");
                say!(lang, "{place}: this is not TOML: {problem}", "{place}：不是合法的 TOML：{problem}")
            }
            Fault::UnknownKey { key, nearest, table, allowed } => {
                let hint = match nearest {
                    Some(near) => say!(lang, " Did you mean `{near}`?", "是不是 `{near}`？"),
                    None => String::new(),
                };
                let allowed = allowed.join(", ");
                let table = if table.is_empty() {
                    say!(lang, "at the top", "最外层")
                } else {
                    say!(lang, "in `{table}`", "`{table}` 里")
                };
                say!(
                    lang,
                    "{place}: unknown key `{key}`.{hint} Keys {table}: {allowed}.",
                    "{place}：不认识的键 `{key}`。{hint}{table}可用的键：{allowed}。"
                )
            }
            Fault::WrongType { key, expected, found } => {
                let (expected, found) = (expected.get(lang), found.get(lang));
                say!(
                    lang,
                    "{place}: `{key}` must be {expected}, but {found} stands there.",
                    "{place}：`{key}` 应当是{expected}，这里却是{found}。"
                )
            }
            Fault::BadValue { key, found, expected } => {
                let expected = expected.get(lang);
                say!(
                    lang,
                    "{place}: `{key}` is {found}, but must be {expected}.",
                    "{place}：`{key}` 是 {found}，应当是{expected}。"
                )
            }
            Fault::UnknownWord { key, found, nearest, allowed } => {
                let hint = match nearest {
                    Some(near) => say!(lang, " Did you mean \"{near}\"?", "是不是 \"{near}\"？"),
                    None => String::new(),
                };
                let allowed = allowed.join(", ");
                say!(
                    lang,
                    "{place}: `{key}` cannot be \"{found}\".{hint} Allowed: {allowed}.",
                    "{place}：`{key}` 不能是 \"{found}\"。{hint}可选：{allowed}。"
                )
            }
            Fault::NotYet { key, found, allowed } => {
                let allowed = allowed.join(", ");
                say!(
                    lang,
                    "{place}: `{key}` = \"{found}\" is planned, but not in this version. It can do: {allowed}.",
                    "{place}：`{key}` = \"{found}\" 在计划中，本版本还没有。现在可用：{allowed}。"
                )
            }
            Fault::Missing { key, example, doc } => {
                let doc = doc.get(lang);
                say!(
                    lang,
                    "{place}: `{key}` is missing. {doc} For example: {example}",
                    "{place}：缺少 `{key}`。{doc}例如：{example}"
                )
            }
            Fault::Apart { key, other, why } => {
                let why = why.get(lang);
                say!(
                    lang,
                    "{place}: `{key}` and `{other}` do not go together: {why}.",
                    "{place}：`{key}` 和 `{other}` 不能同时使用：{why}。"
                )
            }
            Fault::BadOverride { problem } => {
                let problem = problem.get(lang);
                say!(lang, "{place}: {problem}", "{place}：{problem}")
            }
        }
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(Lang::En))
    }
}

impl std::error::Error for RecipeError {}
