//! Tokens of an adapter's own against PEFT (`tools/goldens/own_tokens.py`): logits, loss, the gradient of A, B and the rows; in
//! both modes, beside other adapters, merged; and that a newborn one changes nothing.

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

/// Logits of one sequence, token by token after a first part.
fn logits(cpu: &Cpu, mode: Mode, model: &Decoder, adapter: Option<&Adapter>, ids: &[u32]) -> Vec<f32> {
    let vocab = model.config().vocab;
    let mut cache = KvCache::new(model.config(), ids.len());
    let mut got = vec![0f32; ids.len() * vocab];
    let mut at = 0;
    for step in std::iter::once(7).chain(std::iter::repeat_n(1, ids.len() - 7)) {
        let mut batch = Batch::default();
        batch.push(&ids[at..at + step], at, vec![(0, at + step)], 0);
        let mut buffers = Buffers::new();
        let x = model.forward(cpu, mode, adapter, &batch, &mut cache, &mut buffers).unwrap();
        model.logits(cpu, adapter, mode, x, &mut got[at * vocab..(at + step) * vocab]);
        at += step;
    }
    got
}

#[test]
fn logits_loss_and_every_gradient_equal_peft() {
    let cpu = Cpu::new(2);
    for family in ["llama", "gemma3"] {
        let model = Decoder::load(&ModelFile::open(folder(family)).unwrap(), cpu.pool()).unwrap();
        let dir = folder("own_tokens").join(family);
        let want = SafetensorsFile::open(dir.join("golden.safetensors")).unwrap();
        let saved = load_adapter(&dir).unwrap();
        let adapter = Adapter::load_for(&cpu, &model, &saved).unwrap();
        let named = saved.config.trainable_token_indices.clone();
        assert_eq!(named.len(), 3);
        let mut sorted = named.clone();
        sorted.sort_unstable();
        assert_eq!(adapter.tokens().ids(), sorted);
        let (batch, ids, loss_sum) = golden(&dir.join("golden_lora.json"));
        for (i, ids) in ids.iter().enumerate() {
            let got = logits(&cpu, Mode::Exact, &model, Some(&adapter), ids);
            close(&got, &floats(&want, &format!("logits.{i}")), 2e-5, &format!("{family}: logits {i}"));
        }
        let mut grads = AdapterGrads::zeros(&adapter);
        let losses = model.train(&cpu, &adapter, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
        let sum: f64 = losses.iter().map(|&l| l as f64).sum();
        assert!((sum - loss_sum).abs() < 1e-5 * loss_sum, "{family}: loss {sum}, want {loss_sum}");
        let scored = model.losses(&cpu, Some(&adapter), &batch, &mut TrainBuffers::default()).unwrap();
        assert_eq!(scored, losses, "the same without gradients");
        let grad = |name: &str| floats(&want, &format!("grad.{name}"));
        for ((module, _), (da, db)) in adapter.iter().zip(grads.iter()) {
            for (got, letter) in [(da, "A"), (db, "B")] {
                let name = format!("base_model.model.{module}.lora_{letter}.weight");
                close(got, &grad(&name), 1e-4, &format!("{family}: {name}"));
            }
        }
        // ours ascend, PEFT's stand as they were named
        let d = model.config().width;
        let theirs = TokenRows::new(&named, &grad(nurture_formats::TOKEN_ROWS));
        close(grads.tokens(), theirs.rows(), 1e-4, &format!("{family}: rows"));
        let unread = grads.tokens().chunks(d).filter(|row| row.iter().all(|v| *v == 0.0)).count();
        assert_eq!(
            unread,
            usize::from(!model.tied()),
            "{family}: a token that never occurs learns as a column only"
        );
        // computing blocks again changes no bit, nor does another number of threads
        for (cpu, mut buffers) in
            [(Cpu::new(2), TrainBuffers::recomputing()), (Cpu::new(1), TrainBuffers::default())]
        {
            let mut again = AdapterGrads::zeros(&adapter);
            model.train(&cpu, &adapter, &batch, &mut buffers, &mut again).unwrap();
            assert!(again.tokens() == grads.tokens() && again.iter().eq(grads.iter()));
        }
        // what is saved is read as it was
        let dir = tempfile::tempdir().unwrap();
        nurture_formats::save_adapter(
            dir.path().join("a"),
            &{
                let mut config = saved.config.clone();
                config.trainable_token_indices = adapter.tokens().ids().to_vec();
                config
            },
            &adapter.tensors(),
            None,
        )
        .unwrap();
        let read = Adapter::load(model.config(), &load_adapter(dir.path().join("a")).unwrap()).unwrap();
        assert_eq!(read.tokens(), adapter.tokens());
    }
}

#[test]
fn beside_other_adapters_each_row_keeps_its_own_tokens() {
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(folder("gemma3")).unwrap(), cpu.pool()).unwrap();
    let with = Adapter::load(model.config(), &load_adapter(folder("own_tokens/gemma3")).unwrap()).unwrap();
    let spec = LoraSpec { rank: 4, alpha: 8.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let without = Adapter::new(model.config(), &spec, 5);
    let (_, ids, _) = golden(&folder("own_tokens/gemma3/golden_lora.json"));
    let ids = &ids[0];
    let (n, vocab, d) = (ids.len(), model.config().vocab, model.config().width);
    for mode in [Mode::Exact, Mode::Fast] {
        let mut batch = Batch::default();
        (0..3).for_each(|i| batch.push(ids, 0, vec![(i * n, n)], i));
        let groups =
            [AdapterRows { rows: 0..n, adapter: &without }, AdapterRows { rows: n..2 * n, adapter: &with }];
        let mut cache = KvCache::new(model.config(), 3 * n);
        let mut buffers = Buffers::new();
        let x = model.forward_mixed(&cpu, mode, &groups, &batch, &mut cache, &mut buffers).unwrap();
        for (i, adapter) in [Some(&without), Some(&with), None].into_iter().enumerate() {
            let x = &x[i * n * d..][..n * d];
            let mut got = vec![0f32; n * vocab];
            model.logits(&cpu, None, mode, x, &mut got);
            if let Some(adapter) = adapter {
                model.own_logits(&cpu, adapter, x, &mut got);
            }
            let alone = logits(&cpu, mode, &model, adapter, ids);
            assert!(
                got.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()),
                "sequence {i}, {}",
                mode.name()
            );
            let some = [with.tokens().ids()[1], 9, with.tokens().ids()[0]];
            let mut few = vec![0f32; n * some.len()];
            model.logits_at(&cpu, adapter, mode, x, &some, &mut few);
            for (few, all) in few.chunks(some.len()).zip(alone.chunks(vocab)) {
                assert!(few.iter().zip(some).all(|(f, id)| f.to_bits() == all[id as usize].to_bits()));
            }
        }
    }
}

#[test]
fn merged_rows_hold_the_own_ones_and_newborn_ones_are_the_base() {
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(folder("gemma3")).unwrap(), cpu.pool()).unwrap();
    let with = Adapter::load(model.config(), &load_adapter(folder("own_tokens/gemma3")).unwrap()).unwrap();
    let (vocab, d) = (model.config().vocab, model.config().width);
    let table = |adapter: Option<&Adapter>| {
        let mut rows = vec![0f32; vocab * d];
        model.merged_rows(cpu.pool(), adapter, Slot::Embed, 0, &mut rows);
        rows
    };
    let (base, merged) = (table(None), table(Some(&with)));
    for id in 0..vocab {
        let row = &merged[id * d..][..d];
        let own = with.tokens().row(id as u32);
        assert_eq!(row, own.unwrap_or(&base[id * d..][..d]), "token {id}");
    }
    let spec = LoraSpec { rank: 2, alpha: 4.0, rslora: false, targets: vec![Projection::Q] };
    let newborn = Adapter::new(model.config(), &spec, 1).with_tokens(&cpu, &model, &[7, 3, 7]).unwrap();
    assert_eq!(newborn.tokens().ids(), [3, 7]);
    let (batch, ..) = golden(&folder("own_tokens/gemma3/golden_lora.json"));
    let mut buffers = TrainBuffers::default();
    let with = model.losses(&cpu, Some(&newborn), &batch, &mut buffers).unwrap();
    let without = model.losses(&cpu, None, &batch, &mut buffers).unwrap();
    close(&with, &without, 1e-6, "losses");
    let beyond = Adapter::new(model.config(), &spec, 1).with_tokens(&cpu, &model, &[vocab as u32]);
    assert!(matches!(beyond, Err(ModelError::Token { .. })));
}
