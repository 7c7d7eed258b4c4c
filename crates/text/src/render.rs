//! The one renderer: messages to tokens and loss mask, for trainer, exam and server alike.
//!
//! What it yields equals Hugging Face's `apply_chat_template(..., tokenize=True)` token by token, with two differences
//! on purpose. Text inside a message never becomes a special token, while Hugging Face parses it there too. And a
//! vocabulary that wants a beginning-of-sequence token gets it exactly once, also where the template forgets it.
//!
//! The trained tokens of a turn are those that the model has to produce after [`Renderer::prompt`] of the messages
//! before it: the assistant's text and the token that ends the turn; not the role header, not the line break behind.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Result, TextError};
use crate::guard::{Clean, Guard};
use crate::message::Message;
use crate::template::{ChatTemplate, RenderOptions};
use crate::tokenizer::{Encoded, SpecialNames, Tokenizer};

const ASSISTANT: &str = "assistant";
/// Where models that think before they answer end the thought; templates drop it from earlier turns.
const END_OF_THOUGHT: &str = "</think>";

/// One assistant turn of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedTurn {
    /// Index into the messages.
    pub message: usize,
    /// Its trained tokens, the end token last.
    pub tokens: Range<usize>,
    /// Whether the tokens before it are exactly [`Renderer::prompt`] of the messages before it, so that training and
    /// serving see the same. Templates that rewrite earlier turns break this, and so does text that merges into one
    /// token with the end of the header.
    pub prompt_is_prefix: bool,
}

/// Tokens, and which of them carry loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// For each token whether the model is trained to produce it. All false for a prompt.
    pub trained: Vec<bool>,
    /// The text the tokens stand for.
    pub text: String,
    /// The assistant's turns, for an example.
    pub turns: Vec<TrainedTurn>,
    /// Whether the beginning-of-sequence token was added because the vocabulary wants it and the template wrote none.
    pub bos_added: bool,
}

impl Rendered {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of trained tokens.
    pub fn trained_len(&self) -> usize {
        self.trained.iter().filter(|&&t| t).count()
    }
}

/// Turns messages into tokens.
#[derive(Clone, Debug)]
pub struct Renderer {
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    names: SpecialNames,
    options: RenderOptions,
}

impl Renderer {
    /// A renderer without date and further template variables.
    pub fn new(tokenizer: Arc<Tokenizer>, template: ChatTemplate) -> Renderer {
        let names = tokenizer.special_names();
        Renderer { tokenizer, template, names, options: RenderOptions::default() }
    }

    /// With a date or further template variables.
    pub fn with_options(self, options: RenderOptions) -> Renderer {
        Renderer { options, ..self }
    }

    /// With another chat template.
    pub fn with_template(self, template: ChatTemplate) -> Renderer {
        Renderer { template, ..self }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// What the model reads before it answers: the messages and the header of the assistant's turn.
    ///
    /// # Errors
    /// What the template raises; see [`ChatTemplate::render`].
    pub fn prompt(&self, messages: &[Message]) -> Result<Rendered> {
        let guard = Guard::new(messages, self.template.source())?;
        let marked = guard.mark(messages, &self.tokenizer);
        let clean = self.clean(&guard, &marked, true)?;
        Ok(self.rendered(self.encode(&clean)?, clean.text))
    }

    /// What the model learns from: the messages as they are, the assistant's turns with their end tokens trained.
    /// Without an assistant turn nothing is trained; what that means is the caller's decision, as is a length that
    /// exceeds the context.
    ///
    /// # Errors
    /// What the template raises; and [`TextError::Mask`], which names the turn, where the template does not write an
    /// assistant's text followed by an end token.
    pub fn example(&self, messages: &[Message]) -> Result<Rendered> {
        let guard = Guard::new(messages, self.template.source())?;
        let marked = guard.mark(messages, &self.tokenizer);
        let clean = self.clean(&guard, &marked, false)?;
        let encoded = self.encode(&clean)?;
        let mut turns = Vec::new();
        let mut from = 0;
        for (message, m) in messages.iter().enumerate().filter(|(_, m)| m.role == ASSISTANT) {
            let fail = |problem: String| TextError::Mask { turn: message, role: m.role.clone(), problem };
            let begin = self.begin(&guard, &marked, message, &clean, from)?;
            let turn = self.turn(message, &m.content, begin, &clean, &encoded).map_err(fail)?;
            from = encoded.offsets.get(turn.tokens.end.saturating_sub(1)).map_or(from, |o| o.end);
            turns.push(turn);
        }
        let mut rendered = self.rendered(encoded, clean.text);
        if rendered.bos_added {
            turns.iter_mut().for_each(|t| t.tokens = t.tokens.start + 1..t.tokens.end + 1);
        }
        for turn in &turns {
            if let Some(mask) = rendered.trained.get_mut(turn.tokens.clone()) {
                mask.fill(true);
            }
        }
        rendered.turns = turns;
        Ok(rendered)
    }

    /// Plain text, for reading and measuring: the beginning-of-sequence token where the vocabulary wants one, then the
    /// text, in which special tokens are not parsed. Every token of the text is trained.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn completion(&self, text: &str) -> Result<Rendered> {
        let mut tokens: Vec<u32> = self.tokenizer.bos().into_iter().collect();
        let mut trained = vec![false; tokens.len()];
        let bos_added = !tokens.is_empty();
        tokens.extend(self.tokenizer.encode(text, false)?);
        trained.resize(tokens.len(), true);
        Ok(Rendered { tokens, trained, text: text.to_owned(), turns: Vec::new(), bos_added })
    }

    /// Renders marked messages and takes the marks out.
    fn clean(&self, guard: &Guard, messages: &[Message], prompt: bool) -> Result<Clean> {
        let render =
            |messages: &[Message]| self.template.render(messages, &self.names, &self.options, prompt);
        let marked = guard.clean(&render(messages)?);
        let Some(bare) = guard.unmark(messages) else { return Ok(marked) };
        let bare = guard.clean(&render(&bare)?);
        if bare.text == marked.text {
            return Ok(marked);
        }
        // The template measures or compares what people wrote, and the marks got in its way. Without them the text is
        // as it should be; it is taken if it reads the same special tokens, that is, if the marks had nothing to do.
        let specials = |clean: &Clean| -> Result<Vec<u32>> {
            Ok(self.encode(clean)?.ids.into_iter().filter(|&id| self.tokenizer.is_special(id)).collect())
        };
        Ok(if specials(&bare)? == specials(&marked)? { bare } else { marked })
    }

    fn encode(&self, clean: &Clean) -> Result<Encoded> {
        self.tokenizer.encode_guarded(&clean.text, |range| clean.allows(&range))
    }

    fn rendered(&self, encoded: Encoded, text: String) -> Rendered {
        let mut tokens = encoded.ids;
        let missing = self.tokenizer.bos().filter(|&bos| tokens.first() != Some(&bos));
        if let Some(bos) = missing {
            tokens.insert(0, bos);
        }
        let trained = vec![false; tokens.len()];
        Rendered { tokens, trained, text, turns: Vec::new(), bos_added: missing.is_some() }
    }

    /// The byte where the assistant's part of a turn begins, and whether the prompt ends there.
    fn begin(
        &self,
        guard: &Guard,
        marked: &[Message],
        message: usize,
        clean: &Clean,
        from: usize,
    ) -> Result<Begin> {
        let before = marked.get(..message).unwrap_or_default();
        // A template may refuse a conversation that it accepts once it goes on, so an error only means: no prompt.
        if let Ok(prompt) = self.clean(guard, before, true)
            && prompt.text.len() >= from
            && clean.text.starts_with(&prompt.text)
        {
            return Ok(Begin { at: Some(prompt.text.len()), is_prompt: true });
        }
        // Earlier turns are written differently once more follow. Fence the content in and look where it comes out.
        let mut fenced = marked.to_vec();
        if let Some(m) = fenced.get_mut(message) {
            let core = m.content.trim();
            let lead = m.content.len() - m.content.trim_start().len();
            let (head, tail) = m.content.split_at_checked(lead).unwrap_or_default();
            let behind = tail.get(core.len()..).unwrap_or_default();
            m.content = format!("{head}{fence}{core}{fence}{behind}", fence = guard.fence);
        }
        let found = self.clean(guard, &fenced, false)?;
        let at = match found.fences.as_slice() {
            &[begin, _] if found.text == clean.text && begin >= from => Some(begin),
            _ => None,
        };
        Ok(Begin { at, is_prompt: false })
    }

    /// The tokens of a turn: from `begin` to the first end token, if what lies between is the turn's text.
    fn turn(
        &self,
        message: usize,
        content: &str,
        begin: Begin,
        clean: &Clean,
        encoded: &Encoded,
    ) -> std::result::Result<TrainedTurn, String> {
        let Some(at) = begin.at else {
            return Err("the template rewrites this turn, so its place in the text cannot be told; \
                        use a template that writes each turn as it is"
                .to_owned());
        };
        let starts = |o: &Range<usize>| o.start < at || o.is_empty() && o.end <= at;
        let first = encoded.offsets.partition_point(starts);
        let stops = self.tokenizer.stop_ids();
        let ids = encoded.ids.get(first..).unwrap_or_default();
        let end = ids.iter().position(|id| stops.contains(id)).map(|i| first + i);
        let written = end.and_then(|end| clean.text.get(at..encoded.offsets.get(end)?.start));
        let core = content.trim();
        let answer = core.rsplit(END_OF_THOUGHT).next().unwrap_or(core).trim();
        let (Some(end), Some(written)) = (end, written.filter(|w| w.trim_end().ends_with(answer))) else {
            return Err("the template writes no end-of-turn token right after the text, \
                        so a model trained on it would never learn to stop"
                .to_owned());
        };
        if !answer.is_empty() && written.trim().is_empty() {
            return Err("the template leaves the turn's text out".to_owned());
        }
        let prompt_is_prefix = begin.is_prompt && self.splits_there(at, first, clean, encoded);
        Ok(TrainedTurn { message, tokens: first..end + 1, prompt_is_prefix })
    }

    /// Whether the text up to `at`, encoded by itself, gives the first `count` tokens. Text between special tokens is
    /// encoded independently, so only the stretch since the last one needs to be looked at.
    fn splits_there(&self, at: usize, count: usize, clean: &Clean, encoded: &Encoded) -> bool {
        let before = encoded.ids.get(..count).unwrap_or_default();
        let anchor = before.iter().rposition(|&id| self.tokenizer.is_special(id)).unwrap_or(0);
        let from = if anchor == 0 { 0 } else { encoded.offsets.get(anchor).map_or(0, |o| o.start) };
        let Some(stretch) = clean.text.get(from..at) else { return false };
        let allow = |range: Range<usize>| clean.allows(&(range.start + from..range.end + from));
        let alone = self.tokenizer.encode_guarded(stretch, allow);
        alone.is_ok_and(|alone| Some(alone.ids.as_slice()) == before.get(anchor..))
    }
}

#[derive(Clone, Copy)]
struct Begin {
    at: Option<usize>,
    is_prompt: bool,
}
