//! Layer norm (Ba et al. 2016): `y = (x - mean) / sqrt(mean((x - mean)²) + eps) · w + b`.
//!
//! Only the factor of each row is kept for the backward pass; the mean is cheap to make again. A norm without bias has an
//! empty `b`.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::norm::sum_of_products;
use crate::pool::{Pool, Shares};

/// Rows a task works on.
const ROWS: usize = 32;

/// The sum in sixteen partial sums, as [`sum_of_products`] forms it.
#[inline(always)]
unsafe fn sum<L: Lanes>(x: &[f32]) -> f32 {
    // SAFETY: chunks of at most 16 values.
    unsafe {
        let mut sum = L::splat(0.0);
        for x in x.chunks(LANES) {
            sum = sum.add(L::load_part(x.as_ptr(), x.len(), 0.0));
        }
        sum.reduce_add()
    }
}

/// `out = x - mean(x)`.
#[inline(always)]
unsafe fn centre<L: Lanes>(x: &[f32], out: &mut [f32]) {
    // SAFETY: the caller has the instruction set.
    let mean = unsafe { sum::<L>(x) } / x.len() as f32;
    for (o, x) in out.iter_mut().zip(x) {
        *o = x - mean;
    }
}

#[inline(always)]
unsafe fn forward_lanes<L: Lanes>(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
    let d = w.len();
    for (row, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
        // SAFETY: rows of `d` values.
        let square = unsafe {
            centre::<L>(x, y);
            sum_of_products::<L>(y.as_ptr(), y.as_ptr(), d)
        };
        let factor = 1.0 / (square / d as f32 + eps).sqrt();
        if let Some(r) = inv.get_mut(row) {
            *r = factor;
        }
        y.iter_mut().zip(w).for_each(|(y, w)| *y = *y * factor * w);
        y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
    }
}

lanes_fn! {
    /// # Safety
    /// Slices hold whole rows.
    pub(crate) unsafe fn forward(
        x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]
    ) = forward_lanes
}

/// `y` for rows of `w.len()` values; `b` may be empty. `inv` (one factor a row) is kept for the backward pass; it may
/// be empty.
pub fn layer_norm_forward(
    pool: &Pool,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    eps: f32,
    y: &mut [f32],
    inv: &mut [f32],
) {
    let d = w.len();
    assert!(x.len() == y.len() && x.len().is_multiple_of(d), "norm shapes");
    assert!(b.is_empty() || b.len() == d, "norm shapes");
    let rows = x.len() / d;
    assert!(inv.is_empty() || inv.len() == rows, "norm shapes");
    let keep = !inv.is_empty();
    let (ys, rs) = (Shares::new(y), Shares::new(inv));
    pool.run(rows.div_ceil(ROWS), |i| {
        let (r0, r1) = (i * ROWS, ((i + 1) * ROWS).min(rows));
        // SAFETY: tasks own disjoint rows.
        unsafe {
            let r: &mut [f32] = if keep { rs.at(r0, r1 - r0) } else { &mut [] };
            forward(&x[r0 * d..r1 * d], w, b, eps, ys.at(r0 * d, (r1 - r0) * d), r);
        }
    });
}

/// With `x̂ = (x - mean) · inv` and `g = w · dy`: `dx = inv · (g - mean(g) - x̂ · mean(g x̂))`.
#[inline(always)]
unsafe fn backward_lanes<L: Lanes>(x: &[f32], w: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], add: bool) {
    let d = w.len();
    let (mut c, mut g) = (vec![0f32; d], vec![0f32; d]);
    for (((x, dy), dx), &inv) in
        x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(inv)
    {
        for ((o, w), dy) in g.iter_mut().zip(w).zip(dy) {
            *o = w * dy;
        }
        // SAFETY: rows of `d` values.
        let (sum, dot) = unsafe {
            centre::<L>(x, &mut c);
            (sum::<L>(&g), sum_of_products::<L>(g.as_ptr(), c.as_ptr(), d))
        };
        let (mean, pull) = (sum / d as f32, dot * inv * inv / d as f32);
        for ((dx, g), c) in dx.iter_mut().zip(&g).zip(&c) {
            let v = inv * (g - mean - c * pull);
            *dx = if add { *dx + v } else { v };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Slices hold whole rows.
    unsafe fn backward(x: &[f32], w: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], add: bool) = backward_lanes
}

/// Gradient of the input of [`layer_norm_forward`]; with `add` it is added to `dx` (residual stream).
pub fn layer_norm_backward(
    pool: &Pool,
    x: &[f32],
    w: &[f32],
    inv: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    let d = w.len();
    assert!(x.len() == dy.len() && x.len() == dx.len() && inv.len() * d == x.len(), "norm shapes");
    let rows = inv.len();
    let out = Shares::new(dx);
    pool.run(rows.div_ceil(ROWS), |i| {
        let (r0, r1) = (i * ROWS, ((i + 1) * ROWS).min(rows));
        let at = r0 * d..r1 * d;
        // SAFETY: tasks own disjoint rows.
        unsafe { backward(&x[at.clone()], w, &inv[r0..r1], &dy[at], out.at(r0 * d, (r1 - r0) * d), add) };
    });
}

#[inline(always)]
unsafe fn hats_lanes<L: Lanes>(x: &[f32], inv: &[f32], d: usize, out: &mut [f32]) {
    for ((x, out), inv) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(inv) {
        // SAFETY: rows of `d` values.
        unsafe { centre::<L>(x, out) };
        out.iter_mut().for_each(|v| *v *= inv);
    }
}

lanes_fn! {
    /// # Safety
    /// Slices hold whole rows.
    unsafe fn hats(x: &[f32], inv: &[f32], d: usize, out: &mut [f32]) = hats_lanes
}

/// `dw += Σ_rows dy · x̂`: the gradient of the weight (that of the bias is `bias_gradient`).
pub fn layer_norm_weight_gradient(pool: &Pool, x: &[f32], inv: &[f32], dy: &[f32], grad: &mut [f32]) {
    let d = grad.len();
    assert!(x.len() == dy.len() && inv.len() * d == x.len(), "norm shapes");
    let mut hat = vec![0f32; x.len()];
    let out = Shares::new(&mut hat);
    pool.run(inv.len().div_ceil(ROWS), |i| {
        let (r0, r1) = (i * ROWS, ((i + 1) * ROWS).min(inv.len()));
        // SAFETY: tasks own disjoint rows.
        unsafe { hats(&x[r0 * d..r1 * d], &inv[r0..r1], d, out.at(r0 * d, (r1 - r0) * d)) };
    });
    crate::dweight::column_products(pool, dy, &hat, grad);
}
