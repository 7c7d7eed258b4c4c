//! The gradients of attention over the batch's own keys: scores are made again, a block of queries at a time.

use super::{AttentionShape, Block, Span, check, mix, pack_transposed, scores, stretches, tokens_per_block};
use crate::lanes::{LANES, lanes_fn};
use crate::math::exp;
use crate::pool::Pool;
use crate::product::{Micro, with_panels};

/// Gradients of a tree's keys are written by its own task: no key may be in two trees.
fn check_trees(trees: &[&[Span]], rows: usize) {
    let mut owner = vec![None; rows];
    for (tree, spans) in trees.iter().enumerate() {
        for &(first, count) in spans.iter().flat_map(|span| &span.keys) {
            for owner in &mut owner[first..first + count] {
                assert!(*owner.get_or_insert(tree) == tree, "a key in two trees");
            }
        }
    }
}

/// Constants and inputs of [`attention_backward`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionBackward<'a> {
    /// `[T, H · head_dim]`
    pub q: &'a [f32],
    /// `[T, K · head_dim]`: the keys of the batch itself
    pub k: &'a [f32],
    /// `[T, K · head_dim]`
    pub v: &'a [f32],
    /// output of the forward pass
    pub o: &'a [f32],
    /// `[T, H]` from the forward pass
    pub lse: &'a [f32],
    /// gradient of `o`
    pub d_o: &'a [f32],
}

#[derive(Clone, Copy)]
struct Grads {
    dq: *mut f32,
    dk: *mut f32,
    dv: *mut f32,
}
// SAFETY: tasks write the rows of their own tree and head.
unsafe impl Sync for Grads {}

#[inline(always)]
unsafe fn backward_block_lanes<L: Micro>(
    s: &AttentionShape,
    span: &Span,
    b: &Block,
    head: usize,
    x: &AttentionBackward<'_>,
    g: &Grads,
    buffer: &mut [f32],
) {
    let (d, group, nr) = (s.head_dim, s.heads / s.kv_heads, L::NV * LANES);
    let (ldq, ldk) = (s.heads * d, s.kv_heads * d);
    let (rows, width) = (b.i1 - b.i0, b.width());
    let (kt, rest) = buffer.split_at_mut(width * d);
    let (vt, rest) = rest.split_at_mut(width * d);
    let (p, ds) = rest.split_at_mut(rows * width);
    pack_transposed(span, b, x.k, ldk, head * d, d, nr, kt);
    pack_transposed(span, b, x.v, ldk, head * d, d, nr, vt);
    for h in head * group..(head + 1) * group {
        let at = (span.row + b.i0) * ldq + h * d;
        // SAFETY: shapes were checked by `attention_backward`; this task alone writes its tree's rows of this head.
        unsafe {
            scores::<L>(x.q.as_ptr().add(at), ldq, rows, d, kt, p.as_mut_ptr(), width);
            scores::<L>(x.d_o.as_ptr().add(at), ldq, rows, d, vt, ds.as_mut_ptr(), width);
            for (i, (p, ds)) in p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width)).enumerate() {
                let (from, to) = b.visible(s, b.i0 + i);
                let row = at + i * ldq;
                let pull: f32 = x.d_o[row..row + d].iter().zip(&x.o[row..row + d]).map(|(a, b)| a * b).sum();
                let lse = x.lse[(span.row + b.i0 + i) * s.heads + h];
                p[..from].fill(f32::NEG_INFINITY);
                p[to..].fill(f32::NEG_INFINITY);
                let (scale, lse, pull) = (L::splat(s.scale), L::splat(lse), L::splat(pull));
                for (p, ds) in p.chunks_exact_mut(LANES).zip(ds.chunks_exact_mut(LANES)) {
                    let e = exp(L::load(p.as_ptr()).mul(scale).sub(lse));
                    e.store(p.as_mut_ptr());
                    e.mul(L::load(ds.as_ptr()).sub(pull)).mul(scale).store(ds.as_mut_ptr());
                }
            }
            for (col, row, count) in stretches(span, b.lo, b.hi) {
                let kv = row * ldk + head * d;
                let (p, ds) = (p.as_ptr().add(col), ds.as_ptr().add(col));
                mix::<L>(rows, d, count, ds, 1, width, x.k.as_ptr().add(kv), ldk, g.dq.add(at), ldq, col > 0);
                mix::<L>(count, d, rows, ds, width, 1, x.q.as_ptr().add(at), ldq, g.dk.add(kv), ldk, true);
                mix::<L>(count, d, rows, p, width, 1, x.d_o.as_ptr().add(at), ldq, g.dv.add(kv), ldk, true);
            }
        }
    }
}

lanes_fn! {
    /// # Safety
    /// See `attention_backward`.
    unsafe fn backward_block(
        s: &AttentionShape, span: &Span, b: &Block, head: usize, x: &AttentionBackward<'_>, g: &Grads, buffer: &mut [f32]
    ) = backward_block_lanes
}

/// The reverse of [`attention_forward`] where the keys are the batch's own rows: writes `dq`, `dk` and `dv`.
/// A key that several spans see (a shared prefix) receives the sum of their gradients. Rows of `dq` that no span has are left as they are.
///
/// # Panics
/// As [`attention_forward`], and if spans of different trees (or of one, but not side by side) see the same key.
pub fn attention_backward(
    pool: &Pool,
    s: &AttentionShape,
    spans: &[Span],
    x: &AttentionBackward<'_>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (ldq, ldk) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let t = x.q.len() / ldq;
    assert!(x.q.len() == t * ldq && [x.o.len(), x.d_o.len(), dq.len()] == [t * ldq; 3], "attention shapes");
    assert!(
        [x.k.len(), x.v.len(), dk.len(), dv.len()] == [t * ldk; 4] && x.lse.len() == t * s.heads,
        "attention shapes"
    );
    check(s, spans, t, t);
    dk.fill(0.0);
    dv.fill(0.0);
    let mut trees: Vec<&[Span]> = spans.chunk_by(|a, b| a.tree == b.tree).collect();
    check_trees(&trees, t);
    trees.sort_by_key(|spans| std::cmp::Reverse(spans.iter().map(|s| s.len * s.key_count()).sum::<usize>()));
    let g = Grads { dq: dq.as_mut_ptr(), dk: dk.as_mut_ptr(), dv: dv.as_mut_ptr() };
    let g = &g;
    pool.run(trees.len() * s.kv_heads, |n| {
        for span in trees[n / s.kv_heads] {
            for i0 in (0..span.len).step_by(tokens_per_block(s)) {
                let b = &Block::new(s, span, i0);
                with_panels(2 * b.width() * (s.head_dim + b.i1 - b.i0), |buffer| {
                    // SAFETY: shapes are checked above; rows of a tree and a head belong to this task.
                    unsafe { backward_block(s, span, b, n % s.kv_heads, x, g, buffer) };
                });
            }
        }
    });
}
