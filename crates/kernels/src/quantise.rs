//! Activations as bytes: groups of 32 columns of a row share a scale, `x ≈ scale · q` with `q` in ±127.
//!
//! A group keeps the sums of its quants too: weights whose type has an offset or a minimum need them. A row's bytes
//! depend on that row alone.

use crate::lanes::{LANES, Lanes, lanes_fn};
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
    /// sums of the first and of the second sixteen quants
    pub(crate) halves: [i32; 2],
}

/// Rows of activations `[T, D]` as bytes with a scale for each 32 columns. Buffers grow and stay.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    rows: usize,
    cols: usize,
    /// `[rows][runs][32]`, columns beyond the last are 0
    q: Vec<i8>,
    /// `[rows][runs]`
    groups: Vec<Group>,
}

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

    /// Bytes of rows `row ..`.
    pub(crate) fn bytes_from(&self, row: usize) -> &[i8] {
        &self.q[row * self.runs() * RUN..]
    }

    pub(crate) fn groups_from(&self, row: usize) -> &[Group] {
        &self.groups[row * self.runs()..]
    }

    fn fit(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        let n = rows * self.runs();
        // the tail of each row stays 0 only if it was cleared
        if self.q.len() < n * RUN {
            self.q.resize(n * RUN, 0);
            self.groups.resize(n, Group::default());
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
        let runs = self.runs();
        let (q, groups) = (Shares::new(&mut self.q), Shares::new(&mut self.groups));
        let step = if rows <= ALONE { rows } else { 16 };
        pool.run(rows.div_ceil(step.max(1)), |i| {
            for row in i * step..((i + 1) * step).min(rows) {
                // SAFETY: each row belongs to one task.
                unsafe {
                    let (q, groups) = (q.at(row * runs * RUN, runs * RUN), groups.at(row * runs, runs));
                    quantise(&x[row * cols..][..cols], q, groups);
                }
            }
        });
    }

    /// The values that the bytes stand for, `[T, cols]` (tests, reports of the error).
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for row in 0..self.rows {
            let (q, groups) = (self.bytes_from(row), self.groups_from(row));
            out.extend((0..self.cols).map(|c| groups[c / RUN].scale * q[c] as f32));
        }
        out
    }
}

#[inline(always)]
unsafe fn quantise_lanes<L: Lanes>(x: &[f32], q: &mut [i8], groups: &mut [Group]) {
    let zero = [0f32; RUN];
    for (j, (group, q)) in groups.iter_mut().zip(q.chunks_exact_mut(RUN)).enumerate() {
        let part = &x[j * RUN..((j + 1) * RUN).min(x.len())];
        let mut padded = zero;
        let mut p = part.as_ptr();
        if part.len() < RUN {
            padded[..part.len()].copy_from_slice(part);
            p = padded.as_ptr();
        }
        // SAFETY: 32 values at `p`, 32 bytes in `q`.
        unsafe {
            let (a, b, none) = (L::load(p), L::load(p.add(LANES)), L::splat(0.0));
            let (abs_a, abs_b) = (a.max(none.sub(a)), b.max(none.sub(b)));
            let top = abs_a.max(abs_b).top();
            // 0, or NaN where a value is not finite (maxima hide NaN)
            let odd = a.mul(none).add(b.mul(none)).reduce_add();
            let scale = top / 127.0 + odd;
            let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
            // the smallest values of f32 have no finite inverse: they count as 0
            let inverse = L::splat(if inverse.is_finite() { inverse } else { 0.0 });
            let (a, b) = (a.mul(inverse).round_int(), b.mul(inverse).round_int());
            L::store_i8(a, q.as_mut_ptr());
            L::store_i8(b, q.as_mut_ptr().add(LANES));
            let halves = [L::int_sum(a), L::int_sum(b)];
            *group = Group { scale, sum: scale * (halves[0] + halves[1]) as f32, halves };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `q` and `groups` hold the runs of `x`.
    pub(crate) unsafe fn quantise(x: &[f32], q: &mut [i8], groups: &mut [Group]) = quantise_lanes
}
