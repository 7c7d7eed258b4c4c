//! Other programs of this machine that fetch for us: started, watched, ended, and what they say made fit to show.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::{FailureKind, Stop};
use crate::options::PullOptions;

/// A program with its first arguments; `None` where there are no words.
pub(crate) fn command(words: &[String]) -> Option<Command> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    Some(command)
}

/// Waits for a child; kills it on cancel (an error) or when `give_up` says so (`None`).
pub(crate) fn wait(
    child: &mut Child,
    options: &PullOptions,
    mut give_up: impl FnMut(&Child) -> bool,
) -> Result<Option<ExitStatus>, Stop> {
    let mut pause = Duration::from_millis(5);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) => {}
            Err(e) => return Err(Stop::Source(FailureKind::Tool, format!("it cannot be watched: {e}"))),
        }
        let cancelled = options.check_cancel();
        if cancelled.is_err() || give_up(child) {
            let _ = child.kill();
            let _ = child.wait();
            cancelled?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Bytes of all files below a folder; a few levels are enough for pip's own folders.
pub(crate) fn folder_bytes(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |e: fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() && depth < 4 => folder_bytes(&e.path(), depth + 1),
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

/// At most 300 characters, without credentials in addresses.
pub(crate) fn shorten(line: &str) -> String {
    let line: String = line.chars().take(300).collect();
    line.split(' ').map(crate::http::without_credentials).collect::<Vec<_>>().join(" ")
}

/// The end of a log, at most 256 KiB, whatever its encoding.
pub(crate) fn read_lossy(path: &Path) -> String {
    use std::io::{Seek, SeekFrom};
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let len = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(len.saturating_sub(1 << 18)));
        let _ = file.take(1 << 18).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
