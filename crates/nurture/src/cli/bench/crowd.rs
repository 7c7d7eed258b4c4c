//! Many sequences at once: total rate of decoding, and the time to the first token when all arrive together.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::bail;
use nurture::engine::{LoadOptions, Model};
use nurture::infer::engine::{Engine, EngineConfig, Event, Loaded, Request};
use nurture::kernels::{Rng, isa};
use nurture::model::{Adapter, KvType, LoraSpec, Mode, PROJECTIONS};
use nurture::say;

use super::{Figures, peak_rss, repeats, spread};
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// What one run shows.
struct Run {
    /// tokens a second from the moment when every prompt has been read
    decode: f64,
    /// new tokens over the whole time
    all: f64,
    /// each sequence's time to its first token
    firsts: Vec<f64>,
}

/// `None` when Ctrl-C stopped it.
pub(super) fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Option<Figures>> {
    let list = args.text("parallel").unwrap_or_default();
    let mut counts = Vec::new();
    for part in list.split(',') {
        match part.trim().parse::<usize>() {
            Ok(n) if (1..=1024).contains(&n) => counts.push(n),
            _ => bail!(say!(
                cli.lang,
                "--parallel {list}: \"{part}\" is not a number of sequences from 1 to 1024",
                "--parallel {list}：“{part}”不是 1 到 1024 的序列数"
            )),
        }
    }
    let base = models::locate(cli, args.text("model").unwrap_or("smollm2-135m-instruct"))?;
    let prompt = args.count("prompt").unwrap_or(128);
    let new = args.count("gen").unwrap_or(64);
    let mode = if args.text("mode") == Some("exact") { Mode::Exact } else { Mode::Fast };
    let kv = KvType::ALL.into_iter().find(|k| Some(k.name()) == args.text("kv")).unwrap_or(mode.kv());
    let template = base.entry.as_ref().and_then(|e| e.template.clone());
    let options =
        LoadOptions { threads: args.count("threads").unwrap_or(0), template, ..LoadOptions::default() };
    let model = Model::load(&base.path, &options)?;
    let (decoder, cpu) = model.shared();
    let (rank, adapters) = (args.count("rank").unwrap_or(16), args.count("adapters").unwrap_or(0));
    let spec = LoraSpec { rank, alpha: rank as f64, rslora: false, targets: PROJECTIONS.to_vec() };
    let loaded: Vec<_> = (0..adapters)
        .map(|i| Loaded::new(format!("adapter-{i}"), Adapter::new(decoder.config(), &spec, i as u64)))
        .collect();
    let mut figures = Figures::default();
    figures.fact("model", base.path.display().to_string());
    figures.fact("threads", cpu.pool().threads());
    figures.fact("isa", isa().name());
    figures.fact("mode", mode.name());
    figures.fact("kv", kv.name());
    figures.fact("adapters", adapters);
    figures.fact("prompt", prompt);
    figures.fact("gen", new);
    for n in counts {
        let mut runs = Vec::new();
        // one more than counted: the first run takes memory from the system
        for _ in 0..=repeats(args) {
            let config = EngineConfig {
                mode,
                kv: Some(kv),
                tokens: n * (prompt + new + 64),
                context: prompt + new + 1,
                running: n,
                waiting: n,
                sharing: false,
                ..EngineConfig::default()
            };
            let mut engine = Engine::new(decoder.clone(), cpu.clone(), config);
            match one(cli, &mut engine, &loaded, (n, prompt, new))? {
                Some(run) => runs.push(run),
                None => return Ok(None),
            }
        }
        runs.remove(0);
        let firsts =
            |pick: fn((f64, f64, f64)) -> f64| runs.iter().map(|r| pick(spread(&r.firsts))).collect();
        figures.runs(format!("parallel_{n}_decode_tok_s"), runs.iter().map(|r| r.decode).collect(), 1);
        figures.runs(format!("parallel_{n}_all_tok_s"), runs.iter().map(|r| r.all).collect(), 1);
        figures.runs(format!("parallel_{n}_first_token_s"), firsts(|s| s.1), 3);
        figures.runs(format!("parallel_{n}_last_first_token_s"), firsts(|s| s.2), 3);
    }
    figures.fact("peak_rss_bytes", peak_rss());
    Ok(Some(figures))
}

/// `n` sequences from their arrival to their end.
fn one(
    cli: &Cli,
    engine: &mut Engine,
    adapters: &[Arc<Loaded>],
    (n, prompt, new): (usize, usize, usize),
) -> anyhow::Result<Option<Run>> {
    let mut rng = Rng::stream(n as u64, 1);
    let vocab = engine.vocabulary();
    let times = Arc::new(Mutex::new(Vec::new()));
    let begin = Instant::now();
    for i in 0..n {
        let tokens = (0..prompt).map(|_| rng.below(vocab) as u32).collect();
        let (times, mut told) = (times.clone(), false);
        let sink = move |event| {
            if let (Event::Token(_), false) = (event, told) {
                told = true;
                times.lock().unwrap_or_else(|e| e.into_inner()).push(begin.elapsed().as_secs_f64());
            }
            true
        };
        let adapter = adapters.get(i % adapters.len().max(1)).cloned();
        engine.submit(Request { adapter, ..Request::new(tokens, new, &[]) }, sink)?;
    }
    let come = || times.lock().unwrap_or_else(|e| e.into_inner()).len();
    while come() < n && engine.step() {
        if cli.interrupt.raised() {
            return Ok(None);
        }
    }
    let (from, before) = (Instant::now(), engine.stats().generated);
    while engine.step() {
        if cli.interrupt.raised() {
            return Ok(None);
        }
    }
    let generated = engine.stats().generated;
    let firsts = times.lock().unwrap_or_else(|e| e.into_inner()).clone();
    Ok(Some(Run {
        decode: (generated - before) as f64 / from.elapsed().as_secs_f64(),
        all: generated as f64 / begin.elapsed().as_secs_f64(),
        firsts,
    }))
}
