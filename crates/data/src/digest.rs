//! Fingerprints of examples, and the normal form in which two questions count as the same.

use nurture_text::Message;
use sha2::{Digest as _, Sha256};

use crate::example::{Answer, Example};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// A hash over parts, each with its length before it, so that no two lists of parts run together.
#[derive(Default)]
pub(crate) struct Parts(Sha256);

impl Parts {
    pub(crate) fn add(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// The fingerprint of what the model is shown.
pub(crate) fn of_messages(messages: &[Message]) -> Digest {
    let parts = messages
        .iter()
        .fold(Parts::default(), |parts, m| parts.add(m.role.as_bytes()).add(m.content.as_bytes()));
    parts.finish()
}

/// The fingerprint of what is right.
pub(crate) fn of_answer(answer: &Answer) -> Digest {
    let parts = Parts::default();
    match answer {
        Answer::Label(label) => parts.add(b"label").add(label.as_bytes()),
        Answer::Choice { options, correct } => {
            let parts = parts.add(b"choice").add(&(*correct as u64).to_le_bytes());
            options.iter().fold(parts, |parts, option| parts.add(option.as_bytes()))
        }
        Answer::Free(answers) => answers.iter().fold(parts.add(b"free"), |parts, a| parts.add(a.as_bytes())),
        Answer::Chat => parts.add(b"chat"),
        Answer::Text => parts.add(b"text"),
        Answer::Pair { chosen, rejected } => {
            parts.add(b"pair").add(chosen.as_bytes()).add(rejected.as_bytes())
        }
        Answer::Judged { answer, good } => {
            parts.add(b"judged").add(answer.as_bytes()).add(&[u8::from(*good)])
        }
    }
    .finish()
}

/// The fingerprint of messages and answer.
pub(crate) fn of_example(example: &Example) -> Digest {
    Parts::default().add(&of_messages(&example.messages)).add(&of_answer(&example.answer)).finish()
}

/// Lower case, full-width letters and signs as half-width ones, white space folded to single spaces.
pub fn normalised(text: &str) -> String {
    let narrow = text.chars().map(|c| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        other => other,
    });
    let lower: String = narrow.flat_map(char::to_lowercase).collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The question as it stands: all user turns, or the document.
pub(crate) fn raw_question(example: &Example) -> String {
    let asked = example.messages.iter().filter(|m| m.role == "user" || example.text().is_some());
    asked.map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
}

/// The normalised question.
pub(crate) fn question(example: &Example) -> String {
    normalised(&raw_question(example))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form() {
        assert_eq!(normalised("  Ｗhere　is\nMY card？ "), "where is my card?");
    }

    #[test]
    fn parts_do_not_run_together() {
        let a = [Message::new("user", "ab"), Message::new("user", "c")];
        let b = [Message::new("user", "a"), Message::new("user", "bc")];
        assert_ne!(of_messages(&a), of_messages(&b));
        assert_ne!(of_answer(&Answer::Label("x".into())), of_answer(&Answer::Free(vec!["x".into()])));
    }
}
