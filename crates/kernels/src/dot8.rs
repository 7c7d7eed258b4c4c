//! Products of bytes: unsigned weights × signed activations, four neighbours summed into each of 16 dwords.
//!
//! Integer sums are exact, so every instruction set gives the same value. AVX2 sums in 16 bits (`vpmaddubsw`): the
//! caller widens such a sum before it can overflow.
use crate::lanes::{Lanes, Scalar};

/// Sums of products of bytes on the lanes of `L`.
///
/// # Safety
/// Every method asks for the instruction set of the implementing type.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Dot {
    type L: Lanes;
    /// partial sums are kept in 16 bits and widened by `flush`
    const NARROW: bool;
    /// most rows of activations at once: their sums stay in registers
    const ROWS: usize;
    /// signed weights become unsigned ones here, greater by this
    const SIGNED_OFFSET: i32;
    /// partial sum after four more columns of unsigned weights `w` and activations `x` (four bytes)
    unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self>;
    /// the same for signed weights (less `SIGNED_OFFSET`)
    unsafe fn step_signed(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self>;
    /// widens a partial sum
    unsafe fn flush(sum: Ints<Self>) -> Ints<Self>;
}

pub(crate) type Ints<D> = <<D as Dot>::L as Lanes>::Int;

/// The reference.
pub(crate) struct ScalarDot;

impl Dot for ScalarDot {
    type L = Scalar;
    const NARROW: bool = false;
    const ROWS: usize = 1;
    const SIGNED_OFFSET: i32 = 0;
    #[inline(always)]
    unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
        let x = x.to_le_bytes();
        std::array::from_fn(|i| {
            sum[i] + w[i].to_le_bytes().iter().zip(x).map(|(&w, x)| w as i32 * x as i8 as i32).sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn step_signed(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
        let x = x.to_le_bytes();
        std::array::from_fn(|i| {
            let bytes = w[i].to_le_bytes();
            sum[i] + bytes.iter().zip(x).map(|(&w, x)| w as i8 as i32 * x as i8 as i32).sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn flush(sum: Ints<Self>) -> Ints<Self> {
        sum
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Dot, VnniDot};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)] // every block below: the trait's contract
mod x86 {
    use super::{Dot, Ints};
    use crate::lanes::{Avx2, Avx512};
    use core::arch::x86_64::*;

    /// `vpmaddubsw`: pairs in 16 bits, at most ± 32,512 for weights up to 128 and activations up to ± 127.
    pub(crate) struct Avx2Dot;

    impl Dot for Avx2Dot {
        type L = Avx2;
        const NARROW: bool = true;
        const ROWS: usize = 4;
        const SIGNED_OFFSET: i32 = 0;
        #[inline(always)]
        unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
            unsafe {
                let x = _mm256_set1_epi32(x);
                (
                    _mm256_add_epi16(sum.0, _mm256_maddubs_epi16(w.0, x)),
                    _mm256_add_epi16(sum.1, _mm256_maddubs_epi16(w.1, x)),
                )
            }
        }
        #[inline(always)]
        unsafe fn step_signed(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
            unsafe {
                let x = _mm256_set1_epi32(x);
                let f = |w| _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                (_mm256_add_epi16(sum.0, f(w.0)), _mm256_add_epi16(sum.1, f(w.1)))
            }
        }
        #[inline(always)]
        unsafe fn flush(sum: Ints<Self>) -> Ints<Self> {
            unsafe {
                let one = _mm256_set1_epi16(1);
                (_mm256_madd_epi16(sum.0, one), _mm256_madd_epi16(sum.1, one))
            }
        }
    }

    /// AVX-512 VNNI: `vpdpbusd`.
    pub(crate) struct VnniDot;

    impl Dot for VnniDot {
        type L = Avx512;
        const NARROW: bool = false;
        const ROWS: usize = 12;
        const SIGNED_OFFSET: i32 = 128;
        #[inline(always)]
        unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
            unsafe { _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x)) }
        }
        #[inline(always)]
        unsafe fn step_signed(sum: Ints<Self>, w: Ints<Self>, x: i32) -> Ints<Self> {
            unsafe {
                let w = _mm512_xor_si512(w, _mm512_set1_epi8(-128));
                _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x))
            }
        }
        #[inline(always)]
        unsafe fn flush(sum: Ints<Self>) -> Ints<Self> {
            sum
        }
    }
}

/// Whether the processor has `vpdpbusd` on 512 bits.
pub(crate) fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Defines a function that runs a generic `unsafe fn name<D: Dot>(..)` with the instruction set in use, as `lanes_fn`
/// does. AVX-512 without VNNI takes the AVX2 form.
macro_rules! dot_fn {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $generic:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v4($($arg: $ty),*) {
                    // SAFETY: features are enabled here; the rest is the caller's promise.
                    unsafe { $generic::<$crate::dot8::VnniDot>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v3($($arg: $ty),*) {
                    // SAFETY: as above.
                    unsafe { $generic::<$crate::dot8::Avx2Dot>($($arg),*) }
                }
                match $crate::lanes::isa() {
                    // SAFETY: the machine was asked for these features.
                    $crate::lanes::Isa::Avx512 if $crate::dot8::has_vnni() => return unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    $crate::lanes::Isa::Avx2 | $crate::lanes::Isa::Avx512 => return unsafe { v3($($arg),*) },
                    $crate::lanes::Isa::Scalar => {}
                }
            }
            // SAFETY: the scalar form needs no features; the rest is the caller's promise.
            unsafe { $generic::<$crate::dot8::ScalarDot>($($arg),*) }
        }
    };
}
pub(crate) use dot_fn;
