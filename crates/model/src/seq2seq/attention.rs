//! Attention of an encoder-decoder: queries of one side over keys of the same or of the other.
//!
//! The decoder-only kernels know causal attention over a sequence's own rows. Here a query may see all keys (encoder), those of
//! another sequence (cross-attention), or carry what distances add to scores (T5). So this room has its own loop, a pair a
//! task; it is written for short sequences and takes a small part of the time beside the products.
//!
//! A query's bits depend on its keys alone: sums run in 16 partial sums by element, keys in order. So steps over cached keys
//! give the bits of the whole pass.

use nurture_kernels::Pool;
use std::ops::Range;
use std::sync::Mutex;

/// Constants of an attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) dim: usize,
    pub(crate) scale: f32,
}

impl Heads {
    fn width(&self) -> usize {
        self.heads * self.dim
    }
}

/// Rows of queries and of the keys that they see.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) q: Range<usize>,
    pub(crate) k: Range<usize>,
    /// whether a query sees only keys up to its own place
    pub(crate) causal: bool,
}

impl Group {
    fn seen(&self, i: usize) -> usize {
        if self.causal { i + 1 } else { self.k.len() }
    }
}

/// The bucket of each distance (Raffel et al. 2020): near ones each have their own, far ones share by their logarithm.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    /// by key − query + farthest
    table: Vec<u32>,
    farthest: isize,
}

impl Buckets {
    pub(crate) fn new(both_ways: bool, buckets: usize, farthest: usize) -> Buckets {
        let half = if both_ways { buckets / 2 } else { buckets };
        let exact = half / 2;
        // in float32, as the reference computes it: borders must fall alike
        let unit = (farthest as f64 / exact as f64).ln() as f32;
        let far = |d: usize| {
            let share = (d as f32 / exact as f32).ln() / unit * (half - exact) as f32;
            (exact + share as usize).min(half - 1)
        };
        let one = |at: usize| {
            let back = at <= farthest;
            let distance = at.abs_diff(farthest);
            let distance = if both_ways || back { distance } else { 0 };
            let bucket = if distance < exact { distance } else { far(distance) };
            (bucket + if both_ways && !back { half } else { 0 }) as u32
        };
        Buckets { table: (0..=2 * farthest).map(one).collect(), farthest: farthest as isize }
    }

    /// The bucket of a key at `key` for a query at `query`.
    fn of(&self, query: usize, key: usize) -> usize {
        let distance = (key as isize - query as isize).clamp(-self.farthest, self.farthest);
        self.table[(distance + self.farthest) as usize] as usize
    }
}

/// What distances add to scores: the buckets, and `[buckets, H]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relative<'a> {
    pub(crate) buckets: &'a Buckets,
    pub(crate) values: &'a [f32],
}

/// Partial sums of a product.
const LANES: usize = 16;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    for ((s, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *s += a * b;
    }
    sums.iter().sum()
}

fn add_scaled(out: &mut [f32], by: f32, v: &[f32]) {
    for (o, v) in out.iter_mut().zip(v) {
        *o += by * v;
    }
}

/// One query of one head: weights of its keys to `scores`, their sum of values to `out`; the logarithm of the sum.
fn query<'k>(
    q: &[f32],
    scale: f32,
    keys: impl Iterator<Item = (&'k [f32], f32)>,
    values: impl Iterator<Item = &'k [f32]>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) -> f32 {
    scores.clear();
    scores.extend(keys.map(|(k, bias)| dot(q, k) * scale + bias));
    let top = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
    let mut sum = 0f32;
    for s in scores.iter_mut() {
        *s = (*s - top).exp();
        sum += *s;
    }
    out.fill(0.0);
    for (s, v) in scores.iter().zip(values) {
        add_scaled(out, s / sum, v);
    }
    top + sum.ln()
}

/// Runs `task` for each item in parallel, each taken out of its place once.
pub(crate) fn each<T: Send>(pool: &Pool, items: Vec<T>, task: impl Fn(usize, T) + Sync) {
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|i| Mutex::new(Some(i))).collect();
    pool.run(items.len(), |i| {
        if let Some(item) = items[i].lock().unwrap_or_else(|e| e.into_inner()).take() {
            task(i, item);
        }
    });
}

/// Cuts `all` into the pieces of `ranges` (rows of `width`), which follow each other.
fn pieces(mut all: &mut [f32], ranges: impl Iterator<Item = usize>, width: usize) -> Vec<&mut [f32]> {
    let mut out = Vec::new();
    for rows in ranges {
        let (piece, rest) = std::mem::take(&mut all).split_at_mut(rows * width);
        out.push(piece);
        all = rest;
    }
    out
}

/// `a` `[T, H · dim]` of queries `q` over `k`, `v`; `lse` `[T, H]`. The groups follow each other on both sides.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attend(
    pool: &Pool,
    h: &Heads,
    groups: &[Group],
    relative: Option<Relative<'_>>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    a: &mut [f32],
    lse: &mut [f32],
) {
    let w = h.width();
    let outs = pieces(a, groups.iter().map(|g| g.q.len()), w);
    let sums = pieces(lse, groups.iter().map(|g| g.q.len()), h.heads);
    each(pool, outs.into_iter().zip(sums).collect(), |g, (out, sums)| {
        let group = &groups[g];
        let mut scores = Vec::with_capacity(group.k.len());
        for i in 0..group.q.len() {
            let seen = group.seen(i);
            for head in 0..h.heads {
                let at = head * h.dim;
                let row = |all: &'_ [f32], j: usize| -> std::ops::Range<usize> {
                    debug_assert!(all.len() >= (group.k.start + j + 1) * w);
                    (group.k.start + j) * w + at..(group.k.start + j) * w + at + h.dim
                };
                let bias = |j: usize| relative.map_or(0.0, |r| r.values[r.buckets.of(i, j) * h.heads + head]);
                let from = (group.q.start + i) * w + at;
                sums[i * h.heads + head] = query(
                    &q[from..from + h.dim],
                    h.scale,
                    (0..seen).map(|j| (&k[row(k, j)], bias(j))),
                    (0..seen).map(|j| &v[row(v, j)]),
                    &mut scores,
                    &mut out[i * w + at..i * w + at + h.dim],
                );
            }
        }
    });
}

/// One query row `[H · dim]` over keys that lie in any rows, in the order of their positions: a step of decoding.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attend_rows(
    h: &Heads,
    relative: Option<Relative<'_>>,
    position: usize,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    rows: &[u32],
    out: &mut [f32],
) {
    let w = h.width();
    let mut scores = Vec::with_capacity(rows.len());
    for head in 0..h.heads {
        let at = head * h.dim..(head + 1) * h.dim;
        let bias = |j: usize| relative.map_or(0.0, |r| r.values[r.buckets.of(position, j) * h.heads + head]);
        let row = |r: u32| r as usize * w + at.start..r as usize * w + at.end;
        query(
            &q[at.clone()],
            h.scale,
            rows.iter().enumerate().map(|(j, &r)| (&k[row(r)], bias(j))),
            rows.iter().map(|&r| &v[row(r)]),
            &mut scores,
            &mut out[at.clone()],
        );
    }
}

/// Where the gradients of a group go.
struct Part<'a> {
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    table: &'a mut [f32],
}

/// What the forward pass left, and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Back<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) a: &'a [f32],
    pub(crate) lse: &'a [f32],
    pub(crate) da: &'a [f32],
}

/// The reverse of [`attend`]: `dq`, `dk`, `dv` are written, the gradient of what distances add is added to.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attend_backward(
    pool: &Pool,
    h: &Heads,
    groups: &[Group],
    relative: Option<(Relative<'_>, &mut [f32])>,
    b: &Back<'_>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let w = h.width();
    let (relative, grad) = match relative {
        Some((r, grad)) => (Some(r), Some(grad)),
        None => (None, None),
    };
    let size = relative.map_or(0, |r| r.values.len());
    let mut parts = vec![0f32; size * groups.len()];
    let dqs = pieces(dq, groups.iter().map(|g| g.q.len()), w);
    let dks = pieces(dk, groups.iter().map(|g| g.k.len()), w);
    let dvs = pieces(dv, groups.iter().map(|g| g.k.len()), w);
    let tables = pieces(&mut parts, groups.iter().map(|_| size), 1);
    let items = dqs.into_iter().zip(dks).zip(dvs).zip(tables);
    let items = items.map(|(((dq, dk), dv), table)| Part { dq, dk, dv, table }).collect();
    each(pool, items, |g, Part { dq, dk, dv, table }| {
        let group = &groups[g];
        dq.fill(0.0);
        dk.fill(0.0);
        dv.fill(0.0);
        for i in 0..group.q.len() {
            for head in 0..h.heads {
                let at = head * h.dim;
                let from = (group.q.start + i) * w + at;
                let (q, da) = (&b.q[from..from + h.dim], &b.da[from..from + h.dim]);
                let lse = b.lse[(group.q.start + i) * h.heads + head];
                let mean = dot(da, &b.a[from..from + h.dim]);
                let dq = &mut dq[i * w + at..i * w + at + h.dim];
                for j in 0..group.seen(i) {
                    let key = (group.k.start + j) * w + at;
                    let (k, v) = (&b.k[key..key + h.dim], &b.v[key..key + h.dim]);
                    let place = relative.map(|r| r.buckets.of(i, j) * h.heads + head);
                    let bias = relative.zip(place).map_or(0.0, |(r, p)| r.values[p]);
                    let p = (dot(q, k) * h.scale + bias - lse).exp();
                    let ds = p * (dot(da, v) - mean);
                    let own = j * w + at..j * w + at + h.dim;
                    add_scaled(&mut dv[own.clone()], p, da);
                    add_scaled(dq, ds * h.scale, k);
                    add_scaled(&mut dk[own], ds * h.scale, q);
                    if let Some(p) = place {
                        table[p] += ds;
                    }
                }
            }
        }
    });
    if let Some(grad) = grad {
        for part in parts.chunks_exact(size.max(1)) {
            add_scaled(grad, 1.0, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_their_own_bucket_and_far_ones_share() {
        let one_way = Buckets::new(false, 32, 128);
        assert_eq!([0, 1, 15].map(|d| one_way.of(500, 500 - d)), [0, 1, 15]);
        assert_eq!([16, 20, 40, 127, 128, 400].map(|d| one_way.of(500, 500 - d)), [16, 17, 23, 31, 31, 31]);
        assert_eq!(one_way.of(3, 9), 0, "what comes later");
        let both = Buckets::new(true, 32, 128);
        assert_eq!(
            [(5, 5), (5, 4), (5, 6), (0, 300), (300, 0)].map(|(q, k)| both.of(q, k)),
            [0, 1, 17, 31, 15]
        );
    }
}
