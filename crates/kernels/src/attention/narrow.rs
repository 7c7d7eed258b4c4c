//! Few rows of queries over keys and values of a cache: such attention waits for memory, so numbers are widened in registers on
//! their way to the sums, and what comes next is asked for line by line. The chains of sums are those of the other forms.

use super::{KEY_PANEL, Queries, copy_own, pieces, placed};
use crate::ahead::ask;
use crate::kv::{Held, PART};
use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::product::Micro;
use std::ops::Range;

/// Rows of queries up to which this form pays.
pub(super) const FEW_ROWS: usize = 8;

/// How many panels ahead memory is asked for keys or values.
pub(super) const PANELS_AHEAD: usize = 3;

/// Rows whose sums are in registers at once.
const ROWS: usize = 4;

/// Lines of 32 stored numbers.
trait Stored<L>: Copy {
    /// Half `v` of line `k`, as floats.
    ///
    /// # Safety
    /// The line exists; the instruction set of `L`.
    unsafe fn get(self, k: usize, v: usize) -> L;
    /// Whether line 0 lies apart from line 1, which is beside the next one.
    fn begins_apart(self) -> bool {
        false
    }
    /// Half `v` of lines `k` and `k + 1`, which lie beside each other.
    ///
    /// # Safety
    /// As [`Stored::get`].
    #[inline(always)]
    unsafe fn two(self, k: usize, v: usize) -> (L, L) {
        // SAFETY: the caller's promise.
        unsafe { (self.get(k, v), self.get(k + 1, v)) }
    }
    /// Asks memory for line `k`, which may lie beyond the end.
    fn ask(self, k: usize);
}

/// Numbers in a line.
const LINE: usize = 2 * LANES;

#[derive(Clone, Copy)]
struct Floats(*const f32);

impl<L: Lanes> Stored<L> for Floats {
    #[inline(always)]
    unsafe fn get(self, k: usize, v: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(self.0.add(k * LINE + v * LANES)) }
    }
    #[inline(always)]
    fn ask(self, k: usize) {
        ask(self.0.wrapping_add(k * LINE).cast(), 4 * LINE);
    }
}

#[derive(Clone, Copy)]
struct Halves(*const u16);

impl<L: Lanes> Stored<L> for Halves {
    #[inline(always)]
    unsafe fn get(self, k: usize, v: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_f16(self.0.add(k * LINE + v * LANES).cast()) }
    }
    #[inline(always)]
    fn ask(self, k: usize) {
        ask(self.0.wrapping_add(k * LINE).cast(), 2 * LINE);
    }
}

/// Pairs of lines, the first of each in the high halves; `1` is the number of the first line.
#[derive(Clone, Copy)]
struct Pairs(*const u32, usize);

impl<L: Lanes> Stored<L> for Pairs {
    #[inline(always)]
    unsafe fn get(self, k: usize, v: usize) -> L {
        let k = self.1 + k;
        // SAFETY: the caller's promise.
        unsafe {
            let (first, second) = L::apart(L::load_int(self.0.add(k / 2 * LINE + v * LANES).cast()));
            if k.is_multiple_of(2) { first } else { second }
        }
    }
    #[inline(always)]
    fn begins_apart(self) -> bool {
        !self.1.is_multiple_of(2)
    }
    #[inline(always)]
    unsafe fn two(self, k: usize, v: usize) -> (L, L) {
        // SAFETY: the caller's promise.
        unsafe { L::apart(L::load_int(self.0.add((self.1 + k) / 2 * LINE + v * LANES).cast())) }
    }
    #[inline(always)]
    fn ask(self, k: usize) {
        let k = self.1 + k;
        if k.is_multiple_of(2) {
            ask(self.0.wrapping_add(k / 2 * LINE).cast(), 4 * LINE);
        }
    }
}

/// Bytes with a scale for each place of a line (keys), or for each line (values).
#[derive(Clone, Copy)]
struct Bytes<const KEYS: bool>(*const i8, *const f32);

impl<L: Lanes, const KEYS: bool> Stored<L> for Bytes<KEYS> {
    #[inline(always)]
    unsafe fn get(self, k: usize, v: usize) -> L {
        // SAFETY: the caller's promise; there are as many scales.
        unsafe {
            let scale = if KEYS { L::load(self.1.add(v * LANES)) } else { L::splat(*self.1.add(k)) };
            L::int_to_f32(L::load_i8(self.0.add(k * LINE + v * LANES).cast())).mul(scale)
        }
    }
    #[inline(always)]
    fn ask(self, k: usize) {
        if k.is_multiple_of(2) {
            ask(self.0.wrapping_add(k * LINE).cast(), 2 * LINE);
        }
    }
}

/// Rows of factors.
#[derive(Clone, Copy)]
struct Left {
    at: *const f32,
    ld: usize,
}

/// Lines of 32 sums.
#[derive(Clone, Copy)]
struct Out {
    at: *mut f32,
    ld: usize,
    /// whether they go on from what is there
    add: bool,
}

/// `c[r, ..32] (+)= Σ_k a[r, k] · b[k, ..32]` for `rows` rows and `k` lines, and asks for the lines `ahead` further.
#[inline(always)]
unsafe fn sums<L: Micro, B: Stored<L>>(rows: usize, k: usize, a: Left, b: B, c: Out, ahead: usize) {
    for r in (0..rows).step_by(ROWS) {
        // what the first rows ask for is there for the others
        let ahead = if r == 0 { Some(ahead) } else { None };
        // SAFETY: the caller's rows.
        unsafe {
            let (a, c) = (Left { at: a.at.add(r * a.ld), ..a }, Out { at: c.at.add(r * c.ld), ..c });
            match rows - r {
                1 => rows_sums::<L, B, 1>(k, a, b, c, ahead),
                2 => rows_sums::<L, B, 2>(k, a, b, c, ahead),
                3 => rows_sums::<L, B, 3>(k, a, b, c, ahead),
                _ => rows_sums::<L, B, ROWS>(k, a, b, c, ahead),
            }
        }
    }
}

#[inline(always)]
unsafe fn rows_sums<L: Micro, B: Stored<L>, const R: usize>(
    lines: usize,
    a: Left,
    b: B,
    c: Out,
    ahead: Option<usize>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if L::NV > 1 {
            halves_sums::<L, B, R, 2>(lines, a, b, c, 0, ahead);
        } else {
            // registers for half a line
            halves_sums::<L, B, R, 1>(lines, a, b, c, 0, ahead);
            halves_sums::<L, B, R, 1>(lines, a, b, c, 1, None);
        }
    }
}

/// `V` halves of each line from half `first` on.
#[inline(always)]
unsafe fn halves_sums<L: Lanes, B: Stored<L>, const R: usize, const V: usize>(
    lines: usize,
    a: Left,
    b: B,
    c: Out,
    first: usize,
    ahead: Option<usize>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let to = c.at.add(first * LANES);
        let mut acc = [[L::splat(0.0); V]; R];
        if c.add {
            for r in 0..R {
                for v in 0..V {
                    acc[r][v] = L::load(to.add(r * c.ld + v * LANES));
                }
            }
        }
        let mut left: [*const f32; R] = [a.at; R];
        for r in 1..R {
            left[r] = a.at.add(r * a.ld);
        }
        let mut k = 0;
        if lines > 0 && b.begins_apart() {
            one_line(&mut acc, &left, b, 0, first, ahead);
            k = 1;
        }
        while k + 2 <= lines {
            if let Some(ahead) = ahead {
                b.ask(k + ahead);
                b.ask(k + 1 + ahead);
            }
            let mut two = [b.two(k, first); V];
            for v in 1..V {
                two[v] = b.two(k, first + v);
            }
            for r in 0..R {
                let (a, b) = (L::splat(*left[r].add(k)), L::splat(*left[r].add(k + 1)));
                for v in 0..V {
                    acc[r][v] = b.fma(two[v].1, a.fma(two[v].0, acc[r][v]));
                }
            }
            k += 2;
        }
        if k < lines {
            one_line(&mut acc, &left, b, k, first, ahead);
        }
        for r in 0..R {
            for v in 0..V {
                acc[r][v].store(to.add(r * c.ld + v * LANES));
            }
        }
    }
}

/// Line `k` alone.
#[inline(always)]
unsafe fn one_line<L: Lanes, B: Stored<L>, const R: usize, const V: usize>(
    acc: &mut [[L; V]; R],
    left: &[*const f32; R],
    b: B,
    k: usize,
    first: usize,
    ahead: Option<usize>,
) {
    if let Some(ahead) = ahead {
        b.ask(k + ahead);
    }
    // SAFETY: the caller's promise.
    unsafe {
        for v in 0..V {
            let line = b.get(k, first + v);
            for r in 0..R {
                acc[r][v] = L::splat(*left[r].add(k)).fma(line, acc[r][v]);
            }
        }
    }
}

#[inline(always)]
unsafe fn scores_lanes<L: Micro>(
    x: &Queries<'_>,
    heads: Range<usize>,
    left: *const f32,
    out: *mut f32,
    (width, room): (usize, usize),
) {
    let (d, rows) = (x.head_dim, x.rows);
    let ahead = PANELS_AHEAD * x.kv_heads * d;
    let mut spare = [0f32; FEW_ROWS * KEY_PANEL];
    for (first, skip, to, n, direct) in placed(x, KEY_PANEL, room) {
        for (i, head) in heads.clone().enumerate() {
            let place = first / KEY_PANEL * x.kv_heads + head;
            // SAFETY: the panel exists and has `d` lines for each head; the rest is the caller's promise.
            unsafe {
                let a = Left { at: left.add(i * rows * x.ld), ld: x.ld };
                let line = out.add(i * rows * width + to);
                let (at, ld) = if direct { (line, width) } else { (spare.as_mut_ptr(), KEY_PANEL) };
                let (c, from) = (Out { at, ld, add: false }, place * d * KEY_PANEL);
                match x.held {
                    Held::F32 { k, .. } => sums::<L, _>(rows, d, a, Floats(k.as_ptr().add(from)), c, ahead),
                    Held::F16 { k, .. } => sums::<L, _>(rows, d, a, Halves(k.as_ptr().add(from)), c, ahead),
                    Held::Q16 { .. } => unreachable!("whole numbers have a form of their own"),
                    Held::Q8 { k, ks, .. } => {
                        let scales = ks.as_ptr().add(place * KEY_PANEL);
                        sums::<L, _>(rows, d, a, Bytes::<true>(k.as_ptr().add(from), scales), c, ahead);
                    }
                }
                if !direct {
                    copy_own(spare[skip..].as_ptr(), KEY_PANEL, (line, width), (rows, n));
                }
            }
        }
    }
}

lanes_fn! {
    /// Scores of some key/value heads: `out[head][row][key] = left[head][row] · key`, rows of `out` `width` apart, of which `room` columns may be written.
    ///
    /// # Safety
    /// `left` and `out` hold all rows of the heads, and nobody else writes there; keys lie in the cache.
    pub(super) unsafe fn scores(
        x: &Queries<'_>, heads: Range<usize>, left: *const f32, out: *mut f32, line: (usize, usize)
    ) = scores_lanes
}

#[inline(always)]
unsafe fn weigh_lanes<L: Micro>(
    x: &Queries<'_>,
    (head, part): (usize, usize),
    weights: *const f32,
    width: usize,
    o: *mut f32,
) {
    let (d, rows) = (x.head_dim, x.rows);
    let ahead = PANELS_AHEAD * x.kv_heads * d;
    for (col, row, count) in pieces(x.span, x.block.lo, x.block.hi) {
        let place = row / KEY_PANEL * x.kv_heads + head;
        let from = (place * d + part * PART) * KEY_PANEL + row % KEY_PANEL * PART;
        // SAFETY: the part holds 32 lines of 32 values; the rest is the caller's promise.
        unsafe {
            let a = Left { at: weights.add(col), ld: width };
            let c = Out { at: o, ld: x.ldo, add: col > 0 };
            match x.held {
                Held::F32 { v, .. } => sums::<L, _>(rows, count, a, Floats(v.as_ptr().add(from)), c, ahead),
                Held::F16 { v, .. } => sums::<L, _>(rows, count, a, Halves(v.as_ptr().add(from)), c, ahead),
                Held::Q16 { v, .. } => {
                    let part = v.as_ptr().add((place * d + part * PART) * KEY_PANEL / 2);
                    sums::<L, _>(rows, count, a, Pairs(part, row % KEY_PANEL), c, ahead);
                }
                Held::Q8 { v, vs, .. } => {
                    let scales = vs.as_ptr().add(place * KEY_PANEL + row % KEY_PANEL);
                    sums::<L, _>(rows, count, a, Bytes::<false>(v.as_ptr().add(from), scales), c, ahead);
                }
            }
        }
    }
}

lanes_fn! {
    /// Columns `32 part ..` (32 whole ones) of a head's outputs: weights `[rows, width]` times values.
    ///
    /// # Safety
    /// `weights` and `o` hold these rows, and nobody else writes there; values lie in the cache.
    pub(super) unsafe fn weigh(
        x: &Queries<'_>, place: (usize, usize), weights: *const f32, width: usize, o: *mut f32
    ) = weigh_lanes
}
