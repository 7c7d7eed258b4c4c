//! RMS norm against its formula in f64 and finite differences.

mod common;

use common::*;
use nurture_kernels::*;

const WIDTHS: [usize; 6] = [2, 5, 16, 64, 100, 576];
const EPS: f32 = 1e-5;

fn norm(x: &[f64], w: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(w).map(|(x, w)| x * w / (mean + EPS as f64).sqrt()).collect()
}

/// `[y, inv_rms, dx, dx added to 1]`
fn both_passes(pool: &Pool, x: &[f32], w: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
    let rows = x.len() / w.len();
    let (mut y, mut inv) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
    rms_norm_forward(pool, x, w, EPS, &mut y, &mut inv);
    let (mut dx, mut added) = (vec![f32::NAN; x.len()], vec![1.0; x.len()]);
    rms_norm_backward(pool, x, w, &inv, dy, &mut dx, false);
    rms_norm_backward(pool, x, w, &inv, dy, &mut added, true);
    vec![y, inv, dx, added]
}

#[test]
fn forward_and_backward_equal_the_formula() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (i, d) in WIDTHS.into_iter().enumerate() {
        let mut rng = Rng::new(i as u64);
        let rows = 70; // more than two tasks
        let mut x = floats(&mut rng, rows * d, 3.0);
        x[..d].iter_mut().for_each(|v| *v *= 1e-4); // a row where eps counts
        let (w, dy) = (floats(&mut rng, d, 2.0), floats(&mut rng, rows * d, 1.0));
        let got = both_passes(&pool, &x, &w, &dy);
        let (w64, x64, dy64) = (wide(&w), wide(&x), wide(&dy));
        for r in 0..rows {
            let at = r * d..(r + 1) * d;
            let row = &x64[at.clone()];
            let y = norm(row, &w64);
            close(&got[0][at.clone()], &y, 1e-6, &format!("y, row {r} of width {d}"));
            let mean = row.iter().map(|v| v * v).sum::<f64>() / d as f64;
            close(&got[1][r..=r], &[1.0 / (mean + EPS as f64).sqrt()], 1e-6, "inv_rms");
            if r % 23 != 0 {
                continue; // differences of three rows are enough, the first among them
            }
            let size = if r == 0 { 1e-4 } else { 1.0 };
            let dx: Vec<f64> = (0..d)
                .map(|j| {
                    let f = |v: f64| {
                        let mut row = row.to_vec();
                        row[j] = v * size;
                        norm(&row, &w64).iter().zip(&dy64[at.clone()]).map(|(a, b)| a * b).sum()
                    };
                    slope(row[j] / size, f) / size
                })
                .collect();
            close(&got[2][at.clone()], &dx, 5e-6, &format!("dx, row {r} of width {d}"));
            for (plain, added) in got[2][at.clone()].iter().zip(&got[3][at]) {
                assert_eq!(1.0 + plain, *added, "the residual stream is added to");
            }
        }
        let mut y = vec![f32::NAN; x.len()];
        rms_norm_forward(&pool, &x, &w, EPS, &mut y, &mut []);
        same_bits(&y, &got[0], "y without inv_rms");
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    for d in WIDTHS {
        let mut rng = Rng::new(11);
        let (x, w) = (floats(&mut rng, 100 * d, 3.0), floats(&mut rng, d, 2.0));
        let dy = floats(&mut rng, 100 * d, 1.0);
        same_everywhere(&format!("width {d}"), |pool| both_passes(pool, &x, &w, &dy));
    }
}

#[test]
fn rows_of_zeros_are_finite_and_nan_is_not_hidden() {
    let _guard = hold();
    let mut x = vec![0f32; 3 * 20];
    x[20 + 17] = f32::NAN;
    let got = both_passes(&Pool::new(1), &x, &[1.0; 20], &[1.0; 60]);
    for r in [0, 2] {
        assert_eq!(got[0][r * 20..][..20], [0.0; 20]);
        assert!(got[2][r * 20..][..20].iter().all(|v| v.is_finite()));
    }
    assert!(got[0][20..40].iter().all(|v| v.is_nan()));
}
