//! Reinforcement under rules on a tiny model: the engine speaks as the trainer hears, rewards rise, and neither threads,
//! nor kills, nor a grader that changes its mind change a byte.

mod common;

use common::{config, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_formats::TensorSource;
use nurture_infer::engine::Loaded;
use nurture_model::{Adapter, Cpu, Decoder};
use nurture_train::reinforce::{
    Attempt, Credit, Grade, Grader, Overlong, Policy, PolicyLoss, Practice, Reinforce, Trial, advantages,
    credits, sample, whiten,
};
use nurture_train::{
    Found, Learner, METRICS, Objective, RunLength, Subject, TrainConfig, TrainError, Trainer, forecast,
    read_metrics,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const STOP: u32 = 3;

/// Prompts that share their beginning, so that the trees of training have something to share.
fn prompts(count: u32) -> Vec<TokenExample> {
    let one = |n: u32| {
        let tokens: Vec<u32> = (100..110).chain([n, 2 * n + 1]).collect();
        let trained = (0..tokens.len()).map(|i| i + 1 == tokens.len()).collect();
        TokenExample { id: format!("prompts:{}", n + 1), source: 0, tokens, trained }
    };
    (0..count).map(one).collect()
}

/// Likes small tokens, and answers that end.
struct Small<'c> {
    calls: Option<&'c AtomicUsize>,
}

impl Grader for Small<'_> {
    fn grade(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Grade>, Box<dyn Error + Send + Sync>> {
        // one that counts its calls would never say the same again
        let moody = self.calls.map_or(0.0, |calls| 1e-3 * calls.fetch_add(1, Ordering::Relaxed) as f64);
        let one = |a: &Attempt<'_>| {
            let small = a.tokens.iter().filter(|&&t| t < 75).count() as f64 / a.tokens.len().max(1) as f64;
            let reward = small + moody * (a.tokens.len() % 3) as f64;
            Grade { reward, strict: small, lenient: small, scores: vec![(small, small)], text: String::new() }
        };
        Ok(attempts.iter().map(one).collect())
    }
}

fn how(loss: PolicyLoss) -> Reinforce {
    Reinforce { loss, samples: 6, max_new: 8, rules: "small".into(), ..Reinforce::default() }
}

fn practice<'a>(cpu: &Arc<Cpu>, model: &Arc<Decoder>, calls: Option<&'a AtomicUsize>) -> Practice<'a> {
    let (cpu, model) = (cpu.clone(), model.clone());
    Practice { model, cpu, stops: vec![STOP], grader: Box::new(Small { calls }) }
}

fn settings(how: Reinforce, steps: u64) -> TrainConfig {
    TrainConfig {
        length: RunLength::Steps(steps),
        batch: 4,
        micro_tokens: 96,
        rate: 2e-2,
        weight_decay: 0.0,
        checkpoint_every: 3,
        reinforce: Some(how),
        ..config()
    }
}

#[test]
fn the_engine_speaks_as_the_trainer_hears() {
    let cpu = Arc::new(Cpu::new(2));
    let model = Arc::new(tiny(&cpu));
    let mut adapter = Adapter::new(model.config(), &lora(), 3);
    for pair in adapter.iter_mut() {
        pair.update(|_, b| {
            b.iter_mut().enumerate().for_each(|(i, v)| *v = ((i * 37 % 19) as f32 - 9.0) * 0.02)
        });
    }
    let prompts = prompts(5);
    let asked: Vec<(&[u32], Vec<u64>)> = prompts
        .iter()
        .enumerate()
        .map(|(i, e)| (&e.tokens[..], (0..6).map(|s| 100 * i as u64 + s).collect()))
        .collect();
    for temperature in [1.0, 0.7] {
        let how = Reinforce { temperature, max_new: 40, ..how(PolicyLoss::Grpo) };
        let loaded = Loaded::new("policy", adapter.clone());
        let rollouts = sample(&model, &cpu, Some(&loaded), &how, &[STOP], &asked).unwrap();
        assert_eq!(rollouts.len(), 30);
        assert!(
            rollouts.iter().any(|r| r.ended) && rollouts.iter().any(|r| !r.ended && r.tokens.len() == 40)
        );
        // the same alone
        let alone =
            sample(&model, &cpu, Some(&loaded), &how, &[STOP], &[(asked[2].0, vec![asked[2].1[4]])]).unwrap();
        assert_eq!(alone[0], rollouts[2 * 6 + 4], "company changes nothing");
        let examples: Vec<TokenExample> = rollouts
            .iter()
            .enumerate()
            .map(|(i, r)| {
                let prompt = &prompts[i / 6].tokens;
                let tokens = [&prompt[..], &r.tokens].concat();
                let trained = (0..tokens.len()).map(|at| at >= prompt.len()).collect();
                TokenExample { id: i.to_string(), source: 0, tokens, trained }
            })
            .collect();
        let mut learner = Learner::new(&cpu, &model, adapter.clone());
        let pack: Vec<&TokenExample> = examples.iter().collect();
        let options = nurture_model::ScoreOptions { temperature: temperature as f32, entropy: false };
        let found = learner.score(&TrainConfig::default(), &pack, false, options).unwrap();
        let mut worst = 0f32;
        for (r, logp) in rollouts.iter().zip(&found.logp) {
            assert_eq!(r.logp.len(), logp.len());
            worst = r.logp.iter().zip(logp).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        assert!(worst < 4e-6, "{temperature}: differs by {worst}");
    }
}

fn rise(loss: PolicyLoss, subject: impl Fn(&Decoder) -> Subject, kl: f64, inner: usize) -> (f64, f64) {
    let cpu = Arc::new(Cpu::new(2));
    let model = Arc::new(tiny(&cpu));
    let dir = tempfile::tempdir().unwrap();
    let config = settings(Reinforce { kl, inner, ..how(loss) }, 14);
    let subject = subject(&model);
    let mut trainer = Trainer::new(&cpu, &model, &subject, config, prompts(12), &files(dir.path())).unwrap();
    assert!(matches!(trainer.step(), Err(TrainError::Setting { key: "reinforce", .. })));
    trainer.practise(practice(&cpu, &model, None)).unwrap();
    trainer.run(|_| ControlFlow::Continue(())).unwrap();
    let metrics = read_metrics(dir.path().join(METRICS)).unwrap();
    let rewards: Vec<_> = metrics.iter().map(|m| m.rewards.unwrap()).collect();
    assert!(rewards.iter().all(|r| r.answers == 24 && r.groups == 4 && r.entropy > 0.0 && r.length >= 1.0));
    assert_eq!(rewards[3].kl.is_some(), kl > 0.0);
    assert!(
        kl == 0.0 || inner > 1 || rewards[0].kl.unwrap() < 1e-4 && rewards[9].kl.unwrap() > 1e-3,
        "{rewards:?}"
    );
    let mean = |part: &[nurture_train::RewardMetrics]| {
        part.iter().map(|r| r.reward).sum::<f64>() / part.len() as f64
    };
    (mean(&rewards[..3]), mean(&rewards[11..]))
}

#[test]
fn rewards_rise_by_each_loss() {
    for loss in [PolicyLoss::Grpo, PolicyLoss::DrGrpo, PolicyLoss::Dapo, PolicyLoss::Rloo, PolicyLoss::Ppo] {
        let (before, after) = rise(loss, |_| lora().into(), 0.0, 1);
        assert!(after > before + 0.1, "{loss:?}: {before} {after}");
    }
}

#[test]
fn rewards_rise_held_to_the_base_in_several_passes_and_of_a_network() {
    let (before, after) = rise(PolicyLoss::Grpo, |_| lora().into(), 0.01, 2);
    assert!(after > before + 0.1, "{before} {after}");
    let (before, after) = rise(PolicyLoss::Rloo, |_| lora().into(), 0.01, 1);
    assert!(after > before + 0.1, "{before} {after}");
    let (before, after) = rise(PolicyLoss::Ppo, |_| lora().into(), 0.01, 2);
    assert!(after > before + 0.1, "{before} {after}");
    let (before, after) = rise(PolicyLoss::Ppo, |m| Subject::full(m, Vec::new()), 0.0, 2);
    assert!(after > before + 0.1, "{before} {after}");
    let (before, after) = rise(PolicyLoss::Dapo, |m| Subject::full(m, Vec::new()), 0.01, 1);
    assert!(after > before + 0.1, "{before} {after}");
}

/// Bytes of what a run leaves; broken off after each of `stops` steps and taken up again.
fn run(
    dir: &Path,
    threads: usize,
    stops: &[u64],
    calls: &AtomicUsize,
    full: bool,
    loss: PolicyLoss,
) -> Vec<Vec<u8>> {
    let cpu = Arc::new(Cpu::new(threads));
    let model = Arc::new(tiny(&cpu));
    let config = settings(Reinforce { kl: 0.02, inner: 2, ..how(loss) }, 8);
    let subject: Subject = if full { Subject::full(&model, Vec::new()) } else { lora().into() };
    for stop in stops.iter().copied().chain([u64::MAX]) {
        let mut trainer =
            Trainer::resume(&cpu, &model, &subject, config.clone(), prompts(9), &files(dir)).unwrap();
        trainer.practise(practice(&cpu, &model, Some(calls))).unwrap();
        while let Some(m) = trainer.step().unwrap() {
            if m.step == stop {
                break; // as by a kill: no checkpoint of this step
            }
        }
    }
    let last = std::fs::read_dir(dir.join("checkpoints")).unwrap();
    let mut paths: Vec<_> = last.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let journal = std::fs::read(dir.join("rollouts.jsonl")).unwrap();
    let weights = nurture_formats::SafetensorsFile::open(paths.last().unwrap()).unwrap();
    let mut out = vec![journal];
    for t in weights.tensors() {
        let mut bytes = vec![0; t.bytes as usize];
        weights.read_into(t, 0, &mut bytes).unwrap();
        out.push(bytes);
    }
    out
}

#[test]
fn killed_and_resumed_ends_with_the_same_bytes() {
    for (full, loss) in [(false, PolicyLoss::Dapo), (true, PolicyLoss::Ppo), (false, PolicyLoss::Ppo)] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let calls = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)];
        let whole = run(dirs[0].path(), 2, &[], &calls[0], full, loss);
        let other = run(dirs[1].path(), 1, &[], &calls[1], full, loss);
        assert!(whole == other, "threads change nothing");
        // checkpoints stand after 3 and 6 steps: steps 4, 5 and 7 are done twice, by what was written down
        let broken = run(dirs[2].path(), 2, &[5, 7], &calls[2], full, loss);
        assert!(whole == broken, "the same bytes");
        assert_eq!(calls[2].load(Ordering::Relaxed), 8, "each round was marked once");
    }
}

#[test]
fn the_forecast_covers_the_answers() {
    let cpu = Arc::new(Cpu::new(2));
    let model = Arc::new(tiny(&cpu));
    let config = settings(how(PolicyLoss::Grpo), 5);
    let plan = forecast(model.config(), lora(), &config, &prompts(12), 1000, 2).unwrap();
    let row = |name: &str| plan.memory.iter().find(|r| r.name.contains(name)).unwrap().bytes;
    // 24 answers in pages of 32 tokens, keys and values of each layer in float32
    let c = model.config();
    assert_eq!(row("keys and values"), (24 * 32 * 2 * c.layers * c.kv_width() * 4) as u64);
    assert!(row("engine") > 0 && plan.memory_bytes > row("keys and values") + row("engine"));
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(&cpu, &model, lora(), config, prompts(12), &files(dir.path())).unwrap();
    trainer.practise(practice(&cpu, &model, None)).unwrap();
    let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(plan.steps, outcome.steps);
    assert!(
        plan.trained_tokens >= outcome.trained_tokens && plan.trained_tokens < 3 * outcome.trained_tokens
    );
    assert!(plan.computed_tokens >= outcome.computed_tokens);
}

#[test]
fn rules_prompts_and_grades_that_do_not_fit_are_refused() {
    let cpu = Arc::new(Cpu::new(1));
    let model = Arc::new(tiny(&cpu));
    let dir = tempfile::tempdir().unwrap();
    let begin = |how: Reinforce| {
        Trainer::resume(&cpu, &model, lora(), settings(how, 4), prompts(4), &files(dir.path()))
    };
    let grpo = || how(PolicyLoss::Grpo);
    for bad in [
        Reinforce { samples: 1, ..grpo() },
        Reinforce { max_new: 0, ..grpo() },
        Reinforce { kl: f64::NAN, ..grpo() },
        Reinforce { temperature: 0.0, ..grpo() },
    ] {
        assert!(matches!(begin(bad), Err(TrainError::Setting { .. })));
    }
    let error = begin(Reinforce { max_new: 90, ..grpo() }).unwrap_err();
    assert!(matches!(error, TrainError::NoRoom { tokens: 12, max_new: 90, limit: 96, .. }), "{error}");

    struct Odd(f64, usize);
    impl Grader for Odd {
        fn grade(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Grade>, Box<dyn Error + Send + Sync>> {
            Ok(vec![Grade { reward: self.0, ..Grade::default() }; attempts.len() - self.1])
        }
    }
    for odd in [Odd(f64::NAN, 0), Odd(0.5, 1)] {
        let mut trainer = begin(grpo()).unwrap();
        let (model, cpu) = (model.clone(), cpu.clone());
        trainer.practise(Practice { model, cpu, stops: vec![], grader: Box::new(odd) }).unwrap();
        let error = trainer.step().unwrap_err();
        assert!(matches!(error, TrainError::Practice { step: 1, .. }), "{error}");
    }
    // all answers worth the same: nothing is learnt, and nothing breaks
    let mut trainer = begin(grpo()).unwrap();
    let shared = (model.clone(), cpu.clone());
    trainer
        .practise(Practice { model: shared.0, cpu: shared.1, stops: vec![], grader: Box::new(Odd(0.5, 0)) })
        .unwrap();
    let metrics = trainer.step().unwrap().unwrap();
    let rewards = metrics.rewards.unwrap();
    assert_eq!(
        (metrics.grad_norm, metrics.loss, rewards.flat, rewards.groups, rewards.cut),
        (0.0, 0.0, 4, 4, 1.0)
    );
}

#[test]
fn losses_and_advantages_are_those_of_trl() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/policy_losses.json");
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let how: Reinforce = serde_json::from_value(case["how"].clone()).unwrap();
        let numbers = |key: &str| -> Vec<Vec<f32>> { serde_json::from_value(case[key].clone()).unwrap() };
        let (logp, old, base, factors) =
            (numbers("logp"), numbers("old"), numbers("base"), numbers("factors"));
        let rewards: Vec<f64> = serde_json::from_value(case["rewards"].clone()).unwrap();
        let want: Vec<f64> = serde_json::from_value(case["advantages"].clone()).unwrap();
        let got = advantages(&how, &rewards);
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() < 2e-5 * b.abs().max(1.0), "{name}: {got:?} {want:?}");
        }
        // answers that are left out carry loss in none of their tokens
        let kept: Vec<usize> = (0..logp.len()).filter(|&i| case["mask"][i] == 1).collect();
        let trials: Vec<Trial> = (0..logp.len())
            .map(|i| Trial {
                advantage: want[i],
                old: old[i].clone(),
                base: if how.kl > 0.0 && how.loss != PolicyLoss::Rloo { base[i].clone() } else { Vec::new() },
                credits: Vec::new(),
            })
            .collect();
        let tokens = kept.iter().map(|&i| logp[i].len()).sum();
        let packs = [kept.clone()];
        let mut policy = Policy::new(&how, &trials, &packs, logp.len(), tokens);
        let found = Found { logp: kept.iter().map(|&i| logp[i].clone()).collect(), entropy: Vec::new() };
        let mut own = found.zeros();
        let value = policy.weigh(0, &found, &mut own);
        let loss = case["loss"].as_f64().unwrap();
        assert!((value - loss).abs() < 1e-5 * loss.abs().max(0.1), "{name}: {value} {loss}");
        for (i, own) in kept.iter().zip(&own) {
            for (a, b) in own.iter().zip(&factors[*i]) {
                assert!(
                    (a - b).abs() < 1e-6 + 1e-4 * b.abs(),
                    "{name}, answer {i}: {own:?} {:?}",
                    factors[*i]
                );
            }
        }
        if how.overlong == Overlong::Keep {
            assert_eq!(kept.len(), logp.len(), "{name}");
        }
    }
}

#[test]
fn advantages_targets_and_both_losses_of_ppo_are_those_of_its_formulas() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/policy_losses.json");
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases = cases["ppo"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let how: Reinforce = serde_json::from_value(case["how"].clone()).unwrap();
        let exact = |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(case[key].clone()).unwrap() };
        let numbers = |key: &str| -> Vec<Vec<f32>> { serde_json::from_value(case[key].clone()).unwrap() };
        let (logp, old, values) = (numbers("logp"), numbers("old"), numbers("values"));
        let mut round: Vec<Vec<Credit>> = exact("each")
            .iter()
            .zip(&numbers("before"))
            .map(|(rewards, before)| credits(&how.critic, rewards, before))
            .collect();
        whiten(&mut round);
        let same = |got: f64, want: f64, what: &str| {
            assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{name}, {what}: {got}, not {want}");
        };
        for ((credits, advantages), targets) in round.iter().zip(&exact("advantages")).zip(&exact("targets"))
        {
            assert_eq!(credits.len(), targets.len());
            for ((c, advantage), target) in credits.iter().zip(advantages).zip(targets) {
                same(c.advantage, *advantage, "advantage");
                same(c.target, *target, "target");
            }
        }
        let trials: Vec<Trial> = round
            .into_iter()
            .zip(&old)
            .map(|(credits, old)| Trial { old: old.clone(), credits, ..Trial::default() })
            .collect();
        // in two packs: what a round is worth does not depend on how it is cut
        let packs = [vec![3, 0, 5], vec![1, 2, 4, 6, 7]];
        let tokens = logp.iter().map(Vec::len).sum();
        let mut policy = Policy::new(&how, &trials, &packs, logp.len(), tokens);
        let mut value = 0.0;
        for (pack, numbers) in packs.iter().enumerate() {
            let pick = |from: &[Vec<f32>]| numbers.iter().map(|&i| from[i].clone()).collect::<Vec<_>>();
            let found = Found { logp: pick(&logp), entropy: Vec::new() };
            let (mut own, mut slopes) = (found.zeros(), found.zeros());
            value +=
                policy.weigh(pack, &found, &mut own) + policy.weigh_values(pack, &pick(&values), &mut slopes);
            for (key, got) in [("factors", own), ("value_factors", slopes)] {
                for (&i, got) in numbers.iter().zip(&got) {
                    for (got, want) in got.iter().zip(&exact(key)[i]) {
                        let got = f64::from(*got);
                        assert!(
                            (got - want).abs() < 2e-7 + 1e-4 * want.abs(),
                            "{name}, {key} {i}: {got} {want}"
                        );
                    }
                }
            }
        }
        same(value, case["loss"].as_f64().unwrap(), "loss");
    }
}
