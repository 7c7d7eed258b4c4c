//! exp, tanh and their users on lanes: the same polynomials everywhere, so the same bits everywhere.

use crate::lanes::Lanes;

/// e^x, relative error below 2 ulp for -87 < x < 88; 0 below -87.3 (so that a masked score weighs exactly 0),
/// NaN stays NaN. Cody–Waite reduction and the degree-5 polynomial of Cephes' `expf`.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let top = L::splat(88.0);
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

/// 1 / (1 + e^-x).
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

/// tanh through the sigmoid: 2 σ(2x) - 1.
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn tanh<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe { sigmoid(x.add(x)).mul(L::splat(2.0)).sub(L::splat(1.0)) }
}
