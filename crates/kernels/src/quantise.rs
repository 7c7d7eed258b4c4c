//! Activations as bytes: groups of 32 columns of a row share a scale. One byte is too coarse for a group with loud columns,
//! where the others would be left a handful of steps; such a group gets a second byte for what the first leaves out:
//! `x ≈ scale · (q + r / 254)` with `q` and `r` in ±127, nearly sixteen bits in all. In other groups `r` is 0. The bytes lie
//! as two planes, and products skip the second where no row of a block has one (with
//! finite weights the bits are the same). A group keeps the sums of its quants too:
//! weights whose type has an offset or a minimum need them. A row's bytes depend on that row alone.

use crate::dot8::{Dot, Ints, dot_fn};
use crate::lanes::{LANES, Lanes};
use crate::pool::{Pool, Shares};
use crate::weight::RUN;

/// Constants of a group of 32 quants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Group {
    /// value of one step of each plane
    pub(crate) scales: [f32; PLANES],
    /// sums of the values of the first and of the second sixteen columns, and of all
    pub(crate) halves: [f32; 2],
    pub(crate) whole: f32,
    /// of each plane, the sums of the first and of the second sixteen quants
    pub(crate) sums: [[i16; 2]; PLANES],
}

/// Rows of activations `[T, D]` as bytes with a scale for each 32 columns. Buffers grow and stay.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    rows: usize,
    cols: usize,
    /// `[rows / 4][runs][4][32]` of each plane, columns beyond the last are 0: what a product takes of several rows at a time
    /// lies at fixed distances
    planes: [Vec<i8>; PLANES],
    /// `[rows / 4][runs][4]`
    groups: Vec<Group>,
    /// `[rows / 4][runs][4]`: 1 where the second plane is not 0
    loud: Vec<u8>,
}

/// Rows whose bytes of a run stand side by side.
pub(crate) const SIDE: usize = 4;

/// Planes of bytes.
pub(crate) const PLANES: usize = 2;

/// Rows below which one thread does it alone: waking others costs more.
const ALONE: usize = 4;

impl Quantised {
    /// Rows `T`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns `D`.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn runs(&self) -> usize {
        self.cols.div_ceil(RUN)
    }

    /// Bytes of a block of [`SIDE`] rows in one plane.
    pub(crate) fn block_bytes(&self) -> usize {
        self.runs() * SIDE * RUN
    }

    /// Bytes of row `row` in the first run of a plane; those of run `j` lie `SIDE · 32 · j` further.
    pub(crate) fn bytes_from(&self, plane: usize, row: usize) -> &[i8] {
        &self.planes[plane][row / SIDE * self.block_bytes() + row % SIDE * RUN..]
    }

    /// Its constants in the first run; those of run `j` lie `SIDE · j` further.
    pub(crate) fn groups_from(&self, row: usize) -> &[Group] {
        &self.groups[row / SIDE * self.runs() * SIDE + row % SIDE..]
    }

    /// For each run four flags, one a row of the block: whether it has a second plane there.
    pub(crate) fn loud_from(&self, row: usize) -> &[u8] {
        &self.loud[row / SIDE * self.runs() * SIDE..]
    }

    fn fit(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        let blocks = rows.div_ceil(SIDE);
        let (bytes, groups) = (blocks * self.block_bytes(), blocks * self.runs() * SIDE);
        for plane in &mut self.planes {
            if plane.len() < bytes {
                plane.resize(bytes, 0);
            }
        }
        if self.groups.len() < groups {
            self.groups.resize(groups, Group::default());
            self.loud.resize(groups, 0);
        }
        // rows that are not there are not loud
        if !rows.is_multiple_of(SIDE) {
            self.loud[(blocks - 1) * self.cols.div_ceil(RUN) * SIDE..groups].fill(0);
        }
    }

    /// Quantises `x` `[T, cols]`. A group with a value that is not finite gets a scale that is not finite, so that
    /// everything computed from it shows.
    ///
    /// # Panics
    /// If `x` is not whole rows.
    pub fn set(&mut self, pool: &Pool, x: &[f32], cols: usize) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of activations");
        let rows = x.len() / cols;
        self.fit(rows, cols);
        let (bytes, runs) = (self.block_bytes(), self.runs());
        let [coarse, fine] = &mut self.planes;
        let (coarse, fine) = (Shares::new(coarse), Shares::new(fine));
        let (groups, loud) = (Shares::new(&mut self.groups), Shares::new(&mut self.loud));
        let step = if rows <= ALONE { SIDE } else { 16 };
        pool.run(rows.div_ceil(step), |i| {
            for row in i * step..((i + 1) * step).min(rows) {
                let (block, side) = (row / SIDE, row % SIDE);
                // SAFETY: each block belongs to one task (a step is whole blocks), and its slices are used one at a time.
                unsafe {
                    let coarse = &mut coarse.at(block * bytes, bytes)[side * RUN..];
                    let fine = &mut fine.at(block * bytes, bytes)[side * RUN..];
                    let groups = &mut groups.at(block * runs * SIDE, runs * SIDE)[side..];
                    let loud = &mut loud.at(block * runs * SIDE, runs * SIDE)[side..];
                    quantise(&x[row * cols..][..cols], coarse, fine, groups, loud);
                }
            }
        });
    }

    /// The values that the bytes stand for, `[T, cols]` (tests, reports of the error).
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for row in 0..self.rows {
            let groups = self.groups_from(row);
            let quant = |plane, c: usize| self.bytes_from(plane, row)[c / RUN * SIDE * RUN + c % RUN] as f64;
            out.extend((0..self.cols).map(|c| {
                let scales = groups[c / RUN * SIDE].scales;
                (0..PLANES).map(|p| scales[p] as f64 * quant(p, c)).sum::<f64>() as f32
            }));
        }
        out
    }

    /// The share of groups that have a second plane.
    pub fn loud_share(&self) -> f64 {
        let groups = self.rows * self.runs();
        let loud = (0..self.rows).flat_map(|row| {
            (0..self.runs()).map(move |run| usize::from(self.loud_from(row)[run * SIDE + row % SIDE]))
        });
        loud.sum::<usize>() as f64 / groups.max(1) as f64
    }
}

/// Steps of the second plane in one of the first: its ends ± 127 are half a step.
const FINE: f32 = 254.0;

/// A group is loud whose largest value is more than so many times the mean of the row's magnitudes.
const LOUD: f32 = 8.0;

// Functions and not closures: a closure that is called twice is not inlined, and loses the instruction set.

/// What the first plane leaves out of 16 values, in steps of the second.
///
/// # Safety
/// The instruction set of `D`.
#[inline(always)]
unsafe fn rest<D: Dot>(x: D::L, q: Ints<D>) -> Ints<D> {
    // SAFETY: the caller's promise.
    unsafe { x.sub(D::L::int_to_f32(q)).mul(D::L::splat(FINE)).round_int() }
}

/// Writes 32 quants of plane `p` and adds their sums to the group.
///
/// # Safety
/// The instruction set of `D`; 32 bytes in `plane`.
#[inline(always)]
unsafe fn put<D: Dot>(group: &mut Group, p: usize, plane: &mut [i8], quants: [Ints<D>; 2]) {
    for (i, quants) in quants.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            D::L::store_i8(quants, plane[i * LANES..][..LANES].as_mut_ptr());
            group.sums[p][i] = D::L::int_sum(quants) as i16;
        }
        // a group whose values are no numbers has a scale that shows it
        group.halves[i] += group.scales[p] * group.sums[p][i] as f32;
    }
}

#[inline(always)]
unsafe fn quantise_row<D: Dot>(
    x: &[f32],
    coarse: &mut [i8],
    fine: &mut [i8],
    groups: &mut [Group],
    loud: &mut [u8],
) {
    // SAFETY: 32 values at each pointer of a group, 32 bytes in each plane.
    unsafe {
        let mut padded = [0f32; RUN];
        let mut magnitudes = D::L::splat(0.0);
        let none = D::L::splat(0.0);
        let abs = |v: D::L| v.max(none.sub(v));
        let (whole, last) = x.as_chunks::<RUN>();
        padded[..last.len()].copy_from_slice(last);
        let runs = whole.len() + usize::from(!last.is_empty());
        let at = |j: usize| if j < whole.len() { whole[j].as_ptr() } else { padded.as_ptr() };
        for j in 0..runs {
            magnitudes = magnitudes.add(abs(D::L::load(at(j)))).add(abs(D::L::load(at(j).add(LANES))));
        }
        let all = magnitudes.reduce_add();
        let limit = all / x.len() as f32 * LOUD;
        for j in 0..runs {
            let (a, b) = (D::L::load(at(j)), D::L::load(at(j).add(LANES)));
            let top = abs(a).max(abs(b)).top();
            // 0, or NaN where a value is not finite (maxima hide NaN, the sum of the row's magnitudes does not)
            let odd = if all.is_finite() { 0.0 } else { a.mul(none).add(b.mul(none)).reduce_add() };
            let step = top / 127.0 + odd;
            let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
            // the smallest values of f32 have no finite inverse: they count as 0
            let inverse = D::L::splat(if inverse.is_finite() { inverse } else { 0.0 });
            let (a, b) = (a.mul(inverse), b.mul(inverse));
            let (qa, qb) = (a.round_int(), b.round_int());
            let second = top > limit;
            let scales = [step, step / FINE];
            let mut group = Group { scales, ..Group::default() };
            let at = j * SIDE * RUN;
            put::<D>(&mut group, 0, &mut coarse[at..][..RUN], [qa, qb]);
            if second {
                let rests = [rest::<D>(a, qa), rest::<D>(b, qb)];
                put::<D>(&mut group, 1, &mut fine[at..][..RUN], rests);
            } else {
                fine[at..][..RUN].fill(0);
            }
            group.whole = group.halves[0] + group.halves[1];
            groups[j * SIDE] = group;
            loud[j * SIDE] = u8::from(second);
        }
    }
}

dot_fn! {
    /// # Safety
    /// The instruction set is there.
    unsafe fn quantise(
        x: &[f32], coarse: &mut [i8], fine: &mut [i8], groups: &mut [Group], loud: &mut [u8]
    ) = quantise_row
}
