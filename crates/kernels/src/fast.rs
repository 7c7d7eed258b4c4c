//! The linear layer of `fast` mode: stored weights × activations as integers (`quantise.rs`), for one row as for thousands.
//!
//! For each run of 32 columns the products are summed exactly in integers; the sum joins the others by one
//! fused multiply-add with the product of both scales (two where the halves of a run differ and their scales do not join the sum in bytes); runs ascend from +0, each followed by
//! `minimum · sum of the activations` where the type has a minimum. What is not of bytes is summed apart: from the bias (or
//! +0) the outliers by ascending columns. The output is the sum of both, which the adapter's float product continues (as
//! `lora_rows` does where rows have adapters of their own). Rows, tiles, threads and instruction set do not change a bit.

mod panel;
mod tile;

use crate::lanes::LANES;
use crate::linear::{Cpu, Forward, check_parts, linear_at, linear_forward, lora_h};
use crate::pool::Shares;
use crate::quantise::Quantised;
use crate::weight::{TILE_ROWS, Weight};
use tile::{Lines, Lora, TOGETHER, Tile, tile_rows, together, with_room};

/// Bytes of weights that a task reads at least.
const TASK_BYTES: usize = 16 * 1024;

/// Rows up to which a region is bound by reading the weights rather than by arithmetic.
const BOUND_BY_READING: usize = 16;

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
    let together = together(t, q.runs());
    cpu.pool().run(cuts.len() - 1, |task| {
        let mut ends = Vec::new();
        with_room(together.min(cuts[task + 1] - cuts[task]), t, |room| {
            let (mut tile, end) = (cuts[task], cuts[task + 1]);
            while tile < end {
                let p = &list[list.partition_point(|p| p.first_tile <= tile) - 1];
                let (n, at) = (p.weight.rows(), tile - p.first_tile);
                let count = together.min(end - tile).min(p.weight.tiles() - at);
                let last = at + count == p.weight.tiles();
                // of a last tile with fewer outputs than lanes: by way of whole vectors
                let short = if last { n % LANES } else { 0 };
                let tiles: [Tile<'_>; TOGETHER] = std::array::from_fn(|i| {
                    let i = i.min(count - 1);
                    let first = (at + i) * LANES;
                    let bias = p.bias.map_or(&[][..], |b| &b[first..n.min(first + LANES)]);
                    let lines = match short > 0 && i + 1 == count {
                        true => Lines::of(&mut ends, t),
                        // SAFETY: shapes are checked above.
                        false => Lines { to: unsafe { p.y.ptr().add(first) }, ld: n, rows: t },
                    };
                    Tile { weight: p.weight, first, x: q, bias, lora: p.lora, lines }
                });
                // SAFETY: shapes are checked above; tasks own disjoint columns of `y`.
                unsafe {
                    tile_rows(&tiles[..count], room);
                    if short > 0 {
                        for (row, line) in ends.chunks_exact(LANES).enumerate() {
                            std::ptr::copy_nonoverlapping(
                                line.as_ptr(),
                                p.y.ptr().add((row + 1) * n - short),
                                short,
                            );
                        }
                    }
                }
                tile += count;
            }
        });
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
        let mut sums = Vec::new();
        let lines = Lines::of(&mut sums, t);
        let tile = Tile { weight, first: tile_of(groups[g][0]) * LANES, x: q, bias: &[], lora: None, lines };
        // SAFETY: the ids lie inside the weight.
        with_room(1, t, |room| unsafe { tile_rows(&[tile], room) });
        for &j in groups[g] {
            for (row, line) in sums.chunks_exact(LANES).enumerate() {
                // SAFETY: each output belongs to one chosen id, so to one task.
                unsafe { parts.at(row * ids.len() + j, 1)[0] = line[ids[j] as usize % TILE_ROWS] };
            }
        }
    });
}
