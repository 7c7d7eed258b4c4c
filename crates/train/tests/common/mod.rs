//! A tiny model with random weights and examples for it.
#![allow(dead_code)] // each test file uses its part

use nurture_data::TokenExample;
use nurture_formats::ModelFile;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, LoraSpec, PROJECTIONS};
use nurture_train::{RunFiles, RunLength, TrainConfig};
use std::path::{Path, PathBuf};

pub(crate) fn tiny(cpu: &Cpu) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/qwen3");
    Decoder::load(&ModelFile::open(folder).unwrap(), cpu.pool()).unwrap()
}

pub(crate) fn lora() -> LoraSpec {
    LoraSpec { rank: 4, alpha: 8.0, rslora: false, targets: PROJECTIONS.to_vec() }
}

/// `count` examples of uneven length: a prompt without loss, then an answer with it.
pub(crate) fn examples(count: usize) -> Vec<TokenExample> {
    let mut rng = Rng::new(11);
    (0..count)
        .map(|n| {
            let (prompt, answer) = (2 + rng.below(9), 1 + rng.below(6));
            let tokens = (0..prompt + answer).map(|_| rng.below(150) as u32).collect();
            let trained = (0..prompt + answer).map(|at| at >= prompt).collect();
            TokenExample { id: format!("tiny.jsonl:{}", n + 1), source: 0, tokens, trained }
        })
        .collect()
}

/// The same, every other one behind a prompt of eight tokens that they share.
pub(crate) fn prompted(count: usize) -> Vec<TokenExample> {
    let mut all = examples(count);
    for e in all.iter_mut().step_by(2) {
        e.tokens.splice(0..0, 100..108);
        e.trained.splice(0..0, [false; 8]);
    }
    all
}

/// Thirty steps over 37 examples, five a step, several micro-batches each.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        length: RunLength::Steps(30),
        batch: 5,
        micro_tokens: 24,
        rate: 5e-3,
        warmup: 3,
        weight_decay: 0.01,
        seed: 7,
        checkpoint_every: 4,
        ..TrainConfig::default()
    }
}

pub(crate) fn files(folder: impl Into<PathBuf>) -> RunFiles {
    RunFiles { folder: folder.into(), base_sha256: "ab".repeat(32) }
}

pub(crate) fn close(got: &[f32], want: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let top = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(worst <= bound * top, "{what}: differs by {worst}, largest entry {top}");
}
