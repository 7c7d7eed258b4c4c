//! Pieces of a quantised tile: quants, scales and minima of a run, a half of it or a block, and the values of a column.

use super::{NONLINEAR, RUN, RUNS, tile_block_bytes};
use crate::dtype::DType;
use crate::lanes::{LANES, Lanes};

/// What stored quants stand for, by scale `d` and minimum `m`.
///
/// # Safety
/// The instruction set of `L`.
#[inline(always)]
pub(super) unsafe fn value<L: Lanes>(dtype: DType, q: L::Int, d: L, m: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let q = if offset(dtype) > 0 { L::int_add(q, L::int_splat(-offset(dtype))) } else { q };
        whole_value(dtype, q, d, m)
    }
}

/// Column `column` of a quantised tile, 16 rows.
///
/// # Safety
/// As [`decode32`](super::decode32), for the column's run.
#[inline(always)]
pub(crate) unsafe fn column<L: Lanes>(dtype: DType, tile: *const u8, column: usize) -> L {
    let (run, quad, byte) = (column / RUN, column % RUN / 4, column % 4);
    // SAFETY: the caller's promise.
    unsafe {
        let q = L::int_shr_by(quads32::<L>(dtype, tile, run, quad), 8 * byte as u32);
        let q = if dtype.signed() {
            L::int_sar::<24>(L::int_shl::<24>(q))
        } else {
            L::int_and(q, L::int_splat(255))
        };
        if !dtype.has_blocks() {
            let (d, m) = scales32::<L>(dtype, tile, run)[0];
            return value(dtype, q, d, m);
        }
        let q = L::int_add(q, L::int_splat(-offset(dtype)));
        let (d, least) = block_scales::<L>(dtype, tile, run / RUNS);
        let half = usize::from(dtype.halves() && quad >= 4);
        let small = small_scale::<L>(dtype, tile, run, half);
        let m = if dtype.has_min() {
            let m = L::int_to_f32(small_minimum::<L>(dtype, tile, run, half));
            L::splat(0.0).sub(least.mul(m))
        } else {
            L::splat(0.0)
        };
        match folds(dtype) {
            true => whole_value(dtype, L::int_mul(q, small), d, m),
            false => whole_value(dtype, q, d.mul(L::int_to_f32(small)), m),
        }
    }
}

/// What quants less their offset stand for, of types that fold times their small scale, by scale `d` and minimum `m`.
///
/// # Safety
/// The instruction set of `L`.
#[inline(always)]
pub(crate) unsafe fn whole_value<L: Lanes>(dtype: DType, q: L::Int, d: L, m: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype.has_min() {
            true => L::int_to_f32(q).fma(d, m),
            false => L::int_to_f32(q).mul(d),
        }
    }
}

/// What is taken off each stored quant.
#[inline(always)]
pub(crate) fn offset(dtype: DType) -> i32 {
    match dtype {
        DType::Q4_0 => 8,
        DType::Q5_0 => 16,
        DType::Q6K => 32,
        DType::Q3K => 4,
        _ => 0,
    }
}

/// The largest magnitude of a stored quant.
pub(crate) const fn most(dtype: DType) -> i32 {
    match dtype {
        DType::Q2K => 3,
        DType::Q3K => 7,
        DType::Q4_0 | DType::Q4_1 | DType::Q4K => 15,
        DType::Q5_0 | DType::Q5_1 | DType::Q5K => 31,
        DType::Q6K => 63,
        _ => 128,
    }
}

/// `(d, m)` of the first and of the second sixteen columns of a run of a quantised tile: a value is
/// `d (q - offset) + m`. The two are the same where a run has one scale.
///
/// # Safety
/// As [`decode32`](super::decode32); `dtype` is quantised.
#[inline(always)]
pub(crate) unsafe fn scales32<L: Lanes>(dtype: DType, tile: *const u8, run: usize) -> [(L, L); 2] {
    // SAFETY: all offsets lie inside the block's layout given at the head of `weight.rs`.
    unsafe {
        let bytes = tile_block_bytes(dtype);
        match dtype {
            DType::Q4_1 | DType::Q5_1 => {
                let p = tile.add(run * bytes);
                let d = L::load_f16(p);
                [(d, L::load_f16(p.add(32))); 2]
            }
            _ if dtype.has_blocks() => {
                let (d, least) = block_scales::<L>(dtype, tile, run / RUNS);
                let mut halves = [(d, L::splat(0.0)); 2];
                // a loop and not a closure, which would not be inlined
                for (i, half) in halves.iter_mut().enumerate() {
                    half.0 = d.mul(L::int_to_f32(small_scale::<L>(dtype, tile, run, i)));
                    if dtype.has_min() {
                        let m = L::int_to_f32(small_minimum::<L>(dtype, tile, run, i));
                        half.1 = L::splat(0.0).sub(least.mul(m));
                    }
                }
                halves
            }
            _ => {
                let d = L::load_f16(tile.add(run * bytes));
                [(d, L::splat(0.0)); 2]
            }
        }
    }
}

/// Whether quants times the small scales of their halves of a run fit a byte: the sum of a block is one whole number then.
pub(crate) const fn folds(dtype: DType) -> bool {
    matches!(dtype, DType::Q2K | DType::Q3K)
}

/// The scale of a block of a K type and the scale of its minima (0 where it has none).
///
/// # Safety
/// As [`scales32`], for the block's runs.
#[inline(always)]
pub(crate) unsafe fn block_scales<L: Lanes>(dtype: DType, tile: *const u8, block: usize) -> (L, L) {
    // SAFETY: all offsets lie inside the block's layout given at the head of `weight.rs`.
    unsafe {
        let p = tile.add(block * tile_block_bytes(dtype));
        (L::load_f16(p), if dtype.has_min() { L::load_f16(p.add(32)) } else { L::splat(0.0) })
    }
}

/// The small scale of a run of a K type, of its half `half` where these have their own.
///
/// # Safety
/// As [`scales32`].
#[inline(always)]
pub(crate) unsafe fn small_scale<L: Lanes>(dtype: DType, tile: *const u8, run: usize, half: usize) -> L::Int {
    // SAFETY: all offsets lie inside the block's layout given at the head of `weight.rs`.
    unsafe {
        let (p, s) = (tile.add(run / RUNS * tile_block_bytes(dtype)), run % RUNS);
        let halves = (2 * s + half) * LANES;
        match dtype {
            DType::Q2K => L::int_and(L::load_u8(p.add(64 + halves)), L::int_splat(15)),
            DType::Q3K | DType::Q6K => L::load_i8(p.add(32 + halves)),
            _ => L::load_u8(p.add(64 + s * LANES)),
        }
    }
}

/// The small minimum of a run of a K type that has one, as [`small_scale`].
///
/// # Safety
/// As [`scales32`].
#[inline(always)]
pub(crate) unsafe fn small_minimum<L: Lanes>(
    dtype: DType,
    tile: *const u8,
    run: usize,
    half: usize,
) -> L::Int {
    // SAFETY: all offsets lie inside the block's layout given at the head of `weight.rs`.
    unsafe {
        let (p, s) = (tile.add(run / RUNS * tile_block_bytes(dtype)), run % RUNS);
        match dtype {
            DType::Q2K => L::int_shr::<4>(L::load_u8(p.add(64 + (2 * s + half) * LANES))),
            _ => L::load_u8(p.add(192 + s * LANES)),
        }
    }
}

/// How many [`minima`] a block has.
pub(crate) const fn minima_pairs(dtype: DType) -> usize {
    match dtype {
        DType::Q2K => RUNS,
        _ => RUNS / 2,
    }
}

/// Small minima of a block of a K type by pairs of sixteen bits: those of the halves of run `j` of Q2_K, else of runs `2 j` and `2 j + 1`.
///
/// # Safety
/// As [`scales32`], for the block's runs; the type has minima.
#[inline(always)]
pub(crate) unsafe fn minima<L: Lanes>(dtype: DType, tile: *const u8, block: usize, j: usize) -> L::Int {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = match dtype {
            DType::Q2K => [(RUNS * block + j, 0), (RUNS * block + j, 1)],
            _ => [(RUNS * block + 2 * j, 0), (RUNS * block + 2 * j + 1, 0)],
        };
        let first = small_minimum::<L>(dtype, tile, first.0, first.1);
        L::int_or(first, L::int_shl::<16>(small_minimum::<L>(dtype, tile, second.0, second.1)))
    }
}

/// The quants of [`quads32`] less their offset, times the small scale of their half: Q2_K's as they are, unsigned; Q3_K's with the sign turned, whose
/// 128 would not fit else, and greater by 128.
///
/// # Safety
/// As [`scales32`]; `g < 8`.
#[inline(always)]
pub(crate) unsafe fn folded32<L: Lanes>(
    dtype: DType,
    tile: *const u8,
    run: usize,
    g: usize,
    small: [L::Int; 2],
) -> L::Int {
    // SAFETY: the caller's promise. Four bytes are multiplied as one number: none of the four results leaves its byte.
    unsafe {
        let (q, small) = (quads32::<L>(dtype, tile, run, g), small[g / 4]);
        if dtype == DType::Q2K {
            return L::int_mul(q, small);
        }
        let none =
            L::int_add(L::int_mul(L::int_splat(0x0404_0404), small), L::int_splat(0x8080_8080u32 as i32));
        L::int_add(none, L::int_mul(L::int_mul(q, small), L::int_splat(-1)))
    }
}

/// The stored quants of columns `32 run + 4 g ..` of a quantised tile: four bytes a lane, unsigned (signed for Q8_0 and IQ4_NL).
///
/// # Safety
/// As [`scales32`]; `g < 8`.
#[inline(always)]
pub(crate) unsafe fn quads32<L: Lanes>(dtype: DType, tile: *const u8, run: usize, g: usize) -> L::Int {
    const QUAD: usize = 4 * LANES;
    // SAFETY: all offsets lie inside the block's layout given at the head of `weight.rs`.
    unsafe {
        let bytes = tile_block_bytes(dtype);
        let (low, one) = (L::int_splat(0x0f0f_0f0f), L::int_splat(0x0101_0101));
        // low or high nibbles, without a branch where the place is not known to the compiler
        let nibbles =
            |p: *const u8, high: bool| L::int_and(L::int_shr_by(L::load_int(p), 4 * high as u32), low);
        match dtype {
            DType::Q8_0 => L::load_int(tile.add(run * bytes + 32 + g * QUAD)),
            DType::Q4_0 => nibbles(tile.add(run * bytes + 32 + g % 4 * QUAD), g >= 4),
            DType::IQ4NL => {
                L::int_lookup(&NONLINEAR, nibbles(tile.add(run * bytes + 32 + g % 4 * QUAD), g >= 4))
            }
            DType::Q4_1 => nibbles(tile.add(run * bytes + 64 + g % 4 * QUAD), g >= 4),
            DType::Q5_0 | DType::Q5_1 => {
                let bits = tile.add(run * bytes + if dtype == DType::Q5_0 { 32 } else { 64 });
                let fifth = L::int_and(L::int_shr_by(L::load_int(bits), g as u32), one);
                L::int_or(nibbles(bits.add(QUAD + g % 4 * QUAD), g >= 4), L::int_shl::<4>(fifth))
            }
            DType::Q4K => {
                let s = run % 8;
                nibbles(tile.add(run / 8 * bytes + 320 + (s / 2 * 8 + g) * QUAD), s % 2 == 1)
            }
            DType::Q5K => {
                let (bits, s) = (tile.add(run / 8 * bytes + 320), run % 8);
                let fifth = L::int_and(L::int_shr_by(L::load_int(bits.add(g * QUAD)), s as u32), one);
                L::int_or(nibbles(bits.add((8 + s / 2 * 8 + g) * QUAD), s % 2 == 1), L::int_shl::<4>(fifth))
            }
            DType::Q2K => {
                let (p, s) = (tile.add(run / 8 * bytes + 320), run % 8);
                let pairs = L::load_int(p.add((s / 4 * 8 + g) * QUAD));
                L::int_and(L::int_shr_by(pairs, 2 * (s % 4) as u32), L::int_splat(0x0303_0303))
            }
            DType::Q3K => {
                let (p, s) = (tile.add(run / 8 * bytes + 288), run % 8);
                let third = L::int_and(L::int_shr_by(L::load_int(p.add(g * QUAD)), s as u32), one);
                let pairs = L::load_int(p.add((8 + s / 4 * 8 + g) * QUAD));
                let low = L::int_and(L::int_shr_by(pairs, 2 * (s % 4) as u32), L::int_splat(0x0303_0303));
                L::int_or(low, L::int_shl::<2>(third))
            }
            _ => {
                // Q6_K, 128 columns a half; quarter q of a half takes its low bits from bytes (q % 2) * 32 ..
                let (p, s) = (tile.add(run / 8 * bytes + 288), run % 8);
                let (half, quarter) = (s / 4, s % 4);
                let high = L::load_int(p.add((32 + half * 8 + g) * QUAD));
                let high = L::int_and(L::int_shr_by(high, 2 * quarter as u32), L::int_splat(0x0303_0303));
                let low = nibbles(p.add((half * 16 + quarter % 2 * 8 + g) * QUAD), quarter >= 2);
                L::int_or(low, L::int_shl::<4>(high))
            }
        }
    }
}
