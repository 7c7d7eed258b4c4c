//! Products of bytes by tiles of AMX: sixteen rows of activations by a tile's sixteen outputs in one instruction.
//!
//! A run of a panel has the form of its second operand already: four columns of sixteen outputs a row of 64 bytes.

use std::mem::MaybeUninit;

/// Sums of products, `[16 rows of activations][16 outputs]`.
#[repr(C, align(64))]
pub(super) struct Sums(MaybeUninit<[[i32; 16]; 16]>);

/// Shapes of the tile registers. 0 to 3: sums; 4, 5: activations and weights of 32 columns; 6, 7: of 64.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

#[cfg(target_arch = "x86_64")]
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 32, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 8, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Tile registers in their shapes, on this thread, while it lives.
#[cfg(target_arch = "x86_64")]
pub(super) struct Shaped(());

#[cfg(target_arch = "x86_64")]
impl Shaped {
    /// # Safety
    /// The processor has AMX, and the system lets this process use it.
    #[inline(always)]
    pub(super) unsafe fn new() -> Shaped {
        // SAFETY: the caller's promise; the shapes are those of palette 1.
        unsafe {
            core::arch::asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly, preserves_flags));
        }
        Shaped(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Shaped {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by `new`, so the processor has the instruction.
        unsafe {
            core::arch::asm!("tilerelease", options(nostack, nomem, preserves_flags));
        }
    }
}

impl Sums {
    /// Those of row `r`.
    #[inline(always)]
    fn row(&self, r: usize) -> *const u8 {
        self.0.as_ptr().cast::<u8>().wrapping_add(64 * r)
    }
}

/// How many runs products are ahead of what takes them, so that neither waits for the other.
pub(super) const AHEAD: usize = 2;

/// Sums of single runs, by turns.
pub(super) struct Ahead([Sums; 4]);

impl Ahead {
    #[inline(always)]
    pub(super) fn new() -> Ahead {
        Ahead([const { Sums(MaybeUninit::uninit()) }; 4])
    }

    /// Sums the products of run `run`: activations at `x`, a row each 64 bytes, weights at `w`, four columns each 64 bytes.
    ///
    /// # Safety
    /// Both are there, and the tile registers are [`Shaped`].
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(super) unsafe fn set(&mut self, run: usize, x: *const i8, w: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; sixteen rows of 64 bytes are written to as many.
        unsafe {
            core::arch::asm!(
                "tilezero tmm0",
                "tileloadd tmm4, [{x} + {by}]",
                "tileloadd tmm5, [{w} + {by}]",
                "tdpbssd tmm0, tmm4, tmm5",
                "tilestored [{to} + {by}], tmm0",
                x = in(reg) x, w = in(reg) w, to = in(reg) self.0[run % 4].0.as_mut_ptr(), by = in(reg) 64usize,
                out("tmm0") _, out("tmm4") _, out("tmm5") _, options(nostack, preserves_flags),
            );
        }
    }

    /// Those of run `run`, row `r`.
    #[inline(always)]
    pub(super) fn row(&self, run: usize, r: usize) -> *const u8 {
        self.0[run % 4].row(r)
    }
}

/// Sums of a block of 256 columns, in two parts.
pub(super) struct BlockSums([Sums; 2]);

impl BlockSums {
    #[inline(always)]
    pub(super) const fn new() -> BlockSums {
        BlockSums([const { Sums(MaybeUninit::uninit()) }; 2])
    }

    /// Sums the products of a block, its even and its odd pairs of runs apart (a sum waits for the one before): activations of two runs at `x`, a row each
    /// 64 bytes, the next two behind them; weights at `w`, four columns each 64 bytes.
    ///
    /// # Safety
    /// As [`Ahead::set`].
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(super) unsafe fn set(&mut self, x: *const i8, w: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; twice sixteen rows of 64 bytes are written to as many.
        unsafe {
            core::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tileloadd tmm6, [{x} + {by}]",
                "tileloadd tmm7, [{w} + {by}]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 1024]",
                "tileloadd tmm7, [{w} + {by} + 1024]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 2048]",
                "tileloadd tmm7, [{w} + {by} + 2048]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 3072]",
                "tileloadd tmm7, [{w} + {by} + 3072]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tilestored [{to} + {by}], tmm0",
                "tilestored [{to} + {by} + 1024], tmm1",
                x = in(reg) x, w = in(reg) w, to = in(reg) self.0.as_mut_ptr(), by = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// The same of weights of two bytes each, whose high ones lie at `high`: sums of low and of high bytes.
    ///
    /// # Safety
    /// As [`BlockSums::set`].
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(super) unsafe fn set_two(&mut self, x: *const i8, low: *const u8, high: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tileloadd tmm6, [{x} + {by}]",
                "tileloadd tmm7, [{l} + {by}]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm7, [{h} + {by}]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 1024]",
                "tileloadd tmm7, [{l} + {by} + 1024]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm7, [{h} + {by} + 1024]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 2048]",
                "tileloadd tmm7, [{l} + {by} + 2048]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm7, [{h} + {by} + 2048]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tileloadd tmm6, [{x} + {by} + 3072]",
                "tileloadd tmm7, [{l} + {by} + 3072]",
                "tdpbssd tmm0, tmm6, tmm7",
                "tileloadd tmm7, [{h} + {by} + 3072]",
                "tdpbssd tmm1, tmm6, tmm7",
                "tilestored [{to} + {by}], tmm0",
                "tilestored [{to} + {by} + 1024], tmm1",
                x = in(reg) x, l = in(reg) low, h = in(reg) high, to = in(reg) self.0.as_mut_ptr(),
                by = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Those of row `r`, both parts.
    #[inline(always)]
    pub(super) fn row(&self, r: usize) -> [*const u8; 2] {
        [self.0[0].row(r), self.0[1].row(r)]
    }
}

/// `rounds` times four products of sixteen rows of 64 bytes by as many outputs, each to its own sums (`ceilings.rs`).
///
/// # Safety
/// As [`Shaped::new`].
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn products(rounds: usize, x: &[i8; 1024], w: &[i8; 1024]) {
    // SAFETY: the caller's promise; a tile has as many bytes as an array.
    unsafe {
        let _shaped = Shaped::new();
        core::arch::asm!(
            "tileloadd tmm6, [{x} + {by}]",
            "tileloadd tmm7, [{w} + {by}]",
            "2:",
            "tdpbssd tmm0, tmm6, tmm7",
            "tdpbssd tmm1, tmm6, tmm7",
            "tdpbssd tmm2, tmm6, tmm7",
            "tdpbssd tmm3, tmm6, tmm7",
            "dec {rounds}",
            "jnz 2b",
            x = in(reg) x.as_ptr(), w = in(reg) w.as_ptr(), by = in(reg) 64usize,
            rounds = inout(reg) rounds.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
}
