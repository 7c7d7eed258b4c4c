//! Passes over a row of logits: every instruction set gives the same bits, and they equal the plain formula.

use nurture_kernels::*;
use std::sync::Mutex;

static ISA: Mutex<()> = Mutex::new(());

fn rows() -> Vec<Vec<f32>> {
    let mut rng = Rng::new(5);
    [1, 15, 16, 17, 127, 128, 129, 1023, 1025, 5000, 49_152]
        .into_iter()
        .map(|n| (0..n).map(|_| ((rng.uniform() - 0.7) * 40.0) as f32).collect())
        .collect()
}

#[test]
fn maxima_sums_and_weights_equal_the_plain_formula() {
    let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
    let (mut maxima, mut sums, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for mut row in rows() {
        if row.len() > 20 {
            row[7] = f32::NEG_INFINITY; // a masked token
        }
        for scale in [0.3f32, 1.0, 2.5] {
            let mut first: Option<(Vec<u32>, Vec<u32>)> = None;
            for isa in Isa::here() {
                assert!(force_isa(isa));
                let top = block_maxima(&row, &mut maxima).unwrap();
                assert_eq!(top, row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                for (m, block) in maxima.iter().zip(row.chunks(MAXIMA_BLOCK)) {
                    assert_eq!(*m, block.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                }
                let sum = exp_sums(&row, top, scale, &mut sums);
                exp_weights(&row, top, scale, &mut weights);
                let plain = |x: f32| (f64::from(scale) * f64::from(x - top)).exp();
                let want: f64 = row.iter().map(|&x| plain(x)).sum();
                assert!((sum / want - 1.0).abs() < 1e-5, "{sum} instead of {want}");
                for (w, x) in weights.iter().zip(&row) {
                    assert!((f64::from(*w) - plain(*x)).abs() <= 1e-5 * plain(*x) + 1e-37, "{w} of {x}");
                }
                let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let here = (bits(&sums), bits(&weights));
                assert!(*first.get_or_insert_with(|| here.clone()) == here, "{} differs", isa.name());
            }
        }
    }
    assert!(force_isa(detect_isa()));
}

#[test]
fn what_is_no_number_is_found() {
    let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
    let mut maxima = Vec::new();
    for isa in Isa::here() {
        assert!(force_isa(isa));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for place in [0, 15, 16, 200, 299] {
                let mut row = vec![1.0f32; 300];
                row[place] = bad;
                assert_eq!(block_maxima(&row, &mut maxima), None, "{bad} at {place}");
            }
        }
        assert_eq!(block_maxima(&[f32::NEG_INFINITY; 40], &mut maxima), None);
        assert_eq!(block_maxima(&[], &mut maxima), None);
        assert_eq!(block_maxima(&[f32::MIN, f32::NEG_INFINITY], &mut maxima), Some(f32::MIN));
    }
    assert!(force_isa(detect_isa()));
}
