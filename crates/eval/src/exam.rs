//! Sitting an exam: items in, answers out, the same way for base and tuned model.

use crate::{
    EvalError, ExamInfo, ExamKind, ExamResult, ItemResult, Mode, Model, PerplexityResult, Window, WindowNll,
    WindowScheme,
};
use nurture_infer::{Chooser, Finish, Generator, InferError, Sampler, Sampling, StopIds, Trie};
use nurture_kernels::cross_entropy;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, ModelError};
use nurture_text::{Message, Renderer, TextError};
use std::time::Instant;

/// A question as it is put to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// unique in the exam
    pub id: String,
    /// as a reader knows it
    pub question: String,
    /// everything the model reads, system turn and question
    pub messages: Vec<Message>,
    /// accepted answers
    pub gold: Vec<String>,
    /// the answers to choose from, for choices
    pub options: Vec<String>,
}

/// Who sits the exam, and how.
#[derive(Clone, Copy, Debug)]
pub struct Examinee<'m> {
    /// the network
    pub decoder: &'m Decoder,
    /// what it was taught; `None`: the base
    pub adapter: Option<&'m Adapter>,
    /// threads
    pub cpu: &'m Cpu,
    /// messages to tokens
    pub renderer: &'m Renderer,
}

/// What can go wrong in an exam.
#[derive(Debug, thiserror::Error)]
pub enum SitError {
    /// The text side.
    #[error("item {id}: {source}")]
    Text {
        /// the item
        id: String,
        /// what it says
        source: TextError,
    },
    /// The network's side.
    #[error("exam \"{exam}\": {source}")]
    Infer {
        /// the exam
        exam: String,
        /// what it says
        source: InferError,
    },
    /// The network's side, for texts.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The figures.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An answer that melts into the prompt.
    #[error(
        "item {id}: with this chat template the answer \"{answer}\" changes the tokens of the prompt before it, so it cannot be scored; use a template that ends its prompt with a line break or a marker"
    )]
    Melts {
        /// the item
        id: String,
        /// the answer
        answer: String,
    },
    /// An accepted answer that cannot be compared with.
    #[error("item {id}: the right answer \"{gold}\" cannot be used: {problem}")]
    Gold {
        /// the item
        id: String,
        /// its accepted answer
        gold: String,
        /// what is wrong with it
        problem: String,
    },
    /// Someone wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// Two labels that are the same to the model, or other trouble of the answers.
    #[error("exam \"{exam}\": {first:?} and {second:?} are the same tokens to this model")]
    SameAnswers {
        /// the exam
        exam: String,
        /// an answer
        first: String,
        /// another
        second: String,
    },
}

impl Examinee<'_> {
    /// The tokens of `answer` as the assistant's turn after `messages`, its end token last.
    fn answer_tokens(
        &self,
        id: &str,
        messages: &[Message],
        prompt: &[u32],
        answer: &str,
    ) -> Result<Vec<u32>, SitError> {
        let mut whole = messages.to_vec();
        whole.push(Message::new("assistant", answer));
        let rendered =
            self.renderer.example(&whole).map_err(|source| SitError::Text { id: id.to_string(), source })?;
        let end = rendered.turns.last().map_or(0, |t| t.tokens.end);
        match rendered.tokens.get(..end).and_then(|t| t.strip_prefix(prompt)) {
            Some(tokens) if !tokens.is_empty() => Ok(tokens.to_vec()),
            _ => Err(SitError::Melts { id: id.to_string(), answer: answer.to_string() }),
        }
    }

    fn trie(
        &self,
        exam: &str,
        item: &Item,
        prompt: &[u32],
        answers: &[String],
    ) -> Result<(Trie, Vec<usize>), SitError> {
        let tokens: Vec<Vec<u32>> = answers
            .iter()
            .map(|a| self.answer_tokens(&item.id, &item.messages, prompt, a))
            .collect::<Result<_, _>>()?;
        let lengths = tokens.iter().map(Vec::len).collect();
        match Trie::new(&tokens) {
            Ok(trie) => Ok((trie, lengths)),
            Err(InferError::SameAnswers { first, second }) => Err(SitError::SameAnswers {
                exam: exam.to_string(),
                first: answers.get(first).cloned().unwrap_or_default(),
                second: answers.get(second).cloned().unwrap_or_default(),
            }),
            Err(source) => Err(SitError::Infer { exam: exam.to_string(), source }),
        }
    }

    /// Sits an exam. For labels, `labels` are the answers to choose from; free answers have at most `max_tokens`
    /// tokens. `progress(done, all)` answers whether to go on.
    ///
    /// # Errors
    /// What template, network or figures say.
    pub fn sit(
        &self,
        info: ExamInfo,
        model: Model,
        items: &[Item],
        labels: &[String],
        max_tokens: usize,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<ExamResult, SitError> {
        let started = Instant::now();
        let prompts: Vec<Vec<u32>> = items
            .iter()
            .map(|i| match self.renderer.prompt(&i.messages) {
                Ok(r) => Ok(r.tokens),
                Err(source) => Err(SitError::Text { id: i.id.clone(), source }),
            })
            .collect::<Result<_, _>>()?;
        let results = match info.kind {
            ExamKind::Free => self.write(&info, items, &prompts, max_tokens, &mut progress)?,
            _ => self.choose(&info, items, &prompts, labels, &mut progress)?,
        };
        Ok(ExamResult::new(info, model, results, started.elapsed().as_secs_f64())?)
    }

    fn choose(
        &self,
        info: &ExamInfo,
        items: &[Item],
        prompts: &[Vec<u32>],
        labels: &[String],
        progress: &mut impl FnMut(usize, usize) -> bool,
    ) -> Result<Vec<ItemResult>, SitError> {
        let shared = info.kind == ExamKind::Label;
        let answers = |i: &Item| if shared { labels.to_vec() } else { i.options.clone() };
        let mut tries = Vec::new();
        let mut lengths = Vec::new();
        for (item, prompt) in items.iter().zip(prompts).take(if shared { 1 } else { items.len() }) {
            let (trie, length) = self.trie(&info.name, item, prompt, &answers(item))?;
            tries.push(trie);
            lengths.push(length);
        }
        let mut chooser = Chooser::new(self.decoder, self.adapter, self.cpu, nurture_model::Mode::Exact);
        let mut out = Vec::with_capacity(items.len());
        // whole groups, so that progress is told and a stop is heard; the answers do not depend on the groups
        const GROUP: usize = 64;
        for (g, (items_here, prompts_here)) in items.chunks(GROUP).zip(prompts.chunks(GROUP)).enumerate() {
            let first = g * GROUP;
            let tries_here = if shared { &tries[..] } else { &tries[first..first + items_here.len()] };
            let choices = chooser
                .choose(prompts_here, tries_here, |_| ())
                .map_err(|source| SitError::Infer { exam: info.name.clone(), source })?;
            for (i, (item, choice)) in items_here.iter().zip(choices).enumerate() {
                let answer = answers(item).swap_remove(choice.answer);
                let correct = item.gold.contains(&answer);
                out.push(ItemResult {
                    id: item.id.clone(),
                    kind: info.kind,
                    question: item.question.clone(),
                    gold: item.gold.clone(),
                    answer,
                    correct,
                    score: f64::from(u8::from(correct)),
                    logprob: None,
                    probability: None,
                    prompt_tokens: prompts_here[i].len(),
                    answer_tokens: lengths[if shared { 0 } else { first + i }][choice.answer],
                    cut: false,
                });
            }
            if !progress(out.len(), items.len()) {
                return Err(SitError::Interrupted);
            }
        }
        Ok(out)
    }

    fn write(
        &self,
        info: &ExamInfo,
        items: &[Item],
        prompts: &[Vec<u32>],
        max_tokens: usize,
        progress: &mut impl FnMut(usize, usize) -> bool,
    ) -> Result<Vec<ItemResult>, SitError> {
        let scorer = info.scorer.unwrap_or(crate::score::Scorer::Exact);
        for item in items {
            for gold in &item.gold {
                scorer.check(gold).map_err(|problem| SitError::Gold {
                    id: item.id.clone(),
                    gold: gold.chars().take(80).collect(),
                    problem,
                })?;
            }
        }
        let room = prompts.iter().map(Vec::len).max().unwrap_or(0) + max_tokens;
        let context = room.min(self.decoder.config().context);
        let mode = nurture_model::Mode::Exact;
        let mut generator = Generator::new(self.decoder, self.adapter, self.cpu, mode, context);
        let mut stop = StopIds(self.renderer.tokenizer().stop_ids().to_vec());
        let mut out = Vec::with_capacity(items.len());
        for (item, prompt) in items.iter().zip(prompts) {
            let made = generator
                .generate(prompt, max_tokens, &mut Sampler::new(Sampling::default()), &mut stop, |_| true)
                .map_err(|source| SitError::Infer { exam: info.name.clone(), source })?;
            let answer = self.renderer.tokenizer().decode_plain(&made.tokens).trim().to_string();
            let scored = scorer.score(&answer, &item.gold);
            out.push(ItemResult {
                id: item.id.clone(),
                kind: info.kind,
                question: item.question.clone(),
                gold: item.gold.clone(),
                answer,
                correct: scored.correct(),
                score: scored.score,
                logprob: None,
                probability: None,
                prompt_tokens: prompt.len(),
                answer_tokens: made.tokens.len(),
                cut: made.finish != Finish::Stop,
            });
            if !progress(out.len(), items.len()) {
                return Err(SitError::Interrupted);
            }
        }
        Ok(out)
    }

    /// The perplexity of a text that was cut into windows. `bytes(document, range)` gives the bytes of those tokens.
    ///
    /// # Errors
    /// A token beyond the vocabulary; figures that are not numbers.
    pub fn read(
        &self,
        name: &str,
        model: Model,
        scheme: WindowScheme,
        windows: &[Window],
        bytes: impl Fn(&Window) -> usize,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<PerplexityResult, SitError> {
        let started = Instant::now();
        let c = self.decoder.config();
        let longest = windows.iter().map(|w| w.tokens.len()).max().unwrap_or(0);
        let mut cache = KvCache::new(c, longest);
        let mut buffers = Buffers::new();
        let rows = ((8 << 20) / c.vocab).clamp(8, 256);
        let mut logits = vec![0f32; rows * c.vocab];
        let mut per_window = Vec::with_capacity(windows.len());
        for (done, w) in windows.iter().enumerate() {
            let mut batch = Batch::default();
            batch.push(&w.tokens, 0, vec![(0, w.tokens.len())], 0);
            let mode = nurture_model::Mode::Exact;
            let x = self.decoder.forward(self.cpu, mode, self.adapter, &batch, &mut cache, &mut buffers)?;
            let targets: Vec<usize> = w.scored.clone().collect();
            let mut nll = 0f64;
            for part in targets.chunks(rows) {
                let from = (part[0] - 1) * c.width;
                let logits = &mut logits[..part.len() * c.vocab];
                self.decoder.logits(self.cpu, mode, &x[from..from + part.len() * c.width], logits);
                let tokens: Vec<u32> = part.iter().map(|&i| w.tokens[i]).collect();
                let mut losses = vec![0f32; part.len()];
                cross_entropy(self.cpu.pool(), logits, c.vocab, &tokens, None, &mut losses);
                nll += losses.iter().map(|&l| l as f64).sum::<f64>();
            }
            per_window.push(WindowNll { tokens: targets.len(), bytes: bytes(w), nll });
            if !progress(done + 1, windows.len()) {
                return Err(SitError::Interrupted);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(PerplexityResult::new(name, Mode::Exact, model, scheme, per_window, seconds)?)
    }
}
