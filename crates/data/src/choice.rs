//! Choice items: options in the shapes that real exams use, and which one the answer means.

use serde_json::{Map, Value};

use crate::convert::{bad_field, missing_answer, scalar, text_of};
use crate::error::RowProblem;
use crate::mapping::Fields;

/// Options without their letters, and the index of the right one.
pub(crate) struct Item {
    field: String,
    options: Vec<String>,
    pub(crate) correct: usize,
}

/// Reads the options and resolves the answer.
///
/// A number is the key of an option, else it counts from 0. A text is an option's own text, a letter (`B`, `(b)`, `B.`), the key of an option, or
/// a number as text. Where the text of one option and the letter of another both fit, the data's own keys decide
/// (columns `A`, `B`, ...), and without keys the row is refused.
pub(crate) fn read(
    row: &Map<String, Value>,
    answer_field: &str,
    options: Option<&Fields>,
) -> Result<Item, RowProblem> {
    let names = options.map(Fields::names).unwrap_or_default();
    let (keys, texts) = match names {
        [one] => listed(row, one)?,
        many => in_columns(row, many)?,
    };
    let field = names.first().cloned().unwrap_or_default();
    if texts.len() < 2 || texts.len() > 26 {
        return Err(bad_field(&field, format!("has {} options; from 2 to 26 are possible", texts.len())));
    }
    let texts = without_letters(texts);
    let found = match row.get(answer_field) {
        Some(Value::Number(number)) => {
            let written = number.to_string();
            let by_key = keys.iter().position(|key| key.trim() == written);
            by_key.or_else(|| number.as_u64().and_then(|n| usize::try_from(n).ok()))
        }
        _ => {
            let answer = text_of(row, answer_field)?.ok_or_else(|| missing_answer(answer_field))?;
            resolve(answer.trim(), &keys, &texts, answer_field)?
        }
    };
    match found.filter(|&at| at < texts.len()) {
        Some(correct) => Ok(Item { field, options: texts, correct }),
        None => Err(RowProblem::AnswerNotAnOption {
            answer: row.get(answer_field).and_then(scalar).unwrap_or_default(),
            options: texts.len(),
        }),
    }
}

impl Item {
    /// Writes the options below the question as `A. ...` and returns the letters.
    pub(crate) fn listed_below(&self, question: &mut String) -> Vec<String> {
        let mut letters = Vec::with_capacity(self.options.len());
        for (letter, option) in ('A'..='Z').zip(&self.options) {
            question.push_str(&format!("\n{letter}. {option}"));
            letters.push(letter.to_string());
        }
        letters
    }

    /// The options' texts, which must differ if they are to be the answers.
    pub(crate) fn distinct_texts(&self) -> Result<Vec<String>, RowProblem> {
        for (at, option) in self.options.iter().enumerate() {
            if self.options.iter().take(at).any(|earlier| earlier == option) {
                return Err(bad_field(&self.field, format!("the option \"{option}\" stands twice")));
            }
        }
        Ok(self.options.clone())
    }
}

/// Options in one field: a list; `{"text": [...], "label": [...]}`; or `{"A": ..., "B": ...}`.
fn listed(row: &Map<String, Value>, field: &str) -> Result<(Vec<String>, Vec<String>), RowProblem> {
    let texts = |value: &Value| -> Result<Vec<String>, RowProblem> {
        let items = value.as_array().and_then(|items| items.iter().map(scalar).collect());
        items.ok_or_else(|| bad_field(field, "is not a list of texts"))
    };
    match row.get(field) {
        None | Some(Value::Null) => Err(RowProblem::MissingInput { field: field.to_string() }),
        Some(Value::Object(object)) => match (object.get("text"), object.get("label")) {
            (Some(text), Some(label)) => Ok((texts(label)?, texts(text)?)),
            _ => {
                let options: Option<Vec<String>> = object.values().map(scalar).collect();
                let options = options.ok_or_else(|| bad_field(field, "is not a set of texts"))?;
                Ok((object.keys().cloned().collect(), options))
            }
        },
        Some(list) => Ok((Vec::new(), texts(list)?)),
    }
}

/// Options in a column each; columns at the end may be empty.
fn in_columns(row: &Map<String, Value>, fields: &[String]) -> Result<(Vec<String>, Vec<String>), RowProblem> {
    let (mut keys, mut texts) = (Vec::new(), Vec::new());
    let mut ended = None;
    for field in fields {
        match (text_of(row, field)?, &ended) {
            (Some(text), None) => {
                keys.push(field.clone());
                texts.push(text);
            }
            (None, _) => ended = ended.or_else(|| Some(field.clone())),
            (Some(_), Some(empty)) => return Err(RowProblem::MissingInput { field: empty.clone() }),
        }
    }
    Ok((keys, texts))
}

/// Takes `(A)`, `A.`, `A)`, `A、` off the options if each one begins with its own letter.
fn without_letters(texts: Vec<String>) -> Vec<String> {
    let bare: Option<Vec<String>> = ('A'..='Z')
        .zip(&texts)
        .map(|(letter, text)| {
            let text = text.trim();
            let rest = match text.strip_prefix('(') {
                Some(inner) => inner.strip_prefix(letter)?.strip_prefix(')')?,
                None => text.strip_prefix(letter)?.strip_prefix(['.', ')', '、', '．', ':', '：'])?,
            };
            Some(rest.trim().to_string()).filter(|rest| !rest.is_empty())
        })
        .collect();
    bare.unwrap_or_else(|| texts.iter().map(|t| t.trim().to_string()).collect())
}

fn resolve(
    answer: &str,
    keys: &[String],
    texts: &[String],
    field: &str,
) -> Result<Option<usize>, RowProblem> {
    let by_text = texts.iter().position(|text| text == answer);
    // Keys that the data give themselves are what their answers name.
    if let Some(key) = keys.iter().position(|key| key.trim() == answer) {
        return Ok(Some(key));
    }
    let by_key = letter(answer);
    match (by_text, by_key) {
        (Some(text), Some(key)) if text != key && key < texts.len() => {
            Err(bad_field(field, format!("\"{answer}\" is the text of one option and the letter of another")))
        }
        (Some(at), _) | (None, Some(at)) => Ok(Some(at)),
        (None, None) => Ok(answer.parse().ok()),
    }
}

/// `B`, `b`, `(B)`, `B.`, `B)` as an index.
fn letter(answer: &str) -> Option<usize> {
    let bare = answer.trim_start_matches('(').trim_end_matches([')', '.', '、', '．']);
    let mut chars = bare.chars();
    match (chars.next().map(|c| c.to_ascii_uppercase()), chars.next()) {
        (Some(letter @ 'A'..='Z'), None) => ('A'..='Z').position(|l| l == letter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(row: Value, options: Fields, expected: Result<usize, &str>) {
        let found = read(row.as_object().unwrap(), "answer", Some(&options));
        match (found, expected) {
            (Ok(item), Ok(correct)) => assert_eq!(item.correct, correct, "{row}"),
            (Err(problem), Err(code)) => assert_eq!(problem.code(), code, "{row}: {problem}"),
            (found, expected) => panic!("{row}: {:?}, not {expected:?}", found.map(|i| i.correct)),
        }
    }

    #[test]
    fn answers_are_resolved() {
        let list = |answer: Value| json!({"o": ["red", "green", "blue"], "answer": answer});
        for (answer, expected) in [
            (json!("B"), Ok(1)),
            (json!("(c)"), Ok(2)),
            (json!("blue"), Ok(2)),
            (json!(0), Ok(0)),
            (json!("1"), Ok(1)),
            (json!(3), Err("answer_not_an_option")),
            (json!(-1), Err("answer_not_an_option")),
            (json!("D"), Err("answer_not_an_option")),
            (json!("violet"), Err("answer_not_an_option")),
            (json!(null), Err("missing_answer")),
            (json!(" "), Err("missing_answer")),
        ] {
            check(list(answer), "o".into(), expected);
        }
        check(json!({"o": ["(A)1", "(B)2"], "answer": "2"}), "o".into(), Ok(1));
        check(json!({"o": ["B", "A"], "answer": "A"}), "o".into(), Err("bad_field"));
        check(json!({"o": {"text": ["x", "y"], "label": ["1", "2"]}, "answer": "2"}), "o".into(), Ok(1));
        // numbers as keys are counted as the data count them
        let keyed = |label: Value, answer: Value| json!({"o": {"text": ["x", "y", "z"], "label": label}, "answer": answer});
        check(keyed(json!(["1", "2", "3"]), json!(1)), "o".into(), Ok(0));
        check(keyed(json!([1, 2, 3]), json!(3)), "o".into(), Ok(2));
        check(keyed(json!(["A", "B", "C"]), json!(1)), "o".into(), Ok(1));
        check(json!({"o": {"A": "x", "B": "y"}, "answer": "B"}), "o".into(), Ok(1));
        check(json!({"o": ["only"], "answer": "A"}), "o".into(), Err("bad_field"));
        let columns = Fields::Many(vec!["A".into(), "B".into(), "C".into()]);
        check(json!({"A": "x", "B": "y", "C": "", "answer": "B"}), columns.clone(), Ok(1));
        check(json!({"A": "x", "B": "", "C": "z", "answer": "A"}), columns.clone(), Err("missing_input"));
        check(json!({"A": "B", "B": "C", "C": "A", "answer": "B"}), columns, Ok(1));
    }
}
