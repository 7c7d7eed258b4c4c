//! RMS norm (Zhang & Sennrich 2019): `y = x / sqrt(mean(x²) + eps) · w`.
//!
//! Gemma's `(1 + w)` is folded into `w` when the model is read. Rows may be any consecutive groups of `w.len()`
//! values: whole tokens, or single heads (q/k norm).

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::pool::{Pool, Shares};

/// Rows a task works on.
const ROWS: usize = 32;

#[inline(always)]
pub(crate) unsafe fn sum_of_products<L: Lanes>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: `n` values at both pointers.
    unsafe {
        let mut acc = L::splat(0.0);
        let mut i = 0;
        while i + LANES <= n {
            acc = L::load(a.add(i)).fma(L::load(b.add(i)), acc);
            i += LANES;
        }
        if i < n {
            acc = L::load_part(a.add(i), n - i, 0.0).fma(L::load_part(b.add(i), n - i, 0.0), acc);
        }
        acc.reduce_add()
    }
}

#[inline(always)]
unsafe fn forward_lanes<L: Lanes>(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rms: &mut [f32]) {
    let d = w.len();
    for (row, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
        // SAFETY: rows of `d` values.
        let square = unsafe { sum_of_products::<L>(x.as_ptr(), x.as_ptr(), d) };
        let inv = 1.0 / (square / d as f32 + eps).sqrt();
        if let Some(r) = rms.get_mut(row) {
            *r = inv;
        }
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = x * inv * w;
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Slices hold whole rows.
    pub(crate) unsafe fn forward(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rms: &mut [f32]) = forward_lanes
}

/// `y = x · inv_rms · w` for rows of `w.len()` values. `inv_rms` (one value a row) is kept for the backward pass;
/// it may be empty.
pub fn rms_norm_forward(pool: &Pool, x: &[f32], w: &[f32], eps: f32, y: &mut [f32], inv_rms: &mut [f32]) {
    let d = w.len();
    assert!(x.len() == y.len() && x.len().is_multiple_of(d), "norm shapes");
    let rows = x.len() / d;
    assert!(inv_rms.is_empty() || inv_rms.len() == rows, "norm shapes");
    let keep = !inv_rms.is_empty();
    let (ys, rs) = (Shares::new(y), Shares::new(inv_rms));
    pool.run(rows.div_ceil(ROWS), |i| {
        let (r0, r1) = (i * ROWS, ((i + 1) * ROWS).min(rows));
        // SAFETY: tasks own disjoint rows.
        unsafe {
            let r: &mut [f32] = if keep { rs.at(r0, r1 - r0) } else { &mut [] };
            forward(&x[r0 * d..r1 * d], w, eps, ys.at(r0 * d, (r1 - r0) * d), r);
        }
    });
}

#[inline(always)]
unsafe fn backward_lanes<L: Lanes>(x: &[f32], w: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], add: bool) {
    let d = w.len();
    let mut wdy = vec![0f32; d];
    for (((x, dy), dx), &inv) in
        x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(inv)
    {
        for ((o, w), dy) in wdy.iter_mut().zip(w).zip(dy) {
            *o = w * dy;
        }
        // SAFETY: rows of `d` values.
        let dot = unsafe { sum_of_products::<L>(wdy.as_ptr(), x.as_ptr(), d) };
        let pull = dot * inv * inv / d as f32;
        for ((dx, g), x) in dx.iter_mut().zip(&wdy).zip(x) {
            let v = inv * (g - x * pull);
            *dx = if add { *dx + v } else { v };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Slices hold whole rows.
    unsafe fn backward(x: &[f32], w: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], add: bool) = backward_lanes
}

/// Gradient of the input of [`rms_norm_forward`]; with `add` it is added to `dx` (residual stream).
pub fn rms_norm_backward(
    pool: &Pool,
    x: &[f32],
    w: &[f32],
    inv_rms: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    let d = w.len();
    assert!(x.len() == dy.len() && x.len() == dx.len() && inv_rms.len() * d == x.len(), "norm shapes");
    let rows = inv_rms.len();
    let out = Shares::new(dx);
    pool.run(rows.div_ceil(ROWS), |i| {
        let (r0, r1) = (i * ROWS, ((i + 1) * ROWS).min(rows));
        let at = r0 * d..r1 * d;
        // SAFETY: tasks own disjoint rows.
        unsafe { backward(&x[at.clone()], w, &inv_rms[r0..r1], &dy[at], out.at(r0 * d, (r1 - r0) * d), add) };
    });
}
