//! The shape of a decoder, and nothing else.

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
    /// Gemma 3, text: norms around each part, sliding windows, scaled embedding
    Gemma3,
}

impl Family {
    /// The name that both GGUF and Hugging Face begin with.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma3 => "gemma3",
        }
    }
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
    /// activation of the gate
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

    /// Parameters of the network (a tied head counts once).
    pub fn parameters(&self, tied: bool) -> u64 {
        let (d, q, kv, f) =
            (self.width as u64, self.q_width() as u64, self.kv_width() as u64, self.ffn as u64);
        let block = d * (2 * q + 2 * kv) + 3 * d * f + 2 * d;
        let extra =
            if self.qk_norm { 2 * self.head_dim as u64 } else { 0 } + if self.post_norms { 2 * d } else { 0 };
        let heads = if tied { 1 } else { 2 };
        self.layers as u64 * (block + extra) + heads * d * self.vocab as u64 + d
    }
}
