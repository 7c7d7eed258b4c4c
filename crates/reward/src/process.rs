//! A child process with a deadline and bounded output: what it says beyond the bound is read and thrown away.

use crate::error::RewardError;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// its exit code; `None` after a signal
    pub(crate) code: Option<i32>,
    /// whether it had to be killed at the deadline
    pub(crate) late: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Reads to the end, keeps at most `most` bytes.
fn drain(mut from: impl Read + Send + 'static, most: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let (mut kept, mut piece) = (Vec::new(), [0u8; 8192]);
        while let Ok(n) = from.read(&mut piece) {
            if n == 0 {
                break;
            }
            kept.extend_from_slice(&piece[..n.min(most.saturating_sub(kept.len()))]);
        }
        _ = sender.send(kept);
    });
    receiver
}

/// Ends a process and all that belong to its group.
fn end(child: &mut Child) {
    #[cfg(unix)]
    {
        use nix::sys::signal::{Signal, killpg};
        use nix::unistd::Pid;
        if let Ok(id) = i32::try_from(child.id()) {
            _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
    _ = child.kill();
}

/// Runs a command of its own process group to its end or the deadline.
pub(crate) fn run(
    mut command: Command,
    program: &Path,
    input: Vec<u8>,
    time: Duration,
    most: usize,
) -> Result<Ended, RewardError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    let mut child =
        command.spawn().map_err(|source| RewardError::Start { program: program.to_path_buf(), source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // one that never reads must not stop us; a broken pipe is its own affair
        thread::spawn(move || _ = stdin.write_all(&input));
    }
    let out = child.stdout.take().map(|s| drain(s, most));
    let err = child.stderr.take().map(|s| drain(s, most));
    let deadline = Instant::now() + time;
    let mut pause = Duration::from_millis(1);
    let (status, late) = loop {
        match child.try_wait().map_err(RewardError::io("waiting for a program"))? {
            Some(status) => break (status, false),
            None if Instant::now() >= deadline => {
                end(&mut child);
                let status = child.wait().map_err(RewardError::io("waiting for a program"))?;
                break (status, true);
            }
            None => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    };
    // children that it left behind would hold the pipes open
    end(&mut child);
    let grace = Duration::from_secs(2);
    let read =
        |from: Option<Receiver<Vec<u8>>>| from.and_then(|r| r.recv_timeout(grace).ok()).unwrap_or_default();
    Ok(Ended { code: status.code(), late, stdout: read(out), stderr: read(err) })
}
