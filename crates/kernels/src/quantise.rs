//! Activations as bytes: groups of 32 columns of a row share a scale, or blocks of 256 where a weight has blocks of as many
//! ([`Scales`]). A few columns of a Transformer are far louder than the others, and one of them in a group would leave the rest a
//! handful of steps. So a value beyond [`Scales::loud`] times the mean of its row's magnitudes stays out of the bytes (its byte is 0)
//! and is kept as it is, an outlier, by column: the product adds its float product with that column of the weight. A group keeps
//! the sum of its quants too: weights whose type has an offset or a minimum need it. A row's bytes and outliers depend on that row
//! alone.

use crate::dot8::{Dot, dot_fn};
use crate::input::Input;
use crate::isa::{Isa, isa};
use crate::lanes::{LANES, Lanes};
use crate::pool::{Pool, Shares};
use crate::weight::{RUN, RUNS, Weight};
use std::ops::Range;

/// Columns of a row that share a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scales {
    /// 32 columns
    #[default]
    Groups,
    /// 256 columns: what K types need, whose blocks are of as many. Other types take it as well, less finely.
    Blocks,
}

impl Scales {
    /// What the products of one input with `weights` need.
    pub fn of<'a>(weights: impl IntoIterator<Item = &'a Weight>) -> Scales {
        match weights.into_iter().any(|w| w.dtype().has_blocks()) {
            true => Scales::Blocks,
            false => Scales::Groups,
        }
    }

    /// An outlier is more than so many times the mean of its row's magnitudes.
    const fn loud(self) -> f32 {
        match self {
            Scales::Groups => 6.0,
            Scales::Blocks => 5.0,
        }
    }
}

/// Constants of a block of 256 quants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Block {
    /// value of one step
    pub(crate) scale: f32,
    /// the sum of all quants
    pub(crate) sum: i32,
    /// the sums of each run's first and second sixteen quants, as a pair of sixteen bits
    pub(crate) halves: [i32; RUNS],
    /// the sums of the quants of each two runs, as a pair of sixteen bits
    pub(crate) runs: [i32; RUNS / 2],
}

/// Constants of a group of 32 quants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Group {
    /// value of one step
    pub(crate) scale: f32,
    /// the sum of the values
    pub(crate) whole: f32,
    /// the sum of the quants
    pub(crate) sum: i32,
}

/// A value that stays out of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outlier {
    /// its row, or its column while a row is quantised
    pub(crate) at: u32,
    pub(crate) value: f32,
}

/// Rows of activations `[T, D]` as bytes with a scale for each 32 columns, and outliers. Buffers grow and stay.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    rows: usize,
    cols: usize,
    scales: Scales,
    sides: Sides,
    /// by [`Sides`], columns beyond the last are 0
    bytes: Vec<Line>,
    /// `[rows / side][runs][side]`
    groups: Vec<Group>,
    /// `[rows / side][blocks][side]` with [`Scales::Blocks`]
    blocks: Vec<Block>,
    /// each row's outliers as they are found, `[rows][most]`, and their number
    found: Vec<Outlier>,
    counts: Vec<u32>,
    /// columns that have outliers, ascending, each with the place where its outliers end
    columns: Vec<(u32, u32)>,
    /// by column, then by row
    outliers: Vec<Outlier>,
    /// where the next outlier of each column goes
    places: Vec<u32>,
}

/// Bytes in a line of the cache, which loads do not cross then.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([i8; 64]);

impl Line {
    fn bytes(lines: &[Line]) -> &[i8] {
        // SAFETY: a line is 64 bytes, one behind the other.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
    }

    fn bytes_mut(lines: &mut [Line]) -> &mut [i8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
    }
}

/// How many rows' pieces stand side by side: what a product takes of several rows at a time lies at fixed distances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sides {
    /// Four, bytes `[rows / 4][runs][4][32]`.
    #[default]
    Four,
    /// Sixteen, bytes `[rows / 16][runs / 2][16][64]`: what tiles of AMX take.
    Sixteen,
}

impl Sides {
    /// What the products of so many rows take on this machine.
    fn of(rows: usize) -> Sides {
        if rows >= TILED_FROM && isa() == Isa::Amx { Sides::Sixteen } else { Sides::Four }
    }

    #[inline(always)]
    pub(crate) fn rows(self) -> usize {
        match self {
            Sides::Four => 4,
            Sides::Sixteen => 16,
        }
    }

    /// Bytes of a row that stand together.
    #[inline(always)]
    fn piece(self) -> usize {
        match self {
            Sides::Four => RUN,
            Sides::Sixteen => 2 * RUN,
        }
    }

    /// How far behind a row's first byte those of run `run` lie.
    #[inline(always)]
    pub(crate) fn bytes_to(self, run: usize) -> usize {
        match self {
            Sides::Four => run * 4 * RUN,
            Sides::Sixteen => run / 2 * 32 * RUN + run % 2 * RUN,
        }
    }
}

/// Rows from which tiles of AMX pay.
pub(crate) const TILED_FROM: usize = 24;

/// Rows up to which a task has one block: there are few, and each is to find its thread.
const FEW: usize = 64;

impl Quantised {
    /// Rows `T`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns `D`.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The columns that share a scale.
    pub fn scales(&self) -> Scales {
        self.scales
    }

    pub(crate) fn runs(&self) -> usize {
        self.cols.div_ceil(RUN)
    }

    /// Blocks of 256 columns of a row, where there are any.
    fn blocks(&self) -> usize {
        if self.scales == Scales::Blocks { self.runs().div_ceil(RUNS) } else { 0 }
    }

    /// Whether sixteen rows stand side by side, as tiles of AMX take them, instead of four.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_tiled(&self) -> bool {
        self.sides == Sides::Sixteen
    }

    /// Bytes of a block of rows that stand side by side.
    fn block_bytes(&self) -> usize {
        (self.runs() * RUN).next_multiple_of(self.sides.piece()) * self.sides.rows()
    }

    /// Where constants of row `row` begin that have `count` a row.
    fn place(&self, row: usize, count: usize) -> usize {
        let side = self.sides.rows();
        row / side * count * side + row % side
    }

    /// Bytes of row `row` in the first run.
    pub(crate) fn bytes_from(&self, row: usize) -> &[i8] {
        let side = self.sides.rows();
        &Line::bytes(&self.bytes)[row / side * self.block_bytes() + row % side * self.sides.piece()..]
    }

    /// Its constants in the first run; those of run `j` lie `j` times the rows that stand side by side further.
    pub(crate) fn groups_from(&self, row: usize) -> &[Group] {
        &self.groups[self.place(row, self.runs())..]
    }

    /// Its constants of the first block; those of block `j` lie as [`Quantised::groups_from`] says.
    pub(crate) fn blocks_from(&self, row: usize) -> &[Block] {
        &self.blocks[self.place(row, self.blocks())..]
    }

    /// Those of some columns that have outliers, ascending, each with these, rows ascending.
    pub(crate) fn outliers(&self, of: Range<usize>) -> impl Iterator<Item = (usize, &[Outlier])> {
        let place = |c: usize| self.columns.partition_point(|&(column, _)| (column as usize) < c);
        let (first, last) = (place(of.start), place(of.end));
        let mut begin = if first > 0 { self.columns[first - 1].1 as usize } else { 0 };
        self.columns[first..last].iter().map(move |&(column, end)| {
            let of = &self.outliers[begin..end as usize];
            begin = end as usize;
            (column as usize, of)
        })
    }

    /// Most outliers of a row: of `D` values fewer than one in [`Scales::loud`] can exceed as many times the mean. (Should rounding bring one more,
    /// its group stays in the bytes.)
    fn most_outliers(&self) -> usize {
        self.cols / self.scales.loud() as usize
    }

    fn fit(&mut self, rows: usize, cols: usize, scales: Scales) {
        (self.rows, self.cols, self.scales, self.sides) = (rows, cols, scales, Sides::of(rows));
        self.columns.clear();
        self.outliers.clear();
        let side = self.sides.rows();
        let blocks = rows.div_ceil(side);
        let (lines, groups, found) = (
            blocks * self.block_bytes() / size_of::<Line>(),
            blocks * self.runs() * side,
            rows * self.most_outliers(),
        );
        if self.bytes.len() < lines {
            self.bytes.resize(lines, Line([0; 64]));
        }
        if self.groups.len() < groups {
            self.groups.resize(groups, Group::default());
        }
        let per_row = self.blocks();
        if self.blocks.len() < blocks * per_row * side {
            self.blocks.resize(blocks * per_row * side, Block::default());
        }
        if self.found.len() < found {
            self.found.resize(found, Outlier::default());
        }
        if self.counts.len() < rows {
            self.counts.resize(rows, 0);
        }
    }

    /// Quantises `x` `[T, cols]`. A group with a value that is not finite gets a scale that is not finite, so that
    /// everything computed from it shows.
    ///
    /// # Panics
    /// If `x` is not whole rows.
    pub fn set(&mut self, pool: &Pool, x: &[f32], cols: usize, scales: Scales) {
        self.set_from(pool, Input::Rows(x), cols, scales, &mut [], false);
    }

    /// Quantises the rows of `input` as they are made: the bits of [`Quantised::set`] after [`Input::forward`]. Rows that are
    /// made go to `floats` `[T, cols]`, where they stay with `keep`; else that is room for those in work. Gives the rows (scratch, if they
    /// were made and not kept).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn set_from<'a>(
        &mut self,
        pool: &Pool,
        input: Input<'a>,
        cols: usize,
        scales: Scales,
        floats: &'a mut [f32],
        keep: bool,
    ) -> &'a [f32] {
        assert!(input.fits(cols), "rows of activations");
        let there = if let Input::Rows(x) = input { Some(x) } else { None };
        assert!(there.is_some() || floats.len() == input.len(), "rows of activations");
        let rows = input.len() / cols;
        self.fit(rows, cols, scales);
        let made = Shares::new(floats);
        let (runs, most) = (self.runs(), self.most_outliers());
        let per_block = self.block_bytes() / size_of::<Line>();
        let (per_row, sides) = (self.blocks(), self.sides);
        let (lines, groups) = (Shares::new(&mut self.bytes), Shares::new(&mut self.groups));
        let blocks = Shares::new(&mut self.blocks);
        let (found, counts) = (Shares::new(&mut self.found), Shares::new(&mut self.counts));
        let step = if rows <= FEW { sides.rows() } else { 16 };
        pool.run(rows.div_ceil(step), |i| {
            for row in i * step..((i + 1) * step).min(rows) {
                let side = sides.rows();
                let (block, at) = (row / side, row % side);
                // SAFETY: each block belongs to one task (a step is whole blocks), and its slices are used one at a time. The same holds for the
                // rows of `floats`: one of its own with `keep`, else the task's first. The input fits.
                unsafe {
                    let x = match there {
                        Some(x) => &x[row * cols..][..cols],
                        None => {
                            let x = made.at(if keep { row } else { i * step } * cols, cols);
                            input.row(row, x);
                            x
                        }
                    };
                    let blocks = blocks.at(block * per_row * side, per_row * side);
                    let out = &mut RowOut {
                        sides,
                        bytes: &mut Line::bytes_mut(lines.at(block * per_block, per_block))
                            [at * sides.piece()..],
                        groups: &mut groups.at(block * runs * side, runs * side)[at..],
                        blocks: blocks.get_mut(at..).unwrap_or_default(),
                        found: found.at(row * most, most),
                        count: &mut counts.at(row, 1)[0],
                    };
                    quantise(scales, x, out);
                }
            }
        });
        self.sort();
        there.unwrap_or(floats)
    }

    /// Brings the outliers of all rows in order of their columns.
    fn sort(&mut self) {
        let most = self.most_outliers();
        let rows = || (0..self.rows).map(|row| &self.found[row * most..][..self.counts[row] as usize]);
        if self.rows == 1 {
            for (i, found) in rows().flatten().enumerate() {
                self.columns.push((found.at, i as u32 + 1));
                self.outliers.push(Outlier { at: 0, ..*found });
            }
            return;
        }
        self.places.clear();
        self.places.resize(self.cols, 0);
        for found in rows().flatten() {
            self.places[found.at as usize] += 1;
        }
        let mut end = 0;
        for (column, place) in self.places.iter_mut().enumerate() {
            let count = std::mem::replace(place, end);
            if count > 0 {
                end += count;
                self.columns.push((column as u32, end));
            }
        }
        self.outliers.resize(end as usize, Outlier::default());
        for (row, found) in rows().enumerate() {
            for found in found {
                let place = &mut self.places[found.at as usize];
                self.outliers[*place as usize] = Outlier { at: row as u32, ..*found };
                *place += 1;
            }
        }
    }

    /// The values that bytes and outliers stand for, `[T, cols]` (tests, reports of the error).
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for row in 0..self.rows {
            let (bytes, groups) = (self.bytes_from(row), self.groups_from(row));
            out.extend((0..self.cols).map(|c| {
                let (run, c) = (c / RUN, c % RUN);
                groups[run * self.sides.rows()].scale * bytes[self.sides.bytes_to(run) + c] as f32
            }));
        }
        for (column, outliers) in self.outliers(0..self.cols) {
            for outlier in outliers {
                out[outlier.at as usize * self.cols + column] = outlier.value;
            }
        }
        out
    }

    /// The share of values that are outliers.
    pub fn outlier_share(&self) -> f64 {
        self.outliers.len() as f64 / (self.rows * self.cols).max(1) as f64
    }
}

// Functions and not closures: a closure that is called twice is not inlined, and loses the instruction set.

/// Magnitudes.
///
/// # Safety
/// The instruction set of `L`.
#[inline(always)]
unsafe fn abs<L: Lanes>(v: L) -> L {
    // SAFETY: the caller's promise.
    unsafe { v.max(L::splat(0.0).sub(v)) }
}

/// `v` where its magnitude is not beyond the limit, else 0.
///
/// # Safety
/// The instruction set of `L`.
#[inline(always)]
unsafe fn quiet<L: Lanes>(v: L, limit: f32) -> L {
    // SAFETY: the caller's promise.
    unsafe { L::select_below(L::splat(limit), abs(v), L::splat(0.0), v) }
}

/// Where a row goes: each slice from its own first piece on, those of some rows by turns.
struct RowOut<'a> {
    sides: Sides,
    bytes: &'a mut [i8],
    groups: &'a mut [Group],
    /// empty with [`Scales::Groups`]
    blocks: &'a mut [Block],
    /// of this row alone
    found: &'a mut [Outlier],
    count: &'a mut u32,
}

/// A row, `N` runs of which share a scale.
#[inline(always)]
unsafe fn quantise_row<D: Dot, const N: usize>(x: &[f32], out: &mut RowOut<'_>) {
    let RowOut { sides, bytes, groups, blocks, found, count } = out;
    let side = sides.rows();
    let scales = if N == 1 { Scales::Groups } else { Scales::Blocks };
    // SAFETY: 32 values at each pointer of a group, 32 bytes at its place.
    unsafe {
        let mut padded = [0f32; RUN];
        let mut magnitudes = D::L::splat(0.0);
        let (whole, last) = x.as_chunks::<RUN>();
        padded[..last.len()].copy_from_slice(last);
        let runs = whole.len() + usize::from(!last.is_empty());
        let at = |j: usize| if j < whole.len() { whole[j].as_ptr() } else { padded.as_ptr() };
        for j in 0..runs {
            magnitudes = magnitudes.add(abs(D::L::load(at(j)))).add(abs(D::L::load(at(j).add(LANES))));
        }
        let all = magnitudes.reduce_add();
        let limit = all / x.len() as f32 * scales.loud();
        let none = D::L::splat(0.0);
        let mut outliers = 0;
        for first in (0..runs).step_by(N) {
            let here = N.min(runs - first);
            let mut values = [[none; 2]; N];
            let mut most = none;
            for j in 0..here {
                let from = at(first + j);
                let (mut a, mut b) = (D::L::load(from), D::L::load(from.add(LANES)));
                let mut loud = abs(a).above(limit) | abs(b).above(limit) << LANES;
                if loud != 0 && outliers + loud.count_ones() as usize <= found.len() {
                    while loud != 0 {
                        let c = loud.trailing_zeros() as usize;
                        found[outliers] = Outlier { at: ((first + j) * RUN + c) as u32, value: *from.add(c) };
                        outliers += 1;
                        loud &= loud - 1;
                    }
                    (a, b) = (quiet(a, limit), quiet(b, limit));
                }
                most = most.max(abs(a).max(abs(b)));
                values[j] = [a, b];
            }
            let most = most.top();
            // 0, or NaN where a value is not finite (maxima hide NaN, the sum of the row's magnitudes does not)
            let mut odd = 0.0;
            if !all.is_finite() {
                for [a, b] in &values[..here] {
                    odd += a.mul(none).add(b.mul(none)).reduce_add();
                }
            }
            // a group whose values are no numbers has a scale that shows it
            let scale = most * (1.0 / 127.0) + odd;
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            // the smallest values of f32 have no finite inverse: they count as 0
            let inverse = D::L::splat(if inverse.is_finite() { inverse } else { 0.0 });
            let mut sums = [[0i32; 2]; N];
            for j in 0..here {
                let run = first + j;
                let to = bytes[sides.bytes_to(run)..][..RUN].as_mut_ptr();
                let [a, b] = values[j];
                let (a, b) = (a.mul(inverse).round_int(), b.mul(inverse).round_int());
                D::L::store_i8(a, to);
                D::L::store_i8(b, to.add(LANES));
                // both sums at once: 16 quants sum to 12 bits and a sign
                let both = D::L::int_sum(D::L::int_add(a, D::L::int_shl::<16>(b)));
                let one = i32::from(both as i16);
                sums[j] = [one, both.wrapping_sub(one) >> 16];
                let sum = sums[j][0] + sums[j][1];
                groups[run * side] = Group { scale, whole: scale * sum as f32, sum };
            }
            if scales == Scales::Blocks {
                let block = &mut blocks[first / N * side];
                block.scale = scale;
                block.sum = sums.as_flattened().iter().sum();
                for j in 0..N.min(RUNS) {
                    block.halves[j] = pair(sums[j][0], sums[j][1]);
                }
                for j in 0..N.min(RUNS) / 2 {
                    let of = |j: usize| sums[j][0] + sums[j][1];
                    block.runs[j] = pair(of(2 * j), of(2 * j + 1));
                }
            }
        }
        **count = outliers as u32;
    }
}

/// Two numbers of sixteen bits in one.
const fn pair(low: i32, high: i32) -> i32 {
    low & 0xffff | high << 16
}

#[inline(always)]
unsafe fn quantise_row_by<D: Dot>(scales: Scales, x: &[f32], out: &mut RowOut<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match scales {
            Scales::Groups => quantise_row::<D, 1>(x, out),
            Scales::Blocks => quantise_row::<D, RUNS>(x, out),
        }
    }
}

dot_fn! {
    /// # Safety
    /// The instruction set is there.
    unsafe fn quantise(scales: Scales, x: &[f32], out: &mut RowOut<'_>) = quantise_row_by
}
