//! What the store promises: many pulls at once, files brought by hand, damage, full disks, cancelled pulls.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use nurture_hub::{HubError, Progress, PullOptions, Store, pull, resolve};

const CHILD: &str = "NURTURE_HUB_TEST_CHILD";

fn slow_server(body: &[u8]) -> Server {
    let body = body.to_vec();
    Server::start(move |request, stream| {
        std::thread::sleep(Duration::from_millis(400));
        send_file(request, stream, &body, None);
    })
}

/// Not a test of its own: what the child processes of the tests below do. Pulls `tiny` and writes the outcome.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let [root, endpoint, seed, len, out] = job.split('|').collect::<Vec<_>>()[..] else { panic!("{job}") };
    let body = noise(len.parse().unwrap(), seed.parse().unwrap());
    let options = options(catalogue(&body, &[HUGGINGFACE]), endpoint);
    let (result, _) = pull_tiny(&Store::new(root), &options);
    let outcome = match result {
        Ok(pulled) => format!("ok already={}", pulled.already),
        Err(error) => format!("error {error}"),
    };
    std::fs::write(out, outcome).unwrap();
}

fn child_command(program: &Path, root: &Path, endpoint: &str, seed: u64, len: usize, out: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(CHILD, format!("{}|{endpoint}|{seed}|{len}|{}", root.display(), out.display()));
    command
}

#[test]
fn many_threads_pull_once() {
    let body = noise(200_000, 31);
    let server = slow_server(&body);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let done: Vec<_> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(|| pull_tiny(&store, &options))).collect();
        pulls.into_iter().map(|p| p.join().unwrap()).collect()
    });
    assert_eq!(server.requests().len(), 1);
    assert_eq!(done.iter().filter(|(r, _)| !r.as_ref().unwrap().already).count(), 1);
    assert!(done.iter().any(|(_, steps)| steps.contains(&"Waiting".to_owned())));
    assert_pulled(done[0].0.as_ref().unwrap(), &store, &body);
}

#[test]
fn two_processes_pull_once() {
    let body = noise(200_000, 32);
    let server = slow_server(&body);
    let dir = tempfile::tempdir().unwrap();
    let (root, program) = (dir.path().join("store"), std::env::current_exe().unwrap());
    let outs: Vec<PathBuf> = (0..2).map(|i| dir.path().join(format!("out{i}"))).collect();
    let children: Vec<_> = outs
        .iter()
        .map(|out| {
            let mut command = child_command(&program, &root, &server.url, 32, 200_000, out);
            command.args(["--exact", "child", "--ignored"]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut outcomes: Vec<_> = outs.iter().map(|o| std::fs::read_to_string(o).unwrap()).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["ok already=false", "ok already=true"]);
    assert_eq!(server.requests().len(), 1);
}

/// The limit on the size of a file stands in for a full disk: the same path, without a file system of our own.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_is_named_and_left_clean() {
    let body = noise(4_000_000, 33);
    let server = Server::start(move |request, stream| send_file(request, stream, &body, None));
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("store"), dir.path().join("out"));
    let mut command = child_command(Path::new("sh"), &root, &server.url, 33, 4_000_000, &out);
    let program = std::env::current_exe().unwrap();
    command.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact child --ignored"]).arg(program);
    assert!(command.status().unwrap().success());
    let outcome = std::fs::read_to_string(out).unwrap();
    assert!(outcome.starts_with("error no space left") && outcome.contains("4.0 MB"), "{outcome}");
    let left: Vec<_> = files(&root).into_iter().filter(|f| !f.starts_with("locks/")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(server.requests().len(), 1, "another try cannot help");
}

#[test]
fn a_file_brought_by_hand_is_taken_in_when_it_is_the_right_one() {
    let body = noise(5000, 34);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    let place = store.root().join("models/m.gguf");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, noise(5000, 35)).unwrap();
    let mut options = options(catalogue(&body, &[HUGGINGFACE]), "http://127.0.0.1:1");
    let error = pull_tiny(&store, &options).0.unwrap_err().to_string();
    assert!(
        error.contains("1. file ") && error.contains("sha256") && error.contains("2. Hugging Face"),
        "{error}"
    );

    std::fs::write(&place, &body).unwrap();
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);

    // The same from a folder that the caller names.
    let (stick, other) = (dir.path().join("stick"), Store::new(dir.path().join("other")));
    std::fs::create_dir_all(&stick).unwrap();
    std::fs::write(stick.join("m.gguf"), &body).unwrap();
    options.local_dirs = vec![dir.path().join("missing"), stick.clone()];
    let pulled = pull_tiny(&other, &options).0.unwrap();
    assert_pulled(&pulled, &other, &body);
    assert!(pulled.source.contains("stick"), "{}", pulled.source);
    assert!(stick.join("m.gguf").exists());
}

#[test]
fn a_damaged_blob_is_found_and_replaced() {
    let body = noise(5000, 36);
    let sent = body.clone();
    let server = Server::start(move |request, stream| send_file(request, stream, &sent, None));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let mut options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let pulled = pull_tiny(&store, &options).0.unwrap();
    let damage = |bytes: &[u8]| {
        let blob = store.blob_path(&pulled.sha256);
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&blob, bytes).unwrap();
    };
    // A wrong length is seen by itself, a flipped bit when asked to look.
    damage(&body[..4000]);
    assert_eq!(resolve("tiny", &store, &options), None);
    let (again, steps) = pull_tiny(&store, &options);
    assert_pulled(&again.unwrap(), &store, &body);
    assert!(steps[0].starts_with("Repaired"), "{steps:?}");

    let mut flipped = body.clone();
    flipped[100] ^= 1;
    damage(&flipped);
    std::fs::remove_file(store.root().join("models/m.gguf")).unwrap();
    let error = nurture_hub::verify(&pulled.sha256, &store, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Corrupt { .. }), "{error:?}");
    options.verify = true;
    let (again, _) = pull_tiny(&store, &options);
    assert_pulled(&again.unwrap(), &store, &body);
}

#[cfg(unix)]
#[test]
fn the_friendly_name_is_the_blob_itself() {
    use std::os::unix::fs::MetadataExt;
    let body = noise(100, 37);
    let sent = body.clone();
    let server = Server::start(move |request, stream| send_file(request, stream, &sent, None));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let pulled = pull_tiny(&store, &options).0.unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&pulled.path), inode(&store.blob_path(&pulled.sha256)));
    // Another file put in its place is not taken for it, and the next pull mends the name.
    std::fs::remove_file(&pulled.path).unwrap();
    std::fs::write(&pulled.path, noise(100, 38)).unwrap();
    assert_eq!(resolve("tiny", &store, &options), Some(store.blob_path(&pulled.sha256)));
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);
}

/// A service's store may be one that it can only read, copied there without its links.
#[cfg(unix)]
#[test]
fn where_no_name_can_be_made_the_blob_is_given() {
    use std::os::unix::fs::PermissionsExt as _;
    let body = noise(100, 41);
    let sent = body.clone();
    let server = Server::start(move |request, stream| send_file(request, stream, &sent, None));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let pulled = pull_tiny(&store, &options).0.unwrap();
    std::fs::remove_file(&pulled.path).unwrap();
    let models = pulled.path.parent().unwrap();
    let may = |mode| std::fs::set_permissions(models, std::fs::Permissions::from_mode(mode)).unwrap();
    may(0o555);
    if std::fs::write(models.join("probe"), "").is_ok() {
        eprintln!("not tried: this user may write where nobody may (root)");
        return;
    }
    let again = pull_tiny(&store, &options).0;
    may(0o755);
    let again = again.unwrap();
    assert_eq!(again.path, store.blob_path(&pulled.sha256));
    assert_eq!(std::fs::read(&again.path).unwrap(), body);
}

#[test]
fn a_cancelled_pull_stops_and_the_next_goes_on() {
    let body = noise(1_000_000, 39);
    let sent = body.clone();
    let server = Server::start(move |request, stream| {
        if request.from.is_some() {
            return send_file(request, stream, &sent, None);
        }
        send_file(request, stream, &sent, Some(600_000));
        std::thread::sleep(Duration::from_secs(20));
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let flag = Arc::new(AtomicBool::new(false));
    let mut options: PullOptions = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    options.cancel = Some(Arc::clone(&flag));
    let result = pull("tiny", &store, &options, &mut |step| {
        if matches!(step, Progress::Bytes { done, .. } if done > 100_000) {
            flag.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(result, Err(HubError::Cancelled)), "{result:?}");
    flag.store(false, Ordering::Relaxed);
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);
    assert!(server.requests().last().unwrap().contains("from"), "{:?}", server.requests());
}

#[test]
fn local_paths_come_back_as_they_are_with_their_hash() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    let path = dir.path().join("own.gguf");
    std::fs::write(&path, b"own").unwrap();
    let pulled = pull(path.to_str().unwrap(), &store, &PullOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((pulled.path, pulled.sha256, pulled.bytes), (path, sha256(b"own"), 3));
    assert!(pulled.already);
    let folder = pull(dir.path().to_str().unwrap(), &store, &PullOptions::default(), &mut |_| {});
    assert!(folder.unwrap_err().to_string().contains("folder"));
}

#[test]
fn an_unknown_name_gets_help() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        pull("gemma-3-207m", &Store::new(dir.path()), &PullOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("Did you mean `gemma-3-270m`?"), "{error}");
    assert!(files(dir.path()).is_empty(), "a mistake creates nothing");
}
