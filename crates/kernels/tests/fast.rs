//! The products of fast mode against a plain integer loop on the file's own bytes, and bit for bit against themselves
//! under every instruction set, number of threads and number of rows.

mod common;

use common::*;
use nurture_kernels::*;

/// Random blocks of a type, as a file would hold them.
fn random_rows(rng: &mut Rng, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..rows * cols / dtype.block_len() {
        let start = out.len();
        out.extend((0..dtype.block_bytes()).map(|_| rng.next_u64() as u8));
        let at: &[usize] = match dtype {
            DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => &[0, 2],
            DType::Q6K => &[208],
            DType::Q2K => &[80, 82],
            DType::Q3K => &[108],
            _ => &[0],
        };
        for &a in at {
            let v = half::f16::from_f64((rng.uniform() - 0.3) * 0.02).to_le_bytes();
            out[start + a..start + a + 2].copy_from_slice(&v);
        }
    }
    out
}

fn quantised() -> impl Iterator<Item = DType> {
    DType::all().filter(|d| d.is_quantised())
}

fn weight(dtype: DType, rows: usize, cols: usize, raw: &[u8]) -> Weight {
    let row = raw.len() / rows;
    let made: Result<Weight, ()> = Weight::read(&Pool::new(1), dtype, rows, cols, |first, out| {
        out.copy_from_slice(&raw[first * row..][..out.len()]);
        Ok(())
    });
    made.unwrap()
}

/// Activations with a loud column, a silent group, and values at both ends of the bytes.
fn activations(rng: &mut Rng, t: usize, d: usize) -> Vec<f32> {
    let mut x = floats(rng, t * d, 1.0);
    for (row, x) in x.chunks_exact_mut(d).enumerate() {
        x[(row * 7) % d] = 40.0;
        x[(row * 11 + 3) % d] = -40.0;
        x[d - 32..].fill(if row % 3 == 0 { 0.0 } else { -1.0 });
    }
    x
}

fn quantise(cpu: &Cpu, x: &[f32], d: usize, scales: Scales) -> Quantised {
    let mut q = Quantised::default();
    q.set(cpu.pool(), x, d, scales);
    q
}

fn run(cpu: &Cpu, linear: Linear<'_>, x: &[f32], t: usize) -> Vec<f32> {
    let d = linear.weight.cols();
    let mut y = vec![f32::NAN; t * linear.weight.rows()];
    let mut h = vec![f32::NAN; t * linear.lora.map_or(0, |l| l.rank())];
    let q = quantise(cpu, x, d, Scales::of([linear.weight]));
    linear_fast(cpu, x, &q, t, &mut [Forward { linear, y: &mut y, h: &mut h }]);
    y
}

#[test]
fn bytes_stand_for_the_values_within_half_a_step() {
    let _guard = hold();
    let mut rng = Rng::stream(3, 1);
    for (scales, columns, d) in
        [(Scales::Groups, 32, 96), (Scales::Blocks, 256, 512), (Scales::Blocks, 256, 352)]
    {
        let t = 5;
        let x = activations(&mut rng, t, d);
        let q = quantise(&Cpu::new(2), &x, d, scales);
        assert_eq!(q.scales(), scales);
        // two values of each row stand far out, and are kept as they are; the others set the scale
        assert_eq!(q.outlier_share(), 2.0 / d as f64);
        let got = q.values();
        for (x, got) in x.chunks(d).zip(got.chunks(d)) {
            for (x, got) in x.chunks(columns).zip(got.chunks(columns)) {
                let quiet = |v: &f32| if v.abs() == 40.0 { 0.0 } else { v.abs() };
                let top = x.iter().map(quiet).fold(0f32, f32::max);
                // the arithmetic itself rounds to a few millionths of a step
                let half = top / 127.0 * 0.501 + top * 1e-7;
                for (x, got) in x.iter().zip(got) {
                    assert!((x - got).abs() <= if quiet(x) == 0.0 { 0.0 } else { half }, "{x} became {got}");
                }
            }
        }
    }
}

#[test]
fn a_buffer_can_be_used_again_for_another_shape() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::stream(8, 1);
    let mut q = Quantised::default();
    let all = [Scales::Groups, Scales::Blocks, Scales::Blocks, Scales::Groups].into_iter().cycle();
    for ((t, d), scales) in
        [(9, 512), (3, 96), (1, 1024), (70, 40), (2, 7), (0, 64), (5, 64)].into_iter().zip(all)
    {
        let mut x = floats(&mut rng, t * d, 1.0);
        x.iter_mut().step_by(29).for_each(|v| *v *= 30.0);
        x.iter_mut().take(d).for_each(|v| *v *= if t == 3 { 0.0 } else { 1.0 });
        q.set(cpu.pool(), &x, d, scales);
        let fresh = quantise(&cpu, &x, d, scales);
        same_bits(&q.values(), &fresh.values(), &format!("{t} rows of {d}"));
        assert_eq!(q.outlier_share().to_bits(), fresh.outlier_share().to_bits());
    }
}

/// With the weights decoded to floats and the activations to what their bytes stand for, the exact product is the same
/// up to the rounding of f32.
#[test]
fn products_equal_the_float_ones_of_the_same_bytes() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::stream(4, 1);
    for dtype in quantised() {
        let (n, d, t) = (if dtype == DType::Q4_0 { 5 } else { 83 }, 512, 3);
        let w = weight(dtype, n, d, &random_rows(&mut rng, dtype, n, d));
        let x = activations(&mut rng, t, d);
        let linear = Linear { weight: &w, bias: None, lora: None };
        let got = run(&cpu, linear, &x, t);
        let seen = quantise(&cpu, &x, d, Scales::of([&w])).values();
        let mut row = vec![0f32; d];
        let mut want = vec![0f64; t * n];
        for i in 0..n {
            w.row_into(i, &mut row);
            for (m, seen) in seen.chunks_exact(d).enumerate() {
                want[m * n + i] = row.iter().zip(seen).map(|(a, b)| *a as f64 * *b as f64).sum();
            }
        }
        close(&got, &want, 2e-6, dtype.name());
    }
}

#[test]
fn every_machine_and_thread_gives_the_same_bits() {
    for dtype in quantised() {
        for t in [1, 2, 3, 5, 8, 13, 27, 61] {
            let d = if t > 48 {
                1024
            } else if dtype.block_len() == 32 {
                288
            } else {
                512
            };
            let n = 77;
            let mut rng = Rng::stream(5, t as u64);
            let raw = random_rows(&mut rng, dtype, n, d);
            let (x, bias) = (activations(&mut rng, t, d), floats(&mut rng, n, 1.0));
            let lora =
                LoraPair::new(5, d, n, 0.7, floats(&mut rng, 5 * d, 0.1), floats(&mut rng, n * 5, 0.1));
            same_everywhere(&format!("{dtype}, {t} rows"), |pool| {
                let cpu = Cpu::new(pool.threads());
                let w = weight(dtype, n, d, &raw);
                let plain = Linear { weight: &w, bias: None, lora: None };
                let full = Linear { weight: &w, bias: Some(&bias), lora: Some(&lora) };
                [plain, full].map(|linear| run(&cpu, linear, &x, t)).to_vec()
            });
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::stream(6, 1);
    for dtype in quantised() {
        let (n, d, t) = (50, 256, 70);
        let w = weight(dtype, n, d, &random_rows(&mut rng, dtype, n, d));
        let lora = LoraPair::new(4, d, n, 0.7, floats(&mut rng, 4 * d, 0.1), floats(&mut rng, n * 4, 0.1));
        let linear = Linear { weight: &w, bias: None, lora: Some(&lora) };
        let x = activations(&mut rng, t, d);
        let all = run(&cpu, linear, &x, t);
        for rows in [1, 2, 4, 7, 12, 31] {
            for first in [0, 5, t - rows] {
                let some = run(&cpu, linear, &x[first * d..][..rows * d], rows);
                same_bits(
                    &some,
                    &all[first * n..][..rows * n],
                    &format!("{dtype}, {rows} rows from {first}"),
                );
            }
        }
        // chosen outputs
        let plain = Linear { weight: &w, bias: None, lora: None };
        let whole = run(&cpu, plain, &x, t);
        let ids = [49, 3, 17, 3, 16];
        let mut some = vec![0f32; t * ids.len()];
        linear_fast_at(&cpu, &w, &x, &quantise(&cpu, &x, d, Scales::of([&w])), &ids, &mut some);
        for (row, some) in some.chunks_exact(ids.len()).enumerate() {
            for (&id, got) in ids.iter().zip(some) {
                assert_eq!(
                    got.to_bits(),
                    whole[row * n + id as usize].to_bits(),
                    "{dtype}, row {row}, output {id}"
                );
            }
        }
    }
}

/// Several tiles a task, the last of them with fewer outputs than lanes, and more columns than a panel takes in.
#[test]
fn many_rows_over_several_panels_are_those_alone() {
    let _guard = hold();
    let cpu = Cpu::new(1);
    let mut rng = Rng::stream(9, 1);
    for dtype in quantised() {
        let (n, d, t) = (48 * 16 + 6, 13 * 256, 121);
        let w = weight(dtype, n, d, &random_rows(&mut rng, dtype, n, d));
        let lora = LoraPair::new(2, d, n, 0.7, floats(&mut rng, 2 * d, 0.1), floats(&mut rng, n * 2, 0.1));
        let bias = floats(&mut rng, n, 1.0);
        let linear = Linear { weight: &w, bias: Some(&bias), lora: Some(&lora) };
        let x = activations(&mut rng, t, d);
        let all = run(&cpu, linear, &x, t);
        for (first, rows) in [(0, 4), (57, 13), (120, 1)] {
            let some = run(&cpu, linear, &x[first * d..][..rows * d], rows);
            let what = format!("{dtype}, {rows} rows from {first}");
            same_bits(&some, &all[first * n..][..rows * n], &what);
        }
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    // every quant and every activation at its end, both signs: 16-bit sums saturate first
    for dtype in quantised() {
        for byte in [0xff, 0x80, 0x7f, 0x00] {
            let (n, d) = (16, 256);
            let mut raw = vec![byte; n * dtype.bytes_of(d).unwrap()];
            for block in raw.chunks_exact_mut(dtype.block_bytes()) {
                let at = match dtype {
                    DType::Q6K => 208,
                    DType::Q3K => 108,
                    DType::Q2K => 80,
                    _ => 0,
                };
                block[at..at + 2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
                if matches!(dtype, DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K | DType::Q2K) {
                    block[at + 2..at + 4].copy_from_slice(&half::f16::from_f32(-0.25).to_le_bytes());
                }
            }
            for x in [1.0f32, -1.0] {
                let x = vec![x; 4 * d];
                same_everywhere(&format!("{dtype} of {byte:#x}"), |pool| {
                    let w = weight(dtype, n, d, &raw);
                    let linear = Linear { weight: &w, bias: None, lora: None };
                    let cpu = Cpu::new(pool.threads());
                    vec![run(&cpu, linear, &x, 4)]
                });
            }
        }
    }
}

/// Sums over a block that float32 does not hold are the same for one row and for many, whichever way these take.
#[test]
fn sums_beyond_float32_do_not_depend_on_the_rows_beside() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::stream(12, 1);
    for dtype in quantised().filter(|d| d.block_len() == 256) {
        let (n, d, t) = (32, 512, 40);
        let mut raw = random_rows(&mut rng, dtype, n, d);
        for block in raw.chunks_exact_mut(dtype.block_bytes()) {
            // nearly all quants and small scales are large, but for those of the block, which stay as they are
            let scales: &[usize] = match dtype {
                DType::Q6K => &[208, 209],
                DType::Q3K => &[108, 109],
                DType::Q2K => &[80, 81, 82, 83],
                _ => &[0, 1, 2, 3],
            };
            for (at, byte) in block.iter_mut().enumerate().filter(|(at, _)| !scales.contains(at)) {
                if rng.uniform() < 0.9 {
                    *byte = if dtype == DType::Q6K && at >= 192 { 0x7f } else { 0xff };
                }
            }
        }
        let w = weight(dtype, n, d, &raw);
        let x: Vec<f32> = (0..t * d).map(|_| 1.0 - 0.01 * rng.uniform() as f32).collect();
        let linear = Linear { weight: &w, bias: None, lora: None };
        let all = run(&cpu, linear, &x, t);
        for row in [0, 17, t - 1] {
            let one = run(&cpu, linear, &x[row * d..][..d], 1);
            same_bits(&one, &all[row * n..][..n], &format!("{dtype}, row {row}"));
        }
    }
}

#[test]
fn what_is_not_a_number_shows() {
    let _guard = hold();
    let cpu = Cpu::new(1);
    let mut rng = Rng::stream(7, 1);
    for (dtype, d) in [(DType::Q4_0, 64), (DType::Q4K, 512), (DType::Q3K, 512)] {
        let n = 20;
        let w = weight(dtype, n, d, &random_rows(&mut rng, dtype, n, d));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 17, d - 1] {
                let mut x = vec![0.5f32; 2 * d];
                x[at] = bad;
                // and one in the other half of its group
                x[at ^ 16] = -bad;
                let y = run(&cpu, Linear { weight: &w, bias: None, lora: None }, &x, 2);
                assert!(y[..n].iter().all(|v| !v.is_finite()), "{dtype}: {bad} at {at} is hidden");
                assert!(y[n..].iter().all(|v| v.is_finite()), "{dtype}: {bad} reaches another row");
            }
        }
    }
}

/// A file may give the projections of one input different types: those that need no blocks take them too.
#[test]
fn types_of_one_input_share_its_bytes() {
    let _guard = hold();
    let cpu = Cpu::new(2);
    let mut rng = Rng::stream(10, 1);
    let (n, d) = (40, 512);
    for t in [1, 5, 60] {
        let x = activations(&mut rng, t, d);
        let [a, b] =
            [DType::Q4_0, DType::Q6K].map(|dtype| weight(dtype, n, d, &random_rows(&mut rng, dtype, n, d)));
        assert_eq!([Scales::of([&a]), Scales::of([&a, &b])], [Scales::Groups, Scales::Blocks]);
        let q = quantise(&cpu, &x, d, Scales::of([&a, &b]));
        let mut y = [vec![0f32; t * n], vec![0f32; t * n]];
        let [ya, yb] = &mut y;
        let linear = |weight| Linear { weight, bias: None, lora: None };
        let part = |weight, y| Forward { linear: linear(weight), y, h: &mut [] };
        linear_fast(&cpu, &x, &q, t, &mut [part(&a, ya), part(&b, yb)]);
        let mut row = vec![0f32; d];
        for (w, y) in [&a, &b].into_iter().zip(&y) {
            let mut want = vec![0f64; t * n];
            for i in 0..n {
                w.row_into(i, &mut row);
                for (m, seen) in q.values().chunks_exact(d).enumerate() {
                    want[m * n + i] = row.iter().zip(seen).map(|(a, b)| *a as f64 * *b as f64).sum();
                }
            }
            close(y, &want, 2e-6, w.dtype().name());
        }
    }
}

#[test]
#[should_panic(expected = "by blocks")]
fn k_types_refuse_bytes_by_groups() {
    let (cpu, mut rng) = (Cpu::new(1), Rng::stream(11, 1));
    let w = weight(DType::Q4K, 16, 256, &random_rows(&mut rng, DType::Q4K, 16, 256));
    let (x, mut y) = (vec![1.0; 256], vec![0.0; 16]);
    let q = quantise(&cpu, &x, 256, Scales::Groups);
    let linear = Linear { weight: &w, bias: None, lora: None };
    linear_fast(&cpu, &x, &q, 1, &mut [Forward { linear, y: &mut y, h: &mut [] }]);
}
