//! Caches: float32 gives the bits of the keys and values themselves, half floats and bytes those of the values they stand for,
//! wherever the rows lie, and these are near what was stored. With whole numbers and bfloat16, whose queries and weights are rounded too, a token
//! has the same bits alone, in company, and on every instruction set.

mod common;

use common::*;
use nurture_kernels::*;

/// Rows of keys in an order that is not theirs, in pieces that are not whole panels.
fn chains(n: usize) -> Vec<(usize, usize)> {
    let (mut left, mut keys) = (n, Vec::new());
    for (row, count) in [(64, 32), (0, 17), (96, 40), (17, 15), (150, 100), (32, 32)] {
        let count = count.min(left);
        if count > 0 {
            keys.push((row, count));
        }
        left -= count;
    }
    assert_eq!(left, 0);
    keys
}

/// As the name says, for all tokens of a span one after the other.
fn one_by_one(pool: &Pool, s: &AttentionShape, spans: &[Span], q: &[f32], layer: &KvLayer) -> Vec<f32> {
    let mut all = vec![f32::NAN; q.len()];
    for span in spans {
        for i in 0..span.len {
            let mut left = span.key_count() - span.len + i + 1;
            let mut keys = span.keys.clone();
            keys.iter_mut().for_each(|(_, n)| {
                *n = left.min(*n);
                left -= *n;
            });
            let one = [Span { row: span.row + i, len: 1, keys, tree: span.tree }];
            attention_forward(pool, s, &one, q, Keys::Held(layer), &[], &mut all, &mut []);
        }
    }
    all
}

/// What attention over a cache must give: over the values that it stands for, or, where more is rounded, token by token, near that.
fn expected(
    pool: &Pool,
    s: &AttentionShape,
    spans: &[Span],
    q: &[f32],
    (layer, kind): (&KvLayer, KvType),
    (k, v): (&[f32], &[f32]),
) -> Vec<f32> {
    let mut want = vec![f32::NAN; q.len()];
    attention_forward(pool, s, spans, q, Keys::Rows(k), v, &mut want, &mut []);
    if kind != KvType::Q16 {
        return want;
    }
    let alone = one_by_one(pool, s, spans, q, layer);
    let off = alone.iter().zip(&want).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    // values up to 1, weights off by some 2^-9 and as much again for each unit of a score
    assert!(off < 0.02, "{off} from the exact product");
    alone
}

#[test]
fn attention_reads_what_the_cache_stands_for() {
    let mut rng = Rng::new(1);
    for (heads, kv_heads, d) in [(6, 2, 64), (3, 1, 24), (4, 4, 40), (4, 1, 256), (8, 1, 64), (20, 2, 40)] {
        let shape = |window| AttentionShape { heads, kv_heads, head_dim: d, scale: 0.1, window };
        let width = kv_heads * d;
        for (tokens, before) in [(1, 0), (1, 70), (5, 90), (8, 100), (9, 100), (60, 33), (1, 200), (2, 31)] {
            let keys = chains(before + tokens);
            let rows = 256;
            let (k, v) = (floats(&mut rng, rows * width, 2.0), floats(&mut rng, rows * width, 1.0));
            let q = floats(&mut rng, tokens * heads * d, 2.0);
            for kind in KvType::ALL {
                let mut layer = KvLayer::new(kind, rows, kv_heads, d);
                // what others left in rows beside those of the span does not count
                let left = vec![f32::NAN; rows * width];
                layer.store(&Pool::new(3), 0, &left, &left);
                for &(row, count) in &keys {
                    let part = row * width..(row + count) * width;
                    layer.store(&Pool::new(3), row, &k[part.clone()], &v[part]);
                }
                let (mut seen_k, mut seen_v) = (vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]);
                for row in keys.iter().flat_map(|&(row, count)| row..row + count) {
                    let (k, v) = layer.row(row);
                    seen_k[row * width..][..width].copy_from_slice(&k);
                    seen_v[row * width..][..width].copy_from_slice(&v);
                }
                let span = Span { row: 0, len: tokens, keys: keys.clone(), tree: 0 };
                for window in [None, Some(20)] {
                    let what = format!(
                        "{} {heads}/{kv_heads} x {d}, {tokens} after {before}, {window:?}",
                        kind.name()
                    );
                    same_everywhere(&what, |pool| {
                        let mut got = vec![f32::NAN; q.len()];
                        let (s, spans) = (shape(window), std::slice::from_ref(&span));
                        attention_forward(pool, &s, spans, &q, Keys::Held(&layer), &[], &mut got, &mut []);
                        let want = expected(pool, &s, spans, &q, (&layer, kind), (&seen_k, &seen_v));
                        same_bits(&got, &want, &what);
                        vec![got]
                    });
                }
            }
        }
    }
}

/// One new token over a long cache is shared out by keys and columns where heads are few: the same bits as one thread's.
#[test]
fn few_tokens_over_long_caches_take_two_rounds() {
    let mut rng = Rng::new(3);
    for (heads, kv_heads, d) in [(9, 3, 64), (4, 1, 256), (5, 1, 32), (4, 2, 24), (8, 1, 80), (18, 2, 64)] {
        let (width, rows) = (kv_heads * d, 1024);
        let (k, v) = (floats(&mut rng, rows * width, 2.0), floats(&mut rng, rows * width, 1.0));
        // pieces that begin and end inside panels, and a second, shorter sequence
        let long = vec![(512, 32), (3, 150), (640, 201), (320, 100)];
        let short = vec![(900, 40)];
        let spans: Vec<Span> = [long, short]
            .into_iter()
            .enumerate()
            .map(|(row, keys)| Span { row, len: 1, keys, tree: row })
            .collect();
        let q = floats(&mut rng, 2 * heads * d, 2.0);
        for kind in KvType::ALL {
            let mut layer = KvLayer::new(kind, rows, kv_heads, d);
            layer.store(&Pool::new(3), 0, &k, &v);
            let (wide_k, wide_v): (Vec<_>, Vec<_>) = (0..rows).map(|row| layer.row(row)).unzip();
            let (wide_k, wide_v) = (wide_k.concat(), wide_v.concat());
            for (window, spans) in [(None, &spans[..]), (None, &spans[..1]), (Some(300), &spans[..1])] {
                let shape = AttentionShape { heads, kv_heads, head_dim: d, scale: 0.1, window };
                let q = &q[..spans.len() * heads * d];
                let what = format!("{} {heads}/{kv_heads} x {d}, {window:?}", kind.name());
                same_everywhere(&what, |pool| {
                    let mut got = vec![f32::NAN; q.len()];
                    attention_forward(pool, &shape, spans, q, Keys::Held(&layer), &[], &mut got, &mut []);
                    let want = expected(pool, &shape, spans, q, (&layer, kind), (&wide_k, &wide_v));
                    same_bits(&got, &want, &what);
                    vec![got]
                });
            }
        }
    }
}

#[test]
fn stored_values_are_near() {
    let _guard = hold();
    let mut rng = Rng::new(2);
    let (heads, d) = (3, 40);
    for kind in KvType::ALL {
        let mut layer = KvLayer::new(kind, 64, heads, d);
        let (k, mut v) = (floats(&mut rng, 10 * heads * d, 3.0), floats(&mut rng, 10 * heads * d, 3.0));
        v[..d].fill(0.0);
        layer.store(&Pool::new(3), 50, &k, &v);
        for i in 0..10 {
            let (got_k, got_v) = layer.row(50 + i);
            for (got, want) in [(got_k, &k), (got_v, &v)] {
                let want = &want[i * heads * d..][..heads * d];
                for (got, want) in got.chunks(d).zip(want.chunks(d)) {
                    let top = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                    for (g, w) in got.iter().zip(want) {
                        let off = (g - w).abs();
                        assert!(match kind {
                            KvType::F32 => g == w,
                            KvType::F16 => off <= w.abs() / 2048.0 + 1e-7,
                            KvType::Q16 => off <= (w.abs() / 256.0).max(top / 8190.0),
                            KvType::Q8 => off <= top / 127.0 * 0.501,
                        });
                    }
                }
            }
        }
    }
    assert_eq!(KvType::ALL.map(|k| k.row_bytes(3, 64)), [768, 384, 390, 204]);
}

#[test]
fn places_of_the_last_rows_can_be_expected() {
    let mut ahead = Ahead::default();
    for (kind, d) in KvType::ALL.into_iter().flat_map(|kind| [(kind, 40), (kind, 64)]) {
        let layer = KvLayer::new(kind, 70, 2, d);
        assert_eq!(layer.rows(), 96);
        layer.expect(0..0, &mut ahead);
        layer.expect(30..34, &mut ahead);
        layer.expect(95..96, &mut ahead);
        ahead.ask();
    }
}

#[test]
fn what_is_not_a_number_shows() {
    let _guard = hold();
    for kind in KvType::ALL {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut layer = KvLayer::new(kind, 32, 2, 16);
            let mut k = vec![1f32; 32];
            k[20] = bad;
            layer.store(&Pool::new(3), 3, &k, &k);
            let (k, v) = layer.row(3);
            assert!(k[16..].iter().any(|k| !k.is_finite()) && v[16..].iter().any(|v| !v.is_finite()));
            assert!(k[..16].iter().all(|k| k.is_finite()));
        }
    }
}

#[test]
#[should_panic(expected = "rows outside the cache")]
fn rows_outside_are_refused() {
    KvLayer::new(KvType::F16, 40, 1, 16).store(&Pool::new(1), 63, &[0.0; 32], &[0.0; 32]);
}
