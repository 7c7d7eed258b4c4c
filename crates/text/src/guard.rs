//! Keeps what people wrote from becoming special tokens, without touching a single ordinary token.
//!
//! A message that contains `<|im_end|>` would, rendered and parsed, end its own turn. So before rendering, such a text
//! gets an invisible mark (a Unicode noncharacter that occurs nowhere in the conversation) inside each place that
//! reads like a special token. After rendering the marks are taken out again, and their places remembered: no special
//! token may span one. Texts without special tokens in them are not marked at all.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Result, TextError};
use crate::message::Message;
use crate::tokenizer::Tokenizer;

/// The marks of one conversation.
pub(crate) struct Guard {
    /// Stands inside what must not be parsed.
    cut: char,
    /// Stands around a text whose place in the output is wanted.
    pub(crate) fence: char,
}

/// Rendered text without marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clean {
    pub(crate) text: String,
    /// Byte offsets that no special token may span, ascending.
    cuts: Vec<usize>,
    /// Byte offsets where a fence stood.
    pub(crate) fences: Vec<usize>,
}

impl Guard {
    /// Picks two marks that occur neither in the messages nor in the template.
    pub(crate) fn new(messages: &[Message], template: &str) -> Result<Guard> {
        let taken = |c: char| {
            template.contains(c) || messages.iter().any(|m| m.role.contains(c) || m.content.contains(c))
        };
        let mut free = ('\u{FDD0}'..='\u{FDEF}').filter(|&c| !taken(c));
        match (free.next(), free.next()) {
            (Some(cut), Some(fence)) => Ok(Guard { cut, fence }),
            _ => Err(TextError::NoFreeMark),
        }
    }

    /// The messages with marks where they need them.
    pub(crate) fn mark(&self, messages: &[Message], tokenizer: &Tokenizer) -> Vec<Message> {
        messages
            .iter()
            .map(|m| Message::new(self.mark_text(&m.role, tokenizer), self.mark_text(&m.content, tokenizer)))
            .collect()
    }

    fn mark_text<'t>(&self, text: &'t str, tokenizer: &Tokenizer) -> Cow<'t, str> {
        let at = tokenizer.specials().cuts(text);
        if at.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut marked = String::with_capacity(text.len() + 3 * at.len());
        let mut from = 0;
        for to in at {
            marked.push_str(text.get(from..to).unwrap_or_default());
            marked.push(self.cut);
            from = to;
        }
        marked.push_str(text.get(from..).unwrap_or_default());
        Cow::Owned(marked)
    }

    /// Marked messages without their marks; nothing if they have none.
    pub(crate) fn unmark(&self, marked: &[Message]) -> Option<Vec<Message>> {
        let has = |text: &str| text.contains(self.cut);
        let bare = |text: &str| text.replace(self.cut, "");
        marked
            .iter()
            .any(|m| has(&m.role) || has(&m.content))
            .then(|| marked.iter().map(|m| Message::new(bare(&m.role), bare(&m.content))).collect())
    }

    /// Takes the marks out.
    pub(crate) fn clean(&self, rendered: &str) -> Clean {
        let mut clean =
            Clean { text: String::with_capacity(rendered.len()), cuts: Vec::new(), fences: Vec::new() };
        for c in rendered.chars() {
            if c == self.cut {
                clean.cuts.push(clean.text.len());
            } else if c == self.fence {
                clean.fences.push(clean.text.len());
            } else {
                clean.text.push(c);
            }
        }
        clean
    }
}

impl Clean {
    /// Whether a special token may stand at these bytes.
    pub(crate) fn allows(&self, range: &Range<usize>) -> bool {
        let cut_at = |at: usize| self.cuts.binary_search(&at).is_ok();
        let inside =
            self.cuts.partition_point(|&c| c <= range.start) < self.cuts.partition_point(|&c| c < range.end);
        let single = self.text.get(range.clone()).is_some_and(|t| t.chars().count() == 1);
        !(inside || single && cut_at(range.start) && cut_at(range.end))
    }
}
