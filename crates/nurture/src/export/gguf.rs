//! Tensors into a GGUF file, a few rows at a time: a file quantised as it is, or a network merged with what was taught to it.

use super::keys;
use crate::engine::Model;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_formats::{GgufFile, Metadata, TensorInfo, TensorSource, TensorSpec, gguf};
use nurture_kernels::{DType, Pool, Weight};
use nurture_model::{Adapter, families::GgufParameter};
use nurture_quantise::{Kind, Mix, TensorRole, encode};
use std::path::Path;
use std::sync::Mutex;

/// Values that are worked on at once.
const CHUNK: usize = 4 << 20;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// bytes of all tensors
    pub bytes: u64,
    /// types of the matrices, in the order of their first use, with their number
    pub types: Vec<(DType, usize)>,
    /// `√(Σ (x - x̂)² / Σ x²)` over all values whose type changed; 0 where none did
    pub error: f64,
    /// quantised tensors of the source that were decoded and encoded once more
    pub requantised: usize,
    /// sums behind `error`
    sums: (f64, f64),
}

impl Written {
    fn count(&mut self, spec: &TensorSpec) {
        self.bytes += spec.dtype.bytes_of(spec.shape.iter().product()).unwrap_or(0) as u64;
        if spec.shape.len() > 1 {
            match self.types.iter_mut().find(|t| t.0 == spec.dtype) {
                Some(t) => t.1 += 1,
                None => self.types.push((spec.dtype, 1)),
            }
        }
    }

    fn encode(&mut self, pool: &Pool, spec: &TensorSpec, values: &[f32]) -> Result<Vec<u8>> {
        let cols = spec.shape.last().copied().unwrap_or(1);
        let bytes = encode(pool, spec.dtype, cols, values).with_context(|| spec.name.clone())?;
        if spec.dtype != DType::F32 {
            let back = decode(pool, spec.dtype, cols, &bytes);
            for (a, b) in values.iter().zip(&back) {
                self.sums.0 += f64::from(a - b).powi(2);
                self.sums.1 += f64::from(*a).powi(2);
            }
            self.error = (self.sums.0 / self.sums.1.max(f64::MIN_POSITIVE)).sqrt();
        }
        Ok(bytes)
    }
}

/// Stored rows as floats.
fn decode(pool: &Pool, dtype: DType, cols: usize, raw: &[u8]) -> Vec<f32> {
    let row = dtype.bytes_of(cols).unwrap_or(0).max(1);
    let read = |first: usize, out: &mut [u8]| -> Result<(), std::convert::Infallible> {
        out.copy_from_slice(&raw[first * row..][..out.len()]);
        Ok(())
    };
    let weight = match Weight::read(pool, dtype, raw.len() / row, cols, read) {
        Ok(weight) => weight,
        Err(never) => match never {},
    };
    let mut out = vec![0f32; weight.rows() * cols];
    let rows: Vec<_> = out.chunks_mut(16 * cols).map(Mutex::new).collect();
    pool.run(rows.len(), |g| {
        let mut rows = rows[g].lock().unwrap_or_else(|e| e.into_inner());
        for (i, out) in rows.chunks_exact_mut(cols).enumerate() {
            weight.row_into(16 * g + i, out);
        }
    });
    out
}

/// Whether a tensor is left as it is: norms, biases, frequencies.
fn is_vector(info: &TensorInfo) -> bool {
    TensorRole::of(&info.name, &info.shape, 1, false).kind == Kind::Vector
}

/// Writes a GGUF file of another type from one of any architecture; all keys are carried over, tensors that have their type
/// already byte for byte.
///
/// # Errors
/// A file that is split or holds types that cannot be read; values that cannot be stored; the disk.
pub fn quantise(pool: &Pool, file: &GgufFile, mix: Mix, out: &Path) -> Result<Written> {
    let from = file.path().display();
    let meta = file.metadata();
    if meta.find::<u64>("split.count").unwrap_or(Some(2)).is_some_and(|n| n > 1) {
        bail!(said!(
            "{from} is one part of a split model; merge the parts first",
            "{from} 是分片模型的一部分；请先合并各分片"
        ));
    }
    if let Some((name, dtype)) = file.unsupported().min() {
        bail!(said!(
            "{from}: tensor \"{name}\" is stored as {dtype}, which cannot be read",
            "{from}：张量 \"{name}\" 以 {dtype} 存储，无法读取"
        ));
    }
    let tied = file.info("output.weight").is_none();
    let layers = meta.find::<usize>(&format!("{}.block_count", meta.str("general.architecture")?))?;
    let specs: Vec<TensorSpec> = file
        .tensors()
        .iter()
        .map(|t| {
            let dtype = match is_vector(t) {
                true => t.dtype,
                false => mix.dtype_of(TensorRole::of(&t.name, &t.shape, layers.unwrap_or(0), tied)),
            };
            TensorSpec::new(&t.name, dtype, t.shape.clone())
        })
        .collect();
    let mut writer = gguf::create(out, &keys::of_file(file, mix), &specs)?;
    let mut written = Written::default();
    for (info, spec) in file.tensors().iter().zip(&specs) {
        written.count(spec);
        let cols = info.shape.last().copied().unwrap_or(1).max(1);
        let row = info.dtype.bytes_of(cols).unwrap_or(0) as u64;
        let rows = info.len() / cols;
        let again = info.dtype != spec.dtype;
        written.requantised += usize::from(again && info.dtype.is_quantised());
        let step = (CHUNK / cols).max(1);
        for first in (0..rows).step_by(step) {
            let n = step.min(rows - first);
            let mut raw = vec![0u8; n * row as usize];
            file.read_into(info, first as u64 * row, &mut raw)?;
            if again {
                raw = written.encode(pool, spec, &decode(pool, info.dtype, cols, &raw))?;
            }
            writer.append(&info.name, &raw)?;
        }
    }
    writer.finish()?;
    Ok(written)
}

/// Writes a model, merged with `adapter`, as one GGUF file.
///
/// # Errors
/// A network or tokenizer that GGUF has no words for; values that cannot be stored; the disk.
pub fn write_model(model: &Model, adapter: Option<&Adapter>, mix: Mix, out: &Path) -> Result<Written> {
    let (decoder, pool) = (model.decoder(), model.cpu().pool());
    let list = decoder.gguf_parameters();
    let meta: Metadata = keys::of_model(model, mix)?;
    if !model.path().is_dir() {
        // what is in the base's file and not known here would be lost in silence
        let file = GgufFile::open(model.path())?;
        if let Some(lost) = file.tensors().iter().find(|t| list.iter().all(|p| p.name != t.name)) {
            let (path, name) = (model.path().display(), &lost.name);
            bail!(said!(
                "{path}: tensor \"{name}\" has no place in a merged file",
                "{path}：张量 \"{name}\" 在合并后的文件里没有位置"
            ));
        }
    }
    let layers = decoder.config().layers;
    let tied = decoder.tied();
    let spec = |p: &GgufParameter| {
        let role = TensorRole::of(&p.name, &p.shape, layers, tied);
        TensorSpec::new(&p.name, mix.dtype_of(role), p.shape.clone())
    };
    let specs: Vec<TensorSpec> = list.iter().map(spec).collect();
    let mut writer = gguf::create(out, &meta, &specs)?;
    let mut written = Written::default();
    for (p, spec) in list.iter().zip(&specs) {
        written.count(spec);
        if p.parts.is_empty() {
            writer.append_f32(&p.name, &decoder.gguf_rope_factors().unwrap_or_default())?;
            continue;
        }
        let cols = p.shape.last().copied().unwrap_or(1).max(1);
        for &(slot, rows) in &p.parts {
            if p.shape.len() == 1 {
                let mut values = vec![0f32; rows];
                decoder.merged_rows(pool, adapter, slot, 0, &mut values);
                let ordered: Vec<f32> = (0..values.len()).map(|i| values[p.row(i)]).collect();
                writer.append_f32(&p.name, &ordered)?;
                continue;
            }
            // whole heads at a time: the order of rows differs inside of a head only
            let head = p.neighbours.unwrap_or(1);
            let step = (CHUNK / cols).max(1).next_multiple_of(head);
            for first in (0..rows).step_by(step) {
                let n = step.min(rows - first);
                let mut values = vec![0f32; n * cols];
                decoder.merged_rows(pool, adapter, slot, first, &mut values);
                if p.neighbours.is_some() {
                    let rows = (first..first + n).map(|row| p.row(row) - first);
                    values = rows.flat_map(|row| values[row * cols..][..cols].to_vec()).collect();
                }
                writer.append(&p.name, &written.encode(pool, spec, &values)?)?;
            }
        }
    }
    writer.finish()?;
    Ok(written)
}
