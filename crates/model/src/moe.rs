//! A mixture of experts in place of a block's MLP: a router chooses a few gated MLPs for each token, and their outputs are
//! added with its weights (Shazeer et al. 2017; the form of Mixtral and Qwen 3). No token is dropped.
//!
//! So that all experts are used, a loss is added: `E · Σ_e f_e · P_e` over the tokens of all layers of a micro-batch, `f_e`
//! the experts chosen per token and `P_e` the mean probability (Fedus et al. 2021, as transformers computes it). It is weighed
//! with the sum of the weights of the micro-batch's losses, so that it stands beside their mean. What sequences share in a
//! prefix tree counts once in it.
//!
//! Left out: LoRA pairs on experts and router, shared experts, a capacity.

use crate::config::Experts;
use crate::decoder::{Decoder, Projected};
use crate::parameters::Slot;
use crate::product::{self, InputBuffers, Mode};
use crate::sink::Sink;
use crate::{Activation, Projection};
use nurture_kernels::{
    Ahead, Backward, Cpu, Dispatch, Forward, Input, Linear, Quantised, Weight, combine_backward,
    combine_rows, gated_backward, gated_forward, gather_rows, linear_backward, linear_forward, route,
    route_backward,
};

/// An expert.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are the field's own
pub struct Expert {
    pub gate: Projected,
    pub up: Projected,
    pub down: Projected,
}

/// The experts of a block.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// `[E, D]`
    pub router: Weight,
    /// `[E]`
    pub experts: Vec<Expert>,
}

/// What the experts of a layer leave behind for the backward pass, beside `gate` and `up` `[T · k, F]`.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// `[T, E]`
    pub(crate) probs: Vec<f32>,
    /// `[T, k]`
    pub(crate) chosen: Vec<u32>,
    /// `[T, k]`
    pub(crate) weights: Vec<f32>,
    dispatch: Dispatch,
    /// outputs of the experts `[T · k, D]`
    pub(crate) parts: Vec<f32>,
}

/// What several layers of a pass share.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// inputs of the experts `[T · k, D]`
    pub(crate) x: Vec<f32>,
    /// router's logits, or their gradient `[T, E]`
    pub(crate) logits: Vec<f32>,
    /// gradient of the router's weights `[T, k]`
    pub(crate) d_weights: Vec<f32>,
    /// how often each expert was chosen, over all layers
    counts: Vec<u64>,
    /// sum of each expert's probabilities
    sums: Vec<f64>,
    /// tokens times layers
    seen: u64,
}

impl Rows {
    /// Forgets the choices of an earlier pass.
    pub(crate) fn begin(&mut self, experts: usize) {
        (self.counts, self.sums, self.seen) = (vec![0; experts], vec![0.0; experts], 0);
    }

    fn count(&mut self, routed: &Routed) {
        let e = self.counts.len().max(1);
        routed.chosen.iter().for_each(|&c| self.counts[c as usize] += 1);
        for row in routed.probs.chunks_exact(e) {
            self.sums.iter_mut().zip(row).for_each(|(s, p)| *s += f64::from(*p));
        }
        self.seen += (routed.probs.len() / e) as u64;
    }

    /// The balancing loss, as yet without its factor: 1 for each active expert where all are used alike.
    pub(crate) fn balance(&self) -> Option<f64> {
        let seen = (self.seen > 0).then_some(self.seen as f64)?;
        let both = self.counts.iter().zip(&self.sums);
        Some(self.counts.len() as f64 * both.map(|(c, s)| *c as f64 / seen * (s / seen)).sum::<f64>())
    }

    /// Its gradient by each expert's probability of any token, times `factor`.
    fn d_probs(&self, factor: f64) -> Vec<f32> {
        let (e, seen) = (self.counts.len() as f64, (self.seen as f64).max(1.0));
        self.counts.iter().map(|c| (factor * e * *c as f64 / (seen * seen)) as f32).collect()
    }
}

fn plain(p: &Projected) -> Linear<'_> {
    Linear { weight: &p.weight, bias: p.bias.as_deref(), lora: None }
}

/// The pieces of `all` that belong to each expert's rows of `width` values.
fn pieces<'a>(dispatch: &Dispatch, e: usize, all: &'a mut [f32], width: usize) -> &'a mut [f32] {
    let rows = dispatch.rows(e);
    &mut all[rows.start * width..rows.end * width]
}

impl Mixture {
    /// `y` `[T, D]` of inputs `n` `[T, D]`. `gate`, `up` and `act` hold `[T · k, F]`; `counts`: the choices are counted for the
    /// balancing loss.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        mode: Mode,
        activation: Activation,
        c: &Experts,
        bytes: &mut Quantised,
        n: &[f32],
        routed: &mut Routed,
        rows: &mut Rows,
        (gate, up, act): (&mut [f32], &mut [f32], &mut [f32]),
        y: &mut [f32],
        counts: bool,
    ) {
        let (pool, d, f) = (cpu.pool(), self.router.cols(), c.ffn);
        let t = n.len() / d;
        // the choice is made from float32 in both modes
        let router = Linear { weight: &self.router, bias: None, lora: None };
        linear_forward(cpu, n, t, &mut [Forward { linear: router, y: &mut rows.logits, h: &mut [] }]);
        let Routed { probs, chosen, weights, dispatch, parts } = routed;
        route(pool, &rows.logits, c.count, c.normalise, probs, chosen, weights);
        dispatch.set(chosen, c.active, c.count);
        gather_rows(pool, n, d, &dispatch.tokens, &mut rows.x);
        let mut product = |input: Input<'_>, floats: &mut [f32], parts: &mut [Forward<'_>]| {
            product::product(
                cpu,
                mode,
                input,
                InputBuffers { floats, inv: &mut [], bytes },
                false,
                parts,
                &[],
                &mut Ahead::default(),
            );
        };
        for (e, expert) in self.experts.iter().enumerate().filter(|(e, _)| !dispatch.rows(*e).is_empty()) {
            let (gate, up) = (pieces(dispatch, e, gate, f), pieces(dispatch, e, up, f));
            let act = pieces(dispatch, e, act, f);
            let x = &*pieces(dispatch, e, &mut rows.x, d);
            product(
                Input::Rows(x),
                &mut [],
                &mut [
                    Forward { linear: plain(&expert.gate), y: gate, h: &mut [] },
                    Forward { linear: plain(&expert.up), y: up, h: &mut [] },
                ],
            );
            let y = pieces(dispatch, e, parts, d);
            let input = Input::Gated { kind: activation, gate, up };
            product(input, act, &mut [Forward { linear: plain(&expert.down), y, h: &mut [] }]);
        }
        combine_rows(pool, parts, d, &dispatch.places, Some(weights), y, false);
        if counts {
            rows.count(routed);
        }
    }

    /// The reverse: from `dy` `[T, D]` to `dn` `[T, D]` and the gradients of what trains. `gate`, `up` and `routed.parts` become
    /// gradients; `weight` is the factor of the balancing loss.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        cpu: &Cpu,
        activation: Activation,
        c: &Experts,
        l: usize,
        sink: &mut Sink<'_>,
        n: &[f32],
        routed: &mut Routed,
        rows: &mut Rows,
        (gate, up, act, dact): (&mut [f32], &mut [f32], &mut [f32], &mut [f32]),
        dy: &[f32],
        dn: &mut [f32],
        weight: f64,
    ) {
        let (pool, d, f) = (cpu.pool(), self.router.cols(), c.ffn);
        let t = n.len() / d;
        let d_probs = rows.d_probs(weight * f64::from(c.balance));
        let Routed { probs, chosen, weights, dispatch, parts } = routed;
        let mut d_parts = std::mem::take(&mut rows.x);
        combine_backward(pool, parts, d, &dispatch.places, weights, dy, &mut d_parts, &mut rows.d_weights);
        route_backward(
            pool,
            probs,
            chosen,
            weights,
            c.normalise,
            &rows.d_weights,
            &d_probs,
            &mut rows.logits,
        );
        // the outputs are done with: their place takes the inputs, and then the gradients of the inputs
        gather_rows(pool, n, d, &dispatch.tokens, parts);
        for (e, expert) in self.experts.iter().enumerate() {
            let m = dispatch.rows(e).len();
            if m == 0 {
                continue;
            }
            let (gate, up) = (pieces(dispatch, e, gate, f), pieces(dispatch, e, up, f));
            let (act, dact) = (pieces(dispatch, e, act, f), pieces(dispatch, e, dact, f));
            let dy = pieces(dispatch, e, &mut d_parts, d);
            gated_forward(pool, activation, gate, up, act);
            let down = Backward { linear: plain(&expert.down), dy, h: &[], grads: None };
            linear_backward(cpu, act, m, &mut [down], Some(dact), false);
            sink.weights(cpu, act, m, &[(Slot::Expert(l, e, Projection::Down), dy)]);
            gated_backward(pool, activation, gate, up, dact);
            let x = pieces(dispatch, e, parts, d);
            sink.weights(
                cpu,
                x,
                m,
                &[(Slot::Expert(l, e, Projection::Gate), gate), (Slot::Expert(l, e, Projection::Up), up)],
            );
            let both = &mut [
                Backward { linear: plain(&expert.gate), dy: gate, h: &[], grads: None },
                Backward { linear: plain(&expert.up), dy: up, h: &[], grads: None },
            ];
            linear_backward(cpu, x, m, both, Some(dy), false);
        }
        combine_rows(pool, &d_parts, d, &dispatch.places, None, dn, false);
        rows.x = d_parts;
        let linear = Linear { weight: &self.router, bias: None, lora: None };
        let part = Backward { linear, dy: &rows.logits, h: &[], grads: None };
        linear_backward(cpu, n, t, &mut [part], Some(dn), true);
        sink.weights(cpu, n, t, &[(Slot::Router(l), &rows.logits)]);
    }
}

impl Decoder {
    /// Experts of a block that a projection of an expert belongs to.
    pub(crate) fn expert(&self, l: usize, e: usize, p: Projection) -> Option<&Projected> {
        let expert = self.blocks.get(l)?.mixture()?.experts.get(e)?;
        match p {
            Projection::Gate => Some(&expert.gate),
            Projection::Up => Some(&expert.up),
            Projection::Down => Some(&expert.down),
            _ => None,
        }
    }

    pub(crate) fn expert_mut(&mut self, l: usize, e: usize, p: Projection) -> Option<&mut Projected> {
        let expert = self.blocks.get_mut(l)?.mixture_mut()?.experts.get_mut(e)?;
        match p {
            Projection::Gate => Some(&mut expert.gate),
            Projection::Up => Some(&mut expert.up),
            Projection::Down => Some(&mut expert.down),
            _ => None,
        }
    }
}
