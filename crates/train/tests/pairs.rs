//! An encoder-decoder learns: to count each digit on by one, killed and resumed to the same bytes, whatever the threads; what it
//! cannot be taught is refused by name.

use nurture_data::TokenExample;
use nurture_infer::{Sampling, write_targets};
use nurture_model::Cpu;
use nurture_model::seq2seq::{Bend, Seq2Seq, Seq2SeqConfig, Seq2SeqFamily};
use nurture_train::pairs::{PairTrainer, pair_example, pair_forecast};
use nurture_train::{
    CHECKPOINTS, Optimiser, RunFiles, RunLength, Schedule, TrainConfig, TrainError, read_metrics,
};
use std::ops::ControlFlow;
use std::path::Path;

const EOS: u32 = 1;

fn shape(family: Seq2SeqFamily) -> Seq2SeqConfig {
    Seq2SeqConfig {
        family,
        source_vocab: 12,
        target_vocab: 12,
        shared: true,
        tied: true,
        width: 32,
        heads: 2,
        head_dim: 16,
        ffn: 64,
        gated: family == Seq2SeqFamily::T5,
        bend: if family == Seq2SeqFamily::T5 { Bend::Gelu } else { Bend::Relu },
        encoder_layers: 1,
        decoder_layers: 1,
        norm_eps: 1e-6,
        embed_scale: if family == Seq2SeqFamily::T5 { 1.0 } else { 32f32.sqrt() },
        head_scale: if family == Seq2SeqFamily::T5 { 1.0 / 32f32.sqrt() } else { 1.0 },
        buckets: 16,
        max_distance: 32,
        context: 64,
        start: 0,
        eos: EOS,
        pad: 0,
    }
}

/// A source and its target.
type Held = (Vec<u32>, Vec<u32>);

/// Numbers of three to five digits and each digit one more; some are kept apart.
fn pairs() -> (Vec<TokenExample>, Vec<Held>) {
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for i in 0..2000u32 {
        let n = i.wrapping_mul(2_654_435_761) >> 12;
        let digits: Vec<u32> = (0..3 + i % 3).map(|k| 2 + n / 10u32.pow(k) % 10).collect();
        let moved: Vec<u32> = digits.iter().map(|d| 2 + (d - 1) % 10).collect();
        let (from, to) = ([&digits[..], &[EOS]].concat(), [&moved[..], &[EOS]].concat());
        match i % 10 {
            0 if i < 600 => held.push((from, moved)),
            0 => {}
            _ => train.push(pair_example(format!("pairs:{i}"), 0, &from, &to)),
        }
    }
    (train, held)
}

fn config(steps: u64) -> TrainConfig {
    TrainConfig {
        length: RunLength::Steps(steps),
        batch: 32,
        micro_tokens: 400,
        sharing: false,
        optimiser: Optimiser::AdamW,
        rate: 5e-3,
        warmup: 10,
        schedule: Schedule::Cosine,
        checkpoint_every: 5,
        seed: 3,
        ..TrainConfig::default()
    }
}

fn files(folder: &Path) -> RunFiles {
    RunFiles { folder: folder.to_path_buf(), base_sha256: "born".to_string() }
}

fn bytes(network: &Seq2Seq) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    network.save_weights(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn what_is_learnt_holds_for_pairs_that_were_never_seen() {
    let cpu = Cpu::new(2);
    let (train, held) = pairs();
    let config = config(500);
    let network = Seq2Seq::newborn(shape(Seq2SeqFamily::T5), 7).unwrap();
    let plan = pair_forecast(&cpu, &network, &config, &train, true).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = PairTrainer::resume(&cpu, &network, config, train, &files(dir.path())).unwrap();
    let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
    assert!(outcome.finished && outcome.steps == plan.steps && outcome.tokens == plan.tokens);
    assert!(plan.trained_tokens == outcome.trained_tokens && plan.seconds.is_some_and(|s| s > 0.0));
    let sources: Vec<&[u32]> = held.iter().map(|(s, _)| &s[..]).collect();
    let written = write_targets(&cpu, trainer.network(), &sources, &Sampling::default(), 8).unwrap();
    let right = written.iter().zip(&held).filter(|(w, (_, t))| w.tokens == *t && w.ended).count();
    assert!(right * 2 >= held.len(), "{right} of {} right, last loss {}", held.len(), outcome.last_loss);
}

#[test]
fn killed_and_resumed_ends_with_the_same_bytes() {
    for (family, optimiser) in
        [(Seq2SeqFamily::T5, Optimiser::Muon), (Seq2SeqFamily::Marian, Optimiser::AdamW)]
    {
        let (train, _) = pairs();
        let config = TrainConfig { optimiser, ..config(12) };
        let network = Seq2Seq::newborn(shape(family), 7).unwrap();
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cpu = Cpu::new(2);
        let begin = |cpu, dir: &Path| {
            PairTrainer::resume(cpu, &network, config.clone(), train.clone(), &files(dir)).unwrap()
        };
        let mut once = begin(&cpu, whole.path());
        once.run(|_| ControlFlow::Continue(())).unwrap();
        // killed in the eighth step, with a checkpoint at the fifth; the rest with other threads
        let mut first = begin(&cpu, parts.path());
        for _ in 0..8 {
            first.step().unwrap();
        }
        drop(first);
        let single = Cpu::new(1);
        let mut second = begin(&single, parts.path());
        assert_eq!(second.steps_done(), 5);
        second.run(|_| ControlFlow::Continue(())).unwrap();
        assert!(bytes(once.network()) == bytes(second.network()), "{family:?}");
        let losses = |dir: &Path| -> Vec<f64> {
            read_metrics(dir.join("metrics.jsonl")).unwrap().iter().map(|m| m.loss).collect()
        };
        assert_eq!(losses(whole.path()), losses(parts.path()));
        // another run is refused
        let other = TrainConfig { rate: 1e-3, ..config.clone() };
        let refused = PairTrainer::resume(&cpu, &network, other, train.clone(), &files(parts.path()));
        let Err(TrainError::Changed { differences, .. }) = refused else {
            panic!("a changed rate was taken")
        };
        assert!(differences.iter().any(|d| d.contains("rate")), "{differences:?}");
        assert!(parts.path().join(CHECKPOINTS).is_dir());
    }
}

#[test]
fn what_cannot_be_taught_is_named() {
    let cpu = Cpu::new(1);
    let network = Seq2Seq::newborn(shape(Seq2SeqFamily::T5), 7).unwrap();
    let refused = |config: TrainConfig, e: Vec<TokenExample>| {
        pair_forecast(&cpu, &network, &config, &e, false).unwrap_err().to_string()
    };
    let good = || vec![pair_example("a:1".to_string(), 0, &[3, EOS], &[4, EOS])];
    let bad = |from: &[u32], to: &[u32]| vec![pair_example("b:2".to_string(), 0, from, to)];
    assert!(refused(config(3), Vec::new()).contains("example"));
    for wrong in [bad(&[], &[EOS]), bad(&[3], &[]), bad(&[12, EOS], &[3]), bad(&[3; 500], &[4])] {
        assert!(refused(config(3), wrong).contains("b:2"));
    }
    assert!(refused(TrainConfig { sharing: true, ..config(3) }, good()).contains("sharing"));
    assert!(refused(TrainConfig { neftune: 5.0, ..config(3) }, good()).contains("neftune"));
}
