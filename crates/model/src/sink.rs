//! Where the gradients of a backward pass go: to an adapter, or to the network's own parameters.

use crate::adapter::{AdapterGrads, Projection};
use crate::config::NormKind;
use crate::parameters::{ModelGrads, Slot};
use nurture_kernels::{
    Cpu, WeightGrad, bias_gradient, layer_norm_weight_gradient, rms_norm_weight_gradient, weight_gradient,
};

/// `(dA, dB)` of the projections of a block, in the order of `PROJECTIONS`.
pub(crate) type Pairs<'a> = [Option<(&'a mut [f32], &'a mut [f32])>; 7];

pub(crate) enum Sink<'a> {
    Adapter(&'a mut AdapterGrads),
    Model(&'a mut ModelGrads),
}

impl Sink<'_> {
    /// The block at which the backward pass ends; beyond the last one where no block trains.
    pub(crate) fn lowest(&self) -> usize {
        match self {
            Sink::Adapter(_) => 0,
            Sink::Model(grads) => grads.lowest,
        }
    }

    /// Whether the gradient of the input of block `l` is needed.
    pub(crate) fn below(&self, l: usize) -> bool {
        l > self.lowest() || self.embeds()
    }

    /// Whether the embedding trains, of tokens or positions.
    pub(crate) fn embeds(&self) -> bool {
        match self {
            Sink::Adapter(grads) => !grads.tokens.is_empty(),
            Sink::Model(grads) => grads.trains(Slot::Embed) || grads.trains(Slot::Positions),
        }
    }

    /// Whether norms may train.
    pub(crate) fn norms(&self) -> bool {
        matches!(self, Sink::Model(_))
    }

    /// The gradients of the adapter's pairs of block `l`.
    pub(crate) fn pairs(&mut self, l: usize) -> Pairs<'_> {
        match self {
            Sink::Adapter(grads) => {
                grads.pairs[l].each_mut().map(|p| p.as_mut().map(|(a, b)| (&mut a[..], &mut b[..])))
            }
            _ => [const { None }; 7],
        }
    }

    /// The gradient of the rows of own tokens.
    pub(crate) fn tokens(&mut self) -> Option<&mut [f32]> {
        match self {
            Sink::Adapter(grads) if !grads.tokens.is_empty() => Some(&mut grads.tokens),
            _ => None,
        }
    }

    /// The gradient of the magnitudes of a projection of block `l`.
    pub(crate) fn magnitude(&mut self, l: usize, p: Projection) -> Option<&mut [f32]> {
        match self {
            Sink::Adapter(grads) => {
                grads.magnitudes.get_mut(l).and_then(|all| all[p as usize].as_deref_mut())
            }
            _ => None,
        }
    }

    /// Adds the gradients of weights and biases of projections of block `l` with the same input `x` `[T, D]`; each
    /// comes with the gradient of its output.
    pub(crate) fn projections(
        &mut self,
        cpu: &Cpu,
        x: &[f32],
        t: usize,
        l: usize,
        parts: &[(Projection, &[f32])],
    ) {
        for &(p, dy) in parts {
            if let Some(db) = self.gradient(Slot::Bias(l, p)) {
                bias_gradient(cpu.pool(), dy, db);
            }
        }
        let slots: Vec<(Slot, &[f32])> = parts.iter().map(|&(p, dy)| (Slot::Weight(l, p), dy)).collect();
        self.weights(cpu, x, t, &slots);
    }

    /// Adds the gradients of weights with the same input `x` `[T, D]`.
    pub(crate) fn weights(&mut self, cpu: &Cpu, x: &[f32], t: usize, parts: &[(Slot, &[f32])]) {
        let Sink::Model(grads) = self else { return };
        let mut taken: Vec<(Slot, &[f32], Vec<f32>)> =
            parts.iter().filter_map(|&(slot, dy)| Some((slot, dy, grads.take(slot)?))).collect();
        let mut work: Vec<WeightGrad<'_>> = taken
            .iter_mut()
            .map(|(_, dy, grad)| WeightGrad { rows: dy.len() / t.max(1), dy, grad })
            .collect();
        weight_gradient(cpu, x, t, &mut work);
        for (slot, _, grad) in taken {
            grads.put(slot, grad);
        }
    }

    /// Adds the gradients of a norm's weight and bias.
    pub(crate) fn norm(&mut self, cpu: &Cpu, kind: NormKind, slot: Slot, x: &[f32], inv: &[f32], dy: &[f32]) {
        if let Some(dw) = self.gradient(slot) {
            match kind {
                NormKind::Rms => rms_norm_weight_gradient(cpu.pool(), x, inv, dy, dw),
                NormKind::Layer => layer_norm_weight_gradient(cpu.pool(), x, inv, dy, dw),
            }
        }
        let bias = match slot {
            Slot::Norm(l, n) => Slot::NormBias(l, n),
            _ => Slot::LastNormBias,
        };
        if let Some(db) = self.gradient(bias).filter(|_| kind == NormKind::Layer) {
            bias_gradient(cpu.pool(), dy, db);
        }
    }

    /// The gradient of one of the network's parameters, where it trains.
    pub(crate) fn gradient(&mut self, slot: Slot) -> Option<&mut [f32]> {
        match self {
            Sink::Model(grads) => grads.get(slot),
            _ => None,
        }
    }
}
