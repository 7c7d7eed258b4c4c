//! Tokens a second of prefill and decode in both modes, run by turns, on a GGUF file.
//!
//! `cargo run --release -p nurture-infer --example pace -- MODEL.gguf [PROMPT GEN [ISA [THREADS [REPEATS [MODE]]]]]`

use nurture_formats::ModelFile;
use nurture_infer::{Generator, Sampler, Sampling, StopIds};
use nurture_kernels::{Isa, Rng, force_isa, isa};
use nurture_model::{Cpu, Decoder, Mode};
use std::time::Instant;

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (prompt, most, threads, repeats) = (number(1, 512), number(2, 128), number(4, 2), number(5, 5));
    if let Some(found) = args.get(3).and_then(|name| Isa::named(name)) {
        force_isa(found);
    }
    let cpu = Cpu::new(threads);
    let model = Decoder::load(&ModelFile::open(args.first().ok_or("which model?")?)?, cpu.pool())?;
    let mut rng = Rng::stream(0, 1);
    let tokens: Vec<u32> = (0..prompt).map(|_| rng.below(model.config().vocab) as u32).collect();
    let mut modes = vec![Mode::Exact, Mode::Fast];
    modes.retain(|m| args.get(6).is_none_or(|a| a == m.name()));
    let mut generators: Vec<Generator<'_>> =
        modes.iter().map(|&m| Generator::new(&model, None, &cpu, m, prompt + most)).collect();
    let mut found: [[Vec<f64>; 2]; 2] = Default::default();
    for run in 0..=repeats {
        for (g, found) in generators.iter_mut().zip(&mut found) {
            g.reset();
            let (mut sampler, mut stop) = (Sampler::new(Sampling::default()), StopIds::default());
            let (begin, mut first, mut n) = (Instant::now(), 0.0, 0);
            g.generate(&tokens, most, &mut sampler, &mut stop, |_| {
                if n == 0 {
                    first = begin.elapsed().as_secs_f64();
                }
                n += 1;
                true
            })?;
            if run > 0 {
                found[0].push(prompt as f64 / first);
                found[1].push((n - 1) as f64 / (begin.elapsed().as_secs_f64() - first));
            }
        }
    }
    for (mode, [prefill, decode]) in modes.iter().zip(found) {
        println!(
            "{} {} threads {threads}: prefill({prompt}) {:.0} tok/s, decode({most}) {:.1} tok/s",
            mode.name(),
            isa().name(),
            median(prefill),
            median(decode)
        );
    }
    Ok(())
}
