//! One row and a mapping to one example.
//!
//! User texts, labels, options and short answers lose white space at their ends (csv exports leave line ends there);
//! completions, turns and documents are kept as they are.

use nurture_text::{Message, ToolStyle};
use serde_json::{Map, Value};

use crate::choice;
use crate::error::RowProblem;
use crate::example::{Answer, TEXT_ROLE};
use crate::mapping::{Fields, Mapping, SchemaKind};
use crate::preference;
use crate::template::{ChoiceStyle, UserTemplate};
use crate::tools;
use crate::turns::{self, Turns};

pub(crate) type Row = Map<String, Value>;

/// What a row says, before labels are written in their form and the system text is set.
pub(crate) struct Draft {
    pub(crate) messages: Vec<Message>,
    pub(crate) answer: Answer,
    pub(crate) group: Option<String>,
}

pub(crate) fn convert(
    row: &Row,
    mapping: &Mapping,
    user_template: Option<&UserTemplate>,
    choices: ChoiceStyle,
    style: ToolStyle,
) -> Result<Draft, RowProblem> {
    let mut messages = Vec::new();
    if let Some(field) = &mapping.system
        && let Some(text) = text_of(row, field)?
    {
        messages.push(Message::new("system", text));
    }
    let group = match &mapping.group {
        Some(field) => text_of(row, field)?,
        None => None,
    };
    let answer = match mapping.kind {
        SchemaKind::Messages | SchemaKind::Sharegpt => {
            let (field, kind, tags) = (part(&mapping.messages), mapping.kind, mapping.tags.as_ref());
            Turns { field, kind, tags, style }.read(row, &mut messages)?;
            Answer::Chat
        }
        SchemaKind::Text => {
            let document =
                text_of(row, part(&mapping.text))?.ok_or_else(|| missing_input(part(&mapping.text)))?;
            messages.push(Message::new(TEXT_ROLE, document));
            Answer::Text
        }
        SchemaKind::Label => {
            messages.push(Message::new("user", user_text(row, mapping, user_template)?));
            let field = part(&mapping.label);
            let label = text_of(row, field)?.ok_or_else(|| missing_answer(field))?;
            Answer::Label(label.trim().to_string())
        }
        SchemaKind::Choice => {
            let item = choice::read(row, part(&mapping.answer), mapping.options.as_ref())?;
            let mut user = user_text(row, mapping, user_template)?;
            let options = match choices {
                ChoiceStyle::Letters => item.listed_below(&mut user),
                ChoiceStyle::Texts => item.distinct_texts()?,
            };
            messages.push(Message::new("user", user));
            Answer::Choice { options, correct: item.correct }
        }
        SchemaKind::Instruction => {
            if let Some(field) = &mapping.history {
                turns::read_history(row, field, &mut messages)?;
            }
            let mut user = user_text(row, mapping, user_template)?;
            if let Some(field) = &mapping.input
                && user_template.is_none()
                && let Some(input) = text_of(row, field)?
            {
                user = format!("{user}\n{}", input.trim());
            }
            messages.push(Message::new("user", user));
            Answer::Free(vec![answer_text(row, mapping)?])
        }
        SchemaKind::PromptCompletion => {
            messages.push(Message::new("user", user_text(row, mapping, user_template)?));
            Answer::Free(vec![answer_text(row, mapping)?])
        }
        SchemaKind::QuestionAnswer => {
            messages.push(Message::new("user", user_text(row, mapping, user_template)?));
            Answer::Free(right_answers(row, part(&mapping.answer))?)
        }
        SchemaKind::Preference => preference::pair(row, mapping, user_template, &mut messages)?,
        SchemaKind::Judged => preference::judged(row, mapping, user_template, &mut messages)?,
    };
    if let Some(field) = &mapping.tools {
        tools::offer(style, row, field, &mut messages).map_err(|problem| bad_field(field, problem))?;
    }
    Ok(Draft { messages, answer, group })
}

/// The name of a part; `Mapping::check` has made sure that it is there.
pub(crate) fn part(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

pub(crate) fn missing_input(field: &str) -> RowProblem {
    RowProblem::MissingInput { field: field.to_string() }
}

pub(crate) fn missing_answer(field: &str) -> RowProblem {
    RowProblem::MissingAnswer { field: field.to_string() }
}

pub(crate) fn bad_field(field: &str, problem: impl Into<String>) -> RowProblem {
    RowProblem::BadField { field: field.to_string(), problem: problem.into() }
}

/// The user's turn: the template if there is one, or the context fields above the user field.
pub(crate) fn user_text(
    row: &Row,
    mapping: &Mapping,
    template: Option<&UserTemplate>,
) -> Result<String, RowProblem> {
    let field = part(&mapping.user);
    let user = text_of(row, field)?.ok_or_else(|| missing_input(field))?;
    if let Some(template) = template {
        return Ok(template.fill(row));
    }
    let mut text = String::new();
    for field in mapping.context.as_ref().map(Fields::names).unwrap_or_default() {
        if let Some(context) = text_of(row, field)? {
            text.push_str(context.trim());
            text.push_str("\n\n");
        }
    }
    text.push_str(user.trim());
    Ok(text)
}

/// A completion as it stands.
fn answer_text(row: &Row, mapping: &Mapping) -> Result<String, RowProblem> {
    let field = part(&mapping.answer);
    text_of(row, field)?.ok_or_else(|| missing_answer(field))
}

/// One answer, or a list of which each is right.
fn right_answers(row: &Row, field: &str) -> Result<Vec<String>, RowProblem> {
    let answers = match row.get(field) {
        // JSON is the answer itself: an object to be written, a schema, a list of calls
        Some(json @ Value::Object(_)) => vec![json.to_string()],
        Some(json @ Value::Array(items)) if items.iter().any(|i| i.is_object() || i.is_array()) => {
            vec![json.to_string()]
        }
        Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
        _ => text_of(row, field)?.into_iter().collect::<Vec<_>>(),
    };
    let answers: Vec<String> =
        answers.iter().map(|a| a.trim().to_string()).filter(|a| !a.is_empty()).collect();
    if answers.is_empty() { Err(missing_answer(field)) } else { Ok(answers) }
}

/// A text, number or truth value as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text of a field: a scalar, or a list of scalars as lines. `None` where it is absent, null or blank.
pub(crate) fn text_of(row: &Row, field: &str) -> Result<Option<String>, RowProblem> {
    let text = match row.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => {
            let lines: Option<Vec<String>> = items.iter().map(scalar).collect();
            lines.ok_or_else(|| bad_field(field, "is a list of more than texts"))?.join("\n")
        }
        Some(Value::Object(_)) => return Err(bad_field(field, "is an object where a text is needed")),
        Some(value) => scalar(value).unwrap_or_default(),
    };
    Ok((!text.trim().is_empty()).then_some(text))
}

/// Any value as text, for templates: lists as lines, objects as JSON.
pub(crate) fn display(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(display).collect::<Vec<_>>().join("\n"),
        Value::Object(_) => value.to_string(),
        other => scalar(other).unwrap_or_default().trim().to_string(),
    }
}
