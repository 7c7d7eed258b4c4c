//! How an answer's tokens are chosen.

use nurture_infer::Sampler;
use nurture_infer::engine::{Past, Picked, Picker};

/// A sampler with the tokens that end the text.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) sampler: Sampler,
    pub(crate) stops: Vec<u32>,
    /// the token that ends the text is told too
    pub(crate) tell_stop: bool,
}

impl Picker for Chosen {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Option<Picked> {
        let pick = self.sampler.sample(logits, past.text, None)?;
        let stop = self.stops.contains(&pick.token);
        Some(Picked {
            token: pick.token,
            ends: stop && !self.tell_stop,
            last: stop && self.tell_stop,
            log_probability: pick.log_probability,
            top: pick.top,
            ..Picked::default()
        })
    }
}
