//! Reading a decoder: each tensor straight into its tiled form, one at a time.

use crate::adapter::floats;
use crate::config::Config;
use crate::decoder::{Block, Decoder, Projected};
use crate::error::ModelError;
use crate::families::{self, Dialect};
use nurture_formats::{ModelFile, TensorInfo, TensorSource};
use nurture_kernels::{DType, Pool, Weight};

struct Reader<'a> {
    file: &'a ModelFile,
    pool: &'a Pool,
    c: &'a Config,
    dialect: Dialect,
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

    /// A weight of `rows × cols`; `heads`: its rows are heads whose rotary pairs may have to be put apart.
    fn weight(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        heads: Option<usize>,
    ) -> Result<Weight, ModelError> {
        let info = self.tensor(name, &[rows, cols])?;
        let (len, bytes) = (info.dtype.block_len(), info.dtype.block_bytes());
        if !cols.is_multiple_of(len) {
            return Err(ModelError::Config {
                file: self.file.path().to_path_buf(),
                key: name.to_string(),
                problem: format!("{cols} columns are not whole {} blocks of {len}", info.dtype),
            });
        }
        let row_bytes = cols / len * bytes;
        let apart = heads.filter(|_| self.dialect.neighbour_rope).map(|_| self.c.head_dim);
        let weight = Weight::read(self.pool, info.dtype, rows, cols, |first, out| match apart {
            None => self.file.read_into(info, (first * row_bytes) as u64, out),
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

    fn projected(
        &self,
        name: &str,
        l: usize,
        rows: usize,
        cols: usize,
        heads: Option<usize>,
    ) -> Result<Projected, ModelError> {
        let name = name.replace("{}", &l.to_string());
        let weight = self.weight(&name, rows, cols, heads)?;
        let bias_name = name.strip_suffix("weight").map(|n| format!("{n}bias")).unwrap_or_default();
        let bias = match self.file.info(&bias_name) {
            None => None,
            Some(_) => {
                let flat = floats(self.file, self.tensor(&bias_name, &[rows])?, self.file.path())?;
                Some(match heads.filter(|_| self.dialect.neighbour_rope) {
                    None => flat,
                    Some(_) => {
                        let d = self.c.head_dim;
                        (0..rows).map(|i| flat[i / d * d + i % d % (d / 2) * 2 + i % d / (d / 2)]).collect()
                    }
                })
            }
        };
        Ok(Projected { weight, bias })
    }

    fn norm(&self, name: &str, l: usize, n: usize) -> Result<Vec<f32>, ModelError> {
        let name = name.replace("{}", &l.to_string());
        let mut w = floats(self.file, self.tensor(&name, &[n])?, self.file.path())?;
        if self.dialect.norms_minus_one {
            w.iter_mut().for_each(|v| *v += 1.0);
        }
        Ok(w)
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
        let embed = r.weight(n.embed, c.vocab, c.width, None)?;
        let head = match file.info(n.head) {
            Some(_) => Some(r.weight(n.head, c.vocab, c.width, None)?),
            None => None,
        };
        let (q, kv, d, f) = (c.q_width(), c.kv_width(), c.width, c.ffn);
        let mut blocks = Vec::with_capacity(c.layers);
        for l in 0..c.layers {
            let optional = |on: bool, name: &str, n: usize| on.then(|| r.norm(name, l, n)).transpose();
            blocks.push(Block {
                attn_norm: r.norm(n.attn_norm, l, d)?,
                q: r.projected(n.q, l, q, d, Some(c.heads))?,
                k: r.projected(n.k, l, kv, d, Some(c.kv_heads))?,
                v: r.projected(n.v, l, kv, d, None)?,
                o: r.projected(n.o, l, d, q, None)?,
                q_norm: optional(c.qk_norm, n.q_norm, c.head_dim)?,
                k_norm: optional(c.qk_norm, n.k_norm, c.head_dim)?,
                post_attn_norm: optional(c.post_norms, n.post_attn_norm, d)?,
                ffn_norm: r.norm(n.ffn_norm, l, d)?,
                gate: r.projected(n.gate, l, f, d, None)?,
                up: r.projected(n.up, l, f, d, None)?,
                down: r.projected(n.down, l, d, f, None)?,
                post_ffn_norm: optional(c.post_norms, n.post_ffn_norm, d)?,
            });
        }
        let norm = r.norm(n.norm, 0, d)?;
        let (rope, local_rope) = c.ropes();
        Ok(Decoder { config: c, embed, head, blocks, norm, rope, local_rope })
    }

    /// Bytes that its weights take in memory.
    pub fn weight_bytes(&self) -> usize {
        let block = |b: &Block| -> usize {
            [&b.q, &b.k, &b.v, &b.o, &b.gate, &b.up, &b.down].iter().map(|p| p.weight.bytes()).sum()
        };
        let norms =
            4 * self.config.width * (1 + self.config.layers * if self.config.post_norms { 4 } else { 2 });
        self.embed.bytes()
            + self.head.as_ref().map_or(0, Weight::bytes)
            + self.blocks.iter().map(block).sum::<usize>()
            + norms
    }

    /// Bytes of weights that one decoded token reads: all projections and the head, one row of the embedding.
    pub fn bytes_per_token(&self) -> usize {
        let head = self.head.as_ref().unwrap_or(&self.embed).bytes();
        let row = self.embed.bytes() / self.config.vocab;
        self.weight_bytes() - self.embed.bytes() - self.head.as_ref().map_or(0, Weight::bytes) + head + row
    }

    /// The stored types of the projections and of the head, most frequent first, for messages.
    pub fn dtypes(&self) -> Vec<(DType, usize)> {
        let mut counts: Vec<(DType, usize)> = Vec::new();
        let mut add = |w: &Weight| match counts.iter_mut().find(|c| c.0 == w.dtype()) {
            Some(c) => c.1 += 1,
            None => counts.push((w.dtype(), 1)),
        };
        for b in &self.blocks {
            [&b.q, &b.k, &b.v, &b.o, &b.gate, &b.up, &b.down].iter().for_each(|p| add(&p.weight));
        }
        add(self.head.as_ref().unwrap_or(&self.embed));
        counts.sort_by_key(|c| (std::cmp::Reverse(c.1), c.0));
        counts
    }
}
