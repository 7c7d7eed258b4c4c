//! A TOML document with the place where each value stands, so that every complaint can name its line.
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Fault, Place, RecipeError};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A key with its place, and the value behind it.
pub(crate) type Entries = BTreeMap<String, (Place, Node)>;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Bool(bool),
    /// Dates and integers beyond 64 bits: nothing in a recipe takes them.
    Other(String),
    List(Vec<Node>),
    Table(Entries),
}

impl Node {
    /// Reads a document. `place` tells where a byte offset is.
    pub(crate) fn parse(text: &str, place: &dyn Fn(usize) -> Place) -> Result<Node, RecipeError> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = place(error.span().map_or(0, |span| span.start));
            RecipeError::new(at, Fault::Syntax { problem: error.message().to_string() })
        })?;
        Ok(Node { place: place(0), value: Value::Table(entries(table.get_ref(), place)) })
    }

    /// An empty table.
    pub(crate) fn empty(place: Place) -> Node {
        Node { place, value: Value::Table(Entries::new()) }
    }

    /// The plain TOML value, for serde.
    pub(crate) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) | Value::Other(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Number(number) => toml::Value::Float(*number),
            Value::Bool(value) => toml::Value::Boolean(*value),
            Value::List(items) => toml::Value::Array(items.iter().map(Node::to_toml).collect()),
            Value::Table(entries) => toml::Value::Table(
                entries.iter().map(|(key, (_, node))| (key.clone(), node.to_toml())).collect(),
            ),
        }
    }
}

fn entries(table: &DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Entries {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), (place(key.span().start), node(value, place))))
        .collect()
}

fn items(array: &DeArray<'_>, place: &dyn Fn(usize) -> Place) -> Vec<Node> {
    array.iter().map(|item| node(item, place)).collect()
}

fn node(value: &Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> Place) -> Node {
    let tree = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Other(number.to_string()), Value::Number)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(array) => Value::List(items(array, place)),
        DeValue::Table(table) => Value::Table(entries(table, place)),
    };
    Node { place: place(value.span().start), value: tree }
}
