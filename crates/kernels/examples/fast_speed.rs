//! What the products of fast mode reach: bytes of weights a second for few rows, operations a second for many, for each
//! quantised type, beside the machine's read rate.
//!
//! `cargo run --release -p nurture-kernels --example fast_speed -- [ISA [THREADS [TYPE]]]`

use nurture_kernels::*;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(isa) = args.first().and_then(|name| Isa::named(name)) {
        force_isa(isa);
    }
    let threads = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(2);
    let cpu = Cpu::new(threads);
    let memory = vec![1f32; 64 << 20];
    println!(
        "{} with {threads} threads: reads {:.1} GB/s",
        isa().name(),
        read_rate(cpu.pool(), &memory) / 1e9
    );
    for dtype in DType::all().filter(|t| t.is_quantised() && args.get(2).is_none_or(|a| a == t.name())) {
        let mut line = format!("{dtype:5}");
        let large = random(&cpu, dtype, 96 * 1024, 1536);
        for t in [1, 2, 4, 8, 16, 64] {
            let s = seconds(&cpu, &large, t, 5);
            line += &match t {
                ..=8 => format!("  {t} rows {:5.1} GB/s", large.bytes() as f64 / s / 1e9),
                _ => format!("  {t} rows {:5.0} GOP/s", operations(&large, t) / s / 1e9),
            };
        }
        // a prompt through a matrix of a small model
        let (small, t) = (random(&cpu, dtype, 3072, 768), 512);
        line +=
            &format!("  {t} rows {:5.0} GOP/s", operations(&small, t) / seconds(&cpu, &small, t, 41) / 1e9);
        println!("{line}");
    }
}

/// A matrix `[n, d]` of random blocks.
fn random(cpu: &Cpu, dtype: DType, n: usize, d: usize) -> Weight {
    let mut rng = Rng::new(1);
    let noise: Vec<u8> = (0..1 << 16).map(|_| rng.next_u64() as u8 & 0x3f).collect();
    let made: Result<Weight, std::convert::Infallible> =
        Weight::read(cpu.pool(), dtype, n, d, |first, out| {
            out.iter_mut().zip(noise.iter().cycle().skip(first)).for_each(|(o, v)| *o = *v);
            Ok(())
        });
    match made {
        Ok(weight) => weight,
        Err(never) => match never {},
    }
}

/// Multiplications and additions of a product with `t` rows.
fn operations(weight: &Weight, t: usize) -> f64 {
    2.0 * (t * weight.rows() * weight.cols()) as f64
}

/// The median time of `repeats` products with `t` rows.
fn seconds(cpu: &Cpu, weight: &Weight, t: usize, repeats: usize) -> f64 {
    let mut rng = Rng::new(2);
    // one value of 150 stands far out, as in the activations of small models
    let mut value = || (rng.uniform() as f32 - 0.5) * if rng.uniform() < 1.0 / 150.0 { 12.0 } else { 1.0 };
    let x: Vec<f32> = (0..t * weight.cols()).map(|_| value()).collect();
    let mut y = vec![0f32; t * weight.rows()];
    let mut q = Quantised::default();
    q.set(cpu.pool(), &x, weight.cols(), Scales::of([weight]));
    let linear = Linear { weight, bias: None, lora: None };
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            let begin = Instant::now();
            linear_fast(cpu, &x, &q, t, &mut [Forward { linear, y: &mut y, h: &mut [] }]);
            begin.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[repeats / 2]
}
