//! Everything that can decide over one request's tokens in the engine: sampler, rule, drafts, ends.

use crate::InferError;
use crate::constraint::{Constraint, Deadline};
use crate::drafts::Drafts;
use crate::engine::{Forced, Past, Picked, Picker};
use crate::sampler::Sampler;
use crate::sampling::Pick;
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

    /// Follows `must` and whatever the rule leaves no choice about after it: the tokens, and whether the text is complete.
    fn follow(&mut self, mut must: Vec<u32>, mut last: bool) -> Result<Forced, InferError> {
        let mut tokens = Vec::new();
        let Some(rule) = &mut self.rule else { return Ok(Forced::default()) };
        loop {
            for token in std::mem::take(&mut must) {
                if self.stops.contains(&token) {
                    return Ok(Forced { tokens, last: true });
                }
                rule.accept(token)?;
                tokens.push(token);
            }
            last |= rule.done();
            if !last {
                must = rule.forced()?;
            }
            if must.is_empty() {
                return Ok(Forced { tokens, last });
            }
        }
    }

    fn under_rule(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        let room = self.most.saturating_sub(past.text.len());
        let mut chosen = Pick::default();
        let (mut must, mut last) = (Vec::new(), false);
        if let Some(rule) = &mut self.rule {
            if let Some(way) = self.deadline.due(&mut **rule, room) {
                (must, last) = (way, true);
            } else {
                let tokens = past.prompt.len() + past.text.len();
                let mask = Some(rule.mask()?);
                let pick = self.sampler.sample(logits, past.text, mask);
                chosen = pick.ok_or(InferError::NotFinite { tokens })?;
                if self.stops.contains(&chosen.token) {
                    return Ok(Picked::End);
                }
                must = vec![chosen.token];
                if let Some(way) = self.deadline.instead(&mut **rule, chosen.token, room) {
                    (must, last) = (way, true);
                }
            }
        }
        let mut forced = self.follow(must, last)?;
        if forced.tokens.is_empty() {
            return Ok(Picked::End); // the text may end right here
        }
        let token = forced.tokens.remove(0);
        let pick = if token == chosen.token { chosen } else { Pick::bare(token) };
        Ok(Picked::Token(pick, forced))
    }
}

impl Picker for Ruled {
    fn begin(&mut self) -> Result<Forced, InferError> {
        self.follow(Vec::new(), false)
    }

    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        if self.rule.is_some() {
            return self.under_rule(logits, past);
        }
        let tokens = past.prompt.len() + past.text.len();
        let pick = self.sampler.sample(logits, past.text, None).ok_or(InferError::NotFinite { tokens })?;
        if self.stops.contains(&pick.token) {
            return Ok(Picked::End);
        }
        Ok(Picked::Token(pick, Forced::default()))
    }

    fn few(&mut self, _: usize) -> Option<Vec<u32>> {
        let plain = self.sampler.settings().logprobs.is_none();
        // what is wrong with a rule shows when it is asked again
        let mask = self.rule.as_mut().filter(|_| plain)?.mask().ok()?;
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
