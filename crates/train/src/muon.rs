//! Muon (Jordan et al. 2024): the momentum of a matrix, made orthogonal by a Newton–Schulz iteration.
//!
//! `B = β B + (1 - β) g`; with Nesterov's look ahead the step is along the orthogonal factor of `(1 - β) g + β B`. Its size
//! is that of an AdamW step, `0.2 √max(rows, columns)` (Liu et al. 2025), so that rate and decay mean the same. Only the
//! projections of the blocks are stepped so; embedding, head, norms and biases take AdamW.

use nurture_kernels::{Cpu, Forward, Linear, Weight, linear_forward};

/// Decay of the momentum.
const MOMENTUM: f32 = 0.95;
/// Steps of the iteration, and its quintic polynomial `a x + b x³ + c x⁵`.
const ITERATIONS: usize = 5;
const POLYNOMIAL: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);

/// `x Wᵀ` for row-major `x` `[m, k]` and `w` `[n, k]`.
fn product(cpu: &Cpu, x: &[f32], m: usize, w: &[f32], n: usize) -> Vec<f32> {
    let k = x.len() / m;
    let weight = Weight::from_f32(n, k, w);
    let mut y = vec![0f32; m * n];
    let linear = Linear { weight: &weight, bias: None, lora: None };
    linear_forward(cpu, x, m, &mut [Forward { linear, y: &mut y, h: &mut [] }]);
    y
}

fn transposed(x: &[f32], rows: usize) -> Vec<f32> {
    let cols = x.len() / rows;
    let mut out = vec![0f32; x.len()];
    for (r, row) in x.chunks_exact(cols).enumerate() {
        for (c, &v) in row.iter().enumerate() {
            out[c * rows + r] = v;
        }
    }
    out
}

/// Nearly `U Vᵀ` of `x = U S Vᵀ` `[rows, cols]`, row-major: singular values end between about 0.7 and 1.2.
pub(crate) fn orthogonal(cpu: &Cpu, x: &[f32], rows: usize) -> Vec<f32> {
    let cols = x.len() / rows;
    let norm = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt().max(1e-7);
    let tall = rows > cols;
    let mut x: Vec<f32> = if tall { transposed(x, rows) } else { x.to_vec() };
    let n = rows.min(cols);
    x.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    let (a, b, c) = POLYNOMIAL;
    for _ in 0..ITERATIONS {
        let gram = product(cpu, &x, n, &x, n);
        // symmetric, so that its rows are its columns
        let mut mixed = product(cpu, &gram, n, &gram, n);
        mixed.iter_mut().zip(&gram).for_each(|(m, g)| *m = b * g + c * *m);
        let moved = product(cpu, &mixed, n, &transposed(&x, n), rows.max(cols));
        x.iter_mut().zip(&moved).for_each(|(x, m)| *x = a * *x + m);
    }
    if tall { transposed(&x, n) } else { x }
}

/// Renews the momentum `m` with the gradient `g` times `scale` and gives it with Nesterov's look ahead; any order of values.
pub(crate) fn momentum(m: &mut [f32], g: &[f32], scale: f32) -> Vec<f32> {
    let one = |(m, g): (&mut f32, &f32)| {
        let g = g * scale;
        *m += (1.0 - MOMENTUM) * (g - *m);
        g + MOMENTUM * (*m - g)
    };
    m.iter_mut().zip(g).map(one).collect()
}

/// The direction of the step for the momentum `ahead` `[rows, cols]`, row-major, its size included.
pub(crate) fn direction(cpu: &Cpu, ahead: &[f32], rows: usize) -> Vec<f32> {
    let cols = ahead.len() / rows;
    let mut out = orthogonal(cpu, ahead, rows);
    let size = 0.2 * (rows.max(cols) as f32).sqrt();
    out.iter_mut().for_each(|v| *v *= size);
    out
}
