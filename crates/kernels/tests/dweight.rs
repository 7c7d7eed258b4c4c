//! Gradients of weights, biases, norms and embedding rows against plain f64 sums, and bit for bit against themselves
//! under every instruction set and number of threads.

mod common;

use common::*;
use nurture_kernels::*;

fn tiled(rows: usize, cols: usize, values: &[f32]) -> Vec<f32> {
    Weight::from_f32(rows, cols, values).floats().unwrap().to_vec()
}

/// `dyᵀ x` on top of what stood there.
fn product(before: &[f32], dy: &[f32], x: &[f32], t: usize, n: usize, d: usize) -> Vec<f64> {
    let mut want = wide(before);
    for i in 0..t {
        for r in 0..n {
            for c in 0..d {
                want[r * d + c] += dy[i * n + r] as f64 * x[i * d + c] as f64;
            }
        }
    }
    want
}

#[test]
fn weight_gradients_equal_the_sums() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::new(3);
    // awkward widths, several chunks of tokens, one token, several weights of one input
    for (t, d, ns) in [
        (1, 32, &[16][..]),
        (7, 48, &[48, 16, 16]),
        (33, 20, &[5, 70]),
        (530, 64, &[96, 33]),
        (1100, 576, &[192]),
    ] {
        let x = floats(&mut rng, t * d, 1.0);
        let dys: Vec<Vec<f32>> = ns.iter().map(|n| floats(&mut rng, t * n, 1.0)).collect();
        let before: Vec<Vec<f32>> = ns.iter().map(|n| floats(&mut rng, n * d, 1.0)).collect();
        let mut grads: Vec<Vec<f32>> = ns.iter().zip(&before).map(|(n, b)| tiled(*n, d, b)).collect();
        let mut parts: Vec<WeightGrad<'_>> = grads
            .iter_mut()
            .zip(&dys)
            .zip(ns)
            .map(|((grad, dy), &rows)| WeightGrad { dy, rows, grad })
            .collect();
        weight_gradient(&cpu, &x, t, &mut parts);
        for (((grad, dy), before), &n) in grads.iter().zip(&dys).zip(&before).zip(ns) {
            let want = product(before, dy, &x, t, n, d);
            let mut got = vec![0.0; n * d];
            untile(grad, d, 0, &mut got);
            close(&got, &want, 3e-6, &format!("{t} × {d} × {n}"));
            let mut back = vec![1.0; grad.len()];
            nurture_kernels::tiled(&got, d, &mut back);
            same_bits(&back, grad, "tiled again");
            // a part of the rows, and the padding
            let mut two = vec![0.0; 2 * d];
            untile(grad, d, n - 2, &mut two);
            same_bits(&two, &got[(n - 2) * d..], "the last rows");
            let kept: f64 = got.iter().map(|&v| (v as f64).abs()).sum();
            let all: f64 = grad.iter().map(|&v| (v as f64).abs()).sum();
            assert!((kept - all).abs() < 1e-9 * all, "the padding stays zero");
        }
    }
}

#[test]
fn bias_norm_and_embedding_gradients_equal_the_sums() {
    let _guard = hold();
    let pool = Pool::new(2);
    let mut rng = Rng::new(4);
    let (t, d) = (700, 40);
    let (x, dy) = (floats(&mut rng, t * d, 1.0), floats(&mut rng, t * d, 1.0));
    let inv: Vec<f32> = (0..t).map(|_| 0.5 + rng.uniform() as f32).collect();
    let before = floats(&mut rng, d, 1.0);
    let sum = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..d).map(|c| before[c] as f64 + (0..t).map(|i| f(i, c)).sum::<f64>()).collect()
    };
    let at = |v: &[f32], i: usize, c: usize| v[i * d + c] as f64;
    let mut db = before.clone();
    bias_gradient(&pool, &dy, &mut db);
    close(&db, &sum(&|i, c| at(&dy, i, c)), 1e-6, "bias");
    let mut dw = before.clone();
    rms_norm_weight_gradient(&pool, &x, &inv, &dy, &mut dw);
    close(&dw, &sum(&|i, c| at(&dy, i, c) * at(&x, i, c) * inv[i] as f64), 1e-6, "norm");

    let vocab = 21;
    let tokens: Vec<u32> = (0..t).map(|_| rng.below(vocab) as u32).collect();
    let mut want = vec![0f64; vocab * d];
    for (i, &token) in tokens.iter().enumerate() {
        (0..d).for_each(|c| want[token as usize * d + c] += 1.5 * at(&dy, i, c));
    }
    let mut grad = tiled(vocab, d, &vec![0.0; vocab * d]);
    embed_gradient(&pool, &tokens, 1.5, &dy, &mut grad);
    let mut got = vec![0.0; vocab * d];
    untile(&grad, d, 0, &mut got);
    close(&got, &want, 1e-6, "embedding");
}

#[test]
fn machines_and_threads_do_not_change_a_bit() {
    let mut rng = Rng::new(6);
    let (t, d, n) = (600, 52, 75);
    let (x, dy) = (floats(&mut rng, t * d, 1.0), floats(&mut rng, t * n, 1.0));
    same_everywhere("weight gradient", |pool| {
        let cpu = Cpu::new(pool.threads());
        let mut grad = tiled(n, d, &vec![0.25; n * d]);
        weight_gradient(&cpu, &x, t, &mut [WeightGrad { dy: &dy, rows: n, grad: &mut grad }]);
        vec![grad]
    });
}

#[test]
fn a_stored_weight_becomes_its_own_floats() {
    let pool = Pool::new(2);
    let mut rng = Rng::new(8);
    let values = floats(&mut rng, 37 * 45, 1.0);
    let halves: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let stored = Weight::read(&pool, DType::F16, 37, 45, |row, out| {
        out.copy_from_slice(&halves[row * 90..][..out.len()]);
        Ok::<(), ()>(())
    })
    .unwrap();
    assert!(stored.floats().is_none());
    let mut free = stored.to_f32(&pool);
    let want: Vec<f32> = values.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect();
    let mut got = vec![0.0; 37 * 45];
    untile(free.floats().unwrap(), 45, 0, &mut got);
    same_bits(&got, &want, "values");
    free.floats_mut().unwrap()[17] = 2.0; // tile 0, column 1, row 1
    let mut row = vec![0.0; 45];
    free.row_into(1, &mut row);
    assert_eq!(row[1], 2.0);
}
