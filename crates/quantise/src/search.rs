//! The least-squares search that all blocks share. Nothing here knows a layout.

use half::f16;

/// Adding and taking it off rounds to the nearest whole number, ties to even, for magnitudes below 2²²; unlike
/// `f32::round` it needs no function call on old processors.
const MAGIC: f32 = 12_582_912.0;

/// Nearest whole number.
#[inline(always)]
pub(crate) fn near(x: f32) -> f32 {
    (x + MAGIC) - MAGIC
}

/// Nearest quant in `low ..= high`. The value is bounded first, so that rounding stays exact.
#[inline(always)]
pub(crate) fn quant(x: f32, low: f32, high: f32) -> f32 {
    near(x.max(low).min(high))
}

/// A value as F16 gives it back.
#[inline(always)]
pub(crate) fn as_f16(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// Weights of the values of a (sub-)block: `rms + |x|`.
pub(crate) fn weights<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let rms = (x.iter().map(|v| v * v).sum::<f32>() / N as f32).sqrt();
    x.map(|v| rms + v.abs())
}

/// `1 / d`, or 0 where `d` is too small to have an inverse.
#[inline(always)]
pub(crate) fn inverse(d: f32) -> f32 {
    let i = 1.0 / d;
    if i.is_finite() { i } else { 0.0 }
}

/// `Σ w (x - d q)²` with the nearest quants.
#[inline(always)]
pub(crate) fn error<const N: usize>(x: &[f32; N], w: &[f32; N], d: f32, m: f32, low: f32, high: f32) -> f32 {
    let id = inverse(d);
    let mut e = [0f32; N];
    for i in 0..N {
        let r = x[i] - (d * quant((x[i] - m) * id, low, high) + m);
        e[i] = w[i] * r * r;
    }
    e.iter().sum()
}

/// The scale `d` of `x ≈ d q`, `q` whole in `low ..= high`.
pub(crate) fn scale<const N: usize>(x: &[f32; N], w: &[f32; N], low: f32, high: f32) -> f32 {
    // the value of largest magnitude, with its sign: it is best stored at the end that has one step more
    let top = x.iter().fold(0f32, |t, &v| if v.abs() > t.abs() { v } else { t });
    if top == 0.0 {
        return 0.0;
    }
    let (mut best, mut best_d) = (f32::INFINITY, 0.0);
    // small blocks of coarse steps gain most from the search
    let spread = if high > 64.0 { 2 } else { 6 };
    for step in -spread..=spread {
        for end in [low, high] {
            let mut d = top / (end + end.signum() * step as f32 * 0.15);
            for _ in 0..2 {
                let id = inverse(d);
                let (mut xq, mut qq) = ([0f32; N], [0f32; N]);
                for i in 0..N {
                    let q = quant(x[i] * id, low, high);
                    xq[i] = w[i] * x[i] * q;
                    qq[i] = w[i] * q * q;
                }
                let (xq, qq) = (xq.iter().sum::<f32>(), qq.iter().sum::<f32>());
                if qq > 0.0 {
                    d = xq / qq;
                }
            }
            let e = error(x, w, d, 0.0, low, high);
            if e < best {
                (best, best_d) = (e, d);
            }
        }
    }
    best_d
}

/// Scale and minimum `(d, m)` of `x ≈ d q + m`, `q` whole in `0 ..= n`; with `falling` the minimum is at most 0.
pub(crate) fn scale_and_min<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32, falling: bool) -> (f32, f32) {
    let bound = |m: f32| if falling { m.min(0.0) } else { m };
    let low = bound(x.iter().fold(f32::INFINITY, |a, &b| a.min(b)));
    let high = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    if high <= low {
        // one value for all: the minimum holds it
        return (0.0, low);
    }
    let range = high - low;
    let (mut best, mut best_dm) = (f32::INFINITY, (0.0, low));
    for (cut_low, cut_high) in CUTS {
        let mut m = bound(low + range * cut_low / n);
        let mut d = (high - range * cut_high / n - m) / n;
        for _ in 0..3 {
            let id = inverse(d);
            let mut sums = [[0f32; N]; 5];
            for i in 0..N {
                let q = quant((x[i] - m) * id, 0.0, n);
                let wq = w[i] * q;
                sums[0][i] = w[i];
                sums[1][i] = wq;
                sums[2][i] = wq * q;
                sums[3][i] = w[i] * x[i];
                sums[4][i] = wq * x[i];
            }
            let [s, sq, sqq, sx, sqx] = sums.map(|s| s.iter().sum::<f32>());
            let det = s * sqq - sq * sq;
            if det > 0.0 {
                d = (s * sqx - sq * sx) / det;
                m = (sqq * sx - sq * sqx) / det;
            }
            if falling && m > 0.0 {
                m = 0.0;
                d = if sqq > 0.0 { sqx / sqq } else { d };
            }
        }
        let e = error(x, w, d, m, 0.0, n);
        if e < best {
            (best, best_dm) = (e, (d, m));
        }
    }
    best_dm
}

/// Where the search begins: how many steps of the range are given up at its lower and upper end.
const CUTS: [(f32, f32); 10] = [
    (0.0, 0.0),
    (0.4, 0.4),
    (0.8, 0.8),
    (1.3, 1.3),
    (0.0, 0.8),
    (0.8, 0.0),
    (-0.4, -0.4),
    (0.3, 1.3),
    (1.3, 0.3),
    (0.0, -1.07),
];
