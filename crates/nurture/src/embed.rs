//! Texts to vectors for retrieval: hidden states after the last norm, of length 1, many texts in one batch.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Model;
use crate::infer::engine::{Engine, EngineConfig, Event, Finish, Loaded, Pooling, Refused, Request, unit};
use crate::model::{Adapter, Mode};

/// Texts in the engine at once.
const WAITING: usize = 128;

/// Why texts did not become vectors; `text` is the place among those handed in, from 0.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum EmbedError {
    #[error("text {text}: {problem}")]
    Text { text: usize, problem: String },
    #[error("text {text} cannot be read by the model: {refused}")]
    Refused { text: usize, refused: Refused },
}

/// A model as a source of vectors.
#[derive(Debug)]
pub struct Embedder<'m> {
    model: &'m Model,
    engine: Engine,
    adapter: Option<Arc<Loaded>>,
    pooling: Pooling,
}

impl<'m> Embedder<'m> {
    /// Texts of at most `context` tokens each.
    pub fn new(
        model: &'m Model,
        adapter: Option<Adapter>,
        mode: Mode,
        pooling: Pooling,
        context: usize,
    ) -> Embedder<'m> {
        let (decoder, cpu) = model.shared();
        // half of the longest texts at once, and many short ones
        let tokens = (8 * context).max(16 * 1024);
        let config = EngineConfig { mode, tokens, context, waiting: WAITING, ..EngineConfig::default() };
        let adapter = adapter.map(|a| Loaded::new("adapter", a));
        Embedder { model, engine: Engine::new(decoder, cpu, config), adapter, pooling }
    }

    /// Floats of a vector: the model's width.
    pub fn width(&self) -> usize {
        self.model.decoder().config().width
    }

    /// A vector `[width]` of length 1 for each text, in their order. A text's vector does not depend on the others. `goes_on` is
    /// asked at each step; once it says `false` the result is `None`.
    ///
    /// # Errors
    /// A text that cannot be tokenised, is empty, or is longer than the context.
    pub fn embed(
        &mut self,
        texts: &[String],
        goes_on: impl Fn() -> bool,
    ) -> Result<Option<Vec<Vec<f32>>>, EmbedError> {
        let vectors = Arc::new(Mutex::new(vec![Vec::new(); texts.len()]));
        let failed = Arc::new(Mutex::new(None));
        let mut next = 0;
        loop {
            while let Some(text) = texts.get(next) {
                let problem = |problem| EmbedError::Text { text: next, problem };
                let prompt =
                    self.model.renderer().completion(text).map_err(|e| problem(e.to_string()))?.tokens;
                let (to, failed) = (vectors.clone(), failed.clone());
                let sink = move |event| {
                    match event {
                        Event::Hidden(vector) => {
                            if let Some(to) = to.lock().unwrap_or_else(PoisonError::into_inner).get_mut(next)
                            {
                                *to = unit(vector);
                            }
                        }
                        Event::Done(Finish::Failed(why), _) => {
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((next, why));
                        }
                        _ => {}
                    }
                    true
                };
                let request = Request {
                    adapter: self.adapter.clone(),
                    hidden: Some(self.pooling),
                    ..Request::new(prompt, 0, &[])
                };
                match self.engine.submit(request, sink) {
                    Ok(_) => next += 1,
                    Err(Refused::QueueFull { .. }) => break,
                    Err(refused) => return Err(EmbedError::Refused { text: next, refused }),
                }
            }
            let busy = self.engine.step();
            if let Some((text, problem)) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(EmbedError::Text { text, problem });
            }
            if !goes_on() {
                return Ok(None);
            }
            if !busy && next == texts.len() {
                return Ok(Some(std::mem::take(
                    &mut *vectors.lock().unwrap_or_else(PoisonError::into_inner),
                )));
            }
        }
    }
}

/// The cosine of two vectors of length 1.
pub fn likeness(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}
