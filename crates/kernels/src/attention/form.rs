//! How queries and weights meet what a cache holds: as they are, or as the whole numbers and bfloat16 of [`crate::KvType::Q16`].

use super::{narrow, pairs};
use crate::kv::Held;
use crate::lanes::Lanes;

/// How queries and weights meet what a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// as they are
    Floats,
    /// queries as whole numbers, weights rounded to bfloat16
    Short,
    /// the same, weights by pairs: two in the place of a float
    Pairs,
}

impl Form {
    pub(super) fn of(held: Held<'_>, rows: usize, d: usize) -> Form {
        match held {
            Held::Q16 { .. } if rows > narrow::FEW_ROWS && pairs::here(d) => Form::Pairs,
            Held::Q16 { .. } => Form::Short,
            _ => Form::Floats,
        }
    }

    /// Floats that [`Form::prepare`] needs.
    pub(super) fn room(self, rows: usize, d: usize) -> usize {
        if self == Form::Floats { 0 } else { rows * (d.div_ceil(2) + 1) }
    }

    /// Rows of queries as they meet the keys, how far apart they lie, and the value of one step of each.
    #[inline(always)]
    pub(super) unsafe fn prepare<L: Lanes>(
        self,
        (left, ld): (*const f32, usize),
        rows: usize,
        d: usize,
        room: &mut [f32],
    ) -> (*const f32, usize, &[f32]) {
        if self == Form::Floats {
            return (left, ld, &[]);
        }
        let pairs = d.div_ceil(2);
        let (steps, room) = room.split_at_mut(rows);
        for (r, step) in steps.iter_mut().enumerate() {
            // SAFETY: the caller's rows; `room` holds them by pairs.
            unsafe {
                let q = std::slice::from_raw_parts(left.add(r * ld), d);
                *step = pairs::pack::<L>(q, &mut room[r * pairs..][..pairs]);
            }
        }
        (room.as_ptr(), pairs, steps)
    }

    /// The factor on the scores of a row.
    pub(super) fn scale(self, steps: &[f32], row: usize, scale: f32) -> f32 {
        if self == Form::Floats { scale } else { scale * steps[row] }
    }
}
