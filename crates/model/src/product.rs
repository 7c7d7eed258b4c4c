//! The products of several weights with one input, in either mode.

use nurture_kernels::{
    Ahead, Cpu, Forward, Input, KvType, Quantised, Scales, Weight, expect_weights, linear_fast,
    linear_forward,
};

/// How the products with quantised weights take their activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// float32: training, exams, rollouts, proofs of parity
    #[default]
    Exact,
    /// bytes, 32 of which share a scale, and float32 for the few that stand far out: chat and serving. Adapters and float
    /// weights stay float32
    Fast,
}

impl Mode {
    /// Its name on the command line and beside figures.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Exact => "exact",
            Mode::Fast => "fast",
        }
    }

    /// How keys and values are stored beside it: float32, or two bytes, which is far below what the bytes of activations
    /// round.
    pub fn kv(self) -> KvType {
        match self {
            Mode::Exact => KvType::F32,
            Mode::Fast => KvType::Q16,
        }
    }
}

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
    let is_float = |p: &Forward<'_>| !p.linear.weight.dtype().is_quantised();
    if mode == Mode::Exact || parts.iter().all(is_float) {
        let x = input.forward(pool, floats, inv);
        if mode == Mode::Fast {
            expect_weights(cpu, t, next);
        }
        linear_forward(cpu, x, t, parts);
        return x;
    }
    let keep = keep || parts.iter().any(|p| p.linear.lora.is_some() || is_float(p));
    ahead.ask();
    let scales = Scales::of(parts.iter().map(|p| p.linear.weight));
    let x = bytes.set_from(pool, input, d, scales, floats, keep);
    ahead.ask();
    // not before: while the input was made, waiting threads asked for this product's weights
    expect_weights(cpu, t, next);
    linear_fast(cpu, x, bytes, t, parts);
    x
}
