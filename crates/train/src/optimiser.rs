//! The optimiser's memory of each tensor, and its step.

use crate::config::{Optimiser, TrainConfig};
use crate::muon;
use crate::pupil::{Tensor, Tensors};
use crate::schedule_free::Walk;
use nurture_kernels::{AdamW, Cpu, Moments8, adamw, adamw8, tiled, untile};

/// What is remembered of one tensor.
#[derive(Debug)]
enum State {
    /// both moments
    Adam { m: Vec<f32>, v: Vec<f32> },
    /// both moments, eight bits each
    Adam8(Moments8),
    /// the momentum, in the order of tiles
    Muon { m: Vec<f32> },
    /// the point that walks beside the one that trains, and the second moment
    Free(Walk),
}

impl State {
    fn new(kind: Optimiser, t: &Tensor, values: &[f32]) -> State {
        let zeros = || vec![0.0; t.floats];
        match kind {
            Optimiser::AdamW8 => State::Adam8(Moments8::zeros(t.floats)),
            Optimiser::ScheduleFree => State::Free(Walk::new(values)),
            Optimiser::Muon if t.hidden => State::Muon { m: zeros() },
            Optimiser::AdamW | Optimiser::Muon => State::Adam { m: zeros(), v: zeros() },
        }
    }
}

/// The states of all tensors.
#[derive(Debug)]
pub(crate) struct Memory {
    tensors: Vec<Tensor>,
    states: Vec<State>,
    /// averages of the values, where they are kept
    averages: Option<Vec<Vec<f32>>>,
    /// what of each tensor does not train: the second half of a pair that began as the strongest part of a weight
    fixed: Vec<Vec<f32>>,
    /// decay of the first moment, on which the place of schedule-free averages depends
    beta1: f64,
    settled: bool,
}

impl Memory {
    /// States of zero for what trains, and averages that begin as the values are.
    pub(crate) fn new(config: &TrainConfig, pupil: &dyn Tensors) -> Memory {
        let tensors = pupil.tensors();
        let values = pupil.values();
        let states = tensors.iter().zip(&values).map(|(t, v)| State::new(config.optimiser, t, v)).collect();
        let averages = (config.ema > 0.0).then(|| values.iter().map(|v| v.to_vec()).collect());
        let fixed = tensors.iter().zip(&values).map(|(t, v)| t.fixed(v)).collect();
        Memory { tensors, states, averages, fixed, beta1: config.betas.0, settled: false }
    }

    /// Everything that a checkpoint must hold beside the values: for each tensor what it is and its words of four bytes.
    pub(crate) fn stored(&self) -> Vec<Vec<(&'static str, &[f32])>> {
        let mut out: Vec<Vec<(&'static str, &[f32])>> = self
            .states
            .iter()
            .map(|state| match state {
                State::Adam { m, v } => vec![("m", &m[..]), ("v", &v[..])],
                State::Adam8(moments) => {
                    let [scales, codes] = moments.stored();
                    vec![("s8", scales), ("c8", codes)]
                }
                State::Muon { m } => vec![("m", &m[..])],
                State::Free(walk) => vec![("z", &walk.z[..]), ("v", &walk.v[..]), ("w", &walk.sum[..])],
            })
            .collect();
        for (parts, average) in out.iter_mut().zip(self.averages.iter().flatten()) {
            parts.push(("a", average));
        }
        out
    }

    /// The same, to be restored.
    pub(crate) fn stored_mut(&mut self) -> Vec<Vec<(&'static str, &mut [f32])>> {
        let mut out: Vec<Vec<(&'static str, &mut [f32])>> = self
            .states
            .iter_mut()
            .map(|state| match state {
                State::Adam { m, v } => vec![("m", &mut m[..]), ("v", &mut v[..])],
                State::Adam8(moments) => {
                    let [scales, codes] = moments.stored_mut();
                    vec![("s8", scales), ("c8", codes)]
                }
                State::Muon { m } => vec![("m", &mut m[..])],
                State::Free(walk) => {
                    vec![("z", &mut walk.z[..]), ("v", &mut walk.v[..]), ("w", &mut walk.sum[..])]
                }
            })
            .collect();
        for (parts, average) in out.iter_mut().zip(self.averages.iter_mut().flatten()) {
            parts.push(("a", average));
        }
        out
    }

    /// One step at learning rate `rate` with gradients scaled by `grad_scale`.
    pub(crate) fn step(
        &mut self,
        cpu: &Cpu,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        grad_scale: f64,
        pupil: &mut dyn Tensors,
    ) {
        let Memory { tensors, states, averages, fixed, .. } = self;
        // the first averages follow closely: the beginning is not worth keeping
        let decay = config.ema.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        pupil.change(cpu, &mut |i, p, g| {
            let (tensor, state) = (&tensors[i], &mut states[i]);
            let how = AdamW {
                rate: rate * if tensor.second { config.b_ratio } else { 1.0 },
                beta1: config.betas.0,
                beta2: config.betas.1,
                eps: config.eps,
                weight_decay: if tensor.decays { config.weight_decay } else { 0.0 },
                step,
                grad_scale,
            };
            match state {
                State::Adam { m, v } => adamw(cpu.pool(), &how, p, g, m, v),
                State::Adam8(moments) => adamw8(cpu.pool(), &how, i as u32, p, g, moments),
                State::Muon { m } => muon_step(cpu, &how, tensor, p, g, m),
                State::Free(walk) => {
                    walk.step(&how, p, g);
                    tensor.put_back(&mut walk.z, &fixed[i]);
                }
            }
            tensor.put_back(p, &fixed[i]);
            if let Some(averages) = averages {
                for (a, p) in averages[i].iter_mut().zip(p.iter()) {
                    *a += (1.0 - decay) * (p - *a);
                }
            }
        });
    }

    /// Puts the averages in the place of the values.
    pub(crate) fn settle(&mut self, cpu: &Cpu, pupil: &mut dyn Tensors) {
        if !self.settled && self.states.iter().any(|s| matches!(s, State::Free(_))) {
            pupil.change(cpu, &mut |i, p, _| {
                if let State::Free(walk) = &self.states[i] {
                    walk.settle(self.beta1, p);
                    self.tensors[i].put_back(p, &self.fixed[i]);
                }
            });
            self.settled = true;
        }
        if let Some(averages) = self.averages.as_ref().filter(|_| !self.settled) {
            pupil.change(cpu, &mut |i, p, _| p.copy_from_slice(&averages[i]));
            self.settled = true;
        }
    }

    /// Whether the averages stand in the place of the values.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }
}

fn muon_step(cpu: &Cpu, how: &AdamW, t: &Tensor, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    let [rows, cols] = t.shape[..] else { return };
    let mut ahead = muon::momentum(m, g, how.grad_scale as f32);
    let mut flat = vec![0f32; rows * cols];
    untile(&ahead, cols, 0, &mut flat);
    tiled(&muon::direction(cpu, &flat, rows), cols, &mut ahead);
    let keep = (1.0 - how.rate * how.weight_decay) as f32;
    p.iter_mut().zip(&ahead).for_each(|(p, d)| *p = *p * keep - how.rate as f32 * d);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// `tools/goldens/muon.py`
    #[test]
    fn muon_equals_the_published_formula() {
        let path = nurture_testing::repository("crates/train/tests/goldens/muon.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let floats = |v: &Value| -> Vec<f32> { serde_json::from_value(v.clone()).unwrap() };
        let cpu = Cpu::new(2);
        for case in golden["cases"].as_array().unwrap() {
            let (start, rows) = (floats(&case["start"]), case["rows"].as_u64().unwrap() as usize);
            let cols = start.len() / rows;
            let tensor = Tensor {
                name: String::new(),
                shape: vec![rows, cols],
                floats: rows.next_multiple_of(16) * cols.next_multiple_of(32),
                decays: true,
                hidden: true,
                second: false,
                half: false,
            };
            let tiles = |flat: &[f32]| {
                let mut out = vec![0f32; tensor.floats];
                tiled(flat, cols, &mut out);
                out
            };
            let (mut p, mut m) = (tiles(&start), vec![0f32; tensor.floats]);
            let number = |key: &str| golden[key].as_f64().unwrap();
            for (step, (g, want)) in case["gradients"]
                .as_array()
                .unwrap()
                .iter()
                .zip(case["after"].as_array().unwrap())
                .enumerate()
            {
                let how = AdamW {
                    rate: number("rate"),
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: number("weight_decay"),
                    step: step as u64 + 1,
                    grad_scale: 0.5,
                };
                // the scale of clipping is undone, so that it is seen to be used
                let twice: Vec<f32> = floats(g).iter().map(|g| 2.0 * g).collect();
                muon_step(&cpu, &how, &tensor, &mut p, &tiles(&twice), &mut m);
                let mut got = vec![0f32; start.len()];
                untile(&p, cols, 0, &mut got);
                for (got, want) in got.iter().zip(floats(want)) {
                    assert!((got - want).abs() < 2e-5, "{rows} × {cols}, step {step}: {got}, not {want}");
                }
            }
        }
    }
}
