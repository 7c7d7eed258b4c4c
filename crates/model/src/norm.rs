//! A norm of the network, of either kind: its weights, and the operations that read them.

use crate::config::NormKind;
use crate::decoder::Decoder;
use nurture_kernels::{Input, Pool, layer_norm_backward, rms_norm_backward};

/// What a norm multiplies by and adds.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// `[D]`
    pub weight: Vec<f32>,
    /// `[D]`, of layer norms
    pub bias: Option<Vec<f32>>,
}

impl NormWeights {
    /// Weights of one, biases of zero: what a new network begins with.
    pub(crate) fn new(kind: NormKind, n: usize) -> NormWeights {
        NormWeights { weight: vec![1.0; n], bias: (kind == NormKind::Layer).then(|| vec![0.0; n]) }
    }

    pub(crate) fn bias(&self) -> &[f32] {
        self.bias.as_deref().unwrap_or_default()
    }
}

impl Decoder {
    /// Rows of `x` through a norm, as yet to be made.
    pub(crate) fn norm_input<'a>(&self, x: &'a [f32], n: &'a NormWeights) -> Input<'a> {
        let eps = self.config.norm_eps;
        match self.config.norm {
            NormKind::Rms => Input::RmsNorm { x, weight: &n.weight, eps },
            NormKind::Layer => Input::LayerNorm { x, weight: &n.weight, bias: n.bias(), eps },
        }
    }

    /// Rows of `x` through a norm to `y`; `inv` (one factor a row, for the backward pass) may be empty.
    pub(crate) fn norm_forward(
        &self,
        pool: &Pool,
        x: &[f32],
        n: &NormWeights,
        y: &mut [f32],
        inv: &mut [f32],
    ) {
        self.norm_input(x, n).forward(pool, y, inv);
    }

    /// The gradient `dx` of its input, written or (with `add`) added.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn norm_backward(
        &self,
        pool: &Pool,
        x: &[f32],
        n: &NormWeights,
        inv: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        add: bool,
    ) {
        match self.config.norm {
            NormKind::Rms => rms_norm_backward(pool, x, &n.weight, inv, dy, dx, add),
            NormKind::Layer => layer_norm_backward(pool, x, &n.weight, inv, dy, dx, add),
        }
    }
}
