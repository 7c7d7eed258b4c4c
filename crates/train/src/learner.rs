//! One optimiser step: all micro-batches, the checks, clipping, the update.

use crate::config::{Init, TrainConfig};
use crate::deferred::{Found, Objective, Reads, by_sequence, fold};
use crate::error::TrainError;
use crate::layout::lay_out;
use crate::optimiser::Memory;
use crate::preference::Rewards;
use crate::pupil::{Pupil, Read, Tensors, Who};
use crate::subject::Subject;
use nurture_data::{PrefixTree, TokenExample};
use nurture_kernels::Rng;
use nurture_model::{
    Adapter, AdapterGrads, Cpu, Decoder, Deferred, ModelGrads, Noise, PassOptions, ScoreOptions, Softening,
    TrainBatch, TrainBuffers,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Mean loss per trained token, nats, before the update; of an [`Objective`] its value.
    pub loss: f64,
    /// Mean divergence from the base on the windows of general text, nats; `None` without them.
    pub keep: Option<f64>,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// How the answers were rewarded, of a preference.
    pub preferred: Option<Rewards>,
    /// Tokens of the sequences.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
    /// Tokens that were computed: what sequences of a pack share counts once.
    pub computed_tokens: u64,
}

/// An adapter, or a network, that learns: its values, gradients and the optimiser's memory, and the buffers of the
/// passes.
#[derive(Debug)]
pub struct Learner<'a> {
    cpu: &'a Cpu,
    pub(crate) pupil: Pupil<'a>,
    pub(crate) memory: Memory,
    buffers: TrainBuffers,
    /// the adapter of a network that learns itself
    none: (Adapter, AdapterGrads),
    /// the base
    model: &'a Decoder,
    /// the base's outputs on windows of general text, made when first needed
    kept: HashMap<usize, Vec<f32>>,
    /// the base's log-probabilities of examples by their number, made when first needed
    pub(crate) references: HashMap<usize, f64>,
}

impl<'a> Learner<'a> {
    /// A learner of an adapter by AdamW, with moments of zero.
    pub fn new(cpu: &'a Cpu, model: &'a Decoder, adapter: Adapter) -> Self {
        Learner::of(cpu, model, Pupil::adapter(model, adapter, false), &TrainConfig::default())
    }

    /// The same with a head `[D]` that reads a number from the normed states: a reward model.
    pub fn with_head(cpu: &'a Cpu, model: &'a Decoder, adapter: Adapter, head: Vec<f32>) -> Self {
        let pupil = Pupil::adapter(model, adapter, false).with_head(head);
        Learner::of(cpu, model, pupil, &TrainConfig::default())
    }

    /// A learner of what `subject` says, from its first values: a new adapter, or a copy of the network that is F32
    /// where it trains. Of `config` the seed, the optimiser, the softening of the loss and the recomputation count.
    ///
    /// # Errors
    /// Parts to freeze that are not there.
    pub fn begin(
        cpu: &'a Cpu,
        model: &'a Decoder,
        subject: &Subject,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let pupil = match subject {
            Subject::Lora(lora) => {
                let adapter = match config.init {
                    Init::Random => Adapter::new(model.config(), lora, config.seed),
                    Init::Principal => Adapter::principal(cpu, model, lora, config.seed),
                };
                let adapter = match config.dora {
                    true => adapter.with_magnitudes(cpu, model, |_, _| None),
                    false => adapter,
                };
                let adapter = adapter.with_tokens(cpu, model, &config.tokens)?;
                Pupil::adapter(model, adapter, config.init == Init::Principal)
            }
            Subject::Full { .. } => {
                Pupil::network(cpu, model, &subject.freeze(model.config(), model.tied())?)
            }
        };
        // what is worth nothing yet is worth the same
        let pupil = if config.has_head() { pupil.with_head(vec![0.0; model.config().width]) } else { pupil };
        Ok(Learner::of(cpu, model, pupil, config))
    }

    fn of(cpu: &'a Cpu, model: &'a Decoder, pupil: Pupil<'a>, config: &TrainConfig) -> Self {
        let none = Adapter::build(model.config(), |_, _| None);
        Learner {
            cpu,
            model,
            memory: Memory::new(config, &pupil),
            pupil,
            buffers: TrainBuffers::with(PassOptions {
                recompute: config.recompute,
                softening: Softening { smoothing: config.label_smoothing as f32, z: config.z_loss as f32 },
                noise: None,
            }),
            none: (none.clone(), AdapterGrads::zeros(&none)),
            kept: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// Puts the average of the weights (`ema`) in the place of the last ones, to be saved. Training cannot go on after it.
    pub(crate) fn settle(&mut self) {
        self.memory.settle(self.cpu, &mut self.pupil);
    }

    /// Tokens that the base was made for.
    pub(crate) fn context(&self) -> usize {
        self.model.config().context
    }

    /// The processor.
    pub(crate) fn cpu(&self) -> &'a Cpu {
        self.cpu
    }

    /// The adapter as it stands; one without pairs where the network itself trains.
    pub fn adapter(&self) -> &Adapter {
        match &self.pupil.who {
            Who::Adapter { adapter, .. } => adapter,
            Who::Network { .. } => &self.none.0,
        }
    }

    /// The network as it stands, where it trains itself.
    pub fn network(&self) -> Option<&Decoder> {
        match &self.pupil.who {
            Who::Adapter { .. } => None,
            Who::Network { network, .. } => Some(network),
        }
    }

    /// The same, shared: as long as it is held elsewhere, the next step works on a copy.
    pub(crate) fn shared_network(&self) -> Option<Arc<Decoder>> {
        match &self.pupil.who {
            Who::Adapter { .. } => None,
            Who::Network { network, .. } => Some(network.clone()),
        }
    }

    /// The adapter's gradients of the last step, before clipping.
    pub fn gradients(&self) -> &AdapterGrads {
        match &self.pupil.who {
            Who::Adapter { gradients, .. } => gradients,
            Who::Network { .. } => &self.none.1,
        }
    }

    /// The head that reads a number from the states `[D]`, where there is one, and its gradient of the last step.
    pub fn head(&self) -> Option<(&[f32], &[f32])> {
        self.pupil.head.as_ref().map(|(values, gradient)| (&values[..], &gradient[..]))
    }

    /// The network's gradients of the last step, before clipping, where it trains itself.
    pub fn network_gradients(&self) -> Option<&ModelGrads> {
        match &self.pupil.who {
            Who::Adapter { .. } => None,
            Who::Network { gradients, .. } => Some(gradients),
        }
    }

    /// Learns from the sequences of `packs`, one pack a micro-batch: step number `step` (from 1) at learning rate
    /// `rate`. Of `config` the constants of the optimiser, the clipping, the sharing and the noise count.
    ///
    /// The loss is the mean over the trained tokens of all sequences; what sequences of a pack begin with alike is
    /// computed once and counts for each of them. On an error what learns is unchanged.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, or gradients that are all zero, with step and tensor; a token beyond
    /// the vocabulary.
    pub fn update(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
    ) -> Result<Update, TrainError> {
        self.update_keeping(config, step, rate, packs, &[])
    }

    /// The same, held to the base on windows of general text beside it (see [`crate::Keep`]): each with its number,
    /// under which the base's outputs are remembered.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn update_keeping(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
        windows: &[(usize, &[u32])],
    ) -> Result<Update, TrainError> {
        self.update_by(config, step, rate, packs, windows, None)
    }

    /// A step by an objective whose gradient depends on the log-probabilities of the very pass (a preference, a reward):
    /// it is asked once for each pack, in order. Sequences that are judged together must stand in one pack.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn update_deferred(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
        windows: &[(usize, &[u32])],
        objective: &mut dyn Objective,
    ) -> Result<Update, TrainError> {
        self.update_by(config, step, rate, packs, windows, Some(objective))
    }

    /// Log-probabilities of the trained tokens of a pack's sequences, as the learner stands or (`of_base`) by the base:
    /// the same weights with the adapter off. They do not depend on what is scored together, to the bit.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn score(
        &mut self,
        config: &TrainConfig,
        pack: &[&TokenExample],
        of_base: bool,
        options: ScoreOptions,
    ) -> Result<Found, TrainError> {
        let (tree, paths) = PrefixTree::with_paths(pack, config.shares());
        self.buffers.set_noise(None);
        let batch = lay_out(&tree, 0.0);
        let scores = self.pupil.score(self.cpu, of_base, &batch, &mut self.buffers, options)?;
        Ok(by_sequence(&paths, &scores))
    }

    /// What the head reads at the places of a pack's sequences, as the learner stands; empty lists without a head.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn read(
        &mut self,
        config: &TrainConfig,
        pack: &[&TokenExample],
        reads: Reads,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let (tree, paths) = PrefixTree::with_paths(pack, config.shares());
        self.buffers.set_noise(None);
        let rows = reads.rows(&tree, &paths);
        let values = self.pupil.read(self.cpu, &lay_out(&tree, 0.0), &mut self.buffers, &rows)?;
        Ok(reads.by_sequence(&paths, &values))
    }

    fn update_by(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
        windows: &[(usize, &[u32])],
        objective: Option<&mut dyn Objective>,
    ) -> Result<Update, TrainError> {
        let mut done = self.pass(config, step, rate, packs, objective)?;
        self.buffers.set_noise(None);
        done.keep = self.keep(config, step, rate, windows)?;
        let kept = windows.iter().map(|(_, w)| w.len() as u64).sum::<u64>();
        done.tokens += kept;
        done.computed_tokens += kept;
        self.pupil.mask();
        let grad_norm = self.norm(step, rate)?;
        // as PyTorch's clip_grad_norm_
        let clipped = if config.clip > 0.0 { (config.clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        self.memory.step(self.cpu, config, step, rate, clipped, &mut self.pupil);
        Ok(Update { grad_norm, ..done })
    }

    /// Forward and backward through all packs; the norm of the gradients is left open.
    fn pass(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
        mut objective: Option<&mut dyn Objective>,
    ) -> Result<Update, TrainError> {
        let all = || packs.iter().flatten();
        let trained: usize = all().map(|e| e.trained_tokens()).sum();
        if trained == 0 {
            return Err(TrainError::NoExamples);
        }
        let weight = (1.0 / trained as f64) as f32;
        self.pupil.clear_gradients();
        let (mut sum, mut value, mut computed) = (0f64, 0f64, 0);
        for (number, pack) in packs.iter().enumerate() {
            let (tree, paths) = PrefixTree::with_paths(pack, config.shares());
            let seed = Rng::stream(config.seed, step).next_u64().wrapping_add(number as u64);
            let noise = (config.neftune > 0.0).then_some(Noise { alpha: config.neftune, seed });
            self.buffers.set_noise(noise);
            let batch = lay_out(&tree, weight);
            let losses = match &mut objective {
                None => self.pupil.pass(self.cpu, &batch, &mut self.buffers, None, None)?,
                Some(objective) => {
                    let (options, reads) = (objective.options(), objective.reads());
                    if reads != Reads::Nothing && self.pupil.head.is_none() {
                        let problem = "this objective reads numbers, and nothing here has a head for them";
                        return Err(TrainError::Setting { key: "head", problem: problem.to_string() });
                    }
                    let (objective, of_pack) = (RefCell::new(objective), RefCell::new(0.0));
                    let weigh = &mut |scores: &_, factors: &mut [f32]| {
                        let found = by_sequence(&paths, scores);
                        let mut own = found.zeros();
                        *of_pack.borrow_mut() += objective.borrow_mut().weigh(number, &found, &mut own);
                        fold(&paths.losses, &own, factors);
                    };
                    let rows = reads.rows(&tree, &paths);
                    let weigh_values = &mut |values: &[f32], factors: &mut [f32]| {
                        let found = reads.by_sequence(&paths, values);
                        let mut own: Vec<Vec<f32>> = found.iter().map(|s| vec![0.0; s.len()]).collect();
                        let value = objective.borrow_mut().weigh_values(number, &found, &mut own);
                        *of_pack.borrow_mut() += value;
                        reads.fold(&paths, &own, factors);
                    };
                    let deferred = (reads != Reads::Ends).then_some(Deferred { options, weigh });
                    let read = Read { rows: &rows, weigh: weigh_values };
                    let read = (reads != Reads::Nothing).then_some(read);
                    let losses = self.pupil.pass(self.cpu, &batch, &mut self.buffers, deferred, read)?;
                    value += of_pack.into_inner();
                    losses
                }
            };
            for (at, &loss) in tree.losses.iter().zip(&losses) {
                if !loss.is_finite() {
                    let id = tree.learner(at, pack).map(|e| e.id.clone()).unwrap_or_default();
                    return Err(TrainError::LossNotFinite { step, id, loss, rate });
                }
                sum += f64::from(loss) * f64::from(at.count);
            }
            computed += tree.rows();
        }
        let tokens: usize = all().map(|e| e.tokens.len()).sum();
        if !value.is_finite() {
            let id = all().next().map(|e| e.id.clone()).unwrap_or_default();
            return Err(TrainError::LossNotFinite { step, id, loss: value as f32, rate });
        }
        Ok(Update {
            loss: if objective.is_some() { value } else { sum / trained as f64 },
            keep: None,
            preferred: None,
            grad_norm: 0.0,
            tokens: tokens as u64,
            trained_tokens: trained as u64,
            computed_tokens: computed as u64,
        })
    }

    /// Forward and backward through the windows of general text; their mean divergence.
    fn keep(
        &mut self,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        windows: &[(usize, &[u32])],
    ) -> Result<Option<f64>, TrainError> {
        let all: usize = windows.iter().map(|(_, w)| w.len()).sum();
        if all == 0 {
            return Ok(None);
        }
        let weight = (config.keep.strength / all as f64) as f32;
        let mut sum = 0f64;
        let mut windows = windows.iter().copied().peekable();
        while windows.peek().is_some() {
            let mut batch = TrainBatch::default();
            while let Some((number, tokens)) = windows.next_if(|(_, w)| {
                batch.batch.is_empty() || batch.batch.len() + w.len() <= config.micro_tokens
            }) {
                if !self.kept.contains_key(&number) {
                    let mut alone = TrainBatch::default();
                    alone.push(tokens, &vec![false; tokens.len()], 0.0);
                    let outputs = self.model.outputs(self.cpu, &alone, &mut self.buffers)?;
                    self.kept.insert(number, outputs);
                }
                batch.push_kept(tokens, &self.kept[&number], weight);
            }
            let losses = self.pupil.pass(self.cpu, &batch, &mut self.buffers, None, None)?;
            for loss in losses {
                if !loss.is_finite() {
                    let id = "text to keep".to_string();
                    return Err(TrainError::LossNotFinite { step, id, loss, rate });
                }
                sum += f64::from(loss);
            }
        }
        Ok(Some(sum / all as f64))
    }

    /// The norm of all gradients, which must be numbers and not all zero.
    fn norm(&self, step: u64, rate: f64) -> Result<f64, TrainError> {
        self.pupil.gradient_norm(self.cpu, step, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_formats::ModelFile;
    use nurture_model::{LoraSpec, PROJECTIONS};

    #[test]
    fn a_gradient_that_is_no_number_is_named() {
        let cpu = Cpu::new(1);
        let file = ModelFile::open(nurture_testing::repository("crates/model/tests/goldens/qwen3")).unwrap();
        let model = Decoder::load(&file, cpu.pool()).unwrap();
        let lora = LoraSpec { rank: 2, alpha: 4.0, rslora: false, targets: PROJECTIONS.to_vec() };
        let spoilt = |value: f32| {
            let mut learner = Learner::new(&cpu, &model, Adapter::new(model.config(), &lora, 1));
            let Who::Adapter { gradients, .. } = &mut learner.pupil.who else { panic!("an adapter learns") };
            let last = gradients.iter_mut().nth(9).unwrap().1;
            last[last.len() - 1] = value;
            learner.norm(7, 1e-3)
        };
        for value in [f32::NAN, f32::INFINITY] {
            let Err(TrainError::GradientNotFinite { step: 7, tensor, .. }) = spoilt(value) else {
                panic!("{value} is not seen");
            };
            assert_eq!(tensor, "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
        }
        // the largest number is one
        assert_eq!(spoilt(f32::MAX).unwrap(), f64::from(f32::MAX));
    }
}
