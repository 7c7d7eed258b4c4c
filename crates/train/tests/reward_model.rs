//! A reward model: rewards, losses and gradients equal those of TRL's own loss code on the same batch
//! (`tools/goldens/reward.py`), the adapter's folder is PEFT's, and a run that was killed ends with the same bytes.

mod common;

use common::{close, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_formats::{SafetensorsFile, TensorSource, load_adapter};
use nurture_model::{Adapter, Cpu};
use nurture_train::*;
use serde_json::{Map, Value};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

/// Better and worse answers of each row, in turn.
fn golden_pairs(json: &Value) -> Vec<TokenExample> {
    let read = |v: &Value| -> Vec<u32> { serde_json::from_value(v.clone()).unwrap() };
    let one = |prompt: &Value, answer: &Value| {
        let (prompt, answer) = (read(prompt), read(answer));
        let trained = (0..prompt.len() + answer.len()).map(|i| i >= prompt.len()).collect();
        TokenExample { id: String::new(), source: 0, tokens: [prompt, answer].concat(), trained }
    };
    let rows = json["rows"].as_array().unwrap();
    rows.iter().flat_map(|r| [one(&r["prompt"], &r["chosen"]), one(&r["prompt"], &r["rejected"])]).collect()
}

fn ranking(center: f64) -> TrainConfig {
    let preference = Preference { method: PreferenceMethod::Reward, center, ..Preference::default() };
    TrainConfig { micro_tokens: 512, preference: Some(preference), ..TrainConfig::default() }
}

#[test]
fn losses_rewards_and_gradients_equal_trl() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let json: Value = serde_json::from_slice(&std::fs::read(goldens().join("reward.json")).unwrap()).unwrap();
    let file = SafetensorsFile::open(goldens().join("reward.safetensors")).unwrap();
    // as PEFT saved it, head and all
    let adapter = Adapter::load(model.config(), &load_adapter(goldens().join("reward")).unwrap()).unwrap();
    let head = adapter.score().unwrap().to_vec();
    let examples = golden_pairs(&json);
    let lessons = Lessons { examples: examples.clone(), ..Lessons::default() };
    for case in json["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let config = ranking(case["center"].as_f64().unwrap());
        config.check().unwrap();
        let whole = vec![(0..examples.len()).collect::<Vec<_>>()];
        let parts: Vec<Vec<usize>> = (0..examples.len() / 2).map(|i| vec![2 * i, 2 * i + 1]).collect();
        for packs in [whole, parts] {
            let mut learner = Learner::with_head(&cpu, &model, adapter.clone(), head.clone());
            let all: Vec<&TokenExample> = examples.iter().collect();
            let worth = learner.read(&config, &all, Reads::Ends).unwrap();
            let want: Vec<[f64; 2]> = serde_json::from_value(case["rewards"].clone()).unwrap();
            for (got, want) in worth.iter().zip(want.iter().flatten()) {
                assert!(got.len() == 1 && (f64::from(got[0]) - want).abs() < 2e-5, "{name}: {got:?} {want}");
            }
            let update = learner.prefer(&config, 1, 1e-3, &packs, &lessons, &[]).unwrap();
            let want = case["value"].as_f64().unwrap();
            assert!((update.loss - want).abs() < 2e-5 * want, "{name}: {}, by TRL {want}", update.loss);
            let got = update.preferred.unwrap();
            assert!((got.accuracies - case["accuracy"].as_f64().unwrap()).abs() < 1e-6);
            assert!((got.margins - case["margin"].as_f64().unwrap()).abs() < 1e-5);
            let golden = |tensor: String| -> Vec<f32> {
                let info = file.tensor(&tensor).unwrap();
                let mut bytes = vec![0; info.bytes as usize];
                file.read_into(info, 0, &mut bytes).unwrap();
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            };
            let mut seen = 0;
            for ((module, _), (da, db)) in adapter.iter().zip(learner.gradients().iter()) {
                for (got, letter) in [(da, "A"), (db, "B")] {
                    let tensor = format!("{name}/base_model.model.{module}.lora_{letter}.weight");
                    close(got, &golden(tensor.clone()), 5e-5, &tensor);
                    seen += 1;
                }
            }
            assert_eq!(seen, 2 * 7 * model.config().layers);
            let (after, gradient) = learner.head().unwrap();
            close(gradient, &golden(format!("{name}/base_model.model.score.weight")), 5e-5, "score");
            assert!(after.iter().zip(&head).all(|(a, b)| a != b), "the head learns too");
        }
    }
}

/// Pairs behind prompts of their own; the better answer of each holds token 7, the worse one token 8.
fn pairs(count: u32) -> Vec<TokenExample> {
    let one = |n: u32, mark: u32| {
        let prompt: Vec<u32> = (0..6).map(|i| 20 + (n * 13 + i * 7) % 100).collect();
        let answer = [130 + n % 5, mark, 140 + n % 3, 2];
        let trained = (0..prompt.len() + answer.len()).map(|i| i >= prompt.len()).collect();
        TokenExample {
            id: format!("{n}.{mark}"),
            source: 0,
            tokens: [&prompt[..], &answer].concat(),
            trained,
        }
    };
    (0..count).flat_map(|n| [one(n, 7), one(n, 8)]).collect()
}

fn practice() -> TrainConfig {
    TrainConfig { length: RunLength::Steps(24), batch: 4, rate: 5e-3, checkpoint_every: 5, ..ranking(0.01) }
}

#[test]
fn it_learns_to_tell_pairs_apart_that_it_never_saw_and_resumes_to_the_same_bytes() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let dir = tempfile::tempdir().unwrap();
    let save = |trainer: &Trainer<'_>, to: &Path| {
        trainer.save_adapter(to, None, Map::new()).unwrap();
        std::fs::read(to.join("adapter_model.safetensors")).unwrap()
    };
    let mut whole =
        Trainer::new(&cpu, &model, lora(), practice(), pairs(24), &files(dir.path().join("whole"))).unwrap();
    let mut curve = Vec::new();
    whole
        .run(|m| {
            curve.push(m.preferred.unwrap().accuracies);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(curve[0], 0.0, "worth nothing yet, and no pair told apart");
    let bytes = save(&whole, &dir.path().join("adapter"));
    // broken off in the middle, and gone on with one thread
    let place = files(dir.path().join("torn"));
    let mut torn = Trainer::new(&cpu, &model, lora(), practice(), pairs(24), &place).unwrap();
    torn.run(|m| if m.step == 13 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }).unwrap();
    drop(torn);
    let (one, alone);
    one = Cpu::new(1);
    alone = tiny(&one);
    let mut torn = Trainer::resume(&one, &alone, lora(), practice(), pairs(24), &place).unwrap();
    assert_eq!(torn.steps_done(), 13);
    torn.run(|_| ControlFlow::Continue(())).unwrap();
    assert!(bytes == save(&torn, &dir.path().join("torn-adapter")));
    // what was saved judges pairs that were held out
    let file = load_adapter(dir.path().join("adapter")).unwrap();
    assert_eq!(file.config.task_type.as_deref(), Some("SEQ_CLS"));
    assert!(file.config.scores());
    let adapter = Adapter::load(model.config(), &file).unwrap();
    let head = adapter.score().unwrap().to_vec();
    let mut judge = Learner::with_head(&cpu, &model, adapter, head);
    let held = pairs(40).split_off(48);
    let held: Vec<&TokenExample> = held.iter().collect();
    let worth = judge.read(&practice(), &held, Reads::Ends).unwrap();
    let right = worth.chunks(2).filter(|p| p[0][0] > p[1][0]).count();
    assert!(right >= 15, "{right} of 16");
    if let Ok(folder) = std::env::var("NURTURE_WRITE_REWARD") {
        // for `tools/goldens/reward.py --check`
        let json: Value =
            serde_json::from_slice(&std::fs::read(goldens().join("reward.json")).unwrap()).unwrap();
        let rows = golden_pairs(&json);
        let worth = judge.read(&practice(), &rows.iter().collect::<Vec<_>>(), Reads::Ends).unwrap();
        let worth: Vec<[f32; 2]> = worth.chunks(2).map(|p| [p[0][0], p[1][0]]).collect();
        save(&whole, &Path::new(&folder).join("adapter"));
        std::fs::write(Path::new(&folder).join("rows.json"), serde_json::to_vec(&worth).unwrap()).unwrap();
    }
}

#[test]
fn its_forecast_counts_no_vocabulary() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let of = |config: &TrainConfig| forecast(model.config(), lora(), config, &pairs(24), 0, 2).unwrap();
    let reward = of(&practice());
    let simpo = Preference { method: PreferenceMethod::Simpo, ..Preference::default() };
    let likely = of(&TrainConfig { preference: Some(simpo), ..practice() });
    let head = 4.0 * (model.config().vocab * model.config().width) as f64;
    let spared = (likely.flop - reward.flop) / head;
    // each pair's answers: the first two tokens of one are predicted from rows of their own, and so are the other's
    assert!(spared.fract() == 0.0 && spared > 24.0 * 4.0 * 6.0, "{spared} rows of logits");
    let logits = |f: &Forecast| f.memory.iter().find(|row| row.name == "logits").map_or(0, |row| row.bytes);
    assert!(logits(&reward) == 4 * model.config().vocab as u64 && logits(&likely) > 8 * logits(&reward));
    assert!(reward.memory.iter().any(|row| row.name == "states that are read"));
    assert_eq!(reward.tokens, likely.tokens);
}
