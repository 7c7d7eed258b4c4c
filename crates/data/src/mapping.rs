//! What the fields of a row mean: the kinds of data, and which field plays which part.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The shapes of data that become examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaKind {
    /// A list of turns with `role` and `content` (OpenAI).
    Messages,
    /// A list of turns with `from` and `value` (ShareGPT).
    Sharegpt,
    /// Instruction, optional input, output (Alpaca), optional system text and history.
    Instruction,
    /// A prompt and what completes it.
    PromptCompletion,
    /// A question and its answer, or several right answers.
    QuestionAnswer,
    /// A text and its category, out of a closed set.
    Label,
    /// A question, its options, and which one is right.
    Choice,
    /// Plain text.
    Text,
    /// A prompt, a better answer and a worse one.
    Preference,
    /// A prompt and an answer that is marked good or bad.
    Judged,
}

impl fmt::Display for SchemaKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            SchemaKind::Messages => "messages",
            SchemaKind::Sharegpt => "sharegpt",
            SchemaKind::Instruction => "instruction",
            SchemaKind::PromptCompletion => "prompt_completion",
            SchemaKind::QuestionAnswer => "question_answer",
            SchemaKind::Label => "label",
            SchemaKind::Choice => "choice",
            SchemaKind::Text => "text",
            SchemaKind::Preference => "preference",
            SchemaKind::Judged => "judged",
        })
    }
}

/// One field name or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fields {
    /// One field.
    One(String),
    /// Several fields, in order.
    Many(Vec<String>),
}

impl Fields {
    /// The names in order.
    pub fn names(&self) -> &[String] {
        match self {
            Fields::One(name) => std::slice::from_ref(name),
            Fields::Many(names) => names,
        }
    }
}

impl From<&str> for Fields {
    fn from(name: &str) -> Self {
        Fields::One(name.to_string())
    }
}

/// Which field plays which part.
///
/// | kind | needs | may have |
/// | --- | --- | --- |
/// | `messages`, `sharegpt` | `messages` | `system`, `tools` |
/// | `instruction` | `user`, `answer` | `input`, `system`, `history` |
/// | `prompt_completion` | `user`, `answer` | `system` |
/// | `question_answer` | `user`, `answer` | `context`, `system` |
/// | `label` | `user`, `label` | `context`, `system` |
/// | `choice` | `user`, `options`, `answer` | `context`, `system` |
/// | `text` | `text` | |
/// | `preference` | `answer`, `rejected` | `user`, `context`, `system` |
/// | `judged` | `user`, `good` | `answer`, `context`, `system` |
///
/// `user` of the last two may be a list of turns. Without `user`, both answers of a `preference` are whole conversations that
/// part at their last turn; without `answer`, the last turn of a `judged` conversation is what is judged.
///
/// Every kind may have `group`: rows with the same value are never parted between training and hold-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The shape of the data.
    pub kind: SchemaKind,
    /// The question, instruction, prompt or text to classify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The answer: text; a list of texts that are all right; for choice items a letter, a number or an option's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The options: one field with a list, or one field for each option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Fields>,
    /// Material that stands before the question, one or several fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Fields>,
    /// Input that follows the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Earlier turns as a list of [question, answer] pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// The list of turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// The row's own system text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The worse answer, beside the better one in `answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Whether the answer is good: true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// What keeps rows together when data are split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The tools that the assistant may call: a list, or its JSON as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// Names within the turns, where they are not the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// A column that must not be there, because the file's description loses it by accident.
    #[serde(skip)]
    pub(crate) lost: Option<String>,
}

/// What the parts of a turn are called in a list of turns that uses names of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// The key that says who speaks.
    pub role: String,
    /// The key that holds the words.
    pub content: String,
    /// Who the user is.
    pub user: String,
    /// Who the assistant is.
    pub assistant: String,
    /// Who gives a tool's answer.
    pub observation: String,
    /// Who calls a tool.
    pub function: String,
    /// Who sets the rules.
    pub system: String,
}

/// The word of a recipe for a part.
pub(crate) fn recipe_word(part: &'static str) -> &'static str {
    match part {
        "label" => "answer",
        "messages" | "text" => "user",
        other => other,
    }
}

impl Mapping {
    /// A mapping in which no field has a part yet.
    pub fn new(kind: SchemaKind) -> Self {
        Mapping {
            kind,
            user: None,
            answer: None,
            label: None,
            options: None,
            context: None,
            input: None,
            history: None,
            messages: None,
            system: None,
            text: None,
            rejected: None,
            good: None,
            group: None,
            tools: None,
            tags: None,
            lost: None,
        }
    }

    /// Every part with the fields that play it.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &[String])> {
        fn one(field: &Option<String>) -> Option<&[String]> {
            field.as_ref().map(std::slice::from_ref)
        }
        let parts = [
            ("user", one(&self.user)),
            ("answer", one(&self.answer)),
            ("label", one(&self.label)),
            ("options", self.options.as_ref().map(Fields::names)),
            ("context", self.context.as_ref().map(Fields::names)),
            ("input", one(&self.input)),
            ("history", one(&self.history)),
            ("messages", one(&self.messages)),
            ("system", one(&self.system)),
            ("text", one(&self.text)),
            ("rejected", one(&self.rejected)),
            ("good", one(&self.good)),
            ("group", one(&self.group)),
            ("tools", one(&self.tools)),
        ];
        parts.into_iter().filter_map(|(part, names)| Some((part, names?))).collect()
    }

    /// The column that marks preference data.
    pub(crate) fn worse(&self) -> Option<&str> {
        self.rejected.as_deref().or(self.good.as_deref())
    }

    /// As it is written in a recipe, where `user` is what the model reads (also a list of turns, or plain text) and
    /// `answer` what it gives (also a category): `{ path = ..., kind = "label", user = "question", answer = "topic" }`.
    pub fn in_recipe(&self) -> String {
        let mut text = format!("{{ path = ..., kind = \"{}\"", self.kind);
        for (part, names) in self.parts() {
            let part = recipe_word(part);
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            text += &match (part, names.as_slice()) {
                ("context" | "options", names) => format!(", {part} = [{}]", names.join(", ")),
                (_, names) => format!(", {part} = {}", names.join(", ")),
            };
        }
        text + " }"
    }

    /// Whether the kind has all the parts it needs and none that it would ignore; the error is a sentence.
    pub fn check(&self) -> Result<(), String> {
        let (needs, may): (&[&str], &[&str]) = match self.kind {
            SchemaKind::Messages | SchemaKind::Sharegpt => (&["messages"], &["system", "tools"]),
            SchemaKind::Instruction => (&["user", "answer"], &["input", "system", "history", "tools"]),
            SchemaKind::PromptCompletion => (&["user", "answer"], &["system"]),
            SchemaKind::QuestionAnswer => (&["user", "answer"], &["context", "system"]),
            SchemaKind::Label => (&["user", "label"], &["context", "system"]),
            SchemaKind::Choice => (&["user", "options", "answer"], &["context", "system"]),
            SchemaKind::Text => (&["text"], &[]),
            SchemaKind::Preference => (&["answer", "rejected"], &["user", "context", "system"]),
            SchemaKind::Judged => (&["user", "good"], &["answer", "context", "system"]),
        };
        let parts = self.parts();
        if let Some(missing) = needs.iter().find(|need| !parts.iter().any(|(part, _)| part == *need)) {
            return Err(format!("says no field for `{missing}`; it needs {}", needs.join(", ")));
        }
        let known = |part: &str| part == "group" || needs.contains(&part) || may.contains(&part);
        if let Some((extra, _)) = parts.iter().find(|(part, _)| !known(part)) {
            let all: Vec<&str> = needs.iter().chain(may).copied().collect();
            return Err(format!("has no use for `{extra}`; it uses {}", all.join(", ")));
        }
        Ok(())
    }

    /// Whether the columns of the file fit the description that this mapping comes from; the error is a sentence.
    pub(crate) fn check_columns(&self, has: impl Fn(&str) -> bool) -> Result<(), String> {
        match &self.lost {
            Some(column) if has(column) => Err(format!(
                "`columns` names no `response`, so that the answers in \"{column}\" would be lost: name it there (where \
                 `columns` stands, the usual names do not count), or take the column out"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_missing_parts_and_useless_parts_are_named() {
        let error = serde_json::from_str::<Mapping>(r#"{"kind": "label", "usr": "text"}"#).unwrap_err();
        assert!(error.to_string().contains("usr"), "{error}");
        let mapping: Mapping = serde_json::from_str(r#"{"kind": "label", "user": "text"}"#).unwrap();
        assert!(mapping.check().unwrap_err().contains("`label`"));
        let mapping: Mapping =
            serde_json::from_str(r#"{"kind": "text", "text": "t", "answer": "a"}"#).unwrap();
        assert!(mapping.check().unwrap_err().contains("no use for `answer`"));
        let mapping: Mapping =
            serde_json::from_str(r#"{"kind": "choice", "user": "q", "options": ["A", "B"], "answer": "x"}"#)
                .unwrap();
        assert_eq!(mapping.check(), Ok(()));
    }
}
