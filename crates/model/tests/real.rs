//! Real files against transformers' float32 run of the same dequantised weights: greedy continuations.

use nurture_formats::ModelFile;
use nurture_model::*;
use std::path::Path;

/// A difference is allowed where the two best logits stand closer than this: rounding may decide there.
const NEAR_TIE: f64 = 1e-3;

struct Greedy {
    name: String,
    ids: Vec<u32>,
    tokens: Vec<u32>,
    gaps: Vec<f64>,
}

fn greedy(path: &Path) -> Vec<Greedy> {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let ids = |v: &serde_json::Value| -> Vec<u32> { serde_json::from_value(v.clone()).unwrap() };
    json["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| Greedy {
            name: p["name"].as_str().unwrap().to_string(),
            ids: ids(&p["ids"]),
            tokens: ids(&p["tokens"]),
            gaps: serde_json::from_value(p["gaps"].clone()).unwrap(),
        })
        .collect()
}

fn continuations_equal(model_file: &str, folder: &str) {
    let Some(path) = nurture_testing::model(model_file) else { return };
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
    let c = model.config().clone();
    let all = greedy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/real").join(folder).join("greedy.json"),
    );
    let (mut equal, mut ties) = (0, 0);
    for g in &all {
        let n = g.ids.len() + g.tokens.len();
        let mut cache = KvCache::new(&c, n);
        let mut buffers = Buffers::new();
        let (mut new, mut at) = (g.ids.clone(), 0);
        let mut same = true;
        for (step, &want) in g.tokens.iter().enumerate() {
            let mut batch = Batch::default();
            batch.push(&new, at, vec![(0, at + new.len())], 0);
            let x = model.forward(&cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
            let mut logits = vec![0f32; c.vocab];
            model.logits(&cpu, None, Mode::Exact, &x[x.len() - c.width..], &mut logits);
            let best = (0..c.vocab).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
            if best != want {
                assert!(
                    g.gaps[step] < NEAR_TIE,
                    "{}: step {step} gives {best} instead of {want}, which leads by {}",
                    g.name,
                    g.gaps[step]
                );
                (same, ties) = (false, ties + 1);
                break;
            }
            at += new.len();
            new = vec![best];
        }
        equal += usize::from(same);
    }
    println!("{model_file}: {equal} of {} continuations equal, {ties} part at a near tie", all.len());
    assert!(equal + ties == all.len() && equal * 10 >= all.len() * 9);
}

#[test]
fn smollm2_continues_as_transformers_does() {
    continuations_equal(nurture_testing::SMOLLM2, "smollm2");
}

#[test]
fn gemma3_continues_as_transformers_does() {
    continuations_equal(nurture_testing::GEMMA3, "gemma3");
}

/// Logits after the last of `ids`, read in pieces of these sizes (the last size again and again).
fn read_in_pieces(model: &Decoder, cpu: &Cpu, mode: Mode, ids: &[u32], sizes: &[usize]) -> Vec<f32> {
    let c = model.config();
    let mut cache = KvCache::new(c, ids.len());
    let mut buffers = Buffers::new();
    let mut logits = vec![0f32; c.vocab];
    let (mut at, mut piece) = (0, 0);
    while at < ids.len() {
        let n = sizes[piece.min(sizes.len() - 1)].min(ids.len() - at);
        let mut batch = Batch::default();
        batch.push(&ids[at..at + n], at, vec![(0, at + n)], 0);
        let x = model.forward(cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap();
        model.logits(cpu, None, mode, &x[x.len() - c.width..], &mut logits);
        (at, piece) = (at + n, piece + 1);
    }
    logits
}

fn pieces_agree(model_file: &str) {
    let Some(path) = nurture_testing::model(model_file) else { return };
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
    let ids: Vec<u32> = (0..70).map(|i| 1000 + i * 7919 % 20_000).collect();
    let mut by_mode = Vec::new();
    for mode in [Mode::Exact, Mode::Fast] {
        let whole = read_in_pieces(&model, &cpu, mode, &ids, &[70]);
        for sizes in [&[64, 1][..], &[33, 2, 3, 8, 1], &[5, 12, 16]] {
            let pieces = read_in_pieces(&model, &cpu, mode, &ids, sizes);
            let same = whole.iter().zip(&pieces).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{model_file}, {}: pieces of {sizes:?} give other bits", mode.name());
        }
        let some = [7u32, 500, 501, 20_000];
        let mut batch = Batch::default();
        batch.push(&ids, 0, vec![(0, ids.len())], 0);
        let mut cache = KvCache::new(model.config(), ids.len());
        let mut buffers = Buffers::new();
        let x = model.forward(&cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap();
        let mut chosen = vec![0f32; some.len()];
        model.logits_at(&cpu, None, mode, &x[x.len() - model.config().width..], &some, &mut chosen);
        assert!(some.iter().zip(&chosen).all(|(&i, l)| whole[i as usize].to_bits() == l.to_bits()));
        by_mode.push(whole);
    }
    // both modes mean the same network
    let far = by_mode[0].iter().zip(&by_mode[1]).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    let size = by_mode[0].iter().fold(0f32, |m, a| m.max(a.abs()));
    println!("{model_file}: logits of the two modes at most {far} apart, the largest is {size}");
    assert!(far > 0.0 && far < 0.1 * size);
}

#[test]
fn smollm2_read_in_pieces_gives_the_same_bits_in_both_modes() {
    pieces_agree(nurture_testing::SMOLLM2);
}

#[test]
fn gemma3_read_in_pieces_gives_the_same_bits_in_both_modes() {
    pieces_agree(nurture_testing::GEMMA3);
}
