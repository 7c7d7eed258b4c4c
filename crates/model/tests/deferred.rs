//! Weights that come from the log-probabilities of the very pass: the same gradients, to the bit, as if they had been known
//! beforehand; and numbers read by a vector.

use nurture_formats::{ModelFile, adapter::load_adapter};
use nurture_model::*;
use std::path::Path;

fn family(cpu: &Cpu, name: &str) -> (Decoder, Adapter) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let model = Decoder::load(&ModelFile::open(&dir).unwrap(), cpu.pool()).unwrap();
    let adapter = Adapter::load(model.config(), &load_adapter(dir.join("lora")).unwrap()).unwrap();
    (model, adapter)
}

fn tokens(n: u32, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 37 + i * i * 11 + 5) % vocab as u32).collect()
}

fn batch(n: u32, vocab: usize) -> TrainBatch {
    let mut batch = TrainBatch::default();
    let tokens = tokens(n, vocab);
    batch.push(&tokens, &vec![true; tokens.len()], 1.0);
    batch
}

#[test]
fn deferred_weights_give_the_bits_of_weights_known_beforehand() {
    let cpu = Cpu::new(2);
    for name in ["llama", "gemma3"] {
        let (model, adapter) = family(&cpu, name);
        // one chunk of logits, and more than one
        for n in [12, 300] {
            let n = n.min(model.config().context as u32);
            let mut batch = batch(n, model.config().vocab);
            let mut buffers = TrainBuffers::default();
            let losses = model.losses(&cpu, Some(&adapter), &batch, &mut buffers).unwrap();
            let factor = |i: usize, logp: f32| logp * 0.01 - 0.02 * (i % 3) as f32;

            let mut grads = AdapterGrads::zeros(&adapter);
            let mut seen = Vec::new();
            let weigh = &mut |scores: &Scores, factors: &mut [f32]| {
                assert!(scores.entropy.is_empty() && factors.iter().all(|f| *f == 0.0));
                seen = scores.logp.clone();
                factors.iter_mut().zip(&scores.logp).enumerate().for_each(|(i, (f, l))| *f = factor(i, *l));
            };
            let objective = Objective::Deferred(Deferred { options: ScoreOptions::default(), weigh });
            let deferred = model
                .train_by(&cpu, Trainee::Adapter(&adapter, &mut grads), &batch, &mut buffers, objective)
                .unwrap();

            for (i, l) in batch.losses.iter_mut().enumerate() {
                l.weight = -factor(i, -losses[i]);
            }
            let mut want = AdapterGrads::zeros(&adapter);
            let plain = model.train(&cpu, &adapter, &batch, &mut buffers, &mut want).unwrap();
            assert_eq!((&deferred, &plain), (&losses, &losses), "{name}, {n} tokens");
            assert!(seen.iter().zip(&losses).all(|(s, l)| *s == -l));
            assert!(grads.iter().zip(want.iter()).all(|(a, b)| a == b), "{name}, {n} tokens");
            assert!(want.iter().any(|(_, b)| b.iter().any(|g| *g != 0.0)));
            // the base's own: the adapter off
            let base = model.score(&cpu, None, &batch, &mut buffers, ScoreOptions::default()).unwrap();
            assert_ne!(base.logp, seen);
        }
    }
}

#[test]
fn temperature_and_entropy_are_those_of_the_whole_distribution() {
    let cpu = Cpu::new(1);
    let (model, adapter) = family(&cpu, "qwen3");
    let vocab = model.config().vocab;
    let mut buffers = TrainBuffers::default();
    let one = batch(9, vocab);
    // every token at every row, at temperature 1
    let mut every = batch(9, vocab);
    every.losses.clear();
    for l in &one.losses {
        every.losses.extend((0..vocab as u32).map(|target| LossRow { row: l.row, target, weight: 0.0 }));
    }
    let all: Vec<f64> = model
        .losses(&cpu, Some(&adapter), &every, &mut buffers)
        .unwrap()
        .iter()
        .map(|l| -f64::from(*l))
        .collect();
    let temperature = 0.7f32;
    let softmax = |row: usize| -> Vec<f64> {
        let scaled: Vec<f64> =
            all[row * vocab..][..vocab].iter().map(|l| (l / f64::from(temperature)).exp()).collect();
        let sum: f64 = scaled.iter().sum();
        scaled.iter().map(|p| p / sum).collect()
    };
    let options = ScoreOptions { temperature, entropy: true };
    let factor = |i: usize| 0.5 - 0.2 * i as f32;
    let mut got = Scores::default();
    let mut grads = AdapterGrads::zeros(&adapter);
    let weigh = &mut |scores: &Scores, factors: &mut [f32]| {
        got = scores.clone();
        factors.iter_mut().enumerate().for_each(|(i, f)| *f = factor(i));
    };
    let objective = Objective::Deferred(Deferred { options, weigh });
    model.train_by(&cpu, Trainee::Adapter(&adapter, &mut grads), &one, &mut buffers, objective).unwrap();
    // d logp_T(y) = (1 / T) Σ_v (1[v = y] - p_T(v)) d logp(v)
    for l in every.losses.iter_mut() {
        let i = one.losses.iter().position(|o| o.row == l.row).unwrap();
        let p = softmax(i)[l.target as usize];
        let hit = f64::from(u8::from(l.target == one.losses[i].target));
        l.weight = -factor(i) * ((hit - p) / f64::from(temperature)) as f32;
    }
    for (i, l) in one.losses.iter().enumerate() {
        let p = softmax(i);
        let (logp, h) = (p[l.target as usize].ln(), -p.iter().map(|p| p * p.ln()).sum::<f64>());
        assert!((f64::from(got.logp[i]) - logp).abs() < 1e-4, "{} {logp}", got.logp[i]);
        assert!((f64::from(got.entropy[i]) - h).abs() < 1e-4, "{} {h}", got.entropy[i]);
    }
    let mut want = AdapterGrads::zeros(&adapter);
    model.train(&cpu, &adapter, &every, &mut buffers, &mut want).unwrap();
    for ((ga, gb), (wa, wb)) in grads.iter().zip(want.iter()) {
        for (g, w) in [(ga, wa), (gb, wb)] {
            let top = w.iter().fold(0f32, |m, v| m.max(v.abs()));
            let worst = g.iter().zip(w).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
            assert!(worst <= 1e-4 * top, "differs by {worst}, largest entry {top}");
        }
    }
}

#[test]
fn the_gradient_of_values_equals_their_differences() {
    let cpu = Cpu::new(2);
    let (model, mut adapter) = family(&cpu, "llama");
    let d = model.config().width;
    let batch = batch(10, model.config().vocab);
    let rows = [9usize, 4, 4];
    let weight: Vec<f32> = (0..d).map(|i| ((i * 7 % 11) as f32 - 5.0) * 0.05).collect();
    let factors = [1.0f32, -0.5, 0.25];
    let mut buffers = TrainBuffers::default();
    let mut grads = AdapterGrads::zeros(&adapter);
    let mut dw = vec![0f32; d];
    let mut values = Vec::new();
    let weigh = &mut |found: &[f32], out: &mut [f32]| {
        values = found.to_vec();
        out.copy_from_slice(&factors);
    };
    let head = ValueHead { rows: &rows, weight: &weight, gradient: &mut dw, weigh };
    let trainee = Trainee::Adapter(&adapter, &mut grads);
    let losses = model.train_by(&cpu, trainee, &batch, &mut buffers, Objective::Values(head)).unwrap();
    assert!(losses.is_empty() && values.len() == 3);
    let value = |adapter: &Adapter, weight: &[f32], buffers: &mut TrainBuffers| -> f64 {
        let found = model.values(&cpu, Some(adapter), &batch, buffers, &rows, weight).unwrap();
        found.iter().zip(factors).map(|(v, f)| f64::from(*v) * f64::from(f)).sum()
    };
    let now = value(&adapter, &weight, &mut buffers);
    assert_eq!(values, model.values(&cpu, Some(&adapter), &batch, &mut buffers, &rows, &weight).unwrap());
    // linear in the vector: exact but for rounding
    let stepped: Vec<f32> = weight.iter().zip(&dw).map(|(w, g)| w + g).collect();
    let want: f64 = dw.iter().map(|g| f64::from(*g).powi(2)).sum();
    let got = value(&adapter, &stepped, &mut buffers) - now;
    assert!((got - want).abs() < 1e-4 * want, "{got} {want}");
    // along the adapter's gradient, both ways
    let norm: f64 = grads.iter().flat_map(|(a, b)| a.iter().chain(b)).map(|g| f64::from(*g).powi(2)).sum();
    let step = (2e-3 / norm.sqrt()) as f32;
    let mut moved = |size: f32| {
        for (pair, (da, db)) in adapter.iter_mut().zip(grads.iter()) {
            pair.update(|a, b| {
                a.iter_mut().zip(da).for_each(|(a, g)| *a += size * g);
                b.iter_mut().zip(db).for_each(|(b, g)| *b += size * g);
            });
        }
        value(&adapter, &weight, &mut buffers)
    };
    let up = moved(step);
    let down = moved(-2.0 * step);
    let slope = (up - down) / (2.0 * f64::from(step));
    assert!((slope - norm).abs() < 0.01 * norm, "{slope}, by gradient {norm}");
}

#[test]
fn a_policy_with_its_value_has_the_gradients_of_both() {
    let cpu = Cpu::new(2);
    let (model, adapter) = family(&cpu, "qwen3");
    let d = model.config().width;
    let batch = batch(10, model.config().vocab);
    let rows: Vec<usize> = batch.losses.iter().map(|l| l.row).collect();
    let weight: Vec<f32> = (0..d).map(|i| ((i * 5 % 13) as f32 - 6.0) * 0.03).collect();
    let mut buffers = TrainBuffers::default();
    let mut run = |of: [bool; 2]| {
        let (mut grads, mut dw) = (AdapterGrads::zeros(&adapter), vec![0f32; d]);
        let by_logp =
            &mut |s: &Scores, f: &mut [f32]| f.iter_mut().zip(&s.logp).for_each(|(f, l)| *f = 0.1 * l);
        let by_value = &mut |v: &[f32], f: &mut [f32]| f.iter_mut().zip(v).for_each(|(f, v)| *f = v - 0.3);
        let deferred = Deferred { options: ScoreOptions::default(), weigh: by_logp };
        let head = ValueHead { rows: &rows, weight: &weight, gradient: &mut dw, weigh: by_value };
        let objective = match of {
            [true, true] => Objective::Both(deferred, head),
            [true, false] => Objective::Deferred(deferred),
            _ => Objective::Values(head),
        };
        model
            .train_by(&cpu, Trainee::Adapter(&adapter, &mut grads), &batch, &mut buffers, objective)
            .unwrap();
        let all: Vec<f32> = grads.iter().flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        (all, dw)
    };
    let (both, policy, value) = (run([true, true]), run([true, false]), run([false, true]));
    assert_eq!(both.1, value.1);
    assert!(policy.1.iter().all(|g| *g == 0.0) && value.1.iter().any(|g| *g != 0.0));
    let top = both.0.iter().fold(0f32, |m, g| m.max(g.abs()));
    for ((both, policy), value) in both.0.iter().zip(&policy.0).zip(&value.0) {
        assert!((both - policy - value).abs() < 1e-5 * top, "{both}, {policy} and {value}");
    }
    assert!(value.0.iter().any(|g| g.abs() > 1e-2 * top) && policy.0.iter().any(|g| g.abs() > 1e-2 * top));
}
