//! A stored weight: `rows × cols` values in tiles of 16 rows, in the type of the file, never requantised.
//!
//! A tile interleaves 16 rows; a lane is a row. Float types hold one column of 16 rows side by side. Quantised types
//! interleave by four bytes: one vector of 16 dwords holds four consecutive bytes of each row, which is what an
//! instruction for products of bytes takes (`fast.rs`). For each run of 32 columns, [`decode32`] turns the tile into
//! 32 vectors, exactly the values that the file format defines. Rows beyond the last are zero; float types pad the
//! columns to a multiple of 32 with zeros.
//!
//! Bytes of a tile's block, by type (`x16` means one entry a row; `[n][16]` means n vectors, `[n][16][4]` n vectors of
//! dwords):
//!
//! | type | layout |
//! | --- | --- |
//! | F32, F16, BF16 | `[32][16]` values |
//! | Q8_0 | d x16 (f16), q `[8][16][4]` (i8) |
//! | Q4_0 | d x16, nibbles `[4][16][4]`: low = column j, high = column j + 16 |
//! | Q4_1 | d x16, m x16, nibbles as Q4_0 |
//! | Q5_0, Q5_1 | d x16 (, m x16), fifth bits `[16][4]` (bit g of byte j = column 4 g + j), nibbles as Q4_0 |
//! | Q4_K | d x16, dmin x16, scales `[8][16]` (u8), mins `[8][16]`, nibbles `[32][16][4]` |
//! | Q5_K | as Q4_K, with fifth bits `[8][16][4]` (bit s = sub-block s) before the nibbles |
//! | Q6_K | d x16, scales `[16][16]` (i8), low nibbles `[32][16][4]`, high bits `[16][16][4]` |
//! | Q2_K | d x16, dmin x16, `[16][16]` bytes (low nibble scale, high nibble min), pairs of bits `[16][16][4]` |
//! | Q3_K | d x16, scales `[16][16]` (i8), third bits `[8][16][4]` (bit s = run s), pairs of bits `[16][16][4]` |
//! | IQ4_NL | as Q4_0; a nibble is a place in [`NONLINEAR`] |

mod pieces;

use crate::dtype::DType;
use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::pool::{Pool, Shares};
use crate::words::Words;
use pieces::value;
pub(crate) use pieces::{
    block_scales, column, folded32, folds, minima, minima_pairs, most, offset, quads32, scales32,
    small_scale, whole_value,
};

/// Rows of a tile.
pub const TILE_ROWS: usize = LANES;

/// What the nibbles of IQ4_NL stand for (a constant of the format).
pub(crate) const NONLINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Columns that are decoded at once.
pub(crate) const RUN: usize = 32;

/// Runs of a block of K types.
pub(crate) const RUNS: usize = 8;

/// A weight matrix `[rows, cols]` (outputs × inputs) in tiled storage.
#[derive(Clone)]
pub struct Weight {
    dtype: DType,
    rows: usize,
    cols: usize,
    tile_bytes: usize,
    /// the bytes of all tiles, in words so that F32 tiles are aligned; see `bytes_of`
    data: Words,
}

/// Words as bytes.
fn bytes_of(words: &[u32]) -> &[u8] {
    // SAFETY: any word is four bytes, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 4 * words.len()) }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weight({} [{}, {}])", self.dtype, self.rows, self.cols)
    }
}

/// Bytes of one block of a tile (16 rows × block columns; 32 columns for float types).
fn tile_block_bytes(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => RUN * LANES * dtype.block_bytes(),
        // the packed 6-bit scales and mins (12 bytes a row) become bytes (16 a row)
        // and so do those of Q3_K
        DType::Q4K | DType::Q5K | DType::Q3K => LANES * (dtype.block_bytes() + 4),
        _ => LANES * dtype.block_bytes(),
    }
}

/// Bytes of a tile that 32 columns take, on average.
pub(crate) fn run_bytes(dtype: DType) -> usize {
    tile_block_bytes(dtype) * RUN / tile_block_cols(dtype)
}

fn tile_block_cols(dtype: DType) -> usize {
    dtype.block_len().max(RUN)
}

impl Weight {
    /// Reads a matrix of `rows × cols` values. `read(first_row, bytes)` is called once for each tile of up to 16
    /// rows, in any order and from several threads, and fills `bytes` with those rows as the file stores them.
    ///
    /// # Errors
    /// The first error that `read` returns.
    ///
    /// # Panics
    /// If `cols` is not a whole number of blocks of a quantised `dtype` (readers of files check it first).
    pub fn read<E: Send>(
        pool: &Pool,
        dtype: DType,
        rows: usize,
        cols: usize,
        read: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<Weight, E> {
        assert!(cols.is_multiple_of(dtype.block_len()), "{cols} columns are not whole {dtype} blocks");
        let row_bytes = cols / dtype.block_len() * dtype.block_bytes();
        let tile_bytes = cols.div_ceil(tile_block_cols(dtype)) * tile_block_bytes(dtype);
        let tiles = rows.div_ceil(TILE_ROWS);
        debug_assert!(tile_bytes.is_multiple_of(4));
        let mut data = Words::zeroed(tiles * (tile_bytes / 4));
        // SAFETY: as in `bytes_of`; every pattern of bytes is a word.
        let parts = Shares::new(unsafe {
            std::slice::from_raw_parts_mut(data.as_mut_ptr().cast::<u8>(), 4 * data.len())
        });
        let failed = std::sync::Mutex::new(None);
        const GROUP: usize = 8; // tiles a task
        pool.run(tiles.div_ceil(GROUP), |group| {
            let mut raw = vec![0u8; TILE_ROWS * row_bytes];
            for t in group * GROUP..((group + 1) * GROUP).min(tiles) {
                let here = (rows - t * TILE_ROWS).min(TILE_ROWS);
                raw[here * row_bytes..].fill(0);
                if let Err(e) = read(t * TILE_ROWS, &mut raw[..here * row_bytes]) {
                    failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(e);
                    return;
                }
                // SAFETY: each tile belongs to one task.
                let tile = unsafe { parts.at(t * tile_bytes, tile_bytes) };
                weave(dtype, cols, &raw, row_bytes, tile);
            }
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(e) => Err(e),
            None => Ok(Weight { dtype, rows, cols, tile_bytes, data }),
        }
    }

    /// A float matrix from values, row-major `[rows, cols]`.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Weight {
        assert_eq!(values.len(), rows * cols);
        let made: Result<Weight, std::convert::Infallible> =
            Weight::read(&Pool::new(1), DType::F32, rows, cols, |row, bytes| {
                for (b, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&values[row * cols..]) {
                    *b = v.to_le_bytes();
                }
                Ok(())
            });
        match made {
            Ok(w) => w,
            Err(never) => match never {},
        }
    }

    /// Output dimension.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input dimension.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        4 * self.data.len()
    }

    /// The values of an F32 weight in the order of its tiles, `[tile][column][16]`, columns padded to 32 with zeros;
    /// `None` for other types.
    pub fn floats(&self) -> Option<&[f32]> {
        // SAFETY: words have the size and alignment of floats, and every pattern of bits is a float.
        let all = || unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.data.len()) };
        (self.dtype == DType::F32 && cfg!(target_endian = "little")).then(all)
    }

    /// The same, to change. Padding (rows beyond the last, columns beyond the last) must stay zero.
    pub fn floats_mut(&mut self) -> Option<&mut [f32]> {
        let (p, n) = (self.data.as_mut_ptr(), self.data.len());
        // SAFETY: as in `floats`; the borrow is exclusive.
        let all = || unsafe { std::slice::from_raw_parts_mut(p.cast(), n) };
        (self.dtype == DType::F32 && cfg!(target_endian = "little")).then(all)
    }

    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// The bytes of tile `t`.
    pub(crate) fn tile(&self, t: usize) -> &[u8] {
        let words = self.tile_bytes / 4;
        bytes_of(&self.data[t * words..(t + 1) * words])
    }

    /// Runs of 32 columns, the last one padded for float types.
    pub(crate) fn runs(&self) -> usize {
        self.cols.div_ceil(RUN)
    }

    /// Writes row `row` as floats to `out` (`[cols]`).
    ///
    /// # Panics
    /// If `row` or the length of `out` does not fit.
    pub fn row_into(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols);
        let (tile, lane) = (self.tile(row / TILE_ROWS), row % TILE_ROWS);
        let mut run = [0f32; RUN * LANES];
        for (j, out) in out.chunks_mut(RUN).enumerate() {
            // SAFETY: run `j` lies inside the tile and `run` holds 32 × 16 values.
            unsafe { decode_run(self.dtype, tile.as_ptr(), j, run.as_mut_ptr(), LANES) };
            for (k, o) in out.iter_mut().enumerate() {
                *o = run[k * LANES + lane];
            }
        }
    }

    /// The number of the first row that holds a value which is not finite, if any (a broken file shows here).
    pub fn first_row_not_finite(&self, pool: &Pool) -> Option<usize> {
        let found = std::sync::atomic::AtomicUsize::new(usize::MAX);
        pool.run(self.tiles(), |t| {
            let tile = self.tile(t);
            if tile.chunks_exact(tile_block_bytes(self.dtype)).all(|block| is_finite(self.dtype, block)) {
                return;
            }
            let mut run = [0f32; RUN * LANES];
            for j in 0..self.runs() {
                // SAFETY: as in `row_into`.
                unsafe { decode_run(self.dtype, tile.as_ptr(), j, run.as_mut_ptr(), LANES) };
                let broken = |lane: &usize| (0..RUN).any(|k| !run[k * LANES + lane].is_finite());
                if let Some(lane) = (0..LANES).find(broken) {
                    found.fetch_min(t * TILE_ROWS + lane, std::sync::atomic::Ordering::Relaxed);
                }
            }
        });
        Some(found.into_inner()).filter(|&row| row != usize::MAX)
    }
}

/// Whether a block of a tile holds finite values alone. Those of quantised types are whole numbers times one or two half
/// floats, which stand first in the block, and no such product overflows.
fn is_finite(dtype: DType, block: &[u8]) -> bool {
    fn halves(bytes: &[u8], exponent: u16) -> bool {
        let odd = |b: &[u8; 2]| u16::from_le_bytes(*b) & exponent == exponent;
        !bytes.as_chunks::<2>().0.iter().fold(false, |any, b| any | odd(b))
    }
    match dtype {
        DType::F32 => {
            let odd = |b: &[u8; 4]| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000;
            !block.as_chunks::<4>().0.iter().fold(false, |any, b| any | odd(b))
        }
        DType::F16 => halves(block, 0x7c00),
        DType::BF16 => halves(block, 0x7f80),
        _ => halves(&block[..if dtype.has_min() { 4 * LANES } else { 2 * LANES }], 0x7c00),
    }
}

/// Weaves 16 stored rows (`raw`, `row_bytes` each) into one tile.
fn weave(dtype: DType, cols: usize, raw: &[u8], row_bytes: usize, tile: &mut [u8]) {
    let size = tile_block_bytes(dtype);
    let bb = dtype.block_bytes();
    for (b, out) in tile.chunks_exact_mut(size).enumerate() {
        for lane in 0..LANES {
            let row = &raw[lane * row_bytes..(lane + 1) * row_bytes];
            match dtype {
                DType::F32 | DType::F16 | DType::BF16 => {
                    for k in 0..RUN.min(cols - b * RUN) {
                        out[(k * LANES + lane) * bb..][..bb]
                            .copy_from_slice(&row[(b * RUN + k) * bb..][..bb]);
                    }
                }
                _ => weave_block(dtype, &row[b * bb..(b + 1) * bb], lane, out),
            }
        }
    }
}

/// One byte a row: scales.
fn spread(from: &[u8], lane: usize, out: &mut [u8]) {
    for (i, &byte) in from.iter().enumerate() {
        out[i * LANES + lane] = byte;
    }
}

/// Four bytes a row: quants.
fn quads(from: &[u8], lane: usize, out: &mut [u8]) {
    for (to, bytes) in out.as_chunks_mut::<{ 4 * LANES }>().0.iter_mut().zip(from.as_chunks::<4>().0) {
        to[lane * 4..lane * 4 + 4].copy_from_slice(bytes);
    }
}

fn scale(from: &[u8], lane: usize, out: &mut [u8]) {
    out[lane * 2..lane * 2 + 2].copy_from_slice(&from[..2]);
}

/// Puts one row's block (GGUF layout) into its lane of a tile's block.
fn weave_block(dtype: DType, block: &[u8], lane: usize, out: &mut [u8]) {
    match dtype {
        DType::Q8_0 | DType::Q4_0 | DType::IQ4NL => {
            scale(block, lane, out);
            quads(&block[2..], lane, &mut out[32..]);
        }
        DType::Q4_1 => {
            scale(block, lane, out);
            scale(&block[2..], lane, &mut out[32..]);
            quads(&block[4..], lane, &mut out[64..]);
        }
        DType::Q5_0 | DType::Q5_1 => {
            let scales = if dtype == DType::Q5_0 { 1 } else { 2 };
            for s in 0..scales {
                scale(&block[2 * s..], lane, &mut out[32 * s..]);
            }
            let bits = &block[2 * scales..2 * scales + 4];
            for k in 0..32 {
                let bit = bits[k / 8] >> (k % 8) & 1;
                out[32 * scales + lane * 4 + k % 4] |= bit << (k / 4);
            }
            quads(&block[2 * scales + 4..], lane, &mut out[32 * scales + 64..]);
        }
        DType::Q4K | DType::Q5K => {
            scale(block, lane, out);
            scale(&block[2..], lane, &mut out[32..]);
            let packed = &block[4..16];
            for s in 0..8 {
                let (sc, mn) = if s < 4 {
                    (packed[s] & 63, packed[s + 4] & 63)
                } else {
                    (
                        (packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4,
                        (packed[s + 4] >> 4) | (packed[s] >> 6) << 4,
                    )
                };
                out[64 + s * LANES + lane] = sc;
                out[192 + s * LANES + lane] = mn;
            }
            // Q5_K keeps its 32 bytes of fifth bits before the nibbles, as the file does
            quads(&block[16..], lane, &mut out[320..]);
        }
        DType::Q6K => {
            scale(&block[208..], lane, out);
            spread(&block[192..208], lane, &mut out[32..]);
            quads(&block[..128], lane, &mut out[288..]);
            quads(&block[128..192], lane, &mut out[288 + 128 * LANES..]);
        }
        DType::Q2K => {
            scale(&block[80..], lane, out);
            scale(&block[82..], lane, &mut out[32..]);
            spread(&block[..16], lane, &mut out[64..]);
            quads(&block[16..80], lane, &mut out[320..]);
        }
        DType::Q3K => {
            scale(&block[108..], lane, out);
            let packed = &block[96..108];
            for s in 0..16 {
                let low = packed[s % 8] >> (s / 8 * 4) & 15;
                let high = packed[8 + s % 4] >> (s / 4 * 2) & 3;
                out[32 + s * LANES + lane] = (low | high << 4).wrapping_sub(32);
            }
            quads(&block[..32], lane, &mut out[288..]);
            quads(&block[32..96], lane, &mut out[288 + 32 * LANES..]);
        }
        DType::F32 | DType::F16 | DType::BF16 => {}
    }
}

/// Receives the decoded vectors of a run: column `k` (0..32) of 16 rows.
pub(crate) trait Sink<L: Lanes> {
    /// # Safety
    /// `k < 32`; the instruction set of `L` is present.
    unsafe fn put(&mut self, k: usize, v: L);
}

/// Stores a run as 32 vectors, `stride` floats apart.
struct Store(*mut f32, usize);

impl<L: Lanes> Sink<L> for Store {
    #[inline(always)]
    unsafe fn put(&mut self, k: usize, v: L) {
        // SAFETY: `k < 32`, and the pointer holds 32 vectors at this stride.
        unsafe { v.store(self.0.add(k * self.1)) }
    }
}

/// Decodes columns `32 run .. 32 run + 32` of a tile into `sink`, in ascending order of columns.
///
/// # Safety
/// `tile` points to a tile of `dtype` that has this run; the instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn decode32<L: Lanes>(dtype: DType, tile: *const u8, run: usize, sink: &mut impl Sink<L>) {
    // SAFETY: all offsets lie inside the block's layout given at the head of the file.
    unsafe {
        let bytes = tile_block_bytes(dtype);
        match dtype {
            DType::F32 => {
                let p = tile.add(run * bytes).cast::<f32>();
                for k in 0..RUN {
                    sink.put(k, L::load(p.add(k * LANES)));
                }
            }
            DType::F16 => {
                let p = tile.add(run * bytes);
                for k in 0..RUN {
                    sink.put(k, L::load_f16(p.add(k * LANES * 2)));
                }
            }
            DType::BF16 => {
                let p = tile.add(run * bytes);
                for k in 0..RUN {
                    sink.put(k, L::load_bf16(p.add(k * LANES * 2)));
                }
            }
            DType::Q8_0 => decode_quants::<L, { DType::Q8_0 as usize }>(tile, run, sink),
            DType::Q4_0 => decode_quants::<L, { DType::Q4_0 as usize }>(tile, run, sink),
            DType::Q4_1 => decode_quants::<L, { DType::Q4_1 as usize }>(tile, run, sink),
            DType::Q5_0 => decode_quants::<L, { DType::Q5_0 as usize }>(tile, run, sink),
            DType::Q5_1 => decode_quants::<L, { DType::Q5_1 as usize }>(tile, run, sink),
            DType::Q4K => decode_quants::<L, { DType::Q4K as usize }>(tile, run, sink),
            DType::Q5K => decode_quants::<L, { DType::Q5K as usize }>(tile, run, sink),
            DType::Q6K => decode_quants::<L, { DType::Q6K as usize }>(tile, run, sink),
            DType::Q2K => decode_quants::<L, { DType::Q2K as usize }>(tile, run, sink),
            DType::Q3K => decode_quants::<L, { DType::Q3K as usize }>(tile, run, sink),
            DType::IQ4NL => decode_quants::<L, { DType::IQ4NL as usize }>(tile, run, sink),
        }
    }
}

/// [`decode32`] for the quantised type number `T`, known to the compiler.
///
/// # Safety
/// As [`decode32`].
#[inline(always)]
unsafe fn decode_quants<L: Lanes, const T: usize>(tile: *const u8, run: usize, sink: &mut impl Sink<L>) {
    let dtype = const { DType::nth(T) };
    // SAFETY: the caller's promise.
    unsafe {
        let [(d, m), (d2, m2)] = scales32::<L>(dtype, tile, run);
        // written out: a loop would find nibbles and scales anew in each round
        let at = (tile, run);
        decode_quad::<L, T, 0>(at, d, m, sink);
        decode_quad::<L, T, 1>(at, d, m, sink);
        decode_quad::<L, T, 2>(at, d, m, sink);
        decode_quad::<L, T, 3>(at, d, m, sink);
        decode_quad::<L, T, 4>(at, d2, m2, sink);
        decode_quad::<L, T, 5>(at, d2, m2, sink);
        decode_quad::<L, T, 6>(at, d2, m2, sink);
        decode_quad::<L, T, 7>(at, d2, m2, sink);
    }
}

/// Columns `4 G ..` of a run, by its scale `d` and minimum `m`.
///
/// # Safety
/// As [`decode32`].
#[inline(always)]
pub(crate) unsafe fn decode_quad<L: Lanes, const T: usize, const G: usize>(
    (tile, run): (*const u8, usize),
    d: L,
    m: L,
    sink: &mut impl Sink<L>,
) {
    let dtype = const { DType::nth(T) };
    // SAFETY: the caller's promise.
    unsafe {
        let q = quads32::<L>(dtype, tile, run, G);
        let columns = if dtype.signed() {
            [
                L::int_sar::<24>(L::int_shl::<24>(q)),
                L::int_sar::<24>(L::int_shl::<16>(q)),
                L::int_sar::<24>(L::int_shl::<8>(q)),
                L::int_sar::<24>(q),
            ]
        } else {
            let low = L::int_splat(255);
            [
                L::int_and(q, low),
                L::int_and(L::int_shr::<8>(q), low),
                L::int_and(L::int_shr::<16>(q), low),
                L::int_shr::<24>(q),
            ]
        };
        for (j, q) in columns.into_iter().enumerate() {
            sink.put(4 * G + j, value(dtype, q, d, m));
        }
    }
}

#[inline(always)]
unsafe fn decode_run_lanes<L: Lanes>(
    dtype: DType,
    tile: *const u8,
    run: usize,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { decode32::<L>(dtype, tile, run, &mut Store(out, stride)) }
}

lanes_fn! {
    /// Decodes one run to 32 vectors of 16 at `out`, `stride` floats apart.
    ///
    /// # Safety
    /// `tile` has the run; `out` holds `31 * stride + 16` values.
    pub(crate) unsafe fn decode_run(
        dtype: DType, tile: *const u8, run: usize, out: *mut f32, stride: usize
    ) = decode_run_lanes
}
