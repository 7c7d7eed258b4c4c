//! Keeping what the base knows: on chosen rows the tuned network is held to the base's own distribution.
//!
//! The loss of such a row is `KL(base ‖ tuned)` over the whole vocabulary. Of the base only the normed output of the
//! last block is needed (`D` floats a row, the same whenever the row is used); its logits are made again beside the
//! tuned ones, a chunk at a time.

use crate::adapter::Adapter;
use crate::decoder::{Decoder, Retain};
use crate::error::ModelError;
use crate::loss::logit_rows;
use crate::parameters::Slot;
use crate::sink::Sink;
use crate::training::{TrainBatch, TrainBuffers};
use nurture_kernels::{Cpu, Forward, Linear, Weight, kl_divergence, linear_forward};

/// Rows of a batch that are held to a reference.
#[derive(Clone, Debug, Default)]
pub struct KeepRows {
    /// rows of the batch
    pub rows: Vec<usize>,
    /// normed outputs of the reference there `[rows, D]`, see [`Decoder::outputs`]
    pub outputs: Vec<f32>,
    /// factor on each divergence and its gradient
    pub weight: f32,
}

impl TrainBatch {
    /// Appends a sequence on all of whose rows the network is held to `outputs` `[T, D]`.
    pub fn push_kept(&mut self, tokens: &[u32], outputs: &[f32], weight: f32) {
        let (row, tree) = (self.batch.len(), self.batch.spans.len());
        self.batch.push(tokens, 0, vec![(row, tokens.len())], tree);
        self.keep.rows.extend(row..row + tokens.len());
        self.keep.outputs.extend_from_slice(outputs);
        self.keep.weight = weight;
    }
}

/// Rows of a chunk of logits of which two are held.
pub(crate) fn keep_rows(vocab: usize) -> usize {
    (logit_rows(vocab) / 2).max(1)
}

impl Decoder {
    /// Normed outputs of the last block, `[T, D]`, without an adapter: what [`TrainBatch::push_kept`] holds to.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn outputs(
        &self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
    ) -> Result<Vec<f32>, ModelError> {
        self.forward_kept(cpu, None, &batch.batch, Retain::Nothing, &mut buffers.forward, |_| ())?;
        Ok(self.last_norm(cpu, &buffers.forward.x))
    }

    /// The divergences of `batch.keep`, appended to `losses`; their gradient is added to `dx` and `sink`. `head` is the
    /// reference's.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn keep_loss(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        head: &Weight,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        losses: &mut Vec<f32>,
        sink: &mut Sink<'_>,
    ) {
        let (d, vocab, keep) = (self.config.width, self.config.vocab, &batch.keep);
        assert_eq!(keep.outputs.len(), keep.rows.len() * d, "outputs of the reference");
        let most = keep_rows(vocab);
        let (mut x, mut n, mut inv) = (vec![0f32; most * d], vec![0f32; most * d], vec![0f32; most]);
        let (mut dn, mut dxr) = (vec![0f32; most * d], vec![0f32; most * d]);
        for (rows, outputs) in keep.rows.chunks(most).zip(keep.outputs.chunks(most * d)) {
            let m = rows.len();
            let (x, n, inv) = (&mut x[..m * d], &mut n[..m * d], &mut inv[..m]);
            let (dn, dxr) = (&mut dn[..m * d], &mut dxr[..m * d]);
            for (x, &row) in x.chunks_exact_mut(d).zip(rows) {
                x.copy_from_slice(&buffers.forward.x[row * d..][..d]);
            }
            self.norm_forward(cpu.pool(), x, &self.norm, n, inv);
            let (logits, reference) = buffers.logit_pair(m * vocab);
            self.head_forward(cpu, adapter, n, m, logits);
            let its_own = Linear { weight: head, bias: None, lora: None };
            linear_forward(cpu, outputs, m, &mut [Forward { linear: its_own, y: reference, h: &mut [] }]);
            let from = losses.len();
            losses.resize(from + m, 0.0);
            let weights = vec![keep.weight; m];
            kl_divergence(cpu.pool(), logits, reference, vocab, Some(&weights), &mut losses[from..]);
            self.head_backward(cpu, adapter, n, m, logits, dn, sink.tokens());
            sink.weights(cpu, n, m, &[(self.head_slot(), logits)]);
            sink.norm(cpu, self.config.norm, Slot::LastNorm, x, inv, dn);
            self.norm_backward(cpu.pool(), x, &self.norm, inv, dn, dxr, false);
            for (from, &row) in dxr.chunks_exact(d).zip(rows) {
                buffers.dx[row * d..][..d].iter_mut().zip(from).for_each(|(a, b)| *a += b);
            }
        }
    }
}
