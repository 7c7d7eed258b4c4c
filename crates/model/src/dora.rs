//! DoRA (Liu et al. 2024): the rows of the tuned weight keep their direction by LoRA and their length by a vector.
//!
//! `y = m / ‖W + s B A‖ · (x Wᵀ + h Bᵀ) + bias`, lengths by rows. As in PEFT the length in the denominator counts as a
//! constant in the gradient. It is computed without ever making `B A`:
//! `‖W + s B A‖² = ‖W‖² + 2 s ⟨B, W Aᵀ⟩ + s² ⟨B, B (A Aᵀ)⟩` by rows, where `W Aᵀ` is the layer's own product with the rows
//! of `A` as its input.

use crate::adapter::{Adapter, PROJECTIONS, Projection};
use crate::decoder::Decoder;
use nurture_kernels::{
    Cpu, Forward, Linear, LoraPair, Weight, column_products, linear_forward, scale_columns,
};

/// The lengths of a projection's tuned rows.
#[derive(Clone, Debug)]
pub struct Magnitude {
    /// `m` `[N]`, trained
    pub(crate) m: Vec<f32>,
    /// squared lengths of the base's rows `[N]`
    base: Vec<f32>,
    /// `‖W + s B A‖` `[N]`
    norm: Vec<f32>,
    /// `m / ‖W + s B A‖` `[N]`
    factor: Vec<f32>,
}

impl Magnitude {
    /// `m` `[N]`.
    pub fn values(&self) -> &[f32] {
        &self.m
    }

    /// `m / ‖W + s B A‖` `[N]`: the factor of each tuned row.
    pub fn factors(&self) -> &[f32] {
        &self.factor
    }

    fn renew(&mut self, cpu: &Cpu, weight: &Weight, pair: &LoraPair) {
        let (r, n, d) = (pair.rank(), weight.rows(), weight.cols());
        // [R, N]
        let mut across = vec![0f32; r * n];
        let linear = Linear { weight, bias: None, lora: None };
        linear_forward(cpu, pair.a(), r, &mut [Forward { linear, y: &mut across, h: &mut [] }]);
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let rows: Vec<&[f32]> = pair.a().chunks_exact(d).collect();
        let gram: Vec<f64> = rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b))).collect();
        let s = f64::from(pair.scale());
        for (i, b) in pair.b().chunks_exact(r).enumerate() {
            let mut square = f64::from(self.base[i]);
            for (k, &bk) in b.iter().enumerate() {
                let bk = f64::from(bk);
                square += 2.0 * s * bk * f64::from(across[k * n + i]);
                let inner = b.iter().zip(&gram[k * r..]).map(|(b, g)| f64::from(*b) * g).sum::<f64>();
                square += s * s * bk * inner;
            }
            self.norm[i] = square.max(0.0).sqrt() as f32;
            self.factor[i] = self.m[i] / self.norm[i];
        }
    }
}

/// Squared lengths of the rows of a weight.
fn squares(weight: &Weight) -> Vec<f32> {
    let mut row = vec![0f32; weight.cols()];
    (0..weight.rows())
        .map(|i| {
            weight.row_into(i, &mut row);
            row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() as f32
        })
        .collect()
}

impl Adapter {
    /// The same adapter with magnitudes beside its pairs: those of `values`, where it gives them, else the lengths as they
    /// are, so that nothing is changed yet.
    pub fn with_magnitudes(
        mut self,
        cpu: &Cpu,
        model: &Decoder,
        mut values: impl FnMut(usize, Projection) -> Option<Vec<f32>>,
    ) -> Adapter {
        self.magnitudes = (0..model.config().layers).map(|_| [const { None }; 7]).collect();
        for l in 0..model.config().layers {
            for p in PROJECTIONS {
                let (Some(pair), Some(projected)) = (self.pair(l, p), model.blocks[l].projected(p)) else {
                    continue;
                };
                let weight = &projected.weight;
                let n = weight.rows();
                let mut magnitude = Magnitude {
                    m: vec![1.0; n],
                    base: squares(weight),
                    norm: vec![0.0; n],
                    factor: vec![0.0; n],
                };
                magnitude.renew(cpu, weight, pair);
                magnitude.m = values(l, p).unwrap_or_else(|| magnitude.norm.clone());
                magnitude.renew(cpu, weight, pair);
                self.magnitudes[l][p as usize] = Some(magnitude);
            }
        }
        self
    }

    /// Whether magnitudes stand beside the pairs.
    pub fn is_dora(&self) -> bool {
        self.magnitudes().next().is_some()
    }

    /// Renews what is derived from pairs and magnitudes: after each change of them.
    pub fn renew(&mut self, cpu: &Cpu, model: &Decoder) {
        for (l, (magnitudes, pairs)) in self.magnitudes.iter_mut().zip(&self.pairs).enumerate() {
            for ((p, magnitude), pair) in PROJECTIONS.into_iter().zip(magnitudes).zip(pairs) {
                let weight = model.blocks[l].projected(p).map(|projected| &projected.weight);
                if let (Some(magnitude), Some(pair), Some(weight)) = (magnitude, pair, weight) {
                    magnitude.renew(cpu, weight, pair);
                }
            }
        }
    }

    /// Magnitudes with their module paths, in the order of the pairs.
    pub fn magnitudes(&self) -> impl Iterator<Item = (String, &Magnitude)> {
        self.magnitudes.iter().enumerate().flat_map(|(l, all)| {
            PROJECTIONS.iter().zip(all).filter_map(move |(p, m)| Some((p.module(l), m.as_ref()?)))
        })
    }

    /// Their values, to change; [`Adapter::renew`] must follow.
    pub fn magnitudes_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.magnitudes.iter_mut().flatten().filter_map(|m| m.as_mut().map(|m| &mut m.m[..]))
    }

    pub(crate) fn magnitude(&self, l: usize, p: Projection) -> Option<&Magnitude> {
        self.magnitudes.get(l).and_then(|all| all[p as usize].as_ref())
    }
}

impl Decoder {
    /// Gives the rows of outputs `y` `[T, N]` their lengths, where the adapter has magnitudes.
    pub(crate) fn magnify(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        l: usize,
        p: Projection,
        y: &mut [f32],
    ) {
        if let Some(magnitude) = adapter.and_then(|a| a.magnitude(l, p)) {
            let bias = self.blocks[l].projected(p).and_then(|projected| projected.bias.as_deref());
            scale_columns(cpu.pool(), y, &magnitude.factor, bias);
        }
    }

    /// The reverse of [`Decoder::magnify`] for the gradient `dy` `[T, N]` of its output: adds to the gradient of the
    /// magnitudes and turns `dy` into the gradient of what was scaled. `x` `[T, D]` is the layer's input; its output is
    /// computed once more.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn magnify_backward(
        &self,
        cpu: &Cpu,
        adapter: &Adapter,
        l: usize,
        p: Projection,
        x: &[f32],
        dy: &mut [f32],
        grad: &mut [f32],
    ) {
        let (Some(magnitude), Some(pair)) = (adapter.magnitude(l, p), adapter.pair(l, p)) else { return };
        let Some(projected) = self.blocks[l].projected(p) else { return };
        let n = magnitude.m.len();
        let t = dy.len() / n;
        let (mut z, mut h) = (vec![0f32; dy.len()], vec![0f32; t * pair.rank()]);
        let linear = Linear { bias: None, ..self.linear(Some(adapter), l, p, projected) };
        linear_forward(cpu, x, t, &mut [Forward { linear, y: &mut z, h: &mut h }]);
        let mut sums = vec![0f32; n];
        column_products(cpu.pool(), dy, &z, &mut sums);
        for ((g, s), norm) in grad.iter_mut().zip(&sums).zip(&magnitude.norm) {
            *g += s / norm;
        }
        scale_columns(cpu.pool(), dy, &magnitude.factor, None);
    }
}
