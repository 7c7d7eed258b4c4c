//! What teaching an encoder-decoder will take: memory and operations from the shape and the plan, time from one measured pack.

use super::{batch, check, check_examples, parted};
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::examples::plan;
use crate::forecast::{Forecast, ForecastRow};
use nurture_data::TokenExample;
use nurture_model::seq2seq::{Seq2Seq, Seq2SeqConfig, Seq2SeqGrads};
use nurture_model::{Cpu, Softening};
use std::time::Instant;

/// Multiply-adds of the forward pass that one token of a source, and one of a target, ask of the weights.
fn work(c: &Seq2SeqConfig) -> (f64, f64) {
    let (d, inner, f) = (c.width as f64, c.inner() as f64, c.ffn as f64);
    let mlp = d * f * if c.gated { 3.0 } else { 2.0 };
    let (attention, cross) = (4.0 * d * inner, 2.0 * d * inner);
    let (enc, dec) = (c.encoder_layers as f64, c.decoder_layers as f64);
    // keys and values of the cross-attention are made of the source
    let source = enc * (attention + mlp) + dec * cross;
    let target = dec * (attention + cross + mlp) + c.target_vocab as f64 * d;
    (source, target)
}

/// Floats that a pass keeps of one token of a source, and of one of a target; see `nurture_model::seq2seq`.
fn kept(c: &Seq2SeqConfig) -> (f64, f64) {
    let (d, inner) = (c.width as f64, c.inner() as f64);
    let post = if c.norm_eps > 0.0 && c.max_distance == 0 { d } else { 0.0 };
    let part = d + post + 1.0;
    let mlp = part + c.ffn as f64 * if c.gated { 2.0 } else { 1.0 };
    let attention = part + 4.0 * inner + c.heads as f64;
    let (enc, dec) = (c.encoder_layers as f64, c.decoder_layers as f64);
    (enc * (attention + mlp) + dec * 2.0 * inner, dec * (2.0 * attention - 2.0 * inner + mlp))
}

/// Forecasts a run over these pairs. `probe`: measures the speed of one pack, whose gradients are thrown away.
///
/// # Errors
/// Settings or pairs that cannot be used.
pub fn pair_forecast(
    cpu: &Cpu,
    network: &Seq2Seq,
    config: &TrainConfig,
    examples: &[TokenExample],
    probe: bool,
) -> Result<Forecast, TrainError> {
    check(config)?;
    check_examples(network, config, examples)?;
    let c = network.config();
    let (plan, steps) = (plan(config, examples)?, config.total_steps(examples.len()));
    let ((per_source, per_target), (keep_source, keep_target)) = (work(c), kept(c));
    let (mut micro_batches, mut tokens, mut trained, mut flop) = (0u64, 0u64, 0u64, 0f64);
    let (mut largest, mut activations, mut first) = (0usize, 0f64, None);
    let flop_of = |from: usize, to: usize| {
        let (n, m, inner) = (from as f64, to as f64, c.inner() as f64);
        let scores = c.encoder_layers as f64 * n * n + c.decoder_layers as f64 * (m * m / 2.0 + n * m);
        // forward, and twice as much backward; two operations a multiply-add
        6.0 * (n * per_source + m * per_target + 2.0 * inner * scores)
    };
    for step in plan.steps(0).take(usize::try_from(steps).unwrap_or(usize::MAX)) {
        for pack in &step.packs {
            let (mut here, mut held, mut of_pack) = (0, 0.0, 0.0);
            for e in pack.iter().filter_map(|&i| examples.get(i)) {
                let (from, to) = parted(e);
                of_pack += flop_of(from.len(), to.len());
                held += from.len() as f64 * keep_source + to.len() as f64 * keep_target;
                here += e.tokens.len();
                trained += to.len() as u64;
            }
            micro_batches += 1;
            tokens += here as u64;
            flop += of_pack;
            largest = largest.max(here);
            activations = activations.max(held);
            first.get_or_insert_with(|| (pack.clone(), of_pack));
        }
    }
    let floats: usize = network.parameters().iter().map(|p| p.floats()).sum();
    let wide = c.width.max(c.ffn).max(c.inner());
    let mut memory = vec![
        ("trained weights", 4.0 * floats as f64),
        ("gradients", 4.0 * floats as f64),
        ("optimiser moments", config.optimiser.bytes() * floats as f64),
        ("kept activations", 4.0 * activations),
        ("stream and its gradients", 4.0 * (6 * largest * wide) as f64),
        ("logits", 4.0 * (256.min(largest) * c.target_vocab) as f64),
        ("examples", examples.iter().map(|e| 5.0 * e.tokens.len() as f64 + 128.0).sum()),
    ];
    if config.ema > 0.0 {
        memory.push(("average of the weights", 4.0 * floats as f64));
    }
    let row = |(name, bytes): (&str, f64)| ForecastRow { name: name.to_string(), bytes: bytes as u64 };
    let memory: Vec<ForecastRow> = memory.into_iter().map(row).collect();
    let forecast = Forecast {
        steps,
        micro_batches,
        tokens,
        trained_tokens: trained,
        computed_tokens: tokens,
        largest_micro_batch: largest as u64,
        memory_bytes: memory.iter().map(|row| row.bytes).sum(),
        memory,
        flop,
        gflops: None,
        seconds: None,
        ceiling: None,
        tried: None,
        shape: None,
    };
    let Some((pack, flop)) = first.filter(|_| probe) else { return Ok(forecast) };
    let trainable = network.to_trainable(cpu.pool());
    let mut gradients = Seq2SeqGrads::zeros(&trainable);
    let batch = batch(c.start, pack.iter().filter_map(|&i| examples.get(i)));
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let began = Instant::now();
        trainable.train(cpu, &batch, 1.0, Softening::default(), &mut gradients)?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(forecast.at_speed(flop * 1e-9 / best.max(1e-9)))
}
