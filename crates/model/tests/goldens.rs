//! Every family against transformers: logits, loss and the gradient of every LoRA matrix, from tiny random checkpoints
//! (`tools/goldens/tiny_families.py`), in both dialects of `config.json`, packed side by side and apart.

mod common;

use common::{close, floats};
use nurture_formats::{ModelFile, SafetensorsFile, TensorSource, adapter::load_adapter};
use nurture_model::*;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 5] = ["llama", "llama3_rope", "qwen2", "qwen3", "gemma3"];

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(family)
}

struct Golden {
    ids: Vec<Vec<u32>>,
    trained: Vec<Vec<bool>>,
    loss_sum: f64,
}

fn golden(path: &Path) -> Golden {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rows = |key: &str| -> Vec<Vec<u64>> { serde_json::from_value(json[key].clone()).unwrap() };
    Golden {
        ids: rows("ids").iter().map(|r| r.iter().map(|&x| x as u32).collect()).collect(),
        trained: rows("mask").iter().map(|r| r.iter().map(|&x| x != 0).collect()).collect(),
        loss_sum: json["loss_sum"].as_f64().unwrap(),
    }
}

fn logits(cpu: &Cpu, model: &Decoder, adapter: Option<&Adapter>, ids: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut batch = Batch::default();
    let mut cache = KvCache::new(model.config(), 64);
    let mut row = 5; // anywhere
    for (i, ids) in ids.iter().enumerate() {
        // the keys lie in two separate stretches
        let cut = ids.len() / 3;
        batch.push(ids, 0, vec![(row, cut), (row + cut + 1, ids.len() - cut)], i);
        row += ids.len() + 2;
    }
    let mut buffers = Buffers::new();
    let x = model.forward(cpu, Mode::Exact, adapter, &batch, &mut cache, &mut buffers).unwrap();
    let vocab = model.config().vocab;
    let mut out = vec![0f32; batch.len() * vocab];
    model.logits(cpu, adapter, Mode::Exact, x, &mut out);
    batch.spans.iter().map(|s| out[s.row * vocab..(s.row + s.len) * vocab].to_vec()).collect()
}

#[test]
fn logits_equal_transformers_in_both_dialects() {
    let cpu = Cpu::new(2);
    for family in FAMILIES {
        let dir = folder(family);
        let old = tempfile::tempdir().unwrap();
        std::fs::copy(dir.join("config.v4.json"), old.path().join("config.json")).unwrap();
        std::fs::copy(dir.join("model.safetensors"), old.path().join("model.safetensors")).unwrap();
        let g = golden(&dir.join("golden.json"));
        let want = SafetensorsFile::open(dir.join("golden.safetensors")).unwrap();
        for path in [dir.as_path(), old.path()] {
            let model = Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
            let got = logits(&cpu, &model, None, &g.ids);
            for (i, got) in got.iter().enumerate() {
                close(
                    got,
                    &floats(&want, &format!("logits.{i}")),
                    2e-5,
                    &format!("{family}: logits of sequence {i}"),
                );
            }
            let alone = logits(&cpu, &model, None, &g.ids[1..]);
            assert!(alone[0] == got[1], "{family}: the sequence beside it changed bits");
        }
    }
}

/// A folder with the words of both versions: `rope_parameters` are the newer ones, whatever stands beside them.
#[test]
fn rope_parameters_win_over_the_older_words() {
    let cpu = Cpu::new(1);
    for family in FAMILIES {
        let dir = folder(family);
        let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(config["rope_parameters"].is_object(), "{family}");
        config["rope_theta"] = serde_json::json!(17.0);
        if config["rope_parameters"].get("sliding_attention").is_some() {
            config["rope_local_base_freq"] = serde_json::json!(18.0);
        }
        let both = tempfile::tempdir().unwrap();
        std::fs::write(both.path().join("config.json"), config.to_string()).unwrap();
        std::fs::copy(dir.join("model.safetensors"), both.path().join("model.safetensors")).unwrap();
        let load = |path: &Path| Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
        let (got, want) = (load(both.path()), load(&dir));
        assert_eq!(got.config(), want.config(), "{family}");
    }
}

#[test]
fn loss_and_every_gradient_equal_peft() {
    let cpu = Cpu::new(2);
    for family in FAMILIES {
        let dir = folder(family);
        let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
        let g = golden(&dir.join("lora/golden_lora.json"));
        let want = SafetensorsFile::open(dir.join("lora/golden_lora.safetensors")).unwrap();
        let adapter = Adapter::load(model.config(), &load_adapter(dir.join("lora")).unwrap()).unwrap();
        for (i, got) in logits(&cpu, &model, Some(&adapter), &g.ids).iter().enumerate() {
            close(
                got,
                &floats(&want, &format!("logits.{i}")),
                2e-5,
                &format!("{family}: tuned logits of sequence {i}"),
            );
        }
        let mut batch = TrainBatch::default();
        for (ids, trained) in g.ids.iter().zip(&g.trained) {
            batch.push(ids, trained, 1.0);
        }
        let mut grads = AdapterGrads::zeros(&adapter);
        let losses = model.train(&cpu, &adapter, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
        let sum: f64 = losses.iter().map(|&l| l as f64).sum();
        assert!((sum - g.loss_sum).abs() < 1e-5 * g.loss_sum, "{family}: loss {sum}, want {}", g.loss_sum);
        let mut seen = 0;
        for ((module, _), (da, db)) in adapter.iter().zip(grads.iter()) {
            for (got, letter) in [(da, "A"), (db, "B")] {
                let name = format!("grad.base_model.model.{module}.lora_{letter}.weight");
                close(got, &floats(&want, &name), 1e-4, &format!("{family}: {name}"));
                seen += 1;
            }
        }
        assert_eq!(seen, model.config().layers * 14, "{family}: gradients compared");
    }
}

/// The gradients of a network's own parameters by their names, rows in order.
fn rows_of(grads: &ModelGrads) -> Vec<(String, Vec<f32>)> {
    let plain = |(p, g): (&Parameter, &[f32])| match p.shape[..] {
        [rows, cols] => {
            let mut out = vec![0.0; rows * cols];
            nurture_kernels::untile(g, cols, 0, &mut out);
            (p.name.clone(), out)
        }
        _ => (p.name.clone(), g.to_vec()),
    };
    grads.iter().map(plain).collect()
}

fn whole_batch(g: &Golden, weight: f32) -> TrainBatch {
    let mut batch = TrainBatch::default();
    g.ids.iter().zip(&g.trained).for_each(|(ids, trained)| batch.push(ids, trained, weight));
    batch
}

#[test]
fn the_gradient_of_every_parameter_equals_pytorch() {
    let cpu = Cpu::new(2);
    for family in FAMILIES {
        let dir = folder(family);
        let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
        let g = golden(&dir.join("golden.json"));
        let want = SafetensorsFile::open(dir.join("golden.safetensors")).unwrap();
        let free = model.to_trainable(cpu.pool(), &Freeze::default());
        let mut grads = ModelGrads::zeros(free.trainable(&Freeze::default()));
        let batch = whole_batch(&g, 1.0);
        let losses = free.train_full(&cpu, &model, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
        let sum: f64 = losses.iter().map(|&l| l as f64).sum();
        assert!((sum - g.loss_sum).abs() < 1e-5 * g.loss_sum, "{family}: loss {sum}, want {}", g.loss_sum);
        let got = rows_of(&grads);
        for (name, got) in &got {
            close(got, &floats(&want, &format!("grad.{name}")), 1e-4, &format!("{family}: {name}"));
        }
        let all = want.tensors().iter().filter(|t| t.name.starts_with("grad.")).count();
        assert_eq!(got.len(), all, "{family}: gradients compared");

        // computing blocks again changes no bit, nor do threads
        for (threads, recompute) in [(2, true), (1, false), (3, true)] {
            let cpu = Cpu::new(threads);
            let mut again = ModelGrads::zeros(free.trainable(&Freeze::default()));
            let mut buffers = if recompute { TrainBuffers::recomputing() } else { TrainBuffers::default() };
            assert!(free.train_full(&cpu, &model, &batch, &mut buffers, &mut again).unwrap() == losses);
            assert!(rows_of(&again) == got, "{family}: {threads} threads, recompute {recompute}");
        }
    }
}

#[test]
fn a_network_that_was_saved_is_the_network() {
    let cpu = Cpu::new(2);
    for family in FAMILIES {
        let model = Decoder::load(&ModelFile::open(folder(family)).unwrap(), cpu.pool()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        model.write_safetensors(dir.path().join("model.safetensors")).unwrap();
        let config = model.hf_config(Default::default()).unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let again = Decoder::load(&ModelFile::open(dir.path()).unwrap(), cpu.pool()).unwrap();
        assert_eq!(again.config(), model.config(), "{family}");
        let g = golden(&folder(family).join("golden.json"));
        // Gemma's norms lose the 1 and get it back: a last bit may turn
        for (a, b) in logits(&cpu, &again, None, &g.ids).iter().zip(&logits(&cpu, &model, None, &g.ids)) {
            match family {
                "gemma3" => close(a, b, 1e-6, "logits of a saved network"),
                _ => assert!(a == b, "{family}"),
            }
        }
    }
}

#[test]
fn a_softened_loss_is_the_formula_over_all_logits() {
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(folder("llama")).unwrap(), cpu.pool()).unwrap();
    let g = golden(&folder("llama").join("golden.json"));
    let softening = Softening { smoothing: 0.1, z: 1e-3 };
    let mut buffers = TrainBuffers::with(PassOptions { softening, ..PassOptions::default() });
    let got = model.losses(&cpu, None, &whole_batch(&g, 1.0), &mut buffers).unwrap();
    let mut got = got.iter();
    for (logits, (ids, trained)) in
        logits(&cpu, &model, None, &g.ids).iter().zip(g.ids.iter().zip(&g.trained))
    {
        for (t, x) in logits.chunks_exact(model.config().vocab).enumerate().take(ids.len() - 1) {
            if trained[t + 1] {
                let x: Vec<f64> = x.iter().map(|&x| x as f64).collect();
                let z = x.iter().map(|x| x.exp()).sum::<f64>().ln();
                let mean = x.iter().sum::<f64>() / x.len() as f64;
                let want = z - 0.9 * x[ids[t + 1] as usize] - 0.1 * mean + 1e-3 * z * z;
                let got = *got.next().unwrap() as f64;
                assert!((got - want).abs() < 1e-5 * want, "token {t}: {got}, not {want}");
            }
        }
    }
    assert!(got.next().is_none());
}

#[test]
fn noise_on_tokens_is_noise_on_their_embeddings() {
    let cpu = Cpu::new(2);
    // with a head of its own, so that the embedding can be changed alone
    let model = Decoder::load(&ModelFile::open(folder("qwen3")).unwrap(), cpu.pool()).unwrap();
    let (alpha, seed, d) = (5.0, 77u64, model.config().width);
    let sequences = [(0..12).collect::<Vec<u32>>(), (20..29).collect()];
    let mut batch = TrainBatch::default();
    sequences.iter().for_each(|s| batch.push(s, &vec![true; s.len()], 0.1));
    let noise = Some(Noise { alpha, seed });
    let mut buffers = TrainBuffers::with(PassOptions { noise, ..PassOptions::default() });
    let freeze = Freeze::default();
    let mut moved = model.to_trainable(cpu.pool(), &freeze);
    let grads = || ModelGrads::zeros(model.trainable(&freeze));
    let plain = moved.train_full(&cpu, &model, &batch, &mut TrainBuffers::default(), &mut grads()).unwrap();
    let noisy = moved.train_full(&cpu, &model, &batch, &mut buffers, &mut grads()).unwrap();
    assert!(plain != noisy);
    assert!(noisy == moved.train_full(&cpu, &model, &batch, &mut buffers, &mut grads()).unwrap());
    buffers.set_noise(None);
    assert!(plain == moved.train_full(&cpu, &model, &batch, &mut buffers, &mut grads()).unwrap());
    // the same noise, put into the rows of the embedding: no token stands twice
    let embed = moved.floats_mut(Slot::Embed).unwrap();
    let tile = embed.len() / model.config().vocab.div_ceil(16);
    for (i, tokens) in sequences.iter().enumerate() {
        let mut x = vec![0f32; tokens.len() * d];
        let size = alpha / ((tokens.len() * d) as f64).sqrt();
        let seed = seed.wrapping_add((i as u64) << 32);
        nurture_kernels::add_uniform_noise(cpu.pool(), &mut x, d, size as f32, seed);
        let top = x.iter().fold(0f64, |m, v| m.max(v.abs() as f64));
        assert!(top <= size && top > 0.9 * size, "the size of NEFTune's noise: {top} {size}");
        for (&token, x) in tokens.iter().zip(x.chunks_exact(d)) {
            for (c, x) in x.iter().enumerate() {
                embed[token as usize / 16 * tile + c * 16 + token as usize % 16] += x;
            }
        }
    }
    let want = moved.train_full(&cpu, &model, &batch, &mut TrainBuffers::default(), &mut grads()).unwrap();
    close(&noisy, &want, 1e-5, "losses with noise");
}

#[test]
fn what_is_frozen_has_no_gradient_and_the_rest_keeps_its_own() {
    let cpu = Cpu::new(2);
    for family in ["gemma3", "qwen3", "qwen2"] {
        let dir = folder(family);
        let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
        let g = golden(&dir.join("golden.json"));
        let run = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            let freeze = Freeze::parse(&names, model.config(), model.tied()).unwrap();
            let free = model.to_trainable(cpu.pool(), &freeze);
            let mut grads = ModelGrads::zeros(free.trainable(&freeze));
            free.train_full(&cpu, &model, &whole_batch(&g, 1.0), &mut TrainBuffers::default(), &mut grads)
                .unwrap();
            rows_of(&grads)
        };
        let all = run(&[]);
        for (names, gone) in [
            (&["embed"][..], &["embed_tokens"][..]),
            (&["layers.0"], &["layers.0."]),
            (&["embed", "layers.0"], &["embed_tokens", "layers.0."]),
            (&["embed", "layers.0-1", "norm"], &["embed_tokens", "layers.0.", "layers.1.", "model.norm"]),
        ] {
            if names.contains(&"norm") && model.config().layers == 2 && model.tied() {
                continue; // nothing would be left
            }
            let part = run(names);
            let want: Vec<_> =
                all.iter().filter(|(n, _)| !gone.iter().any(|g| n.contains(g))).cloned().collect();
            assert!(part == want && part.len() < all.len(), "{family}: {names:?}");
        }
        let refused = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            Freeze::parse(&names, model.config(), model.tied()).unwrap_err()
        };
        assert!(refused(&["layers.7"]).contains("layers 0 to"));
        assert!(refused(&["layer"]).contains("no part of a model"));
        assert!(refused(&["layers.1-0"]).contains("layers.1-0"));
        assert_eq!(model.tied(), Freeze::parse(&["head".into()], model.config(), model.tied()).is_err());
    }
}

#[test]
fn micro_batches_sum_to_the_large_batch() {
    let cpu = Cpu::new(2);
    let dir = folder("qwen3");
    let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
    let adapter = Adapter::load(model.config(), &load_adapter(dir.join("lora")).unwrap()).unwrap();
    let g = golden(&dir.join("lora/golden_lora.json"));
    let mut buffers = TrainBuffers::default();
    let mut run = |groups: &[&[usize]]| {
        let mut grads = AdapterGrads::zeros(&adapter);
        for group in groups {
            let mut batch = TrainBatch::default();
            group.iter().for_each(|&i| batch.push(&g.ids[i], &g.trained[i], 0.125));
            model.train(&cpu, &adapter, &batch, &mut buffers, &mut grads).unwrap();
        }
        grads
    };
    let (whole, parts) = (run(&[&[0, 1]]), run(&[&[0], &[1]]));
    for ((a, b), (c, d)) in whole.iter().zip(parts.iter()) {
        close(a, c, 1e-6, "dA of micro-batches");
        close(b, d, 1e-6, "dB of micro-batches");
    }
}

#[test]
fn steps_with_a_cache_give_the_bits_of_one_pass() {
    let cpu = Cpu::new(2);
    for family in FAMILIES {
        let model = Decoder::load(&ModelFile::open(folder(family)).unwrap(), cpu.pool()).unwrap();
        let g = golden(&folder(family).join("golden.json"));
        let (ids, vocab) = (&g.ids[0], model.config().vocab);
        let whole = logits(&cpu, &model, None, &g.ids[..1]).remove(0);
        let mut cache = KvCache::new(model.config(), ids.len());
        let mut buffers = Buffers::new();
        let mut at = 0;
        for step in [7, 1, 1, 5, 1, 8] {
            let mut batch = Batch::default();
            batch.push(&ids[at..at + step], at, vec![(0, at + step)], 0);
            let x = model.forward(&cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
            let mut out = vec![0f32; step * vocab];
            model.logits(&cpu, None, Mode::Exact, x, &mut out);
            assert!(out == whole[at * vocab..(at + step) * vocab], "{family}: tokens {at}..{}", at + step);
            at += step;
        }
        assert_eq!(at, ids.len());
    }
}

#[test]
fn a_token_beyond_the_vocabulary_is_refused() {
    let cpu = Cpu::new(1);
    let model = Decoder::load(&ModelFile::open(folder("qwen2")).unwrap(), cpu.pool()).unwrap();
    let mut batch = Batch::default();
    batch.push(&[1, 150], 0, vec![(0, 2)], 0);
    let e = model
        .forward(&cpu, Mode::Exact, None, &batch, &mut KvCache::new(model.config(), 4), &mut Buffers::new())
        .unwrap_err();
    assert_eq!(e.to_string(), "token 150 at place 1 is beyond the vocabulary of 150");
}
