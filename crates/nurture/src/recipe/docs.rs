//! Help text, documentation page and JSON schema of the recipe, all from the one table.
use serde_json::{Map, Value, json};

use super::table::{Absent, Field, Kind, Section};
use super::{Recipe, check::join};
use crate::lang::{Lang, Text};
use crate::say;

/// Help for a terminal: all keys, or those at and below `prefix` (`train`, `train.adapter`, `train.rate`).
/// `None` if there is no such key.
pub fn help(lang: Lang, prefix: &str) -> Option<String> {
    let mut out = String::new();
    let prefix = prefix.replace("[]", "");
    walk(&Recipe::SECTION, "", &mut |at, field, section| {
        let plain = at.replace("[]", "");
        // said once, unless it is asked for
        if again(&plain) && !again(&format!("{prefix}.")) {
            return;
        }
        if !prefix.is_empty() && plain != prefix && !plain.starts_with(&format!("{prefix}.")) {
            return;
        }
        if field.kind.section().is_some() {
            out.push_str(&format!("\n{at}\n    {}\n", field.doc.get(lang)));
            return;
        }
        out.push_str(&format!(
            "  {at}  ({})\n      {}\n",
            fallback(lang, field, section),
            field.doc.get(lang)
        ));
        for choice in choices(field.kind) {
            let later = if choice.available {
                ""
            } else {
                lang.pick(" (not in this version)", "（本版本还没有）")
            };
            out.push_str(&format!("        {:<12} {}{later}\n", choice.name, choice.doc.get(lang)));
        }
    });
    (!out.is_empty()).then(|| out.trim_start_matches('\n').to_string())
}

/// The documentation page, markdown.
pub fn markdown(lang: Lang) -> String {
    const TITLE: Text = Text::new("# The recipe", "# 配方");
    const ORIGIN: Text = Text::new(
        "This page is made from the table of fields in the code. Unknown keys are errors; `--set key=value` overrides any key.",
        "本页由代码里的字段表生成。不认识的键会报错；`--set 键=值` 可覆盖任何键。",
    );
    let mut out = format!("{}\n\n{}\n", TITLE.get(lang), ORIGIN.get(lang));
    page(lang, &Recipe::SECTION, "", &mut out);
    out
}

fn page(lang: Lang, section: &Section, at: &str, out: &mut String) {
    if !at.is_empty() {
        out.push_str(&format!("\n## `{at}`\n\n{}\n", section.doc.get(lang)));
    }
    let head = lang.pick(
        "| key | meaning | if left out | example |\n| --- | --- | --- | --- |",
        "| 键 | 含义 | 不写时 | 例 |\n| --- | --- | --- | --- |",
    );
    out.push_str(&format!("\n{head}\n"));
    for field in section.fields {
        let mut doc = field.doc.get(lang).to_string();
        for choice in choices(field.kind) {
            let later = if choice.available {
                ""
            } else {
                lang.pick(" *(not in this version)*", "*（本版本还没有）*")
            };
            doc.push_str(&format!("<br>`{}`: {}{later}", choice.name, choice.doc.get(lang)));
        }
        let cells = [
            format!("`{}`", field.name),
            doc,
            fallback(lang, field, section),
            format!("`{}`", field.example),
        ];
        out.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    for field in section.fields {
        let key = whole(at, field);
        if let Some(inner) = field.kind.section().filter(|_| !again(&format!("{}.", key.replace("[]", "")))) {
            page(lang, inner, &key, out);
        }
    }
}

/// JSON schema (2020-12) of a recipe, for editors and forms.
pub fn json_schema(lang: Lang) -> Value {
    let mut schema = object(lang, &Recipe::SECTION);
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(lang.pick("Recipe", "配方")));
    Value::Object(schema)
}

fn object(lang: Lang, section: &Section) -> Map<String, Value> {
    let defaults = (section.defaults)();
    let properties: Map<String, Value> = section
        .fields
        .iter()
        .map(|field| {
            let mut schema = kind(lang, field.kind);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".into(), json!(field.doc.get(lang)));
                if let (Absent::Default, Some(default)) = (field.absent, defaults.get(field.name))
                    && !matches!(field.kind, Kind::Table(_))
                {
                    schema.insert("default".into(), json!(default));
                }
            }
            (field.name.to_string(), schema)
        })
        .collect();
    let required: Vec<_> =
        section.fields.iter().filter(|f| matches!(f.absent, Absent::Required)).map(|f| f.name).collect();
    let schema = json!({
        "type": "object", "description": section.doc.get(lang), "properties": properties,
        "required": required, "additionalProperties": false,
    });
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn kind(lang: Lang, of: Kind) -> Value {
    match of {
        Kind::Text => json!({ "type": "string" }),
        Kind::Name | Kind::Path | Kind::OutputPath | Kind::NameOrPath => {
            json!({ "type": "string", "minLength": 1 })
        }
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max, positive: false } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        Kind::Number { min, max, positive: true } => {
            json!({ "type": "number", "exclusiveMinimum": min, "maximum": max })
        }
        Kind::Choice(choices) => {
            json!({ "enum": choices.iter().filter(|c| c.available).map(|c| c.name).collect::<Vec<_>>() })
        }
        Kind::Table(section) => {
            let table = Value::Object(object(lang, section));
            match Kind::shorthand(section) {
                Some(_) => json!({ "anyOf": [table, { "type": "string", "minLength": 1 }] }),
                None => table,
            }
        }
        Kind::List(inner) => {
            let inner = kind(lang, *inner);
            json!({ "anyOf": [{ "type": "array", "items": inner.clone() }, inner] })
        }
    }
}

/// What stands if the key is left out.
fn fallback(lang: Lang, field: &Field, section: &Section) -> String {
    match field.absent {
        Absent::Required => lang.pick("required", "必填").into(),
        Absent::Means(text) => text.get(lang).into(),
        Absent::Default => match (section.defaults)().get(field.name) {
            Some(_) if matches!(field.kind, Kind::Table(_)) => {
                lang.pick("its defaults", "各自的默认值").into()
            }
            Some(toml::Value::Array(list)) if list.is_empty() => lang.pick("none", "无").into(),
            Some(value) => say!(lang, "default {value}", "默认 {value}"),
            None => String::new(),
        },
    }
}

fn choices(kind: Kind) -> &'static [super::Choice] {
    match kind {
        Kind::Choice(choices) => choices,
        Kind::List(inner) => choices(*inner),
        _ => &[],
    }
}

fn whole(at: &str, field: &Field) -> String {
    let list = if matches!(field.kind, Kind::List(Kind::Table(_))) { "[]" } else { "" };
    join(at, field.name) + list
}

/// Whether a key belongs to a table of a further stage that the recipe has at its top too.
pub(crate) fn again(key: &str) -> bool {
    ["then.data.", "then.train."].iter().any(|table| key.starts_with(table))
}

/// Visits every field, a table before its keys.
pub(crate) fn walk(section: &Section, at: &str, visit: &mut dyn FnMut(&str, &Field, &Section)) {
    for field in section.fields {
        let at = whole(at, field);
        visit(&at, field, section);
        if let Some(inner) = field.kind.section() {
            walk(inner, &at, visit);
        }
    }
}
