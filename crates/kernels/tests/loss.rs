//! Cross-entropy against the formula in f64, its finite differences, and logits that are extreme or broken.

mod common;

use common::*;
use nurture_kernels::*;

fn loss(x: &[f64], target: usize) -> f64 {
    let top = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    x.iter().map(|v| (v - top).exp()).sum::<f64>().ln() + top - x[target]
}

/// `(losses, gradient)`
fn both(pool: &Pool, logits: &[f32], vocab: usize, targets: &[u32], weights: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut grad, mut losses) = (logits.to_vec(), vec![f32::NAN; targets.len()]);
    cross_entropy(pool, &mut grad, vocab, targets, Some(weights), &mut losses);
    let (mut kept, mut again) = (logits.to_vec(), vec![f32::NAN; targets.len()]);
    cross_entropy(pool, &mut kept, vocab, targets, None, &mut again);
    same_bits(&kept, logits, "logits without weights are left alone");
    same_bits(&again, &losses, "losses with and without gradient");
    (losses, grad)
}

#[test]
fn losses_and_gradients_equal_the_formula_and_its_differences() {
    let _guard = hold();
    let pool = Pool::new(2);
    for vocab in [1usize, 2, 15, 16, 17, 50, 333] {
        let mut rng = Rng::new(vocab as u64);
        let rows = 9;
        let logits = floats(&mut rng, rows * vocab, 8.0);
        let weights = floats(&mut rng, rows, 1.0);
        let targets: Vec<u32> = (0..rows).map(|_| rng.below(vocab) as u32).collect();
        let (losses, grad) = both(&pool, &logits, vocab, &targets, &weights);
        let mut log_p = logits.clone();
        log_softmax(&pool, &mut log_p, vocab);
        for r in 0..rows {
            let (at, target) = (r * vocab..(r + 1) * vocab, targets[r] as usize);
            let x = wide(&logits[at.clone()]);
            let want = loss(&x, target);
            assert!((losses[r] as f64 - want).abs() <= 1e-6 * want.max(1.0), "{} not {want}", losses[r]);
            let differences: Vec<f64> = (0..vocab)
                .map(|j| {
                    let f = |v: f64| {
                        let mut x = x.clone();
                        x[j] = v;
                        loss(&x, target)
                    };
                    weights[r] as f64 * slope(x[j], f)
                })
                .collect();
            for (got, want) in grad[at.clone()].iter().zip(&differences) {
                assert!((*got as f64 - want).abs() < 5e-7, "vocabulary {vocab}: {got} not {want}");
            }
            let want: Vec<f64> = (0..vocab).map(|j| -loss(&x, j)).collect();
            close(&log_p[at.clone()], &want, 1e-6, "log-probabilities");
            assert_eq!(log_p[at][target], -losses[r], "the log-probability of the target is the loss");
        }
    }
}

#[test]
fn a_large_vocabulary_keeps_six_digits() {
    let _guard = hold();
    let vocab = 262_144;
    let logits = floats(&mut Rng::new(3), vocab, 6.0);
    let (losses, grad) = both(&Pool::new(1), &logits, vocab, &[77], &[1.0]);
    let want = loss(&wide(&logits), 77);
    assert!((losses[0] as f64 / want - 1.0).abs() < 1e-6, "{} not {want}", losses[0]);
    let sum: f64 = grad.iter().map(|&v| v as f64).sum();
    assert!(sum.abs() < 1e-5, "the gradient of a row sums to 0, not {sum}");
}

#[test]
fn extreme_logits_stay_finite_and_exact() {
    let _guard = hold();
    let pool = Pool::new(1);
    // one certain answer among 50: right and wrong targets
    let mut row = vec![-1e4f32; 50];
    row[20] = 1e4;
    let (losses, grad) = both(&pool, &[row.clone(), row].concat(), 50, &[20, 3], &[1.0, 0.5]);
    assert_eq!(losses, [0.0, 2e4]);
    assert!(grad[..50].iter().all(|&v| v == 0.0));
    let wrong: Vec<f32> = grad[50..].to_vec();
    assert_eq!((wrong[3], wrong[20]), (-0.5, 0.5));
    assert_eq!(wrong.iter().filter(|&&v| v != 0.0).count(), 2);
    // what all logits have in common does not count
    let small: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
    let (plain, plain_grad) = both(&pool, &small, 100, &[5], &[1.0]);
    for shift in [1e4f32, -1e4] {
        let moved: Vec<f32> = small.iter().map(|v| v + shift).collect();
        let (losses, grad) = both(&pool, &moved, 100, &[5], &[1.0]);
        assert_eq!(losses, plain, "moved by {shift}");
        same_bits(&grad, &plain_grad, &format!("moved by {shift}"));
    }
    // a forbidden answer (-inf) has weight 0, and is infinitely wrong
    let (losses, grad) = both(&pool, &[0.0, f32::NEG_INFINITY, 0.0].repeat(2), 3, &[0, 1], &[1.0; 2]);
    assert_eq!(losses, [std::f32::consts::LN_2, f32::INFINITY]);
    assert_eq!(grad[..3], [-0.5, 0.0, 0.5]);
}

#[test]
fn nan_in_any_logit_is_nan_in_its_row_alone() {
    let _guard = hold();
    let vocab = 37;
    for bad in [f32::NAN, f32::INFINITY] {
        for at in 0..vocab {
            let mut logits = floats(&mut Rng::new(1), 3 * vocab, 5.0);
            logits[vocab + at] = bad;
            let (losses, grad) = both(&Pool::new(1), &logits, vocab, &[0, 5, 36], &[1.0; 3]);
            assert!(losses[1].is_nan(), "{bad} at {at} gives loss {}", losses[1]);
            assert!(losses[0].is_finite() && losses[2].is_finite());
            assert!(grad[vocab..2 * vocab].iter().any(|v| v.is_nan()));
            assert!(grad[..vocab].iter().chain(&grad[2 * vocab..]).all(|v| v.is_finite()));
            log_softmax(&Pool::new(1), &mut logits, vocab);
            assert!(logits[vocab..2 * vocab].iter().any(|v| v.is_nan()));
        }
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    let (rows, vocab) = (40, 1003);
    let mut rng = Rng::new(4);
    let (logits, weights) = (floats(&mut rng, rows * vocab, 30.0), floats(&mut rng, rows, 1.0));
    let targets: Vec<u32> = (0..rows).map(|_| rng.below(vocab) as u32).collect();
    same_everywhere("loss", |pool| {
        let (losses, grad) = both(pool, &logits, vocab, &targets, &weights);
        let mut log_p = logits.clone();
        log_softmax(pool, &mut log_p, vocab);
        vec![losses, grad, log_p]
    });
}

/// KL(softmax(r) ‖ softmax(x)) in f64.
fn divergence(x: &[f64], r: &[f64]) -> f64 {
    (0..x.len()).map(|j| (-loss(r, j)).exp() * (loss(x, j) - loss(r, j))).sum()
}

#[test]
fn the_divergence_and_its_gradient_equal_the_formula_and_its_differences() {
    let _guard = hold();
    let pool = Pool::new(2);
    for vocab in [1usize, 2, 15, 16, 17, 333, 1100] {
        let mut rng = Rng::new(vocab as u64 + 7);
        let rows = 5;
        let logits = floats(&mut rng, rows * vocab, 6.0);
        let reference = floats(&mut rng, rows * vocab, 6.0);
        let weights = floats(&mut rng, rows, 1.0);
        let (mut grad, mut losses) = (logits.clone(), vec![f32::NAN; rows]);
        kl_divergence(&pool, &mut grad, &reference, vocab, Some(&weights), &mut losses);
        let (mut kept, mut again) = (logits.clone(), vec![f32::NAN; rows]);
        kl_divergence(&pool, &mut kept, &reference, vocab, None, &mut again);
        same_bits(&kept, &logits, "logits without weights are left alone");
        same_bits(&again, &losses, "divergences with and without gradient");
        for r in 0..rows {
            let at = r * vocab..(r + 1) * vocab;
            let (x, reference) = (wide(&logits[at.clone()]), wide(&reference[at.clone()]));
            let want = divergence(&x, &reference);
            assert!((losses[r] as f64 - want).abs() <= 2e-6 * want.max(1.0), "{} not {want}", losses[r]);
            for (j, got) in grad[at].iter().enumerate().step_by(vocab.div_ceil(40)) {
                let f = |v: f64| {
                    let mut x = x.clone();
                    x[j] = v;
                    divergence(&x, &reference)
                };
                let want = weights[r] as f64 * slope(x[j], f);
                assert!((*got as f64 - want).abs() < 1e-6, "vocabulary {vocab}: {got} not {want}");
            }
        }
    }
}

#[test]
fn a_distribution_does_not_diverge_from_itself() {
    let _guard = hold();
    let vocab = 50_000;
    let mut logits = floats(&mut Rng::new(5), vocab, 20.0);
    let reference = logits.clone();
    let mut losses = [f32::NAN];
    kl_divergence(&Pool::new(1), &mut logits, &reference, vocab, Some(&[1.0]), &mut losses);
    assert_eq!(losses, [0.0]);
    assert!(logits.iter().all(|&g| g == 0.0));
}
