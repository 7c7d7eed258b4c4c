//! The forecast: operations, tokens, memory.

mod common;

use common::{config, examples, files, lora, tiny};
use nurture_data::TokenExample;
use nurture_model::{Activation, Config, Cpu, Family, LoraSpec, MlpKind, NormKind, PROJECTIONS, Positions};
use nurture_train::{
    FlopsPerToken, Forecast, RunLength, TrainConfig, Trainer, forecast, useful_gflop_per_token,
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
        norm: NormKind::Rms,
        positions: Positions::Rope,
        mlp: MlpKind::Gated,
        biases: false,
        experts: None,
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
    for length in [RunLength::Epochs(2.0), RunLength::Epochs(0.4), RunLength::Steps(11)] {
        let config = TrainConfig { length, ..config() };
        let base = model.weight_bytes() as u64;
        let found = forecast(model.config(), lora(), &config, &examples, base, 2).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut trainer =
            Trainer::new(&cpu, &model, lora(), config, examples.clone(), &files(dir.path())).unwrap();
        let outcome = trainer.run(|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(
            (found.steps, found.tokens, found.trained_tokens, found.computed_tokens),
            (outcome.steps, outcome.tokens, outcome.trained_tokens, outcome.computed_tokens)
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

/// Sequences of 512 tokens, each behind the same `shared` ones, of which the last `trained` carry loss.
fn sequences(count: u32, shared: u32, trained: usize) -> Vec<TokenExample> {
    let one = |n: u32| TokenExample {
        id: n.to_string(),
        source: 0,
        tokens: (0..512).map(|i| if i < shared { i } else { 1000 * (n + 1) + i }).collect(),
        trained: (0..512).map(|i| i >= 512 - trained).collect(),
    };
    (0..count).map(one).collect()
}

#[test]
fn every_trained_token_pays_for_the_head_and_the_others_do_not() {
    let c = smollm2();
    let config = TrainConfig { length: RunLength::Epochs(1.0), ..TrainConfig::default() };
    let at = |trained| forecast(&c, rank_16(), &config, &sequences(4, 0, trained), 0, 2).unwrap();
    let (all, few) = (at(511), at(11));
    let head = 4.0 * 49152.0 * 576.0;
    // the first token of a sequence is never learnt
    let whole = 2048.0 * useful_gflop_per_token(&c, 512) * 1e9 - 4.0 * head;
    assert!((all.flop - whole).abs() < 1.0, "{} {whole}", all.flop);
    assert_eq!(all.flop - few.flop, 4.0 * 500.0 * head);
    assert!(forecast(&c, rank_16(), &config, &[], 0, 2).is_err());
}

#[test]
fn what_is_shared_is_forecast_once() {
    let c = smollm2();
    let config = TrainConfig { length: RunLength::Epochs(1.0), micro_tokens: 4096, ..TrainConfig::default() };
    let at = |shared, sharing| {
        let config = TrainConfig { sharing, ..config.clone() };
        forecast(&c, rank_16(), &config, &sequences(4, shared, 12), 0, 2).unwrap()
    };
    let (tree, apart) = (at(480, true), at(480, false));
    assert_eq!((tree.tokens, tree.computed_tokens), (2048, 480 + 4 * 32));
    assert_eq!((apart.tokens, apart.computed_tokens), (2048, 2048));
    assert_eq!((tree.trained_tokens, tree.largest_micro_batch, tree.micro_batches), (48, 608, 1));
    // three times the shared part less, attention among its tokens included
    let shared = FlopsPerToken::new(&c, 480);
    let saved = 3.0 * 480.0 * (shared.frozen + shared.attention);
    assert!((apart.flop - tree.flop - saved).abs() < 1.0, "{} {saved}", apart.flop - tree.flop);
    assert!(tree.memory_bytes < apart.memory_bytes);
    // nothing to share: nothing changes
    let (tree, apart) = (at(0, true), at(0, false));
    assert_eq!((tree.computed_tokens, tree.flop), (2048, apart.flop));
}
