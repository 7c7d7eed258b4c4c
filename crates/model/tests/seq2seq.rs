//! Encoder-decoders against transformers (`tools/goldens/tiny_seq2seq.py`): logits, losses and the gradient of every parameter;
//! steps of decoding against the whole pass; what is saved is what is read; hostile configurations.

mod common;

use common::{close, floats};
use nurture_formats::{HfFolder, SafetensorsFile};
use nurture_model::seq2seq::*;
use nurture_model::{Cpu, ModelError, Softening};
use std::path::{Path, PathBuf};

const MODELS: [&str; 3] = ["t5", "t5_gated", "marian"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

struct Golden {
    sources: Vec<Vec<u32>>,
    targets: Vec<Vec<u32>>,
    losses: Vec<f64>,
    tensors: SafetensorsFile,
}

fn golden(name: &str) -> Golden {
    let text = std::fs::read(folder(name).join("golden.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let of = |key: &str| serde_json::from_value(json[key].clone()).unwrap();
    Golden {
        sources: of("sources"),
        targets: of("targets"),
        losses: serde_json::from_value(json["losses"].clone()).unwrap(),
        tensors: SafetensorsFile::open(folder(name).join("golden.safetensors")).unwrap(),
    }
}

fn batch(g: &Golden, start: u32) -> PairBatch {
    let mut batch = PairBatch::default();
    g.sources.iter().zip(&g.targets).for_each(|(s, t)| batch.push(s, t, start));
    batch
}

fn open(name: &str, cpu: &Cpu) -> Seq2Seq {
    Seq2Seq::open(folder(name), cpu.pool()).unwrap()
}

#[test]
fn logits_and_losses_equal_transformers() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let (g, net) = (golden(name), open(name, &cpu));
        let all = batch(&g, net.config().start);
        let (logits, losses) = (net.logits(&cpu, &all).unwrap(), net.losses(&cpu, &all).unwrap());
        let (vocab, mut at) = (net.config().target_vocab, 0);
        for (i, target) in g.targets.iter().enumerate() {
            let rows = at..at + target.len();
            let got = &logits[rows.start * vocab..rows.end * vocab];
            let what = format!("{name}: logits of pair {i}");
            close(got, &floats(&g.tensors, &format!("logits.{i}")), 2e-5, &what);
            let loss: f64 = losses[rows].iter().map(|&l| f64::from(l)).sum();
            assert!(
                (loss - g.losses[i]).abs() < 2e-5 * g.losses[i],
                "{name} {i}: {loss}, not {}",
                g.losses[i]
            );
            let mut alone = PairBatch::default();
            alone.push(&g.sources[i], target, net.config().start);
            assert!(net.logits(&cpu, &alone).unwrap() == got, "{what}: the pairs beside it changed bits");
            at += target.len();
        }
    }
}

#[test]
fn the_gradient_of_every_parameter_equals_pytorch() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let (g, net) = (golden(name), open(name, &cpu));
        let net = net.to_trainable(cpu.pool());
        let (all, none) = (batch(&g, net.config().start), Softening::default());
        let mut grads = Seq2SeqGrads::zeros(&net);
        net.train(&cpu, &all, 1.0, none, &mut grads).unwrap();
        // a copy whose values are the gradients, written out by name
        let mut copy = net.clone();
        for (i, g) in grads.iter().enumerate() {
            copy.floats_mut(i).unwrap().copy_from_slice(g);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grads.safetensors");
        copy.save_weights(&path).unwrap();
        let got = SafetensorsFile::open(&path).unwrap();
        for p in net.parameters() {
            let want = floats(&g.tensors, &format!("grad.{}", p.name));
            let (have, what) = (floats(&got, &p.name), format!("{name}: gradient of {}", p.name));
            // a bias of keys moves all scores of a query alike: its gradient is zero but for rounding
            match want.iter().all(|w| w.abs() < 1e-9) {
                true => assert!(have.iter().all(|g| g.abs() < 1e-5), "{what} is not zero"),
                false => close(&have, &want, 1e-4, &what),
            }
        }
        // one pair a pass is the same sum
        let mut apart = Seq2SeqGrads::zeros(&net);
        for (s, t) in g.sources.iter().zip(&g.targets) {
            let mut one = PairBatch::default();
            one.push(s, t, net.config().start);
            net.train(&cpu, &one, 1.0, none, &mut apart).unwrap();
        }
        for ((a, b), p) in apart.iter().zip(grads.iter()).zip(net.parameters()) {
            if b.iter().all(|g| g.abs() < 1e-5) {
                continue;
            }
            close(a, b, 2e-5, &format!("{name}: gradient of {} in parts", p.name));
        }
        let threads = Cpu::new(1);
        let mut single = Seq2SeqGrads::zeros(&net);
        net.train(&threads, &all, 1.0, none, &mut single).unwrap();
        assert!(single.iter().zip(grads.iter()).all(|(a, b)| a == b), "{name}: threads changed bits");
    }
}

#[test]
fn steps_of_decoding_give_the_bits_of_the_whole_pass() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let (g, net) = (golden(name), open(name, &cpu));
        let (start, vocab) = (net.config().start, net.config().target_vocab);
        let whole = net.logits(&cpu, &batch(&g, start)).unwrap();
        let sources: Vec<&[u32]> = g.sources.iter().map(|s| &s[..]).collect();
        let mut decoding = net.read(&cpu, &sources).unwrap();
        let mut written: Vec<Hypothesis> = (0..sources.len()).map(Hypothesis::of).collect();
        let longest = g.targets.iter().map(Vec::len).max().unwrap();
        for step in 0..longest {
            let alive: Vec<usize> = (0..sources.len()).filter(|&i| g.targets[i].len() > step).collect();
            let mut some: Vec<Hypothesis> = alive.iter().map(|&i| written[i].clone()).collect();
            let before = |&i: &usize| if step == 0 { start } else { g.targets[i][step - 1] };
            let tokens: Vec<u32> = alive.iter().map(before).collect();
            let logits = decoding.write(&cpu, &mut some, &tokens).unwrap();
            for ((&i, row), now) in alive.iter().zip(logits.chunks_exact(vocab)).zip(some) {
                let at = g.targets[..i].iter().map(Vec::len).sum::<usize>() + step;
                assert!(row == &whole[at * vocab..(at + 1) * vocab], "{name}: pair {i}, step {step}");
                written[i] = now;
            }
        }
    }
}

#[test]
fn what_is_saved_is_what_is_read() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let (g, net) = (golden(name), open(name, &cpu));
        let dir = tempfile::tempdir().unwrap();
        net.save_weights(&dir.path().join("model.safetensors")).unwrap();
        std::fs::write(dir.path().join("config.json"), net.config().to_json().to_string()).unwrap();
        let again = Seq2Seq::open(dir.path(), cpu.pool()).unwrap();
        assert_eq!(again.config(), net.config());
        let all = batch(&g, net.config().start);
        assert!(again.logits(&cpu, &all).unwrap() == net.logits(&cpu, &all).unwrap(), "{name}");
        assert_eq!(net.size(), net.parameters().iter().map(|p| p.count() as u64).sum::<u64>());
    }
}

#[test]
fn a_newborn_is_a_function_of_its_seed_and_guesses_evenly() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let config = open(name, &cpu).config().clone();
        let net = Seq2Seq::newborn(config.clone(), 3).unwrap();
        let same = Seq2Seq::newborn(config.clone(), 3).unwrap();
        let other = Seq2Seq::newborn(config.clone(), 4).unwrap();
        let all = batch(&golden(name), config.start);
        let of = |net: &Seq2Seq| net.losses(&cpu, &all).unwrap();
        assert!(of(&net) == of(&same) && of(&net) != of(&other), "{name}");
        let losses = of(&net);
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let even = (config.target_vocab as f32).ln();
        assert!((mean - even).abs() < 1.5, "{name}: {mean}, even is {even}");
    }
}

#[test]
fn what_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cpu = Cpu::new(1);
    std::fs::copy(folder("t5").join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let text = std::fs::read_to_string(folder("t5").join("config.json")).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| -> String {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut json);
        std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
        let folder = HfFolder::open(dir.path()).unwrap();
        Seq2Seq::load(&folder, cpu.pool()).unwrap_err().to_string()
    };
    for (key, value, word) in [
        ("model_type", serde_json::json!("llama"), "not supported"),
        ("d_model", serde_json::json!(null), "d_model"),
        ("d_model", serde_json::json!(64), "shape"),
        ("d_kv", serde_json::json!(0), "d_kv"),
        ("num_heads", serde_json::json!(u64::MAX), "num_heads"),
        ("num_layers", serde_json::json!(1e9), "num_layers"),
        ("num_layers", serde_json::json!(7), "encoder.block.2"),
        ("num_decoder_layers", serde_json::json!(1u64 << 23), "num_decoder_layers"),
        ("relative_attention_num_buckets", serde_json::json!(2), "num_buckets"),
        ("relative_attention_max_distance", serde_json::json!(1), "max_distance"),
        ("relative_attention_max_distance", serde_json::json!(1u64 << 40), "max_distance"),
        ("feed_forward_proj", serde_json::json!("gated-mish"), "mish"),
        ("eos_token_id", serde_json::json!(48), "eos_token_id"),
        ("layer_norm_epsilon", serde_json::json!(-1.0), "layer_norm_epsilon"),
    ] {
        let problem = refused(&|json| json[key] = value.clone());
        assert!(problem.contains(word), "{key} = {value}: {problem}");
    }
    let net = open("marian", &cpu);
    let mut beyond = PairBatch::default();
    beyond.push(&[3, 40], &[4], 0);
    assert!(matches!(net.losses(&cpu, &beyond), Err(ModelError::Token { token: 40, vocab: 40, .. })));
    let mut long = PairBatch::default();
    long.push(&[3; 65], &[4], 0);
    assert!(matches!(net.losses(&cpu, &long), Err(ModelError::Position { position: 64, known: 64 })));
}
