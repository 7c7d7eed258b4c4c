//! Gemma 3, text: norms before and after each part, norms on q and k, an embedding scaled by √D, and windows on all
//! but every sixth layer, whose rotary base is 10,000.

use crate::config::Config;
use nurture_kernels::Activation;

/// Every so many layers one sees all positions.
pub(super) const GLOBAL_EVERY: usize = 6;

/// Rotary base of layers with a window where the file names none.
pub(super) const LOCAL_THETA: f64 = 10_000.0;

pub(super) fn apply(c: &mut Config) {
    c.activation = Activation::GeluTanh;
    c.qk_norm = true;
    c.post_norms = true;
    c.embed_scale = (c.width as f32).sqrt();
    c.local_rope_theta.get_or_insert(LOCAL_THETA);
}

/// Windows by the published pattern: `every - 1` layers with a window, then one without.
pub(super) fn windows(layers: usize, window: Option<usize>, every: usize) -> Vec<Option<usize>> {
    (0..layers).map(|l| if (l + 1).is_multiple_of(every.max(1)) { None } else { window }).collect()
}
