//! The divergence from the base: its gradient is that of cross-entropies weighted by the base's probabilities.

use nurture_formats::{ModelFile, adapter::load_adapter};
use nurture_model::*;
use std::path::Path;

fn close(got: &[f32], want: &[f32], bound: f32, what: &str) {
    let top = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(worst <= bound * top, "{what}: differs by {worst}, largest entry {top}");
}

#[test]
fn gradient_and_value_equal_the_weighted_cross_entropies() {
    let cpu = Cpu::new(2);
    for family in ["llama", "qwen3", "gemma3"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(family);
        let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
        let adapter = Adapter::load(model.config(), &load_adapter(dir.join("lora")).unwrap()).unwrap();
        let vocab = model.config().vocab;
        let tokens: Vec<u32> = (0..9).map(|i| (i * 37 + 5) % vocab as u32).collect();
        let mut buffers = TrainBuffers::default();

        let mut alone = TrainBatch::default();
        alone.push(&tokens, &[false; 9], 0.0);
        let outputs = model.outputs(&cpu, &alone, &mut buffers).unwrap();
        let mut kept = TrainBatch::default();
        kept.push(&[3, 1, 4], &[false, true, false], 0.5); // beside another sequence
        kept.push_kept(&tokens, &outputs, 0.25);
        let mut grads = AdapterGrads::zeros(&adapter);
        let losses = model.train(&cpu, &adapter, &kept, &mut buffers, &mut grads).unwrap();
        assert_eq!(losses.len(), 1 + tokens.len());

        // the base's log-probabilities of every token at every row, by its cross-entropies
        let every = |adapter: Option<&Adapter>, buffers: &mut TrainBuffers| -> Vec<f32> {
            let mut batch = TrainBatch::default();
            batch.push(&tokens, &[false; 9], 0.0);
            for row in 0..tokens.len() {
                batch.losses.extend((0..vocab as u32).map(|target| LossRow { row, target, weight: 1.0 }));
            }
            model.losses(&cpu, adapter, &batch, buffers).unwrap()
        };
        let (base, tuned) = (every(None, &mut buffers), every(Some(&adapter), &mut buffers));
        for (row, got) in losses[1..].iter().enumerate() {
            let at = row * vocab..(row + 1) * vocab;
            let want: f64 = base[at.clone()]
                .iter()
                .zip(&tuned[at])
                .map(|(&b, &t)| (-f64::from(b)).exp() * (f64::from(t) - f64::from(b)))
                .sum();
            assert!((f64::from(*got) - want).abs() < 2e-5 * want.max(0.1), "{family}: {got}, want {want}");
        }

        let mut weighted = TrainBatch::default();
        weighted.push(&[3, 1, 4], &[false, true, false], 0.5);
        let first = weighted.batch.len();
        weighted.push(&tokens, &[false; 9], 0.0);
        for row in 0..tokens.len() {
            weighted.losses.extend((0..vocab as u32).map(|target| LossRow {
                row: first + row,
                target,
                weight: 0.25 * (-base[row * vocab + target as usize]).exp(),
            }));
        }
        let mut want = AdapterGrads::zeros(&adapter);
        model.train(&cpu, &adapter, &weighted, &mut buffers, &mut want).unwrap();
        for ((da, db), (wa, wb)) in grads.iter().zip(want.iter()) {
            close(da, wa, 2e-5, &format!("{family}: dA"));
            close(db, wb, 2e-5, &format!("{family}: dB"));
        }
    }
}

#[test]
fn an_adapter_that_does_nothing_diverges_nowhere() {
    let cpu = Cpu::new(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/qwen2");
    let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
    let spec = LoraSpec { rank: 4, alpha: 8.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let adapter = Adapter::new(model.config(), &spec, 1); // B is zero
    let mut buffers = TrainBuffers::default();
    let mut batch = TrainBatch::default();
    batch.push(&[7, 8, 9, 10], &[false; 4], 0.0);
    let outputs = model.outputs(&cpu, &batch, &mut buffers).unwrap();
    let mut kept = TrainBatch::default();
    kept.push_kept(&[7, 8, 9, 10], &outputs, 1.0);
    let mut grads = AdapterGrads::zeros(&adapter);
    let losses = model.train(&cpu, &adapter, &kept, &mut buffers, &mut grads).unwrap();
    assert_eq!(losses, [0.0; 4]);
    assert!(grads.iter().all(|(a, b)| a.iter().chain(b).all(|&g| g == 0.0)));
}
