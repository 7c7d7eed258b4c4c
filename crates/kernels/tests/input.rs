//! Rows that are quantised as they are made: bytes, scales, sums, outliers and floats are those of the operations one after the
//! other, whatever the width, the number of rows and threads, and the instruction set.

mod common;

use common::*;
use nurture_kernels::*;

/// Operations over `x`, beside `y`, with a norm's weights.
fn inputs<'a>(x: &'a [f32], y: &'a [f32], w: &'a [f32], b: &'a [f32]) -> [Input<'a>; 7] {
    let gated = |kind| Input::Gated { kind, gate: x, up: y };
    [
        Input::Rows(x),
        Input::RmsNorm { x, weight: w, eps: 1e-5 },
        Input::LayerNorm { x, weight: w, bias: b, eps: 1e-5 },
        Input::LayerNorm { x, weight: w, bias: &[], eps: 1e-5 },
        gated(Activation::Silu),
        gated(Activation::GeluTanh),
        Input::Plain { kind: Activation::GeluTanh, x },
    ]
}

/// All that a fresh [`Quantised`] holds.
fn contents(q: &Quantised) -> String {
    format!("{q:?}")
}

#[test]
fn rows_made_and_quantised_in_one_pass_have_the_bits_of_two() {
    let _guard = hold();
    let mut rng = Rng::new(7);
    let pools = [1, 2, 3].map(Pool::new);
    for rows in (1..=50).chain([65, 80, 131]) {
        for d in [[31, 64], [7, 131], [1, 200], [33, 96], [5, 290]][rows % 5] {
            let mut x = floats(&mut rng, rows * d, 2.0);
            // outliers
            x.iter_mut().step_by(37).for_each(|v| *v *= 50.0);
            let y = floats(&mut rng, rows * d, 2.0);
            let (w, b) = (floats(&mut rng, d, 1.0), floats(&mut rng, d, 1.0));
            for input in inputs(&x, &y, &w, &b) {
                let mut made = vec![f32::NAN; rows * d];
                let want = input.forward(&pools[0], &mut made, &mut []);
                let mut q = Quantised::default();
                let scales = if rows % 2 == 0 { Scales::Groups } else { Scales::Blocks };
                assert!(force_isa(Isa::Scalar));
                q.set(&pools[0], want, d, scales);
                let values = q.values();
                for isa in isas() {
                    assert!(force_isa(isa));
                    // tiles have a layout of their own
                    if isa == Isa::Amx {
                        q = Quantised::default();
                        q.set(&pools[0], want, d, scales);
                        same_bits(&q.values(), &values, "values by tiles");
                    }
                    let bytes = contents(&q);
                    for (pool, keep) in pools.iter().flat_map(|p| [(p, false), (p, true)]) {
                        let (mut q, mut room) = (Quantised::default(), vec![f32::NAN; rows * d]);
                        let got = q.set_from(pool, input, d, scales, &mut room, keep);
                        let what = format!("{input:.0?} {rows} x {d}, {}, {}", isa.name(), pool.threads());
                        assert!(contents(&q) == bytes, "{what}");
                        if keep {
                            same_bits(got, want, &what);
                        }
                    }
                }
                assert!(force_isa(detect_isa()));
            }
        }
    }
}

#[test]
#[should_panic(expected = "rows of activations")]
fn a_norm_of_another_width_is_refused() {
    let (x, weight) = ([0.0; 12], [1.0; 4]);
    let input = Input::RmsNorm { x: &x, weight: &weight, eps: 1e-5 };
    Quantised::default().set_from(&Pool::new(1), input, 6, Scales::Groups, &mut [0.0; 12], true);
}
