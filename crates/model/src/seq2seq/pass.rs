//! A pass over pairs: encoder, decoder, loss, and the same reversed.

use super::attention::{Group, Relative};
use super::layout::TowerIds;
use super::parts::{AttnKept, MlpKept, Sight};
use super::{Seq2Seq, Seq2SeqGrads};
use crate::error::ModelError;
use crate::loss::logit_rows;
use nurture_kernels::{
    Backward, Cpu, Forward, Linear, Softening, WeightGrad, cross_entropy, embed, embed_gradient,
    linear_backward, linear_forward, soft_cross_entropy, weight_gradient,
};
use std::ops::Range;

/// Pairs of source and target behind each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairBatch {
    source: Vec<u32>,
    /// what the decoder reads: each target moved on by one behind the token that begins it
    given: Vec<u32>,
    target: Vec<u32>,
    pairs: Vec<(Range<usize>, Range<usize>)>,
}

impl PairBatch {
    /// Appends a pair; `start` is the token that a target begins after, and the target ends with the token that ends it.
    pub fn push(&mut self, source: &[u32], target: &[u32], start: u32) {
        let (s, t) = (self.source.len(), self.target.len());
        self.source.extend_from_slice(source);
        self.target.extend_from_slice(target);
        self.given.extend(std::iter::once(start).chain(target.iter().copied()).take(target.len()));
        self.pairs.push((s..self.source.len(), t..self.target.len()));
    }

    /// Tokens of all sources.
    pub fn sources(&self) -> usize {
        self.source.len()
    }

    /// Tokens of all targets, each of which carries loss.
    pub fn targets(&self) -> usize {
        self.target.len()
    }

    fn groups(&self, query: bool, key: bool, causal: bool) -> Vec<Group> {
        let side =
            |target: bool, (s, t): &(Range<usize>, Range<usize>)| if target { t.clone() } else { s.clone() };
        self.pairs.iter().map(|p| Group { q: side(query, p), k: side(key, p), causal }).collect()
    }

    fn positions(&self, target: bool) -> impl Iterator<Item = usize> {
        self.pairs.iter().flat_map(move |(s, t)| 0..if target { t.len() } else { s.len() })
    }
}

struct BlockKept {
    own: AttnKept,
    cross: Option<AttnKept>,
    mlp: MlpKept,
}

/// What a tower leaves behind.
struct TowerKept {
    blocks: Vec<BlockKept>,
    /// the stream before the last norm, where there is one, and the norm's factors
    x: Vec<f32>,
    inv: Vec<f32>,
    /// what comes out
    out: Vec<f32>,
}

impl Seq2Seq {
    fn check(&self, tokens: &[u32], vocab: usize) -> Result<(), ModelError> {
        match tokens.iter().position(|&t| t as usize >= vocab) {
            Some(place) => Err(ModelError::Token { token: tokens[place], place, vocab }),
            None => Ok(()),
        }
    }

    /// Embedded tokens `[T, D]` at their positions.
    pub(super) fn embedded(
        &self,
        cpu: &Cpu,
        tower: &TowerIds,
        vocab: usize,
        tokens: &[u32],
        positions: impl Iterator<Item = usize>,
    ) -> Result<Vec<f32>, ModelError> {
        self.check(tokens, vocab)?;
        let d = self.config.width;
        let mut x = vec![0f32; tokens.len() * d];
        embed(cpu.pool(), self.matrix(tower.embed), tokens, self.config.embed_scale, &mut x);
        let known = self.config.context;
        for (x, position) in x.chunks_exact_mut(d).zip(positions) {
            if position >= known {
                return Err(ModelError::Position { position: position as u32, known });
            }
            if let Some(vector) = self.sinusoids.chunks_exact(d).nth(position) {
                x.iter_mut().zip(vector).for_each(|(x, v)| *x += v);
            }
        }
        Ok(x)
    }

    /// What distances add in a tower.
    pub(super) fn relative(&self, encoder: bool) -> Option<Relative<'_>> {
        let (both, one) = self.buckets.as_ref()?;
        let tower = if encoder { &self.ids.encoder } else { &self.ids.decoder };
        let values = self.vector(tower.relative?);
        Some(Relative { buckets: if encoder { both } else { one }, values })
    }

    fn tower(
        &self,
        cpu: &Cpu,
        ids: &TowerIds,
        mut x: Vec<f32>,
        own: Sight<'_>,
        cross: Sight<'_>,
    ) -> TowerKept {
        let mut blocks = Vec::with_capacity(ids.blocks.len());
        for b in &ids.blocks {
            let (after, own) = self.attention(cpu, &b.own, x, own);
            let (after, cross) = match &b.cross {
                Some(ids) => {
                    let (after, kept) = self.attention(cpu, ids, after, cross);
                    (after, Some(kept))
                }
                None => (after, None),
            };
            let (after, mlp) = self.mlp(cpu, &b.mlp, after);
            x = after;
            blocks.push(BlockKept { own, cross, mlp });
        }
        match ids.last {
            Some(n) => {
                let mut inv = vec![0f32; x.len() / self.config.width];
                let out = self.norm(cpu, n, &x, &mut inv);
                TowerKept { blocks, x, inv, out }
            }
            None => TowerKept { blocks, x: Vec::new(), inv: Vec::new(), out: x },
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn tower_backward(
        &self,
        cpu: &Cpu,
        ids: &TowerIds,
        kept: &mut TowerKept,
        own: Sight<'_>,
        cross: Sight<'_>,
        dout: Vec<f32>,
        mut dmemory: Option<&mut [f32]>,
        grads: &mut Seq2SeqGrads,
    ) -> Vec<f32> {
        let mut dx = dout;
        if let Some(n) = ids.last {
            let mut before = vec![0f32; dx.len()];
            self.norm_backward(cpu, n, &kept.x, &kept.inv, &dx, &mut before, false, grads);
            dx = before;
        }
        while let (Some(mut k), Some(b)) = (kept.blocks.pop(), ids.blocks.get(kept.blocks.len())) {
            self.mlp_backward(cpu, &b.mlp, &mut k.mlp, &mut dx, grads);
            if let (Some(ids), Some(k)) = (&b.cross, &k.cross) {
                self.attention_backward(cpu, ids, k, cross, None, &mut dx, dmemory.as_deref_mut(), grads);
            }
            self.attention_backward(cpu, &b.own, &k.own, own, ids.relative, &mut dx, None, grads);
        }
        dx
    }

    /// The head as a linear layer.
    pub(super) fn head(&self) -> Linear<'_> {
        Linear { weight: self.matrix(self.ids.head), bias: self.logits_bias.as_deref(), lora: None }
    }

    /// Logits `[T, V]` of normed rows.
    pub(super) fn head_logits(&self, cpu: &Cpu, x: &[f32]) -> Vec<f32> {
        let t = x.len() / self.config.width;
        let mut logits = vec![0f32; t * self.config.target_vocab];
        let scaled: Vec<f32> = x.iter().map(|v| v * self.config.head_scale).collect();
        linear_forward(cpu, &scaled, t, &mut [Forward { linear: self.head(), y: &mut logits, h: &mut [] }]);
        logits
    }

    /// What the encoder makes of sources that stand behind each other.
    pub(super) fn encoded(
        &self,
        cpu: &Cpu,
        source: &[u32],
        positions: impl Iterator<Item = usize>,
        groups: &[Group],
    ) -> Result<Vec<f32>, ModelError> {
        let (ids, vocab) = (&self.ids.encoder, self.config.source_vocab);
        let x = self.embedded(cpu, ids, vocab, source, positions)?;
        let own = Sight { memory: None, groups, relative: self.relative(true) };
        Ok(self.tower(cpu, ids, x, own, own).out)
    }

    /// Logits of all targets `[T, V]`: for tests and small things; losses never hold as many at once.
    ///
    /// # Errors
    /// A token beyond its vocabulary, a position beyond those that the network knows.
    pub fn logits(&self, cpu: &Cpu, batch: &PairBatch) -> Result<Vec<f32>, ModelError> {
        let mut logits = Vec::new();
        self.pass(cpu, batch, |_, out| {
            logits = self.head_logits(cpu, out);
            None
        })?;
        Ok(logits)
    }

    /// The loss of each target token, nats.
    ///
    /// # Errors
    /// As [`Seq2Seq::logits`].
    pub fn losses(&self, cpu: &Cpu, batch: &PairBatch) -> Result<Vec<f32>, ModelError> {
        let mut losses = Vec::new();
        self.pass(cpu, batch, |_, out| {
            losses = self.loss(cpu, &batch.target, out, Softening::default(), None);
            None
        })?;
        Ok(losses)
    }

    /// Forward and backward: the loss of each target token, and gradients added to, each token's loss times `weight`.
    ///
    /// # Errors
    /// As [`Seq2Seq::logits`].
    pub fn train(
        &self,
        cpu: &Cpu,
        batch: &PairBatch,
        weight: f32,
        softening: Softening,
        grads: &mut Seq2SeqGrads,
    ) -> Result<Vec<f32>, ModelError> {
        let mut losses = Vec::new();
        self.pass(cpu, batch, |_, out| {
            let mut dout = vec![0f32; out.len()];
            let back = Some((weight, &mut dout[..], &mut *grads));
            losses = self.loss(cpu, &batch.target, out, softening, back);
            Some((dout, grads))
        })?;
        Ok(losses)
    }

    /// Losses of normed rows in chunks; with `back` their gradient, too.
    fn loss(
        &self,
        cpu: &Cpu,
        targets: &[u32],
        out: &[f32],
        softening: Softening,
        mut back: Option<(f32, &mut [f32], &mut Seq2SeqGrads)>,
    ) -> Vec<f32> {
        let (d, vocab, scale) = (self.config.width, self.config.target_vocab, self.config.head_scale);
        let rows = logit_rows(vocab);
        let mut losses = vec![0f32; targets.len()];
        for (i, (targets, losses)) in targets.chunks(rows).zip(losses.chunks_mut(rows)).enumerate() {
            let (t, at) = (targets.len(), i * rows * d);
            let x: Vec<f32> = out[at..at + t * d].iter().map(|v| v * scale).collect();
            let mut logits = vec![0f32; t * vocab];
            linear_forward(cpu, &x, t, &mut [Forward { linear: self.head(), y: &mut logits, h: &mut [] }]);
            let weights = back.as_ref().map(|b| vec![b.0; t]);
            let pool = cpu.pool();
            match softening.is_on() {
                true => {
                    soft_cross_entropy(
                        pool,
                        &mut logits,
                        vocab,
                        targets,
                        softening,
                        weights.as_deref(),
                        losses,
                    );
                }
                false => cross_entropy(pool, &mut logits, vocab, targets, weights.as_deref(), losses),
            }
            if let Some((_, dout, grads)) = &mut back {
                let grad = &mut grads.values[self.ids.head][..];
                weight_gradient(cpu, &x, t, &mut [WeightGrad { dy: &logits, rows: vocab, grad }]);
                let dx = &mut dout[at..at + t * d];
                let mut part = [Backward { linear: self.head(), dy: &logits, h: &[], grads: None }];
                linear_backward(cpu, &x, t, &mut part, Some(dx), false);
                dx.iter_mut().for_each(|v| *v *= scale);
            }
        }
        losses
    }

    /// Both towers; `end` makes of the decoder's output the loss, and gives its gradient where the way back is to be gone.
    fn pass<'g>(
        &self,
        cpu: &Cpu,
        batch: &PairBatch,
        end: impl FnOnce(&Self, &[f32]) -> Option<(Vec<f32>, &'g mut Seq2SeqGrads)>,
    ) -> Result<(), ModelError> {
        let (enc, dec, c) = (&self.ids.encoder, &self.ids.decoder, &self.config);
        self.check(&batch.target, c.target_vocab)?;
        let read = self.embedded(cpu, enc, c.source_vocab, &batch.source, batch.positions(false))?;
        let given = self.embedded(cpu, dec, c.target_vocab, &batch.given, batch.positions(true))?;
        let within = batch.groups(false, false, false);
        let own = Sight { memory: None, groups: &within, relative: self.relative(true) };
        let mut encoder = self.tower(cpu, enc, read, own, own);
        let causal = batch.groups(true, true, true);
        let across = batch.groups(true, false, false);
        let memory = std::mem::take(&mut encoder.out);
        let write = Sight { memory: None, groups: &causal, relative: self.relative(false) };
        let cross = Sight { memory: Some(&memory), groups: &across, relative: None };
        let mut decoder = self.tower(cpu, dec, given, write, cross);
        let out = std::mem::take(&mut decoder.out);
        let Some((dout, grads)) = end(self, &out) else { return Ok(()) };
        let mut dmemory = vec![0f32; memory.len()];
        let to = Some(&mut dmemory[..]);
        let dx = self.tower_backward(cpu, dec, &mut decoder, write, cross, dout, to, grads);
        embed_gradient(cpu.pool(), &batch.given, c.embed_scale, &dx, &mut grads.values[dec.embed]);
        let dx = self.tower_backward(cpu, enc, &mut encoder, own, own, dmemory, None, grads);
        embed_gradient(cpu.pool(), &batch.source, c.embed_scale, &dx, &mut grads.values[enc.embed]);
        Ok(())
    }
}
