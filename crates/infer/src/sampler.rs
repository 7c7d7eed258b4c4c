//! Choosing the next token from logits: a state machine of one request, which knows nothing of what else is computed.

use crate::mask::TokenMask;
use crate::row::Row;
use crate::sampling::{COLDEST, Pick, Sampling};
use nurture_kernels::Rng;

/// A sampler with its stream of random numbers: the same seed gives the same text, whatever else is in a batch. A choice at a
/// temperature takes one random number, a greedy one none.
#[derive(Clone, Debug)]
pub struct Sampler {
    how: Sampling,
    rng: Rng,
    row: Row,
    history: History,
}

/// How often each token stands in a history.
#[derive(Clone, Debug, Default)]
struct History {
    tokens: Vec<u32>,
    /// ascending by token
    counts: Vec<(u32, u32)>,
}

impl History {
    /// Counts `tokens`; only what is new where they go on from what was counted before.
    fn count(&mut self, tokens: &[u32]) -> &[(u32, u32)] {
        if !tokens.starts_with(&self.tokens) {
            self.tokens.clear();
            self.counts.clear();
        }
        for &t in &tokens[self.tokens.len()..] {
            match self.counts.binary_search_by_key(&t, |c| c.0) {
                Ok(i) => self.counts[i].1 += 1,
                Err(i) => self.counts.insert(i, (t, 1)),
            }
        }
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        &self.counts
    }
}

impl Sampler {
    /// A sampler.
    pub fn new(how: Sampling) -> Sampler {
        let rng = Rng::stream(how.seed, 0x5a);
        Sampler { how, rng, row: Row::default(), history: History::default() }
    }

    /// Its settings.
    pub fn settings(&self) -> &Sampling {
        &self.how
    }

    /// The next token, or `None` where a logit is NaN or no token is left. `logits` `[V]` are changed. `history` is what the
    /// penalties look at (the text so far, without the prompt, is OpenAI's meaning); `mask` says what may come.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32], mask: Option<&TokenMask>) -> Option<Pick> {
        let mut pick = Pick::default();
        let mut log_sum = 0.0;
        if let Some(n) = self.how.logprobs {
            (log_sum, pick.top) = self.figures(logits, n)?;
        }
        // the model's own logits of changed tokens are needed once more
        let changed = mask.is_some() || !self.how.logit_bias.is_empty() || self.how.looks_back();
        let before = (self.how.logprobs.is_some() && changed).then(|| logits.to_vec());
        if let Some(mask) = mask {
            mask.apply(logits);
        }
        self.change(logits, history, |t| Some(t as usize));
        pick.token = self.draw(logits)?;
        if self.how.logprobs.is_some() {
            let own = before.as_deref().unwrap_or(logits);
            pick.log_probability = Some(own[pick.token as usize] - log_sum);
        }
        Some(pick)
    }

    /// A token that was not chosen but had to come, with the figures that [`Sampler::sample`] would tell of it. Takes no random
    /// number; `None` where a logit `[V]` is NaN.
    pub fn tell(&mut self, logits: &[f32], token: u32) -> Option<Pick> {
        let Some(n) = self.how.logprobs else { return Some(Pick::bare(token)) };
        let (log_sum, top) = self.figures(logits, n)?;
        Some(Pick { token, log_probability: Some(logits.get(token as usize)? - log_sum), top })
    }

    /// `ln Σ e^l` and the log-probabilities of the `n` likeliest tokens.
    fn figures(&mut self, logits: &[f32], n: usize) -> Option<(f32, Vec<(u32, f32)>)> {
        let top = self.row.look(logits)?;
        let log_sum = top + self.row.log_sum(logits, top);
        self.row.best_k(logits, n);
        Some((log_sum, self.row.order.iter().map(|&i| (i, logits[i as usize] - log_sum)).collect()))
    }

    /// [`Sampler::sample`] among `tokens` (ascending) alone: `logits[i]` belongs to `tokens[i]`. The same choice as with a mask of
    /// these tokens over the whole row, without log-probabilities.
    pub fn sample_among(&mut self, tokens: &[u32], logits: &mut [f32], history: &[u32]) -> Option<Pick> {
        self.change(logits, history, |t| tokens.binary_search(&t).ok());
        let at = self.draw(logits)?;
        tokens.get(at as usize).map(|&t| Pick::bare(t))
    }

    /// [`Sampler::sample`] without a constraint, the token alone.
    pub fn pick(&mut self, logits: &mut [f32], recent: &[u32]) -> Option<u32> {
        self.sample(logits, recent, None).map(|p| p.token)
    }

    /// Bias and penalties; `place` tells where a token's logit stands.
    fn change(&mut self, logits: &mut [f32], history: &[u32], place: impl Fn(u32) -> Option<usize>) {
        let s = &self.how;
        let mut each = |token: u32, f: &dyn Fn(f32) -> f32| {
            if let Some(l) = place(token).and_then(|i| logits.get_mut(i)) {
                *l = f(*l);
            }
        };
        for &(token, bias) in &s.logit_bias {
            each(token, &|l| l + bias);
        }
        if s.repeat_penalty != 1.0 {
            let mut seen: Vec<u32> = history.iter().rev().take(s.repeat_window).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for t in seen {
                each(t, &|l| if l > 0.0 { l / s.repeat_penalty } else { l * s.repeat_penalty });
            }
        }
        if s.presence_penalty != 0.0 || s.frequency_penalty != 0.0 {
            for &(t, n) in self.history.count(history) {
                each(t, &|l| l - s.presence_penalty - s.frequency_penalty * n as f32);
            }
        }
    }

    /// The place of the chosen logit.
    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let Sampler { how: s, rng, row, .. } = self;
        let top = row.look(logits)?;
        let t = s.temperature;
        if t < COLDEST {
            return row.best(logits, top);
        }
        // always one number a choice, so that later choices do not depend on how many were left here
        let uniform = rng.uniform();
        let total = if s.top_k > 0 && s.top_k < logits.len() {
            row.best_k(logits, s.top_k);
            if s.top_p < 1.0 {
                let all = row.at_least(logits, top, t, 0.0);
                row.cut_at(logits, top, t, all * f64::from(s.top_p));
            }
            row.at_least(logits, top, t, s.min_p)
        } else if s.top_p < 1.0 {
            let sum = row.nucleus(logits, top, t, s.top_p);
            if s.min_p > 0.0 { row.at_least(logits, top, t, s.min_p) } else { sum }
        } else if s.min_p > 0.0 {
            row.all_at_least(logits, top, t, s.min_p)
        } else {
            return row.draw_of_all(logits, top, t, uniform);
        };
        row.draw(logits, top, t, total, uniform)
    }
}

/// The index of the largest logit; the first of equals. `None` where one is NaN.
pub(crate) fn best(logits: &[f32]) -> Option<u32> {
    let mut row = Row::default();
    let top = row.look(logits)?;
    row.best(logits, top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::better;

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
        for temperature in [9e-7, 1e-20, 2e-39, f32::from_bits(1)] {
            for (top_k, top_p, min_p) in
                [(0, 1.0, 0.0), (2, 1.0, 0.0), (0, 0.5, 0.0), (0, 1.0, 0.1), (2, 0.5, 0.1)]
            {
                let how = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
                assert_eq!(Sampler::new(how).pick(&mut [0.0, 3.0, 3.0, -1.0], &[]), Some(1), "{temperature}");
            }
        }
        let how = Sampling { temperature: COLDEST, ..Sampling::default() };
        assert_eq!(Sampler::new(how).pick(&mut [0.0, 2.9, 3.0, -90.0], &[]), Some(2));
    }

    /// Probabilities of the tokens that the filters leave, by sorting everything, in f64. What lies within a rounding error of an
    /// edge comes back as the second list.
    fn plain(how: &Sampling, logits: &[f32]) -> (Vec<(u32, f64)>, Vec<u32>) {
        let t = f64::from(how.temperature);
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut all: Vec<(u32, f64)> = (0..logits.len() as u32)
            .filter(|&i| logits[i as usize] > f32::NEG_INFINITY)
            .map(|i| (i, (f64::from(logits[i as usize] - top) / t).exp()))
            .collect();
        all.sort_by(|a, b| better(logits, a.0, b.0));
        let mut edge = Vec::new();
        if how.top_k > 0 {
            all.truncate(how.top_k);
        }
        if how.top_p < 1.0 {
            let total: f64 = all.iter().map(|x| x.1).sum();
            let (mut sum, mut kept) = (0.0, 0);
            while kept < all.len() && (kept == 0 || sum < f64::from(how.top_p) * total) {
                sum += all[kept].1;
                kept += 1;
                if (sum / total - f64::from(how.top_p)).abs() < 1e-5 {
                    edge.extend(all[kept - 1..].iter().take(40).map(|x| x.0));
                }
            }
            edge.extend(
                all[kept..]
                    .iter()
                    .take_while(|_| sum / total < f64::from(how.top_p) + 1e-5)
                    .map(|x| x.0)
                    .take(40),
            );
            all.truncate(kept);
        }
        let near = |w: f64| (w / f64::from(how.min_p) - 1.0).abs() < 1e-4;
        edge.extend(all.iter().filter(|x| near(x.1)).map(|x| x.0));
        all.retain(|x| x.1 >= f64::from(how.min_p));
        let total: f64 = all.iter().map(|x| x.1).sum();
        all.iter_mut().for_each(|x| x.1 /= total);
        (all, edge)
    }

    /// Rows as models give them (few tokens stand out) and flat ones.
    fn row(rng: &mut Rng, len: usize) -> Vec<f32> {
        let sharp = 0.2 + 12.0 * rng.uniform() * rng.uniform();
        let mut row: Vec<f32> = (0..len)
            .map(|_| {
                let noise = (0..4).map(|_| rng.uniform()).sum::<f64>() - 2.0;
                (sharp * noise) as f32
            })
            .collect();
        for _ in 0..rng.below(4) {
            let i = rng.below(len);
            row[i] = (sharp * 2.5) as f32; // equal ones too
        }
        if len > 8 {
            let i = rng.below(len);
            row[i] = f32::NEG_INFINITY;
        }
        row
    }

    #[test]
    fn what_is_left_equals_sorting_everything() {
        let mut rng = Rng::new(11);
        let mut large = 0;
        for round in 0..300u64 {
            let len = [3, 60, 500, 5000, 49_152][round as usize % 5];
            let logits = row(&mut rng, len);
            let pick = |rng: &mut Rng, some: &[f32]| some[rng.below(some.len())];
            let how = Sampling {
                temperature: pick(&mut rng, &[0.3, 0.8, 1.0, 1.7]),
                top_k: [0, 0, 1, 5, 40, 4000][rng.below(6)],
                top_p: pick(&mut rng, &[1.0, 0.0, 0.3, 0.9, 0.95, 0.999]),
                min_p: pick(&mut rng, &[0.0, 0.0, 0.01, 0.1, 1.0]),
                seed: round,
                ..Sampling::default()
            };
            let mut s = Sampler::new(how.clone());
            let got = s.pick(&mut logits.clone(), &[]).unwrap();
            let (want, edge) = plain(&how, &logits);
            assert!(want.iter().any(|w| w.0 == got) || edge.contains(&got), "{how:?}: {got}");
            if (how.top_k == 0 || how.top_k >= len) && how.top_p == 1.0 && how.min_p == 0.0 {
                continue; // nothing is filtered, so no list is made
            }
            let mut left = s.row.order.clone();
            left.sort_unstable();
            large += usize::from(left.len() > 1000);
            let mut wanted: Vec<u32> = want.iter().map(|w| w.0).collect();
            wanted.sort_unstable();
            let differs =
                |a: &[u32], b: &[u32]| a.iter().any(|i| b.binary_search(i).is_err() && !edge.contains(i));
            assert!(
                !differs(&left, &wanted) && !differs(&wanted, &left),
                "{how:?}, {len} logits: {} left instead of {}",
                left.len(),
                wanted.len()
            );
        }
        assert!(large > 10, "flat distributions come too: {large}");
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut rng = Rng::new(4);
        for (top_k, top_p, min_p) in
            [(0, 1.0, 0.0), (6, 1.0, 0.0), (0, 0.8, 0.0), (0, 1.0, 0.05), (12, 0.9, 0.02)]
        {
            let logits: Vec<f32> = (0..30).map(|_| (rng.uniform() * 5.0) as f32).collect();
            let how = Sampling { temperature: 0.9, top_k, top_p, min_p, seed: 3, ..Sampling::default() };
            let n = 40_000;
            let c = counts(how.clone(), &logits, n);
            let (want, _) = plain(&how, &logits);
            for (i, c) in c.iter().enumerate() {
                let p = want.iter().find(|w| w.0 == i as u32).map_or(0.0, |w| w.1);
                let sigma = (p * (1.0 - p) / n as f64).sqrt();
                assert!((*c as f64 / n as f64 - p).abs() <= 4.5 * sigma, "{how:?}: {c} of {n}, expected {p}");
            }
        }
    }

    #[test]
    fn a_mask_equals_a_row_of_the_allowed_tokens_alone() {
        let mut rng = Rng::new(8);
        for round in 0..60u64 {
            let logits = row(&mut rng, 3000);
            let mut mask = TokenMask::none(3000);
            (0..1 + rng.below(50)).for_each(|_| mask.allow(rng.below(3000) as u32));
            let tokens: Vec<u32> = mask.tokens().collect();
            if tokens.iter().all(|&t| logits[t as usize] == f32::NEG_INFINITY) {
                continue;
            }
            let how = Sampling {
                temperature: [0.0, 0.7, 1.2][round as usize % 3],
                top_k: [0, 4][rng.below(2)],
                top_p: [1.0, 0.8][rng.below(2)],
                repeat_penalty: 1.3,
                presence_penalty: 0.5,
                logit_bias: vec![(tokens[0], 2.0)],
                seed: round,
                ..Sampling::default()
            };
            let history: Vec<u32> = (0..40).map(|_| tokens[rng.below(tokens.len())]).collect();
            let (mut a, mut b) = (Sampler::new(how.clone()), Sampler::new(how));
            for n in 0..20 {
                let whole = a.sample(&mut logits.clone(), &history[..n], Some(&mask)).unwrap();
                let mut some: Vec<f32> = tokens.iter().map(|&t| logits[t as usize]).collect();
                let among = b.sample_among(&tokens, &mut some, &history[..n]).unwrap();
                assert_eq!(whole, among);
                assert!(mask.allows(whole.token));
            }
        }
        let none = TokenMask::none(4);
        assert_eq!(Sampler::new(Sampling::default()).sample(&mut [1.0; 4], &[], Some(&none)), None);
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let logits = row(&mut Rng::new(2), 5000);
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let plain = |t: u32| f64::from(logits[t as usize]) - sum.ln();
        let how = Sampling {
            temperature: 1.5,
            top_k: 3,
            logprobs: Some(4),
            logit_bias: vec![(17, 100.0)],
            ..Sampling::default()
        };
        let got = Sampler::new(how).sample(&mut logits.clone(), &[], None).unwrap();
        assert_eq!(got.token, 17, "the bias decides");
        assert!(
            (f64::from(got.log_probability.unwrap()) - plain(17)).abs() < 1e-4,
            "and does not change the figure"
        );
        let mut order: Vec<u32> = (0..5000).collect();
        order.sort_by(|&a, &b| better(&logits, a, b));
        assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), order[..4]);
        assert!(got.top.iter().all(|&(t, l)| (f64::from(l) - plain(t)).abs() < 1e-4));
    }

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let how = Sampling { temperature: 0.8, seed: 9, ..Sampling::default() };
        let other = Sampling { seed: 10, ..how.clone() };
        assert_eq!(counts(how.clone(), &[0.1, 0.2, 0.3], 50), counts(how.clone(), &[0.1, 0.2, 0.3], 50));
        assert_ne!(counts(how, &[0.1, 0.2, 0.3], 50), counts(other, &[0.1, 0.2, 0.3], 50));
    }

    #[test]
    fn penalties_are_those_of_their_definitions() {
        let how = Sampling { repeat_penalty: 2.0, ..Sampling::default() };
        assert_eq!(Sampler::new(how.clone()).pick(&mut [1.0, 1.5], &[1]), Some(0));
        // below zero the logit is multiplied
        assert_eq!(Sampler::new(how).pick(&mut [-1.0, -1.5], &[0]), Some(1));
        // outside the window it does not count
        let how = Sampling { repeat_penalty: 2.0, repeat_window: 2, ..Sampling::default() };
        assert_eq!(Sampler::new(how).pick(&mut [1.0, 1.5], &[1, 0, 0]), Some(1));
        // l - count · frequency - presence, and the count goes on from history to history
        let how = Sampling { frequency_penalty: 0.5, presence_penalty: 0.25, ..Sampling::default() };
        let mut s = Sampler::new(how);
        let left = |s: &mut Sampler, history: &[u32]| {
            let mut l = [4.0, 4.0, 4.0];
            s.pick(&mut l, history);
            l
        };
        assert_eq!(left(&mut s, &[1]), [4.0, 3.25, 4.0]);
        assert_eq!(left(&mut s, &[1, 2, 1, 1]), [4.0, 2.25, 3.25]);
        assert_eq!(left(&mut s, &[2, 9]), [4.0, 4.0, 3.25], "another history is counted anew");
        let biased = Sampling { logit_bias: vec![(0, 5.0), (99, 1.0)], ..Sampling::default() };
        assert_eq!(Sampler::new(biased).pick(&mut [1.0, 2.0], &[]), Some(0));
    }
}
