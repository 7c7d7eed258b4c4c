//! What is measured of the machine for forecast and report. Nothing of the run's result depends on it.

use crate::engine::Model;
use anyhow::Result;
use nurture_data::{PrefixTree, TokenExample};
use nurture_train::{Learner, Subject, TrainConfig, useful_flop};
use std::time::Instant;

/// Most tokens of the piece that is timed.
const PIECE: usize = 768;

/// Useful GFLOP/s of training, from a short piece of it.
pub(super) fn training_speed(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    tokens: &[TokenExample],
) -> Result<f64> {
    // spread over the data, so that lengths are mixed as they will be
    let step = (tokens.len() / config.batch.max(1)).max(1);
    let mut pack: Vec<&TokenExample> = Vec::new();
    for e in tokens.iter().step_by(step) {
        pack.push(e);
        let rows = PrefixTree::new(&pack, config.shares()).rows();
        if pack.len() > 1 && rows > config.micro_tokens.min(PIECE) {
            pack.pop();
            break;
        }
    }
    let mut learner = Learner::begin(model.cpu(), model.decoder(), subject, config)?;
    let flop = useful_flop(model.decoder().config(), subject, &[&pack[..]], config.shares())?;
    let packs = [pack];
    let mut seconds = 0.0;
    // the first pass takes its memory from the system
    let timed = 2..=3;
    for step in 1..=3 {
        let began = Instant::now();
        // a rate that changes nothing worth the name
        learner.update(config, step, 1e-12, &packs)?;
        seconds += if timed.contains(&step) { began.elapsed().as_secs_f64() / 2.0 } else { 0.0 };
    }
    Ok(flop * 1e-9 / seconds.max(1e-9))
}

/// The machine's rate of float32 multiply-adds, GFLOP/s: what a speed is held against.
pub(super) fn ceiling(model: &Model) -> f64 {
    let time = std::time::Duration::from_millis(30);
    (0..3).map(|_| nurture_kernels::fma_rate(model.cpu().pool(), time) * 1e-9).fold(0.0, f64::max)
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
