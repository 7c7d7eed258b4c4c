//! What the pages show of runs and data. Whoever knows a run's files implements [`Workshop`]; this crate does not.

use super::lang::{PageLang, Told};
use serde_json::Value;

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// a process is at work in its folder
    Working,
    /// it has its result and its report
    Done,
    /// it has its result; it was not examined
    Trained,
    /// it was stopped or killed; it can go on
    #[default]
    Stopped,
    /// the process that was begun here ended with an error
    Failed,
}

impl RunState {
    /// The word for style sheets.
    pub(crate) fn word(self) -> &'static str {
        match self {
            RunState::Working => "working",
            RunState::Done => "done",
            RunState::Trained => "trained",
            RunState::Stopped => "stopped",
            RunState::Failed => "failed",
        }
    }

    /// The word for people.
    pub(crate) fn said(self, lang: PageLang) -> &'static str {
        match self {
            RunState::Working => lang.pick("at work", "进行中"),
            RunState::Done => lang.pick("done", "已完成"),
            RunState::Trained => lang.pick("trained, not examined", "已训练，未考试"),
            RunState::Stopped => lang.pick("stopped", "已停止"),
            RunState::Failed => lang.pick("failed", "失败"),
        }
    }
}

/// A run in a list.
#[derive(Clone, Debug, Default)]
pub struct RunLine {
    /// the name of its folder
    pub name: String,
    /// how it stands
    pub state: RunState,
    /// steps done, and of how many
    pub steps: (u64, u64),
    /// the base, as the recipe calls it
    pub base: String,
    /// the method of upbringing
    pub method: String,
    /// the verdict in a word
    pub verdict: Option<Told>,
    /// whether the verdict is one to be glad of
    pub good: bool,
    /// when something in it last changed, seconds since 1970
    pub changed: u64,
}

/// A figure with what was expected of it.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// what it is
    pub name: Told,
    /// what was forecast
    pub forecast: Option<Told>,
    /// what it was
    pub outcome: Option<Told>,
}

/// A step of training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point {
    /// the step
    pub step: u64,
    /// mean loss of its tokens, nats
    pub loss: f64,
    /// learning rate
    pub rate: f64,
    /// norm of the gradients
    pub norm: f64,
    /// tokens a second
    pub speed: f64,
    /// memory of the process, bytes
    pub memory: Option<u64>,
}

/// An answer given during training.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// after which step
    pub step: u64,
    /// the question
    pub question: String,
    /// the answer
    pub answer: String,
}

/// What may change while a run is at work.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// how it stands
    pub line: RunLine,
    /// the steps so far
    pub points: Vec<Point>,
    /// seconds that are left, where they can be told
    pub left: Option<f64>,
    /// forecast against outcome, row by row
    pub expected: Vec<Expected>,
    /// the newest answers, with those before them
    pub answers: Vec<Answered>,
    /// last lines of the process that was begun here
    pub log: Vec<String>,
    /// a number that changes when anything here does
    pub version: u64,
}

/// Rows of one source and what became of them.
#[derive(Clone, Debug, Default)]
pub struct SourceRows {
    /// the file
    pub source: String,
    /// rows read
    pub rows: u64,
    /// each fate: its word, its count, ids of the first rows
    pub fates: Vec<(Told, u64, Vec<String>)>,
}

/// An example as the trainer sees it.
#[derive(Clone, Debug, Default)]
pub struct Masked {
    /// its id: file and row
    pub id: String,
    /// its tokens: text, and whether the model is trained to say it
    pub tokens: Vec<(String, bool)>,
}

/// Why something cannot be done.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// there is no such run
    Unknown,
    /// it cannot be done as asked
    Wrong(Told),
    /// it failed
    Failed(Told),
}

/// Runs and data, for the pages. All calls may take a while and are made beside the threads that serve connections.
/// Names come from clients: an implementation answers [`Refusal::Unknown`] to whatever is not the name of a run.
pub trait Workshop: Send + Sync {
    /// All runs, the newest first.
    fn runs(&self) -> Vec<RunLine>;
    /// What may change of a run.
    ///
    /// # Errors
    /// No such run.
    fn live(&self, run: &str) -> Result<Live, Refusal>;
    /// The recipe of a run as it was written down.
    ///
    /// # Errors
    /// No such run.
    fn recipe(&self, run: &str) -> Result<String, Refusal>;
    /// The report as one HTML file without scripts, where there is one.
    ///
    /// # Errors
    /// No such run.
    fn report(&self, run: &str, lang: PageLang) -> Result<Option<String>, Refusal>;
    /// What became of each row of each source.
    ///
    /// # Errors
    /// No such run.
    fn ledger(&self, run: &str) -> Result<Vec<SourceRows>, Refusal>;
    /// Some examples of each source of a run, as the trainer sees them.
    ///
    /// # Errors
    /// No such run; its files are not there any more.
    fn examples(&self, run: &str, of_each: usize) -> Result<Vec<Masked>, Refusal>;
    /// The fields of a recipe as JSON schema, in one language.
    fn fields(&self, lang: PageLang) -> Value;
    /// Begins a run from a recipe's text (TOML) and tells its name.
    ///
    /// # Errors
    /// What is wrong with the recipe; a name that is taken.
    fn start(&self, recipe: &str) -> Result<String, Refusal>;
    /// Lets a run end at its next whole step.
    ///
    /// # Errors
    /// No such run; one that was not begun here.
    fn stop(&self, run: &str) -> Result<(), Refusal>;
    /// Goes on with a run that was stopped.
    ///
    /// # Errors
    /// No such run; one that is at work.
    fn resume(&self, run: &str) -> Result<(), Refusal>;
    /// The folder of a run's adapter, where it has one that can be served.
    fn adapter(&self, run: &str) -> Option<std::path::PathBuf>;
}
