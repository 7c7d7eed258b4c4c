//! One new token for each of few sequences over long caches: too few heads to keep all threads at work. Two rounds instead: scores by
//! parts of the keys (of small groups in the order of memory), then outputs by parts of a head. So each key and each value is read by
//! one thread alone, once for all heads of its group. The chains of sums are those of the other forms.

use super::{
    AttentionShape, Block, Form, KEY_PANEL, Queries, Span, TASK_ROWS, divide, narrow, pairs, scores_in_place,
    soften, weigh,
};
use crate::kv::{Held, PART};
use crate::lanes::lanes_fn;
use crate::pool::{Pool, Shares};
use crate::product::{Micro, with_panels};
use std::ops::Range;

/// Keys of a task of the first round, at least: whole panels.
const KEYS: usize = 2 * KEY_PANEL;

/// Whether two rounds pay: fewer tasks than keep the threads evenly at work, and enough keys for the second barrier.
pub(super) fn worth(s: &AttentionShape, spans: &[Span], threads: usize) -> bool {
    threads > 1
        && spans.len() * s.kv_heads < 3 * threads
        && spans.iter().all(|span| span.len == 1)
        && spans.iter().any(|span| span.key_count() >= 4 * KEYS)
}

/// As `attention_forward`, which has checked the shapes, for spans of one token.
pub(super) fn forward(
    pool: &Pool,
    s: &AttentionShape,
    spans: &[Span],
    q: &[f32],
    held: Held<'_>,
    o: &mut [f32],
) {
    let (d, group) = (s.head_dim, s.heads / s.kv_heads);
    let blocks: Vec<Block> = spans.iter().map(|span| Block::new(s, span, 0)).collect();
    // scores [span][K][group][width], and the tasks that fill them: few and long ones, which memory delivers best
    let keys: usize = blocks.iter().map(|b| b.hi - b.lo).sum();
    let step = keys.div_ceil(2 * pool.threads()).max(KEYS).next_multiple_of(KEY_PANEL);
    let (mut starts, mut floats, mut parts) = (Vec::new(), 0, Vec::new());
    for (i, b) in blocks.iter().enumerate() {
        starts.push(floats);
        floats += s.heads * b.width();
        parts.extend((b.lo..b.hi).step_by(step).map(|lo| (i, lo)));
    }
    let form = Form::of(held, group, d);
    let mut room = vec![0f32; spans.len() * form.room(s.heads, d)];
    let mut rooms = room.chunks_mut(form.room(s.heads, d).max(1));
    // the queries in their form: of each span its rows, how far apart these lie, and their steps
    let mut prepared = Vec::with_capacity(spans.len());
    for span in spans {
        let left = q[span.row * s.heads * d..][..s.heads * d].as_ptr();
        // SAFETY: the span's rows exist, and there is room for them.
        unsafe {
            let (left, ld, steps) = prepare(form, (left, d), s.heads, d, rooms.next().unwrap_or_default());
            prepared.push((std::slice::from_raw_parts(left, s.heads * ld), ld, steps));
        }
    }
    let mut scores = vec![0f32; floats];
    let at = |i: usize, head: usize| starts[i] + head * group * blocks[i].width();
    let place = |i: usize, head: usize| (spans[i].row * s.heads + head * group) * d;
    let shares = Shares::new(&mut scores);
    pool.run(parts.len(), |n| {
        let (i, lo) = parts[n];
        let whole = &blocks[i];
        let part = Block { lo, hi: whole.hi.min(lo + step), ..*whole };
        let columns = if part.hi == whole.hi { whole.width() - (lo - whole.lo) } else { step };
        let (left, ld, _) = prepared[i];
        let x = Queries { ld, ..queries(s, &spans[i], &part, held) };
        with_panels(held.spare(d), |wide| {
            // SAFETY: inside the buffers; a task alone writes its `columns` of all rows.
            unsafe {
                let out = shares.ptr().add(at(i, 0) + lo - whole.lo);
                score(&x, left.as_ptr(), wide.as_mut_ptr(), out, (whole.width(), columns));
            }
        });
    });
    let outputs = Shares::new(o);
    // enough tasks to end together; each makes its own weights of the scores, so no more than that
    let parts = d.div_ceil(PART);
    let across = (2 * pool.threads()).div_ceil(spans.len() * s.kv_heads).min(parts);
    pool.run(spans.len() * s.kv_heads * across, |n| {
        let (i, head, share) = (n / across / s.kv_heads, n / across % s.kv_heads, n % across);
        let share = share * parts / across..(share + 1) * parts / across;
        let rows = group * blocks[i].width();
        with_panels(held.spare(d) + rows, |buffer| {
            let (wide, weights) = buffer.split_at_mut(held.spare(d));
            // SAFETY: the first round is over, nobody writes scores; a task alone writes its columns of its heads.
            unsafe {
                let from = std::slice::from_raw_parts(shares.ptr().add(at(i, head)), rows);
                weights.copy_from_slice(from);
                let o = outputs.ptr().add(place(i, head));
                let (of, steps) = ((head, share), prepared[i].2);
                combine(s, &spans[i], &blocks[i], of, held, wide.as_mut_ptr(), weights, steps, o);
            }
        });
    });
}

/// One token's rows of a group.
fn queries<'a>(s: &AttentionShape, span: &'a Span, block: &'a Block, held: Held<'a>) -> Queries<'a> {
    let (head_dim, rows) = (s.head_dim, s.heads / s.kv_heads);
    let form = Form::of(held, rows, head_dim);
    Queries { span, block, held, kv_heads: s.kv_heads, head_dim, rows, form, ld: head_dim, ldo: head_dim }
}

#[inline(always)]
unsafe fn prepare_lanes<L: Micro>(
    form: Form,
    left: (*const f32, usize),
    rows: usize,
    d: usize,
    room: &mut [f32],
) -> (*const f32, usize, &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { form.prepare::<L>(left, rows, d, room) }
}

lanes_fn! {
    /// # Safety
    /// As `Form::prepare`.
    unsafe fn prepare(
        form: Form, left: (*const f32, usize), rows: usize, d: usize, room: &mut [f32]
    ) -> (*const f32, usize, &[f32]) = prepare_lanes
}

#[inline(always)]
unsafe fn score_lanes<L: Micro>(
    x: &Queries<'_>,
    left: *const f32,
    wide: *mut f32,
    out: *mut f32,
    line: (usize, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        if x.form != Form::Floats {
            return pairs::scores(x, 0..x.kv_heads, left.cast(), out, line);
        }
        if x.rows <= narrow::FEW_ROWS {
            return narrow::scores(x, 0..x.kv_heads, left, out, line);
        }
        for head in 0..x.kv_heads {
            let first = head * x.rows;
            scores_in_place::<L>(x, head, left.add(first * x.ld), wide, out.add(first * line.0), line);
        }
    }
}

lanes_fn! {
    /// Scores of all heads, whose queries lie one behind the other.
    ///
    /// # Safety
    /// As `scores_in_place`.
    unsafe fn score(
        x: &Queries<'_>, left: *const f32, wide: *mut f32, out: *mut f32, line: (usize, usize)
    ) = score_lanes
}

/// Scores of a group `[group, width]` become weights, and these some parts of the columns of the group's outputs.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn combine_lanes<L: Micro>(
    s: &AttentionShape,
    span: &Span,
    b: &Block,
    (head, parts): (usize, Range<usize>),
    held: Held<'_>,
    wide: *mut f32,
    weights: &mut [f32],
    steps: &[f32],
    o: *mut f32,
) {
    let (d, width, x) = (s.head_dim, b.width(), &queries(s, span, b, held));
    let mut sums = [0f32; TASK_ROWS];
    let (from, to) = b.visible(s, 0);
    // SAFETY: the caller's buffers have these shapes.
    unsafe {
        for (i, (row, sum)) in weights.chunks_exact_mut(width).zip(&mut sums).enumerate() {
            *sum = soften::<L>(
                row,
                from,
                to,
                x.form.scale(steps, head * x.rows + i, s.scale),
                x.form != Form::Floats,
            )
            .1;
        }
        if x.form == Form::Pairs {
            pairs::pack_weights(x, weights, width);
        }
        for part in parts.clone() {
            weigh::<L>(x, (head, part), weights.as_ptr(), width, wide, o.add(part * PART));
        }
        let columns = parts.start * PART..d.min(parts.end * PART);
        divide(&sums[..x.rows], columns.len(), o.add(columns.start), d);
    }
}

lanes_fn! {
    /// # Safety
    /// `weights` holds the group's scores, `o` begins at the group's first head, nobody else writes to its parts.
    unsafe fn combine(
        s: &AttentionShape, span: &Span, b: &Block, place: (usize, Range<usize>), held: Held<'_>, wide: *mut f32,
        weights: &mut [f32], steps: &[f32], o: *mut f32
    ) = combine_lanes
}
