//! Products of stored weights and activations, both bytes (`quantise.rs`), the columns of a group of four summed into each of
//! 16 dwords.
//!
//! Integer sums are exact, so every instruction set gives the same value.
use crate::lanes::{Lanes, Scalar};

/// Sums of products on the lanes of `L`.
///
/// # Safety
/// Every method asks for the instruction set of the implementing type.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Dot {
    type L: Lanes;
    /// sums while they grow
    type Sum: Copy;
    /// the sums hold sixteen bits while they grow ([`quads`] tells for how long)
    const NARROW: bool;
    /// most rows of activations at once: their sums stay in registers
    const ROWS: usize;
    /// rows from which weights are brought into their final form once for all of them
    const PANEL_FROM: usize;
    /// signed weights are made unsigned by [`Dot::four`], greater by this
    const SIGNED_OFFSET: i32;
    /// sums over blocks of K types stay whole numbers; else they are in float32, which holds them as well below 2²⁴
    const WHOLE: bool;
    /// products are made by tiles, of sixteen rows that stand side by side and of weights from a panel, signed and less their offset;
    /// [`Dot::begin`] and [`Dot::step`] have no part in them
    const TILES: bool = false;
    /// bytes (in `w` four columns a dword) made ready; with [`Dot::TILES`] less `offset`
    unsafe fn four(w: Ints<Self>, signed: bool, offset: i32) -> Ints<Self>;
    /// signed bytes times the small scale of their lane, as low bytes of seven bits and high ones (for tiles)
    unsafe fn two(w: Ints<Self>, small: Ints<Self>) -> (Ints<Self>, Ints<Self>) {
        _ = (w, small);
        unreachable!("tiles alone take two bytes")
    }
    /// the sum of the first four columns; `x` points at their activations
    unsafe fn begin(w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum;
    /// `sum` after four more columns
    unsafe fn step(sum: Self::Sum, w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum;
    /// `ints` and the products of pairs of sixteen bits, a pair in each dword
    unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self>;
    /// `ints + sum`
    unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self>;
}

/// Groups of four columns whose products of weights up to `most` and activations up to 127 fit sixteen bits, summed by pairs
/// of columns.
pub(crate) const fn quads(most: i32) -> usize {
    let fit = i16::MAX as i32 / (most * 127 * 2);
    if fit > 8 { 8 } else { fit as usize }
}

pub(crate) type Ints<D> = <<D as Dot>::L as Lanes>::Int;

/// The reference.
pub(crate) struct ScalarDot;

impl Dot for ScalarDot {
    type L = Scalar;
    type Sum = Ints<Self>;
    const NARROW: bool = false;
    const ROWS: usize = 1;
    const PANEL_FROM: usize = usize::MAX;
    const SIGNED_OFFSET: i32 = 0;
    const WHOLE: bool = false;
    #[inline(always)]
    unsafe fn four(w: Ints<Self>, signed: bool, _: i32) -> Ints<Self> {
        // the largest weights that are not signed stay below 128
        debug_assert!(signed || w.iter().all(|w| w.to_le_bytes().iter().all(|b| *b < 128)));
        w
    }
    #[inline(always)]
    unsafe fn begin(w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum {
        // SAFETY: the caller's promise.
        unsafe { Self::step([0; 16], w, signed, x) }
    }
    #[inline(always)]
    unsafe fn step(sum: Self::Sum, w: Ints<Self>, _: bool, x: *const i8) -> Self::Sum {
        // SAFETY: the caller's four bytes.
        let x = unsafe { x.cast::<[i8; 4]>().read_unaligned() };
        std::array::from_fn(|i| {
            let w = w[i].to_le_bytes();
            sum[i] + w.iter().zip(x).map(|(&w, x)| w as i8 as i32 * x as i32).sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self> {
        let low = |v: i32| i32::from(v as i16);
        std::array::from_fn(|i| {
            let second = (a[i] >> 16).wrapping_mul(b[i] >> 16);
            ints[i].wrapping_add(low(a[i]).wrapping_mul(low(b[i]))).wrapping_add(second)
        })
    }
    #[inline(always)]
    unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self> {
        std::array::from_fn(|i| ints[i] + sum[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{AmxDot, Avx2Dot, AvxVnniDot, VnniDot};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)] // every block below: the trait's contract
mod x86 {
    use super::{Dot, Ints};
    use crate::lanes::{Avx2, Avx512};
    use core::arch::x86_64::*;

    /// Products of bytes by pairs, in sixteen bits.
    ///
    /// # Safety
    /// AVX2.
    #[inline(always)]
    unsafe fn products(w: __m256i, signed: bool, x: __m256i) -> __m256i {
        unsafe {
            if signed {
                // the sign of a weight goes over to the activation
                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
            } else {
                _mm256_maddubs_epi16(w, x)
            }
        }
    }

    /// `vpmaddubsw`: unsigned bytes by signed ones, pairs of products in sixteen bits, which `vpmaddwd` widens.
    pub(crate) struct Avx2Dot;

    impl Dot for Avx2Dot {
        type L = Avx2;
        type Sum = Ints<Self>;
        const NARROW: bool = true;
        const ROWS: usize = 4;
        const PANEL_FROM: usize = 8;
        const SIGNED_OFFSET: i32 = 0;
        const WHOLE: bool = false;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, _: bool, _: i32) -> Ints<Self> {
            w
        }
        #[inline(always)]
        unsafe fn begin(w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum {
            unsafe {
                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                (products(w.0, signed, x), products(w.1, signed, x))
            }
        }
        #[inline(always)]
        unsafe fn step(sum: Self::Sum, w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum {
            unsafe {
                let more = Self::begin(w, signed, x);
                (_mm256_add_epi16(sum.0, more.0), _mm256_add_epi16(sum.1, more.1))
            }
        }
        #[inline(always)]
        unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self> {
            unsafe {
                (
                    _mm256_add_epi32(ints.0, _mm256_madd_epi16(a.0, b.0)),
                    _mm256_add_epi32(ints.1, _mm256_madd_epi16(a.1, b.1)),
                )
            }
        }
        #[inline(always)]
        unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self> {
            unsafe {
                let one = _mm256_set1_epi16(1);
                (
                    _mm256_add_epi32(ints.0, _mm256_madd_epi16(sum.0, one)),
                    _mm256_add_epi32(ints.1, _mm256_madd_epi16(sum.1, one)),
                )
            }
        }
    }

    /// AVX-VNNI: `vpdpbusd` on 256 bits.
    pub(crate) struct AvxVnniDot;

    impl Dot for AvxVnniDot {
        type L = Avx2;
        type Sum = Ints<Self>;
        const NARROW: bool = false;
        const ROWS: usize = 4;
        const PANEL_FROM: usize = 8;
        const SIGNED_OFFSET: i32 = 128;
        const WHOLE: bool = false;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, signed: bool, _: i32) -> Ints<Self> {
            unsafe {
                let top = _mm256_set1_epi8(-128);
                if signed { (_mm256_xor_si256(w.0, top), _mm256_xor_si256(w.1, top)) } else { w }
            }
        }
        #[inline(always)]
        unsafe fn begin(w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum {
            unsafe { Self::step((_mm256_setzero_si256(), _mm256_setzero_si256()), w, signed, x) }
        }
        #[inline(always)]
        unsafe fn step(sum: Self::Sum, w: Ints<Self>, _: bool, x: *const i8) -> Self::Sum {
            unsafe {
                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                (_mm256_dpbusd_avx_epi32(sum.0, w.0, x), _mm256_dpbusd_avx_epi32(sum.1, w.1, x))
            }
        }
        #[inline(always)]
        unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self> {
            unsafe { (_mm256_dpwssd_avx_epi32(ints.0, a.0, b.0), _mm256_dpwssd_avx_epi32(ints.1, a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self> {
            unsafe { (_mm256_add_epi32(ints.0, sum.0), _mm256_add_epi32(ints.1, sum.1)) }
        }
    }

    /// AVX-512 VNNI: `vpdpbusd`. With `WHOLE` for the few rows of machines whose many go by tiles, to the same bits.
    pub(crate) struct VnniDot<const WHOLE: bool>;

    impl<const WHOLE: bool> Dot for VnniDot<WHOLE> {
        type L = Avx512;
        type Sum = Ints<Self>;
        const NARROW: bool = false;
        const ROWS: usize = 12;
        const PANEL_FROM: usize = 24;
        const SIGNED_OFFSET: i32 = 128;
        const WHOLE: bool = WHOLE;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, signed: bool, _: i32) -> Ints<Self> {
            unsafe { if signed { _mm512_xor_si512(w, _mm512_set1_epi8(-128)) } else { w } }
        }
        #[inline(always)]
        unsafe fn begin(w: Ints<Self>, signed: bool, x: *const i8) -> Self::Sum {
            unsafe { Self::step(_mm512_setzero_si512(), w, signed, x) }
        }
        #[inline(always)]
        unsafe fn step(sum: Self::Sum, w: Ints<Self>, _: bool, x: *const i8) -> Self::Sum {
            unsafe { _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self> {
            unsafe { _mm512_dpwssd_epi32(ints, a, b) }
        }
        #[inline(always)]
        unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self> {
            unsafe { _mm512_add_epi32(ints, sum) }
        }
    }

    /// AMX: `tdpbssd` (`fast/tiles.rs`), signed bytes by signed ones.
    pub(crate) struct AmxDot;

    impl Dot for AmxDot {
        type L = Avx512;
        type Sum = Ints<Self>;
        const NARROW: bool = false;
        const ROWS: usize = 16;
        const PANEL_FROM: usize = crate::quantise::TILED_FROM;
        const SIGNED_OFFSET: i32 = 0;
        const WHOLE: bool = true;
        const TILES: bool = true;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, _: bool, offset: i32) -> Ints<Self> {
            unsafe { _mm512_sub_epi8(w, _mm512_set1_epi8(offset as i8)) }
        }
        #[inline(always)]
        unsafe fn two(w: Ints<Self>, small: Ints<Self>) -> (Ints<Self>, Ints<Self>) {
            unsafe {
                // products of the even and of the odd bytes, sixteen bits each
                let both = _mm512_or_si512(
                    _mm512_slli_epi32(small, 16),
                    _mm512_and_si512(small, _mm512_set1_epi32(0xffff)),
                );
                let even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), both);
                let odd = _mm512_mullo_epi16(_mm512_srai_epi16(w, 8), both);
                let (seven, byte) = (_mm512_set1_epi16(127), _mm512_set1_epi16(255));
                let low = _mm512_or_si512(
                    _mm512_and_si512(even, seven),
                    _mm512_slli_epi16(_mm512_and_si512(odd, seven), 8),
                );
                let high = _mm512_and_si512(_mm512_srai_epi16(even, 7), byte);
                (low, _mm512_or_si512(high, _mm512_slli_epi16(_mm512_srai_epi16(odd, 7), 8)))
            }
        }
        unsafe fn begin(_: Ints<Self>, _: bool, _: *const i8) -> Self::Sum {
            unreachable!("tiles make the products")
        }
        unsafe fn step(_: Self::Sum, _: Ints<Self>, _: bool, _: *const i8) -> Self::Sum {
            unreachable!("tiles make the products")
        }
        #[inline(always)]
        unsafe fn pairs(ints: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self> {
            unsafe { VnniDot::<true>::pairs(ints, a, b) }
        }
        #[inline(always)]
        unsafe fn join(ints: Ints<Self>, sum: Self::Sum) -> Ints<Self> {
            unsafe { VnniDot::<true>::join(ints, sum) }
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
                    unsafe { $generic::<$crate::dot8::VnniDot<false>>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v3($($arg: $ty),*) {
                    // SAFETY: as above.
                    unsafe { $generic::<$crate::dot8::Avx2Dot>($($arg),*) }
                }
                #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v3_vnni($($arg: $ty),*) {
                    // SAFETY: as above.
                    unsafe { $generic::<$crate::dot8::AvxVnniDot>($($arg),*) }
                }
                match $crate::isa::isa() {
                    // SAFETY: the machine was asked for these features.
                    isa if isa.is_wide() && $crate::dot8::has_vnni() => return unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    $crate::isa::Isa::AvxVnni => return unsafe { v3_vnni($($arg),*) },
                    $crate::isa::Isa::Scalar => {}
                    // SAFETY: as above.
                    _ => return unsafe { v3($($arg),*) },
                }
            }
            // SAFETY: the scalar form needs no features; the rest is the caller's promise.
            unsafe { $generic::<$crate::dot8::ScalarDot>($($arg),*) }
        }
    };
}
pub(crate) use dot_fn;
