//! Blocks of 256 values whose scales are themselves whole numbers: Q4_K, Q5_K, Q6_K.
//!
//! First each sub-block finds its own scale (and minimum) freely; the largest fix the block's F16 factors; then each
//! sub-block looks among the neighbours of its rounded scale and minimum for the pair that fits its values best as they
//! will be read; last the factors are solved again for everything that is now whole, and kept if that is better.

use crate::search::{as_f16, error, inverse, quant, scale, scale_and_min, weights};
use half::f16;
use nurture_kernels::DType;

/// Q4_K and Q5_K: eight sub-blocks of 32, `x ≈ d · scale · q - dmin · min`.
pub(crate) fn affine(dtype: DType, x: &[f32; 256], out: &mut Vec<u8>) {
    let n = if dtype == DType::Q4K { 15.0 } else { 31.0 };
    let subs: &[[f32; 32]] = x.as_chunks::<32>().0;
    let w: [[f32; 32]; 8] = std::array::from_fn(|s| weights(&subs[s]));
    let free: [(f32, f32); 8] = std::array::from_fn(|s| scale_and_min(&subs[s], &w[s], n, true));
    let most = |of: fn(&(f32, f32)) -> f32| free.iter().map(of).fold(0f32, f32::max);
    let mut d = as_f16(most(|f| f.0) / 63.0);
    let mut dmin = as_f16(most(|f| -f.1) / 63.0);
    let mut whole = neighbours(subs, &w, &free, d, dmin, n);
    // factors once more, for the whole numbers found
    let (mut a, mut b) = ([0f64; 3], [0f64; 2]);
    for s in 0..8 {
        let (sc, mn) = whole[s].1;
        let id = inverse(d * sc);
        for i in 0..32 {
            let q = quant((subs[s][i] + dmin * mn) * id, 0.0, n) * sc;
            let (q, mn, w, x) = (f64::from(q), -f64::from(mn), f64::from(w[s][i]), f64::from(subs[s][i]));
            a = [a[0] + w * q * q, a[1] + w * q * mn, a[2] + w * mn * mn];
            b = [b[0] + w * q * x, b[1] + w * mn * x];
        }
    }
    let det = a[0] * a[2] - a[1] * a[1];
    if det > 1e-12 * a[0] * a[2] {
        let d2 = as_f16(((a[2] * b[0] - a[1] * b[1]) / det) as f32);
        let dmin2 = as_f16(((a[0] * b[1] - a[1] * b[0]) / det) as f32);
        if d2 > 0.0 && dmin2 >= 0.0 && d2.is_finite() && dmin2.is_finite() {
            let again = neighbours(subs, &w, &free, d2, dmin2, n);
            if total(&again) < total(&whole) {
                (d, dmin, whole) = (d2, dmin2, again);
            }
        }
    }
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(dmin).to_le_bytes());
    let scales = whole.map(|w| (w.1.0 as u8, w.1.1 as u8));
    let mut packed = [0u8; 12];
    for s in 0..4 {
        let ((sc, mn), (sc2, mn2)) = (scales[s], scales[s + 4]);
        packed[s] = sc | sc2 >> 4 << 6;
        packed[s + 4] = mn | mn2 >> 4 << 6;
        packed[s + 8] = (sc2 & 15) | (mn2 & 15) << 4;
    }
    out.extend(packed);
    let q: [[u8; 32]; 8] = std::array::from_fn(|s| {
        let (sc, mn) = whole[s].1;
        let id = inverse(d * sc);
        subs[s].map(|v| quant((v + dmin * mn) * id, 0.0, n) as u8)
    });
    if n > 15.0 {
        out.extend((0..32).map(|i| (0..8).fold(0u8, |bits, s| bits | (q[s][i] >> 4) << s)));
    }
    for pair in q.chunks_exact(2) {
        out.extend((0..32).map(|i| (pair[0][i] & 15) | (pair[1][i] & 15) << 4));
    }
}

fn total<T>(whole: &[(f32, T)]) -> f32 {
    whole.iter().map(|w| w.0).sum()
}

/// For each sub-block the error and the whole `(scale, min)` that fit best beside those it would like.
fn neighbours(
    subs: &[[f32; 32]],
    w: &[[f32; 32]; 8],
    free: &[(f32, f32); 8],
    d: f32,
    dmin: f32,
    n: f32,
) -> [(f32, (f32, f32)); 8] {
    std::array::from_fn(|s| {
        let (id, imin) = (inverse(d), inverse(dmin));
        let sc = quant(free[s].0 * id, 0.0, 63.0);
        let mn = quant(-free[s].1 * imin, 0.0, 63.0);
        let mut best = (f32::INFINITY, (0.0, 0.0));
        for a in [0.0, -1.0, 1.0, 2.0] {
            for b in [0.0, -1.0, 1.0] {
                let (sc, mn) = (sc + a, mn + b);
                if !(0.0..=63.0).contains(&sc) || !(0.0..=63.0).contains(&mn) {
                    continue;
                }
                let e = error(&subs[s], &w[s], d * sc, -(dmin * mn), 0.0, n);
                if e < best.0 {
                    best = (e, (sc, mn));
                }
            }
        }
        best
    })
}

/// Q6_K: sixteen sub-blocks of 16, `x ≈ d · scale · q`, `q` in -32 ..= 31, scales signed bytes.
pub(crate) fn six_bits(x: &[f32; 256], out: &mut Vec<u8>) {
    let subs: &[[f32; 16]] = x.as_chunks::<16>().0;
    let w: [[f32; 16]; 16] = std::array::from_fn(|s| weights(&subs[s]));
    let free: [f32; 16] = std::array::from_fn(|s| scale(&subs[s], &w[s], -32.0, 31.0));
    let top = free.iter().fold(0f32, |t, &v| if v.abs() > t.abs() { v } else { t });
    // the largest at the end that has one step more
    let mut d = as_f16(top / -128.0);
    let choose = |d: f32| -> [(f32, f32); 16] {
        std::array::from_fn(|s| {
            let near = quant(free[s] * inverse(d), -128.0, 127.0);
            let mut best = (f32::INFINITY, 0.0);
            for a in [0.0, -1.0, 1.0] {
                let sc = near + a;
                if (-128.0..=127.0).contains(&sc) {
                    let e = error(&subs[s], &w[s], d * sc, 0.0, -32.0, 31.0);
                    if e < best.0 {
                        best = (e, sc);
                    }
                }
            }
            best
        })
    };
    let mut whole = choose(d);
    let (mut qq, mut xq) = (0f64, 0f64);
    for s in 0..16 {
        let id = inverse(d * whole[s].1);
        for i in 0..16 {
            let q = f64::from(quant(subs[s][i] * id, -32.0, 31.0) * whole[s].1);
            qq += f64::from(w[s][i]) * q * q;
            xq += f64::from(w[s][i]) * q * f64::from(subs[s][i]);
        }
    }
    if qq > 0.0 {
        let d2 = as_f16((xq / qq) as f32);
        let again = choose(d2);
        if total(&again) < total(&whole) {
            (d, whole) = (d2, again);
        }
    }
    let q: Vec<u8> =
        (0..256).map(|i| (quant(x[i] * inverse(d * whole[i / 16].1), -32.0, 31.0) + 32.0) as u8).collect();
    let (mut low, mut high) = ([0u8; 128], [0u8; 64]);
    for half in 0..2 {
        for l in 0..32 {
            let at = |quarter: usize| q[half * 128 + quarter * 32 + l];
            low[half * 64 + l] = (at(0) & 15) | (at(2) & 15) << 4;
            low[half * 64 + 32 + l] = (at(1) & 15) | (at(3) & 15) << 4;
            high[half * 32 + l] = (0..4).fold(0, |h, k| h | at(k) >> 4 << (2 * k));
        }
    }
    out.extend(low);
    out.extend(high);
    out.extend(whole.map(|w| w.1 as i8 as u8));
    out.extend(f16::from_f32(d).to_le_bytes());
}
