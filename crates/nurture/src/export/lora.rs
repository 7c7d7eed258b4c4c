//! Adapters in GGUF's form, out and in.
//!
//! A reader of such a file scales by `alpha / rank` with one alpha a file and the rank of each pair, knows neither rsLoRA
//! nor patterns, and has the rows of queries and keys in the order of the base's file. So: the alpha of the first pair
//! stands in the file, what another pair's scale differs by goes into its B, and the rows of B follow the base.

use crate::engine::Model;
use crate::said;
use anyhow::{Result, bail};
use nurture_formats::{
    AdapterConfig, GgufFile, Metadata, TargetModules, TensorInfo, TensorSource, TensorSpec, Value, gguf,
};
use nurture_kernels::{DType, f16_to_f32};
use nurture_model::{Adapter, PROJECTIONS, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Writes an adapter for llama.cpp. Returns the bytes of its tensors.
///
/// # Errors
/// Magnitudes (DoRA), for which the format has no place; the disk.
pub fn write_gguf_lora(model: &Model, adapter: &Adapter, out: &Path) -> Result<u64> {
    if adapter.is_dora() {
        bail!(said!(
            "a GGUF adapter has no place for DoRA's magnitudes; export a merged model instead: --to gguf",
            "GGUF 适配器存不下 DoRA 的长度向量；请导出合并后的模型：--to gguf"
        ));
    }
    if !adapter.tokens().is_empty() {
        bail!(said!(
            "a GGUF adapter has no place for rows of tokens of its own; export a merged model instead: --to gguf",
            "GGUF 适配器存不下自有词元的行；请导出合并后的模型：--to gguf"
        ));
    }
    let names = model.decoder().gguf_parameters();
    let mut specs = Vec::new();
    let mut values = Vec::new();
    let mut alpha = None;
    for l in 0..model.decoder().config().layers {
        for p in PROJECTIONS {
            let Some(pair) = adapter.pair(l, p) else { continue };
            let Some(at) =
                names.iter().find(|n| n.parts.first().map(|part| part.0) == Some(Slot::Weight(l, p)))
            else {
                continue;
            };
            let rank = pair.rank();
            let own = f64::from(pair.scale()) * rank as f64;
            let alpha = *alpha.get_or_insert(own);
            // alpha 0 would mean "no scaling" to the reader
            let factor = if alpha == 0.0 { 0.0 } else { own / alpha };
            let (cols, rows) = (pair.a().len() / rank, pair.b().len() / rank);
            let b: Vec<f32> = (0..rows)
                .flat_map(|row| pair.b()[at.row(row) * rank..][..rank].to_vec())
                .map(|v| if factor == 1.0 { v } else { (f64::from(v) * factor) as f32 })
                .collect();
            specs.push(TensorSpec::new(format!("{}.lora_a", at.name), DType::F32, [rank, cols]));
            specs.push(TensorSpec::new(format!("{}.lora_b", at.name), DType::F32, [rows, rank]));
            values.extend([pair.a().to_vec(), b]);
        }
    }
    let mut meta = Metadata::new(out);
    for (key, value) in [
        ("general.type", "adapter"),
        ("general.architecture", model.decoder().config().family.name()),
        ("adapter.type", "lora"),
    ] {
        meta.set(key, Value::String(value.to_string()));
    }
    let alpha = alpha.filter(|a| *a != 0.0).unwrap_or(1.0);
    meta.set("adapter.lora.alpha", Value::F32(alpha as f32));
    meta.set("general.file_type", Value::U32(0));
    let mut writer = gguf::create(out, &meta, &specs)?;
    for (spec, values) in specs.iter().zip(&values) {
        writer.append_f32(&spec.name, values)?;
    }
    writer.finish()?;
    Ok(values.iter().map(|v| 4 * v.len() as u64).sum())
}

fn floats(file: &GgufFile, info: &TensorInfo) -> Result<Vec<f32>> {
    let mut bytes = vec![0u8; info.bytes as usize];
    file.read_into(info, 0, &mut bytes)?;
    let two = |f: fn([u8; 2]) -> f32| bytes.as_chunks::<2>().0.iter().map(|b| f(*b)).collect();
    let values: Vec<f32> = match info.dtype {
        DType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DType::F16 => two(f16_to_f32),
        DType::BF16 => two(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        other => {
            let (path, name) = (file.path().display(), &info.name);
            bail!(said!(
                "{path}: \"{name}\" is stored as {other}; adapters are read in F32, F16 and BF16",
                "{path}：\"{name}\" 以 {other} 存储；适配器只读 F32、F16、BF16"
            ))
        }
    };
    if values.iter().any(|v| !v.is_finite()) {
        let (path, name) = (file.path().display(), &info.name);
        bail!(said!(
            "{path}: \"{name}\" holds a value that is not finite",
            "{path}：\"{name}\" 含有非有限值"
        ));
    }
    Ok(values)
}

/// Reads an adapter in GGUF's form for this base.
///
/// # Errors
/// A file that is no LoRA adapter, one for another base, pairs without partner.
pub fn read_gguf_lora(model: &Model, path: &Path) -> Result<Adapter> {
    let file = GgufFile::open(path)?;
    let shown = path.display();
    let meta = file.metadata();
    let text = |key: &str| meta.find::<&str>(key).ok().flatten().unwrap_or("(none)").to_string();
    let (kind, lora) = (text("general.type"), text("adapter.type"));
    if kind != "adapter" || lora != "lora" {
        bail!(said!(
            "{shown} is no LoRA adapter (general.type {kind}, adapter.type {lora})",
            "{shown} 不是 LoRA 适配器（general.type 为 {kind}，adapter.type 为 {lora}）"
        ));
    }
    let (arch, family) = (text("general.architecture"), model.decoder().config().family.name());
    if arch != family {
        bail!(said!(
            "{shown} is an adapter for {arch}, the base is {family}",
            "{shown} 是 {arch} 的适配器，而基座是 {family}"
        ));
    }
    let alpha = f64::from(meta.f32("adapter.lora.alpha")?);
    if let Some((name, dtype)) = file.unsupported().min() {
        bail!(said!("{shown}: \"{name}\" is stored as {dtype}", "{shown}：\"{name}\" 以 {dtype} 存储"));
    }
    let names = model.decoder().gguf_parameters();
    let mut left: BTreeSet<&str> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    let mut pairs = BTreeMap::new();
    for at in &names {
        let [(Slot::Weight(l, p), _)] = at.parts[..] else { continue };
        let (a, b) = (format!("{}.lora_a", at.name), format!("{}.lora_b", at.name));
        let (Some(ia), Some(ib)) = (file.info(&a), file.info(&b)) else { continue };
        left.remove(a.as_str());
        left.remove(b.as_str());
        let rank = ia.shape.first().copied().unwrap_or(0);
        if rank == 0 || ia.shape[..] != [rank, at.shape[1]] || ib.shape[..] != [at.shape[0], rank] {
            let (sa, sb, name) = (&ia.shape, &ib.shape, &at.name);
            bail!(said!(
                "{shown}: the pair of {name} has shapes {sa:?} and {sb:?}, which do not fit this base",
                "{shown}：{name} 的一对矩阵形状为 {sa:?} 与 {sb:?}，与基座不符"
            ));
        }
        let stored = floats(&file, ib)?;
        let mut own = vec![0f32; stored.len()];
        for row in 0..at.shape[0] {
            own[at.row(row) * rank..][..rank].copy_from_slice(&stored[row * rank..][..rank]);
        }
        // alpha 0 means a factor of 1
        let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f64 };
        pairs.insert((l, p), (rank, scale, floats(&file, ia)?, own));
    }
    if let Some(name) = left.first() {
        bail!(said!(
            "{shown}: \"{name}\" has no partner or no place in this base",
            "{shown}：\"{name}\" 没有配对，或在基座里没有位置"
        ));
    }
    if pairs.is_empty() {
        bail!(said!("{shown}: holds no pair for this base", "{shown}：没有适合该基座的内容"));
    }
    Ok(Adapter::build(model.decoder().config(), |l, p| pairs.remove(&(l, p))))
}

/// PEFT's settings for an adapter whose own are not known: each pair's rank and scale, written as patterns where they differ.
pub fn peft_config(adapter: &Adapter, base: Option<String>) -> AdapterConfig {
    let mut config = AdapterConfig {
        base_model_name_or_path: base,
        use_dora: adapter.is_dora(),
        trainable_token_indices: adapter.tokens().ids().to_vec(),
        ..AdapterConfig::default()
    };
    let mut targets = BTreeSet::new();
    for (i, (module, pair)) in adapter.iter().enumerate() {
        let alpha = f64::from(pair.scale()) * pair.rank() as f64;
        if i == 0 {
            (config.r, config.lora_alpha) = (pair.rank(), alpha);
        }
        if pair.rank() != config.r {
            config.rank_pattern.insert(module.clone(), pair.rank());
        }
        if (alpha - config.lora_alpha).abs() > 1e-6 * config.lora_alpha.abs() {
            config.alpha_pattern.insert(module.clone(), alpha);
        }
        targets.insert(module.rsplit('.').next().unwrap_or_default().to_string());
    }
    config.target_modules = TargetModules::Names(targets.into_iter().collect());
    config
}
