//! Qwen 2, 2.5 (biases on q, k, v: read where they are) and Qwen 3 (norms on q and k, no biases).

use crate::config::{Config, Family};
use nurture_kernels::Activation;

pub(super) fn apply(c: &mut Config) {
    c.activation = Activation::Silu;
    c.qk_norm = matches!(c.family, Family::Qwen3 | Family::Qwen3Moe);
}
