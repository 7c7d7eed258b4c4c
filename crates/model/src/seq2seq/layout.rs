//! The parameters of an encoder-decoder as one table: names as in Hugging Face's files, shapes, and where each is used.
//! Reading, saving, a newborn's first values, gradients and optimisers all go along this table.

use super::config::{Seq2SeqConfig, Seq2SeqFamily};

/// What a parameter is, which says how it begins and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    /// a projection with so many times its deviation at first `1 / √inputs`, by a factor
    Projection {
        query: bool,
    },
    Head,
    NormWeight,
    Bias,
    /// what distances add to scores, `[buckets, H]`
    Relative,
}

/// A parameter of an encoder-decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Seq2SeqParameter {
    /// its name in a Hugging Face folder
    pub name: String,
    /// `[rows, cols]` or `[n]`
    pub shape: Vec<usize>,
    pub(crate) role: Role,
}

impl Seq2SeqParameter {
    /// Whether it is stored as a matrix in tiles.
    pub fn is_matrix(&self) -> bool {
        matches!(self.role, Role::Embedding | Role::Projection { .. } | Role::Head)
    }

    /// Whether it is a projection of a block: neither embedding nor head.
    pub fn is_hidden_matrix(&self) -> bool {
        matches!(self.role, Role::Projection { .. })
    }

    /// Its values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Floats that hold it in memory, the padding of tiles counted.
    pub fn floats(&self) -> usize {
        match (self.is_matrix(), &self.shape[..]) {
            (true, [rows, cols]) => rows.next_multiple_of(16) * cols.next_multiple_of(32),
            _ => self.count(),
        }
    }
}

/// A linear layer: places in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lin {
    pub(crate) w: usize,
    pub(crate) b: Option<usize>,
}

/// A norm: places in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nrm {
    pub(crate) w: usize,
    pub(crate) b: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AttnIds {
    pub(crate) norm: Nrm,
    pub(crate) q: Lin,
    pub(crate) k: Lin,
    pub(crate) v: Lin,
    pub(crate) o: Lin,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MlpIds {
    pub(crate) norm: Nrm,
    pub(crate) gate: Option<Lin>,
    pub(crate) up: Lin,
    pub(crate) down: Lin,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockIds {
    pub(crate) own: AttnIds,
    pub(crate) cross: Option<AttnIds>,
    pub(crate) mlp: MlpIds,
}

/// One of the two towers.
#[derive(Clone, Debug)]
pub(crate) struct TowerIds {
    pub(crate) embed: usize,
    pub(crate) blocks: Vec<BlockIds>,
    pub(crate) relative: Option<usize>,
    pub(crate) last: Option<Nrm>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) encoder: TowerIds,
    pub(crate) decoder: TowerIds,
    /// the head, which may be an embedding
    pub(crate) head: usize,
}

struct Table<'a> {
    c: &'a Seq2SeqConfig,
    all: Vec<Seq2SeqParameter>,
}

impl Table<'_> {
    fn push(&mut self, name: String, shape: Vec<usize>, role: Role) -> usize {
        self.all.push(Seq2SeqParameter { name, shape, role });
        self.all.len() - 1
    }

    fn biased(&self) -> bool {
        self.c.family == Seq2SeqFamily::Marian
    }

    fn lin(&mut self, name: &str, rows: usize, cols: usize, query: bool) -> Lin {
        let w = self.push(format!("{name}.weight"), vec![rows, cols], Role::Projection { query });
        let b = self.biased().then(|| self.push(format!("{name}.bias"), vec![rows], Role::Bias));
        Lin { w, b }
    }

    fn norm(&mut self, name: &str) -> Nrm {
        let d = self.c.width;
        let w = self.push(format!("{name}.weight"), vec![d], Role::NormWeight);
        let b = self.biased().then(|| self.push(format!("{name}.bias"), vec![d], Role::Bias));
        Nrm { w, b }
    }

    fn attention(&mut self, parts: &str, norm: &str, names: [&str; 4]) -> AttnIds {
        let (d, inner) = (self.c.width, self.c.inner());
        let [q, k, v, o] = names.map(|n| format!("{parts}.{n}"));
        AttnIds {
            norm: self.norm(norm),
            q: self.lin(&q, inner, d, true),
            k: self.lin(&k, inner, d, false),
            v: self.lin(&v, inner, d, false),
            o: self.lin(&o, d, inner, false),
        }
    }

    fn tower(&mut self, embed: usize, name: &str, layers: usize, cross: bool) -> TowerIds {
        let (d, f) = (self.c.width, self.c.ffn);
        let (mut blocks, mut relative) = (Vec::new(), None);
        for l in 0..layers {
            blocks.push(match self.c.family {
                Seq2SeqFamily::T5 => {
                    let at = |i: usize| format!("{name}.block.{l}.layer.{i}");
                    let names = ["q", "k", "v", "o"];
                    let own = self.attention(
                        &format!("{}.SelfAttention", at(0)),
                        &format!("{}.layer_norm", at(0)),
                        names,
                    );
                    if l == 0 {
                        let name = format!("{}.SelfAttention.relative_attention_bias.weight", at(0));
                        let shape = vec![self.c.buckets, self.c.heads];
                        relative = Some(self.push(name, shape, Role::Relative));
                    }
                    let crossed = cross.then(|| {
                        self.attention(
                            &format!("{}.EncDecAttention", at(1)),
                            &format!("{}.layer_norm", at(1)),
                            names,
                        )
                    });
                    let at = at(1 + usize::from(cross));
                    let dense = format!("{at}.DenseReluDense");
                    let norm = self.norm(&format!("{at}.layer_norm"));
                    let gated = self.c.gated;
                    let gate = gated.then(|| self.lin(&format!("{dense}.wi_0"), f, d, false));
                    let up = self.lin(&format!("{dense}.{}", if gated { "wi_1" } else { "wi" }), f, d, false);
                    let down = self.lin(&format!("{dense}.wo"), d, f, false);
                    BlockIds { own, cross: crossed, mlp: MlpIds { norm, gate, up, down } }
                }
                Seq2SeqFamily::Marian => {
                    let at = format!("model.{name}.layers.{l}");
                    let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
                    let own = self.attention(
                        &format!("{at}.self_attn"),
                        &format!("{at}.self_attn_layer_norm"),
                        names,
                    );
                    let crossed = cross.then(|| {
                        self.attention(
                            &format!("{at}.encoder_attn"),
                            &format!("{at}.encoder_attn_layer_norm"),
                            names,
                        )
                    });
                    let norm = self.norm(&format!("{at}.final_layer_norm"));
                    let up = self.lin(&format!("{at}.fc1"), f, d, false);
                    let down = self.lin(&format!("{at}.fc2"), d, f, false);
                    BlockIds { own, cross: crossed, mlp: MlpIds { norm, gate: None, up, down } }
                }
            });
        }
        let last =
            (self.c.family == Seq2SeqFamily::T5).then(|| self.norm(&format!("{name}.final_layer_norm")));
        TowerIds { embed, blocks, relative, last }
    }
}

/// The table of a shape, and the places of all parts in it.
pub(crate) fn layout(c: &Seq2SeqConfig) -> (Vec<Seq2SeqParameter>, Ids) {
    let mut t = Table { c, all: Vec::new() };
    let (shared, source, target) = match c.family {
        Seq2SeqFamily::T5 => ("shared.weight", "", ""),
        Seq2SeqFamily::Marian => {
            ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
        }
    };
    let (from, to) = if c.shared {
        let both = t.push(shared.to_string(), vec![c.source_vocab, c.width], Role::Embedding);
        (both, both)
    } else {
        let from = t.push(source.to_string(), vec![c.source_vocab, c.width], Role::Embedding);
        (from, t.push(target.to_string(), vec![c.target_vocab, c.width], Role::Embedding))
    };
    let encoder = t.tower(from, "encoder", c.encoder_layers, false);
    let decoder = t.tower(to, "decoder", c.decoder_layers, true);
    let head = match c.tied {
        true => to,
        false => t.push("lm_head.weight".to_string(), vec![c.target_vocab, c.width], Role::Head),
    };
    (t.all, Ids { encoder, decoder, head })
}
