//! PiSSA (Meng et al. 2024): an adapter that begins as the strongest part of each weight.
//!
//! With `W ≈ U S Vᵀ` the pair begins as `A = √S Vᵀ / s`, `B = U √S` for the `R` largest singular values (`s`: the adapter's
//! scale, shared between both so that `s B A` is that part), and what trains is the rest of `W` plus the pair. The base
//! is not changed for it: the adapter has twice the rank, and its second half takes the beginning away again and does
//! not train. So it is an ordinary adapter of PEFT's format at every moment, and beside it the base stays as it is.
//!
//! The singular vectors come from a randomised range finder (Halko, Martinsson & Tropp 2011) with two power iterations.

use crate::adapter::{Adapter, LoraSpec};
use crate::decoder::Decoder;
use nurture_kernels::{Backward, Cpu, Forward, Linear, Rng, Weight, linear_backward, linear_forward};

/// Directions beside the wanted ones, and how often the weight is applied to sharpen them.
const BESIDE: usize = 8;
const POWER: usize = 2;

impl Adapter {
    /// An adapter of `spec`, whose rank is `2 R`: the first half of each pair is the strongest part of its weight, the
    /// second takes it away again, so that with it the network is what it was, up to rounding. A function of the weights
    /// and the seed.
    pub fn principal(cpu: &Cpu, model: &Decoder, spec: &LoraSpec, seed: u64) -> Adapter {
        let c = model.config();
        let (scale, half) = (spec.scale(), spec.rank / 2);
        Adapter::build(c, |l, p| {
            let projected = model.blocks[l].projected(p).filter(|_| spec.targets.contains(&p));
            projected.map(|projected| {
                let (d, n) = p.shape(c);
                let weight = &projected.weight;
                let stream = (l * crate::PROJECTIONS.len()) as u64 + p as u64 + 1;
                let (u, s, v) = strongest(cpu, weight, half, Rng::stream(seed ^ 0x70, stream));
                let (mut a, mut b) = (vec![0f32; 2 * half * d], vec![0f32; n * 2 * half]);
                for r in 0..half.min(s.len()) {
                    let root = (s[r] / scale).sqrt();
                    for i in 0..d {
                        a[r * d + i] = (root * v[r][i]) as f32;
                        a[(half + r) * d + i] = a[r * d + i];
                    }
                    for i in 0..n {
                        b[i * 2 * half + r] = (root * u[r][i]) as f32;
                        b[i * 2 * half + half + r] = -b[i * 2 * half + r];
                    }
                }
                (2 * half, scale, a, b)
            })
        })
    }
}

type Vectors = Vec<Vec<f64>>;

/// The largest singular values of `w` `[N, D]` with their vectors of outputs `[N]` and inputs `[D]`.
fn strongest(cpu: &Cpu, w: &Weight, rank: usize, mut rng: Rng) -> (Vectors, Vec<f64>, Vectors) {
    let (n, d) = (w.rows(), w.cols());
    let k = (rank + BESIDE).min(n).min(d);
    let random = || (0..d).map(|_| rng.uniform() + rng.uniform() - 1.0).collect();
    let mut v: Vectors = std::iter::repeat_with(random).take(k).collect();
    let mut u = Vectors::new();
    for _ in 0..=POWER {
        orthonormal(&mut v);
        u = apply(cpu, w, &v);
        orthonormal(&mut u);
        v = apply_transposed(cpu, w, &u);
    }
    // uᵀ W = v, so its left singular vectors are those of the small matrix v vᵀ
    let gram: Vectors = v.iter().map(|a| v.iter().map(|b| dot(a, b)).collect()).collect();
    let (values, turns) = symmetric_eigen(gram);
    let rotate = |from: &Vectors, turn: &[f64]| -> Vec<f64> {
        let len = from.first().map_or(0, Vec::len);
        (0..len).map(|i| turn.iter().zip(from).map(|(t, f)| t * f[i]).sum()).collect()
    };
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let s: Vec<f64> = order.iter().take(rank).map(|&i| values[i].max(0.0).sqrt()).collect();
    let left = order.iter().take(rank).map(|&i| rotate(&u, &turns[i])).collect();
    let right = order.iter().take(rank).zip(&s).map(|(&i, s)| {
        let mut x = rotate(&v, &turns[i]);
        x.iter_mut().for_each(|x| *x /= s.max(f64::MIN_POSITIVE));
        x
    });
    let right = right.collect();
    (left, s, right)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn flat(rows: &Vectors) -> Vec<f32> {
    rows.iter().flatten().map(|&x| x as f32).collect()
}

fn rows(flat: &[f32], width: usize) -> Vectors {
    flat.chunks_exact(width).map(|r| r.iter().map(|&x| x as f64).collect()).collect()
}

/// `W v` of each vector.
fn apply(cpu: &Cpu, w: &Weight, v: &Vectors) -> Vectors {
    let mut y = vec![0f32; v.len() * w.rows()];
    let linear = Linear { weight: w, bias: None, lora: None };
    linear_forward(cpu, &flat(v), v.len(), &mut [Forward { linear, y: &mut y, h: &mut [] }]);
    rows(&y, w.rows())
}

/// `Wᵀ u` of each vector.
fn apply_transposed(cpu: &Cpu, w: &Weight, u: &Vectors) -> Vectors {
    let (mut dx, x) = (vec![0f32; u.len() * w.cols()], vec![0f32; u.len() * w.cols()]);
    let linear = Linear { weight: w, bias: None, lora: None };
    let part = Backward { linear, dy: &flat(u), h: &[], grads: None };
    linear_backward(cpu, &x, u.len(), &mut [part], Some(&mut dx), false);
    rows(&dx, w.cols())
}

/// Makes vectors orthonormal (Gram–Schmidt, twice); one that depends on those before becomes zero.
fn orthonormal(v: &mut Vectors) {
    for i in 0..v.len() {
        let (before, rest) = v.split_at_mut(i);
        let Some(x) = rest.first_mut() else { return };
        let size = dot(x, x).sqrt();
        for _ in 0..2 {
            for b in before.iter() {
                let along = dot(b, x);
                x.iter_mut().zip(b).for_each(|(x, b)| *x -= along * b);
            }
        }
        let left = dot(x, x).sqrt();
        let by = if left > 1e-6 * size { 1.0 / left } else { 0.0 };
        x.iter_mut().for_each(|x| *x *= by);
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix by Jacobi's rotations.
fn symmetric_eigen(mut a: Vectors) -> (Vec<f64>, Vectors) {
    let n = a.len();
    let mut turns: Vectors = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    let size: f64 = a.iter().flatten().map(|x| x * x).sum();
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j] * a[i][j]).sum();
        if off <= 1e-26 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = (c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]);
                    (turns[p][k], turns[q][k]) =
                        (c * turns[p][k] - s * turns[q][k], s * turns[p][k] + c * turns[q][k]);
                }
            }
        }
    }
    ((0..n).map(|i| a[i][i]).collect(), turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_part_is_found() {
        let cpu = Cpu::new(2);
        let (n, d) = (60, 40);
        let mut rng = Rng::new(5);
        let mut random = |len| -> Vec<f64> { (0..len).map(|_| rng.uniform() - 0.5).collect() };
        let mut u: Vectors = (0..12).map(|_| random(n)).collect();
        let mut v: Vectors = (0..12).map(|_| random(d)).collect();
        orthonormal(&mut u);
        orthonormal(&mut v);
        // singular values 10, 8, 6.4, …
        let s: Vec<f64> = (0..12).map(|i| 10.0 * 0.8f64.powi(i)).collect();
        let at = |i: usize, j: usize| (0..12).map(|r| u[r][i] * s[r] * v[r][j]).sum::<f64>() as f32;
        let flat: Vec<f32> =
            (0..n).flat_map(|i| (0..d).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
        let (left, found, right) = strongest(&cpu, &Weight::from_f32(n, d, &flat), 4, Rng::new(1));
        for r in 0..4 {
            assert!((found[r] / s[r] - 1.0).abs() < 1e-4, "{found:?}");
            assert!(dot(&left[r], &u[r]).abs() > 1.0 - 1e-4 && dot(&right[r], &v[r]).abs() > 1.0 - 1e-4);
            assert!(dot(&left[r], &u[r]) * dot(&right[r], &v[r]) > 0.0, "the signs belong together");
        }
    }
}
