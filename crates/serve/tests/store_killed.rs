//! A process that writes is killed at any moment: what it had said to be written is there, and nothing is half there.

use nurture_serve::store::{NewConversation, NewMessage, Store};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "NURTURE_TEST_STORE_WRITER";

/// Not a test by itself: what the killed process does. It tells each message that was written.
#[test]
fn writer() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let c = store.new_conversation("me", &NewConversation::default()).unwrap().id;
    let mut parent = None;
    loop {
        let new = NewMessage { parent, ..NewMessage::of("user", "x".repeat(3000)) };
        let id = store.add_message("me", &c, &new).unwrap().id;
        println!("wrote {c} {id}");
        parent = Some(id);
    }
}

#[test]
fn killed_at_any_moment_nothing_that_was_written_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sqlite");
    for round in 0..4u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told: Option<(String, i64)> = None;
        let mut count = 0;
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["wrote", c, id] = words[..] {
                told = Some((c.to_string(), id.parse().unwrap()));
                count += 1;
            }
            if count == 5 + 13 * round {
                child.kill().unwrap(); // SIGKILL
            }
        }
        child.wait().unwrap();
        let (conversation, last) = told.expect("it wrote something");
        let store = Store::open(&path).unwrap();
        let kept = store.conversation("me", &conversation).unwrap();
        let leaf = kept.leaf.unwrap();
        assert!(leaf >= last, "what was told is there");
        let branch = store.branch("me", leaf, usize::MAX >> 1).unwrap();
        assert!(branch.len() >= count as usize && branch.iter().all(|m| m.content.len() == 3000));
    }
}
