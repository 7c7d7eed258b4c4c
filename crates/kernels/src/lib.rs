//! Arithmetic on slices: fused operations with forward and backward side by side, quantised blocks,
//! a thread pool and CPU detection. This is the only crate with `unsafe`; it does not know what a model is.
//!
//! # Shape letters
//!
//! `T` tokens (rows of a batch), `D` width, `H` heads, `K` key/value heads, `V` vocabulary, `R` LoRA rank;
//! for plain products `M` rows × `K` inner × `N` columns. All matrices are row-major.
//!
//! # Promises
//!
//! * **Order of summation.** Each output element of a product is one chain of fused multiply-adds over the
//!   inner index, ascending, started at +0; with a transposed weight (backward, where the inner index may be the
//!   vocabulary) one sum of such chains over 256 each. Neither depends on the number of rows, the blocking,
//!   the instruction set or the number of threads; so all paths give the same bits.
//! * **Gradients.** Parameter gradients are added to (`+=`), activation gradients are overwritten (`=`), the
//!   gradient of the residual stream is added to (`+=`).

// register tiles index several small arrays by the same row and column; iterators would hide the shape
#![allow(clippy::needless_range_loop)]

mod adamw;
mod adamw8;
mod ahead;
mod attention;
mod ceilings;
mod dot8;
mod dweight;
mod elementwise;
mod experts;
mod fast;
mod input;
mod isa;
mod kv;
mod lanes;
mod layer_norm;
mod linear;
mod lora_rows;
mod loss;
mod math;
mod noise;
mod norm;
mod pool;
mod product;
mod quantise;
mod rng;
mod soft_loss;
mod vocabulary;
mod weight;
mod words;

pub mod dtype;

pub use adamw::{AdamW, adamw, sum_of_squares};
pub use adamw8::{BLOCK8, Moments8, adamw8};
pub use ahead::Ahead;
pub use attention::{
    AttentionBackward, AttentionShape, KEY_PANEL, Keys, Span, attention_backward, attention_forward,
};
pub use ceilings::{Int8Path, fma_rate, int8_rate, read_rate};
pub use dtype::{DType, f16_to_f32};
pub use dweight::{
    WeightGrad, bias_gradient, column_products, embed_gradient, rms_norm_weight_gradient, scale_columns,
    tiled, untile, weight_gradient,
};
pub use elementwise::{
    Activation, Rope, add, add_assign, embed, gated_backward, gated_forward, plain_backward, plain_forward,
    rope,
};
pub use experts::{Dispatch, combine_backward, combine_rows, gather_rows, route, route_backward};
pub use fast::{expect_weights, linear_fast, linear_fast_at};
pub use input::Input;
pub use isa::{Isa, detect_isa, force_isa, isa};
pub use kv::{KvLayer, KvType};
pub use layer_norm::{layer_norm_backward, layer_norm_forward, layer_norm_weight_gradient};
pub use linear::{Backward, Cpu, Forward, Linear, LoraPair, linear_at, linear_backward, linear_forward};
pub use lora_rows::{LoraRows, lora_rows};
pub use loss::{cross_entropy, kl_divergence, log_softmax};
pub use noise::add_uniform_noise;
pub use norm::{rms_norm_backward, rms_norm_forward};
pub use pool::Pool;
pub use quantise::{Quantised, Scales};
pub use rng::Rng;
pub use soft_loss::{Softening, soft_cross_entropy};
pub use vocabulary::{MAXIMA_BLOCK, SUMS_BLOCK, block_maxima, exp_sums, exp_weights};
pub use weight::{TILE_ROWS, Weight};
