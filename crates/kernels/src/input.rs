//! The input of a product: rows that are there, or the operation that makes them. So a product that wants bytes has each row
//! quantised as it is made, while it is in the first-level cache ([`Quantised::set_from`](crate::Quantised::set_from)).

use crate::elementwise::{Activation, gated, gated_forward, plain, plain_forward};
use crate::layer_norm::{self, layer_norm_forward};
use crate::norm::{self, rms_norm_forward};
use crate::pool::Pool;

/// Rows `[T, D]`, or what makes them.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names are those of the operations
pub enum Input<'a> {
    /// as they are
    Rows(&'a [f32]),
    /// [`rms_norm_forward`]
    RmsNorm { x: &'a [f32], weight: &'a [f32], eps: f32 },
    /// [`layer_norm_forward`]
    LayerNorm { x: &'a [f32], weight: &'a [f32], bias: &'a [f32], eps: f32 },
    /// [`gated_forward`]
    Gated { kind: Activation, gate: &'a [f32], up: &'a [f32] },
    /// [`plain_forward`]
    Plain { kind: Activation, x: &'a [f32] },
}

impl<'a> Input<'a> {
    /// Number of values, `T · D`.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self {
            Input::Rows(x)
            | Input::RmsNorm { x, .. }
            | Input::LayerNorm { x, .. }
            | Input::Gated { gate: x, .. }
            | Input::Plain { x, .. } => x.len(),
        }
    }

    /// All rows: as they are, or made in `out`. `inv` `[T]` takes the factors of a norm, or is empty.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(self, pool: &Pool, out: &'a mut [f32], inv: &mut [f32]) -> &'a [f32] {
        match self {
            Input::Rows(x) => return x,
            Input::RmsNorm { x, weight, eps } => rms_norm_forward(pool, x, weight, eps, out, inv),
            Input::LayerNorm { x, weight, bias, eps } => {
                layer_norm_forward(pool, x, weight, bias, eps, out, inv);
            }
            Input::Gated { kind, gate, up } => gated_forward(pool, kind, gate, up, out),
            Input::Plain { kind, x } => plain_forward(pool, kind, x, out),
        }
        out
    }

    /// Whether rows of `d` values can be made.
    pub(crate) fn fits(&self, d: usize) -> bool {
        let rest = match self {
            Input::Rows(_) | Input::Plain { .. } => true,
            Input::RmsNorm { weight, .. } => weight.len() == d,
            Input::LayerNorm { weight, bias, .. } => {
                weight.len() == d && (bias.is_empty() || bias.len() == d)
            }
            Input::Gated { gate, up, .. } => gate.len() == up.len(),
        };
        rest && d > 0 && self.len().is_multiple_of(d)
    }

    /// Makes row `row` in `out`: the bits of [`Input::forward`].
    ///
    /// # Safety
    /// The input [`Input::fits`] rows as long as `out`, and there is such a row.
    pub(crate) unsafe fn row(&self, row: usize, out: &mut [f32]) {
        let at = row * out.len()..(row + 1) * out.len();
        // SAFETY: one row of everything.
        unsafe {
            match *self {
                Input::Rows(x) => out.copy_from_slice(&x[at]),
                Input::RmsNorm { x, weight, eps } => norm::forward(&x[at], weight, eps, out, &mut []),
                Input::LayerNorm { x, weight, bias, eps } => {
                    layer_norm::forward(&x[at], weight, bias, eps, out, &mut []);
                }
                Input::Gated { kind, gate, up } => gated(kind, &gate[at.clone()], &up[at], out),
                Input::Plain { kind, x } => plain(kind, &x[at], out),
            }
        }
    }
}
