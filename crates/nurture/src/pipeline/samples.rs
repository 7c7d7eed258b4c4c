//! What the learner answers while it learns: `samples.jsonl`, a line a prompt every few steps, greedy and in exact mode.
//!
//! A sample depends on the weights after its step alone, so that a run that was killed writes the same lines again; those of
//! steps that are to be done again are cut off first, as in `metrics.jsonl`.

use crate::engine::{Completion, Model, complete};
use crate::json_lines;
use anyhow::{Context as _, Result};
use nurture_formats::write_atomic;
use nurture_infer::{Generator, Sampler, Sampling};
use nurture_model::Mode;
use nurture_text::Message;
use nurture_train::Learner;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Name of the file in the run's folder.
pub const SAMPLES: &str = "samples.jsonl";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// the step after which it was given
    pub step: u64,
    /// the question
    pub prompt: String,
    /// the answer
    pub text: String,
}

/// The answers so far, none where there is no file; a line that is not finished (yet) is left out.
///
/// # Errors
/// A file that cannot be read.
pub fn read_samples(path: &Path) -> Result<Vec<Sample>> {
    json_lines::read(path)
}

/// The questions of a run.
#[derive(Debug)]
pub(super) struct Samples {
    path: PathBuf,
    prompts: Vec<(String, Vec<u32>)>,
    every: u64,
    most: usize,
    /// the last step done has no whole set of answers: a checkpoint came to the disk and they did not
    behind: bool,
}

impl Samples {
    /// Takes up the file of a run that has done `done` steps. `system`: the system turn before each prompt.
    pub(super) fn open(
        dir: &Path,
        model: &Model,
        recipe: &crate::recipe::Samples,
        system: Option<&str>,
        done: u64,
    ) -> Result<Samples> {
        let path = dir.join(SAMPLES);
        let mut prompts = Vec::new();
        for prompt in &recipe.prompts {
            let system = system.map(|s| Message::new("system", s));
            let messages: Vec<Message> = system.into_iter().chain([Message::new("user", prompt)]).collect();
            let tokens =
                model.renderer().prompt(&messages).with_context(|| format!("train.samples: {prompt}"))?;
            prompts.push((prompt.clone(), tokens.tokens));
        }
        let mut kept = read_samples(&path)?;
        let last = kept.iter().filter(|s| s.step == done).count();
        let behind = done > 0 && last != prompts.len();
        kept.retain(|s| s.step < done + u64::from(!behind));
        if path.exists() {
            let lines =
                kept.iter().map(|s| Ok(serde_json::to_string(s)? + "\n")).collect::<Result<String>>()?;
            write_atomic(&path, lines.as_bytes())?;
        }
        Ok(Samples { path, prompts, every: recipe.every as u64, most: recipe.max_tokens, behind })
    }

    /// Asks after step `done` of `all` what a run that was killed there did not.
    pub(super) fn catch_up(&self, model: &Model, learner: &Learner<'_>, done: u64, all: u64) -> Result<()> {
        if self.behind { self.ask(model, learner, done, all) } else { Ok(()) }
    }

    /// Asks after step `step` of `all`, if it is time.
    pub(super) fn ask(&self, model: &Model, learner: &Learner<'_>, step: u64, all: u64) -> Result<()> {
        if self.prompts.is_empty() || !(step.is_multiple_of(self.every) || step == all) {
            return Ok(());
        }
        let (decoder, adapter) = match learner.network() {
            Some(network) => (network, None),
            None => (model.decoder(), Some(learner.adapter())),
        };
        let mut lines = String::new();
        for (prompt, tokens) in &self.prompts {
            let room = (tokens.len() + self.most).min(decoder.config().context);
            let mut generator = Generator::new(decoder, adapter, model.cpu(), Mode::Exact, room);
            let sampler = &mut Sampler::new(Sampling::default());
            let most = self.most;
            let completion =
                Completion { prompt: tokens, most, sampler, stop: &[], constraint: None, drafts: None };
            let reply = complete(model, &mut generator, completion, |_| true)?;
            let sample = Sample { step, prompt: prompt.clone(), text: reply.text };
            lines += &(serde_json::to_string(&sample)? + "\n");
        }
        let at = || self.path.display().to_string();
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).with_context(at)?;
        file.write_all(lines.as_bytes()).with_context(at)
    }
}
