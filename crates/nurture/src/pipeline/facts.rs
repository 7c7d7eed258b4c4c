//! What is measured of the machine for forecast and report. Nothing of the run's result depends on it.

use crate::engine::Model;
use anyhow::{Result, anyhow};
use nurture_data::{PrefixTree, TokenExample};
use nurture_infer::engine::Loaded;
use nurture_train::reinforce::{Reinforce, sample};
use nurture_train::{Learner, Lessons, Subject, TrainConfig, Tried, preference_flop, useful_flop};
use std::time::Instant;

/// Most tokens of the piece that is timed.
const PIECE: usize = 768;

/// How fast training is, from a short piece of it: useful GFLOP/s of the passes, and seconds that a step takes beside them
/// (of an adapter they are few, and stand in the speed).
pub(super) fn training_speed(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    tokens: &[TokenExample],
    judged: &[bool],
) -> Result<(f64, f64)> {
    if config.preference.is_some() {
        return preference_speed(model, subject, config, tokens, judged);
    }
    // spread over the data, so that lengths are mixed as they will be
    let step = (tokens.len() / config.batch.max(1)).max(1);
    let mut pack: Vec<&TokenExample> = Vec::new();
    for e in tokens.iter().step_by(step) {
        pack.push(e);
        let rows = PrefixTree::new(&pack, config.shares()).rows();
        if pack.len() > 1 && rows > config.micro_tokens.min(PIECE) {
            pack.pop();
            break;
        }
    }
    let mut learner = Learner::begin(model.cpu(), model.decoder(), subject, config)?;
    let flop = useful_flop(model.decoder().config(), subject, &[&pack[..]], config.shares())?;
    let once = vec![pack];
    let twice = vec![once.concat(), once.concat()];
    let mut step = 0;
    let mut time = |packs: &[Vec<&TokenExample>]| -> Result<f64> {
        let began = Instant::now();
        step += 1;
        // a rate that changes nothing worth the name
        learner.update(config, step, 1e-12, packs)?;
        Ok(began.elapsed().as_secs_f64())
    };
    // the first pass takes its memory from the system
    time(&once)?;
    let (pass, beside) = match subject {
        Subject::Lora(_) => ((time(&once)? + time(&once)?) / 2.0, 0.0),
        // the step of a whole network's optimiser counts once, however many passes there are
        Subject::Full { .. } => {
            let (one, two) = (time(&once)?, time(&twice)?);
            let pass = (two - one).clamp(0.2 * one, one);
            (pass, one - pass)
        }
    };
    Ok((flop * 1e-9 / pass.max(1e-9), beside))
}

/// The same for a preference: a step over a few pairs, whose references are known after the first pass.
fn preference_speed(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    tokens: &[TokenExample],
    judged: &[bool],
) -> Result<(f64, f64)> {
    let group = config.group();
    let units = tokens.len() / group;
    let step = (units / config.batch.max(1)).max(1);
    let mut pack: Vec<usize> = Vec::new();
    for unit in (0..units).step_by(step) {
        let before = pack.len();
        pack.extend(unit * group..(unit + 1) * group);
        let given: Vec<&TokenExample> = pack.iter().filter_map(|&i| tokens.get(i)).collect();
        let rows = PrefixTree::new(&given, config.shares()).rows();
        if before > 1 && rows > config.micro_tokens.min(PIECE) {
            pack.truncate(before);
            break;
        }
    }
    let c = model.decoder().config();
    let lessons = Lessons {
        examples: pack.iter().filter_map(|&i| tokens.get(i)).cloned().collect(),
        judged: pack.iter().filter_map(|&i| judged.get(i)).copied().collect(),
        keep: Vec::new(),
    };
    let packs = vec![(0..pack.len()).collect::<Vec<usize>>()];
    let mut learner = Learner::begin(model.cpu(), model.decoder(), subject, config)?;
    let flop = preference_flop(c, subject, config, &lessons.examples, &packs)?;
    let mut step = 0;
    let mut time = || -> Result<f64> {
        let began = Instant::now();
        step += 1;
        learner.prefer(config, step, 1e-12, &packs, &lessons, &[])?;
        Ok(began.elapsed().as_secs_f64())
    };
    // the first pass takes its memory from the system, and asks the base
    time()?;
    let pass = (time()? + time()?) / 2.0;
    // of a whole network the optimiser's step is in the speed: a little too slow rather than too fast
    Ok((flop * 1e-9 / pass.max(1e-9), 0.0))
}

/// Answers of the trial of practice, and prompts that are answered.
const TRIAL: (usize, usize) = (16, 4);

/// How fast practice is, from a trial: a few answers made as in a round, and a pass that learns them.
pub(super) fn practice_speed(
    model: &Model,
    subject: &Subject,
    config: &TrainConfig,
    how: &Reinforce,
    prompts: &[TokenExample],
) -> Result<Tried> {
    let (network, cpu) = model.shared();
    let mut learner = Learner::begin(model.cpu(), model.decoder(), subject, config)?;
    let (count, step) = (TRIAL.1.min(config.batch), (prompts.len() / TRIAL.1).max(1));
    let asked: Vec<&TokenExample> = prompts.iter().step_by(step).take(count).collect();
    let each = (TRIAL.0 / asked.len().max(1)).min(how.samples).max(1);
    let questions: Vec<(&[u32], Vec<u64>)> =
        asked.iter().map(|e| (&e.tokens[..], (1..=each as u64).collect())).collect();
    let adapter = subject.lora().map(|_| Loaded::new("trial", learner.adapter().clone()));
    let stops = model.tokenizer().stop_ids();
    let speak = |most: usize, questions: &[(&[u32], Vec<u64>)]| {
        let how = Reinforce { max_new: most, ..how.clone() };
        sample(&network, &cpu, adapter.as_ref(), &how, stops, questions).map_err(|e| anyhow!(e))
    };
    // the first answers take their memory from the system
    speak(1, &questions)?;
    let began = Instant::now();
    let said = speak(how.max_new, &questions)?;
    let seconds = began.elapsed().as_secs_f64();
    let tokens: usize = said.iter().map(|r| r.tokens.len()).sum();
    let mut lessons: Vec<TokenExample> = Vec::new();
    for (i, answer) in said.iter().enumerate() {
        let Some(prompt) = asked.get(i / each) else { continue };
        let begin = prompt.tokens.len();
        let tokens = [&prompt.tokens[..], &answer.tokens].concat();
        let trained = (0..tokens.len()).map(|at| at >= begin).collect();
        lessons.push(TokenExample { id: prompt.id.clone(), source: 0, tokens, trained });
        let rows = PrefixTree::new(&lessons.iter().collect::<Vec<_>>(), config.shares()).rows();
        if lessons.len() > 1 && rows > config.micro_tokens.min(PIECE) {
            lessons.pop();
            break;
        }
    }
    let pack: Vec<&TokenExample> = lessons.iter().collect();
    let flop = useful_flop(model.decoder().config(), subject, &[&pack[..]], config.shares())?;
    let packs = vec![pack];
    let mut pass = |step: u64| -> Result<f64> {
        let began = Instant::now();
        // a rate that changes nothing worth the name
        learner.update(config, step, 1e-12, &packs)?;
        Ok(began.elapsed().as_secs_f64())
    };
    pass(1)?;
    let learning = (pass(2)? + pass(3)?) / 2.0;
    Ok(Tried {
        answers: said.len() as u64,
        length: tokens as f64 / said.len().max(1) as f64,
        tok_s: tokens as f64 / seconds.max(1e-9),
        gflops: flop * 1e-9 / learning.max(1e-9),
    })
}

/// The machine's rate of float32 multiply-adds, GFLOP/s: what a speed is held against.
pub(super) fn ceiling(model: &Model) -> f64 {
    let time = std::time::Duration::from_millis(30);
    (0..3).map(|_| nurture_kernels::fma_rate(model.cpu().pool(), time) * 1e-9).fold(0.0, f64::max)
}

/// Memory that can be had without swapping, bytes (Linux).
pub(super) fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Name of the processor.
pub(super) fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        text.lines().find(|l| l.starts_with(key))?.split(':').nth(1).map(|s| s.trim().to_string())
    };
    field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string())
}
