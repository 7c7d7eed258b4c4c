//! The encoder-decoder: a source is read by an encoder, in which each token sees all others, and a decoder that sees it
//! through cross-attention writes the target (Vaswani et al. 2017; T5, Raffel et al. 2020).
//!
//! It is built of the operations that the decoder is built of; products, norms and loss are the same code. What it has of its
//! own is attention over keys of another sequence and scores that distances add to ([`attention`]). All parameters stand
//! in one table ([`layout`]), along which files, first values, gradients and optimisers go. Pairs of a batch stand behind each
//! other without padding, and a target's bits do not depend on what stands beside it.
//!
//! Left out on purpose: adapters, fast mode, windows, experts, grouped heads and recomputation, which the decoder has; dropout,
//! which nothing here has. Every activation of a pass is kept until its backward pass.

mod attention;
mod config;
mod decoding;
mod files;
mod layout;
mod parts;
mod pass;

pub use config::{Bend, Seq2SeqConfig, Seq2SeqFamily};
pub use decoding::{Decoding, Hypothesis};
pub use layout::Seq2SeqParameter;
pub use pass::PairBatch;

use crate::newborn::Normal;
use attention::Buckets;
use layout::{Ids, Lin, Nrm, Role, layout};
use nurture_kernels::{Linear, Pool, Rng, Weight};

/// A parameter's values.
#[derive(Clone, Debug)]
enum Held {
    Matrix(Weight),
    Vector(Vec<f32>),
}

/// An encoder-decoder: its shape and constants.
#[derive(Clone, Debug)]
pub struct Seq2Seq {
    config: Seq2SeqConfig,
    parameters: Vec<Seq2SeqParameter>,
    ids: Ids,
    held: Vec<Held>,
    /// `[context, D]`, where positions are added to the embedding
    sinusoids: Vec<f32>,
    /// `[V]`, added to the logits; it never trains
    logits_bias: Option<Vec<f32>>,
    /// buckets of the encoder and of the decoder
    buckets: Option<(Buckets, Buckets)>,
}

/// Gradients of all parameters, in the order of [`Seq2Seq::parameters`].
#[derive(Clone, Debug)]
pub struct Seq2SeqGrads {
    values: Vec<Vec<f32>>,
}

impl Seq2SeqGrads {
    /// Zeros for this network.
    pub fn zeros(network: &Seq2Seq) -> Seq2SeqGrads {
        Seq2SeqGrads { values: network.parameters.iter().map(|p| vec![0.0; p.floats()]).collect() }
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.values.iter_mut().for_each(|v| v.fill(0.0));
    }

    /// The gradients.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.iter().map(|v| &v[..])
    }
}

impl Seq2Seq {
    fn assemble(config: Seq2SeqConfig, held: Vec<Held>, logits_bias: Option<Vec<f32>>) -> Seq2Seq {
        let (parameters, ids) = layout(&config);
        let t5 = config.family == Seq2SeqFamily::T5;
        let buckets = |both| Buckets::new(both, config.buckets, config.max_distance);
        let buckets = t5.then(|| (buckets(true), buckets(false)));
        let sinusoids = if t5 { Vec::new() } else { halves(config.context, config.width) };
        Seq2Seq { config, parameters, ids, held, sinusoids, logits_bias, buckets }
    }

    /// A network of this shape with random values, a pure function of shape and seed: deviations as published for T5 (whose
    /// queries begin smaller, because its scores are not divided), `1 / √inputs` for the other family.
    ///
    /// # Errors
    /// A shape that cannot be: the key and what is wrong with it.
    pub fn newborn(config: Seq2SeqConfig, seed: u64) -> Result<Seq2Seq, (&'static str, String)> {
        config.check()?;
        let (parameters, _) = layout(&config);
        let t5 = config.family == Seq2SeqFamily::T5;
        let root = |n: usize| 1.0 / (n as f64).sqrt();
        let deviation = |p: &Seq2SeqParameter| match p.role {
            // what the head divides by, embeddings may have; sines are as large as one
            Role::Embedding if config.head_scale != 1.0 => 1.0,
            Role::Embedding | Role::Head => root(config.width),
            Role::Projection { query: true } if t5 => root(config.width * config.head_dim),
            Role::Projection { .. } => root(p.shape[1]),
            Role::Relative => root(config.width),
            Role::NormWeight | Role::Bias => 0.0,
        };
        let one = |(i, p): (usize, &Seq2SeqParameter)| {
            let mut normal = Normal::new(Rng::stream(seed, 16 + i as u64));
            let deviation = deviation(p);
            let first = if p.role == Role::NormWeight { 1.0 } else { 0.0 };
            let mut draw = || if deviation > 0.0 { (normal.draw() * deviation) as f32 } else { first };
            let values: Vec<f32> = (0..p.count()).map(|_| draw()).collect();
            match p.is_matrix() {
                true => Held::Matrix(Weight::from_f32(p.shape[0], p.shape[1], &values)),
                false => Held::Vector(values),
            }
        };
        let held = parameters.iter().enumerate().map(one).collect();
        Ok(Seq2Seq::assemble(config, held, None))
    }

    /// Its shape.
    pub fn config(&self) -> &Seq2SeqConfig {
        &self.config
    }

    /// Its parameters, in the order of all other lists.
    pub fn parameters(&self) -> &[Seq2SeqParameter] {
        &self.parameters
    }

    /// How many values they are.
    pub fn size(&self) -> u64 {
        self.parameters.iter().map(|p| p.count() as u64).sum()
    }

    /// Bytes that its values take in memory.
    pub fn bytes(&self) -> usize {
        let held = |h: &Held| match h {
            Held::Matrix(w) => w.bytes(),
            Held::Vector(v) => 4 * v.len(),
        };
        self.held.iter().map(held).sum::<usize>() + 4 * self.sinusoids.len()
    }

    /// A copy whose matrices are F32, to be trained.
    pub fn to_trainable(&self, pool: &Pool) -> Seq2Seq {
        let mut copy = self.clone();
        for held in &mut copy.held {
            if let Held::Matrix(w) = held {
                *w = w.to_f32(pool);
            }
        }
        copy
    }

    /// The values of parameter `i` (F32 matrices in the order of their tiles); `None` where it is stored otherwise.
    pub fn floats(&self, i: usize) -> Option<&[f32]> {
        match self.held.get(i)? {
            Held::Matrix(w) => w.floats(),
            Held::Vector(v) => Some(v),
        }
    }

    /// The same, to change.
    pub fn floats_mut(&mut self, i: usize) -> Option<&mut [f32]> {
        match self.held.get_mut(i)? {
            Held::Matrix(w) => w.floats_mut(),
            Held::Vector(v) => Some(v),
        }
    }

    fn matrix(&self, i: usize) -> &Weight {
        match &self.held[i] {
            Held::Matrix(w) => w,
            Held::Vector(_) => unreachable!("the table says which parameters are matrices"),
        }
    }

    fn vector(&self, i: usize) -> &[f32] {
        match &self.held[i] {
            Held::Vector(v) => v,
            Held::Matrix(_) => unreachable!("the table says which parameters are vectors"),
        }
    }

    fn linear(&self, l: Lin) -> Linear<'_> {
        Linear { weight: self.matrix(l.w), bias: l.b.map(|b| self.vector(b)), lora: None }
    }

    fn norm_of(&self, n: Nrm) -> (&[f32], &[f32]) {
        (self.vector(n.w), n.b.map_or(&[], |b| self.vector(b)))
    }
}

/// The vectors of positions as Marian's models have them: sines in the first half, cosines in the second.
fn halves(context: usize, width: usize) -> Vec<f32> {
    let sines = width.div_ceil(2);
    let value = |at: usize| {
        let (position, i) = (at / width, at % width);
        let k = if i < sines { i } else { i - sines };
        let angle = position as f64 / 10_000f64.powf((2 * k) as f64 / width as f64);
        if i < sines { angle.sin() as f32 } else { angle.cos() as f32 }
    };
    (0..context * width).map(value).collect()
}
