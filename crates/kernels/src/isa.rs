//! The instruction sets that the kernels are compiled for, and the one in use.

use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Portable code, the reference.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX2, and `vpdpbusd` on its 256 bits (many processors for laptops and desktops that have no AVX-512).
    AvxVnni,
    /// AVX-512 F/BW/DQ/VL.
    Avx512,
    /// AVX-512, and `vdpbf16ps` (pairs of bfloat16).
    Avx512Bf16,
    /// All of that with VNNI, and tiles of AMX with products of bytes (processors for servers from Intel's fourth generation on).
    Amx,
}

impl Isa {
    /// All of them, the better ones last.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; Isa::ALL.len()] = {
        let mut names = [""; Isa::ALL.len()];
        let mut i = 0;
        while i < names.len() {
            names[i] = Isa::ALL[i].name();
            i += 1;
        }
        names
    };

    /// The field's name of the instruction set.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        }
    }

    /// The instruction set of this name.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Those that this machine has.
    pub fn here() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.present())
    }

    /// Whether 16 lanes are one register.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx)
    }

    /// Whether there is `vdpbf16ps`.
    pub(crate) fn has_bf16(self) -> bool {
        matches!(self, Isa::Avx512Bf16 | Isa::Amx)
    }

    fn present(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            match self {
                Isa::Scalar => true,
                Isa::Avx2 => avx2,
                Isa::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Isa::Avx512Bf16 => Isa::Avx512.present() && is_x86_feature_detected!("avx512bf16"),
                Isa::Avx512 => {
                    avx2 && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                }
                Isa::Amx => Isa::Avx512Bf16.present() && is_x86_feature_detected!("avx512vnni") && has_amx(),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Isa::Scalar
        }
    }
}

/// Whether the processor has tiles and products of bytes in them, and the system lets this process use them (Linux asks that a process
/// request it: its threads' saved state grows).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    static HERE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HERE.get_or_init(|| {
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (TILE | INT8) != TILE | INT8 {
            return false;
        }
        const ARCH_PRCTL: i64 = 158;
        const REQUEST: i64 = 0x1023; // ARCH_REQ_XCOMP_PERM
        const TILE_DATA: i64 = 18; // XFEATURE_XTILE_DATA
        let mut answer = ARCH_PRCTL;
        // SAFETY: the call takes two numbers, reads and writes no memory of ours, and changes the registers named.
        unsafe {
            core::arch::asm!("syscall", inlateout("rax") answer, in("rdi") REQUEST, in("rsi") TILE_DATA,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        answer == 0
    })
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_amx() -> bool {
    false
}

static FORCED: AtomicU8 = AtomicU8::new(0);

/// The best instruction set of this machine.
pub fn detect_isa() -> Isa {
    Isa::here().last().unwrap_or(Isa::Scalar)
}

/// The instruction set in use. Asked once an operation; the first answer is kept.
pub fn isa() -> Isa {
    match Isa::ALL.get(usize::from(FORCED.load(Ordering::Relaxed)).wrapping_sub(1)) {
        Some(&forced) => forced,
        None => {
            let found = detect_isa();
            FORCED.store(found as u8 + 1, Ordering::Relaxed);
            found
        }
    }
}

/// Uses this instruction set from now on (tests and benches). One that the machine has not is refused.
pub fn force_isa(isa: Isa) -> bool {
    let fits = isa.present();
    if fits {
        FORCED.store(isa as u8 + 1, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_the_reference_is_everywhere() {
        for isa in Isa::ALL {
            assert_eq!(Isa::named(isa.name()), Some(isa));
        }
        assert_eq!(Isa::named("AVX2"), None);
        assert_eq!(Isa::here().next(), Some(Isa::Scalar));
    }
}
