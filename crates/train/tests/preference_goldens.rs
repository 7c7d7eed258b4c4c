//! Losses, rewards and gradients of every preference equal those of TRL's own loss code on the same batch
//! (`tools/goldens/preference.py`).

mod common;

use common::{close, tiny};
use nurture_data::TokenExample;
use nurture_formats::{SafetensorsFile, TensorSource, load_adapter};
use nurture_model::{Adapter, Cpu};
use nurture_train::*;
use serde_json::Value;
use std::path::Path;

fn sequence(prompt: &Value, answer: &Value) -> TokenExample {
    let read = |v: &Value| -> Vec<u32> { serde_json::from_value(v.clone()).unwrap() };
    let (prompt, answer) = (read(prompt), read(answer));
    let trained = (0..prompt.len() + answer.len()).map(|i| i >= prompt.len()).collect();
    TokenExample { id: String::new(), source: 0, tokens: [prompt, answer].concat(), trained }
}

#[test]
fn losses_rewards_and_gradients_equal_trl() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let json: Value = serde_json::from_slice(&std::fs::read(here.join("preference.json")).unwrap()).unwrap();
    let file = SafetensorsFile::open(here.join("preference.safetensors")).unwrap();
    let folder = here.join("../../../model/tests/goldens/qwen3/lora");
    let adapter = Adapter::load(model.config(), &load_adapter(folder).unwrap()).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let examples: Vec<TokenExample> = rows
        .iter()
        .flat_map(|r| [sequence(&r["prompt"], &r["chosen"]), sequence(&r["prompt"], &r["rejected"])])
        .collect();
    let cases = json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str, absent: f64| case[key].as_f64().unwrap_or(absent);
        let method: PreferenceMethod = serde_json::from_value(case["method"].clone()).unwrap();
        let preference = Preference {
            method,
            loss: case.get("loss").map_or(DpoLoss::Sigmoid, |l| serde_json::from_value(l.clone()).unwrap()),
            beta: number("beta", 0.0),
            label_smoothing: number("label_smoothing", 0.0),
            gamma: number("gamma", 1.0),
            sft: 0.0,
            desirable: number("desirable", 1.0),
            undesirable: number("undesirable", 1.0),
            center: 0.0,
        };
        let config =
            TrainConfig { micro_tokens: 512, preference: Some(preference), ..TrainConfig::default() };
        config.check().unwrap();
        let judged = match method {
            PreferenceMethod::Kto => (0..examples.len()).map(|i| i % 2 == 0).collect(),
            _ => Vec::new(),
        };
        let lessons = Lessons { examples: examples.clone(), judged, keep: Vec::new() };
        // all at once, and a pair at a time
        let whole = vec![(0..examples.len()).collect::<Vec<_>>()];
        let parts: Vec<Vec<usize>> = (0..examples.len() / 2).map(|i| vec![2 * i, 2 * i + 1]).collect();
        for packs in [whole, parts] {
            let mut learner = Learner::new(&cpu, &model, adapter.clone());
            let update = learner.prefer(&config, 1, 1e-3, &packs, &lessons, &[]).unwrap();
            let want = number("value", f64::NAN);
            assert!((update.loss - want).abs() < 2e-5 * want, "{name}: {}, by TRL {want}", update.loss);
            let got = update.preferred.unwrap();
            let reward = |key: &str| case["rewards"][key].as_f64();
            for (key, got) in [
                ("chosen", got.chosen),
                ("rejected", got.rejected),
                ("margins", got.margins),
                ("accuracies", got.accuracies),
                ("kl", got.kl.unwrap_or(f64::NAN)),
            ] {
                let Some(want) = reward(key) else { continue };
                assert!(
                    (got - want).abs() < 1e-4 * want.abs().max(1.0),
                    "{name}, {key}: {got}, by TRL {want}"
                );
            }
            let mut seen = 0;
            for ((module, _), (da, db)) in adapter.iter().zip(learner.gradients().iter()) {
                for (got, letter) in [(da, "A"), (db, "B")] {
                    let tensor = format!("{name}/base_model.model.{module}.lora_{letter}.weight");
                    let info = file.tensor(&tensor).unwrap();
                    let mut bytes = vec![0; info.bytes as usize];
                    file.read_into(info, 0, &mut bytes).unwrap();
                    let want: Vec<f32> =
                        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                    close(got, &want, 5e-5, &tensor);
                    seen += 1;
                }
            }
            assert_eq!(seen, 2 * 7 * model.config().layers);
        }
    }
}
