//! Prompt templates: a system text with `{labels}`, a user text with `{field}` placeholders.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::convert::display;
use crate::error::DataError;

/// How the options of a choice item stand before the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceStyle {
    /// The question lists them as `A. ...`, and the answer is a letter.
    #[default]
    Letters,
    /// The question stands alone, and the answer is the text of an option.
    Texts,
}

/// What is written around the fields of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptTemplate {
    /// System text for rows that bring none of their own. `{labels}` stands for the sorted label list, joined by
    /// `, `; every other brace is a plain character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// User text in place of the mapped one; `{field}` stands for a field of the row, `{{` and `}}` for braces.
    /// Not for conversations and plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How the options of choice items are shown.
    pub choices: ChoiceStyle,
}

/// A parsed user template.
#[derive(Clone, Debug)]
pub(crate) struct UserTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Field(String),
}

impl UserTemplate {
    pub(crate) fn parse(template: &str) -> Result<Self, DataError> {
        let wrong = |problem: String| DataError::Template { problem };
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = template.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) if c != '{' => name.push(c),
                            _ => {
                                return Err(wrong(format!(
                                    "\"{{{name}\" is not closed by }} (a brace is written {{{{)"
                                )));
                            }
                        }
                    }
                    if name.trim().is_empty() {
                        return Err(wrong("{} names no field; write {question}, or {{}} for braces".into()));
                    }
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Field(name.trim().to_string()));
                }
                '}' => return Err(wrong("a } without its {; write }} for a brace".into())),
                c => literal.push(c),
            }
        }
        pieces.push(Piece::Literal(literal));
        Ok(UserTemplate { pieces })
    }

    /// An error for the first placeholder that is none of `columns`.
    pub(crate) fn check(&self, columns: &[&str]) -> Result<(), DataError> {
        for piece in &self.pieces {
            if let Piece::Field(name) = piece
                && !columns.contains(&name.as_str())
            {
                let all = columns.join("\", \"");
                return Err(DataError::Template {
                    problem: format!("{{{name}}} is none of the columns \"{all}\""),
                });
            }
        }
        Ok(())
    }

    /// Fills in the fields of a row; an absent or null field is empty.
    pub(crate) fn fill(&self, fields: &Map<String, Value>) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Field(name) => filled.push_str(&fields.get(name).map(display).unwrap_or_default()),
            }
        }
        filled
    }
}

/// The system text for a run with these labels.
pub(crate) fn system_text(template: &str, labels: Option<&[String]>) -> Result<String, DataError> {
    match labels {
        _ if !template.contains("{labels}") => Ok(template.to_string()),
        Some(labels) => Ok(template.replace("{labels}", &labels.join(", "))),
        None => Err(DataError::Template {
            problem: "the system text says {labels}, but these data have no labels".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_and_braces() {
        let fields = json!({"q": "why?", "n": 3});
        let template =
            UserTemplate::parse("{{{q}}} of { n }: {}}").map(|t| t.fill(fields.as_object().unwrap()));
        assert!(template.is_err());
        let template = UserTemplate::parse("{{{q}}} of { n }").unwrap();
        assert_eq!(template.fill(fields.as_object().unwrap()), "{why?} of 3");
        assert!(template.check(&["q", "n"]).is_ok());
        assert!(template.check(&["q"]).unwrap_err().to_string().contains("{n} is none of"));
        for broken in ["{q", "q}", "{}", "{q{n}}"] {
            assert!(UserTemplate::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_system_text_lists_the_labels() {
        let labels = ["a".to_string(), "b".to_string()];
        assert_eq!(system_text("One of: {labels}. {x}", Some(&labels)).unwrap(), "One of: a, b. {x}");
        assert!(system_text("One of: {labels}", None).is_err());
    }
}
