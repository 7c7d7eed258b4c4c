//! What the products of fast mode reach: bytes of weights a second for few rows, operations a second for many, for each
//! quantised type, beside the machine's read rate.
//!
//! `cargo run --release -p nurture-kernels --example fast_speed -- [ISA [THREADS [TYPE]]]`

use nurture_kernels::*;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(isa) = [Isa::Scalar, Isa::Avx2, Isa::Avx512]
        .into_iter()
        .find(|i| Some(i.name()) == args.first().map(|a| &a[..]))
    {
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
    let (n, d) = (96 * 1024, 1536);
    for dtype in DType::all().filter(|t| t.is_quantised() && args.get(2).is_none_or(|a| a == t.name())) {
        let mut rng = Rng::new(1);
        let noise: Vec<u8> = (0..1 << 16).map(|_| rng.next_u64() as u8 & 0x3f).collect();
        let made: Result<Weight, ()> = Weight::read(cpu.pool(), dtype, n, d, |first, out| {
            out.iter_mut().zip(noise.iter().cycle().skip(first)).for_each(|(o, v)| *o = *v);
            Ok(())
        });
        let Ok(weight) = made else { return };
        let mut line = format!("{dtype:5}");
        for t in [1, 2, 4, 8, 16, 64] {
            let x: Vec<f32> = (0..t * d).map(|_| rng.uniform() as f32 - 0.5).collect();
            let mut y = vec![0f32; t * n];
            let mut q = Quantised::default();
            q.set(cpu.pool(), &x, d);
            let linear = Linear { weight: &weight, bias: None, lora: None };
            let mut times: Vec<f64> = (0..5)
                .map(|_| {
                    let begin = Instant::now();
                    linear_fast(&cpu, &x, &q, t, &mut [Forward { linear, y: &mut y, h: &mut [] }]);
                    begin.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let (s, ops) = (times[2], 2.0 * (t * n * d) as f64);
            if t <= 8 {
                line += &format!("  {t} rows {:5.1} GB/s", weight.bytes() as f64 / s / 1e9);
            } else {
                line += &format!("  {t} rows {:5.0} GOP/s", ops / s / 1e9);
            }
        }
        // a prompt through a matrix of a small model
        let (t, d, n) = (512, 768, 3072);
        let made: Result<Weight, ()> = Weight::read(cpu.pool(), dtype, n, d, |first, out| {
            out.iter_mut().zip(noise.iter().cycle().skip(first)).for_each(|(o, v)| *o = *v);
            Ok(())
        });
        let Ok(weight) = made else { return };
        let x: Vec<f32> = (0..t * d).map(|_| rng.uniform() as f32 - 0.5).collect();
        let mut y = vec![0f32; t * n];
        let mut q = Quantised::default();
        q.set(cpu.pool(), &x, d);
        let linear = Linear { weight: &weight, bias: None, lora: None };
        let mut times: Vec<f64> = (0..41)
            .map(|_| {
                let begin = Instant::now();
                linear_fast(&cpu, &x, &q, t, &mut [Forward { linear, y: &mut y, h: &mut [] }]);
                begin.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        line += &format!("  {t} rows {:5.0} GOP/s", 2.0 * (t * n * d) as f64 / times[20] / 1e9);
        println!("{line}");
    }
}
