//! LoRA pairs of several adapters in one batch: after the product with the weight, which all rows share, each group of rows
//! gets the thin products of its own adapter.
//!
//! The sum of an output goes on where the weight's product left it, in the order of [`crate::linear_forward`] and
//! [`crate::linear_fast`]: a row's bits are those of a batch in which every row has its adapter.

use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::linear::{Cpu, LoraPair};
use crate::pool::Shares;

/// Rows whose sums run side by side.
const SIDE: usize = 8;

/// Columns of outputs that a task takes.
const COLUMNS: usize = 256;

/// The outputs of a weight whose rows belong to several adapters.
#[derive(Debug)]
pub struct LoraRows<'a> {
    /// `(first row, rows, pair)`: rows of no group are left as they are
    pub groups: Vec<(usize, usize, &'a LoraPair)>,
    /// `[T, N]`, holds `x Wᵀ + bias`; `h Bᵀ` is added
    pub y: &'a mut [f32],
}

/// Rows of one group that go through together.
struct Piece<'a> {
    part: usize,
    row: usize,
    rows: usize,
    pair: &'a LoraPair,
    /// where its `h` begins
    h: usize,
}

/// `y += s · x Aᵀ Bᵀ` for the groups of all `parts` of the same input `x` `[T, D]`.
///
/// # Panics
/// If shapes do not fit or a row stands in two groups of a part.
pub fn lora_rows(cpu: &Cpu, x: &[f32], d: usize, parts: &mut [LoraRows<'_>]) {
    let t = x.len() / d;
    let mut pieces = Vec::new();
    let mut floats = 0;
    for (part, p) in parts.iter().enumerate() {
        let mut groups: Vec<_> = p.groups.iter().collect();
        groups.sort_by_key(|g| g.0);
        let mut next = 0;
        for &&(first, rows, pair) in &groups {
            assert!(
                first >= next && rows <= t && first <= t - rows,
                "a group of rows outside or in two groups"
            );
            assert!(pair.d_in() == d && p.y.len() == t * pair.d_out(), "LoRA shape");
            next = first + rows;
            for row in (first..next).step_by(SIDE) {
                let rows = SIDE.min(next - row);
                pieces.push(Piece { part, row, rows, pair, h: floats });
                floats += rows * pair.rank();
            }
        }
    }
    if pieces.is_empty() {
        return;
    }
    let mut kept = cpu.take(floats);
    let hs = Shares::new(&mut kept);
    cpu.pool().run(pieces.len(), |i| {
        let p = &pieces[i];
        // SAFETY: each piece has its own `h`; shapes are checked above.
        unsafe {
            let h = hs.at(p.h, p.rows * p.pair.rank());
            let (at, rp) = p.pair.transposed_a();
            thin(&x[p.row * d..][..p.rows * d], d, at, rp, p.pair.scale(), h, p.pair.rank());
        }
    });
    let ys: Vec<_> = parts.iter_mut().map(|p| Shares::new(p.y)).collect();
    // one task: some columns of a piece
    let mut tasks = Vec::new();
    for (i, p) in pieces.iter().enumerate() {
        tasks.extend((0..p.pair.d_out()).step_by(COLUMNS).map(|col| (i, col)));
    }
    let h = &*kept;
    // short tasks cost more to hand out than to do
    const BUNDLE: usize = 4;
    cpu.pool().run(tasks.len().div_ceil(BUNDLE), |bundle| {
        for &(i, col) in tasks.iter().skip(bundle * BUNDLE).take(BUNDLE) {
            let p = &pieces[i];
            let (n, rank) = (p.pair.d_out(), p.pair.rank());
            let (bt, np) = p.pair.transposed_b();
            let to = (col + COLUMNS).min(n);
            let h = &h[p.h..][..p.rows * rank];
            // SAFETY: pieces have disjoint rows within a part, tasks of a piece disjoint columns.
            unsafe { widen(h, rank, bt, np, ys[p.part].ptr().wrapping_add(p.row * n), n, p.rows, col, to) };
        }
    });
    cpu.give(kept);
}

/// `h = s · x Aᵀ` for the `M` rows of `x`.
#[inline(always)]
unsafe fn thin_m<L: Lanes, const M: usize>(
    x: *const f32,
    d: usize,
    at: *const f32,
    rp: usize,
    scale: f32,
    h: *mut f32,
    rank: usize,
) {
    for v in (0..rank).step_by(LANES) {
        let here = LANES.min(rank - v);
        // SAFETY: `at` is `[d, rp]` with `rp` a multiple of 16, `x` `[M, d]`, `h` `[M, rank]`.
        unsafe {
            let mut acc = [L::splat(0.0); M];
            for k in 0..d {
                let a = L::load(at.add(k * rp + v));
                for m in 0..M {
                    acc[m] = L::splat(*x.add(m * d + k)).fma(a, acc[m]);
                }
            }
            for m in 0..M {
                acc[m].mul(L::splat(scale)).store_part(h.add(m * rank + v), here);
            }
        }
    }
}

#[inline(always)]
unsafe fn thin_lanes<L: Lanes>(
    x: &[f32],
    d: usize,
    at: &[f32],
    rp: usize,
    scale: f32,
    h: &mut [f32],
    rank: usize,
) {
    let rows = x.len() / d;
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's shapes; rows stay below `rows`.
        unsafe {
            let (x, a, h) = (x.as_ptr().add(row * d), at.as_ptr(), h.as_mut_ptr().add(row * rank));
            row += match rows - row {
                8.. => {
                    thin_m::<L, 8>(x, d, a, rp, scale, h, rank);
                    8
                }
                4.. => {
                    thin_m::<L, 4>(x, d, a, rp, scale, h, rank);
                    4
                }
                2.. => {
                    thin_m::<L, 2>(x, d, a, rp, scale, h, rank);
                    2
                }
                _ => {
                    thin_m::<L, 1>(x, d, a, rp, scale, h, rank);
                    1
                }
            };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `x` is `[rows, d]`, `at` `[d, rp]` with `rp` the rank padded to 16, `h` `[rows, rank]`.
    unsafe fn thin(
        x: &[f32], d: usize, at: &[f32], rp: usize, scale: f32, h: &mut [f32], rank: usize
    ) = thin_lanes
}

/// `y[.., from..to] += h Bᵀ` for `M` rows.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn widen_m<L: Lanes, const M: usize>(
    h: *const f32,
    rank: usize,
    bt: *const f32,
    np: usize,
    y: *mut f32,
    n: usize,
    from: usize,
    to: usize,
) {
    for col in (from..to).step_by(LANES) {
        let here = LANES.min(to - col);
        // SAFETY: `bt` is `[rank, np]`, `np` padded to 16; `y` holds `M` rows of `n` values.
        unsafe {
            let mut acc = [L::splat(0.0); M];
            for m in 0..M {
                acc[m] = L::load_part(y.add(m * n + col), here, 0.0);
            }
            for k in 0..rank {
                let b = L::load(bt.add(k * np + col));
                for m in 0..M {
                    acc[m] = L::splat(*h.add(m * rank + k)).fma(b, acc[m]);
                }
            }
            for m in 0..M {
                acc[m].store_part(y.add(m * n + col), here);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn widen_lanes<L: Lanes>(
    h: &[f32],
    rank: usize,
    bt: &[f32],
    np: usize,
    y: *mut f32,
    n: usize,
    rows: usize,
    from: usize,
    to: usize,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's shapes; rows stay below `rows`.
        unsafe {
            let (h, b, y) = (h.as_ptr().add(row * rank), bt.as_ptr(), y.add(row * n));
            row += match rows - row {
                8.. => {
                    widen_m::<L, 8>(h, rank, b, np, y, n, from, to);
                    8
                }
                4.. => {
                    widen_m::<L, 4>(h, rank, b, np, y, n, from, to);
                    4
                }
                2.. => {
                    widen_m::<L, 2>(h, rank, b, np, y, n, from, to);
                    2
                }
                _ => {
                    widen_m::<L, 1>(h, rank, b, np, y, n, from, to);
                    1
                }
            };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `h` is `[rows, rank]`, `bt` `[rank, np]` with `np` the `n` outputs padded to 16; `y` points to `rows` rows of `n`
    /// values whose columns `from..to` nobody else touches; `from` is a multiple of 16.
    unsafe fn widen(
        h: &[f32], rank: usize, bt: &[f32], np: usize, y: *mut f32, n: usize, rows: usize, from: usize, to: usize
    ) = widen_lanes
}
