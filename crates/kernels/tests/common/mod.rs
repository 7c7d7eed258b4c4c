//! What the tests of the operations share: random inputs, comparisons, and runs on every kind of machine.
#![allow(dead_code)] // each test file uses its own part

use nurture_kernels::*;
use std::sync::{Mutex, MutexGuard};

static ISA: Mutex<()> = Mutex::new(());

/// The instruction set is one for the whole process: whoever computes holds this, so that nobody changes it meanwhile.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    let guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
    assert!(force_isa(detect_isa()));
    guard
}

/// Uniform values in `-size..size`.
pub(crate) fn floats(rng: &mut Rng, n: usize, size: f64) -> Vec<f32> {
    (0..n).map(|_| ((rng.uniform() - 0.5) * 2.0 * size) as f32).collect()
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v as f64).collect()
}

/// Every value within `tolerance` of the wanted one, in units of the largest wanted one.
pub(crate) fn close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let top = want.iter().fold(1e-30, |m, v| v.abs().max(m));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let off = (*g as f64 - w).abs() / top;
        assert!(off <= tolerance, "{what}[{i}]: {g} instead of {w}, {off:.1e} of the largest, {top}");
    }
}

/// The same bits; shows the first place that differs.
pub(crate) fn same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.to_bits(), w.to_bits(), "{what}[{i}]: {g:e} instead of {w:e}");
    }
}

pub(crate) fn isas() -> Vec<Isa> {
    Isa::here().collect()
}

/// Runs `f` under every instruction set of this machine with 1, 2 and 3 threads (the slow scalar one with 2 alone);
/// all must give the same bits.
pub(crate) fn same_everywhere(what: &str, f: impl Fn(&Pool) -> Vec<Vec<f32>>) {
    let _guard = hold();
    let mut first: Option<Vec<Vec<f32>>> = None;
    for isa in isas() {
        let threads: &[usize] = if isa == Isa::Scalar { &[2] } else { &[1, 2, 3] };
        for &threads in threads {
            assert!(force_isa(isa));
            let got = f(&Pool::new(threads));
            let want = first.get_or_insert_with(|| got.clone());
            for (i, (got, want)) in got.iter().zip(want.iter()).enumerate() {
                same_bits(got, want, &format!("{what}, output {i}, {} with {threads} threads", isa.name()));
            }
        }
    }
    assert!(force_isa(detect_isa()));
}

/// Slope of `f` at `x` by central differences of fourth order.
pub(crate) fn slope(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h)
}
