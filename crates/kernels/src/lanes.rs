//! Sixteen f32 lanes, the one vector width in which every operation is written.
//!
//! Each operation is written once over [`Lanes`] and compiled three times: scalar, AVX2+FMA and AVX-512.
//! All methods are exact IEEE operations (a fused multiply-add is fused everywhere), so the three give the same
//! bits; the scalar one is the reference. On other machines the scalar form serves and `doctor` says so.

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// 16 f32 values.
///
/// # Safety
/// Every method asks that the instruction set of the implementing type is present, and that pointers
/// are valid for 16 elements (unaligned is allowed).
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Lanes: Copy + 'static {
    /// 16 i32 values.
    type Int: Copy;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn add(self, o: Self) -> Self;
    unsafe fn sub(self, o: Self) -> Self;
    unsafe fn mul(self, o: Self) -> Self;
    unsafe fn div(self, o: Self) -> Self;
    /// `if self > o { self } else { o }`
    unsafe fn max(self, o: Self) -> Self;
    /// `if self < o { self } else { o }`
    unsafe fn min(self, o: Self) -> Self;
    /// lane by lane: `if x < limit { a } else { b }`
    unsafe fn select_below(x: Self, limit: Self, a: Self, b: Self) -> Self;
    /// a bit for each lane: `self > limit`
    unsafe fn above(self, limit: f32) -> u32;
    /// `self * a + b`, rounded once
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// 16 half floats, widened
    unsafe fn load_f16(p: *const u8) -> Self;
    /// 16 bfloat16, widened
    unsafe fn load_bf16(p: *const u8) -> Self;
    /// the nearest bfloat16, ties to even; NaN stays NaN
    unsafe fn round_bf16(self) -> Self;
    /// the first and the second values of 16 pairs of bfloat16, the first in the high half of its dword, where `vdpbf16ps` begins
    unsafe fn apart(pairs: Self::Int) -> (Self, Self);
    /// nearest integer, ties to even
    unsafe fn round_int(self) -> Self::Int;
    unsafe fn int_to_f32(i: Self::Int) -> Self;
    /// `2^i` for -126 <= i <= 127, infinity for 128
    unsafe fn pow2(i: Self::Int) -> Self;
    unsafe fn load_u8(p: *const u8) -> Self::Int;
    unsafe fn load_i8(p: *const u8) -> Self::Int;
    /// 16 dwords, little-endian
    unsafe fn load_int(p: *const u8) -> Self::Int;
    /// the lanes, which fit
    unsafe fn store_i16(i: Self::Int, p: *mut i16);
    /// the low bytes of the lanes
    unsafe fn store_i8(i: Self::Int, p: *mut i8);
    unsafe fn int_splat(x: i32) -> Self::Int;
    unsafe fn int_and(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn int_or(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn int_add(a: Self::Int, b: Self::Int) -> Self::Int;
    /// products modulo 2³²
    unsafe fn int_mul(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn int_shr<const N: u32>(a: Self::Int) -> Self::Int;
    unsafe fn int_shl<const N: u32>(a: Self::Int) -> Self::Int;
    /// arithmetic shift
    unsafe fn int_sar<const N: u32>(a: Self::Int) -> Self::Int;
    /// shift by a count that is known only at run time (0..32)
    unsafe fn int_shr_by(a: Self::Int, n: u32) -> Self::Int;
    /// each byte (below 16) replaced by the entry of the table at that place
    unsafe fn int_lookup(table: &[i8; 16], a: Self::Int) -> Self::Int;

    /// Sum over the lanes in one fixed tree: halves are added until one is left.
    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        let mut v = [0f32; LANES];
        // SAFETY: `v` holds 16 values.
        unsafe { self.store(v.as_mut_ptr()) };
        let mut n = LANES / 2;
        while n > 0 {
            for i in 0..n {
                v[i] += v[i + n];
            }
            n /= 2;
        }
        v[0]
    }

    /// Largest lane of values that are numbers (NaN may hide), without the detour through memory.
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { self.reduce_max() }
    }

    /// Sum of the lanes, modulo 2³².
    unsafe fn int_sum(i: Self::Int) -> i32;

    /// Largest lane.
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        let mut v = [0f32; LANES];
        // SAFETY: `v` holds 16 values.
        unsafe { self.store(v.as_mut_ptr()) };
        v.iter().fold(f32::NEG_INFINITY, |a, &b| if a > b { a } else { b })
    }

    /// The first `n` values at `p`, `fill` in the other lanes.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self {
        let mut v = [fill; LANES];
        // SAFETY: the caller promises `n` readable values at `p`; `n` is at most 16.
        unsafe {
            if n >= LANES {
                return Self::load(p);
            }
            std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n.min(LANES));
            Self::load(v.as_ptr())
        }
    }

    /// Stores the first `n` lanes.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut v = [0f32; LANES];
        // SAFETY: the caller promises `n` writable values at `p`; `n` is at most 16.
        unsafe {
            if n >= LANES {
                return self.store(p);
            }
            self.store(v.as_mut_ptr());
            std::ptr::copy_nonoverlapping(v.as_ptr(), p, n.min(LANES));
        }
    }
}

/// The reference.
#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; LANES]);

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Scalar {
    Scalar(std::array::from_fn(f))
}

// The scalar form has no demands on the machine; only pointer validity matters.
impl Lanes for Scalar {
    type Int = [i32; LANES];
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Scalar([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: 16 readable values by the trait's contract.
        Scalar(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: 16 writable values by the trait's contract.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        each(|i| self.0[i] + o.0[i])
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        each(|i| self.0[i] - o.0[i])
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        each(|i| self.0[i] * o.0[i])
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        each(|i| self.0[i] / o.0[i])
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        each(|i| if self.0[i] > o.0[i] { self.0[i] } else { o.0[i] })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        each(|i| if self.0[i] < o.0[i] { self.0[i] } else { o.0[i] })
    }
    #[inline(always)]
    unsafe fn select_below(x: Self, limit: Self, a: Self, b: Self) -> Self {
        each(|i| if x.0[i] < limit.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    unsafe fn above(self, limit: f32) -> u32 {
        (0..LANES).fold(0, |bits, i| bits | u32::from(self.0[i] > limit) << i)
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        each(|i| self.0[i].mul_add(a.0[i], b.0[i]))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        // SAFETY: 32 readable bytes by the trait's contract.
        let v = unsafe { p.cast::<[[u8; 2]; LANES]>().read_unaligned() };
        each(|i| half::f16::from_le_bytes(v[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        // SAFETY: 32 readable bytes by the trait's contract.
        let v = unsafe { p.cast::<[[u8; 2]; LANES]>().read_unaligned() };
        each(|i| f32::from_bits((u16::from_le_bytes(v[i]) as u32) << 16))
    }
    #[inline(always)]
    unsafe fn round_bf16(self) -> Self {
        each(|i| half::bf16::from_f32(self.0[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn apart(pairs: Self::Int) -> (Self, Self) {
        let f = |bits: i32| f32::from_bits(bits as u32);
        (each(|i| f(pairs[i] & !0xffff)), each(|i| f(pairs[i] << 16)))
    }
    #[inline(always)]
    unsafe fn round_int(self) -> Self::Int {
        std::array::from_fn(|i| self.0[i].round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn int_to_f32(i: Self::Int) -> Self {
        each(|l| i[l] as f32)
    }
    #[inline(always)]
    unsafe fn pow2(i: Self::Int) -> Self {
        each(|l| f32::from_bits(((i[l].wrapping_add(127)) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::Int {
        // SAFETY: 16 readable bytes by the trait's contract.
        let v = unsafe { p.cast::<[u8; LANES]>().read_unaligned() };
        std::array::from_fn(|i| v[i] as i32)
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> Self::Int {
        // SAFETY: 16 readable bytes by the trait's contract.
        let v = unsafe { p.cast::<[u8; LANES]>().read_unaligned() };
        std::array::from_fn(|i| v[i] as i8 as i32)
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> Self::Int {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn int_and(a: Self::Int, b: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    unsafe fn int_or(a: Self::Int, b: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn int_add(a: Self::Int, b: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn int_mul(a: Self::Int, b: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i].wrapping_mul(b[i]))
    }
    #[inline(always)]
    unsafe fn int_shr<const N: u32>(a: Self::Int) -> Self::Int {
        std::array::from_fn(|i| ((a[i] as u32) >> N) as i32)
    }
    #[inline(always)]
    unsafe fn int_shl<const N: u32>(a: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i] << N)
    }
    #[inline(always)]
    unsafe fn int_sar<const N: u32>(a: Self::Int) -> Self::Int {
        std::array::from_fn(|i| a[i] >> N)
    }
    #[inline(always)]
    unsafe fn int_shr_by(a: Self::Int, n: u32) -> Self::Int {
        std::array::from_fn(|i| ((a[i] as u32) >> n) as i32)
    }
    #[inline(always)]
    unsafe fn int_lookup(table: &[i8; 16], a: Self::Int) -> Self::Int {
        a.map(|v| i32::from_le_bytes(v.to_le_bytes().map(|b| table[b as usize & 15] as u8)))
    }
    #[inline(always)]
    unsafe fn load_int(p: *const u8) -> Self::Int {
        // SAFETY: 64 readable bytes by the trait's contract.
        let v = unsafe { p.cast::<[[u8; 4]; LANES]>().read_unaligned() };
        v.map(i32::from_le_bytes)
    }
    #[inline(always)]
    unsafe fn int_sum(i: Self::Int) -> i32 {
        i.iter().fold(0, |a, &b| a.wrapping_add(b))
    }
    #[inline(always)]
    unsafe fn store_i16(i: Self::Int, p: *mut i16) {
        // SAFETY: 16 writable values by the trait's contract.
        unsafe { p.cast::<[i16; LANES]>().write_unaligned(i.map(|v| v as i16)) }
    }
    #[inline(always)]
    unsafe fn store_i8(i: Self::Int, p: *mut i8) {
        // SAFETY: 16 writable bytes by the trait's contract.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(i.map(|v| v as i8)) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
// every block below: the trait's contract, features and 16 valid elements
mod x86;

/// Defines a function that runs a generic `unsafe fn name<L: Lanes>(..)` with the instruction set in use.
///
/// `lanes_fn!(pub(crate) fn name(a: A, ..) -> R = generic);` — the generic must be `#[inline(always)]`,
/// and is called with pointers or slices that satisfy its own contract.
macro_rules! lanes_fn {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v4($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: features are enabled here; the rest is the caller's promise.
                    unsafe { $generic::<$crate::lanes::Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn v3($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: as above.
                    unsafe { $generic::<$crate::lanes::Avx2>($($arg),*) }
                }
                match $crate::isa::isa() {
                    // SAFETY: the machine was asked for these features.
                    isa if isa.is_wide() => return unsafe { v4($($arg),*) },
                    $crate::isa::Isa::Scalar => {}
                    // SAFETY: as above.
                    _ => return unsafe { v3($($arg),*) },
                }
            }
            // SAFETY: the scalar form needs no features; the rest is the caller's promise.
            unsafe { $generic::<$crate::lanes::Scalar>($($arg),*) }
        }
    };
}
pub(crate) use lanes_fn;
