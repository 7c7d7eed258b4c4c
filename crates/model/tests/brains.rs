//! GPT-2 and a mixture of experts against transformers: logits, losses, the balancing term and the gradient of every
//! parameter (`tools/goldens/tiny_brains.py`). Forms that no published family has: gradients against differences of losses,
//! and what is saved is what is read.

mod common;

use common::{close, floats};
use nurture_formats::{ModelFile, SafetensorsFile, TensorSource};
use nurture_model::*;
use std::path::{Path, PathBuf};

const BRAINS: [&str; 2] = ["gpt2", "qwen3_moe"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

struct Golden {
    ids: Vec<Vec<u32>>,
    trained: Vec<Vec<bool>>,
    json: serde_json::Value,
}

fn golden(name: &str) -> Golden {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap();
    let rows = |key: &str| -> Vec<Vec<u64>> { serde_json::from_value(json[key].clone()).unwrap() };
    Golden {
        ids: rows("ids").iter().map(|r| r.iter().map(|&x| x as u32).collect()).collect(),
        trained: rows("mask").iter().map(|r| r.iter().map(|&x| x != 0).collect()).collect(),
        json,
    }
}

fn whole_batch(g: &Golden) -> TrainBatch {
    let mut batch = TrainBatch::default();
    g.ids.iter().zip(&g.trained).for_each(|(ids, trained)| batch.push(ids, trained, 1.0));
    batch
}

fn load(path: &Path, cpu: &Cpu) -> Decoder {
    Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap()
}

fn logits(cpu: &Cpu, mode: Mode, model: &Decoder, ids: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut batch = Batch::default();
    let mut cache = KvCache::new(model.config(), 64);
    let mut row = 5; // anywhere
    for (i, ids) in ids.iter().enumerate() {
        batch.push(ids, 0, vec![(row, ids.len())], i);
        row += ids.len() + 2;
    }
    let mut buffers = Buffers::new();
    let x = model.forward(cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap();
    let vocab = model.config().vocab;
    let mut out = vec![0f32; batch.len() * vocab];
    model.logits(cpu, None, mode, x, &mut out);
    batch.spans.iter().map(|s| out[s.row * vocab..(s.row + s.len) * vocab].to_vec()).collect()
}

/// A copy of a network whose parameters are these numbers: gradients, to be read by name and in the order of files.
fn filled(model: &Decoder, grads: &ModelGrads) -> Decoder {
    let mut copy = model.clone();
    for (p, g) in grads.iter() {
        copy.floats_mut(p.slot).unwrap().copy_from_slice(g);
    }
    copy
}

fn gradients(cpu: &Cpu, model: &Decoder, g: &Golden, buffers: &mut TrainBuffers) -> (Vec<f32>, Decoder) {
    let free = model.to_trainable(cpu.pool(), &Freeze::default());
    let mut grads = ModelGrads::zeros(free.trainable(&Freeze::default()));
    let losses = free.train_full(cpu, model, &whole_batch(g), buffers, &mut grads).unwrap();
    (losses, filled(&free, &grads))
}

fn values(cpu: &Cpu, model: &Decoder) -> Vec<(String, Vec<f32>)> {
    let one = |t: &families::HfTensor| {
        let mut all = Vec::new();
        let put = |v: &[f32]| {
            all.extend_from_slice(v);
            Ok::<(), ()>(())
        };
        model.hf_values(cpu.pool(), None, t, 100, put).unwrap();
        assert_eq!(all.len(), t.shape.iter().product::<usize>(), "{}", t.name);
        (t.name.clone(), all)
    };
    model.hf_tensors().iter().map(one).collect()
}

#[test]
fn logits_equal_transformers() {
    let cpu = Cpu::new(2);
    for name in BRAINS {
        let (g, model) = (golden(name), load(&folder(name), &cpu));
        let want = SafetensorsFile::open(folder(name).join("golden.safetensors")).unwrap();
        let got = logits(&cpu, Mode::Exact, &model, &g.ids);
        for (i, got) in got.iter().enumerate() {
            close(
                got,
                &floats(&want, &format!("logits.{i}")),
                2e-5,
                &format!("{name}: logits of sequence {i}"),
            );
        }
        let alone = logits(&cpu, Mode::Exact, &model, &g.ids[1..]);
        assert!(alone[0] == got[1], "{name}: the sequence beside it changed bits");
        // weights are floats here: the fast mode is the exact one
        assert!(logits(&cpu, Mode::Fast, &model, &g.ids) == got, "{name}");
    }
}

#[test]
fn the_gradient_of_every_parameter_equals_pytorch() {
    let cpu = Cpu::new(2);
    for name in BRAINS {
        let (g, model) = (golden(name), load(&folder(name), &cpu));
        let want = SafetensorsFile::open(folder(name).join("golden.safetensors")).unwrap();
        let mut buffers = TrainBuffers::default();
        let (losses, grads) = gradients(&cpu, &model, &g, &mut buffers);
        let sum: f64 = losses.iter().map(|&l| l as f64).sum();
        let wanted = g.json["loss_sum"].as_f64().unwrap();
        assert!((sum - wanted).abs() < 1e-5 * wanted, "{name}: loss {sum}, want {wanted}");
        match g.json["balance"].as_f64() {
            None => assert_eq!(buffers.balance(), None, "{name}"),
            Some(want) => assert!((buffers.balance().unwrap() - want).abs() < 1e-5, "{name}: {want}"),
        }
        let got = values(&cpu, &grads);
        for (tensor, got) in &got {
            close(got, &floats(&want, &format!("grad.{tensor}")), 1e-4, &format!("{name}: {tensor}"));
        }
        let all = want.tensors().iter().filter(|t| t.name.starts_with("grad.")).count();
        assert_eq!(got.len(), all, "{name}: gradients compared");

        // computing blocks again changes no bit, nor do threads
        for (threads, recompute) in [(2, true), (1, false), (3, true)] {
            let cpu = Cpu::new(threads);
            let mut buffers = if recompute { TrainBuffers::recomputing() } else { TrainBuffers::default() };
            let (again, grads) = gradients(&cpu, &model, &g, &mut buffers);
            assert!(again == losses && values(&cpu, &grads) == got, "{name}: {threads} threads, {recompute}");
        }
    }
}

#[test]
fn a_network_that_was_saved_is_the_network() {
    let cpu = Cpu::new(2);
    for name in BRAINS {
        let (g, model) = (golden(name), load(&folder(name), &cpu));
        let dir = tempfile::tempdir().unwrap();
        let again = saved(&cpu, &model, dir.path());
        assert_eq!(again.config(), model.config(), "{name}");
        assert!(
            logits(&cpu, Mode::Exact, &again, &g.ids) == logits(&cpu, Mode::Exact, &model, &g.ids),
            "{name}"
        );
        let names = |path: &Path| -> Vec<(String, Vec<usize>)> {
            let file = SafetensorsFile::open(path.join("model.safetensors")).unwrap();
            let mut all: Vec<_> = file.tensors().iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
            all.sort();
            all
        };
        assert_eq!(names(dir.path()), names(&folder(name)), "{name}: names and shapes of transformers");
        let (key, arch) = &model.gguf_keys().unwrap()[0];
        assert_eq!(key, "general.architecture", "{name}");
        assert_eq!(format!("{arch:?}"), format!("String({:?})", name.replace('_', "")), "{name}");
    }
}

fn saved(cpu: &Cpu, model: &Decoder, dir: &Path) -> Decoder {
    model.write_safetensors(dir.join("model.safetensors")).unwrap();
    let config = model.hf_config(Default::default()).unwrap();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    load(dir, cpu)
}

#[test]
fn names_without_their_beginning_are_read_too() {
    let cpu = Cpu::new(1);
    let dir = tempfile::tempdir().unwrap();
    let from = std::fs::read(folder("gpt2").join("model.safetensors")).unwrap();
    // the names stand in the header, whose length stands before it
    let size = u64::from_le_bytes(from[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&from[8..8 + size]).unwrap().replace("\"transformer.", "\"");
    let header = header.trim_end().to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(&from[8 + size..]);
    std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    std::fs::copy(folder("gpt2").join("config.json"), dir.path().join("config.json")).unwrap();
    let (bare, full) = (load(dir.path(), &cpu), load(&folder("gpt2"), &cpu));
    let ids = golden("gpt2").ids;
    assert!(logits(&cpu, Mode::Exact, &bare, &ids) == logits(&cpu, Mode::Exact, &full, &ids));
}

#[test]
fn steps_with_a_cache_give_the_bits_of_one_pass() {
    let cpu = Cpu::new(2);
    for name in BRAINS {
        let (g, model) = (golden(name), load(&folder(name), &cpu));
        let (ids, vocab) = (&g.ids[0], model.config().vocab);
        let whole = logits(&cpu, Mode::Exact, &model, &g.ids[..1]).remove(0);
        let mut cache = KvCache::new(model.config(), ids.len());
        let mut buffers = Buffers::new();
        let mut at = 0;
        for step in [7, 1, 1, 5, 1, 8] {
            let mut batch = Batch::default();
            batch.push(&ids[at..at + step], at, vec![(0, at + step)], 0);
            let x = model.forward(&cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
            let mut out = vec![0f32; step * vocab];
            model.logits(&cpu, None, Mode::Exact, x, &mut out);
            assert!(out == whole[at * vocab..(at + step) * vocab], "{name}: tokens {at}..{}", at + step);
            at += step;
        }
        assert_eq!(at, ids.len());
    }
}

#[test]
fn a_position_that_has_no_vector_is_refused() {
    let cpu = Cpu::new(1);
    let model = load(&folder("gpt2"), &cpu);
    let mut batch = Batch::default();
    batch.push(&[1, 2], 63, vec![(0, 65)], 0);
    let mut cache = KvCache::new(model.config(), 70);
    let e = model.forward(&cpu, Mode::Exact, None, &batch, &mut cache, &mut Buffers::new()).unwrap_err();
    assert!(e.to_string().contains("position 64 is beyond the 64 positions"), "{e}");
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let cpu = Cpu::new(1);
    let refused = |name: &str, from: &str, to: &str| -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(folder(name).join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let text = std::fs::read_to_string(folder(name).join("config.json")).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(dir.path().join("config.json"), text.replace(from, to)).unwrap();
        Decoder::load(&ModelFile::open(dir.path()).unwrap(), cpu.pool()).unwrap_err().to_string()
    };
    for (name, from, to, said) in [
        ("gpt2", "\"gelu_new\"", "\"relu\"", "gelu_new"),
        ("gpt2", "\"n_head\": 4", "\"n_head\": 0", "heads"),
        ("gpt2", "\"n_positions\": 64", "\"n_positions\": 99", "wpe"),
        ("gpt2", "\"n_inner\": 72", "\"n_inner\": 70", "c_fc"),
        ("gpt2", "\"n_embd\": 32", "\"n_embd\": 18446744073709551615", "width"),
        ("qwen3_moe", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 6", "experts"),
        ("qwen3_moe", "\"num_local_experts\": 5", "\"num_local_experts\": 900000000000", "experts"),
        ("qwen3_moe", "\"num_local_experts\": 5", "\"num_local_experts\": 6", "experts.5.gate_proj"),
        ("qwen3_moe", "\"moe_intermediate_size\": 24", "\"moe_intermediate_size\": 0", "experts"),
        ("qwen3_moe", "\"decoder_sparse_step\": 1", "\"decoder_sparse_step\": 2", "blocks without experts"),
        ("qwen3_moe", "\"qwen3_moe\"", "\"nurture\"", "norm"),
    ] {
        let e = refused(name, from, to);
        assert!(e.contains(said), "{name}: {to}: {e}");
    }
}

/// Combinations that are no family.
fn forms() -> Vec<(&'static str, Shape)> {
    let plain = Shape {
        vocab: 90,
        layers: 2,
        width: 32,
        heads: 4,
        kv_heads: 2,
        ffn: 48,
        context: 40,
        ..Shape::default()
    };
    let form = |form: Form| Shape { form, ..plain };
    vec![
        ("layer norms", form(Form { norm: NormKind::Layer, ..Form::LLAMA })),
        ("sines", form(Form { positions: Positions::Sinusoidal, scaled: true, ..Form::GPT2 })),
        ("no positions", form(Form { positions: Positions::None, ..Form::GEMMA3 })),
        ("learned", form(Form { positions: Positions::Learned, norm: NormKind::Layer, ..Form::GEMMA3 })),
        ("no gate", form(Form { mlp: MlpKind::Plain, ..Form::QWEN3 })),
        ("windows", Shape { window: Some(5), global_every: 2, ..plain }),
        ("experts", {
            let experts = Experts { count: 3, active: 2, ffn: 16, normalise: false, balance: 0.1 };
            Shape { experts: Some(experts), ..form(Form::GEMMA3) }
        }),
    ]
}

fn lesson() -> TrainBatch {
    let mut batch = TrainBatch::default();
    for (n, seed) in [(13u32, 7u32), (9, 5)] {
        let ids: Vec<u32> = (0..n).map(|i| (i * i * seed + 3 * i + seed) % 90).collect();
        batch.push(&ids, &vec![true; ids.len()], 1.0);
    }
    batch
}

#[test]
fn free_forms_are_read_as_they_were_saved_and_their_gradients_are_the_slopes_of_their_losses() {
    let cpu = Cpu::new(2);
    for (what, shape) in forms() {
        shape.check().unwrap();
        assert_eq!(shape.family(), Family::Own, "{what}");
        let mut model = Decoder::newborn(&shape, false, 3);
        // far from the even beginning, so that every part counts
        let list = model.parameter_list();
        for (i, p) in list.iter().enumerate() {
            let mut x = i as u32 + 1;
            let values = model.floats_mut(p.slot).unwrap().iter_mut();
            // padding is zero and stays so
            values.filter(|v| **v != 0.0 || !p.is_matrix()).for_each(|v| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (x >> 8) as f32 / (1 << 24) as f32 - 0.5;
                *v = *v * 2.0 + noise * if p.is_hidden_matrix() { 0.2 } else { 1.0 };
            });
        }
        let dir = tempfile::tempdir().unwrap();
        let again = saved(&cpu, &model, dir.path());
        assert_eq!(again.config(), model.config(), "{what}");
        let ids = vec![(0..20).map(|i| i * 4).collect::<Vec<u32>>()];
        assert!(logits(&cpu, Mode::Exact, &again, &ids) == logits(&cpu, Mode::Exact, &model, &ids), "{what}");

        let batch = lesson();
        let weight = batch.losses.len() as f64;
        let balance = shape.experts.map_or(0.0, |e| f64::from(e.balance));
        let loss = |model: &Decoder| -> f64 {
            let mut grads = ModelGrads::zeros(model.trainable(&Freeze::default()));
            let mut buffers = TrainBuffers::default();
            let losses = model.train_full(&cpu, model, &batch, &mut buffers, &mut grads).unwrap();
            let whole: f64 = losses.iter().map(|&l| f64::from(l)).sum();
            whole + weight * balance * buffers.balance().unwrap_or(0.0)
        };
        let mut grads = ModelGrads::zeros(model.trainable(&Freeze::default()));
        model.train_full(&cpu, &model, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
        assert_eq!(grads.len(), list.len(), "{what}");
        for (p, g) in grads.iter() {
            // along the gradient itself the slope is its length
            let length = g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            assert!(length > 1e-6, "{what}: {} has no gradient", p.name);
            let h = 5e-4;
            let moved = |by: f64| {
                let mut model = model.clone();
                let values = model.floats_mut(p.slot).unwrap().iter_mut().zip(g);
                values.for_each(|(v, g)| *v += (by * f64::from(*g) / length) as f32);
                loss(&model)
            };
            let slope = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
            // losses are float32 sums of about a hundred
            let off = (slope - length).abs();
            assert!(off < 0.02 * length + 0.05, "{what}: {}: slope {slope}, gradient {length}", p.name);
        }
    }
}

#[test]
fn an_adapter_has_pairs_where_the_network_has_projections() {
    let cpu = Cpu::new(1);
    let spec = LoraSpec { rank: 2, alpha: 4.0, rslora: false, targets: PROJECTIONS.to_vec() };
    for (what, shape) in forms() {
        let model = Decoder::newborn(&shape, true, 3);
        let adapter = Adapter::new(model.config(), &spec, 5);
        let pairs =
            if shape.experts.is_some() { 4 } else { 7 - usize::from(shape.form.mlp == MlpKind::Plain) };
        assert_eq!(adapter.iter().count(), 2 * pairs, "{what}");
        assert_eq!(adapter.parameters(), spec.parameters(model.config()), "{what}");
        let mut grads = AdapterGrads::zeros(&adapter);
        model.train(&cpu, &adapter, &lesson(), &mut TrainBuffers::default(), &mut grads).unwrap();
        // A is not yet seen, B is
        for (da, db) in grads.iter() {
            assert!(da.iter().all(|v| *v == 0.0) && db.iter().any(|v| *v != 0.0), "{what}");
        }
    }
}
