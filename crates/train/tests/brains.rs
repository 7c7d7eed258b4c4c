//! Newborns of every form learn a small text by heart, with Muon and with AdamW.

use nurture_data::TokenExample;
use nurture_model::{Cpu, Decoder, Experts, Form, Positions, Shape};
use nurture_train::{Learner, Optimiser, Subject, TrainConfig};

fn text() -> Vec<TokenExample> {
    let one = |n: u32| {
        let tokens: Vec<u32> = (0..24).map(|i| (i * (n + 2) + n * n) % 60).collect();
        let trained = (0..24).map(|i| i > 0).collect();
        TokenExample { id: format!("text:{n}"), source: 0, tokens, trained }
    };
    (0..4).map(one).collect()
}

#[test]
fn every_form_learns() {
    let cpu = Cpu::new(2);
    let plain = Shape {
        vocab: 60,
        layers: 2,
        width: 32,
        heads: 4,
        kv_heads: 4,
        ffn: 64,
        context: 32,
        ..Shape::default()
    };
    let experts = Some(Experts { count: 4, active: 2, ffn: 32, normalise: true, balance: 0.01 });
    let mut shapes: Vec<(&str, Shape)> =
        Form::NAMES.into_iter().map(|(name, form)| (name, Shape { form, ..plain })).collect();
    shapes.push(("experts", Shape { form: Form::QWEN3, experts, ..plain }));
    let sines = Form { positions: Positions::Sinusoidal, scaled: true, ..Form::LLAMA };
    shapes.push(("sines", Shape { form: sines, window: Some(9), ..plain }));
    let text = text();
    let packs: Vec<Vec<&TokenExample>> = text.iter().map(|e| vec![e]).collect();
    for (name, shape) in shapes {
        for optimiser in [Optimiser::Muon, Optimiser::AdamW] {
            let model = Decoder::newborn(&shape, true, 5);
            let config = TrainConfig { optimiser, clip: 1.0, ..TrainConfig::default() };
            let subject = Subject::full(&model, Vec::new());
            let mut learner = Learner::begin(&cpu, &model, &subject, &config).unwrap();
            let mut losses = Vec::new();
            for step in 0..40 {
                losses.push(learner.update(&config, step + 1, 1e-2, &packs).unwrap().loss);
            }
            let (first, last) = (losses[0], losses[39]);
            assert!((first - 60f64.ln()).abs() < 0.6, "{name}: {first} at birth");
            assert!(last < 0.5 * first, "{name}, {optimiser:?}: {first} to {last}");
        }
    }
}
