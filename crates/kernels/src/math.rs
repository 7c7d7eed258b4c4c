//! exp and sigmoid on lanes: the same polynomials everywhere, so the same bits everywhere.

use crate::lanes::Lanes;

/// e^x within 1.5 ulp for -87.3 <= x <= 88.3; 0 below (so that a masked score weighs exactly 0), infinite from 88.4 on
/// (a little before f32 ends), NaN stays NaN. Cody–Waite reduction and the degree-5 polynomial of Cephes' `expf`.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let top = L::splat(89.0); // 2^128, which `pow2` makes infinite
        let bottom = L::splat(-87.3);
        // `min`/`max` give their second operand where one is NaN: NaN must be the second
        let clamped = bottom.max(top.min(x));
        let n = clamped.mul(L::splat(std::f32::consts::LOG2_E)).round_int();
        let nf = L::int_to_f32(n);
        let r = nf.fma(L::splat(-0.693_359_4), clamped);
        let r = nf.fma(L::splat(2.121_944_4e-4), r);
        let mut p = L::splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p.fma(r, L::splat(c));
        }
        let e = p.fma(r.mul(r), r.add(L::splat(1.0))).mul(L::pow2(n));
        L::select_below(x, bottom, L::splat(0.0), e)
    }
}

/// 2^x for x <= 0 within 1.1e-4 of it, a twentieth of what bfloat16 rounds; exactly 1 for 0, 0 below -126, NaN stays NaN. The cubic with the
/// least relative error among those that are 1 at 0.
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn exp2_short<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let bottom = L::splat(-126.0);
        // NaN is the second operand, which stays
        let clamped = bottom.max(x);
        let n = clamped.round_int();
        let f = clamped.sub(L::int_to_f32(n));
        let mut p = L::splat(0.055_007_1);
        for c in [0.242_207_83, 0.693_282_8, 1.0] {
            p = p.fma(f, L::splat(c));
        }
        L::select_below(x, bottom, L::splat(0.0), p.mul(L::pow2(n)))
    }
}

/// 1 / (1 + e^-x) within 4 ulp for x > -87.3; 0 below -88.4.
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn sigmoid<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let one = L::splat(1.0);
        one.div(one.add(exp(L::splat(0.0).sub(x))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, detect_isa, force_isa};
    use crate::lanes::{LANES, lanes_fn};

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        Exp2Short,
        Sigmoid,
    }

    #[inline(always)]
    unsafe fn map_lanes<L: Lanes>(f: Function, x: &mut [f32]) {
        for c in x.chunks_exact_mut(LANES) {
            // SAFETY: 16 values; `lanes_fn` chose the instruction set.
            unsafe {
                let v = L::load(c.as_ptr());
                let y = match f {
                    Function::Exp => exp(v),
                    Function::Exp2Short => exp2_short(v),
                    Function::Sigmoid => sigmoid(v),
                };
                y.store(c.as_mut_ptr());
            }
        }
    }

    lanes_fn! {
        /// # Safety
        /// None beyond the instruction set.
        unsafe fn map(f: Function, x: &mut [f32]) = map_lanes
    }

    /// `f` of all values, under every instruction set, which must agree to the bit.
    fn values(f: Function, x: &[f32]) -> Vec<f32> {
        static ISA: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
        let mut padded = x.to_vec();
        padded.resize(x.len().next_multiple_of(LANES), 0.0);
        let run = |isa: Isa| {
            assert!(force_isa(isa));
            let mut y = padded.clone();
            // SAFETY: the machine has the instruction set (`force_isa`).
            unsafe { map(f, &mut y) };
            y.truncate(x.len());
            y
        };
        let reference = run(Isa::Scalar);
        for isa in Isa::here().skip(1) {
            for ((x, a), b) in x.iter().zip(&reference).zip(&run(isa)) {
                assert_eq!(a.to_bits(), b.to_bits(), "{f:?}({x}) under {}: {b} instead of {a}", isa.name());
            }
        }
        assert!(force_isa(detect_isa()));
        reference
    }

    /// Distance in units of the last place of the wanted value.
    fn ulps(got: f32, want: f64) -> f64 {
        let exponent = want.abs().log2().floor().max(-126.0);
        (got as f64 - want).abs() / (exponent - 23.0).exp2()
    }

    /// Every `step`-th float of either sign up to `to`.
    fn dense(step: usize, to: f32) -> Vec<f32> {
        let half = (0..=to.to_bits()).step_by(step).map(f32::from_bits);
        half.flat_map(|v| [v, -v]).collect()
    }

    #[test]
    fn the_short_power_is_within_its_bound() {
        let x: Vec<f32> = (0..=400_000).map(|i| -126.0 * i as f32 / 400_000.0).collect();
        for (x, y) in x.iter().zip(values(Function::Exp2Short, &x)) {
            let want = f64::from(*x).exp2();
            assert!((f64::from(y) - want).abs() <= 1.1e-4 * want, "2^{x} = {y}");
        }
        let odd = values(Function::Exp2Short, &[0.0, -126.1, -1e30, f32::NEG_INFINITY, f32::NAN]);
        assert_eq!(odd[..4], [1.0, 0.0, 0.0, 0.0]);
        assert!(odd[4].is_nan());
    }

    #[test]
    fn exp_is_within_its_bound() {
        let mut x = dense(4001, 87.3);
        // and evenly, where whole ranges of floats are few
        x.extend((0..400_000).map(|i| -87.3 + 175.6 * i as f32 / 400_000.0));
        for (x, y) in x.iter().zip(values(Function::Exp, &x)) {
            let off = ulps(y, (*x as f64).exp());
            assert!(off <= 1.5, "exp({x}) = {y}, {off:.2} ulp off");
        }
    }

    #[test]
    fn sigmoid_is_within_its_bound() {
        let mut x = dense(4001, 87.3);
        x.extend((0..200_000).map(|i| -87.3 + 175.6 * i as f32 / 200_000.0));
        for (x, y) in x.iter().zip(values(Function::Sigmoid, &x)) {
            let off = ulps(y, 1.0 / (1.0 + (-*x as f64).exp()));
            assert!(off <= 4.0, "sigmoid({x}) = {y}, {off:.2} ulp off");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let y = values(Function::Exp, &[0.0, -0.0, -inf, -1e30, -88.0, -87.31, 88.3, 88.4, 100.0, 1e30, inf]);
        assert_eq!(y[..6], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(y[6].is_finite());
        assert_eq!(y[7..], [inf; 4]);
        let y = values(Function::Sigmoid, &[0.0, -inf, -1e30, -88.5, 17.5, 100.0, inf]);
        assert_eq!(y, [0.5, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        for f in [Function::Exp, Function::Sigmoid] {
            assert!(values(f, &[nan, -nan]).iter().all(|v| v.is_nan()), "{f:?} hides NaN");
        }
        // a NaN beside others stays where it is
        let y = values(Function::Exp, &[0.0, nan, 0.0]);
        assert!(y[0] == 1.0 && y[1].is_nan() && y[2] == 1.0);
    }
}
