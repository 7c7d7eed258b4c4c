//! What is encoded is read back by the kernels, is better than rounding, and does not depend on threads.

use nurture_kernels::{DType, Pool, Rng, Weight};
use nurture_quantise::{EncodeError, Mix, TensorRole, can_encode, encode};

fn decode(dtype: DType, cols: usize, raw: &[u8]) -> Vec<f32> {
    let row = dtype.bytes_of(cols).unwrap();
    let rows = raw.len() / row;
    let weight: Result<Weight, ()> = Weight::read(&Pool::new(1), dtype, rows, cols, |first, out| {
        out.copy_from_slice(&raw[first * row..][..out.len()]);
        Ok(())
    });
    let (weight, mut out) = (weight.unwrap(), vec![0f32; rows * cols]);
    out.chunks_exact_mut(cols).enumerate().for_each(|(i, out)| weight.row_into(i, out));
    out
}

/// Values as weights have them: nearly normal, blocks of different size, a few outliers.
fn weights(n: usize) -> Vec<f32> {
    let mut rng = Rng::stream(11, 1);
    (0..n)
        .map(|i| {
            let normal: f64 = (0..6).map(|_| rng.uniform() - 0.5).sum();
            let loud = if rng.uniform() < 0.003 { 6.0 } else { 1.0 };
            (normal * loud * (0.02 + (i / 256 % 7) as f64 * 0.01)) as f32
        })
        .collect()
}

fn rmse(x: &[f32], y: &[f32]) -> f64 {
    let sum: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    (sum / x.len() as f64).sqrt()
}

/// The plainest encoder: the range of each block divided evenly, scales not rounded. Returns what it would decode to.
fn plain(x: &[f32], block: usize, steps: f32, min: bool) -> Vec<f32> {
    let mut out = Vec::new();
    for b in x.chunks_exact(block) {
        let top = b.iter().fold(0f32, |t, v| if v.abs() > t.abs() { *v } else { t });
        let (low, high) = b.iter().fold((0f32, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let (d, m, from, to) = match min {
            true => ((high - low) / steps, low, 0.0, steps),
            false => (top / -(steps + 1.0) * 2.0, 0.0, -(steps + 1.0) / 2.0, (steps - 1.0) / 2.0),
        };
        out.extend(b.iter().map(|v| ((v - m) / d).round().clamp(from, to) * d + m));
    }
    out
}

#[test]
fn errors_are_below_those_of_plain_rounding() {
    let (cols, x) = (512, weights(512 * 64));
    for (dtype, block, steps, min, most) in [
        (DType::Q8_0, 32, 255.0, false, 1.005),
        (DType::Q4_0, 32, 15.0, false, 0.97),
        (DType::Q4_1, 32, 15.0, true, 0.93),
        (DType::Q5_0, 32, 31.0, false, 0.97),
        (DType::Q5_1, 32, 31.0, true, 0.97),
        (DType::Q4K, 32, 15.0, true, 0.97),
        (DType::Q5K, 32, 31.0, true, 1.02),
        (DType::Q6K, 16, 63.0, false, 1.02),
    ] {
        let raw = encode(&Pool::new(2), dtype, cols, &x).unwrap();
        assert_eq!(raw.len(), dtype.bytes_of(x.len()).unwrap());
        let ours = rmse(&x, &decode(dtype, cols, &raw));
        let theirs = rmse(&x, &plain(&x, block, steps, min));
        println!("{dtype}: {ours:.3e}, plain {theirs:.3e}, ratio {:.3}", ours / theirs);
        assert!(ours < most * theirs, "{dtype}: {ours:.3e}, plain {theirs:.3e}");
    }
}

#[test]
fn what_a_type_can_hold_exactly_it_holds() {
    for dtype in DType::all().filter(|d| can_encode(*d)) {
        let zeros = vec![0f32; 512];
        assert_eq!(decode(dtype, 256, &encode(&Pool::new(1), dtype, 256, &zeros).unwrap()), zeros, "{dtype}");
        // whole numbers, as many as the type has
        let levels = if matches!(dtype, DType::Q4_0 | DType::Q4_1 | DType::Q4K) { 16 } else { 32 };
        let x: Vec<f32> = (0..512).map(|i| ((i * 7) % levels) as f32 - levels as f32 / 2.0).collect();
        let got = decode(dtype, 256, &encode(&Pool::new(1), dtype, 256, &x).unwrap());
        let worst = x.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let bound = if dtype.is_quantised() { 0.1 } else { 0.0 };
        assert!(worst <= bound, "{dtype}: {worst}");
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let x = weights(256 * 37);
    for dtype in DType::all().filter(|d| can_encode(*d)) {
        let one = encode(&Pool::new(1), dtype, 256, &x).unwrap();
        assert_eq!(encode(&Pool::new(3), dtype, 256, &x).unwrap(), one, "{dtype}");
        // nor do the rows beside it
        assert_eq!(
            encode(&Pool::new(1), dtype, 256, &x[256..512]).unwrap(),
            one[dtype.bytes_of(256).unwrap()..][..dtype.bytes_of(256).unwrap()]
        );
    }
}

#[test]
fn strange_values_stay_finite_or_are_refused() {
    let pool = Pool::new(1);
    for dtype in DType::all().filter(|d| can_encode(*d)) {
        for value in [f32::MIN_POSITIVE, 1e-40, 1e-20, -3e-8, 6e4, -6e4, 1.0] {
            let mut x = vec![0f32; 256];
            for at in [vec![0], vec![255], (0..256).collect::<Vec<_>>()] {
                at.iter().for_each(|&i| x[i] = value);
                let got = decode(dtype, 256, &encode(&pool, dtype, 256, &x).unwrap());
                let step = value.abs() * if dtype.is_quantised() { 0.08 } else { 0.01 } + 1e-7;
                assert!(
                    got.iter().zip(&x).all(|(a, b)| a.is_finite() && (a - b).abs() <= step),
                    "{dtype} {value}: {got:?}"
                );
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![0.5f32; 512];
            x[300] = bad;
            assert_eq!(encode(&pool, dtype, 256, &x), Err(EncodeError::NotFinite(1)), "{dtype}");
        }
    }
    let large = encode(&pool, DType::Q4_0, 32, &[7e4; 32]);
    assert!(matches!(large, Err(EncodeError::TooLarge { row: 0, .. })), "{large:?}");
    assert!(matches!(encode(&pool, DType::Q4K, 96, &[0.0; 96]), Err(EncodeError::Columns { .. })));
    assert!(matches!(encode(&pool, DType::Q2K, 256, &[0.0; 256]), Err(EncodeError::Type(_))));
}

/// Types by tensor as in files that llama.cpp's own tool makes of these two models.
#[test]
fn mixes_are_those_of_the_field() {
    let ty = |mix: Mix, name: &str, cols: usize, tied: bool| {
        let layer = TensorRole::of(name, &[64, cols], 30, tied);
        mix.dtype_of(layer)
    };
    let k = Mix::Q4_K_M;
    assert_eq!(ty(k, "token_embd.weight", 2048, true), DType::Q6K);
    assert_eq!(ty(k, "token_embd.weight", 2048, false), DType::Q4K);
    assert_eq!(ty(k, "output.weight", 2048, false), DType::Q6K);
    assert_eq!(ty(k, "token_embd.weight", 576, true), DType::Q8_0);
    assert_eq!(ty(k, "blk.0.attn_q.weight", 576, true), DType::Q5_0);
    assert_eq!(ty(Mix::Q5_K_M, "blk.0.attn_q.weight", 576, true), DType::Q5_1);
    assert_eq!(ty(k, "blk.0.attn_v.weight", 576, true), DType::Q8_0);
    assert_eq!(ty(k, "blk.3.attn_v.weight", 2048, true), DType::Q4K);
    assert_eq!(ty(k, "blk.5.attn_v.weight", 2048, true), DType::Q6K);
    assert_eq!(ty(k, "blk.29.ffn_down.weight", 1536, true), DType::Q6K);
    assert_eq!(ty(k, "blk.4.ffn_down.weight", 1536, true), DType::Q4K);
    assert_eq!(ty(Mix::Q4_0, "token_embd.weight", 576, true), DType::Q8_0);
    assert_eq!(ty(Mix::Q8_0, "output.weight", 2048, false), DType::Q8_0);
    assert_eq!(ty(Mix::Q8_0, "blk.0.attn_q.weight", 40, false), DType::F16);
    let norm = TensorRole::of("blk.0.attn_norm.weight", &[64], 30, true);
    assert!(Mix::all().all(|m| m.dtype_of(norm) == DType::F32));
    for mix in Mix::all() {
        assert_eq!(mix.name().to_lowercase().parse::<Mix>(), Ok(mix));
    }
    assert!("Q9".parse::<Mix>().unwrap_err().contains("Q4_K_M"));
}
