//! Perplexity of real text over windows, for tests of what a lossy form of the same network costs.

use nurture::engine::{LoadOptions, Model};
use nurture::kernels::cross_entropy;
use nurture::model::{Batch, Buffers, KvCache, KvType, Mode};

const WINDOW: usize = 512;

/// A real model and the tokens of `windows` windows of WikiText; `None` where one of them is missing.
pub(crate) fn model_and_text(file: &str, windows: usize) -> Option<(Model, Vec<u32>)> {
    let path = nurture_testing::model(file)?;
    let text = nurture_testing::data("text-wikitext2/valid.txt")?;
    let options = LoadOptions { template: Some("plain".into()), ..LoadOptions::default() };
    let model = Model::load(&path, &options).unwrap();
    let text = std::fs::read_to_string(text).unwrap();
    let text = &text[..text.floor_char_boundary(windows * 5000)];
    let mut ids = model.tokenizer().encode(text, false).unwrap();
    assert!(ids.len() >= windows * WINDOW, "{} tokens", ids.len());
    ids.truncate(windows * WINDOW);
    Some((model, ids))
}

/// Perplexity of the second half of each window.
pub(crate) fn perplexity(model: &Model, mode: Mode, keys: KvType, ids: &[u32]) -> f64 {
    let (decoder, cpu) = (model.decoder(), model.cpu());
    let c = decoder.config();
    let mut cache = KvCache::of(keys, c, WINDOW);
    let mut buffers = Buffers::new();
    let (mut sum, mut count) = (0f64, 0);
    let rows = 32;
    let mut logits = vec![0f32; rows * c.vocab];
    for window in ids.chunks_exact(WINDOW) {
        let mut tokens = window.to_vec();
        if let Some(bos) = model.tokenizer().bos() {
            tokens[0] = bos;
        }
        let mut batch = Batch::default();
        batch.push(&tokens, 0, vec![(0, WINDOW)], 0);
        let x = decoder.forward(cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap();
        let scored: Vec<usize> = (WINDOW / 2 + 1..WINDOW).collect();
        for part in scored.chunks(rows) {
            let logits = &mut logits[..part.len() * c.vocab];
            decoder.logits(cpu, None, mode, &x[(part[0] - 1) * c.width..][..part.len() * c.width], logits);
            let targets: Vec<u32> = part.iter().map(|&i| tokens[i]).collect();
            let mut losses = vec![0f32; part.len()];
            cross_entropy(cpu.pool(), logits, c.vocab, &targets, None, &mut losses);
            sum += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            count += part.len();
        }
    }
    (sum / count as f64).exp()
}
