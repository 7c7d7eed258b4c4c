//! How the tokens are chosen of an answer whose prompt is scored.

use nurture_infer::engine::{Forced, Past, Picked, Picker};
use nurture_infer::{InferError, Sampler};

/// A sampler that tells the token that ends the text too: harnesses count on one entry for every generated token behind an echo.
#[derive(Debug)]
pub(crate) struct TellsAll {
    pub(crate) sampler: Sampler,
    pub(crate) stops: Vec<u32>,
}

impl Picker for TellsAll {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        let tokens = past.prompt.len() + past.text.len();
        let pick = self.sampler.sample(logits, past.text, None).ok_or(InferError::NotFinite { tokens })?;
        let last = self.stops.contains(&pick.token);
        Ok(Picked::Token(pick, Forced { tokens: Vec::new(), last }))
    }
}
