//! LoRA on the real SmolLM2 file against PyTorch + PEFT: the first gradient of each of the 420 tensors, ten losses,
//! and the adapter after ten steps (`tools/goldens/real_models.py`).

use nurture_data::TokenExample;
use nurture_formats::{ModelFile, SafetensorsFile, TensorSource};
use nurture_kernels::sum_of_squares;
use nurture_model::{Adapter, Cpu, Decoder, PROJECTIONS};
use nurture_train::{Learner, TrainConfig};
use serde_json::Value;
use std::path::Path;

const RANK: usize = 16;

/// The first values of the golden run, a formula of tensor number `t` and flat index `i`.
fn initial(t: usize, count: usize, factor: f64) -> Vec<f32> {
    let one = |i: usize| {
        let x = (i as u64 * 2_654_435_761 + (t * 40_503 + 12_345) as u64) % (1 << 32);
        ((x as f64 / 4_294_967_296.0 - 0.5) * factor) as f32
    };
    (0..count).map(one).collect()
}

/// Flat index of sample `j` of tensor `t`.
fn sampled(t: usize, j: usize, count: usize) -> usize {
    (j * 7919 + t * 104_729) % count
}

struct Golden {
    json: Value,
    file: SafetensorsFile,
}

impl Golden {
    fn floats(&self, name: &str) -> Vec<f32> {
        let info = self.file.tensor(name).unwrap();
        let mut bytes = vec![0; info.bytes as usize];
        self.file.read_into(info, 0, &mut bytes).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        serde_json::from_value(self.json[key].clone()).unwrap()
    }

    fn examples(&self) -> Vec<TokenExample> {
        let rows = self.json["conversations"].as_array().unwrap();
        let list = |v: &Value| -> Vec<u32> { serde_json::from_value(v.clone()).unwrap() };
        rows.iter()
            .enumerate()
            .map(|(n, row)| TokenExample {
                id: format!("golden:{n}"),
                source: 0,
                tokens: list(&row["ids"]),
                trained: list(&row["mask"]).iter().map(|&m| m == 1).collect(),
            })
            .collect()
    }
}

#[test]
fn first_gradients_and_ten_losses_equal_pytorch_and_peft() {
    let Some(path) = nurture_testing::model(nurture_testing::SMOLLM2) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/smollm2_lora");
    let golden = Golden {
        json: serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap(),
        file: SafetensorsFile::open(folder.join("golden.safetensors")).unwrap(),
    };
    let cpu = Cpu::new(2);
    let model = Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap();
    let adapter = Adapter::build(model.config(), |l, p| {
        let (d, n) = p.shape(model.config());
        let t = 2 * (l * PROJECTIONS.len() + p as usize);
        let a = initial(t, RANK * d, 2.0 / (d as f64).sqrt());
        Some((RANK, 2.0, a, initial(t + 1, n * RANK, 0.02)))
    });
    let names: Vec<String> = adapter.tensors().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, serde_json::from_value::<Vec<String>>(golden.json["tensors"].clone()).unwrap());

    let config = TrainConfig { clip: 0.0, weight_decay: 0.0, ..TrainConfig::default() };
    let examples = golden.examples();
    let trained: Vec<u64> = serde_json::from_value(golden.json["trained_tokens"].clone()).unwrap();
    let (losses, norms) = (golden.numbers("losses"), golden.numbers("grad_norms"));
    let mut learner = Learner::new(&cpu, &model, adapter);
    let (mut worst_loss, mut worst_norm) = (0f64, 0f64);
    for step in 0..10 {
        let packs = [examples[step % 2 * 4..][..4].iter().collect::<Vec<_>>()];
        let update = learner.update(&config, step as u64 + 1, 1e-3, &packs).unwrap();
        assert_eq!(update.trained_tokens, trained[step % 2]);
        let loss = (update.loss - losses[step]).abs() / losses[step];
        let norm = (update.grad_norm - norms[step]).abs() / norms[step];
        assert!(loss <= 1e-4, "step {step}: loss {}, PyTorch {}", update.loss, losses[step]);
        assert!(norm <= 1e-3, "step {step}: gradient norm {}, PyTorch {}", update.grad_norm, norms[step]);
        (worst_loss, worst_norm) = (worst_loss.max(loss), worst_norm.max(norm));
        if step == 0 {
            compare_gradients(&cpu, &golden, &learner, &names);
        }
    }
    println!("worst loss {worst_loss:.2e}, worst gradient norm {worst_norm:.2e} (relative)");
    compare_after(&cpu, &golden, &learner, &names);
}

fn compare_gradients(cpu: &Cpu, golden: &Golden, learner: &Learner<'_>, names: &[String]) {
    let (peaks, sizes) = (golden.floats("grad.max_abs"), golden.floats("grad.l2"));
    let samples = golden.floats("grad.samples");
    let each = samples.len() / names.len();
    let mut worst = (0f32, "");
    let mut seen = 0;
    for (t, got) in learner.gradients().iter().flat_map(|(a, b)| [a, b]).enumerate() {
        for (j, want) in samples[t * each..][..each].iter().enumerate() {
            let index = sampled(t, j, got.len());
            let off = (got[index] - want).abs() / peaks[t];
            assert!(
                off <= 1e-4,
                "{}[{index}]: {} instead of {want}, peak {}",
                names[t],
                got[index],
                peaks[t]
            );
            if off > worst.0 {
                worst = (off, &names[t]);
            }
        }
        let peak = got.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!((peak - peaks[t]).abs() <= 1e-4 * peaks[t], "{}: peak {peak}, {}", names[t], peaks[t]);
        let size = sum_of_squares(cpu.pool(), got).sqrt();
        let want = f64::from(sizes[t]);
        assert!((size - want).abs() <= 1e-4 * want, "{}: norm {size}, {want}", names[t]);
        seen += 1;
    }
    assert_eq!(seen, 420);
    println!("worst gradient entry {:.2e} of its tensor's peak, in {}", worst.0, worst.1);
}

/// After ten steps: AdamW divides by the root of the squared gradient, so single entries with tiny gradients may
/// part; most must be equal, and the norms.
fn compare_after(cpu: &Cpu, golden: &Golden, learner: &Learner<'_>, names: &[String]) {
    let (sizes, samples) = (golden.floats("after.l2"), golden.floats("after.samples"));
    let each = samples.len() / names.len();
    let (mut far, mut all, mut worst, mut worst_norm) = (0, 0, 0f32, 0f64);
    for (t, (name, _, got)) in learner.adapter().tensors().into_iter().enumerate() {
        for (j, want) in samples[t * each..][..each].iter().enumerate() {
            let index = sampled(t, j, got.len());
            let off = (got[index] - want).abs();
            worst = worst.max(off);
            far += usize::from(off > 1e-5);
            all += 1;
        }
        let size = sum_of_squares(cpu.pool(), got).sqrt();
        let want = f64::from(sizes[t]);
        worst_norm = worst_norm.max((size - want).abs() / want);
        assert!((size - want).abs() <= 1e-4 * want, "{name}: norm {size} after ten steps, {want}");
    }
    println!(
        "after ten steps of at most 1e-3: {far} of {all} entries part by more than 1e-5, the worst by {worst:.1e}; norms by {worst_norm:.1e}"
    );
    assert!(far * 100 <= all, "{far} of {all} entries part");
}
