//! Attention over spans: the plain f64 formula, finite differences, and the same bits however the work is cut.

mod common;
#[path = "common/forest.rs"]
mod forest;

use common::*;
use forest::Forest;
use nurture_kernels::*;

fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: (1.0 / (head_dim as f64).sqrt()) as f32, window }
}

/// Head groups of 1, 3 and 4; widths of one vector, several, many, and not whole ones.
fn shapes() -> [(usize, usize, usize); 6] {
    [(2, 2, 16), (6, 2, 64), (4, 1, 256), (3, 1, 24), (4, 4, 40), (8, 2, 16)]
}

const WINDOWS: [Option<usize>; 5] = [None, Some(1), Some(5), Some(20), Some(1000)];

/// Packed sequences; one longer than a block of queries; a prefix with three children; three levels beside a sequence.
fn forests() -> Vec<(&'static str, Forest)> {
    vec![
        ("packed", Forest::packed(&[1, 70, 2, 16, 17, 33, 7])),
        ("long", Forest::packed(&[130, 3])),
        ("tree", Forest(vec![(None, 19), (Some(0), 7), (Some(0), 1), (Some(0), 36)])),
        ("three levels", three_levels()),
    ]
}

fn three_levels() -> Forest {
    let runs = [(None, 17), (Some(0), 9), (Some(1), 5), (Some(1), 40), (Some(0), 3), (None, 11)];
    Forest(runs.to_vec())
}

struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_o: Vec<f32>,
}

fn inputs(seed: u64, s: &AttentionShape, t: usize) -> Inputs {
    let mut rng = Rng::new(seed);
    let (nq, nk) = (t * s.heads * s.head_dim, t * s.kv_heads * s.head_dim);
    Inputs {
        q: floats(&mut rng, nq, 2.0),
        k: floats(&mut rng, nk, 2.0),
        v: floats(&mut rng, nk, 1.0),
        d_o: floats(&mut rng, nq, 1.0),
    }
}

/// `[o, lse, dq, dk, dv]`, every buffer full of NaN before.
fn both_passes(pool: &Pool, s: &AttentionShape, spans: &[Span], x: &Inputs) -> Vec<Vec<f32>> {
    let t = x.q.len() / (s.heads * s.head_dim);
    let [mut o, mut dq] = [0, 0].map(|_| vec![f32::NAN; x.q.len()]);
    let [mut dk, mut dv] = [0, 0].map(|_| vec![f32::NAN; x.k.len()]);
    let mut lse = vec![f32::NAN; t * s.heads];
    attention_forward(pool, s, spans, &x.q, Keys::Rows(&x.k), &x.v, &mut o, &mut lse);
    let given = AttentionBackward { q: &x.q, k: &x.k, v: &x.v, o: &o, lse: &lse, d_o: &x.d_o };
    attention_backward(pool, s, spans, &given, &mut dq, &mut dk, &mut dv);
    vec![o, lse, dq, dk, dv]
}

/// Output alone, without the sums for a backward pass. A cache must give the same bits; what stands in rows that
/// nobody sees does not matter.
fn outputs(pool: &Pool, s: &AttentionShape, spans: &[Span], q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let mut o = vec![f32::NAN; q.len()];
    attention_forward(pool, s, spans, q, Keys::Rows(k), v, &mut o, &mut []);
    let width = s.kv_heads * s.head_dim;
    let mut cache = KvLayer::new(KvType::F32, k.len() / width, s.kv_heads, s.head_dim);
    cache.store(&Pool::new(1), 0, k, v);
    let mut from_cache = vec![f32::NAN; q.len()];
    attention_forward(pool, s, spans, q, Keys::Held(&cache), &[], &mut from_cache, &mut []);
    same_bits(&from_cache, &o, "a cache");
    o
}

/// Within 1e-5 of the largest. A window of one key has weight 1 and no slope: then all is rounding, and absolute.
fn close_gradient(got: &[f32], want: &[f64], what: &str) {
    if want.iter().all(|x| x.abs() < 1e-4) {
        assert!(got.iter().all(|x| x.abs() < 1e-5), "{what}");
    } else {
        close(got, want, 1e-5, what);
    }
}

#[test]
fn the_plain_gradients_are_finite_differences() {
    let _guard = hold();
    let forest = Forest(vec![(None, 3), (Some(0), 2), (Some(0), 4), (Some(2), 2), (None, 3)]);
    for (i, window) in [None, Some(1), Some(3)].into_iter().enumerate() {
        let s = shape(6, 2, 5, window);
        let (t, seen) = (forest.tokens(), forest.seen());
        let x = inputs(i as u64, &s, t);
        let d_o = wide(&x.d_o);
        let point = [wide(&x.q), wide(&x.k), wide(&x.v)];
        let exact = forest::backward(&s, &seen, [&point[0], &point[1], &point[2]], &d_o);
        let got = both_passes(&Pool::new(1), &s, &forest.spans(), &x);
        for which in 0..3 {
            let differences: Vec<f64> = (0..point[which].len())
                .map(|at| {
                    slope(point[which][at], |value| {
                        let mut p = point.clone();
                        p[which][at] = value;
                        let (o, _) = forest::forward(&s, &seen, &p[0], &p[1], &p[2]);
                        o.iter().zip(&d_o).map(|(a, b)| a * b).sum()
                    })
                })
                .collect();
            let name = ["dq", "dk", "dv"][which];
            for (at, (a, b)) in exact[which].iter().zip(&differences).enumerate() {
                assert!((a - b).abs() < 1e-9, "{name}[{at}] by formula {a}, by differences {b}");
            }
            close_gradient(&got[2 + which], &differences, name);
        }
    }
}

#[test]
fn forward_and_backward_equal_the_plain_formula() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (i, (heads, kv_heads, head_dim)) in shapes().into_iter().enumerate() {
        for (name, forest) in forests() {
            for window in WINDOWS {
                let s = shape(heads, kv_heads, head_dim, window);
                let what = format!("{name}, {s:?}");
                let x = inputs(i as u64, &s, forest.tokens());
                let got = both_passes(&pool, &s, &forest.spans(), &x);
                let [q, k, v] = [&x.q, &x.k, &x.v].map(|x| wide(x));
                let (o, lse) = forest::forward(&s, &forest.seen(), &q, &k, &v);
                close(&got[0], &o, 3e-6, &format!("o of {what}"));
                close(&got[1], &lse, 1e-6, &format!("lse of {what}"));
                let want = forest::backward(&s, &forest.seen(), [&q, &k, &v], &wide(&x.d_o));
                for (j, tensor) in ["dq", "dk", "dv"].into_iter().enumerate() {
                    close_gradient(&got[2 + j], &want[j], &format!("{tensor} of {what}"));
                }
            }
        }
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    for (heads, kv_heads, head_dim) in shapes() {
        for (name, forest) in forests() {
            let window = if name == "packed" { Some(20) } else { None };
            let s = shape(heads, kv_heads, head_dim, window);
            let x = inputs(7, &s, forest.tokens());
            same_everywhere(&format!("{name}, {s:?}"), |pool| both_passes(pool, &s, &forest.spans(), &x));
        }
    }
}

#[test]
fn a_prompt_in_chunks_against_a_cache_gives_the_bits_of_the_whole() {
    let _guard = hold();
    let pool = Pool::new(2);
    let n = 70;
    for (heads, kv_heads, head_dim) in shapes() {
        for window in WINDOWS {
            let s = shape(heads, kv_heads, head_dim, window);
            let x = inputs(3, &s, n);
            let (ldq, ldk) = (heads * head_dim, kv_heads * head_dim);
            let whole = outputs(&pool, &s, &Forest::packed(&[n]).spans(), &x.q, &x.k, &x.v);
            // the cache: pages of 9 rows in no order, everything else in it NaN
            let page = |p: usize| (p * 5 + 3) % 8 * 9;
            let [mut ck, mut cv] = [0, 0].map(|_| vec![f32::NAN; 72 * ldk]);
            for t in 0..n {
                let row = page(t / 9) + t % 9;
                ck[row * ldk..][..ldk].copy_from_slice(&x.k[t * ldk..][..ldk]);
                cv[row * ldk..][..ldk].copy_from_slice(&x.v[t * ldk..][..ldk]);
            }
            for chunks in [vec![1, 5, 33, 31], vec![69, 1], vec![1; n]] {
                let mut at = 0usize;
                for len in chunks {
                    let end = at + len;
                    let keys = (0..end.div_ceil(9)).map(|p| (page(p), (end - p * 9).min(9))).collect();
                    let span = Span { row: 0, len, keys, tree: 0 };
                    let o = outputs(&pool, &s, &[span], &x.q[at * ldq..end * ldq], &ck, &cv);
                    same_bits(&o, &whole[at * ldq..end * ldq], &format!("tokens {at}..{end}, {s:?}"));
                    at = end;
                }
                assert_eq!(at, n);
            }
        }
    }
}

#[test]
fn a_sequence_does_not_depend_on_its_neighbours() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (heads, kv_heads, head_dim) in shapes() {
        for window in [None, Some(5)] {
            let s = shape(heads, kv_heads, head_dim, window);
            let forest = Forest::packed(&[13, 70, 1, 33]);
            let x = inputs(4, &s, forest.tokens());
            let all = both_passes(&pool, &s, &forest.spans(), &x);
            for i in 0..forest.0.len() {
                let rows = forest.rows(i);
                let part = |x: &[f32]| {
                    let width = x.len() / forest.tokens();
                    x[rows.start * width..rows.end * width].to_vec()
                };
                let own = Inputs { q: part(&x.q), k: part(&x.k), v: part(&x.v), d_o: part(&x.d_o) };
                let alone = both_passes(&pool, &s, &Forest::packed(&[rows.len()]).spans(), &own);
                for (tensor, (all, alone)) in all.iter().zip(&alone).enumerate() {
                    same_bits(&part(all), alone, &format!("tensor {tensor} of sequence {i}, {s:?}"));
                }
            }
        }
    }
}

#[test]
fn a_tree_is_its_sequences_and_their_gradients_summed() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (heads, kv_heads, head_dim) in shapes() {
        for (name, tree) in forests() {
            for window in [None, Some(20)] {
                let s = shape(heads, kv_heads, head_dim, window);
                let what = format!("{name}, {s:?}");
                let mut x = inputs(5, &s, tree.tokens());
                // every sequence on its own, from root to leaf; `rows`: where its tokens stand in the tree
                let lines: Vec<Vec<usize>> = tree.leaves().iter().map(|&leaf| tree.line(leaf)).collect();
                let rows: Vec<usize> = lines.concat().iter().flat_map(|&i| tree.rows(i)).collect();
                let lens = lines.iter().map(|line| line.iter().map(|&i| tree.0[i].1).sum());
                let separate = Forest::packed(&lens.collect::<Vec<usize>>());
                let copies = |x: &[f32]| -> Vec<f32> {
                    let width = x.len() / tree.tokens();
                    rows.iter().flat_map(|r| &x[r * width..(r + 1) * width]).copied().collect()
                };
                // each copy of a shared token pulls on its own; in the tree the pulls add up
                let d_o = floats(&mut Rng::new(6), rows.len() * heads * head_dim, 1.0);
                let own = Inputs { q: copies(&x.q), k: copies(&x.k), v: copies(&x.v), d_o };
                let summed = |x: &[f32]| -> Vec<f64> {
                    let width = x.len() / rows.len();
                    let mut sum = vec![0.0; tree.tokens() * width];
                    for (from, to) in rows.iter().enumerate() {
                        (0..width).for_each(|j| sum[to * width + j] += x[from * width + j] as f64);
                    }
                    sum
                };
                x.d_o = summed(&own.d_o).iter().map(|&v| v as f32).collect();
                let together = both_passes(&pool, &s, &tree.spans(), &x);
                let apart = both_passes(&pool, &s, &separate.spans(), &own);
                same_bits(&copies(&together[0]), &apart[0], &format!("o of {what}"));
                same_bits(&copies(&together[1]), &apart[1], &format!("lse of {what}"));
                for (j, tensor) in ["dq", "dk", "dv"].into_iter().enumerate() {
                    close_gradient(&together[2 + j], &summed(&apart[2 + j]), &format!("{tensor} of {what}"));
                }
            }
        }
    }
}

#[test]
fn large_scores_stay_finite_and_nan_is_not_hidden() {
    let _guard = hold();
    let pool = Pool::new(1);
    let s = shape(2, 1, 16, None);
    let forest = Forest::packed(&[40]);
    let mut x = inputs(8, &s, 40);
    x.q.iter_mut().for_each(|v| *v *= 1e4);
    let [q, k, v] = [&x.q, &x.k, &x.v].map(|x| wide(x));
    let got = both_passes(&pool, &s, &forest.spans(), &x);
    assert!(got.iter().flatten().all(|v| v.is_finite()));
    close(&got[1], &forest::forward(&s, &forest.seen(), &q, &k, &v).1, 1e-6, "lse");
    x.k[30 * 16 + 3] = f32::NAN;
    let got = both_passes(&pool, &s, &forest.spans(), &x);
    for t in 30..40 {
        assert!(got[0][t * 32..(t + 1) * 32].iter().all(|v| v.is_nan()), "token {t} sees the broken key");
    }
    assert!(got[0][..30 * 32].iter().all(|v| v.is_finite()), "the tokens before it do not");
}

#[test]
fn spans_that_would_write_the_same_rows_are_refused() {
    let _guard = hold();
    let s = shape(2, 1, 16, None);
    let refused = |spans: &[Span]| {
        let x = inputs(9, &s, 12);
        std::panic::catch_unwind(|| both_passes(&Pool::new(1), &s, spans, &x)).is_err()
    };
    let span = |row, len, keys: &[(usize, usize)], tree| Span { row, len, keys: keys.to_vec(), tree };
    let whole = span(0, 12, &[(0, 12)], 0);
    assert!(!refused(std::slice::from_ref(&whole)));
    assert!(refused(&[whole.clone(), span(11, 1, &[(11, 1)], 1)]), "a token in two spans");
    assert!(refused(&[span(10, 3, &[(9, 3)], 0)]), "a token outside the batch");
    assert!(refused(&[span(0, 12, &[(1, 12)], 0)]), "a key outside the store");
    assert!(refused(&[span(0, 1, &[(usize::MAX, 2)], 0)]), "a key far outside the store");
    assert!(refused(&[span(0, 12, &[(0, 11)], 0)]), "fewer keys than tokens");
    let (root, child) = (span(0, 4, &[(0, 4)], 0), |tree| span(4, 8, &[(0, 4), (4, 8)], tree));
    assert!(!refused(&[root.clone(), child(0)]));
    assert!(refused(&[root, child(1)]), "a prefix shared by two trees");
}
