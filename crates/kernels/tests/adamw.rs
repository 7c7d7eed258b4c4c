//! AdamW against its published steps in f64 and against PyTorch's numbers; the norm of gradients.

mod common;

use common::*;
use nurture_kernels::*;

fn settings(step: u64) -> AdamW {
    AdamW { rate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step, grad_scale: 1.0 }
}

#[test]
fn five_steps_equal_pytorch() {
    let _guard = hold();
    // torch.optim.AdamW in float64, lr 0.01, betas (0.9, 0.95), eps 1e-8, weight decay 0.1;
    // gradients at step s: 0.3 (s + 1), -0.02 (s - 2), 0.001 (-1)^s
    let want = [
        [0.4895000003333333, -1.2587499975000007, 1.988000099999],
        [0.47943064183902284, -1.2668841751920146, 1.9865384104253694],
        [0.469506112837548, -1.272971932099582, 1.9811939720146081],
        [0.45962813715736434, -1.2747745007684512, 1.9797390885689619],
        [0.4497519685084688, -1.2720181859244597, 1.9757152195956924],
    ];
    let (mut p, mut m, mut v) = ([0.5f32, -1.25, 2.0], [0f32; 3], [0f32; 3]);
    for (s, want) in want.iter().enumerate() {
        let x = s as f64;
        let g = [0.3 * (x + 1.0), -0.02 * (x - 2.0), 1e-3 * (-1f64).powf(x)].map(|v| v as f32);
        adamw(&Pool::new(1), &settings(s as u64 + 1), &mut p, &g, &mut m, &mut v);
        close(&p, want, 3e-7, &format!("parameters after step {}", s + 1));
    }
}

#[test]
fn twenty_clipped_steps_equal_the_formula() {
    let _guard = hold();
    let n = 40_001; // several tasks, the last one short
    let mut rng = Rng::new(1);
    let mut p = floats(&mut rng, n, 1.0);
    let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
    let (mut p64, mut m64, mut v64) = (wide(&p), vec![0f64; n], vec![0f64; n]);
    for step in 1..=20 {
        let grad_scale = if step % 3 == 0 { 0.25 } else { 1.0 };
        let c = AdamW { rate: 1e-3 * step as f64, grad_scale, ..settings(step) };
        let g = floats(&mut rng, n, 0.5);
        adamw(&Pool::new(2), &c, &mut p, &g, &mut m, &mut v);
        for i in 0..n {
            let g = g[i] as f64 * grad_scale;
            p64[i] -= c.rate * c.weight_decay * p64[i];
            m64[i] = c.beta1 * m64[i] + (1.0 - c.beta1) * g;
            v64[i] = c.beta2 * v64[i] + (1.0 - c.beta2) * g * g;
            let m_hat = m64[i] / (1.0 - c.beta1.powi(step as i32));
            let v_hat = v64[i] / (1.0 - c.beta2.powi(step as i32));
            p64[i] -= c.rate * m_hat / (v_hat.sqrt() + c.eps);
        }
    }
    close(&p, &p64, 2e-6, "parameters");
    close(&m, &m64, 1e-6, "first moments");
    close(&v, &v64, 1e-6, "second moments");
}

#[test]
fn a_gradient_of_zero_or_nan_does_what_it_should() {
    let _guard = hold();
    let (mut p, mut m, mut v) = ([1f32, 1.0], [0f32; 2], [0f32; 2]);
    adamw(&Pool::new(1), &settings(1), &mut p, &[0.0, f32::NAN], &mut m, &mut v);
    assert_eq!(p[0], 0.999, "only decay");
    assert!(p[1].is_nan(), "not hidden");
}

#[test]
fn threads_do_not_change_a_bit() {
    let n = 150_001;
    let mut rng = Rng::new(5);
    let (p, g) = (floats(&mut rng, n, 1.0), floats(&mut rng, n, 100.0));
    let mut sum = None;
    same_everywhere("adamw", |pool| {
        let (mut p, mut m, mut v) = (p.clone(), vec![0.1; n], vec![0.1; n]);
        adamw(pool, &settings(3), &mut p, &g, &mut m, &mut v);
        vec![p, m, v]
    });
    let _guard = hold();
    for threads in [1, 2, 3] {
        let got = sum_of_squares(&Pool::new(threads), &g);
        assert_eq!(sum.get_or_insert(got).to_bits(), got.to_bits(), "{threads} threads");
    }
    let want: f64 = g.iter().map(|&x| x as f64 * x as f64).sum();
    assert!((sum.unwrap_or(0.0) / want - 1.0).abs() < 1e-12);
    assert_eq!(sum_of_squares(&Pool::new(2), &[]), 0.0);
    assert!(sum_of_squares(&Pool::new(2), &[1.0, f32::NAN]).is_nan());
    // beyond what f32 can square
    assert_eq!(sum_of_squares(&Pool::new(2), &[2f32.powi(100); 4]), 2f64.powi(202));
}
