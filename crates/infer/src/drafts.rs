//! Speculation without a second model: what comes next is looked up where the text went on before, in the prompt, in what is
//! written already, and in the answers that a deep model was trained on; one forward pass checks all drafted tokens.
//!
//! **Exact.** Each drafted token is compared with the one that the sampler picks from the row of logits at its place. Within a mode
//! those rows have the same bits as single steps, and the sampler takes one random number a token either way, so the text is the
//! same with drafts and without, greedy or sampled. (A draft is one certain token, so this *is* rejection sampling: the token is
//! kept with its own probability, else the pick is distributed as the rest is. Leviathan et al. 2023.)
//!
//! **Never much slower.** Every drafted token costs a little. The books are kept in units of one decoding step: kept tokens are
//! income, drafted ones cost what the clock says, and beyond what drafts have earned only a few steps in two hundred may be risked.

use crate::ngrams::Ngrams;
use std::sync::Arc;

/// Longest draft.
const MOST: usize = 16;

/// What may be lost at the beginning, and of each step, in steps.
const START: f64 = 0.3;
const SHARE: f64 = 0.015;

/// Earnings beyond this are not risked again.
const PURSE: f64 = 3.0;

/// Price of a drafted token in steps before the clock has told.
const PRICE: f64 = 0.25;

/// How many tokens agree, as classes with acceptances of their own: from these lengths on.
const CLASSES: [usize; 4] = [0, 3, 5, 10];

/// Acceptances that the classes begin with, and how many drafted tokens that belief is worth.
const BELIEFS: [f64; 4] = [0.4, 0.6, 0.75, 0.9];
const WORTH: f64 = 4.0;

/// Proposes continuations of one text: a state machine of one request.
#[derive(Clone, Debug)]
pub struct Drafts {
    /// the text so far
    own: Ngrams,
    /// other texts
    corpus: Option<Arc<Ngrams>>,
    /// of each class tokens accepted and tried
    counts: [(f64, f64); CLASSES.len()],
    purse: f64,
    /// seconds of a single step, and of each further row
    step: Option<f64>,
    row: Option<f64>,
    class: usize,
    figures: DraftFigures,
}

/// What drafts have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DraftFigures {
    /// tokens that were drafted
    pub drafted: usize,
    /// of these, tokens that came
    pub accepted: usize,
    /// passes that checked a draft
    pub passes: usize,
}

impl Drafts {
    /// Drafts from the text itself and from `corpus`.
    pub fn new(corpus: Option<Arc<Ngrams>>) -> Drafts {
        let corpus = corpus.filter(|c| !c.is_empty());
        let counts = BELIEFS.map(|b| (b * WORTH, WORTH));
        let own = Ngrams::default();
        Drafts {
            own,
            corpus,
            counts,
            purse: START,
            step: None,
            row: None,
            class: 0,
            figures: DraftFigures::default(),
        }
    }

    /// What they have done so far.
    pub fn figures(&self) -> DraftFigures {
        self.figures
    }

    /// What a drafted token costs, in steps.
    fn price(&self) -> f64 {
        match (self.step, self.row) {
            (Some(step), Some(row)) => (row / step).clamp(0.02, 2.0),
            _ => PRICE,
        }
    }

    /// Tokens that may follow `text`, at most `most`; often none.
    pub fn propose(&mut self, text: &[u32], most: usize) -> Vec<u32> {
        match text.strip_prefix(self.own.tokens()) {
            Some(new) => self.own.extend(new),
            None => {
                self.own = Ngrams::default();
                self.own.extend(text);
            }
        }
        let own = self.own.find(text, text.len());
        let other = self.corpus.as_ref().and_then(|c| c.find(text, usize::MAX));
        let (index, place, length, round) = match (own, other) {
            (Some((_, a)), Some((place, b))) if b > a => (self.corpus.as_deref(), place, b, false),
            (None, Some((place, b))) => (self.corpus.as_deref(), place, b, false),
            (Some((place, a)), _) => (Some(&self.own), place, a, true),
            (None, None) => return Vec::new(),
        };
        self.class = CLASSES.iter().rposition(|&c| length >= c).unwrap_or(0);
        let (accepted, tried) = self.counts[self.class];
        let (likely, price) = ((accepted / tried).min(0.995), self.price());
        // the i-th token is worth its price while likely^i covers it; and no more is staked than the purse holds
        let worth = if likely > price { (price.ln() / likely.ln()) as usize } else { 0 };
        let stake = (self.purse / price) as usize;
        index.map(|i| i.from(place, most.min(MOST).min(worth).min(stake), round)).unwrap_or_default()
    }

    /// A pass with `drafted` tokens beside the one that was due took `seconds`, and `accepted` of them came.
    pub fn outcome(&mut self, drafted: usize, accepted: usize, seconds: f64) {
        let blend = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| old + 0.2 * (new - old)));
        self.purse += SHARE;
        if drafted == 0 {
            self.step = blend(self.step, seconds);
        } else {
            if let Some(step) = self.step {
                self.row = blend(self.row, (seconds - step).max(0.0) / drafted as f64);
            }
            self.purse += accepted as f64 - drafted as f64 * self.price();
            let tried = accepted + usize::from(accepted < drafted);
            let counts = &mut self.counts[self.class];
            *counts = (counts.0 + accepted as f64, counts.1 + tried as f64);
            self.figures.drafted += drafted;
            self.figures.accepted += accepted;
            self.figures.passes += 1;
        }
        // old experience fades towards the first belief, so that a class is tried again some time
        for (counts, belief) in self.counts.iter_mut().zip(BELIEFS) {
            counts.0 += 0.02 * (belief * WORTH - counts.0);
            counts.1 += 0.02 * (WORTH - counts.1);
        }
        self.purse = self.purse.min(PURSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps' worth of time for `n` tokens, where a draft token is right as `right` says; a row costs 0.2 of a step.
    fn play(drafts: &mut Drafts, text: &mut Vec<u32>, next: impl Fn(&[u32]) -> u32, n: usize) -> f64 {
        let (mut time, from) = (0.0, text.len());
        while text.len() < from + n {
            let draft = drafts.propose(text, 32);
            let mut kept = 0;
            for &d in &draft {
                if next(text) != d {
                    break;
                }
                text.push(d);
                kept += 1;
            }
            text.push(next(text));
            let seconds = 1.0 + 0.2 * draft.len() as f64;
            drafts.outcome(draft.len(), kept, seconds);
            time += seconds;
        }
        time
    }

    #[test]
    fn what_repeats_is_fast_and_what_misleads_is_hardly_slower() {
        let mut text: Vec<u32> = (0..40).collect();
        let repeats = |t: &[u32]| t[t.len() - 40];
        let time = play(&mut Drafts::new(None), &mut text, repeats, 400);
        assert!(time < 200.0, "{time} steps for 400 tokens");
        // every pair of tokens has been there, and something else comes each time
        let mut text = vec![0, 1];
        let misleads = |t: &[u32]| {
            let mut h = t.len() as u64;
            h = (h ^ (h >> 3)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            (h % 3) as u32
        };
        let mut drafts = Drafts::new(None);
        let time = play(&mut drafts, &mut text, misleads, 2000);
        assert!(drafts.figures().drafted > 0, "something was tried");
        assert!(time < 2060.0, "{time} steps for 2,000 tokens");
    }

    #[test]
    fn a_corpus_is_used() {
        let answers: Vec<Vec<u32>> =
            (0..30).map(|a| (0..50).map(|i| 1000 + a * 7 + i * 31 % 97).collect()).collect();
        let corpus = Arc::new(Ngrams::new(answers.iter().map(|a| &a[..])));
        let mut text = vec![5, 6, 7];
        text.extend(&answers[3][..3]);
        let answer = answers[3].clone();
        let mut drafts = Drafts::new(Some(corpus));
        let time = play(&mut drafts, &mut text, |t| answer.get(t.len() - 3).copied().unwrap_or(0), 47);
        assert!(time < 30.0, "{time} steps for 47 tokens");
        assert!(drafts.figures().accepted > 30);
    }
}
