//! Who learns, seen alike whether it is an adapter or the network: a list of tensors with their gradients.

use crate::error::TrainError;
use nurture_formats::SCORE_HEAD;
use nurture_kernels::{Cpu, sum_of_squares};
use nurture_model::{
    Adapter, AdapterGrads, Decoder, Deferred, Freeze, ModelError, ModelGrads, Objective, Parameter,
    ScoreOptions, Scores, Slot, TrainBatch, TrainBuffers, Trainee, ValueHead,
};
use std::sync::Arc;

/// An adapter or a network with the gradients of what trains, and perhaps a head that reads a number from its states.
#[derive(Debug)]
pub(crate) struct Pupil<'a> {
    pub(crate) who: Who<'a>,
    /// the head's values and gradient `[D]`
    pub(crate) head: Option<(Vec<f32>, Vec<f32>)>,
}

/// Numbers that the head reads from rows of a batch, and what becomes of them.
pub(crate) struct Read<'a> {
    pub(crate) rows: &'a [usize],
    pub(crate) weigh: &'a mut dyn FnMut(&[f32], &mut [f32]),
}

/// An adapter or a network.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub(crate) enum Who<'a> {
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
        let who = Who::Adapter { model, gradients: AdapterGrads::zeros(&adapter), adapter, half };
        Pupil { who, head: None }
    }

    /// A copy of the network, F32 where it trains.
    pub(crate) fn network(cpu: &Cpu, model: &'a Decoder, freeze: &Freeze) -> Pupil<'a> {
        let network = model.to_trainable(cpu.pool(), freeze);
        let gradients = ModelGrads::zeros(network.trainable(freeze));
        Pupil { who: Who::Network { base: model, network: Arc::new(network), gradients }, head: None }
    }

    /// The same with a head.
    pub(crate) fn with_head(mut self, head: Vec<f32>) -> Pupil<'a> {
        self.head = Some((head.clone(), vec![0.0; head.len()]));
        self
    }

    /// Forward and backward: losses, and gradients added to. With neither the losses of the batch count; with `deferred` its
    /// factors; with `read` alone only what the head reads.
    pub(crate) fn pass<'p>(
        &'p mut self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        deferred: Option<Deferred<'p>>,
        read: Option<Read<'p>>,
    ) -> Result<Vec<f32>, ModelError> {
        let read = read.zip(self.head.as_mut()).map(|(read, (weight, gradient))| ValueHead {
            rows: read.rows,
            weight,
            gradient,
            weigh: read.weigh,
        });
        let objective = match (deferred, read) {
            (None, None) => Objective::Fixed,
            (Some(deferred), None) => Objective::Deferred(deferred),
            (None, Some(read)) => Objective::Values(read),
            (Some(deferred), Some(read)) => Objective::Both(deferred, read),
        };
        match &mut self.who {
            Who::Adapter { model, adapter, gradients, .. } => {
                model.train_by(cpu, Trainee::Adapter(adapter, gradients), batch, buffers, objective)
            }
            Who::Network { base, network, gradients } => {
                network.train_by(cpu, Trainee::Network(base, gradients), batch, buffers, objective)
            }
        }
    }

    /// What the head reads from these rows, without gradients; nothing without a head.
    pub(crate) fn read(
        &self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        rows: &[usize],
    ) -> Result<Vec<f32>, ModelError> {
        let Some((weight, _)) = &self.head else { return Ok(Vec::new()) };
        match &self.who {
            Who::Adapter { model, adapter, .. } => {
                model.values(cpu, Some(adapter), batch, buffers, rows, weight)
            }
            Who::Network { network, .. } => network.values(cpu, None, batch, buffers, rows, weight),
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
        let (model, adapter) = match &self.who {
            Who::Adapter { model, adapter, .. } => (*model, (!of_base).then_some(adapter)),
            Who::Network { base, .. } if of_base => (*base, None),
            Who::Network { network, .. } => (&**network, None),
        };
        model.score(cpu, adapter, batch, buffers, options)
    }

    pub(crate) fn clear_gradients(&mut self) {
        if let Some((_, gradient)) = &mut self.head {
            gradient.fill(0.0);
        }
        match &mut self.who {
            Who::Adapter { gradients, .. } => gradients.clear(),
            Who::Network { gradients, .. } => gradients.clear(),
        }
    }

    /// Takes away the gradients of what does not train.
    pub(crate) fn mask(&mut self) {
        let tensors = match &self.who {
            Who::Adapter { half: true, .. } => self.tensors(),
            _ => return,
        };
        if let Who::Adapter { gradients, .. } = &mut self.who {
            let all = gradients.iter_mut().flat_map(|(a, b)| [a, b]);
            tensors.iter().zip(all).for_each(|(t, g)| t.mask(g));
        }
    }
}

impl Tensors for Pupil<'_> {
    fn tensors(&self) -> Vec<Tensor> {
        let head = self.head.iter().map(|(values, _)| Tensor {
            name: SCORE_HEAD.to_string(),
            shape: vec![1, values.len()],
            floats: values.len(),
            decays: false,
            hidden: false,
            second: false,
            half: false,
        });
        let mut all: Vec<Tensor> = match &self.who {
            Who::Adapter { adapter, half, .. } => {
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
            Who::Network { gradients, .. } => {
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
        };
        all.extend(head);
        all
    }

    fn gradients(&self) -> Vec<&[f32]> {
        let mut all: Vec<&[f32]> = match &self.who {
            Who::Adapter { gradients, .. } => {
                let pairs = gradients.iter().flat_map(|(a, b)| [a, b]).chain(gradients.magnitudes());
                pairs.chain(Some(gradients.tokens()).filter(|t| !t.is_empty())).collect()
            }
            Who::Network { gradients, .. } => gradients.iter().map(|(_, g)| g).collect(),
        };
        all.extend(self.head.iter().map(|(_, gradient)| &gradient[..]));
        all
    }

    fn values(&self) -> Vec<&[f32]> {
        let mut all: Vec<&[f32]> = match &self.who {
            Who::Adapter { adapter, .. } => {
                let pairs = adapter.iter().flat_map(|(_, p)| [p.a(), p.b()]);
                let lengths = adapter.magnitudes().map(|(_, m)| m.values());
                pairs.chain(lengths).chain(Some(adapter.tokens().rows()).filter(|t| !t.is_empty())).collect()
            }
            Who::Network { network, gradients, .. } => {
                gradients.iter().map(|(p, _)| network.floats(p.slot).unwrap_or_default()).collect()
            }
        };
        all.extend(self.head.iter().map(|(values, _)| &values[..]));
        all
    }

    fn change(&mut self, cpu: &Cpu, change: Change<'_>) {
        let last = match &mut self.who {
            Who::Adapter { model, adapter, gradients, .. } => {
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
                at + usize::from(!gradients.tokens().is_empty())
            }
            Who::Network { network, gradients, .. } => {
                let network = Arc::make_mut(network);
                for (i, (p, g)) in gradients.iter().enumerate() {
                    let slot: Slot = p.slot;
                    if let Some(values) = network.floats_mut(slot) {
                        change(i, values, g);
                    }
                }
                gradients.iter().count()
            }
        };
        if let Some((values, gradient)) = &mut self.head {
            change(last, values, gradient);
        }
    }
}
