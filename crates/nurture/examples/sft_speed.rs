//! Examples per second of supervised fine-tuning on real conversations: LoRA rank 16 on all linears, batch 16.
//!
//!     cargo run --release -p nurture --example sft_speed -- MODEL.gguf DATA.jsonl --out FOLDER [--steps 4]
//!         [--micro-tokens 1024] [--no-sharing] [--rate 1e-3] [--threads 0] [--template NAME]
//!
//! `DATA.jsonl` holds conversations (`bench/peers/sft_data.py` makes some). Steps take 16 examples each in the file's order.
//! Writes the tokens and the first adapter to FOLDER, so that `bench/peers/trl_sft.py` can do the same steps, and prints
//! one JSON object.

use anyhow::{Context, bail};
use nurture::data::{
    BatchPlan, LoadOptions as DataOptions, PlanConfig, SourceSpec, TokenExample, load_training,
};
use nurture::engine::{LoadOptions, Model};
use nurture::formats::save_adapter;
use nurture::model::{Adapter, LoraSpec, PROJECTIONS};
use nurture::pipeline::render;
use nurture::train::{Learner, TrainConfig, peak_rss};
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const BATCH: usize = 16;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (mut paths, mut out) = (Vec::new(), None::<PathBuf>);
    let (mut steps, mut threads) = (4, 0);
    let mut config = TrainConfig { weight_decay: 0.0, ..TrainConfig::default() };
    let mut options = LoadOptions::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--out" => out = Some(value()?.into()),
            "--steps" => steps = value()?.parse()?,
            "--micro-tokens" => config.micro_tokens = value()?.parse()?,
            "--rate" => config.rate = value()?.parse()?,
            "--threads" => threads = value()?.parse()?,
            "--template" => options.template = Some(value()?.clone()),
            "--no-sharing" => config.sharing = false,
            _ if word.starts_with("--") => bail!("{word} is not known"),
            _ => paths.push(word.as_str()),
        }
    }
    let ([model_path, data], Some(out)) = (paths.as_slice(), out) else {
        bail!("usage: sft_speed MODEL.gguf DATA.jsonl --out FOLDER");
    };
    options.threads = threads;
    let model = Model::load(Path::new(model_path), &options)?;
    let loaded = load_training(&[SourceSpec::new(data)], &DataOptions::default())?;
    let examples: Vec<TokenExample> =
        loaded.examples.iter().take(steps * BATCH).map(|e| render(&model, e)).collect::<Result<_, _>>()?;

    let lora = LoraSpec { rank: 16, alpha: 32.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let adapter = Adapter::new(model.decoder().config(), &lora, 0);
    std::fs::create_dir_all(&out)?;
    let mut lines = String::new();
    for e in &examples {
        let mask: Vec<u8> = e.trained.iter().map(|&on| u8::from(on)).collect();
        writeln!(lines, "{}", json!({ "input_ids": e.tokens, "completion_mask": mask }))?;
    }
    std::fs::write(out.join("tokens.jsonl"), lines)?;
    save_adapter(out.join("adapter"), &lora.peft_config(None), &adapter.tensors(), None)?;

    let mut learner = Learner::new(model.cpu(), model.decoder(), adapter);
    let (mut seconds, mut losses, mut tokens, mut computed) = (Vec::new(), Vec::new(), 0, 0);
    for (step, batch) in examples.chunks(BATCH).enumerate() {
        let began = Instant::now();
        let plan = PlanConfig { epochs: 1, batch: BATCH, pack_tokens: config.micro_tokens, seed: 0 };
        let plan = match config.shares() {
            true => BatchPlan::new(batch, plan)?,
            false => BatchPlan::apart(batch.iter().map(|e| e.tokens.len()).collect(), plan)?,
        };
        let packs = plan.step(0).map(|s| s.packs).unwrap_or_default();
        let packs: Vec<Vec<&TokenExample>> =
            packs.iter().map(|pack| pack.iter().map(|&i| &batch[i]).collect()).collect();
        let update = learner.update(&config, step as u64 + 1, config.rate, &packs)?;
        seconds.push(began.elapsed().as_secs_f64());
        losses.push(update.loss);
        tokens += update.tokens;
        computed += update.computed_tokens;
    }
    // the first step takes its memory from the system
    let mut timed: Vec<f64> = seconds.iter().skip(usize::from(seconds.len() > 1)).copied().collect();
    timed.sort_by(f64::total_cmp);
    let median = (timed[(timed.len() - 1) / 2] + timed[timed.len() / 2]) / 2.0;
    let per_step = tokens as f64 / seconds.len() as f64;
    println!(
        "{}",
        json!({
            "engine": "nurture", "model": model_path, "method": "lora", "data": data, "batch": BATCH,
            "micro_tokens": config.micro_tokens, "sharing": config.shares(), "threads": model.cpu().pool().threads(),
            "isa": nurture::kernels::isa().name(), "steps": seconds.len(), "tokens": tokens, "computed_tokens": computed,
            "examples_s": BATCH as f64 / median, "tok_s": per_step / median, "seconds": seconds, "losses": losses,
            "peak_rss_bytes": peak_rss(),
        })
    );
    Ok(())
}
