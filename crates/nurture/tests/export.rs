//! The traps of exchanging adapters and files, each by its own figure: what is written is read back by this program's own
//! readers, whose equality with transformers, peft and llama.cpp `tools/interop` shows.

use nurture::engine::{LoadOptions, Model};
use nurture::export::*;
use nurture::formats::{Metadata, ModelFile, TensorSpec, Value, gguf, load_adapter, save_adapter};
use nurture::kernels::DType;
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
    std::fs::remove_file(&merged).unwrap(); // a gigabyte for Gemma: not to lie beside the next one

    let hf = dir.path().join("hf");
    std::fs::create_dir(&hf).unwrap();
    let options = HfOptions { dtype: DType::F32, dialect: ConfigDialect::V5, shard_bytes: 200 << 20 };
    write_hf(&model, Some(&adapter), options, &hf).unwrap();
    assert!(hf.join("model.safetensors.index.json").is_file());
    let folder = load(&hf);
    let same = compare(&want, &folder, None).unwrap();
    assert!(same.largest < 2e-3, "merged folder: {same:?}");

    // and back: the folder as a GGUF file, its tokenizer made from tokenizer.json, its makers' sampling carried along
    let generation = hf.join("generation_config.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&generation).unwrap_or(b"{}".to_vec())).unwrap();
    (json["temperature"], json["top_k"], json["top_p"]) = (0.25.into(), 40.into(), 0.5.into());
    json["repetition_penalty"] = 1.5.into();
    std::fs::write(&generation, json.to_string()).unwrap();
    let again = dir.path().join("again.gguf");
    let written = write_model(&folder, None, Mix::Q8_0, &again).unwrap();
    let back = load(&again);
    let same = compare(&want, &back, None).unwrap();
    assert!(written.error < 0.01 && same.mean < 0.1, "folder to Q8_0: {written:?} {same:?}");
    drop(folder);
    std::fs::remove_dir_all(&hf).unwrap();
    for text in ["Hello, world! 12345", "用一句话介绍北京。", "<|im_start|>user\n  x"] {
        for special in [false, true] {
            let tokens = |m: &Model| m.tokenizer().encode(text, special).unwrap();
            assert_eq!(tokens(&back), tokens(&model), "{text}");
        }
    }
    assert_eq!(back.tokenizer().stop_ids(), model.tokenizer().stop_ids());
    let Ok(ModelFile::Gguf(file)) = ModelFile::open(&again) else { panic!() };
    let number = |key: &str| file.metadata().f32(&format!("general.sampling.{key}")).unwrap();
    assert_eq!([number("temp"), number("top_p"), number("penalty_repeat")], [0.25, 0.5, 1.5]);
    assert_eq!(file.metadata().find::<usize>("general.sampling.top_k").unwrap(), Some(40));
    // and from file to file
    let third = dir.path().join("third.gguf");
    write_model(&back, None, Mix::Q8_0, &third).unwrap();
    let Ok(ModelFile::Gguf(file)) = ModelFile::open(&third) else { panic!() };
    assert_eq!(file.metadata().f32("general.sampling.temp").unwrap(), 0.25);
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

/// DoRA's magnitudes have no place in a GGUF adapter: it is refused with the way out named and nothing left behind; the ways
/// that are named answer as the trainer.
#[test]
fn dora_is_refused_as_a_gguf_adapter_and_merged_instead() {
    let Some(model) = model(SMOLLM2) else { return };
    let dir = tempfile::tempdir().unwrap();
    // the rows' own lengths, then some of them longer: what the pairs alone would not do
    let born = adapter(&model).with_magnitudes(model.cpu(), model.decoder(), |_, _| None);
    let mut lengths: Vec<Vec<f32>> = born.magnitudes().map(|(_, m)| m.values().to_vec()).collect();
    lengths.reverse();
    let dora = adapter(&model).with_magnitudes(model.cpu(), model.decoder(), |_, _| {
        let own = lengths.pop()?;
        Some(own.iter().enumerate().map(|(i, v)| v * (1.0 + (i % 5) as f32 * 0.02)).collect())
    });
    assert!(dora.is_dora());
    let lora = dir.path().join("lora.gguf");
    let why = write_gguf_lora(&model, &dora, &lora).unwrap_err().to_string();
    assert!(why.contains("DoRA") && why.contains("--to gguf") && !lora.exists(), "{why}");

    let peft = dir.path().join("peft");
    save_adapter(&peft, &peft_config(&dora, None), &dora.tensors(), None).unwrap();
    let want = reference(&model, Some(&dora), None).unwrap();
    let read = model.adapter(&peft).unwrap();
    let same = compare(&want, &model, Some(&read)).unwrap();
    assert!(read.is_dora() && same.largest < 1e-3, "PEFT adapter: {same:?}");
    let merged = dir.path().join("merged.gguf");
    write_model(&model, Some(&dora), Mix::F32, &merged).unwrap();
    let same = compare(&want, &load(&merged), None).unwrap();
    assert!(same.largest < 5e-3, "merged GGUF: {same:?}");

    // and by the binary: one error, and no folder
    let out = dir.path().join("out");
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_nurture"))
        .args(["export", "--to", "gguf-lora", "--lang", "en", "--adapter"])
        .args([&peft, model.path(), &out])
        .output()
        .unwrap();
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{err}");
    assert!(err.contains("DoRA") && err.contains("--to gguf") && !out.exists(), "{err}");
}

/// Adapters of other programs: alpha 0 is a factor of 1, the rank is that of B, differing ranks stand in one file; half a pair, a
/// tensor without a place, another family and another shape are refused by name.
#[test]
fn gguf_adapters_from_elsewhere_with_their_traps() {
    let Some(model) = model(SMOLLM2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let c = model.decoder().config();
    let (d, q, ffn) = (c.width, c.heads * c.head_dim, c.ffn);
    let file = |arch: &str, alpha: f32, tensors: &[(&str, [usize; 2])]| {
        let path = dir.path().join("a.gguf");
        let mut meta = Metadata::new(&path);
        for (key, value) in
            [("general.type", "adapter"), ("general.architecture", arch), ("adapter.type", "lora")]
        {
            meta.set(key, Value::String(value.into()));
        }
        meta.set("adapter.lora.alpha", Value::F32(alpha));
        let specs: Vec<_> = tensors.iter().map(|(n, s)| TensorSpec::new(*n, DType::F32, *s)).collect();
        let mut writer = gguf::create(&path, &meta, &specs).unwrap();
        for (name, shape) in tensors {
            writer.append_f32(name, &vec![0.01; shape[0] * shape[1]]).unwrap();
        }
        writer.finish().unwrap();
        model.adapter(&path)
    };
    let pair = [("blk.0.attn_q.weight.lora_a", [4, d]), ("blk.0.attn_q.weight.lora_b", [q, 4])];
    let up = [("blk.1.ffn_up.weight.lora_a", [2, d]), ("blk.1.ffn_up.weight.lora_b", [ffn, 2])];
    let both = file("llama", 8.0, &[pair, up].concat()).unwrap();
    let scale = |a: &Adapter, l, p| a.pair(l, p).unwrap().scale();
    assert_eq!([scale(&both, 0, Projection::Q), scale(&both, 1, Projection::Up)], [2.0, 4.0]);
    assert_eq!(scale(&file("llama", 0.0, &pair).unwrap(), 0, Projection::Q), 1.0);
    let refused = |arch: &str, tensors: &[(&str, [usize; 2])], want: &str| {
        let why = file(arch, 8.0, tensors).unwrap_err();
        assert!(format!("{why:#}").contains(want), "{want}: {why:#}");
    };
    refused("llama", &pair[..1], "attn_q.weight.lora_a");
    refused(
        "llama",
        &[pair, [("blk.99.attn_q.weight.lora_a", [4, d]), ("blk.99.attn_q.weight.lora_b", [q, 4])]].concat(),
        "blk.99",
    );
    refused("gemma3", &pair, "gemma3");
    refused("llama", &[pair[0], (pair[1].0, [q, 3])], "attn_q");
}
