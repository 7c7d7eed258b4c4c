//! Predictions on windows of real text, for tests of what a lossy form of the same network costs.

use nurture::engine::{LoadOptions, Model};
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

/// The second half of each window, token by token: `seen` gets the log-probabilities `[V]` of each of `N` forms, and the token
/// that came. Returns the perplexity of each form.
pub(crate) fn read<const N: usize>(
    model: &Model,
    forms: [(Mode, KvType); N],
    ids: &[u32],
    mut seen: impl FnMut([&[f32]; N], u32),
) -> [f64; N] {
    let (decoder, cpu) = (model.decoder(), model.cpu());
    let c = decoder.config();
    let mut buffers = Buffers::new();
    let (mut sums, mut count) = ([0f64; N], 0);
    let rows = 32;
    let mut logits = [(); N].map(|()| vec![0f32; rows * c.vocab]);
    for window in ids.chunks_exact(WINDOW) {
        let mut tokens = window.to_vec();
        if let Some(bos) = model.tokenizer().bos() {
            tokens[0] = bos;
        }
        let mut batch = Batch::default();
        batch.push(&tokens, 0, vec![(0, WINDOW)], 0);
        let hidden = forms.map(|(mode, keys)| {
            let mut cache = KvCache::of(keys, c, WINDOW);
            decoder.forward(cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap().to_vec()
        });
        let scored: Vec<usize> = (WINDOW / 2 + 1..WINDOW).collect();
        for part in scored.chunks(rows) {
            for (i, logits) in logits.iter_mut().enumerate() {
                let x = &hidden[i][(part[0] - 1) * c.width..][..part.len() * c.width];
                decoder.logits(cpu, None, forms[i].0, x, &mut logits[..part.len() * c.vocab]);
                logits.chunks_exact_mut(c.vocab).for_each(log_probabilities);
            }
            for (row, &at) in part.iter().enumerate() {
                let said: [&[f32]; N] = std::array::from_fn(|i| &logits[i][row * c.vocab..][..c.vocab]);
                for (sum, said) in sums.iter_mut().zip(said) {
                    *sum -= f64::from(said[tokens[at] as usize]);
                }
                seen(said, tokens[at]);
                count += 1;
            }
        }
    }
    sums.map(|sum| (sum / count as f64).exp())
}

fn log_probabilities(logits: &mut [f32]) {
    let top = f64::from(logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)));
    let all = top + logits.iter().map(|&l| (f64::from(l) - top).exp()).sum::<f64>().ln();
    logits.iter_mut().for_each(|l| *l = (f64::from(*l) - all) as f32);
}
