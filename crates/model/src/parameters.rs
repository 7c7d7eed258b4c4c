//! The parameters of a network one by one: their names, shapes and values; which of them train; their gradients.
//!
//! A weight that trains is F32 and keeps the order of its tiles (`nurture_kernels::Weight::floats`), and so does its
//! gradient: optimisers work on flat slices and never ask for rows. Names are those of Hugging Face.

use crate::adapter::{PROJECTIONS, Projection};
use crate::config::{Config, NormKind, Positions};
use crate::decoder::{Block, Decoder};
use crate::families::hf_names;
use crate::norm::NormWeights;
use nurture_kernels::{Pool, Weight};

/// A parameter of a block beside its projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of `Block`
pub enum Norm {
    Attn,
    PostAttn,
    Ffn,
    PostFfn,
    Q,
    K,
}

/// Projections of an expert.
const EXPERT: [Projection; 3] = [Projection::Gate, Projection::Up, Projection::Down];

const NORMS: [Norm; 6] = [Norm::Attn, Norm::PostAttn, Norm::Ffn, Norm::PostFfn, Norm::Q, Norm::K];

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// the embedding, which is the head too where the model ties them
    Embed,
    /// the learned vectors of positions
    Positions,
    /// a head of its own
    Head,
    /// the last norm
    LastNorm,
    /// the bias of the last norm
    LastNormBias,
    /// a norm of a block
    Norm(usize, Norm),
    /// the bias of a norm of a block
    NormBias(usize, Norm),
    /// the weight of a projection
    Weight(usize, Projection),
    /// the bias of a projection
    Bias(usize, Projection),
    /// the router of a mixture of experts
    Router(usize),
    /// a projection of an expert: block, expert, which
    Expert(usize, usize, Projection),
}

impl Slot {
    /// The block that it belongs to; `None` for those of the ends.
    pub fn layer(self) -> Option<usize> {
        match self {
            Slot::Norm(l, _)
            | Slot::NormBias(l, _)
            | Slot::Weight(l, _)
            | Slot::Bias(l, _)
            | Slot::Router(l)
            | Slot::Expert(l, ..) => Some(l),
            Slot::Embed | Slot::Positions | Slot::Head | Slot::LastNorm | Slot::LastNormBias => None,
        }
    }
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// where it stands
    pub slot: Slot,
    /// its name in a Hugging Face folder; of a part of a tensor (GPT-2's `c_attn`) with the part behind it
    pub name: String,
    /// `[rows, cols]` or `[n]`
    pub shape: Vec<usize>,
}

impl Parameter {
    /// Whether it is a matrix (vectors are norms and biases).
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Whether it is a projection of a block or of an expert: neither embedding, head, router, norm nor bias.
    pub fn is_hidden_matrix(&self) -> bool {
        matches!(self.slot, Slot::Weight(..) | Slot::Expert(..))
    }

    /// Its values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Floats that hold it in memory, the padding of its tiles counted.
    pub fn floats(&self) -> usize {
        match self.shape[..] {
            [rows, cols] => rows.next_multiple_of(16) * cols.next_multiple_of(32),
            _ => self.count(),
        }
    }
}

/// Parts of a network that do not train.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freeze {
    embed: bool,
    head: bool,
    norm: bool,
    layers: Vec<bool>,
}

impl Freeze {
    /// Reads names of parts: `embed` (of tokens and positions), `head`, `norm` (the last one), `layers.3`, `layers.0-5` (both ends included).
    /// A tied head is the embedding.
    ///
    /// # Errors
    /// A name that is not known or a layer that is not there, for people; everything frozen.
    pub fn parse(names: &[String], c: &Config, tied: bool) -> Result<Freeze, String> {
        let mut f = Freeze { layers: vec![false; c.layers], ..Freeze::default() };
        for name in names {
            match name.as_str() {
                "embed" => f.embed = true,
                "norm" => f.norm = true,
                "head" if tied => {
                    return Err("head: this model's head is its embedding; freeze \"embed\"".to_string());
                }
                "head" => f.head = true,
                other => {
                    let range = other.strip_prefix("layers.").and_then(|r| {
                        let (a, b) = r.split_once('-').unwrap_or((r, r));
                        Some((a.parse::<usize>().ok()?, b.parse::<usize>().ok()?))
                    });
                    let Some((first, last)) = range else {
                        return Err(format!(
                            "\"{other}\" is no part of a model; parts are embed, head, norm, layers.3, layers.0-5"
                        ));
                    };
                    match f.layers.get_mut(first..=last) {
                        Some(part) if first <= last => part.fill(true),
                        _ => {
                            return Err(format!(
                                "\"{other}\": the model has layers 0 to {}",
                                c.layers.saturating_sub(1)
                            ));
                        }
                    }
                }
            }
        }
        if f.embed && (tied || f.head) && f.norm && f.layers.iter().all(|&on| on) {
            return Err("everything is frozen: nothing would train".to_string());
        }
        Ok(f)
    }

    fn keeps(&self, slot: Slot) -> bool {
        match slot {
            Slot::Embed | Slot::Positions => self.embed,
            Slot::Head => self.head,
            Slot::LastNorm | Slot::LastNormBias => self.norm,
            _ => slot.layer().and_then(|l| self.layers.get(l).copied()).unwrap_or(false),
        }
    }
}

/// A norm of a block with a bias, where its kind has one.
fn norm_of(b: &Block, n: Norm) -> Option<&NormWeights> {
    match n {
        Norm::Attn => Some(&b.attn_norm),
        Norm::Ffn => Some(&b.ffn_norm),
        Norm::PostAttn => b.post_attn_norm.as_ref(),
        Norm::PostFfn => b.post_ffn_norm.as_ref(),
        Norm::Q | Norm::K => None,
    }
}

fn norm_weight(b: &Block, n: Norm) -> Option<&Vec<f32>> {
    match n {
        Norm::Q => b.q_norm.as_ref(),
        Norm::K => b.k_norm.as_ref(),
        _ => norm_of(b, n).map(|n| &n.weight),
    }
}

fn norm_mut(b: &mut Block, n: Norm) -> Option<&mut NormWeights> {
    match n {
        Norm::Attn => Some(&mut b.attn_norm),
        Norm::Ffn => Some(&mut b.ffn_norm),
        Norm::PostAttn => b.post_attn_norm.as_mut(),
        Norm::PostFfn => b.post_ffn_norm.as_mut(),
        Norm::Q | Norm::K => None,
    }
}

impl Decoder {
    /// All parameters, in the order of the network.
    pub fn parameter_list(&self) -> Vec<Parameter> {
        let names = hf_names(self.config.family);
        let mut out = Vec::new();
        let mut add = |slot, shape: Vec<usize>| out.push(Parameter { slot, name: names.of(slot), shape });
        let matrix = |w: &Weight| vec![w.rows(), w.cols()];
        add(Slot::Embed, matrix(&self.embed));
        if let Some(w) = self.positions.as_ref().filter(|_| self.config.positions == Positions::Learned) {
            add(Slot::Positions, matrix(w));
        }
        for (l, block) in self.blocks.iter().enumerate() {
            for norm in NORMS {
                if let Some(w) = norm_weight(block, norm) {
                    add(Slot::Norm(l, norm), vec![w.len()]);
                }
                if let Some(b) = norm_of(block, norm).and_then(|n| n.bias.as_ref()) {
                    add(Slot::NormBias(l, norm), vec![b.len()]);
                }
            }
            for p in PROJECTIONS {
                let Some(projected) = block.projected(p) else { continue };
                add(Slot::Weight(l, p), matrix(&projected.weight));
                if let Some(bias) = &projected.bias {
                    add(Slot::Bias(l, p), vec![bias.len()]);
                }
            }
            if let Some(mixture) = block.mixture() {
                add(Slot::Router(l), matrix(&mixture.router));
                for (e, expert) in mixture.experts.iter().enumerate() {
                    for (p, one) in EXPERT.into_iter().zip([&expert.gate, &expert.up, &expert.down]) {
                        add(Slot::Expert(l, e, p), matrix(&one.weight));
                    }
                }
            }
        }
        add(Slot::LastNorm, vec![self.norm.weight.len()]);
        if let Some(b) = &self.norm.bias {
            add(Slot::LastNormBias, vec![b.len()]);
        }
        if let Some(head) = &self.head {
            add(Slot::Head, matrix(head));
        }
        out
    }

    /// Those that train.
    pub fn trainable(&self, freeze: &Freeze) -> Vec<Parameter> {
        self.parameter_list().into_iter().filter(|p| !freeze.keeps(p.slot)).collect()
    }

    /// A copy whose weights can be trained: F32 where they train, as stored where they are frozen.
    pub fn to_trainable(&self, pool: &Pool, freeze: &Freeze) -> Decoder {
        let mut copy = self.clone();
        for p in self.trainable(freeze).iter().filter(|p| p.is_matrix()) {
            if let Some(w) = copy.weight_mut(p.slot) {
                *w = w.to_f32(pool);
            }
        }
        copy
    }

    /// Where the head stands.
    pub(crate) fn head_slot(&self) -> Slot {
        if self.tied() { Slot::Embed } else { Slot::Head }
    }

    pub(crate) fn weight_at(&self, slot: Slot) -> Option<&Weight> {
        match slot {
            Slot::Embed => Some(&self.embed),
            Slot::Positions => self.positions.as_ref(),
            Slot::Head => self.head.as_ref(),
            Slot::Weight(l, p) => Some(&self.blocks.get(l)?.projected(p)?.weight),
            Slot::Router(l) => Some(&self.blocks.get(l)?.mixture()?.router),
            Slot::Expert(l, e, p) => Some(&self.expert(l, e, p)?.weight),
            _ => None,
        }
    }

    fn weight_mut(&mut self, slot: Slot) -> Option<&mut Weight> {
        match slot {
            Slot::Embed => Some(&mut self.embed),
            Slot::Positions => self.positions.as_mut(),
            Slot::Head => self.head.as_mut(),
            Slot::Weight(l, p) => Some(&mut self.blocks.get_mut(l)?.projected_mut(p)?.weight),
            Slot::Router(l) => Some(&mut self.blocks.get_mut(l)?.mixture_mut()?.router),
            Slot::Expert(l, e, p) => Some(&mut self.expert_mut(l, e, p)?.weight),
            _ => None,
        }
    }

    /// The values of a vector.
    pub(crate) fn vector(&self, slot: Slot) -> Option<&[f32]> {
        match slot {
            Slot::LastNorm => Some(&self.norm.weight),
            Slot::LastNormBias => self.norm.bias.as_deref(),
            Slot::Norm(l, n) => norm_weight(self.blocks.get(l)?, n).map(|v| &v[..]),
            Slot::NormBias(l, n) => norm_of(self.blocks.get(l)?, n)?.bias.as_deref(),
            Slot::Bias(l, p) => self.blocks.get(l)?.projected(p)?.bias.as_deref(),
            _ => None,
        }
    }

    /// The floats of a parameter: a vector's values, an F32 matrix in the order of its tiles. `None` where it is not
    /// there or not F32.
    pub fn floats(&self, slot: Slot) -> Option<&[f32]> {
        match self.weight_at(slot) {
            Some(w) => w.floats(),
            None => self.vector(slot),
        }
    }

    /// The same, to change; the padding of tiles must stay zero.
    pub fn floats_mut(&mut self, slot: Slot) -> Option<&mut [f32]> {
        match slot {
            Slot::LastNorm => Some(&mut self.norm.weight),
            Slot::LastNormBias => self.norm.bias.as_deref_mut(),
            Slot::Norm(l, n) => {
                let b = self.blocks.get_mut(l)?;
                match n {
                    Norm::Q => b.q_norm.as_deref_mut(),
                    Norm::K => b.k_norm.as_deref_mut(),
                    _ => norm_mut(b, n).map(|n| &mut n.weight[..]),
                }
            }
            Slot::NormBias(l, n) => norm_mut(self.blocks.get_mut(l)?, n)?.bias.as_deref_mut(),
            Slot::Bias(l, p) => self.blocks.get_mut(l)?.projected_mut(p)?.bias.as_deref_mut(),
            _ => self.weight_mut(slot)?.floats_mut(),
        }
    }
}

impl Config {
    /// The parameters that train, without names and the biases of blocks: what is known before a network is there.
    pub fn trainable(&self, tied: bool, freeze: &Freeze) -> Vec<Parameter> {
        let mut all = vec![(Slot::Embed, vec![self.vocab, self.width]), (Slot::LastNorm, vec![self.width])];
        if self.positions == Positions::Learned {
            all.push((Slot::Positions, vec![self.context, self.width]));
        }
        if self.norm == NormKind::Layer {
            all.push((Slot::LastNormBias, vec![self.width]));
        }
        if !tied {
            all.push((Slot::Head, vec![self.vocab, self.width]));
        }
        for l in 0..self.layers {
            for p in PROJECTIONS.into_iter().filter(|p| self.has(*p)) {
                let (d, n) = p.shape(self);
                all.push((Slot::Weight(l, p), vec![n, d]));
            }
            if let Some(experts) = &self.experts {
                all.push((Slot::Router(l), vec![experts.count, self.width]));
                for e in 0..experts.count {
                    for p in EXPERT {
                        let shape = match p {
                            Projection::Down => vec![self.width, experts.ffn],
                            _ => vec![experts.ffn, self.width],
                        };
                        all.push((Slot::Expert(l, e, p), shape));
                    }
                }
            }
            for norm in NORMS {
                let width = match norm {
                    Norm::Attn | Norm::Ffn => self.width,
                    Norm::PostAttn | Norm::PostFfn if self.post_norms => self.width,
                    Norm::Q | Norm::K if self.qk_norm => self.head_dim,
                    _ => continue,
                };
                all.push((Slot::Norm(l, norm), vec![width]));
            }
        }
        let kept = all.into_iter().filter(|(slot, _)| !freeze.keeps(*slot));
        kept.map(|(slot, shape)| Parameter { slot, name: String::new(), shape }).collect()
    }
}

/// Gradients of the parameters that train, each in the order of its values.
#[derive(Clone, Debug)]
pub struct ModelGrads {
    parameters: Vec<Parameter>,
    values: Vec<Vec<f32>>,
    /// lowest block with something that trains at or below it: the backward pass ends there
    pub(crate) lowest: usize,
}

impl ModelGrads {
    /// Zeros for these parameters (of [`Decoder::trainable`]).
    pub fn zeros(parameters: Vec<Parameter>) -> ModelGrads {
        let layer = |p: &Parameter| match p.slot {
            Slot::Embed | Slot::Positions => Some(0),
            slot => slot.layer(),
        };
        let lowest = parameters.iter().filter_map(layer).min().unwrap_or(usize::MAX);
        let values = parameters.iter().map(|p| vec![0.0; p.floats()]).collect();
        ModelGrads { parameters, values, lowest }
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.values.iter_mut().for_each(|v| v.fill(0.0));
    }

    /// The parameters with their gradients.
    pub fn iter(&self) -> impl Iterator<Item = (&Parameter, &[f32])> {
        self.parameters.iter().zip(self.values.iter().map(|v| &v[..]))
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether nothing trains.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        self.parameters.iter().position(|p| p.slot == slot)
    }

    pub(crate) fn trains(&self, slot: Slot) -> bool {
        self.place(slot).is_some()
    }

    pub(crate) fn get(&mut self, slot: Slot) -> Option<&mut [f32]> {
        let at = self.place(slot)?;
        self.values.get_mut(at).map(|v| &mut v[..])
    }

    /// Takes a gradient out, so that several can be worked on at once; [`ModelGrads::put`] gives it back.
    pub(crate) fn take(&mut self, slot: Slot) -> Option<Vec<f32>> {
        let at = self.place(slot)?;
        self.values.get_mut(at).map(std::mem::take)
    }

    pub(crate) fn put(&mut self, slot: Slot, values: Vec<f32>) {
        if let Some(at) = self.place(slot) {
            self.values[at] = values;
        }
    }
}
