//! `--set key.path=value`: any key of the recipe from the command line, recorded in the lock file.
use serde::{Deserialize, Serialize};

use super::Recipe;
use super::check::{self, Folders};
use super::error::{Fault, Place, RecipeError};
use super::table::{Kind, Section};
use super::tree::{Node, Value};
use crate::lang::Said;
use crate::said;

/// One override, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The whole key.
    pub key: String,
    /// The value as it was typed.
    pub value: String,
}

/// One step of a key: `data`, `train`, `[0]`.
enum Step {
    Key(String),
    Index(usize),
}

/// Puts an override into the document. Relative paths in it start at the current folder, where they were typed.
pub(crate) fn apply(root: &mut Node, text: &str, folders: Folders<'_>) -> Result<Override, RecipeError> {
    let place = Place::Set(text.to_string());
    let wrong = |problem: Said| RecipeError::new(place.clone(), Fault::BadOverride { problem });
    let (key, raw) = text
        .split_once('=')
        .ok_or_else(|| wrong(said!("an override is written key=value", "覆盖要写成 键=值")))?;
    let (key, raw) = (key.trim(), raw.trim());
    let steps = steps(key).ok_or_else(|| {
        wrong(said!(
            "`{key}` is not a key like train.rate or data.train[0].path",
            "`{key}` 不是 train.rate 或 data.train[0].path 那样的键"
        ))
    })?;

    let kind = kind_of(&steps, &place)?;
    let mut node = parse(raw, kind, &place)?;
    check::value(&mut node, kind, key, folders, false)?;

    let mut target = root;
    for step in &steps {
        target = descend(target, step, &place).ok_or_else(|| {
            wrong(said!("`{key}`: the recipe has no such place", "`{key}`：配方里没有这个位置"))
        })?;
    }
    *target = node;
    Ok(Override { key: key.to_string(), value: raw.to_string() })
}

/// `a.b[0].c` or `a.b.0.c` in steps.
fn steps(key: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in key.replace('[', ".").replace(']', "").split('.') {
        match part.trim() {
            "" => return None,
            part => steps.push(part.parse().map_or_else(|_| Step::Key(part.to_string()), Step::Index)),
        }
    }
    Some(steps)
}

/// What the table of fields expects at a key.
fn kind_of(steps: &[Step], place: &Place) -> Result<Kind, RecipeError> {
    let root: &'static Section = const { &Recipe::SECTION };
    let (mut kind, mut at) = (Kind::Table(root), String::new());
    for step in steps {
        kind = match (step, kind) {
            (Step::Key(key), Kind::Table(section)) => {
                let Some(field) = section.field(key) else {
                    return Err(check::unknown_key(place.clone(), &at, key, section));
                };
                at = check::join(&at, key);
                field.kind
            }
            (Step::Index(index), Kind::List(inner)) => {
                at = format!("{at}[{index}]");
                *inner
            }
            (Step::Key(_), Kind::List(_)) => {
                let problem = said!(
                    "`{at}` is a list: write {at}[0] for its first entry",
                    "`{at}` 是列表：第一项写作 {at}[0]"
                );
                return Err(RecipeError::new(place.clone(), Fault::BadOverride { problem }));
            }
            _ => {
                let problem = said!("`{at}` has nothing inside it", "`{at}` 里面没有东西");
                return Err(RecipeError::new(place.clone(), Fault::BadOverride { problem }));
            }
        };
    }
    Ok(kind)
}

/// The value: TOML, or the bare words themselves where a text is expected.
fn parse(raw: &str, kind: Kind, place: &Place) -> Result<Node, RecipeError> {
    let bare = || Node { place: place.clone(), value: Value::Text(raw.to_string()) };
    let toml = Node::parse(&format!("value = {raw}"), &|_| place.clone());
    let inner = match kind {
        Kind::List(inner) => *inner,
        kind => kind,
    };
    let takes_text = !matches!(inner, Kind::Bool | Kind::Integer { .. } | Kind::Number { .. });
    match toml.map(|node| node.value) {
        Ok(Value::Table(mut entries)) if entries.len() == 1 => match entries.remove("value") {
            // `--set run.name=2024`: where only a text can stand, a bare number is its text.
            Some((_, node))
                if takes_text
                    && matches!(
                        node.value,
                        Value::Integer(_) | Value::Number(_) | Value::Bool(_) | Value::Other(_)
                    ) =>
            {
                Ok(bare())
            }
            Some((_, node)) => Ok(node),
            None => Ok(bare()),
        },
        Ok(_) => Ok(bare()), // several lines: not a value
        Err(error) if raw.starts_with(['[', '{', '"', '\'']) => Err(error),
        Err(_) => Ok(bare()),
    }
}

fn descend<'a>(node: &'a mut Node, step: &Step, place: &Place) -> Option<&'a mut Node> {
    let fresh = matches!(&node.value, Value::Table(entries) if entries.is_empty());
    if fresh && matches!(step, Step::Index(0)) {
        node.value = Value::List(Vec::new());
    }
    match (step, &mut node.value) {
        (Step::Key(key), Value::Table(entries)) => {
            let entry = entries.entry(key.clone());
            Some(&mut entry.or_insert_with(|| (place.clone(), Node::empty(place.clone()))).1)
        }
        // One beyond the end appends; further away is a slip.
        (Step::Index(index), Value::List(items)) => {
            if *index == items.len() {
                items.push(Node::empty(place.clone()));
            }
            items.get_mut(*index)
        }
        _ => None,
    }
}
