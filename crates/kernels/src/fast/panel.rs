//! Where a block of rows finds its weights: in the tile as it is stored, or in a panel that was filled from it for many rows.

use crate::ahead::ask;
use crate::dot8::{Dot, Ints};
use crate::dtype::DType;
use crate::lanes::{LANES, Lanes};
use crate::weight::{folded32, folds, quads32, run_bytes, scales32, small32};
use std::mem::MaybeUninit;

/// How far ahead of the products the weights are asked for: 2 kB are too late by a quarter, more than 8 kB gain nothing.
const AHEAD: usize = 8192;

/// Scales and minima of a run, of its two halves where they differ.
pub(super) type Scales<L> = [(L, L); 2];

/// The scale of a run's block, and the small scales of its halves.
pub(super) type Small<L> = (L, [L; 2]);

/// Where a block finds its weights.
pub(super) trait Source<D: Dot> {
    /// Groups of a run can be taken in a loop.
    const LOOP: bool;
    /// Quants of types that fold are multiplied by their small scales already.
    const FOLDED: bool;
    /// The scale of a run's block, and the small scales of its halves as floats where they are not [`Source::FOLDED`].
    ///
    /// # Safety
    /// As [`Source::scales`]; the type folds.
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L>;
    /// Scales and minima of a run, those of its halves where they differ.
    ///
    /// # Safety
    /// The run exists, and the instruction set of `D`.
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L>;
    /// Group `g` of four columns of a run.
    ///
    /// # Safety
    /// As above; `g < 8`.
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D>;
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
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L> {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, [a, b]) = small32::<D::L>(const { DType::nth(T) }, self.tile, run);
            (d, [D::L::int_to_f32(a), D::L::int_to_f32(b)])
        }
    }
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L> {
        // SAFETY: the caller's promise.
        unsafe { scales32::<D::L>(const { DType::nth(T) }, self.tile, run) }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        let dtype = const { DType::nth(T) };
        // SAFETY: the caller's promise.
        unsafe { D::four(quads32::<D::L>(dtype, self.tile, run, g), dtype.signed()) }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, run: usize) {
        let bytes = run_bytes(const { DType::nth(T) });
        ask(self.tile.wrapping_add(run * bytes + AHEAD), bytes);
    }
}

/// Runs of a panel: 48 kB of bytes. Between panels the sums of all rows go to the outputs and come back, over lines that lie far apart, which costs
/// more than weights that come from the second-level cache.
pub(super) const DEEP: usize = 96;

/// Lines of a panel.
pub(super) const PANEL_LINES: usize = 15 * DEEP;

/// 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; LANES]);

/// Some runs of a tile as the products take them, for all rows of activations.
pub(super) struct Panel<D: Dot> {
    fours: [[MaybeUninit<Ints<D>>; 8]; DEEP],
    scales: [MaybeUninit<Scales<D::L>>; DEEP],
    /// of types that fold
    small: [MaybeUninit<Small<D::L>>; DEEP],
}

impl<D: Dot> Panel<D> {
    /// Panels in this room.
    pub(super) fn all(room: &mut [Line]) -> &mut [Self] {
        const { assert!(size_of::<Self>() == PANEL_LINES * size_of::<Line>()) };
        // SAFETY: nothing of a panel needs to be there before it is filled, and no bits of it are wrong as floats.
        unsafe { room.align_to_mut::<Self>().1 }
    }

    /// Takes in runs `first .. end` of a tile, at most [`DEEP`].
    ///
    /// # Safety
    /// The runs exist, and the instruction set of `D`.
    #[inline(always)]
    pub(super) unsafe fn fill<const T: usize>(&mut self, tile: *const u8, first: usize, end: usize) {
        let stored = &Stored { tile };
        for run in first..end {
            <Stored as Source<D>>::ask::<T>(stored, run);
            // SAFETY: the caller's promise.
            unsafe {
                self.scales[run - first].write(<Stored as Source<D>>::scales::<T>(stored, run));
                let dtype = const { DType::nth(T) };
                if folds(dtype) {
                    self.small[run - first].write(<Stored as Source<D>>::small::<T>(stored, run));
                }
                if folds(dtype) && <Self as Source<D>>::FOLDED {
                    let (_, small) = small32::<D::L>(dtype, tile, run);
                    for g in 0..8 {
                        self.fours[run - first][g].write(folded32::<D::L>(dtype, tile, run, g, small));
                    }
                    continue;
                }
                for g in 0..8 {
                    self.fours[run - first][g].write(<Stored as Source<D>>::four::<T>(stored, run, g));
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
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L> {
        // SAFETY: the run was taken in.
        unsafe { self.small.get_unchecked(run).assume_init() }
    }
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L> {
        // SAFETY: the run was taken in.
        unsafe { self.scales.get_unchecked(run).assume_init() }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        // SAFETY: the run was taken in.
        unsafe { self.fours.get_unchecked(run).get_unchecked(g).assume_init() }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, _: usize) {}
}
