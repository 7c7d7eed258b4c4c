//! Forecast, then check: the memory table of a run on the real SmolLM2 file against the peak that it had.
//! Alone in its file, because the peak belongs to the whole process.

use nurture_data::TokenExample;
use nurture_formats::ModelFile;
use nurture_model::{Cpu, Decoder, LoraSpec, PROJECTIONS};
use nurture_train::{RunFiles, RunLength, TrainConfig, Trainer, forecast, peak_rss};
use std::ops::ControlFlow;

#[test]
fn the_peak_of_memory_is_the_forecast() {
    let Some(path) = nurture_testing::model(nurture_testing::SMOLLM2) else { return };
    if peak_rss().is_none() {
        eprintln!("skipped: this system does not tell a process its peak of memory");
        return;
    }
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
    let lora = LoraSpec { rank: 16, alpha: 32.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let config =
        TrainConfig { batch: 4, micro_tokens: 300, length: RunLength::Steps(1), ..TrainConfig::default() };
    let one = |n: u32| TokenExample {
        id: n.to_string(),
        source: 0,
        tokens: (0..150).map(|i| (i * 7919 + n * 31) % 49152).collect(),
        trained: vec![true; 150],
    };
    let examples: Vec<TokenExample> = (0..4).map(one).collect();
    let expected =
        forecast(model.config(), &lora, &config, &examples, model.weight_bytes() as u64, 2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = RunFiles { folder: dir.path().into(), base_sha256: String::new() };
    let mut trainer = Trainer::new(&cpu, &model, lora, config, examples, &files).unwrap();
    let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
    let ratio = outcome.peak_rss.unwrap() as f64 / expected.memory_bytes as f64;
    println!("forecast {} bytes, peak {:.1} % of it", expected.memory_bytes, 100.0 * ratio);
    assert!((0.9..1.1).contains(&ratio), "{ratio}: {:#?}", expected.memory);
}
