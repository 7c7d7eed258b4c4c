//! One training pass: forward, loss where there is one, backward into the gradients of an adapter or of the network.

use crate::adapter::{Adapter, AdapterGrads, Projection};
use crate::batch::Batch;
use crate::config::NormKind;
use crate::decoder::{Buffers, Decoder, Mlp, Retain};
use crate::error::ModelError;
use crate::keep::KeepRows;
use crate::loss::Objective;
use crate::parameters::{ModelGrads, Norm, Slot};
use crate::sink::Sink;
use nurture_kernels::{
    AttentionBackward, Backward, Cpu, Softening, add_uniform_noise, attention_backward, embed_gradient,
    gated_backward, gated_forward, linear_backward, plain_backward, plain_forward, rms_norm_backward, rope,
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

/// Noise on embedded tokens (NEFTune): uniform in `±alpha / √(length · D)` for each span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// size
    pub alpha: f64,
    /// the same seed gives the same noise
    pub seed: u64,
}

/// How a pass is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PassOptions {
    /// keep only the input of each block and compute the block again on the way back: less memory, about a third more
    /// work, the same bits
    pub recompute: bool,
    /// what is added to the cross-entropy
    pub softening: Softening,
    /// noise on the embedded tokens
    pub noise: Option<Noise>,
}

/// Buffers of [`Decoder::train`]: the activations and the gradients that flow back.
#[derive(Debug, Default)]
pub struct TrainBuffers {
    pub(crate) options: PassOptions,
    pub(crate) forward: Buffers,
    pub(crate) dx: Vec<f32>,
    dn: Vec<f32>,
    dact: Vec<f32>,
    da: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    /// gradient of an output before its rows got their lengths (DoRA)
    scaled: Vec<f32>,
    pub(crate) logits: Vec<f32>,
}

impl TrainBuffers {
    /// Buffers of a pass that keeps only the input of each block and computes the block again on the way back: less
    /// memory, about a third more work, the same bits.
    pub fn recomputing() -> TrainBuffers {
        TrainBuffers::with(PassOptions { recompute: true, ..PassOptions::default() })
    }

    /// Buffers of passes with these options.
    pub fn with(options: PassOptions) -> TrainBuffers {
        TrainBuffers { options, ..TrainBuffers::default() }
    }

    /// Noise on the embedded tokens of the passes that follow.
    pub fn set_noise(&mut self, noise: Option<Noise>) {
        self.options.noise = noise;
    }

    /// The balancing loss of the last training pass through experts, as yet without its factor: as many as are active where
    /// all are used alike, more where they are not.
    pub fn balance(&self) -> Option<f64> {
        self.forward.rows.balance()
    }

    /// Two chunks of logits of `n` floats.
    pub(crate) fn logit_pair(&mut self, n: usize) -> (&mut [f32], &mut [f32]) {
        sized(&mut self.logits, 2 * n).split_at_mut(n)
    }
}

pub(crate) fn sized(v: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if v.len() < n {
        *v = Vec::new(); // both at once would be a peak of memory
        *v = vec![0.0; n];
    }
    &mut v[..n]
}

/// Who learns in a pass, and where the gradients are added.
#[derive(Debug)]
pub enum Trainee<'a> {
    /// An adapter beside the frozen network.
    Adapter(&'a Adapter, &'a mut AdapterGrads),
    /// The network itself, and what it was before, to which rows of `TrainBatch::keep` are held.
    Network(&'a Decoder, &'a mut ModelGrads),
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
        self.train_by(cpu, Trainee::Adapter(adapter, grads), batch, buffers, Objective::Fixed)
    }

    /// The same for the network itself: its weights must be F32 where they train ([`Decoder::to_trainable`]), and
    /// `grads` be made for it ([`Decoder::trainable`]). `base` is what it was before: rows of `batch.keep` are held
    /// to its distribution.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn train_full(
        &self,
        cpu: &Cpu,
        base: &Decoder,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        grads: &mut ModelGrads,
    ) -> Result<Vec<f32>, ModelError> {
        self.train_by(cpu, Trainee::Network(base, grads), batch, buffers, Objective::Fixed)
    }

    /// The same by any objective. Of one that depends on log-probabilities the losses are those with their sign changed; of
    /// numbers alone there are none.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn train_by(
        &self,
        cpu: &Cpu,
        trainee: Trainee<'_>,
        batch: &TrainBatch,
        buffers: &mut TrainBuffers,
        objective: Objective<'_>,
    ) -> Result<Vec<f32>, ModelError> {
        let (adapter, reference, mut sink) = match trainee {
            Trainee::Adapter(adapter, grads) => (Some(adapter), self.head(), Sink::Adapter(grads)),
            Trainee::Network(base, grads) => (None, base.head(), Sink::Model(grads)),
        };
        let noise = buffers.options.noise;
        let retain = match buffers.options.recompute {
            true => Retain::Inputs,
            false => Retain::From(sink.lowest().min(self.config.layers - 1)),
        };
        self.forward_kept(cpu, adapter, &batch.batch, retain, &mut buffers.forward, |x| {
            self.disturb(cpu, batch, noise, x)
        })?;
        // of experts: balanced beside a loss with weights of its own, left as they are by all others
        let weight = match objective {
            Objective::Fixed => batch.losses.iter().map(|l| f64::from(l.weight)).sum(),
            _ => 0.0,
        };
        let mut losses = self.loss(cpu, adapter, batch, buffers, &mut sink, objective)?;
        self.keep_loss(cpu, adapter, reference, batch, buffers, &mut losses, &mut sink);
        self.backward(cpu, adapter, &batch.batch, weight, retain, buffers, &mut sink);
        Ok(losses)
    }

    /// Adds noise to the embedded tokens `x` `[T, D]`, span by span.
    fn disturb(&self, cpu: &Cpu, batch: &TrainBatch, noise: Option<Noise>, x: &mut [f32]) {
        let Some(Noise { alpha, seed }) = noise else { return };
        let d = self.config.width;
        for (i, span) in batch.batch.spans.iter().enumerate() {
            let size = alpha / ((span.len * d) as f64).sqrt();
            let rows = &mut x[span.row * d..][..span.len * d];
            add_uniform_noise(cpu.pool(), rows, d, size as f32, seed.wrapping_add((i as u64) << 32));
        }
    }

    /// Turns the gradient `dy` of a projection's output into that of what its magnitudes scaled, in place.
    #[allow(clippy::too_many_arguments)]
    fn lengths(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        sink: &mut Sink<'_>,
        l: usize,
        p: Projection,
        x: &[f32],
        dy: &mut [f32],
    ) {
        if let (Some(adapter), Some(grad)) = (adapter, sink.magnitude(l, p)) {
            self.magnify_backward(cpu, adapter, l, p, x, dy, grad);
        }
    }

    /// The same for a gradient that others need as it is: where there are magnitudes, in a copy.
    #[allow(clippy::too_many_arguments)]
    fn own_gradient<'g>(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        sink: &mut Sink<'_>,
        l: usize,
        p: Projection,
        x: &[f32],
        dy: &'g [f32],
        copy: &'g mut Vec<f32>,
    ) -> &'g [f32] {
        if sink.magnitude(l, p).is_none() {
            return dy;
        }
        let copy = sized(copy, dy.len());
        copy.copy_from_slice(dy);
        self.lengths(cpu, adapter, sink, l, p, x, copy);
        copy
    }

    /// The reverse of the blocks, down to the lowest part that trains. `weight`: of all losses together.
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &Batch,
        weight: f64,
        retain: Retain,
        buffers: &mut TrainBuffers,
        sink: &mut Sink<'_>,
    ) {
        let (c, t, pool) = (&self.config, batch.len(), cpu.pool());
        let (q, kv, f) = (t * c.q_width(), t * c.kv_width(), t * c.mlp_width());
        for (l, block) in self.blocks.iter().enumerate().skip(sink.lowest()).rev() {
            if retain == Retain::Inputs {
                self.block_again(cpu, adapter, batch, l, &mut buffers.forward);
            }
            let TrainBuffers { forward, dx, dn, dact, da, dq, dk, dv, scaled, .. } = &mut *buffers;
            let Buffers { kept, n, y, act, rows, .. } = forward;
            let dx = &mut dx[..t * c.width];
            let dn = sized(dn, t * c.width);
            let (dact, da, dq) = (sized(dact, f), sized(da, q), sized(dq, q));
            let (dk, dv) = (sized(dk, kv), sized(dv, kv));
            let k = &mut kept[retain.place(l)];
            let lin = |p, projected| self.linear(adapter, l, p, projected);

            // MLP
            let dy: &[f32] = match &block.post_ffn_norm {
                Some(w) => {
                    sink.norm(cpu, c.norm, Slot::Norm(l, Norm::PostFfn), &k.down, &k.inv_down, dx);
                    self.norm_backward(pool, &k.down, w, &k.inv_down, dx, y, false);
                    y
                }
                None => dx,
            };
            match &block.mlp {
                Mlp::Gated { down, .. } | Mlp::Plain { down, .. } => {
                    match &block.mlp {
                        Mlp::Plain { .. } => plain_forward(pool, c.activation, &k.up, act),
                        _ => gated_forward(pool, c.activation, &k.gate, &k.up, act),
                    }
                    let dy = self.own_gradient(cpu, adapter, sink, l, Projection::Down, act, dy, scaled);
                    {
                        let [.., grads] = sink.pairs(l);
                        let linear = lin(Projection::Down, down);
                        let part = Backward { linear, dy, h: &k.h[6], grads };
                        linear_backward(cpu, act, t, &mut [part], Some(dact), false);
                    }
                    sink.projections(cpu, act, t, l, &[(Projection::Down, dy)]);
                }
                Mlp::Experts(_) => {}
            }
            self.norm_forward(pool, &k.mid, &block.ffn_norm, n, &mut []);
            match &block.mlp {
                Mlp::Gated { gate, up, .. } => {
                    gated_backward(pool, c.activation, &mut k.gate, &mut k.up, dact);
                    for (p, dy) in [(Projection::Gate, &mut k.gate), (Projection::Up, &mut k.up)] {
                        self.lengths(cpu, adapter, sink, l, p, n, dy);
                    }
                    {
                        let [.., into_gate, into_up, _] = sink.pairs(l);
                        let (g, u) = (lin(Projection::Gate, gate), lin(Projection::Up, up));
                        let parts = &mut [
                            Backward { linear: g, dy: &k.gate, h: &k.h[4], grads: into_gate },
                            Backward { linear: u, dy: &k.up, h: &k.h[5], grads: into_up },
                        ];
                        linear_backward(cpu, n, t, parts, Some(dn), false);
                    }
                    let parts = [(Projection::Gate, &k.gate[..]), (Projection::Up, &k.up[..])];
                    sink.projections(cpu, n, t, l, &parts);
                }
                Mlp::Plain { up, .. } => {
                    plain_backward(pool, c.activation, &mut k.up, dact);
                    self.lengths(cpu, adapter, sink, l, Projection::Up, n, &mut k.up);
                    {
                        let [.., grads, _] = sink.pairs(l);
                        let part = Backward { linear: lin(Projection::Up, up), dy: &k.up, h: &k.h[5], grads };
                        linear_backward(cpu, n, t, &mut [part], Some(dn), false);
                    }
                    sink.projections(cpu, n, t, l, &[(Projection::Up, &k.up)]);
                }
                Mlp::Experts(mixture) => {
                    if let Some(e) = &c.experts {
                        let work = (&mut k.gate[..], &mut k.up[..], &mut act[..], &mut dact[..]);
                        let routed = &mut k.routed;
                        mixture.backward(
                            cpu,
                            c.activation,
                            e,
                            l,
                            sink,
                            n,
                            routed,
                            rows,
                            work,
                            dy,
                            dn,
                            weight,
                        );
                    }
                }
            }
            sink.norm(cpu, c.norm, Slot::Norm(l, Norm::Ffn), &k.mid, &k.inv2, dn);
            self.norm_backward(pool, &k.mid, &block.ffn_norm, &k.inv2, dn, dx, true);

            // attention
            let dy: &[f32] = match &block.post_attn_norm {
                Some(w) => {
                    sink.norm(cpu, c.norm, Slot::Norm(l, Norm::PostAttn), &k.o, &k.inv_o, dx);
                    self.norm_backward(pool, &k.o, w, &k.inv_o, dx, y, false);
                    y
                }
                None => dx,
            };
            let dy = self.own_gradient(cpu, adapter, sink, l, Projection::O, &k.a, dy, scaled);
            {
                let [_, _, _, grads, ..] = sink.pairs(l);
                let part = Backward { linear: lin(Projection::O, &block.o), dy, h: &k.h[3], grads };
                linear_backward(cpu, &k.a, t, &mut [part], Some(da), false);
            }
            sink.projections(cpu, &k.a, t, l, &[(Projection::O, dy)]);
            let x = AttentionBackward { q: &k.q, k: &k.k, v: &k.v, o: &k.a, lse: &k.lse, d_o: da };
            attention_backward(pool, &c.attention(l), &batch.spans, &x, dq, dk, dv);
            if let Some(by) = self.rope_of(l) {
                rope(pool, by, &batch.positions, dq, true);
                rope(pool, by, &batch.positions, dk, true);
            }
            if let (Some(qn), Some(kn)) = (&block.q_norm, &block.k_norm) {
                sink.norm(cpu, NormKind::Rms, Slot::Norm(l, Norm::Q), &k.q_raw, &k.inv_q, dq);
                sink.norm(cpu, NormKind::Rms, Slot::Norm(l, Norm::K), &k.k_raw, &k.inv_k, dk);
                // the rotated q and k are done with: their buffers take the gradients
                rms_norm_backward(pool, &k.q_raw, qn, &k.inv_q, dq, &mut k.q, false);
                rms_norm_backward(pool, &k.k_raw, kn, &k.inv_k, dk, &mut k.k, false);
                dq.copy_from_slice(&k.q);
                dk.copy_from_slice(&k.k);
            }
            self.norm_forward(pool, &k.x, &block.attn_norm, n, &mut []);
            for (p, dy) in [(Projection::Q, &mut *dq), (Projection::K, &mut *dk), (Projection::V, &mut *dv)] {
                self.lengths(cpu, adapter, sink, l, p, n, dy);
            }
            let below = sink.below(l);
            let to_norm = below || sink.norms();
            {
                let [gq, gk, gv, ..] = sink.pairs(l);
                let parts = &mut [
                    Backward { linear: lin(Projection::Q, &block.q), dy: dq, h: &k.h[0], grads: gq },
                    Backward { linear: lin(Projection::K, &block.k), dy: dk, h: &k.h[1], grads: gk },
                    Backward { linear: lin(Projection::V, &block.v), dy: dv, h: &k.h[2], grads: gv },
                ];
                linear_backward(cpu, n, t, parts, to_norm.then_some(&mut *dn), false);
            }
            let parts: [(Projection, &[f32]); 3] =
                [(Projection::Q, dq), (Projection::K, dk), (Projection::V, dv)];
            sink.projections(cpu, n, t, l, &parts);
            sink.norm(cpu, c.norm, Slot::Norm(l, Norm::Attn), &k.x, &k.inv1, dn);
            if below {
                self.norm_backward(pool, &k.x, &block.attn_norm, &k.inv1, dn, dx, true);
            }
        }
        if let (Some(adapter), Some(grad)) = (adapter, sink.tokens()) {
            self.embed_own_backward(adapter.tokens(), batch, &buffers.dx[..t * c.width], grad);
        }
        if let Some(grad) = sink.gradient(Slot::Positions) {
            embed_gradient(pool, &batch.positions, 1.0, &buffers.dx[..t * c.width], grad);
        }
        if let Some(grad) = sink.gradient(Slot::Embed) {
            embed_gradient(pool, &batch.tokens, c.embed_scale, &buffers.dx[..t * c.width], grad);
        }
    }
}
