//! One optimiser step: all micro-batches, the checks, clipping, AdamW.

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::layout::lay_out;
use nurture_data::{PrefixTree, TokenExample};
use nurture_formats::lora_names;
use nurture_kernels::{AdamW, adamw, sum_of_squares};
use nurture_model::{Adapter, AdapterGrads, Cpu, Decoder, TrainBatch, TrainBuffers};
use std::collections::HashMap;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Mean loss per trained token, nats, before the update.
    pub loss: f64,
    /// Mean divergence from the base on the windows of general text, nats; `None` without them.
    pub keep: Option<f64>,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Tokens of the sequences.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
    /// Tokens that were computed: what sequences of a pack share counts once.
    pub computed_tokens: u64,
}

/// An adapter that learns: its values, gradients and moments, and the buffers of the passes.
#[derive(Debug)]
pub struct Learner<'a> {
    cpu: &'a Cpu,
    model: &'a Decoder,
    pub(crate) adapter: Adapter,
    gradients: AdapterGrads,
    /// AdamW's two moments, in the order of `Adapter::iter`
    pub(crate) moments: [AdapterGrads; 2],
    buffers: TrainBuffers,
    /// the base's outputs on windows of general text, made when first needed
    kept: HashMap<usize, Vec<f32>>,
}

impl<'a> Learner<'a> {
    /// A learner with moments of zero.
    pub fn new(cpu: &'a Cpu, model: &'a Decoder, adapter: Adapter) -> Self {
        let zeros = AdapterGrads::zeros(&adapter);
        Learner {
            cpu,
            model,
            gradients: zeros.clone(),
            moments: [zeros.clone(), zeros],
            adapter,
            buffers: TrainBuffers::default(),
            kept: HashMap::new(),
        }
    }

    /// The adapter as it stands.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The gradients of the last step, before clipping.
    pub fn gradients(&self) -> &AdapterGrads {
        &self.gradients
    }

    /// Learns from the sequences of `packs`, one pack a micro-batch: step number `step` (from 1) at learning rate
    /// `rate`. Of `config` only the constants of the optimiser, the clipping and the sharing count.
    ///
    /// The loss is the mean over the trained tokens of all sequences; what sequences of a pack begin with alike is
    /// computed once and counts for each of them. On an error the adapter is unchanged.
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
        let mut update = self.pass(config.sharing, step, rate, packs)?;
        update.keep = self.keep(config, step, rate, windows)?;
        let kept = windows.iter().map(|(_, w)| w.len() as u64).sum::<u64>();
        update.tokens += kept;
        update.computed_tokens += kept;
        let grad_norm = self.norm(step, rate)?;
        // as PyTorch's clip_grad_norm_
        let clipped = if config.clip > 0.0 { (config.clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        self.apply(&AdamW {
            rate,
            beta1: config.betas.0,
            beta2: config.betas.1,
            eps: config.eps,
            weight_decay: config.weight_decay,
            step,
            grad_scale: clipped,
        });
        Ok(Update { grad_norm, ..update })
    }

    /// Forward and backward through all packs; divergence and norm are left open.
    fn pass(
        &mut self,
        sharing: bool,
        step: u64,
        rate: f64,
        packs: &[Vec<&TokenExample>],
    ) -> Result<Update, TrainError> {
        let all = || packs.iter().flatten();
        let trained: usize = all().map(|e| e.trained_tokens()).sum();
        if trained == 0 {
            return Err(TrainError::NoExamples);
        }
        let weight = (1.0 / trained as f64) as f32;
        self.gradients.clear();
        let (mut sum, mut computed) = (0f64, 0);
        for pack in packs {
            let tree = PrefixTree::new(pack, sharing);
            let batch = lay_out(&tree, weight);
            let losses =
                self.model.train(self.cpu, &self.adapter, &batch, &mut self.buffers, &mut self.gradients)?;
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
        Ok(Update {
            loss: sum / trained as f64,
            keep: None,
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
            let losses =
                self.model.train(self.cpu, &self.adapter, &batch, &mut self.buffers, &mut self.gradients)?;
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
        let mut squares = 0f64;
        for ((module, _), (da, db)) in self.adapter.iter().zip(self.gradients.iter()) {
            for (first, gradient) in [(true, da), (false, db)] {
                // squares of finite f32 values cannot overflow in f64
                let sum = sum_of_squares(self.cpu.pool(), gradient);
                if !sum.is_finite() {
                    let (a, b) = lora_names(&module);
                    return Err(TrainError::GradientNotFinite {
                        step,
                        tensor: if first { a } else { b },
                        rate,
                    });
                }
                squares += sum;
            }
        }
        if squares == 0.0 {
            return Err(TrainError::ZeroGradient { step });
        }
        Ok(squares.sqrt())
    }

    fn apply(&mut self, c: &AdamW) {
        let pool = self.cpu.pool();
        let [m, v] = &mut self.moments;
        let moments = m.iter_mut().zip(v.iter_mut());
        for ((pair, (da, db)), ((ma, mb), (va, vb))) in
            self.adapter.iter_mut().zip(self.gradients.iter()).zip(moments)
        {
            pair.update(|a, b| {
                adamw(pool, c, a, da, ma, va);
                adamw(pool, c, b, db, mb, vb);
            });
        }
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
            let last = learner.gradients.iter_mut().nth(9).unwrap().1;
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
