//! JSON that follows a schema: the part of JSON Schema 2020-12 that describes data of a known form.
//!
//! Known: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `patternProperties`, `minProperties`,
//! `maxProperties`, `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, `minimum`, `maximum`, `exclusiveMinimum`,
//! `exclusiveMaximum`, `multipleOf`, `minLength`, `maxLength`, `pattern`, `allOf`, `anyOf`, `oneOf`, `not`, and `$ref` into the
//! schema itself. Titles, descriptions, defaults, examples and `format` say nothing about right and wrong here. Any other
//! keyword is refused when the schema is read: a rule that is passed over in silence would reward what breaks it.

use crate::answer::Score;
use crate::error::RewardError;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::HashMap;

const KNOWN: &[&str] = &[
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "$ref",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Deepest nesting of schemas in one check; deeper is called wrong.
const DEEPEST: usize = 96;
/// Most steps of one check, for schemas whose alternatives multiply.
const STEPS: usize = 200_000;

/// A schema, read and found usable.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is no JSON, uses a keyword that is not known here, or one in a form that cannot be.
    pub fn parse(text: &str) -> Result<Schema, RewardError> {
        let root = serde_json::from_str(text)
            .map_err(|e| RewardError::Schema { place: "#".into(), problem: e.to_string() })?;
        let mut schema = Schema { root: Value::Null, patterns: HashMap::new() };
        schema.look(&root, "#", &root)?;
        schema.root = root;
        Ok(schema)
    }

    /// Walks through a schema once, so that a fault shows before any answer.
    fn look(&mut self, at: &Value, place: &str, root: &Value) -> Result<(), RewardError> {
        let bad = |key: &str, problem: &str| {
            let place = if key.is_empty() { place.to_string() } else { format!("{place}/{key}") };
            Err(RewardError::Schema { place, problem: problem.to_string() })
        };
        let object = match at {
            Value::Bool(_) => return Ok(()),
            Value::Object(object) => object,
            _ => return bad("", "an object, true or false is expected"),
        };
        for (key, value) in object {
            let inner = |name: &str| format!("{place}/{key}/{name}");
            match key.as_str() {
                k if !KNOWN.contains(&k) => return bad(key, "this keyword is not known here"),
                "properties" | "patternProperties" | "$defs" | "definitions" => {
                    let Value::Object(all) = value else { return bad(key, "an object is expected") };
                    for (name, schema) in all {
                        if key == "patternProperties" {
                            self.compile(name, &inner(name))?;
                        }
                        self.look(schema, &inner(name), root)?;
                    }
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    let Some(all) = value.as_array().filter(|a| !a.is_empty()) else {
                        return bad(key, "a list with something in it is expected");
                    };
                    for (i, schema) in all.iter().enumerate() {
                        self.look(schema, &inner(&i.to_string()), root)?;
                    }
                }
                "items" | "additionalProperties" | "not" => {
                    self.look(value, &format!("{place}/{key}"), root)?
                }
                "type" => {
                    let one = |v: &Value| v.as_str().is_some_and(|t| TYPES.contains(&t));
                    if !(one(value) || value.as_array().is_some_and(|all| all.iter().all(one))) {
                        return bad(
                            key,
                            "string, number, integer, boolean, object, array or null is expected",
                        );
                    }
                }
                "enum" if !value.is_array() => return bad(key, "a list is expected"),
                "required" if !value.as_array().is_some_and(|all| all.iter().all(Value::is_string)) => {
                    return bad(key, "a list of names is expected");
                }
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
                    if !value.is_u64() =>
                {
                    return bad(key, "a whole number is expected");
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if !value.is_number() => {
                    return bad(key, "a number is expected");
                }
                "multipleOf" if !value.as_f64().is_some_and(|n| n > 0.0) => {
                    return bad(key, "a number above 0 is expected");
                }
                "uniqueItems" if !value.is_boolean() => return bad(key, "true or false is expected"),
                "pattern" => match value.as_str() {
                    Some(text) => self.compile(text, &format!("{place}/{key}"))?,
                    None => return bad(key, "a text is expected"),
                },
                "$ref" if value.as_str().and_then(|to| target(root, to)).is_none() => {
                    return bad(key, "it must point into this schema, as #/$defs/NAME does");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn compile(&mut self, pattern: &str, place: &str) -> Result<(), RewardError> {
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
            .map_err(|e| RewardError::Schema { place: place.to_string(), problem: e.to_string() })?;
        self.patterns.insert(pattern.to_string(), regex);
        Ok(())
    }

    /// Whether a value follows the schema.
    pub fn accepts(&self, value: &Value) -> bool {
        let mut steps = 0;
        self.fits(value, &self.root, 0, &mut steps)
    }

    /// Strict: the answer is such JSON and nothing else. Lenient: it has such JSON in it.
    pub fn score(&self, text: &str) -> Score {
        let whole: Option<Value> = serde_json::from_str(text.trim()).ok();
        let strict = whole.as_ref().is_some_and(|v| self.accepts(v));
        Score::of(strict, strict || find_json(text).is_some_and(|v| self.accepts(&v)))
    }

    fn fits(&self, v: &Value, schema: &Value, depth: usize, steps: &mut usize) -> bool {
        *steps += 1;
        if depth > DEEPEST || *steps > STEPS {
            return false;
        }
        let s = match schema {
            Value::Bool(on) => return *on,
            Value::Object(s) => s,
            _ => return false,
        };
        let mut sub = |v: &Value, schema: &Value| self.fits(v, schema, depth + 1, steps);
        let list = |key: &str| s.get(key).and_then(Value::as_array);
        if let Some(to) = s.get("$ref").and_then(Value::as_str)
            && !target(&self.root, to).is_some_and(|t| sub(v, t))
        {
            return false;
        }
        let of_type = match s.get("type") {
            None => true,
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(|t| is_type(v, t)),
            Some(t) => t.as_str().is_some_and(|t| is_type(v, t)),
        };
        of_type
            && list("enum").is_none_or(|all| all.iter().any(|e| same(e, v)))
            && s.get("const").is_none_or(|c| same(c, v))
            && list("allOf").is_none_or(|all| all.iter().all(|t| sub(v, t)))
            && list("anyOf").is_none_or(|all| all.iter().any(|t| sub(v, t)))
            && list("oneOf").is_none_or(|all| all.iter().filter(|t| sub(v, t)).count() == 1)
            && s.get("not").is_none_or(|t| !sub(v, t))
            && match v {
                Value::Number(_) => number(v.as_f64().unwrap_or(f64::NAN), s),
                Value::String(text) => self.text(text, s),
                Value::Array(items) => array(items, s, &mut sub),
                Value::Object(object) => self.object(object, s, &mut sub),
                _ => true,
            }
    }

    fn text(&self, text: &str, s: &Map<String, Value>) -> bool {
        let n = text.chars().count() as u64;
        let bound = |key: &str| s.get(key).and_then(Value::as_u64);
        bound("minLength").is_none_or(|m| n >= m)
            && bound("maxLength").is_none_or(|m| n <= m)
            && s.get("pattern")
                .and_then(Value::as_str)
                .is_none_or(|p| self.patterns.get(p).is_some_and(|r| r.is_match(text)))
    }

    fn object(
        &self,
        object: &Map<String, Value>,
        s: &Map<String, Value>,
        sub: &mut impl FnMut(&Value, &Value) -> bool,
    ) -> bool {
        let bound = |key: &str| s.get(key).and_then(Value::as_u64);
        let n = object.len() as u64;
        if bound("minProperties").is_some_and(|m| n < m) || bound("maxProperties").is_some_and(|m| n > m) {
            return false;
        }
        let required = s.get("required").and_then(Value::as_array);
        if required.is_some_and(|all| all.iter().filter_map(Value::as_str).any(|k| !object.contains_key(k))) {
            return false;
        }
        let (own, by_pattern) = (s.get("properties"), s.get("patternProperties").and_then(Value::as_object));
        object.iter().all(|(key, value)| {
            let mut known = false;
            if let Some(schema) = own.and_then(|p| p.get(key)) {
                known = true;
                if !sub(value, schema) {
                    return false;
                }
            }
            for (pattern, schema) in by_pattern.into_iter().flatten() {
                if self.patterns.get(pattern).is_some_and(|r| r.is_match(key)) {
                    known = true;
                    if !sub(value, schema) {
                        return false;
                    }
                }
            }
            known || s.get("additionalProperties").is_none_or(|rest| sub(value, rest))
        })
    }
}

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];

fn is_type(v: &Value, name: &str) -> bool {
    match name {
        "string" => v.is_string(),
        "number" => v.is_number(),
        "integer" => {
            v.is_i64() || v.is_u64() || v.as_f64().is_some_and(|n| n.is_finite() && n.fract() == 0.0)
        }
        "boolean" => v.is_boolean(),
        "object" => v.is_object(),
        "array" => v.is_array(),
        "null" => v.is_null(),
        _ => false,
    }
}

/// Equal as JSON Schema has it: 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, x)| y.get(k).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn number(n: f64, s: &Map<String, Value>) -> bool {
    let bound = |key: &str| s.get(key).and_then(Value::as_f64);
    bound("minimum").is_none_or(|m| n >= m)
        && bound("maximum").is_none_or(|m| n <= m)
        && bound("exclusiveMinimum").is_none_or(|m| n > m)
        && bound("exclusiveMaximum").is_none_or(|m| n < m)
        && bound("multipleOf").is_none_or(|m| ((n / m) - (n / m).round()).abs() < 1e-9)
}

fn array(items: &[Value], s: &Map<String, Value>, sub: &mut impl FnMut(&Value, &Value) -> bool) -> bool {
    let bound = |key: &str| s.get(key).and_then(Value::as_u64);
    let n = items.len() as u64;
    let first = s.get("prefixItems").and_then(Value::as_array).map_or(&[][..], |all| &all[..]);
    bound("minItems").is_none_or(|m| n >= m)
        && bound("maxItems").is_none_or(|m| n <= m)
        && items.iter().zip(first).all(|(v, schema)| sub(v, schema))
        && s.get("items").is_none_or(|schema| items.iter().skip(first.len()).all(|v| sub(v, schema)))
        && (s.get("uniqueItems") != Some(&Value::Bool(true))
            // beyond a thousand the pairs are too many: called wrong
            || (items.len() <= 1000
                && items.iter().enumerate().all(|(i, a)| items[..i].iter().all(|b| !same(a, b)))))
}

/// What a reference of the form `#/a/b` points to.
fn target<'v>(root: &'v Value, reference: &str) -> Option<&'v Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// The first JSON object or list in a text: the whole of it, in a fenced block, or between other words.
pub fn find_json(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    // a hostile text of braces would be read again and again
    const TRIES: usize = 64;
    text.match_indices(['{', '[']).take(TRIES).find_map(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse(text).unwrap()
    }

    #[test]
    fn each_keyword_lets_through_and_holds_back() {
        for (s, yes, no) in [
            (r#"{"type":"integer"}"#, "3.0", "3.5"),
            (r#"{"type":["string","null"]}"#, "null", "1"),
            (r#"{"enum":[1,"a"]}"#, "1.0", "\"b\""),
            (r#"{"const":{"a":1}}"#, r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"properties":{"a":{"type":"string"}}}"#, r#"{"b":1}"#, r#"{"a":1}"#),
            (r#"{"required":["a"]}"#, r#"{"a":null}"#, "{}"),
            (r#"{"properties":{"a":true},"additionalProperties":false}"#, r#"{"a":1}"#, r#"{"b":1}"#),
            (
                r#"{"patternProperties":{"^x":{"type":"number"}},"additionalProperties":false}"#,
                r#"{"x1":1}"#,
                r#"{"x1":""}"#,
            ),
            (r#"{"minProperties":1,"maxProperties":1}"#, r#"{"a":1}"#, "{}"),
            (r#"{"items":{"type":"number"}}"#, "[1,2]", r#"[1,"2"]"#),
            (r#"{"prefixItems":[{"type":"string"}],"items":false}"#, r#"["a"]"#, r#"["a",1]"#),
            (r#"{"minItems":1,"maxItems":2}"#, "[1]", "[]"),
            (r#"{"uniqueItems":true}"#, "[1,2]", "[1,1.0]"),
            (r#"{"minimum":0,"exclusiveMaximum":10}"#, "0", "10"),
            (r#"{"maximum":0,"exclusiveMinimum":-1}"#, "0", "-1"),
            (r#"{"multipleOf":0.1}"#, "0.3", "0.35"),
            (r#"{"minLength":2,"maxLength":3}"#, "\"好的\"", "\"a\""),
            (r#"{"pattern":"^[A-Z]"}"#, "\"Ab\"", "\"ab\""),
            (r#"{"allOf":[{"minimum":1},{"maximum":2}]}"#, "1", "3"),
            (r#"{"anyOf":[{"const":1},{"const":2}]}"#, "2", "3"),
            (r#"{"oneOf":[{"minimum":1},{"minimum":2}]}"#, "1", "2"),
            (r#"{"not":{"type":"string"}}"#, "1", "\"\""),
            (r##"{"$ref":"#/$defs/n","$defs":{"n":{"type":"number"}}}"##, "1", "\"\""),
        ] {
            let (schema, read) = (schema(s), |t: &str| serde_json::from_str(t).unwrap());
            assert!(schema.accepts(&read(yes)), "{s} {yes}");
            assert!(!schema.accepts(&read(no)), "{s} {no}");
        }
    }

    #[test]
    fn faults_of_a_schema_are_named_with_their_place() {
        for (s, place) in [
            (r#"{"properties":{"a":{"typ":"string"}}}"#, "#/properties/a/typ"),
            (r#"{"type":"text"}"#, "#/type"),
            (r#"{"items":[1]}"#, "#/items"),
            (r#"{"pattern":"("}"#, "#/pattern"),
            (r##"{"$ref":"#/$defs/none"}"##, "#/$ref"),
            (r#"{"anyOf":[]}"#, "#/anyOf"),
            ("{", "#"),
        ] {
            match Schema::parse(s) {
                Err(RewardError::Schema { place: found, .. }) => assert_eq!(found, place, "{s}"),
                other => panic!("{s}: {other:?}"),
            }
        }
    }

    #[test]
    fn endless_schemas_end() {
        let s = schema(r##"{"$ref":"#"}"##);
        assert!(!s.accepts(&Value::Null));
        let s = schema(r##"{"anyOf":[{"$ref":"#"},{"$ref":"#"}],"type":"string"}"##);
        assert!(!s.accepts(&Value::String(String::new())));
    }

    #[test]
    fn found_in_other_words() {
        let s = schema(r#"{"type":"object","required":["a"]}"#);
        assert_eq!(s.score(r#" {"a":1} "#), Score::of(true, true));
        assert_eq!(s.score("Here you are:\n```json\n{\"a\": 1}\n```"), Score::of(false, true));
        assert_eq!(s.score("{not json} but {\"a\":[1]} then"), Score::of(false, true));
        assert_eq!(s.score("{\"a\":"), Score::default());
        assert_eq!(s.score(&"[{".repeat(50_000)), Score::default());
    }
}
