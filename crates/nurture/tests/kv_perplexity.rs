//! What smaller keys and values cost: perplexity of real text with half floats and with bytes in the cache, on the same windows.

use nurture::engine::{LoadOptions, Model};
use nurture::kernels::cross_entropy;
use nurture::model::{Batch, Buffers, KvCache, KvType, Mode};

const WINDOW: usize = 512;
const WINDOWS: usize = 12;
/// Most that half floats, and bytes, may change of the perplexity.
const BOUNDS: [f64; 2] = [1e-3, 1e-2];

/// Mean negative log likelihood of the second half of each window.
fn nll(model: &Model, kind: KvType, ids: &[u32]) -> f64 {
    let (decoder, cpu) = (model.decoder(), model.cpu());
    let c = decoder.config();
    let mut cache = KvCache::of(kind, c, WINDOW);
    let mut buffers = Buffers::new();
    let (mut sum, mut count) = (0f64, 0);
    let rows = 32;
    let mut logits = vec![0f32; rows * c.vocab];
    for window in ids.chunks_exact(WINDOW).take(WINDOWS) {
        let mut tokens = window.to_vec();
        if let Some(bos) = model.tokenizer().bos() {
            tokens[0] = bos;
        }
        let mut batch = Batch::default();
        batch.push(&tokens, 0, vec![(0, WINDOW)], 0);
        let x = decoder.forward(cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
        let scored: Vec<usize> = (WINDOW / 2 + 1..WINDOW).collect();
        for part in scored.chunks(rows) {
            let logits = &mut logits[..part.len() * c.vocab];
            let x = &x[(part[0] - 1) * c.width..][..part.len() * c.width];
            decoder.logits(cpu, Mode::Exact, x, logits);
            let targets: Vec<u32> = part.iter().map(|&i| tokens[i]).collect();
            let mut losses = vec![0f32; part.len()];
            cross_entropy(cpu.pool(), logits, c.vocab, &targets, None, &mut losses);
            sum += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            count += part.len();
        }
    }
    sum / count as f64
}

fn perplexity_stays(file: &str) {
    let Some(path) = nurture_testing::model(file) else { return };
    let Some(text) = nurture_testing::data("text-wikitext2/valid.txt") else { return };
    let options = LoadOptions { template: Some("plain".into()), ..LoadOptions::default() };
    let model = Model::load(&path, &options).unwrap();
    let text = std::fs::read_to_string(text).unwrap();
    let ids = model.tokenizer().encode(&text[..text.floor_char_boundary(60_000)], false).unwrap();
    assert!(ids.len() >= WINDOW * WINDOWS, "{} tokens", ids.len());
    let [exact, half, bytes] = KvType::ALL.map(|kind| nll(&model, kind, &ids).exp());
    for (name, value, bound) in [("f16", half, BOUNDS[0]), ("q8", bytes, BOUNDS[1])] {
        let change = value / exact - 1.0;
        println!("{file}: perplexity {exact:.4} with f32, {value:.4} with {name}, {:+.4} %", change * 100.0);
        assert!(change.abs() < bound, "{name} changes the perplexity of {file} from {exact} to {value}");
        assert_ne!(value, exact, "{name} is the same arithmetic");
    }
}

#[test]
fn smollm2_reads_as_well_with_smaller_keys() {
    perplexity_stays(nurture_testing::SMOLLM2);
}

#[test]
fn gemma3_reads_as_well_with_smaller_keys() {
    perplexity_stays(nurture_testing::GEMMA3);
}
