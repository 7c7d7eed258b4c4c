//! Operations on single elements: gated activations, rotary positions, sums, embedding rows.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::math::sigmoid;
use crate::pool::{Pool, Shares};
use crate::weight::Weight;
use std::sync::OnceLock;

/// Elements a task works on.
const CHUNK: usize = 16 * 1024;

/// The activation of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x σ(x)` (SiLU, Llama and Qwen)
    Silu,
    /// GELU by its tanh form (Gemma, GPT-2)
    GeluTanh,
}

/// 2 sqrt(2 / π)
const GELU_A: f32 = 1.595_769;
const GELU_B: f32 = 0.044_715;

/// `(act(x), act'(x))`. Both are `x σ(u)`: for GELU, ½ (1 + tanh(u / 2)) = σ(u), without the cancellation of 1 + tanh.
#[inline(always)]
unsafe fn act<L: Lanes>(kind: Activation, x: L) -> (L, L) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        let one = L::splat(1.0);
        // u and its slope
        let (u, slope) = match kind {
            Activation::Silu => (x, one),
            Activation::GeluTanh => {
                let (a, b) = (L::splat(GELU_A), L::splat(GELU_B));
                // beyond |x| = 100 σ is 0 or 1 whatever u is; an infinite slope would make NaN of it
                let xx = L::splat(1e4).min(x.mul(x));
                (a.mul(x).mul(b.fma(xx, one)), a.mul(L::splat(3.0 * GELU_B).fma(xx, one)))
            }
        };
        let s = sigmoid(u);
        // σ + x σ (1 - σ) u'
        (x.mul(s), x.mul(s).mul(one.sub(s)).fma(slope, s))
    }
}

#[inline(always)]
unsafe fn gated_lanes<L: Lanes>(kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((g, u), y) in gate.chunks(LANES).zip(up.chunks(LANES)).zip(y.chunks_mut(LANES)) {
        // SAFETY: chunks of at most 16 values.
        unsafe {
            let g = L::load_part(g.as_ptr(), g.len(), 0.0);
            act(kind, g).0.mul(L::load_part(u.as_ptr(), u.len(), 0.0)).store_part(y.as_mut_ptr(), y.len());
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Equal lengths.
    pub(crate) unsafe fn gated(kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) = gated_lanes
}

/// `y = act(gate) · up`, element by element.
pub fn gated_forward(pool: &Pool, kind: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == y.len(), "gate shapes");
    let out = Shares::new(y);
    pool.run(gate.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(gate.len());
        // SAFETY: tasks own disjoint chunks.
        unsafe { gated(kind, &gate[at.clone()], &up[at.clone()], out.at(at.start, at.len())) };
    });
}

#[inline(always)]
unsafe fn gated_back_lanes<L: Lanes>(kind: Activation, gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    for ((g, u), dy) in gate.chunks_mut(LANES).zip(up.chunks_mut(LANES)).zip(dy.chunks(LANES)) {
        // SAFETY: chunks of at most 16 values.
        unsafe {
            let (n, d) = (g.len(), L::load_part(dy.as_ptr(), dy.len(), 0.0));
            let (y, slope) = act(kind, L::load_part(g.as_ptr(), n, 0.0));
            let dg = d.mul(L::load_part(u.as_ptr(), n, 0.0)).mul(slope);
            dg.store_part(g.as_mut_ptr(), n);
            d.mul(y).store_part(u.as_mut_ptr(), n);
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Equal lengths.
    unsafe fn gated_back(kind: Activation, gate: &mut [f32], up: &mut [f32], dy: &[f32]) = gated_back_lanes
}

/// The reverse of [`gated_forward`], in place: `gate` and `up` become their own gradients.
pub fn gated_backward(pool: &Pool, kind: Activation, gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    assert!(gate.len() == up.len() && gate.len() == dy.len(), "gate shapes");
    let (g, u) = (Shares::new(gate), Shares::new(up));
    pool.run(dy.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(dy.len());
        // SAFETY: tasks own disjoint chunks.
        unsafe { gated_back(kind, g.at(at.start, at.len()), u.at(at.start, at.len()), &dy[at]) };
    });
}

#[inline(always)]
unsafe fn plain_lanes<L: Lanes>(kind: Activation, x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
        // SAFETY: chunks of at most 16 values.
        unsafe { act(kind, L::load_part(x.as_ptr(), x.len(), 0.0)).0.store_part(y.as_mut_ptr(), y.len()) };
    }
}

lanes_fn! {
    /// # Safety
    /// Equal lengths.
    pub(crate) unsafe fn plain(kind: Activation, x: &[f32], y: &mut [f32]) = plain_lanes
}

/// `y = act(x)`, element by element: the MLP without a gate.
pub fn plain_forward(pool: &Pool, kind: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "activation shapes");
    let out = Shares::new(y);
    pool.run(x.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(x.len());
        // SAFETY: tasks own disjoint chunks.
        unsafe { plain(kind, &x[at.clone()], out.at(at.start, at.len())) };
    });
}

#[inline(always)]
unsafe fn plain_back_lanes<L: Lanes>(kind: Activation, x: &mut [f32], dy: &[f32]) {
    for (x, dy) in x.chunks_mut(LANES).zip(dy.chunks(LANES)) {
        // SAFETY: chunks of at most 16 values.
        unsafe {
            let (_, slope) = act(kind, L::load_part(x.as_ptr(), x.len(), 0.0));
            L::load_part(dy.as_ptr(), dy.len(), 0.0).mul(slope).store_part(x.as_mut_ptr(), x.len());
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Equal lengths.
    unsafe fn plain_back(kind: Activation, x: &mut [f32], dy: &[f32]) = plain_back_lanes
}

/// The reverse of [`plain_forward`], in place: `x` becomes its own gradient.
pub fn plain_backward(pool: &Pool, kind: Activation, x: &mut [f32], dy: &[f32]) {
    assert_eq!(x.len(), dy.len(), "activation shapes");
    let out = Shares::new(x);
    pool.run(dy.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(dy.len());
        // SAFETY: tasks own disjoint chunks.
        unsafe { plain_back(kind, out.at(at.start, at.len()), &dy[at]) };
    });
}

/// `x += y`.
pub fn add_assign(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "sum shapes");
    let out = Shares::new(x);
    pool.run(y.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(y.len());
        // SAFETY: tasks own disjoint chunks.
        let x = unsafe { out.at(at.start, at.len()) };
        x.iter_mut().zip(&y[at]).for_each(|(x, y)| *x += y);
    });
}

/// `z = x + y`.
pub fn add(pool: &Pool, x: &[f32], y: &[f32], z: &mut [f32]) {
    assert!(x.len() == y.len() && x.len() == z.len(), "sum shapes");
    let out = Shares::new(z);
    pool.run(y.len().div_ceil(CHUNK), |i| {
        let at = i * CHUNK..((i + 1) * CHUNK).min(y.len());
        // SAFETY: tasks own disjoint chunks.
        let z = unsafe { out.at(at.start, at.len()) };
        z.iter_mut().zip(&x[at.clone()]).zip(&y[at]).for_each(|((z, x), y)| *z = x + y);
    });
}

/// Rotary positions (Su et al. 2021) in the half-split form: pairs `(i, i + dim / 2)` of each head.
#[derive(Clone, Debug)]
pub struct Rope {
    /// inverse frequencies of the pairs, `[head_dim / 2]`; not to be changed once something was rotated
    pub inv_freq: Vec<f32>,
    /// `(cos, sin)` of the first [`TABLED`] positions, made when first needed
    table: OnceLock<Vec<(f32, f32)>>,
}

impl PartialEq for Rope {
    fn eq(&self, other: &Rope) -> bool {
        self.inv_freq == other.inv_freq
    }
}

/// Positions whose angles are kept: sine and cosine cost as much as the rotation of several heads.
const TABLED: u32 = 2048;

impl Rope {
    /// `theta^(-2i / head_dim)`, rounded to f32 as PyTorch does.
    pub fn new(head_dim: usize, theta: f64) -> Rope {
        let inv_freq =
            (0..head_dim / 2).map(|i| (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32).collect();
        Rope { inv_freq, table: OnceLock::new() }
    }

    /// `(cos, sin)` of each pair at `position`. The angle is formed in f32, as the reference implementations do.
    fn angles(&self, position: u32) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.inv_freq.iter().map(move |f| {
            let (s, c) = ((position as f32 * f) as f64).sin_cos();
            (c as f32, s as f32)
        })
    }

    fn table(&self) -> &[(f32, f32)] {
        self.table.get_or_init(|| (0..TABLED).flat_map(|position| self.angles(position)).collect())
    }
}

/// Rotates heads of `x` `[T, heads · head_dim]` in place; `back` turns the other way (the gradient).
pub fn rope(pool: &Pool, rope: &Rope, positions: &[u32], x: &mut [f32], back: bool) {
    let half = rope.inv_freq.len();
    let t = positions.len();
    if t == 0 || half == 0 {
        return;
    }
    let width = x.len() / t;
    assert!(x.len() == width * t && width.is_multiple_of(2 * half), "rope shapes");
    const TOKENS: usize = 16; // tokens a task
    let table = rope.table();
    let out = Shares::new(x);
    pool.run(t.div_ceil(TOKENS), |i| {
        let mut far = Vec::new();
        for (t, &position) in positions.iter().enumerate().skip(i * TOKENS).take(TOKENS) {
            let angles = match table.get(position as usize * half..(position as usize + 1) * half) {
                Some(near) => near,
                None => {
                    far.clear();
                    far.extend(rope.angles(position));
                    &far
                }
            };
            // SAFETY: tasks own disjoint tokens.
            for head in unsafe { out.at(t * width, width) }.chunks_exact_mut(2 * half) {
                let (a, b) = head.split_at_mut(half);
                for ((a, b), &(c, s)) in a.iter_mut().zip(b).zip(angles) {
                    let s = if back { -s } else { s };
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    });
}

/// Rows `tokens` of the embedding `[V, D]`, times `scale`, to `out` `[T, D]`.
///
/// # Panics
/// If a token is not below the number of rows.
pub fn embed(pool: &Pool, weight: &Weight, tokens: &[u32], scale: f32, out: &mut [f32]) {
    let d = weight.cols();
    assert_eq!(out.len(), tokens.len() * d, "embedding shape");
    let parts = Shares::new(out);
    pool.run(tokens.len(), |i| {
        // SAFETY: tasks own disjoint rows.
        let row = unsafe { parts.at(i * d, d) };
        weight.row_into(tokens[i] as usize, row);
        if scale != 1.0 {
            row.iter_mut().for_each(|v| *v *= scale);
        }
    });
}
