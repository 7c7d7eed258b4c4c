//! How a request turns logits into tokens: the engine's side of sampling, constraints and speculation.

use crate::sampler::Sampler;

/// What stands before the next token.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// the prompt
    pub prompt: &'a [u32],
    /// what was generated so far
    pub text: &'a [u32],
}

/// A choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picked {
    /// the next token
    pub token: u32,
    /// whether it ends the text and does not belong to it
    pub ends: bool,
    /// tokens that must follow (a grammar leaves no choice): they are not picked but computed together
    pub then: Vec<u32>,
    /// whether the text ends after `token` and `then`, which do belong to it
    pub last: bool,
    /// log-probability of `token`, where the picker was asked for it
    pub log_probability: Option<f32>,
    /// the best tokens of that place with their log-probabilities, best first, where asked for
    pub top: Vec<(u32, f32)>,
}

/// Chooses the tokens of one request. It carries all of its own state, so that the same seed gives the same text whatever
/// runs beside it. Called from the engine's threads, one call at a time; a panic ends its own request alone.
pub trait Picker: Send {
    /// The next token by its logits `[V]` (to be changed freely); `None` where no logit is a number.
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Option<Picked>;

    /// The only tokens that may come next, if that is restricted: where they are few, logits of others are not computed,
    /// and are minus infinity in [`Picker::pick`].
    fn allowed(&mut self, _past: Past<'_>) -> Option<Vec<u32>> {
        None
    }

    /// A guess at the next tokens, at most `most` of them. They go through the network together with the last token, and
    /// each is kept only if `pick` gives it: the text is the same with any guess.
    fn guess(&mut self, _past: Past<'_>, _most: usize) -> Vec<u32> {
        Vec::new()
    }
}

/// A sampler with tokens that end the text.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// chooses
    pub sampler: Sampler,
    /// ends
    pub stops: Vec<u32>,
}

impl Picker for Sampled {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Option<Picked> {
        let pick = self.sampler.sample(logits, past.text, None)?;
        let ends = self.stops.contains(&pick.token);
        let (token, log_probability, top) = (pick.token, pick.log_probability, pick.top);
        Some(Picked { token, ends, log_probability, top, ..Picked::default() })
    }
}
