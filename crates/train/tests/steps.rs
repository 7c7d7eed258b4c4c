//! One step: accumulation, clipping, and what stops it.

mod common;

use common::{close, config, examples, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_model::{Adapter, Cpu, LoraSpec, TrainBatch};
use nurture_train::{Divergence, Learner, OnDivergence, TrainConfig, TrainError, Trainer, Warning};
use std::ops::ControlFlow;

fn packs<'a>(examples: &'a [TokenExample], sizes: &[usize]) -> Vec<Vec<&'a TokenExample>> {
    let mut rest = examples.iter();
    sizes.iter().map(|&n| rest.by_ref().take(n).collect()).collect()
}

#[test]
fn micro_batches_equal_the_big_batch() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(12);
    let adapter = Adapter::new(model.config(), &lora(), 3);
    let one = |sizes: &[usize]| {
        let mut learner = Learner::new(&cpu, &model, adapter.clone());
        // two steps, so that A has a gradient too
        let mut done = Vec::new();
        for step in 1..=2 {
            done.push(learner.update(&config(), step, 1e-2, &packs(&examples, sizes)).unwrap());
        }
        (learner, done)
    };
    let (whole, whole_done) = one(&[12]);
    for sizes in [vec![1; 12], vec![5, 7], vec![2, 9, 1]] {
        let (parts, done) = one(&sizes);
        for (a, b) in whole_done.iter().zip(&done) {
            assert!((a.loss - b.loss).abs() <= 1e-6 * a.loss, "{sizes:?}: {a:?} {b:?}");
            assert!((a.grad_norm - b.grad_norm).abs() <= 1e-6 * a.grad_norm, "{sizes:?}: {a:?} {b:?}");
            assert_eq!((a.tokens, a.trained_tokens), (b.tokens, b.trained_tokens));
        }
        for ((wa, wb), (pa, pb)) in whole.gradients().iter().zip(parts.gradients().iter()) {
            // The second step stands on parameters that the first moved by AdamW, whose division by the root of the
            // squared gradient makes rounding in tiny gradients visible.
            close(pa, wa, 1e-4, "dA after a step");
            close(pb, wb, 1e-4, "dB after a step");
        }
    }
    // the first gradients themselves
    let mut first = Learner::new(&cpu, &model, adapter.clone());
    first.update(&config(), 1, 1e-2, &packs(&examples, &[12])).unwrap();
    for sizes in [vec![1; 12], vec![5, 7], vec![2, 9, 1]] {
        let mut parts = Learner::new(&cpu, &model, adapter.clone());
        parts.update(&config(), 1, 1e-2, &packs(&examples, &sizes)).unwrap();
        for ((_, wb), (_, pb)) in first.gradients().iter().zip(parts.gradients().iter()) {
            close(pb, wb, 1e-6, "first dB");
        }
    }
}

#[test]
fn the_setting_micro_tokens_changes_rounding_only() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let mut runs = [16, 24, 512].map(|micro_tokens| {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig { micro_tokens, ..config() };
        let trainer = Trainer::new(&cpu, &model, lora(), config, examples(37), &files(dir.path())).unwrap();
        (trainer, dir)
    });
    let metrics = runs.each_mut().map(|(t, _)| t.step().unwrap().unwrap());
    for (m, (t, _)) in metrics.iter().zip(&runs) {
        assert!((m.loss - metrics[0].loss).abs() <= 1e-6 * m.loss);
        for ((_, want), (_, got)) in
            runs[0].0.learner().gradients().iter().zip(t.learner().gradients().iter())
        {
            close(got, want, 1e-6, "first dB");
        }
    }
}

#[test]
fn the_loss_is_the_mean_over_trained_tokens() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(6);
    let mut batch = TrainBatch::default();
    examples.iter().for_each(|e| batch.push(&e.tokens, &e.trained, 1.0));
    let losses = model.losses(&cpu, None, &batch, &mut Default::default()).unwrap();
    let want = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
    let mut learner = Learner::new(&cpu, &model, Adapter::new(model.config(), &lora(), 3));
    let update = learner.update(&config(), 1, 1e-3, &packs(&examples, &[2, 4])).unwrap();
    assert_eq!(update.trained_tokens as usize, losses.len());
    assert!((update.loss - want).abs() < 1e-6 * want, "{} {want}", update.loss);
}

#[test]
fn clipping_scales_the_gradient_and_not_its_report() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(6);
    let run = |clip: f64, eps: f64| {
        let config = TrainConfig { clip, eps, weight_decay: 0.0, ..config() };
        let mut learner = Learner::new(&cpu, &model, Adapter::new(model.config(), &lora(), 3));
        let update = learner.update(&config, 1, 1e-3, &packs(&examples, &[6])).unwrap();
        let moved: Vec<f32> = learner.adapter().iter().flat_map(|(_, p)| p.b().to_vec()).collect();
        (update.grad_norm, moved)
    };
    // With a large eps AdamW's first step is rate · g / eps: the move shows the scale of the gradient.
    let (norm, free) = run(0.0, 1.0);
    assert!(norm > 0.05, "{norm}");
    let (same, clipped) = run(norm / 100.0, 1.0);
    assert_eq!(norm, same);
    let size = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let ratio = size(&free) / size(&clipped);
    // the denominator |g| + eps is 1 to within |g|, which stays below the norm
    assert!((ratio / 100.0 - 1.0).abs() < norm, "{ratio}");
    assert!(run(norm * 2.0, 1.0).1 == free, "a norm below the limit is left alone");
}

#[test]
fn a_loss_that_is_no_number_is_named() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(6);
    // A huge B in one late module: the forward pass overflows.
    let mut at = 0;
    let adapter = Adapter::build(model.config(), |_, p| {
        at += 1;
        let (d, n) = p.shape(model.config());
        let b = if at == 3 { 1e30 } else { 0.0 };
        Some((2, 1.0, vec![1e15; 2 * d], vec![b; 2 * n]))
    });
    let mut learner = Learner::new(&cpu, &model, adapter);
    let before = learner.adapter().tensors().concat_values();
    let error = learner.update(&config(), 9, 1e-3, &packs(&examples, &[6])).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("step 9: the loss of example tiny.jsonl:") && text.contains(" is NaN"),
        "{text}"
    );
    assert!(learner.adapter().tensors().concat_values() == before, "the adapter is unchanged");
}

trait ConcatValues {
    fn concat_values(&self) -> Vec<f32>;
}

impl ConcatValues for Vec<(String, Vec<usize>, &[f32])> {
    fn concat_values(&self) -> Vec<f32> {
        self.iter().flat_map(|(.., values)| values.iter().copied()).collect()
    }
}

#[test]
fn gradients_that_are_all_zero_stop_the_run() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let examples = examples(3);
    let adapter = Adapter::build(model.config(), |_, p| {
        let (d, n) = p.shape(model.config());
        Some((2, 1.0, vec![0.0; 2 * d], vec![0.0; 2 * n]))
    });
    let error = Learner::new(&cpu, &model, adapter).update(&config(), 1, 1e-3, &packs(&examples, &[3]));
    assert!(matches!(error.unwrap_err(), TrainError::ZeroGradient { step: 1 }));
}

#[test]
fn a_climbing_loss_is_reported_or_stops() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let run = |action| {
        let dir = tempfile::tempdir().unwrap();
        let divergence = Divergence { window: 3, rise: 0.2, action };
        // far too high a rate
        let config = TrainConfig { rate: 3.0, warmup: 0, clip: 0.0, divergence, ..config() };
        let mut trainer =
            Trainer::new(&cpu, &model, lora(), config, examples(37), &files(dir.path())).unwrap();
        let mut marked = 0;
        let result = trainer.run(|m| {
            marked += usize::from(m.diverging);
            ControlFlow::Continue(())
        });
        (result, marked, trainer.warnings().to_vec())
    };
    let (result, marked, warnings) = run(OnDivergence::Warn);
    result.unwrap();
    assert!(marked > 0 && matches!(warnings[..], [Warning::Diverging { .. }]), "{marked} {warnings:?}");
    let (result, ..) = run(OnDivergence::Stop);
    assert!(matches!(result.unwrap_err(), TrainError::Diverged { window: 3, .. }));
    let (result, marked, warnings) = run(OnDivergence::Off);
    assert!(result.is_ok() && marked == 0 && warnings.is_empty());

    // what was stopped goes on from its checkpoint once the settings only warn
    let dir = tempfile::tempdir().unwrap();
    let with = |action| TrainConfig {
        rate: 3.0,
        warmup: 0,
        clip: 0.0,
        checkpoint_every: 1,
        divergence: Divergence { window: 3, rise: 0.2, action },
        ..config()
    };
    let mut trainer =
        Trainer::new(&cpu, &model, lora(), with(OnDivergence::Stop), examples(37), &files(dir.path()))
            .unwrap();
    trainer.run(|_| ControlFlow::Continue(())).unwrap_err();
    drop(trainer);
    let warn = with(OnDivergence::Warn);
    let mut trainer = Trainer::resume(&cpu, &model, lora(), warn, examples(37), &files(dir.path())).unwrap();
    assert!(trainer.steps_done() > 0, "a checkpoint was there");
    trainer.run(|_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn examples_and_settings_that_cannot_be_used_are_named() {
    let cpu = Cpu::new(1);
    let model = tiny(&cpu);
    let context = model.config().context;
    let begin = |examples: Vec<TokenExample>, config: TrainConfig, lora: LoraSpec| {
        let dir = tempfile::tempdir().unwrap();
        let error = Trainer::new(&cpu, &model, lora, config, examples, &files(dir.path())).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
        error.to_string()
    };
    type Spoil = fn(&mut TokenExample, usize);
    let wide = TrainConfig { micro_tokens: 1 << 20, ..config() };
    let spoilt = |spoil: Spoil| {
        let mut all = examples(5);
        spoil(&mut all[3], context);
        all
    };
    let with = |examples| begin(examples, wide.clone(), lora());
    assert!(with(vec![]).contains("no training examples"));
    let cases: [(Spoil, &str); 5] = [
        (
            |e, context| {
                e.tokens = vec![1; context + 1];
                e.trained = vec![true; context + 1];
            },
            "base model's context is",
        ),
        (|e, _| e.tokens[0] = 160, "token 160 is beyond the vocabulary of 160"),
        (|e, _| e.trained.truncate(1), "loss flags"),
        (|e, _| e.trained.fill(false), "none of its tokens is trained"),
        (
            |e, _| {
                e.tokens.clear();
                e.trained.clear();
            },
            "none of its tokens is trained",
        ),
    ];
    for (spoil, part) in cases {
        let text = with(spoilt(spoil));
        assert!(text.starts_with("example tiny.jsonl:4: ") && text.contains(part), "{text}");
    }
    let text = begin(examples(5), TrainConfig { micro_tokens: 4, ..config() }, lora());
    assert!(text.contains("example tiny.jsonl:") && text.contains("a micro-batch holds 4"), "{text}");
    assert!(begin(examples(5), TrainConfig { batch: 0, ..config() }, lora()).starts_with("batch: "));
    for (spec, key) in [
        (LoraSpec { rank: 0, ..lora() }, "adapter.rank"),
        (LoraSpec { targets: vec![], ..lora() }, "adapter.targets"),
        (LoraSpec { alpha: f64::NAN, ..lora() }, "adapter.alpha"),
    ] {
        assert!(begin(examples(5), wide.clone(), spec).starts_with(key));
    }
}
