//! Rows with better and worse answers: pairs (DPO and its kin), and single answers that are marked good or bad (KTO).
//!
//! Prompt and answers may be texts, one turn (`{"role", "content"}` or `{"from", "value"}`) or lists of turns, as TRL and
//! LLaMA-Factory write them. An answer is one assistant turn: what stands before it is the prompt, the same for both.

use nurture_text::Message;
use serde_json::{Map, Value};

use crate::convert::{Row, bad_field, missing_answer, missing_input, part, scalar, user_text};
use crate::error::RowProblem;
use crate::example::Answer;
use crate::mapping::Mapping;
use crate::template::UserTemplate;
use crate::turns::{content, standard_role};

/// Reads the prompt onto `messages`, and both answers.
pub(crate) fn pair(
    row: &Row,
    mapping: &Mapping,
    template: Option<&UserTemplate>,
    messages: &mut Vec<Message>,
) -> Result<Answer, RowProblem> {
    let (better, worse) = (part(&mapping.answer), part(&mapping.rejected));
    let (mut chosen, mut rejected) = (answer(row, better)?, answer(row, worse)?);
    let mut prompt = match &mapping.user {
        Some(_) => prompt(row, mapping, template)?,
        None => Vec::new(),
    };
    if prompt.is_empty() {
        let alike = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        // two equal conversations: their last turns are the answers, and are refused below
        let alike = alike.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
        prompt = chosen.drain(..alike).collect();
        rejected.drain(..alike);
        if prompt.is_empty() {
            return Err(missing_input(mapping.user.as_deref().unwrap_or(better)));
        }
    } else {
        for answer in [&mut chosen, &mut rejected] {
            // whole conversations beside the prompt that they begin with
            if answer.len() > prompt.len() && answer.iter().zip(&prompt).all(|(a, p)| a == p) {
                answer.drain(..prompt.len());
            }
        }
    }
    let (chosen, rejected) = (one_turn(chosen, better)?, one_turn(rejected, worse)?);
    if chosen.trim() == rejected.trim() {
        return Err(bad_field(worse, format!("is the same answer as \"{better}\"")));
    }
    put(prompt, messages);
    Ok(Answer::Pair { chosen, rejected })
}

/// Reads the prompt onto `messages`, and the answer with its mark.
pub(crate) fn judged(
    row: &Row,
    mapping: &Mapping,
    template: Option<&UserTemplate>,
    messages: &mut Vec<Message>,
) -> Result<Answer, RowProblem> {
    let field = part(&mapping.good);
    let good = mark(row, field)?;
    let mut prompt = prompt(row, mapping, template)?;
    let answer = match &mapping.answer {
        Some(field) => one_turn(answer(row, field)?, field)?,
        None => {
            let field = part(&mapping.user);
            let last = prompt.split_off(prompt.len().saturating_sub(1));
            one_turn(last, field)?
        }
    };
    if prompt.is_empty() {
        return Err(missing_input(part(&mapping.user)));
    }
    put(prompt, messages);
    Ok(Answer::Judged { answer, good })
}

/// The conversation's own system turn stands for the row's system field.
fn put(prompt: Vec<Message>, messages: &mut Vec<Message>) {
    if prompt.first().is_some_and(|m| m.role == "system") {
        messages.clear();
    }
    messages.extend(prompt);
}

/// The turns before the answer: a list of them, or the user's text.
fn prompt(row: &Row, mapping: &Mapping, template: Option<&UserTemplate>) -> Result<Vec<Message>, RowProblem> {
    let field = part(&mapping.user);
    match row.get(field) {
        Some(Value::Array(items)) if items.iter().any(Value::is_object) => turns(items, field),
        Some(Value::Object(turn)) => Ok(vec![turn_of(turn, field, 1)?]),
        _ => Ok(vec![Message::new("user", user_text(row, mapping, template)?)]),
    }
}

/// An answer as turns: a text is the assistant's.
fn answer(row: &Row, field: &str) -> Result<Vec<Message>, RowProblem> {
    match row.get(field) {
        None | Some(Value::Null) => Err(missing_answer(field)),
        Some(Value::Array(items)) if items.is_empty() => Err(missing_answer(field)),
        Some(Value::Array(items)) => turns(items, field),
        Some(Value::Object(turn)) => Ok(vec![turn_of(turn, field, 1)?]),
        Some(value) => Ok(vec![Message::new("assistant", scalar(value).unwrap_or_default())]),
    }
}

/// The text of an answer that is one assistant turn.
fn one_turn(turns: Vec<Message>, field: &str) -> Result<String, RowProblem> {
    let found = turns.len();
    match <[Message; 1]>::try_from(turns) {
        Ok([turn]) if turn.role != "assistant" => {
            Err(bad_field(field, format!("ends with a turn of the {} where an answer is needed", turn.role)))
        }
        Ok([turn]) if turn.content.trim().is_empty() => Err(missing_answer(field)),
        Ok([turn]) => Ok(turn.content),
        Err(_) => {
            Err(bad_field(field, format!("has {found} turns behind the prompt where one answer is needed")))
        }
    }
}

fn turns(items: &[Value], field: &str) -> Result<Vec<Message>, RowProblem> {
    let one = |(at, item): (usize, &Value)| match item {
        Value::Object(turn) => turn_of(turn, field, at + 1),
        _ => Err(bad_field(field, format!("turn {}: is not an object", at + 1))),
    };
    items.iter().enumerate().map(one).collect()
}

fn turn_of(turn: &Map<String, Value>, field: &str, at: usize) -> Result<Message, RowProblem> {
    let wrong = |problem: String| bad_field(field, format!("turn {at}: {problem}"));
    let keys = if turn.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let Some(role) = turn.get(keys.0).and_then(Value::as_str) else {
        return Err(wrong(format!("has no text \"{}\"", keys.0)));
    };
    let role = standard_role(role).ok_or_else(|| {
        wrong(format!("the role \"{role}\" is none of system, user, assistant, tool (or human, gpt, ...)"))
    })?;
    let calls = turn.get("tool_calls").filter(|c| !c.is_null() && c.as_array().is_none_or(|c| !c.is_empty()));
    if calls.is_some() {
        return Err(wrong("has tool_calls beside its content, which are not read yet".into()));
    }
    let text = content(turn.get(keys.1)).map_err(|problem| wrong(format!("\"{}\" {problem}", keys.1)))?;
    Ok(Message::new(role, text))
}

/// True or false: as such, as words or as 1 and 0.
fn mark(row: &Row, field: &str) -> Result<bool, RowProblem> {
    match row.get(field) {
        None | Some(Value::Null) => Err(missing_answer(field)),
        Some(value) => match scalar(value).unwrap_or_default().trim().to_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => {
                let short: String = other.chars().take(40).collect();
                Err(bad_field(field, format!("says \"{short}\" where true or false is needed")))
            }
        },
    }
}
