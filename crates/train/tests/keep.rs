//! Holding to the base while something else is learnt.

mod common;

use common::{config, examples, files, lora, tiny};
use nurture_kernels::Rng;
use nurture_model::Cpu;
use nurture_train::{Keep, Lessons, TrainConfig, TrainError, Trainer, read_metrics};
use std::ops::ControlFlow;

fn lessons() -> Lessons {
    let mut rng = Rng::new(23);
    let keep = (0..11).map(|n| (0..6 + n).map(|_| rng.below(150) as u32).collect()).collect();
    Lessons { examples: examples(37), keep, ..Lessons::default() }
}

fn keeping(strength: f64) -> TrainConfig {
    TrainConfig { keep: Keep { windows: 2, strength }, ..config() }
}

fn run(config: TrainConfig, folder: &std::path::Path, stop_at: Option<u64>) -> (f64, f64) {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let mut trainer = Trainer::resume(&cpu, &model, lora(), config, lessons(), &files(folder)).unwrap();
    trainer
        .run(|m| if Some(m.step) == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .unwrap();
    trainer.save_adapter(folder.join("adapter"), None, Default::default()).unwrap();
    let metrics = read_metrics(folder.join("metrics.jsonl")).unwrap();
    let last = &metrics[metrics.len() - 5..];
    let mean = |f: &dyn Fn(&nurture_train::StepMetrics) -> f64| last.iter().map(f).sum::<f64>() / 5.0;
    (mean(&|m| m.loss), mean(&|m| m.keep.unwrap()))
}

#[test]
fn what_is_kept_diverges_less_and_learning_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (loose_loss, loose) = run(keeping(1e-6), &dir.path().join("loose"), None);
    let (firm_loss, firm) = run(keeping(5.0), &dir.path().join("firm"), None);
    assert!(firm < 0.5 * loose, "divergence {firm} with keeping, {loose} without");
    assert!(firm_loss < 2.0 * loose_loss, "loss {firm_loss} with keeping, {loose_loss} without");
}

#[test]
fn broken_off_and_resumed_it_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    run(keeping(1.0), &whole, None);
    run(keeping(1.0), &parts, Some(13));
    std::fs::remove_dir_all(parts.join("adapter")).unwrap();
    run(keeping(1.0), &parts, None);
    let bytes =
        |folder: &std::path::Path| std::fs::read(folder.join("adapter/adapter_model.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&parts));
}

#[test]
fn keeping_without_a_text_is_refused() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let dir = tempfile::tempdir().unwrap();
    let error =
        Trainer::new(&cpu, &model, lora(), keeping(1.0), examples(9), &files(dir.path())).unwrap_err();
    assert!(matches!(error, TrainError::NoKeepText), "{error}");
}
