//! Preference training as a whole: it learns what is preferred, reads a prompt once, and keeps the promises of every run.

mod common;

use common::{close, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_kernels::Rng;
use nurture_model::{Adapter, AdapterGrads, Cpu};
use nurture_train::*;

/// `count` pairs: a prompt of eight tokens or more, then answers that begin alike or do not. The better ones have small
/// tokens.
fn pairs(count: usize) -> Vec<TokenExample> {
    let mut rng = Rng::new(23);
    let mut out = Vec::new();
    for n in 0..count {
        let prompt: Vec<u32> = (0..8 + rng.below(5)).map(|_| rng.below(150) as u32).collect();
        let alike: Vec<u32> = (0..rng.below(3)).map(|_| rng.below(150) as u32).collect();
        for from in [20u32, 90] {
            let own = (0..2 + rng.below(4)).map(|_| from + rng.below(8) as u32);
            let tokens: Vec<u32> = prompt.iter().copied().chain(alike.iter().copied()).chain(own).collect();
            let trained = (0..tokens.len()).map(|i| i >= prompt.len()).collect();
            out.push(TokenExample { id: format!("p.jsonl:{}", n + 1), source: 0, tokens, trained });
        }
    }
    out
}

fn lessons(method: PreferenceMethod, count: usize) -> Lessons {
    let examples = pairs(count);
    let judged = match method {
        PreferenceMethod::Kto => (0..examples.len()).map(|i| i % 2 == 0).collect(),
        _ => Vec::new(),
    };
    Lessons { examples, judged, ..Lessons::default() }
}

fn config(method: PreferenceMethod) -> TrainConfig {
    TrainConfig {
        length: RunLength::Steps(24),
        batch: 4,
        micro_tokens: 48,
        rate: 5e-3,
        warmup: 2,
        seed: 7,
        checkpoint_every: 5,
        preference: Some(Preference { method, beta: 0.5, ..Preference::default() }),
        ..TrainConfig::default()
    }
}

const METHODS: [PreferenceMethod; 4] =
    [PreferenceMethod::Dpo, PreferenceMethod::Kto, PreferenceMethod::Orpo, PreferenceMethod::Simpo];

#[test]
fn every_method_learns_what_is_preferred() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    for method in METHODS {
        let dir = tempfile::tempdir().unwrap();
        let mut trainer =
            Trainer::new(&cpu, &model, lora(), config(method), lessons(method, 12), &files(dir.path()))
                .unwrap();
        let mut all = Vec::new();
        trainer
            .run(|m| {
                all.push((m.loss, m.preferred.unwrap()));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        let ((first, before), (last, after)) = (all[0], all[23]);
        if matches!(method, PreferenceMethod::Dpo | PreferenceMethod::Kto) {
            // an adapter that does nothing yet is the base
            assert_eq!((before.chosen, before.rejected), (0.0, 0.0), "{method:?}");
        }
        assert!(
            last < first && after.margins > before.margins + 0.1,
            "{method:?}: {first} {before:?}, {last} {after:?}"
        );
        assert!(after.accuracies >= 0.75, "{method:?}: {after:?}");
        assert_eq!(after.kl.is_some(), method == PreferenceMethod::Kto);
        let read = read_metrics(dir.path().join(METRICS)).unwrap();
        assert_eq!((read.len(), read[23].preferred), (24, Some(after)));
    }
}

#[test]
fn a_prompt_is_read_once_and_the_gradient_is_that_of_the_answers_apart() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    for method in METHODS {
        let lessons = lessons(method, 3);
        let gradients = |sharing: bool| -> (Update, AdapterGrads) {
            let config = TrainConfig { sharing, micro_tokens: 400, ..config(method) };
            let mut learner = Learner::new(&cpu, &model, Adapter::new(model.config(), &lora(), 3));
            let packs = vec![(0..6).collect::<Vec<usize>>()];
            learner.prefer(&config, 1, 1e-2, &packs, &lessons, &[]).unwrap();
            // not at the base any more
            let update = learner.prefer(&config, 2, 1e-2, &packs, &lessons, &[]).unwrap();
            (update, learner.gradients().clone())
        };
        let ((a, shared), (b, apart)) = (gradients(true), gradients(false));
        assert!(
            a.computed_tokens + 3 * 8 <= b.computed_tokens,
            "{} {}",
            a.computed_tokens,
            b.computed_tokens
        );
        assert!((a.loss - b.loss).abs() < 1e-5 * b.loss.abs().max(0.1), "{method:?}: {} {}", a.loss, b.loss);
        for ((ga, gb), (wa, wb)) in shared.iter().zip(apart.iter()) {
            close(ga, wa, 1e-3, "dA");
            close(gb, wb, 1e-3, "dB");
        }
    }
}

#[test]
fn killed_and_resumed_on_other_threads_gives_the_same_bytes() {
    let cpus = [Cpu::new(2), Cpu::new(1)];
    let model = [tiny(&cpus[0]), tiny(&cpus[1])];
    for method in METHODS {
        let bytes = |stops: &[u64]| {
            let dir = tempfile::tempdir().unwrap();
            for (n, stop) in stops.iter().chain(&[u64::MAX]).enumerate() {
                let (cpu, model) = (&cpus[n % 2], &model[n % 2]);
                let mut trainer = Trainer::resume(
                    cpu,
                    model,
                    lora(),
                    config(method),
                    lessons(method, 9),
                    &files(dir.path()),
                )
                .unwrap();
                // dropped without a word, as a kill leaves it: what is behind the last checkpoint is lost
                while trainer.steps_done() < *stop {
                    if trainer.step().unwrap().is_none() {
                        break;
                    }
                }
                if *stop == u64::MAX {
                    trainer.save_adapter(dir.path().join("adapter"), None, Default::default()).unwrap();
                }
            }
            let mut metrics = read_metrics(dir.path().join(METRICS)).unwrap();
            metrics.iter_mut().for_each(|m| (m.seconds, m.tok_s, m.rss_bytes) = (0.0, 0.0, None));
            (std::fs::read(dir.path().join("adapter/adapter_model.safetensors")).unwrap(), metrics)
        };
        let (whole, killed) = (bytes(&[]), bytes(&[7, 13]));
        assert!(whole.0 == killed.0, "{method:?}: another adapter");
        assert_eq!(whole.1, killed.1, "{method:?}");
    }
}

#[test]
fn the_network_itself_learns_against_the_base_it_was() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { rate: 1e-3, ..config(PreferenceMethod::Dpo) };
    let subject = Subject::full(&model, Vec::new());
    let mut trainer =
        Trainer::new(&cpu, &model, subject, config, lessons(PreferenceMethod::Dpo, 9), &files(dir.path()))
            .unwrap();
    let first = trainer.step().unwrap().unwrap();
    assert!((first.loss - 2f64.ln()).abs() < 1e-6, "{}", first.loss);
    let mut last = first;
    while let Some(m) = trainer.step().unwrap() {
        last = m;
    }
    assert!(last.loss < 0.6 && last.preferred.unwrap().margins > 0.1, "{last:?}");
}

#[test]
fn what_cannot_be_meant_is_named() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let error = |config: TrainConfig, lessons: Lessons| {
        let dir = tempfile::tempdir().unwrap();
        Trainer::new(&cpu, &model, lora(), config, lessons, &files(dir.path())).err().unwrap().to_string()
    };
    let dpo = || config(PreferenceMethod::Dpo);
    let with = |change: fn(&mut Preference)| {
        let mut c = dpo();
        change(c.preference.as_mut().unwrap());
        c
    };
    let good = || lessons(PreferenceMethod::Dpo, 4);
    assert!(error(with(|p| p.beta = 0.0), good()).contains("preference.beta"));
    assert!(error(with(|p| p.label_smoothing = 0.5), good()).contains("preference.label_smoothing"));
    assert!(error(TrainConfig { label_smoothing: 0.1, ..dpo() }, good()).contains("label_smoothing"));
    assert!(error(TrainConfig { neftune: 5.0, ..dpo() }, good()).contains("neftune"));
    assert!(
        error(TrainConfig { batch: 1, ..config(PreferenceMethod::Kto) }, lessons(PreferenceMethod::Kto, 4))
            .contains("batch")
    );
    let mut odd = good();
    odd.examples.pop();
    assert!(error(dpo(), odd).contains("pairs are two each"));
    assert!(error(config(PreferenceMethod::Kto), good()).contains("0 marks"));
    // a pair that no micro-batch holds, though each of its answers would fit
    let said = error(TrainConfig { micro_tokens: 18, ..dpo() }, good());
    assert!(said.contains("micro_tokens"), "{said}");
}

#[test]
fn the_forecast_counts_the_base_once_and_its_memory_is_not_exceeded() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let of = |method: PreferenceMethod, steps: u64| {
        let config = TrainConfig { length: RunLength::Steps(steps), ..config(method) };
        forecast(model.config(), lora(), &config, &pairs(12), model.weight_bytes() as u64, 1).unwrap()
    };
    let (one, two) = (of(PreferenceMethod::Dpo, 3), of(PreferenceMethod::Dpo, 6));
    let plain = of(PreferenceMethod::Orpo, 3);
    assert_eq!((one.tokens, 2 * one.tokens), (plain.tokens, two.tokens));
    assert!(one.flop > 1.2 * plain.flop && one.flop < 1.6 * plain.flop, "{} {}", one.flop, plain.flop);
    // the second pass asks the base nothing
    assert!(
        ((two.flop - one.flop) / plain.flop - 1.0).abs() < 0.05,
        "{} {}",
        two.flop - one.flop,
        plain.flop
    );
    let kto = of(PreferenceMethod::Kto, 6);
    assert!(kto.flop > 1.5 * of(PreferenceMethod::Orpo, 3).flop, "{}", kto.flop);
}
