//! Where the products of fast mode find a tile's weights: as they are stored, or brought into their final form once for many rows.

use crate::ahead::ask;
use crate::dot8::{Dot, Ints};
use crate::dtype::DType;
use crate::lanes::Lanes;
use crate::weight::{
    RUN, RUNS, block_scales, column, folded32, folds, minima, minima_pairs, offset, quads32, run_bytes,
    scales32, small_scale, whole_value,
};
use std::mem::MaybeUninit;

/// How far ahead of the products the weights are asked for: 2 kB are too late by a quarter, more than 8 kB gain nothing.
const AHEAD: usize = 8192;

/// Weights of one tile.
pub(super) trait Source<D: Dot> {
    /// Groups of a run can be taken in a loop.
    const LOOP: bool;
    /// Quants of types that fold are multiplied by their small scales already.
    const FOLDED: bool;
    /// Scale and minimum of a run (not of K types).
    ///
    /// # Safety
    /// The run exists, and the instruction set of `D`.
    unsafe fn scales<const T: usize>(&self, run: usize) -> (D::L, D::L);
    /// The small scales of the halves of a run of a K type, the same twice where it has one.
    ///
    /// # Safety
    /// As [`Source::scales`].
    unsafe fn small<const T: usize>(&self, run: usize) -> [D::L; 2];
    /// The same as whole numbers.
    ///
    /// # Safety
    /// As [`Source::scales`].
    unsafe fn small_ints<const T: usize>(&self, run: usize) -> [Ints<D>; 2];
    /// The scale of a block of a K type and the scale of its minima.
    ///
    /// # Safety
    /// As [`Source::scales`], for the block's runs.
    unsafe fn block<const T: usize>(&self, block: usize) -> (D::L, D::L);
    /// Small minima of a block by pairs ([`minima`]).
    ///
    /// # Safety
    /// As [`Source::block`].
    unsafe fn minima<const T: usize>(&self, block: usize, j: usize) -> Ints<D>;
    /// Group `g` of four columns of a run.
    ///
    /// # Safety
    /// As [`Source::scales`]; `g < 8`.
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D>;
    /// Where the groups of a run lie and of those after it, for tiles: quants, of K types their products with their small scales, or, where these
    /// take two bytes ([`Dot::two`]), the low ones.
    fn tile(&self, run: usize) -> *const u8;
    /// Where the high ones do.
    fn high(&self, run: usize) -> *const u8;
    /// The values of a column.
    ///
    /// # Safety
    /// As [`Source::scales`], for the column's run.
    unsafe fn column<const T: usize>(&self, column: usize) -> D::L;
    /// Asks memory for what the next runs need.
    fn ask<const T: usize>(&self, run: usize);
}

/// The tile as it is stored.
pub(super) struct Stored {
    pub(super) tile: *const u8,
}

impl<D: Dot> Source<D> for Stored {
    // where nibbles and bits lie depends on the group
    const LOOP: bool = false;
    const FOLDED: bool = false;
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> (D::L, D::L) {
        // SAFETY: the caller's promise.
        unsafe { scales32::<D::L>(const { DType::nth(T) }, self.tile, run)[0] }
    }
    #[inline(always)]
    unsafe fn small<const T: usize>(&self, run: usize) -> [D::L; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b] = <Self as Source<D>>::small_ints::<T>(self, run);
            [D::L::int_to_f32(a), D::L::int_to_f32(b)]
        }
    }
    #[inline(always)]
    unsafe fn small_ints<const T: usize>(&self, run: usize) -> [Ints<D>; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let dtype = const { DType::nth(T) };
            let first = small_scale::<D::L>(dtype, self.tile, run, 0);
            match dtype.halves() {
                true => [first, small_scale::<D::L>(dtype, self.tile, run, 1)],
                false => [first; 2],
            }
        }
    }
    #[inline(always)]
    unsafe fn block<const T: usize>(&self, block: usize) -> (D::L, D::L) {
        // SAFETY: the caller's promise.
        unsafe { block_scales::<D::L>(const { DType::nth(T) }, self.tile, block) }
    }
    #[inline(always)]
    unsafe fn minima<const T: usize>(&self, block: usize, j: usize) -> Ints<D> {
        // SAFETY: the caller's promise.
        unsafe { minima::<D::L>(const { DType::nth(T) }, self.tile, block, j) }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        let dtype = const { DType::nth(T) };
        // SAFETY: the caller's promise.
        unsafe { D::four(quads32::<D::L>(dtype, self.tile, run, g), dtype.signed(), offset(dtype)) }
    }
    #[inline(always)]
    fn tile(&self, _: usize) -> *const u8 {
        unreachable!("tiles are of panels")
    }
    #[inline(always)]
    fn high(&self, _: usize) -> *const u8 {
        unreachable!("tiles are of panels")
    }
    #[inline(always)]
    unsafe fn column<const T: usize>(&self, c: usize) -> D::L {
        // SAFETY: the caller's promise.
        unsafe { column::<D::L>(const { DType::nth(T) }, self.tile, c) }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, run: usize) {
        let bytes = run_bytes(const { DType::nth(T) });
        ask(self.tile.wrapping_add(run * bytes + AHEAD), bytes);
    }
}

/// Whether a panel is the shorter way to a column than the tile: it has the scales ready, but minima only by pairs.
pub(super) const fn has_columns(dtype: DType) -> bool {
    dtype.has_blocks() && !dtype.has_min()
}

/// Runs of a panel: 32 kB of bytes. Between panels the sums of all rows go to the outputs and come back, over lines that lie far apart, which costs
/// more than weights that come from the second-level cache.
pub(super) const DEEP: usize = 64;

/// Its blocks.
const BLOCKS: usize = DEEP / RUNS;

/// Room for the high bytes of a panel.
pub(super) type Highs<D> = [[MaybeUninit<Ints<D>>; 8]; DEEP];

/// Some runs of a tile as the products take them, for all rows of activations.
pub(super) struct Panel<D: Dot> {
    tile: *const u8,
    /// its first run, the first of a block
    first: usize,
    fours: [[MaybeUninit<Ints<D>>; 8]; DEEP],
    /// room for the high bytes of what takes two, apart: it costs those nothing that have none
    highs: *mut Highs<D>,
    /// scale and minimum of a run, or its small scales
    scales: [MaybeUninit<[D::L; 2]>; DEEP],
    /// of K types
    blocks: [MaybeUninit<(D::L, D::L)>; BLOCKS],
    minima: [[MaybeUninit<Ints<D>>; RUNS]; BLOCKS],
}

impl<D: Dot> Panel<D> {
    #[inline(always)]
    pub(super) fn new(tile: *const u8, highs: *mut Highs<D>) -> Self {
        Panel {
            tile,
            first: 0,
            fours: [const { [const { MaybeUninit::uninit() }; 8] }; DEEP],
            highs,
            scales: [const { MaybeUninit::uninit() }; DEEP],
            blocks: [const { MaybeUninit::uninit() }; BLOCKS],
            minima: [const { [const { MaybeUninit::uninit() }; RUNS] }; BLOCKS],
        }
    }

    /// Takes in runs `first .. end` of a tile, at most [`DEEP`].
    ///
    /// # Safety
    /// The runs exist, whole blocks of a K type, and the instruction set of `D`; with [`Dot::TILES`] there is room for the high bytes.
    #[inline(always)]
    pub(super) unsafe fn fill<const T: usize>(&mut self, first: usize, end: usize) {
        let dtype = const { DType::nth(T) };
        let stored = &Stored { tile: self.tile };
        self.first = first;
        // SAFETY: the caller's promise.
        unsafe {
            if dtype.has_blocks() {
                for b in 0..(end - first) / RUNS {
                    let block = first / RUNS + b;
                    self.blocks[b].write(<Stored as Source<D>>::block::<T>(stored, block));
                    if dtype.has_min() {
                        for j in 0..minima_pairs(dtype) {
                            self.minima[b][j].write(<Stored as Source<D>>::minima::<T>(stored, block, j));
                        }
                    }
                }
            }
            for run in first..end {
                <Stored as Source<D>>::ask::<T>(stored, run);
                let mut small = [D::L::int_splat(0); 2];
                self.scales[run - first].write(if dtype.has_blocks() {
                    small = <Stored as Source<D>>::small_ints::<T>(stored, run);
                    [D::L::int_to_f32(small[0]), D::L::int_to_f32(small[1])]
                } else {
                    let (d, m) = <Stored as Source<D>>::scales::<T>(stored, run);
                    [d, m]
                });
                if folds(dtype) && <Self as Source<D>>::FOLDED {
                    for g in 0..8 {
                        let four = folded32::<D::L>(dtype, self.tile, run, g, small);
                        let over = if dtype == DType::Q3K { 128 } else { 0 };
                        self.fours[run - first][g].write(D::four(four, false, over));
                    }
                    continue;
                }
                for g in 0..8 {
                    let mut four = <Stored as Source<D>>::four::<T>(stored, run, g);
                    if D::TILES && dtype.has_blocks() {
                        let (low, high) = D::two(four, small[g / 4]);
                        (&mut (*self.highs))[run - first][g].write(high);
                        four = low;
                    }
                    self.fours[run - first][g].write(four);
                }
            }
        }
    }
}

impl<D: Dot> Source<D> for Panel<D> {
    const LOOP: bool = true;
    // sums of sixteen bits hold the less of larger bytes
    const FOLDED: bool = !D::NARROW;
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> (D::L, D::L) {
        // SAFETY: the run was taken in.
        let [d, m] = unsafe { self.scales.get_unchecked(run - self.first).assume_init() };
        (d, m)
    }
    #[inline(always)]
    unsafe fn small<const T: usize>(&self, run: usize) -> [D::L; 2] {
        // SAFETY: the run was taken in.
        unsafe { self.scales.get_unchecked(run - self.first).assume_init() }
    }
    #[inline(always)]
    unsafe fn small_ints<const T: usize>(&self, run: usize) -> [Ints<D>; 2] {
        unreachable!("tiles have products with small scales, others float32 ones (run {run})")
    }
    #[inline(always)]
    unsafe fn block<const T: usize>(&self, block: usize) -> (D::L, D::L) {
        // SAFETY: the block was taken in.
        unsafe { self.blocks.get_unchecked(block - self.first / RUNS).assume_init() }
    }
    #[inline(always)]
    unsafe fn minima<const T: usize>(&self, block: usize, j: usize) -> Ints<D> {
        // SAFETY: the block was taken in.
        unsafe { self.minima.get_unchecked(block - self.first / RUNS).get_unchecked(j).assume_init() }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        // SAFETY: the run was taken in.
        unsafe { self.fours.get_unchecked(run - self.first).get_unchecked(g).assume_init() }
    }
    #[inline(always)]
    fn tile(&self, run: usize) -> *const u8 {
        self.fours.as_ptr().wrapping_add(run - self.first).cast()
    }
    #[inline(always)]
    fn high(&self, run: usize) -> *const u8 {
        self.highs.cast::<[Ints<D>; 8]>().wrapping_add(run - self.first).cast()
    }
    #[inline(always)]
    unsafe fn column<const T: usize>(&self, c: usize) -> D::L {
        let dtype = const { DType::nth(T) };
        let (run, g, byte) = (c / RUN, c % RUN / 4, c % 4);
        let (block, second) = (run / RUNS, usize::from(dtype.halves() && g >= 4));
        // SAFETY: the caller's promise. The operations of `column`, on quants that are in their final form.
        unsafe {
            // whole numbers times small scales are not the products with the scale of both
            if !has_columns(dtype) || D::TILES && !folds(dtype) {
                return column::<D::L>(dtype, self.tile, c);
            }
            let four = <Self as Source<D>>::four::<T>(self, run, g);
            let q = D::L::int_shr_by(four, 8 * byte as u32);
            let (d, _) = <Self as Source<D>>::block::<T>(self, block);
            if folds(dtype) && D::TILES {
                let q = D::L::int_sar::<24>(D::L::int_shl::<24>(q));
                return D::L::splat(0.0).sub(D::L::int_to_f32(q)).mul(d);
            }
            let q = D::L::int_and(q, D::L::int_splat(255));
            let small = <Self as Source<D>>::small::<T>(self, run)[second];
            let none = D::L::splat(0.0);
            if folds(dtype) && <Self as Source<D>>::FOLDED {
                return D::L::splat(128.0).sub(D::L::int_to_f32(q)).mul(d);
            }
            let q = D::L::int_add(q, D::L::int_splat(-offset(dtype)));
            match folds(dtype) {
                true => D::L::int_to_f32(q).mul(small).mul(d),
                false => whole_value(dtype, q, d.mul(small), none),
            }
        }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, _: usize) {}
}
