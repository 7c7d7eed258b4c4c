//! The form of a recipe, made from the recipe's own documentation, and back from the form to TOML.

use super::lang::PageLang;
use crate::error::ApiError;
use minijinja::{Value as Shown, context};
use serde_json::{Map, Value};

/// What nearly every recipe says; shown first.
const COMMON: [&str; 6] =
    ["run.name", "model.base", "data.train", "train.effort", "train.adapter.rank", "eval.depth"];

/// A key of the recipe that a form can hold.
#[derive(Clone, Debug)]
struct Field {
    key: String,
    doc: String,
    kind: Kind,
    options: Vec<String>,
    default: String,
    required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
    Switch,
    Choice,
    List,
}

/// All keys of a schema. A list of tables is asked for by its short form, one text an entry.
fn fields(schema: &Value, at: &str, out: &mut Vec<Field>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r.as_str() == Some(name)))
    };
    for (name, of) in properties {
        let key = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if of.get("properties").is_some() {
            fields(of, &key, out);
            continue;
        }
        let (mut kind, mut options) = kind(of);
        if kind == Kind::Switch {
            (kind, options) = (Kind::Switch, vec!["true".into(), "false".into()]);
        }
        out.push(Field {
            doc: of["description"].as_str().unwrap_or_default().to_string(),
            default: match &of["default"] {
                Value::Null => String::new(),
                Value::String(s) => s.clone(),
                Value::Array(list) if list.is_empty() => String::new(),
                other => other.to_string(),
            },
            // what a table needs is needed only where the table is there
            required: required(name) && COMMON.contains(&key.as_str()),
            key,
            kind,
            options,
        });
    }
}

fn kind(of: &Value) -> (Kind, Vec<String>) {
    if let Some(words) = of.get("enum").and_then(Value::as_array) {
        return (Kind::Choice, words.iter().filter_map(|w| w.as_str().map(String::from)).collect());
    }
    match of.get("type").and_then(Value::as_str) {
        Some("integer") => (Kind::Whole, Vec::new()),
        Some("number") => (Kind::Number, Vec::new()),
        Some("boolean") => (Kind::Switch, Vec::new()),
        Some(_) => (Kind::Text, Vec::new()),
        None => {
            let any = of.get("anyOf").and_then(Value::as_array);
            let list = any.is_some_and(|all| all.iter().any(|a| a["type"] == "array"));
            (if list { Kind::List } else { Kind::Text }, Vec::new())
        }
    }
}

/// The fields that are shown first, and all others by section.
pub(crate) fn form(schema: &Value, base: &str) -> (Vec<Shown>, Vec<Shown>) {
    let mut all = Vec::new();
    fields(schema, "", &mut all);
    let shown = |f: &Field| {
        let default = if f.key == "model.base" { base } else { f.default.as_str() };
        let kind = match f.kind {
            Kind::Switch | Kind::Choice => "choice",
            Kind::Whole | Kind::Number => "number",
            Kind::List => "list",
            Kind::Text => "text",
        };
        context! { key => &f.key, doc => &f.doc, kind, options => &f.options, default, required => f.required }
    };
    let common = COMMON.iter().filter_map(|key| all.iter().find(|f| f.key == *key)).map(shown).collect();
    let mut sections: Vec<(String, Vec<Shown>)> = Vec::new();
    for f in all.iter().filter(|f| !COMMON.contains(&f.key.as_str())) {
        let name = f.key.rsplit_once('.').map_or(f.key.as_str(), |(section, _)| section).to_string();
        match sections.iter_mut().find(|(n, _)| *n == name) {
            Some((_, list)) => list.push(shown(f)),
            None => sections.push((name, vec![shown(f)])),
        }
    }
    let doc = |name: &str| {
        let of = name.split('.').fold(schema, |s, part| &s["properties"][part]);
        of["description"].as_str().unwrap_or_default().to_string()
    };
    let sections =
        sections.iter().map(|(name, fields)| context! { name, doc => doc(name), fields }).collect();
    (common, sections)
}

/// The text of a recipe from the form's values; empty ones say nothing.
pub(crate) fn compose(schema: &Value, values: &Value, lang: PageLang) -> Result<String, ApiError> {
    let Value::Object(values) = values else {
        return Err(ApiError::invalid("values", "\"values\" must be an object"));
    };
    let mut all = Vec::new();
    fields(schema, "", &mut all);
    if let Some(unknown) = values.keys().find(|key| !all.iter().any(|f| f.key == **key)) {
        return Err(ApiError::invalid(unknown, format!("the recipe has no key `{unknown}`")));
    }
    // sections in the order of the documentation
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    for field in &all {
        let Some(text) = said(values, &field.key).filter(|t| !t.is_empty()) else { continue };
        let (section, name) = field.key.rsplit_once('.').unwrap_or(("", &field.key));
        let line = format!("{name} = {}", written(field, text, lang)?);
        match sections.iter_mut().find(|(s, _)| *s == section) {
            Some((_, lines)) => lines.push(line),
            None => sections.push((section, vec![line])),
        }
    }
    let mut out = String::new();
    for (section, lines) in sections {
        if !out.is_empty() {
            out.push('\n');
        }
        if !section.is_empty() {
            out.push_str(&format!("[{section}]\n"));
        }
        out.push_str(&lines.join("\n"));
        out.push('\n');
    }
    Ok(out)
}

fn said<'v>(values: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    values.get(key).and_then(Value::as_str).map(str::trim)
}

fn written(field: &Field, text: &str, lang: PageLang) -> Result<String, ApiError> {
    let key = &field.key;
    let wrong = |en: &str, zh: &str| {
        Err(ApiError::invalid(key, lang.pick(&format!("{key}: {en}"), &format!("{key}：{zh}"))))
    };
    match field.kind {
        Kind::Text => Ok(quoted(text)),
        Kind::List => {
            let items: Vec<String> =
                text.lines().map(str::trim).filter(|l| !l.is_empty()).map(quoted).collect();
            Ok(format!("[{}]", items.join(", ")))
        }
        Kind::Whole => match text.replace('_', "").parse::<i64>() {
            Ok(n) => Ok(n.to_string()),
            Err(_) => wrong("a whole number is needed", "应为整数"),
        },
        Kind::Number => match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(format!("{x:?}")),
            _ => wrong("a number is needed", "应为数字"),
        },
        Kind::Switch | Kind::Choice => match field.options.iter().any(|o| o == text) {
            true if field.kind == Kind::Switch => Ok(text.to_string()),
            true => Ok(quoted(text)),
            false => wrong("choose one of the words", "请选择其中一个词"),
        },
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        let list = json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }], "description": "files" });
        json!({ "properties": {
            "run": { "description": "The run.", "properties": { "name": { "type": "string", "description": "name" } } },
            "model": { "properties": { "base": { "type": "string", "description": "base" } }, "required": [] },
            "data": { "properties": { "train": list }, "required": ["train"] },
            "train": { "properties": {
                "effort": { "enum": ["quick", "normal"], "description": "dial", "default": "normal" },
                "recompute": { "type": "boolean", "default": false },
                "rate": { "type": "number" },
                "adapter": { "properties": { "rank": { "type": "integer", "default": 16 } } },
            } },
        } })
    }

    #[test]
    fn a_form_becomes_a_recipe() {
        let values = json!({
            "run.name": "a \"b\"", "data.train": "x.jsonl\n\n y/\u{4f60}.csv ", "train.rate": "1e-3", "train.effort": "quick",
            "train.recompute": "true", "train.adapter.rank": "8", "model.base": "  ",
        });
        let text = compose(&schema(), &values, PageLang::En).unwrap();
        let want = "[run]\nname = \"a \\\"b\\\"\"\n\n[data]\ntrain = [\"x.jsonl\", \"y/你.csv\"]\n\n[train]\neffort = \"quick\"\nrecompute = true\nrate = 0.001\n\n[train.adapter]\nrank = 8\n";
        let mut got: Vec<&str> = text.lines().collect();
        let mut wanted: Vec<&str> = want.lines().collect();
        got.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(got, wanted, "{text}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (key, value) in [
            ("train.rate", "fast"),
            ("train.adapter.rank", "1.5"),
            ("train.effort", "huge"),
            ("train.x", "1"),
            ("train.rate", "nan"),
        ] {
            let mut values = Map::new();
            values.insert(key.into(), value.into());
            let error = compose(&schema(), &Value::Object(values), PageLang::En).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(key));
        }
        assert!(compose(&schema(), &json!([]), PageLang::Zh).is_err());
    }

    #[test]
    fn nobody_breaks_out_of_a_text() {
        let values = json!({ "run.name": "x\"\n[model]\nbase = \"/etc\"\u{7}" });
        let text = compose(&schema(), &values, PageLang::En).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\\n[model]\\nbase = \\\"/etc\\\"\\u0007"), "{text}");
    }

    #[test]
    fn the_form_shows_what_is_needed_first() {
        let (common, sections) = form(&schema(), "base-name");
        assert_eq!(common.len(), 5);
        let names: Vec<String> = sections.iter().map(|s| s.get_attr("name").unwrap().to_string()).collect();
        assert_eq!(names, ["train"]);
    }
}
