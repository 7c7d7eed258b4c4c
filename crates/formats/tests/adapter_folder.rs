//! PEFT adapter folders: saved whole, replaced safely, loaded with every tensor accounted for.

use std::path::Path;

use nurture_formats::{AdapterConfig, TargetModules, TensorSource, load_adapter, lora_names, save_adapter};
use serde_json::json;

fn config() -> AdapterConfig {
    AdapterConfig {
        base_model_name_or_path: Some("tiny".into()),
        r: 2,
        lora_alpha: 4.0,
        target_modules: TargetModules::Names(vec!["q_proj".into(), "v_proj".into()]),
        ..AdapterConfig::default()
    }
}

const Q: &str = "model.layers.0.self_attn.q_proj";

/// A of [2, 3] and B of [4, 2], filled from `start`.
fn save(dir: &Path, start: f32, extra: Option<&serde_json::Value>) {
    let a: Vec<f32> = (0..6).map(|i| start + i as f32).collect();
    let b: Vec<f32> = (0..8).map(|i| -start - i as f32).collect();
    let (a_name, b_name) = lora_names(Q);
    save_adapter(dir, &config(), &[(b_name, vec![4, 2], &b), (a_name, vec![2, 3], &a)], extra).unwrap();
}

fn first_of_a(dir: &Path) -> f32 {
    let adapter = load_adapter(dir).unwrap();
    let mut buf = [0; 4];
    let pairs = adapter.pairs().unwrap();
    adapter.weights.read_into(&pairs[0].a, 0, &mut buf).unwrap();
    f32::from_le_bytes(buf)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_adapter_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("runs/one/adapter");
    let extra = json!({"base_sha256": "00ff", "template": "{{ messages }}"});
    save(&dir, 1.0, Some(&extra));
    assert_eq!(names(&dir), ["adapter_config.json", "adapter_model.safetensors", "nurture.json"]);
    assert_eq!(names(dir.parent().unwrap()), ["adapter"]);
    let adapter = load_adapter(&dir).unwrap();
    assert_eq!(adapter.config, config());
    assert_eq!(adapter.extra, Some(extra));
    let pairs = adapter.pairs().unwrap();
    assert_eq!(pairs.len(), 1);
    assert_eq!((pairs[0].module.as_str(), pairs[0].rank, pairs[0].scale), (Q, 2, 2.0));
    assert_eq!((&pairs[0].a.shape[..], &pairs[0].b.shape[..]), (&[2, 3][..], &[4, 2][..]));
    assert_eq!(first_of_a(&dir), 1.0);
}

#[test]
fn equal_adapters_have_equal_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    save(&one, 1.0, None);
    save(&two, 1.0, None);
    assert_eq!(names(&one), ["adapter_config.json", "adapter_model.safetensors"]);
    for name in names(&one) {
        assert_eq!(std::fs::read(one.join(&name)).unwrap(), std::fs::read(two.join(&name)).unwrap());
    }
}

#[test]
fn a_new_adapter_replaces_the_old_one_and_leaves_nothing_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("adapter");
    save(&dir, 1.0, Some(&json!({"a": 1})));
    save(&dir, 7.0, None);
    assert_eq!(first_of_a(&dir), 7.0);
    assert_eq!(load_adapter(&dir).unwrap().extra, None);
    assert_eq!(names(root.path()), ["adapter"]);
}

#[test]
fn killed_between_the_two_renames_the_old_adapter_still_loads() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("adapter");
    save(&dir, 1.0, None);
    std::fs::rename(&dir, root.path().join(".adapter.previous")).unwrap();
    assert_eq!(first_of_a(&dir), 1.0);
    save(&dir, 2.0, None);
    assert_eq!(first_of_a(&dir), 2.0);
    assert_eq!(names(root.path()), ["adapter"]);
}

#[test]
fn folders_with_other_things_in_them_are_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("adapter");
    save(&dir, 1.0, None);
    std::fs::write(dir.join("README.md"), "mine").unwrap();
    let error = save_adapter(&dir, &config(), &[], None).unwrap_err().to_string();
    assert!(error.contains("README.md"), "{error}");
    assert_eq!(first_of_a(&dir), 1.0);
    assert_eq!(names(root.path()), ["adapter"]);
}

#[test]
fn a_failed_save_keeps_the_old_adapter() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("adapter");
    save(&dir, 1.0, None);
    let wrong: &[f32] = &[1.0];
    assert!(save_adapter(&dir, &config(), &[("t".into(), vec![2], wrong)], None).is_err());
    assert_eq!(first_of_a(&dir), 1.0);
    assert_eq!(names(root.path()), ["adapter"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let root = tempfile::tempdir().unwrap();
    let zeros = [0.0f32; 64];
    let (a, b) = lora_names(Q);
    for (tensors, want) in [
        (vec![(a.clone(), vec![2, 3])], "its other factor is missing"),
        (vec![(b.clone(), vec![3, 2])], "its other factor is missing"),
        (vec![(a.clone(), vec![2, 3]), (b.clone(), vec![4, 3])], "are not [rank, in] and [out, rank]"),
        (vec![(a.clone(), vec![6]), (b.clone(), vec![4, 2])], "are not [rank, in] and [out, rank]"),
        (
            vec![(a.clone(), vec![3, 3]), (b.clone(), vec![4, 3])],
            "its rank is 3, but adapter_config.json says 2",
        ),
        (vec![("base_model.model.lm_head.weight".to_string(), vec![2, 2])], "not a LoRA factor"),
        // LoRA of an embedding, a whole embedding beside it, an adapter's name left in the tensors' names
        (
            vec![("base_model.model.model.embed_tokens.lora_embedding_A".to_string(), vec![2, 3])],
            "not a LoRA factor",
        ),
        (
            vec![("base_model.model.model.embed_tokens.base_layer.weight".to_string(), vec![2, 2])],
            "not a LoRA factor",
        ),
        (vec![(a.replace("lora_A.", "lora_A.default."), vec![2, 3])], "not a LoRA factor"),
        (
            vec![(format!("{}_magnitude_vector", a.trim_end_matches("_A.weight")), vec![2])],
            "not a LoRA factor",
        ),
    ] {
        let dir = root.path().join("adapter");
        let tensors: Vec<_> = tensors
            .into_iter()
            .map(|(name, shape): (String, Vec<usize>)| {
                let n = shape.iter().product();
                (name, shape, &zeros[..n])
            })
            .collect();
        save_adapter(&dir, &config(), &tensors, None).unwrap();
        let error = load_adapter(&dir).unwrap().pairs().unwrap_err().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn folders_that_are_no_adapters_say_so() {
    let root = tempfile::tempdir().unwrap();
    let open = || load_adapter(root.path()).unwrap_err().to_string();
    assert!(open().contains("no adapter_config.json"));
    std::fs::write(root.path().join("adapter_config.json"), "[]").unwrap();
    assert!(open().contains("not an object"));
    std::fs::write(root.path().join("adapter_config.json"), r#"{"peft_type":"LORA","target_modules":["q"]}"#)
        .unwrap();
    assert!(open().contains("adapter_model.safetensors: opening"), "{}", open());
    std::fs::write(root.path().join("adapter_model.bin"), "").unwrap();
    assert!(open().contains("adapter_model.bin"));
    assert!(load_adapter(root.path().join("nowhere")).is_err());
}
