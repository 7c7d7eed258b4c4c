//! The sums of some rows of activations and one tile's weights over some runs: of types with scales of runs, and of K types.

use super::source::Source;
use super::tiles;
use crate::dot8::{Dot, Ints, quads};
use crate::dtype::DType;
use crate::lanes::Lanes;
use crate::quantise::{Block, Group, Quantised, Sides};
use crate::weight::{RUN, RUNS, folds, minima_pairs, most, offset};
use std::ops::Range;

/// Where some rows of activations begin: a row of a block of rows that stand side by side, and whole blocks behind it.
#[derive(Clone, Copy)]
struct Rows {
    bytes: *const i8,
    /// runs of a row
    runs: usize,
}

impl Rows {
    /// Rows from `row` on; where there are more than stand side by side, `row` is the first of a block.
    #[inline(always)]
    fn new(x: &Quantised, row: usize) -> Rows {
        Rows { bytes: x.bytes_from(row).as_ptr(), runs: x.runs() }
    }

    /// The bytes of row `r` in run `run`, where four rows stand side by side.
    #[inline(always)]
    unsafe fn bytes(&self, r: usize, run: usize) -> *const i8 {
        // SAFETY: the caller's rows and runs exist.
        unsafe { self.bytes.add(place(Sides::Four, r, run, self.runs) * RUN) }
    }

    /// The bytes of the first row in run `run`, where sixteen do; those of the others lie 64 bytes apart.
    #[inline(always)]
    unsafe fn tile(&self, run: usize) -> *const i8 {
        // SAFETY: the caller's rows and runs exist.
        unsafe { self.bytes.add(Sides::Sixteen.bytes_to(run)) }
    }
}

/// How far piece `i` of row `r` lies behind the first of row 0, where rows have `count` pieces.
#[inline(always)]
fn place(sides: Sides, r: usize, i: usize, count: usize) -> usize {
    let side = sides.rows();
    (r / side * count + i) * side + r % side
}

/// As [`place`], by what `D` takes.
#[inline(always)]
fn place_of<D: Dot>(r: usize, i: usize, count: usize) -> usize {
    place(if D::TILES { Sides::Sixteen } else { Sides::Four }, r, i, count)
}

/// `-off · sum` in all lanes; `off` is 0 or a power of two.
#[inline(always)]
unsafe fn less<L: Lanes>(off: i32, sum: i32) -> L::Int {
    // SAFETY: the caller has the instruction set.
    unsafe { L::int_splat(if off == 0 { 0 } else { -(sum << off.ilog2()) }) }
}

/// What is taken off each quant after the products.
#[inline(always)]
fn offset_of<D: Dot>(dtype: DType) -> i32 {
    match dtype {
        _ if D::TILES => 0,
        _ if dtype.signed() => D::SIGNED_OFFSET,
        _ => offset(dtype),
    }
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
    let off = offset_of::<D>(dtype);
    let rows = &Rows::new(x, row);
    let groups = x.groups_from(row).as_ptr();
    let mut ahead = tiles::Ahead::new();
    // SAFETY: the caller's rows and runs exist, and the instruction set.
    unsafe {
        if D::TILES {
            for run in runs.start..runs.end.min(runs.start + tiles::AHEAD) {
                ahead.set(run, rows.tile(run), source.tile(run));
            }
        }
        for run in runs.clone() {
            if row == 0 {
                // the first rows bring the tile from memory; the others find it in the cache
                source.ask::<T>(run);
            }
            let group = |r: usize| &*groups.add(place_of::<D>(r, run, rows.runs));
            let (d, m) = source.scales::<T>(run);
            let mut ints = [D::L::int_splat(0); M];
            if off > 0 {
                for r in 0..M {
                    ints[r] = less::<D::L>(off, group(r).sum);
                }
            }
            if D::TILES {
                let next = run + tiles::AHEAD;
                if next < runs.end {
                    ahead.set(next, rows.tile(next), source.tile(next));
                }
                for r in 0..M {
                    ints[r] = D::L::load_int(ahead.row(run, r));
                }
            } else {
                ints = int_sums::<D, T, M, 8, S>(ints, source, run, 0, rows);
            }
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

/// Sums over a block of a K type: whole numbers, as such ([`Dot::WHOLE`]) or in float32.
struct Whole<D: Dot, const M: usize> {
    ints: [Ints<D>; M],
    floats: [D::L; M],
}

impl<D: Dot, const M: usize> Whole<D, M> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instruction set.
        unsafe { Whole { ints: [D::L::int_splat(0); M], floats: [D::L::splat(0.0); M] } }
    }

    /// Adds products times small scale `which` of a run.
    #[inline(always)]
    unsafe fn add<const T: usize, S: Source<D>>(
        &mut self,
        ints: [Ints<D>; M],
        source: &S,
        run: usize,
        which: usize,
    ) {
        // SAFETY: the caller's run exists, and the instruction set.
        unsafe {
            if D::WHOLE {
                let small = source.small_ints::<T>(run)[which];
                for r in 0..M {
                    self.ints[r] = D::L::int_add(D::L::int_mul(ints[r], small), self.ints[r]);
                }
            } else {
                let small = source.small::<T>(run)[which];
                for r in 0..M {
                    self.floats[r] = D::L::int_to_f32(ints[r]).fma(small, self.floats[r]);
                }
            }
        }
    }
}

/// The products of half a run of a K type. `sums` are those of the quants of both halves.
#[inline(always)]
unsafe fn half<D: Dot, const T: usize, const M: usize, const HALF: usize, S: Source<D>>(
    source: &S,
    run: usize,
    rows: &Rows,
    sums: &[i32; M],
) -> [Ints<D>; M] {
    let off = offset_of::<D>(const { DType::nth(T) });
    // SAFETY: the caller's rows and run exist, and the instruction set.
    unsafe {
        let mut ints = [D::L::int_splat(0); M];
        for r in 0..M {
            ints[r] = less::<D::L>(off, if HALF == 0 { i32::from(sums[r] as i16) } else { sums[r] >> 16 });
        }
        int_sums::<D, T, M, 4, S>(ints, source, run, 4 * HALF, rows)
    }
}

/// The sums of a block by tiles.
#[inline(always)]
unsafe fn block_tiles<D: Dot, const T: usize, S: Source<D>>(
    to: &mut tiles::BlockSums,
    source: &S,
    block: usize,
    rows: &Rows,
) {
    let run = block * RUNS;
    // SAFETY: the caller's rows and block exist, and the instruction set.
    unsafe {
        match folds(const { DType::nth(T) }) {
            true => to.set(rows.tile(run), source.tile(run)),
            false => to.set_two(rows.tile(run), source.tile(run), source.high(run)),
        }
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
    let mut tiles = [const { tiles::BlockSums::new() }; 2];
    // SAFETY: the caller's rows and runs exist, and the instruction set.
    unsafe {
        if D::TILES {
            let first = runs.start / RUNS;
            block_tiles::<D, T, S>(&mut tiles[first % 2], source, first, rows);
        }
        for b in runs.start / RUNS..runs.end / RUNS {
            let of = |r: usize| &*blocks.add(place_of::<D>(r, b, count));
            let mut whole = Whole::<D, M>::zero();
            let ints = &mut whole.ints;
            if D::TILES {
                if (b + 1) * RUNS < runs.end {
                    block_tiles::<D, T, S>(&mut tiles[(b + 1) % 2], source, b + 1, rows);
                }
                for r in 0..M {
                    let [first, second] = tiles[b % 2].row(r);
                    let (first, second) = (D::L::load_int(first), D::L::load_int(second));
                    let second = if folds(dtype) { second } else { D::L::int_shl::<7>(second) };
                    ints[r] = D::L::int_add(first, second);
                }
            } else if folds(dtype) && S::FOLDED {
                if dtype == DType::Q3K {
                    for r in 0..M {
                        ints[r] = less::<D::L>(128, of(r).sum);
                    }
                }
                for run in b * RUNS..(b + 1) * RUNS {
                    *ints = int_sums::<D, T, M, 8, S>(*ints, source, run, 0, rows);
                }
            } else {
                for run in b * RUNS..(b + 1) * RUNS {
                    if row == 0 {
                        source.ask::<T>(run);
                    }
                    if dtype.halves() {
                        let mut sums = [0; M];
                        for r in 0..M {
                            sums[r] = of(r).halves[run % RUNS];
                        }
                        let ints = half::<D, T, M, 0, S>(source, run, rows, &sums);
                        whole.add::<T, S>(ints, source, run, 0);
                        let ints = half::<D, T, M, 1, S>(source, run, rows, &sums);
                        whole.add::<T, S>(ints, source, run, 1);
                    } else {
                        let none = [D::L::int_splat(0); M];
                        let ints = int_sums::<D, T, M, 8, S>(none, source, run, 0, rows);
                        whole.add::<T, S>(ints, source, run, 0);
                    }
                }
            }
            let is_int = D::WHOLE || folds(dtype) && S::FOLDED;
            let (mut d, least) = source.block::<T>(b);
            if S::FOLDED && dtype == DType::Q3K {
                // the sign of its quants was turned
                d = D::L::splat(0.0).sub(d);
            }
            for r in 0..M {
                let whole = if is_int { D::L::int_to_f32(whole.ints[r]) } else { whole.floats[r] };
                sum[r] = whole.fma(d.mul(D::L::splat(of(r).scale)), sum[r]);
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
