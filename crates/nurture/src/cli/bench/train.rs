//! Training steps on random tokens: forward, backward, clipping and the update, every position with loss.

use std::time::Instant;

use nurture::data::TokenExample;
use nurture::formats::ModelFile;
use nurture::kernels::{Cpu, Rng, isa};
use nurture::model::{Config, Decoder, PROJECTIONS};
use nurture::train::{Learner, Optimiser, Subject, TrainConfig};

use super::{Figures, peak_rss, repeats};
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// Sequences of a micro-batch of LoRA training: few, because kept activations are most of the memory. Full training
/// takes one at a time.
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
    let examples: Vec<TokenExample> = (0..batch)
        .map(|n| TokenExample {
            id: n.to_string(),
            source: 0,
            tokens: (0..seq).map(|_| rng.below(c.vocab) as u32).collect(),
            trained: vec![true; seq],
        })
        .collect();
    let full = args.text("method") == Some("full");
    let micro = if full { 1 } else { MICRO }.min(batch);
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
    let per_token = useful_flop(c, seq, full) / 1e9;
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

fn optimiser(_name: &str) -> Optimiser {
    Optimiser::AdamW
}

/// Floating point operations of one token of LoRA training that any implementation has to do, for sequences of `seq`
/// tokens: every projection and the vocabulary's once forward (2 operations a weight) and once backward to the
/// activations (2 more), and attention, where a token sees half of the sequence on average (or its window): two
/// products forward and four backward.
///
/// Not counted: what is computed a second time (attention's scores in the backward pass), the low-rank pairs
/// themselves (5 % at rank 16 of SmolLM2) and everything elementwise. The base's weights get no gradient, but in full
/// training, where each takes 2 operations more.
fn useful_flop(c: &Config, seq: usize, full: bool) -> f64 {
    let weights: usize = PROJECTIONS.iter().map(|p| p.shape(c)).map(|(d, n)| d * n).sum();
    let each = if full { 6 } else { 4 };
    let projections = each * (c.layers * weights + c.width * c.vocab);
    let attention: f64 = (0..c.layers)
        .map(|l| {
            // token t of the sequence sees min(t, window) others
            let w = c.windows.get(l).copied().flatten().unwrap_or(seq).min(seq) as f64;
            let seen = w - w * w / (2.0 * seq as f64);
            3.0 * 4.0 * c.q_width() as f64 * seen
        })
        .sum();
    projections as f64 + attention
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture::kernels::Activation;
    use nurture::model::Family;

    #[test]
    fn smollm2_takes_0_591_gflop_a_token() {
        let c = Config {
            family: Family::Llama,
            vocab: 49_152,
            width: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            ffn: 1536,
            norm_eps: 1e-5,
            rope_theta: 1e5,
            rope_scaling: None,
            local_rope_theta: None,
            windows: vec![None; 30],
            activation: Activation::Silu,
            attention_scale: 0.125,
            embed_scale: 1.0,
            qk_norm: false,
            post_norms: false,
            context: 8192,
        };
        assert!((useful_flop(&c, 512, false) / 1e9 - 0.591).abs() < 5e-5, "{}", useful_flop(&c, 512, false));
        // a window as long as the sequence changes nothing, a shorter one saves work
        let window = |w| useful_flop(&Config { windows: vec![Some(w); 30], ..c.clone() }, 512, false);
        assert_eq!(window(512), useful_flop(&c, 512, false));
        assert!(window(128) < useful_flop(&c, 512, false));
    }
}
