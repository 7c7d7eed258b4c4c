//! Products of matrices: panels, register tiles, parallel tasks.
//!
//! `C[m, n] = Σ_terms Σ_k A_t[m, k] · B_t[k, n]`, each element one chain of fused multiply-adds over the terms
//! and `k` in order. The left operand is read where it lies; the right one is packed by each task into panels (`[k][NR]`), where a stored weight is decoded on the way.

use crate::lanes::{LANES, Lanes, Scalar, lanes_fn};
use crate::pool::Pool;
use crate::weight::{RUN, Weight, decode_run};
use std::cell::RefCell;

/// Floats of a task's panels: they should stay in the second-level cache.
const PANEL_FLOATS: usize = 64 * 1024;

/// Inner elements that are packed as a whole. More (a head with a large vocabulary, backward) go piece by piece: their panels
/// would leave the caches. Below that, sweeping the output several times costs more than it saves.
const WHOLE: usize = 8192;

/// Inner elements of a piece.
const DEPTH: usize = 2 * CHAIN;

/// Terms this narrow are not worth a sweep of their own over the output.
const NARROW: usize = 64;

/// Longest chain of a product with a transposed weight (the backward pass). Its inner index runs over the outputs of
/// a projection, or over the whole vocabulary: one chain that long rounds ten times worse than the rest of the pass.
const CHAIN: usize = 256;

/// Widest panel of any instruction set.
pub(crate) const MAX_NR: usize = 32;

thread_local! {
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Gives `f` a buffer of at least `len` floats that belongs to this thread (contents undefined).
pub(crate) fn with_panels<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    PANELS.with_borrow_mut(|p| {
        if p.len() < len {
            p.resize(len, 0.0);
        }
        f(&mut p[..len])
    })
}

/// Addresses of one register tile's operands.
#[derive(Clone, Copy)]
pub(crate) struct TileArgs {
    pub(crate) k: usize,
    /// left operand: element `(k, r)` at `a + k * ka + r * ra`
    pub(crate) a: *const f32,
    pub(crate) ka: usize,
    pub(crate) ra: usize,
    /// right operand: 16-lane vectors at `b + k * ldb`
    pub(crate) b: *const f32,
    pub(crate) ldb: usize,
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// go on from the values in `c` instead of from 0
    pub(crate) add: bool,
    /// begin at 0 all the same, and add the end of the chain to the values in `c`
    pub(crate) apart: bool,
}

#[inline(always)]
unsafe fn tile_body<L: Lanes, const MR: usize, const NV: usize>(t: &TileArgs, ka: usize, ra: usize) {
    // SAFETY: the caller promises valid operands of these sizes.
    unsafe {
        let mut acc = [[L::splat(0.0); NV]; MR];
        if t.add {
            for r in 0..MR {
                for v in 0..NV {
                    acc[r][v] = L::load(t.c.add(r * t.ldc + v * LANES));
                }
            }
        }
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut bv = [L::splat(0.0); NV];
            for (v, bv) in bv.iter_mut().enumerate() {
                *bv = L::load(b.add(v * LANES));
            }
            for r in 0..MR {
                let av = L::splat(*a.add(r * ra));
                for v in 0..NV {
                    acc[r][v] = av.fma(bv[v], acc[r][v]);
                }
            }
            a = a.add(ka);
            b = b.add(t.ldb);
        }
        for r in 0..MR {
            for v in 0..NV {
                let c = t.c.add(r * t.ldc + v * LANES);
                let end = if t.apart { L::load(c).add(acc[r][v]) } else { acc[r][v] };
                end.store(c);
            }
        }
    }
}

#[inline(always)]
unsafe fn tile_any<L: Lanes, const MR: usize, const NV: usize>(t: &TileArgs) {
    // SAFETY: the caller's promise; constants let the compiler fold the addresses of packed blocks.
    unsafe {
        if t.ra == 1 && t.ka == MR {
            tile_body::<L, MR, NV>(t, MR, 1)
        } else if t.ra == 1 {
            tile_body::<L, MR, NV>(t, t.ka, 1)
        } else if t.ka == 1 {
            tile_body::<L, MR, NV>(t, 1, t.ra)
        } else {
            tile_body::<L, MR, NV>(t, t.ka, t.ra)
        }
    }
}

/// Register tiles of an instruction set.
pub(crate) trait Micro: Lanes {
    /// most rows of a tile
    const MR: usize;
    /// most vectors of a tile
    const NV: usize;
    /// One tile of `mr` rows (1..=MR) × `nv` vectors (1..=NV).
    ///
    /// # Safety
    /// Operands valid for these sizes; instruction set present.
    unsafe fn tile(mr: usize, nv: usize, t: &TileArgs);
}

macro_rules! tiles {
    ($lanes:ty, [$($attr:meta)?], $mr_max:literal, $nv_max:literal, [$($mr:literal)*], [$($nv:literal)*]) => {
        impl Micro for $lanes {
            const MR: usize = $mr_max;
            const NV: usize = $nv_max;
            #[inline(always)]
            unsafe fn tile(mr: usize, nv: usize, t: &TileArgs) {
                $(#[$attr])?
                unsafe fn one<const MR: usize, const NV: usize>(t: &TileArgs) {
                    // SAFETY: features are enabled here; operands are the caller's promise.
                    unsafe { tile_any::<$lanes, MR, NV>(t) }
                }
                tiles!(@rows mr, nv, t, [$($mr)*], [$($nv)*])
            }
        }
    };
    (@rows $mr_in:ident, $nv_in:ident, $t:ident, [$($mr:literal)*], $nvs:tt) => {
        match $mr_in { $($mr => tiles!(@cols $nv_in, $t, $mr, $nvs),)* _ => unreachable!("tile of {} rows", $mr_in) }
    };
    (@cols $nv_in:ident, $t:ident, $mr:literal, [$($nv:literal)*]) => {
        match $nv_in {
            // SAFETY: the trait's contract.
            $($nv => unsafe { one::<$mr, $nv>($t) },)*
            _ => unreachable!("tile of {} vectors", $nv_in),
        }
    };
}

tiles!(Scalar, [], 4, 1, [1 2 3 4], [1]);
#[cfg(target_arch = "x86_64")]
tiles!(crate::lanes::Avx2, [target_feature(enable = "avx2,fma,f16c")], 6, 1, [1 2 3 4 5 6], [1]);
#[cfg(target_arch = "x86_64")]
tiles!(
    crate::lanes::Avx512,
    [target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")],
    12, 2, [1 2 3 4 5 6 7 8 9 10 11 12], [1 2]
);

/// Most rows of a register tile of the instruction set in use.
pub(crate) fn max_rows() -> usize {
    match crate::isa::isa() {
        #[cfg(target_arch = "x86_64")]
        isa if isa.is_wide() => crate::lanes::Avx512::MR,
        #[cfg(target_arch = "x86_64")]
        crate::isa::Isa::Avx2 | crate::isa::Isa::AvxVnni => crate::lanes::Avx2::MR,
        _ => Scalar::MR,
    }
}

/// Columns of a panel of the instruction set in use.
pub(crate) fn panel_cols() -> usize {
    match crate::isa::isa() {
        #[cfg(target_arch = "x86_64")]
        isa if isa.is_wide() => crate::lanes::Avx512::NV * LANES,
        #[cfg(target_arch = "x86_64")]
        crate::isa::Isa::Avx2 | crate::isa::Isa::AvxVnni => crate::lanes::Avx2::NV * LANES,
        _ => Scalar::NV * LANES,
    }
}

/// Splits `m` rows into even blocks of at most `most` rows: `(first row, rows)` of block `b`.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    m: usize,
    count: usize,
}

impl Blocks {
    pub(crate) fn new(m: usize, most: usize) -> Blocks {
        Blocks { m, count: m.div_ceil(most) }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, b: usize) -> (usize, usize) {
        let (size, more) = (self.m / self.count, self.m % self.count);
        (b * size + b.min(more), size + usize::from(b < more))
    }
}

/// Packs columns `col0 .. col0 + cols` of a row-major `[k, ..]` matrix into `[k][cols]` (its transpose's rows).
pub(crate) fn pack_cols(x: &[f32], ld: usize, k: usize, col0: usize, cols: usize, out: &mut [f32]) {
    for (line, out) in x.chunks(ld).take(k).zip(out.chunks_exact_mut(cols)) {
        out.copy_from_slice(&line[col0..col0 + cols]);
    }
}

/// A right operand `B[k, n]`.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// `B[k, n] = W[n, k]`
    Weight(&'a Weight),
    /// `B[k, n] = W[k, n]`
    WeightT(&'a Weight),
    /// `B[k, n] = data[k * ld + n]`, `n` below `cols`
    Rows { data: &'a [f32], ld: usize, cols: usize },
}

impl Right<'_> {
    /// Packs rows `k0 .. k0 + k` of columns `n0 ..` into panels of `nr` columns: `panels` panels of `[k][nr]`, one
    /// behind the other. Columns beyond the matrix become 0. `k0` is a multiple of 32, `n0` too.
    fn pack(&self, k0: usize, k: usize, n0: usize, nr: usize, panels: usize, out: &mut [f32]) {
        let stride = k * nr;
        match *self {
            Right::Weight(w) => {
                let mut run = [0f32; RUN * LANES];
                for p in 0..panels {
                    for v in 0..nr / LANES {
                        let tile = (n0 + p * nr) / LANES + v;
                        let base = p * stride + v * LANES;
                        for j in 0..k.div_ceil(RUN) {
                            let here = RUN.min(k - j * RUN);
                            let from = k0 / RUN + j;
                            if tile < w.tiles() && here == RUN {
                                let to = &mut out[base + j * RUN * nr..][..(RUN - 1) * nr + LANES];
                                // SAFETY: run `j` is inside the tile; `to` holds 32 vectors at stride `nr`.
                                unsafe {
                                    decode_run(w.dtype(), w.tile(tile).as_ptr(), from, to.as_mut_ptr(), nr)
                                };
                                continue;
                            }
                            if tile < w.tiles() {
                                // SAFETY: run `j` is inside the tile; `run` holds 512 values.
                                unsafe {
                                    decode_run(
                                        w.dtype(),
                                        w.tile(tile).as_ptr(),
                                        from,
                                        run.as_mut_ptr(),
                                        LANES,
                                    )
                                };
                            } else {
                                run.fill(0.0);
                            }
                            for (kk, vector) in run.chunks_exact(LANES).take(here).enumerate() {
                                out[base + (j * RUN + kk) * nr..][..LANES].copy_from_slice(vector);
                            }
                        }
                    }
                }
            }
            Right::WeightT(w) => {
                // a run of 32 columns of the weight fills 32 / nr panels
                let mut run = [0f32; RUN * LANES];
                for col in (n0..n0 + panels * nr).step_by(RUN) {
                    let j = col / RUN;
                    for t in 0..k.div_ceil(LANES) {
                        if j < w.runs() {
                            // SAFETY: as above.
                            unsafe {
                                let tile = w.tile(k0 / LANES + t).as_ptr();
                                decode_run(w.dtype(), tile, j, run.as_mut_ptr(), LANES)
                            };
                        } else {
                            run.fill(0.0);
                        }
                        let here = LANES.min(k - t * LANES);
                        for c0 in (0..RUN).step_by(nr) {
                            let panel = (col + c0 - n0) / nr;
                            if panel >= panels {
                                break;
                            }
                            let out = &mut out[panel * stride + t * LANES * nr..][..here * nr];
                            transpose_run(&run[c0 * LANES..(c0 + nr) * LANES], nr, here, out);
                        }
                    }
                }
            }
            Right::Rows { data, ld, cols } => {
                for p in 0..panels {
                    let col = n0 + p * nr;
                    let here = nr.min(cols.saturating_sub(col));
                    for (kk, out) in out[p * stride..][..k * nr].chunks_exact_mut(nr).enumerate() {
                        out[..here].copy_from_slice(&data[(k0 + kk) * ld + col..][..here]);
                        out[here..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// `out[row][c] = run[c][row]` for `cols` columns of 16 rows, the first `rows` of them.
fn transpose_run(run: &[f32], cols: usize, rows: usize, out: &mut [f32]) {
    for c in (0..cols).step_by(4) {
        let quad: [&[f32]; 4] = std::array::from_fn(|i| &run[(c + i) * LANES..][..LANES]);
        for (row, out) in out.chunks_exact_mut(cols).take(rows).enumerate() {
            for i in 0..4 {
                out[c + i] = quad[i][row];
            }
        }
    }
}

/// A left operand, read where it lies: element `(m, k)` at `m * row + k * step`. A register tile walks along up to 12 rows, each
/// line of which stays in the first-level cache for 16 steps: packing them first would cost more than it saves.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    data: &'a [f32],
    row: usize,
    step: usize,
}

impl<'a> Left<'a> {
    /// The rows of a row-major `[m, ld]`.
    pub(crate) fn rows(data: &'a [f32], ld: usize) -> Left<'a> {
        Left { data, row: ld, step: 1 }
    }

    /// The columns of a row-major `[k, ld]`.
    pub(crate) fn columns(data: &'a [f32], ld: usize) -> Left<'a> {
        Left { data, row: 1, step: ld }
    }

    fn holds(&self, m: usize, k: usize) -> bool {
        m == 0 || k == 0 || (m - 1) * self.row + (k - 1) * self.step < self.data.len()
    }
}

/// One term of a sum of products: a left operand and a right one, `k` inner elements.
pub(crate) struct Term<'a> {
    pub(crate) left: Left<'a>,
    pub(crate) right: Right<'a>,
    pub(crate) k: usize,
}

/// Up to this many row blocks a right operand in plain rows is read where it lies: packing it would cost more.
const DIRECT_BLOCKS: usize = 4;

impl Term<'_> {
    /// The right operand and its row length, if it is read without packing.
    fn direct(&self, job: &Job<'_>) -> Option<(*const f32, usize)> {
        match self.right {
            Right::Rows { data, ld, cols }
                if job.blocks.count <= DIRECT_BLOCKS && cols.is_multiple_of(LANES) && job.n <= cols =>
            {
                assert!(self.k == 0 || (self.k - 1) * ld + cols <= data.len(), "right operand too short");
                Some((data.as_ptr(), ld))
            }
            _ => None,
        }
    }
}

/// A sum of products with the rows of its output.
pub(crate) struct Job<'a> {
    pub(crate) blocks: Blocks,
    pub(crate) n: usize,
    pub(crate) terms: Vec<Term<'a>>,
    /// `[m, ldc]`; columns `0..n` are written
    pub(crate) out: Out<'a>,
    pub(crate) ldc: usize,
    /// add to what stands in `out`
    pub(crate) add: bool,
    /// multiplies the finished sums
    pub(crate) scale: f32,
}

/// Where a job's output goes.
pub(crate) enum Out<'a> {
    /// row-major `[m, ldc]`
    Plain(&'a mut [f32]),
    /// transposed: element `(m, n)` at `n * ldc + m`, always added
    Transposed(&'a mut [f32]),
}

#[derive(Clone, Copy)]
struct OutPtr {
    p: *mut f32,
    len: usize,
    transposed: bool,
}

struct Plan {
    out: OutPtr,
    /// groups of columns, counted in [`MAX_NR`]
    groups: Blocks,
    /// inner elements whose panels a task holds at once
    depth: usize,
    blocks_per_task: usize,
    first_task: usize,
}

/// Inner elements of one term, packed together.
#[derive(Clone, Copy)]
struct Piece {
    term: usize,
    k0: usize,
    k: usize,
    /// where its panels begin in the buffer
    at: usize,
}

/// Most terms that a packing holds at once.
const PIECES: usize = 8;

/// The next pieces from `(term, k0)` on whose panels fit `depth` inner elements together, and where to go on.
fn pieces(
    job: &Job<'_>,
    cols: usize,
    depth: usize,
    mut from: (usize, usize),
) -> ([Piece; PIECES], usize, (usize, usize)) {
    let mut out = [Piece { term: 0, k0: 0, k: 0, at: 0 }; PIECES];
    let (mut count, mut used) = (0, 0);
    while let Some(term) = job.terms.get(from.0) {
        let packed = term.direct(job).is_none();
        let left = term.k - from.1;
        // a narrow term (a LoRA pair's) goes along with what is there
        let room = if left <= NARROW { left } else { depth.saturating_sub(used) / CHAIN * CHAIN };
        let k = if packed && left > depth - used.min(depth) { left.min(room) } else { left };
        if count == PIECES || (k == 0 && left > 0) {
            break;
        }
        out[count] = Piece { term: from.0, k0: from.1, k, at: used * cols };
        count += 1;
        used += if packed { k } else { 0 };
        from = if k == left { (from.0 + 1, 0) } else { (from.0, from.1 + k) };
    }
    (out, count, from)
}

struct Plans(Vec<Plan>);
// SAFETY: tasks write disjoint parts of the outputs (column groups × row blocks).
unsafe impl Sync for Plans {}

/// Runs the jobs, all of their tasks in one parallel region.
pub(crate) fn run_jobs(pool: &Pool, jobs: &mut [Job<'_>]) {
    let nr = panel_cols();
    let mut tasks = 0;
    let plans = Plans(
        jobs.iter_mut()
            .map(|job| {
                let k: usize = job.terms.iter().map(|t| t.k).sum();
                let out = match &mut job.out {
                    Out::Plain(o) => OutPtr { p: o.as_mut_ptr(), len: o.len(), transposed: false },
                    Out::Transposed(o) => OutPtr { p: o.as_mut_ptr(), len: o.len(), transposed: true },
                };
                let (m, n) = (job.blocks.m, job.n);
                match out.transposed {
                    false => assert!(m == 0 || (m - 1) * job.ldc + n <= out.len, "output too short"),
                    true => assert!(n == 0 || (n - 1) * job.ldc + m <= out.len, "output too short"),
                }
                for t in &job.terms {
                    assert!(t.left.holds(m, t.k), "left operand too short");
                }
                let depth = if k <= WHOLE { k.max(1) } else { DEPTH };
                let units = n.div_ceil(MAX_NR);
                let most = (PANEL_FLOATS / depth / MAX_NR)
                    .clamp(1, 16)
                    .min(units.div_ceil(pool.threads() * 2).max(1));
                let even = units.div_ceil(most).next_multiple_of(pool.threads());
                let groups = Blocks::new(units, units.div_ceil(even.clamp(1, units.max(1))));
                // few column groups: split the rows too, but keep enough of them to pay for the decoding
                let row_tasks = (pool.threads() * 4).div_ceil(groups.count.max(1)).min((m / 256).max(1));
                let blocks_per_task = job.blocks.count.div_ceil(row_tasks).max(1);
                let plan = Plan { out, groups, depth, blocks_per_task, first_task: tasks };
                tasks += groups.count * job.blocks.count.div_ceil(blocks_per_task);
                plan
            })
            .collect(),
    );
    let jobs = &*jobs;
    let plans = &plans;
    pool.run(tasks, |task| {
        let j = plans.0.partition_point(|p| p.first_task <= task) - 1;
        let (job, plan) = (&jobs[j], &plans.0[j]);
        let local = task - plan.first_task;
        let (unit, units) = plan.groups.get(local % plan.groups.count);
        let (n0, n1) = (unit * MAX_NR, ((unit + units) * MAX_NR).min(job.n));
        let b0 = local / plan.groups.count * plan.blocks_per_task;
        let b1 = (b0 + plan.blocks_per_task).min(job.blocks.count);
        let panels = (n1 - n0).div_ceil(nr);
        let cols = panels * nr;
        with_panels(cols * (plan.depth + PIECES * NARROW) + MAX_NR * 16, |buffer| {
            let (spare, buffer) = buffer.split_at_mut(MAX_NR * 16);
            let mut from = (0, 0);
            loop {
                let first = from == (0, 0);
                let (list, count, next) = pieces(job, cols, plan.depth, from);
                let list = &list[..count];
                for piece in list {
                    let term = &job.terms[piece.term];
                    if term.direct(job).is_none() {
                        let to = &mut buffer[piece.at..][..piece.k * cols];
                        term.right.pack(piece.k0, piece.k, n0, nr, panels, to);
                    }
                }
                let last = next.0 == job.terms.len();
                let sweep = Sweep { n0, n1, b0, b1, first, last };
                // SAFETY: panels hold what the pieces say, the left operands what the shapes say (asserted above); this
                // task alone writes columns n0..n1 of the rows of blocks b0..b1.
                unsafe { run_task(job, &plan.out, buffer, list, spare.as_mut_ptr(), &sweep) };
                if last || count == 0 {
                    break;
                }
                from = next;
            }
        });
    });
}

/// One sweep over a task's part of the output.
struct Sweep {
    n0: usize,
    n1: usize,
    b0: usize,
    b1: usize,
    /// whether these are the first pieces of the sum
    first: bool,
    /// whether they are the last
    last: bool,
}

#[inline(always)]
unsafe fn run_task_lanes<L: Micro>(
    job: &Job<'_>,
    out: &OutPtr,
    buffer: &[f32],
    pieces: &[Piece],
    spare: *mut f32,
    sweep: &Sweep,
) {
    let nr = L::NV * LANES;
    let Sweep { n0, n1, b0, b1, first, last } = *sweep;
    let (panels, rows_of) = ((n1 - n0).div_ceil(nr), b1 - b0);
    // a right operand that lies in memory is gone through once: all row blocks of a panel, then the next
    let direct = job.terms.iter().all(|t| t.direct(job).is_some());
    for i in 0..rows_of * panels {
        let (b, p) = if direct { (b0 + i % rows_of, i / rows_of) } else { (b0 + i / panels, i % panels) };
        let (row0, rows) = job.blocks.get(b);
        let col = n0 + p * nr;
        let cols = nr.min(n1 - col);
        let whole = cols.is_multiple_of(LANES) && !out.transposed;
        // SAFETY: addresses stay inside the operands by construction; `spare` holds 16 × 32 values.
        unsafe {
            let c = if whole { out.p.add(row0 * job.ldc + col) } else { spare };
            let ldc = if whole { job.ldc } else { nr };
            let mut add = if out.transposed { false } else { job.add || !first };
            if !whole && add {
                for r in 0..rows {
                    let from = out.p.add((row0 + r) * job.ldc + col);
                    std::ptr::copy_nonoverlapping(from, spare.add(r * nr), cols);
                }
            }
            for piece in pieces {
                let term = &job.terms[piece.term];
                let (panel, ldb) = match term.direct(job) {
                    Some((data, ld)) => (data.add(piece.k0 * ld + col), ld),
                    None => (buffer.as_ptr().add(piece.at + p * piece.k * nr), nr),
                };
                let backward = matches!(term.right, Right::WeightT(_));
                let chain = if backward { CHAIN } else { piece.k.max(1) };
                for k0 in (0..piece.k).step_by(chain) {
                    let args = TileArgs {
                        k: chain.min(piece.k - k0),
                        a: term
                            .left
                            .data
                            .as_ptr()
                            .add(row0 * term.left.row + (piece.k0 + k0) * term.left.step),
                        ka: term.left.step,
                        ra: term.left.row,
                        b: panel.add(k0 * ldb),
                        ldb,
                        c,
                        ldc,
                        add: add && !backward,
                        apart: add && backward,
                    };
                    L::tile(rows, cols.div_ceil(LANES), &args);
                    add = true;
                }
                add = true;
            }
            if last && job.scale != 1.0 {
                for r in 0..rows {
                    std::slice::from_raw_parts_mut(c.add(r * ldc), cols)
                        .iter_mut()
                        .for_each(|v| *v *= job.scale);
                }
            }
            if out.transposed {
                for n in 0..cols {
                    let to = out.p.add((col + n) * job.ldc + row0);
                    for r in 0..rows {
                        *to.add(r) += *spare.add(r * nr + n);
                    }
                }
            } else if !whole {
                for r in 0..rows {
                    let to = out.p.add((row0 + r) * job.ldc + col);
                    std::ptr::copy_nonoverlapping(spare.add(r * nr), to, cols);
                }
            }
        }
    }
}

lanes_fn! {
    /// # Safety
    /// See `run_jobs`.
    unsafe fn run_task(
        job: &Job<'_>, out: &OutPtr, buffer: &[f32], pieces: &[Piece], spare: *mut f32, sweep: &Sweep
    ) = run_task_lanes
}
