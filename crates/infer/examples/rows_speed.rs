//! What a forward pass over several new tokens of one sequence costs beside one over a single token, logits of all rows included:
//! the price of checking a draft. And whether the logits are the same bits as those of single steps.
//!
//! `cargo run --release -p nurture-infer --example rows_speed -- MODEL.gguf [ISA [REPEATS]]`

use nurture_formats::ModelFile;
use nurture_kernels::{Isa, Rng, force_isa, isa};
use nurture_model::{Batch, Buffers, Cpu, Decoder, KvCache, Mode};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(found) = args.get(1).and_then(|name| Isa::named(name)) {
        force_isa(found);
    }
    let repeats = args.get(2).and_then(|a| a.parse().ok()).unwrap_or(9);
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(args.first().ok_or("which model?")?)?, cpu.pool())?;
    let (vocab, past) = (model.config().vocab, 300);
    let mut rng = Rng::new(1);
    let ids: Vec<u32> = (0..past + 32).map(|_| rng.below(vocab) as u32).collect();
    for mode in [Mode::Fast, Mode::Exact] {
        let (mut cache, mut buffers) = (KvCache::new(model.config(), past + 32), Buffers::new());
        let mut run = |from: usize, rows: usize| -> Result<(Vec<f32>, f64), nurture_model::ModelError> {
            let mut batch = Batch::default();
            batch.push(&ids[from..from + rows], from, vec![(0, from + rows)], 0);
            let begin = Instant::now();
            let x = model.forward(&cpu, mode, None, &batch, &mut cache, &mut buffers)?;
            let mut logits = vec![0f32; if from == 0 { 0 } else { rows * vocab }];
            if from > 0 {
                model.logits(&cpu, None, mode, x, &mut logits);
            }
            Ok((logits, begin.elapsed().as_secs_f64()))
        };
        run(0, past)?;
        let mut single = Vec::new();
        for i in 0..17 {
            single.extend(run(past + i, 1)?.0);
        }
        let counts = [1usize, 2, 3, 4, 5, 6, 8, 9, 12, 13, 16, 17];
        let mut took = vec![Vec::new(); counts.len()];
        let mut same = true;
        for _ in 0..repeats {
            for (i, &n) in counts.iter().enumerate() {
                let (logits, seconds) = run(past, n)?;
                took[i].push(seconds);
                same &= logits.iter().zip(&single).all(|(a, b)| a.to_bits() == b.to_bits());
            }
        }
        print!("{} {} same bits: {same}; rows (cost):", mode.name(), isa().name());
        let mut one = 0.0;
        for (t, n) in took.iter_mut().zip(counts) {
            t.sort_by(f64::total_cmp);
            let t = t[t.len() / 2];
            if n == 1 {
                one = t;
                print!(" {:.2} ms", one * 1e3);
            } else {
                print!(", {n} ({:.2})", t / one);
            }
        }
        println!();
    }
    Ok(())
}
