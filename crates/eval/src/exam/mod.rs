//! Sitting an exam: items in, answers out, the same way for base and tuned model.
//!
//! | file | does |
//! | --- | --- |
//! | here | what an item, a manner and an examinee are; what is done already stays |
//! | `choose` | one of several answers: greedy walk, or the likelihood of each |
//! | `write` | free answers, several at once |
//! | `read` | the perplexity of texts |
//! | `drift` | base and tuned model over the base's own answers |
//!
//! What one item gets does not depend on the others beside it, so an exam that was stopped goes on with the items that
//! are missing and ends with the same answers.

mod choose;
mod drift;
mod prefer;
mod read;
mod write;

use crate::{EvalError, ExamInfo, ExamKind, ExamResult, ItemResult, Model};
use nurture_infer::InferError;
use nurture_model::{Adapter, Cpu, Decoder, ModelError};
use nurture_text::{Message, Renderer, TextError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Instant;

/// A question as it is put to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// unique in the exam
    pub id: String,
    /// as a reader knows it
    pub question: String,
    /// everything the model reads: system turn, worked examples, question
    pub messages: Vec<Message>,
    /// accepted answers
    pub gold: Vec<String>,
    /// the answers to choose from, for choices
    pub options: Vec<String>,
}

/// In what form the model reads an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Turns of a conversation, by the model's chat template.
    #[default]
    Chat,
    /// One plain text without a template, the answer behind the question: for base models and as evaluation harnesses ask.
    Plain,
}

/// How one answer of several is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// What greedy decoding gives where it can give nothing else. Cheapest.
    #[default]
    Greedy,
    /// The most likely answer over the whole vocabulary (`acc` of evaluation harnesses).
    Likelihood,
    /// The answer whose tokens are likeliest on average.
    PerToken,
    /// The answer with the greatest log-likelihood a character (`acc_norm` of evaluation harnesses).
    PerChar,
}

/// How an exam is put to a model; figures compare only where it is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Manner {
    /// Conversation or plain text.
    pub ask: Ask,
    /// How one answer of several is chosen.
    pub pick: Pick,
    /// Worked examples before each question.
    pub shots: usize,
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

/// What is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Paper<'p> {
    /// its items
    pub items: &'p [Item],
    /// for labels: the answers to choose from
    pub labels: &'p [String],
    /// longest free answer, tokens
    pub max_tokens: usize,
}

/// Hears each answer as it is given: `(new answers, done, all)`; answers whether to go on. An error (of a journal) ends the
/// exam.
pub type Hear<'h> = dyn FnMut(&[ItemResult], usize, usize) -> std::io::Result<bool> + 'h;

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
    /// An answer could not be written down.
    #[error("exam \"{exam}\": an answer could not be written down: {source}")]
    Journal {
        /// the exam
        exam: String,
        /// what the disk says
        source: std::io::Error,
    },
    /// An item that does not fit.
    #[error(
        "exam \"{exam}\", item {id}: it takes {tokens} tokens, but only {room} fit before its answer; shorten it, leave it out, or take a base with a longer context"
    )]
    TooLong {
        /// the exam
        exam: String,
        /// the item
        id: String,
        /// tokens of its prompt
        tokens: usize,
        /// most tokens that a prompt may have
        room: usize,
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
    /// Sits an exam. `already` holds answers that an earlier sitting left; they stay as they are.
    ///
    /// # Errors
    /// An item that is too long; what template, network, figures or the listener say.
    pub fn sit(
        &self,
        info: ExamInfo,
        model: Model,
        paper: Paper<'_>,
        already: Vec<ItemResult>,
        hear: &mut Hear<'_>,
    ) -> Result<ExamResult, SitError> {
        let started = Instant::now();
        let mut given: HashMap<String, ItemResult> = already.into_iter().map(|r| (r.id.clone(), r)).collect();
        let todo: Vec<&Item> = paper.items.iter().filter(|i| !given.contains_key(&i.id)).collect();
        let prompts: Vec<Vec<u32>> =
            todo.iter().map(|i| self.prompt(info.manner.ask, i)).collect::<Result<_, _>>()?;
        let room = self.decoder.config().context.saturating_sub(1);
        if let Some((item, prompt)) = todo.iter().zip(&prompts).find(|(_, prompt)| prompt.len() > room) {
            return Err(SitError::TooLong {
                exam: info.name,
                id: item.id.clone(),
                tokens: prompt.len(),
                room,
            });
        }
        let (all, mut done) = (paper.items.len(), paper.items.len() - todo.len());
        let mut keep = |new: Vec<ItemResult>| -> Result<(), SitError> {
            done += new.len();
            let go_on = hear(&new, done, all)
                .map_err(|source| SitError::Journal { exam: info.name.clone(), source })?;
            given.extend(new.into_iter().map(|r| (r.id.clone(), r)));
            if go_on || done == all { Ok(()) } else { Err(SitError::Interrupted) }
        };
        match info.kind {
            ExamKind::Preference => self.prefer(&info, &todo, &prompts, &mut keep)?,
            ExamKind::Free => self.write(&info, &todo, &prompts, paper.max_tokens, &mut keep)?,
            _ => self.choose(&info, &todo, &prompts, paper.labels, &mut keep)?,
        }
        let results = paper.items.iter().filter_map(|i| given.remove(&i.id)).collect();
        Ok(ExamResult::new(info, model, results, started.elapsed().as_secs_f64())?)
    }

    fn text<T>(&self, id: &str, got: Result<T, TextError>) -> Result<T, SitError> {
        got.map_err(|source| SitError::Text { id: id.to_string(), source })
    }

    /// The tokens that the model reads before it answers.
    fn prompt(&self, ask: Ask, item: &Item) -> Result<Vec<u32>, SitError> {
        match ask {
            Ask::Chat => Ok(self.text(&item.id, self.renderer.prompt(&item.messages))?.tokens),
            Ask::Plain => self.plain_tokens(item, ""),
        }
    }

    /// The tokens of an item as plain text with this behind it.
    fn plain_tokens(&self, item: &Item, answer: &str) -> Result<Vec<u32>, SitError> {
        let tokenizer = self.renderer.tokenizer();
        let text = plain(&item.messages) + answer;
        let tokens = self.text(&item.id, tokenizer.encode(&text, false))?;
        Ok(tokenizer.bos().into_iter().chain(tokens).collect())
    }

    /// The tokens of `answer` behind an item's prompt. In a conversation they are the assistant's turn with its end token.
    fn answer_tokens(
        &self,
        ask: Ask,
        item: &Item,
        prompt: &[u32],
        answer: &str,
    ) -> Result<Vec<u32>, SitError> {
        let melts = || SitError::Melts { id: item.id.clone(), answer: answer.to_string() };
        let whole = match ask {
            Ask::Plain => {
                let whole = self.plain_tokens(item, &format!("{}{answer}", joint(&plain(&item.messages))))?;
                // what stands behind as many tokens as the prompt alone has, as evaluation harnesses count
                let tokens = whole.get(prompt.len()..).unwrap_or_default().to_vec();
                return if tokens.is_empty() { Err(melts()) } else { Ok(tokens) };
            }
            Ask::Chat => {
                let mut whole = item.messages.clone();
                whole.push(Message::new("assistant", answer));
                self.text(&item.id, self.renderer.example(&whole))?
            }
        };
        let end = whole.turns.last().map_or(0, |t| t.tokens.end);
        match whole.tokens.get(..end).and_then(|t| t.strip_prefix(prompt)) {
            Some(tokens) if !tokens.is_empty() => Ok(tokens.to_vec()),
            _ => Err(melts()),
        }
    }
}

/// Messages as one text: a blank line between turns, an answer behind its question (after a [`joint`]).
pub(crate) fn plain(messages: &[Message]) -> String {
    let mut out = String::new();
    for m in messages {
        let content = m.content.trim();
        if m.role == "assistant" {
            out += joint(&out);
        } else if !out.is_empty() {
            out += "\n\n";
        }
        out += content;
    }
    out
}

/// What stands between a question and its answer: a space, but nothing after Chinese text, a full-width mark or a line break.
pub(crate) fn joint(question: &str) -> &'static str {
    let tight = |c: char| c.is_whitespace() || matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}');
    if question.chars().last().is_none_or(tight) { "" } else { " " }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, Role};
    use nurture_text::{ChatTemplate, TrainBpe, WordCounts};

    #[test]
    fn an_item_that_does_not_fit_is_named() {
        let cpu = Cpu::new(1);
        let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
        let decoder = Decoder::load(&nurture_formats::ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
        let context = decoder.config().context;
        // a token a byte: nothing was learnt
        let how = TrainBpe { vocab_size: 300, ..TrainBpe::default() };
        let tokenizer = how.train(WordCounts::default(), &mut |_, _| true).unwrap();
        let renderer = Renderer::new(tokenizer.into(), ChatTemplate::named("chatml").unwrap());
        let examinee = Examinee { decoder: &decoder, adapter: None, cpu: &cpu, renderer: &renderer };
        let item = |id: &str, bytes: usize| Item {
            id: id.into(),
            question: "q".into(),
            messages: vec![Message::new("user", "x".repeat(bytes))],
            gold: vec!["yes".into()],
            options: vec!["yes".into(), "no".into()],
        };
        let around = examinee.prompt(Ask::Chat, &item("a", 0)).unwrap().len();
        let refused = |kind, bytes: usize| {
            let items = [item("desk.jsonl:7", bytes)];
            let paper = Paper { items: &items, labels: &[], max_tokens: 4 };
            let info = ExamInfo {
                name: "desk".into(),
                kind,
                scorer: None,
                mode: Mode::Exact,
                manner: Manner::default(),
            };
            let sat =
                examinee.sit(info, Model::new(Role::Base, "m"), paper, Vec::new(), &mut |_, _, _| Ok(true));
            match sat {
                Err(SitError::TooLong { exam, id, tokens, room }) => {
                    assert_eq!(
                        (exam.as_str(), id.as_str(), tokens),
                        ("desk", "desk.jsonl:7", around + bytes)
                    );
                    room
                }
                other => panic!("{other:?}"),
            }
        };
        for kind in [ExamKind::Free, ExamKind::Choice, ExamKind::Preference] {
            assert_eq!(refused(kind, context - around), context - 1);
        }
        // the prompt fits, its answers do not
        assert!(refused(ExamKind::Choice, context - around - 1) < context - 1);
    }

    #[test]
    fn plain_text_of_messages() {
        let turns = |t: &[(&str, &str)]| t.iter().map(|(r, c)| Message::new(*r, *c)).collect::<Vec<_>>();
        let all = turns(&[
            ("system", "Be brief."),
            ("user", "Q: 1+1?\nA:"),
            ("assistant", "2"),
            ("user", "Q: 2+2?\nA:"),
        ]);
        assert_eq!(plain(&all), "Be brief.\n\nQ: 1+1?\nA: 2\n\nQ: 2+2?\nA:");
        assert_eq!(joint(&plain(&all)), " ");
        let zh = turns(&[("user", "问：一加一？答："), ("assistant", "二"), ("user", "问：二加二？答：")]);
        assert_eq!(plain(&zh), "问：一加一？答：二\n\n问：二加二？答：");
        assert_eq!((joint(&plain(&zh)), joint("")), ("", ""));
    }
}
