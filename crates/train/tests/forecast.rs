//! The forecast: operations, tokens, memory.

mod common;

use common::{config, examples, files, lora, tiny};
use nurture_model::{Activation, Config, Cpu, Family, LoraSpec, PROJECTIONS};
use nurture_train::{
    FlopsPerToken, Forecast, RunLength, SequenceShape, TrainConfig, Trainer, forecast, useful_gflop_per_token,
};
use std::ops::ControlFlow;

/// The shape of SmolLM2-135M.
fn smollm2() -> Config {
    Config {
        family: Family::Llama,
        vocab: 49152,
        width: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        norm_eps: 1e-5,
        rope_theta: 1e5,
        rope_scaling: None,
        local_rope_theta: None,
        windows: vec![None; 30],
        activation: Activation::Silu,
        attention_scale: 0.125,
        embed_scale: 1.0,
        qk_norm: false,
        post_norms: false,
        context: 8192,
    }
}

fn rank_16() -> LoraSpec {
    LoraSpec { rank: 16, alpha: 32.0, rslora: false, targets: PROJECTIONS.to_vec() }
}

#[test]
fn useful_operations_of_smollm2() {
    let c = smollm2();
    let gflop = useful_gflop_per_token(&c, 512);
    assert!((gflop - 0.591).abs() < 0.0005, "{gflop}");
    let one = FlopsPerToken::new(&c, 512);
    // 4 a frozen weight: 106.17 M in the blocks, 28.31 M in the head
    assert_eq!((one.frozen, one.head), (424_673_280.0, 113_246_208.0));
    assert_eq!(FlopsPerToken::lora(&c, &rank_16()), 6.0 * 4_884_480.0);
    // a sliding window of the whole length changes nothing, a short one saves
    let windowed = |w| FlopsPerToken::new(&Config { windows: vec![Some(w); 30], ..smollm2() }, 512).attention;
    assert_eq!(windowed(512), one.attention);
    // 64 keys for 448 of the tokens, half of that for 64
    assert_eq!(windowed(64), one.attention * (64.0 * (448.0 + 32.0) / 512.0) / 256.0);
}

#[test]
fn the_forecast_counts_what_the_run_does() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let examples = examples(37);
    let shapes: Vec<SequenceShape> = examples.iter().map(SequenceShape::from).collect();
    for length in [RunLength::Epochs(2.0), RunLength::Epochs(0.4), RunLength::Steps(11)] {
        let config = TrainConfig { length, ..config() };
        let base = model.weight_bytes() as u64;
        let found = forecast(model.config(), &lora(), &config, &shapes, base, 2).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut trainer =
            Trainer::new(&cpu, &model, lora(), config, examples.clone(), &files(dir.path())).unwrap();
        let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(
            (found.steps, found.tokens, found.trained_tokens),
            (outcome.steps, outcome.tokens, outcome.trained_tokens)
        );
        assert!(found.largest_micro_batch <= 24 && found.micro_batches >= found.steps);
        assert_eq!(found.memory.iter().map(|r| r.bytes).sum::<u64>(), found.memory_bytes);
        assert_eq!(found.memory[0].bytes, base);

        let timed = found.clone().at_speed(50.0);
        assert_eq!(timed.seconds, Some(found.flop / 50e9));
        let path = dir.path().join(nurture_train::FORECAST);
        timed.write(&path).unwrap();
        let read: Forecast = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(read.tokens, timed.tokens);
    }
}

#[test]
fn every_trained_token_pays_for_the_head_and_the_others_do_not() {
    let c = smollm2();
    let config = TrainConfig { length: RunLength::Epochs(1.0), ..TrainConfig::default() };
    let at = |trained| {
        let shapes = [SequenceShape { tokens: 512, trained }; 4];
        forecast(&c, &rank_16(), &config, &shapes, 0, 2).unwrap()
    };
    let (all, few) = (at(512), at(12));
    assert!((all.flop - 2048.0 * useful_gflop_per_token(&c, 512) * 1e9).abs() < 1.0);
    assert_eq!(all.flop - few.flop, 4.0 * 500.0 * 4.0 * 49152.0 * 576.0);
    assert!(forecast(&c, &rank_16(), &config, &[], 0, 2).is_err());
}
