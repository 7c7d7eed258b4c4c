//! Reward models as rules: what adapters that score find answers worth, over the very base that speaks.
//!
//! One copy of the base serves the policy and all its judges. Answers to one prompt stand in a tree, so that the prompt is read
//! once; what an answer is worth does not depend on the others.

use crate::engine::{self, Model};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_data::{PrefixTree, TokenExample};
use nurture_model::{Adapter, TrainBuffers};
use nurture_train::lay_out;
use nurture_train::reinforce::Attempt;
use std::path::Path;

/// Most tokens that are read at once (an answer with more stands alone).
const AT_ONCE: usize = 1024;

/// Reward models, and the prompts whose answers they score.
pub(super) struct Judges<'m> {
    model: &'m Model,
    prompts: Vec<Vec<u32>>,
    adapters: Vec<Adapter>,
    buffers: TrainBuffers,
}

impl<'m> Judges<'m> {
    /// Nobody yet.
    pub(super) fn new(model: &'m Model, prompts: Vec<Vec<u32>>) -> Judges<'m> {
        Judges { model, prompts, adapters: Vec::new(), buffers: TrainBuffers::default() }
    }

    /// Takes in the reward model of a folder (of a run, or of its adapter); its number.
    pub(super) fn add(&mut self, path: &Path, base_sha256: &str) -> Result<usize> {
        let dir = engine::adapter_dir(path);
        let shown = dir.display();
        let extra = engine::recorded(&dir).unwrap_or_default();
        let base = extra.get("base").and_then(|b| b.get("sha256")).and_then(|s| s.as_str());
        if let Some(other) = base.filter(|sha256| *sha256 != base_sha256) {
            let (other, own) = (short(other), short(base_sha256));
            bail!(said!(
                "{shown}: a reward model of another base (sha256 {other}…, this run's is {own}…); train one on this base",
                "{shown}：这是另一个基座的奖励模型（sha256 {other}…，本次运行是 {own}…）；请在这个基座上训练一个"
            ));
        }
        let adapter = self.model.adapter(&dir).with_context(|| shown.to_string())?;
        if adapter.score().is_none() {
            bail!(said!(
                "{shown}: this adapter speaks and has no head that scores; train one with train.method = \"reward\"",
                "{shown}：这个适配器会作答，没有评分的输出头；请用 train.method = \"reward\" 训练一个"
            ));
        }
        self.adapters.push(adapter);
        Ok(self.adapters.len() - 1)
    }

    /// What each judge finds each answer worth.
    pub(super) fn worth(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Vec<f64>>> {
        let mut out = vec![Vec::new(); attempts.len()];
        if self.adapters.is_empty() {
            return Ok(out);
        }
        let whole: Vec<TokenExample> = attempts
            .iter()
            .map(|a| {
                let prompt = self.prompts.get(a.prompt).map_or(&[][..], Vec::as_slice);
                let tokens: Vec<u32> = prompt.iter().chain(a.tokens).copied().chain(a.end).collect();
                TokenExample { id: String::new(), source: 0, trained: vec![false; tokens.len()], tokens }
            })
            .collect();
        let mut rest = &whole[..];
        let mut done = 0;
        while !rest.is_empty() {
            let mut count = 1;
            let pack = |n: usize| rest.iter().take(n).collect::<Vec<_>>();
            while count < rest.len() && PrefixTree::new(&pack(count + 1), true).rows() <= AT_ONCE {
                count += 1;
            }
            let pack = pack(count);
            let (tree, paths) = PrefixTree::with_paths(&pack, true);
            let batch = lay_out(&tree, 0.0);
            for adapter in &self.adapters {
                let Some(head) = adapter.score() else { continue };
                let (decoder, cpu) = (self.model.decoder(), self.model.cpu());
                let worth =
                    decoder.values(cpu, Some(adapter), &batch, &mut self.buffers, &paths.ends, head)?;
                for (out, worth) in out[done..].iter_mut().zip(worth) {
                    out.push(f64::from(worth));
                }
            }
            done += count;
            rest = &rest[count..];
        }
        Ok(out)
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
