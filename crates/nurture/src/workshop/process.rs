//! Runs that were begun from the pages: processes of their own.

use anyhow::{Context as _, Result};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

/// Lines of output that are kept, and bytes of each.
const LINES: usize = 200;
const LINE: u64 = 1 << 10;
/// How a run ends whose verdict is negative; it is done all the same.
const NEGATIVE: i32 = 3;
/// How it ends when it is asked to stop.
const STOPPED: i32 = 130;

type Log = Arc<Mutex<VecDeque<String>>>;

#[derive(Debug)]
struct Begun {
    child: Child,
    log: Log,
    /// whether it was asked to stop
    asked: bool,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Working,
    Ended,
    Failed,
}

/// All processes that were begun here, by the name of their run.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<HashMap<String, Begun>>);

impl Processes {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Begun>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    pub(super) fn knows(&self, run: &str) -> bool {
        self.all().contains_key(run)
    }

    pub(super) fn working(&self, run: &str) -> bool {
        self.state(run) == Some(State::Working)
    }

    /// How the process of a run is; `None`: none was begun here.
    pub(super) fn state(&self, run: &str) -> Option<State> {
        let mut all = self.all();
        let begun = all.get_mut(run)?;
        Some(match begun.child.try_wait() {
            Ok(None) => State::Working,
            Ok(Some(status)) if status.success() => State::Ended,
            Ok(Some(status)) if matches!(status.code(), Some(NEGATIVE | STOPPED)) || begun.asked => {
                State::Ended
            }
            Ok(Some(_)) | Err(_) => State::Failed,
        })
    }

    /// Its last lines.
    pub(super) fn log(&self, run: &str) -> Vec<String> {
        let log = self.all().get(run).map(|b| b.log.clone());
        log.map_or(Vec::new(), |log| log.lock().unwrap_or_else(|e| e.into_inner()).iter().cloned().collect())
    }

    /// Begins `program run FILE`.
    pub(super) fn begin(&self, program: &Path, run: &str, file: &Path) -> Result<()> {
        let mut all = self.all();
        if let Some(begun) = all.get_mut(run)
            && matches!(begun.child.try_wait(), Ok(None))
        {
            return Ok(());
        }
        let mut command = Command::new(program);
        command.arg("run").arg(file).env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // a terminal's Ctrl-C reaches the server, which passes it on
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| program.display().to_string())?;
        let log = Log::default();
        for stream in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let log = log.clone();
            std::thread::spawn(move || listen(stream, &log));
        }
        all.insert(run.to_string(), Begun { child, log, asked: false });
        Ok(())
    }

    /// Asks a process to stop at its next whole step. Whether there was one.
    pub(super) fn stop(&self, run: &str) -> bool {
        self.all().get_mut(run).is_some_and(ask)
    }

    pub(super) fn stop_all(&self) {
        self.all().values_mut().for_each(|begun| _ = ask(begun));
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn ask(begun: &mut Begun) -> bool {
    if !matches!(begun.child.try_wait(), Ok(None)) {
        return false;
    }
    begun.asked = true;
    #[cfg(unix)]
    {
        use nix::sys::signal::{Signal, kill};
        let pid = i32::try_from(begun.child.id()).map(nix::unistd::Pid::from_raw);
        // it was not waited for yet, so the number is still its own
        pid.is_ok_and(|pid| kill(pid, Signal::SIGTERM).is_ok())
    }
    #[cfg(not(unix))]
    begun.child.kill().is_ok()
}

fn boxed(stream: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(stream)
}

/// Keeps the last lines; reads on whatever comes, so that the process never waits.
fn listen(stream: Box<dyn Read + Send>, log: &Log) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().replace('\r', "\n");
                let mut log = log.lock().unwrap_or_else(|e| e.into_inner());
                if log.len() >= LINES {
                    log.pop_front();
                }
                log.push_back(text);
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn script(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        (dir, path)
    }

    fn until(what: impl Fn() -> bool) {
        let begin = Instant::now();
        while !what() {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_run_is_heard_and_stopped() {
        let (_dir, program) = script(
            "echo \"$1 $2\"; i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; trap 'echo bye; exit 130' TERM; while :; do sleep 0.1; done",
        );
        let all = Processes::default();
        all.begin(&program, "a", Path::new("/x.toml")).unwrap();
        until(|| all.log("a").last().is_some_and(|l| l == "line 499"));
        assert_eq!((all.log("a").len(), all.state("a")), (LINES, Some(State::Working)));
        // while it works no second one begins
        all.begin(Path::new("/no/such/program"), "a", Path::new("/x.toml")).unwrap();
        assert!(all.stop("a") && !all.stop("b"));
        until(|| all.state("a") == Some(State::Ended));
        until(|| all.log("a").last().is_some_and(|l| l == "bye"));
        assert!(!all.stop("a"));
    }

    #[test]
    fn ends_are_told_apart() {
        for (code, want) in [(0, State::Ended), (3, State::Ended), (1, State::Failed), (2, State::Failed)] {
            let (_dir, program) = script(&format!("exit {code}"));
            let all = Processes::default();
            all.begin(&program, "a", Path::new("x")).unwrap();
            until(|| all.state("a") != Some(State::Working));
            assert_eq!(all.state("a"), Some(want), "{code}");
        }
        let all = Processes::default();
        assert!(all.begin(Path::new("/no/such/program"), "a", Path::new("x")).is_err());
        assert_eq!(all.state("a"), None);
    }
}
