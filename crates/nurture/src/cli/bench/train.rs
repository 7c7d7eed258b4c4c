//! LoRA training steps on random tokens: forward, backward, clipping and AdamW, every position with loss.

use std::time::Instant;

use nurture::formats::ModelFile;
use nurture::kernels::{AdamW, Cpu, Rng, adamw, isa, sum_of_squares};
use nurture::model::{Adapter, AdapterGrads, Decoder, TrainBatch, TrainBuffers};
use nurture::train::useful_gflop_per_token;

use super::{Figures, peak_rss, repeats};
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// Sequences of a micro-batch: few, because kept activations are most of the memory.
const MICRO: usize = 2;

/// `None` when Ctrl-C stopped it.
pub(super) fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Option<Figures>> {
    let base = models::locate(cli, args.text("model").unwrap_or("smollm2-135m-instruct"))?;
    let get = |name, otherwise| args.count(name).unwrap_or(otherwise);
    let (rank, batch, seq) = (get("rank", 16), get("batch", 4), get("seq", 512));
    let cpu = Cpu::new(models::threads(get("threads", 0)));
    let model = Decoder::load(&ModelFile::open(&base.path)?, cpu.pool())?;
    let c = model.config();
    let mut rng = Rng::stream(0, 2);
    let sequences: Vec<Vec<u32>> =
        (0..batch).map(|_| (0..seq).map(|_| rng.below(c.vocab) as u32).collect()).collect();
    let weight = 1.0 / (batch * (seq - 1)) as f32;
    let trained = vec![true; seq];
    let micro: Vec<TrainBatch> = sequences
        .chunks(MICRO)
        .map(|chunk| {
            let mut batch = TrainBatch::default();
            chunk.iter().for_each(|s| batch.push(s, &trained, weight));
            batch
        })
        .collect();

    let mut adapter = Adapter::new(c, &models::spec(rank), 0);
    let mut grads = AdapterGrads::zeros(&adapter);
    let mut moments = [AdapterGrads::zeros(&adapter), AdapterGrads::zeros(&adapter)];
    let mut buffers = TrainBuffers::default();
    let (mut seconds, mut loss) = (Vec::new(), 0.0);
    for step in 0..=repeats(args) {
        let begin = Instant::now();
        grads.clear();
        loss = 0.0;
        for batch in &micro {
            if cli.interrupt.raised() {
                return Ok(None);
            }
            let losses = model.train(&cpu, &adapter, batch, &mut buffers, &mut grads)?;
            loss += losses.iter().map(|&l| f64::from(l)).sum::<f64>() * f64::from(weight);
        }
        update(&cpu, &mut adapter, &grads, &mut moments, step as u64 + 1);
        // the first step takes memory from the system
        if step > 0 {
            seconds.push(begin.elapsed().as_secs_f64());
        }
    }
    let tokens = (batch * seq) as f64;
    let rates: Vec<f64> = seconds.iter().map(|s| tokens / s).collect();
    let per_token = useful_gflop_per_token(c, seq);
    let mut figures = Figures::default();
    figures.fact("model", base.path.display().to_string());
    figures.fact("method", "lora");
    figures.fact("rank", rank);
    figures.fact("batch", batch);
    figures.fact("micro_batch", MICRO.min(batch));
    figures.fact("seq", seq);
    figures.fact("threads", cpu.pool().threads());
    figures.fact("isa", isa().name());
    figures.fact("gflop_per_token", per_token);
    figures.runs("gflops", rates.iter().map(|r| r * per_token).collect(), 1);
    figures.runs("tok_s", rates, 1);
    figures.fact("peak_rss_bytes", peak_rss());
    figures.fact("loss", loss);
    Ok(Some(figures))
}

/// Clipping to norm 1 and AdamW at a usual rate, as in a real run.
fn update(
    cpu: &Cpu,
    adapter: &mut Adapter,
    grads: &AdapterGrads,
    moments: &mut [AdapterGrads; 2],
    step: u64,
) {
    let pool = cpu.pool();
    let squares: f64 = grads.iter().map(|(a, b)| sum_of_squares(pool, a) + sum_of_squares(pool, b)).sum();
    let grad_scale = (1.0 / squares.sqrt().max(1e-12)).min(1.0);
    let how = AdamW { rate: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step, grad_scale };
    let [first, second] = moments;
    let pairs = adapter.iter_mut().zip(grads.iter()).zip(first.iter_mut().zip(second.iter_mut()));
    for ((pair, (da, db)), ((ma, mb), (va, vb))) in pairs {
        pair.update(|a, b| {
            adamw(pool, &how, a, da, ma, va);
            adamw(pool, &how, b, db, mb, vb);
        });
    }
}
