//! Cross-entropy with label smoothing (Szegedy et al. 2016) and z-loss (Chowdhery et al. 2022), in place.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::loss::max_and_sum;
use crate::math::exp;
use crate::pool::{Pool, Shares};

/// What is added to the cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Softening {
    /// share of the target that is spread evenly over the vocabulary (label smoothing)
    pub smoothing: f32,
    /// factor on the squared logarithm of the sum of exponentials (z-loss), which keeps logits from drifting
    pub z: f32,
}

impl Softening {
    /// Whether anything is added.
    pub fn is_on(&self) -> bool {
        self.smoothing > 0.0 || self.z > 0.0
    }
}

#[inline(always)]
unsafe fn row_lanes<L: Lanes>(x: &mut [f32], target: u32, s: &Softening, weight: f32, grad: bool) -> f32 {
    // SAFETY: chunks of at most 16 values.
    unsafe {
        let (max, sum) = max_and_sum::<L>(x);
        let log = sum.ln();
        let n = x.len() as f32;
        // Σ (x - max), by parts of 1,024 values
        let mut total = 0f32;
        for part in x.chunks(64 * LANES) {
            let mut partial = L::splat(0.0);
            for c in part.chunks(LANES) {
                partial = partial.add(L::load_part(c.as_ptr(), c.len(), max).sub(L::splat(max)));
            }
            total += partial.reduce_add();
        }
        let z = log + max;
        let loss =
            log - (1.0 - s.smoothing) * (x[target as usize] - max) - s.smoothing * (total / n) + s.z * z * z;
        if grad {
            let (m, w) = (L::splat(max), L::splat(weight * (1.0 + 2.0 * s.z * z) / sum));
            let even = L::splat(-weight * s.smoothing / n);
            for c in x.chunks_mut(LANES) {
                exp(L::load_part(c.as_ptr(), c.len(), f32::NEG_INFINITY).sub(m))
                    .fma(w, even)
                    .store_part(c.as_mut_ptr(), c.len());
            }
            x[target as usize] -= weight * (1.0 - s.smoothing);
        }
        loss
    }
}

lanes_fn! {
    /// # Safety
    /// `target` is inside the row.
    unsafe fn row(x: &mut [f32], target: u32, s: &Softening, weight: f32, grad: bool) -> f32 = row_lanes
}

/// As [`crate::cross_entropy`], with `s` added: `lse - (1 - ε) x_target - ε mean(x) + z lse²`.
pub fn soft_cross_entropy(
    pool: &Pool,
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    s: Softening,
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
            out.at(i, 1)[0] = row(rows.at(i * vocab, vocab), targets[i], &s, weight, weights.is_some());
        }
    });
}
