//! A LoRA adapter: pairs of small matrices beside the projections, and their gradients.

use crate::config::Config;
use crate::decoder::Decoder;
use crate::dora::Magnitude;
use crate::error::ModelError;
use crate::own::TokenRows;
use nurture_formats::adapter::{self as peft, AdapterConfig};
use nurture_formats::{
    SCORE_HEAD, TOKEN_ROWS, TargetModules, TensorInfo, TensorSource, lora_names, magnitude_name,
};
use nurture_kernels::{Cpu, DType, LoraPair, Rng};
use std::path::Path;

/// A projection of a block, in the order in which the block uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the field's own
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

/// All projections.
pub const PROJECTIONS: [Projection; 7] = [
    Projection::Q,
    Projection::K,
    Projection::V,
    Projection::O,
    Projection::Gate,
    Projection::Up,
    Projection::Down,
];

impl Projection {
    /// Hugging Face's name of the module, e.g. `q_proj`.
    pub fn name(self) -> &'static str {
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"][self as usize]
    }

    /// The module path in layer `l`, as PEFT names it.
    pub fn module(self, l: usize) -> String {
        let part = if self <= Projection::O { "self_attn" } else { "mlp" };
        format!("model.layers.{l}.{part}.{}", self.name())
    }

    /// `(inputs, outputs)`.
    pub fn shape(self, c: &Config) -> (usize, usize) {
        match self {
            Projection::Q => (c.width, c.q_width()),
            Projection::K | Projection::V => (c.width, c.kv_width()),
            Projection::O => (c.q_width(), c.width),
            Projection::Gate | Projection::Up => (c.width, c.ffn),
            Projection::Down => (c.ffn, c.width),
        }
    }
}

/// What a new adapter looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSpec {
    /// rank `R`
    pub rank: usize,
    /// numerator of the scale
    pub alpha: f64,
    /// scale alpha/√R instead of alpha/R
    pub rslora: bool,
    /// which projections carry a pair
    pub targets: Vec<Projection>,
}

impl LoraSpec {
    /// Factor of the product.
    pub fn scale(&self) -> f64 {
        self.alpha / if self.rslora { (self.rank as f64).sqrt() } else { self.rank as f64 }
    }

    /// Trainable values.
    pub fn parameters(&self, c: &Config) -> usize {
        let one = |p: &Projection| p.shape(c).0 + p.shape(c).1;
        c.layers * self.rank * self.targets.iter().filter(|p| c.has(**p)).map(one).sum::<usize>()
    }

    /// The settings as PEFT stores them.
    pub fn peft_config(&self, base: Option<String>) -> AdapterConfig {
        AdapterConfig {
            base_model_name_or_path: base,
            r: self.rank,
            lora_alpha: self.alpha,
            use_rslora: self.rslora,
            target_modules: TargetModules::Names(self.targets.iter().map(|p| p.name().to_string()).collect()),
            ..AdapterConfig::default()
        }
    }
}

/// The pairs of all layers.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(crate) pairs: Vec<[Option<LoraPair>; 7]>,
    /// of DoRA; empty without
    pub(crate) magnitudes: Vec<[Option<Magnitude>; 7]>,
    /// rows of tokens of its own
    pub(crate) tokens: TokenRows,
    /// what reads a score from the last normed state `[D]`; empty without
    pub(crate) score: Vec<f32>,
}

impl Adapter {
    /// A newborn adapter: `A` uniform in ±1/√D (PEFT's Kaiming initialisation with a = √5), `B` zero, so that it
    /// changes nothing yet. A pure function of the seed.
    pub fn new(c: &Config, spec: &LoraSpec, seed: u64) -> Adapter {
        Adapter::build(c, |l, p| {
            spec.targets.contains(&p).then(|| {
                let (d, n) = p.shape(c);
                let mut rng = Rng::stream(seed, (l * PROJECTIONS.len()) as u64 + p as u64 + 1);
                let bound = 1.0 / (d as f64).sqrt();
                let a = (0..spec.rank * d).map(|_| ((rng.uniform() * 2.0 - 1.0) * bound) as f32).collect();
                (spec.rank, spec.scale(), a, vec![0.0; n * spec.rank])
            })
        })
    }

    /// An adapter whose pairs `(rank, scale, A [R, D], B [N, R])` come from `make`, which is asked for the projections that the
    /// blocks have.
    pub fn build(
        c: &Config,
        mut make: impl FnMut(usize, Projection) -> Option<(usize, f64, Vec<f32>, Vec<f32>)>,
    ) -> Adapter {
        let pairs = (0..c.layers)
            .map(|l| {
                PROJECTIONS.map(|p| {
                    let (d, n) = p.shape(c);
                    let made = if c.has(p) { make(l, p) } else { None };
                    made.map(|(rank, scale, a, b)| LoraPair::new(rank, d, n, scale as f32, a, b))
                })
            })
            .collect();
        Adapter { pairs, magnitudes: Vec::new(), tokens: TokenRows::default(), score: Vec::new() }
    }

    /// Reads an adapter in PEFT's format, of any kind that is known.
    ///
    /// # Errors
    /// As [`Adapter::load`].
    pub fn load_for(cpu: &Cpu, model: &Decoder, adapter: &peft::Adapter) -> Result<Adapter, ModelError> {
        let pairs = Adapter::read(model.config(), adapter)?;
        if !adapter.config.use_dora {
            return Ok(pairs);
        }
        let (mut found, mut failed) = (adapter.pairs()?, None);
        let made = pairs.with_magnitudes(cpu, model, |l, p| {
            let at = found.iter().position(|f| f.module == p.module(l))?;
            let info = found.swap_remove(at).magnitude?;
            match floats(&adapter.weights, &info, adapter.weights.path()) {
                Ok(values) => Some(values),
                Err(e) => {
                    failed.get_or_insert(e);
                    None
                }
            }
        });
        match failed {
            Some(e) => Err(e),
            None => Ok(made),
        }
    }

    /// Reads a plain LoRA adapter in PEFT's format.
    ///
    /// # Errors
    /// The file; another base; magnitudes, which need the network ([`Adapter::load_for`]).
    pub fn load(c: &Config, adapter: &peft::Adapter) -> Result<Adapter, ModelError> {
        if adapter.config.use_dora {
            let problem =
                "holds magnitudes (DoRA), which can only be read beside the base's weights".to_string();
            return Err(ModelError::Adapter { file: adapter.weights.path().to_path_buf(), problem });
        }
        Adapter::read(c, adapter)
    }

    fn read(c: &Config, adapter: &peft::Adapter) -> Result<Adapter, ModelError> {
        let file = adapter.weights.path().to_path_buf();
        let stray = |problem: String| ModelError::Adapter { file: file.clone(), problem };
        let mut found = adapter.pairs()?;
        let mut failed = None;
        let mut made = Adapter::build(c, |l, p| {
            let at = found.iter().position(|f| f.module == p.module(l))?;
            let pair = found.swap_remove(at);
            let (d, n) = p.shape(c);
            if pair.a.shape != [pair.rank, d] || pair.b.shape != [n, pair.rank] {
                let wanted = format!("[{}, {d}] and [{n}, {}]", pair.rank, pair.rank);
                failed.get_or_insert(stray(format!(
                    "module {} has shapes {:?} and {:?}, this base asks for {wanted}: another base model?",
                    pair.module, pair.a.shape, pair.b.shape
                )));
                return None;
            }
            let mut read = |info: &TensorInfo| match floats(&adapter.weights, info, adapter.weights.path()) {
                Ok(v) => Some(v),
                Err(e) => {
                    failed.get_or_insert(e);
                    None
                }
            };
            Some((pair.rank, pair.scale, read(&pair.a)?, read(&pair.b)?))
        });
        if let Some(e) = failed {
            return Err(e);
        }
        if let Some(f) = found.first() {
            return Err(stray(format!(
                "module {} is not in this base ({} layers): another base model?",
                f.module, c.layers
            )));
        }
        if let Some(info) = adapter.token_rows()? {
            let ids = &adapter.config.trainable_token_indices;
            let beyond = ids.iter().find(|&&id| id as usize >= c.vocab);
            if info.shape[1] != c.width || beyond.is_some() {
                let most = ids.iter().max().copied().unwrap_or(0);
                return Err(stray(format!(
                    "own tokens up to {most} with rows of {}; this base has {} tokens of {}: another base model?",
                    info.shape[1], c.vocab, c.width
                )));
            }
            made.tokens = TokenRows::new(ids, &floats(&adapter.weights, &info, &file)?);
        }
        if let Some(info) = adapter.score_head()? {
            if info.shape != [1, c.width] {
                return Err(stray(format!(
                    "a head of shape {:?}, a reward model of this base has [1, {}]: a classifier, or another base model?",
                    info.shape, c.width
                )));
            }
            made.score = floats(&adapter.weights, &info, &file)?;
        }
        Ok(made)
    }

    /// The vector `[D]` that reads an answer's worth from the normed output at its last token, where this adapter is a
    /// reward model.
    pub fn score(&self) -> Option<&[f32]> {
        Some(&self.score[..]).filter(|s| !s.is_empty())
    }

    /// The same adapter as a reward model with this vector `[D]`.
    #[must_use]
    pub fn with_score(mut self, score: Vec<f32>) -> Adapter {
        self.score = score;
        self
    }

    /// The pair of a projection.
    pub fn pair(&self, layer: usize, p: Projection) -> Option<&LoraPair> {
        self.pairs.get(layer).and_then(|l| l[p as usize].as_ref())
    }

    /// All pairs with their module paths: layer by layer, in the order of [`PROJECTIONS`].
    pub fn iter(&self) -> impl Iterator<Item = (String, &LoraPair)> {
        self.pairs.iter().enumerate().flat_map(|(l, pairs)| {
            PROJECTIONS.iter().zip(pairs).filter_map(move |(p, pair)| Some((p.module(l), pair.as_ref()?)))
        })
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut LoraPair> {
        self.pairs.iter_mut().flat_map(|l| l.iter_mut().filter_map(Option::as_mut))
    }

    /// Names, shapes and values as PEFT stores them, in the order of [`Adapter::iter`], then those of
    /// [`Adapter::magnitudes`], of [`Adapter::tokens`] and of [`Adapter::score`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut out = Vec::new();
        for (module, pair) in self.iter() {
            let (a, b) = lora_names(&module);
            out.push((a, vec![pair.rank(), pair.a().len() / pair.rank()], pair.a()));
            out.push((b, vec![pair.b().len() / pair.rank(), pair.rank()], pair.b()));
        }
        for (module, magnitude) in self.magnitudes() {
            out.push((magnitude_name(&module), vec![magnitude.values().len()], magnitude.values()));
        }
        if !self.tokens.is_empty() {
            let (n, rows) = (self.tokens.ids().len(), self.tokens.rows());
            out.push((TOKEN_ROWS.to_string(), vec![n, rows.len() / n], rows));
        }
        out.extend(self.score().map(|s| (SCORE_HEAD.to_string(), vec![1, s.len()], s)));
        out
    }

    /// Trainable values.
    pub fn parameters(&self) -> usize {
        let magnitudes: usize = self.magnitudes().map(|(_, m)| m.values().len()).sum();
        self.iter().map(|(_, p)| p.a().len() + p.b().len()).sum::<usize>()
            + magnitudes
            + self.tokens.rows().len()
            + self.score.len()
    }

    /// Largest rank of a pair.
    pub fn rank(&self) -> usize {
        self.iter().map(|(_, p)| p.rank()).max().unwrap_or(0)
    }
}

/// A tensor of floats, checked to be finite.
pub(crate) fn floats(
    source: &impl TensorSource,
    info: &TensorInfo,
    file: &Path,
) -> Result<Vec<f32>, ModelError> {
    let mut bytes = vec![0u8; info.bytes as usize];
    source.read_into(info, 0, &mut bytes)?;
    let values: Vec<f32> = match info.dtype {
        DType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DType::BF16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f32::from_bits((u16::from_le_bytes(*b) as u32) << 16))
            .collect(),
        DType::F16 => bytes.as_chunks::<2>().0.iter().map(|b| nurture_kernels::f16_to_f32(*b)).collect(),
        other => {
            return Err(ModelError::Config {
                file: file.to_path_buf(),
                key: info.name.clone(),
                problem: format!("stored as {other}; a vector or adapter must be F32, F16 or BF16"),
            });
        }
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(ModelError::NotFinite {
            file: file.to_path_buf(),
            tensor: info.name.clone(),
            row: at / info.shape.last().copied().unwrap_or(1).max(1),
        }),
        None => Ok(values),
    }
}

/// `(dA, dB)` of one pair.
type PairGrad = (Vec<f32>, Vec<f32>);

/// Gradients of an adapter, in the order of [`Adapter::iter`].
#[derive(Clone, Debug)]
pub struct AdapterGrads {
    /// `(dA [R, D], dB [N, R])` of each projection of each layer
    pub(crate) pairs: Vec<[Option<PairGrad>; 7]>,
    /// of the magnitudes, empty without
    pub(crate) magnitudes: Vec<[Option<Vec<f32>>; 7]>,
    /// of the own tokens' rows `[tokens, D]`, empty without
    pub(crate) tokens: Vec<f32>,
}

impl AdapterGrads {
    /// Zeros of the adapter's shapes.
    pub fn zeros(adapter: &Adapter) -> AdapterGrads {
        let zero = |p: &LoraPair| (vec![0.0; p.a().len()], vec![0.0; p.b().len()]);
        let pairs = adapter.pairs.iter().map(|l| std::array::from_fn(|i| l[i].as_ref().map(zero))).collect();
        let zero = |m: &Magnitude| vec![0.0; m.m.len()];
        let magnitudes =
            adapter.magnitudes.iter().map(|l| std::array::from_fn(|i| l[i].as_ref().map(zero))).collect();
        AdapterGrads { pairs, magnitudes, tokens: vec![0.0; adapter.tokens.rows().len()] }
    }

    /// Gradients of the magnitudes, in the order of [`Adapter::magnitudes`].
    pub fn magnitudes(&self) -> impl Iterator<Item = &[f32]> {
        self.magnitudes.iter().flatten().filter_map(Option::as_deref)
    }

    /// Gradient of the own tokens' rows `[tokens, D]`, empty without such tokens.
    pub fn tokens(&self) -> &[f32] {
        &self.tokens
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.iter_mut().for_each(|(a, b)| {
            a.fill(0.0);
            b.fill(0.0);
        });
        self.magnitudes.iter_mut().flatten().flatten().for_each(|m| m.fill(0.0));
        self.tokens.fill(0.0);
    }

    /// `(dA, dB)` in the order of [`Adapter::iter`].
    pub fn iter(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.pairs.iter().flat_map(|l| l.iter().filter_map(|p| p.as_ref().map(|(a, b)| (&a[..], &b[..]))))
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
        self.pairs
            .iter_mut()
            .flat_map(|l| l.iter_mut().filter_map(|p| p.as_mut().map(|(a, b)| (&mut a[..], &mut b[..]))))
    }
}
