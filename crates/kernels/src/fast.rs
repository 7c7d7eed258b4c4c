//! The linear layer of `fast` mode: stored weights × activations as integers (`quantise.rs`), for one row as for thousands.
//!
//! For each run of 32 columns the products are summed exactly in integers; the sum joins the others by one
//! fused multiply-add with the product of both scales (two where the halves of a run differ and their scales do not join the sum in bytes); runs ascend from +0, each followed by
//! `minimum · sum of the activations` where the type has a minimum. What is not of bytes is summed apart: from the bias (or
//! +0) the outliers by ascending columns. The output is the sum of both, which the adapter's float product continues (as
//! `lora_rows` does where rows have adapters of their own). Rows, tiles, threads and instruction set do not change a bit.

use crate::ahead::ask;
use crate::dot8::{Dot, Ints, dot_fn, quads};
use crate::dtype::DType;
use crate::lanes::{LANES, Lanes};
use crate::linear::{Cpu, Forward, check_parts, linear_at, linear_forward, lora_h};
use crate::pool::Shares;
use crate::quantise::{Group, Quantised, SIDE};
use crate::weight::{
    RUN, TILE_ROWS, Weight, column, folded32, folds, most, offset, quads32, run_bytes, scales32, small32,
};
use std::mem::MaybeUninit;
use std::ops::Range;

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
/// If shapes do not fit.
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

/// [`crate::linear_at`] with the input as bytes: the same bits as [`linear_fast`] gives there.
///
/// # Panics
/// If shapes do not fit or an id lies beyond the weight.
pub fn linear_fast_at(cpu: &Cpu, weight: &Weight, x: &[f32], q: &Quantised, ids: &[u32], out: &mut [f32]) {
    if !weight.dtype().is_quantised() {
        return linear_at(cpu, weight, x, ids, out);
    }
    let t = q.rows();
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
        let early = t >= EARLY;
        if early {
            float_sums::<D::L, T>(tile, floats);
        }
        if !MANY || t < D::PANEL_FROM {
            let floats = early.then_some(&*floats);
            all_rows::<D, T, _>(tile, lines, 0..runs, &Stored { tile: bytes }, floats);
        } else {
            let mut panel = Panel::<D>::new();
            let mut first = 0;
            while first < runs {
                let end = runs.min(first + DEEP);
                panel.fill::<T>(bytes, first, end);
                let floats = (early && end == runs).then_some(&*floats);
                all_rows::<D, T, _>(tile, lines, first..end, &panel, floats);
                first = end;
            }
        }
        if !early {
            // the products brought the weights, which the outliers find in the cache
            float_sums::<D::L, T>(tile, floats);
            for row in 0..t {
                let sum = D::L::load(lines.row(row)).add(D::L::load(floats[row * LANES..].as_ptr()));
                add_lora(tile, row, sum).store(lines.row(row));
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
    tile: &Tile<'_>,
    lines: Lines,
    runs: Range<usize>,
    source: &S,
    floats: Option<&[f32]>,
) {
    let (t, mut row) = (lines.rows, 0);
    // SAFETY: the caller's promise; rows stay below `t`.
    unsafe {
        while D::ROWS >= 12 && t - row >= 12 {
            block::<D, T, 12, S>(tile, lines, row, &runs, source, floats);
            row += 12;
        }
        while D::ROWS >= 8 && t - row >= 8 {
            block::<D, T, 8, S>(tile, lines, row, &runs, source, floats);
            row += 8;
        }
        while D::ROWS >= 4 && t - row >= 4 {
            block::<D, T, 4, S>(tile, lines, row, &runs, source, floats);
            row += 4;
        }
        while D::ROWS >= 2 && t - row >= 2 {
            block::<D, T, 2, S>(tile, lines, row, &runs, source, floats);
            row += 2;
        }
        while row < t {
            block::<D, T, 1, S>(tile, lines, row, &runs, source, floats);
            row += 1;
        }
    }
}

/// Rows from which outliers come before the products, which then store the outputs while they go on computing: rows of outputs
/// lie far floats, and to add to many of them afterwards costs as much as the outliers.
const EARLY: usize = 48;

/// How far ahead of the products the weights are asked for: 2 kB are too late by a quarter, more than 8 kB gain nothing.
const AHEAD: usize = 8192;

/// Scales and minima of a run, of its two halves where they differ.
type Scales<L> = [(L, L); 2];

/// The scale of a run's block, and the small scales of its halves.
type Small<L> = (L, [L; 2]);

/// Where a block finds its weights.
trait Source<D: Dot> {
    /// Groups of a run can be taken in a loop.
    const LOOP: bool;
    /// Quants of types that fold are multiplied by their small scales already.
    const FOLDED: bool;
    /// The scale of a run's block, and the small scales of its halves as floats where they are not [`Source::FOLDED`].
    ///
    /// # Safety
    /// As [`Source::scales`]; the type folds.
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L>;
    /// Scales and minima of a run, those of its halves where they differ.
    ///
    /// # Safety
    /// The run exists, and the instruction set of `D`.
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L>;
    /// Group `g` of four columns of a run.
    ///
    /// # Safety
    /// As above; `g < 8`.
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D>;
    /// Asks memory for what the next runs need.
    fn ask<const T: usize>(&self, run: usize);
}

/// The tile as it is stored.
struct Stored {
    tile: *const u8,
}

impl<D: Dot> Source<D> for Stored {
    // where nibbles and bits lie depends on the group
    const LOOP: bool = false;
    const FOLDED: bool = false;
    #[inline(always)]
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L> {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, [a, b]) = small32::<D::L>(const { DType::nth(T) }, self.tile, run);
            (d, [D::L::int_to_f32(a), D::L::int_to_f32(b)])
        }
    }
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L> {
        // SAFETY: the caller's promise.
        unsafe { scales32::<D::L>(const { DType::nth(T) }, self.tile, run) }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        let dtype = const { DType::nth(T) };
        // SAFETY: the caller's promise.
        unsafe { D::four(quads32::<D::L>(dtype, self.tile, run, g), dtype.signed()) }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, run: usize) {
        let bytes = run_bytes(const { DType::nth(T) });
        ask(self.tile.wrapping_add(run * bytes + AHEAD), bytes);
    }
}

/// Runs of a panel: 32 kB of bytes. Between panels the sums of all rows go to the outputs and come back, over lines that lie far apart, which costs
/// more than weights that come from the second-level cache.
const DEEP: usize = 64;

/// Some runs of a tile as the products take them, for all rows of activations.
struct Panel<D: Dot> {
    /// its first run
    first: usize,
    fours: [[MaybeUninit<Ints<D>>; 8]; DEEP],
    scales: [MaybeUninit<Scales<D::L>>; DEEP],
    /// of types that fold
    small: [MaybeUninit<Small<D::L>>; DEEP],
}

impl<D: Dot> Panel<D> {
    #[inline(always)]
    fn new() -> Self {
        Panel {
            first: 0,
            fours: [const { [const { MaybeUninit::uninit() }; 8] }; DEEP],
            scales: [const { MaybeUninit::uninit() }; DEEP],
            small: [const { MaybeUninit::uninit() }; DEEP],
        }
    }

    /// Takes in runs `first .. end` of a tile, at most [`DEEP`].
    ///
    /// # Safety
    /// The runs exist, and the instruction set of `D`.
    #[inline(always)]
    unsafe fn fill<const T: usize>(&mut self, tile: *const u8, first: usize, end: usize) {
        let stored = &Stored { tile };
        self.first = first;
        for run in first..end {
            <Stored as Source<D>>::ask::<T>(stored, run);
            // SAFETY: the caller's promise.
            unsafe {
                self.scales[run - first].write(<Stored as Source<D>>::scales::<T>(stored, run));
                let dtype = const { DType::nth(T) };
                if folds(dtype) {
                    self.small[run - first].write(<Stored as Source<D>>::small::<T>(stored, run));
                }
                if folds(dtype) && <Self as Source<D>>::FOLDED {
                    let (_, small) = small32::<D::L>(dtype, tile, run);
                    for g in 0..8 {
                        self.fours[run - first][g].write(folded32::<D::L>(dtype, tile, run, g, small));
                    }
                    continue;
                }
                for g in 0..8 {
                    self.fours[run - first][g].write(<Stored as Source<D>>::four::<T>(stored, run, g));
                }
            }
        }
    }
}

impl<D: Dot> Source<D> for Panel<D> {
    const LOOP: bool = true;
    // sums of sixteen bits hold the less of larger bytes
    const FOLDED: bool = !D::NARROW;
    #[inline(always)]
    unsafe fn small<const T: usize>(&self, run: usize) -> Small<D::L> {
        // SAFETY: the run was taken in.
        unsafe { self.small.get_unchecked(run - self.first).assume_init() }
    }
    #[inline(always)]
    unsafe fn scales<const T: usize>(&self, run: usize) -> Scales<D::L> {
        // SAFETY: the run was taken in.
        unsafe { self.scales.get_unchecked(run - self.first).assume_init() }
    }
    #[inline(always)]
    unsafe fn four<const T: usize>(&self, run: usize, g: usize) -> Ints<D> {
        // SAFETY: the run was taken in.
        unsafe { self.fours.get_unchecked(run - self.first).get_unchecked(g).assume_init() }
    }
    #[inline(always)]
    fn ask<const T: usize>(&self, _: usize) {}
}

/// Where some rows of activations begin: a row of a block of [`SIDE`] rows, and whole blocks behind it.
#[derive(Clone, Copy)]
struct Rows {
    bytes: *const i8,
    groups: *const Group,
    /// runs of a row
    runs: usize,
}

impl Rows {
    /// Rows from `row` on; where there are more than [`SIDE`], `row` is the first of a block.
    #[inline(always)]
    fn new(x: &Quantised, row: usize) -> Rows {
        Rows { bytes: x.bytes_from(row).as_ptr(), groups: x.groups_from(row).as_ptr(), runs: x.runs() }
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
    unsafe fn group(&self, r: usize, run: usize) -> &Group {
        // SAFETY: as above.
        unsafe { &*self.groups.add(self.at(r, run)) }
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
                let group = x.group(r, run);
                let sum = if halves { group.half_sums[begin / 4] } else { group.sum };
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
            let both = d.mul(D::L::splat(x.group(r, run).scale));
            sum[r] = D::L::int_to_f32(ints[r]).fma(both, sum[r]);
        }
    }
}

/// `M` rows of one tile's outputs over some runs: from +0 or from where the runs before ended.
#[inline(always)]
unsafe fn block<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    tile: &Tile<'_>,
    lines: Lines,
    row: usize,
    runs: &Range<usize>,
    source: &S,
    floats: Option<&[f32]>,
) {
    let dtype = const { DType::nth(T) };
    // SAFETY: the tile has these runs, each row of the input as many groups of 32 bytes.
    unsafe {
        let x = &Rows::new(tile.x, row);
        let mut sum = [D::L::splat(0.0); M];
        if runs.start > 0 {
            for r in 0..M {
                sum[r] = D::L::load(lines.row(row + r));
            }
        }
        for run in runs.clone() {
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
                        let both = d.mul(D::L::splat(x.group(r, run).scale));
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
                    let group = x.group(r, run);
                    if dtype.halves() {
                        sum[r] = m.fma(D::L::splat(group.halves[0]), sum[r]);
                        sum[r] = m2.fma(D::L::splat(group.halves[1]), sum[r]);
                    } else {
                        sum[r] = m.fma(D::L::splat(group.whole), sum[r]);
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
