//! AdamW (Loshchilov & Hutter 2019) and the norm of gradients.

use crate::pool::{Pool, Shares};

/// Constants of one AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// learning rate
    pub rate: f64,
    /// decay of the first moment
    pub beta1: f64,
    /// decay of the second moment
    pub beta2: f64,
    /// added to the root of the second moment
    pub eps: f64,
    /// decoupled weight decay
    pub weight_decay: f64,
    /// number of this step, from 1
    pub step: u64,
    /// factor on the gradient (clipping)
    pub grad_scale: f64,
}

/// One step on parameters `p` with gradients `g` and moments `m`, `v` (equal lengths), as PyTorch's `AdamW` does it.
pub fn adamw(pool: &Pool, c: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len(), "optimiser shapes");
    let (b1, b2) = (c.beta1 as f32, c.beta2 as f32);
    let (n1, n2) = ((1.0 - c.beta1) as f32, (1.0 - c.beta2) as f32);
    let correct1 = 1.0 - c.beta1.powf(c.step as f64);
    let correct2 = (1.0 - c.beta2.powf(c.step as f64)).sqrt() as f32;
    let step = (c.rate / correct1) as f32;
    let keep = (1.0 - c.rate * c.weight_decay) as f32;
    let (eps, scale) = (c.eps as f32, c.grad_scale as f32);
    const CHUNK: usize = 16 * 1024;
    let (ps, ms, vs) = (Shares::new(p), Shares::new(m), Shares::new(v));
    pool.run(g.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(g.len());
        // SAFETY: tasks own disjoint chunks.
        let (p, m, v) =
            unsafe { (ps.at(at.start, at.len()), ms.at(at.start, at.len()), vs.at(at.start, at.len())) };
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(&g[at]) {
            let g = g * scale;
            *m = b1 * *m + n1 * g;
            *v = b2 * *v + n2 * g * g;
            *p = *p * keep - step * *m / (v.sqrt() / correct2 + eps);
        }
    });
}

/// Σ g² in f64, in an order that does not depend on the number of threads.
pub fn sum_of_squares(pool: &Pool, g: &[f32]) -> f64 {
    const CHUNK: usize = 64 * 1024;
    let mut sums = vec![0f64; g.len().div_ceil(CHUNK)];
    let out = Shares::new(&mut sums);
    pool.run(g.len().div_ceil(CHUNK), |i| {
        let part = &g[i * CHUNK..((i + 1) * CHUNK).min(g.len())];
        let mut lanes = [0f64; 8];
        for c in part.chunks(8) {
            for (l, &x) in lanes.iter_mut().zip(c) {
                *l += x as f64 * x as f64;
            }
        }
        // SAFETY: one element a task.
        unsafe { out.at(i, 1)[0] = lanes.iter().sum() };
    });
    sums.iter().sum()
}
