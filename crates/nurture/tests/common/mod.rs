//! What the stories share: a folder of one's own, a small recipe on the real SmolLM2, the real binary in a clean
//! environment.

#![allow(unreachable_pub, dead_code)] // shared by test binaries, of which each uses its part

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Steps of the small recipe.
pub(crate) const STEPS: u64 = 8;

/// Patience with a process, on a machine that may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);

/// Stories that load a model take turns: each wants all cores.
static TURN: Mutex<()> = Mutex::new(());

/// A folder with data, a recipe `small.toml` and a store of its own.
pub(crate) struct Home {
    dir: TempDir,
    model: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    /// exit code; `None`: a signal
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) seconds: f64,
}

impl Said {
    /// Checks exit code 1, that there is one error, and that it holds each of the `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.matches("error:").count(), 1, "{}", self.err);
        assert!(!self.err.contains("bug in Nurture"), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in: {}", self.err);
        }
    }

    /// Checks that what was asked for is done, whatever the verdict.
    #[track_caller]
    pub(crate) fn done(&self) -> &Said {
        assert!(matches!(self.code, Some(0 | 3)), "{self:?}");
        self
    }
}

impl Home {
    /// A folder without a model, for those that make their own.
    pub(crate) fn bare() -> Home {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Home { dir: tempfile::tempdir().unwrap(), model: PathBuf::new(), _turn: turn }
    }

    /// `None`, said loudly, where the model is not on this machine.
    pub(crate) fn new() -> Option<Home> {
        let model = nurture_testing::model(nurture_testing::SMOLLM2)?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let home = Home { dir: tempfile::tempdir().unwrap(), model, _turn: turn };
        let train = sample("lumen-desk/train.jsonl", 40, 2 * STEPS as usize);
        let labels: Vec<String> = train.iter().map(|row| category(row)).collect();
        let exam = sample("lumen-desk/exam.jsonl", 160, 160).into_iter();
        let exam: Vec<String> = exam.filter(|row| labels.contains(&category(row))).take(4).collect();
        assert_eq!(exam.len(), 4, "the sample has changed");
        home.write("train.jsonl", lines(&train));
        home.write("exam.jsonl", lines(&exam));
        home.write(
            "small.toml",
            format!(
                r#"
[model]
base = {:?}

[data]
train = ["train.jsonl"]

[train]
epochs = 1
batch = 2
checkpoint_every = 3
adapter = {{ kind = "lora", rank = 2 }}

[eval]
depth = [{{ path = "exam.jsonl", kind = "label" }}]
breadth = []
"#,
                home.model.display().to_string()
            ),
        );
        Some(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The base model.
    pub(crate) fn model(&self) -> &Path {
        &self.model
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A program in the folder, in a clean environment, without a network to speak of.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("NURTURE_HOME", self.path("store")).env("RUST_BACKTRACE", "1");
        command.envs(std::env::var_os("PATH").map(|p| ("PATH", p)));
        for endpoint in ["HF_ENDPOINT", "MODELSCOPE_ENDPOINT"] {
            // the discard port: nobody listens there
            command.env(endpoint, "http://127.0.0.1:9");
        }
        command
    }

    /// The binary with these arguments, cut at white space.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_nurture"));
        command.args(args.split_whitespace());
        command
    }

    pub(crate) fn nurture(&self, args: &str) -> Said {
        finish(self.command(args))
    }

    /// Files (and folders) anywhere in the home that only a process at work may have there.
    pub(crate) fn litter(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().ends_with(".tmp") {
                    found.push(path);
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }

    /// The steps in a run's metrics, in their order.
    pub(crate) fn steps(&self, run: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.path(&format!("runs/{run}/metrics.jsonl"))).unwrap_or_default();
        let step = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("step")?.as_u64();
        text.lines().filter_map(step).collect()
    }
}

/// Runs to the end.
pub(crate) fn finish(mut command: Command) -> Said {
    wait(spawn(&mut command))
}

pub(crate) fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a process that does not say more than a pipe holds.
pub(crate) fn wait(mut child: Child) -> Said {
    let began = Instant::now();
    let ended = until(|| child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let said = Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
        seconds: began.elapsed().as_secs_f64(),
    };
    assert!(ended, "still at work after {PATIENCE:?}: {said:?}");
    said
}

/// Waits until something holds; `false` if it never does.
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        sleep(Duration::from_millis(2));
    }
    true
}

/// The shortest `n` of the first `of` rows of a sample, so that a step takes a moment.
pub(crate) fn sample(file: &str, of: usize, n: usize) -> Vec<String> {
    let text = fs::read_to_string(nurture_testing::repository("samples").join(file)).unwrap();
    let mut rows: Vec<String> = text.lines().take(of).map(String::from).collect();
    rows.sort_by_key(String::len);
    rows.truncate(n);
    rows
}

pub(crate) fn lines(rows: &[String]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn category(row: &str) -> String {
    let row: Value = serde_json::from_str(row).unwrap();
    row["category"].as_str().unwrap().to_string()
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (most + 1)
    }
}
