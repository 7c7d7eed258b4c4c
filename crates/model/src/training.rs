//! One training pass: forward, loss where there is one, backward into the adapter's gradients.

use crate::adapter::{Adapter, AdapterGrads, Projection};
use crate::batch::Batch;
use crate::decoder::{Buffers, Decoder};
use crate::error::ModelError;
use crate::keep::KeepRows;
use nurture_kernels::{
    AttentionBackward, Backward, Cpu, Forward, Linear, attention_backward, cross_entropy, gated_backward,
    gated_forward, linear_backward, linear_forward, rms_norm_backward, rms_norm_forward, rope,
};

/// A place where the next token is to be learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossRow {
    /// row of the batch whose output predicts
    pub row: usize,
    /// the token that follows
    pub target: u32,
    /// factor on its loss and gradient
    pub weight: f32,
}

/// A batch with its losses. Keys of the spans are rows of the batch itself.
#[derive(Clone, Debug, Default)]
pub struct TrainBatch {
    /// tokens and spans
    pub batch: Batch,
    /// rows in ascending order; a row may stand there several times, with different targets
    pub losses: Vec<LossRow>,
    /// rows on which the base's distribution is to be kept
    pub keep: KeepRows,
}

impl TrainBatch {
    /// Appends one sequence that sees only itself. `trained[i]` says whether token `i` is to be learnt (from the one
    /// before it); each such token weighs `weight`.
    pub fn push(&mut self, tokens: &[u32], trained: &[bool], weight: f32) {
        let row = self.batch.len();
        self.batch.follow(None, tokens);
        for (i, (&target, _)) in tokens.iter().zip(trained).enumerate().skip(1).filter(|(_, (_, on))| **on) {
            self.losses.push(LossRow { row: row + i - 1, target, weight });
        }
    }
}

/// Buffers of [`Decoder::train`]: the activations and the gradients that flow back.
#[derive(Debug, Default)]
pub struct TrainBuffers {
    pub(crate) forward: Buffers,
    pub(crate) dx: Vec<f32>,
    dn: Vec<f32>,
    dact: Vec<f32>,
    da: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    logits: Vec<f32>,
}

impl TrainBuffers {
    /// Two chunks of logits of `n` floats.
    pub(crate) fn logit_pair(&mut self, n: usize) -> (&mut [f32], &mut [f32]) {
        sized(&mut self.logits, 2 * n).split_at_mut(n)
    }
}

/// Most floats of a chunk of logits.
const LOGIT_CHUNK: usize = 12 << 20;

/// Rows of a chunk of logits for a vocabulary.
pub(crate) fn logit_rows(vocab: usize) -> usize {
    (LOGIT_CHUNK / vocab).clamp(16, 256)
}

fn sized(v: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if v.len() < n {
        *v = vec![0.0; n];
    }
    &mut v[..n]
}

impl Decoder {
    /// Losses (nats: one a row of `losses`, then one a row of `keep`) and, added to `grads`, the gradient of their
    /// weighted sum.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn train(
        &self,
        cpu: &Cpu,
        adapter: &Adapter,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        grads: &mut AdapterGrads,
    ) -> Result<Vec<f32>, ModelError> {
        self.forward_kept(cpu, Some(adapter), &batch.batch, &mut buffers.forward)?;
        let mut losses = self.loss(cpu, batch, buffers)?;
        self.keep_loss(cpu, batch, buffers, &mut losses);
        self.backward(cpu, adapter, &batch.batch, buffers, grads);
        Ok(losses)
    }

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
        self.forward_kept(cpu, adapter, &batch.batch, &mut buffers.forward)?;
        self.loss(cpu, batch, buffers)
    }

    /// The vocabulary's part: only at rows with a loss, in chunks. Leaves the gradient of the residual stream in
    /// `dx` (zero in the other rows).
    fn loss(
        &self,
        cpu: &Cpu,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
    ) -> Result<Vec<f32>, ModelError> {
        let (d, vocab, t) = (self.config.width, self.config.vocab, batch.batch.len());
        if let Some((place, l)) = batch.losses.iter().enumerate().find(|(_, l)| l.target as usize >= vocab) {
            return Err(ModelError::Token { token: l.target, place, vocab });
        }
        let rows = logit_rows(vocab).min(batch.losses.len().max(1));
        let dx = sized(&mut buffers.dx, t * d);
        dx.fill(0.0);
        let linear = Linear { weight: self.head(), bias: None, lora: None };
        let mut losses = vec![0f32; batch.losses.len()];
        let (mut x, mut n, mut inv) = (vec![0f32; rows * d], vec![0f32; rows * d], vec![0f32; rows]);
        let (mut dn, mut dxr) = (vec![0f32; rows * d], vec![0f32; rows * d]);
        for (chunk, losses) in batch.losses.chunks(rows).zip(losses.chunks_mut(rows)) {
            let m = chunk.len();
            let (x, n, inv) = (&mut x[..m * d], &mut n[..m * d], &mut inv[..m]);
            let (dn, dxr) = (&mut dn[..m * d], &mut dxr[..m * d]);
            for (x, l) in x.chunks_exact_mut(d).zip(chunk) {
                x.copy_from_slice(&buffers.forward.x[l.row * d..][..d]);
            }
            rms_norm_forward(cpu.pool(), x, &self.norm, self.config.norm_eps, n, inv);
            let logits = sized(&mut buffers.logits, m * vocab);
            linear_forward(cpu, n, m, &mut [Forward { linear, y: logits, h: &mut [] }]);
            let targets: Vec<u32> = chunk.iter().map(|l| l.target).collect();
            let weights: Vec<f32> = chunk.iter().map(|l| l.weight).collect();
            cross_entropy(cpu.pool(), logits, vocab, &targets, Some(&weights), losses);
            linear_backward(
                cpu,
                n,
                m,
                &mut [Backward { linear, dy: logits, h: &[], grads: None }],
                Some(dn),
                false,
            );
            rms_norm_backward(cpu.pool(), x, &self.norm, inv, dn, dxr, false);
            for (from, l) in dxr.chunks_exact(d).zip(chunk) {
                dx[l.row * d..][..d].iter_mut().zip(from).for_each(|(a, b)| *a += b);
            }
        }
        Ok(losses)
    }

    /// The reverse of the blocks.
    fn backward(
        &self,
        cpu: &Cpu,
        adapter: &Adapter,
        batch: &Batch,
        buffers: &mut TrainBuffers,
        grads: &mut AdapterGrads,
    ) {
        let (c, t, pool) = (&self.config, batch.len(), cpu.pool());
        let (q, kv, f) = (t * c.q_width(), t * c.kv_width(), t * c.ffn);
        let TrainBuffers { forward, dx, dn, dact, da, dq, dk, dv, .. } = buffers;
        let Buffers { kept, n, y, act, .. } = forward;
        let dx = &mut dx[..t * c.width];
        let dn = sized(dn, t * c.width);
        let (dact, da, dq) = (sized(dact, f), sized(da, q), sized(dq, q));
        let (dk, dv) = (sized(dk, kv), sized(dv, kv));
        for (l, block) in self.blocks.iter().enumerate().rev() {
            let k = &mut kept[l];
            let lin = |p| self.linear(Some(adapter), l, p);
            let mut pairs =
                grads.pairs[l].each_mut().map(|p| p.as_mut().map(|(a, b)| (&mut a[..], &mut b[..])));
            let mut take = |p: Projection| pairs[p as usize].take();

            // MLP
            let dy: &[f32] = match &block.post_ffn_norm {
                Some(w) => {
                    rms_norm_backward(pool, &k.down, w, &k.inv_down, dx, y, false);
                    y
                }
                None => dx,
            };
            gated_forward(pool, c.activation, &k.gate, &k.up, act);
            let part =
                Backward { linear: lin(Projection::Down), dy, h: &k.h[6], grads: take(Projection::Down) };
            linear_backward(cpu, act, t, &mut [part], Some(dact), false);
            gated_backward(pool, c.activation, &mut k.gate, &mut k.up, dact);
            rms_norm_forward(pool, &k.mid, &block.ffn_norm, c.norm_eps, n, &mut []);
            linear_backward(
                cpu,
                n,
                t,
                &mut [
                    Backward {
                        linear: lin(Projection::Gate),
                        dy: &k.gate,
                        h: &k.h[4],
                        grads: take(Projection::Gate),
                    },
                    Backward {
                        linear: lin(Projection::Up),
                        dy: &k.up,
                        h: &k.h[5],
                        grads: take(Projection::Up),
                    },
                ],
                Some(dn),
                false,
            );
            rms_norm_backward(pool, &k.mid, &block.ffn_norm, &k.inv2, dn, dx, true);

            // attention
            let dy: &[f32] = match &block.post_attn_norm {
                Some(w) => {
                    rms_norm_backward(pool, &k.o, w, &k.inv_o, dx, y, false);
                    y
                }
                None => dx,
            };
            let part = Backward { linear: lin(Projection::O), dy, h: &k.h[3], grads: take(Projection::O) };
            linear_backward(cpu, &k.a, t, &mut [part], Some(da), false);
            let x = AttentionBackward { q: &k.q, k: &k.k, v: &k.v, o: &k.a, lse: &k.lse, d_o: da };
            attention_backward(pool, &c.attention(l), &batch.spans, &x, dq, dk, dv);
            rope(pool, self.rope_of(l), &batch.positions, dq, true);
            rope(pool, self.rope_of(l), &batch.positions, dk, true);
            if let (Some(qn), Some(kn)) = (&block.q_norm, &block.k_norm) {
                // the rotated q and k are done with: their buffers take the gradients
                rms_norm_backward(pool, &k.q_raw, qn, &k.inv_q, dq, &mut k.q, false);
                rms_norm_backward(pool, &k.k_raw, kn, &k.inv_k, dk, &mut k.k, false);
                dq.copy_from_slice(&k.q);
                dk.copy_from_slice(&k.k);
            }
            rms_norm_forward(pool, &k.x, &block.attn_norm, c.norm_eps, n, &mut []);
            let below = l > 0; // nothing below the first block trains
            linear_backward(
                cpu,
                n,
                t,
                &mut [
                    Backward { linear: lin(Projection::Q), dy: dq, h: &k.h[0], grads: take(Projection::Q) },
                    Backward { linear: lin(Projection::K), dy: dk, h: &k.h[1], grads: take(Projection::K) },
                    Backward { linear: lin(Projection::V), dy: dv, h: &k.h[2], grads: take(Projection::V) },
                ],
                below.then_some(&mut *dn),
                false,
            );
            if below {
                rms_norm_backward(pool, &k.x, &block.attn_norm, &k.inv1, dn, dx, true);
            }
        }
    }
}
