//! Who learns, seen alike whether it is an adapter or the network: a list of tensors with their gradients.

use crate::error::TrainError;
use nurture_kernels::{Cpu, sum_of_squares};
use nurture_model::{
    Adapter, AdapterGrads, Decoder, Deferred, Freeze, ModelError, ModelGrads, Parameter, ScoreOptions,
    Scores, Slot, TrainBatch, TrainBuffers,
};
use std::sync::Arc;

/// An adapter or a network with the gradients of what trains.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub(crate) enum Pupil<'a> {
    Adapter {
        model: &'a Decoder,
        adapter: Adapter,
        gradients: AdapterGrads,
        half: bool,
    },
    /// shared while the policy speaks, alone when it changes
    Network {
        base: &'a Decoder,
        network: Arc<Decoder>,
        gradients: ModelGrads,
    },
}

/// What changes a tensor: its number, values and gradient.
pub(crate) type Change<'a> = &'a mut dyn FnMut(usize, &mut [f32], &[f32]);

/// A list of tensors that train, with their gradients: what optimisers and checkpoints know of whoever learns.
pub(crate) trait Tensors {
    /// What trains, in the order of all other lists here.
    fn tensors(&self) -> Vec<Tensor>;
    /// The values.
    fn values(&self) -> Vec<&[f32]>;
    /// The gradients.
    fn gradients(&self) -> Vec<&[f32]>;
    /// Calls `change(i, values, gradient)` for each tensor.
    fn change(&mut self, cpu: &Cpu, change: Change<'_>);

    /// The norm of all gradients, which must be numbers and not all zero.
    fn gradient_norm(&self, cpu: &Cpu, step: u64, rate: f64) -> Result<f64, TrainError> {
        let mut squares = 0f64;
        for (i, gradient) in self.gradients().into_iter().enumerate() {
            // squares of finite f32 values cannot overflow in f64
            let sum = sum_of_squares(cpu.pool(), gradient);
            if !sum.is_finite() {
                let tensor = self.tensors().into_iter().nth(i).map(|t| t.name).unwrap_or_default();
                return Err(TrainError::GradientNotFinite { step, tensor, rate });
            }
            squares += sum;
        }
        if squares == 0.0 {
            return Err(TrainError::ZeroGradient { step });
        }
        Ok(squares.sqrt())
    }
}

/// A tensor that trains.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// as other tools name it
    pub(crate) name: String,
    /// rows and columns, or one number
    pub(crate) shape: Vec<usize>,
    /// floats that hold it, the padding of tiles counted
    pub(crate) floats: usize,
    /// whether it decays: matrices do, norms and biases do not
    pub(crate) decays: bool,
    /// whether it is a matrix of a block in the order of tiles
    pub(crate) hidden: bool,
    /// whether it is the second matrix of a LoRA pair
    pub(crate) second: bool,
    /// whether only the first half of a LoRA pair trains (`nurture_model::Adapter::principal`)
    pub(crate) half: bool,
}

impl Tensor {
    /// Where in a row-major matrix the half lies that does not train: `(rows, columns of a row, first fixed column)`; of a
    /// first matrix `[2 R, D]` the lower rows, as one long row.
    fn half(&self, floats: usize) -> (usize, usize, usize) {
        match self.shape[..] {
            [rows, cols] if self.second => (rows, cols, cols / 2),
            _ => (1, floats, floats / 2),
        }
    }

    /// The values that do not train.
    pub(crate) fn fixed(&self, values: &[f32]) -> Vec<f32> {
        if !self.half {
            return Vec::new();
        }
        let (_, cols, first) = self.half(values.len());
        values.chunks_exact(cols).flat_map(|row| row[first..].iter().copied()).collect()
    }

    /// Puts them back.
    pub(crate) fn put_back(&self, values: &mut [f32], fixed: &[f32]) {
        if !self.half {
            return;
        }
        let (_, cols, first) = self.half(values.len());
        for (row, fixed) in values.chunks_exact_mut(cols).zip(fixed.chunks_exact(cols - first)) {
            row[first..].copy_from_slice(fixed);
        }
    }

    /// Takes the gradient of what does not train away.
    pub(crate) fn mask(&self, gradient: &mut [f32]) {
        if !self.half {
            return;
        }
        let (_, cols, first) = self.half(gradient.len());
        gradient.chunks_exact_mut(cols).for_each(|row| row[first..].fill(0.0));
    }
}

impl<'a> Pupil<'a> {
    /// An adapter; `half`: of each pair the first half trains.
    pub(crate) fn adapter(model: &'a Decoder, adapter: Adapter, half: bool) -> Pupil<'a> {
        Pupil::Adapter { model, gradients: AdapterGrads::zeros(&adapter), adapter, half }
    }

    /// A copy of the network, F32 where it trains.
    pub(crate) fn network(cpu: &Cpu, model: &'a Decoder, freeze: &Freeze) -> Pupil<'a> {
        let network = model.to_trainable(cpu.pool(), freeze);
        let gradients = ModelGrads::zeros(network.trainable(freeze));
        Pupil::Network { base: model, network: Arc::new(network), gradients }
    }

    /// Forward and backward: losses, and gradients added to.
    pub(crate) fn pass(
        &mut self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
    ) -> Result<Vec<f32>, ModelError> {
        match self {
            Pupil::Adapter { model, adapter, gradients, .. } => {
                model.train(cpu, adapter, batch, buffers, gradients)
            }
            Pupil::Network { base, network, gradients } => {
                network.train_full(cpu, base, batch, buffers, gradients)
            }
        }
    }

    /// The same where the weights of the losses depend on the log-probabilities.
    pub(crate) fn pass_deferred(
        &mut self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        objective: Deferred<'_>,
    ) -> Result<Vec<f32>, ModelError> {
        match self {
            Pupil::Adapter { model, adapter, gradients, .. } => {
                model.train_deferred(cpu, adapter, batch, buffers, gradients, objective)
            }
            Pupil::Network { base, network, gradients } => {
                network.train_full_deferred(cpu, base, batch, buffers, gradients, objective)
            }
        }
    }

    /// Log-probabilities as they stand, or the base's.
    pub(crate) fn score(
        &self,
        cpu: &Cpu,
        of_base: bool,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        options: ScoreOptions,
    ) -> Result<Scores, ModelError> {
        let (model, adapter) = match self {
            Pupil::Adapter { model, adapter, .. } => (*model, (!of_base).then_some(adapter)),
            Pupil::Network { base, .. } if of_base => (*base, None),
            Pupil::Network { network, .. } => (&**network, None),
        };
        model.score(cpu, adapter, batch, buffers, options)
    }

    pub(crate) fn clear_gradients(&mut self) {
        match self {
            Pupil::Adapter { gradients, .. } => gradients.clear(),
            Pupil::Network { gradients, .. } => gradients.clear(),
        }
    }

    /// Takes away the gradients of what does not train.
    pub(crate) fn mask(&mut self) {
        let tensors = match self {
            Pupil::Adapter { half: true, .. } => self.tensors(),
            _ => return,
        };
        if let Pupil::Adapter { gradients, .. } = self {
            let all = gradients.iter_mut().flat_map(|(a, b)| [a, b]);
            tensors.iter().zip(all).for_each(|(t, g)| t.mask(g));
        }
    }
}

impl Tensors for Pupil<'_> {
    fn tensors(&self) -> Vec<Tensor> {
        match self {
            Pupil::Adapter { adapter, half, .. } => {
                let pairs = 2 * adapter.iter().count();
                let tensors = adapter.tensors().into_iter().enumerate();
                let one = |(i, (name, shape, values)): (usize, (String, Vec<usize>, &[f32]))| Tensor {
                    name,
                    shape,
                    floats: values.len(),
                    decays: i < pairs,
                    hidden: false,
                    second: i < pairs && i % 2 == 1,
                    half: *half && i < pairs,
                };
                tensors.map(one).collect()
            }
            Pupil::Network { gradients, .. } => {
                let one = |(p, g): (&Parameter, &[f32])| Tensor {
                    name: p.name.clone(),
                    shape: p.shape.clone(),
                    floats: g.len(),
                    decays: p.is_matrix(),
                    hidden: p.is_hidden_matrix(),
                    second: false,
                    half: false,
                };
                gradients.iter().map(one).collect()
            }
        }
    }

    fn gradients(&self) -> Vec<&[f32]> {
        match self {
            Pupil::Adapter { gradients, .. } => {
                let pairs = gradients.iter().flat_map(|(a, b)| [a, b]).chain(gradients.magnitudes());
                pairs.chain(Some(gradients.tokens()).filter(|t| !t.is_empty())).collect()
            }
            Pupil::Network { gradients, .. } => gradients.iter().map(|(_, g)| g).collect(),
        }
    }

    fn values(&self) -> Vec<&[f32]> {
        match self {
            Pupil::Adapter { adapter, .. } => {
                let pairs = adapter.iter().flat_map(|(_, p)| [p.a(), p.b()]);
                let lengths = adapter.magnitudes().map(|(_, m)| m.values());
                pairs.chain(lengths).chain(Some(adapter.tokens().rows()).filter(|t| !t.is_empty())).collect()
            }
            Pupil::Network { network, gradients, .. } => {
                gradients.iter().map(|(p, _)| network.floats(p.slot).unwrap_or_default()).collect()
            }
        }
    }

    fn change(&mut self, cpu: &Cpu, change: Change<'_>) {
        match self {
            Pupil::Adapter { model, adapter, gradients, .. } => {
                let mut at = 0;
                for (i, (pair, (da, db))) in adapter.iter_mut().zip(gradients.iter()).enumerate() {
                    pair.update(|a, b| {
                        change(2 * i, a, da);
                        change(2 * i + 1, b, db);
                    });
                    at = 2 * i + 2;
                }
                for (m, dm) in adapter.magnitudes_mut().zip(gradients.magnitudes()) {
                    change(at, m, dm);
                    at += 1;
                }
                adapter.update_tokens(|rows| change(at, rows, gradients.tokens()));
                adapter.renew(cpu, model);
            }
            Pupil::Network { network, gradients, .. } => {
                let network = Arc::make_mut(network);
                for (i, (p, g)) in gradients.iter().enumerate() {
                    let slot: Slot = p.slot;
                    if let Some(values) = network.floats_mut(slot) {
                        change(i, values, g);
                    }
                }
            }
        }
    }
}
