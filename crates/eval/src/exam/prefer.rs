//! The preference exam: which of two answers does the model find more likely, per token? A reward model is asked what each is
//! worth instead.
//!
//! Nothing is generated. Prompt and both answers stand in one tree, so that the prompt is read once. Longer answers are less
//! likely as a whole, whatever they say; so the item is right where the better answer has the larger log-probability
//! *per token*. The difference of the whole answers is kept too: what it moved by from the base to the tuned model is, but for
//! `β`, DPO's own reward margin.

use super::{Examinee, Item, SitError};
use crate::{ExamInfo, ItemResult};
use nurture_model::{Adapter, LossRow, ScoreOptions, TrainBatch, TrainBuffers};

/// Most tokens that are scored at once (an item that has more stands alone).
const AT_ONCE: usize = 768;

/// An item's two answers in a batch: from which loss row on, and how many.
struct Placed {
    item: usize,
    /// better, worse
    tokens: [usize; 2],
    /// rows of their last tokens
    ends: [usize; 2],
    prompt: usize,
}

/// Appends prompt and answers, losses at each answer's tokens; the rows where the answers end.
fn place(batch: &mut TrainBatch, prompt: &[u32], answers: [&[u32]; 2]) -> [usize; 2] {
    let trunk = batch.batch.follow(None, prompt);
    let last = batch.batch.len() - 1;
    answers.map(|answer| {
        let first = batch.batch.len();
        batch.batch.follow(Some(trunk), answer);
        batch.losses.extend(answer.iter().enumerate().map(|(i, &target)| LossRow {
            row: if i == 0 { last } else { first + i - 1 },
            target,
            weight: 0.0,
        }));
        first + answer.len() - 1
    })
}

impl Examinee<'_> {
    pub(super) fn prefer(
        &self,
        info: &ExamInfo,
        items: &[&Item],
        prompts: &[Vec<u32>],
        keep: &mut dyn FnMut(Vec<ItemResult>) -> Result<(), SitError>,
    ) -> Result<(), SitError> {
        let mut buffers = TrainBuffers::default();
        let (mut batch, mut placed): (TrainBatch, Vec<Placed>) = Default::default();
        for (at, (item, prompt)) in items.iter().zip(prompts).enumerate() {
            let [better, worse] = item.options.as_slice() else {
                let gold = item.gold.first().cloned().unwrap_or_default();
                let problem = "a preference needs a better and a worse answer".to_string();
                return Err(SitError::Gold { id: item.id.clone(), gold, problem });
            };
            let answers = [
                self.answer_tokens(info.manner.ask, item, prompt, better)?,
                self.answer_tokens(info.manner.ask, item, prompt, worse)?,
            ];
            let ends = place(&mut batch, prompt, [&answers[0], &answers[1]]);
            let tokens = [answers[0].len(), answers[1].len()];
            placed.push(Placed { item: at, tokens, ends, prompt: prompt.len() });
            let next = prompts.get(at + 1).map_or(AT_ONCE, Vec::len);
            if batch.batch.len() + 2 * next.max(64) <= AT_ONCE && at + 1 < items.len() {
                continue;
            }
            let mut out = Vec::with_capacity(placed.len());
            if let Some(head) = self.adapter.and_then(Adapter::score) {
                let rows: Vec<usize> = placed.iter().flat_map(|p| p.ends).collect();
                let worth = self.decoder.values(self.cpu, self.adapter, &batch, &mut buffers, &rows, head)?;
                for (p, worth) in placed.drain(..).zip(worth.as_chunks::<2>().0) {
                    out.push(judged(items[p.item], info, &p, worth[0] > worth[1]));
                }
            } else {
                let options = ScoreOptions::default();
                let found = self.decoder.score(self.cpu, self.adapter, &batch, &mut buffers, options)?;
                let mut rows = found.logp.iter().map(|&l| f64::from(l));
                for p in placed.drain(..) {
                    let sums = p.tokens.map(|n| rows.by_ref().take(n).sum::<f64>());
                    let each = sums[0] / p.tokens[0] as f64 - sums[1] / p.tokens[1] as f64;
                    let result = judged(items[p.item], info, &p, each > 0.0);
                    let logprob = Some(sums[usize::from(!result.correct)]);
                    out.push(ItemResult { logprob, margins: Some([sums[0] - sums[1], each]), ..result });
                }
            }
            (batch.batch, batch.losses) = Default::default();
            keep(out)?;
        }
        Ok(())
    }
}

fn judged(item: &Item, info: &ExamInfo, p: &Placed, correct: bool) -> ItemResult {
    let said = usize::from(!correct);
    ItemResult {
        id: item.id.clone(),
        kind: info.kind,
        question: item.question.clone(),
        gold: item.gold.clone(),
        answer: item.options.get(said).cloned().unwrap_or_default(),
        correct,
        score: f64::from(u8::from(correct)),
        logprob: None,
        probability: None,
        margins: None,
        prompt_tokens: p.prompt,
        answer_tokens: p.tokens[said],
        cut: false,
    }
}
