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
    /// what must come next, already accepted by the rule, where each token is told with its own figures
    due: Forced,
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
        let (due, guess) = (Forced::default(), Vec::new());
        Ruled { sampler, stops, most, rule, deadline, due, drafts, guess, at: 0, began: None }
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

    /// Whether every token is told with its figures: then the network must look at those that have to come, too.
    fn tells(&self) -> bool {
        self.sampler.settings().logprobs.is_some()
    }

    fn under_rule(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        let tokens = past.prompt.len() + past.text.len();
        let no_number = InferError::NotFinite { tokens };
        if !self.due.tokens.is_empty() {
            let pick = self.sampler.tell(logits, self.due.tokens.remove(0)).ok_or(no_number)?;
            let last = self.due.last && self.due.tokens.is_empty();
            return Ok(Picked::Token(pick, Forced { tokens: Vec::new(), last }));
        }
        let room = self.most.saturating_sub(past.text.len());
        let own = self.tells().then(|| logits.to_vec());
        let mut chosen = None;
        let (mut must, mut last) = (Vec::new(), false);
        if let Some(rule) = &mut self.rule {
            if let Some(way) = self.deadline.due(&mut **rule, room) {
                (must, last) = (way, true);
            } else {
                let pick = self.sampler.sample(logits, past.text, Some(rule.mask()?));
                let pick = pick.ok_or(InferError::NotFinite { tokens })?;
                if self.stops.contains(&pick.token) {
                    return Ok(Picked::End);
                }
                must = vec![pick.token];
                if let Some(way) = self.deadline.instead(&mut **rule, pick.token, room) {
                    (must, last) = (way, true);
                }
                chosen = Some(pick);
            }
        }
        let mut forced = self.follow(must, last)?;
        if forced.tokens.is_empty() {
            return Ok(Picked::End); // the text may end right here
        }
        let token = forced.tokens.remove(0);
        let pick = match (chosen.filter(|c| c.token == token), own) {
            (Some(pick), _) => pick,
            (None, Some(own)) => self.sampler.tell(&own, token).ok_or(no_number)?,
            (None, None) => Pick::bare(token),
        };
        if self.tells() && !forced.tokens.is_empty() {
            self.due = std::mem::take(&mut forced);
        }
        Ok(Picked::Token(pick, forced))
    }
}

impl Picker for Ruled {
    fn begin(&mut self) -> Result<Forced, InferError> {
        let forced = self.follow(Vec::new(), false)?;
        if self.tells() && !forced.tokens.is_empty() {
            self.due = forced;
            return Ok(Forced::default());
        }
        Ok(forced)
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
        let plain = !self.tells();
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
