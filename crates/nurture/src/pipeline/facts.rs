//! What is measured of the machine for forecast and report. Nothing of the run's result depends on it.

use crate::engine::Model;
use anyhow::Result;
use nurture_data::TokenExample;
use nurture_model::{Adapter, AdapterGrads, LoraSpec, TrainBatch, TrainBuffers};
use nurture_train::FlopsPerToken;
use std::time::Instant;

/// Useful GFLOP/s of training, from a short piece of it.
pub(super) fn training_speed(
    model: &Model,
    lora: &LoraSpec,
    tokens: &[TokenExample],
    micro_tokens: usize,
) -> Result<f64> {
    let c = model.decoder().config();
    let adapter = Adapter::new(c, lora, 0);
    let mut grads = AdapterGrads::zeros(&adapter);
    let mut buffers = TrainBuffers::default();
    let mut batch = TrainBatch::default();
    let mut flop = 0.0;
    // spread over the data, so that lengths are mixed as they will be
    let step = (tokens.len() / 16).max(1);
    for e in tokens.iter().step_by(step) {
        if !batch.batch.is_empty() && batch.batch.len() + e.tokens.len() > micro_tokens.min(768) {
            break;
        }
        batch.push(&e.tokens, &e.trained, 1.0);
        let per = FlopsPerToken::new(c, e.tokens.len());
        flop += (per.frozen + per.attention) * e.tokens.len() as f64 + per.head * e.trained_tokens() as f64;
    }
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        model.decoder().train(model.cpu(), &adapter, &batch, &mut buffers, &mut grads)?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(flop * 1e-9 / best.max(1e-9))
}

/// Memory that can be had without swapping, bytes (Linux).
pub(super) fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Name of the processor.
pub(super) fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        text.lines().find(|l| l.starts_with(key))?.split(':').nth(1).map(|s| s.trim().to_string())
    };
    field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string())
}
