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

/// Texts from which on [`nearest`] measures by what the texts have in common.
const ENOUGH: usize = 32;

/// The cosine of the vector `asked` to each of `vectors`, and their places, nearest first. From 32 vectors on, each dimension
/// is first taken relative to its mean and spread over `vectors`: the hidden states of a language model share a few large
/// dimensions that say nothing of the text.
pub fn nearest(asked: &[f32], vectors: &[Vec<f32>]) -> Vec<(f64, usize)> {
    let n = vectors.len() as f64;
    let mut scales = vec![(0.0, 1.0); asked.len()];
    if vectors.len() >= ENOUGH {
        for (d, scale) in scales.iter_mut().enumerate() {
            let values = || vectors.iter().filter_map(|v| v.get(d)).map(|&x| f64::from(x));
            let mean = values().sum::<f64>() / n;
            let spread = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            *scale = (mean, if spread > 0.0 { 1.0 / spread } else { 0.0 });
        }
    }
    let scaled = |v: &[f32]| -> Vec<f64> {
        let v: Vec<f64> = v.iter().zip(&scales).map(|(&x, (mean, by))| (f64::from(x) - mean) * by).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.into_iter().map(|x| if length > 0.0 { x / length } else { x }).collect()
    };
    let asked = scaled(asked);
    let cosine = |v: &Vec<f32>| scaled(v).iter().zip(&asked).map(|(x, y)| x * y).sum::<f64>();
    let mut near: Vec<(f64, usize)> = vectors.iter().enumerate().map(|(i, v)| (cosine(v), i)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    near
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn dimensions_that_all_share_do_not_decide() {
        // 40 texts in two groups told apart by the second dimension; the first is large and wavers
        let text = |i: usize| {
            vec![100.0 + (i % 7) as f32, if i.is_multiple_of(2) { 1.0 } else { -1.0 }, (i % 3) as f32]
        };
        let vectors: Vec<Vec<f32>> = (0..40).map(text).collect();
        let near = nearest(&vectors[4], &vectors);
        assert_eq!(near[0].1, 4);
        assert!((near[0].0 - 1.0).abs() < 1e-12);
        assert!(near[..10].iter().all(|(_, i)| i.is_multiple_of(2)), "{near:?}");
        // few texts: the plain cosine
        let few = nearest(&[1.0, 0.0], &[vec![0.0, 2.0], vec![3.0, 3.0], vec![5.0, 0.0]]);
        assert_eq!(few.iter().map(|n| n.1).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((few[1].0 - 0.5f64.sqrt()).abs() < 1e-7 && nearest(&[0.0], &[vec![1.0]])[0].0 == 0.0);
    }
}
