//! Causal attention of grouped heads over key/value rows that lie anywhere: a cache, or the batch itself.
//!
//! A [`Span`] is a run of new tokens with the rows of all keys they may see, in the order of their positions: the
//! ancestors' first, their own last. So a KV cache, sequences packed side by side and trees of shared prefixes are
//! one case. Scores of a block of queries are kept (block × keys), never a whole square.
//!
//! Orders of summation: a score sums over `head_dim` in order; the softmax's sum runs in 16 partial sums by key
//! position modulo 16; the output sums over keys in order. None depends on the blocks.

mod backward;
mod few;
mod form;
mod narrow;
mod pairs;

pub use backward::{AttentionBackward, attention_backward};

use form::Form;

use crate::kv::{Held, KvLayer, PART};
use crate::lanes::{LANES, lanes_fn};
use crate::math::{exp, exp2_short};
use crate::pool::{Pool, Shares};
use crate::product::{MAX_NR, Micro, TileArgs, with_panels};

/// Constants of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// query heads `H`
    pub heads: usize,
    /// key/value heads `K`; `H` is a multiple of it
    pub kv_heads: usize,
    /// width of a head
    pub head_dim: usize,
    /// factor on the scores
    pub scale: f32,
    /// a query sees this many keys, its own among them; `None`: all
    pub window: Option<usize>,
}

/// A run of consecutive new tokens of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// first row of the tokens in the batch
    pub row: usize,
    /// number of tokens
    pub len: usize,
    /// key/value rows `(first, count)` that the last token sees, by position; the last `len` are the tokens' own
    pub keys: Vec<(usize, usize)>,
    /// spans that share key rows stand side by side and have the same number
    pub tree: usize,
}

impl Span {
    /// Keys in all.
    pub fn key_count(&self) -> usize {
        self.keys.iter().map(|k| k.1).sum()
    }
}

/// Rows of a panel of a cache.
pub const KEY_PANEL: usize = MAX_NR;

/// Where the keys lie.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// `[rows, K · head_dim]`: the batch's own; they are packed for each block of queries
    Rows(&'a [f32]),
    /// a cache's, with the values beside them
    Held(&'a KvLayer),
}

/// Score rows of a task.
const TASK_ROWS: usize = 96;

fn tokens_per_block(s: &AttentionShape) -> usize {
    (TASK_ROWS / (s.heads / s.kv_heads)).max(1)
}

/// The block of tokens `i0..i1` of a span and the keys it sees: `lo` (a multiple of 16) up to `hi`.
#[derive(Clone, Copy)]
struct Block {
    i0: usize,
    i1: usize,
    /// keys before the span's own
    before: usize,
    lo: usize,
    hi: usize,
}

impl Block {
    fn new(s: &AttentionShape, span: &Span, i0: usize) -> Block {
        let i1 = (i0 + tokens_per_block(s)).min(span.len);
        let before = span.key_count() - span.len;
        let lo = s.window.map_or(0, |w| (before + i0 + 1).saturating_sub(w)) / LANES * LANES;
        Block { i0, i1, before, lo, hi: before + i1 }
    }

    /// Score columns, padded.
    fn width(&self) -> usize {
        (self.hi - self.lo).next_multiple_of(MAX_NR)
    }

    /// Visible columns of token `i`.
    fn visible(&self, s: &AttentionShape, i: usize) -> (usize, usize) {
        let end = self.before + i + 1;
        (s.window.map_or(0, |w| end.saturating_sub(w)).max(self.lo) - self.lo, end - self.lo)
    }
}

/// Rows of queries of one head, or of several that share keys, over a cache.
#[derive(Clone, Copy)]
struct Queries<'a> {
    span: &'a Span,
    block: &'a Block,
    held: Held<'a>,
    kv_heads: usize,
    head_dim: usize,
    rows: usize,
    form: Form,
    /// from one row of queries to the next
    ld: usize,
    /// from one row of outputs to the next
    ldo: usize,
}

/// `(first column, first row, count)` of each contiguous stretch of the keys `lo..hi`.
fn stretches(span: &Span, lo: usize, hi: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    let mut next = 0;
    span.keys.iter().filter_map(move |&(row, count)| {
        let at = next;
        next += count;
        let (from, to) = (at.max(lo), (at + count).min(hi));
        (from < to).then(|| (from - lo, row + from - at, to - from))
    })
}

/// Pieces of `nr` rows of a cache for scores in lines of `room` columns: `(first row, rows before the stretch, column, count, direct)`. A
/// piece that is `direct` may be written whole: columns right of the stretch are written again or masked later, those left of it are
/// not.
fn placed(
    x: &Queries<'_>,
    nr: usize,
    room: usize,
) -> impl Iterator<Item = (usize, usize, usize, usize, bool)> {
    stretches(x.span, x.block.lo, x.block.hi).flat_map(move |(col, row, count)| {
        (row / nr..(row + count).div_ceil(nr)).map(move |piece| {
            let first = piece * nr;
            let skip = row.saturating_sub(first);
            let to = col + (first + skip - row);
            let n = (nr - skip).min(row + count - first - skip);
            (first, skip, to, n, skip == 0 && to + nr <= room)
        })
    })
}

/// Copies rows of `n` columns that are a piece's own into their lines.
///
/// # Safety
/// Both sides hold them.
#[inline(always)]
unsafe fn copy_own(from: *const f32, ld: usize, (line, width): (*mut f32, usize), (rows, n): (usize, usize)) {
    for i in 0..rows {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from.add(i * ld), line.add(i * width), n) };
    }
}

/// [`stretches`] cut where panels of a cache end.
fn pieces(span: &Span, lo: usize, hi: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    stretches(span, lo, hi).flat_map(|(col, row, count)| {
        (row / KEY_PANEL..(row + count).div_ceil(KEY_PANEL)).map(move |panel| {
            let from = row.max(panel * KEY_PANEL);
            (col + from - row, from, (row + count).min((panel + 1) * KEY_PANEL) - from)
        })
    })
}

/// Packs the transpose of key rows into panels `[head_dim][nr]`; columns beyond the keys become 0.
#[allow(clippy::too_many_arguments)]
fn pack_transposed(
    span: &Span,
    b: &Block,
    data: &[f32],
    ld: usize,
    off: usize,
    d: usize,
    nr: usize,
    out: &mut [f32],
) {
    for (col0, row0, count) in stretches(span, b.lo, b.hi) {
        let mut j = 0;
        while j < count {
            let col = col0 + j;
            let here = if j + 4 <= count && col % 4 == 0 { 4 } else { 1 };
            let base = col / nr * nr * d + col % nr;
            let line = |i: usize| &data[(row0 + j + i) * ld + off..][..d];
            if here == 4 {
                let lines = [line(0), line(1), line(2), line(3)];
                for dd in 0..d {
                    let o = &mut out[base + dd * nr..][..4];
                    (o[0], o[1], o[2], o[3]) = (lines[0][dd], lines[1][dd], lines[2][dd], lines[3][dd]);
                }
            } else {
                for (dd, &v) in line(0).iter().enumerate() {
                    out[base + dd * nr] = v;
                }
            }
            j += here;
        }
    }
    for col in b.hi - b.lo..b.width() {
        for dd in 0..d {
            out[col / nr * nr * d + col % nr + dd * nr] = 0.0;
        }
    }
}

/// Scores `out[i][col] = left_i · right_col` of the block's tokens (rows of `left` at stride `ld`) with packed keys.
#[inline(always)]
unsafe fn scores<L: Micro>(
    left: *const f32,
    ld: usize,
    rows: usize,
    d: usize,
    panels: &[f32],
    out: *mut f32,
    width: usize,
) {
    let nr = L::NV * LANES;
    let mut r = 0;
    while r < rows {
        let mr = L::MR.min(rows - r);
        for p in 0..width / nr {
            // SAFETY: the caller's shapes.
            unsafe {
                let t = TileArgs {
                    k: d,
                    a: left.add(r * ld),
                    ka: 1,
                    ra: ld,
                    b: panels.as_ptr().add(p * d * nr),
                    ldb: nr,
                    c: out.add(r * width + p * nr),
                    ldc: width,
                    add: false,
                    apart: false,
                };
                L::tile(mr, L::NV, &t);
            }
        }
        r += mr;
    }
}

/// `c[r, ..d] (+)= Σ_k a(k, r) · b[k, ..d]` with any strides, tile by tile.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn mix<L: Micro>(
    rows: usize,
    d: usize,
    k: usize,
    a: *const f32,
    ka: usize,
    ra: usize,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    add: bool,
) {
    let nr = L::NV * LANES;
    let mut r = 0;
    while r < rows {
        let mr = L::MR.min(rows - r);
        let mut n = 0;
        while n < d {
            let cols = nr.min(d - n);
            // SAFETY: the caller's shapes; a head whose width is not whole vectors goes through `edge`.
            unsafe {
                let mut t = TileArgs {
                    k,
                    a: a.add(r * ra),
                    ka,
                    ra,
                    b: b.add(n),
                    ldb,
                    c: c.add(r * ldc + n),
                    ldc,
                    add,
                    apart: false,
                };
                if cols.is_multiple_of(LANES) {
                    L::tile(mr, cols / LANES, &t);
                } else {
                    edge(mr, cols, &mut t);
                }
            }
            n += cols;
        }
        r += mr;
    }
}

/// A tile whose columns are not whole vectors, element by element in the same order.
unsafe fn edge(rows: usize, cols: usize, t: &mut TileArgs) {
    for r in 0..rows {
        for n in 0..cols {
            // SAFETY: the caller's shapes.
            unsafe {
                let c = t.c.add(r * t.ldc + n);
                let mut acc = if t.add { *c } else { 0.0 };
                for k in 0..t.k {
                    acc = (*t.a.add(k * t.ka + r * t.ra)).mul_add(*t.b.add(k * t.ldb + n), acc);
                }
                *c = acc;
            }
        }
    }
}

/// One row of scores becomes weights (not yet divided by their sum), with `short` rounded to bfloat16; gives `(max, sum)`.
#[inline(always)]
unsafe fn soften<L: Micro>(s: &mut [f32], from: usize, to: usize, scale: f32, short: bool) -> (f32, f32) {
    s[..from].fill(f32::NEG_INFINITY);
    s[to..].fill(f32::NEG_INFINITY);
    // SAFETY: whole vectors of the row.
    unsafe {
        // several at once: each waits for the one before
        let mut tops = [L::splat(f32::NEG_INFINITY); 4];
        let (fours, rest) = s.as_chunks::<{ 4 * LANES }>();
        for four in fours {
            for (i, top) in tops.iter_mut().enumerate() {
                *top = L::load(four[i * LANES..].as_ptr()).max(*top);
            }
        }
        for c in rest.chunks_exact(LANES) {
            tops[0] = L::load(c.as_ptr()).max(tops[0]);
        }
        // the greatest product is the greatest score's
        let top = tops[0].max(tops[1]).max(tops[2].max(tops[3])).reduce_max();
        let mut sum = L::splat(0.0);
        if short {
            let scale = scale * std::f32::consts::LOG2_E;
            let (m, scale) = (L::splat(-top * scale), L::splat(scale));
            for c in s.chunks_exact_mut(LANES) {
                let e = exp2_short(L::load(c.as_ptr()).fma(scale, m)).round_bf16();
                e.store(c.as_mut_ptr());
                sum = sum.add(e);
            }
        } else {
            let (m, scale) = (L::splat(top * scale), L::splat(scale));
            for c in s.chunks_exact_mut(LANES) {
                let e = exp(L::load(c.as_ptr()).mul(scale).sub(m));
                e.store(c.as_mut_ptr());
                sum = sum.add(e);
            }
        }
        (top * scale, sum.reduce_add())
    }
}

/// [`scores`] of one head with keys that lie in panels already, for queries in their form. Rows of `out` are `width` apart; `room`
/// columns may be written.
#[inline(always)]
unsafe fn scores_in_place<L: Micro>(
    x: &Queries<'_>,
    head: usize,
    left: *const f32,
    wide: *mut f32,
    out: *mut f32,
    (width, room): (usize, usize),
) {
    if x.form != Form::Floats {
        // SAFETY: the caller's promise.
        return unsafe { pairs::scores(x, head..head + 1, left.cast(), out, (width, room)) };
    }
    if x.rows <= narrow::FEW_ROWS {
        // SAFETY: as above.
        return unsafe { narrow::scores(x, head..head + 1, left, out, (width, room)) };
    }
    let (d, nr) = (x.head_dim, L::NV * LANES);
    let mut spare = [0f32; 16 * MAX_NR];
    for (first, skip, to, n, direct) in placed(x, nr, room) {
        // SAFETY: the panel exists; the caller's `wide` holds a piece.
        let (keys, ldb) = unsafe { x.held.keys::<L>((x.kv_heads, head), d, first, nr, wide) };
        let mut r = 0;
        while r < x.rows {
            let mr = L::MR.min(x.rows - r);
            // SAFETY: the caller's shapes; `spare` holds MR (at most 12) × 32 values.
            unsafe {
                let line = out.add(r * width + to);
                let t = TileArgs {
                    k: d,
                    a: left.add(r * x.ld),
                    ka: 1,
                    ra: x.ld,
                    b: keys,
                    ldb,
                    c: if direct { line } else { spare.as_mut_ptr() },
                    ldc: if direct { width } else { nr },
                    add: false,
                    apart: false,
                };
                L::tile(mr, L::NV, &t);
                if !direct {
                    copy_own(spare[skip..].as_ptr(), nr, (line, width), (mr, n));
                }
            }
            r += mr;
        }
    }
}

/// One token of several heads that share keys: their scores, weights and outputs at once.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn forward_token_lanes<L: Micro>(
    s: &AttentionShape,
    span: &Span,
    b: &Block,
    head: usize,
    q: &[f32],
    held: Held<'_>,
    o: *mut f32,
    buffer: &mut [f32],
) {
    let (d, rows, width) = (s.head_dim, s.heads / s.kv_heads, b.width());
    let form = Form::of(held, rows, d);
    let (spare, rest) = buffer.split_at_mut(held.spare(d));
    let (room, sc) = rest.split_at_mut(form.room(rows, d));
    let spare = spare.as_mut_ptr();
    let at = ((span.row + b.i0) * s.heads + head * rows) * d;
    // SAFETY: shapes were checked by `attention_forward`; this task alone writes these heads.
    unsafe {
        let (left, ld, steps) = form.prepare::<L>((q.as_ptr().add(at), d), rows, d, room);
        let x = &Queries { span, block: b, held, kv_heads: s.kv_heads, head_dim: d, rows, form, ld, ldo: d };
        scores_in_place::<L>(x, head, left, spare, sc.as_mut_ptr(), (width, width));
        let mut sums = [0f32; TASK_ROWS];
        let (from, to) = b.visible(s, b.i0);
        for (i, (row, sum)) in sc.chunks_exact_mut(width).zip(&mut sums).enumerate() {
            *sum = soften::<L>(row, from, to, form.scale(steps, i, s.scale), form != Form::Floats).1;
        }
        if form == Form::Pairs {
            pairs::pack_weights(x, sc, width);
        }
        let o = o.add(at);
        for part in 0..d.div_ceil(PART) {
            weigh::<L>(x, (head, part), sc.as_ptr(), width, spare, o.add(part * PART));
        }
        divide(&sums[..rows], d, o, d);
    }
}

/// Columns `32 part ..` of a head's outputs: weights `[rows, width]` in their form times the values of a cache.
#[inline(always)]
unsafe fn weigh<L: Micro>(
    x: &Queries<'_>,
    (head, part): (usize, usize),
    weights: *const f32,
    width: usize,
    wide: *mut f32,
    o: *mut f32,
) {
    if x.rows <= narrow::FEW_ROWS && (part + 1) * PART <= x.head_dim {
        // SAFETY: the caller's promise; the part is whole.
        return unsafe { narrow::weigh(x, (head, part), weights, width, o) };
    }
    if x.form == Form::Pairs {
        // SAFETY: as above.
        return unsafe { pairs::weigh(x, (head, part), weights.cast(), width, o) };
    }
    for (col, row, count) in pieces(x.span, x.block.lo, x.block.hi) {
        // SAFETY: the caller's shapes.
        unsafe {
            let which = (x.kv_heads, head);
            let (from, across) = x.held.values::<L>(which, x.head_dim, part, row, count, wide);
            mix::<L>(x.rows, across, count, weights.add(col), 1, width, from, across, o, x.ldo, col > 0);
        }
    }
}

/// Divides rows of `columns` outputs by the sums of their weights.
#[inline(always)]
unsafe fn divide(sums: &[f32], columns: usize, o: *mut f32, ldo: usize) {
    for (i, sum) in sums.iter().enumerate() {
        let inverse = 1.0 / sum;
        for x in 0..columns {
            // SAFETY: the caller's shapes.
            unsafe { *o.add(i * ldo + x) *= inverse };
        }
    }
}

lanes_fn! {
    /// # Safety
    /// See `attention_forward`; the block is one token.
    unsafe fn forward_token(
        s: &AttentionShape, span: &Span, b: &Block, head: usize, q: &[f32], held: Held<'_>, o: *mut f32,
        buffer: &mut [f32]
    ) = forward_token_lanes
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn forward_block_lanes<L: Micro>(
    s: &AttentionShape,
    span: &Span,
    b: &Block,
    head: usize,
    q: &[f32],
    source: Source<'_>,
    o: *mut f32,
    lse: *mut f32,
    buffer: &mut [f32],
) {
    let (d, group, nr) = (s.head_dim, s.heads / s.kv_heads, L::NV * LANES);
    let (ldq, ldk) = (s.heads * d, s.kv_heads * d);
    let (rows, width) = (b.i1 - b.i0, b.width());
    let form = source.form(rows, d);
    let (panels, rest) = buffer.split_at_mut(source.extra(width, d));
    let (room, sc) = rest.split_at_mut(form.room(rows, d));
    if let Source::Rows(k, _) = source {
        pack_transposed(span, b, k, ldk, head * d, d, nr, panels);
    }
    for g in 0..group {
        let at = (span.row + b.i0) * ldq + (head * group + g) * d;
        // SAFETY: shapes were checked by `attention_forward`; this task alone writes these tokens' heads.
        unsafe {
            let (left, ld, steps) = form.prepare::<L>((q.as_ptr().add(at), ldq), rows, d, room);
            let over = |held| Queries {
                span,
                block: b,
                held,
                kv_heads: s.kv_heads,
                head_dim: d,
                rows,
                form,
                ld,
                ldo: ldq,
            };
            match source {
                Source::Rows(..) => scores::<L>(left, ldq, rows, d, panels, sc.as_mut_ptr(), width),
                Source::Held(held) => {
                    let (wide, sc) = (panels.as_mut_ptr(), sc.as_mut_ptr());
                    scores_in_place::<L>(&over(held), head, left, wide, sc, (width, width));
                }
            }
            let mut sums = [0f32; TASK_ROWS];
            for (i, row) in sc.chunks_exact_mut(width).enumerate() {
                let (from, to) = b.visible(s, b.i0 + i);
                let scale = form.scale(steps, i, s.scale);
                let (max, sum) = soften::<L>(row, from, to, scale, form != Form::Floats);
                sums[i] = sum;
                if !lse.is_null() {
                    *lse.add((span.row + b.i0 + i) * s.heads + head * group + g) = max + sum.ln();
                }
            }
            if let (Source::Held(held), Form::Pairs) = (source, form) {
                pairs::pack_weights(&over(held), sc, width);
            }
            let (weights, o) = (sc.as_ptr(), o.add(at));
            match source {
                Source::Rows(_, v) => {
                    for (col, row, count) in stretches(span, b.lo, b.hi) {
                        let from = v.as_ptr().add(row * ldk + head * d);
                        mix::<L>(rows, d, count, weights.add(col), 1, width, from, ldk, o, ldq, col > 0);
                    }
                }
                Source::Held(held) => {
                    for part in 0..d.div_ceil(PART) {
                        let (wide, o) = (panels.as_mut_ptr(), o.add(part * PART));
                        weigh::<L>(&over(held), (head, part), weights, width, wide, o);
                    }
                }
            }
            divide(&sums[..rows], d, o, ldq);
        }
    }
}

lanes_fn! {
    /// # Safety
    /// See `attention_forward`; `buffer` holds packed keys and scores.
    unsafe fn forward_block(
        s: &AttentionShape, span: &Span, b: &Block, head: usize, q: &[f32], source: Source<'_>, o: *mut f32,
        lse: *mut f32, buffer: &mut [f32]
    ) = forward_block_lanes
}

/// Where a block's keys and values come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// rows of both, keys to be packed
    Rows(&'a [f32], &'a [f32]),
    /// a cache
    Held(Held<'a>),
}

impl Source<'_> {
    /// Floats beside the scores: packed keys, or a widened piece.
    fn extra(&self, width: usize, d: usize) -> usize {
        match self {
            Source::Rows(..) => width * d,
            Source::Held(held) => held.spare(d),
        }
    }

    fn form(&self, rows: usize, d: usize) -> Form {
        match *self {
            Source::Rows(..) => Form::Floats,
            Source::Held(held) => Form::of(held, rows, d),
        }
    }
}

fn check(s: &AttentionShape, spans: &[Span], t: usize, rows: usize) {
    assert!(s.kv_heads > 0 && s.heads.is_multiple_of(s.kv_heads), "head counts");
    assert!(s.heads / s.kv_heads <= TASK_ROWS, "head group");
    let inside = |first: usize, count: usize, all: usize| count <= all && first <= all - count;
    for span in spans {
        assert!(span.keys.iter().all(|&(r, n)| inside(r, n, rows)), "keys outside the store");
        assert!(inside(span.row, span.len, t) && span.key_count() >= span.len, "span outside the batch");
    }
    // tasks write without locks: no token may be in two spans
    let mut tokens: Vec<_> = spans.iter().filter(|s| s.len > 0).map(|s| (s.row, s.row + s.len)).collect();
    tokens.sort_unstable();
    assert!(tokens.windows(2).all(|pair| pair[0].1 <= pair[1].0), "a token in two spans");
}

/// `o = softmax(scale · q kᵀ + mask) v` for the tokens of all `spans`.
///
/// `q`, `o` `[T, H · head_dim]`; `k` see [`Keys`]; `v` `[rows, K · head_dim]` (empty with [`Keys::Held`]); `lse` `[T, H]` (log of the softmax's sum, for the backward
/// pass) or empty. Rows of tokens that no span has are left as they are.
///
/// # Panics
/// If shapes do not fit, a span or its keys lie outside, or a token is in two spans.
#[allow(clippy::too_many_arguments)]
pub fn attention_forward(
    pool: &Pool,
    s: &AttentionShape,
    spans: &[Span],
    q: &[f32],
    k: Keys<'_>,
    v: &[f32],
    o: &mut [f32],
    lse: &mut [f32],
) {
    let (ldq, ldk) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let t = q.len() / ldq;
    let (keys_fit, rows, source) = match k {
        Keys::Rows(k) => (k.len() == v.len(), v.len() / ldk, Source::Rows(k, v)),
        Keys::Held(layer) => {
            let fit = v.is_empty() && layer.shape() == (s.kv_heads, s.head_dim);
            (fit, layer.rows(), Source::Held(layer.held()))
        }
    };
    assert!(q.len() == t * ldq && o.len() == q.len() && keys_fit, "attention shapes");
    assert!(lse.is_empty() || lse.len() == t * s.heads, "attention shapes");
    check(s, spans, t, rows);
    let step = tokens_per_block(s);
    // the blocks with most keys first: threads finish together
    let mut tasks: Vec<(usize, usize, usize)> = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        for i0 in (0..span.len).step_by(step) {
            tasks.extend((0..s.kv_heads).map(|head| (i, i0, head)));
        }
    }
    tasks.reverse();
    let keep = !lse.is_empty();
    if let (Source::Held(held), false) = (source, keep)
        && few::worth(s, spans, pool.threads())
    {
        return few::forward(pool, s, spans, q, held, o);
    }
    let (os, ls) = (Shares::new(o), Shares::new(lse));
    pool.run(tasks.len(), |n| {
        let (i, i0, head) = tasks[n];
        let block = Block::new(s, &spans[i], i0);
        if let (Source::Held(held), 1, false) = (source, block.i1 - block.i0, keep) {
            let group = s.heads / s.kv_heads;
            let room = Form::of(held, group, s.head_dim).room(group, s.head_dim);
            let floats = held.spare(s.head_dim) + room + group * block.width();
            return with_panels(floats, |buffer| {
                // SAFETY: shapes are checked above; a task alone writes its heads of the token.
                unsafe { forward_token(s, &spans[i], &block, head, q, held, os.ptr(), buffer) }
            });
        }
        let lse = if keep { ls.ptr() } else { std::ptr::null_mut() };
        let rows = block.i1 - block.i0;
        let room = source.form(rows, s.head_dim).room(rows, s.head_dim);
        let floats = source.extra(block.width(), s.head_dim) + room + rows * block.width();
        with_panels(floats, |buffer| {
            // SAFETY: shapes are checked above; a task alone writes its tokens' heads.
            unsafe { forward_block(s, &spans[i], &block, head, q, source, os.ptr(), lse, buffer) };
        });
    });
}
