//! AdamW with moments of eight bits: as good as with floats, on average exact, and the same bits everywhere.

mod common;

use common::*;
use nurture_kernels::*;

fn settings(step: u64) -> AdamW {
    AdamW { rate: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step, grad_scale: 1.0 }
}

/// An update of values by gradients.
type Update<'a> = &'a mut dyn FnMut(&AdamW, &mut [f32], &[f32]);

/// Mean squared distance from the optimum of a badly scaled bowl with noisy gradients, over the last steps.
fn descend(update: Update<'_>) -> f64 {
    let n = 5000;
    let mut rng = Rng::new(1);
    let (target, mut p) = (floats(&mut rng, n, 1.0), vec![0f32; n]);
    // curvatures over four orders of magnitude within each block
    let slope: Vec<f32> = (0..n).map(|i| 10f32.powf((i % 97) as f32 / 24.0 - 2.0)).collect();
    let (mut sum, mut count) = (0.0, 0);
    for step in 1..=1500 {
        let noise = floats(&mut rng, n, 0.5);
        let g: Vec<f32> = (0..n).map(|i| slope[i] * (p[i] - target[i] + noise[i])).collect();
        let rate = if step > 1000 { 0.002 } else { 0.01 };
        update(&AdamW { rate, ..settings(step) }, &mut p, &g);
        if step > 1400 {
            sum += p.iter().zip(&target).map(|(p, t)| ((p - t) as f64).powi(2)).sum::<f64>() / n as f64;
            count += 1;
        }
    }
    sum / count as f64
}

#[test]
fn eight_bits_find_the_optimum_as_floats_do() {
    let _guard = hold();
    let pool = Pool::new(2);
    let (mut m, mut v) = (vec![0f32; 5000], vec![0f32; 5000]);
    let wide = descend(&mut |c, p, g| adamw(&pool, c, p, g, &mut m, &mut v));
    let mut moments = Moments8::zeros(5000);
    let small = descend(&mut |c, p, g| adamw8(&pool, c, 7, p, g, &mut moments));
    println!("mean squared distance: float moments {wide:.2e}, eight bits {small:.2e}");
    assert!(small <= 1.25 * wide, "{small} against {wide}");
    assert!(moments.bytes() as f64 <= 2.1 * 5000.0, "{} bytes", moments.bytes());
}

#[test]
fn moments_follow_those_in_floats_on_average() {
    let _guard = hold();
    let (pool, n) = (Pool::new(2), 4096);
    let mut rng = Rng::new(3);
    let size: Vec<f32> = (0..n).map(|i| 10f32.powf(-((i % 5) as f32))).collect();
    let (mut p, mut q) = (vec![0f32; n], vec![0f32; n]);
    let (mut m, mut v, mut small) = (vec![0f32; n], vec![0f32; n], Moments8::zeros(n));
    // large gradients first: an average that cannot fall would stay there
    for step in 1..=3000u64 {
        let loud = if step < 300 { 10.0 } else { 1.0 };
        let g: Vec<f32> = floats(&mut rng, n, loud).iter().zip(&size).map(|(x, s)| x * s).collect();
        adamw(&pool, &settings(step), &mut p, &g, &mut m, &mut v);
        adamw8(&pool, &settings(step), 7, &mut q, &g, &mut small);
    }
    for k in 0..5 {
        let of: Vec<usize> = (0..n).filter(|i| i % 5 == k).collect();
        let mean = |f: &dyn Fn(usize) -> f64| of.iter().map(|&i| f(i)).sum::<f64>() / of.len() as f64;
        let (want, got) = (mean(&|i| v[i] as f64), mean(&|i| small.get(i).1 as f64));
        assert!((got / want - 1.0).abs() < 0.1, "second moments of size 1e-{k}: {got:.3e} for {want:.3e}");
        let off = mean(&|i| (small.get(i).0 - m[i]) as f64) / mean(&|i| m[i].abs() as f64);
        assert!(off.abs() < 0.1, "first moments of size 1e-{k} are off by {off:.3} on average");
        // where AdamW went with floats, eight bits went too; least so the smallest of a block, which share a scale with
        // numbers 10,000 times as large
        let far = mean(&|i| ((p[i] - q[i]) as f64).powi(2)).sqrt();
        let way = mean(&|i| (p[i] as f64).powi(2)).sqrt();
        let most = if k == 4 { 0.5 } else { 0.3 };
        assert!(far < most * way, "size 1e-{k}: {far:.3} apart after a way of {way:.3}");
    }
}

#[test]
fn nothing_is_lost_in_storing_and_zero_stays_zero() {
    let _guard = hold();
    let pool = Pool::new(1);
    let (mut p, mut moments) = (vec![1f32; 300], Moments8::zeros(300));
    let mut g = vec![0f32; 300];
    (g[0], g[299]) = (1e-12, 3.0);
    adamw8(&pool, &settings(1), 0, &mut p, &g, &mut moments);
    assert!(p[1..299].iter().all(|&p| p == 1.0), "no gradient, no move");
    assert!((p[299] - 0.99).abs() < 1e-5 && p[0] < 1.0);
    assert!(moments.get(0).1 > 0.0, "a second moment above zero stays above zero");
    assert_eq!(moments.get(5), (0.0, 0.0));
    let mut copy = Moments8::zeros(300);
    for (to, from) in copy.stored_mut().into_iter().zip(moments.stored()) {
        to.copy_from_slice(from);
    }
    assert_eq!(copy, moments);
    let mut q = [1f32];
    adamw8(&pool, &settings(1), 0, &mut q, &[f32::NAN], &mut Moments8::zeros(1));
    assert!(q[0].is_nan(), "not hidden");
}

#[test]
fn threads_and_machines_do_not_change_a_bit() {
    let n = 70_001;
    let mut rng = Rng::new(5);
    let (p, g) = (floats(&mut rng, n, 1.0), floats(&mut rng, n, 100.0));
    same_everywhere("adamw8", |pool| {
        let (mut p, mut moments) = (p.clone(), Moments8::zeros(n));
        for step in 1..=3 {
            adamw8(pool, &settings(step), 1, &mut p, &g, &mut moments);
        }
        let all: Vec<f32> = (0..n).flat_map(|i| <[f32; 2]>::from(moments.get(i))).collect();
        vec![p, all]
    });
}
