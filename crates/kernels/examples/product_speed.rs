//! Speed of the products on the shapes of a 135M model, alone and with a LoRA pair of rank 16, against the measured
//! multiply-add ceiling; useful operations only (those of the pair do not count).
//!
//! `cargo run --release -p nurture-kernels --example product_speed -- [ISA [ROWS ...]]`

use nurture_kernels::*;
use std::time::Instant;

fn median(flop: f64, f: &mut dyn FnMut()) -> f64 {
    let reps = ((4e9 / flop) as usize).clamp(2, 500);
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let begin = Instant::now();
            (0..reps).for_each(|_| f());
            begin.elapsed().as_secs_f64() / reps as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[3]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(isa) = args.first().and_then(|name| Isa::named(name)) {
        force_isa(isa);
    }
    let mut rows: Vec<usize> = args.iter().skip(1).filter_map(|a| a.parse().ok()).collect();
    if rows.is_empty() {
        rows = vec![64, 512, 1024];
    }
    let cpu = Cpu::new(2);
    println!(
        "isa {}: {:.0} GFLOP/s",
        isa().name(),
        fma_rate(cpu.pool(), std::time::Duration::from_millis(300)) / 1e9
    );
    // (outputs of each part, width): qkv, o, gate and up, down, head
    let shapes: [(&[usize], usize); 6] = [
        (&[576, 192, 192], 576),
        (&[576], 576),
        (&[1536, 1536], 576),
        (&[576], 1536),
        (&[49152], 576),
        (&[262144], 640),
    ];
    for (ns, d) in shapes {
        let weights: Vec<Weight> = ns
            .iter()
            .map(|&n| {
                let made: Result<Weight, ()> = Weight::read(cpu.pool(), DType::Q4_1, n, d, |_, out| {
                    out.fill(0x11);
                    Ok(())
                });
                made.unwrap_or_else(|()| std::process::exit(1))
            })
            .collect();
        let pairs: Vec<LoraPair> = ns
            .iter()
            .map(|&n| LoraPair::new(16, d, n, 1.0, vec![0.01; 16 * d], vec![0.01; n * 16]))
            .collect();
        for &t in &rows {
            let t = if ns[0] > 10000 { t.min(256) } else { t };
            let x = vec![0.01f32; t * d];
            let mut dx = vec![0f32; t * d];
            let flop: f64 = ns.iter().map(|&n| 2.0 * (t * n * d) as f64).sum();
            let mut line = format!("n {ns:?} d {d} t {t}:");
            for lora in [false, true] {
                if lora && ns[0] > 10000 {
                    continue;
                }
                let mut y: Vec<Vec<f32>> = ns.iter().map(|&n| vec![0f32; t * n]).collect();
                let mut h: Vec<Vec<f32>> =
                    ns.iter().map(|_| vec![0.01f32; if lora { t * 16 } else { 0 }]).collect();
                let linear =
                    |i: usize| Linear { weight: &weights[i], bias: None, lora: lora.then(|| &pairs[i]) };
                let f = median(flop, &mut || {
                    let mut parts: Vec<Forward<'_>> = y
                        .iter_mut()
                        .zip(&mut h)
                        .enumerate()
                        .map(|(i, (y, h))| Forward { linear: linear(i), y, h })
                        .collect();
                    linear_forward(&cpu, &x, t, &mut parts);
                });
                let mut grads: Vec<(Vec<f32>, Vec<f32>)> =
                    ns.iter().map(|&n| (vec![0f32; 16 * d], vec![0f32; n * 16])).collect();
                let b = median(flop, &mut || {
                    let mut parts: Vec<Backward<'_>> = y
                        .iter()
                        .zip(&h)
                        .zip(&mut grads)
                        .enumerate()
                        .map(|(i, ((dy, h), (a, b)))| Backward {
                            linear: linear(i),
                            dy,
                            h,
                            grads: lora.then_some((&mut a[..], &mut b[..])),
                        })
                        .collect();
                    linear_backward(&cpu, &x, t, &mut parts, Some(&mut dx), false);
                });
                let name = if lora { " | with a pair" } else { "" };
                line +=
                    &format!("{name} forward {:.0} backward {:.0} GFLOP/s", flop / f / 1e9, flop / b / 1e9);
            }
            println!("{line}");
        }
    }
}
