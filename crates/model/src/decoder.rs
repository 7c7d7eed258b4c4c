//! The decoder: one forward pass for training, examination and serving.
//!
//! What differs between them are arguments: where keys and values live ([`KvCache`], or the batch itself) and how
//! many layers' activations are kept ([`Buffers`]).

use crate::adapter::{Adapter, Projection};
use crate::batch::{Batch, KvCache};
use crate::config::{Config, MlpKind, Positions};
use crate::error::ModelError;
use crate::moe::{Mixture, Routed, Rows};
use crate::norm::NormWeights;
use crate::product::{InputBuffers, Mode, product};
use nurture_kernels::{
    Ahead, Cpu, Forward, Input, Keys, Linear, LoraRows, Quantised, Rope, Weight, add, add_assign,
    attention_forward, embed, lora_rows, rms_norm_forward, rope,
};

/// A projection's constants.
#[derive(Clone, Debug)]
pub struct Projected {
    /// `[N, D]`
    pub weight: Weight,
    /// `[N]`
    pub bias: Option<Vec<f32>>,
}

/// What stands in the place of a block's MLP.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are the field's own
pub enum Mlp {
    Gated { gate: Projected, up: Projected, down: Projected },
    Plain { up: Projected, down: Projected },
    Experts(Mixture),
}

/// One block's constants.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are the field's own
pub struct Block {
    pub attn_norm: NormWeights,
    pub q: Projected,
    pub k: Projected,
    pub v: Projected,
    pub o: Projected,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub post_attn_norm: Option<NormWeights>,
    pub ffn_norm: NormWeights,
    pub mlp: Mlp,
    pub post_ffn_norm: Option<NormWeights>,
}

impl Block {
    /// A projection, where the block has it.
    pub(crate) fn projected(&self, p: Projection) -> Option<&Projected> {
        match (p, &self.mlp) {
            (Projection::Q, _) => Some(&self.q),
            (Projection::K, _) => Some(&self.k),
            (Projection::V, _) => Some(&self.v),
            (Projection::O, _) => Some(&self.o),
            (Projection::Gate, Mlp::Gated { gate, .. }) => Some(gate),
            (Projection::Up, Mlp::Gated { up, .. } | Mlp::Plain { up, .. }) => Some(up),
            (Projection::Down, Mlp::Gated { down, .. } | Mlp::Plain { down, .. }) => Some(down),
            _ => None,
        }
    }

    pub(crate) fn projected_mut(&mut self, p: Projection) -> Option<&mut Projected> {
        match (p, &mut self.mlp) {
            (Projection::Q, _) => Some(&mut self.q),
            (Projection::K, _) => Some(&mut self.k),
            (Projection::V, _) => Some(&mut self.v),
            (Projection::O, _) => Some(&mut self.o),
            (Projection::Gate, Mlp::Gated { gate, .. }) => Some(gate),
            (Projection::Up, Mlp::Gated { up, .. } | Mlp::Plain { up, .. }) => Some(up),
            (Projection::Down, Mlp::Gated { down, .. } | Mlp::Plain { down, .. }) => Some(down),
            _ => None,
        }
    }

    pub(crate) fn mixture(&self) -> Option<&Mixture> {
        if let Mlp::Experts(mixture) = &self.mlp { Some(mixture) } else { None }
    }

    pub(crate) fn mixture_mut(&mut self) -> Option<&mut Mixture> {
        if let Mlp::Experts(mixture) = &mut self.mlp { Some(mixture) } else { None }
    }
}

/// The network's constants.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub(crate) config: Config,
    pub(crate) embed: Weight,
    /// vectors of positions `[context, D]`, where they are added to the embedding
    pub(crate) positions: Option<Weight>,
    pub(crate) head: Option<Weight>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: NormWeights,
    pub(crate) rope: Rope,
    pub(crate) local_rope: Rope,
}

/// What a layer leaves behind for its backward pass. Widths as in the field's comments, a row a token.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// input of the block `[T, D]`
    pub(crate) x: Vec<f32>,
    pub(crate) inv1: Vec<f32>,
    /// q and k before their norms, and the norms' factors, where there are such norms
    pub(crate) q_raw: Vec<f32>,
    pub(crate) k_raw: Vec<f32>,
    pub(crate) inv_q: Vec<f32>,
    pub(crate) inv_k: Vec<f32>,
    /// after rotation
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    /// output of the attention `[T, H · head_dim]`
    pub(crate) a: Vec<f32>,
    pub(crate) lse: Vec<f32>,
    /// output projection before its norm, where there is one
    pub(crate) o: Vec<f32>,
    pub(crate) inv_o: Vec<f32>,
    /// after attention `[T, D]`
    pub(crate) mid: Vec<f32>,
    pub(crate) inv2: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
    pub(crate) inv_down: Vec<f32>,
    /// the choices of the router, where there are experts
    pub(crate) routed: Routed,
    /// `s · x Aᵀ` of each projection `[T, R]`
    pub(crate) h: [Vec<f32>; 7],
}

fn fit(v: &mut Vec<f32>, n: usize) {
    if v.capacity() < n {
        *v = Vec::new(); // nothing in it is worth copying
        v.reserve_exact(n);
    }
    v.resize(n, 0.0);
}

impl Kept {
    /// Sizes all buffers for `t` tokens: the memory table in `memory.rs` lists the same.
    fn fit(&mut self, c: &Config, adapter: Option<&Adapter>, layer: usize, t: usize, keep: bool) {
        let (d, q, kv, f) = (t * c.width, t * c.q_width(), t * c.kv_width(), t * c.mlp_width());
        let keep = usize::from(keep);
        let qk = usize::from(c.qk_norm);
        let post = usize::from(c.post_norms);
        let gate = usize::from(c.mlp == MlpKind::Gated || c.experts.is_some());
        let (chosen, all, parts) = match &c.experts {
            Some(e) => (t * e.active, t * e.count, t * e.active * c.width),
            None => (0, 0, 0),
        };
        self.routed.chosen.resize(chosen, 0);
        for (v, n) in [
            (&mut self.x, d),
            (&mut self.inv1, keep * t),
            (&mut self.q_raw, qk * q),
            (&mut self.k_raw, qk * kv),
            (&mut self.inv_q, qk * t * c.heads),
            (&mut self.inv_k, qk * t * c.kv_heads),
            (&mut self.q, q),
            (&mut self.k, kv),
            (&mut self.v, kv),
            (&mut self.a, q),
            (&mut self.lse, keep * t * c.heads),
            (&mut self.o, post * d),
            (&mut self.inv_o, post * t),
            (&mut self.mid, d),
            (&mut self.inv2, keep * t),
            (&mut self.gate, gate * f),
            (&mut self.up, f),
            (&mut self.down, post * d),
            (&mut self.inv_down, post * t),
            (&mut self.routed.probs, all),
            (&mut self.routed.weights, chosen),
            (&mut self.routed.parts, parts),
        ] {
            fit(v, n);
        }
        for p in crate::PROJECTIONS {
            let rank = adapter.and_then(|a| a.pair(layer, p)).map_or(0, |p| p.rank());
            fit(&mut self.h[p as usize], t * rank);
        }
    }
}

/// What a forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retain {
    /// the activations of the blocks from this one on; those below share its place
    From(usize),
    /// each block's input alone
    Inputs,
    /// the activations of the last block that was computed, no more
    Nothing,
}

impl Retain {
    /// Where the activations of layer `l` stand.
    pub(crate) fn place(self, l: usize) -> usize {
        match self {
            Retain::From(first) => l.max(first),
            Retain::Inputs | Retain::Nothing => 0,
        }
    }
}

/// Rows of a batch that one adapter serves.
#[derive(Clone, Debug)]
pub struct AdapterRows<'a> {
    /// rows of the batch; rows of no group are the base's
    pub rows: std::ops::Range<usize>,
    /// the adapter
    pub adapter: &'a Adapter,
}

/// Which adapters a pass goes through.
#[derive(Clone, Copy)]
enum Adapters<'a> {
    /// all rows through one, or none
    One(Option<&'a Adapter>),
    /// groups of rows through their own
    Mixed(&'a [AdapterRows<'a>]),
}

/// Adds the pairs of several adapters to the outputs of layer `l`'s projections of `x` `[T, d]`.
fn add_pairs<'a>(
    cpu: &Cpu,
    x: &[f32],
    d: usize,
    l: usize,
    groups: &[AdapterRows<'a>],
    projections: &[Projection],
    parts: &mut [Forward<'_>],
) {
    let mut rows: Vec<LoraRows<'_>> = projections
        .iter()
        .zip(parts)
        .map(|(&p, part)| {
            let pair = |g: &AdapterRows<'a>| Some((g.rows.start, g.rows.len(), g.adapter.pair(l, p)?));
            let groups = groups.iter().filter_map(pair).collect();
            LoraRows { groups, y: part.y }
        })
        .collect();
    lora_rows(cpu, x, d, &mut rows);
}

/// The activations of a forward pass. Grows to the largest batch that it has seen.
#[derive(Debug, Default)]
pub struct Buffers {
    /// one layer (inference) or all (training)
    pub(crate) kept: Vec<Kept>,
    /// the residual stream at the end `[T, D]`
    pub(crate) x: Vec<f32>,
    /// normed input of a part `[T, D]`
    pub(crate) n: Vec<f32>,
    /// output of a part before it joins the stream `[T, D]`
    pub(crate) y: Vec<f32>,
    /// `act(gate) · up` `[T, F]`
    pub(crate) act: Vec<f32>,
    /// inputs of the blocks, where the rest is computed again in the backward pass
    pub(crate) inputs: Vec<Vec<f32>>,
    /// the input of a product as bytes (fast mode)
    pub(crate) bytes: Quantised,
    /// rows on their way to experts
    pub(crate) rows: Rows,
}

/// Rows up to which what lies between the products is asked for ahead ([`Ahead`]): with more, arithmetic hides it.
const FEW: usize = 4;

impl Buffers {
    /// Buffers for inference: one layer's worth.
    pub fn new() -> Buffers {
        Buffers::default()
    }
}

impl Decoder {
    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the head is the embedding.
    pub fn tied(&self) -> bool {
        self.head.is_none()
    }

    /// Parameters of the network.
    pub fn parameters(&self) -> u64 {
        self.config.parameters(self.tied())
    }

    pub(crate) fn head(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    pub(crate) fn linear<'a>(
        &self,
        adapter: Option<&'a Adapter>,
        l: usize,
        p: Projection,
        projected: &'a Projected,
    ) -> Linear<'a> {
        Linear {
            weight: &projected.weight,
            bias: projected.bias.as_deref(),
            lora: adapter.and_then(|a| a.pair(l, p)),
        }
    }

    /// The rotation of layer `l`, where positions are rotations.
    pub(crate) fn rope_of(&self, l: usize) -> Option<&Rope> {
        let rope = if self.config.windows[l].is_some() { &self.local_rope } else { &self.rope };
        (self.config.positions == Positions::Rope).then_some(rope)
    }

    fn check(&self, batch: &Batch) -> Result<(), ModelError> {
        let vocab = self.config.vocab;
        if let Some(place) = batch.tokens.iter().position(|&t| t as usize >= vocab) {
            return Err(ModelError::Token { token: batch.tokens[place], place, vocab });
        }
        let known = self.positions.as_ref().map_or(usize::MAX, Weight::rows);
        match batch.positions.iter().find(|&&p| p as usize >= known) {
            Some(&position) => Err(ModelError::Position { position, known }),
            None => Ok(()),
        }
    }

    /// Runs all new tokens of `batch` through the blocks; their keys and values go to `cache` where their spans say.
    /// Gives the residual stream before the last norm, `[T, D]` (see [`Decoder::logits`]). Within a mode, a token's bits
    /// do not depend on the tokens beside it.
    ///
    /// # Errors
    /// A token beyond the vocabulary, or a position beyond those that the network knows.
    pub fn forward<'b>(
        &self,
        cpu: &Cpu,
        mode: Mode,
        adapter: Option<&Adapter>,
        batch: &Batch,
        cache: &mut KvCache,
        buffers: &'b mut Buffers,
    ) -> Result<&'b [f32], ModelError> {
        self.check(batch)?;
        buffers.kept.resize_with(1, Kept::default);
        self.embed_forward(cpu, Adapters::One(adapter), batch, buffers);
        self.blocks_forward(
            cpu,
            mode,
            Adapters::One(adapter),
            batch,
            Some(cache),
            0..self.config.layers,
            Retain::Nothing,
            buffers,
        );
        Ok(&buffers.x)
    }

    /// The same with several adapters (and none) in one batch: the products with the weights are made once for all rows.
    /// Each token's bits are those of [`Decoder::forward`] with its adapter.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    ///
    /// # Panics
    /// If groups overlap or lie outside the batch.
    pub fn forward_mixed<'b>(
        &self,
        cpu: &Cpu,
        mode: Mode,
        groups: &[AdapterRows<'_>],
        batch: &Batch,
        cache: &mut KvCache,
        buffers: &'b mut Buffers,
    ) -> Result<&'b [f32], ModelError> {
        self.check(batch)?;
        let adapters = match groups {
            [] => Adapters::One(None),
            [one] if one.rows == (0..batch.len()) => Adapters::One(Some(one.adapter)),
            groups => Adapters::Mixed(groups),
        };
        buffers.kept.resize_with(1, Kept::default);
        self.embed_forward(cpu, adapters, batch, buffers);
        let layers = 0..self.config.layers;
        self.blocks_forward(cpu, mode, adapters, batch, Some(cache), layers, Retain::Nothing, buffers);
        Ok(&buffers.x)
    }

    /// The same with activations kept for the backward pass and the batch's own rows as keys. `change` may change the
    /// embedded tokens.
    pub(crate) fn forward_kept(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &Batch,
        retain: Retain,
        buffers: &mut Buffers,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<(), ModelError> {
        self.check(batch)?;
        let layers = self.config.layers;
        let (kept, inputs) = match retain {
            Retain::From(_) => (layers, 0),
            Retain::Inputs => (1, layers),
            Retain::Nothing => (1, 0),
        };
        // what an earlier pass had more stays for the next one like it
        buffers.kept.resize_with(kept.max(buffers.kept.len()), Kept::default);
        buffers.inputs.resize_with(inputs.max(buffers.inputs.len()), Vec::new);
        self.embed_forward(cpu, Adapters::One(adapter), batch, buffers);
        buffers.rows.begin(self.config.experts.map_or(0, |e| e.count));
        change(&mut buffers.x);
        self.blocks_forward(
            cpu,
            Mode::Exact,
            Adapters::One(adapter),
            batch,
            None,
            0..layers,
            retain,
            buffers,
        );
        Ok(())
    }

    /// Computes the activations of block `l` again from its kept input, the same bits.
    pub(crate) fn block_again(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        batch: &Batch,
        l: usize,
        buffers: &mut Buffers,
    ) {
        std::mem::swap(&mut buffers.x, &mut buffers.inputs[l]);
        let adapters = Adapters::One(adapter);
        self.blocks_forward(cpu, Mode::Exact, adapters, batch, None, l..l + 1, Retain::Nothing, buffers);
    }

    /// Embedded tokens to the residual stream, and the sizes of what all blocks share.
    fn embed_forward(&self, cpu: &Cpu, adapters: Adapters<'_>, batch: &Batch, buffers: &mut Buffers) {
        let (c, t) = (&self.config, batch.len());
        let Buffers { x, n, y, act, rows, .. } = buffers;
        let (chosen, all) = c.experts.map_or((0, 0), |e| (t * e.active, t * e.count));
        for (v, len) in [
            (&mut *x, t * c.width),
            (n, t * c.width),
            (&mut *y, t * c.width),
            (act, t * c.mlp_width()),
            (&mut rows.x, chosen * c.width),
            (&mut rows.logits, all),
            (&mut rows.d_weights, chosen),
        ] {
            fit(v, len);
        }
        embed(cpu.pool(), &self.embed, &batch.tokens, c.embed_scale, x);
        match adapters {
            Adapters::One(None) => {}
            Adapters::One(Some(adapter)) => self.embed_own(adapter.tokens(), batch, 0..t, x),
            Adapters::Mixed(groups) => {
                for group in groups {
                    self.embed_own(group.adapter.tokens(), batch, group.rows.clone(), x);
                }
            }
        }
        if let Some(positions) = &self.positions {
            embed(cpu.pool(), positions, &batch.positions, 1.0, y);
            add_assign(cpu.pool(), x, y);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn blocks_forward(
        &self,
        cpu: &Cpu,
        mode: Mode,
        adapters: Adapters<'_>,
        batch: &Batch,
        mut cache: Option<&mut KvCache>,
        layers: std::ops::Range<usize>,
        retain: Retain,
        buffers: &mut Buffers,
    ) {
        let (c, t, pool) = (&self.config, batch.len(), cpu.pool());
        let training = cache.is_none();
        let Buffers { kept, x, n, y, act, inputs, bytes, rows, .. } = buffers;
        let mut ahead = Ahead::default();
        let counts = training && retain != Retain::Nothing;
        let adapter = match adapters {
            Adapters::One(adapter) => adapter,
            Adapters::Mixed(_) => None,
        };
        let project = |l: usize,
                       input: Input<'_>,
                       made: InputBuffers<'_>,
                       projections: &[Projection],
                       parts: &mut [Forward<'_>],
                       next: &[&Weight],
                       ahead: &mut Ahead| {
            let mixed = matches!(adapters, Adapters::Mixed(_));
            let x = product(cpu, mode, input, made, mixed, parts, next, ahead);
            if let Adapters::Mixed(groups) = adapters {
                add_pairs(cpu, x, x.len() / t.max(1), l, groups, projections, parts);
            }
            for (&p, part) in projections.iter().zip(parts) {
                match adapters {
                    Adapters::One(adapter) => self.magnify(cpu, adapter, l, p, part.y),
                    Adapters::Mixed(groups) => {
                        let n = part.linear.weight.rows();
                        for g in groups {
                            let y = &mut part.y[g.rows.start * n..g.rows.end * n];
                            self.magnify(cpu, Some(g.adapter), l, p, y);
                        }
                    }
                }
            }
        };
        for (l, block) in self.blocks.iter().enumerate().take(layers.end).skip(layers.start) {
            if retain == Retain::Inputs {
                fit(&mut inputs[l], t * c.width);
                inputs[l].copy_from_slice(x);
            }
            let k = &mut kept[retain.place(l)];
            k.fit(c, adapter, l, t, training);
            let lin = |p, projected| self.linear(adapter, l, p, projected);

            let [hq, hk, hv, ho, hg, hu, hd] = &mut k.h;
            // with norms on q and k, the projections land in `q_raw` and `k_raw`
            let (q, key) = if c.qk_norm { (&mut k.q_raw, &mut k.k_raw) } else { (&mut k.q, &mut k.k) };
            project(
                l,
                self.norm_input(x, &block.attn_norm),
                InputBuffers { floats: n, inv: &mut k.inv1, bytes },
                &[Projection::Q, Projection::K, Projection::V],
                &mut [
                    Forward { linear: lin(Projection::Q, &block.q), y: q, h: hq },
                    Forward { linear: lin(Projection::K, &block.k), y: key, h: hk },
                    Forward { linear: lin(Projection::V, &block.v), y: &mut k.v, h: hv },
                ],
                &[&block.o.weight],
                &mut ahead,
            );
            if let (Some(qn), Some(kn)) = (&block.q_norm, &block.k_norm) {
                rms_norm_forward(pool, &k.q_raw, qn, c.norm_eps, &mut k.q, &mut k.inv_q);
                rms_norm_forward(pool, &k.k_raw, kn, c.norm_eps, &mut k.k, &mut k.inv_k);
            }
            ahead.ask();
            if let Some(by) = self.rope_of(l) {
                rope(pool, by, &batch.positions, &mut k.q, false);
                rope(pool, by, &batch.positions, &mut k.k, false);
            }
            let shape = c.attention(l);
            match &mut cache {
                Some(cache) => {
                    cache.store(pool, l, &batch.spans, &k.k, &k.v);
                    if t <= FEW {
                        ahead.clear();
                        ahead.push(&block.ffn_norm.weight);
                        if let Some(next) = self.blocks[..layers.end].get(l + 1) {
                            ahead.push(&next.attn_norm.weight);
                        }
                        cache.expect(l + 1, &batch.spans, &mut ahead);
                    }
                    attention_forward(
                        pool,
                        &shape,
                        &batch.spans,
                        &k.q,
                        Keys::Held(&cache.layers[l]),
                        &[],
                        &mut k.a,
                        &mut [],
                    );
                }
                None => attention_forward(
                    pool,
                    &shape,
                    &batch.spans,
                    &k.q,
                    Keys::Rows(&k.k),
                    &k.v,
                    &mut k.a,
                    &mut k.lse,
                ),
            }
            let o = if c.post_norms { &mut k.o } else { &mut *y };
            let part = Forward { linear: lin(Projection::O, &block.o), y: o, h: ho };
            let next: &[&Weight] = match &block.mlp {
                Mlp::Gated { gate, up, .. } => &[&gate.weight, &up.weight],
                Mlp::Plain { up, .. } => &[&up.weight],
                Mlp::Experts(_) => &[],
            };
            let made = InputBuffers { floats: &mut [], inv: &mut [], bytes };
            project(l, Input::Rows(&k.a), made, &[Projection::O], &mut [part], next, &mut ahead);
            if let Some(w) = &block.post_attn_norm {
                self.norm_forward(pool, &k.o, w, y, &mut k.inv_o);
            }
            ahead.ask();
            add(pool, x, y, &mut k.mid);
            // the block's input is kept by exchange, not by copy
            std::mem::swap(x, &mut k.x);

            let normed = self.norm_input(&k.mid, &block.ffn_norm);
            let made = InputBuffers { floats: n, inv: &mut k.inv2, bytes };
            let out = if c.post_norms { &mut k.down } else { &mut *y };
            let next: &[&Weight] = match self.blocks[..layers.end].get(l + 1) {
                Some(next) => &[&next.q.weight, &next.k.weight, &next.v.weight],
                None => &[self.head()],
            };
            match &block.mlp {
                Mlp::Gated { gate, up, down } => {
                    let (g, u) = (lin(Projection::Gate, gate), lin(Projection::Up, up));
                    project(
                        l,
                        normed,
                        made,
                        &[Projection::Gate, Projection::Up],
                        &mut [
                            Forward { linear: g, y: &mut k.gate, h: hg },
                            Forward { linear: u, y: &mut k.up, h: hu },
                        ],
                        &[&down.weight],
                        &mut ahead,
                    );
                    let input = Input::Gated { kind: c.activation, gate: &k.gate, up: &k.up };
                    let made = InputBuffers { floats: act, inv: &mut [], bytes };
                    let part = Forward { linear: lin(Projection::Down, down), y: out, h: hd };
                    project(l, input, made, &[Projection::Down], &mut [part], next, &mut ahead);
                }
                Mlp::Plain { up, down } => {
                    let part = Forward { linear: lin(Projection::Up, up), y: &mut k.up, h: hu };
                    project(l, normed, made, &[Projection::Up], &mut [part], &[&down.weight], &mut ahead);
                    let input = Input::Plain { kind: c.activation, x: &k.up };
                    let made = InputBuffers { floats: act, inv: &mut [], bytes };
                    let part = Forward { linear: lin(Projection::Down, down), y: out, h: hd };
                    project(l, input, made, &[Projection::Down], &mut [part], next, &mut ahead);
                }
                Mlp::Experts(mixture) => {
                    if let Some(e) = &c.experts {
                        let InputBuffers { floats, inv, bytes } = made;
                        let n = normed.forward(pool, floats, inv);
                        let work = (&mut k.gate[..], &mut k.up[..], &mut act[..]);
                        let routed = &mut k.routed;
                        mixture.forward(
                            cpu,
                            mode,
                            c.activation,
                            e,
                            bytes,
                            n,
                            routed,
                            rows,
                            work,
                            out,
                            counts,
                        );
                    }
                }
            }
            if let Some(w) = &block.post_ffn_norm {
                self.norm_forward(pool, &k.down, w, y, &mut k.inv_down);
            }
            ahead.ask();
            add(pool, &k.mid, y, x);
        }
    }

    /// Applies the last norm to rows of the residual stream `[T, D]`.
    pub fn last_norm(&self, cpu: &Cpu, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        self.norm_forward(cpu.pool(), x, &self.norm, &mut out, &mut []);
        out
    }
}
