//! How a request turns logits into tokens: the engine's side of sampling, constraints and speculation.

use crate::InferError;
use crate::generate::{Stop, StopIds};
use crate::sampler::Sampler;
use crate::sampling::{Pick, Sampling};

/// What stands before the next token.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// the prompt
    pub prompt: &'a [u32],
    /// what was generated so far
    pub text: &'a [u32],
}

/// Tokens that must follow, without a look at the network: they are computed together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forced {
    /// these
    pub tokens: Vec<u32>,
    /// whether the text is complete with them
    pub last: bool,
}

/// A choice.
#[derive(Clone, Debug, PartialEq)]
pub enum Picked {
    /// the next token, and what must follow it
    Token(Pick, Forced),
    /// the text ends here; what ended it does not belong to it
    End,
}

/// Chooses the tokens of one request. It carries all of its own state, so that the same seed gives the same text whatever
/// runs beside it. Called from the engine's threads, one call at a time; an error or a panic ends its own request alone.
pub trait Picker: Send {
    /// Tokens with which every answer begins. Asked once, before all else.
    ///
    /// # Errors
    /// A rule that cannot be followed.
    fn begin(&mut self) -> Result<Forced, InferError> {
        Ok(Forced::default())
    }

    /// The next token by its logits `[V]` (to be changed freely).
    ///
    /// # Errors
    /// A logit that is not a number; a rule that cannot be followed.
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError>;

    /// The only tokens that may come next, where they are few: then logits of others need not be computed, and are minus
    /// infinity in [`Picker::pick`]. `vocab`: how many there are in all.
    fn few(&mut self, _vocab: usize) -> Option<Vec<u32>> {
        None
    }

    /// A guess at the next tokens, at most `most` of them. They go through the network together with the last token, and
    /// each is kept only if `pick` gives it: the text is the same with any guess.
    fn guess(&mut self, _past: Past<'_>, _most: usize) -> Vec<u32> {
        Vec::new()
    }
}

/// A sampler with what ends the text. [`Ruled`](crate::Ruled) has rules and drafts beside them.
pub struct Sampled {
    /// chooses
    pub sampler: Sampler,
    /// ends the text
    pub stop: Box<dyn Stop + Send>,
}

impl Sampled {
    /// A sampler with tokens that end the text.
    pub fn new(how: Sampling, stops: &[u32]) -> Sampled {
        Sampled { sampler: Sampler::new(how), stop: Box::new(StopIds(stops.to_vec())) }
    }
}

impl std::fmt::Debug for Sampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampled({:?})", self.sampler.settings())
    }
}

impl Picker for Sampled {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        let tokens = past.prompt.len() + past.text.len();
        let pick = self.sampler.sample(logits, past.text, None).ok_or(InferError::NotFinite { tokens })?;
        match self.stop.ends(pick.token) {
            true => Ok(Picked::End),
            false => Ok(Picked::Token(pick, Forced::default())),
        }
    }
}
