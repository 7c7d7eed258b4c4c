//! The router and the way of rows to experts and back, against formulas in f64 and finite differences.

mod common;

use common::*;
use nurture_kernels::*;

const E: usize = 6;
const K: usize = 2;

fn softmax(x: &[f64]) -> Vec<f64> {
    let top = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let e: Vec<f64> = x.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// The weights of the experts in `chosen`, in f64.
fn weights_of(logits: &[f64], chosen: &[u32], normalise: bool) -> Vec<f64> {
    let p = softmax(logits);
    let w: Vec<f64> = chosen.iter().map(|&e| p[e as usize]).collect();
    let all: f64 = if normalise { w.iter().sum() } else { 1.0 };
    w.iter().map(|w| w / all).collect()
}

#[test]
fn the_router_and_its_gradient_equal_the_formula() {
    let pool = Pool::new(2);
    let mut rng = Rng::new(3);
    let t = 37;
    let logits = floats(&mut rng, t * E, 3.0);
    let (dw, dp) = (floats(&mut rng, t * K, 1.0), floats(&mut rng, E, 0.3));
    for normalise in [true, false] {
        let (mut probs, mut chosen, mut weights) = (vec![0f32; t * E], vec![0u32; t * K], vec![0f32; t * K]);
        route(&pool, &logits, E, normalise, &mut probs, &mut chosen, &mut weights);
        let mut got = vec![f32::NAN; t * E];
        route_backward(&pool, &probs, &chosen, &weights, normalise, &dw, &dp, &mut got);
        for t in 0..t {
            let row = wide(&logits[t * E..][..E]);
            let c = &chosen[t * K..][..K];
            let mut order: Vec<usize> = (0..E).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            assert_eq!([c[0] as usize, c[1] as usize], order[..K], "the most probable");
            close(&weights[t * K..][..K], &weights_of(&row, c, normalise), 1e-6, "weights");
            close(&probs[t * E..][..E], &softmax(&row), 1e-6, "probabilities");
            let dw = wide(&dw[t * K..][..K]);
            let f = |row: &[f64]| -> f64 {
                let w = weights_of(row, c, normalise);
                w.iter().zip(&dw).map(|(w, d)| w * d).sum::<f64>()
                    + softmax(row).iter().zip(&wide(&dp)).map(|(p, d)| p * d).sum::<f64>()
            };
            let want: Vec<f64> = (0..E)
                .map(|e| {
                    slope(row[e], |v| {
                        let mut row = row.clone();
                        row[e] = v;
                        f(&row)
                    })
                })
                .collect();
            close(&got[t * E..][..E], &want, 1e-5, "gradient of the logits");
        }
    }
}

#[test]
fn rows_go_to_their_experts_and_come_back() {
    let pool = Pool::new(2);
    let mut rng = Rng::new(5);
    let (t, d) = (41, 7);
    let (logits, x) = (floats(&mut rng, t * E, 2.0), floats(&mut rng, t * d, 1.0));
    let (mut probs, mut chosen, mut weights) = (vec![0f32; t * E], vec![0u32; t * K], vec![0f32; t * K]);
    route(&pool, &logits, E, true, &mut probs, &mut chosen, &mut weights);
    let mut dispatch = Dispatch::default();
    dispatch.set(&chosen, K, E);
    assert_eq!((dispatch.rows(0).start, dispatch.rows(E - 1).end), (0, t * K), "no token is dropped");
    for e in 0..E {
        let rows = &dispatch.tokens[dispatch.rows(e)];
        let want: Vec<u32> =
            (0..t as u32).filter(|&t| chosen[t as usize * K..][..K].contains(&(e as u32))).collect();
        assert_eq!(rows, want, "expert {e}");
    }
    let mut rows = vec![0f32; t * K * d];
    gather_rows(&pool, &x, d, &dispatch.tokens, &mut rows);
    let mut y = vec![1f32; t * d];
    combine_rows(&pool, &rows, d, &dispatch.places, Some(&weights), &mut y, false);
    close(&y, &wide(&x), 1e-6, "weights of a token sum to one");
    combine_rows(&pool, &rows, d, &dispatch.places, None, &mut y, true);
    close(&y, &wide(&x).iter().map(|x| 3.0 * x).collect::<Vec<_>>(), 1e-6, "two more, unweighted");

    let dy = floats(&mut rng, t * d, 1.0);
    let (mut d_rows, mut d_weights) = (vec![f32::NAN; rows.len()], vec![f32::NAN; t * K]);
    combine_backward(&pool, &rows, d, &dispatch.places, &weights, &dy, &mut d_rows, &mut d_weights);
    for (i, &place) in dispatch.places.iter().enumerate() {
        let (dy, at) = (&dy[i / K * d..][..d], place as usize * d);
        let dot: f64 = wide(dy).iter().zip(wide(&x[i / K * d..][..d])).map(|(a, b)| a * b).sum();
        close(&d_weights[i..=i], &[dot], 1e-5, "gradient of a weight");
        let want: Vec<f64> = dy.iter().map(|v| f64::from(v * weights[i])).collect();
        close(&d_rows[at..at + d], &want, 1e-6, "gradient of a row");
    }
}

#[test]
fn of_equals_the_first_is_chosen() {
    let (mut probs, mut chosen, mut weights) = (vec![0f32; E], vec![9u32; K], vec![0f32; K]);
    route(&Pool::new(1), &[0.5; E], E, true, &mut probs, &mut chosen, &mut weights);
    assert_eq!((chosen, weights), (vec![0, 1], vec![0.5, 0.5]));
    // nothing at all is no error
    route(&Pool::new(1), &[], E, true, &mut [], &mut [], &mut []);
}
