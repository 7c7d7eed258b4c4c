//! Runs and data for the pages of the service: reads what lies in the folders of runs, and lets runs work in processes of
//! their own, so that a training that fails, or takes all memory, takes no server with it.
//!
//! | file | is |
//! | --- | --- |
//! | `folder` | what the files of one run tell |
//! | `process` | runs that were begun here: their output, their end |
//! | `show` | examples with their masks, read by a process of its own |

mod folder;
mod process;
mod show;

use crate::lang::Lang;
use crate::recipe::{self, Recipe};
use crate::{date, said};
use nurture_serve::{Live, Masked, PageLang, Refusal, RunLine, RunState, SourceRows, Told, Workshop};
use process::Processes;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// Recipes that were begun here lie in this folder beside the runs.
const BEGUN: &str = ".recipes";
/// Most runs that are shown.
const RUNS: usize = 1_000;
/// Most bytes of a file that is shown as it is.
const TEXT: u64 = 1 << 20;

type Examples = (SystemTime, Vec<Masked>);

/// The runs of a folder.
#[derive(Debug)]
pub struct Shop {
    root: PathBuf,
    program: PathBuf,
    cwd: PathBuf,
    processes: Processes,
    heads: folder::Heads,
    examples: Mutex<HashMap<String, Examples>>,
}

/// The language of a page as this crate's own.
pub(crate) fn lang(of: PageLang) -> Lang {
    match of {
        PageLang::En => Lang::En,
        PageLang::Zh => Lang::Zh,
    }
}

fn told(said: &crate::lang::Said) -> Told {
    Told::new(&said.en, &said.zh)
}

/// An error in both languages, with its causes.
pub(crate) fn both(error: &anyhow::Error) -> Told {
    let whole = |lang| crate::messages::lines(lang, error).join(": ");
    Told::new(whole(Lang::En), whole(Lang::Zh))
}

impl Shop {
    /// The runs in `root` (absolute); new ones are worked on by `program`, this very binary. Relative paths in recipes that
    /// come from a page start at `cwd`.
    pub fn new(root: PathBuf, program: PathBuf, cwd: PathBuf) -> Shop {
        Shop {
            root,
            program,
            cwd,
            processes: Processes::default(),
            heads: folder::Heads::default(),
            examples: Mutex::default(),
        }
    }

    /// Asks the runs that were begun here to stop; each goes on later from its last whole step.
    pub fn close(&self) {
        self.processes.stop_all();
    }

    /// The folder of a run: a plain name, never a way out of the folder of runs.
    fn dir(&self, run: &str) -> Result<PathBuf, Refusal> {
        let plain = !run.is_empty()
            && run.len() <= 255
            && !run.starts_with('.')
            && !run.contains(['/', '\\', '\0', ':'])
            && Path::new(run).components().count() == 1;
        let dir = self.root.join(run);
        if plain && (folder::is_run(&dir) || self.processes.knows(run)) {
            Ok(dir)
        } else {
            Err(Refusal::Unknown)
        }
    }

    fn line(&self, run: &str, dir: &Path) -> RunLine {
        let mut line = self.heads.line(run, dir);
        match self.processes.state(run) {
            Some(process::State::Working) => line.state = RunState::Working,
            Some(process::State::Failed) if line.state == RunState::Stopped => line.state = RunState::Failed,
            _ => {}
        }
        line
    }
}

impl Workshop for Shop {
    fn runs(&self) -> Vec<RunLine> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        let names = entries.filter_map(|e| e.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|n| self.dir(n).is_ok()).collect();
        names.extend(self.processes.names());
        names.sort();
        names.dedup();
        let mut lines: Vec<RunLine> = names.iter().map(|n| self.line(n, &self.root.join(n))).collect();
        lines.sort_by_key(|l| std::cmp::Reverse(l.changed));
        lines.truncate(RUNS);
        lines
    }

    fn live(&self, run: &str) -> Result<Live, Refusal> {
        let dir = self.dir(run)?;
        let mut live = folder::live(&dir).map_err(|e| Refusal::Failed(both(&e)))?;
        live.line = self.line(run, &dir);
        live.log = self.processes.log(run);
        live.version = folder::version(&dir, &live);
        Ok(live)
    }

    fn recipe(&self, run: &str) -> Result<String, Refusal> {
        let dir = self.dir(run)?;
        let begun = self.root.join(BEGUN).join(format!("{run}.toml"));
        let text = folder::text(&dir.join(folder::LOCK), TEXT).or_else(|| folder::text(&begun, TEXT));
        Ok(text.unwrap_or_default())
    }

    fn report(&self, run: &str, language: PageLang) -> Result<Option<String>, Refusal> {
        let report = folder::report(&self.dir(run)?);
        Ok(report.map(|data| crate::report::html(&data, lang(language))))
    }

    fn ledger(&self, run: &str) -> Result<Vec<SourceRows>, Refusal> {
        Ok(folder::ledger(&self.dir(run)?))
    }

    fn examples(&self, run: &str, of_each: usize) -> Result<Vec<Masked>, Refusal> {
        let dir = self.dir(run)?;
        let changed = std::fs::metadata(dir.join(folder::LOCK)).and_then(|m| m.modified());
        let Ok(changed) = changed else {
            let said = said!("the rows have not been read yet", "还没有读取数据行");
            return Err(Refusal::Wrong(told(&said)));
        };
        let lock = || self.examples.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, kept)) = lock().get(run).filter(|(time, _)| *time == changed) {
            return Ok(kept.clone());
        }
        let read = show::examples(&self.program, &dir, of_each).map_err(Refusal::Failed)?;
        let mut all = lock();
        if all.len() >= 32 {
            all.clear();
        }
        all.insert(run.to_string(), (changed, read.clone()));
        Ok(read)
    }

    fn fields(&self, language: PageLang) -> Value {
        recipe::json_schema(lang(language))
    }

    fn start(&self, text: &str) -> Result<String, Refusal> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        // a run without a name is called after its time
        let stem: String = date::utc(since).chars().filter(char::is_ascii_digit).collect();
        let file = self.cwd.join(format!("run-{stem}.toml"));
        let loaded = Recipe::parse(text, &file, &[], &self.cwd);
        let mut recipe = loaded.map_err(|e| Refusal::Wrong(both(&e.into())))?.recipe;
        recipe.run.dir.clone_from(&self.root);
        let name = recipe.name().to_string();
        let dir = self.root.join(&name);
        if name.starts_with('.') || dir.exists() || self.processes.working(&name) {
            let said = said!(
                "run.name: there is a run {name} already, or the name begins with a dot; choose another",
                "run.name：已有名为 {name} 的运行，或名字以点开头；请换一个"
            );
            return Err(Refusal::Wrong(told(&said)));
        }
        let failed = |e: anyhow::Error| Refusal::Failed(both(&e));
        let begun = self.root.join(BEGUN);
        std::fs::create_dir_all(&begun).map_err(|e| failed(e.into()))?;
        let file = begun.join(format!("{name}.toml"));
        let text = toml::to_string(&recipe).map_err(|e| failed(e.into()))?;
        nurture_formats::write_atomic(&file, text.as_bytes()).map_err(|e| failed(e.into()))?;
        self.processes.begin(&self.program, &name, &file).map_err(failed)?;
        Ok(name)
    }

    fn stop(&self, run: &str) -> Result<(), Refusal> {
        self.dir(run)?;
        if self.processes.stop(run) {
            return Ok(());
        }
        let said = said!(
            "{run} was not begun from these pages: stop it where it was begun (Ctrl-C)",
            "{run} 不是从这些页面开始的：请在开始它的地方停止（Ctrl-C）"
        );
        Err(Refusal::Wrong(told(&said)))
    }

    fn resume(&self, run: &str) -> Result<(), Refusal> {
        let dir = self.dir(run)?;
        if self.line(run, &dir).state == RunState::Working {
            let said = said!("{run} is at work already", "{run} 已在进行中");
            return Err(Refusal::Wrong(told(&said)));
        }
        let begun = self.root.join(BEGUN).join(format!("{run}.toml"));
        let file = if dir.join(folder::LOCK).is_file() { dir } else { begun };
        self.processes.begin(&self.program, run, &file).map_err(|e| Refusal::Failed(both(&e)))
    }

    fn adapter(&self, run: &str) -> Option<PathBuf> {
        let dir = crate::network::result_dir(&self.dir(run).ok()?);
        dir.join("adapter").join(nurture_formats::adapter::CONFIG_NAME).is_file().then_some(dir)
    }
}
