//! Speed of the products on the shapes of a 135M model, against the measured multiply-add ceiling.
use nurture_kernels::*;
use std::time::Instant;
fn main() {
    let cpu = Cpu::new(2);
    println!("isa {}", isa().name());
    for (n, d) in [(576, 576), (192, 576), (1536, 576), (576, 1536), (49152, 576)] {
        let raw = vec![0x11u8; d / 32 * 20];
        let w: Result<Weight, ()> = Weight::read(cpu.pool(), DType::Q4_1, n, d, |_, out| {
            for r in out.chunks_exact_mut(raw.len()) {
                r.copy_from_slice(&raw)
            }
            Ok(())
        });
        let w = w.unwrap();
        for t in [1usize, 8, 64, 512, 1024] {
            if n > 10000 && t > 512 {
                continue;
            }
            let x = vec![0.01f32; t * d];
            let mut y = vec![0f32; t * n];
            let mut dx = vec![0f32; t * d];
            let linear = Linear { weight: &w, bias: None, lora: None };
            let flop = 2.0 * (t * n * d) as f64;
            let time = |f: &mut dyn FnMut()| {
                let mut best = vec![];
                let reps = ((2e9 / flop) as usize).clamp(3, 2000);
                for _ in 0..5 {
                    let s = Instant::now();
                    for _ in 0..reps {
                        f()
                    }
                    best.push(s.elapsed().as_secs_f64() / reps as f64)
                }
                best.sort_by(f64::total_cmp);
                best[2]
            };
            let f =
                time(&mut || linear_forward(&cpu, &x, t, &mut [Forward { linear, y: &mut y, h: &mut [] }]));
            let dy = vec![0.01f32; t * n];
            let b = if t < 8 {
                f64::NAN
            } else {
                time(&mut || {
                    linear_backward(
                        &cpu,
                        &x,
                        t,
                        &mut [Backward { linear, dy: &dy, h: &[], grads: None }],
                        Some(&mut dx),
                        false,
                    )
                })
            };
            println!(
                "n {n:6} d {d:5} t {t:5}: forward {:7.1} GFLOP/s ({:6.2} GB/s weights), backward {:7.1}",
                flop / f / 1e9,
                w.bytes() as f64 / f / 1e9,
                flop / b / 1e9
            );
        }
    }
}
