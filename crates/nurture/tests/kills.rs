//! `kill -9` at random moments, over the methods of training: what comes out has the bytes of the run that was left alone.
//!
//! The whole of it: `cargo test --release -p nurture --test kills -- --ignored --nocapture`. Skipped, and said so, where the
//! model is not on this machine.

mod common;

use common::{Dice, Home, STEPS, finish, lines, sample, spawn, until};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Name, what stands in `[train]` in the place of the small recipe's adapter, and what else is special.
type Method = (&'static str, &'static str, More);

/// What is special beside `[train]`.
#[derive(Clone, Copy, PartialEq)]
enum More {
    Nothing,
    /// breadth is kept
    Kept,
    /// pairs of answers are learnt from
    Pairs,
}
use More::{Kept, Nothing, Pairs};

/// The upper layers alone, so that a checkpoint is not three times the network.
macro_rules! full {
    ($more:literal) => {
        concat!("freeze = [\"embed\", \"layers.0-26\"]\n", $more)
    };
}

const METHODS: [Method; 16] = [
    (
        "LoRA, samples",
        "adapter = { rank = 2 }\nsamples = { prompts = [\"Where is it?\"], every = 2, max_tokens = 3 }",
        Nothing,
    ),
    ("LoRA, breadth kept", "adapter = { rank = 2 }", Kept),
    ("DoRA, average", "adapter = { rank = 2, dora = true }\nema = 0.9", Nothing),
    ("rsLoRA, LoRA+", "adapter = { rank = 2, rslora = true, b_ratio = 8.0 }\nrecompute = true", Nothing),
    ("PiSSA, 8 bits", "adapter = { rank = 2, init = \"pissa\" }\noptimiser = \"adamw8bit\"", Kept),
    ("schedule-free", "adapter = { rank = 2 }\noptimiser = \"schedule_free\"", Nothing),
    ("full, AdamW", full!("neftune = 5.0"), Nothing),
    ("full, 8 bits, breadth kept", full!("optimiser = \"adamw8bit\"\nrecompute = true"), Kept),
    ("full, Muon", full!("optimiser = \"muon\""), Nothing),
    ("full, average", full!("ema = 0.9\nlabel_smoothing = 0.1\nz_loss = 1e-4"), Nothing),
    (
        "practice",
        "adapter = { rank = 2 }\nmethod = \"grpo\"\nrewards = [{ kind = \"length\", min = 2, max = 6, fall = 20 }]\n\
         practice = { samples = 3, max_tokens = 5, kl = 0.01, loss = \"dapo\", inner = 2 }",
        Nothing,
    ),
    ("own tokens", "adapter = { rank = 2, tokens = [\"<|im_start|>\", \"<|im_end|>\"] }", Nothing),
    ("DPO", "adapter = { rank = 2 }\nmethod = \"dpo\"", Pairs),
    ("reward model", "adapter = { rank = 2 }\nmethod = \"reward\"", Pairs),
    (
        "practice, PPO",
        "adapter = { rank = 2 }\nmethod = \"grpo\"\nrewards = [{ kind = \"length\", min = 2, max = 6, fall = 20 }]\n\
         practice = { samples = 2, max_tokens = 5, kl = 0.01, loss = \"ppo\", inner = 2 }",
        Nothing,
    ),
    ("KTO, 8 bits", "adapter = { rank = 2 }\nmethod = \"kto\"\noptimiser = \"adamw8bit\"", Pairs),
];

/// What a method went through.
#[derive(Default)]
struct Count {
    kills: usize,
    /// of them while a checkpoint was being written
    writing: usize,
    /// runs that came to their end
    ends: usize,
}

/// The files of a result, in their order.
fn result(home: &Home, run: &str) -> Vec<(String, Vec<u8>)> {
    let folder = ["adapter", "model"].map(|name| home.path(&format!("runs/{run}/{name}")));
    let folder = folder.iter().find(|f| f.exists()).unwrap_or_else(|| panic!("{run} has no result"));
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|f| (f.file_name().unwrap().to_string_lossy().into_owned(), fs::read(f).unwrap()))
        .collect()
}

/// Whether a file of checkpoints is half written.
fn writing(folder: &Path) -> bool {
    let entries = fs::read_dir(folder.join("checkpoints")).into_iter().flatten().flatten();
    entries.map(|e| e.file_name()).any(|name| name.to_string_lossy().ends_with(".tmp"))
}

fn torment(home: &Home, (name, train, more): Method, kills: usize, dice: &mut Dice) -> Count {
    let adapter = r#"adapter = { kind = "lora", rank = 2 }"#;
    let small = home.text("small.toml");
    assert!(small.contains(adapter), "the recipe has changed");
    let share = format!("{train}\nkeep = {{ share = {} }}", if more == Kept { 0.25 } else { 0.0 });
    let mut recipe = small.replace(adapter, &share);
    if more == Pairs {
        let label = r#"path = "exam.jsonl", kind = "label""#;
        assert!(recipe.contains(label), "the recipe has changed");
        recipe = recipe.replace(label, r#"path = "pairs_exam.jsonl", kind = "preference""#);
        recipe = recipe.replace("train.jsonl", "pairs.jsonl");
    }
    home.write("method.toml", recipe);
    let command = |run: &str, threads: u64| {
        let every = "--set train.checkpoint_every=1";
        home.command(&format!("train method.toml {every} --set run.name={run} --set train.threads={threads}"))
    };
    let began = Instant::now();
    let alone = finish(command("alone", 2));
    assert_eq!(alone.code, Some(0), "{name}: {alone:?}");
    let usual = began.elapsed().as_millis() as u64;
    let want = result(home, "alone");
    // KTO judges each answer of a pair for itself
    let all: Vec<u64> = (1..=if name.starts_with("KTO") { 2 * STEPS } else { STEPS }).collect();

    let mut count = Count::default();
    let mut lives = 0;
    while count.kills < kills {
        let run = format!("run-{}", count.ends);
        let folder = home.path(&format!("runs/{run}"));
        let mut child = spawn(&mut command(&run, 1 + lives % 2));
        lives += 1;
        if dice.up_to(1) == 0 {
            sleep(Duration::from_millis(dice.up_to(usual)));
        } else {
            // one of the next checkpoints, in the middle of it
            for _ in 0..=dice.up_to(2) {
                let mut at_work = || writing(&folder) || child.try_wait().unwrap().is_some();
                assert!(until(&mut at_work), "{name}: no checkpoint ever came");
                let pause = Duration::from_micros(dice.up_to(20_000));
                sleep(pause);
            }
        }
        let half = writing(&folder);
        let _ = child.kill();
        if child.wait().unwrap().signal() == Some(9) {
            count.kills += 1;
            count.writing += usize::from(half);
        } else {
            check(home, name, &run, &want, &all);
            count.ends += 1;
        }
    }
    let run = format!("run-{}", count.ends);
    let end = finish(command(&run, 2));
    assert_eq!(end.code, Some(0), "{name}: {end:?}");
    check(home, name, &run, &want, &all);
    count.ends += 1;
    assert_eq!(home.litter(), [""; 0].map(std::path::PathBuf::from), "{name}");
    fs::remove_dir_all(home.path("runs")).unwrap();
    count
}

/// A run that came to its end: the same files, and each step once.
#[track_caller]
fn check(home: &Home, name: &str, run: &str, want: &[(String, Vec<u8>)], steps: &[u64]) {
    let got = result(home, run);
    assert_eq!(got.len(), want.len(), "{name}");
    for ((file, got), (_, want)) in got.iter().zip(want) {
        assert!(got == want, "{name}: {file} of {run} has other bytes");
    }
    assert_eq!(home.steps(run), steps, "{name}");
    let rollouts = |run: &str| fs::read(home.path(&format!("runs/{run}/rollouts.jsonl"))).ok();
    assert!(rollouts(run) == rollouts("alone"), "{name}: answers");
    assert_eq!(rollouts(run).is_some(), name.starts_with("practice"), "{name}");
    let samples = |run: &str| fs::read_to_string(home.path(&format!("runs/{run}/samples.jsonl"))).ok();
    assert_eq!(samples(run), samples("alone"), "{name}: samples");
    assert_eq!(samples(run).is_some(), name.ends_with("samples"), "{name}");
}

fn all(methods: &[Method], kills: usize) {
    let Some(home) = Home::new() else { return };
    home.write("pairs.jsonl", lines(&sample("lumen-desk/preference.jsonl", 80, 2 * STEPS as usize)));
    home.write("pairs_exam.jsonl", lines(&sample("lumen-desk/preference_exam.jsonl", 32, 4)));
    let mut dice = Dice(20261124);
    let (mut sum, mut half, mut ends) = (0, 0, 0);
    for &method in methods {
        let c = torment(&home, method, kills, &mut dice);
        println!(
            "{:<28} {:>2} kills, {:>2} while a checkpoint was written, {:>2} ends with the same bytes",
            method.0, c.kills, c.writing, c.ends
        );
        (sum, half, ends) = (sum + c.kills, half + c.writing, ends + c.ends);
    }
    println!("together: {sum} kills, {half} while a checkpoint was written, {ends} ends with the same bytes");
}

#[test]
fn a_few_kills_change_no_byte() {
    all(&[METHODS[2], METHODS[4]], 3);
}

#[test]
fn practice_that_is_killed_changes_no_byte() {
    all(&[METHODS[10]], 2);
}

#[test]
fn pairs_and_values_that_are_killed_change_no_byte() {
    all(&METHODS[13..], 1);
}

#[test]
#[ignore = "takes some minutes"]
fn fifty_kills_change_no_byte() {
    all(&METHODS, 4);
}
