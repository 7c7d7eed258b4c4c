//! The parts of a block, forward and backward side by side: attention and the feed-forward part, each with its norm before it
//! (T5) or behind the sum (2017).

use super::attention::{Back, Group, Heads, Relative, attend, attend_backward};
use super::config::{Bend, Seq2SeqFamily};
use super::layout::{AttnIds, Lin, MlpIds, Nrm};
use super::{Seq2Seq, Seq2SeqGrads};
use nurture_kernels::{
    Activation, Backward, Cpu, Forward, WeightGrad, add_assign, bias_gradient, gated_backward, gated_forward,
    layer_norm_backward, layer_norm_forward, layer_norm_weight_gradient, linear_backward, linear_forward,
    plain_backward, plain_forward, rms_norm_backward, rms_norm_forward, rms_norm_weight_gradient,
    weight_gradient,
};

/// What every part keeps: its input, and where the norm stands behind, the sum that it norms.
#[derive(Debug, Default)]
pub(super) struct Around {
    x: Vec<f32>,
    sum: Vec<f32>,
    inv: Vec<f32>,
}

/// What an attention keeps.
#[derive(Debug, Default)]
pub(super) struct AttnKept {
    around: Around,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    a: Vec<f32>,
    lse: Vec<f32>,
}

/// What a feed-forward part keeps.
#[derive(Debug, Default)]
pub(super) struct MlpKept {
    around: Around,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// What attention reads beside its own rows.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    /// the encoder's output, where its keys are those
    pub(super) memory: Option<&'a [f32]>,
    pub(super) groups: &'a [Group],
    pub(super) relative: Option<Relative<'a>>,
}

fn kernel(bend: Bend) -> Option<Activation> {
    match bend {
        Bend::Relu => None,
        Bend::Silu => Some(Activation::Silu),
        Bend::Gelu => Some(Activation::GeluTanh),
    }
}

impl Seq2Seq {
    pub(super) fn heads(&self) -> Heads {
        let c = &self.config;
        Heads { heads: c.heads, dim: c.head_dim, scale: c.score_scale() }
    }

    /// Rows through linear layers with the same input.
    pub(super) fn project<const N: usize>(
        &self,
        cpu: &Cpu,
        x: &[f32],
        t: usize,
        to: [Lin; N],
    ) -> [Vec<f32>; N] {
        let mut out = to.map(|l| vec![0f32; t * self.matrix(l.w).rows()]);
        let mut parts: Vec<Forward<'_>> =
            out.iter_mut().zip(to).map(|(y, l)| Forward { linear: self.linear(l), y, h: &mut [] }).collect();
        linear_forward(cpu, x, t, &mut parts);
        out
    }

    /// Gradients of linear layers with the same input: of weights and biases, and of the input to `dx`.
    #[allow(clippy::too_many_arguments)]
    fn project_backward(
        &self,
        cpu: &Cpu,
        x: &[f32],
        t: usize,
        parts: &[(Lin, &[f32])],
        dx: &mut [f32],
        add: bool,
        grads: &mut Seq2SeqGrads,
    ) {
        for (l, dy) in parts {
            if let Some(b) = l.b {
                bias_gradient(cpu.pool(), dy, &mut grads.values[b]);
            }
        }
        let mut taken: Vec<Vec<f32>> =
            parts.iter().map(|(l, _)| std::mem::take(&mut grads.values[l.w])).collect();
        let mut work: Vec<WeightGrad<'_>> = taken
            .iter_mut()
            .zip(parts)
            .map(|(grad, (l, dy))| WeightGrad { dy, rows: self.matrix(l.w).rows(), grad })
            .collect();
        weight_gradient(cpu, x, t, &mut work);
        for (grad, (l, _)) in taken.into_iter().zip(parts) {
            grads.values[l.w] = grad;
        }
        let mut work: Vec<Backward<'_>> = parts
            .iter()
            .map(|(l, dy)| Backward { linear: self.linear(*l), dy, h: &[], grads: None })
            .collect();
        linear_backward(cpu, x, t, &mut work, Some(dx), add);
    }

    pub(super) fn norm(&self, cpu: &Cpu, n: Nrm, x: &[f32], inv: &mut [f32]) -> Vec<f32> {
        let mut y = vec![0f32; x.len()];
        let (w, b) = self.norm_of(n);
        let eps = self.config.norm_eps;
        match self.config.family {
            Seq2SeqFamily::T5 => rms_norm_forward(cpu.pool(), x, w, eps, &mut y, inv),
            Seq2SeqFamily::Marian => layer_norm_forward(cpu.pool(), x, w, b, eps, &mut y, inv),
        }
        y
    }

    /// Gradients of a norm's parameters, and of its input, written or added to `dx`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn norm_backward(
        &self,
        cpu: &Cpu,
        n: Nrm,
        x: &[f32],
        inv: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        add: bool,
        grads: &mut Seq2SeqGrads,
    ) {
        let pool = cpu.pool();
        let w = self.vector(n.w);
        match self.config.family {
            Seq2SeqFamily::T5 => {
                rms_norm_weight_gradient(pool, x, inv, dy, &mut grads.values[n.w]);
                rms_norm_backward(pool, x, w, inv, dy, dx, add);
            }
            Seq2SeqFamily::Marian => {
                layer_norm_weight_gradient(pool, x, inv, dy, &mut grads.values[n.w]);
                layer_norm_backward(pool, x, w, inv, dy, dx, add);
            }
        }
        if let Some(b) = n.b {
            bias_gradient(pool, dy, &mut grads.values[b]);
        }
    }

    /// What a part reads of the stream.
    pub(super) fn enter(&self, cpu: &Cpu, n: Nrm, x: &[f32], inv: &mut [f32]) -> Vec<f32> {
        if self.config.norm_first() { self.norm(cpu, n, x, inv) } else { x.to_vec() }
    }

    /// The stream behind a part whose output is `y`; keeps what the way back needs.
    pub(super) fn leave(
        &self,
        cpu: &Cpu,
        n: Nrm,
        x: &[f32],
        mut y: Vec<f32>,
        around: &mut Around,
    ) -> Vec<f32> {
        add_assign(cpu.pool(), &mut y, x);
        if self.config.norm_first() {
            return y;
        }
        around.inv = vec![0f32; x.len() / self.config.width];
        let out = self.norm(cpu, n, &y, &mut around.inv);
        around.sum = y;
        out
    }

    /// The reverse of [`Seq2Seq::leave`]: from the gradient of the stream behind a part to that of the part's output; `dx`
    /// becomes what passes beside the part.
    fn leave_backward(
        &self,
        cpu: &Cpu,
        n: Nrm,
        around: &Around,
        dx: &mut Vec<f32>,
        grads: &mut Seq2SeqGrads,
    ) {
        if self.config.norm_first() {
            return;
        }
        let mut dsum = vec![0f32; dx.len()];
        self.norm_backward(cpu, n, &around.sum, &around.inv, dx, &mut dsum, false, grads);
        *dx = dsum;
    }

    /// The reverse of [`Seq2Seq::enter`]: adds the gradient of what the part read to the stream's.
    fn enter_backward(
        &self,
        cpu: &Cpu,
        n: Nrm,
        around: &Around,
        dn: &[f32],
        dx: &mut [f32],
        grads: &mut Seq2SeqGrads,
    ) {
        match self.config.norm_first() {
            true => self.norm_backward(cpu, n, &around.x, &around.inv, dn, dx, true, grads),
            false => add_assign(cpu.pool(), dx, dn),
        }
    }

    /// Attention; gives the stream behind it.
    pub(super) fn attention(
        &self,
        cpu: &Cpu,
        ids: &AttnIds,
        x: Vec<f32>,
        s: Sight<'_>,
    ) -> (Vec<f32>, AttnKept) {
        let (d, h) = (self.config.width, self.heads());
        let t = x.len() / d;
        let mut kept = AttnKept::default();
        kept.around.inv = vec![0f32; t];
        let n = self.enter(cpu, ids.norm, &x, &mut kept.around.inv);
        match s.memory {
            None => [kept.q, kept.k, kept.v] = self.project(cpu, &n, t, [ids.q, ids.k, ids.v]),
            Some(memory) => {
                [kept.q] = self.project(cpu, &n, t, [ids.q]);
                [kept.k, kept.v] = self.project(cpu, memory, memory.len() / d, [ids.k, ids.v]);
            }
        }
        kept.a = vec![0f32; kept.q.len()];
        kept.lse = vec![0f32; t * h.heads];
        let (a, lse) = (&mut kept.a, &mut kept.lse);
        attend(cpu.pool(), &h, s.groups, s.relative, &kept.q, &kept.k, &kept.v, a, lse);
        let [y] = self.project(cpu, &kept.a, t, [ids.o]);
        let out = self.leave(cpu, ids.norm, &x, y, &mut kept.around);
        kept.around.x = x;
        (out, kept)
    }

    /// The reverse: `dx` is the gradient of the stream behind it and becomes that before it. `relative`: where the table of
    /// distances stands; `dmemory` is added to.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn attention_backward(
        &self,
        cpu: &Cpu,
        ids: &AttnIds,
        kept: &AttnKept,
        s: Sight<'_>,
        relative: Option<usize>,
        dx: &mut Vec<f32>,
        dmemory: Option<&mut [f32]>,
        grads: &mut Seq2SeqGrads,
    ) {
        let (d, h) = (self.config.width, self.heads());
        let t = dx.len() / d;
        self.leave_backward(cpu, ids.norm, &kept.around, dx, grads);
        let mut da = vec![0f32; kept.a.len()];
        self.project_backward(cpu, &kept.a, t, &[(ids.o, dx)], &mut da, false, grads);
        let [mut dq, mut dk, mut dv] = [&kept.q, &kept.k, &kept.v].map(|v| vec![0f32; v.len()]);
        let b = Back { q: &kept.q, k: &kept.k, v: &kept.v, a: &kept.a, lse: &kept.lse, da: &da };
        let table = s.relative.zip(relative).map(|(r, at)| (r, &mut grads.values[at][..]));
        attend_backward(cpu.pool(), &h, s.groups, table, &b, &mut dq, &mut dk, &mut dv);
        // the normed input is cheaper made again than kept
        let n = self.enter(cpu, ids.norm, &kept.around.x, &mut []);
        let mut dn = vec![0f32; n.len()];
        match (s.memory, dmemory) {
            (Some(memory), Some(dmemory)) => {
                self.project_backward(cpu, &n, t, &[(ids.q, &dq)], &mut dn, false, grads);
                let parts = [(ids.k, &dk[..]), (ids.v, &dv[..])];
                self.project_backward(cpu, memory, memory.len() / d, &parts, dmemory, true, grads);
            }
            _ => {
                let parts = [(ids.q, &dq[..]), (ids.k, &dk[..]), (ids.v, &dv[..])];
                self.project_backward(cpu, &n, t, &parts, &mut dn, false, grads);
            }
        }
        self.enter_backward(cpu, ids.norm, &kept.around, &dn, dx, grads);
    }

    /// `act` of a feed-forward part.
    fn bend(&self, cpu: &Cpu, gate: &[f32], up: &[f32]) -> Vec<f32> {
        let mut act = vec![0f32; up.len()];
        match (kernel(self.config.bend), self.config.gated) {
            (Some(kind), true) => gated_forward(cpu.pool(), kind, gate, up, &mut act),
            (Some(kind), false) => plain_forward(cpu.pool(), kind, up, &mut act),
            (None, true) => {
                act.iter_mut().zip(gate).zip(up).for_each(|((a, g), u)| *a = g.max(0.0) * u);
            }
            (None, false) => act.iter_mut().zip(up).for_each(|(a, u)| *a = u.max(0.0)),
        }
        act
    }

    /// The feed-forward part; gives the stream behind it.
    pub(super) fn mlp(&self, cpu: &Cpu, ids: &MlpIds, x: Vec<f32>) -> (Vec<f32>, MlpKept) {
        let t = x.len() / self.config.width;
        let mut kept = MlpKept::default();
        kept.around.inv = vec![0f32; t];
        let n = self.enter(cpu, ids.norm, &x, &mut kept.around.inv);
        match ids.gate {
            Some(gate) => [kept.gate, kept.up] = self.project(cpu, &n, t, [gate, ids.up]),
            None => [kept.up] = self.project(cpu, &n, t, [ids.up]),
        }
        let act = self.bend(cpu, &kept.gate, &kept.up);
        let [y] = self.project(cpu, &act, t, [ids.down]);
        let out = self.leave(cpu, ids.norm, &x, y, &mut kept.around);
        kept.around.x = x;
        (out, kept)
    }

    /// The reverse, as [`Seq2Seq::attention_backward`]; what was kept becomes gradients.
    pub(super) fn mlp_backward(
        &self,
        cpu: &Cpu,
        ids: &MlpIds,
        kept: &mut MlpKept,
        dx: &mut Vec<f32>,
        grads: &mut Seq2SeqGrads,
    ) {
        let t = dx.len() / self.config.width;
        self.leave_backward(cpu, ids.norm, &kept.around, dx, grads);
        let act = self.bend(cpu, &kept.gate, &kept.up);
        let mut dact = vec![0f32; act.len()];
        self.project_backward(cpu, &act, t, &[(ids.down, dx)], &mut dact, false, grads);
        let (gate, up) = (&mut kept.gate, &mut kept.up);
        match (kernel(self.config.bend), self.config.gated) {
            (Some(kind), true) => gated_backward(cpu.pool(), kind, gate, up, &dact),
            (Some(kind), false) => plain_backward(cpu.pool(), kind, up, &dact),
            (None, true) => {
                for ((g, u), d) in gate.iter_mut().zip(up.iter_mut()).zip(&dact) {
                    (*g, *u) = if *g > 0.0 { (d * *u, d * *g) } else { (0.0, 0.0) };
                }
            }
            (None, false) => up.iter_mut().zip(&dact).for_each(|(u, d)| *u = if *u > 0.0 { *d } else { 0.0 }),
        }
        let n = self.enter(cpu, ids.norm, &kept.around.x, &mut []);
        let mut dn = vec![0f32; n.len()];
        match ids.gate {
            Some(g) => {
                let parts = [(g, &kept.gate[..]), (ids.up, &kept.up[..])];
                self.project_backward(cpu, &n, t, &parts, &mut dn, false, grads);
            }
            None => self.project_backward(cpu, &n, t, &[(ids.up, &kept.up)], &mut dn, false, grads),
        }
        self.enter_backward(cpu, ids.norm, &kept.around, &dn, dx, grads);
    }
}
