//! Total rate of many sequences at once, with no adapter, one, or several mixed: prompts of 128 tokens, 64 new ones each.
//!
//! `cargo run --release -p nurture-infer --example crowd -- MODEL.gguf [1,4,8,16,32 [ADAPTERS [MODE [ISA [REPEATS [PROMPT [NEW]]]]]]]`

use nurture_formats::ModelFile;
use nurture_infer::engine::{Engine, EngineConfig, Event, Loaded, Request};
use nurture_kernels::{Isa, Rng, force_isa, isa};
use nurture_model::{Adapter, Cpu, Decoder, LoraSpec, Mode, PROJECTIONS};
use std::sync::{Arc, Mutex};
use std::time::Instant;

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |i: usize, or: &str| args.get(i).cloned().unwrap_or(or.to_string());
    let (adapters, repeats): (u64, usize) = (text(2, "0").parse()?, text(5, "3").parse()?);
    let (prompt_len, new): (usize, usize) = (text(6, "128").parse()?, text(7, "64").parse()?);
    let mode = if text(3, "fast") == "exact" { Mode::Exact } else { Mode::Fast };
    if let Some(found) = Isa::named(&text(4, "-")) {
        force_isa(found);
    }
    let cpu = Arc::new(Cpu::new(2));
    let model = Arc::new(Decoder::load(&ModelFile::open(&args[0])?, cpu.pool())?);
    let spec = LoraSpec { rank: 16, alpha: 16.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let loaded: Vec<_> =
        (0..adapters).map(|i| Loaded::new("a", Adapter::new(model.config(), &spec, i))).collect();
    for n in text(1, "1,4,8,16,32").split(',') {
        let n: usize = n.parse()?;
        let (mut rates, mut firsts) = (Vec::new(), Vec::new());
        for run in 0..=repeats {
            let config = EngineConfig {
                mode,
                tokens: n * (prompt_len + new + 64),
                sharing: false,
                ..EngineConfig::default()
            };
            let mut engine = Engine::new(model.clone(), cpu.clone(), config);
            let mut rng = Rng::stream(n as u64, 1);
            let times = Arc::new(Mutex::new(Vec::new()));
            let begin = Instant::now();
            for i in 0..n {
                let prompt = (0..prompt_len).map(|_| rng.below(model.config().vocab) as u32).collect();
                let (times, mut told) = (times.clone(), false);
                let sink = move |event| {
                    if let (Event::Token(_), false) = (event, told) {
                        told = true;
                        times.lock().unwrap().push(begin.elapsed().as_secs_f64());
                    }
                    true
                };
                let adapter = loaded.get(i % loaded.len().max(1)).cloned();
                engine.submit(Request { adapter, ..Request::new(prompt, new, &[]) }, sink)?;
            }
            // the decode rate counts from the moment when the last prompt has been read
            while times.lock().unwrap().len() < n {
                engine.step();
            }
            let (from, before) = (Instant::now(), engine.stats().generated);
            engine.run();
            let rate = (engine.stats().generated - before) as f64 / from.elapsed().as_secs_f64();
            if run > 0 {
                rates.push(rate);
                firsts.push(median(times.lock().unwrap().clone()));
            }
        }
        println!(
            "{} {} adapters {adapters}: {n} sequences {:.0} tok/s, first token {:.3} s",
            mode.name(),
            isa().name(),
            median(rates),
            median(firsts)
        );
    }
    Ok(())
}
