//! Gated activations, rotary positions, sums and embedding rows.

mod common;

use common::*;
use nurture_kernels::*;

const KINDS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

fn act(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
    }
}

/// `[y, dgate, dup]`
fn gated(pool: &Pool, kind: Activation, gate: &[f32], up: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
    let mut y = vec![f32::NAN; gate.len()];
    gated_forward(pool, kind, gate, up, &mut y);
    let (mut dgate, mut dup) = (gate.to_vec(), up.to_vec());
    gated_backward(pool, kind, &mut dgate, &mut dup, dy);
    vec![y, dgate, dup]
}

#[test]
fn gates_equal_the_formula_and_its_differences() {
    let _guard = hold();
    let pool = Pool::new(2);
    for kind in KINDS {
        for (n, size) in [(1, 1.0), (15, 3.0), (16, 3.0), (40_001, 12.0)] {
            let mut rng = Rng::new(n as u64);
            let gate = floats(&mut rng, n, size);
            let (up, dy) = (floats(&mut rng, n, 2.0), floats(&mut rng, n, 1.0));
            let got = gated(&pool, kind, &gate, &up, &dy);
            for i in 0..n {
                let [g, u, d] = [gate[i], up[i], dy[i]].map(|v| v as f64);
                let want = [act(kind, g) * u, d * u * slope(g, |g| act(kind, g)), d * act(kind, g)];
                for (j, want) in want.into_iter().enumerate() {
                    // absolute, in units of the largest that the factors allow
                    let off = (got[j][i] as f64 - want).abs();
                    assert!(
                        off < 1e-6 * size.max(2.0),
                        "{kind:?} {j} of {g}, {u}, {d}: {} not {want}",
                        got[j][i]
                    );
                }
            }
        }
    }
}

#[test]
fn far_tails_are_small_or_equal_to_the_input() {
    let _guard = hold();
    for kind in KINDS {
        for size in [20f32, 90.0, 1e3, 1e10, 1e20, 3e38] {
            let got = gated(&Pool::new(1), kind, &[size, -size], &[1.0; 2], &[1.0; 2]);
            assert!((got[0][0] / size - 1.0).abs() < 1e-6, "{kind:?}({size}) = {}", got[0][0]);
            assert!((got[1][0] - 1.0).abs() < 1e-6, "{kind:?}'({size}) = {}", got[1][0]);
            assert!(got[0][1].abs() < 1e-6, "{kind:?}(-{size}) = {}", got[0][1]);
            assert!(got[1][1].abs() < 1e-6, "{kind:?}'(-{size}) = {}", got[1][1]);
        }
        let got = gated(&Pool::new(1), kind, &[f32::NAN], &[1.0], &[1.0]);
        assert!(got[0][0].is_nan() && got[1][0].is_nan(), "{kind:?}(NaN) is not hidden");
    }
}

#[test]
fn the_negative_tail_keeps_its_digits() {
    let _guard = hold();
    for kind in KINDS {
        let gate: Vec<f32> = (0..64).map(|i| -4.0 * i as f32 / 63.0).collect();
        let got = gated(&Pool::new(1), kind, &gate, &[1.0; 64], &[1.0; 64]);
        for (g, y) in gate.iter().zip(&got[0]) {
            let want = act(kind, *g as f64);
            assert!((*y as f64 - want).abs() <= 4e-6 * want.abs(), "{kind:?}({g}) = {y}, not {want}");
        }
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    let mut rng = Rng::new(2);
    let n = 50_003;
    let (gate, up) = (floats(&mut rng, n, 20.0), floats(&mut rng, n, 2.0));
    for kind in KINDS {
        same_everywhere(&format!("{kind:?}"), |pool| gated(pool, kind, &gate, &up, &gate));
    }
    same_everywhere("sums", |pool| {
        let (mut x, mut z) = (gate.clone(), vec![f32::NAN; n]);
        add_assign(pool, &mut x, &up);
        add(pool, &gate, &up, &mut z);
        same_bits(&x, &z, "x += y and z = x + y");
        assert!(z.iter().zip(&gate).zip(&up).all(|((z, x), y)| *z == x + y));
        vec![x, z]
    });
    let positions: Vec<u32> = (0..100).map(|i| i * 31 % 4096).collect();
    let heads = floats(&mut rng, 100 * 3 * 64, 1.0);
    same_everywhere("rope", |pool| {
        let mut x = heads.clone();
        rope(pool, &Rope::new(64, 10_000.0), &positions, &mut x, false);
        vec![x]
    });
}

#[test]
fn rope_turns_pairs_by_position_and_back() {
    let _guard = hold();
    let pool = Pool::new(2);
    for (heads, dim, theta) in [(1, 2, 10_000.0), (3, 64, 100_000.0), (2, 24, 1e6), (1, 256, 10_000.0)] {
        let r = Rope::new(dim, theta);
        // two sequences packed: positions start again
        let positions: Vec<u32> = (0..40).chain(0..5).chain([1000, 8191]).collect();
        let width = heads * dim;
        let x = floats(&mut Rng::new(dim as u64), positions.len() * width, 1.0);
        let mut turned = x.clone();
        rope(&pool, &r, &positions, &mut turned, false);
        for (t, &position) in positions.iter().enumerate() {
            for head in 0..heads {
                for i in 0..dim / 2 {
                    let (a, b) = (t * width + head * dim + i, t * width + head * dim + i + dim / 2);
                    let angle = position as f64 * theta.powf(-2.0 * i as f64 / dim as f64);
                    let (s, c) = angle.sin_cos();
                    let (xa, xb) = (x[a] as f64, x[b] as f64);
                    // the angle itself is rounded to f32, twice
                    let allowed = 3e-7 + 1.5e-7 * angle;
                    for (got, want) in [(turned[a], xa * c - xb * s), (turned[b], xa * s + xb * c)] {
                        let off = (got as f64 - want).abs();
                        assert!(off <= allowed, "position {position}, pair {i} of {dim}: {got} not {want}");
                    }
                }
            }
        }
        rope(&pool, &r, &positions, &mut turned, true);
        close(&turned, &wide(&x), 3e-7, "there and back");
    }
}

#[test]
fn embedding_rows_are_the_weight_s_rows_times_the_scale() {
    let _guard = hold();
    let (rows, d) = (50, 40);
    let values = floats(&mut Rng::new(1), rows * d, 1.0);
    let weight = Weight::from_f32(rows, d, &values);
    let tokens = [0u32, 49, 7, 7, 33];
    for scale in [1.0f32, 25.25] {
        let mut out = vec![f32::NAN; tokens.len() * d];
        embed(&Pool::new(2), &weight, &tokens, scale, &mut out);
        for (row, &token) in out.chunks(d).zip(&tokens) {
            let want: Vec<f32> = values[token as usize * d..][..d].iter().map(|v| v * scale).collect();
            same_bits(row, &want, "embedding");
        }
    }
    let beyond = || embed(&Pool::new(1), &weight, &[50], 1.0, &mut vec![0.0; d]);
    assert!(std::panic::catch_unwind(beyond).is_err(), "a token beyond the vocabulary");
}

#[test]
fn an_activation_without_gate_is_one_whose_gate_has_nothing_beside_it() {
    let mut rng = Rng::new(9);
    let (x, dy) = (floats(&mut rng, 20_001, 6.0), floats(&mut rng, 20_001, 1.0));
    for kind in KINDS {
        let plain = |pool: &Pool| {
            let (mut y, mut dx) = (vec![f32::NAN; x.len()], x.clone());
            plain_forward(pool, kind, &x, &mut y);
            plain_backward(pool, kind, &mut dx, &dy);
            vec![y, dx]
        };
        same_everywhere(&format!("{kind:?}"), plain);
        let _guard = hold();
        let (got, want) = (plain(&Pool::new(2)), gated(&Pool::new(2), kind, &x, &vec![1.0; x.len()], &dy));
        same_bits(&got[0], &want[0], "y");
        same_bits(&got[1], &want[1], "dx");
    }
}
