//! Label smoothing and z-loss against the formula in f64, its finite differences, and PyTorch's numbers.

mod common;

use common::*;
use nurture_kernels::*;

fn loss(x: &[f64], target: usize, s: Softening) -> f64 {
    let top = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let z = x.iter().map(|v| (v - top).exp()).sum::<f64>().ln() + top;
    let (e, mean) = (s.smoothing as f64, x.iter().sum::<f64>() / x.len() as f64);
    z - (1.0 - e) * x[target] - e * mean + s.z as f64 * z * z
}

#[test]
fn losses_and_gradients_equal_the_formula_and_its_differences() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (vocab, smoothing, z) in
        [(1usize, 0.1, 0.0), (17, 0.1, 0.0), (50, 0.0, 1e-2), (333, 0.2, 1e-3), (2500, 0.05, 1e-4)]
    {
        let s = Softening { smoothing, z };
        let mut rng = Rng::new(vocab as u64);
        let logits = floats(&mut rng, 5 * vocab, 8.0);
        let weights = floats(&mut rng, 5, 1.0);
        let targets: Vec<u32> = (0..5).map(|_| rng.below(vocab) as u32).collect();
        let (mut grad, mut losses) = (logits.clone(), vec![0f32; 5]);
        soft_cross_entropy(&pool, &mut grad, vocab, &targets, s, Some(&weights), &mut losses);
        let (mut kept, mut again) = (logits.clone(), vec![0f32; 5]);
        soft_cross_entropy(&pool, &mut kept, vocab, &targets, s, None, &mut again);
        same_bits(&kept, &logits, "logits without weights are left alone");
        same_bits(&again, &losses, "losses with and without gradient");
        for r in 0..5 {
            let (x, t) = (wide(&logits[r * vocab..][..vocab]), targets[r] as usize);
            let want = loss(&x, t, s);
            assert!((losses[r] as f64 - want).abs() <= 2e-6 * want.max(1.0), "{} not {want}", losses[r]);
            for j in (0..vocab).step_by(1 + vocab / 40).chain([t]) {
                let f = |v: f64| {
                    let mut x = x.clone();
                    x[j] = v;
                    loss(&x, t, s)
                };
                let (got, want) = (grad[r * vocab + j] as f64, weights[r] as f64 * slope(x[j], f));
                assert!((got - want).abs() < 1e-6, "vocabulary {vocab}: {got} not {want}");
            }
        }
    }
}

#[test]
fn label_smoothing_equals_pytorch() {
    let _guard = hold();
    // torch.nn.functional.cross_entropy(x, t, label_smoothing=0.1, reduction="none") in float64
    let x = [1.0f32, -2.0, 0.5, 3.0, 0.0, -1.0, 2.0, 0.25];
    let (mut y, mut losses) = (x, [0f32; 2]);
    let s = Softening { smoothing: 0.1, z: 0.0 };
    soft_cross_entropy(&Pool::new(1), &mut y, 4, &[3, 2], s, None, &mut losses);
    close(&losses, &[PYTORCH[0], PYTORCH[1]], 1e-6, "losses");
}

const PYTORCH: [f64; 2] = [0.43975344767935176, 0.47542282251107537];

#[test]
fn without_softening_it_is_the_plain_loss() {
    let _guard = hold();
    let mut rng = Rng::new(9);
    let logits = floats(&mut rng, 600, 5.0);
    let (mut a, mut b, mut la, mut lb) = (logits.clone(), logits, [0f32; 2], [0f32; 2]);
    let pool = Pool::new(2);
    cross_entropy(&pool, &mut a, 300, &[3, 299], Some(&[1.0, 0.5]), &mut la);
    soft_cross_entropy(&pool, &mut b, 300, &[3, 299], Softening::default(), Some(&[1.0, 0.5]), &mut lb);
    close(&lb, &wide(&la), 1e-6, "losses");
    close(&b, &wide(&a), 1e-6, "gradients");
}
