//! Blocks of 32 values: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.

use crate::search::{as_f16, error, inverse, quant, scale, scale_and_min, weights};
use half::f16;
use nurture_kernels::DType;

/// Appends the block as the format lays it out: scale (and minimum) in F16, fifth bits, then nibbles: column `j` low,
/// column `j + 16` high.
pub(crate) fn encode(dtype: DType, x: &[f32; 32], out: &mut Vec<u8>) {
    match dtype {
        DType::Q8_0 => {
            // the far end -128 is legal, but readers that sum in 16 bits expect ±127
            let d = rounded(x, &[1.0; 32], -127.0, 127.0);
            put(d, out);
            let id = inverse(d);
            out.extend(x.iter().map(|v| quant(v * id, -127.0, 127.0) as i8 as u8));
        }
        DType::Q4_0 => symmetric(x, 8.0, out),
        DType::Q5_0 => symmetric(x, 16.0, out),
        DType::Q4_1 => affine(x, 15.0, out),
        _ => affine(x, 31.0, out),
    }
}

fn put(x: f32, out: &mut Vec<u8>) {
    out.extend(f16::from_f32(x).to_le_bytes());
}

/// The best scale that F16 can hold.
fn rounded(x: &[f32; 32], w: &[f32; 32], low: f32, high: f32) -> f32 {
    let d = scale(x, w, low, high);
    let near = f16::from_f32(d);
    let beside =
        [-1i32, 0, 1].map(|i| f16::from_bits((i32::from(near.to_bits()) + i).clamp(0, 0xffff) as u16));
    let mut best = (f32::INFINITY, as_f16(d));
    for h in beside {
        let h = h.to_f32();
        if h.is_finite() {
            let e = error(x, w, h, 0.0, low, high);
            if e < best.0 {
                best = (e, h);
            }
        }
    }
    best.1
}

fn symmetric(x: &[f32; 32], n: f32, out: &mut Vec<u8>) {
    let w = weights(x);
    let d = rounded(x, &w, -n, n - 1.0);
    put(d, out);
    let id = inverse(d);
    quants(&x.map(|v| (quant(v * id, -n, n - 1.0) + n) as u8), n > 8.0, out);
}

fn affine(x: &[f32; 32], n: f32, out: &mut Vec<u8>) {
    let (d, m) = scale_and_min(x, &weights(x), n, false);
    let (d, m) = (as_f16(d), as_f16(m));
    put(d, out);
    put(m, out);
    let id = inverse(d);
    quants(&x.map(|v| quant((v - m) * id, 0.0, n) as u8), n > 15.0, out);
}

fn quants(q: &[u8; 32], fifth: bool, out: &mut Vec<u8>) {
    if fifth {
        let bits = q.iter().enumerate().fold(0u32, |b, (j, q)| b | u32::from(q >> 4 & 1) << j);
        out.extend(bits.to_le_bytes());
    }
    out.extend((0..16).map(|j| (q[j] & 15) | (q[j + 16] & 15) << 4));
}
