//! The perplexity of a text, window by window.

use super::{Examinee, SitError};
use crate::{Mode, Model, PerplexityResult, Window, WindowNll, WindowScheme};
use nurture_kernels::cross_entropy;
use nurture_model::{Batch, Buffers, KvCache};
use std::time::Instant;

impl Examinee<'_> {
    /// The perplexity of a text that was cut into windows. `bytes(document, range)` gives the bytes of those tokens.
    ///
    /// # Errors
    /// A token beyond the vocabulary; figures that are not numbers.
    pub fn read(
        &self,
        name: &str,
        model: Model,
        scheme: WindowScheme,
        windows: &[Window],
        bytes: impl Fn(&Window) -> usize,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<PerplexityResult, SitError> {
        let started = Instant::now();
        let c = self.decoder.config();
        let longest = windows.iter().map(|w| w.tokens.len()).max().unwrap_or(0);
        let mut cache = KvCache::new(c, longest);
        let mut buffers = Buffers::new();
        let rows = ((8 << 20) / c.vocab).clamp(8, 256);
        let mut logits = vec![0f32; rows * c.vocab];
        let mut per_window = Vec::with_capacity(windows.len());
        for (done, w) in windows.iter().enumerate() {
            let mut batch = Batch::default();
            batch.push(&w.tokens, 0, vec![(0, w.tokens.len())], 0);
            let mode = nurture_model::Mode::Exact;
            let x = self.decoder.forward(self.cpu, mode, self.adapter, &batch, &mut cache, &mut buffers)?;
            let targets: Vec<usize> = w.scored.clone().collect();
            let mut nll = 0f64;
            for part in targets.chunks(rows) {
                let from = (part[0] - 1) * c.width;
                let logits = &mut logits[..part.len() * c.vocab];
                self.decoder.logits(
                    self.cpu,
                    self.adapter,
                    mode,
                    &x[from..from + part.len() * c.width],
                    logits,
                );
                let tokens: Vec<u32> = part.iter().map(|&i| w.tokens[i]).collect();
                let mut losses = vec![0f32; part.len()];
                cross_entropy(self.cpu.pool(), logits, c.vocab, &tokens, None, &mut losses);
                nll += losses.iter().map(|&l| l as f64).sum::<f64>();
            }
            per_window.push(WindowNll { tokens: targets.len(), bytes: bytes(w), nll });
            if !progress(done + 1, windows.len()) {
                return Err(SitError::Interrupted);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(PerplexityResult::new(name, Mode::Exact, model, scheme, per_window, seconds)?)
    }
}
