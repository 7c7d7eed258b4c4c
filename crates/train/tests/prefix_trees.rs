//! What sequences share is computed once, and they learn as if each stood alone: losses to the bit, gradients up to
//! rounding. The truth is a float64 run of the separate sequences (`tools/goldens/prefix_trees.py`).

mod common;

use common::{close, config, files, lora, prompted, tiny};
use nurture_data::{PrefixTree, TokenExample};
use nurture_formats::{ModelFile, SafetensorsFile, TensorSource, load_adapter};
use nurture_kernels::Rng;
use nurture_model::{Adapter, AdapterGrads, Cpu, Decoder, TrainBatch, TrainBuffers};
use nurture_train::{TrainConfig, Trainer, lay_out};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 5] = ["llama", "llama3_rope", "qwen2", "qwen3", "gemma3"];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn family(cpu: &Cpu, name: &str) -> (Decoder, Adapter) {
    let folder = here("../model/tests/goldens").join(name);
    let model = Decoder::load(&ModelFile::open(&folder).unwrap(), cpu.pool()).unwrap();
    let adapter = Adapter::load(model.config(), &load_adapter(folder.join("lora")).unwrap()).unwrap();
    (model, adapter)
}

struct Pass {
    tree_losses: Vec<nurture_data::TreeLoss>,
    losses: Vec<f32>,
    grads: AdapterGrads,
    rows: usize,
}

fn pass(cpu: &Cpu, model: &Decoder, adapter: &Adapter, examples: &[&TokenExample], sharing: bool) -> Pass {
    let tree = PrefixTree::new(examples, sharing);
    let mut grads = AdapterGrads::zeros(adapter);
    let batch = lay_out(&tree, 1.0);
    let losses = model.train(cpu, adapter, &batch, &mut TrainBuffers::default(), &mut grads).unwrap();
    Pass { rows: tree.rows(), tree_losses: tree.losses, losses, grads }
}

/// Each sequence in a batch of its own: the losses of its trained tokens, and the sum of all gradients.
fn apart(
    cpu: &Cpu,
    model: &Decoder,
    adapter: &Adapter,
    examples: &[&TokenExample],
) -> (Vec<Vec<f32>>, AdapterGrads) {
    let mut grads = AdapterGrads::zeros(adapter);
    let losses = examples.iter().map(|e| {
        let mut batch = TrainBatch::default();
        batch.push(&e.tokens, &e.trained, 1.0);
        model.train(cpu, adapter, &batch, &mut TrainBuffers::default(), &mut grads).unwrap()
    });
    (losses.collect(), grads)
}

fn compare(got: &AdapterGrads, want: &AdapterGrads, bound: f32, what: &str) {
    for (n, ((ga, gb), (wa, wb))) in got.iter().zip(want.iter()).enumerate() {
        close(ga, wa, bound, &format!("{what}: dA {n}"));
        close(gb, wb, bound, &format!("{what}: dB {n}"));
    }
}

/// The losses of a tree are, bit for bit and as often, those of the separate sequences.
fn same_losses(tree: &Pass, examples: &[&TokenExample], alone: &[Vec<f32>], what: &str) {
    // by what was read and what is to follow
    let mut want: BTreeMap<(&[u32], u32), (u32, u32)> = BTreeMap::new();
    for (e, losses) in examples.iter().zip(alone) {
        let places = (1..e.tokens.len()).filter(|&i| e.trained[i]);
        for (i, loss) in places.zip(losses) {
            let seen = want.entry((&e.tokens[..i], e.tokens[i])).or_insert((loss.to_bits(), 0));
            assert_eq!(seen.0, loss.to_bits(), "{what}: equal sequences, other bits");
            seen.1 += 1;
        }
    }
    let mut want: Vec<(u32, u32)> = want.into_values().collect();
    let mut got: Vec<(u32, u32)> =
        tree.tree_losses.iter().zip(&tree.losses).map(|(l, loss)| (loss.to_bits(), l.count)).collect();
    want.sort_unstable();
    got.sort_unstable();
    // runs too short to share stand twice with their own counts: add up
    let total = |all: &[(u32, u32)]| {
        let mut sums: BTreeMap<u32, u32> = BTreeMap::new();
        all.iter().for_each(|(bits, count)| *sums.entry(*bits).or_default() += count);
        sums
    };
    assert_eq!(total(&got), total(&want), "{what}: losses");
}

#[test]
fn losses_and_gradients_equal_the_separate_sequences_in_float64() {
    let cpu = Cpu::new(2);
    for name in FAMILIES {
        let (model, adapter) = family(&cpu, name);
        let folder = here("tests/goldens/trees");
        let text = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let ids: Vec<Vec<u32>> = serde_json::from_value(json["ids"].clone()).unwrap();
        let mask: Vec<Vec<u8>> = serde_json::from_value(json["mask"].clone()).unwrap();
        let want: Vec<f64> = serde_json::from_value(json["loss_sums"].clone()).unwrap();
        let examples: Vec<TokenExample> = ids
            .into_iter()
            .zip(mask)
            .map(|(tokens, mask)| TokenExample {
                id: String::new(),
                source: 0,
                tokens,
                trained: mask.iter().map(|&m| m == 1).collect(),
            })
            .collect();
        let refs: Vec<&TokenExample> = examples.iter().collect();
        let tree = pass(&cpu, &model, &adapter, &refs, true);
        let given: usize = examples.iter().map(|e| e.tokens.len()).sum();
        // a trunk with 9 + 6, what follows them, the other trunk with two ends, one that shares nothing
        let once = 19 + (9 + 5 + 7 + 13 + 3 + 4) + (6 + 2) + (11 + 8 + 8) + 10;
        assert_eq!((given, tree.rows), (354, once), "what is shared stands once");
        let (alone, separate) = apart(&cpu, &model, &adapter, &refs);
        for (losses, want) in alone.iter().zip(&want) {
            let sum: f64 = losses.iter().map(|&l| f64::from(l)).sum();
            assert!((sum - want).abs() <= 1e-5 * want, "{name}: {sum} {want}");
        }
        same_losses(&tree, &refs, &alone, name);
        compare(&tree.grads, &separate, 1e-5, &format!("{name}, separate in float32"));
        let file = SafetensorsFile::open(folder.join(format!("{name}.safetensors"))).unwrap();
        let mut worst = (0f32, 0f32);
        for ((module, _), ((da, db), (sa, sb))) in adapter.iter().zip(tree.grads.iter().zip(separate.iter()))
        {
            for (got, alone, letter) in [(da, sa, "A"), (db, sb, "B")] {
                let info = file.tensor(&format!("base_model.model.{module}.lora_{letter}.weight")).unwrap();
                let mut bytes = vec![0; info.bytes as usize];
                file.read_into(info, 0, &mut bytes).unwrap();
                let want: Vec<f32> =
                    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                let top = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                let off =
                    |g: &[f32]| g.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max) / top;
                worst = (worst.0.max(off(got)), worst.1.max(off(alone)));
            }
        }
        println!(
            "{name}: worst entry over its tensor's largest: tree {:.1e}, separate {:.1e}",
            worst.0, worst.1
        );
        // float32 itself is that far from the truth (the separate sequences are, too); sharing adds nothing to it
        assert!(worst.0 <= 2e-5 && worst.0 <= 1.25 * worst.1, "{name}: {worst:?}");
    }
}

/// Sequences that branch, end and repeat at random, with random masks.
fn random(rng: &mut Rng, count: usize, longest: usize) -> Vec<TokenExample> {
    let mut all: Vec<TokenExample> = Vec::new();
    for n in 0..count {
        let mut tokens = Vec::new();
        if n > 0 && rng.below(5) > 0 {
            let from = &all[rng.below(n)].tokens;
            tokens.extend_from_slice(&from[..rng.below(from.len() + 1)]);
        }
        let room = longest - tokens.len().min(longest);
        tokens.extend((0..rng.below(room.min(40) + 1)).map(|_| rng.below(150) as u32));
        let trained = tokens.iter().map(|_| rng.below(2) == 0).collect();
        all.push(TokenExample { id: n.to_string(), source: 0, tokens, trained });
    }
    all.retain(|e| !e.tokens.is_empty());
    all
}

#[test]
fn random_trees_learn_as_their_sequences_and_threads_change_no_bit() {
    let cpus = [Cpu::new(2), Cpu::new(1), Cpu::new(3)];
    let mut rng = Rng::new(5);
    let mut saved = 0;
    for name in FAMILIES {
        let (model, adapter) = family(&cpus[0], name);
        for round in 0..6 {
            let examples = random(&mut rng, 4 + 3 * round, 150);
            let refs: Vec<&TokenExample> = examples.iter().collect();
            let what = format!("{name}, tree {round}");
            let tree = pass(&cpus[0], &model, &adapter, &refs, true);
            let (alone, separate) = apart(&cpus[0], &model, &adapter, &refs);
            same_losses(&tree, &refs, &alone, &what);
            compare(&tree.grads, &separate, 1e-5, &what);
            saved += refs.iter().map(|e| e.tokens.len()).sum::<usize>() - tree.rows;
            for cpu in &cpus[1..] {
                let other = pass(cpu, &model, &adapter, &refs, true);
                assert!(other.losses == tree.losses, "{what}: threads change a loss");
                let equal = other.grads.iter().zip(tree.grads.iter()).all(|(a, b)| a == b);
                assert!(equal, "{what}: threads change a gradient");
            }
        }
    }
    assert!(saved > 1000, "{saved}");
}

#[test]
fn a_step_is_the_same_with_and_without_sharing() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let all = prompted(37);
    let begin = |sharing, folder: &Path| {
        let config = TrainConfig { sharing, micro_tokens: 64, batch: 8, ..config() };
        Trainer::new(&cpu, &model, lora(), config, all.clone(), &files(folder)).unwrap()
    };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut shared, mut plain) = (begin(true, dirs[0].path()), begin(false, dirs[1].path()));
    for step in 0..10 {
        let (a, b) = (shared.step().unwrap().unwrap(), plain.step().unwrap().unwrap());
        assert_eq!((a.tokens, a.trained_tokens), (b.tokens, b.trained_tokens));
        assert!(a.computed_tokens < b.computed_tokens && b.computed_tokens == b.tokens, "{a:?} {b:?}");
        // rounding grows along the way
        let bound = if step == 0 { 1e-7 } else { 1e-4 };
        assert!((a.loss - b.loss).abs() <= bound * b.loss, "step {step}: {} {}", a.loss, b.loss);
        if step == 0 {
            compare(shared.learner().gradients(), plain.learner().gradients(), 1e-5, "first step");
        }
    }
    let (a, b) = (shared.outcome(), plain.outcome());
    assert_eq!(a.tokens, b.tokens);
    assert!(a.computed_tokens < b.computed_tokens && b.computed_tokens == b.tokens);
}
