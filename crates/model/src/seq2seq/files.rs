//! An encoder-decoder's folder: read as other tools write it, and written so that they read it.

use super::config::{Seq2SeqConfig, Seq2SeqFamily};
use super::layout::layout;
use super::{Held, Seq2Seq};
use crate::adapter::floats;
use crate::error::ModelError;
use nurture_formats::{HfFolder, TensorSource, TensorSpec, safetensors};
use nurture_kernels::{DType, Pool, Weight};
use std::collections::BTreeMap;
use std::path::Path;

const HEAD: &str = "lm_head.weight";
const LOGITS_BIAS: &str = "final_logits_bias";

impl Seq2Seq {
    /// Reads a Hugging Face folder of a T5 or Marian model.
    ///
    /// # Errors
    /// Another family; a tensor that is missing, of another shape or type, or not finite.
    pub fn load(folder: &HfFolder, pool: &Pool) -> Result<Seq2Seq, ModelError> {
        let path = folder.path();
        let mut config = Seq2SeqConfig::read(path, folder.config())?;
        // newer files may call the embeddings tied where they hold a head of its own; in a tied T5 of 2019 it is the embedding
        if folder.info(HEAD).is_some() && config.family == Seq2SeqFamily::T5 && config.head_scale == 1.0 {
            config.tied = false;
        }
        let (parameters, _) = layout(&config);
        let mut held = Vec::with_capacity(parameters.len());
        for p in &parameters {
            let info = folder.tensor(&p.name)?;
            if info.shape != p.shape {
                return Err(ModelError::Shape {
                    file: path.to_path_buf(),
                    tensor: p.name.clone(),
                    found: info.shape.clone(),
                    wanted: p.shape.clone(),
                });
            }
            if !p.is_matrix() {
                held.push(Held::Vector(floats(folder, info, path)?));
                continue;
            }
            let (rows, cols) = (p.shape[0], p.shape[1]);
            if !matches!(info.dtype, DType::F32 | DType::F16 | DType::BF16) {
                let problem = format!("stored as {}; F32, F16 or BF16 is expected", info.dtype);
                return Err(ModelError::Config { file: path.to_path_buf(), key: p.name.clone(), problem });
            }
            let row_bytes = (cols * info.dtype.block_bytes()) as u64;
            let weight = Weight::read(pool, info.dtype, rows, cols, |first, out| {
                folder.read_into(info, first as u64 * row_bytes, out)
            })?;
            if let Some(row) = weight.first_row_not_finite(pool) {
                let (file, tensor) = (path.to_path_buf(), p.name.clone());
                return Err(ModelError::NotFinite { file, tensor, row });
            }
            held.push(Held::Matrix(weight));
        }
        let bias = match folder.info(LOGITS_BIAS) {
            None => None,
            Some(info) => {
                let bias = floats(folder, info, path)?;
                if bias.len() != config.target_vocab {
                    return Err(ModelError::Shape {
                        file: path.to_path_buf(),
                        tensor: LOGITS_BIAS.to_string(),
                        found: info.shape.clone(),
                        wanted: vec![1, config.target_vocab],
                    });
                }
                // mostly zeros: nothing to add then
                Some(bias).filter(|b| b.iter().any(|v| *v != 0.0))
            }
        };
        Ok(Seq2Seq::assemble(config, held, bias))
    }

    /// The same from a path.
    ///
    /// # Errors
    /// As [`Seq2Seq::load`]; a path that is no folder of a model.
    pub fn open(path: impl AsRef<Path>, pool: &Pool) -> Result<Seq2Seq, ModelError> {
        Seq2Seq::load(&HfFolder::open(path)?, pool)
    }

    /// Writes `model.safetensors`, in F32; `config.json` is [`Seq2SeqConfig::to_json`].
    ///
    /// # Errors
    /// The disk.
    pub fn save_weights(&self, path: &Path) -> Result<(), ModelError> {
        let mut specs: Vec<TensorSpec> =
            self.parameters.iter().map(|p| TensorSpec::new(&p.name, DType::F32, p.shape.clone())).collect();
        let marian = self.config.family == Seq2SeqFamily::Marian;
        if marian {
            specs.push(TensorSpec::new(LOGITS_BIAS, DType::F32, vec![1, self.config.target_vocab]));
        }
        let mut writer = safetensors::create(path, &BTreeMap::new(), &specs)?;
        for (p, held) in self.parameters.iter().zip(&self.held) {
            match held {
                Held::Vector(v) => writer.append_f32(&p.name, v)?,
                Held::Matrix(w) => {
                    let mut row = vec![0f32; w.cols()];
                    for r in 0..w.rows() {
                        w.row_into(r, &mut row);
                        writer.append_f32(&p.name, &row)?;
                    }
                }
            }
        }
        if marian {
            let zeros = vec![0f32; self.config.target_vocab];
            writer.append_f32(LOGITS_BIAS, self.logits_bias.as_deref().unwrap_or(&zeros))?;
        }
        Ok(writer.finish()?)
    }
}
