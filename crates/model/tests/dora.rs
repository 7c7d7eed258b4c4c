//! DoRA against PEFT (`tools/goldens/dora.py`): logits, loss, the gradient of A, B and the magnitudes; and that a newborn
//! one changes nothing.

mod common;

use common::{close, floats};
use nurture_formats::{ModelFile, SafetensorsFile, adapter::load_adapter};
use nurture_model::*;
use std::path::{Path, PathBuf};

fn folder(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(part)
}

fn rows(json: &serde_json::Value, key: &str) -> Vec<Vec<u32>> {
    serde_json::from_value(json[key].clone()).unwrap()
}

fn golden(path: &Path) -> (TrainBatch, Vec<Vec<u32>>, f64) {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut batch = TrainBatch::default();
    for (ids, mask) in rows(&json, "ids").iter().zip(rows(&json, "mask")) {
        let trained: Vec<bool> = mask.iter().map(|&m| m != 0).collect();
        batch.push(ids, &trained, 1.0);
    }
    (batch, rows(&json, "ids"), json["loss_sum"].as_f64().unwrap())
}

#[test]
fn logits_loss_and_every_gradient_equal_peft() {
    let cpu = Cpu::new(2);
    for family in ["llama", "qwen2"] {
        let model = Decoder::load(&ModelFile::open(folder(family)).unwrap(), cpu.pool()).unwrap();
        let dir = folder("dora").join(family);
        let want = SafetensorsFile::open(dir.join("golden.safetensors")).unwrap();
        let saved = load_adapter(&dir).unwrap();
        assert!(Adapter::load(model.config(), &saved).is_err(), "read without the base's weights");
        let adapter = Adapter::load_for(&cpu, &model, &saved).unwrap();
        assert!(adapter.is_dora());
        let (batch, ids, loss_sum) = golden(&dir.join("golden_lora.json"));
        let vocab = model.config().vocab;
        for (i, ids) in ids.iter().enumerate() {
            // tokens one by one, as in a chat, after a first part
            let mut cache = KvCache::new(model.config(), ids.len());
            let mut got = vec![0f32; ids.len() * vocab];
            let mut at = 0;
            for step in std::iter::once(7).chain(std::iter::repeat_n(1, ids.len() - 7)) {
                let mut batch = Batch::default();
                batch.push(&ids[at..at + step], at, vec![(0, at + step)], 0);
                let mut buffers = Buffers::new();
                let x = model
                    .forward(&cpu, Mode::Exact, Some(&adapter), &batch, &mut cache, &mut buffers)
                    .unwrap();
                model.logits(&cpu, Some(&adapter), Mode::Exact, x, &mut got[at * vocab..(at + step) * vocab]);
                at += step;
            }
            close(&got, &floats(&want, &format!("logits.{i}")), 2e-5, &format!("{family}: logits {i}"));
        }
        let mut grads = AdapterGrads::zeros(&adapter);
        let losses = model.train(&cpu, &adapter, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
        let sum: f64 = losses.iter().map(|&l| l as f64).sum();
        assert!((sum - loss_sum).abs() < 1e-5 * loss_sum, "{family}: loss {sum}, want {loss_sum}");
        let grad = |name: String| floats(&want, &format!("grad.base_model.model.{name}"));
        for ((module, _), (da, db)) in adapter.iter().zip(grads.iter()) {
            for (got, letter) in [(da, "A"), (db, "B")] {
                let name = format!("{module}.lora_{letter}.weight");
                close(got, &grad(name.clone()), 1e-4, &format!("{family}: {name}"));
            }
        }
        let mut seen = 0;
        for ((module, _), dm) in adapter.magnitudes().zip(grads.magnitudes()) {
            let name = format!("{module}.lora_magnitude_vector");
            close(dm, &grad(name.clone()), 1e-4, &format!("{family}: {name}"));
            seen += 1;
        }
        assert_eq!(seen, 7 * model.config().layers);
        // computing blocks again changes no bit
        let mut again = AdapterGrads::zeros(&adapter);
        model.train(&cpu, &adapter, &batch, &mut TrainBuffers::recomputing(), &mut again).unwrap();
        assert!(again.magnitudes().eq(grads.magnitudes()) && again.iter().eq(grads.iter()));
    }
}

#[test]
fn a_newborn_one_changes_nothing() {
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(folder("qwen2")).unwrap(), cpu.pool()).unwrap();
    let spec = LoraSpec { rank: 4, alpha: 8.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let adapter = Adapter::new(model.config(), &spec, 3).with_magnitudes(&cpu, &model, |_, _| None);
    let (batch, ..) = golden(&folder("dora/qwen2/golden_lora.json"));
    let mut buffers = TrainBuffers::default();
    let with = model.losses(&cpu, Some(&adapter), &batch, &mut buffers).unwrap();
    let without = model.losses(&cpu, None, &batch, &mut buffers).unwrap();
    close(&with, &without, 1e-6, "losses");
    assert_eq!(adapter.tensors().len(), model.config().layers * 21, "A, B and the magnitudes");
}
