//! The loss: what stands between the last block and the backward pass, only at rows that carry it, in chunks, so that a
//! matrix of all tokens times the vocabulary never exists.
//!
//! Its weights are either known beforehand (cross-entropy), or *deferred*: functions of the log-probabilities that the
//! same pass computes. Preference and reinforcement are such objectives. Their logits are made twice, once for
//! the log-probabilities and once for the gradients, unless one chunk holds them all; the blocks are computed once. A third
//! kind reads a number from each of a few rows by a vector of its own ([`ValueHead`]): a reward model, a policy's value.
//!
//! Left out on purpose: which objective it is. That is a closure of whoever trains.

use crate::adapter::Adapter;
use crate::decoder::{Decoder, Retain};
use crate::error::ModelError;
use crate::parameters::Slot;
use crate::sink::Sink;
use crate::training::{LossRow, TrainBatch, TrainBuffers, sized};
use nurture_kernels::{Cpu, Softening, cross_entropy, kl_divergence, soft_cross_entropy};

/// Most floats of a chunk of logits.
const LOGIT_CHUNK: usize = 32 << 20;

/// Rows of a chunk of logits for a vocabulary.
pub(crate) fn logit_rows(vocab: usize) -> usize {
    (LOGIT_CHUNK / vocab).clamp(16, 256)
}

/// Rows of logits whose entropy is measured at once.
const ENTROPY_ROWS: usize = 16;

/// How log-probabilities are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreOptions {
    /// Logits are divided by it first: what was sampled at a temperature is scored at the same one.
    pub temperature: f32,
    /// Whether each row's entropy is measured too, at the price of a second soft-max.
    pub entropy: bool,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        ScoreOptions { temperature: 1.0, entropy: false }
    }
}

/// What was found at the loss rows of a batch, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Log-probability of the row's target, nats.
    pub logp: Vec<f32>,
    /// Entropy of the row's distribution, nats; empty unless it was asked for.
    pub entropy: Vec<f32>,
}

/// An objective whose gradient depends on the log-probabilities of the very pass.
///
/// `weigh` is called once, when all log-probabilities of the batch are known and before the backward pass. It fills the
/// factors, one a loss row: the derivative of the objective by that row's log-probability. The weights that stand
/// in the rows do not count; neither does the softening of the cross-entropy.
///
/// Left out on purpose: a gradient of the entropy, which no objective here uses.
#[allow(missing_debug_implementations)] // a closure has nothing to show
pub struct Deferred<'a> {
    /// How log-probabilities are taken; their gradient follows.
    pub options: ScoreOptions,
    /// From scores to factors (zeros at first).
    pub weigh: &'a mut dyn FnMut(&Scores, &mut [f32]),
}

/// A vector that reads one number from the normed output of chosen rows: `value = w · n`.
#[allow(missing_debug_implementations)]
pub struct ValueHead<'a> {
    /// rows of the batch; a row may stand there several times
    pub rows: &'a [usize],
    /// `[D]`
    pub weight: &'a [f32],
    /// its gradient `[D]`, added to
    pub gradient: &'a mut [f32],
    /// From values to the derivatives of the objective by them (zeros at first).
    pub weigh: &'a mut dyn FnMut(&[f32], &mut [f32]),
}

/// What a pass improves.
#[allow(missing_debug_implementations)]
pub enum Objective<'a> {
    /// The losses of the batch, by the weights that stand in its rows.
    Fixed,
    /// A function of the log-probabilities at the loss rows.
    Deferred(Deferred<'a>),
    /// A function of numbers alone; losses of the batch do not count, and the vocabulary is not computed.
    Values(ValueHead<'a>),
    /// Both, each by itself: a policy with its value.
    Both(Deferred<'a>, ValueHead<'a>),
}

/// Buffers of a chunk of rows.
struct Chunk {
    /// last block's output, its norm, the factor of the norm; widths as in the decoder
    x: Vec<f32>,
    n: Vec<f32>,
    inv: Vec<f32>,
    dn: Vec<f32>,
    dx: Vec<f32>,
}

impl Chunk {
    fn new(rows: usize, d: usize) -> Chunk {
        let wide = || vec![0f32; rows * d];
        Chunk { x: wide(), n: wide(), inv: vec![0f32; rows], dn: wide(), dx: wide() }
    }
}

impl Decoder {
    /// Losses without gradients, for validation.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn losses(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_targets(batch)?;
        self.forward_kept(cpu, adapter, &batch.batch, Retain::Nothing, &mut buffers.forward, |_| ())?;
        let (soft, options) = (buffers.options.softening, ScoreOptions::default());
        Ok(self.scores(cpu, adapter, batch, buffers, soft, options).0)
    }

    /// Log-probabilities at the loss rows, and what else `options` asks for, without gradients. Without an adapter they
    /// are the base's: the reference of a preference, of the same weights.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn score(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        options: ScoreOptions,
    ) -> Result<Scores, ModelError> {
        self.check_targets(batch)?;
        self.forward_kept(cpu, adapter, &batch.batch, Retain::Nothing, &mut buffers.forward, |_| ())?;
        let (losses, entropy) = self.scores(cpu, adapter, batch, buffers, Softening::default(), options);
        Ok(Scores { logp: losses.iter().map(|l| -l).collect(), entropy })
    }

    /// The numbers that `weight` `[D]` reads from the normed output of `rows`, without gradients.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn values(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        rows: &[usize],
        weight: &[f32],
    ) -> Result<Vec<f32>, ModelError> {
        self.forward_kept(cpu, adapter, &batch.batch, Retain::Nothing, &mut buffers.forward, |_| ())?;
        let d = self.config.width;
        let mut chunk = Chunk::new(rows.len(), d);
        self.normed(cpu, &buffers.forward.x, rows.iter().copied(), 1.0, &mut chunk);
        Ok(read(&chunk.n, weight))
    }

    fn check_targets(&self, batch: &TrainBatch) -> Result<(), ModelError> {
        let vocab = self.config.vocab;
        match batch.losses.iter().enumerate().find(|(_, l)| l.target as usize >= vocab) {
            Some((place, l)) => Err(ModelError::Token { token: l.target, place, vocab }),
            None => Ok(()),
        }
    }

    /// Gathers rows of the last block's output `x` and their norm, the norm times `scale`.
    fn normed(
        &self,
        cpu: &Cpu,
        x: &[f32],
        rows: impl ExactSizeIterator<Item = usize>,
        scale: f32,
        chunk: &mut Chunk,
    ) {
        let (d, m) = (self.config.width, rows.len());
        for (to, row) in chunk.x.chunks_exact_mut(d).zip(rows) {
            to.copy_from_slice(&x[row * d..][..d]);
        }
        let n = &mut chunk.n[..m * d];
        self.norm_forward(cpu.pool(), &chunk.x[..m * d], &self.norm, n, &mut chunk.inv[..m]);
        if scale != 1.0 {
            n.iter_mut().for_each(|v| *v *= scale);
        }
    }

    /// Losses (and entropies) of all loss rows; the logits of the last chunk stay in their buffer.
    fn scores(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        soft: Softening,
        options: ScoreOptions,
    ) -> (Vec<f32>, Vec<f32>) {
        let (d, vocab) = (self.config.width, self.config.vocab);
        let rows = logit_rows(vocab).min(batch.losses.len().max(1));
        let mut chunk = Chunk::new(rows, d);
        let mut losses = vec![0f32; batch.losses.len()];
        let mut entropy = vec![0f32; if options.entropy { losses.len() } else { 0 }];
        for (i, (part, losses)) in batch.losses.chunks(rows).zip(losses.chunks_mut(rows)).enumerate() {
            let m = part.len();
            self.normed(
                cpu,
                &buffers.forward.x,
                part.iter().map(|l| l.row),
                1.0 / options.temperature,
                &mut chunk,
            );
            let logits = sized(&mut buffers.logits, m * vocab);
            self.head_forward(cpu, adapter, &chunk.n[..m * d], m, logits);
            let targets: Vec<u32> = part.iter().map(|l| l.target).collect();
            if soft.is_on() {
                soft_cross_entropy(cpu.pool(), logits, vocab, &targets, soft, None, losses);
            } else {
                cross_entropy(cpu.pool(), logits, vocab, &targets, None, losses);
            }
            if options.entropy {
                measure_entropy(cpu, logits, vocab, &mut entropy[i * rows..][..m]);
            }
        }
        (losses, entropy)
    }

    /// The vocabulary's part. Leaves the gradient of the residual stream in `dx` (zero in rows without loss).
    pub(crate) fn loss(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        sink: &mut Sink<'_>,
        objective: Objective<'_>,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_targets(batch)?;
        let (d, vocab) = (self.config.width, self.config.vocab);
        sized(&mut buffers.dx, batch.batch.len() * d).fill(0.0);
        let rows = logit_rows(vocab).min(batch.losses.len().max(1));
        let mut soft = buffers.options.softening;
        // weights, whether the logits of the only chunk are there already, the factor on the head's input
        let (deferred, head) = match objective {
            Objective::Fixed => (None, None),
            Objective::Deferred(d) => (Some(d), None),
            Objective::Values(head) => {
                self.value_loss(cpu, buffers, sink, head);
                return Ok(Vec::new());
            }
            Objective::Both(d, head) => (Some(d), Some(head)),
        };
        if let Some(head) = head {
            self.value_loss(cpu, buffers, sink, head);
        }
        let (weights, mut made, scale): (Vec<f32>, bool, f32) = match deferred {
            None => (batch.losses.iter().map(|l| l.weight).collect(), false, 1.0),
            Some(Deferred { options, weigh }) => {
                soft = Softening::default();
                let (losses, entropy) = self.scores(cpu, adapter, batch, buffers, soft, options);
                let scores = Scores { logp: losses.iter().map(|l| -l).collect(), entropy };
                let mut factors = vec![0f32; losses.len()];
                weigh(&scores, &mut factors);
                // of the loss, which is the log-probability with its sign changed
                factors.iter_mut().for_each(|f| *f = -*f);
                (factors, losses.len() <= rows, 1.0 / options.temperature)
            }
        };
        let mut losses = vec![0f32; batch.losses.len()];
        let mut chunk = Chunk::new(rows, d);
        let all = batch.losses.chunks(rows).zip(weights.chunks(rows)).zip(losses.chunks_mut(rows));
        for ((part, weights), losses) in all {
            let m = part.len();
            self.normed(cpu, &buffers.forward.x, part.iter().map(|l| l.row), scale, &mut chunk);
            let logits = sized(&mut buffers.logits, m * vocab);
            let (n, dn) = (&chunk.n[..m * d], &mut chunk.dn[..m * d]);
            if !std::mem::take(&mut made) {
                self.head_forward(cpu, adapter, n, m, logits);
            }
            let targets: Vec<u32> = part.iter().map(|l: &LossRow| l.target).collect();
            if soft.is_on() {
                soft_cross_entropy(cpu.pool(), logits, vocab, &targets, soft, Some(weights), losses);
            } else {
                cross_entropy(cpu.pool(), logits, vocab, &targets, Some(weights), losses);
            }
            self.head_backward(cpu, adapter, n, m, logits, dn, sink.tokens());
            sink.weights(cpu, n, m, &[(self.head_slot(), logits)]);
            if scale != 1.0 {
                dn.iter_mut().for_each(|v| *v *= scale);
            }
            self.join_stream(cpu, part.iter().map(|l| l.row), &mut chunk, &mut buffers.dx, sink);
        }
        Ok(losses)
    }

    /// From the gradient of the chunk's normed rows to that of the stream, which is added to.
    fn join_stream(
        &self,
        cpu: &Cpu,
        rows: impl ExactSizeIterator<Item = usize>,
        chunk: &mut Chunk,
        dx: &mut [f32],
        sink: &mut Sink<'_>,
    ) {
        let (d, m) = (self.config.width, rows.len());
        let (x, inv, dn) = (&chunk.x[..m * d], &chunk.inv[..m], &chunk.dn[..m * d]);
        sink.norm(cpu, self.config.norm, Slot::LastNorm, x, inv, dn);
        self.norm_backward(cpu.pool(), x, &self.norm, inv, dn, &mut chunk.dx[..m * d], false);
        for (from, row) in chunk.dx.chunks_exact(d).zip(rows) {
            dx[row * d..][..d].iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }

    /// Values, their objective's derivatives, and the way back to the stream.
    fn value_loss(&self, cpu: &Cpu, buffers: &mut TrainBuffers, sink: &mut Sink<'_>, head: ValueHead<'_>) {
        let ValueHead { rows, weight, gradient, weigh } = head;
        let d = self.config.width;
        let mut chunk = Chunk::new(rows.len(), d);
        self.normed(cpu, &buffers.forward.x, rows.iter().copied(), 1.0, &mut chunk);
        let values = read(&chunk.n, weight);
        let mut factors = vec![0f32; rows.len()];
        weigh(&values, &mut factors);
        for ((n, dn), f) in chunk.n.chunks_exact(d).zip(chunk.dn.chunks_exact_mut(d)).zip(&factors) {
            gradient.iter_mut().zip(n).for_each(|(g, n)| *g += f * n);
            dn.iter_mut().zip(weight).for_each(|(dn, w)| *dn = f * w);
        }
        self.join_stream(cpu, rows.iter().copied(), &mut chunk, &mut buffers.dx, sink);
    }
}

/// `w · n` of each row, summed in order.
fn read(n: &[f32], weight: &[f32]) -> Vec<f32> {
    let dot =
        |n: &[f32]| n.iter().zip(weight).map(|(n, w)| f64::from(*n) * f64::from(*w)).sum::<f64>() as f32;
    n.chunks_exact(weight.len().max(1)).map(dot).collect()
}

/// Entropies of rows of logits: the divergence from the even distribution, taken from its entropy.
fn measure_entropy(cpu: &Cpu, logits: &[f32], vocab: usize, out: &mut [f32]) {
    let top = (vocab as f32).ln();
    let mut even = vec![0f32; ENTROPY_ROWS.min(out.len()) * vocab];
    for (logits, out) in logits.chunks(ENTROPY_ROWS * vocab).zip(out.chunks_mut(ENTROPY_ROWS)) {
        let even = &mut even[..logits.len()];
        kl_divergence(cpu.pool(), even, logits, vocab, None, out);
        out.iter_mut().for_each(|h| *h = (top - *h).max(0.0));
    }
}
