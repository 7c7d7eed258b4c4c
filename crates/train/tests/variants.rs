//! Optimisers, averages, noise and beginnings, each against what it should do.

mod common;

use common::{config, examples, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_formats::load_adapter;
use nurture_model::{Adapter, Cpu, Decoder, LoraSpec, Parameter};
use nurture_train::{Init, Learner, Optimiser, Subject, TrainConfig, TrainError, Trainer};
use serde_json::Map;
use std::ops::ControlFlow;

fn values(network: &Decoder) -> Vec<Vec<f32>> {
    let of = |p: &Parameter| network.floats(p.slot).unwrap().to_vec();
    network.parameter_list().iter().map(of).collect()
}

fn all(examples: &[TokenExample]) -> Vec<Vec<&TokenExample>> {
    vec![examples.iter().collect()]
}

/// Mean loss of the last steps of a full run of thirty.
fn last_losses(cpu: &Cpu, model: &Decoder, config: &TrainConfig) -> f64 {
    let examples = examples(37);
    let subject = Subject::full(model, Vec::new());
    let mut learner = Learner::begin(cpu, model, &subject, config).unwrap();
    let mut sum = 0.0;
    for step in 0..60 {
        let pack: Vec<&TokenExample> = (0..8).map(|i| &examples[(8 * step + i) % 37]).collect();
        let loss = learner.update(config, step as u64 + 1, config.rate, &[pack]).unwrap().loss;
        sum += if step >= 50 { loss / 10.0 } else { 0.0 };
    }
    sum
}

#[test]
fn other_optimisers_learn_as_adamw_does() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let with = |optimiser, rate| {
        last_losses(&cpu, &model, &TrainConfig { optimiser, rate, weight_decay: 0.0, ..config() })
    };
    let plain = with(Optimiser::AdamW, 2e-3);
    let small = with(Optimiser::AdamW8, 2e-3);
    // an orthogonal step has a fifth of the size of AdamW's first ones
    let muon = with(Optimiser::Muon, 1e-2);
    // an average lags behind, which a higher rate makes good
    let free = with(Optimiser::ScheduleFree, 6e-3);
    println!(
        "loss of steps 51 to 60: adamw {plain:.4}, eight bits {small:.4}, muon {muon:.4}, schedule-free {free:.4}"
    );
    assert!(free < 2.0 * plain, "schedule-free: {free}, adamw: {plain}");
    assert!((small / plain - 1.0).abs() < 0.1, "eight bits: {small}, floats: {plain}");
    assert!(muon < 2.0 * plain, "muon: {muon}, adamw: {plain}");
}

#[test]
fn every_optimiser_and_the_average_resume_to_the_same_bits() {
    let (two, one) = (Cpu::new(2), Cpu::new(1));
    let model = tiny(&two);
    for (optimiser, ema) in [
        (Optimiser::AdamW8, 0.0),
        (Optimiser::Muon, 0.9),
        (Optimiser::AdamW8, 0.8),
        (Optimiser::AdamW, 0.95),
        (Optimiser::ScheduleFree, 0.0),
    ] {
        let config = TrainConfig { optimiser, ema, neftune: 2.0, rate: 2e-3, ..config() };
        let subject = Subject::full(&model, vec!["norm".into()]);
        let run = |lives: &[(&Cpu, usize)]| {
            let dir = tempfile::tempdir().unwrap();
            let mut result = None;
            for (cpu, steps) in lives {
                let mut trainer =
                    Trainer::resume(cpu, &model, &subject, config.clone(), examples(37), &files(dir.path()))
                        .unwrap();
                for _ in 0..*steps {
                    if trainer.step().unwrap().is_none() {
                        break;
                    }
                }
                trainer.finish();
                result = Some(values(trainer.learner().network().unwrap()));
            }
            result
        };
        let whole = run(&[(&two, 99)]);
        assert!(whole == run(&[(&one, 7), (&two, 6), (&one, 99), (&two, 0)]), "{optimiser:?} {ema}");
    }
}

#[test]
fn the_average_is_the_formula_and_is_what_is_saved() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let config = TrainConfig { ema: 0.7, rate: 2e-3, ..config() };
    let dir = tempfile::tempdir().unwrap();
    let subject = Subject::full(&model, Vec::new());
    let mut trainer = Trainer::new(&cpu, &model, subject, config, examples(37), &files(dir.path())).unwrap();
    let mut want: Vec<Vec<f64>> = values(trainer.learner().network().unwrap())
        .iter()
        .map(|v| v.iter().map(|&x| f64::from(x)).collect())
        .collect();
    let mut last = Vec::new();
    while let Some(m) = trainer.step().unwrap() {
        let decay = 0.7f64.min((1.0 + m.step as f64) / (10.0 + m.step as f64));
        last = values(trainer.learner().network().unwrap());
        for (a, p) in want.iter_mut().zip(&last) {
            for (a, &p) in a.iter_mut().zip(p) {
                *a = decay * *a + (1.0 - decay) * f64::from(p);
            }
        }
    }
    trainer.finish();
    let got = values(trainer.learner().network().unwrap());
    assert!(got != last);
    for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
        assert!((f64::from(*got) - want).abs() < 1e-5, "{got}, not {want}");
    }
    trainer.finish();
    assert!(values(trainer.learner().network().unwrap()) == got, "once is enough");
}

#[test]
fn lora_plus_moves_the_second_matrix_by_its_ratio() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(6);
    let start = Adapter::new(model.config(), &lora(), 3);
    let moved = |b_ratio: f64| {
        // without eps, beside which the tiny gradients of such steps would count
        let config = TrainConfig { b_ratio, weight_decay: 0.0, eps: 1e-25, ..config() };
        let mut learner = Learner::new(&cpu, &model, start.clone());
        // two steps, so that the first matrix moves too; tiny ones, so that the second stands where the first did
        for step in 1..=2 {
            learner.update(&config, step, 1e-6, &all(&examples)).unwrap();
        }
        let of = |(after, before): (&nurture_kernels::LoraPair, &nurture_kernels::LoraPair)| {
            let way =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
            (way(after.a(), before.a()), way(after.b(), before.b()))
        };
        let pairs = learner.adapter().iter().map(|p| p.1).zip(start.iter().map(|p| p.1)).map(of);
        pairs.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y))
    };
    let ((a1, b1), (a8, b8)) = (moved(1.0), moved(8.0));
    assert!((b8 / b1 - 8.0).abs() < 0.1, "{b1} {b8}");
    // its gradients pass through the second matrix, so AdamW's eps weighs a little less in them
    assert!((a8 / a1 - 1.0).abs() < 0.25, "{a1} {a8}");
}

#[test]
fn an_adapter_that_begins_as_the_strongest_part_changes_nothing_yet_and_only_half_of_it_trains() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(37);
    let spec = LoraSpec { rank: 8, alpha: 16.0, ..lora() };
    let config = TrainConfig { init: Init::Principal, weight_decay: 0.1, ..config() };
    let base = Learner::new(&cpu, &model, Adapter::new(model.config(), &lora(), 1))
        .update(&config, 1, 1e-9, &all(&examples))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut trainer =
        Trainer::new(&cpu, &model, spec.clone(), config.clone(), examples.clone(), &files(dir.path()))
            .unwrap();
    let start = trainer.learner().adapter().clone();
    let mut probe = Learner::begin(&cpu, &model, &spec.clone().into(), &config).unwrap();
    let first = probe.update(&config, 1, 1e-9, &all(&examples)).unwrap();
    assert!((first.loss - base.loss).abs() < 1e-4 * base.loss, "{} {}", first.loss, base.loss);
    // a beginning that is large makes larger gradients than one that is zero
    assert!(first.grad_norm > 0.0);
    trainer.run(|_| ControlFlow::Continue(())).unwrap();
    let mut moved = 0.0;
    for ((module, after), (_, before)) in trainer.learner().adapter().iter().zip(start.iter()) {
        let (r, d) = (after.rank() / 2, after.a().len() / after.rank());
        assert!(after.a()[r * d..] == before.a()[r * d..], "{module}: the second half of A");
        for (after, before) in after.b().chunks_exact(2 * r).zip(before.b().chunks_exact(2 * r)) {
            assert!(after[r..] == before[r..], "{module}: the second half of B");
            moved += after[..r].iter().zip(before).map(|(a, b)| (a - b).abs()).sum::<f32>();
        }
        for (row, b) in before.b().chunks_exact(2 * r).enumerate() {
            assert!((0..r).all(|i| b[i] == -b[r + i]), "{module}: row {row} is not taken away again");
        }
    }
    assert!(moved > 0.0 && trainer.outcome().last_loss < base.loss - 0.05, "{}", trainer.outcome().last_loss);
    // it is an ordinary adapter
    let folder = dir.path().join("adapter");
    trainer.save_adapter(&folder, None, Map::new()).unwrap();
    let read = Adapter::load(model.config(), &load_adapter(&folder).unwrap()).unwrap();
    for ((_, read), (_, own)) in read.iter().zip(trainer.learner().adapter().iter()) {
        assert!(read.a() == own.a() && read.b() == own.b() && read.scale() == own.scale());
    }
    // killed and resumed, the beginning is made again
    let other = tempfile::tempdir().unwrap();
    let resume = || {
        let all = examples.clone();
        Trainer::resume(&cpu, &model, spec.clone(), config.clone(), all, &files(other.path())).unwrap()
    };
    let mut trainer = resume();
    (0..9).for_each(|_| assert!(trainer.step().unwrap().is_some()));
    drop(trainer);
    let mut trainer = resume();
    trainer.run(|_| ControlFlow::Continue(())).unwrap();
    for ((_, a), (_, b)) in read.iter().zip(trainer.learner().adapter().iter()) {
        assert!(a.a() == b.a() && a.b() == b.b(), "other bits after a kill");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let dir = tempfile::tempdir().unwrap();
    let refused = |subject: Subject, config: TrainConfig| {
        let made = Trainer::new(&cpu, &model, subject, config, examples(5), &files(dir.path()));
        match made.unwrap_err() {
            TrainError::Setting { key, .. } => key,
            other => panic!("{other}"),
        }
    };
    let muon = TrainConfig { optimiser: Optimiser::Muon, ..config() };
    assert_eq!(refused(lora().into(), muon), "optimiser");
    let principal = TrainConfig { init: Init::Principal, ..config() };
    assert_eq!(refused(LoraSpec { rank: 3, ..lora() }.into(), principal.clone()), "adapter.rank");
    assert_eq!(refused(Subject::full(&model, Vec::new()), principal), "init");
    assert_eq!(refused(lora().into(), TrainConfig { ema: 1.0, ..config() }), "ema");
}

/// Thirty steps in one life and in three end with the same bytes; what is saved is read as it was; `moved` looks at it.
fn learns_is_saved_resumed_and_read_again(config: &TrainConfig, moved: impl Fn(&Cpu, &Decoder, &Adapter)) {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let run = |lives: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, mut first) = (dir.path().join("adapter"), 0.0);
        for &steps in lives {
            let mut trainer =
                Trainer::resume(&cpu, &model, lora(), config.clone(), examples(37), &files(dir.path()))
                    .unwrap();
            for _ in 0..steps {
                match trainer.step().unwrap() {
                    Some(m) if m.step == 1 => first = m.loss,
                    Some(_) => {}
                    None => break,
                }
            }
            if trainer.steps_done() == 30 {
                trainer.finish();
                trainer.save_adapter(&folder, None, Map::new()).unwrap();
                let last = trainer.outcome().last_loss;
                assert!(last < first - 0.1, "{first} to {last}");
                let read = Adapter::load_for(&cpu, &model, &load_adapter(&folder).unwrap()).unwrap();
                let own = trainer.learner().adapter();
                assert!(read.tensors() == own.tensors(), "what was saved is what was raised");
                moved(&cpu, &model, own);
            }
        }
        folder.push("adapter_model.safetensors");
        std::fs::read(folder).unwrap()
    };
    assert!(run(&[99]) == run(&[6, 9, 99]), "other bytes after kills");
}

#[test]
fn dora_learns_and_is_saved_resumed_and_read_again() {
    let config = TrainConfig { dora: true, ema: 0.9, ..config() };
    learns_is_saved_resumed_and_read_again(&config, |cpu, model, own| {
        let moved = own.magnitudes().flat_map(|(_, m)| m.values().to_vec());
        let start =
            Adapter::new(model.config(), &lora(), config.seed).with_magnitudes(cpu, model, |_, _| None);
        let start: Vec<f32> = start.magnitudes().flat_map(|(_, m)| m.values().to_vec()).collect();
        assert!(moved.zip(start).any(|(a, b)| (a - b).abs() > 1e-3), "magnitudes learn");
    });
}

#[test]
fn own_tokens_learn_and_are_saved_resumed_and_read_again() {
    let mut tokens = examples(1)[0].tokens[1..3].to_vec();
    tokens.dedup();
    let config = TrainConfig { tokens, weight_decay: 0.5, ..config() };
    learns_is_saved_resumed_and_read_again(&config, |cpu, model, own| {
        let start = Adapter::new(model.config(), &lora(), config.seed);
        let start = start.with_tokens(cpu, model, &config.tokens).unwrap();
        assert_eq!(own.tokens().ids(), start.tokens().ids());
        for (&id, (now, then)) in own.tokens().ids().iter().zip(
            own.tokens()
                .rows()
                .chunks(model.config().width)
                .zip(start.tokens().rows().chunks(model.config().width)),
        ) {
            assert!(now.iter().zip(then).any(|(a, b)| (a - b).abs() > 1e-3), "the row of token {id} learns");
        }
    });
}
