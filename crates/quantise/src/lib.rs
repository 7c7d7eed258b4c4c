//! Floats to quantised blocks, and which tensor of a model gets which type.
//!
//! A block type fixes what can be stored (`nurture_kernels::DType`); how good a file is depends on the search for scales
//! and minima. Here each block minimises `Σ w (x - x̂)²` over the values that it can really hold: candidates of the scale,
//! each improved by alternating between the nearest quants and the least-squares scale (and minimum) of those quants,
//! then everything rounded as the format stores it, quants last. The weight `w = rms + |x|` says that errors of large
//! weights cost more (the idea of k-quants and of AWQ: large weights meet large activations).
//!
//! A block's bytes depend on its own values alone: neither threads nor rows beside it change a byte.

// blocks index several small arrays by the same place; iterators would hide the layout
#![allow(clippy::needless_range_loop)]

mod blocks;
mod mix;
mod search;
mod super_blocks;

pub use mix::{Kind, Mix, TensorRole};

use nurture_kernels::{DType, Pool};

/// Why values cannot be stored in a type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// There is no encoder.
    #[error(
        "{0} files can be read but not written; use one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K"
    )]
    Type(DType),
    /// Rows that are not whole blocks.
    #[error("rows of {cols} values are not whole {dtype} blocks of {}", dtype.block_len())]
    Columns {
        /// the type
        dtype: DType,
        /// values a row
        cols: usize,
    },
    /// A value that is not finite.
    #[error("row {0} holds a value that is not finite")]
    NotFinite(usize),
    /// A value beyond what F16 (or a scale in F16) can hold.
    #[error("row {row} holds {value}, which is too large for {dtype}")]
    TooLarge {
        /// row of the value
        row: usize,
        /// the value
        value: f32,
        /// the type
        dtype: DType,
    },
}

/// Whether there is an encoder for the type.
pub fn can_encode(dtype: DType) -> bool {
    !matches!(dtype, DType::Q2K | DType::Q3K | DType::IQ4NL)
}

/// Encodes rows of `cols` values, row-major, as GGUF stores them.
///
/// # Errors
/// A type without encoder, broken shapes, values that cannot be stored.
///
/// # Panics
/// If `values` is not whole rows.
pub fn encode(pool: &Pool, dtype: DType, cols: usize, values: &[f32]) -> Result<Vec<u8>, EncodeError> {
    assert!(cols > 0 && values.len().is_multiple_of(cols), "rows of values");
    if !can_encode(dtype) {
        return Err(EncodeError::Type(dtype));
    }
    let Some(row_bytes) = dtype.bytes_of(cols) else { return Err(EncodeError::Columns { dtype, cols }) };
    let rows = values.len() / cols;
    const GROUP: usize = 8;
    let slots: Vec<_> = (0..rows.div_ceil(GROUP)).map(|_| std::sync::Mutex::new(Ok(Vec::new()))).collect();
    pool.run(slots.len(), |group| {
        let mut out = Vec::with_capacity(GROUP * row_bytes);
        let mut made = Ok(());
        for row in group * GROUP..((group + 1) * GROUP).min(rows) {
            made = encode_row(dtype, &values[row * cols..][..cols], row, &mut out);
            if made.is_err() {
                break;
            }
        }
        *slots[group].lock().unwrap_or_else(|e| e.into_inner()) = made.map(|()| out);
    });
    let mut out = Vec::with_capacity(rows * row_bytes);
    for slot in slots {
        out.extend(slot.into_inner().unwrap_or_else(|e| e.into_inner())?);
    }
    Ok(out)
}

/// Largest magnitude whose scale F16 can hold, with room for rounding.
fn limit(dtype: DType) -> f32 {
    const F16: f32 = 65_000.0;
    match dtype {
        DType::F32 | DType::BF16 => f32::MAX,
        _ => F16,
    }
}

fn encode_row(dtype: DType, x: &[f32], row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if x.iter().any(|v| !v.is_finite()) {
        return Err(EncodeError::NotFinite(row));
    }
    if let Some(&value) = x.iter().find(|v| v.abs() > limit(dtype)) {
        return Err(EncodeError::TooLarge { row, value, dtype });
    }
    match dtype {
        DType::F32 => out.extend(x.iter().flat_map(|v| v.to_le_bytes())),
        DType::F16 => out.extend(x.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes())),
        DType::BF16 => out.extend(x.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())),
        DType::Q4K | DType::Q5K => {
            x.as_chunks::<256>().0.iter().for_each(|b| super_blocks::affine(dtype, b, out));
        }
        DType::Q6K => x.as_chunks::<256>().0.iter().for_each(|b| super_blocks::six_bits(b, out)),
        _ => x.as_chunks::<32>().0.iter().for_each(|b| blocks::encode(dtype, b, out)),
    }
    Ok(())
}
