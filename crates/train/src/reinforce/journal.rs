//! `rollouts.jsonl`: each answer with its marks, written down and flushed before it is used.
//!
//! What a rule of the owner's own says may differ tomorrow; written down, it does not. A run that was killed takes the
//! answers of a round that stands here whole, and makes those of a torn one again. The first line says which run it is.

use crate::error::TrainError;
use nurture_formats::write_atomic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the run's folder.
pub const ROLLOUTS: &str = "rollouts.jsonl";

/// The first line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    /// identity of the run
    run: String,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) step: u64,
    /// index of the prompt, and which answer to it
    pub(crate) prompt: usize,
    pub(crate) sample: usize,
    /// lines of the round
    pub(crate) of: usize,
    pub(crate) id: String,
    pub(crate) reward: f64,
    pub(crate) strict: f64,
    pub(crate) lenient: f64,
    pub(crate) scores: Vec<(f64, f64)>,
    pub(crate) ended: bool,
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logp: Vec<f32>,
}

/// The file, open for more rounds.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// whole rounds that are still to be done
    held: BTreeMap<u64, Vec<Line>>,
}

impl Journal {
    /// Opens the journal of a run that has done `steps` steps. What belongs to another run, is torn, or stands behind a gap
    /// goes.
    pub(crate) fn open(folder: &Path, run: &str, steps: u64) -> Result<Journal, TrainError> {
        let path = folder.join(ROLLOUTS);
        let io = |action| move |e| (action, e);
        let fail =
            |(action, e): (&'static str, std::io::Error)| TrainError::io(&folder.join(ROLLOUTS), action, e);
        let head = serde_json::to_string(&Head { run: run.to_string() })
            .map_err(|e| fail(("writing", e.into())))?
            + "\n";
        let mut held: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        // length of what may stay, and whether there is more
        let (mut good, mut torn) = (0u64, false);
        match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(fail(("opening", e))),
            Ok(file) => {
                let mut reader = BufReader::new(file);
                let (mut text, mut at, mut round) = (Vec::new(), 0u64, Vec::<Line>::new());
                let mut next = 1u64;
                loop {
                    text.clear();
                    let n = reader.read_until(b'\n', &mut text).map_err(io("reading")).map_err(fail)?;
                    if n == 0 {
                        break;
                    }
                    torn = true;
                    if at == 0 {
                        if text != head.as_bytes() {
                            break;
                        }
                    } else {
                        let line: Option<Line> =
                            serde_json::from_slice(&text).ok().filter(|_| text.ends_with(b"\n"));
                        let Some(line) = line.filter(|l| l.step == next && l.tokens.len() == l.logp.len())
                        else {
                            break;
                        };
                        let of = line.of;
                        round.push(line);
                        if round.len() < of {
                            at += n as u64;
                            continue;
                        }
                        let whole = std::mem::take(&mut round);
                        if next > steps {
                            held.insert(next, whole);
                        }
                        next += 1;
                    }
                    at += n as u64;
                    (good, torn) = (at, false);
                }
                torn |= !round.is_empty();
                if next <= steps {
                    // rounds of steps that are done are gone: nothing behind them can follow
                    (good, torn) = (0, true);
                    held.clear();
                }
            }
        }
        if good == 0 {
            write_atomic(&path, head.as_bytes())?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(io("opening")).map_err(fail)?;
        if good > 0 && torn {
            let file = OpenOptions::new().write(true).open(&path).map_err(io("opening")).map_err(fail)?;
            file.set_len(good)
                .and_then(|()| file.sync_data())
                .map_err(io("cutting a torn round off"))
                .map_err(fail)?;
        }
        Ok(Journal { path, file, held })
    }

    /// The round of a step, if it was written down before.
    pub(crate) fn take(&mut self, step: u64) -> Option<Vec<Line>> {
        self.held.remove(&step)
    }

    /// Writes a round down and waits until it is on the disk.
    pub(crate) fn append(&mut self, round: &[Line]) -> Result<(), TrainError> {
        let fail = |action: &'static str| {
            let path = self.path.clone();
            move |e| TrainError::io(&path, action, e)
        };
        let mut bytes = Vec::new();
        for line in round {
            serde_json::to_writer(&mut bytes, line).map_err(|e| fail("writing")(e.into()))?;
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes).map_err(fail("appending a round"))?;
        self.file.sync_data().map_err(fail("flushing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(step: u64) -> Vec<Line> {
        let line = |sample| Line {
            step,
            prompt: 3,
            sample,
            of: 2,
            id: "a:1".into(),
            reward: 0.1,
            strict: 0.0,
            lenient: 0.3,
            scores: vec![(0.0, 0.3)],
            ended: true,
            text: "好".into(),
            tokens: vec![1, 2],
            logp: vec![-0.1, -1.234_567_9e-5],
        };
        vec![line(0), line(1)]
    }

    #[test]
    fn whole_rounds_come_back_and_torn_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ROLLOUTS);
        let mut journal = Journal::open(dir.path(), "run", 0).unwrap();
        (1..=3).for_each(|s| journal.append(&round(s)).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len() - 1, whole.len() - 200, whole.len() - 300] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(dir.path(), "run", 1).unwrap();
            assert_eq!(journal.take(1), None, "done");
            assert_eq!(journal.take(2), Some(round(2)), "floats come back to the bit");
            assert_eq!(journal.take(3), None, "torn");
            journal.append(&round(3)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        // a round too early, or too late for the steps that are done
        Journal::open(dir.path(), "run", 4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"run\":\"run\"}\n");
        std::fs::write(&path, &whole).unwrap();
        let mut other = Journal::open(dir.path(), "another", 0).unwrap();
        assert_eq!(other.take(1), None);
        for garbage in [&b"\xff\x00"[..], b"\n", b"{}", b"{\"run\":\"run\"}\n{}\n"] {
            std::fs::write(&path, garbage).unwrap();
            let mut journal = Journal::open(dir.path(), "run", 0).unwrap();
            journal.append(&round(1)).unwrap();
            assert_eq!(Journal::open(dir.path(), "run", 0).unwrap().take(1), Some(round(1)));
        }
    }
}
