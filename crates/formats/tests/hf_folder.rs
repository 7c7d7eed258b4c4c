//! Hugging Face folders: one file, shards, and everything that can be wrong with an index.

use std::collections::BTreeMap;
use std::path::Path;

use nurture_formats::{HfFolder, ModelFile, TensorSource, TensorSpec, safetensors};
use nurture_kernels::DType;

/// A file of one-value tensors, each holding the given number.
fn write(path: &Path, tensors: &[(&str, f32)]) {
    let specs: Vec<TensorSpec> =
        tensors.iter().map(|(name, _)| TensorSpec::new(*name, DType::F32, [1])).collect();
    let mut writer = safetensors::create(path, &BTreeMap::new(), &specs).unwrap();
    tensors.iter().for_each(|(name, x)| writer.append_f32(name, &[*x]).unwrap());
    writer.finish().unwrap();
}

fn value(source: &dyn TensorSource, name: &str) -> f32 {
    let mut buf = [0; 4];
    source.read_into(source.tensor(name).unwrap(), 0, &mut buf).unwrap();
    f32::from_le_bytes(buf)
}

fn sharded(index: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    write(&dir.path().join("model-1.safetensors"), &[("a", 1.0), ("b", 2.0)]);
    write(&dir.path().join("model-2.safetensors"), &[("c", 3.0)]);
    write(&dir.path().join("again.safetensors"), &[("c", 4.0)]);
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    dir
}

#[test]
fn one_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"hidden_size": 64}"#).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    write(&dir.path().join("model.safetensors"), &[("a", 1.0)]);
    let folder = HfFolder::open(dir.path()).unwrap();
    assert_eq!(folder.config()["hidden_size"], 64);
    assert_eq!(folder.tokenizer(), Some(dir.path().join("tokenizer.json")));
    assert_eq!(
        (folder.tokenizer_config(), folder.generation_config(), folder.chat_template()),
        (None, None, None)
    );
    assert_eq!(value(&folder, "a"), 1.0);
    assert!(matches!(ModelFile::open(dir.path()).unwrap(), ModelFile::Hf(_)));
}

#[test]
fn shards_are_read_through_their_index() {
    let index = r#"{"metadata": {"total_size": 12}, "weight_map": {"c": "model-2.safetensors", "a": "model-1.safetensors", "b": "model-1.safetensors"}}"#;
    let dir = sharded(index);
    let model = ModelFile::open(dir.path()).unwrap();
    assert_eq!(model.tensors().len(), 3);
    assert_eq!([value(&model, "a"), value(&model, "b"), value(&model, "c")], [1.0, 2.0, 3.0]);
    let mut foreign = model.tensor("a").unwrap().clone();
    foreign.file = 9;
    assert!(model.read_into(&foreign, 0, &mut [0; 4]).is_err());
}

#[test]
fn wrong_indexes_are_refused() {
    for (index, want) in [
        (r#"{"weight_map": {"a": "../model-1.safetensors"}}"#, "not a file of this folder"),
        (r#"{"weight_map": {"a": "/etc/x.safetensors"}}"#, "not a file of this folder"),
        (r#"{"weight_map": {"a": "..\\x.safetensors"}}"#, "not a file of this folder"),
        (r#"{"weight_map": {"a": "model.bin"}}"#, "not a file of this folder"),
        (r#"{"weight_map": {"a": "model-3.safetensors"}}"#, "model-3.safetensors: opening"),
        (r#"{"weight_map": {"a": "model-2.safetensors"}}"#, "weight_map.a"),
        (
            r#"{"weight_map": {"a": "model-1.safetensors", "c": "model-1.safetensors", "x": "model-2.safetensors"}}"#,
            "weight_map.c",
        ),
        (
            r#"{"weight_map": {"c": "model-2.safetensors", "d": "again.safetensors"}}"#,
            "\"c\" is in another file",
        ),
        (r#"{"weight_map": {"a": "model-1.safetensors", "a": "model-1.safetensors"}}"#, "stands twice"),
        (r#"{"metadata": {}}"#, "weight_map"),
        ("{\n\"weight_map\": 3}", "index.json: byte "),
    ] {
        let dir = sharded(index);
        let error = HfFolder::open(dir.path()).expect_err(index).to_string();
        assert!(error.contains(want), "{index}: {error}");
    }
}

#[test]
fn folders_that_are_no_models_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let open = || ModelFile::open(dir.path()).unwrap_err().to_string();
    assert!(open().contains("no config.json"));
    std::fs::write(dir.path().join("adapter_config.json"), "{}").unwrap();
    assert!(open().contains("holds an adapter"));
    std::fs::write(dir.path().join("config.json"), "{\"a\": tru}").unwrap();
    assert!(open().contains("config.json: byte 9: JSON"), "{}", open());
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert!(open().contains("no weights"));
    std::fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    assert!(open().contains("pytorch_model.bin"));
    let alone = dir.path().join("x.safetensors");
    write(&alone, &[("a", 1.0)]);
    assert!(ModelFile::open(&alone).unwrap_err().to_string().contains("give the folder"));
    assert!(ModelFile::open(dir.path().join("none.gguf")).is_err());
}
