//! Prefill and decode of one sequence.

use std::time::Instant;

use nurture::engine::{LoadOptions, Model};
use nurture::infer::{Generator, Sampler, Sampling, StopIds};
use nurture::kernels::{KvType, Rng, isa};
use nurture::model::Mode;

use super::{Figures, peak_rss, repeats};
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// `None` when Ctrl-C stopped it.
pub(super) fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Option<Figures>> {
    let base = models::locate(cli, args.text("model").unwrap_or("smollm2-135m-instruct"))?;
    let prompt = args.count("prompt").unwrap_or(512);
    let most = args.count("gen").unwrap_or(if args.switch("quick") { 32 } else { 128 });
    let mode = if args.text("mode") == Some("exact") { Mode::Exact } else { Mode::Fast };
    let kv = KvType::ALL.into_iter().find(|k| Some(k.name()) == args.text("kv")).unwrap_or(mode.kv());
    let template = base.entry.as_ref().and_then(|e| e.template.clone());
    let options =
        LoadOptions { threads: args.count("threads").unwrap_or(0), template, ..LoadOptions::default() };
    let begin = Instant::now();
    let model = Model::load(&base.path, &options)?;
    let mut load = vec![begin.elapsed().as_secs_f64()];
    let mut generator = Generator::with_kv(model.decoder(), None, model.cpu(), mode, prompt + most, kv);
    let vocab = model.tokenizer().vocab_size();
    let mut rng = Rng::stream(0, 1);
    let tokens: Vec<u32> = (0..prompt).map(|_| rng.below(vocab) as u32).collect();
    let (mut prefill, mut first, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    // one more than counted: the first run takes memory from the system
    for run in 0..=repeats(args) {
        generator.reset();
        let begin = Instant::now();
        generator.read(&tokens)?;
        let read = begin.elapsed().as_secs_f64();

        generator.reset();
        let (mut sampler, mut stop) = (Sampler::new(Sampling::default()), StopIds::default());
        let (begin, mut came, mut count) = (Instant::now(), None, 0usize);
        generator.generate(&tokens, most, &mut sampler, &mut stop, |_| {
            came.get_or_insert_with(|| begin.elapsed().as_secs_f64());
            count += 1;
            !cli.interrupt.raised()
        })?;
        let all = begin.elapsed().as_secs_f64();
        if cli.interrupt.raised() {
            return Ok(None);
        }
        if run > 0 {
            let came = came.unwrap_or(all);
            prefill.push(prompt as f64 / read);
            first.push(came);
            decode.push((count.saturating_sub(1)) as f64 / (all - came));
        }
    }
    let peak = peak_rss();
    let (threads, bytes) = (model.cpu().pool().threads(), model.decoder().bytes_per_token());
    drop(generator);
    drop(model);
    // a large model is not read again and again from a slow disk
    for _ in 1..repeats(args) {
        if load.iter().sum::<f64>() > 10.0 {
            break;
        }
        let begin = Instant::now();
        drop(Model::load(&base.path, &options)?);
        load.push(begin.elapsed().as_secs_f64());
    }
    let mut figures = Figures::default();
    figures.fact("model", base.path.display().to_string());
    figures.fact("threads", threads);
    figures.fact("isa", isa().name());
    figures.fact("mode", mode.name());
    figures.fact("kv", kv.name());
    figures.fact("prompt", prompt);
    figures.fact("gen", most);
    figures.runs("prefill_tok_s", prefill, 1);
    figures.runs("decode_tok_s", decode, 1);
    figures.runs("load_s", load, 3);
    figures.runs("first_token_s", first, 3);
    figures.fact("weight_bytes", bytes);
    figures.fact("peak_rss_bytes", peak);
    Ok(Some(figures))
}
