//! Reading a decoder: each tensor straight into its tiled form, one at a time.

use crate::adapter::{PROJECTIONS, Projection, floats};
use crate::config::{Config, MlpKind, NormKind, Positions};
use crate::decoder::{Block, Decoder, Mlp, Projected};
use crate::error::ModelError;
use crate::families::{self, Dialect};
use crate::moe::{Expert, Mixture};
use crate::newborn::sinusoids;
use crate::norm::NormWeights;
use nurture_formats::{ModelFile, TensorInfo, TensorSource};
use nurture_kernels::{DType, Pool, Weight};

struct Reader<'a> {
    file: &'a ModelFile,
    pool: &'a Pool,
    c: &'a Config,
    dialect: Dialect,
}

/// The part of a tensor that holds a projection.
#[derive(Clone, Copy)]
struct Part {
    /// outputs before it
    first: usize,
    /// outputs of the whole tensor
    all: usize,
    /// matrices that it is a stack of, where it is one
    stack: Option<usize>,
}

impl Reader<'_> {
    fn tensor(&self, name: &str, wanted: &[usize]) -> Result<&TensorInfo, ModelError> {
        let info = self.file.tensor(name)?;
        if info.shape != wanted {
            return Err(ModelError::Shape {
                file: self.file.path().to_path_buf(),
                tensor: name.to_string(),
                found: info.shape.clone(),
                wanted: wanted.to_vec(),
            });
        }
        Ok(info)
    }

    /// A name as this file has it.
    fn name(&self, name: &str, l: usize) -> String {
        name.strip_prefix(self.dialect.without).unwrap_or(name).replace("{}", &l.to_string())
    }

    /// A weight of `rows × cols`; `heads`: its rows are heads whose rotary pairs may have to be put apart; `turned`: it stands
    /// with its inputs as rows.
    fn weight(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        heads: Option<usize>,
        part: Part,
        turned: bool,
    ) -> Result<Weight, ModelError> {
        let wanted = match part.stack {
            Some(n) => vec![n, part.all / n.max(1), cols],
            None if turned => vec![cols, part.all],
            None => vec![part.all, cols],
        };
        let info = self.tensor(name, &wanted)?;
        let (len, bytes) = (info.dtype.block_len(), info.dtype.block_bytes());
        if !cols.is_multiple_of(len) || (turned && len != 1) {
            return Err(ModelError::Config {
                file: self.file.path().to_path_buf(),
                key: name.to_string(),
                problem: format!("{cols} columns are not whole {} blocks of {len}", info.dtype),
            });
        }
        let row_bytes = cols / len * bytes;
        let apart = heads.filter(|_| self.dialect.neighbour_rope).map(|_| self.c.head_dim);
        let mut raw = Vec::new();
        if turned {
            raw.resize(info.bytes as usize, 0);
            self.file.read_into(info, 0, &mut raw)?;
        }
        let weight = Weight::read(self.pool, info.dtype, rows, cols, |first, out| match apart {
            _ if turned => {
                for (r, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                    for (c, out) in out.chunks_exact_mut(bytes).enumerate() {
                        out.copy_from_slice(&raw[(c * part.all + part.first + first + r) * bytes..][..bytes]);
                    }
                }
                Ok(())
            }
            None => self.file.read_into(info, ((part.first + first) * row_bytes) as u64, out),
            Some(d) => {
                // row (half s, pair j) of a head stands at 2j + s
                for (i, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                    let (head, r) = ((first + i) / d, (first + i) % d);
                    let (s, j) = (r / (d / 2), r % (d / 2));
                    self.file.read_into(info, ((head * d + 2 * j + s) * row_bytes) as u64, out)?;
                }
                Ok(())
            }
        })?;
        match weight.first_row_not_finite(self.pool) {
            Some(row) => Err(ModelError::NotFinite {
                file: self.file.path().to_path_buf(),
                tensor: name.to_string(),
                row,
            }),
            None => Ok(weight),
        }
    }

    /// A matrix that is a tensor of its own.
    fn whole(&self, name: &str, l: usize, rows: usize, cols: usize) -> Result<Weight, ModelError> {
        self.weight(&self.name(name, l), rows, cols, None, Part { first: 0, all: rows, stack: None }, false)
    }

    fn projected(
        &self,
        name: &str,
        l: usize,
        rows: usize,
        cols: usize,
        heads: Option<usize>,
    ) -> Result<Projected, ModelError> {
        self.part(name, l, rows, cols, heads, Part { first: 0, all: rows, stack: None })
    }

    fn part(
        &self,
        name: &str,
        l: usize,
        rows: usize,
        cols: usize,
        heads: Option<usize>,
        part: Part,
    ) -> Result<Projected, ModelError> {
        let name = self.name(name, l);
        let weight = self.weight(&name, rows, cols, heads, part, self.dialect.transposed)?;
        let bias_name = name.strip_suffix("weight").map(|n| format!("{n}bias")).unwrap_or_default();
        let bias = match self.file.info(&bias_name) {
            None => None,
            Some(_) => {
                let all = floats(self.file, self.tensor(&bias_name, &[part.all])?, self.file.path())?;
                let flat = &all[part.first..part.first + rows];
                Some(match heads.filter(|_| self.dialect.neighbour_rope) {
                    None => flat.to_vec(),
                    Some(_) => {
                        let d = self.c.head_dim;
                        (0..rows).map(|i| flat[i / d * d + i % d % (d / 2) * 2 + i % d / (d / 2)]).collect()
                    }
                })
            }
        };
        Ok(Projected { weight, bias })
    }

    fn floats_of(&self, name: &str, l: usize, n: usize) -> Result<Vec<f32>, ModelError> {
        let mut w = floats(self.file, self.tensor(&self.name(name, l), &[n])?, self.file.path())?;
        if self.dialect.norms_minus_one {
            w.iter_mut().for_each(|v| *v += 1.0);
        }
        Ok(w)
    }

    fn norm(&self, name: &str, l: usize, n: usize) -> Result<NormWeights, ModelError> {
        let bias = match (self.c.norm, name.strip_suffix("weight")) {
            (NormKind::Layer, Some(start)) => Some(self.floats_of(&format!("{start}bias"), l, n)?),
            _ => None,
        };
        Ok(NormWeights { weight: self.floats_of(name, l, n)?, bias })
    }

    fn mlp(&self, l: usize) -> Result<Mlp, ModelError> {
        let (n, d, f) = (&self.dialect.names, self.c.width, self.c.ffn);
        if let Some(e) = &self.c.experts {
            let stacked = |i: usize| {
                let part = |p, rows: usize, cols| {
                    let part = Part { first: i * rows, all: e.count * rows, stack: Some(e.count) };
                    self.part(&n.experts(p), l, rows, cols, None, part)
                };
                Ok(Expert {
                    gate: part(Projection::Gate, e.ffn, d)?,
                    up: part(Projection::Up, e.ffn, d)?,
                    down: part(Projection::Down, d, e.ffn)?,
                })
            };
            let one = |i: usize| {
                if n.stacked {
                    return stacked(i);
                }
                let name = |p: &str| format!("{}{p}.weight", n.expert.replace("{e}", &i.to_string()));
                Ok(Expert {
                    gate: self.projected(&name("gate_proj"), l, e.ffn, d, None)?,
                    up: self.projected(&name("up_proj"), l, e.ffn, d, None)?,
                    down: self.projected(&name("down_proj"), l, d, e.ffn, None)?,
                })
            };
            let experts = (0..e.count).map(one).collect::<Result<_, ModelError>>()?;
            return Ok(Mlp::Experts(Mixture { router: self.whole(n.router, l, e.count, d)?, experts }));
        }
        let up = self.projected(n.up, l, f, d, None)?;
        let down = self.projected(n.down, l, d, f, None)?;
        Ok(match self.c.mlp {
            MlpKind::Gated => Mlp::Gated { gate: self.projected(n.gate, l, f, d, None)?, up, down },
            MlpKind::Plain => Mlp::Plain { up, down },
        })
    }
}

impl Decoder {
    /// Reads a decoder from a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, of a type that is not supported, or not finite.
    pub fn load(file: &ModelFile, pool: &Pool) -> Result<Decoder, ModelError> {
        let (c, dialect) = families::read(file)?;
        let r = Reader { file, pool, c: &c, dialect };
        let n = dialect.names;
        let embed = r.whole(n.embed, 0, c.vocab, c.width)?;
        let positions = match c.positions {
            Positions::Learned => Some(r.whole(n.positions, 0, c.context, c.width)?),
            Positions::Sinusoidal => Some(sinusoids(c.context, c.width)),
            Positions::Rope | Positions::None => None,
        };
        let head = match file.info(n.head) {
            Some(_) => Some(r.whole(n.head, 0, c.vocab, c.width)?),
            None => None,
        };
        let (q, kv, d) = (c.q_width(), c.kv_width(), c.width);
        let mut blocks = Vec::with_capacity(c.layers);
        for l in 0..c.layers {
            let optional = |on: bool, name: &str, n: usize| on.then(|| r.floats_of(name, l, n)).transpose();
            let post = |name: &str| c.post_norms.then(|| r.norm(name, l, d)).transpose();
            // in one tensor q, k and v stand below each other
            let at = |first: usize, rows: usize| match n.fused {
                true => Part { first, all: q + 2 * kv, stack: None },
                false => Part { first: 0, all: rows, stack: None },
            };
            blocks.push(Block {
                attn_norm: r.norm(n.attn_norm, l, d)?,
                q: r.part(n.q, l, q, d, Some(c.heads), at(0, q))?,
                k: r.part(n.k, l, kv, d, Some(c.kv_heads), at(q, kv))?,
                v: r.part(n.v, l, kv, d, None, at(q + kv, kv))?,
                o: r.projected(n.o, l, d, q, None)?,
                q_norm: optional(c.qk_norm, n.q_norm, c.head_dim)?,
                k_norm: optional(c.qk_norm, n.k_norm, c.head_dim)?,
                post_attn_norm: post(n.post_attn_norm)?,
                ffn_norm: r.norm(n.ffn_norm, l, d)?,
                mlp: r.mlp(l)?,
                post_ffn_norm: post(n.post_ffn_norm)?,
            });
        }
        let norm = r.norm(n.norm, 0, d)?;
        let (rope, local_rope) = c.ropes();
        Ok(Decoder { config: c, embed, positions, head, blocks, norm, rope, local_rope })
    }

    /// The matrices of the blocks, routers and experts among them.
    fn block_weights(&self) -> impl Iterator<Item = &Weight> {
        self.blocks.iter().flat_map(|b| {
            let plain = PROJECTIONS.into_iter().filter_map(|p| b.projected(p)).map(|p| &p.weight);
            let experts = b.mixture().into_iter().flat_map(|m| {
                let all = m.experts.iter().flat_map(|e| [&e.gate.weight, &e.up.weight, &e.down.weight]);
                std::iter::once(&m.router).chain(all)
            });
            plain.chain(experts)
        })
    }

    /// Bytes that its weights take in memory.
    pub fn weight_bytes(&self) -> usize {
        let norms =
            4 * self.config.width * (1 + self.config.layers * if self.config.post_norms { 4 } else { 2 });
        self.embed.bytes()
            + self.positions.as_ref().map_or(0, Weight::bytes)
            + self.head.as_ref().map_or(0, Weight::bytes)
            + self.block_weights().map(Weight::bytes).sum::<usize>()
            + norms
    }

    /// Bytes of weights that one decoded token reads: all projections (of experts those of the active ones) and the head, one
    /// row of the embedding.
    pub fn bytes_per_token(&self) -> usize {
        let head = self.head.as_ref().unwrap_or(&self.embed).bytes();
        let row = self.embed.bytes() / self.config.vocab;
        let ends = [Some(&self.embed), self.positions.as_ref(), self.head.as_ref()];
        let ends: usize = ends.into_iter().flatten().map(Weight::bytes).sum();
        let mixtures = self.blocks.iter().filter_map(Block::mixture);
        let idle: usize = mixtures
            .map(|m| {
                let one =
                    |e: &Expert| [&e.gate, &e.up, &e.down].iter().map(|p| p.weight.bytes()).sum::<usize>();
                let active = self.config.experts.map_or(0, |e| e.active);
                m.experts.iter().skip(active).map(one).sum::<usize>()
            })
            .sum();
        self.weight_bytes() - ends - idle + head + row
    }

    /// The stored types of the projections and of the head, most frequent first, for messages.
    pub fn dtypes(&self) -> Vec<(DType, usize)> {
        let mut counts: Vec<(DType, usize)> = Vec::new();
        let mut add = |w: &Weight| match counts.iter_mut().find(|c| c.0 == w.dtype()) {
            Some(c) => c.1 += 1,
            None => counts.push((w.dtype(), 1)),
        };
        self.block_weights().for_each(&mut add);
        add(self.head.as_ref().unwrap_or(&self.embed));
        counts.sort_by_key(|c| (std::cmp::Reverse(c.1), c.0));
        counts
    }
}
