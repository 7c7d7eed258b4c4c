//! Choosing the next token from logits.

use nurture_kernels::Rng;

/// How to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the best token; else logits are divided by it
    pub temperature: f32,
    /// only the best so many tokens (0: all)
    pub top_k: usize,
    /// only the best tokens whose probabilities add up to this much (1: all)
    pub top_p: f32,
    /// only tokens at least this fraction as likely as the best (0: all)
    pub min_p: f32,
    /// logits of recent tokens are divided (or multiplied, below 0) by this (1: off)
    pub repeat_penalty: f32,
    /// how many recent tokens that concerns
    pub repeat_window: usize,
    /// seed of the choice
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_window: 64,
            seed: 0,
        }
    }
}

/// A sampler with its stream of random numbers: the same seed gives the same text.
#[derive(Clone, Debug)]
pub struct Sampler {
    how: Sampling,
    rng: Rng,
    order: Vec<u32>,
}

impl Sampler {
    /// A sampler.
    pub fn new(how: Sampling) -> Sampler {
        let rng = Rng::stream(how.seed, 0x5a);
        Sampler { how, rng, order: Vec::new() }
    }

    /// The next token, or `None` where no logit is a number. `logits` `[V]` are changed; `recent` ends with the last
    /// token.
    pub fn pick(&mut self, logits: &mut [f32], recent: &[u32]) -> Option<u32> {
        if any_nan(logits) {
            return None;
        }
        let s = &self.how;
        if s.repeat_penalty != 1.0 {
            let mut seen: Vec<u32> = recent.iter().rev().take(s.repeat_window).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for t in seen {
                if let Some(l) = logits.get_mut(t as usize) {
                    *l = if *l > 0.0 { *l / s.repeat_penalty } else { *l * s.repeat_penalty };
                }
            }
        }
        if s.temperature <= 0.0 {
            return best(logits);
        }
        // candidates: everything within a distance of the best beyond which no probability is left in f32
        let top = largest(logits);
        let reach = (if s.min_p > 0.0 { -s.min_p.ln() } else { 30.0 }) * s.temperature;
        self.order.clear();
        self.order.extend((0..logits.len() as u32).filter(|&i| logits[i as usize] >= top - reach));
        let by_logit = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
        if s.top_k > 0 && s.top_k < self.order.len() {
            self.order.select_nth_unstable_by(s.top_k - 1, by_logit);
            self.order.truncate(s.top_k);
        }
        self.order.sort_unstable_by(by_logit);
        let weight = |i: u32| (((logits[i as usize] - top) / s.temperature) as f64).exp();
        let mut total: f64 = self.order.iter().map(|&i| weight(i)).sum();
        if s.top_p < 1.0 {
            let (mut sum, mut kept) = (0.0, 0);
            while kept < self.order.len() && (kept == 0 || sum < s.top_p as f64 * total) {
                sum += weight(self.order[kept]);
                kept += 1;
            }
            self.order.truncate(kept);
            total = sum;
        }
        let mut at = self.rng.uniform() * total;
        for &i in &self.order {
            at -= weight(i);
            if at < 0.0 {
                return Some(i);
            }
        }
        self.order.last().copied()
    }
}

/// The index of the largest logit; the first of equals. NaN counts for nothing.
pub(crate) fn best(logits: &[f32]) -> Option<u32> {
    let top = largest(logits);
    logits.iter().position(|&l| l == top).map(|i| i as u32)
}

/// The largest logit, in lanes that the compiler keeps in registers: vocabularies are long.
fn largest(logits: &[f32]) -> f32 {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    for c in chunks {
        top = std::array::from_fn(|i| larger(top[i], c[i]));
    }
    top.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

/// Whether a logit is not a number.
fn any_nan(logits: &[f32]) -> bool {
    // no early way out within a chunk: the compiler makes vectors of it
    logits.chunks(1024).any(|c| c.iter().fold(false, |a, l| a | l.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(how: Sampling, logits: &[f32], n: usize) -> Vec<usize> {
        let mut s = Sampler::new(how);
        let mut c = vec![0; logits.len()];
        for _ in 0..n {
            c[s.pick(&mut logits.to_vec(), &[]).unwrap() as usize] += 1;
        }
        c
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(Sampling::default()).pick(&mut [0.0, 3.0, 3.0, -1.0], &[]), Some(1));
        assert_eq!(Sampler::new(Sampling::default()).pick(&mut [0.0, f32::NAN], &[]), None);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let n = 40_000;
        let c = counts(Sampling { temperature: 1.0, seed: 3, ..Sampling::default() }, &logits, n);
        let total: f64 = logits.iter().map(|l: &f32| (*l as f64).exp()).sum();
        for (c, l) in c.iter().zip(logits) {
            let p = (l as f64).exp() / total;
            let sigma = (p * (1.0 - p) / n as f64).sqrt();
            assert!((*c as f64 / n as f64 - p).abs() < 4.5 * sigma, "{c} of {n}, expected {p}");
        }
    }

    #[test]
    fn filters_keep_what_they_say() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let base = Sampling { temperature: 1.0, ..Sampling::default() };
        let kept = |s: Sampling| counts(s, &logits, 2000).iter().map(|&c| c > 0).collect::<Vec<_>>();
        assert_eq!(kept(Sampling { top_k: 2, ..base.clone() }), [false, true, true, false]);
        assert_eq!(kept(Sampling { top_p: 0.6, ..base.clone() }), [false, false, true, false]);
        assert_eq!(kept(Sampling { min_p: 0.3, ..base.clone() }), [false, true, true, false]);
    }

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let how = Sampling { temperature: 0.8, seed: 9, ..Sampling::default() };
        assert_eq!(counts(how.clone(), &[0.1, 0.2, 0.3], 50), counts(how, &[0.1, 0.2, 0.3], 50));
    }

    #[test]
    fn the_penalty_turns_to_another_token() {
        let how = Sampling { repeat_penalty: 2.0, ..Sampling::default() };
        assert_eq!(Sampler::new(how).pick(&mut [1.0, 1.5], &[1]), Some(0));
    }
}
