//! Passes over one row of logits, for whoever chooses a token: vocabularies are long (262,144 entries and more), a choice
//! needs few of them.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::math::exp;

/// Entries that share one maximum in [`block_maxima`].
pub const MAXIMA_BLOCK: usize = 128;

/// Entries that share one sum in [`exp_sums`].
pub const SUMS_BLOCK: usize = 1024;

#[inline(always)]
unsafe fn block_maxima_lanes<L: Lanes>(x: &[f32], maxima: &mut [f32]) -> bool {
    // SAFETY: chunks of at most 16 values.
    unsafe {
        let (zero, least, most) = (L::splat(0.0), L::splat(f32::MIN), L::splat(f32::MAX));
        let mut odd = zero;
        for (block, max) in x.chunks(MAXIMA_BLOCK).zip(maxima) {
            let mut top = L::splat(f32::NEG_INFINITY);
            for c in block.chunks(LANES) {
                let v = L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY);
                // `min` and `max` give their second operand where one is NaN: it stays, and 0 · NaN stays in the sum
                odd = most.min(least.max(v)).fma(zero, odd);
                top = top.max(v);
            }
            *max = top.reduce_max();
        }
        odd.reduce_add() == 0.0
    }
}

lanes_fn! {
    /// # Safety
    /// None beyond the instruction set.
    unsafe fn block_maxima_any(x: &[f32], maxima: &mut [f32]) -> bool = block_maxima_lanes
}

/// The largest of each block of [`MAXIMA_BLOCK`] logits, into `maxima`, and the largest of all; `None` where a logit is NaN or
/// +∞, or none is above -∞ (`maxima` are then of no use).
pub fn block_maxima(logits: &[f32], maxima: &mut Vec<f32>) -> Option<f32> {
    maxima.clear();
    maxima.resize(logits.len().div_ceil(MAXIMA_BLOCK), f32::NEG_INFINITY);
    // SAFETY: the dispatcher chooses what the machine has.
    let numbers = unsafe { block_maxima_any(logits, maxima) };
    let top = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (numbers && top.is_finite()).then_some(top)
}

#[inline(always)]
unsafe fn exp_sums_lanes<L: Lanes>(x: &[f32], top: f32, scale: f32, sums: &mut [f32]) {
    // SAFETY: chunks of at most 16 values.
    unsafe {
        let (m, s) = (L::splat(top), L::splat(scale));
        for (block, sum) in x.chunks(SUMS_BLOCK).zip(sums) {
            let mut partial = L::splat(0.0);
            for c in block.chunks(LANES) {
                let v = L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY);
                partial = partial.add(exp(v.sub(m).mul(s)));
            }
            *sum = partial.reduce_add();
        }
    }
}

lanes_fn! {
    /// # Safety
    /// None beyond the instruction set.
    unsafe fn exp_sums_any(x: &[f32], top: f32, scale: f32, sums: &mut [f32]) = exp_sums_lanes
}

/// `Σ e^(scale · (x - top))` of each block of [`SUMS_BLOCK`] logits, into `sums`, and of all. `scale` is the inverse temperature
/// (above 0), `top` the largest logit.
pub fn exp_sums(logits: &[f32], top: f32, scale: f32, sums: &mut Vec<f32>) -> f64 {
    sums.clear();
    sums.resize(logits.len().div_ceil(SUMS_BLOCK), 0.0);
    // SAFETY: the dispatcher chooses what the machine has.
    unsafe { exp_sums_any(logits, top, scale, sums) };
    sums.iter().map(|&s| f64::from(s)).sum()
}

#[inline(always)]
unsafe fn exp_weights_lanes<L: Lanes>(x: &[f32], top: f32, scale: f32, out: &mut [f32]) {
    // SAFETY: chunks of at most 16 values, as many in as out.
    unsafe {
        let (m, s) = (L::splat(top), L::splat(scale));
        for (c, o) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
            let v = L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY);
            exp(v.sub(m).mul(s)).store_part(o.as_mut_ptr(), o.len());
        }
    }
}

lanes_fn! {
    /// # Safety
    /// As many values in as out.
    unsafe fn exp_weights_any(x: &[f32], top: f32, scale: f32, out: &mut [f32]) = exp_weights_lanes
}

/// `e^(scale · (x - top))` of each logit, into `weights`; as in [`exp_sums`].
pub fn exp_weights(logits: &[f32], top: f32, scale: f32, weights: &mut Vec<f32>) {
    weights.clear();
    weights.resize(logits.len(), 0.0);
    // SAFETY: the dispatcher chooses what the machine has; the lengths are equal.
    unsafe { exp_weights_any(logits, top, scale, weights) };
}
