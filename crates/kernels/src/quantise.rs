//! Activations as integers: groups of 32 columns of a row share a scale. One byte is too coarse where a few columns are loud, so
//! a second one holds what the first leaves out: `x ≈ scale · (254 q + r)` with `q` and `r` in ±127, nearly sixteen bits in
//! all. They lie as two planes of bytes or as whole values of sixteen bits, as the instruction set multiplies them
//! (`dot8.rs`): the same number of bytes. A group keeps the sums of its quants too: weights whose type has an offset or a
//! minimum need them. A row's bytes depend on that row alone.

use crate::dot8::{Dot, dot_fn};
use crate::lanes::{LANES, Lanes};
use crate::pool::{Pool, Shares};
use crate::weight::RUN;

/// Constants of a group of 32 quants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Group {
    /// value of one step
    pub(crate) scale: f32,
    /// `scale` times the sum of all quants
    pub(crate) sum: f32,
    /// sums of the first and of the second sixteen quants (`254 q + r`)
    pub(crate) halves: [i32; 2],
}

/// Rows of activations `[T, D]` as bytes with a scale for each 32 columns. Buffers grow and stay.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    rows: usize,
    cols: usize,
    /// `[rows / 4][runs][4][2][32]`, columns beyond the last are 0: what a product takes of several rows at a time lies
    /// at fixed distances
    q: Vec<i8>,
    /// whole values in the place of planes
    whole: bool,
    /// `[rows / 4][runs][4]`
    groups: Vec<Group>,
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

    /// Bytes of a block of [`SIDE`] rows.
    pub(crate) fn block_bytes(&self) -> usize {
        self.runs() * SIDE * PLANES * RUN
    }

    /// Bytes of row `row` in the first run; those of run `j` lie `SIDE · 64 · j` further.
    pub(crate) fn bytes_from(&self, row: usize) -> &[i8] {
        &self.q[row / SIDE * self.block_bytes() + row % SIDE * PLANES * RUN..]
    }

    /// Its constants in the first run; those of run `j` lie `SIDE · j` further.
    pub(crate) fn groups_from(&self, row: usize) -> &[Group] {
        &self.groups[row / SIDE * self.runs() * SIDE + row % SIDE..]
    }

    fn fit(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        let blocks = rows.div_ceil(SIDE);
        let (bytes, groups) = (blocks * self.block_bytes(), blocks * self.runs() * SIDE);
        if self.q.len() < bytes {
            self.q.resize(bytes, 0);
        }
        if self.groups.len() < groups {
            self.groups.resize(groups, Group::default());
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
        // SAFETY: it writes nothing but the flag.
        unsafe { takes_whole(&mut self.whole) };
        let (bytes, runs) = (self.block_bytes(), self.runs());
        let (q, groups) = (Shares::new(&mut self.q), Shares::new(&mut self.groups));
        let step = if rows <= ALONE { SIDE } else { 16 };
        pool.run(rows.div_ceil(step), |i| {
            for row in i * step..((i + 1) * step).min(rows) {
                let (block, side) = (row / SIDE, row % SIDE);
                // SAFETY: each block belongs to one task (a step is whole blocks), and its slices are used one at a time.
                unsafe {
                    let q = q.at(block * bytes, bytes);
                    let groups = groups.at(block * runs * SIDE, runs * SIDE);
                    quantise(&x[row * cols..][..cols], &mut q[side * PLANES * RUN..], &mut groups[side..]);
                }
            }
        });
    }

    /// The values that the bytes stand for, `[T, cols]` (tests, reports of the error).
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for row in 0..self.rows {
            let (q, groups) = (self.bytes_from(row), self.groups_from(row));
            let at = |c: usize| c / RUN * SIDE * PLANES * RUN + c % RUN;
            let value = |c: usize| match self.whole {
                true => {
                    // columns 0, 2, 1, 3 of each four
                    let place = c / RUN * SIDE * PLANES * RUN + 2 * (c % RUN / 4 * 4 + [0, 2, 1, 3][c % 4]);
                    i16::from_le_bytes([q[place] as u8, q[place + 1] as u8]) as f64
                }
                false => FINE as f64 * q[at(c)] as f64 + q[at(c) + RUN] as f64,
            };
            out.extend((0..self.cols).map(|c| (groups[c / RUN * SIDE].scale as f64 * value(c)) as f32));
        }
        out
    }
}

/// Steps of the second plane in one of the first: its ends ± 127 are half a step.
pub(crate) const FINE: i32 = 254;

#[inline(always)]
unsafe fn quantise_row<D: Dot>(x: &[f32], q: &mut [i8], groups: &mut [Group]) {
    let apart = SIDE * PLANES * RUN;
    for (j, group) in groups.iter_mut().step_by(SIDE).enumerate() {
        let part = &x[j * RUN..((j + 1) * RUN).min(x.len())];
        let mut padded = [0f32; RUN];
        let mut p = part.as_ptr();
        if part.len() < RUN {
            padded[..part.len()].copy_from_slice(part);
            p = padded.as_ptr();
        }
        let q = &mut q[j * apart..][..PLANES * RUN];
        // SAFETY: 32 values at `p`; 32 bytes of each plane in `q`.
        unsafe {
            let (a, b, none) = (D::L::load(p), D::L::load(p.add(LANES)), D::L::splat(0.0));
            let (abs_a, abs_b) = (a.max(none.sub(a)), b.max(none.sub(b)));
            let top = abs_a.max(abs_b).top();
            // 0, or NaN where a value is not finite (maxima hide NaN)
            let odd = a.mul(none).add(b.mul(none)).reduce_add();
            let step = top / 127.0 + odd;
            let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
            // the smallest values of f32 have no finite inverse: they count as 0
            let inverse = D::L::splat(if inverse.is_finite() { inverse } else { 0.0 });
            let (a, b) = (a.mul(inverse), b.mul(inverse));
            let (qa, qb) = (a.round_int(), b.round_int());
            let rest = |x: D::L, q: <D::L as Lanes>::Int| {
                x.sub(D::L::int_to_f32(q)).mul(D::L::splat(FINE as f32)).round_int()
            };
            let (ra, rb) = (rest(a, qa), rest(b, qb));
            if D::WHOLE {
                D::store_whole(qa, ra, q.as_mut_ptr());
                D::store_whole(qb, rb, q.as_mut_ptr().add(2 * LANES));
            } else {
                for (i, lanes) in [qa, qb, ra, rb].into_iter().enumerate() {
                    D::L::store_i8(lanes, q.as_mut_ptr().add(i * LANES));
                }
            }
            let scale = step / FINE as f32;
            let half = |q, r| FINE.wrapping_mul(D::L::int_sum(q)).wrapping_add(D::L::int_sum(r));
            let halves = [half(qa, ra), half(qb, rb)];
            *group = Group { scale, sum: scale * (halves[0].wrapping_add(halves[1])) as f32, halves };
        }
    }
}

#[inline(always)]
unsafe fn takes_whole_any<D: Dot>(whole: &mut bool) {
    *whole = D::WHOLE;
}

dot_fn! {
    /// # Safety
    /// The instruction set is there.
    unsafe fn quantise(x: &[f32], q: &mut [i8], groups: &mut [Group]) = quantise_row
}

dot_fn! {
    /// # Safety
    /// None to keep.
    unsafe fn takes_whole(whole: &mut bool) = takes_whole_any
}
