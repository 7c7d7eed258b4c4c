//! The tools of a request, in the three shapes in which APIs bring them.

use super::Result;
use crate::ask::Rule;
use crate::error::ApiError;
use crate::fields::Fields;
use nurture_text::ToolStyle;
use serde_json::{Value, json};

/// Most tools of a request.
const TOOLS: usize = 128;
/// Most calls of an answer under a rule.
const CALLS: usize = 16;
const NAME: usize = 64;

/// What the model may or must do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    None,
    Auto,
    Required,
    Named(String),
}

/// A tool.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    description: Option<String>,
    /// JSON schema of its arguments
    parameters: Value,
}

/// What a request offers.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) list: Vec<Tool>,
    pub(crate) choice: Choice,
    pub(crate) parallel: bool,
}

impl Tool {
    /// From the fields that all shapes share; `schema` is what the shape calls the schema of the arguments.
    fn take(mut fields: Fields, schema: &str) -> Result<Tool> {
        let place = fields.name("name");
        let name = fields.text("name")?.ok_or_else(|| ApiError::missing(&place))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > NAME || !name.chars().all(plain) {
            let message = format!("\"{place}\" must have 1 to {NAME} letters, digits, `_`, `-` or `.`");
            return Err(ApiError::invalid(place, message));
        }
        let description = fields.text("description")?;
        let place = fields.name(schema);
        let parameters = fields.take(schema).unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        if !parameters.is_object() {
            return Err(ApiError::invalid(&place, format!("\"{place}\" must be a JSON schema, an object")));
        }
        // the schema always holds where the rule is in force
        fields.harmless(&["strict"]);
        fields.done()?;
        Ok(Tool { name, description, parameters })
    }

    /// As the model reads it.
    pub(super) fn line(&self) -> String {
        ToolStyle::tool(&self.name, self.description.as_deref(), Some(&self.parameters))
    }
}

impl Tools {
    /// `tools`, `tool_choice` and `parallel_tool_calls` of chat completions.
    pub(crate) fn chat(fields: &mut Fields) -> Result<Option<Tools>> {
        let nested = |mut entry: Fields| {
            function_only(&mut entry)?;
            let place = entry.name("function");
            let function = Fields::inner(entry.needed("function")?, &place)?;
            entry.done()?;
            Tool::take(function, "parameters")
        };
        Tools::take(fields, nested, "function")
    }

    /// The same of `/v1/responses`, where a tool is flat.
    pub(crate) fn responses(fields: &mut Fields) -> Result<Option<Tools>> {
        let flat = |mut entry: Fields| {
            function_only(&mut entry)?;
            Tool::take(entry, "parameters")
        };
        Tools::take(fields, flat, "")
    }

    fn take(fields: &mut Fields, one: impl Fn(Fields) -> Result<Tool>, nest: &str) -> Result<Option<Tools>> {
        let list = entries(fields, one)?;
        let parallel = fields.switch("parallel_tool_calls")?.unwrap_or(true);
        let choice = match fields.take("tool_choice") {
            None => Choice::Auto,
            Some(Value::String(word)) => match word.as_str() {
                "none" => Choice::None,
                "auto" => Choice::Auto,
                "required" => Choice::Required,
                _ => {
                    let message = "\"tool_choice\" can be none, auto, required, or name a function";
                    return Err(ApiError::invalid("tool_choice", message));
                }
            },
            Some(value) => {
                let mut choice = Fields::inner(value, "tool_choice")?;
                function_only(&mut choice)?;
                let mut named = match nest {
                    "" => choice,
                    nest => {
                        let inner = Fields::inner(choice.needed(nest)?, &format!("tool_choice.{nest}"))?;
                        choice.done()?;
                        inner
                    }
                };
                let place = named.name("name");
                let name = named.text("name")?.ok_or_else(|| ApiError::missing(&place))?;
                named.done()?;
                Choice::Named(name)
            }
        };
        Tools { list, choice, parallel }.sound()
    }

    /// `tools` and `tool_choice` of `/v1/messages`.
    pub(crate) fn messages(fields: &mut Fields) -> Result<Option<Tools>> {
        let list = entries(fields, |mut entry| {
            match entry.text("type")?.as_deref() {
                None | Some("custom") => {}
                Some(_) => {
                    let place = entry.name("type");
                    return Err(ApiError::unsupported(
                        &place,
                        format!("\"{place}\": only custom tools are supported"),
                    ));
                }
            }
            entry.harmless(&["cache_control"]);
            Tool::take(entry, "input_schema")
        })?;
        let (mut choice, mut parallel) = (Choice::Auto, true);
        if let Some(value) = fields.take("tool_choice") {
            let mut fields = Fields::inner(value, "tool_choice")?;
            choice = match fields.text("type")?.as_deref() {
                Some("auto") => Choice::Auto,
                Some("any") => Choice::Required,
                Some("none") => Choice::None,
                Some("tool") => {
                    Choice::Named(fields.text("name")?.ok_or_else(|| ApiError::missing("tool_choice.name"))?)
                }
                _ => {
                    let message = "\"tool_choice.type\" can be auto, any, tool or none";
                    return Err(ApiError::invalid("tool_choice.type", message));
                }
            };
            parallel = !fields.switch("disable_parallel_tool_use")?.unwrap_or(false);
            fields.done()?;
        }
        Tools { list, choice, parallel }.sound()
    }

    fn sound(self) -> Result<Option<Tools>> {
        for (i, tool) in self.list.iter().enumerate() {
            if self.list[..i].iter().any(|t| t.name == tool.name) {
                let message = format!("two tools are called `{}`", tool.name);
                return Err(ApiError::invalid("tools", message));
            }
        }
        match &self.choice {
            Choice::Named(name) if !self.list.iter().any(|t| t.name == *name) => {
                let message =
                    format!("\"tool_choice\" names `{}`, which is not among the tools", name.escape_debug());
                Err(ApiError::invalid("tool_choice", message))
            }
            Choice::Required if self.list.is_empty() => {
                let message = "\"tool_choice\" requires a call, but there are no tools";
                Err(ApiError::invalid("tool_choice", message))
            }
            _ if self.list.is_empty() => Ok(None),
            _ => Ok(Some(self)),
        }
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.list.iter().any(|t| t.name == name)
    }

    /// The rule where a call must come, or where the text beside possible calls has a schema of its own.
    pub(crate) fn rule(&self, style: ToolStyle, otherwise: Option<&str>) -> Option<Rule> {
        let allowed: Vec<&Tool> = match &self.choice {
            Choice::None => return otherwise.map(|s| Rule::Schema(s.to_string())),
            Choice::Named(name) => self.list.iter().filter(|t| t.name == *name).collect(),
            Choice::Auto if otherwise.is_none() => return None,
            Choice::Auto | Choice::Required => self.list.iter().collect(),
        };
        let several = allowed.len() > 1;
        let one = |(i, t): (usize, &&Tool)| {
            let arguments = style.arguments();
            let option = if several { format!("/anyOf/{i}") } else { String::new() };
            let mut parameters = t.parameters.clone();
            move_refs(&mut parameters, &format!("#{option}/properties/{arguments}"));
            json!({
                "type": "object", "additionalProperties": false, "required": ["name", arguments],
                "properties": { "name": { "const": t.name }, arguments: parameters },
            })
        };
        let mut options: Vec<Value> = allowed.iter().enumerate().map(one).collect();
        let mut call = match options.len() {
            1 => options.remove(0),
            _ => json!({ "anyOf": options }),
        };
        let blanks = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
        call["x-guidance"] = blanks.clone();
        let more = if self.parallel { CALLS - 1 } else { 0 };
        let mut lark = match style {
            ToolStyle::Tagged => {
                let more = if more > 0 { format!(" (\"\\n\" call){{0,{more}}}") } else { String::new() };
                let (open, close) = (ToolStyle::OPEN, ToolStyle::CLOSE);
                format!(
                    "calls: call{more}\ncall: \"{open}\\n\" object \"\\n{close}\"\nobject: %json {call}\n"
                )
            }
            ToolStyle::Bare => format!("calls: %json {call}\n"),
        };
        match otherwise.filter(|_| self.choice == Choice::Auto) {
            None => lark.insert_str(0, "start: calls\n"),
            Some(schema) => {
                let mut schema: Value = serde_json::from_str(schema).unwrap_or_default();
                schema["x-guidance"] = blanks;
                lark.insert_str(0, "start: calls | words\n");
                lark.push_str(&format!("words: %json {schema}\n"));
            }
        }
        Some(Rule::Lark(lark))
    }
}

/// Rewrites the references of a schema to parts of itself for a document in which it stands at the JSON pointer `place`.
fn move_refs(schema: &mut Value, place: &str) {
    let map = match schema {
        Value::Array(list) => return list.iter_mut().for_each(|s| move_refs(s, place)),
        Value::Object(map) => map,
        _ => return,
    };
    for (keyword, value) in map {
        match (keyword.as_str(), value) {
            ("$ref", Value::String(to)) => match to.strip_prefix('#') {
                Some("" | "/") => *to = place.to_string(),
                Some(pointer) if pointer.starts_with('/') => *to = format!("{place}{pointer}"),
                _ => {}
            },
            // names that somebody chose, with a schema behind each
            (
                "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions",
                Value::Object(named),
            ) => named.values_mut().for_each(|s| move_refs(s, place)),
            // values that may look like schemas
            ("const" | "enum" | "default" | "examples" | "example", _) => {}
            (_, value) => move_refs(value, place),
        }
    }
}

fn entries(fields: &mut Fields, one: impl Fn(Fields) -> Result<Tool>) -> Result<Vec<Tool>> {
    let list = fields.list("tools", TOOLS)?.unwrap_or_default().into_iter().enumerate();
    list.map(|(i, value)| one(Fields::inner(value, &format!("tools[{i}]"))?)).collect()
}

fn function_only(entry: &mut Fields) -> Result<()> {
    match entry.text("type")?.as_deref() {
        Some("function") => Ok(()),
        _ => {
            let place = entry.name("type");
            let message = format!(
                "\"{place}\" must be \"function\": other kinds of tools are not supported by this server"
            );
            Err(ApiError::unsupported(place, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_infer::Constraint as _;

    fn chat(text: &str) -> Result<Option<Tools>> {
        Tools::chat(&mut Fields::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let f = r#"{"type": "function", "function": {"name": "f"}}"#;
        let ok = chat(&format!(r#"{{"tools": [{f}]}}"#)).unwrap().unwrap();
        assert_eq!((ok.choice, ok.parallel, ok.list.len()), (Choice::Auto, true, 1));
        for (wrong, param) in [
            (format!(r#"{{"tools": [{f}, {f}]}}"#), "tools"),
            (format!(r#"{{"tools": [{f}], "tool_choice": "always"}}"#), "tool_choice"),
            (
                format!(
                    r#"{{"tools": [{f}], "tool_choice": {{"type": "function", "function": {{"name": "g"}}}}}}"#
                ),
                "tool_choice",
            ),
            (r#"{"tool_choice": "required"}"#.into(), "tool_choice"),
            (r#"{"tools": [{"type": "web_search"}]}"#.into(), "tools[0].type"),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "a b"}}]}"#.into(),
                "tools[0].function.name",
            ),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}"#.into(),
                "tools[0].function.parameters",
            ),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "f", "x": 3}}]}"#.into(),
                "tools[0].function.x",
            ),
        ] {
            assert_eq!(chat(&wrong).unwrap_err().param.as_deref(), Some(param), "{wrong}");
        }
        assert!(chat(r#"{"tools": []}"#).unwrap().is_none());
    }

    #[test]
    fn rules_only_where_something_must_come() {
        let f = r#"{"type": "function", "function": {"name": "f"}}"#;
        let of = |more: &str| chat(&format!(r#"{{"tools": [{f}]{more}}}"#)).unwrap().unwrap();
        assert!(of("").rule(ToolStyle::Tagged, None).is_none());
        assert!(of(r#", "tool_choice": "none""#).rule(ToolStyle::Tagged, None).is_none());
        let lark = |tools: Tools, style, otherwise| match tools.rule(style, otherwise) {
            Some(Rule::Lark(lark)) => lark,
            other => panic!("{other:?}"),
        };
        let forced = lark(of(r#", "tool_choice": "required""#), ToolStyle::Tagged, None);
        assert!(forced.contains("start: calls\n") && forced.contains("{0,15}"), "{forced}");
        let single = of(r#", "tool_choice": "required", "parallel_tool_calls": false"#);
        assert!(!lark(single, ToolStyle::Tagged, None).contains("{0,"));
        let either = lark(of(""), ToolStyle::Bare, Some(r#"{"type": "object"}"#));
        assert!(either.contains("start: calls | words"), "{either}");
    }

    /// Whether an answer that is bound to these tools may be `text`.
    fn takes(tools: &Tools, text: &str) -> bool {
        let Some(Rule::Lark(lark)) = tools.rule(ToolStyle::Bare, None) else { panic!("no rule") };
        let tokens = (0..=255u8).map(|b| Some(vec![b])).chain([None]).collect();
        let grammars =
            nurture_infer::Grammars::new(tokens, &[256], |t| t.bytes().map(u32::from).collect()).unwrap();
        let mut rule = grammars.rule(nurture_infer::Rule::Lark(&lark)).unwrap();
        text.bytes().all(|b| rule.accept(b.into()).is_ok()) && rule.mask().is_ok_and(|m| m.allows(256))
    }

    #[test]
    fn schemas_may_refer_to_parts_of_themselves() {
        // as Pydantic writes nested models; a property may have any name
        let order = r##"{"type": "function", "function": {"name": "order", "parameters": {
            "$defs": {
                "Item": {"type": "object", "additionalProperties": false, "required": ["name", "$ref"],
                         "properties": {"name": {"type": "string"}, "$ref": {"$ref": "#/$defs/Colour"}}},
                "Colour": {"enum": ["red", "blue"]}},
            "type": "object", "additionalProperties": false, "required": ["items"],
            "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/Item"}}}}}}"##;
        let tree = r##"{"type": "function", "function": {"name": "tree", "parameters": {
            "type": "object", "additionalProperties": false, "required": ["value"],
            "properties": {"value": {"const": 7}, "next": {"$ref": "#"}}}}}"##;
        let items = r#"{"name": "order", "parameters": {"items": [{"name": "lamp", "$ref": "red"}]}}"#;
        let nested =
            r#"{"name": "tree", "parameters": {"value": 7, "next": {"value": 7, "next": {"value": 7}}}}"#;
        for (list, good) in [
            (order.to_string(), vec![items]),
            (tree.to_string(), vec![nested]),
            (format!("{order}, {tree}"), vec![items, nested]),
        ] {
            let tools =
                chat(&format!(r#"{{"tools": [{list}], "tool_choice": "required"}}"#)).unwrap().unwrap();
            for text in good {
                assert!(takes(&tools, text), "{list}: {text}");
                assert!(
                    !takes(&tools, &text.replace("red", "green").replace("{\"value\": 7}", "{}")),
                    "{text}"
                );
            }
        }
        let mut literal = json!({ "const": { "$ref": "#/x" }, "properties": { "const": { "$ref": "#/y" } } });
        move_refs(&mut literal, "#/at");
        assert_eq!(
            literal,
            json!({ "const": { "$ref": "#/x" }, "properties": { "const": { "$ref": "#/at/y" } } })
        );
    }
}
