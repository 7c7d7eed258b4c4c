//! Keys and values of one layer in a cache: as float32, as half floats, as whole numbers of sixteen bits and bfloat16, or as
//! bytes with a scale for each row and head.
//!
//! Keys stand in panels, `[panel][K][head_dim][32]`: those of 32 rows side by side, as the products want them. Values stand in
//! panels too, `[panel][K][part][32][32]`: 32 columns of 32 rows of a head lie together (the last part of a head may be narrower).
//! What is not float32 is widened piece by piece (at most 32 rows of a head) next to the product that needs it, or in registers, so attention
//! over a cache gives the bits of attention over the widened values, and reads a half or a quarter of the memory.
//!
//! [`KvType::Q16`] lies by pairs, as instructions for products of pairs take them. Two columns of a key stand in a dword, whole numbers with a scale
//! for each row and head, and queries become whole numbers too, so that a score is a sum of integers, exact in any order. A column of two rows of values
//! stands in a dword as bfloat16, the first in the high half, which `vdpbf16ps` adds first; weights are rounded to bfloat16 too.

use crate::ahead::Ahead;
use crate::attention::KEY_PANEL;
use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::pool::{Pool, Shares};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// How a cache stores numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// 4 bytes
    #[default]
    F32,
    /// 2 bytes; beyond ±65,504 infinite
    F16,
    /// 2 bytes: keys as whole numbers with a float for each row and head, values as bfloat16
    Q16,
    /// 1 byte, and a float for each row and head
    Q8,
}

impl KvType {
    /// All of them.
    pub const ALL: [KvType; 4] = [KvType::F32, KvType::F16, KvType::Q16, KvType::Q8];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Q16 => "q16",
            KvType::Q8 => "q8",
        }
    }

    /// Bytes of the keys (or values) of one token.
    pub fn row_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        kv_heads
            * match self {
                KvType::F32 => 4 * head_dim,
                KvType::F16 => 2 * head_dim,
                KvType::Q16 => 2 * head_dim.next_multiple_of(2) + 2,
                KvType::Q8 => head_dim + 4,
            }
    }
}

#[derive(Debug)]
enum Data {
    F32 {
        k: Vec<f32>,
        v: Vec<f32>,
    },
    F16 {
        k: Vec<u16>,
        v: Vec<u16>,
    },
    /// pairs: keys `[panel][K][head_dim / 2][32]` and their scales `[panel][K][32]`, values `[panel][K][part][16][32]`
    Q16 {
        k: Vec<u32>,
        ks: Vec<f32>,
        v: Vec<u32>,
    },
    /// scales `[panel][K][32]`
    Q8 {
        k: Vec<i8>,
        ks: Vec<f32>,
        v: Vec<i8>,
        vs: Vec<f32>,
    },
}

/// Keys and values of a layer.
#[derive(Debug)]
pub struct KvLayer {
    rows: usize,
    kv_heads: usize,
    head_dim: usize,
    data: Data,
}

impl KvLayer {
    /// Room for `rows` rows, rounded up to whole panels. Memory is taken as rows are first written.
    pub fn new(kind: KvType, rows: usize, kv_heads: usize, head_dim: usize) -> KvLayer {
        let rows = rows.next_multiple_of(KEY_PANEL);
        let (n, s) = (rows * kv_heads * head_dim, rows * kv_heads);
        let data = match kind {
            KvType::F32 => Data::F32 { k: vec![0.0; n], v: vec![0.0; n] },
            KvType::F16 => Data::F16 { k: vec![0; n], v: vec![0; n] },
            KvType::Q16 => {
                Data::Q16 { k: vec![0; s * head_dim.div_ceil(2)], ks: vec![0.0; s], v: vec![0; n / 2] }
            }
            KvType::Q8 => Data::Q8 { k: vec![0; n], ks: vec![0.0; s], v: vec![0; n], vs: vec![0.0; s] },
        };
        KvLayer { rows, kv_heads, head_dim, data }
    }

    /// Rows that fit.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `(K, head_dim)`.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.kv_heads, self.head_dim)
    }

    /// Writes keys and values `[n, K · head_dim]` to rows `row ..`.
    ///
    /// # Panics
    /// If the rows lie outside.
    pub fn store(&mut self, pool: &Pool, row: usize, keys: &[f32], values: &[f32]) {
        let (heads, d) = (self.kv_heads, self.head_dim);
        let width = heads * d;
        let n = keys.len() / width;
        assert!(keys.len() == n * width && values.len() == keys.len(), "shape of keys and values");
        assert!(n <= self.rows && row <= self.rows - n, "rows outside the cache");
        let panels = self.rows / KEY_PANEL;
        let new = New { row, width, keys, values };
        match &mut self.data {
            Data::F32 { k, v } => {
                let (k, v) = (Panels::new(k, panels), Panels::new(v, panels));
                // SAFETY: a task alone has its panel.
                new.by_panels(pool, |panel, rows| unsafe {
                    for (lane, key, value) in rows {
                        scatter(k.at(panel), width, lane, key);
                        put(v.at(panel), d, lane, value);
                    }
                });
            }
            Data::F16 { k, v } => {
                let (k, v) = (Panels::new(k, panels), Panels::new(v, panels));
                // SAFETY: a task alone has its panel.
                new.by_panels(pool, |panel, rows| unsafe {
                    let mut short = vec![f16::ZERO; width];
                    for (lane, key, value) in rows {
                        short.convert_from_f32_slice(key);
                        scatter(k.at(panel), width, lane, HalfFloatSliceExt::reinterpret_cast(&short[..]));
                        short.convert_from_f32_slice(value);
                        put(v.at(panel), d, lane, HalfFloatSliceExt::reinterpret_cast(&short[..]));
                    }
                });
            }
            Data::Q16 { k, ks, v } => {
                let (k, v) = (Panels::new(k, panels), Panels::new(v, panels));
                let ks = Panels::new(ks, panels);
                // SAFETY: a task alone has its panel.
                new.by_panels(pool, |panel, rows| unsafe {
                    let (mut shorts, mut bits) = (vec![0i16; width], vec![bf16::ZERO; width]);
                    let mut scales = vec![0f32; heads];
                    for (lane, key, value) in rows {
                        key_of(key, d, &mut shorts, &mut scales);
                        scatter(ks.at(panel), heads, lane, &scales);
                        scatter_pairs(k.at(panel), d, lane, &shorts);
                        bits.convert_from_f32_slice(value);
                        put_halves(v.at(panel), d, lane, HalfFloatSliceExt::reinterpret_cast(&bits[..]));
                    }
                });
            }
            Data::Q8 { k, ks, v, vs } => {
                let (k, v) = (Panels::new(k, panels), Panels::new(v, panels));
                let (ks, vs) = (Panels::new(ks, panels), Panels::new(vs, panels));
                // SAFETY: a task alone has its panel.
                new.by_panels(pool, |panel, rows| unsafe {
                    let (mut bytes, mut scales) = (vec![0i8; width], vec![0f32; heads]);
                    for (lane, key, value) in rows {
                        bytes_of_heads(key, d, &mut bytes, &mut scales);
                        scatter(ks.at(panel), heads, lane, &scales);
                        scatter(k.at(panel), width, lane, &bytes);
                        bytes_of_heads(value, d, &mut bytes, &mut scales);
                        scatter(vs.at(panel), heads, lane, &scales);
                        put(v.at(panel), d, lane, &bytes);
                    }
                });
            }
        }
    }

    /// Adds the places where [`KvLayer::store`] puts the numbers of `rows`: those of the values, and the panels of keys, all of whose
    /// lines take a column.
    ///
    /// # Panics
    /// If rows lie outside.
    pub fn expect(&self, rows: Range<usize>, ahead: &mut Ahead) {
        assert!(rows.end <= self.rows, "rows outside the cache");
        let shape = self.shape();
        match &self.data {
            Data::F32 { k, v } => expect_rows(k, v, shape, 1, rows, ahead),
            Data::F16 { k, v } => expect_rows(k, v, shape, 1, rows, ahead),
            Data::Q16 { k, v, .. } => expect_rows(k, v, shape, 2, rows, ahead),
            Data::Q8 { k, v, .. } => expect_rows(k, v, shape, 1, rows, ahead),
        }
    }

    pub(crate) fn held(&self) -> Held<'_> {
        match &self.data {
            Data::F32 { k, v } => Held::F32 { k, v },
            Data::F16 { k, v } => Held::F16 { k, v },
            Data::Q16 { k, ks, v } => Held::Q16 { k, ks, v },
            Data::Q8 { k, ks, v, vs } => Held::Q8 { k, ks, v, vs },
        }
    }
}

/// Rows on their way into a cache.
struct New<'a> {
    /// where the first one goes
    row: usize,
    /// floats of a row
    width: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl New<'_> {
    /// Calls `task` for each panel that takes some of the rows, with these: lane, keys, values.
    fn by_panels<'a>(
        &'a self,
        pool: &Pool,
        task: impl Fn(usize, &mut dyn Iterator<Item = (usize, &'a [f32], &'a [f32])>) + Sync,
    ) {
        let (from, to, w) = (self.row, self.row + self.keys.len() / self.width, self.width);
        let first = from / KEY_PANEL;
        pool.run(to.div_ceil(KEY_PANEL) - first, |i| {
            let panel = first + i;
            let rows = from.max(panel * KEY_PANEL)..to.min((panel + 1) * KEY_PANEL);
            let row = |v: &'a [f32], row: usize| &v[(row - from) * w..][..w];
            let mut rows = rows.map(|r| (r % KEY_PANEL, row(self.keys, r), row(self.values, r)));
            task(panel, &mut rows);
        });
    }
}

/// A cache's numbers by panels, which tasks share.
struct Panels<T> {
    all: Shares<T>,
    size: usize,
}

impl<T> Panels<T> {
    fn new(all: &mut [T], panels: usize) -> Self {
        Panels { size: all.len() / panels.max(1), all: Shares::new(all) }
    }

    /// # Safety
    /// No other live reference to the panel.
    #[allow(clippy::mut_from_ref)]
    unsafe fn at(&self, panel: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { self.all.at(panel * self.size, self.size) }
    }
}

/// Puts a row into its lane of a panel.
fn scatter<T: Copy>(panel: &mut [T], width: usize, lane: usize, key: &[T]) {
    for (to, &v) in panel[..KEY_PANEL * width].chunks_exact_mut(KEY_PANEL).zip(key) {
        to[lane] = v;
    }
}

/// Puts a row of values into its places in a panel.
fn put<T: Copy>(panel: &mut [T], d: usize, lane: usize, values: &[T]) {
    for (head, value) in panel.chunks_exact_mut(KEY_PANEL * d).zip(values.chunks_exact(d)) {
        for (part, from) in head.chunks_mut(KEY_PANEL * PART).zip(value.chunks(PART)) {
            part[lane * from.len()..][..from.len()].copy_from_slice(from);
        }
    }
}

/// One or two whole numbers, the first in the low half.
fn pair(two: &[i16]) -> u32 {
    u32::from(two[0] as u16) | two.get(1).map_or(0, |v| u32::from(*v as u16) << 16)
}

/// Puts a row of keys into its lane of a panel of pairs.
fn scatter_pairs(panel: &mut [u32], d: usize, lane: usize, key: &[i16]) {
    for (head, key) in panel.chunks_exact_mut(KEY_PANEL * d.div_ceil(2)).zip(key.chunks_exact(d)) {
        for (to, two) in head.chunks_exact_mut(KEY_PANEL).zip(key.chunks(2)) {
            to[lane] = pair(two);
        }
    }
}

/// Puts a row of values into its halves of the pairs of a panel.
fn put_halves(panel: &mut [u32], d: usize, lane: usize, values: &[u16]) {
    let (high, line) = (lane.is_multiple_of(2), lane / 2);
    for (head, value) in panel.chunks_exact_mut(KEY_PANEL / 2 * d).zip(values.chunks_exact(d)) {
        for (part, from) in head.chunks_mut(KEY_PANEL / 2 * PART).zip(value.chunks(PART)) {
            for (to, &v) in part[line * from.len()..][..from.len()].iter_mut().zip(from) {
                *to = if high { *to & 0xffff | u32::from(v) << 16 } else { *to & !0xffff | u32::from(v) };
            }
        }
    }
}

/// `side` rows of values share a line.
fn expect_rows<T>(
    k: &[T],
    v: &[T],
    (heads, d): (usize, usize),
    side: usize,
    rows: Range<usize>,
    ahead: &mut Ahead,
) {
    for row in rows.clone() {
        for head in 0..heads {
            for part in 0..d.div_ceil(PART) {
                let (at, across) = place((heads, head), d, part, row / KEY_PANEL);
                ahead.push(&v[at / side + row % KEY_PANEL / side * across..][..across]);
            }
        }
    }
    let size = KEY_PANEL * heads * d.div_ceil(side);
    for panel in rows.start / KEY_PANEL..rows.end.div_ceil(KEY_PANEL) {
        ahead.push(&k[panel * size..][..size]);
    }
}

/// The largest whole numbers of queries and of keys of `d` columns: sums of their products fit 32 bits.
pub(crate) fn limits(d: usize) -> (f32, f32) {
    let bits = 31 - d.next_power_of_two().ilog2();
    (((1 << (bits / 2)) - 1) as f32, ((1 << bits.div_ceil(2)) - 1) as f32)
}

/// Values as whole numbers up to `limit`; gives their scale, which is not finite where a value is not.
///
/// # Safety
/// The instruction set of `L`; the slices have one length.
#[inline(always)]
pub(crate) unsafe fn whole_numbers<L: Lanes>(x: &[f32], limit: f32, out: &mut [i16]) -> f32 {
    // SAFETY: vectors of the slices, whole or in part.
    unsafe {
        let (zero, mut top, mut odd) = (L::splat(0.0), L::splat(0.0), L::splat(0.0));
        for x in x.chunks(LANES) {
            let v = L::load_part(x.as_ptr(), x.len(), 0.0);
            top = v.max(zero.sub(v)).max(top);
            odd = odd.add(v.mul(zero));
        }
        let top = top.top();
        let inverse = limit / top;
        // the smallest values of f32 have no finite inverse: they count as 0
        let inverse = L::splat(if inverse.is_finite() { inverse } else { 0.0 });
        for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
            let whole = L::load_part(x.as_ptr(), x.len(), 0.0).mul(inverse).round_int();
            if out.len() == LANES {
                L::store_i16(whole, out.as_mut_ptr());
            } else {
                let mut all = [0i16; LANES];
                L::store_i16(whole, all.as_mut_ptr());
                out.copy_from_slice(&all[..out.len()]);
            }
        }
        top / limit + odd.reduce_add()
    }
}

#[inline(always)]
unsafe fn key_lanes<L: Lanes>(key: &[f32], d: usize, out: &mut [i16], scales: &mut [f32]) {
    for ((from, to), scale) in key.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(scales) {
        // SAFETY: the caller's promise.
        *scale = unsafe { whole_numbers::<L>(from, limits(d).1, to) };
    }
}

lanes_fn! {
    /// A row of keys as whole numbers, with a scale for each head of `d` columns.
    ///
    /// # Safety
    /// `key` and `out` have one length.
    unsafe fn key_of(key: &[f32], d: usize, out: &mut [i16], scales: &mut [f32]) = key_lanes
}

/// A row as bytes, with a scale for each head of `d` columns.
fn bytes_of_heads(x: &[f32], d: usize, out: &mut [i8], scales: &mut [f32]) {
    for ((from, to), scale) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(scales) {
        *scale = bytes_of(from, to);
    }
}

/// Values of one row and head as bytes; gives their scale, which is not finite where a value is not.
fn bytes_of(x: &[f32], out: &mut [i8]) -> f32 {
    let top = x.iter().fold(0f32, |m, v| m.max(v.abs()));
    let odd: f32 = x.iter().map(|v| v * 0.0).sum();
    let inverse = 127.0 / top;
    // the smallest values of f32 have no finite inverse: they count as 0
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (o, v) in out.iter_mut().zip(x) {
        *o = (v * inverse).round_ties_even() as i8;
    }
    top / 127.0 + odd
}

/// What attention reads.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    F32 { k: &'a [f32], v: &'a [f32] },
    F16 { k: &'a [u16], v: &'a [u16] },
    Q16 { k: &'a [u32], ks: &'a [f32], v: &'a [u32] },
    Q8 { k: &'a [i8], ks: &'a [f32], v: &'a [i8], vs: &'a [f32] },
}

/// Columns of a head's values that lie together.
pub(crate) const PART: usize = 32;

impl Held<'_> {
    /// Floats that [`Held::keys`] and [`Held::values`] need to widen.
    pub(crate) fn spare(&self, d: usize) -> usize {
        if matches!(self, Held::F32 { .. }) { 0 } else { KEY_PANEL * d.max(PART) }
    }

    /// Keys of `nr` rows from `first` (a multiple of `nr`; 16 or 32) of a head, transposed: `[d][nr]` at the stride that
    /// comes with it.
    ///
    /// # Safety
    /// The rows exist; `spare` holds [`Held::spare`] floats; the instruction set is there.
    #[inline(always)]
    pub(crate) unsafe fn keys<L: Lanes>(
        &self,
        (heads, head): (usize, usize),
        d: usize,
        first: usize,
        nr: usize,
        spare: *mut f32,
    ) -> (*const f32, usize) {
        let (panel, lane) = (first / KEY_PANEL, first % KEY_PANEL);
        let at = (panel * heads + head) * d * KEY_PANEL + lane;
        // SAFETY: the panel has `d` lines of 32 values for each head, `nr` of them from `lane` on.
        unsafe {
            match *self {
                Held::F32 { k, .. } => return (k.as_ptr().add(at), KEY_PANEL),
                Held::F16 { k, .. } => {
                    let p = k.as_ptr().add(at);
                    for i in 0..d {
                        for l in (0..nr).step_by(LANES) {
                            L::load_f16(p.add(i * KEY_PANEL + l).cast()).store(spare.add(i * nr + l));
                        }
                    }
                }
                Held::Q16 { k, ks, .. } => {
                    let place = panel * heads + head;
                    let (p, s) = (
                        k.as_ptr().add(place * d.div_ceil(2) * KEY_PANEL + lane),
                        ks.as_ptr().add(place * KEY_PANEL + lane),
                    );
                    for l in (0..nr).step_by(LANES) {
                        let scale = L::load(s.add(l));
                        for i in 0..d {
                            let pairs = L::load_int(p.add(i / 2 * KEY_PANEL + l).cast());
                            let whole = if i % 2 == 0 { L::int_shl::<16>(pairs) } else { pairs };
                            let whole = L::int_to_f32(L::int_sar::<16>(whole));
                            whole.mul(scale).store(spare.add(i * nr + l));
                        }
                    }
                }
                Held::Q8 { k, ks, .. } => {
                    let (p, s) =
                        (k.as_ptr().add(at), ks.as_ptr().add((panel * heads + head) * KEY_PANEL + lane));
                    for l in (0..nr).step_by(LANES) {
                        let scale = L::load(s.add(l));
                        for i in 0..d {
                            let q = L::int_to_f32(L::load_i8(p.add(i * KEY_PANEL + l).cast()));
                            q.mul(scale).store(spare.add(i * nr + l));
                        }
                    }
                }
            }
        }
        (spare, nr)
    }

    /// Values of `count` rows from `row`, all of one panel: columns `32 part ..` of a head, at most 32, at the stride that
    /// comes with them.
    ///
    /// # Safety
    /// As [`Held::keys`].
    #[inline(always)]
    pub(crate) unsafe fn values<L: Lanes>(
        &self,
        which: (usize, usize),
        d: usize,
        part: usize,
        row: usize,
        count: usize,
        spare: *mut f32,
    ) -> (*const f32, usize) {
        let (at, across) = place(which, d, part, row / KEY_PANEL);
        let (heads, head) = which;
        let (at, n) = (at + row % KEY_PANEL * across, count * across);
        // SAFETY: the part holds 32 rows of `across` values.
        unsafe {
            match *self {
                Held::F32 { v, .. } => return (v.as_ptr().add(at), across),
                Held::F16 { v, .. } => {
                    let (p, whole) = (v.as_ptr().add(at), n / LANES * LANES);
                    for i in (0..whole).step_by(LANES) {
                        L::load_f16(p.add(i).cast()).store(spare.add(i));
                    }
                    for i in whole..n {
                        *spare.add(i) = f16::from_bits(*p.add(i)).to_f32();
                    }
                }
                Held::Q16 { v, .. } => {
                    let (p, first) =
                        (v.as_ptr().add(place(which, d, part, row / KEY_PANEL).0 / 2), row % KEY_PANEL);
                    let whole = across / LANES * LANES;
                    for i in 0..count {
                        let (line, high) = (p.add((first + i) / 2 * across), (first + i).is_multiple_of(2));
                        for x in (0..whole).step_by(LANES) {
                            let (first, second) = L::apart(L::load_int(line.add(x).cast()));
                            let v = if high { first } else { second };
                            v.store(spare.add(i * across + x));
                        }
                        for x in whole..across {
                            let pair = *line.add(x);
                            *spare.add(i * across + x) =
                                f32::from_bits(if high { pair & !0xffff } else { pair << 16 });
                        }
                    }
                }
                Held::Q8 { v, vs, .. } => {
                    let scales =
                        vs.as_ptr().add((row / KEY_PANEL * heads + head) * KEY_PANEL + row % KEY_PANEL);
                    let whole = across / LANES * LANES;
                    for i in 0..count {
                        let (p, out, scale) =
                            (v.as_ptr().add(at + i * across), spare.add(i * across), *scales.add(i));
                        for x in (0..whole).step_by(LANES) {
                            let q = L::int_to_f32(L::load_i8(p.add(x).cast()));
                            q.mul(L::splat(scale)).store(out.add(x));
                        }
                        for x in whole..across {
                            *out.add(x) = f32::from(*p.add(x)) * scale;
                        }
                    }
                }
            }
        }
        (spare, across)
    }
}

/// Where part `part` of a head's values begins in a panel, and its columns.
#[inline(always)]
fn place((heads, head): (usize, usize), d: usize, part: usize, panel: usize) -> (usize, usize) {
    (((panel * heads + head) * d + part * PART) * KEY_PANEL, PART.min(d - part * PART))
}

#[inline(always)]
unsafe fn widen_lanes<L: Lanes>(layer: &KvLayer, row: usize, k: &mut [f32], v: &mut [f32]) {
    let (heads, d) = layer.shape();
    let held = layer.held();
    let mut spare = vec![0f32; KEY_PANEL * d.max(PART)];
    for head in 0..heads {
        // SAFETY: the row was checked; `spare` holds a piece.
        unsafe {
            let first = row / LANES * LANES;
            let (p, ld) = held.keys::<L>((heads, head), d, first, LANES, spare.as_mut_ptr());
            for i in 0..d {
                k[head * d + i] = *p.add(i * ld + row - first);
            }
            for part in 0..d.div_ceil(PART) {
                let (p, across) = held.values::<L>((heads, head), d, part, row, 1, spare.as_mut_ptr());
                for i in 0..across {
                    v[head * d + part * PART + i] = *p.add(i);
                }
            }
        }
    }
}

lanes_fn! {
    /// # Safety
    /// The row exists, `k` and `v` hold one row.
    unsafe fn widen(layer: &KvLayer, row: usize, k: &mut [f32], v: &mut [f32]) = widen_lanes
}

impl KvLayer {
    /// Keys and values of a row as attention sees them, `[K · head_dim]` each.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> (Vec<f32>, Vec<f32>) {
        assert!(row < self.rows, "row outside the cache");
        let width = self.kv_heads * self.head_dim;
        let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
        // SAFETY: checked above.
        unsafe { widen(self, row, &mut k, &mut v) };
        (k, v)
    }
}
