//! The optimiser's memory of each tensor, and its step.

use crate::config::{Optimiser, TrainConfig};
use crate::pupil::{Pupil, Tensor};
use nurture_kernels::{AdamW, Cpu, adamw};

/// What is remembered of one tensor.
#[derive(Debug)]
pub(crate) enum State {
    /// both moments
    Adam { m: Vec<f32>, v: Vec<f32> },
}

/// A stored part of a state: what it is, and its content as words of four bytes.
pub(crate) struct Words<'a> {
    pub(crate) what: &'static str,
    pub(crate) words: &'a mut [f32],
}

impl State {
    fn new(_kind: Optimiser, t: &Tensor) -> State {
        State::Adam { m: vec![0.0; t.floats], v: vec![0.0; t.floats] }
    }

    /// Its parts, in order, to be stored or restored.
    pub(crate) fn parts(&mut self) -> Vec<Words<'_>> {
        match self {
            State::Adam { m, v } => vec![Words { what: "m", words: m }, Words { what: "v", words: v }],
        }
    }

    /// The same to read.
    pub(crate) fn stored(&self) -> Vec<(&'static str, &[f32])> {
        match self {
            State::Adam { m, v } => vec![("m", &m[..]), ("v", &v[..])],
        }
    }
}

/// The states of all tensors.
#[derive(Debug)]
pub(crate) struct Memory {
    tensors: Vec<Tensor>,
    pub(crate) states: Vec<State>,
}

impl Memory {
    /// States of zero for what trains.
    pub(crate) fn new(kind: Optimiser, tensors: Vec<Tensor>) -> Memory {
        let states = tensors.iter().map(|t| State::new(kind, t)).collect();
        Memory { tensors, states }
    }

    /// One step at learning rate `rate` with gradients scaled by `grad_scale`.
    pub(crate) fn step(
        &mut self,
        cpu: &Cpu,
        config: &TrainConfig,
        step: u64,
        rate: f64,
        grad_scale: f64,
        pupil: &mut Pupil<'_>,
    ) {
        let Memory { tensors, states } = self;
        pupil.change(|i, p, g| {
            let (tensor, state) = (&tensors[i], &mut states[i]);
            let how = AdamW {
                rate,
                beta1: config.betas.0,
                beta2: config.betas.1,
                eps: config.eps,
                weight_decay: if tensor.decays { config.weight_decay } else { 0.0 },
                step,
                grad_scale,
            };
            match state {
                State::Adam { m, v } => adamw(cpu.pool(), &how, p, g, m, v),
            }
        });
    }
}
