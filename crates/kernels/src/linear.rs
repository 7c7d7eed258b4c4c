//! `y = x Wᵀ + bias + (s · x Aᵀ) Bᵀ`: the linear layer, with an optional LoRA pair (Hu et al. 2021), forward and
//! backward, for one or several weights that share their input (q, k, v; gate, up).
//!
//! `W` `[N, D]` stays as it is stored and is decoded inside the product; the LoRA product continues the same
//! chain of sums. `h = s · x Aᵀ` `[T, R]` is kept for the backward pass.

use crate::dtype::DType;
use crate::lanes::{LANES, Lanes, lanes_fn};
use crate::pool::{Pool, Shares};
use crate::product::{Blocks, Job, Left, Micro, Out, Right, Term, max_rows, run_jobs};
use crate::weight::{RUN, Sink, TILE_ROWS, Weight, decode_quad, decode32, scales32};
use std::sync::Mutex;

/// The processor: threads, and buffers that operations reuse.
#[derive(Debug)]
pub struct Cpu {
    pool: Pool,
    packed: Mutex<Vec<Vec<f32>>>,
}

impl Cpu {
    /// A processor with `threads` threads.
    pub fn new(threads: usize) -> Cpu {
        Cpu { pool: Pool::new(threads), packed: Mutex::new(Vec::new()) }
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A buffer of `len` floats with undefined contents, given back by [`Cpu::give`].
    pub(crate) fn take(&self, len: usize) -> Taken {
        let mut kept = self.packed.lock().unwrap_or_else(|e| e.into_inner());
        // the smallest that is large enough, else the largest (it grows)
        let best = (0..kept.len()).filter(|&i| kept[i].len() >= len).min_by_key(|&i| kept[i].len());
        let best = best.or_else(|| (0..kept.len()).max_by_key(|&i| kept[i].len()));
        let mut v = best.map(|i| kept.swap_remove(i)).unwrap_or_default();
        if v.len() < len {
            drop(v); // nothing in it is worth copying, and both at once would be a peak of memory
            v = vec![0.0; len];
        }
        Taken { v, len }
    }

    pub(crate) fn give(&self, buffer: Taken) {
        self.packed.lock().unwrap_or_else(|e| e.into_inner()).push(buffer.v);
    }
}

/// A buffer of [`Cpu::take`]. It keeps its full length, so that it is never cleared twice.
pub(crate) struct Taken {
    v: Vec<f32>,
    len: usize,
}

impl std::ops::Deref for Taken {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.v[..self.len]
    }
}

impl std::ops::DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.v[..self.len]
    }
}

/// A LoRA pair as the products want it: PEFT's `A` `[R, D]` and `B` `[N, R]` and padded transposes of both.
#[derive(Clone, Debug)]
pub struct LoraPair {
    rank: usize,
    d_in: usize,
    d_out: usize,
    /// alpha / rank, or alpha / sqrt(rank) with rsLoRA
    scale: f32,
    a: Vec<f32>,
    b: Vec<f32>,
    /// `Aᵀ` `[D, R padded to 16]`
    at: Vec<f32>,
    /// `Bᵀ` `[R, N padded to 16]`
    bt: Vec<f32>,
}

impl LoraPair {
    /// A pair from `a` `[R, D]` and `b` `[N, R]`, row-major as PEFT stores them.
    pub fn new(rank: usize, d_in: usize, d_out: usize, scale: f32, a: Vec<f32>, b: Vec<f32>) -> LoraPair {
        assert!(a.len() == rank * d_in && b.len() == d_out * rank, "LoRA shapes");
        let rp = rank.next_multiple_of(LANES);
        let np = d_out.next_multiple_of(LANES);
        let mut pair =
            LoraPair { rank, d_in, d_out, scale, a, b, at: vec![0.0; d_in * rp], bt: vec![0.0; rank * np] };
        pair.prepare();
        pair
    }

    /// Rank `R`.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Factor of the product.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// `A` `[R, D]`.
    pub fn a(&self) -> &[f32] {
        &self.a
    }

    /// `B` `[N, R]`.
    pub fn b(&self) -> &[f32] {
        &self.b
    }

    /// Changes both matrices and renews what is derived from them.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32], &mut [f32])) {
        change(&mut self.a, &mut self.b);
        self.prepare();
    }

    fn prepare(&mut self) {
        let (rp, np) = (self.rank.next_multiple_of(LANES), self.d_out.next_multiple_of(LANES));
        for (r, row) in self.a.chunks_exact(self.d_in).enumerate() {
            for (d, &v) in row.iter().enumerate() {
                self.at[d * rp + r] = v;
            }
        }
        for (n, row) in self.b.chunks_exact(self.rank).enumerate() {
            for (r, &v) in row.iter().enumerate() {
                self.bt[r * np + n] = v;
            }
        }
    }

    pub(crate) fn d_in(&self) -> usize {
        self.d_in
    }

    pub(crate) fn d_out(&self) -> usize {
        self.d_out
    }

    /// `Aᵀ` `[D, padded R]` and its padded width.
    pub(crate) fn transposed_a(&self) -> (&[f32], usize) {
        (&self.at, self.rp())
    }

    /// `Bᵀ` `[R, padded N]` and its padded width.
    pub(crate) fn transposed_b(&self) -> (&[f32], usize) {
        (&self.bt, self.np())
    }

    fn rp(&self) -> usize {
        self.rank.next_multiple_of(LANES)
    }

    fn np(&self) -> usize {
        self.d_out.next_multiple_of(LANES)
    }
}

/// A linear layer's constants.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[N, D]`
    pub weight: &'a Weight,
    /// `[N]`
    pub bias: Option<&'a [f32]>,
    /// the adapter
    pub lora: Option<&'a LoraPair>,
}

/// One weight's outputs in [`linear_forward`].
#[derive(Debug)]
pub struct Forward<'a> {
    /// the layer
    pub linear: Linear<'a>,
    /// `[T, N]`, overwritten
    pub y: &'a mut [f32],
    /// `[T, R]`, overwritten; needed where there is a LoRA pair
    pub h: &'a mut [f32],
}

/// `y = x Wᵀ + bias + h Bᵀ` with `h = s · x Aᵀ`, for all `parts` of the same input `x` `[T, D]`.
pub fn linear_forward(cpu: &Cpu, x: &[f32], t: usize, parts: &mut [Forward<'_>]) {
    let Some(d) = parts.first().map(|p| p.linear.weight.cols()) else { return };
    assert_eq!(x.len(), t * d, "input shape");
    check_parts(t, d, parts);
    for p in parts.iter_mut() {
        if let Some(bias) = p.linear.bias {
            p.y.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
        }
    }
    if t == 0 {
        return;
    }
    if t <= FEW_ROWS {
        return few_rows(cpu, x, t, d, parts);
    }
    let blocks = Blocks::new(t, max_rows());
    // h first: it is a term of the big products
    many_h(cpu, x, d, blocks, parts);
    let mut jobs = Vec::new();
    for p in parts.iter_mut() {
        let n = p.linear.weight.rows();
        let mut terms = vec![Term { left: Left::rows(x, d), right: Right::Weight(p.linear.weight), k: d }];
        if let Some(l) = p.linear.lora {
            let right = Right::Rows { data: &l.bt, ld: l.np(), cols: n };
            terms.push(Term { left: Left::rows(p.h, l.rank), right, k: l.rank });
        }
        let add = p.linear.bias.is_some();
        jobs.push(Job { blocks, n, terms, out: Out::Plain(p.y), ldc: n, add, scale: 1.0 });
    }
    run_jobs(&cpu.pool, &mut jobs);
}

/// `h = s · x Aᵀ` of all parts that have a pair.
fn many_h(cpu: &Cpu, x: &[f32], d: usize, blocks: Blocks, parts: &mut [Forward<'_>]) {
    let mut jobs = Vec::new();
    for p in parts.iter_mut() {
        if let Some(l) = p.linear.lora {
            let right = Right::Rows { data: &l.at, ld: l.rp(), cols: l.rank };
            let terms = vec![Term { left: Left::rows(x, d), right, k: d }];
            let out = Out::Plain(p.h);
            jobs.push(Job { blocks, n: l.rank, terms, out, ldc: l.rank, add: false, scale: l.scale });
        }
    }
    run_jobs(&cpu.pool, &mut jobs);
}

/// `h = s · x Aᵀ` of all parts that have a pair: the bits of [`linear_forward`].
pub(crate) fn lora_h(cpu: &Cpu, x: &[f32], t: usize, d: usize, parts: &mut [Forward<'_>]) {
    if t == 0 || parts.iter().all(|p| p.linear.lora.is_none()) {
        return;
    }
    if t <= FEW_ROWS {
        for p in parts.iter_mut() {
            few_hs(x, d, p);
        }
        return;
    }
    many_h(cpu, x, d, Blocks::new(t, max_rows()), parts);
}

fn few_hs(x: &[f32], d: usize, p: &mut Forward<'_>) {
    if let Some(l) = p.linear.lora {
        for (x, h) in x.chunks_exact(d).zip(p.h.chunks_exact_mut(l.rank)) {
            // SAFETY: `at` is `[d, rp]`.
            unsafe { few_h(x, &l.at, l.rp(), l.scale, h) };
        }
    }
}

/// Checks the shapes of all parts against `t` rows of `d` values.
pub(crate) fn check_parts(t: usize, d: usize, parts: &[Forward<'_>]) {
    for p in parts {
        let n = p.linear.weight.rows();
        assert!(p.linear.weight.cols() == d && p.y.len() == t * n, "output shape");
        if let Some(l) = p.linear.lora {
            assert!(p.h.len() == t * l.rank && l.d_in == d && l.d_out == n, "LoRA shape");
        }
    }
}

/// One weight's part in [`linear_backward`].
#[derive(Debug)]
pub struct Backward<'a> {
    /// the layer
    pub linear: Linear<'a>,
    /// `[T, N]`, the gradient of the output
    pub dy: &'a [f32],
    /// `[T, R]`, as the forward pass left it
    pub h: &'a [f32],
    /// gradients of `A` `[R, D]` and `B` `[N, R]`, added to; `None` where the pair does not train
    pub grads: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// The reverse of [`linear_forward`]: adds to the adapters' gradients and, where `dx` is given, writes (or with
/// `add` adds to) the gradient of the input `[T, D]`. Weights and biases are constants here.
pub fn linear_backward(
    cpu: &Cpu,
    x: &[f32],
    t: usize,
    parts: &mut [Backward<'_>],
    dx: Option<&mut [f32]>,
    add: bool,
) {
    let Some(d) = parts.first().map(|p| p.linear.weight.cols()) else { return };
    assert_eq!(x.len(), t * d, "input shape");
    for p in parts.iter() {
        let n = p.linear.weight.rows();
        assert!(p.linear.weight.cols() == d && p.dy.len() == t * n, "gradient shape");
        if let Some(l) = p.linear.lora {
            assert!(p.h.len() == t * l.rank && l.d_in == d && l.d_out == n, "LoRA shape");
        }
    }
    if t == 0 {
        return;
    }
    let blocks = Blocks::new(t, max_rows());
    let ranks: usize = parts.iter().filter_map(|p| p.linear.lora).map(|l| l.rank).sum();
    let mut kept = cpu.take(t * ranks);
    // dh = s · dy B
    let mut jobs = Vec::new();
    let mut rest = &mut kept[..];
    for p in parts.iter() {
        let Some(l) = p.linear.lora else { continue };
        let (here, more) = rest.split_at_mut(t * l.rank);
        rest = more;
        let right = Right::Rows { data: &l.b, ld: l.rank, cols: l.rank };
        let terms = vec![Term { left: Left::rows(p.dy, l.d_out), right, k: l.d_out }];
        let out = Out::Plain(here);
        jobs.push(Job { blocks, n: l.rank, terms, out, ldc: l.rank, add: false, scale: l.scale });
    }
    run_jobs(&cpu.pool, &mut jobs);
    drop(jobs);
    let mut rest = &kept[..];
    let dhs: Vec<&[f32]> = parts
        .iter()
        .map(|p| {
            let (here, more) = rest.split_at(t * p.linear.lora.map_or(0, |l| l.rank));
            rest = more;
            here
        })
        .collect();
    // dx = Σ dy W + dh A
    if let Some(dx) = dx {
        assert_eq!(dx.len(), t * d, "input gradient shape");
        let mut terms = Vec::new();
        for (p, dh) in parts.iter().zip(&dhs) {
            let n = p.linear.weight.rows();
            terms.push(Term { left: Left::rows(p.dy, n), right: Right::WeightT(p.linear.weight), k: n });
            if let Some(l) = p.linear.lora {
                let right = Right::Rows { data: &l.a, ld: d, cols: d };
                terms.push(Term { left: Left::rows(dh, l.rank), right, k: l.rank });
            }
        }
        run_jobs(&cpu.pool, &mut [Job { blocks, n: d, terms, out: Out::Plain(dx), ldc: d, add, scale: 1.0 }]);
    }
    // dA += dhᵀ x, dB += dyᵀ h
    let mut jobs = Vec::new();
    for (p, dh) in parts.iter_mut().zip(&dhs) {
        let (Some(l), Some((da, db))) = (p.linear.lora, &mut p.grads) else { continue };
        let blocks = Blocks::new(l.rank, max_rows());
        let n = l.d_out;
        let right = Right::Rows { data: x, ld: d, cols: d };
        let terms = vec![Term { left: Left::columns(dh, l.rank), right, k: t }];
        jobs.push(Job { blocks, n: d, terms, out: Out::Plain(da), ldc: d, add: true, scale: 1.0 });
        let right = Right::Rows { data: p.dy, ld: n, cols: n };
        let terms = vec![Term { left: Left::columns(p.h, l.rank), right, k: t }];
        jobs.push(Job { blocks, n, terms, out: Out::Transposed(db), ldc: l.rank, add: true, scale: 1.0 });
    }
    run_jobs(&cpu.pool, &mut jobs);
    drop(jobs);
    drop(dhs);
    cpu.give(kept);
}

/// Up to this many rows the weight is decoded in registers instead of into panels.
const FEW_ROWS: usize = 4;

/// Tiles whose chains of sums run side by side, to hide the latency of the multiply-adds.
const TILES_AT_ONCE: usize = 4;

/// Multiplies decoded vectors with up to four rows of `x` at once.
#[derive(Clone, Copy)]
struct Dot<L, const M: usize> {
    x: [*const f32; M],
    acc: [L; M],
}

impl<L: Lanes, const M: usize> Sink<L> for Dot<L, M> {
    #[inline(always)]
    unsafe fn put(&mut self, k: usize, v: L) {
        for m in 0..M {
            // SAFETY: each row of `x` has 32 values from its pointer on.
            self.acc[m] = unsafe { L::splat(*self.x[m].add(k)).fma(v, self.acc[m]) };
        }
    }
}

struct Few<'a> {
    x: &'a [f32],
    d: usize,
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    /// `Bᵀ` with its padded width, rank and `h`
    lora: Option<(&'a [f32], usize, usize, &'a [f32])>,
}

/// One row × `N` tiles from `tile` on, added to `acc`. The tiles go side by side from one group of columns to the next, so
/// that the multiply-adds of `N` chains hide each other's latency.
#[inline(always)]
unsafe fn row_tiles<L: Lanes, const T: usize, const N: usize>(
    x: *const f32,
    w: &Weight,
    tile: usize,
    acc: &mut [[[f32; LANES]; 1]],
) {
    let bytes: [*const u8; N] = std::array::from_fn(|i| w.tile(tile + i).as_ptr());
    // SAFETY: the tiles have these runs; `x` has 32 values for each; quantised rows are whole runs.
    unsafe {
        let mut dots = [Dot::<L, 1> { x: [x], acc: [L::splat(0.0)] }; N];
        for i in 0..N {
            dots[i].acc[0] = L::load(acc[i][0].as_ptr());
        }
        for run in 0..w.runs() {
            let mut scales = [[(L::splat(0.0), L::splat(0.0)); 2]; N];
            for i in 0..N {
                scales[i] = scales32::<L>(const { DType::nth(T) }, bytes[i], run);
                dots[i].x[0] = x.add(run * RUN);
            }
            macro_rules! quads {
                ($($g:literal)*) => {$(
                    for i in 0..N {
                        let (d, m) = scales[i][$g / 4];
                        decode_quad::<L, T, $g>((bytes[i], run), d, m, &mut dots[i]);
                    }
                )*};
            }
            quads!(0 1 2 3 4 5 6 7);
        }
        for i in 0..N {
            dots[i].acc[0].store(acc[i][0].as_mut_ptr());
        }
    }
}

/// [`row_tiles`] for the type of the weight; `false` where that is not quantised.
#[inline(always)]
unsafe fn row_tiles_any<L: Lanes, const N: usize>(
    x: *const f32,
    w: &Weight,
    tile: usize,
    acc: &mut [[[f32; LANES]; 1]],
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match w.dtype() {
            DType::Q8_0 => row_tiles::<L, { DType::Q8_0 as usize }, N>(x, w, tile, acc),
            DType::Q4_0 => row_tiles::<L, { DType::Q4_0 as usize }, N>(x, w, tile, acc),
            DType::Q4_1 => row_tiles::<L, { DType::Q4_1 as usize }, N>(x, w, tile, acc),
            DType::Q5_0 => row_tiles::<L, { DType::Q5_0 as usize }, N>(x, w, tile, acc),
            DType::Q5_1 => row_tiles::<L, { DType::Q5_1 as usize }, N>(x, w, tile, acc),
            DType::Q4K => row_tiles::<L, { DType::Q4K as usize }, N>(x, w, tile, acc),
            DType::Q5K => row_tiles::<L, { DType::Q5K as usize }, N>(x, w, tile, acc),
            DType::Q6K => row_tiles::<L, { DType::Q6K as usize }, N>(x, w, tile, acc),
            DType::Q2K => row_tiles::<L, { DType::Q2K as usize }, N>(x, w, tile, acc),
            DType::Q3K => row_tiles::<L, { DType::Q3K as usize }, N>(x, w, tile, acc),
            DType::IQ4NL => row_tiles::<L, { DType::IQ4NL as usize }, N>(x, w, tile, acc),
            DType::F32 | DType::F16 | DType::BF16 => return false,
        }
        true
    }
}

#[inline(always)]
unsafe fn few_tiles_lanes<L: Micro, const M: usize>(
    f: &Few<'_>,
    y: *mut f32,
    row0: usize,
    tile0: usize,
    tiles: usize,
) {
    let (w, d) = (f.weight, f.d);
    let n = w.rows();
    let mut acc = [[[0f32; LANES]; M]; TILES_AT_ONCE];
    if let Some(bias) = f.bias {
        for (i, acc) in acc.iter_mut().enumerate().take(tiles) {
            let first = (tile0 + i) * LANES;
            let here = LANES.min(n - first);
            acc.iter_mut().for_each(|a| a[..here].copy_from_slice(&bias[first..first + here]));
        }
    }
    // one row: as many tiles side by side as the registers hold
    let mut done = 0;
    if M == 1 {
        let side = if L::NV > 1 { 4 } else { 2 };
        let x = f.x[row0 * d..][..d].as_ptr();
        while done + side <= tiles {
            let acc = acc[done..done + side].as_flattened_mut().as_chunks_mut::<1>().0;
            // SAFETY: the tiles exist; `x` is a whole row.
            let known = unsafe {
                match side {
                    4 => row_tiles_any::<L, 4>(x, w, tile0 + done, acc),
                    _ => row_tiles_any::<L, 2>(x, w, tile0 + done, acc),
                }
            };
            if !known {
                break;
            }
            done += side;
        }
    }
    let mut tail = [[0f32; RUN]; M];
    for run in 0..if done < tiles { w.runs() } else { 0 } {
        let here = RUN.min(d - run * RUN);
        let mut x: [*const f32; M] = std::array::from_fn(|m| f.x[(row0 + m) * d + run * RUN..].as_ptr());
        if here < RUN {
            for m in 0..M {
                tail[m][..here].copy_from_slice(&f.x[(row0 + m) * d + run * RUN..][..here]);
                x[m] = tail[m].as_ptr();
            }
        }
        for (i, acc) in acc.iter_mut().enumerate().take(tiles).skip(done) {
            // SAFETY: the tile has this run; `x` has 32 values a row.
            unsafe {
                let mut dot = Dot::<L, M> { x, acc: std::array::from_fn(|m| L::load(acc[m].as_ptr())) };
                decode32::<L>(w.dtype(), w.tile(tile0 + i).as_ptr(), run, &mut dot);
                for m in 0..M {
                    dot.acc[m].store(acc[m].as_mut_ptr());
                }
            }
        }
    }
    for (i, acc) in acc.iter_mut().enumerate().take(tiles) {
        let first = (tile0 + i) * LANES;
        let here = LANES.min(n - first);
        for m in 0..M {
            // SAFETY: `bt` is padded to whole vectors; rows of `y` have `n` values.
            unsafe {
                if let Some((bt, np, rank, h)) = f.lora {
                    let mut a = L::load(acc[m].as_ptr());
                    for r in 0..rank {
                        a = L::splat(h[(row0 + m) * rank + r]).fma(L::load(bt[r * np + first..].as_ptr()), a);
                    }
                    a.store(acc[m].as_mut_ptr());
                }
                std::ptr::copy_nonoverlapping(acc[m].as_ptr(), y.add((row0 + m) * n + first), here);
            }
        }
    }
}

#[inline(always)]
unsafe fn few_tiles_any<L: Micro>(
    f: &Few<'_>,
    y: *mut f32,
    row0: usize,
    rows: usize,
    tile0: usize,
    tiles: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => few_tiles_lanes::<L, 1>(f, y, row0, tile0, tiles),
            2 => few_tiles_lanes::<L, 2>(f, y, row0, tile0, tiles),
            3 => few_tiles_lanes::<L, 3>(f, y, row0, tile0, tiles),
            _ => few_tiles_lanes::<L, 4>(f, y, row0, tile0, tiles),
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `y` is `[T, N]`; rows and tiles exist; nobody else writes these columns.
    unsafe fn few_tiles(
        f: &Few<'_>, y: *mut f32, row0: usize, rows: usize, tile0: usize, tiles: usize
    ) = few_tiles_any
}

#[inline(always)]
unsafe fn few_h_lanes<L: Lanes>(x: &[f32], at: &[f32], rp: usize, scale: f32, h: &mut [f32]) {
    for (v, out) in h.chunks_mut(LANES).enumerate() {
        // SAFETY: `at` is `[D, rp]` with rp a multiple of 16.
        unsafe {
            let mut acc = L::splat(0.0);
            for (d, &x) in x.iter().enumerate() {
                acc = L::splat(x).fma(L::load(at[d * rp + v * LANES..].as_ptr()), acc);
            }
            acc.mul(L::splat(scale)).store_part(out.as_mut_ptr(), out.len());
        }
    }
}

lanes_fn! {
    /// # Safety
    /// `at` is `[x.len(), rp]`.
    unsafe fn few_h(x: &[f32], at: &[f32], rp: usize, scale: f32, h: &mut [f32]) = few_h_lanes
}

struct FewPart<'a> {
    f: Few<'a>,
    y: Shares<f32>,
    first_task: usize,
}

fn few_rows(cpu: &Cpu, x: &[f32], t: usize, d: usize, parts: &mut [Forward<'_>]) {
    let mut tasks = 0;
    let mut list = Vec::with_capacity(parts.len());
    for p in parts.iter_mut() {
        few_hs(x, d, p);
        let Forward { linear, y, h } = p;
        let h: &[f32] = h;
        let lora = linear.lora.map(|l| (&l.bt[..], l.np(), l.rank, h));
        let f = Few { x, d, weight: linear.weight, bias: linear.bias, lora };
        list.push(FewPart { f, y: Shares::new(y), first_task: tasks });
        tasks += linear.weight.tiles().div_ceil(TILES_AT_ONCE);
    }
    cpu.pool.run(tasks, |task| {
        let p = &list[list.partition_point(|p| p.first_task <= task) - 1];
        let tile0 = (task - p.first_task) * TILES_AT_ONCE;
        let tiles = TILES_AT_ONCE.min(p.f.weight.tiles() - tile0);
        // SAFETY: tasks own disjoint columns of `y`.
        unsafe { few_tiles(&p.f, p.y.ptr(), 0, t, tile0, tiles) };
    });
}

/// `out[i, j] = hidden[i] · W[ids[j]]`: the product at chosen outputs only (logits that a constraint allows).
/// `hidden` `[T, D]`, `out` `[T, ids.len()]`. The same bits as the full product gives there.
pub fn linear_at(cpu: &Cpu, weight: &Weight, hidden: &[f32], ids: &[u32], out: &mut [f32]) {
    let d = weight.cols();
    let t = hidden.len() / d;
    assert!(hidden.len() == t * d && out.len() == t * ids.len(), "shapes of chosen outputs");
    assert!(ids.iter().all(|&i| (i as usize) < weight.rows()), "chosen output beyond the weight");
    // one task a tile that is touched
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&j| ids[j]);
    let groups: Vec<&[usize]> =
        order.chunk_by(|&a, &b| ids[a] as usize / TILE_ROWS == ids[b] as usize / TILE_ROWS).collect();
    let parts = Shares::new(out);
    cpu.pool.run(groups.len(), |g| {
        let tile = ids[groups[g][0]] as usize / TILE_ROWS;
        let f = Few { x: hidden, d, weight, bias: None, lora: None };
        let mut line = [0f32; 4 * LANES];
        for row0 in (0..t).step_by(4) {
            let rows = 4.min(t - row0);
            // SAFETY: one tile of up to 4 rows is written to `line` (see `tile_dots`).
            unsafe { tile_dots(&f, line.as_mut_ptr(), row0, rows, tile) };
            for &j in groups[g] {
                for r in 0..rows {
                    // SAFETY: each output belongs to one chosen id, so to one task.
                    let to = unsafe { parts.at((row0 + r) * ids.len() + j, 1) };
                    to[0] = line[r * LANES + ids[j] as usize % TILE_ROWS];
                }
            }
        }
    });
}

#[inline(always)]
unsafe fn tile_dots_m<L: Lanes, const M: usize>(f: &Few<'_>, out: *mut f32, row0: usize, tile: usize) {
    let (w, d) = (f.weight, f.d);
    let mut tail = [[0f32; RUN]; M];
    // SAFETY: the tile has its runs; `x` has 32 values a row; `out` holds M vectors.
    unsafe {
        let mut dot = Dot::<L, M> { x: [std::ptr::null(); M], acc: [L::splat(0.0); M] };
        for run in 0..w.runs() {
            let here = RUN.min(d - run * RUN);
            for m in 0..M {
                let x = &f.x[(row0 + m) * d + run * RUN..][..here];
                dot.x[m] = x.as_ptr();
                if here < RUN {
                    tail[m][..here].copy_from_slice(x);
                    dot.x[m] = tail[m].as_ptr();
                }
            }
            decode32::<L>(w.dtype(), w.tile(tile).as_ptr(), run, &mut dot);
        }
        for m in 0..M {
            dot.acc[m].store(out.add(m * LANES));
        }
    }
}

#[inline(always)]
unsafe fn tile_dots_any<L: Lanes>(f: &Few<'_>, out: *mut f32, row0: usize, rows: usize, tile: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => tile_dots_m::<L, 1>(f, out, row0, tile),
            2 => tile_dots_m::<L, 2>(f, out, row0, tile),
            3 => tile_dots_m::<L, 3>(f, out, row0, tile),
            _ => tile_dots_m::<L, 4>(f, out, row0, tile),
        }
    }
}

lanes_fn! {
    /// # Safety
    /// Rows and tile exist; `out` holds 4 vectors.
    unsafe fn tile_dots(f: &Few<'_>, out: *mut f32, row0: usize, rows: usize, tile: usize) = tile_dots_any
}
