//! The linear layer of `fast` mode: stored weights × activations as integers (`quantise.rs`), for one row as for thousands.
//!
//! For each run of 32 columns the products are summed exactly in integers; the sum joins the others by one
//! fused multiply-add with the product of both scales; runs ascend from +0, each followed by `minimum · sum of the activations`
//! where the type has a minimum. K types take activations of which 256 columns share a scale: the sums of runs (or of their halves) times
//! the small scales are summed over a block, whole numbers, and join the others by one fused multiply-add, minima by another, of an exact sum.
//! What is not of bytes is summed apart: from the bias (or +0) the outliers by ascending columns. The output is the sum of both, which the
//! adapter's float product continues (as `lora_rows` does where rows have adapters of their own). Rows, tiles, threads and instruction set do not
//! change a bit. (One exception, between machines alone: a K type's block whose sum goes beyond 2²⁴, for which most of its weights and activations
//! must be large and of like sign, is exact with AMX and rounded to float32 elsewhere.)
//!
//! With AMX many rows go by tiles (`fast/tiles.rs`), to the same bits as few.

mod block;
mod source;
mod tiles;

use crate::dot8::{Dot, dot_fn};
use crate::dtype::DType;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Isa, isa};
use crate::lanes::{LANES, Lanes};
use crate::linear::{Cpu, Forward, check_parts, linear_at, linear_forward, lora_h};
use crate::pool::Shares;
use crate::quantise::{Quantised, Scales};
use crate::weight::{RUN, TILE_ROWS, Weight};
use block::{block, block_of_runs};
use source::{DEEP, Highs, Panel, Source, Stored, has_columns};
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::products;

/// Bytes of weights that a task reads at least.
const TASK_BYTES: usize = 16 * 1024;

/// Rows up to which a region is bound by reading the weights rather than by arithmetic.
const BOUND_BY_READING: usize = 16;

/// `Bᵀ`, its padded width, rank and `h`.
type Lora<'a> = Option<(&'a [f32], usize, usize, &'a [f32])>;

/// Rows whose float sums lie on the stack.
const FEW: usize = 16;

/// One weight's part of a region.
struct Part<'a> {
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    lora: Lora<'a>,
    /// `[T, N]`
    y: Shares<f32>,
    /// its place in the row of all parts' tiles
    first_tile: usize,
}

/// Tiles of the stretch that each thread gets first where reading rules.
fn first_stretch(tiles: usize, threads: usize) -> usize {
    tiles * 3 / (4 * threads)
}

/// Where to cut `tiles` tiles of `bytes` each into tasks. Where reading rules, each thread gets one long stretch first,
/// which memory delivers at its best rate, and short ones for whoever is ready sooner; else all are equal.
fn cuts(tiles: usize, bytes: usize, rows: usize, threads: usize) -> Vec<usize> {
    let least = TASK_BYTES.div_ceil(bytes).max(1);
    let mut cuts = Vec::with_capacity(32 * threads);
    cuts.push(0);
    let mut at = 0;
    while at < tiles {
        let size = match rows <= BOUND_BY_READING && threads > 1 {
            true if cuts.len() <= threads => first_stretch(tiles, threads),
            true => (tiles - at).div_ceil(3 * threads),
            false => tiles.div_ceil(16 * threads),
        };
        at = (at + size.max(if rows <= BOUND_BY_READING { least } else { 1 })).min(tiles);
        cuts.push(at);
    }
    cuts
}

/// Says which weights come after the next product of `rows` rows: threads that wait meanwhile ask memory for what they are
/// likely to read of them.
pub fn expect_weights(cpu: &Cpu, rows: usize, weights: &[&Weight]) {
    let threads = cpu.pool().threads();
    if rows > BOUND_BY_READING || threads == 1 {
        return;
    }
    let tiles = weights.iter().map(|w| w.tiles()).sum();
    for n in 1..threads {
        let mut tile = n * first_stretch(tiles, threads);
        for weight in weights {
            if tile < weight.tiles() {
                cpu.pool().expect(n, weight.tile(tile).as_ptr());
                break;
            }
            tile -= weight.tiles();
        }
    }
}

/// `y = x Wᵀ + bias + h Bᵀ` as [`crate::linear_forward`], with the input as bytes: `q` holds `x` `[T, D]` quantised
/// ([`Quantised::set`]). `h` and weights of float types are computed from `x` itself, which nothing else reads.
///
/// # Panics
/// If shapes or scales ([`Scales::of`]) do not fit.
pub fn linear_fast(cpu: &Cpu, x: &[f32], q: &Quantised, t: usize, parts: &mut [Forward<'_>]) {
    let Some(d) = parts.first().map(|p| p.linear.weight.cols()) else { return };
    assert_eq!(x.len(), t * d, "input shape");
    check_parts(t, d, parts);
    if parts.iter().any(|p| !p.linear.weight.dtype().is_quantised()) {
        // whole parts at a time: rare (a file that mixes float and quantised projections of one input)
        for p in parts {
            let Forward { linear, y, h } = p;
            let part = &mut [Forward { linear: *linear, y, h }];
            match linear.weight.dtype().is_quantised() {
                true => linear_fast(cpu, x, q, t, part),
                false => linear_forward(cpu, x, t, part),
            }
        }
        return;
    }
    assert!(q.rows() == t && q.cols() == d, "quantised input shape");
    parts.iter().for_each(|p| check_scales(p.linear.weight, q));
    if t == 0 {
        return;
    }
    lora_h(cpu, x, t, d, parts);
    let mut tiles = 0;
    let mut list = Vec::with_capacity(parts.len());
    for p in parts.iter_mut() {
        let Forward { linear, y, h } = p;
        let h: &[f32] = h;
        let lora = linear.lora.map(|l| {
            let (bt, np) = l.transposed_b();
            (bt, np, l.rank(), h)
        });
        let (weight, bias) = (linear.weight, linear.bias);
        list.push(Part { weight, bias, lora, y: Shares::new(y), first_tile: tiles });
        tiles += weight.tiles();
    }
    let bytes: usize = list.iter().map(|p| p.weight.bytes()).sum();
    let cuts = cuts(tiles, (bytes / tiles.max(1)).max(1), t, cpu.pool().threads());
    cpu.pool().run(cuts.len() - 1, |task| {
        let (mut small, mut large) = ([0f32; FEW * LANES], Vec::new());
        let floats = if t <= FEW { &mut small[..t * LANES] } else { Lines::space(&mut large, t) };
        let mut room = Vec::new();
        let (mut tile, end) = (cuts[task], cuts[task + 1]);
        while tile < end {
            let p = &list[list.partition_point(|p| p.first_tile <= tile) - 1];
            let n = p.weight.rows();
            let until = end.min(p.first_tile + p.weight.tiles());
            for first in (tile - p.first_tile..until - p.first_tile).map(|tile| tile * LANES) {
                let bias = p.bias.map_or(&[][..], |b| &b[first..n.min(first + LANES)]);
                let tile = &Tile { weight: p.weight, first, x: q, bias, lora: p.lora };
                // SAFETY: shapes are checked above; tasks own disjoint columns of `y`.
                unsafe {
                    let y = p.y.ptr().add(first);
                    if first + LANES <= n {
                        tile_rows(tile, Lines { to: y, ld: n, rows: t }, floats);
                    } else {
                        // fewer outputs than lanes: by way of whole vectors
                        tile_rows(tile, Lines::of(&mut room, t), floats);
                        for (row, line) in room.chunks_exact(LANES).enumerate() {
                            std::ptr::copy_nonoverlapping(line.as_ptr(), y.add(row * n), n - first);
                        }
                    }
                }
            }
            tile = until;
        }
    });
}

/// Panics if the bytes have other scales than the weight needs.
fn check_scales(weight: &Weight, q: &Quantised) {
    let fits = Scales::of([weight]) == Scales::Groups || q.scales() == Scales::Blocks;
    assert!(fits, "K types take activations by blocks");
}

/// [`crate::linear_at`] with the input as bytes: the same bits as [`linear_fast`] gives there.
///
/// # Panics
/// If shapes or scales do not fit or an id lies beyond the weight.
pub fn linear_fast_at(cpu: &Cpu, weight: &Weight, x: &[f32], q: &Quantised, ids: &[u32], out: &mut [f32]) {
    if !weight.dtype().is_quantised() {
        return linear_at(cpu, weight, x, ids, out);
    }
    let t = q.rows();
    check_scales(weight, q);
    assert!(q.cols() == weight.cols() && out.len() == t * ids.len(), "shapes of chosen outputs");
    assert!(ids.iter().all(|&i| (i as usize) < weight.rows()), "chosen output beyond the weight");
    // one task a tile that is touched
    let tile_of = |j: usize| ids[j] as usize / TILE_ROWS;
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&j| ids[j]);
    let groups: Vec<&[usize]> = order.chunk_by(|&a, &b| tile_of(a) == tile_of(b)).collect();
    let parts = Shares::new(out);
    cpu.pool().run(groups.len(), |g| {
        let (mut floats, mut room) = (vec![0f32; t * LANES], Vec::new());
        let tile = Tile { weight, first: tile_of(groups[g][0]) * LANES, x: q, bias: &[], lora: None };
        // SAFETY: the ids lie inside the weight.
        unsafe { tile_rows(&tile, Lines::of(&mut room, t), &mut floats) };
        for &j in groups[g] {
            for (row, line) in room.chunks_exact(LANES).enumerate() {
                // SAFETY: each output belongs to one chosen id, so to one task.
                unsafe { parts.at(row * ids.len() + j, 1)[0] = line[ids[j] as usize % TILE_ROWS] };
            }
        }
    });
}

/// Where the outputs of a tile go: 16 at a time, row by row.
#[derive(Clone, Copy)]
struct Lines {
    to: *mut f32,
    /// floats from one row to the next
    ld: usize,
    rows: usize,
}

impl Lines {
    /// Lines of their own, side by side.
    fn of(room: &mut Vec<f32>, rows: usize) -> Lines {
        Lines { to: Lines::space(room, rows).as_mut_ptr(), ld: LANES, rows }
    }

    fn space(room: &mut Vec<f32>, rows: usize) -> &mut [f32] {
        room.resize(rows * LANES, 0.0);
        room
    }

    #[inline(always)]
    unsafe fn row(&self, row: usize) -> *mut f32 {
        // SAFETY: the caller's row exists.
        unsafe { self.to.add(row * self.ld) }
    }
}

/// A tile and what it meets.
struct Tile<'a> {
    weight: &'a Weight,
    /// its first output
    first: usize,
    x: &'a Quantised,
    /// of its outputs, or nothing
    bias: &'a [f32],
    lora: Lora<'a>,
}

impl Tile<'_> {
    fn bytes(&self) -> *const u8 {
        self.weight.tile(self.first / LANES).as_ptr()
    }
}

/// All rows of one tile's outputs. `floats` holds `[T, 16]` values.
///
/// # Safety
/// The tile exists, `x` has the rows of `lines` and the weight's columns, and nobody else writes these lines.
unsafe fn tile_rows(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    // few rows have a function of their own, whose stack has no panel: each call would touch all of its pages
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if tile.x.is_tiled() {
            return tiled_rows(tile, lines, floats);
        } else if isa() == Isa::Amx {
            return untiled_rows(tile, lines, floats);
        }
        if lines.rows < LEAST_PANEL { few_rows(tile, lines, floats) } else { many_rows(tile, lines, floats) }
    }
}

/// The least [`Dot::PANEL_FROM`].
const LEAST_PANEL: usize = 8;

dot_fn! {
    /// # Safety
    /// As [`tile_rows`].
    unsafe fn few_rows(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) = few_rows_any
}

#[inline(always)]
unsafe fn few_rows_any<D: Dot>(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    const { assert!(D::PANEL_FROM >= LEAST_PANEL) };
    // SAFETY: the caller's promise.
    unsafe { tile_rows_any::<D, false>(tile, lines, floats) }
}

dot_fn! {
    /// # Safety
    /// As [`tile_rows`].
    unsafe fn many_rows(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) = many_rows_any
}

#[inline(always)]
unsafe fn many_rows_any<D: Dot>(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { tile_rows_any::<D, true>(tile, lines, floats) }
}

/// # Safety
/// As [`tile_rows`]; activations are tiled, which they are only where there is AMX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn tiled_rows(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let _shaped = tiles::Shaped::new();
        tile_rows_any::<crate::dot8::AmxDot, true>(tile, lines, floats)
    }
}

/// # Safety
/// As [`tile_rows`]; there is AMX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn untiled_rows(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { tile_rows_any::<crate::dot8::VnniDot<true>, false>(tile, lines, floats) }
}

#[inline(always)]
unsafe fn tile_rows_any<D: Dot, const MANY: bool>(tile: &Tile<'_>, lines: Lines, floats: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.weight.dtype() {
            DType::Q8_0 => tile_rows_of::<D, { DType::Q8_0 as usize }, MANY>(tile, lines, floats),
            DType::Q4_0 => tile_rows_of::<D, { DType::Q4_0 as usize }, MANY>(tile, lines, floats),
            DType::Q4_1 => tile_rows_of::<D, { DType::Q4_1 as usize }, MANY>(tile, lines, floats),
            DType::Q5_0 => tile_rows_of::<D, { DType::Q5_0 as usize }, MANY>(tile, lines, floats),
            DType::Q5_1 => tile_rows_of::<D, { DType::Q5_1 as usize }, MANY>(tile, lines, floats),
            DType::Q4K => tile_rows_of::<D, { DType::Q4K as usize }, MANY>(tile, lines, floats),
            DType::Q5K => tile_rows_of::<D, { DType::Q5K as usize }, MANY>(tile, lines, floats),
            DType::Q6K => tile_rows_of::<D, { DType::Q6K as usize }, MANY>(tile, lines, floats),
            DType::Q2K => tile_rows_of::<D, { DType::Q2K as usize }, MANY>(tile, lines, floats),
            DType::Q3K => tile_rows_of::<D, { DType::Q3K as usize }, MANY>(tile, lines, floats),
            DType::IQ4NL => tile_rows_of::<D, { DType::IQ4NL as usize }, MANY>(tile, lines, floats),
            DType::F32 | DType::F16 | DType::BF16 => unreachable!("float weights take the exact product"),
        }
    }
}

#[inline(always)]
unsafe fn tile_rows_of<D: Dot, const T: usize, const MANY: bool>(
    tile: &Tile<'_>,
    lines: Lines,
    floats: &mut [f32],
) {
    let (bytes, t, runs) = (tile.bytes(), lines.rows, tile.x.runs());
    // SAFETY: the caller's promise; a panel is filled before it is read.
    unsafe {
        let early = t >= MANY_ROWS;
        let stored = &Stored { tile: bytes };
        let panels = MANY && t >= D::PANEL_FROM;
        let columns = panels && const { has_columns(DType::nth(T)) };
        if early {
            biases::<D::L>(tile, floats);
            if !columns {
                add_outliers::<D, T, _>(tile, 0..runs, stored, floats);
            }
        }
        if panels {
            let mut room = std::mem::MaybeUninit::<Highs<D>>::uninit();
            let highs = if D::TILES { room.as_mut_ptr() } else { std::ptr::null_mut() };
            let mut panel = Panel::<D>::new(bytes, highs);
            let mut first = 0;
            while first < runs {
                let end = runs.min(first + DEEP);
                panel.fill::<T>(first, end);
                if early && columns {
                    add_outliers::<D, T, _>(tile, first..end, &panel, floats);
                }
                let floats = (early && end == runs).then_some(&*floats);
                all_rows::<D, T, _>(tile, lines, first..end, &panel, floats);
                first = end;
            }
        } else {
            let floats = early.then_some(&*floats);
            all_rows::<D, T, _>(tile, lines, 0..runs, stored, floats);
        }
        if !early {
            // the products brought the weights, which the outliers find in the cache
            if t == 1 {
                let sum = D::L::load(lines.row(0)).add(float_sum::<D, T>(tile, stored));
                return add_lora(tile, 0, sum).store(lines.row(0));
            }
            biases::<D::L>(tile, floats);
            add_outliers::<D, T, _>(tile, 0..runs, stored, floats);
            for row in 0..t {
                let sum = D::L::load(lines.row(row)).add(D::L::load(floats[row * LANES..].as_ptr()));
                add_lora(tile, row, sum).store(lines.row(row));
            }
        }
    }
}

/// The part of a single row's outputs that is not of bytes.
#[inline(always)]
unsafe fn float_sum<D: Dot, const T: usize>(tile: &Tile<'_>, source: &Stored) -> D::L {
    // SAFETY: columns lie inside the tile.
    unsafe {
        let mut sum = D::L::load_part(tile.bias.as_ptr(), tile.bias.len(), 0.0);
        for (c, outliers) in tile.x.outliers(0..tile.x.cols()) {
            let w = <Stored as Source<D>>::column::<T>(source, c);
            sum = D::L::splat(outliers[0].value).fma(w, sum);
        }
        sum
    }
}

/// Where the part of the outputs that is not of bytes begins, `[T, 16]`: the bias.
#[inline(always)]
unsafe fn biases<L: Lanes>(tile: &Tile<'_>, floats: &mut [f32]) {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let bias = L::load_part(tile.bias.as_ptr(), tile.bias.len(), 0.0);
        for line in floats.chunks_exact_mut(LANES) {
            bias.store(line.as_mut_ptr());
        }
    }
}

/// Adds the outliers in the columns of some runs to `[T, 16]`.
#[inline(always)]
unsafe fn add_outliers<D: Dot, const T: usize, S: Source<D>>(
    tile: &Tile<'_>,
    runs: Range<usize>,
    source: &S,
    floats: &mut [f32],
) {
    let to = floats.as_mut_ptr();
    let columns = runs.start * RUN..runs.end * RUN;
    // SAFETY: columns lie inside the tile, rows inside `floats`.
    unsafe {
        for (c, outliers) in tile.x.outliers(columns) {
            let w = source.column::<T>(c);
            for outlier in outliers {
                let line = to.add(outlier.at as usize * LANES);
                D::L::splat(outlier.value).fma(w, D::L::load(line)).store(line);
            }
        }
    }
}

/// `sum` and the adapter's product of a row.
#[inline(always)]
unsafe fn add_lora<L: Lanes>(tile: &Tile<'_>, row: usize, mut sum: L) -> L {
    let Some((bt, np, rank, h)) = tile.lora else { return sum };
    for (k, h) in h[row * rank..][..rank].iter().enumerate() {
        // SAFETY: `Bᵀ` is padded to whole vectors; the caller has the instruction set.
        sum = unsafe { L::splat(*h).fma(L::load(bt[k * np + tile.first..].as_ptr()), sum) };
    }
    sum
}

/// Some runs of all rows; where what was summed apart is there, the outputs are brought to their end.
#[inline(always)]
unsafe fn all_rows<D: Dot, const T: usize, S: Source<D>>(
    tile: &Tile<'_>,
    lines: Lines,
    runs: Range<usize>,
    source: &S,
    floats: Option<&[f32]>,
) {
    let (t, mut row) = (lines.rows, 0);
    // SAFETY: the caller's promise; rows stay below `t`.
    unsafe {
        if D::TILES {
            while row < t {
                rows_of::<D, T, 16, S>(tile, lines, row, &runs, source, floats);
                row += 16;
            }
            return;
        }
        while D::ROWS >= 12 && t - row >= 12 {
            rows_of::<D, T, 12, S>(tile, lines, row, &runs, source, floats);
            row += 12;
        }
        while D::ROWS >= 8 && t - row >= 8 {
            rows_of::<D, T, 8, S>(tile, lines, row, &runs, source, floats);
            row += 8;
        }
        while D::ROWS >= 4 && t - row >= 4 {
            rows_of::<D, T, 4, S>(tile, lines, row, &runs, source, floats);
            row += 4;
        }
        while D::ROWS >= 2 && t - row >= 2 {
            rows_of::<D, T, 2, S>(tile, lines, row, &runs, source, floats);
            row += 2;
        }
        while row < t {
            rows_of::<D, T, 1, S>(tile, lines, row, &runs, source, floats);
            row += 1;
        }
    }
}

/// Rows from which outliers come before the products, which then store the outputs while they go on computing: rows of outputs
/// lie far floats, and to add to many of them afterwards costs as much as the outliers.
const MANY_ROWS: usize = 48;

/// `M` rows of one tile's outputs over some runs: from +0 or from where the runs before ended.
#[inline(always)]
unsafe fn rows_of<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    tile: &Tile<'_>,
    lines: Lines,
    row: usize,
    runs: &Range<usize>,
    source: &S,
    floats: Option<&[f32]>,
) {
    // SAFETY: the tile has these runs, each row of the input as many groups of 32 bytes.
    unsafe {
        let mut sum = [D::L::splat(0.0); M];
        // of sixteen rows in a tile some may not be there
        let here = if D::TILES { M.min(lines.rows - row) } else { M };
        if runs.start > 0 {
            for r in 0..M {
                if r < here {
                    sum[r] = D::L::load(lines.row(row + r));
                }
            }
        }
        let sum = match const { DType::nth(T).has_blocks() } {
            true => block::<D, T, M, S>(sum, tile.x, row, runs, source),
            false => block_of_runs::<D, T, M, S>(sum, tile.x, row, runs, source),
        };
        for r in 0..M {
            if r < here {
                let mut sum = sum[r];
                if let Some(floats) = floats {
                    sum = sum.add(D::L::load(floats[(row + r) * LANES..].as_ptr()));
                }
                sum.store(lines.row(row + r));
            }
        }
        if floats.is_some() && tile.lora.is_some() {
            for row in row..row + here {
                add_lora(tile, row, D::L::load(lines.row(row))).store(lines.row(row));
            }
        }
    }
}
