//! The sums of some rows of activations and one tile's weights over some runs: of types with scales of runs, and of K types.

use super::source::Source;
use crate::dot8::{Dot, Ints, quads};
use crate::dtype::DType;
use crate::lanes::Lanes;
use crate::quantise::{Block, Group, Quantised, SIDE};
use crate::weight::{RUN, RUNS, folds, minima_pairs, most, offset};
use std::ops::Range;

/// Where some rows of activations begin: a row of a block of [`SIDE`] rows, and whole blocks behind it.
#[derive(Clone, Copy)]
struct Rows {
    bytes: *const i8,
    /// runs of a row
    runs: usize,
}

impl Rows {
    /// Rows from `row` on; where there are more than [`SIDE`], `row` is the first of a block.
    #[inline(always)]
    fn new(x: &Quantised, row: usize) -> Rows {
        Rows { bytes: x.bytes_from(row).as_ptr(), runs: x.runs() }
    }

    /// The bytes of row `r` in run `run`.
    #[inline(always)]
    unsafe fn bytes(&self, r: usize, run: usize) -> *const i8 {
        // SAFETY: the caller's rows and runs exist.
        unsafe { self.bytes.add(place(r, run, self.runs) * RUN) }
    }
}

/// How far piece `i` of row `r` lies behind the first of row 0, where rows have `count` pieces.
#[inline(always)]
fn place(r: usize, i: usize, count: usize) -> usize {
    (r / SIDE * count + i) * SIDE + r % SIDE
}

/// `-off · sum` in all lanes; `off` is 0 or a power of two.
#[inline(always)]
unsafe fn less<L: Lanes>(off: i32, sum: i32) -> L::Int {
    // SAFETY: the caller has the instruction set.
    unsafe { L::int_splat(if off == 0 { 0 } else { -(sum << off.ilog2()) }) }
}

/// Adds the products of `STEPS` groups of four columns, from group `begin` of a run on.
#[inline(always)]
unsafe fn int_sums<D: Dot, const T: usize, const M: usize, const STEPS: usize, S: Source<D>>(
    mut ints: [Ints<D>; M],
    source: &S,
    run: usize,
    begin: usize,
    x: &Rows,
) -> [Ints<D>; M] {
    let signed = const { DType::nth(T).signed() };
    let short = if D::NARROW { const { quads(most(DType::nth(T))) } } else { 8 }.min(STEPS);
    // With all groups in sight the compiler takes row after row, and where registers are few the weights of a run do not
    // fit them: so the loop stays a loop there.
    let once = if S::LOOP && D::NARROW && short > 1 { std::hint::black_box(short) } else { short };
    // SAFETY: the caller's rows and runs exist, and the instruction set.
    unsafe {
        for part in 0..STEPS / short {
            let first = begin + part * short;
            let four = source.four::<T>(run, first);
            let mut sums = [D::begin(four, signed, x.bytes(0, run).add(4 * first)); M];
            for r in 1..M {
                sums[r] = D::begin(four, signed, x.bytes(r, run).add(4 * first));
            }
            for g in first + 1..first + once {
                let four = source.four::<T>(run, g);
                for r in 0..M {
                    sums[r] = D::step(sums[r], four, signed, x.bytes(r, run).add(4 * g));
                }
            }
            for r in 0..M {
                ints[r] = D::join(ints[r], sums[r]);
            }
        }
        ints
    }
}

/// Of a type whose runs have scales: `sum` and the products of `M` rows over some runs.
#[inline(always)]
pub(super) unsafe fn block_of_runs<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    mut sum: [D::L; M],
    x: &Quantised,
    row: usize,
    runs: &Range<usize>,
    source: &S,
) -> [D::L; M] {
    let dtype = const { DType::nth(T) };
    let off = if dtype.signed() { D::SIGNED_OFFSET } else { offset(dtype) };
    let rows = &Rows::new(x, row);
    let groups = x.groups_from(row).as_ptr();
    // SAFETY: the caller's rows and runs exist, and the instruction set.
    unsafe {
        for run in runs.clone() {
            if row == 0 {
                // the first rows bring the tile from memory; the others find it in the cache
                source.ask::<T>(run);
            }
            let group = |r: usize| &*groups.add(place(r, run, rows.runs));
            let (d, m) = source.scales::<T>(run);
            let mut ints = [D::L::int_splat(0); M];
            if off > 0 {
                for r in 0..M {
                    ints[r] = less::<D::L>(off, group(r).sum);
                }
            }
            let ints = int_sums::<D, T, M, 8, S>(ints, source, run, 0, rows);
            for r in 0..M {
                let Group { scale, whole, .. } = *group(r);
                sum[r] = D::L::int_to_f32(ints[r]).fma(d.mul(D::L::splat(scale)), sum[r]);
                if dtype.has_min() {
                    sum[r] = m.fma(D::L::splat(whole), sum[r]);
                }
            }
        }
        sum
    }
}

/// Half a run of a K type: `whole` and the products times the half's small scale. `sums` are those of the quants of both halves.
#[inline(always)]
unsafe fn half<D: Dot, const T: usize, const M: usize, const HALF: usize, S: Source<D>>(
    mut whole: [D::L; M],
    source: &S,
    run: usize,
    rows: &Rows,
    sums: &[i32; M],
    small: D::L,
) -> [D::L; M] {
    let off = offset(const { DType::nth(T) });
    // SAFETY: the caller's rows and run exist, and the instruction set.
    unsafe {
        let mut ints = [D::L::int_splat(0); M];
        for r in 0..M {
            ints[r] = less::<D::L>(off, if HALF == 0 { i32::from(sums[r] as i16) } else { sums[r] >> 16 });
        }
        let ints = int_sums::<D, T, M, 4, S>(ints, source, run, 4 * HALF, rows);
        for r in 0..M {
            whole[r] = D::L::int_to_f32(ints[r]).fma(small, whole[r]);
        }
        whole
    }
}

/// Of a K type: `sum` and the products of `M` rows over some runs, which are whole blocks.
#[inline(always)]
pub(super) unsafe fn block<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    mut sum: [D::L; M],
    x: &Quantised,
    row: usize,
    runs: &Range<usize>,
    source: &S,
) -> [D::L; M] {
    let dtype = const { DType::nth(T) };
    let rows = &Rows::new(x, row);
    let (blocks, count) = (x.blocks_from(row).as_ptr(), rows.runs / RUNS);
    // SAFETY: the caller's rows and runs exist, and the instruction set.
    unsafe {
        for b in runs.start / RUNS..runs.end / RUNS {
            let of = |r: usize| &*blocks.add(place(r, b, count));
            let mut whole = [D::L::splat(0.0); M];
            if folds(dtype) && S::FOLDED {
                let mut ints = [D::L::int_splat(0); M];
                if dtype == DType::Q3K {
                    for r in 0..M {
                        ints[r] = less::<D::L>(128, of(r).sum);
                    }
                }
                for run in b * RUNS..(b + 1) * RUNS {
                    ints = int_sums::<D, T, M, 8, S>(ints, source, run, 0, rows);
                }
                for r in 0..M {
                    whole[r] = D::L::int_to_f32(ints[r]);
                }
            } else {
                for run in b * RUNS..(b + 1) * RUNS {
                    if row == 0 {
                        source.ask::<T>(run);
                    }
                    let small = source.small::<T>(run);
                    if dtype.halves() {
                        let mut sums = [0; M];
                        for r in 0..M {
                            sums[r] = of(r).halves[run % RUNS];
                        }
                        whole = half::<D, T, M, 0, S>(whole, source, run, rows, &sums, small[0]);
                        whole = half::<D, T, M, 1, S>(whole, source, run, rows, &sums, small[1]);
                    } else {
                        let none = [D::L::int_splat(0); M];
                        let ints = int_sums::<D, T, M, 8, S>(none, source, run, 0, rows);
                        for r in 0..M {
                            whole[r] = D::L::int_to_f32(ints[r]).fma(small[0], whole[r]);
                        }
                    }
                }
            }
            let (mut d, least) = source.block::<T>(b);
            if S::FOLDED && dtype == DType::Q3K {
                // the sign of its quants was turned
                d = D::L::splat(0.0).sub(d);
            }
            for r in 0..M {
                sum[r] = whole[r].fma(d.mul(D::L::splat(of(r).scale)), sum[r]);
            }
            if dtype.has_min() {
                let mut ints = [D::L::int_splat(0); M];
                for j in 0..minima_pairs(dtype) {
                    let m = source.minima::<T>(b, j);
                    for r in 0..M {
                        let Block { halves, runs, .. } = of(r);
                        let sums = if dtype.halves() { halves[j] } else { runs[j % (RUNS / 2)] };
                        ints[r] = D::pairs(ints[r], m, D::L::int_splat(sums));
                    }
                }
                let least = D::L::splat(0.0).sub(least);
                for r in 0..M {
                    let both = least.mul(D::L::splat(of(r).scale));
                    sum[r] = D::L::int_to_f32(ints[r]).fma(both, sum[r]);
                }
            }
        }
        sum
    }
}
