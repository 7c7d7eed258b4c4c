//! Killed anywhere, a run ends with the bytes of the run that was left alone, whatever the number of threads.

mod common;

use common::{config, files, lora, prompted, tiny};
use nurture_model::{Cpu, Decoder};
use nurture_train::{
    CHECKPOINTS, METRICS, RunLength, TrainConfig, TrainError, Trainer, Warning, read_metrics,
};
use serde_json::Map;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Files of a folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Every file of a folder with its bytes.
fn bytes(folder: &Path) -> Files {
    let read =
        |e: std::fs::DirEntry| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap());
    std::fs::read_dir(folder).unwrap().map(|e| read(e.unwrap())).collect()
}

fn resume<'a>(cpu: &'a Cpu, model: &'a Decoder, folder: &Path) -> Trainer<'a> {
    Trainer::resume(cpu, model, lora(), config(), prompted(37), &files(folder)).unwrap()
}

/// Runs to the end and gives the adapter's files.
fn finish(trainer: &mut Trainer<'_>, folder: &Path) -> Files {
    let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
    assert!(outcome.finished && outcome.steps == 30, "{outcome:?}");
    trainer.save_adapter(folder.join("adapter"), Some("base".into()), Map::new()).unwrap();
    bytes(&folder.join("adapter"))
}

fn uninterrupted(threads: usize) -> (Files, Vec<(u64, f64, f64)>) {
    let dir = tempfile::tempdir().unwrap();
    let cpu = Cpu::new(threads);
    let model = tiny(&cpu);
    let mut trainer = Trainer::new(&cpu, &model, lora(), config(), prompted(37), &files(dir.path())).unwrap();
    let adapter = finish(&mut trainer, dir.path());
    (adapter, curve(dir.path()))
}

/// What of the metrics does not depend on the clock.
fn curve(folder: &Path) -> Vec<(u64, f64, f64)> {
    let metrics = read_metrics(folder.join(METRICS)).unwrap();
    metrics.iter().map(|m| (m.step, m.loss, m.grad_norm)).collect()
}

fn steps(trainer: &mut Trainer<'_>, count: usize) {
    (0..count).for_each(|_| assert!(trainer.step().unwrap().is_some()));
}

fn checkpoint_names(folder: &Path) -> Vec<String> {
    bytes(&folder.join(CHECKPOINTS)).into_keys().collect()
}

#[test]
fn threads_change_no_bit() {
    let one = uninterrupted(1);
    assert_eq!(one.0.len(), 3, "config, weights and notes");
    assert_eq!(one.1.len(), 30);
    assert!(one.1[29].1 < one.1[0].1 - 0.1, "the loss falls: {:?} to {:?}", one.1[0], one.1[29]);
    for threads in [2, 3] {
        assert!(uninterrupted(threads) == one, "{threads} threads");
    }
}

#[test]
fn killed_anywhere_and_resumed_gives_the_same_bytes() {
    let (want, curve_want) = uninterrupted(2);
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    // steps done in each life before the kill; a kill loses what follows the last checkpoint (every 4 steps)
    for lives in [vec![1], vec![3, 2], vec![4], vec![5], vec![13, 4, 9], vec![29], vec![30], vec![4; 12]] {
        let dir = tempfile::tempdir().unwrap();
        let mut at = 0;
        for life in &lives {
            let mut trainer = resume(&cpu, &model, dir.path());
            assert_eq!(trainer.steps_done(), at, "{lives:?}");
            let todo = (*life as u64).min(30 - at);
            steps(&mut trainer, todo as usize);
            at = if at + todo == 30 { 30 } else { (at + todo) / 4 * 4 };
            // what a kill in the middle of writing leaves behind
            let checkpoints = dir.path().join(CHECKPOINTS);
            std::fs::create_dir_all(&checkpoints).unwrap();
            std::fs::write(checkpoints.join(".nurture-1-1.tmp"), b"half").unwrap();
        }
        let mut trainer = resume(&cpu, &model, dir.path());
        assert!(trainer.warnings().is_empty(), "{:?}", trainer.warnings());
        assert!(finish(&mut trainer, dir.path()) == want, "{lives:?}: other bytes");
        assert_eq!(curve(dir.path()), curve_want, "{lives:?}: each step once in metrics.jsonl");
        let kept = checkpoint_names(dir.path());
        assert_eq!(kept, ["step-000028.safetensors", "step-000030.safetensors"], "{lives:?}");
    }
}

#[test]
fn breaking_off_keeps_the_work() {
    let (want, _) = uninterrupted(2);
    let (dir, cpu) = (tempfile::tempdir().unwrap(), Cpu::new(1));
    let model = tiny(&cpu);
    let mut trainer = resume(&cpu, &model, dir.path());
    let stop = |at| {
        move |m: &nurture_train::StepMetrics| {
            if m.step == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    };
    let outcome = trainer.run(stop(7)).unwrap();
    assert!(!outcome.finished && outcome.steps == 7);
    drop(trainer);
    let mut trainer = resume(&cpu, &model, dir.path());
    assert_eq!(trainer.steps_done(), 7);
    assert!(finish(&mut trainer, dir.path()) == want);
    let all: u64 = read_metrics(dir.path().join(METRICS)).unwrap().iter().map(|m| m.tokens).sum();
    assert_eq!(trainer.outcome().tokens, all, "tokens of both lives");
}

#[test]
fn a_broken_checkpoint_gives_way_to_the_one_before() {
    let (want, curve_want) = uninterrupted(2);
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 4] = [
        ("one bit", |p| {
            let mut b = std::fs::read(p).unwrap();
            let at = b.len() - 1000;
            b[at] ^= 1;
            std::fs::write(p, b).unwrap();
        }),
        ("the state", |p| {
            let mut b = std::fs::read(p).unwrap();
            let place = b.windows(8).position(|w| w == b"\"step\\\":".get(..8).unwrap());
            let at = place.unwrap_or_else(|| b.windows(4).position(|w| w == b"step").unwrap()) + 9;
            b[at] = if b[at] == b'3' { b'4' } else { b'3' };
            std::fs::write(p, b).unwrap();
        }),
        ("cut", |p| {
            let b = std::fs::read(p).unwrap();
            std::fs::write(p, &b[..b.len() / 2]).unwrap();
        }),
        ("emptied", |p| std::fs::write(p, b"").unwrap()),
    ];
    for (how, spoil) in spoils {
        let dir = tempfile::tempdir().unwrap();
        steps(&mut resume(&cpu, &model, dir.path()), 14);
        let newest = dir.path().join(CHECKPOINTS).join("step-000012.safetensors");
        spoil(&newest);
        let mut trainer = resume(&cpu, &model, dir.path());
        assert_eq!(trainer.steps_done(), 8, "{how}");
        let [Warning::BrokenCheckpoint { checkpoint, .. }] = trainer.warnings() else {
            panic!("{how}: {:?}", trainer.warnings());
        };
        assert_eq!(checkpoint, &newest);
        assert!(finish(&mut trainer, dir.path()) == want, "{how}");
        assert_eq!(curve(dir.path()), curve_want, "{how}");
    }
    // none is whole: from the beginning, and that is said
    let dir = tempfile::tempdir().unwrap();
    steps(&mut resume(&cpu, &model, dir.path()), 5);
    std::fs::write(dir.path().join(CHECKPOINTS).join("step-000004.safetensors"), b"x").unwrap();
    let mut trainer = resume(&cpu, &model, dir.path());
    assert!(matches!(
        trainer.warnings(),
        [Warning::BrokenCheckpoint { .. }, Warning::FromTheBeginning { .. }]
    ));
    assert!(finish(&mut trainer, dir.path()) == want);
}

#[test]
fn a_disk_that_fails_behind_the_loop_stops_it() {
    let (want, _) = uninterrupted(1);
    let (dir, cpu) = (tempfile::tempdir().unwrap(), Cpu::new(1));
    let model = tiny(&cpu);
    let mut trainer = resume(&cpu, &model, dir.path());
    steps(&mut trainer, 5);
    trainer.checkpoint().unwrap();
    // a file in the place of the folder
    let (folder, aside) = (dir.path().join(CHECKPOINTS), dir.path().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, b"").unwrap();
    steps(&mut trainer, 2);
    // the step that begins to write does not know yet; at the latest the next checkpoint, at step 12, waits
    let mut error = None;
    for step in 8..=12 {
        match trainer.step() {
            Ok(metrics) => assert_eq!(metrics.unwrap().step, step),
            Err(e) => {
                error = Some(e);
                assert!(step > 8, "step 8 waited for the disk");
                break;
            }
        }
    }
    assert!(error.unwrap().to_string().contains(CHECKPOINTS));
    drop(trainer);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let mut trainer = resume(&cpu, &model, dir.path());
    assert_eq!(trainer.steps_done(), 5, "what was whole before still counts");
    assert!(finish(&mut trainer, dir.path()) == want);
}

#[test]
fn another_run_is_not_resumed() {
    let (dir, cpu) = (tempfile::tempdir().unwrap(), Cpu::new(1));
    let model = tiny(&cpu);
    steps(&mut resume(&cpu, &model, dir.path()), 5);
    let try_with = |config: TrainConfig, rank: usize, count: usize, base: &str| {
        let mut lora = lora();
        lora.rank = rank;
        let mut files = files(dir.path());
        files.base_sha256 = base.repeat(32);
        Trainer::resume(&cpu, &model, lora, config, prompted(count), &files).map(drop)
    };
    try_with(config(), 4, 37, "ab").unwrap();
    let cases = [
        ("train.rate: was 0.005, is 0.006", TrainConfig { rate: 0.006, ..config() }, 4, 37, "ab"),
        ("train.length", TrainConfig { length: RunLength::Epochs(2.0), ..config() }, 4, 37, "ab"),
        ("lora.rank: was 4, is 8", config(), 8, 37, "ab"),
        ("training data", config(), 4, 36, "ab"),
        ("base model", config(), 4, 37, "cd"),
    ];
    for (part, config, rank, count, base) in cases {
        let error = try_with(config, rank, count, base).unwrap_err();
        assert!(matches!(error, TrainError::Changed { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let again = Trainer::new(&cpu, &model, lora(), config(), prompted(37), &files(dir.path()));
    assert!(matches!(again.unwrap_err(), TrainError::AlreadyBegun { .. }));
}
