//! Attention over a cache of pairs ([`crate::KvType::Q16`]). Scores are sums of whole numbers, which every instruction set takes by pairs. Where there is
//! `vdpbf16ps`, many rows of weights meet the values by pairs too: it adds the first products, then the second ones, each by a fused
//! multiply-add, so that the chains of sums are those of the other forms, at twice their rate. (It takes numbers below 2⁻¹²⁶ for 0.)

use super::{KEY_PANEL, Queries, copy_own, narrow, placed, stretches};
use crate::ahead::ask;
use crate::dot8::{Dot, Ints, dot_fn};
use crate::isa::isa;
use crate::kv::{Held, PART, limits, whole_numbers};
use crate::lanes::{LANES, Lanes};
use std::ops::Range;

/// Whether values are multiplied by pairs here, in heads of `d` columns.
pub(super) fn here(d: usize) -> bool {
    isa().has_bf16() && d.is_multiple_of(PART)
}

/// Vectors of a tile.
const NV: usize = KEY_PANEL / LANES;

/// Most rows of a tile.
const MR: usize = 12;

/// Pairs of a panel of values.
const PANEL_PAIRS: usize = KEY_PANEL / 2;

/// Addresses of a register tile's operands: rows of pairs of weights, and lines of 32 pairs, in `panels` panels of `pairs` lines.
#[derive(Clone, Copy)]
struct Tile {
    panels: usize,
    pairs: usize,
    a: *const u32,
    /// pairs from one row to the next
    ra: usize,
    b: *const u32,
    /// pairs from one panel to the next
    stride: usize,
    c: *mut f32,
    ldc: usize,
    /// go on from the values in `c` instead of from 0
    add: bool,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn tile_rows<const R: usize>(t: &Tile) {
    use core::arch::x86_64::*;
    // SAFETY: the caller promises valid operands of these sizes.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); NV]; R];
        if t.add {
            for r in 0..R {
                for v in 0..NV {
                    acc[r][v] = _mm512_loadu_ps(t.c.add(r * t.ldc + v * LANES));
                }
            }
        }
        let mut a = t.a;
        for panel in 0..t.panels {
            let mut b = t.b.add(panel * t.stride);
            for _ in 0..t.pairs {
                let mut line = [std::mem::zeroed::<__m512bh>(); NV];
                for (v, line) in line.iter_mut().enumerate() {
                    *line = b.add(v * LANES).cast::<__m512bh>().read_unaligned();
                }
                for r in 0..R {
                    let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(*a.add(r * t.ra) as i32));
                    for v in 0..NV {
                        acc[r][v] = _mm512_dpbf16_ps(acc[r][v], pair, line[v]);
                    }
                }
                a = a.add(1);
                b = b.add(KEY_PANEL);
            }
        }
        for r in 0..R {
            for v in 0..NV {
                _mm512_storeu_ps(t.c.add(r * t.ldc + v * LANES), acc[r][v]);
            }
        }
    }
}

/// A tile of `rows` rows, 1 to [`MR`].
///
/// # Safety
/// Operands valid for these sizes; [`here`].
unsafe fn tile(rows: usize, t: &Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! of {
            ($($n:literal)*) => {
                match rows {
                    // SAFETY: the caller's promise.
                    $($n => unsafe { tile_rows::<$n>(t) },)*
                    _ => unreachable!("tile of {rows} rows"),
                }
            };
        }
        of!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("pairs on another machine: {rows} rows of {t:p}");
}

/// A row of queries as whole numbers by pairs; gives the value of one step.
///
/// # Safety
/// The instruction set of `L`; there is room for all pairs.
#[inline(always)]
pub(super) unsafe fn pack<L: Lanes>(q: &[f32], pairs: &mut [f32]) -> f32 {
    if !q.len().is_multiple_of(2) {
        pairs[pairs.len() - 1] = 0.0;
    }
    // SAFETY: a float has room for two whole numbers, of any bits; the slices have one length; the rest is the caller's promise.
    unsafe {
        let whole = std::slice::from_raw_parts_mut(pairs.as_mut_ptr().cast::<i16>(), q.len());
        whole_numbers::<L>(q, limits(q.len()).0, whole)
    }
}

/// Rows of weights, rounded already, become pairs in their own place: those of each stretch of keys where its columns began, paired as its rows lie in the
/// cache, with 0 beside the first or the last where these have no partner.
///
/// # Safety
/// [`here`]; `weights` holds rows of `width` columns.
pub(super) unsafe fn pack_weights(x: &Queries<'_>, weights: &mut [f32], width: usize) {
    for line in weights.chunks_exact_mut(width) {
        for (col, row, count) in stretches(x.span, x.block.lo, x.block.hi) {
            // SAFETY: the caller's promise.
            unsafe { pack_stretch(&mut line[col..col + count], row % 2) };
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn pack_stretch(_: &mut [f32], _: usize) {
    unreachable!("pairs on another machine")
}

/// Of `odd` 1 the first weight is the second of its pair.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn pack_stretch(line: &mut [f32], odd: usize) {
    use core::arch::x86_64::*;
    let (count, from, to) = (line.len(), line.as_ptr(), line.as_mut_ptr().cast::<u32>());
    // SAFETY: the pairs of any columns take no more room than these, and are written behind what is read.
    unsafe {
        let bits = |i: usize| (*from.add(i)).to_bits();
        if odd == 1 {
            *to = bits(0) >> 16;
        }
        let whole = (count - odd) / (2 * LANES) * 2 * LANES;
        for i in (odd..odd + whole).step_by(2 * LANES) {
            let (low, high) = (_mm512_loadu_ps(from.add(i)), _mm512_loadu_ps(from.add(i + LANES)));
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            // the first of a pair goes to the high half
            _mm512_storeu_si512(to.add(i.div_ceil(2)).cast(), _mm512_rol_epi32::<16>(both));
        }
        for i in (odd + whole..count).step_by(2) {
            let second = if i + 1 < count { bits(i + 1) >> 16 } else { 0 };
            *to.add(i.div_ceil(2)) = bits(i) & !0xffff | second;
        }
    }
}

/// One register tile of scores: `R` rows, `V` vectors of a panel's keys from vector `first` on.
#[inline(always)]
unsafe fn whole_tile<D: Dot, const R: usize, const V: usize>(
    (pairs, ahead): (usize, Option<usize>),
    (a, ra): (*const u32, usize),
    (b, scales): (*const u32, *const f32),
    (c, ldc): (*mut f32, usize),
    first: usize,
) {
    // SAFETY: the caller promises valid operands of these sizes.
    unsafe {
        let mut acc: [[Ints<D>; V]; R] = [[D::L::int_splat(0); V]; R];
        for k in 0..pairs {
            let line = b.add(k * KEY_PANEL + first * LANES);
            if let Some(ahead) = ahead {
                ask(b.wrapping_add((k + ahead) * KEY_PANEL).cast(), 4 * KEY_PANEL);
            }
            let mut keys = [D::L::load_int(line.cast()); V];
            for v in 1..V {
                keys[v] = D::L::load_int(line.add(v * LANES).cast());
            }
            for r in 0..R {
                let q = D::L::int_splat(*a.add(r * ra + k) as i32);
                for v in 0..V {
                    acc[r][v] = D::pairs(acc[r][v], q, keys[v]);
                }
            }
        }
        for v in 0..V {
            let scale = D::L::load(scales.add((first + v) * LANES));
            for r in 0..R {
                D::L::int_to_f32(acc[r][v]).mul(scale).store(c.add(r * ldc + (first + v) * LANES));
            }
        }
    }
}

/// The same for all keys of a panel.
#[inline(always)]
unsafe fn whole_rows<D: Dot, const R: usize>(
    (pairs, ahead): (usize, Option<usize>),
    a: (*const u32, usize),
    b: (*const u32, *const f32),
    c: (*mut f32, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        if D::ROWS > 4 {
            whole_tile::<D, R, 2>((pairs, ahead), a, b, c, 0);
        } else {
            // registers for half a panel
            whole_tile::<D, R, 1>((pairs, ahead), a, b, c, 0);
            whole_tile::<D, R, 1>((pairs, None), a, b, c, 1);
        }
    }
}

#[inline(always)]
unsafe fn scores_any<D: Dot>(
    x: &Queries<'_>,
    heads: Range<usize>,
    left: *const u32,
    out: *mut f32,
    (width, room): (usize, usize),
) {
    let Held::Q16 { k, ks, .. } = x.held else { unreachable!("pairs of another type") };
    let pairs = x.head_dim.div_ceil(2);
    // few rows wait for memory
    let ahead = (x.rows <= narrow::FEW_ROWS).then_some(narrow::PANELS_AHEAD * x.kv_heads * pairs);
    let mut spare = [0f32; MR * KEY_PANEL];
    for (first, skip, to, n, direct) in placed(x, KEY_PANEL, room) {
        for (i, head) in heads.clone().enumerate() {
            let place = first / KEY_PANEL * x.kv_heads + head;
            let b = (k[place * pairs * KEY_PANEL..].as_ptr(), ks[place * KEY_PANEL..].as_ptr());
            if ahead.is_some() {
                ask(b.1.wrapping_add(narrow::PANELS_AHEAD * x.kv_heads * KEY_PANEL).cast(), 4 * KEY_PANEL);
            }
            let mut r = 0;
            while r < x.rows {
                let (left_rows, row) = (x.rows - r, i * x.rows + r);
                // SAFETY: the panel has a line for each pair; the rest is the caller's promise.
                unsafe {
                    let (a, line) = ((left.add(row * x.ld), x.ld), out.add(row * width + to));
                    let c = if direct { (line, width) } else { (spare.as_mut_ptr(), KEY_PANEL) };
                    let inner = (pairs, ahead.filter(|_| r == 0));
                    let rows = match left_rows {
                        12.. if D::ROWS >= 12 => {
                            whole_rows::<D, 12>(inner, a, b, c);
                            12
                        }
                        8.. if D::ROWS >= 8 => {
                            whole_rows::<D, 8>(inner, a, b, c);
                            8
                        }
                        4.. => {
                            whole_rows::<D, 4>(inner, a, b, c);
                            4
                        }
                        3 => {
                            whole_rows::<D, 3>(inner, a, b, c);
                            3
                        }
                        2 => {
                            whole_rows::<D, 2>(inner, a, b, c);
                            2
                        }
                        _ => {
                            whole_rows::<D, 1>(inner, a, b, c);
                            1
                        }
                    };
                    if !direct {
                        copy_own(spare[skip..].as_ptr(), KEY_PANEL, (line, width), (rows, n));
                    }
                    r += rows;
                }
            }
        }
    }
}

dot_fn! {
    /// Scores of some key/value heads, in steps of the queries, whose rows `left` holds as whole numbers, a head behind the other. As
    /// `scores_in_place`.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn scores(
        x: &Queries<'_>, heads: Range<usize>, left: *const u32, out: *mut f32, line: (usize, usize)
    ) = scores_any
}

/// Columns `32 part ..` of a head's outputs, of weights that [`pack_weights`] made.
///
/// # Safety
/// As `weigh`, and [`here`].
pub(super) unsafe fn weigh(
    x: &Queries<'_>,
    (head, part): (usize, usize),
    weights: *const u32,
    width: usize,
    o: *mut f32,
) {
    let Held::Q16 { v, .. } = x.held else { unreachable!("pairs of another type") };
    // pairs from one panel to the next
    let stride = x.kv_heads * x.head_dim * PANEL_PAIRS;
    let at = |pair: usize| {
        let panel = pair / PANEL_PAIRS * stride + (head * x.head_dim + part * PART) * PANEL_PAIRS;
        v[panel + pair % PANEL_PAIRS * PART..].as_ptr()
    };
    for r in (0..x.rows).step_by(MR) {
        let rows = MR.min(x.rows - r);
        // SAFETY: rows of the outputs exist.
        let c = unsafe { o.add(r * x.ldo) };
        for (col, row, count) in stretches(x.span, x.block.lo, x.block.hi) {
            let (end, mut pair) = (row + count, row / 2);
            while 2 * pair < end {
                // SAFETY: the pairs of the stretch exist on both sides; the rest is the caller's promise.
                unsafe {
                    let a = weights.add(r * width + col + pair - row / 2);
                    let add = col > 0 || pair > row / 2;
                    let mut t =
                        Tile { panels: 1, pairs: 1, a, ra: width, b: at(pair), stride, c, ldc: x.ldo, add };
                    if 2 * pair < row || 2 * pair + 1 == end {
                        // half of this pair is another's: whatever it is, it must not count
                        let keep = if 2 * pair < row { 0xffff } else { !0xffff };
                        let line: [u32; PART] = std::array::from_fn(|i| *t.b.add(i) & keep);
                        t.b = line.as_ptr();
                        tile(rows, &t);
                    } else {
                        let whole = end / 2 - pair;
                        let (panels, inside) = (whole / PANEL_PAIRS, pair % PANEL_PAIRS);
                        if inside == 0 && panels > 0 {
                            (t.panels, t.pairs) = (panels, PANEL_PAIRS);
                        } else {
                            t.pairs = whole.min(PANEL_PAIRS - inside);
                        }
                        tile(rows, &t);
                    }
                    pair += t.panels * t.pairs;
                }
            }
        }
    }
}
