//! Some tiles of a weight with all rows of activations.

use super::panel::{DEEP, Line, PANEL_LINES, Panel, Source, Stored};
use crate::dot8::{Dot, Ints, dot_fn, quads};
use crate::dtype::DType;
use crate::lanes::{LANES, Lanes};
use crate::product::with_panels;
use crate::quantise::{GroupsAt, Quantised, SIDE};
use crate::weight::{RUN, Weight, column, folds, most, offset};
use std::ops::Range;

/// `Bᵀ`, its padded width, rank and `h`.
pub(super) type Lora<'a> = Option<(&'a [f32], usize, usize, &'a [f32])>;

/// Where the outputs of a tile go: 16 at a time, row by row.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) to: *mut f32,
    /// floats from one row to the next
    pub(super) ld: usize,
    pub(super) rows: usize,
}

impl Lines {
    /// Lines of their own, side by side.
    pub(super) fn of(room: &mut Vec<f32>, rows: usize) -> Lines {
        room.resize(rows * LANES, 0.0);
        Lines { to: room.as_mut_ptr(), ld: LANES, rows }
    }

    #[inline(always)]
    unsafe fn row(&self, row: usize) -> *mut f32 {
        // SAFETY: the caller's row exists.
        unsafe { self.to.add(row * self.ld) }
    }
}

/// A tile and what it meets.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) weight: &'a Weight,
    /// its first output
    pub(super) first: usize,
    pub(super) x: &'a Quantised,
    /// of its outputs, or nothing
    pub(super) bias: &'a [f32],
    pub(super) lora: Lora<'a>,
    pub(super) lines: Lines,
}

impl Tile<'_> {
    fn bytes(&self) -> *const u8 {
        self.weight.tile(self.first / LANES).as_ptr()
    }
}

/// Most tiles that take some rows of activations one after the other.
pub(super) const TOGETHER: usize = 4;

/// Runs of all rows from which these do not stay beside all else in a second-level cache of a megabyte: half a megabyte.
const FAR: usize = 12 * 1024;

/// Tiles that are best taken together: where rows come from far, they come once for all of these. Fewer rows meet one tile at a
/// time, whose panel stays in the first-level cache. Where there is no panel it does not matter.
pub(super) fn together(rows: usize, runs: usize) -> usize {
    if (LEAST_PANEL..FAR.div_ceil(runs.max(1))).contains(&rows) { 1 } else { TOGETHER }
}

/// Room that a task needs for itself.
pub(super) struct Room<'a> {
    /// what is summed apart, `[tiles, T, 16]`
    floats: &'a mut [f32],
    /// for a panel of each tile where there are many rows
    panels: &'a mut [Line],
}

/// Gives `f` room for `tiles` tiles at a time.
pub(super) fn with_room<R>(tiles: usize, rows: usize, f: impl FnOnce(&mut Room<'_>) -> R) -> R {
    let (floats, panels) = (tiles * rows, if rows < LEAST_PANEL { 0 } else { tiles * PANEL_LINES });
    with_panels((floats + panels + 1) * LANES, |all| {
        // SAFETY: a line is 16 floats.
        let lines = unsafe { all.align_to_mut::<Line>().1 };
        let (floats, panels) = lines[..floats + panels].split_at_mut(floats);
        // SAFETY: as above.
        let floats = unsafe { floats.align_to_mut::<f32>().1 };
        f(&mut Room { floats, panels })
    })
}

/// All rows of some tiles' outputs, in room for as many.
///
/// # Safety
/// The tiles exist and are of one weight, `x` has the rows of their lines and the weight's columns, and nobody else writes these lines.
pub(super) unsafe fn tile_rows(tiles: &[Tile<'_>], room: &mut Room<'_>) {
    // few rows have a function of their own, which knows no panels
    // SAFETY: the caller's promise.
    unsafe { if tiles[0].lines.rows < LEAST_PANEL { few_rows(tiles, room) } else { many_rows(tiles, room) } }
}

/// The least [`Dot::PANEL_FROM`].
const LEAST_PANEL: usize = 8;

dot_fn! {
    /// # Safety
    /// As [`tile_rows`].
    unsafe fn few_rows(tiles: &[Tile<'_>], room: &mut Room<'_>) = few_rows_any
}

#[inline(always)]
unsafe fn few_rows_any<D: Dot>(tiles: &[Tile<'_>], room: &mut Room<'_>) {
    const { assert!(D::PANEL_FROM >= LEAST_PANEL) };
    // SAFETY: the caller's promise.
    unsafe { tile_rows_any::<D, false>(tiles, room) }
}

dot_fn! {
    /// # Safety
    /// As [`tile_rows`].
    unsafe fn many_rows(tiles: &[Tile<'_>], room: &mut Room<'_>) = many_rows_any
}

#[inline(always)]
unsafe fn many_rows_any<D: Dot>(tiles: &[Tile<'_>], room: &mut Room<'_>) {
    // SAFETY: the caller's promise.
    unsafe { tile_rows_any::<D, true>(tiles, room) }
}

#[inline(always)]
unsafe fn tile_rows_any<D: Dot, const MANY: bool>(tiles: &[Tile<'_>], room: &mut Room<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match tiles[0].weight.dtype() {
            DType::Q8_0 => tile_rows_of::<D, { DType::Q8_0 as usize }, MANY>(tiles, room),
            DType::Q4_0 => tile_rows_of::<D, { DType::Q4_0 as usize }, MANY>(tiles, room),
            DType::Q4_1 => tile_rows_of::<D, { DType::Q4_1 as usize }, MANY>(tiles, room),
            DType::Q5_0 => tile_rows_of::<D, { DType::Q5_0 as usize }, MANY>(tiles, room),
            DType::Q5_1 => tile_rows_of::<D, { DType::Q5_1 as usize }, MANY>(tiles, room),
            DType::Q4K => tile_rows_of::<D, { DType::Q4K as usize }, MANY>(tiles, room),
            DType::Q5K => tile_rows_of::<D, { DType::Q5K as usize }, MANY>(tiles, room),
            DType::Q6K => tile_rows_of::<D, { DType::Q6K as usize }, MANY>(tiles, room),
            DType::Q2K => tile_rows_of::<D, { DType::Q2K as usize }, MANY>(tiles, room),
            DType::Q3K => tile_rows_of::<D, { DType::Q3K as usize }, MANY>(tiles, room),
            DType::IQ4NL => tile_rows_of::<D, { DType::IQ4NL as usize }, MANY>(tiles, room),
            DType::F32 | DType::F16 | DType::BF16 => unreachable!("float weights take the exact product"),
        }
    }
}

#[inline(always)]
unsafe fn tile_rows_of<D: Dot, const T: usize, const MANY: bool>(tiles: &[Tile<'_>], room: &mut Room<'_>) {
    let (t, runs, early) = (tiles[0].lines.rows, tiles[0].x.runs(), tiles[0].lines.rows >= EARLY);
    let apart = |i: usize| i * t * LANES..(i + 1) * t * LANES;
    // SAFETY: the caller's promise; a panel is filled before it is read.
    unsafe {
        if early {
            for (i, tile) in tiles.iter().enumerate() {
                float_sums::<D::L, T>(tile, &mut room.floats[apart(i)]);
            }
        }
        if !MANY || t < D::PANEL_FROM {
            for (i, tile) in tiles.iter().enumerate() {
                let floats = early.then_some(&room.floats[apart(i)]);
                let stored = &[Stored { tile: tile.bytes() }];
                all_rows::<D, T, _>(std::slice::from_ref(tile), 0..runs, stored, floats);
            }
        } else {
            let panels = Panel::<D>::all(room.panels);
            let mut first = 0;
            while first < runs {
                let end = runs.min(first + DEEP);
                for (tile, panel) in tiles.iter().zip(&mut *panels) {
                    panel.fill::<T>(tile.bytes(), first, end);
                }
                let floats = (early && end == runs).then_some(&*room.floats);
                all_rows::<D, T, _>(tiles, first..end, panels, floats);
                first = end;
            }
        }
        if !early {
            for (i, tile) in tiles.iter().enumerate() {
                let floats = &mut room.floats[apart(i)];
                // the products brought the weights, which the outliers find in the cache
                float_sums::<D::L, T>(tile, floats);
                for row in 0..t {
                    let line = tile.lines.row(row);
                    let sum = D::L::load(line).add(D::L::load(floats[row * LANES..].as_ptr()));
                    add_lora(tile, row, sum).store(line);
                }
            }
        }
    }
}

/// The part of the outputs that is not of bytes, `[T, 16]`: bias and outliers.
#[inline(always)]
unsafe fn float_sums<L: Lanes, const T: usize>(tile: &Tile<'_>, floats: &mut [f32]) {
    let (bytes, to, rows) = (tile.bytes(), floats.as_mut_ptr(), floats.len() / LANES);
    // SAFETY: columns lie inside the tile, rows inside `floats`.
    unsafe {
        let bias = L::load_part(tile.bias.as_ptr(), tile.bias.len(), 0.0);
        if rows == 1 {
            // the same in a register
            let mut sum = bias;
            for (c, outliers) in tile.x.outliers() {
                let w = column::<L>(const { DType::nth(T) }, bytes, c);
                sum = L::splat(outliers[0].value).fma(w, sum);
            }
            return sum.store(to);
        }
        for row in 0..rows {
            bias.store(to.add(row * LANES));
        }
        for (c, outliers) in tile.x.outliers() {
            let w = column::<L>(const { DType::nth(T) }, bytes, c);
            for outlier in outliers {
                let line = to.add(outlier.at as usize * LANES);
                L::splat(outlier.value).fma(w, L::load(line)).store(line);
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
    tiles: &[Tile<'_>],
    runs: Range<usize>,
    sources: &[S],
    floats: Option<&[f32]>,
) {
    let (t, mut row) = (tiles[0].lines.rows, 0);
    // SAFETY: the caller's promise; rows stay below `t`.
    unsafe {
        while D::ROWS >= 12 && t - row >= 12 {
            blocks::<D, T, 12, S>(tiles, row, &runs, sources, floats);
            row += 12;
        }
        while D::ROWS >= 8 && t - row >= 8 {
            blocks::<D, T, 8, S>(tiles, row, &runs, sources, floats);
            row += 8;
        }
        while D::ROWS >= 4 && t - row >= 4 {
            blocks::<D, T, 4, S>(tiles, row, &runs, sources, floats);
            row += 4;
        }
        while D::ROWS >= 2 && t - row >= 2 {
            blocks::<D, T, 2, S>(tiles, row, &runs, sources, floats);
            row += 2;
        }
        while row < t {
            blocks::<D, T, 1, S>(tiles, row, &runs, sources, floats);
            row += 1;
        }
    }
}

#[inline(always)]
unsafe fn blocks<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    tiles: &[Tile<'_>],
    row: usize,
    runs: &Range<usize>,
    sources: &[S],
    floats: Option<&[f32]>,
) {
    for (i, (tile, source)) in tiles.iter().zip(sources).enumerate() {
        let floats = floats.map(|f| &f[i * tile.lines.rows * LANES..]);
        // SAFETY: the caller's promise.
        unsafe { block::<D, T, M, S>(tile, row, runs, source, floats) }
    }
}

/// Rows from which outliers come before the products, which then store the outputs while they go on computing: rows of outputs
/// lie far floats, and to add to many of them afterwards costs as much as the outliers.
const EARLY: usize = 48;

/// Where some rows of activations begin: a row of a block of [`SIDE`] rows, and whole blocks behind it.
#[derive(Clone, Copy)]
struct Rows {
    bytes: *const i8,
    groups: GroupsAt,
    /// runs of a row
    runs: usize,
}

impl Rows {
    /// Rows from `row` on; where there are more than [`SIDE`], `row` is the first of a block.
    #[inline(always)]
    fn new(x: &Quantised, row: usize, run: usize) -> Rows {
        Rows { bytes: x.bytes_from(row, run).as_ptr(), groups: x.groups_from(row, run), runs: x.runs() }
    }

    /// How far row `r` lies behind the first, in groups; its run `run`.
    #[inline(always)]
    fn at(&self, r: usize, run: usize) -> usize {
        (r / SIDE * self.runs + run) * SIDE + r % SIDE
    }

    /// The bytes of row `r` in run `run`.
    #[inline(always)]
    unsafe fn bytes(&self, r: usize, run: usize) -> *const i8 {
        // SAFETY: the caller's rows and runs exist.
        unsafe { self.bytes.add(self.at(r, run) * RUN) }
    }

    #[inline(always)]
    unsafe fn scale(&self, r: usize, run: usize) -> f32 {
        // SAFETY: as above.
        unsafe { *self.groups.scale.add(self.at(r, run)) }
    }

    #[inline(always)]
    unsafe fn sum(&self, r: usize, run: usize) -> i32 {
        // SAFETY: as above.
        unsafe { *self.groups.sum.add(self.at(r, run)) }
    }

    #[inline(always)]
    unsafe fn whole(&self, r: usize, run: usize) -> f32 {
        // SAFETY: as above.
        unsafe { *self.groups.whole.add(self.at(r, run)) }
    }

    #[inline(always)]
    unsafe fn half_sums(&self, r: usize, run: usize) -> &[i32; 2] {
        // SAFETY: as above.
        unsafe { &*self.groups.half_sums.add(self.at(r, run)) }
    }

    #[inline(always)]
    unsafe fn halves(&self, r: usize, run: usize) -> &[f32; 2] {
        // SAFETY: as above.
        unsafe { &*self.groups.halves.add(self.at(r, run)) }
    }
}

/// `-off · sum` in all lanes; `off` is 0 or a power of two.
#[inline(always)]
unsafe fn less<L: Lanes>(off: i32, sum: i32) -> L::Int {
    // SAFETY: the caller has the instruction set.
    unsafe { L::int_splat(if off == 0 { 0 } else { -(sum << off.ilog2()) }) }
}

/// Sums of the products in a run of 32 columns, or, of types with two scales, in the half that begins at group
/// `begin` of four columns; less the offset of the weights.
#[inline(always)]
unsafe fn int_sums<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    source: &S,
    run: usize,
    begin: usize,
    x: &Rows,
) -> [Ints<D>; M] {
    let dtype = const { DType::nth(T) };
    let signed = dtype.signed();
    let folded = S::FOLDED && folds(dtype);
    let off = match dtype {
        DType::Q3K if folded => 128,
        _ if signed => D::SIGNED_OFFSET,
        _ => offset(dtype),
    };
    let halves = dtype.halves() && !folded;
    let steps = if halves { 4 } else { 8 };
    let short = if D::NARROW { const { quads(most(DType::nth(T))) } } else { 8 }.min(steps);
    // With all groups in sight the compiler takes row after row, and where registers are few the weights of a run do not
    // fit them: so the loop stays a loop there.
    let once = if S::LOOP && D::NARROW && short > 1 { std::hint::black_box(short) } else { short };
    // SAFETY: as in `block`.
    unsafe {
        let mut ints = [D::L::int_splat(0); M];
        if off > 0 {
            for r in 0..M {
                let sum = if halves { x.half_sums(r, run)[begin / 4] } else { x.sum(r, run) };
                ints[r] = less::<D::L>(off, sum);
            }
        }
        for part in 0..steps / short {
            let first = begin + part * short;
            let four = source.four::<T>(run, first);
            let mut sums = [D::begin(four, signed, x.bytes(0, run).add(4 * first)); M];
            for r in 1..M {
                sums[r] = D::begin(four, signed, x.bytes(r, run).add(4 * first));
            }
            for g in first + 1..first + once {
                let four = source.four::<T>(run, g);
                for r in 0..M {
                    sums[r] = D::step(sums[r], four, signed, x.bytes(r, run).add(4 * g));
                }
            }
            for r in 0..M {
                ints[r] = D::join(ints[r], sums[r]);
            }
        }
        ints
    }
}

/// `sum += d · scale of the row's group · ints`.
#[inline(always)]
unsafe fn add_scaled<D: Dot, const M: usize>(
    sum: &mut [D::L; M],
    ints: [Ints<D>; M],
    d: D::L,
    x: &Rows,
    run: usize,
) {
    for r in 0..M {
        // SAFETY: as in `block`.
        unsafe {
            let both = d.mul(D::L::splat(x.scale(r, run)));
            sum[r] = D::L::int_to_f32(ints[r]).fma(both, sum[r]);
        }
    }
}

/// `M` rows of one tile's outputs over some runs: from +0 or from where the runs before ended.
#[inline(always)]
unsafe fn block<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    tile: &Tile<'_>,
    row: usize,
    runs: &Range<usize>,
    source: &S,
    floats: Option<&[f32]>,
) {
    let (dtype, lines) = (const { DType::nth(T) }, tile.lines);
    // SAFETY: the tile has these runs, each row of the input as many groups of 32 bytes.
    unsafe {
        let x = &Rows::new(tile.x, row, runs.start);
        let mut sum = [D::L::splat(0.0); M];
        if runs.start > 0 {
            for r in 0..M {
                sum[r] = D::L::load(lines.row(row + r));
            }
        }
        for run in 0..runs.len() {
            if row == 0 {
                // the first rows bring the tile from memory; the others find it in the cache
                source.ask::<T>(run);
            }
            let [(d, m), (d2, m2)] = source.scales::<T>(run);
            let ints = int_sums::<D, T, M, S>(source, run, 0, x);
            if folds(dtype) {
                let (d, small) = source.small::<T>(run);
                if S::FOLDED {
                    let d = if dtype == DType::Q3K { D::L::splat(0.0).sub(d) } else { d };
                    add_scaled::<D, M>(&mut sum, ints, d, x, run);
                } else {
                    // whole numbers below 2^24, so the same exact sum
                    let more = int_sums::<D, T, M, S>(source, run, 4, x);
                    for r in 0..M {
                        let first = D::L::int_to_f32(ints[r]).mul(small[0]);
                        let whole = D::L::int_to_f32(more[r]).fma(small[1], first);
                        let both = d.mul(D::L::splat(x.scale(r, run)));
                        sum[r] = whole.fma(both, sum[r]);
                    }
                }
            } else {
                add_scaled::<D, M>(&mut sum, ints, d, x, run);
                if dtype.halves() {
                    let ints = int_sums::<D, T, M, S>(source, run, 4, x);
                    add_scaled::<D, M>(&mut sum, ints, d2, x, run);
                }
            }
            if dtype.has_min() {
                for r in 0..M {
                    if dtype.halves() {
                        sum[r] = m.fma(D::L::splat(x.halves(r, run)[0]), sum[r]);
                        sum[r] = m2.fma(D::L::splat(x.halves(r, run)[1]), sum[r]);
                    } else {
                        sum[r] = m.fma(D::L::splat(x.whole(r, run)), sum[r]);
                    }
                }
            }
        }
        if let Some(floats) = floats {
            for r in 0..M {
                sum[r] = sum[r].add(D::L::load(floats[(row + r) * LANES..].as_ptr()));
            }
        }
        for r in 0..M {
            sum[r].store(lines.row(row + r));
        }
        if floats.is_some() && tile.lora.is_some() {
            for row in row..row + M {
                add_lora(tile, row, D::L::load(lines.row(row))).store(lines.row(row));
            }
        }
    }
}
