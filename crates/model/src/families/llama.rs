//! Llama 2 and 3, SmolLM2: the plain form.

use crate::config::Config;
use nurture_kernels::Activation;

pub(super) fn apply(c: &mut Config) {
    c.activation = Activation::Silu;
}
