//! Everything that can decide over one request's tokens in the engine: sampler, rule, drafts, ends.

use crate::constraint::{Constraint, Deadline};
use crate::drafts::Drafts;
use crate::engine::{Past, Picked, Picker};
use crate::sampler::Sampler;
use std::time::Instant;

/// Most tokens of a rule for which the engine is told that no others count; a longer list costs more than it saves.
const FEW: usize = 1024;

/// The engine's [`Picker`] with all parts of [`crate::Generator::run`]; the same text as that gives.
pub struct Ruled {
    sampler: Sampler,
    stops: Vec<u32>,
    /// tokens that may be generated
    most: usize,
    rule: Option<Box<dyn Constraint + Send>>,
    deadline: Deadline,
    drafts: Option<Drafts>,
    /// the last guess, where it was made, and when
    guess: Vec<u32>,
    at: usize,
    began: Option<Instant>,
}

impl std::fmt::Debug for Ruled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rule, drafts) = (self.rule.is_some(), self.drafts.is_some());
        f.debug_struct("Ruled").field("rule", &rule).field("drafts", &drafts).finish_non_exhaustive()
    }
}

impl Ruled {
    /// For a request of at most `most` tokens that ends at any of `stops`. Drafts are not used beside a rule.
    pub fn new(
        sampler: Sampler,
        stops: Vec<u32>,
        most: usize,
        rule: Option<Box<dyn Constraint + Send>>,
        drafts: Option<Drafts>,
    ) -> Ruled {
        let (deadline, drafts) = (Deadline::new(), drafts.filter(|_| rule.is_none()));
        let guess = Vec::new();
        Ruled { sampler, stops, most, rule, deadline, drafts, guess, at: 0, began: None }
    }

    fn under_rule(&mut self, logits: &mut [f32], past: Past<'_>) -> Option<Picked> {
        let room = self.most.saturating_sub(past.text.len());
        let rule = self.rule.as_mut()?;
        let mut picked = Picked::default();
        let mut must = match self.deadline.due(&mut **rule, room) {
            Some(way) => {
                picked.last = true;
                way
            }
            None => rule.forced().ok()?,
        };
        if must.is_empty() && !picked.last {
            let mask = rule.mask().ok()?;
            let pick = self.sampler.sample(logits, past.text, Some(mask))?;
            (picked.log_probability, picked.top) = (pick.log_probability, pick.top);
            if self.stops.contains(&pick.token) {
                return Some(Picked { token: pick.token, ends: true, ..picked });
            }
            must = vec![pick.token];
            if !rule.fits(pick.token, room.saturating_sub(1))
                && let Some(way) = rule.ending(room)
            {
                picked.last = true;
                must = way;
            }
        }
        let mut tokens = Vec::new();
        while !must.is_empty() {
            for token in std::mem::take(&mut must) {
                if self.stops.contains(&token) {
                    picked.last = true;
                    break;
                }
                rule.accept(token).ok()?;
                tokens.push(token);
            }
            picked.last |= rule.done();
            if !picked.last {
                must = rule.forced().ok()?;
            }
        }
        let Some(&token) = tokens.first() else {
            // the text may end right here
            return self.stops.first().map(|&token| Picked { token, ends: true, ..Picked::default() });
        };
        Some(Picked { token, then: tokens.split_off(1), ..picked })
    }
}

impl Picker for Ruled {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Option<Picked> {
        if self.rule.is_some() {
            return self.under_rule(logits, past);
        }
        let pick = self.sampler.sample(logits, past.text, None)?;
        let ends = self.stops.contains(&pick.token);
        let (token, log_probability, top) = (pick.token, pick.log_probability, pick.top);
        Some(Picked { token, ends, log_probability, top, ..Picked::default() })
    }

    fn allowed(&mut self, _: Past<'_>) -> Option<Vec<u32>> {
        let rule = self.rule.as_mut().filter(|_| self.sampler.settings().logprobs.is_none())?;
        if let Ok([first, ..]) = rule.forced().as_deref() {
            return Some(vec![*first]);
        }
        let mask = rule.mask().ok()?;
        (mask.count() <= FEW).then(|| mask.tokens().collect())
    }

    fn guess(&mut self, past: Past<'_>, most: usize) -> Vec<u32> {
        let Some(drafts) = &mut self.drafts else { return Vec::new() };
        let now = Instant::now();
        if let (Some(began), Some(came)) = (self.began, past.text.get(self.at..)) {
            let kept = self.guess.iter().zip(came).take_while(|(a, b)| a == b).count();
            drafts.outcome(self.guess.len(), kept, (now - began).as_secs_f64());
        }
        (self.at, self.began) = (past.text.len(), Some(now));
        self.guess = drafts.propose(&[past.prompt, past.text].concat(), most);
        self.guess.clone()
    }
}
