//! The proof of an export: fixed prompts, answered greedily by what was raised, then read by what was written.

use crate::engine::Model;
use anyhow::Result;
use nurture_infer::{Generator, Sampler, Sampling, StopIds};
use nurture_model::{Adapter, Mode};
use nurture_text::Message;
use serde::Serialize;

/// Both languages, questions and plain text.
const PROMPTS: [&str; 8] = [
    "Why is the sky blue?",
    "Write one sentence about the sea.",
    "List three colours.",
    "I lost my card yesterday. What should I do?",
    "What is 17 + 25?",
    "用一句话介绍北京。",
    "合同违约后应当如何处理？",
    "Translate to Chinese: good morning",
];

/// Tokens of each answer.
const TOKENS: usize = 24;

/// One prompt with its answer by the trainer.
#[derive(Clone, Debug)]
struct Sample {
    /// prompt and answer
    tokens: Vec<u32>,
    /// where the answer begins
    answer: usize,
    /// of the tokens from the second on
    log_probabilities: Vec<f32>,
}

/// What the trainer says.
#[derive(Clone, Debug)]
pub struct Reference(Vec<Sample>);

/// How far what was written is from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parity {
    /// prompts
    pub prompts: usize,
    /// tokens of the answers
    pub tokens: usize,
    /// of these, those that greedy decoding of what was written would choose too
    pub same_tokens: usize,
    /// largest difference of a log-probability over prompts and answers
    pub largest: f64,
    /// mean difference
    pub mean: f64,
    /// perplexity of these tokens by the trainer and by what was written
    pub perplexity: [f64; 2],
}

fn generator<'m>(model: &'m Model, adapter: Option<&'m Adapter>) -> Generator<'m> {
    Generator::new(model.decoder(), adapter, model.cpu(), Mode::Exact, 256)
}

/// Answers the prompts in exact mode.
///
/// # Errors
/// The template; a network that does not compute.
pub fn reference(model: &Model, adapter: Option<&Adapter>, system: Option<&str>) -> Result<Reference> {
    let mut generator = generator(model, adapter);
    let mut out = Vec::new();
    for prompt in PROMPTS {
        let mut messages: Vec<Message> = system.map(|s| Message::new("system", s)).into_iter().collect();
        messages.push(Message::new("user", prompt));
        let mut tokens = model.renderer().prompt(&messages)?.tokens;
        let answer = tokens.len().min(200);
        tokens.truncate(answer);
        let mut sampler = Sampler::new(Sampling::default());
        let most = TOKENS.min(256 - answer);
        let made = generator.generate(&tokens, most, &mut sampler, &mut StopIds(Vec::new()), |_| true)?;
        tokens.extend(made.tokens);
        generator.reset();
        let picks = generator.score(&tokens, 0)?;
        let log_probabilities = picks.iter().map(|p| p.log_probability.unwrap_or(f32::NAN)).collect();
        out.push(Sample { tokens, answer, log_probabilities });
    }
    Ok(Reference(out))
}

/// Reads the reference by `model` with `adapter`.
///
/// # Errors
/// A network that does not compute.
pub fn compare(reference: &Reference, model: &Model, adapter: Option<&Adapter>) -> Result<Parity> {
    let mut generator = generator(model, adapter);
    let mut parity = Parity { prompts: reference.0.len(), ..Parity::default() };
    let (mut count, mut sums) = (0usize, [0f64; 2]);
    for sample in &reference.0 {
        generator.reset();
        let picks = generator.score(&sample.tokens, 1)?;
        for (i, (pick, want)) in picks.iter().zip(&sample.log_probabilities).enumerate() {
            let got = f64::from(pick.log_probability.unwrap_or(f32::NAN));
            let difference = (got - f64::from(*want)).abs();
            // NaN must show
            parity.largest = if difference.is_nan() { f64::NAN } else { parity.largest.max(difference) };
            parity.mean += difference;
            sums = [sums[0] - f64::from(*want), sums[1] - got];
            count += 1;
            if i + 1 >= sample.answer {
                parity.tokens += 1;
                parity.same_tokens += usize::from(pick.top.first().is_some_and(|t| t.0 == pick.token));
            }
        }
    }
    parity.mean /= count.max(1) as f64;
    parity.perplexity = sums.map(|s| (s / count.max(1) as f64).exp());
    Ok(parity)
}
