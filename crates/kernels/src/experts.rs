//! Rows of a batch to the experts that a router chose for them, and back (mixture of experts, Shazeer et al. 2017).
//!
//! `E` experts, `k` of which work on each token. No token is ever dropped: an expert takes as many rows as chose it. Rows are
//! sorted by expert, so that each expert's product is one product; a token's result is the sum over its own rows in the order
//! of its choice, so its bits do not depend on the tokens beside it.

use crate::pool::{Pool, Shares};

/// Tokens a task works on.
const TOKENS: usize = 16;

/// Chooses experts for each token of `logits` `[T, E]`: `probs` `[T, E]` becomes the softmax, `chosen` `[T, k]` the `k`
/// most probable (of equals the first), `weights` `[T, k]` their probabilities, which with `normalise` are made to sum
/// to one.
///
/// # Panics
/// If the shapes do not fit or `k` is zero or above `E`.
pub fn route(
    pool: &Pool,
    logits: &[f32],
    experts: usize,
    normalise: bool,
    probs: &mut [f32],
    chosen: &mut [u32],
    weights: &mut [f32],
) {
    let t = logits.len() / experts.max(1);
    let k = chosen.len() / t.max(1);
    assert!(logits.len() == t * experts && probs.len() == logits.len(), "router shapes");
    assert!(t == 0 || (k > 0 && k <= experts && chosen.len() == t * k), "router shapes");
    assert_eq!(weights.len(), chosen.len(), "router shapes");
    let (ps, cs, ws) = (Shares::new(probs), Shares::new(chosen), Shares::new(weights));
    pool.run(t.div_ceil(TOKENS), |i| {
        for t in i * TOKENS..((i + 1) * TOKENS).min(t) {
            // SAFETY: tasks own disjoint tokens.
            let (p, c, w) = unsafe { (ps.at(t * experts, experts), cs.at(t * k, k), ws.at(t * k, k)) };
            let row = &logits[t * experts..][..experts];
            let top = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let exps: Vec<f64> = row.iter().map(|&v| f64::from(v - top).exp()).collect();
            let sum: f64 = exps.iter().sum();
            p.iter_mut().zip(&exps).for_each(|(p, e)| *p = (e / sum) as f32);
            let mut order: Vec<u32> = (0..experts as u32).collect();
            order.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]));
            c.copy_from_slice(&order[..k]);
            w.iter_mut().zip(c.iter()).for_each(|(w, &e)| *w = p[e as usize]);
            if normalise {
                let all: f32 = w.iter().sum();
                w.iter_mut().for_each(|w| *w /= all);
            }
        }
    });
}

/// The reverse of [`route`]: from the gradients `d_weights` `[T, k]` of the weights, and `d_probs` `[E]` that every token's
/// probabilities get beside them (a balancing loss), to `d_logits` `[T, E]`.
#[allow(clippy::too_many_arguments)]
pub fn route_backward(
    pool: &Pool,
    probs: &[f32],
    chosen: &[u32],
    weights: &[f32],
    normalise: bool,
    d_weights: &[f32],
    d_probs: &[f32],
    d_logits: &mut [f32],
) {
    let experts = d_probs.len();
    let t = probs.len() / experts.max(1);
    let k = chosen.len() / t.max(1);
    assert!(d_logits.len() == probs.len() && probs.len() == t * experts, "router shapes");
    assert!(weights.len() == chosen.len() && d_weights.len() == chosen.len(), "router shapes");
    let out = Shares::new(d_logits);
    pool.run(t.div_ceil(TOKENS), |i| {
        let mut dp = vec![0f64; experts];
        for t in i * TOKENS..((i + 1) * TOKENS).min(t) {
            let p = &probs[t * experts..][..experts];
            let (c, w, dw) = (&chosen[t * k..][..k], &weights[t * k..][..k], &d_weights[t * k..][..k]);
            dp.iter_mut().zip(d_probs).for_each(|(dp, d)| *dp = f64::from(*d));
            // w = p / Σ p over the chosen: dp = (dw - Σ w dw) / Σ p
            let (all, mean) = match normalise {
                true => (
                    c.iter().map(|&e| f64::from(p[e as usize])).sum::<f64>(),
                    w.iter().zip(dw).map(|(w, d)| f64::from(*w) * f64::from(*d)).sum::<f64>(),
                ),
                false => (1.0, 0.0),
            };
            c.iter().zip(dw).for_each(|(&e, d)| dp[e as usize] += (f64::from(*d) - mean) / all);
            let dot: f64 = p.iter().zip(&dp).map(|(p, d)| f64::from(*p) * d).sum();
            // SAFETY: tasks own disjoint tokens.
            let out = unsafe { out.at(t * experts, experts) };
            for ((o, p), d) in out.iter_mut().zip(p).zip(&dp) {
                *o = (f64::from(*p) * (d - dot)) as f32;
            }
        }
    });
}

/// Which rows each expert works on.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    /// token of each row, sorted by expert and token `[T · k]`
    pub tokens: Vec<u32>,
    /// row of each choice `[T, k]`
    pub places: Vec<u32>,
    /// first row of each expert, and the end `[E + 1]`
    pub starts: Vec<usize>,
}

impl Dispatch {
    /// Sorts the choices `[T, k]` of [`route`].
    pub fn set(&mut self, chosen: &[u32], k: usize, experts: usize) {
        self.starts.clear();
        self.starts.resize(experts + 1, 0);
        chosen.iter().for_each(|&e| self.starts[e as usize + 1] += 1);
        (0..experts).for_each(|e| self.starts[e + 1] += self.starts[e]);
        let mut next = self.starts.clone();
        self.tokens.clear();
        self.tokens.resize(chosen.len(), 0);
        self.places.clear();
        for (i, &e) in chosen.iter().enumerate() {
            let at = next[e as usize];
            next[e as usize] += 1;
            self.tokens[at] = (i / k) as u32;
            self.places.push(at as u32);
        }
    }

    /// Rows of expert `e`.
    pub fn rows(&self, e: usize) -> std::ops::Range<usize> {
        self.starts[e]..self.starts[e + 1]
    }
}

/// `out[i] = x[rows[i]]` for rows of `d` values.
pub fn gather_rows(pool: &Pool, x: &[f32], d: usize, rows: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), rows.len() * d, "shapes of gathered rows");
    let parts = Shares::new(out);
    pool.run(rows.len().div_ceil(TOKENS), |i| {
        for at in i * TOKENS..((i + 1) * TOKENS).min(rows.len()) {
            // SAFETY: tasks own disjoint rows.
            unsafe { parts.at(at * d, d) }.copy_from_slice(&x[rows[at] as usize * d..][..d]);
        }
    });
}

/// `y[t] = Σ_j weights[t, j] · parts[places[t, j]]` for rows of `d` values, in the order of `j`; with `add` the sum is
/// added to `y`. No weights are weights of one.
pub fn combine_rows(
    pool: &Pool,
    parts: &[f32],
    d: usize,
    places: &[u32],
    weights: Option<&[f32]>,
    y: &mut [f32],
    add: bool,
) {
    let t = y.len() / d;
    let k = places.len() / t.max(1);
    assert!(y.len() == t * d && places.len() == t * k, "shapes of combined rows");
    let out = Shares::new(y);
    pool.run(t.div_ceil(TOKENS), |i| {
        for t in i * TOKENS..((i + 1) * TOKENS).min(t) {
            // SAFETY: tasks own disjoint tokens.
            let y = unsafe { out.at(t * d, d) };
            if !add {
                y.fill(0.0);
            }
            for j in t * k..(t + 1) * k {
                let w = weights.map_or(1.0, |w| w[j]);
                let part = &parts[places[j] as usize * d..][..d];
                y.iter_mut().zip(part).for_each(|(y, p)| *y += w * p);
            }
        }
    });
}

/// The reverse of [`combine_rows`]: `d_parts[place] = weight · dy[t]` and `d_weights = dy[t] · parts[place]`.
#[allow(clippy::too_many_arguments)]
pub fn combine_backward(
    pool: &Pool,
    parts: &[f32],
    d: usize,
    places: &[u32],
    weights: &[f32],
    dy: &[f32],
    d_parts: &mut [f32],
    d_weights: &mut [f32],
) {
    let t = dy.len() / d;
    let k = places.len() / t.max(1);
    assert!(
        dy.len() == t * d && places.len() == t * k && parts.len() == places.len() * d,
        "shapes of spread rows"
    );
    assert!(d_parts.len() == parts.len() && d_weights.len() == places.len() && weights.len() == places.len());
    let (dp, dw) = (Shares::new(d_parts), Shares::new(d_weights));
    pool.run(t.div_ceil(TOKENS), |i| {
        for t in i * TOKENS..((i + 1) * TOKENS).min(t) {
            let dy = &dy[t * d..][..d];
            for j in t * k..(t + 1) * k {
                let at = places[j] as usize * d;
                // SAFETY: tasks own disjoint tokens, and each place belongs to one choice.
                let (dp, dw) = unsafe { (dp.at(at, d), dw.at(j, 1)) };
                dp.iter_mut().zip(dy).for_each(|(p, dy)| *p = weights[j] * dy);
                dw[0] = dy
                    .iter()
                    .zip(&parts[at..at + d])
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>() as f32;
            }
        }
    });
}
