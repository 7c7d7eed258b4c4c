//! Programs that nobody has read, in a child process with walls around it.
//!
//! Time, processor time, memory, size of files and open files are bounded everywhere on Unix; the network and the view of
//! other processes are taken away by `unshare` where the system lets an ordinary user do so. [`Walls::probe`] tells what holds
//! on this machine, so that whoever runs it can say so aloud. It is a guard against accidents and against a policy that tries
//! things out, not a prison for a determined attacker: the file system stays readable.

use crate::error::RewardError;
use crate::process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bounds of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// wall-clock time; processor time is bounded by the same, rounded up to seconds
    pub time: Duration,
    /// address space, bytes
    pub memory: u64,
    /// bytes of its output that are kept, and the largest file it may write
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { time: Duration::from_secs(5), memory: 512 << 20, output: 64 << 10 }
    }
}

/// What holds a program in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walls {
    /// time, memory and file sizes are bounded by the shell's `ulimit`
    pub bounds: bool,
    /// it has no network and sees no other processes
    pub apart: bool,
}

/// Words of `unshare`: a user of its own, no network, no other processes; its children end with it.
const APART: [&str; 6] = ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"];

impl Walls {
    /// Looks what this machine offers.
    pub fn probe() -> Walls {
        let works = |mut command: Command| {
            command.stdin(std::process::Stdio::null());
            command.output().is_ok_and(|out| out.status.success())
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -t 5 && ulimit -v 1048576"]);
        let mut unshare = Command::new("unshare");
        unshare.args(APART).args(["--", "true"]);
        Walls { bounds: cfg!(unix) && works(shell), apart: cfg!(target_os = "linux") && works(unshare) }
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// exit code; `None` after a signal
    pub code: Option<i32>,
    /// whether its time was over
    pub late: bool,
    /// the beginning of what it wrote
    pub stdout: String,
    /// the beginning of its complaints
    pub stderr: String,
}

/// Runs `program args…` in `folder` behind the walls. Its environment holds `PATH` and nothing else.
///
/// # Errors
/// The program, the shell or `unshare` cannot be started.
pub(crate) fn run(
    walls: Walls,
    limits: Limits,
    program: &Path,
    args: &[PathBuf],
    folder: &Path,
) -> Result<Outcome, RewardError> {
    let seconds = limits.time.as_secs_f64().ceil().max(1.0) as u64 + 1;
    let (memory, blocks) = (limits.memory / 1024, (limits.output as u64).div_ceil(512).max(2));
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    if walls.apart {
        words.push("unshare".into());
        words.extend(APART.iter().map(Into::into));
        words.push("--".into());
    }
    if walls.bounds {
        words.extend(["sh".into(), "-c".into()]);
        let text = format!(
            "ulimit -t {seconds}; ulimit -v {memory}; ulimit -f {blocks}; ulimit -n 64; ulimit -c 0; exec \"$0\" \"$@\""
        );
        words.push(text.into());
    }
    words.push(program.into());
    words.extend(args.iter().map(Into::into));
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(folder).env_clear();
    // the program is looked for as the caller would
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let ended = process::run(command, program, Vec::new(), limits.time, limits.output)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Outcome { code: ended.code, late: ended.late, stdout: text(ended.stdout), stderr: text(ended.stderr) })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::Instant;

    fn sh(script: &str, limits: Limits) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script.sh");
        std::fs::write(&file, script).unwrap();
        run(Walls::probe(), limits, Path::new("sh"), &[file], dir.path()).unwrap()
    }

    #[test]
    fn what_it_says_and_how_it_ends() {
        let out = sh("echo hello; echo bad >&2; exit 3", Limits::default());
        assert_eq!(
            (out.code, out.late, &out.stdout[..], &out.stderr[..]),
            (Some(3), false, "hello\n", "bad\n")
        );
    }

    #[test]
    fn time_ends_it_with_all_its_children() {
        let began = Instant::now();
        let limits = Limits { time: Duration::from_millis(300), ..Limits::default() };
        let out = sh("sleep 60 & sleep 60 & wait", limits);
        assert!(out.late && began.elapsed() < Duration::from_secs(5), "{out:?}");
        // one that leaves a child behind does not keep us either
        let began = Instant::now();
        let out = sh("sleep 60 & echo done", Limits::default());
        assert!(out.stdout == "done\n" && began.elapsed() < Duration::from_secs(5), "{out:?}");
    }

    #[test]
    fn output_and_files_are_bounded() {
        let limits = Limits { output: 4096, time: Duration::from_secs(2), ..Limits::default() };
        let out = sh("yes | head -c 1000000; head -c 100000 /dev/zero > big; wc -c < big >&2", limits);
        assert_eq!(out.stdout.len(), 4096);
        let written: u64 = out.stderr.lines().last().and_then(|l| l.trim().parse().ok()).unwrap_or(0);
        assert!(written <= 4096, "{out:?}");
    }

    #[test]
    fn no_network_where_the_system_can() {
        if !Walls::probe().apart {
            eprintln!("skipped: unshare is not allowed here");
            return;
        }
        let out = sh("cat /proc/net/dev | grep -c :", Limits::default());
        assert_eq!(out.stdout.trim(), "1", "only the loopback: {out:?}");
        assert_eq!(
            sh("env | grep -v -E '^(PWD|PATH|_|SHLVL|OLDPWD)=' | wc -l", Limits::default()).stdout.trim(),
            "0"
        );
    }
}
