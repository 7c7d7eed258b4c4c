//! The policy speaks: answers to prompts by the batched engine, with the weights as they stand.
//!
//! In exact mode the engine computes what the trainer computes, so the log-probabilities that come with the tokens are
//! those of training, up to the rounding of a float. A prompt's keys are computed once for all answers to it. Each answer
//! has a seed of its own, and what else is computed beside it changes nothing: the same weights and seeds give the same
//! answers on any number of threads.

use super::Reinforce;
use nurture_infer::engine::{
    Engine, EngineConfig, Event, Finish, Forced, Loaded, PAGE, Past, Picked, Picker, Request,
};
use nurture_infer::{InferError, Sampler, Sampling};
use nurture_model::{Config, Cpu, Decoder, KvCache, KvType, Mode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Log-probability of each, nats, at the policy's temperature.
    pub logp: Vec<f32>,
    /// Whether it ended by itself; else it was cut off.
    pub ended: bool,
}

/// Samples at a temperature over the whole vocabulary, and takes the token that ends the text into it: the policy must learn
/// to end, too.
struct Speaker {
    sampler: Sampler,
    temperature: f32,
    stops: Arc<[u32]>,
}

impl Picker for Speaker {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        // at the temperature already, so that the log-probability is that of the policy
        if self.temperature != 1.0 {
            logits.iter_mut().for_each(|l| *l /= self.temperature);
        }
        let tokens = past.prompt.len() + past.text.len();
        let pick = self.sampler.sample(logits, past.text, None).ok_or(InferError::NotFinite { tokens })?;
        let last = self.stops.contains(&pick.token);
        Ok(Picked::Token(pick, Forced { tokens: Vec::new(), last }))
    }
}

/// Most bytes of keys and values while answers are made.
const KEYS: usize = 256 << 20;
/// Fewest and most answers that are made at once.
const AT_ONCE: (usize, usize) = (8, 128);

/// Tokens whose keys are held while answers of up to `longest` tokens (prompt included) are made, and how many answers
/// are made at once. It depends on the network alone, not on the machine.
pub fn rollout_tokens(c: &Config, longest: usize, answers: usize) -> (usize, usize) {
    let each = longest.next_multiple_of(PAGE);
    let bytes = each * KvCache::token_bytes(KvType::F32, c);
    let at_once = (KEYS / bytes.max(1)).clamp(AT_ONCE.0, AT_ONCE.1).min(answers.max(1));
    (at_once * each, at_once)
}

/// Of those tokens the ones that are written at most: answers to one prompt share its pages but the last.
pub(crate) fn rollout_written(how: &Reinforce, prompt: usize, (held, at_once): (usize, usize)) -> usize {
    let prompts = at_once.div_ceil(how.samples.max(1));
    let own = (prompt % PAGE + how.max_new).next_multiple_of(PAGE);
    (prompts * prompt.next_multiple_of(PAGE) + at_once * own).min(held)
}

/// Answers each prompt once for each of its seeds. Gives answers in the order of prompts and seeds.
///
/// # Errors
/// A prompt that is empty or too long, or what the engine could not go on with, in words.
pub fn sample(
    model: &Arc<Decoder>,
    cpu: &Arc<Cpu>,
    adapter: Option<&Arc<Loaded>>,
    how: &Reinforce,
    stops: &[u32],
    prompts: &[(&[u32], Vec<u64>)],
) -> Result<Vec<Rollout>, String> {
    let answers: usize = prompts.iter().map(|p| p.1.len()).sum();
    let longest = prompts.iter().map(|p| p.0.len()).max().unwrap_or(0) + how.max_new;
    let (tokens, running) = rollout_tokens(model.config(), longest, answers);
    let config = EngineConfig {
        mode: Mode::Exact,
        kv: Some(KvType::F32),
        tokens,
        context: longest.min(model.config().context),
        running,
        waiting: answers.max(1),
        step_tokens: 512,
        // nobody waits for the next token of one answer
        step_time: Duration::from_secs(60),
        guess: 0,
        sharing: true,
    };
    let mut engine = Engine::new(model.clone(), cpu.clone(), config);
    let stops: Arc<[u32]> = stops.into();
    let mut places = Vec::with_capacity(answers);
    for (prompt, seeds) in prompts {
        for &seed in seeds {
            let sampling = Sampling { temperature: 1.0, logprobs: Some(0), seed, ..Sampling::default() };
            let speaker = Speaker {
                sampler: Sampler::new(sampling),
                temperature: how.temperature as f32,
                stops: stops.clone(),
            };
            let place = Arc::new(Mutex::new((Rollout::default(), None::<Finish>)));
            let sink = {
                let place = place.clone();
                move |event| {
                    let mut place = place.lock().unwrap_or_else(|e| e.into_inner());
                    match event {
                        Event::Token(pick) => {
                            place.0.tokens.push(pick.token);
                            place.0.logp.push(pick.log_probability.unwrap_or(f32::NAN));
                        }
                        Event::Done(finish, _) => place.1 = Some(finish),
                        _ => {}
                    }
                    true
                }
            };
            let request = Request {
                prompt: prompt.to_vec(),
                most: how.max_new,
                picker: Box::new(speaker),
                adapter: adapter.cloned(),
                tenant: 0,
                deadline: None,
                scores: None,
                hidden: None,
            };
            engine.submit(request, sink).map_err(|e| e.to_string())?;
            places.push(place);
        }
    }
    engine.run();
    let take = |place: Arc<Mutex<(Rollout, Option<Finish>)>>| {
        let mut place = place.lock().unwrap_or_else(|e| e.into_inner());
        let mut rollout = std::mem::take(&mut place.0);
        match place.1.take() {
            Some(Finish::Stop) => rollout.ended = true,
            Some(Finish::Length | Finish::Context) => {}
            Some(Finish::Failed(why)) => return Err(why),
            other => return Err(format!("an answer ended without a reason: {other:?}")),
        }
        match rollout.tokens.is_empty() || rollout.logp.iter().any(|l| !l.is_finite()) {
            true => Err("an answer has no token, or one without a probability".to_string()),
            false => Ok(rollout),
        }
    };
    places.into_iter().map(take).collect()
}
