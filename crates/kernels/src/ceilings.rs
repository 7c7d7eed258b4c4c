//! What this machine can do at most, measured: rates of fused multiply-adds, of int8 products and of reading memory.
//!
//! Each loop does nothing but the one thing it measures, on all threads of the pool. Figures of real work are
//! compared with them; none of them is a promise of the processor's maker.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::ahead::ask;
use crate::isa::{Isa, isa};
use crate::lanes::{Lanes, lanes_fn};
use crate::pool::Pool;

/// Independent accumulators of a loop, in registers: more than latency × throughput of any core asks for (5 cycles ×
/// 2 units), and with the operands still within the 16 registers of AVX2.
const CHAINS: usize = 12;
/// Rounds of the loop in one task of a region; a task takes between 0.1 and some 10 ms.
const ROUNDS: usize = 1 << 16;
/// Tasks a thread in one region, so that a thread that is late does not leave the others idle for long.
const SHARE: usize = 8;
/// Vectors of bytes that the loop without a one-instruction product goes through.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
const TABLE: usize = 8 * CHAINS;
/// Bytes that one task reads.
const READ_TASK: usize = 1 << 20;
/// How far ahead the reading loop asks for its lines.
const AHEAD: usize = 2048;

/// How int8 products are computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Path {
    /// portable code
    Scalar,
    /// `vpmaddubsw`, `vpmaddwd`, `vpaddd`
    Avx2,
    /// `vpdpbusd` on 256 bits
    AvxVnni,
    /// `vpdpbusd` on 512 bits
    Avx512Vnni,
    /// `tdpbssd` on tiles
    Amx,
}

impl Int8Path {
    /// The best of this machine within the instruction set in use.
    pub fn detect() -> Int8Path {
        #[cfg(target_arch = "x86_64")]
        match isa() {
            Isa::Amx => return Int8Path::Amx,
            isa if isa.is_wide() && is_x86_feature_detected!("avx512vnni") => return Int8Path::Avx512Vnni,
            Isa::AvxVnni => return Int8Path::AvxVnni,
            Isa::Scalar => {}
            _ => return Int8Path::Avx2,
        }
        Int8Path::Scalar
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Int8Path::Scalar => "scalar",
            Int8Path::Avx2 => "avx2",
            Int8Path::AvxVnni => "avxvnni",
            Int8Path::Avx512Vnni => "avx512vnni",
            Int8Path::Amx => "amx",
        }
    }
}

/// Runs regions of equal tasks for about `time` and gives the operations a second; `task` answers how many it did.
fn rate(pool: &Pool, time: Duration, task: impl Fn() -> f64 + Sync) -> f64 {
    let tasks = pool.threads() * SHARE;
    let done = std::sync::Mutex::new(0f64);
    let begin = Instant::now();
    loop {
        pool.run(tasks, |_| {
            let ops = task();
            *done.lock().unwrap_or_else(|e| e.into_inner()) += ops;
        });
        let elapsed = begin.elapsed();
        if elapsed >= time {
            let done = *done.lock().unwrap_or_else(|e| e.into_inner());
            return done / elapsed.as_secs_f64();
        }
    }
}

/// f32 operations a second with fused multiply-adds (two operations each) on all threads of the pool, measured for
/// about `time`.
pub fn fma_rate(pool: &Pool, time: Duration) -> f64 {
    // without vector units a fused multiply-add is a call into the C library: fewer rounds
    let rounds = if isa() == Isa::Scalar { ROUNDS / 64 } else { ROUNDS };
    rate(pool, time, || {
        let (rounds, factor, step) = (black_box(rounds), black_box(0.999_9), black_box(1e-3));
        // 16 lanes are one register of AVX-512 and two of AVX2
        let (sum, chains) = if isa().is_wide() {
            // SAFETY: no further contract.
            (unsafe { fma_wide(rounds, factor, step) }, CHAINS)
        } else {
            // SAFETY: as above.
            (unsafe { fma_narrow(rounds, factor, step) }, CHAINS / 2)
        };
        black_box(sum);
        (2 * crate::lanes::LANES * chains * rounds) as f64
    })
}

lanes_fn!(unsafe fn fma_wide(rounds: usize, factor: f32, step: f32) -> f32 = wide);
lanes_fn!(unsafe fn fma_narrow(rounds: usize, factor: f32, step: f32) -> f32 = narrow);

#[inline(always)]
unsafe fn wide<L: Lanes>(rounds: usize, factor: f32, step: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { fma_loop::<L, CHAINS>(rounds, factor, step) }
}

#[inline(always)]
unsafe fn narrow<L: Lanes>(rounds: usize, factor: f32, step: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { fma_loop::<L, { CHAINS / 2 }>(rounds, factor, step) }
}

/// `x ← x · factor + step` on `N` independent chains, begun at 0, 1, 2 …
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
unsafe fn fma_loop<L: Lanes, const N: usize>(rounds: usize, factor: f32, step: f32) -> f32 {
    // SAFETY: the caller's promise; the store writes 16 floats into an array of 16.
    unsafe {
        let (factor, step) = (L::splat(factor), L::splat(step));
        let mut x: [L; N] = std::array::from_fn(|i| L::splat(i as f32));
        for _ in 0..rounds {
            for x in &mut x {
                *x = x.fma(factor, step);
            }
        }
        let mut out = [0f32; crate::lanes::LANES];
        let sum = x.into_iter().reduce(|a, b| a.add(b)).unwrap_or(factor);
        sum.store(out.as_mut_ptr());
        out.iter().sum()
    }
}

/// int8 operations a second (a product and its sum are two) on all threads of the pool, measured for about `time`:
/// bytes into 32-bit sums, unsigned × signed (by tiles signed × signed), as products of quantised blocks need them.
pub fn int8_rate(pool: &Pool, time: Duration) -> f64 {
    let path = Int8Path::detect();
    #[cfg(target_arch = "x86_64")]
    let table = black_box(table());
    rate(pool, time, || {
        let (rounds, a, b) = (black_box(ROUNDS), black_box(3u8), black_box(-2i8));
        #[cfg(target_arch = "x86_64")]
        if path == Int8Path::Amx {
            // SAFETY: `detect` asked the machine.
            unsafe { crate::fast::products(ROUNDS / 16, black_box(&[a as i8; 1024]), black_box(&[b; 1024])) };
            return (2 * 4 * 16 * 16 * 64 * (ROUNDS / 16)) as f64;
        }
        let (sum, bytes) = match path {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` asked the machine.
            Int8Path::Avx512Vnni => unsafe { (x86::vnni512(rounds, a, b), 64) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Int8Path::AvxVnni => unsafe { (x86::vnni256(rounds, a, b), 32) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Int8Path::Avx2 => unsafe { (x86::maddubs(rounds, a, &table), 32) },
            _ => (int8_scalar(rounds, a, b), 1),
        };
        black_box(sum);
        (2 * bytes * CHAINS * rounds) as f64
    })
}

#[cfg(target_arch = "x86_64")]
fn table() -> Box<[[i8; 32]; TABLE]> {
    Box::new(std::array::from_fn(|i| std::array::from_fn(|j| (i * 32 + j) as i8)))
}

fn int8_scalar(rounds: usize, a: u8, b: i8) -> i32 {
    let mut x = [0i32; CHAINS];
    for _ in 0..rounds {
        for x in &mut x {
            *x = x.wrapping_add(i32::from(black_box(a)) * i32::from(b));
        }
    }
    x.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Bytes a second that all threads of the pool read from `memory` together, front to back once, with software
/// prefetch. `memory` should be several times larger than the caches, and written before (an untouched page is not
/// memory yet).
pub fn read_rate(pool: &Pool, memory: &[f32]) -> f64 {
    let per = READ_TASK / size_of::<f32>();
    // vectors begin at cache lines
    let skip = memory.as_ptr().align_offset(64).min(memory.len());
    let lines = &memory[skip..];
    let begin = Instant::now();
    pool.run(lines.len() / per, |i| {
        let part = &lines[i * per..][..per];
        // SAFETY: `part` holds a multiple of 64 floats.
        black_box(unsafe { read_lanes(part.as_ptr(), part.len()) });
    });
    (lines.len() / per * READ_TASK) as f64 / begin.elapsed().as_secs_f64()
}

lanes_fn!(unsafe fn read_lanes(p: *const f32, n: usize) -> f32 = read_loop);

/// Sum of `n` floats.
///
/// # Safety
/// `p` is valid for `n` floats, a multiple of 64; the instruction set of `L` is present.
#[inline(always)]
unsafe fn read_loop<L: Lanes>(p: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [L::splat(0.0); 4];
        for at in (0..n).step_by(64) {
            let p = p.add(at);
            ask(p.cast::<u8>().wrapping_add(AHEAD), 256);
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(L::load(p.add(i * 16)));
            }
        }
        let mut out = [0f32; crate::lanes::LANES];
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(out.as_mut_ptr());
        out.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, TABLE};
    use core::arch::x86_64::*;

    /// # Safety
    /// AVX-512 F and VNNI are present.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn vnni512(rounds: usize, a: u8, b: i8) -> i32 {
        let (a, b) = (_mm512_set1_epi8(a as i8), _mm512_set1_epi8(b));
        let mut x = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..rounds {
            for x in &mut x {
                *x = _mm512_dpbusd_epi32(*x, a, b);
            }
        }
        x.iter().fold(0i32, |sum, x| sum.wrapping_add(_mm512_reduce_add_epi32(*x)))
    }

    /// # Safety
    /// AVX2 and AVX-VNNI are present.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn vnni256(rounds: usize, a: u8, b: i8) -> i32 {
        let (a, b) = (_mm256_set1_epi8(a as i8), _mm256_set1_epi8(b));
        let mut x = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..rounds {
            for x in &mut x {
                *x = _mm256_dpbusd_avx_epi32(*x, a, b);
            }
        }
        sum(&x)
    }

    #[target_feature(enable = "avx2")]
    fn sum(x: &[__m256i]) -> i32 {
        let sum = x.iter().fold(_mm256_setzero_si256(), |s, x| _mm256_add_epi32(s, *x));
        let mut out = [0i32; 8];
        // SAFETY: 32 bytes are written into an array of 32.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
        out.iter().fold(0, |a, b| a.wrapping_add(*b))
    }

    /// Products with bytes of a small table that stays in the first cache: with constant operands the compiler would
    /// compute each product once.
    ///
    /// # Safety
    /// AVX2 is present.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn maddubs(rounds: usize, a: u8, table: &[[i8; 32]; TABLE]) -> i32 {
        let (a, ones) = (_mm256_set1_epi8(a as i8), _mm256_set1_epi16(1));
        let mut x = [_mm256_setzero_si256(); CHAINS];
        for round in 0..rounds {
            let row = &table[round % (TABLE / CHAINS) * CHAINS..][..CHAINS];
            for (x, b) in x.iter_mut().zip(row) {
                // SAFETY: 32 bytes are read from an array of 32.
                let b = unsafe { _mm256_loadu_si256(b.as_ptr().cast()) };
                *x = _mm256_add_epi32(*x, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
            }
        }
        sum(&x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loops compute what they say, so that the compiler cannot have left them out.
    #[test]
    fn loops_do_their_work() {
        let chain = |mut x: f32| {
            (0..3).for_each(|_| x = x * 0.5 + 1.0);
            x
        };
        let want = |n: usize| (0..n).map(|i| chain(i as f32)).sum::<f32>() * 16.0;
        // SAFETY: no further contract.
        let sums = unsafe { [fma_wide(3, 0.5, 1.0), fma_narrow(3, 0.5, 1.0)] };
        for (sum, n) in sums.into_iter().zip([CHAINS, CHAINS / 2]) {
            assert!((sum - want(n)).abs() < 1e-3, "{sum} {}", want(n));
        }
        let memory: Vec<f32> = (0..256).map(|i| i as f32).collect();
        // SAFETY: 256 floats, a multiple of 64.
        assert_eq!(unsafe { read_lanes(memory.as_ptr(), 256) }, 255.0 * 128.0);
        assert_eq!(int8_scalar(2, 3, -2), -12 * CHAINS as i32);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn int8_instructions_agree_with_plain_products() {
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the machine was asked.
            assert_eq!(unsafe { x86::vnni512(2, 3, -2) }, 2 * CHAINS as i32 * 64 * (3 * -2));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") {
            // SAFETY: the machine was asked.
            assert_eq!(unsafe { x86::vnni256(2, 3, -2) }, 2 * CHAINS as i32 * 32 * (3 * -2));
        }
        if is_x86_feature_detected!("avx2") {
            let table = table();
            let plain: i32 = table[..2 * CHAINS].iter().flatten().map(|&b| 3 * i32::from(b)).sum();
            // SAFETY: as above.
            assert_eq!(unsafe { x86::maddubs(2, 3, &table) }, plain);
        }
    }

    #[test]
    fn rates_are_positive() {
        let pool = Pool::new(2);
        let time = Duration::from_millis(5);
        assert!(fma_rate(&pool, time) > 1e6);
        assert!(int8_rate(&pool, time) > 1e6);
        assert!(read_rate(&pool, &vec![1.0; 1 << 20]) > 1e6);
    }
}
