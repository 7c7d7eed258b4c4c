//! Gradients of weights, biases and embedding rows: what full training needs beside the backward pass of a LoRA.
//!
//! A weight that trains is stored as F32 tiles of 16 rows, `[tile][column][16]` with the columns padded to 32
//! ([`Weight`]). Its gradient lies in the same order, so that optimisers see two flat slices, and a product's vectors
//! of 16 outputs are stored as they come. All gradients are added to; each element is a sum of chains over 512 tokens
//! in ascending order, whatever the number of threads.

use crate::lanes::{LANES, Lanes, Scalar, lanes_fn};
use crate::linear::Cpu;
use crate::pool::{Pool, Shares};
use crate::product::{Blocks, pack_cols, with_panels};
use crate::weight::{TILE_ROWS, Weight};

/// Tokens of one chain of sums; a panel of so many is 64 KB.
const CHAIN: usize = 512;

/// Most panels that a task holds at once: 256 KB, within the second-level cache.
const PANELS: usize = 4;

/// The gradient of one weight in [`weight_gradient`].
#[derive(Debug)]
pub struct WeightGrad<'a> {
    /// gradient of the output `[T, N]`
    pub dy: &'a [f32],
    /// outputs `N`
    pub rows: usize,
    /// gradient of the weight in the order of its F32 tiles, added to
    pub grad: &'a mut [f32],
}

/// Operands of one register tile: `mr` inputs × `nv` tiles of 16 outputs.
#[derive(Clone, Copy)]
struct Args {
    k: usize,
    /// packed inputs `[k][mr]`
    a: *const f32,
    /// packed output gradients `[k][nr]`
    b: *const f32,
    nr: usize,
    /// column `d0` of the first weight tile; the next input is 16 floats on
    c: *mut f32,
    /// floats between two weight tiles
    tile: usize,
}

#[inline(always)]
unsafe fn body<L: Lanes, const MR: usize, const NV: usize>(t: &Args) {
    // SAFETY: the caller promises valid operands of these sizes.
    unsafe {
        let mut acc = [[L::splat(0.0); NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut bv = [L::splat(0.0); NV];
            for (v, bv) in bv.iter_mut().enumerate() {
                *bv = L::load(b.add(v * LANES));
            }
            for r in 0..MR {
                let av = L::splat(*a.add(r));
                for v in 0..NV {
                    acc[r][v] = av.fma(bv[v], acc[r][v]);
                }
            }
            a = a.add(MR);
            b = b.add(t.nr);
        }
        for r in 0..MR {
            for v in 0..NV {
                let c = t.c.add(v * t.tile + r * LANES);
                L::load(c).add(acc[r][v]).store(c);
            }
        }
    }
}

/// Register tiles of an instruction set.
trait Outer: Lanes {
    const MR: usize;
    const NV: usize;
    /// # Safety
    /// Operands valid for `mr` (1..=MR) × `nv` (1..=NV); instruction set present.
    unsafe fn tile(mr: usize, nv: usize, t: &Args);
}

macro_rules! outer {
    ($lanes:ty, [$($attr:meta)?], $mr_max:literal, $nv_max:literal, [$($mr:literal)*], $nvs:tt) => {
        impl Outer for $lanes {
            const MR: usize = $mr_max;
            const NV: usize = $nv_max;
            #[inline(always)]
            unsafe fn tile(mr: usize, nv: usize, t: &Args) {
                $(#[$attr])?
                unsafe fn one<const MR: usize, const NV: usize>(t: &Args) {
                    // SAFETY: features are enabled here; operands are the caller's promise.
                    unsafe { body::<$lanes, MR, NV>(t) }
                }
                match mr { $($mr => outer!(@cols nv, t, $mr, $nvs),)* _ => unreachable!("tile of {mr} rows") }
            }
        }
    };
    (@cols $nv:ident, $t:ident, $mr:literal, [$($n:literal)*]) => {
        match $nv {
            // SAFETY: the trait's contract.
            $($n => unsafe { one::<$mr, $n>($t) },)*
            _ => unreachable!("tile of {} vectors", $nv),
        }
    };
}

outer!(Scalar, [], 4, 1, [1 2 3 4], [1]);
#[cfg(target_arch = "x86_64")]
outer!(crate::lanes::Avx2, [target_feature(enable = "avx2,fma,f16c")], 6, 1, [1 2 3 4 5 6], [1]);
#[cfg(target_arch = "x86_64")]
outer!(
    crate::lanes::Avx512,
    [target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")],
    12, 2, [1 2 3 4 5 6 7 8 9 10 11 12], [1 2]
);

/// `(inputs, tiles)` of a register tile of the instruction set in use.
fn sizes() -> (usize, usize) {
    match crate::isa::isa() {
        #[cfg(target_arch = "x86_64")]
        isa if isa.is_wide() => (crate::lanes::Avx512::MR, crate::lanes::Avx512::NV),
        #[cfg(target_arch = "x86_64")]
        crate::isa::Isa::Avx2 | crate::isa::Isa::AvxVnni => (crate::lanes::Avx2::MR, crate::lanes::Avx2::NV),
        _ => (Scalar::MR, Scalar::NV),
    }
}

/// Floats of a tile of a weight with `cols` columns.
fn tile_floats(cols: usize) -> usize {
    cols.next_multiple_of(32) * TILE_ROWS
}

/// All inputs against one chunk of tokens of some tiles of outputs.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn sweep_lanes<L: Outer>(
    blocks: &Blocks,
    left: *const f32,
    panels: *const f32,
    k: usize,
    nr: usize,
    tiles: usize,
    c: *mut f32,
    tile: usize,
) {
    for b in 0..blocks.count() {
        let (d0, rows) = blocks.get(b);
        for p in (0..tiles).step_by(L::NV) {
            // SAFETY: the caller's operands hold these blocks and panels.
            unsafe {
                let args = Args {
                    k,
                    a: left.add(d0 * k),
                    b: panels.add(p / L::NV * k * nr),
                    nr,
                    c: c.add(p * tile + d0 * LANES),
                    tile,
                };
                L::tile(rows, L::NV.min(tiles - p), &args);
            }
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `left` holds the packed blocks of `k` tokens, `panels` the packed panels, `c` the tiles.
    #[allow(clippy::too_many_arguments)]
    unsafe fn sweep(
        blocks: &Blocks, left: *const f32, panels: *const f32, k: usize, nr: usize, tiles: usize, c: *mut f32,
        tile: usize
    ) = sweep_lanes
}

/// `dW += dyᵀ x` for all `parts` of the same input `x` `[T, D]`, each in the order of its weight's F32 tiles.
pub fn weight_gradient(cpu: &Cpu, x: &[f32], t: usize, parts: &mut [WeightGrad<'_>]) {
    if t == 0 || parts.is_empty() {
        return;
    }
    let d = x.len() / t;
    assert_eq!(x.len(), t * d, "input shape");
    let tile = tile_floats(d);
    for p in parts.iter() {
        assert!(p.dy.len() == t * p.rows, "gradient shape");
        assert!(p.grad.len() == p.rows.div_ceil(TILE_ROWS) * tile, "weight gradient shape");
    }
    let (mr, nv) = sizes();
    let (nr, blocks, pool) = (nv * LANES, Blocks::new(d, mr), cpu.pool());
    // x by chunks of tokens, each in blocks of inputs: block b of the chunk at k0 begins at k0 · D + d0 · k
    let mut packed = cpu.take(t * d);
    let chunks = t.div_ceil(CHAIN);
    let out = Shares::new(&mut packed);
    const GROUP: usize = 8; // blocks a task
    let groups = blocks.count().div_ceil(GROUP);
    pool.run(groups * chunks, |i| {
        let (k0, g) = (i / groups * CHAIN, i % groups);
        let k = CHAIN.min(t - k0);
        for b in g * GROUP..((g + 1) * GROUP).min(blocks.count()) {
            let (d0, rows) = blocks.get(b);
            // SAFETY: blocks of chunks do not overlap.
            pack_cols(&x[k0 * d..], d, k, d0, rows, unsafe { out.at(k0 * d + d0 * k, rows * k) });
        }
    });
    // few tiles a task where there are few in all, so that every thread has some
    let all: usize = parts.iter().map(|p| p.rows.div_ceil(TILE_ROWS)).sum();
    let each = (all / (4 * pool.threads())).clamp(nv, PANELS * nv).next_multiple_of(nv);
    let mut tasks = Vec::new();
    for (i, p) in parts.iter().enumerate() {
        tasks.extend((0..p.rows.div_ceil(TILE_ROWS)).step_by(each).map(|first| (i, first)));
    }
    let outs: Vec<Shares<f32>> = parts.iter_mut().map(|p| Shares::new(p.grad)).collect();
    let (parts, packed_x) = (&*parts, &packed[..]);
    pool.run(tasks.len(), |task| {
        let (i, first) = tasks[task];
        let (dy, rows) = (parts[i].dy, parts[i].rows);
        let tiles = each.min(rows.div_ceil(TILE_ROWS) - first);
        // SAFETY: tasks own disjoint tiles.
        let c = unsafe { outs[i].at(first * tile, tiles * tile) };
        let panels = tiles.div_ceil(nv);
        with_panels(panels * CHAIN.min(t) * nr, |buffer| {
            for k0 in (0..t).step_by(CHAIN) {
                let k = CHAIN.min(t - k0);
                for p in 0..panels {
                    let col = first * TILE_ROWS + p * nr;
                    let here = nr.min(rows - col);
                    for (line, out) in dy[k0 * rows..]
                        .chunks_exact(rows)
                        .zip(buffer[p * k * nr..][..k * nr].chunks_exact_mut(nr))
                    {
                        out[..here].copy_from_slice(&line[col..col + here]);
                        out[here..].fill(0.0);
                    }
                }
                let left = packed_x[k0 * d..].as_ptr();
                // SAFETY: the packed operands and the tiles hold what the shapes say (asserted above).
                unsafe { sweep(&blocks, left, buffer.as_ptr(), k, nr, tiles, c.as_mut_ptr(), tile) };
            }
        });
    });
    cpu.give(packed);
}

/// `db += Σ_t dy[t]` for `dy` `[T, N]`.
pub fn bias_gradient(pool: &Pool, dy: &[f32], grad: &mut [f32]) {
    sum_rows(pool, dy, grad, |_, dy, out| out.iter_mut().zip(dy).for_each(|(o, dy)| *o += dy));
}

/// `out[n] += Σ_t a[t, n] · b[t, n]` for `a`, `b` `[T, N]`.
pub fn column_products(pool: &Pool, a: &[f32], b: &[f32], out: &mut [f32]) {
    let n = out.len();
    assert_eq!(a.len(), b.len(), "shapes of products by columns");
    sum_rows(pool, a, out, |row, a, out| {
        for ((o, a), b) in out.iter_mut().zip(a).zip(&b[row * n..]) {
            *o += a * b;
        }
    });
}

/// `y[t, n] = (y[t, n] - bias[n]) · factor[n] + bias[n]` for `y` `[T, N]`.
pub fn scale_columns(pool: &Pool, y: &mut [f32], factor: &[f32], bias: Option<&[f32]>) {
    let n = factor.len();
    assert!(n > 0 && y.len().is_multiple_of(n) && bias.is_none_or(|b| b.len() == n), "columns");
    let rows = y.len() / n;
    const ROWS: usize = 16;
    let out = Shares::new(y);
    pool.run(rows.div_ceil(ROWS), |i| {
        for row in i * ROWS..((i + 1) * ROWS).min(rows) {
            // SAFETY: tasks own disjoint rows.
            let y = unsafe { out.at(row * n, n) };
            match bias {
                None => y.iter_mut().zip(factor).for_each(|(y, f)| *y *= f),
                Some(bias) => {
                    y.iter_mut().zip(factor).zip(bias).for_each(|((y, f), b)| *y = (*y - b) * f + b);
                }
            }
        }
    });
}

/// `dw += Σ_rows dy · x · inv_rms`: the gradient of a norm's weight, for rows as in `rms_norm_forward`.
pub fn rms_norm_weight_gradient(pool: &Pool, x: &[f32], inv_rms: &[f32], dy: &[f32], grad: &mut [f32]) {
    let d = grad.len();
    assert!(x.len() == dy.len() && inv_rms.len() * d == x.len(), "norm shapes");
    sum_rows(pool, dy, grad, |row, dy, out| {
        let inv = inv_rms[row];
        for ((o, dy), x) in out.iter_mut().zip(dy).zip(&x[row * d..]) {
            *o += dy * (x * inv);
        }
    });
}

/// Adds to `grad` what `add(row, values, sum)` gives for the rows of `dy`: sums over 256 rows each, then their sum in
/// order, so that a long batch rounds no worse than a short one.
fn sum_rows(pool: &Pool, dy: &[f32], grad: &mut [f32], add: impl Fn(usize, &[f32], &mut [f32]) + Sync) {
    const ROWS: usize = 256;
    let d = grad.len();
    assert!(d > 0 && dy.len().is_multiple_of(d), "gradient shape");
    let rows = dy.len() / d;
    let parts = rows.div_ceil(ROWS);
    let mut sums = vec![0f32; parts * d];
    let out = Shares::new(&mut sums);
    pool.run(parts, |i| {
        // SAFETY: one sum a task.
        let sum = unsafe { out.at(i * d, d) };
        for row in i * ROWS..((i + 1) * ROWS).min(rows) {
            add(row, &dy[row * d..][..d], sum);
        }
    });
    for sum in sums.chunks_exact(d) {
        grad.iter_mut().zip(sum).for_each(|(g, s)| *g += s);
    }
}

/// Adds `scale · dx[t]` to the row of each token in `grad` (the order of the embedding's F32 tiles), tokens in order.
///
/// # Panics
/// If a token is beyond the rows of `grad`.
pub fn embed_gradient(pool: &Pool, tokens: &[u32], scale: f32, dx: &[f32], grad: &mut [f32]) {
    let t = tokens.len();
    if t == 0 {
        return;
    }
    let d = dx.len() / t;
    let tile = tile_floats(d);
    assert!(dx.len() == t * d && grad.len().is_multiple_of(tile), "embedding gradient shape");
    const COLS: usize = 32;
    let out = Shares::new(grad);
    pool.run(d.div_ceil(COLS), |i| {
        for (dx, &token) in dx.chunks_exact(d).zip(tokens) {
            let (at, lane) = (token as usize / TILE_ROWS * tile, token as usize % TILE_ROWS);
            for c in i * COLS..((i + 1) * COLS).min(d) {
                // SAFETY: tasks own disjoint columns.
                unsafe { out.at(at + c * TILE_ROWS + lane, 1)[0] += scale * dx[c] };
            }
        }
    });
}

/// Rows `first ..` of a gradient (or of anything in the order of F32 tiles of `cols` columns) to `out`, row-major.
///
/// # Panics
/// If the rows are not there.
pub fn untile(tiles: &[f32], cols: usize, first: usize, out: &mut [f32]) {
    let tile = tile_floats(cols);
    for (row, out) in (first..).zip(out.chunks_exact_mut(cols)) {
        let from = &tiles[row / TILE_ROWS * tile..][..tile];
        for (o, column) in out.iter_mut().zip(from.chunks_exact(TILE_ROWS)) {
            *o = column[row % TILE_ROWS];
        }
    }
}

/// The reverse of [`untile`]: rows in order to tiles; what is beyond the matrix becomes zero.
///
/// # Panics
/// If the lengths do not fit.
pub fn tiled(values: &[f32], cols: usize, tiles: &mut [f32]) {
    let tile = tile_floats(cols);
    assert!(tiles.len() == (values.len() / cols).div_ceil(TILE_ROWS) * tile, "shape of tiles");
    tiles.fill(0.0);
    for (row, values) in values.chunks_exact(cols).enumerate() {
        let to = &mut tiles[row / TILE_ROWS * tile..][..tile];
        for (column, v) in to.chunks_exact_mut(TILE_ROWS).zip(values) {
            column[row % TILE_ROWS] = *v;
        }
    }
}

impl Weight {
    /// The same values as F32, to be trained.
    pub fn to_f32(&self, pool: &Pool) -> Weight {
        let row_of = |first: usize, bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
            let mut row = vec![0f32; self.cols()];
            for (i, out) in bytes.chunks_exact_mut(4 * self.cols()).enumerate() {
                self.row_into(first + i, &mut row);
                for (o, v) in out.as_chunks_mut::<4>().0.iter_mut().zip(&row) {
                    *o = v.to_le_bytes();
                }
            }
            Ok(())
        };
        match Weight::read(pool, crate::DType::F32, self.rows(), self.cols(), row_of) {
            Ok(weight) => weight,
            Err(never) => match never {},
        }
    }
}
