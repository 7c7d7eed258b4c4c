//! The lanes of AVX2 and AVX-512.

use super::Lanes;
use core::arch::x86_64::*;

/// Two registers of eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

macro_rules! pair {
    ($f:ident, $a:expr, $b:expr) => {
        unsafe { Avx2($f($a.0, $b.0), $f($a.1, $b.1)) }
    };
}
macro_rules! int_pair {
    ($f:ident, $a:expr, $b:expr) => {
        unsafe { ($f($a.0, $b.0), $f($a.1, $b.1)) }
    };
}

impl Lanes for Avx2 {
    type Int = (__m256i, __m256i);
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        unsafe { Avx2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        pair!(_mm256_add_ps, self, o)
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        pair!(_mm256_sub_ps, self, o)
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        pair!(_mm256_mul_ps, self, o)
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        pair!(_mm256_div_ps, self, o)
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        pair!(_mm256_max_ps, self, o)
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        pair!(_mm256_min_ps, self, o)
    }
    #[inline(always)]
    unsafe fn select_below(x: Self, limit: Self, a: Self, b: Self) -> Self {
        unsafe {
            let f = |x, l, a, b| _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_LT_OQ>(x, l));
            Avx2(f(x.0, limit.0, a.0, b.0), f(x.1, limit.1, a.1, b.1))
        }
    }
    #[inline(always)]
    unsafe fn above(self, limit: f32) -> u32 {
        unsafe {
            let limit = _mm256_set1_ps(limit);
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, limit));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.1, limit));
            (low | high << 8) as u32
        }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        unsafe { Avx2(_mm256_fmadd_ps(self.0, a.0, b.0), _mm256_fmadd_ps(self.1, a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        unsafe {
            Avx2(
                _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(16).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        unsafe {
            let a = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            let b = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(16).cast()));
            Avx2(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b)),
            )
        }
    }
    #[inline(always)]
    unsafe fn round_bf16(self) -> Self {
        unsafe {
            let one = |x: __m256| {
                let bits = _mm256_castps_si256(x);
                let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
                // with its first fraction bit set, what is no number stays none
                let none = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
                let odd = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
                let all = _mm256_blendv_epi8(up, none, odd);
                _mm256_castsi256_ps(_mm256_and_si256(all, _mm256_set1_epi32(!0xffff)))
            };
            Avx2(one(self.0), one(self.1))
        }
    }
    #[inline(always)]
    unsafe fn apart(pairs: Self::Int) -> (Self, Self) {
        unsafe {
            let high = |p| _mm256_castsi256_ps(_mm256_and_si256(p, _mm256_set1_epi32(!0xffff)));
            let low = |p| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(p));
            (Avx2(high(pairs.0), high(pairs.1)), Avx2(low(pairs.0), low(pairs.1)))
        }
    }
    #[inline(always)]
    unsafe fn round_int(self) -> Self::Int {
        unsafe { (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1)) }
    }
    #[inline(always)]
    unsafe fn int_to_f32(i: Self::Int) -> Self {
        unsafe { Avx2(_mm256_cvtepi32_ps(i.0), _mm256_cvtepi32_ps(i.1)) }
    }
    #[inline(always)]
    unsafe fn pow2(i: Self::Int) -> Self {
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let f = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(v, bias)));
            Avx2(f(i.0), f(i.1))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::Int {
        unsafe {
            (
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> Self::Int {
        unsafe {
            (
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())),
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> Self::Int {
        unsafe { (_mm256_set1_epi32(x), _mm256_set1_epi32(x)) }
    }
    #[inline(always)]
    unsafe fn int_and(a: Self::Int, b: Self::Int) -> Self::Int {
        int_pair!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    unsafe fn int_or(a: Self::Int, b: Self::Int) -> Self::Int {
        int_pair!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    unsafe fn int_add(a: Self::Int, b: Self::Int) -> Self::Int {
        int_pair!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    unsafe fn int_mul(a: Self::Int, b: Self::Int) -> Self::Int {
        int_pair!(_mm256_mullo_epi32, a, b)
    }
    #[inline(always)]
    unsafe fn int_shr<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            (_mm256_srl_epi32(a.0, n), _mm256_srl_epi32(a.1, n))
        }
    }
    #[inline(always)]
    unsafe fn int_shl<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            (_mm256_sll_epi32(a.0, n), _mm256_sll_epi32(a.1, n))
        }
    }
    #[inline(always)]
    unsafe fn int_sar<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            (_mm256_sra_epi32(a.0, n), _mm256_sra_epi32(a.1, n))
        }
    }
    #[inline(always)]
    unsafe fn int_shr_by(a: Self::Int, n: u32) -> Self::Int {
        unsafe {
            let n = _mm_cvtsi32_si128(n as i32);
            (_mm256_srl_epi32(a.0, n), _mm256_srl_epi32(a.1, n))
        }
    }
    #[inline(always)]
    unsafe fn int_lookup(table: &[i8; 16], a: Self::Int) -> Self::Int {
        unsafe {
            let t = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            (_mm256_shuffle_epi8(t, a.0), _mm256_shuffle_epi8(t, a.1))
        }
    }
    #[inline(always)]
    unsafe fn load_int(p: *const u8) -> Self::Int {
        unsafe { (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())) }
    }
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        unsafe {
            let v = _mm256_max_ps(self.0, self.1);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }
    #[inline(always)]
    unsafe fn int_sum(i: Self::Int) -> i32 {
        unsafe {
            let v = _mm256_add_epi32(i.0, i.1);
            let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
            _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v)))
        }
    }
    #[inline(always)]
    unsafe fn store_i16(i: Self::Int, p: *mut i16) {
        unsafe {
            // dwords 0..4, 8..12, 4..8, 12..16 stand in the four quarters
            let words = _mm256_packs_epi32(i.0, i.1);
            _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(words));
        }
    }
    #[inline(always)]
    unsafe fn store_i8(i: Self::Int, p: *mut i8) {
        unsafe {
            let low = _mm256_set1_epi32(255);
            let words = _mm256_packus_epi32(_mm256_and_si256(i.0, low), _mm256_and_si256(i.1, low));
            // dwords 0..4, 8..12, 4..8, 12..16 stand in the four quarters
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let (a, b) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(p.cast(), _mm_packus_epi16(a, b));
        }
    }
}

/// One register of sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Lanes for Avx512 {
    type Int = __m512i;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        unsafe { Avx512(_mm512_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_add_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_sub_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_mul_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_div_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_max_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        unsafe { Avx512(_mm512_min_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn select_below(x: Self, limit: Self, a: Self, b: Self) -> Self {
        unsafe {
            let m = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x.0, limit.0);
            Avx512(_mm512_mask_blend_ps(m, b.0, a.0))
        }
    }
    #[inline(always)]
    unsafe fn above(self, limit: f32) -> u32 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_set1_ps(limit)) as u32 }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        unsafe { Avx512(_mm512_fmadd_ps(self.0, a.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        unsafe {
            let v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)))
        }
    }
    #[inline(always)]
    unsafe fn round_bf16(self) -> Self {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
            // with its first fraction bit set, what is no number stays none
            let odd = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let all = _mm512_mask_or_epi32(up, odd, bits, _mm512_set1_epi32(0x40_0000));
            Avx512(_mm512_castsi512_ps(_mm512_and_si512(all, _mm512_set1_epi32(!0xffff))))
        }
    }
    #[inline(always)]
    unsafe fn apart(pairs: Self::Int) -> (Self, Self) {
        unsafe {
            let high = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
            let low = _mm512_slli_epi32::<16>(pairs);
            (Avx512(_mm512_castsi512_ps(high)), Avx512(_mm512_castsi512_ps(low)))
        }
    }
    #[inline(always)]
    unsafe fn round_int(self) -> Self::Int {
        unsafe { _mm512_cvtps_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn int_to_f32(i: Self::Int) -> Self {
        unsafe { Avx512(_mm512_cvtepi32_ps(i)) }
    }
    #[inline(always)]
    unsafe fn pow2(i: Self::Int) -> Self {
        unsafe {
            let e = _mm512_add_epi32(i, _mm512_set1_epi32(127));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(e)))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::Int {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> Self::Int {
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> Self::Int {
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn int_and(a: Self::Int, b: Self::Int) -> Self::Int {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn int_or(a: Self::Int, b: Self::Int) -> Self::Int {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn int_add(a: Self::Int, b: Self::Int) -> Self::Int {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn int_mul(a: Self::Int, b: Self::Int) -> Self::Int {
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn int_shr<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe { _mm512_srli_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn int_shl<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn int_sar<const N: u32>(a: Self::Int) -> Self::Int {
        unsafe { _mm512_srai_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn int_shr_by(a: Self::Int, n: u32) -> Self::Int {
        unsafe { _mm512_srl_epi32(a, _mm_cvtsi32_si128(n as i32)) }
    }
    #[inline(always)]
    unsafe fn int_lookup(table: &[i8; 16], a: Self::Int) -> Self::Int {
        unsafe {
            let t = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(t, a)
        }
    }
    #[inline(always)]
    unsafe fn load_int(p: *const u8) -> Self::Int {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn int_sum(i: Self::Int) -> i32 {
        unsafe { _mm512_reduce_add_epi32(i) }
    }
    #[inline(always)]
    unsafe fn store_i16(i: Self::Int, p: *mut i16) {
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(i)) }
    }
    #[inline(always)]
    unsafe fn store_i8(i: Self::Int, p: *mut i8) {
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(i)) }
    }
}
