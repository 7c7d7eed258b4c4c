//! Products of stored weights (bytes) and activations of nearly sixteen bits (`quantise.rs`), the columns of a group of
//! four summed into each of 16 dwords.
//!
//! Integer sums are exact, so every instruction set gives the same value, however it takes the activations: as two
//! planes of bytes (AVX-512 VNNI and the reference) or whole (AVX2, whose products of bytes would need their sums
//! widened again and again).
use crate::lanes::{Lanes, Scalar};
use crate::quantise::FINE;
use crate::weight::RUN;

/// Sums of products on the lanes of `L`.
///
/// # Safety
/// Every method asks for the instruction set of the implementing type.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Dot {
    type L: Lanes;
    /// what four columns of 16 rows of weights become before they are multiplied
    type Four: Copy;
    /// passes over a run: one for each plane of the activations, or one for whole values
    const PASSES: usize;
    /// activations are whole values
    const WHOLE: bool = Self::PASSES == 1;
    /// most rows of activations at once: their sums stay in registers
    const ROWS: usize;
    /// rows from which weights are brought into their final form once for all of them
    const PANEL_FROM: usize;
    /// signed weights become unsigned ones in `four`, greater by this
    const SIGNED_OFFSET: i32;
    /// bytes (in `w` four columns a dword) made ready
    unsafe fn four(w: Ints<Self>, signed: bool) -> Self::Four;
    /// `sum` after four more columns; `x` points at their activations
    unsafe fn step(sum: Ints<Self>, w: Self::Four, x: *const i8) -> Ints<Self>;
    /// Writes `254 q + r` of 16 columns where `step` finds them as whole values; `x` has room for 16 of sixteen bits.
    unsafe fn store_whole(q: Ints<Self>, r: Ints<Self>, x: *mut i8);
    /// Where pass `pass` finds the activations of group `g` in a run, in bytes.
    #[inline(always)]
    fn place(pass: usize, g: usize) -> usize {
        if Self::WHOLE { 8 * g } else { pass * RUN + 4 * g }
    }
}

pub(crate) type Ints<D> = <<D as Dot>::L as Lanes>::Int;

/// The reference.
pub(crate) struct ScalarDot;

impl Dot for ScalarDot {
    type L = Scalar;
    type Four = Ints<Self>;
    const PASSES: usize = 2;
    const ROWS: usize = 1;
    const PANEL_FROM: usize = usize::MAX;
    const SIGNED_OFFSET: i32 = 0;
    #[inline(always)]
    unsafe fn four(w: Ints<Self>, signed: bool) -> Ints<Self> {
        // the largest weights that are not signed stay below 128
        debug_assert!(signed || w.iter().all(|w| w.to_le_bytes().iter().all(|b| *b < 128)));
        w
    }
    #[inline(always)]
    unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: *const i8) -> Ints<Self> {
        // SAFETY: the caller's four bytes.
        let x = unsafe { x.cast::<[i8; 4]>().read_unaligned() };
        std::array::from_fn(|i| {
            let w = w[i].to_le_bytes();
            sum[i] + w.iter().zip(x).map(|(&w, x)| w as i8 as i32 * x as i32).sum::<i32>()
        })
    }
    unsafe fn store_whole(_: Ints<Self>, _: Ints<Self>, _: *mut i8) {
        unreachable!("the reference takes planes")
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Dot, VnniDot};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)] // every block below: the trait's contract
mod x86 {
    use super::{Dot, FINE, Ints};
    use crate::lanes::{Avx2, Avx512};
    use core::arch::x86_64::*;

    /// `vpmaddwd`: two products of sixteen bits, at most 128 · 32,385 each, in 32 bits. A group of four columns is taken
    /// as columns 0 and 2, then 1 and 3: so two shifts widen the bytes of the weights where they stand.
    pub(crate) struct Avx2Dot;

    impl Dot for Avx2Dot {
        type L = Avx2;
        type Four = [Ints<Self>; 2];
        const PASSES: usize = 1;
        const ROWS: usize = 4;
        const PANEL_FROM: usize = 6;
        const SIGNED_OFFSET: i32 = 0;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, signed: bool) -> Self::Four {
            unsafe {
                if signed {
                    let up = (_mm256_slli_epi16::<8>(w.0), _mm256_slli_epi16::<8>(w.1));
                    [
                        (_mm256_srai_epi16::<8>(up.0), _mm256_srai_epi16::<8>(up.1)),
                        (_mm256_srai_epi16::<8>(w.0), _mm256_srai_epi16::<8>(w.1)),
                    ]
                } else {
                    let low = _mm256_set1_epi16(0xff);
                    [
                        (_mm256_and_si256(w.0, low), _mm256_and_si256(w.1, low)),
                        (_mm256_srli_epi16::<8>(w.0), _mm256_srli_epi16::<8>(w.1)),
                    ]
                }
            }
        }
        #[inline(always)]
        unsafe fn step(sum: Ints<Self>, [even, odd]: Self::Four, x: *const i8) -> Ints<Self> {
            unsafe {
                let x = x.cast::<i32>();
                let (a, b) =
                    (_mm256_set1_epi32(x.read_unaligned()), _mm256_set1_epi32(x.add(1).read_unaligned()));
                let sum = (
                    _mm256_add_epi32(sum.0, _mm256_madd_epi16(even.0, a)),
                    _mm256_add_epi32(sum.1, _mm256_madd_epi16(even.1, a)),
                );
                (
                    _mm256_add_epi32(sum.0, _mm256_madd_epi16(odd.0, b)),
                    _mm256_add_epi32(sum.1, _mm256_madd_epi16(odd.1, b)),
                )
            }
        }
        #[inline(always)]
        unsafe fn store_whole(q: Ints<Self>, r: Ints<Self>, x: *mut i8) {
            unsafe {
                let fine = _mm256_set1_epi32(FINE);
                let a = _mm256_add_epi32(_mm256_mullo_epi32(q.0, fine), r.0);
                let b = _mm256_add_epi32(_mm256_mullo_epi32(q.1, fine), r.1);
                // packing works within halves of the register: columns 0-3, 8-11 | 4-7, 12-15
                let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
                let order = _mm256_setr_epi8(
                    0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12,
                    13, 10, 11, 14, 15,
                );
                _mm256_storeu_si256(x.cast(), _mm256_shuffle_epi8(both, order));
            }
        }
    }

    /// AVX-512 VNNI: `vpdpbusd`.
    pub(crate) struct VnniDot;

    impl Dot for VnniDot {
        type L = Avx512;
        type Four = Ints<Self>;
        const PASSES: usize = 2;
        const ROWS: usize = 12;
        const PANEL_FROM: usize = 24;
        const SIGNED_OFFSET: i32 = 128;
        #[inline(always)]
        unsafe fn four(w: Ints<Self>, signed: bool) -> Ints<Self> {
            unsafe { if signed { _mm512_xor_si512(w, _mm512_set1_epi8(-128)) } else { w } }
        }
        #[inline(always)]
        unsafe fn step(sum: Ints<Self>, w: Ints<Self>, x: *const i8) -> Ints<Self> {
            unsafe { _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x.cast::<i32>().read_unaligned())) }
        }
        unsafe fn store_whole(_: Ints<Self>, _: Ints<Self>, _: *mut i8) {
            unreachable!("bytes are multiplied in planes")
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
