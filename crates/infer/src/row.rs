//! One row of logits, looked at without sorting it.
//!
//! One pass finds the largest logit of each block of 128. Whatever is wanted of the best tokens then touches only blocks whose
//! maximum is good enough: a handful of them, however long the vocabulary.

use nurture_kernels::{MAXIMA_BLOCK, SUMS_BLOCK, block_maxima, exp_sums, exp_weights};
use std::cmp::Ordering;

/// Scratch of the passes, kept from token to token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    maxima: Vec<f32>,
    sums: Vec<f32>,
    weights: Vec<f32>,
    floor: Vec<f32>,
    /// tokens in question
    pub(crate) order: Vec<u32>,
}

/// Bins of the histogram of logits, and how many of them one nat (after the temperature) has. What lies below the last
/// weighs less than e^-40 of the best.
const BINS: usize = 2560;
const BINS_A_NAT: f32 = 64.0;

/// First guess of how many tokens a nucleus holds.
const FIRST_GUESS: usize = 256;

/// By logit, the larger first; of equals the smaller id first.
pub(crate) fn better(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

impl Row {
    /// Looks at the row. The largest logit, or `None` where a logit is no number or none is left. Comes before all else.
    pub(crate) fn look(&mut self, logits: &[f32]) -> Option<f32> {
        block_maxima(logits, &mut self.maxima)
    }

    /// The first token with the largest logit `top`.
    pub(crate) fn best(&self, logits: &[f32], top: f32) -> Option<u32> {
        let block = self.maxima.iter().position(|&m| m == top)? * MAXIMA_BLOCK;
        logits[block..].iter().position(|&l| l == top).map(|i| (block + i) as u32)
    }

    /// `ln Σ e^(l - top)` at temperature 1.
    pub(crate) fn log_sum(&mut self, logits: &[f32], top: f32) -> f32 {
        exp_sums(logits, top, 1.0, &mut self.sums).ln() as f32
    }

    /// The best `k` tokens, best first, into `order`; fewer where fewer are above -∞.
    pub(crate) fn best_k(&mut self, logits: &[f32], k: usize) {
        self.order.clear();
        let k = k.min(logits.len());
        if k == 0 {
            return;
        }
        // k blocks hold a logit of at least this much, so the k best tokens do
        let floor = if k < self.maxima.len() {
            self.floor.clone_from(&self.maxima);
            *self.floor.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
        } else {
            f32::NEG_INFINITY
        };
        self.collect(logits, |l| l >= floor && l > f32::NEG_INFINITY, floor);
        if k < self.order.len() {
            self.order.select_nth_unstable_by(k - 1, |&a, &b| better(logits, a, b));
            self.order.truncate(k);
        }
        self.order.sort_unstable_by(|&a, &b| better(logits, a, b));
    }

    /// Tokens that `wanted` takes, ascending, into `order`; blocks whose maximum is below `floor` are not visited.
    fn collect(&mut self, logits: &[f32], wanted: impl Fn(f32) -> bool, floor: f32) {
        self.order.clear();
        for (b, &max) in self.maxima.iter().enumerate() {
            if max >= floor {
                let from = b * MAXIMA_BLOCK;
                let block = &logits[from..(from + MAXIMA_BLOCK).min(logits.len())];
                let ids = block.iter().enumerate().filter(|&(_, &l)| wanted(l));
                self.order.extend(ids.map(|(i, _)| (from + i) as u32));
            }
        }
    }

    /// The nucleus: the fewest of the best tokens whose weights `e^((l - top) / temperature)` add up to at least `p` of all
    /// tokens' weights, into `order`; and their sum. Best first, or by id where it is large.
    pub(crate) fn nucleus(&mut self, logits: &[f32], top: f32, temperature: f32, p: f32) -> f64 {
        let scale = 1.0 / temperature;
        let wanted = exp_sums(logits, top, scale, &mut self.sums) * f64::from(p);
        self.best_k(logits, FIRST_GUESS);
        if let Some(sum) = cut(&mut self.order, |i| weight(logits, top, scale, i), wanted) {
            return sum;
        }
        if self.order.len() < FIRST_GUESS {
            return self.order.iter().map(|&i| weight(logits, top, scale, i)).sum();
        }
        // a flat distribution: a histogram tells the logit at which the sum is reached, only its bin is sorted
        exp_weights(logits, top, scale, &mut self.weights);
        let bin = |l: f32| (((top - l) * scale * BINS_A_NAT) as usize).min(BINS - 1);
        let mut bins = vec![0f64; BINS];
        for (&l, &w) in logits.iter().zip(&self.weights) {
            bins[bin(l)] += f64::from(w);
        }
        let (mut above, mut last) = (0.0, 0);
        while last + 1 < BINS && above + bins[last] < wanted {
            above += bins[last];
            last += 1;
        }
        self.collect(logits, |l| l > f32::NEG_INFINITY && bin(l) == last, f32::NEG_INFINITY);
        let mut edge = std::mem::take(&mut self.order);
        edge.sort_unstable_by(|&a, &b| better(logits, a, b));
        let weights = &self.weights;
        let rest = cut(&mut edge, |i| f64::from(weights[i as usize]), wanted - above);
        let rest = rest.unwrap_or_else(|| edge.iter().map(|&i| f64::from(weights[i as usize])).sum());
        self.collect(logits, |l| l > f32::NEG_INFINITY && bin(l) < last, f32::NEG_INFINITY);
        self.order.extend(edge);
        above + rest
    }

    /// Keeps of `order` what is at least `fraction` as likely as the best; gives the weights' sum.
    pub(crate) fn at_least(&mut self, logits: &[f32], top: f32, temperature: f32, fraction: f32) -> f64 {
        let floor = top + temperature * fraction.ln();
        self.order.retain(|&i| logits[i as usize] >= floor);
        self.order.iter().map(|&i| weight(logits, top, 1.0 / temperature, i)).sum()
    }

    /// Cuts `order` (best first) behind the token whose weight reaches the sum `wanted`.
    pub(crate) fn cut_at(&mut self, logits: &[f32], top: f32, temperature: f32, wanted: f64) {
        cut(&mut self.order, |i| weight(logits, top, 1.0 / temperature, i), wanted);
    }

    /// All tokens at least `fraction` as likely as the best, into `order`; their weights' sum.
    pub(crate) fn all_at_least(&mut self, logits: &[f32], top: f32, temperature: f32, fraction: f32) -> f64 {
        let floor = top + temperature * fraction.ln();
        self.collect(logits, |l| l >= floor, floor);
        self.order.iter().map(|&i| weight(logits, top, 1.0 / temperature, i)).sum()
    }

    /// The token of `order` in which `uniform · total` falls.
    pub(crate) fn draw(
        &self,
        logits: &[f32],
        top: f32,
        temperature: f32,
        total: f64,
        uniform: f64,
    ) -> Option<u32> {
        let mut at = uniform * total;
        for &i in &self.order {
            at -= weight(logits, top, 1.0 / temperature, i);
            if at < 0.0 {
                return Some(i);
            }
        }
        self.order.last().copied()
    }

    /// The token of the whole row in which `uniform` falls.
    pub(crate) fn draw_of_all(
        &mut self,
        logits: &[f32],
        top: f32,
        temperature: f32,
        uniform: f64,
    ) -> Option<u32> {
        let scale = 1.0 / temperature;
        let mut at = uniform * exp_sums(logits, top, scale, &mut self.sums);
        let mut last = None;
        for (b, &sum) in self.sums.iter().enumerate().filter(|s| *s.1 > 0.0) {
            last = Some(b);
            if at < f64::from(sum) {
                break;
            }
            at -= f64::from(sum);
        }
        let from = last? * SUMS_BLOCK;
        let block = &logits[from..(from + SUMS_BLOCK).min(logits.len())];
        let mut found = None;
        for i in (from..from + block.len()).map(|i| i as u32) {
            let w = weight(logits, top, scale, i);
            if w > 0.0 {
                found = Some(i);
                at -= w;
                if at < 0.0 {
                    break;
                }
            }
        }
        found
    }
}

/// `e^((l - top) / temperature)`.
fn weight(logits: &[f32], top: f32, scale: f32, i: u32) -> f64 {
    f64::from((logits[i as usize] - top) * scale).exp()
}

/// Cuts a list behind the token whose weight reaches `wanted`; the sum up to there, or `None` where it is not reached. One
/// token stays in any case.
fn cut(order: &mut Vec<u32>, weight: impl Fn(u32) -> f64, wanted: f64) -> Option<f64> {
    let mut sum = 0.0;
    for (n, &i) in order.iter().enumerate() {
        sum += weight(i);
        if sum >= wanted {
            order.truncate(n + 1);
            return Some(sum);
        }
    }
    None
}
