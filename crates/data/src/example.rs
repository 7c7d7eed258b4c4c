//! One example: what the model is shown and what it should answer.

use nurture_text::Message;
use serde::{Deserialize, Serialize};

/// What is right for an example.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One label out of the closed set of the run.
    Label(String),
    /// One option. `options` are the strings that the model may answer with: letters, or the options' texts
    /// (`ChoiceStyle`).
    Choice {
        /// What the model may answer with.
        options: Vec<String>,
        /// Index of the right one.
        correct: usize,
    },
    /// Free text; every entry is right, the first is trained on. Never empty.
    Free(Vec<String>),
    /// The assistant turns stand in the messages and all of them are trained on.
    Chat,
    /// Plain text, trained on from end to end.
    Text,
    /// Two answers of which one is better.
    Pair {
        /// The better one.
        chosen: String,
        /// The other.
        rejected: String,
    },
    /// One answer, marked good or bad.
    Judged {
        /// The answer.
        answer: String,
        /// Whether it is good.
        good: bool,
    },
}

/// The role of the one message that carries a plain document.
pub const TEXT_ROLE: &str = "text";

/// One example with the place it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// `file:line`.
    pub id: String,
    /// Index of its source.
    pub source: usize,
    /// Line where its row starts, from 1.
    pub line: usize,
    /// The conversation. For `Answer::Text` one message of role `text` (`Example::text`), which is no turn.
    pub messages: Vec<Message>,
    /// What is right.
    pub answer: Answer,
    /// What keeps rows together when data are split, if the mapping names a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Example {
    /// The right answer as the model should write it (of an answer that was judged, the answer, good or bad); `None` for plain text and for a chat that ends with the user.
    pub fn expected(&self) -> Option<&str> {
        match &self.answer {
            Answer::Label(label) => Some(label),
            Answer::Choice { options, correct } => options.get(*correct).map(String::as_str),
            Answer::Free(answers) => answers.first().map(String::as_str),
            Answer::Chat => {
                self.messages.last().filter(|turn| turn.role == "assistant").map(|turn| turn.content.as_str())
            }
            Answer::Pair { chosen, .. } => Some(chosen),
            Answer::Judged { answer, .. } => Some(answer),
            Answer::Text => None,
        }
    }

    /// The conversation with the worse answer of a pair as the last assistant turn.
    pub fn with_rejected(&self) -> Option<Vec<Message>> {
        let Answer::Pair { rejected, .. } = &self.answer else { return None };
        let mut messages = self.messages.clone();
        messages.push(Message::new("assistant", rejected.as_str()));
        Some(messages)
    }

    /// The conversation to train on: with the right answer as the last assistant turn. Chats and plain text are
    /// given back as they are.
    pub fn with_answer(&self) -> Vec<Message> {
        let mut messages = self.messages.clone();
        if !matches!(self.answer, Answer::Chat | Answer::Text)
            && let Some(answer) = self.expected()
        {
            messages.push(Message::new("assistant", answer));
        }
        messages
    }

    /// The conversation to examine with: without the answer. Of a chat, everything before its last assistant turn.
    pub fn prompt(&self) -> &[Message] {
        match &self.answer {
            Answer::Chat => {
                let last = self.messages.iter().rposition(|turn| turn.role == "assistant");
                self.messages.get(..last.unwrap_or(self.messages.len())).unwrap_or_default()
            }
            _ => &self.messages,
        }
    }

    /// The document of a plain-text example.
    pub fn text(&self) -> Option<&str> {
        match self.answer {
            Answer::Text => self.messages.first().map(|m| m.content.as_str()),
            _ => None,
        }
    }

    /// The stratum for sampling: the label, or the letter or text of the right option; empty for the others.
    pub fn stratum(&self) -> &str {
        match &self.answer {
            Answer::Label(_) | Answer::Choice { .. } => self.expected().unwrap_or_default(),
            Answer::Judged { good: true, .. } => "good",
            Answer::Judged { good: false, .. } => "bad",
            _ => "",
        }
    }
}
