//! How likely a text is to the model, token by token.

use crate::generate::Generator;
use crate::row::Row;
use crate::{InferError, Pick};

/// Tokens that go through the network at once.
const CHUNK: usize = 256;

/// Logits that stand in memory at once.
const LOGITS: usize = 8 << 20;

impl Generator<'_> {
    /// The log-probability of each token of `tokens` after those before it, from the second on (`tokens.len() - 1` entries), with
    /// the `top` likeliest tokens in its place. Logits are made some rows at a time and only what is asked for is kept.
    ///
    /// The cache holds `tokens` afterwards.
    ///
    /// # Errors
    /// See [`Generator::read`]; a logit that is not a number.
    pub fn score(&mut self, tokens: &[u32], top: usize) -> Result<Vec<Pick>, InferError> {
        self.check(tokens)?;
        let (width, vocab) = (self.model.config().width, self.model.config().vocab);
        if let Some(place) = tokens.iter().position(|&t| t as usize >= vocab) {
            return Err(nurture_model::ModelError::Token { token: tokens[place], place, vocab }.into());
        }
        let rows = (LOGITS / vocab).clamp(1, CHUNK);
        let (mut row, mut logits) = (Row::default(), Vec::new());
        let mut out = Vec::with_capacity(tokens.len() - 1);
        self.past.clear();
        for chunk in tokens.chunks(CHUNK) {
            let at = self.past.len();
            let x = self.pass(chunk)?.to_vec();
            // row r tells of token r + 1; the last row of all tells of nothing that is there
            let told = chunk.len().min(tokens.len() - 1 - at);
            for from in (0..told).step_by(rows) {
                let to = (from + rows).min(told);
                logits.resize((to - from) * vocab, 0.0);
                self.model.logits(
                    self.cpu,
                    self.adapter,
                    self.mode,
                    &x[from * width..to * width],
                    &mut logits,
                );
                for (r, logits) in (from..to).zip(logits.chunks_exact(vocab)) {
                    let token = tokens[at + r + 1];
                    let not_finite = InferError::NotFinite { tokens: at + r + 1 };
                    let best = row.look(logits).ok_or(not_finite)?;
                    let sum = best + row.log_sum(logits, best);
                    row.best_k(logits, top);
                    out.push(Pick {
                        token,
                        log_probability: Some(logits[token as usize] - sum),
                        top: row.order.iter().map(|&i| (i, logits[i as usize] - sum)).collect(),
                    });
                }
            }
        }
        Ok(out)
    }
}
