//! The linear layer against a plain f64 loop, and bit for bit against itself under every instruction set,
//! number of threads and number of rows.

use nurture_kernels::*;
use std::sync::Mutex;

static ISA: Mutex<()> = Mutex::new(());

fn floats(rng: &mut Rng, n: usize, size: f64) -> Vec<f32> {
    (0..n).map(|_| ((rng.uniform() - 0.5) * 2.0 * size) as f32).collect()
}

/// Random blocks of a type, as a file would hold them: finite half-float scales, any other bytes.
fn random_rows(rng: &mut Rng, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let blocks = rows * cols / dtype.block_len();
    let bb = dtype.block_bytes();
    let mut out = Vec::with_capacity(blocks * bb);
    for _ in 0..blocks {
        let start = out.len();
        out.extend((0..bb).map(|_| rng.next_u64() as u8));
        let small = |rng: &mut Rng| half::f16::from_f64((rng.uniform() - 0.3) * 0.02).to_le_bytes();
        let at: &[usize] = match dtype {
            DType::F16 | DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4NL => &[0],
            DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => &[0, 2],
            DType::Q6K => &[208],
            DType::Q2K => &[80, 82],
            DType::Q3K => &[108],
            DType::F32 | DType::BF16 => &[],
        };
        for &a in at {
            let v = small(rng);
            out[start + a..start + a + 2].copy_from_slice(&v);
        }
        let v = ((rng.uniform() - 0.5) * 0.1) as f32;
        match dtype {
            DType::F32 => out[start..start + 4].copy_from_slice(&v.to_le_bytes()),
            DType::BF16 => out[start..start + 2].copy_from_slice(&((v.to_bits() >> 16) as u16).to_le_bytes()),
            _ => {}
        }
    }
    out
}

fn f16(b: &[u8]) -> f64 {
    half::f16::from_le_bytes([b[0], b[1]]).to_f64()
}

/// Dequantisation written from the format's description, one value at a time.
fn value(dtype: DType, row: &[u8], col: usize) -> f64 {
    let (len, bytes) = (dtype.block_len(), dtype.block_bytes());
    let b = &row[col / len * bytes..][..bytes];
    let j = col % len;
    let nibble = |q: &[u8]| if j < 16 { q[j] & 15 } else { q[j - 16] >> 4 } as f64;
    let fifth = |h: &[u8]| (u32::from_le_bytes([h[0], h[1], h[2], h[3]]) >> j & 1) as f64 * 16.0;
    let six = |s: usize| {
        let p = &b[4..16];
        if s < 4 {
            (p[s] & 63, p[s + 4] & 63)
        } else {
            (p[s + 4] & 15 | p[s - 4] >> 6 << 4, p[s + 4] >> 4 | p[s] >> 6 << 4)
        }
    };
    match dtype {
        DType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f64,
        DType::F16 => f16(b),
        DType::BF16 => f32::from_bits((u16::from_le_bytes([b[0], b[1]]) as u32) << 16) as f64,
        DType::Q8_0 => f16(b) * (b[2 + j] as i8) as f64,
        DType::Q4_0 => f16(b) * (nibble(&b[2..]) - 8.0),
        DType::Q4_1 => f16(b) * nibble(&b[4..]) + f16(&b[2..]),
        DType::Q5_0 => f16(b) * (nibble(&b[6..]) + fifth(&b[2..]) - 16.0),
        DType::Q5_1 => f16(b) * (nibble(&b[8..]) + fifth(&b[4..])) + f16(&b[2..]),
        DType::Q4K => {
            let s = j / 32;
            let q = b[16 + j / 64 * 32 + j % 32];
            let q = if s.is_multiple_of(2) { q & 15 } else { q >> 4 };
            f16(b) * six(s).0 as f64 * q as f64 - f16(&b[2..]) * six(s).1 as f64
        }
        DType::Q5K => {
            let s = j / 32;
            let q = b[48 + j / 64 * 32 + j % 32];
            let q = if s.is_multiple_of(2) { q & 15 } else { q >> 4 };
            let h = (b[16 + j % 32] >> s & 1) * 16;
            f16(b) * six(s).0 as f64 * (q + h) as f64 - f16(&b[2..]) * six(s).1 as f64
        }
        DType::Q2K => {
            let q = b[16 + j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
            let s = b[j / 16];
            f16(&b[80..]) * (s & 15) as f64 * q as f64 - f16(&b[82..]) * (s >> 4) as f64
        }
        DType::Q3K => {
            let q = (b[32 + j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3) as f64;
            let q = if b[j % 32] >> (j / 32) & 1 == 1 { q } else { q - 4.0 };
            let (s, p) = (j / 16, &b[96..108]);
            let scale = (p[s % 8] >> (s / 8 * 4) & 15) | (p[8 + s % 4] >> (s / 4 * 2) & 3) << 4;
            f16(&b[108..]) * (scale as f64 - 32.0) * q
        }
        DType::IQ4NL => {
            let table = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
            f16(b) * table[nibble(&b[2..]) as usize] as f64
        }
        DType::Q6K => {
            let (half, l, quarter) = (j / 128, j % 32, j % 128 / 32);
            let low = b[half * 64 + quarter % 2 * 32 + l];
            let low = if quarter < 2 { low & 15 } else { low >> 4 };
            let high = b[128 + half * 32 + l] >> (2 * quarter) & 3;
            let scale = b[192 + half * 8 + quarter * 2 + l / 16] as i8;
            f16(&b[208..]) * scale as f64 * ((low | high << 4) as f64 - 32.0)
        }
    }
}

struct Case {
    weight: Weight,
    /// `[N, D]` in f64
    w: Vec<f64>,
    n: usize,
    d: usize,
}

fn case(seed: u64, dtype: DType, n: usize, d: usize) -> Case {
    let mut rng = Rng::new(seed);
    let raw = random_rows(&mut rng, dtype, n, d);
    let row = raw.len() / n;
    let weight: Result<Weight, ()> = Weight::read(&Pool::new(2), dtype, n, d, |first, out| {
        out.copy_from_slice(&raw[first * row..][..out.len()]);
        Ok(())
    });
    let w = (0..n * d).map(|i| value(dtype, &raw[i / d * row..][..row], i % d)).collect();
    Case { weight: weight.unwrap(), w, n, d }
}

fn close(got: &[f32], want: &[f64], what: &str) {
    let top = want.iter().fold(1e-30, |m, v| v.abs().max(m));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((*g as f64 - w).abs() <= 2e-5 * top, "{what}[{i}]: {g} instead of {w} (largest {top})");
    }
}

fn isas() -> Vec<Isa> {
    Isa::here().collect()
}

#[test]
fn every_type_is_decoded_as_the_format_says() {
    for dtype in DType::all() {
        let c = case(1, dtype, 37, 512);
        for isa in isas() {
            let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
            assert!(force_isa(isa));
            let mut row = vec![0f32; c.d];
            for n in 0..c.n {
                c.weight.row_into(n, &mut row);
                for (k, &v) in row.iter().enumerate() {
                    assert_eq!(v, c.w[n * c.d + k] as f32, "{dtype} {} row {n} column {k}", isa.name());
                }
            }
        }
    }
}

#[test]
fn forward_and_backward_equal_a_plain_loop() {
    let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
    assert!(force_isa(detect_isa()));
    let shapes = [(48, 64, 4), (64, 256, 16), (100, 96, 8), (192, 288, 16)];
    for (i, (n, d, rank)) in shapes.into_iter().enumerate() {
        for dtype in DType::all().filter(|t| d % t.block_len() == 0) {
            for t in [1, 3, 4, 5, 13, 40] {
                check_against_f64(i as u64 * 100 + t as u64, dtype, n, d, rank, t);
            }
        }
    }
}

fn check_against_f64(seed: u64, dtype: DType, n: usize, d: usize, rank: usize, t: usize) {
    let c = case(seed, dtype, n, d);
    let mut rng = Rng::new(seed + 1);
    let cpu = Cpu::new(2);
    let x = floats(&mut rng, t * d, 1.0);
    let bias = floats(&mut rng, n, 0.5);
    let (a, b) = (floats(&mut rng, rank * d, 0.2), floats(&mut rng, n * rank, 0.2));
    let scale = 1.5f32;
    let pair = LoraPair::new(rank, d, n, scale, a.clone(), b.clone());
    let linear = Linear { weight: &c.weight, bias: Some(&bias), lora: Some(&pair) };
    let (mut y, mut h) = (vec![f32::NAN; t * n], vec![f32::NAN; t * rank]);
    linear_forward(&cpu, &x, t, &mut [Forward { linear, y: &mut y, h: &mut h }]);

    let f = |v: &[f32], i: usize| v[i] as f64;
    let dot = |len: usize, g: &dyn Fn(usize) -> f64| (0..len).map(g).sum::<f64>();
    let h64: Vec<f64> = (0..t * rank)
        .map(|i| scale as f64 * dot(d, &|k| f(&x, i / rank * d + k) * f(&a, i % rank * d + k)))
        .collect();
    let y64: Vec<f64> = (0..t * n)
        .map(|i| {
            let (tt, nn) = (i / n, i % n);
            f(&bias, nn)
                + dot(d, &|k| f(&x, tt * d + k) * c.w[nn * d + k])
                + dot(rank, &|r| h64[tt * rank + r] * f(&b, nn * rank + r))
        })
        .collect();
    close(&h, &h64, "h");
    close(&y, &y64, &format!("{dtype} y {n}x{d} r{rank} t{t}"));

    let dy = floats(&mut rng, t * n, 1.0);
    let (mut da, mut db) = (vec![0.25f32; rank * d], vec![0.25f32; n * rank]);
    let mut dx = vec![f32::NAN; t * d];
    let part = Backward { linear, dy: &dy, h: &h, grads: Some((&mut da, &mut db)) };
    linear_backward(&cpu, &x, t, &mut [part], Some(&mut dx), false);
    let dh64: Vec<f64> = (0..t * rank)
        .map(|i| scale as f64 * dot(n, &|k| f(&dy, i / rank * n + k) * f(&b, k * rank + i % rank)))
        .collect();
    let dx64: Vec<f64> = (0..t * d)
        .map(|i| {
            let (tt, k) = (i / d, i % d);
            dot(n, &|j| f(&dy, tt * n + j) * c.w[j * d + k])
                + dot(rank, &|r| dh64[tt * rank + r] * f(&a, r * d + k))
        })
        .collect();
    let da64: Vec<f64> =
        (0..rank * d).map(|i| 0.25 + dot(t, &|tt| dh64[tt * rank + i / d] * f(&x, tt * d + i % d))).collect();
    let db64: Vec<f64> = (0..n * rank)
        .map(|i| 0.25 + dot(t, &|tt| f(&dy, tt * n + i / rank) * h64[tt * rank + i % rank]))
        .collect();
    close(&dx, &dx64, "dx");
    close(&da, &da64, "da");
    close(&db, &db64, "db");
}

/// Everything that a pass over two weights with the same input gives, as bits.
fn pass(
    cpu: &Cpu,
    cases: &[Case; 2],
    pairs: &[LoraPair; 2],
    x: &[f32],
    dy: &[Vec<f32>; 2],
    t: usize,
) -> Vec<Vec<u32>> {
    let d = cases[0].d;
    let mut y = [vec![0f32; t * cases[0].n], vec![0f32; t * cases[1].n]];
    let mut h = [vec![0f32; t * pairs[0].rank()], vec![0f32; t * pairs[1].rank()]];
    let lin = |i: usize| Linear { weight: &cases[i].weight, bias: None, lora: Some(&pairs[i]) };
    let ([y0, y1], [h0, h1]) = (&mut y, &mut h);
    let parts = &mut [Forward { linear: lin(0), y: y0, h: h0 }, Forward { linear: lin(1), y: y1, h: h1 }];
    linear_forward(cpu, x, t, parts);
    let mut g: Vec<Vec<f32>> =
        (0..2).flat_map(|i| [vec![0f32; pairs[i].a().len()], vec![0f32; pairs[i].b().len()]]).collect();
    let mut dx = vec![1f32; t * d];
    {
        let [a0, b0, a1, b1] = &mut g[..] else { unreachable!() };
        let parts = &mut [
            Backward { linear: lin(0), dy: &dy[0][..t * cases[0].n], h: &h[0], grads: Some((a0, b0)) },
            Backward { linear: lin(1), dy: &dy[1][..t * cases[1].n], h: &h[1], grads: Some((a1, b1)) },
        ];
        linear_backward(cpu, x, t, parts, Some(&mut dx), true);
    }
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect();
    let [y0, y1] = y;
    [vec![y0, y1, dx], g].concat().into_iter().map(bits).collect()
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    let cases = [case(5, DType::Q4_1, 144, 192), case(6, DType::Q8_0, 80, 192)];
    let mut rng = Rng::new(9);
    let pairs = [0, 1].map(|i| {
        let (n, r) = (cases[i].n, 8);
        LoraPair::new(r, 192, n, 2.0, floats(&mut rng, r * 192, 0.1), floats(&mut rng, n * r, 0.1))
    });
    for t in [1, 4, 7, 61, 530] {
        let x = floats(&mut rng, t * 192, 1.0);
        let dy = [floats(&mut rng, t * cases[0].n, 1.0), floats(&mut rng, t * cases[1].n, 1.0)];
        let mut first = None;
        for isa in isas() {
            for threads in [1, 2, 3] {
                let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
                assert!(force_isa(isa));
                let got = pass(&Cpu::new(threads), &cases, &pairs, &x, &dy, t);
                let want = first.get_or_insert_with(|| got.clone());
                assert!(*want == got, "{t} rows, {} with {threads} threads", isa.name());
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let _guard = ISA.lock().unwrap_or_else(|e| e.into_inner());
    for dtype in [DType::Q4_1, DType::Q4K, DType::Q5_0, DType::F32] {
        let c = case(3, dtype, 112, 256);
        let mut rng = Rng::new(4);
        let cpu = Cpu::new(2);
        let x = floats(&mut rng, 40 * 256, 1.0);
        let pair =
            LoraPair::new(4, 256, 112, 0.7, floats(&mut rng, 4 * 256, 0.1), floats(&mut rng, 112 * 4, 0.1));
        let linear = Linear { weight: &c.weight, bias: None, lora: Some(&pair) };
        let run = |from: usize, to: usize| {
            let t = to - from;
            let (mut y, mut h) = (vec![0f32; t * c.n], vec![0f32; t * 4]);
            linear_forward(
                &cpu,
                &x[from * 256..to * 256],
                t,
                &mut [Forward { linear, y: &mut y, h: &mut h }],
            );
            y
        };
        let all = run(0, 40);
        for (from, to) in [(0, 1), (7, 9), (3, 7), (11, 40), (39, 40)] {
            assert_eq!(run(from, to), all[from * c.n..to * c.n], "{dtype} rows {from}..{to}");
        }
        let ids = [5u32, 111, 0, 5, 64];
        let mut some = vec![0f32; 9 * ids.len()];
        let plain = Linear { lora: None, ..linear };
        let mut full = vec![0f32; 9 * c.n];
        linear_forward(&cpu, &x[..9 * 256], 9, &mut [Forward { linear: plain, y: &mut full, h: &mut [] }]);
        linear_at(&cpu, &c.weight, &x[..9 * 256], &ids, &mut some);
        for t in 0..9 {
            for (j, &id) in ids.iter().enumerate() {
                assert_eq!(some[t * ids.len() + j].to_bits(), full[t * c.n + id as usize].to_bits());
            }
        }
    }
}
