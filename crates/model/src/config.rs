//! The shape of a decoder, and nothing else.

use crate::adapter::{PROJECTIONS, Projection};
use nurture_kernels::{Activation, AttentionShape, Rope};

/// Families that differ in more than their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM2, Mistral-like shapes
    Llama,
    /// Qwen 2 and 2.5: biases on q, k, v
    Qwen2,
    /// Qwen 3: norms on q and k
    Qwen3,
    /// Qwen 3 with a mixture of experts in each block
    Qwen3Moe,
    /// Gemma 3, text: norms around each part, sliding windows, scaled embedding
    Gemma3,
    /// GPT-2: layer norms, learned positions, biases, an MLP without gate
    Gpt2,
    /// a combination that no other family has: its files name each part
    Own,
}

impl Family {
    /// The name that both GGUF and Hugging Face begin with.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Qwen3Moe => "qwen3_moe",
            Family::Gemma3 => "gemma3",
            Family::Gpt2 => "gpt2",
            Family::Own => "nurture",
        }
    }
}

/// Which norm stands before each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormKind {
    /// root mean square, a weight
    #[default]
    Rms,
    /// mean and variance, a weight and a bias
    Layer,
}

/// How a token knows where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// rotation of queries and keys
    #[default]
    Rope,
    /// a learned vector for each position, added to the embedding
    Learned,
    /// sines and cosines of each position, added to the embedding (Vaswani et al. 2017)
    Sinusoidal,
    /// by the causal mask alone
    None,
}

/// Form of the MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MlpKind {
    /// `down(act(gate(x)) · up(x))`
    #[default]
    Gated,
    /// `down(act(up(x)))`
    Plain,
}

/// A mixture of experts in place of the MLP: gated MLPs, a few of which work on each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// experts of a block `E`
    pub count: usize,
    /// experts that work on a token
    pub active: usize,
    /// width of an expert's MLP
    pub ffn: usize,
    /// whether the weights of the chosen are made to sum to one
    pub normalise: bool,
    /// factor on the loss that spreads tokens over the experts
    pub balance: f32,
}

/// Stretching of rotary positions beyond the length that the model was born with.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// all frequencies divided by a factor
    Linear(f64),
    /// Llama 3: slow frequencies divided, fast ones kept, a smooth passage between
    Llama3 {
        /// divisor of the slow ones
        factor: f64,
        /// wavelengths above `original / low` are slow
        low: f64,
        /// wavelengths below `original / high` are fast
        high: f64,
        /// length that the model was born with
        original: f64,
    },
    /// divisor of each pair's frequency, as GGUF stores it (`rope_freqs.weight`)
    Factors(Vec<f32>),
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// its family
    pub family: Family,
    /// vocabulary `V`
    pub vocab: usize,
    /// width of the residual stream `D`
    pub width: usize,
    /// number of blocks
    pub layers: usize,
    /// query heads `H`
    pub heads: usize,
    /// key/value heads `K`
    pub kv_heads: usize,
    /// width of a head
    pub head_dim: usize,
    /// width of the MLP `F`
    pub ffn: usize,
    /// which norm stands before each part
    pub norm: NormKind,
    /// how a token knows where it stands
    pub positions: Positions,
    /// form of the MLP
    pub mlp: MlpKind,
    /// biases on all projections of a new network (those of a file are read where they are)
    pub biases: bool,
    /// experts in place of the MLP
    pub experts: Option<Experts>,
    /// added to the mean square in norms
    pub norm_eps: f32,
    /// base of the rotary frequencies
    pub rope_theta: f64,
    /// stretching of the positions
    pub rope_scaling: Option<RopeScaling>,
    /// base of the frequencies in layers with a window, if it is another (Gemma 3)
    pub local_rope_theta: Option<f64>,
    /// sliding window of each layer (`None`: all positions)
    pub windows: Vec<Option<usize>>,
    /// activation of the MLP
    pub activation: Activation,
    /// factor on attention scores
    pub attention_scale: f32,
    /// factor on embedded tokens
    pub embed_scale: f32,
    /// norms on each head of q and k
    pub qk_norm: bool,
    /// norms after attention and after the MLP
    pub post_norms: bool,
    /// longest context that the model was trained for
    pub context: usize,
}

impl Config {
    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Values of an MLP's inside for one token: of experts those of the active ones.
    pub fn mlp_width(&self) -> usize {
        self.experts.map_or(self.ffn, |e| e.active * e.ffn)
    }

    /// The attention of layer `l`.
    pub fn attention(&self, l: usize) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            window: self.windows.get(l).copied().flatten(),
        }
    }

    /// Rotary frequencies: of layers without and with a window.
    pub fn ropes(&self) -> (Rope, Rope) {
        let mut global = Rope::new(self.head_dim, self.rope_theta);
        match &self.rope_scaling {
            None => {}
            Some(RopeScaling::Linear(factor)) => {
                global.inv_freq.iter_mut().for_each(|f| *f = (*f as f64 / factor) as f32);
            }
            Some(RopeScaling::Factors(by)) => {
                global.inv_freq.iter_mut().zip(by).for_each(|(f, by)| *f /= by);
            }
            Some(RopeScaling::Llama3 { factor, low, high, original }) => {
                let (factor, low, high, original) = (*factor, *low, *high, *original);
                for f in &mut global.inv_freq {
                    let inv = *f as f64;
                    let wavelength = 2.0 * std::f64::consts::PI / inv;
                    let slow = inv / factor;
                    *f = if wavelength < original / high {
                        inv
                    } else if wavelength > original / low {
                        slow
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * slow + smooth * inv
                    } as f32;
                }
            }
        }
        let local = match self.local_rope_theta {
            Some(theta) => Rope::new(self.head_dim, theta),
            None => global.clone(),
        };
        (global, local)
    }

    /// Whether its blocks have this projection: an MLP without gate has none, and experts have their own.
    pub fn has(&self, p: Projection) -> bool {
        match p {
            Projection::Gate => self.mlp == MlpKind::Gated && self.experts.is_none(),
            Projection::Up | Projection::Down => self.experts.is_none(),
            _ => true,
        }
    }

    /// Weights of a block's projections, router and experts: all that there are, and those that work on one token.
    pub fn block_weights(&self) -> (u64, u64) {
        let shapes = PROJECTIONS.iter().filter(|p| self.has(**p)).map(|p| p.shape(self));
        let plain: u64 = shapes.map(|(d, n)| d as u64 * n as u64).sum();
        match &self.experts {
            None => (plain, plain),
            Some(e) => {
                let one = 3 * self.width as u64 * e.ffn as u64;
                let router = (self.width * e.count) as u64;
                (plain + router + one * e.count as u64, plain + router + one * e.active as u64)
            }
        }
    }

    /// Parameters of the network (a tied head counts once).
    pub fn parameters(&self, tied: bool) -> u64 {
        self.count(tied, self.block_weights().0)
    }

    /// Parameters that work on one token: of a mixture of experts those of the active ones.
    pub fn active_parameters(&self, tied: bool) -> u64 {
        self.count(tied, self.block_weights().1)
    }

    fn count(&self, tied: bool, weights: u64) -> u64 {
        let d = self.width as u64;
        let norm = if self.norm == NormKind::Layer { 2 * d } else { d };
        let biases: usize = PROJECTIONS.iter().filter(|p| self.has(**p)).map(|p| p.shape(self).1).sum();
        let block = weights
            + norm * if self.post_norms { 4 } else { 2 }
            + if self.qk_norm { 2 * self.head_dim as u64 } else { 0 }
            + if self.biases { biases as u64 } else { 0 };
        let positions = if self.positions == Positions::Learned { self.context as u64 * d } else { 0 };
        let heads = if tied { 1 } else { 2 };
        self.layers as u64 * block + heads * d * self.vocab as u64 + positions + norm
    }
}
