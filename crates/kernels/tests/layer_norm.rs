//! Layer norm against its formula in f64 and finite differences.

mod common;

use common::*;
use nurture_kernels::*;

const WIDTHS: [usize; 5] = [2, 5, 16, 100, 576];
const EPS: f32 = 1e-5;

fn norm(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let square = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
    x.iter().zip(w).zip(b).map(|((x, w), b)| (x - mean) * w / (square + EPS as f64).sqrt() + b).collect()
}

/// `[y, inv, dx, dx added to 1, dw added to 1]`
fn both_passes(pool: &Pool, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
    let rows = x.len() / w.len();
    let (mut y, mut inv) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
    layer_norm_forward(pool, x, w, b, EPS, &mut y, &mut inv);
    let (mut dx, mut added) = (vec![f32::NAN; x.len()], vec![1.0; x.len()]);
    layer_norm_backward(pool, x, w, &inv, dy, &mut dx, false);
    layer_norm_backward(pool, x, w, &inv, dy, &mut added, true);
    let mut dw = vec![1.0; w.len()];
    layer_norm_weight_gradient(pool, x, &inv, dy, &mut dw);
    vec![y, inv, dx, added, dw]
}

#[test]
fn forward_and_backward_equal_the_formula() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (i, d) in WIDTHS.into_iter().enumerate() {
        let mut rng = Rng::new(i as u64);
        let rows = 70; // more than two tasks
        let x: Vec<f32> = floats(&mut rng, rows * d, 3.0).iter().map(|v| v + 2.0).collect();
        let (w, b) = (floats(&mut rng, d, 2.0), floats(&mut rng, d, 1.0));
        let dy = floats(&mut rng, rows * d, 1.0);
        let got = both_passes(&pool, &x, &w, &b, &dy);
        let (w64, b64, x64, dy64) = (wide(&w), wide(&b), wide(&x), wide(&dy));
        let along = |row: &[f64], dy: &[f64], w: &[f64]| -> f64 {
            norm(row, w, &b64).iter().zip(dy).map(|(a, b)| a * b).sum()
        };
        // widths of two know two values of x̂ only: their slope is all rounding
        let bound = if d == 2 { 1e-3 } else { 2e-5 };
        for r in 0..rows {
            let at = r * d..(r + 1) * d;
            let row = &x64[at.clone()];
            close(&got[0][at.clone()], &norm(row, &w64, &b64), bound, &format!("y, row {r} of width {d}"));
            if r % 23 != 0 || d == 2 {
                continue; // differences of a few rows are enough
            }
            let slope_at = |j: usize| {
                slope(row[j], |v| {
                    let mut row = row.to_vec();
                    row[j] = v;
                    along(&row, &dy64[at.clone()], &w64)
                })
            };
            let dx: Vec<f64> = (0..d).map(slope_at).collect();
            close(&got[2][at.clone()], &dx, 2e-5, &format!("dx, row {r} of width {d}"));
            for (plain, added) in got[2][at.clone()].iter().zip(&got[3][at.clone()]) {
                assert_eq!(1.0 + plain, *added, "the residual stream is added to");
            }
        }
        // linear in w: the gradient is the difference
        let dw: Vec<f64> = (0..d)
            .map(|j| {
                let mut unit = vec![0.0; d];
                unit[j] = 1.0;
                let rows = x64.chunks_exact(d).zip(dy64.chunks_exact(d));
                let part = |(x, dy): (&[f64], &[f64])| along(x, dy, &unit) - along(x, dy, &vec![0.0; d]);
                1.0 + rows.map(part).sum::<f64>()
            })
            .collect();
        close(&got[4], &dw, 2e-5, &format!("dw of width {d}"));
        let mut y = vec![f32::NAN; x.len()];
        layer_norm_forward(&pool, &x, &w, &[], EPS, &mut y, &mut []);
        for ((y, with), b) in y.iter().zip(&got[0]).zip(b.iter().cycle()) {
            assert_eq!(*with, y + b, "without bias");
        }
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    for d in WIDTHS {
        let mut rng = Rng::new(11);
        let (x, w) = (floats(&mut rng, 100 * d, 3.0), floats(&mut rng, d, 2.0));
        let (b, dy) = (floats(&mut rng, d, 1.0), floats(&mut rng, 100 * d, 1.0));
        same_everywhere(&format!("width {d}"), |pool| both_passes(pool, &x, &w, &b, &dy));
    }
}

#[test]
fn rows_without_spread_are_finite_and_nan_is_not_hidden() {
    let _guard = hold();
    let mut x = vec![7f32; 3 * 20];
    x[20 + 17] = f32::NAN;
    let got = both_passes(&Pool::new(1), &x, &[1.0; 20], &[0.5; 20], &[1.0; 60]);
    for r in [0, 2] {
        assert_eq!(got[0][r * 20..][..20], [0.5; 20]);
        assert!(got[2][r * 20..][..20].iter().all(|v| v.is_finite()));
    }
    assert!(got[0][20..40].iter().all(|v| v.is_nan()));
}
