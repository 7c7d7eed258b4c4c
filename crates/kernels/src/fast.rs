//! The linear layer of `fast` mode: stored weights × activations as integers (`quantise.rs`), for one row as for thousands.
//!
//! For each run of 32 columns the products are summed exactly in integers; the sum joins the output by one
//! fused multiply-add with the product of both scales, and so does that of the second plane where there is one; runs
//! ascend from the bias (or +0), each followed by `minimum · sum of the activations` where the type has a minimum; the float
//! LoRA product continues the chain. Rows, tiles, threads and instruction set do not change a bit.

use crate::dot8::{Dot, Ints, dot_fn, quads};
use crate::dtype::DType;
use crate::lanes::{LANES, Lanes, ask};
use crate::linear::{Cpu, Forward, check_parts, linear_at, linear_forward, lora_h};
use crate::pool::Shares;
use crate::quantise::{Group, PLANES, Quantised, SIDE};
use crate::weight::{RUN, TILE_ROWS, Weight, most, offset, quads32, run_bytes, scales32};
use std::mem::MaybeUninit;

/// Bytes of weights that a task reads at least.
const TASK_BYTES: usize = 16 * 1024;

/// Rows up to which a region is bound by reading the weights rather than by arithmetic.
const BOUND_BY_READING: usize = 16;

/// One weight's part of a region.
struct Part<'a> {
    weight: &'a Weight,
    x: &'a Quantised,
    bias: Option<&'a [f32]>,
    /// `Bᵀ`, its padded width, rank and `h`
    lora: Option<(&'a [f32], usize, usize, &'a [f32])>,
    /// `[T, ld]`, where columns `col0 ..` stand
    y: Shares<f32>,
    ld: usize,
    col0: usize,
    /// its place in the row of all parts' tiles
    first_tile: usize,
}

/// Where to cut `tiles` tiles of `bytes` each into tasks. Where reading rules, each thread gets one long stretch first,
/// which memory delivers at its best rate, and short ones for whoever is ready sooner; else all are equal.
fn cuts(tiles: usize, bytes: usize, rows: usize, threads: usize) -> Vec<usize> {
    let least = TASK_BYTES.div_ceil(bytes).max(1);
    let mut cuts = vec![0];
    let mut at = 0;
    while at < tiles {
        let size = match rows <= BOUND_BY_READING && threads > 1 {
            true if cuts.len() <= threads => tiles * 3 / (4 * threads),
            true => (tiles - at).div_ceil(3 * threads),
            false => tiles.div_ceil(16 * threads),
        };
        at = (at + size.max(if rows <= BOUND_BY_READING { least } else { 1 })).min(tiles);
        cuts.push(at);
    }
    cuts
}

/// `y = x Wᵀ + bias + h Bᵀ` as [`crate::linear_forward`], with the input as bytes: `q` holds `x` `[T, D]` quantised
/// ([`Quantised::set`]). `h` and weights of float types are computed from `x` itself.
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
        let weight = linear.weight;
        let y = Shares::new(y);
        let (bias, ld) = (linear.bias, weight.rows());
        list.push(Part { weight, x: q, bias, lora, y, ld, col0: 0, first_tile: tiles });
        tiles += weight.tiles();
    }
    let bytes: usize = list.iter().map(|p| p.weight.bytes()).sum();
    let cuts = cuts(tiles, (bytes / tiles.max(1)).max(1), t, cpu.pool().threads());
    cpu.pool().run(cuts.len() - 1, |task| {
        for tile in cuts[task]..cuts[task + 1] {
            let p = &list[list.partition_point(|p| p.first_tile <= tile) - 1];
            // SAFETY: shapes are checked above; tasks own disjoint columns of `y`.
            unsafe { tile_rows(p, tile - p.first_tile, t) };
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
        let tile = tile_of(groups[g][0]);
        let mut lines = vec![0f32; t * LANES];
        let (y, col0) = (Shares::new(&mut lines), tile * LANES);
        let (bias, lora, ld) = (None, None, LANES);
        let part = Part { weight, x: q, bias, lora, y, ld, col0, first_tile: 0 };
        // SAFETY: `lines` holds the tile's outputs of all rows.
        unsafe { tile_rows(&part, tile, t) };
        for &j in groups[g] {
            for (row, line) in lines.chunks_exact(LANES).enumerate() {
                // SAFETY: each output belongs to one chosen id, so to one task.
                unsafe { parts.at(row * ids.len() + j, 1)[0] = line[ids[j] as usize % TILE_ROWS] };
            }
        }
    });
}

dot_fn! {
    /// All rows of one tile's outputs.
    ///
    /// # Safety
    /// The tile exists, the shapes of the part fit `t` rows, and nobody else writes these columns of `y`.
    unsafe fn tile_rows(p: &Part<'_>, tile: usize, t: usize) = tile_rows_any
}

#[inline(always)]
unsafe fn tile_rows_any<D: Dot>(p: &Part<'_>, tile: usize, t: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.weight.dtype() {
            DType::Q8_0 => tile_rows_of::<D, { DType::Q8_0 as usize }>(p, tile, t),
            DType::Q4_0 => tile_rows_of::<D, { DType::Q4_0 as usize }>(p, tile, t),
            DType::Q4_1 => tile_rows_of::<D, { DType::Q4_1 as usize }>(p, tile, t),
            DType::Q5_0 => tile_rows_of::<D, { DType::Q5_0 as usize }>(p, tile, t),
            DType::Q5_1 => tile_rows_of::<D, { DType::Q5_1 as usize }>(p, tile, t),
            DType::Q4K => tile_rows_of::<D, { DType::Q4K as usize }>(p, tile, t),
            DType::Q5K => tile_rows_of::<D, { DType::Q5K as usize }>(p, tile, t),
            DType::Q6K => tile_rows_of::<D, { DType::Q6K as usize }>(p, tile, t),
            DType::Q2K => tile_rows_of::<D, { DType::Q2K as usize }>(p, tile, t),
            DType::Q3K => tile_rows_of::<D, { DType::Q3K as usize }>(p, tile, t),
            DType::IQ4NL => tile_rows_of::<D, { DType::IQ4NL as usize }>(p, tile, t),
            DType::F32 | DType::F16 | DType::BF16 => unreachable!("float weights take the exact product"),
        }
    }
}

#[inline(always)]
unsafe fn tile_rows_of<D: Dot, const T: usize>(p: &Part<'_>, tile: usize, t: usize) {
    let bytes = p.weight.tile(tile).as_ptr();
    let runs = p.x.runs();
    // SAFETY: the caller's promise; a panel is filled before it is read.
    unsafe {
        if t < D::PANEL_FROM {
            return all_rows::<D, T, _>(p, tile, t, 0, runs, &Stored { tile: bytes });
        }
        let mut panel = Panel::<D>::new();
        let mut first = 0;
        while first < runs {
            let end = runs.min(first + DEEP);
            panel.fill::<T>(bytes, first, end);
            all_rows::<D, T, _>(p, tile, t, first, end, &panel);
            first = end;
        }
    }
}

/// Runs `first .. end` of all rows.
#[inline(always)]
unsafe fn all_rows<D: Dot, const T: usize, S: Source<D>>(
    p: &Part<'_>,
    tile: usize,
    t: usize,
    first: usize,
    end: usize,
    source: &S,
) {
    let mut row = 0;
    // SAFETY: the caller's promise; rows stay below `t`.
    unsafe {
        while D::ROWS >= 12 && t - row >= 12 {
            block::<D, T, 12, S>(p, tile, row, first, end, source);
            row += 12;
        }
        while D::ROWS >= 8 && t - row >= 8 {
            block::<D, T, 8, S>(p, tile, row, first, end, source);
            row += 8;
        }
        while D::ROWS >= 4 && t - row >= 4 {
            block::<D, T, 4, S>(p, tile, row, first, end, source);
            row += 4;
        }
        while D::ROWS >= 2 && t - row >= 2 {
            block::<D, T, 2, S>(p, tile, row, first, end, source);
            row += 2;
        }
        while row < t {
            block::<D, T, 1, S>(p, tile, row, first, end, source);
            row += 1;
        }
    }
}

/// How far ahead of the products the weights are asked for.
const AHEAD: usize = 2048;

/// Scales and minima of a run, of its two halves where they differ.
type Scales<L> = [(L, L); 2];

/// Where a block finds its weights.
trait Source<D: Dot> {
    /// Groups of a run can be taken in a loop.
    const LOOP: bool;
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

/// Runs of a panel: 12 kB of bytes, which stay in the first-level cache beside the activations.
const DEEP: usize = 24;

/// Some runs of a tile as the products take them, for all rows of activations.
struct Panel<D: Dot> {
    /// its first run
    first: usize,
    fours: [[MaybeUninit<Ints<D>>; 8]; DEEP],
    scales: [MaybeUninit<Scales<D::L>>; DEEP],
}

impl<D: Dot> Panel<D> {
    #[inline(always)]
    fn new() -> Self {
        Panel {
            first: 0,
            fours: [const { [const { MaybeUninit::uninit() }; 8] }; DEEP],
            scales: [const { MaybeUninit::uninit() }; DEEP],
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
                for g in 0..8 {
                    self.fours[run - first][g].write(<Stored as Source<D>>::four::<T>(stored, run, g));
                }
            }
        }
    }
}

impl<D: Dot> Source<D> for Panel<D> {
    const LOOP: bool = true;
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
    bytes: [*const i8; PLANES],
    groups: *const Group,
    loud: *const u8,
    /// runs of a row
    runs: usize,
    /// blocks that the rows touch
    blocks: usize,
}

impl Rows {
    /// Rows `row .. row + count`; from four on, `row` is the first of a block.
    #[inline(always)]
    fn new(x: &Quantised, row: usize, count: usize) -> Rows {
        Rows {
            bytes: [x.bytes_from(0, row).as_ptr(), x.bytes_from(1, row).as_ptr()],
            groups: x.groups_from(row).as_ptr(),
            loud: x.loud_from(row).as_ptr(),
            runs: x.runs(),
            blocks: count.div_ceil(SIDE),
        }
    }

    /// How far row `r` lies behind the first, in groups; its run `run`.
    #[inline(always)]
    fn at(&self, r: usize, run: usize) -> usize {
        (r / SIDE * self.runs + run) * SIDE + r % SIDE
    }

    /// The bytes of row `r` in run `run` of a plane.
    #[inline(always)]
    unsafe fn bytes(&self, plane: usize, r: usize, run: usize) -> *const i8 {
        // SAFETY: the caller's rows and runs exist.
        unsafe { self.bytes[plane].add(self.at(r, run) * RUN) }
    }

    #[inline(always)]
    unsafe fn group(&self, r: usize, run: usize) -> *const Group {
        // SAFETY: as above.
        unsafe { self.groups.add(self.at(r, run)) }
    }

    /// The planes of run `run` that are not 0 in all rows of the blocks.
    #[inline(always)]
    unsafe fn planes(&self, run: usize) -> usize {
        // SAFETY: as above; four flags a run.
        let flags =
            |i: usize| unsafe { self.loud.add(self.at(i * SIDE, run)).cast::<u32>().read_unaligned() };
        let any = (0..self.blocks).fold(0, |any, i| any | flags(i));
        1 + usize::from(any != 0)
    }
}

/// Sums of the products of one plane in a run of 32 columns, or, of types with two scales, in the half that begins at group
/// `begin` of four columns; less the offset of the weights.
#[inline(always)]
unsafe fn int_sums<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    source: &S,
    run: usize,
    begin: usize,
    x: &Rows,
    plane: usize,
) -> [Ints<D>; M] {
    let dtype = const { DType::nth(T) };
    let off = if dtype.signed() { D::SIGNED_OFFSET } else { offset(dtype) };
    let steps = if dtype.halves() { 4 } else { 8 };
    let short = if D::NARROW { const { quads(most(DType::nth(T))) } } else { 8 }.min(steps);
    // With all groups in sight the compiler takes row after row, and where registers are few the weights of a run do not
    // fit them: so the loop stays a loop there.
    let once = if S::LOOP && D::NARROW && short > 1 { std::hint::black_box(short) } else { short };
    // SAFETY: as in `block`.
    unsafe {
        let mut ints = [D::L::int_splat(0); M];
        for part in 0..steps / short {
            let mut sums = [D::zero(); M];
            let first = begin + part * short;
            for g in first..first + once {
                let four = source.four::<T>(run, g);
                for r in 0..M {
                    sums[r] = D::step(sums[r], four, dtype.signed(), x.bytes(plane, r, run).add(4 * g));
                }
            }
            for r in 0..M {
                ints[r] = D::join(ints[r], sums[r]);
            }
        }
        if off > 0 {
            for r in 0..M {
                let [a, b] = (*x.group(r, run)).sums[plane].map(i32::from);
                let less = -off
                    * if !dtype.halves() {
                        a + b
                    } else if begin == 0 {
                        a
                    } else {
                        b
                    };
                ints[r] = D::L::int_add(ints[r], D::L::int_splat(less));
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
    plane: usize,
) {
    for r in 0..M {
        // SAFETY: as in `block`.
        unsafe {
            let both = d.mul(D::L::splat((*x.group(r, run)).scales[plane]));
            sum[r] = D::L::int_to_f32(ints[r]).fma(both, sum[r]);
        }
    }
}

/// `M` rows of one tile's outputs over runs `begin .. end`: from the bias or from where the runs before ended; after the
/// last run the adapter follows.
#[inline(always)]
unsafe fn block<D: Dot, const T: usize, const M: usize, S: Source<D>>(
    p: &Part<'_>,
    tile: usize,
    row: usize,
    begin: usize,
    end: usize,
    source: &S,
) {
    let dtype = const { DType::nth(T) };
    let (n, first) = (p.weight.rows(), tile * LANES);
    let here = LANES.min(n - first);
    // SAFETY: the tile has `runs` runs, each row of the input as many groups of 32 bytes; outputs are the caller's
    // promise.
    unsafe {
        let x = &Rows::new(p.x, row, M);
        let mut sum = [D::L::splat(0.0); M];
        if begin > 0 {
            for r in 0..M {
                let from = p.y.ptr().add((row + r) * p.ld + first - p.col0);
                sum[r] = D::L::load_part(from, here, 0.0);
            }
        } else if let Some(bias) = p.bias {
            sum = [D::L::load_part(bias[first..].as_ptr(), here, 0.0); M];
        }
        for run in begin..end {
            if row == 0 {
                // the first rows bring the tile from memory; the others find it in the cache
                source.ask::<T>(run);
            }
            let [(d, m), (d2, m2)] = source.scales::<T>(run);
            for plane in 0..x.planes(run) {
                let ints = int_sums::<D, T, M, S>(source, run, 0, x, plane);
                add_scaled::<D, M>(&mut sum, ints, d, x, run, plane);
                if dtype.halves() {
                    let ints = int_sums::<D, T, M, S>(source, run, 4, x, plane);
                    add_scaled::<D, M>(&mut sum, ints, d2, x, run, plane);
                }
            }
            if dtype.has_min() {
                for r in 0..M {
                    let group = &*x.group(r, run);
                    if dtype.halves() {
                        sum[r] = m.fma(D::L::splat(group.halves[0]), sum[r]);
                        sum[r] = m2.fma(D::L::splat(group.halves[1]), sum[r]);
                    } else {
                        sum[r] = m.fma(D::L::splat(group.whole), sum[r]);
                    }
                }
            }
        }
        if let (true, Some((bt, np, rank, h))) = (end == p.x.runs(), p.lora) {
            for r in 0..M {
                for k in 0..rank {
                    let b = D::L::load(bt[k * np + first..].as_ptr());
                    sum[r] = D::L::splat(h[(row + r) * rank + k]).fma(b, sum[r]);
                }
            }
        }
        for r in 0..M {
            let to = p.y.ptr().add((row + r) * p.ld + first - p.col0);
            sum[r].store_part(to, here);
        }
    }
}
