//! Training steps on random tokens: forward, backward, clipping and the update, every position with loss.

use std::time::Instant;

use nurture::data::TokenExample;
use nurture::formats::ModelFile;
use nurture::kernels::{Cpu, Rng, isa};
use nurture::model::Decoder;
use nurture::train::{Learner, Optimiser, Subject, TrainConfig, useful_flop};

use super::{Figures, peak_rss, repeats};
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// `None` when Ctrl-C stopped it.
pub(super) fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Option<Figures>> {
    let base = models::locate(cli, args.text("model").unwrap_or("smollm2-135m-instruct"))?;
    let get = |name, otherwise| args.count(name).unwrap_or(otherwise);
    let (rank, batch, seq) = (get("rank", 16), get("batch", 4), get("seq", 512));
    let cpu = Cpu::new(models::threads(get("threads", 0)));
    let model = Decoder::load(&ModelFile::open(&base.path)?, cpu.pool())?;
    let c = model.config();
    let mut rng = Rng::stream(0, 2);
    let examples: Vec<TokenExample> = (0..batch)
        .map(|n| TokenExample {
            id: n.to_string(),
            source: 0,
            tokens: (0..seq).map(|_| rng.below(c.vocab) as u32).collect(),
            trained: vec![true; seq],
        })
        .collect();
    let full = args.text("method") == Some("full");
    let micro = get("micro", 1).clamp(1, batch);
    let recompute = args.switch("recompute");
    let how = TrainConfig {
        rate: 1e-4,
        clip: 1.0,
        recompute,
        optimiser: optimiser(args.text("optimiser").unwrap_or("adamw")),
        ..TrainConfig::default()
    };
    let subject = match full {
        true => Subject::full(&model, Vec::new()),
        false => models::spec(rank).into(),
    };
    let mut learner = Learner::begin(&cpu, &model, &subject, &how)?;
    let packs: Vec<Vec<&TokenExample>> = examples.chunks(micro).map(|c| c.iter().collect()).collect();
    let (mut seconds, mut loss) = (Vec::new(), 0.0);
    for step in 0..=repeats(args) {
        if cli.interrupt.raised() {
            return Ok(None);
        }
        let begin = Instant::now();
        loss = learner.update(&how, step as u64 + 1, how.rate, &packs)?.loss;
        // the first step takes memory from the system
        if step > 0 {
            seconds.push(begin.elapsed().as_secs_f64());
        }
    }
    let tokens = (batch * seq) as f64;
    let rates: Vec<f64> = seconds.iter().map(|s| tokens / s).collect();
    // each sequence for itself: random ones share nothing
    let alone: Vec<Vec<&TokenExample>> = examples.iter().map(|e| vec![e]).collect();
    let alone: Vec<&[&TokenExample]> = alone.iter().map(Vec::as_slice).collect();
    let per_token = useful_flop(c, &subject, &alone, false)? / tokens / 1e9;
    let mut figures = Figures::default();
    figures.fact("model", base.path.display().to_string());
    figures.fact("method", if full { "full" } else { "lora" });
    if full {
        figures.fact("optimiser", args.text("optimiser").unwrap_or("adamw"));
    } else {
        figures.fact("rank", rank);
    }
    figures.fact("recompute", recompute);
    figures.fact("batch", batch);
    figures.fact("micro_batch", micro);
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

fn optimiser(name: &str) -> Optimiser {
    match name {
        "adamw8bit" => Optimiser::AdamW8,
        "muon" => Optimiser::Muon,
        "schedule_free" => Optimiser::ScheduleFree,
        _ => Optimiser::AdamW,
    }
}
