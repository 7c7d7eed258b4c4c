//! The traps of exchanging adapters and files, each by its own figure: what is written is read back by this program's own
//! readers, whose equality with transformers, peft and llama.cpp `tools/interop` shows.

use nurture::engine::{LoadOptions, Model};
use nurture::export::*;
use nurture::formats::{ModelFile, load_adapter, save_adapter};
use nurture::model::{Adapter, LoraSpec, PROJECTIONS, Projection};
use nurture::quantise::Mix;
use nurture_testing::{GEMMA3, SMOLLM2};
use std::path::Path;

fn model(file: &str) -> Option<Model> {
    let path = nurture_testing::model(file)?;
    Some(Model::load(&path, &LoadOptions { threads: 2, ..LoadOptions::default() }).unwrap())
}

fn load(path: &Path) -> Model {
    Model::load(path, &LoadOptions { threads: 2, ..LoadOptions::default() }).unwrap()
}

/// An adapter that changes something: other ranks and scales by projection.
fn adapter(model: &Model) -> Adapter {
    let c = model.decoder().config();
    let spec = LoraSpec { rank: 4, alpha: 8.0, rslora: true, targets: PROJECTIONS.to_vec() };
    let plain = Adapter::new(c, &spec, 3);
    let mut n = 0u32;
    let mut next = move || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (n >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    Adapter::build(c, |l, p| {
        let rank = if p == Projection::V { 8 } else { 4 };
        let scale = if p == Projection::Down { 0.5 } else { 8.0 / f64::from(rank as u32).sqrt() };
        let pair = plain.pair(l, p)?;
        let (d, rows) = (pair.a().len() / 4, pair.b().len() / 4);
        let a = (0..rank * d).map(|i| pair.a()[i % pair.a().len()]).collect();
        Some((rank, scale, a, (0..rows * rank).map(|_| next() * 0.02).collect()))
    })
}

/// rsLoRA's scale, differing alphas and ranks, the order of rows of queries and keys, a tied head: all in one adapter.
fn every_form_answers_as_the_trainer(file: &str) {
    let Some(model) = model(file) else { return };
    let (adapter, dir) = (adapter(&model), tempfile::tempdir().unwrap());
    let want = reference(&model, Some(&adapter), None).unwrap();
    let base = compare(&want, &model, None).unwrap();
    assert!(base.largest > 0.1, "the adapter changes nothing: {base:?}");

    let lora = dir.path().join("lora.gguf");
    write_gguf_lora(&model, &adapter, &lora).unwrap();
    let read = model.adapter(&lora).unwrap();
    let same = compare(&want, &model, Some(&read)).unwrap();
    assert!(same.largest < 1e-3 && same.same_tokens == same.tokens, "GGUF adapter: {same:?}");

    let peft = dir.path().join("peft");
    let config = peft_config(&adapter, None);
    assert!(!config.rank_pattern.is_empty() && !config.alpha_pattern.is_empty());
    save_adapter(&peft, &config, &adapter.tensors(), None).unwrap();
    load_adapter(&peft).unwrap();
    let same = compare(&want, &model, Some(&model.adapter(&peft).unwrap())).unwrap();
    assert!(same.largest < 1e-3 && same.same_tokens == same.tokens, "PEFT adapter: {same:?}");

    let merged = dir.path().join("merged.gguf");
    write_model(&model, Some(&adapter), Mix::F32, &merged).unwrap();
    let same = compare(&want, &load(&merged), None).unwrap();
    assert!(same.largest < 2e-3, "merged GGUF: {same:?}");

    let hf = dir.path().join("hf");
    std::fs::create_dir(&hf).unwrap();
    let options =
        HfOptions { dtype: nurture::kernels::DType::F32, dialect: ConfigDialect::V5, shard_bytes: 200 << 20 };
    write_hf(&model, Some(&adapter), options, &hf).unwrap();
    assert!(hf.join("model.safetensors.index.json").is_file());
    let folder = load(&hf);
    let same = compare(&want, &folder, None).unwrap();
    assert!(same.largest < 2e-3, "merged folder: {same:?}");

    // and back: the folder as a GGUF file, its tokenizer made from tokenizer.json
    let again = dir.path().join("again.gguf");
    let written = write_model(&folder, None, Mix::Q8_0, &again).unwrap();
    let back = load(&again);
    let same = compare(&want, &back, None).unwrap();
    assert!(written.error < 0.01 && same.mean < 0.1, "folder to Q8_0: {written:?} {same:?}");
    for text in ["Hello, world! 12345", "用一句话介绍北京。", "<|im_start|>user\n  x"] {
        for special in [false, true] {
            let tokens = |m: &Model| m.tokenizer().encode(text, special).unwrap();
            assert_eq!(tokens(&back), tokens(&model), "{text}");
        }
    }
    assert_eq!(back.tokenizer().stop_ids(), model.tokenizer().stop_ids());
}

#[test]
fn smollm2_in_every_form_answers_as_the_trainer() {
    every_form_answers_as_the_trainer(SMOLLM2);
}

#[test]
fn gemma_in_every_form_answers_as_the_trainer() {
    every_form_answers_as_the_trainer(GEMMA3);
}

#[test]
fn a_file_quantised_to_its_own_type_keeps_its_bytes() {
    let Some(path) = nurture_testing::model(SMOLLM2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let Ok(ModelFile::Gguf(file)) = ModelFile::open(&path) else { panic!() };
    let pool = nurture::kernels::Pool::new(2);
    let out = dir.path().join("same.gguf");
    let written = quantise(&pool, &file, Mix::Q4_1, &out).unwrap();
    assert_eq!((written.requantised, written.error), (0, 0.0), "{written:?}");
    let Ok(ModelFile::Gguf(back)) = ModelFile::open(&out) else { panic!() };
    for (key, value) in file.metadata().iter() {
        if !key.starts_with("general.file") && !key.starts_with("general.quant") {
            assert_eq!(back.metadata().get(key), Some(value), "{key}");
        }
    }
}
