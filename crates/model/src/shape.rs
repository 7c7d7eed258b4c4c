//! The shape of a new network: its sizes, and the form of its parts. What fits a published family is that family, so that
//! other tools read what was born here; any other combination works as well and is a family of its own.

use crate::config::{Config, Experts, Family, MlpKind, NormKind, Positions};
use crate::families::gemma3_windows;
use nurture_kernels::Activation;

/// How the parts of a network are made, whatever its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// which norm stands before each part
    pub norm: NormKind,
    /// how a token knows where it stands
    pub positions: Positions,
    /// form of the MLP
    pub mlp: MlpKind,
    /// its activation
    pub activation: Activation,
    /// biases on all projections
    pub biases: bool,
    /// norms on each head of q and k
    pub qk_norm: bool,
    /// norms behind each part too
    pub post_norms: bool,
    /// embedded tokens times `√D`
    pub scaled: bool,
}

impl Default for Form {
    fn default() -> Form {
        Form::LLAMA
    }
}

impl Form {
    /// Llama 2 and 3.
    pub const LLAMA: Form = Form {
        norm: NormKind::Rms,
        positions: Positions::Rope,
        mlp: MlpKind::Gated,
        activation: Activation::Silu,
        biases: false,
        qk_norm: false,
        post_norms: false,
        scaled: false,
    };

    /// GPT-2.
    pub const GPT2: Form = Form {
        norm: NormKind::Layer,
        positions: Positions::Learned,
        mlp: MlpKind::Plain,
        activation: Activation::GeluTanh,
        biases: true,
        ..Form::LLAMA
    };

    /// Qwen 3.
    pub const QWEN3: Form = Form { qk_norm: true, ..Form::LLAMA };

    /// Gemma 3.
    pub const GEMMA3: Form = Form {
        activation: Activation::GeluTanh,
        qk_norm: true,
        post_norms: true,
        scaled: true,
        ..Form::LLAMA
    };

    /// The form of a family by its name in recipes.
    pub fn named(name: &str) -> Option<Form> {
        Form::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, form)| form)
    }

    /// All forms with names.
    pub const NAMES: [(&'static str, Form); 4] =
        [("llama", Form::LLAMA), ("gpt2", Form::GPT2), ("qwen3", Form::QWEN3), ("gemma3", Form::GEMMA3)];
}

/// The shape of a new network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// vocabulary `V`
    pub vocab: usize,
    /// number of blocks
    pub layers: usize,
    /// width of the residual stream `D`
    pub width: usize,
    /// query heads `H`
    pub heads: usize,
    /// key/value heads `K`
    pub kv_heads: usize,
    /// width of the MLP `F`
    pub ffn: usize,
    /// longest context
    pub context: usize,
    /// the form of its parts
    pub form: Form,
    /// tokens that a layer with a window sees
    pub window: Option<usize>,
    /// every so many layers one sees all positions nevertheless; 0: none does
    pub global_every: usize,
    /// experts in place of the MLP
    pub experts: Option<Experts>,
}

impl Shape {
    /// Refuses what no network can be, with the key and what is wrong.
    ///
    /// # Errors
    /// `(key, problem)`.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Shape { width, heads, kv_heads, .. } = *self;
        let positive = [
            ("vocab", self.vocab),
            ("depth", self.layers),
            ("width", width),
            ("heads", heads),
            ("kv_heads", kv_heads),
            ("ffn", self.ffn),
            ("context", self.context),
            ("window", self.window.unwrap_or(1)),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, n)| *n == 0) {
            return Err((key, "0".to_string()));
        }
        if !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
            return Err((
                "heads",
                format!("{heads}: a width of {width} does not part into {heads} heads of an even width"),
            ));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(("kv_heads", format!("{kv_heads}: {heads} heads do not share {kv_heads} evenly")));
        }
        if let Some(e) = &self.experts {
            if e.active == 0 || e.active > e.count || e.count > 1 << 10 {
                return Err(("active", format!("{} of {} experts", e.active, e.count)));
            }
            if self.form.mlp != MlpKind::Gated || self.form.biases {
                return Err(("experts", format!("{}: experts are gated and have no biases", e.count)));
            }
        }
        Ok(())
    }

    /// The windows of its layers.
    fn windows(&self) -> Vec<Option<usize>> {
        match self.global_every {
            0 => vec![self.window; self.layers],
            every => gemma3_windows(self.layers, self.window, every),
        }
    }

    /// The family whose files hold it.
    pub fn family(&self) -> Family {
        let windows = self.windows();
        let alike = windows.iter().all(|w| *w == self.window);
        match (self.form, &self.experts) {
            (Form::LLAMA, None) if alike => Family::Llama,
            (Form::QWEN3, None) if alike => Family::Qwen3,
            (Form::QWEN3, Some(_)) if alike => Family::Qwen3Moe,
            (Form::GEMMA3, None) => Family::Gemma3,
            (Form::GPT2, None) if self.window.is_none() && self.kv_heads == self.heads => Family::Gpt2,
            _ => Family::Own,
        }
    }

    /// The whole configuration; `tied`: the head is the embedding.
    pub fn config(&self, tied: bool) -> Config {
        let (head_dim, form) = (self.width / self.heads.max(1), self.form);
        let family = match self.family() {
            // its files know no head of its own
            Family::Gpt2 if !tied => Family::Own,
            family => family,
        };
        // Gemma's stretches: far ones where a layer sees all, near ones in windows
        let gemma = form == Form::GEMMA3;
        Config {
            family,
            vocab: self.vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim,
            ffn: self.ffn,
            norm: form.norm,
            positions: form.positions,
            mlp: form.mlp,
            biases: form.biases,
            experts: self.experts,
            norm_eps: 1e-5,
            rope_theta: if gemma { 1e6 } else { 10_000.0 },
            rope_scaling: None,
            local_rope_theta: gemma.then_some(10_000.0),
            windows: self.windows(),
            activation: form.activation,
            attention_scale: (head_dim as f32).powf(-0.5),
            embed_scale: if form.scaled { (self.width as f32).sqrt() } else { 1.0 },
            qk_norm: form.qk_norm,
            post_norms: form.post_norms,
            context: self.context,
        }
    }
}
