//! Two hundred steps of a tiny GPT-2 from a text of its own: the losses are PyTorch's (`tools/goldens/loss_curve.py`).

use nurture_data::TokenExample;
use nurture_formats::ModelFile;
use nurture_model::{Cpu, Decoder};
use nurture_train::{Learner, Subject, TrainConfig};
use serde_json::Value;
use std::f64::consts::PI;

const STEPS: usize = 200;
const BATCH: usize = 4;
const LENGTH: usize = 48;
const VOCAB: u32 = 160;
const RATE: f64 = 1e-2;
const WARMUP: usize = 20;

/// Of step 1, 2, …
fn rate(step: usize) -> f64 {
    if step <= WARMUP {
        return RATE * step as f64 / WARMUP as f64;
    }
    let part = (step - WARMUP) as f64 / (STEPS - WARMUP) as f64;
    RATE * (0.1 + 0.9 * 0.5 * (1.0 + (PI * part).cos()))
}

/// The sequences of all steps, in order.
fn text() -> Vec<TokenExample> {
    let (mut state, mut token) = (1u32, 7);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        token = (5 * token + 3 + (state >> 30)) % VOCAB;
        token
    };
    let one = |n: usize| TokenExample {
        id: format!("text:{}", n + 1),
        source: 0,
        tokens: (0..LENGTH).map(|_| next()).collect(),
        trained: (0..LENGTH).map(|at| at > 0).collect(),
    };
    (0..STEPS * BATCH).map(one).collect()
}

#[test]
fn the_losses_of_two_hundred_steps_are_pytorchs() {
    let path = nurture_testing::repository("crates/train/tests/goldens/loss_curve.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let want: Vec<f64> = serde_json::from_value(golden["losses"].clone()).unwrap();
    let cpu = Cpu::new(2);
    let folder = nurture_testing::repository("crates/model/tests/goldens/gpt2");
    let model = Decoder::load(&ModelFile::open(folder).unwrap(), cpu.pool()).unwrap();
    let config = TrainConfig { weight_decay: 0.1, clip: 1.0, ..TrainConfig::default() };
    let subject = Subject::full(&model, Vec::new());
    let mut learner = Learner::begin(&cpu, &model, &subject, &config).unwrap();
    let text = text();
    let mut worst = 0f64;
    for (step, (batch, want)) in text.chunks(BATCH).zip(&want).enumerate() {
        let pack: Vec<&TokenExample> = batch.iter().collect();
        let loss = learner.update(&config, step as u64 + 1, rate(step + 1), &[pack]).unwrap().loss;
        worst = worst.max((loss - want).abs());
        assert!((loss - want).abs() <= 1e-4 * want, "step {}: {loss}, PyTorch {want}", step + 1);
    }
    println!("{} to {}; PyTorch in float64 at most {worst:.1e} off", want[0], want[STEPS - 1]);
    assert!(want[STEPS - 1] < 0.5 * want[0], "nothing was learnt");
}
