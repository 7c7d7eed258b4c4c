//! Losses over the vocabulary, in place on a chunk of logits: softmax cross-entropy, and the divergence from a
//! reference distribution.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::math::exp;
use crate::pool::{Pool, Shares};

/// Exponentials that one partial sum takes before it is added to the total: a long vocabulary in f32 needs two levels.
const PART: usize = 64 * LANES;

/// Largest value `m` of a row and `Σ e^(x - m)`. They stay apart: their sum would round away the digits of the loss
/// where logits are large.
#[inline(always)]
pub(crate) unsafe fn max_and_sum<L: Lanes>(x: &[f32]) -> (f32, f32) {
    // SAFETY: chunks of at most 16 values.
    unsafe {
        let mut top = L::splat(f32::NEG_INFINITY);
        for c in x.chunks(LANES) {
            top = L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY).max(top);
        }
        let max = top.reduce_max();
        let m = L::splat(max);
        let mut sum = L::splat(0.0);
        for part in x.chunks(PART) {
            let mut partial = L::splat(0.0);
            for c in part.chunks(LANES) {
                partial = partial.add(exp(L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY).sub(m)));
            }
            sum = sum.add(partial);
        }
        (max, sum.reduce_add())
    }
}

#[inline(always)]
unsafe fn row_loss_lanes<L: Lanes>(x: &mut [f32], target: u32, weight: f32, grad: bool) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (max, sum) = max_and_sum::<L>(x);
        let loss = sum.ln() - (x[target as usize] - max);
        if grad {
            let (m, w) = (L::splat(max), L::splat(weight / sum));
            for c in x.chunks_mut(LANES) {
                exp(L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY).sub(m))
                    .mul(w)
                    .store_part(c.as_mut_ptr(), c.len());
            }
            x[target as usize] -= weight;
        }
        loss
    }
}

lanes_fn! {
    /// # Safety
    /// `target` is inside the row.
    unsafe fn row_loss(x: &mut [f32], target: u32, weight: f32, grad: bool) -> f32 = row_loss_lanes
}

/// `losses[i] = -ln softmax(logits[i])[targets[i]]` for logits `[T, V]`. With `weights` (one factor a row) the logits
/// become their gradient `weight · (softmax - onehot)`; without, they are left as they are.
pub fn cross_entropy(
    pool: &Pool,
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: Option<&[f32]>,
    losses: &mut [f32],
) {
    assert!(logits.len() == targets.len() * vocab && losses.len() == targets.len(), "loss shapes");
    assert!(targets.iter().all(|&t| (t as usize) < vocab), "target beyond the vocabulary");
    let (rows, out) = (Shares::new(logits), Shares::new(losses));
    pool.run(targets.len(), |i| {
        // SAFETY: tasks own disjoint rows.
        unsafe {
            let weight = weights.map_or(0.0, |w| w[i]);
            out.at(i, 1)[0] = row_loss(rows.at(i * vocab, vocab), targets[i], weight, weights.is_some());
        }
    });
}

#[inline(always)]
unsafe fn row_divergence_lanes<L: Lanes>(x: &mut [f32], reference: &[f32], weight: f32, grad: bool) -> f32 {
    // SAFETY: both rows have the same length; chunks of at most 16 values.
    unsafe {
        let ((mx, sx), (mr, sr)) = (max_and_sum::<L>(x), max_and_sum::<L>(reference));
        // ln p_ref - ln p = (r - mr) - (x - mx) + ln(sx / sr)
        let shift = L::splat((sx / sr).ln());
        let (mx, mr) = (L::splat(mx), L::splat(mr));
        let (ux, ur) = (L::splat(1.0 / sx), L::splat(1.0 / sr));
        let w = L::splat(weight);
        let mut sum = L::splat(0.0);
        for (x, r) in x.chunks_mut(PART).zip(reference.chunks(PART)) {
            let mut partial = L::splat(0.0);
            for (c, r) in x.chunks_mut(LANES).zip(r.chunks(LANES)) {
                // lanes beyond the row become numbers whose share is exactly 0
                let below = f32::MIN / 4.0;
                let dx = L::load_part(c.as_ptr(), c.len(), below).sub(mx);
                let dr = L::load_part(r.as_ptr(), r.len(), below).sub(mr);
                let p_ref = exp(dr).mul(ur);
                partial = p_ref.fma(dr.sub(dx).add(shift), partial);
                if grad {
                    exp(dx).mul(ux).sub(p_ref).mul(w).store_part(c.as_mut_ptr(), c.len());
                }
            }
            sum = sum.add(partial);
        }
        sum.reduce_add()
    }
}

lanes_fn! {
    /// # Safety
    /// Rows of the same length.
    unsafe fn row_divergence(x: &mut [f32], reference: &[f32], weight: f32, grad: bool) -> f32 = row_divergence_lanes
}

/// `losses[i] = KL(softmax(reference[i]) ‖ softmax(logits[i]))` in nats, for rows of `vocab` logits. With `weights`
/// (one factor a row) the logits become their gradient `weight · (softmax(logits) - softmax(reference))`; without,
/// they are left as they are.
pub fn kl_divergence(
    pool: &Pool,
    logits: &mut [f32],
    reference: &[f32],
    vocab: usize,
    weights: Option<&[f32]>,
    losses: &mut [f32],
) {
    let t = losses.len();
    assert!(logits.len() == t * vocab && reference.len() == t * vocab, "divergence shapes");
    assert!(weights.is_none_or(|w| w.len() == t), "divergence weights");
    let (rows, out) = (Shares::new(logits), Shares::new(losses));
    pool.run(t, |i| {
        // SAFETY: tasks own disjoint rows.
        unsafe {
            let weight = weights.map_or(0.0, |w| w[i]);
            let reference = &reference[i * vocab..][..vocab];
            out.at(i, 1)[0] = row_divergence(rows.at(i * vocab, vocab), reference, weight, weights.is_some());
        }
    });
}

#[inline(always)]
unsafe fn log_softmax_lanes<L: Lanes>(x: &mut [f32]) {
    // SAFETY: the caller's promise.
    let (max, sum) = unsafe { max_and_sum::<L>(x) };
    let log = sum.ln();
    x.iter_mut().for_each(|v| *v = (*v - max) - log);
}

lanes_fn! {
    /// # Safety
    /// None beyond the instruction set.
    unsafe fn log_softmax_row(x: &mut [f32]) = log_softmax_lanes
}

/// Turns rows of `vocab` logits into log-probabilities, in place.
pub fn log_softmax(pool: &Pool, logits: &mut [f32], vocab: usize) {
    assert!(vocab > 0 && logits.len().is_multiple_of(vocab), "logit shapes");
    let n = logits.len() / vocab;
    let rows = Shares::new(logits);
    // SAFETY: tasks own disjoint rows.
    pool.run(n, |i| unsafe { log_softmax_row(rows.at(i * vocab, vocab)) });
}
