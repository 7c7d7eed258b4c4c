//! The shape of an encoder-decoder, and its `config.json`.

use crate::error::ModelError;
use serde_json::{Value, json};
use std::path::Path;

/// Whose form it has: where norms stand, what positions are, whether there are biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq2SeqFamily {
    /// T5, Flan-T5, mT5 (Raffel et al. 2020): RMS norms before the parts, relative positions, no biases, scores not divided
    T5,
    /// the Transformer of 2017 (Vaswani et al.), as Marian's models are: layer norms behind the parts, sinusoids, biases
    Marian,
}

impl Seq2SeqFamily {
    /// Its `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Seq2SeqFamily::T5 => "t5",
            Seq2SeqFamily::Marian => "marian",
        }
    }
}

/// The activation of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    /// `max(x, 0)`
    Relu,
    /// `x σ(x)`
    Silu,
    /// GELU by its tanh form
    Gelu,
}

/// The shape of an encoder-decoder. Letters as in the crate; `F` is the width of the feed-forward part.
#[derive(Clone, Debug, PartialEq)]
pub struct Seq2SeqConfig {
    /// whose form
    pub family: Seq2SeqFamily,
    /// tokens that a source is made of
    pub source_vocab: usize,
    /// tokens that a target is made of
    pub target_vocab: usize,
    /// whether both are one vocabulary with one embedding
    pub shared: bool,
    /// whether the head is the embedding of targets
    pub tied: bool,
    /// `D`
    pub width: usize,
    /// `H`
    pub heads: usize,
    /// width of a head
    pub head_dim: usize,
    /// `F`
    pub ffn: usize,
    /// whether a gate multiplies the feed-forward part
    pub gated: bool,
    /// its activation
    pub bend: Bend,
    /// blocks of the encoder
    pub encoder_layers: usize,
    /// blocks of the decoder
    pub decoder_layers: usize,
    /// of the norms
    pub norm_eps: f32,
    /// factor on embedded tokens
    pub embed_scale: f32,
    /// factor on what the head reads
    pub head_scale: f32,
    /// buckets of relative positions (T5)
    pub buckets: usize,
    /// distance from which all are one bucket (T5)
    pub max_distance: usize,
    /// positions that are known; T5 has no end
    pub context: usize,
    /// what a target begins after
    pub start: u32,
    /// what ends a target
    pub eos: u32,
    /// what other tools fill rows with
    pub pad: u32,
}

/// Largest size of any kind that is accepted: far above any in use.
const MOST: usize = 1 << 24;
/// Most blocks of a tower.
const DEEPEST: usize = 1 << 10;
/// Most floats of vectors of positions.
const MOST_POSITIONS: usize = 1 << 28;
/// Largest distance of a relative position that is told apart.
const FARTHEST: usize = 1 << 16;

impl Seq2SeqConfig {
    /// Width of all heads together.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Factor on scores.
    pub(crate) fn score_scale(&self) -> f32 {
        match self.family {
            Seq2SeqFamily::T5 => 1.0,
            Seq2SeqFamily::Marian => 1.0 / (self.head_dim as f32).sqrt(),
        }
    }

    /// Whether norms stand before the parts.
    pub(crate) fn norm_first(&self) -> bool {
        self.family == Seq2SeqFamily::T5
    }

    /// What cannot be, with the key it stands under.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            ("vocab_size", self.source_vocab),
            ("decoder_vocab_size", self.target_vocab),
            ("d_model", self.width),
            ("num_heads", self.heads),
            ("d_kv", self.head_dim),
            ("d_ff", self.ffn),
            ("num_layers", self.encoder_layers),
            ("num_decoder_layers", self.decoder_layers),
        ];
        if let Some((key, n)) = sizes.into_iter().find(|(_, n)| !(1..=MOST).contains(n)) {
            return Err((key, format!("{n} is not in 1..{MOST}")));
        }
        for (key, n) in [("num_layers", self.encoder_layers), ("num_decoder_layers", self.decoder_layers)] {
            if n > DEEPEST {
                return Err((key, format!("{n}: at most {DEEPEST} blocks are supported")));
            }
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(("layer_norm_epsilon", format!("{} is not between 0 and 1", self.norm_eps)));
        }
        if self.shared && self.source_vocab != self.target_vocab {
            let problem = format!("{} is not the vocabulary of {}", self.target_vocab, self.source_vocab);
            return Err(("decoder_vocab_size", problem));
        }
        if self.inner() > MOST || self.heads > MOST / self.head_dim {
            return Err(("d_kv", "the heads together are too wide".to_string()));
        }
        match self.family {
            Seq2SeqFamily::T5 => {
                let exact = self.buckets / 2;
                if self.buckets < 4 || !self.buckets.is_multiple_of(4) || self.buckets > MOST {
                    let problem = format!("{} is not a multiple of 4", self.buckets);
                    return Err(("relative_attention_num_buckets", problem));
                }
                if self.max_distance <= exact || self.max_distance > FARTHEST {
                    let problem = format!("{} is not in {}..{FARTHEST}", self.max_distance, exact + 1);
                    return Err(("relative_attention_max_distance", problem));
                }
                if !self.shared {
                    return Err(("vocab_size", "this family has one vocabulary for both sides".to_string()));
                }
            }
            Seq2SeqFamily::Marian => {
                if self.context == 0 || self.context > MOST_POSITIONS / self.width {
                    return Err(("max_position_embeddings", format!("{} positions", self.context)));
                }
                if self.heads * self.head_dim != self.width {
                    let problem = format!("{} heads do not part a width of {}", self.heads, self.width);
                    return Err(("encoder_attention_heads", problem));
                }
            }
        }
        for (key, id) in
            [("decoder_start_token_id", self.start), ("eos_token_id", self.eos), ("pad_token_id", self.pad)]
        {
            if id as usize >= self.target_vocab {
                return Err((key, format!("{id} is beyond the vocabulary of {}", self.target_vocab)));
            }
        }
        Ok(())
    }

    /// Reads `config.json` of folder `file`.
    ///
    /// # Errors
    /// A family that is not known; a key that is missing, senseless or not supported.
    pub fn read(file: &Path, json: &Value) -> Result<Seq2SeqConfig, ModelError> {
        let keys = Keys { file, json };
        let found = json.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
        let config = match found {
            "t5" | "mt5" => t5(&keys, found)?,
            "marian" => marian(&keys)?,
            _ => {
                return Err(ModelError::Architecture { file: file.to_path_buf(), found: found.to_string() });
            }
        };
        config.check().map_err(|(key, problem)| keys.bad(key, problem))?;
        Ok(config)
    }

    /// Its `config.json`, as other tools read it.
    pub fn to_json(&self) -> Value {
        let bend = match (self.bend, self.family) {
            (Bend::Relu, _) => "relu",
            (Bend::Silu, _) => "silu",
            (Bend::Gelu, Seq2SeqFamily::T5) => "gelu",
            (Bend::Gelu, Seq2SeqFamily::Marian) => "gelu_new",
        };
        match self.family {
            Seq2SeqFamily::T5 => json!({
                "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": true,
                "vocab_size": self.source_vocab, "d_model": self.width, "d_kv": self.head_dim, "d_ff": self.ffn,
                "num_heads": self.heads, "num_layers": self.encoder_layers,
                "num_decoder_layers": self.decoder_layers, "layer_norm_epsilon": self.norm_eps,
                "relative_attention_num_buckets": self.buckets,
                "relative_attention_max_distance": self.max_distance,
                "feed_forward_proj": if self.gated { format!("gated-{bend}") } else { bend.to_string() },
                "tie_word_embeddings": self.tied, "scale_decoder_outputs": self.head_scale != 1.0,
                "dropout_rate": 0.0, "dtype": "float32",
                "decoder_start_token_id": self.start, "eos_token_id": self.eos, "pad_token_id": self.pad,
            }),
            Seq2SeqFamily::Marian => json!({
                "architectures": ["MarianMTModel"], "model_type": "marian", "is_encoder_decoder": true,
                "vocab_size": self.source_vocab, "decoder_vocab_size": self.target_vocab,
                "share_encoder_decoder_embeddings": self.shared, "d_model": self.width,
                "encoder_layers": self.encoder_layers, "decoder_layers": self.decoder_layers,
                "encoder_attention_heads": self.heads, "decoder_attention_heads": self.heads,
                "encoder_ffn_dim": self.ffn, "decoder_ffn_dim": self.ffn,
                "max_position_embeddings": self.context, "activation_function": bend,
                "scale_embedding": self.embed_scale != 1.0, "static_position_embeddings": true,
                "tie_word_embeddings": self.tied, "dropout": 0.0, "attention_dropout": 0.0,
                "activation_dropout": 0.0, "forced_eos_token_id": null, "dtype": "float32",
                "decoder_start_token_id": self.start, "eos_token_id": self.eos, "pad_token_id": self.pad,
            }),
        }
    }
}

/// Typed access with errors that name file and key.
struct Keys<'a> {
    file: &'a Path,
    json: &'a Value,
}

impl Keys<'_> {
    fn bad(&self, key: &str, problem: impl Into<String>) -> ModelError {
        let file = self.file.join("config.json");
        ModelError::Config { file, key: key.to_string(), problem: problem.into() }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|v| !v.is_null())
    }

    fn count(&self, key: &str, or: Option<usize>) -> Result<usize, ModelError> {
        let Some(value) = self.get(key) else { return or.ok_or_else(|| self.bad(key, "is missing")) };
        value.as_u64().and_then(|n| n.try_into().ok()).ok_or_else(|| self.bad(key, "is not a whole number"))
    }

    fn token(&self, key: &str, or: u32) -> Result<u32, ModelError> {
        self.count(key, Some(or as usize))?.try_into().map_err(|_| self.bad(key, "is not a token"))
    }

    fn flag(&self, key: &str, or: bool) -> Result<bool, ModelError> {
        self.get(key)
            .map_or(Ok(or), |v| v.as_bool().ok_or_else(|| self.bad(key, "is neither true nor false")))
    }

    fn bend(&self, key: &str, name: &str) -> Result<Bend, ModelError> {
        match name {
            "relu" => Ok(Bend::Relu),
            "silu" | "swish" => Ok(Bend::Silu),
            "gelu_new" => Ok(Bend::Gelu),
            other => {
                Err(self
                    .bad(key, format!("\"{other}\": supported are relu, silu, swish, gelu_new, gated-gelu")))
            }
        }
    }
}

fn t5(keys: &Keys<'_>, kind: &str) -> Result<Seq2SeqConfig, ModelError> {
    let width = keys.count("d_model", None)?;
    let key = "feed_forward_proj";
    let how = match keys.get(key) {
        None if kind == "mt5" => "gated-gelu",
        None => "relu",
        Some(v) => v.as_str().ok_or_else(|| keys.bad(key, "is not a text"))?,
    };
    let (gated, name) = match how.strip_prefix("gated-") {
        // the family means its tanh form, whatever it is called
        Some("gelu") => (true, "gelu_new"),
        Some(name) => (true, name),
        None => (false, how),
    };
    let tied = keys.flag("tie_word_embeddings", kind == "t5")?;
    // newer files say it apart, and may call the embeddings tied where the file holds a head
    let scaled = keys.flag("scale_decoder_outputs", tied && kind == "t5")?;
    let (layers, vocab) = (keys.count("num_layers", None)?, keys.count("vocab_size", None)?);
    Ok(Seq2SeqConfig {
        family: Seq2SeqFamily::T5,
        source_vocab: vocab,
        target_vocab: vocab,
        shared: true,
        tied,
        width,
        heads: keys.count("num_heads", None)?,
        head_dim: keys.count("d_kv", None)?,
        ffn: keys.count("d_ff", None)?,
        gated,
        bend: keys.bend(key, name)?,
        encoder_layers: layers,
        decoder_layers: keys.count("num_decoder_layers", Some(layers))?,
        norm_eps: keys.get("layer_norm_epsilon").and_then(Value::as_f64).unwrap_or(1e-6) as f32,
        embed_scale: 1.0,
        head_scale: if scaled { 1.0 / (width as f32).sqrt() } else { 1.0 },
        buckets: keys.count("relative_attention_num_buckets", Some(32))?,
        max_distance: keys.count("relative_attention_max_distance", Some(128))?,
        context: 1 << 20,
        start: keys.token("decoder_start_token_id", 0)?,
        eos: keys.token("eos_token_id", 1)?,
        pad: keys.token("pad_token_id", 0)?,
    })
}

fn marian(keys: &Keys<'_>) -> Result<Seq2SeqConfig, ModelError> {
    let (width, heads) = (keys.count("d_model", None)?, keys.count("encoder_attention_heads", None)?);
    let ffn = keys.count("encoder_ffn_dim", None)?;
    for (key, wanted) in [("decoder_attention_heads", heads), ("decoder_ffn_dim", ffn)] {
        if keys.count(key, Some(wanted))? != wanted {
            return Err(keys.bad(key, format!("only {wanted}, as in the encoder, is supported")));
        }
    }
    if keys.flag("normalize_before", false)? || keys.flag("normalize_embedding", false)? {
        return Err(keys.bad("normalize_before", "only norms behind the parts are supported"));
    }
    let key = "activation_function";
    let name = keys.get(key).and_then(Value::as_str).ok_or_else(|| keys.bad(key, "is missing"))?;
    let source = keys.count("vocab_size", None)?;
    let eos = keys.token("eos_token_id", 0)?;
    Ok(Seq2SeqConfig {
        family: Seq2SeqFamily::Marian,
        source_vocab: source,
        target_vocab: keys.count("decoder_vocab_size", Some(source))?,
        shared: keys.flag("share_encoder_decoder_embeddings", true)?,
        tied: keys.flag("tie_word_embeddings", true)?,
        width,
        heads,
        head_dim: width.checked_div(heads).unwrap_or(0),
        ffn,
        gated: false,
        bend: keys.bend(key, name)?,
        encoder_layers: keys.count("encoder_layers", None)?,
        decoder_layers: keys.count("decoder_layers", None)?,
        norm_eps: 1e-5,
        embed_scale: if keys.flag("scale_embedding", false)? { (width as f32).sqrt() } else { 1.0 },
        head_scale: 1.0,
        buckets: 0,
        max_distance: 0,
        context: keys.count("max_position_embeddings", Some(1024))?,
        start: keys.token("decoder_start_token_id", keys.token("pad_token_id", 0)?)?,
        eos,
        pad: keys.token("pad_token_id", 0)?,
    })
}
