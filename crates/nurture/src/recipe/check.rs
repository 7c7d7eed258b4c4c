//! Holds a document against the table of fields: unknown keys, types, ranges and words, each with its line.
//! On the way it evens out what may be written in more than one way, and makes paths absolute.
use std::path::Path;

use super::error::{Fault, Place, RecipeError};
use super::nearest::{ELSEWHERE, nearest};
use super::table::{Absent, Field, Kind, Section, looks_like_path};
use super::tree::{Node, Value};
use super::{Recipe, paths};
use crate::lang::Said;
use crate::said;

/// Folders from which relative paths start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folders<'a> {
    /// For inputs.
    pub(crate) input: &'a Path,
    /// For outputs.
    pub(crate) output: &'a Path,
}

/// Checks and evens out a whole table. `complete` asks for the required keys as well.
pub(crate) fn table(
    node: &mut Node,
    section: &'static Section,
    at: &str,
    folders: Folders<'_>,
    complete: bool,
) -> Result<(), RecipeError> {
    let Value::Table(entries) = &mut node.value else {
        return Err(wrong_type(node, at, Kind::Table(section)));
    };
    for (key, (place, child)) in entries.iter_mut() {
        let Some(field) = section.field(key) else {
            return Err(unknown_key(place.clone(), at, key, section));
        };
        value(child, field.kind, &join(at, key), folders, complete)?;
    }
    if complete {
        for field in section.fields {
            if matches!(field.absent, Absent::Required) && !entries.contains_key(field.name) {
                return Err(missing(node.place.clone(), &join(at, field.name), field));
            }
        }
    }
    Ok(())
}

/// Checks and evens out one value.
pub(crate) fn value(
    node: &mut Node,
    kind: Kind,
    at: &str,
    folders: Folders<'_>,
    complete: bool,
) -> Result<(), RecipeError> {
    match (kind, &mut node.value) {
        (Kind::Table(section), Value::Text(_)) if Kind::shorthand(section).is_some() => {
            let key = Kind::shorthand(section).unwrap_or_default();
            let inner = node.clone();
            node.value = Value::Table([(key.to_string(), (node.place.clone(), inner))].into());
            table(node, section, at, folders, complete)
        }
        (Kind::Table(section), _) => table(node, section, at, folders, complete),
        (Kind::List(inner), Value::List(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                value(item, *inner, &format!("{at}[{index}]"), folders, complete)?;
            }
            Ok(())
        }
        (Kind::List(inner), _) => {
            let mut single = node.clone();
            value(&mut single, *inner, at, folders, complete)?;
            node.value = Value::List(vec![single]);
            Ok(())
        }
        (Kind::Text, Value::Text(_)) | (Kind::Bool, Value::Bool(_)) => Ok(()),
        (Kind::Name, Value::Text(text)) => {
            if paths::is_file_name(text) {
                return Ok(());
            }
            let found = format!("{text:?}");
            Err(bad_value(
                node,
                at,
                found,
                said!("a name without slashes that does not start with a dot", "不含斜杠、不以点开头的名字"),
            ))
        }
        (Kind::Path | Kind::OutputPath | Kind::NameOrPath, Value::Text(text)) => {
            if text.trim().is_empty() {
                return Err(bad_value(
                    node,
                    at,
                    "\"\"".into(),
                    said!("a name or path, not empty", "名字或路径，不能为空"),
                ));
            }
            let folder = if matches!(kind, Kind::OutputPath) { folders.output } else { folders.input };
            if !matches!(kind, Kind::NameOrPath) || looks_like_path(text) {
                *text = paths::absolute(folder, text);
            }
            Ok(())
        }
        (Kind::Integer { min, max }, Value::Integer(number)) => {
            if (min..=max).contains(number) {
                return Ok(());
            }
            let found = number.to_string();
            Err(bad_value(node, at, found, said!("from {min} to {max}", "{min} 到 {max}")))
        }
        (Kind::Number { min, max, positive }, Value::Integer(_) | Value::Number(_)) => {
            let number = match node.value {
                Value::Integer(number) => number as f64,
                Value::Number(number) => number,
                _ => f64::NAN,
            };
            if number.is_finite() && (min..=max).contains(&number) && !(positive && number == 0.0) {
                node.value = Value::Number(number);
                return Ok(());
            }
            let expected = if positive {
                said!("above {min} and at most {max}", "大于 {min}、至多 {max}")
            } else {
                said!("from {min} to {max}", "{min} 到 {max}")
            };
            Err(bad_value(node, at, number.to_string(), expected))
        }
        (Kind::Choice(choices), Value::Text(word)) => {
            let allowed: Vec<_> = choices.iter().filter(|c| c.available).map(|c| c.name).collect();
            let (key, found) = (at.to_string(), word.clone());
            let fail = |fault| Err(RecipeError::new(node.place.clone(), fault));
            match choices.iter().find(|choice| choice.name == word) {
                Some(choice) if choice.available => Ok(()),
                Some(_) => fail(Fault::NotYet { key, found, allowed }),
                None => {
                    let nearest = nearest(word, choices.iter().map(|choice| choice.name));
                    fail(Fault::UnknownWord { key, found, nearest, allowed })
                }
            }
        }
        _ => Err(wrong_type(node, at, kind)),
    }
}

/// The whole key of a child.
pub(crate) fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_string() } else { format!("{at}.{key}") }
}

pub(crate) fn missing(place: Place, key: &str, field: &Field) -> RecipeError {
    let example = format!("{} = {}", field.name, field.example);
    RecipeError::new(place, Fault::Missing { key: key.to_string(), example, doc: field.doc.into() })
}

pub(crate) fn unknown_key(place: Place, at: &str, key: &str, section: &Section) -> RecipeError {
    let here = nearest(key, section.fields.iter().map(|field| field.name)).map(|near| join(at, near));
    let elsewhere = || {
        let exact = ELSEWHERE.iter().find(|(name, _)| *name == key).map(|(_, own)| own.to_string());
        exact.or_else(|| find(key, &Recipe::SECTION, ""))
    };
    let fault = Fault::UnknownKey {
        key: join(at, key),
        nearest: here.or_else(elsewhere),
        table: at.to_string(),
        allowed: section.fields.iter().map(|field| field.name).collect(),
    };
    RecipeError::new(place, fault)
}

/// The whole key under which a name stands somewhere in the recipe.
fn find(name: &str, section: &Section, at: &str) -> Option<String> {
    section.fields.iter().find_map(|field| {
        let whole = join(at, field.name);
        if field.name == name {
            return Some(whole);
        }
        find(name, field.kind.section()?, &whole)
    })
}

fn bad_value(node: &Node, at: &str, found: String, expected: Said) -> RecipeError {
    RecipeError::new(node.place.clone(), Fault::BadValue { key: at.to_string(), found, expected })
}

fn wrong_type(node: &Node, at: &str, kind: Kind) -> RecipeError {
    let found = match &node.value {
        Value::Text(text) => {
            let short: String = text.chars().take(40).collect();
            said!("the text {short:?}", "文本 {short:?}")
        }
        Value::Integer(number) => said!("the number {number}", "数字 {number}"),
        Value::Number(number) => said!("the number {number}", "数字 {number}"),
        Value::Bool(value) => said!("{value}", " {value}"),
        Value::Other(text) => said!("{text}", " {text}"),
        Value::List(_) => Said::new("a list", "列表"),
        Value::Table(_) => Said::new("a table", "表"),
    };
    let (key, expected) = (at.to_string(), kind.said());
    RecipeError::new(node.place.clone(), Fault::WrongType { key, expected, found })
}
