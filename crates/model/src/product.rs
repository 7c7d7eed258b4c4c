//! The products of several weights with one input, in either mode.

use crate::decoder::Mode;
use nurture_kernels::{
    Ahead, Cpu, Forward, Input, Quantised, Weight, expect_weights, linear_fast, linear_forward,
};

/// Buffers for the input of a product.
pub(crate) struct InputBuffers<'a> {
    /// rows as floats `[T, D]`, where an operation makes them
    pub(crate) floats: &'a mut [f32],
    /// factors of a norm `[T]`, or empty
    pub(crate) inv: &'a mut [f32],
    /// rows as bytes (fast mode)
    pub(crate) bytes: &'a mut Quantised,
}

/// Computes `parts`; `next` are the weights of the product that follows. Gives the rows of the input, which an operation in fast
/// mode leaves there only with `keep`, or where the parts need them: else they are scratch.
#[allow(clippy::too_many_arguments)]
pub(crate) fn product<'a>(
    cpu: &Cpu,
    mode: Mode,
    input: Input<'a>,
    made: InputBuffers<'a>,
    keep: bool,
    parts: &mut [Forward<'_>],
    next: &[&Weight],
    ahead: &mut Ahead,
) -> &'a [f32] {
    let (pool, d) = (cpu.pool(), parts[0].linear.weight.cols());
    let t = input.len() / d;
    let InputBuffers { floats, inv, bytes } = made;
    if mode == Mode::Fast {
        expect_weights(cpu, t, next);
    }
    let is_float = |p: &Forward<'_>| !p.linear.weight.dtype().is_quantised();
    if mode == Mode::Exact || parts.iter().all(is_float) {
        let x = input.forward(pool, floats, inv);
        linear_forward(cpu, x, t, parts);
        return x;
    }
    let keep = keep || parts.iter().any(|p| p.linear.lora.is_some() || is_float(p));
    ahead.ask();
    let x = bytes.set_from(pool, input, d, floats, keep);
    ahead.ask();
    linear_fast(cpu, x, bytes, t, parts);
    x
}
