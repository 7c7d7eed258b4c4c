//! Microseconds that one choice of a token takes, at vocabularies of 49,152 and 262,144 entries.
//!
//! `cargo run --release -p nurture-infer --example sample_speed [-- ISA]`
//!
//! Rows are like those of a language model: noise, and a few tokens that stand out. `flat` is the worst case, a high temperature
//! that leaves a nucleus of tens of thousands of tokens.

use nurture_infer::{Sampler, Sampling};
use nurture_kernels::{Isa, Rng, force_isa, isa};
use std::time::Instant;

fn main() {
    let wanted = std::env::args().nth(1);
    if let Some(found) = wanted.and_then(|name| Isa::named(&name)) {
        force_isa(found);
    }
    let base = Sampling { temperature: 0.8, ..Sampling::default() };
    let cases = [
        ("greedy", Sampling::default()),
        ("temperature", base.clone()),
        ("top-k 40", Sampling { top_k: 40, ..base.clone() }),
        ("top-p 0.95", Sampling { top_p: 0.95, ..base.clone() }),
        ("top-p 0.95, flat", Sampling { top_p: 0.95, temperature: 5.0, ..base.clone() }),
        ("min-p 0.05", Sampling { min_p: 0.05, ..base.clone() }),
        ("all filters, penalties", {
            let (repeat_penalty, presence_penalty) = (1.1, 0.2);
            Sampling { top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty, presence_penalty, ..base.clone() }
        }),
        ("greedy, 5 logprobs", Sampling { logprobs: Some(5), ..Sampling::default() }),
    ];
    println!("{}", isa().name());
    for vocab in [49_152usize, 262_144] {
        let mut rng = Rng::new(1);
        let row: Vec<f32> = (0..vocab)
            .map(|_| {
                let noise = (0..6).map(|_| rng.uniform()).sum::<f64>() - 3.0;
                (noise * 3.0 + if rng.below(vocab) < 60 { 8.0 } else { 0.0 }) as f32
            })
            .collect();
        let history: Vec<u32> = (0..500).map(|_| rng.below(vocab) as u32).collect();
        let mut logits = row.clone();
        for (name, how) in &cases {
            let mut sampler = Sampler::new(how.clone());
            let mut took = Vec::new();
            for _ in 0..200 {
                logits.copy_from_slice(&row);
                let begin = Instant::now();
                let pick = sampler.sample(&mut logits, &history, None);
                took.push(begin.elapsed().as_secs_f64() * 1e6);
                assert!(pick.is_some());
            }
            took.sort_by(f64::total_cmp);
            println!("{vocab:>7} {name:<24} {:>8.1} µs", took[took.len() / 2]);
        }
    }
}
