//! Base and tuned model over the base's own answers.

use super::{Ask, Examinee, Item, SitError};
use crate::{DriftItem, EvalError, ExamResult};
use nurture_kernels::log_softmax;
use nurture_model::{Batch, Buffers, KvCache, Mode};

/// Logits of each model that stand in memory at once.
const LOGITS: usize = 8 << 20;

impl Examinee<'_> {
    /// What both models make of the base's `answers` to `items`, in their order; `self` is the base. `groups` names the
    /// ability of each item. An empty answer has its end token alone.
    ///
    /// # Errors
    /// Models of different vocabularies; answers that are not those of the items; what template or network say.
    pub fn drift(
        &self,
        tuned: &Examinee<'_>,
        items: &[Item],
        groups: &[String],
        answers: &ExamResult,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Vec<DriftItem>, SitError> {
        let vocab = self.decoder.config().vocab;
        crate::same("vocabulary", &vocab, &tuned.decoder.config().vocab)?;
        if items.len() != answers.items.len() || items.len() != groups.len() {
            let (base, tuned) = (items.len(), answers.items.len());
            return Err(EvalError::Lengths { what: "divergence", base, tuned }.into());
        }
        let mut sequences = Vec::with_capacity(items.len());
        for (item, answer) in items.iter().zip(&answers.items) {
            let prompt = self.prompt(Ask::Chat, item)?;
            let mut tokens = self.answer_tokens(Ask::Chat, item, &prompt, &answer.answer)?;
            if answer.cut && tokens.len() > 1 {
                // it was going on: the end of the turn is not what it said
                tokens.pop();
            }
            sequences.push((prompt, tokens));
        }
        let longest = sequences.iter().map(|(p, a)| p.len() + a.len()).max().unwrap_or(0);
        let rows = (LOGITS / vocab).clamp(1, 64);
        let mut logits = [vec![0f32; rows * vocab], vec![0f32; rows * vocab]];
        let mut caches = [self, tuned].map(|e| KvCache::new(e.decoder.config(), longest));
        let mut buffers = [Buffers::new(), Buffers::new()];
        let mut out = Vec::with_capacity(items.len());
        for (i, (prompt, answer)) in sequences.iter().enumerate() {
            let tokens: Vec<u32> = prompt.iter().chain(answer).copied().collect();
            let mut batch = Batch::default();
            batch.push(&tokens, 0, vec![(0, tokens.len())], 0);
            // rows that tell of the answer's tokens
            let mut xs = [Vec::new(), Vec::new()];
            for (s, who) in [self, tuned].into_iter().enumerate() {
                let width = who.decoder.config().width;
                let x = who.decoder.forward(
                    who.cpu,
                    Mode::Exact,
                    who.adapter,
                    &batch,
                    &mut caches[s],
                    &mut buffers[s],
                )?;
                xs[s] = x[(prompt.len() - 1) * width..(tokens.len() - 1) * width].to_vec();
            }
            let (mut kl, mut nll, mut agree) = (0f64, [0f64; 2], 0);
            for from in (0..answer.len()).step_by(rows) {
                let to = (from + rows).min(answer.len());
                for (s, who) in [self, tuned].into_iter().enumerate() {
                    let width = who.decoder.config().width;
                    let logits = &mut logits[s][..(to - from) * vocab];
                    who.decoder.logits(
                        who.cpu,
                        who.adapter,
                        Mode::Exact,
                        &xs[s][from * width..to * width],
                        logits,
                    );
                    log_softmax(who.cpu.pool(), logits, vocab);
                }
                let (base, other) = logits.split_at(1);
                for (r, &token) in answer[from..to].iter().enumerate() {
                    let (p, q) = (&base[0][r * vocab..][..vocab], &other[0][r * vocab..][..vocab]);
                    let terms =
                        p.iter().zip(q).map(|(&p, &q)| f64::from(p).exp() * (f64::from(p) - f64::from(q)));
                    // rounding may leave a hair below zero
                    kl += terms.filter(|t| t.is_finite()).sum::<f64>().max(0.0);
                    nll[0] -= f64::from(p[token as usize]);
                    nll[1] -= f64::from(q[token as usize]);
                    let best = q.iter().all(|&l| l <= q[token as usize]);
                    agree += usize::from(best);
                }
            }
            out.push(DriftItem {
                id: items[i].id.clone(),
                group: groups[i].clone(),
                prompt: items[i].question.clone(),
                answer: answers.items[i].answer.clone(),
                tokens: answer.len(),
                kl,
                base_nll: nll[0].max(0.0),
                tuned_nll: nll[1].max(0.0),
                agree,
            });
            if !progress(i + 1, items.len()) {
                return Err(SitError::Interrupted);
            }
        }
        Ok(out)
    }
}
