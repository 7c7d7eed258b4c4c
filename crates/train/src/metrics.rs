//! `metrics.jsonl`: one line a step, each step once, whatever happened in between.

use crate::error::TrainError;
use crate::events::{EventFile, beside};
use crate::preference::Rewards;
use nurture_formats::write_atomic;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the run's folder.
pub const METRICS: &str = "metrics.jsonl";

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Step, from 1.
    pub step: u64,
    /// Steps of the run.
    pub total_steps: u64,
    /// Pass over the examples, from 1.
    pub epoch: u32,
    /// Mean loss per trained token, nats, before the step's update; of a preference, mean loss of a pair or judged answer.
    pub loss: f64,
    /// Mean divergence from the base on the step's general text, nats, where breadth is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<f64>,
    /// How the answers were rewarded before the update, of a preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<Rewards>,
    /// Learning rate.
    pub rate: f64,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Tokens of the step's examples.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
    /// Tokens that were computed: what examples share counts once.
    #[serde(default)]
    pub computed_tokens: u64,
    /// Seconds that the step took.
    pub seconds: f64,
    /// Tokens of the examples a second.
    pub tok_s: f64,
    /// Memory of the process, bytes, where the system tells it.
    pub rss_bytes: Option<u64>,
    /// What practice gave, where the policy learns from its own answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<RewardMetrics>,
    /// Whether the loss climbs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diverging: bool,
}

/// What the answers of a step were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardMetrics {
    /// Mean reward.
    pub reward: f64,
    /// Mean over the groups of the standard deviation of their rewards.
    pub spread: f64,
    /// Mean strict score.
    pub strict: f64,
    /// Mean lenient score. What it gains on the strict one is form that is missing; a strict one that rises alone is form.
    pub lenient: f64,
    /// Estimated divergence from the base, nats a token; `None` where it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Mean tokens of an answer.
    pub length: f64,
    /// Entropy of the policy, nats a token, estimated by the mean negative log-probability of what it said.
    pub entropy: f64,
    /// PPO: mean loss of the values, half a squared error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// PPO: share of the targets' variance that the values knew before the step; `None` where all targets are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<f64>,
    /// Share of tokens (RLOO: answers) whose gradient the clip took away.
    pub clipped: f64,
    /// Share of answers that were cut off.
    pub cut: f64,
    /// Groups whose answers are all worth the same: nothing is learnt from them.
    pub flat: u64,
    /// Groups.
    pub groups: u64,
    /// Answers.
    pub answers: u64,
}

/// The file, open for more lines.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    /// the same for TensorBoard
    events: EventFile,
}

impl MetricsFile {
    /// Opens the file of a run that has done `steps` steps; lines of later steps, and what is no line, go.
    pub(crate) fn open(path: PathBuf, steps: u64) -> Result<MetricsFile, TrainError> {
        let old = read_bytes(&path)?;
        let (mut kept, mut done): (Vec<u8>, _) = (Vec::new(), Vec::new());
        for (line, metrics) in lines(&old).into_iter().filter(|(_, m)| m.step <= steps) {
            kept.extend_from_slice(line);
            kept.push(b'\n');
            done.push(metrics);
        }
        if kept != old {
            write_atomic(&path, &kept)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.map_err(|e| TrainError::io(&path, "opening", e))?;
        let events = EventFile::open(beside(&path), &done)?;
        Ok(MetricsFile { path, file, events })
    }

    /// Appends a line, in one write.
    pub(crate) fn append(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        let failed = |e| TrainError::io(&self.path, "appending a line", e);
        let mut line = serde_json::to_vec(metrics).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.flush()).map_err(failed)?;
        self.events.append(metrics)
    }

    /// Path and file, for a thread that shall make the lines so far survive a power cut.
    pub(crate) fn handle(&self) -> Result<(PathBuf, File), TrainError> {
        let file = self.file.try_clone().map_err(|e| TrainError::io(&self.path, "opening", e))?;
        Ok((self.path.clone(), file))
    }

    /// Makes the lines so far survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, "flushing", e))
    }
}

/// The metrics of a run so far. A last line that is not finished (yet) is left out.
///
/// # Errors
/// The file cannot be read. A file that is not there has no lines.
pub fn read_metrics(path: impl AsRef<Path>) -> Result<Vec<StepMetrics>, TrainError> {
    Ok(lines(&read_bytes(path.as_ref())?).into_iter().map(|(_, metrics)| metrics).collect())
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, TrainError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|e| TrainError::io(path, "reading", e)),
    }
}

fn lines(bytes: &[u8]) -> Vec<(&[u8], StepMetrics)> {
    let split = bytes.split(|b| *b == b'\n');
    split.filter_map(|line| Some((line, serde_json::from_slice(line).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            total_steps: 9,
            epoch: 1,
            loss: 1.5,
            keep: None,
            preferred: None,
            rate: 1e-3,
            grad_norm: 2.0,
            tokens: 10,
            trained_tokens: 5,
            computed_tokens: 8,
            seconds: 0.5,
            tok_s: 20.0,
            rss_bytes: None,
            rewards: None,
            diverging: false,
        }
    }

    #[test]
    fn each_step_stands_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(METRICS);
        let mut file = MetricsFile::open(path.clone(), 0).unwrap();
        (1..=5).for_each(|step| file.append(&line(step)).unwrap());
        drop(file);
        // killed in the middle of a line
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":6,\"lo").unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 5);
        let mut file = MetricsFile::open(path.clone(), 3).unwrap();
        (4..=6).for_each(|step| file.append(&line(step)).unwrap());
        let steps: Vec<u64> = read_metrics(&path).unwrap().iter().map(|m| m.step).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    }
}
