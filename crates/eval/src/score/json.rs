//! JSON answers: finding them, comparing them, holding them against a schema.
//!
//! The answer must be JSON as a whole, or hold exactly one fenced block (```` ```json ````) whose content is; text around bare
//! JSON is no JSON. Objects are equal whatever the order of their keys, numbers by value.
//!
//! Of JSON Schema (2020-12, and what draft 7 has in common with it) the keywords of [`KNOWN`] are checked; `format` and
//! descriptions say nothing, as the standard allows. Any other keyword is refused before the exam rather than passed
//! over, and so are references outside the schema.

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// Keywords that assert something, or lead to what does.
const KNOWN: [&str; 31] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "contains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "if",
    "dependentRequired",
];
/// Keywords that say nothing about an answer. `then` and `else` are read with `if`.
const SILENT: [&str; 15] = [
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "then",
    "else",
];
/// Single checks of one answer at most; nested alternatives multiply.
const MOST_CHECKS: usize = 200_000;
/// Schemas within schemas, references counted.
const DEEPEST: usize = 200;

/// The JSON that an answer is.
pub fn find(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut fences = text.split("```");
    let (_, inside, _, None) = (fences.next()?, fences.next()?, fences.next()?, fences.next()) else {
        return None;
    };
    let body = inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    serde_json::from_str(body.trim()).ok()
}

/// Whether two values are the same: numbers by value, objects whatever the order of their keys.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
                return a == b;
            }
            if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
                return a == b;
            }
            a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Checks that a schema says nothing that would be passed over.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    look(schema, schema, "", 0)
}

fn look(root: &Value, schema: &Value, at: &str, depth: usize) -> Result<(), String> {
    let place = if at.is_empty() { "the schema" } else { at };
    if depth > DEEPEST {
        return Err(format!("{place} is nested deeper than {DEEPEST}"));
    }
    let map = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(map) => map,
        other => return Err(format!("{place} is {}, where an object, true or false is needed", kind(other))),
    };
    for (key, value) in map {
        let here = format!("{at}/{key}");
        let each = |list: &Value| -> Result<(), String> {
            let list = list.as_array().ok_or(format!("{here} is {}, not a list of schemas", kind(value)))?;
            list.iter().enumerate().try_for_each(|(i, s)| look(root, s, &format!("{here}/{i}"), depth + 1))
        };
        match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" => {
                let all = value.as_object().ok_or(format!("{here} is {}, not an object", kind(value)))?;
                for (name, s) in all {
                    if key == "patternProperties" {
                        pattern(name).map_err(|e| format!("{here}: {e}"))?;
                    }
                    look(root, s, &format!("{here}/{name}"), depth + 1)?;
                }
            }
            "items" if value.is_array() => {
                return Err(format!("{here} is a list of schemas; since 2020-12 that is called prefixItems"));
            }
            "items"
            | "additionalProperties"
            | "propertyNames"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else" => {
                look(root, value, &here, depth + 1)?;
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => each(value)?,
            "$ref" => {
                let to = value.as_str().ok_or(format!("{here} is {}, not a text", kind(value)))?;
                resolve(root, to).ok_or(format!("{here}: {to} leads nowhere within the schema"))?;
            }
            "pattern" => {
                let text = value.as_str().ok_or(format!("{here} is {}, not a text", kind(value)))?;
                pattern(text).map_err(|e| format!("{here}: {e}"))?;
            }
            "type" => {
                let names: Vec<&Value> = value.as_array().map_or(vec![value], |l| l.iter().collect());
                let known = ["null", "boolean", "object", "array", "number", "string", "integer"];
                if !names.iter().all(|n| n.as_str().is_some_and(|n| known.contains(&n))) {
                    return Err(format!("{here}: {value} is none of {}", known.join(", ")));
                }
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                if !value.as_f64().is_some_and(|n| n >= 0.0) {
                    return Err(format!("{here} is {value}, not a count"));
                }
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                if !value.is_number() || (key == "multipleOf" && value.as_f64().is_none_or(|n| n <= 0.0)) {
                    return Err(format!("{here} is {value}, not a number that makes sense here"));
                }
            }
            "enum" | "required" if !value.is_array() => {
                return Err(format!("{here} is {}, not a list", kind(value)));
            }
            known if KNOWN.contains(&known) || SILENT.contains(&known) => {}
            other => return Err(format!("{place} has the keyword \"{other}\", which is not checked here")),
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| {
        format!("the pattern {text} cannot be used: {}", e.to_string().lines().last().unwrap_or(""))
    })
}

/// What a reference within a schema points at.
fn resolve<'s>(root: &'s Value, to: &str) -> Option<&'s Value> {
    match to.strip_prefix('#')? {
        "" => Some(root),
        pointer => root.pointer(pointer),
    }
}

/// Whether a value is what a schema asks for. Call [`check_schema`] first; what is unknown here is passed over.
///
/// # Errors
/// A schema whose alternatives take too many checks for this value.
pub fn valid(schema: &Value, value: &Value) -> Result<bool, String> {
    let mut checker = Checker { root: schema, left: MOST_CHECKS };
    checker.fits(schema, value, 0)
}

struct Checker<'s> {
    root: &'s Value,
    left: usize,
}

impl Checker<'_> {
    fn fits(&mut self, schema: &Value, value: &Value, depth: usize) -> Result<bool, String> {
        self.left = self.left.checked_sub(1).filter(|_| depth <= DEEPEST).ok_or_else(|| {
            format!("the schema takes more than {MOST_CHECKS} checks or {DEEPEST} levels for one answer")
        })?;
        let map = match schema {
            Value::Bool(all) => return Ok(*all),
            Value::Object(map) => map,
            _ => return Ok(true),
        };
        if let Some(to) = map.get("$ref").and_then(Value::as_str) {
            let Some(target) = resolve(self.root, to).cloned() else { return Ok(false) };
            if !self.fits(&target, value, depth + 1)? {
                return Ok(false);
            }
        }
        let own = plain(map, value)?
            && match value {
                Value::Object(object) => self.object(map, object, depth)?,
                Value::Array(items) => self.array(map, items, depth)?,
                _ => true,
            };
        Ok(own && self.alternatives(map, value, depth)?)
    }

    fn alternatives(
        &mut self,
        map: &Map<String, Value>,
        value: &Value,
        depth: usize,
    ) -> Result<bool, String> {
        let list = |key: &str| map.get(key).and_then(Value::as_array).map(Vec::as_slice);
        for s in list("allOf").unwrap_or_default() {
            if !self.fits(s, value, depth + 1)? {
                return Ok(false);
            }
        }
        for (key, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let Some(all) = list(key) else { continue };
            let mut fitting = 0;
            for s in all {
                fitting += usize::from(self.fits(s, value, depth + 1)?);
                if fitting > most || (most > 1 && fitting > 0) {
                    break;
                }
            }
            if fitting == 0 || fitting > most {
                return Ok(false);
            }
        }
        if let Some(s) = map.get("not")
            && self.fits(s, value, depth + 1)?
        {
            return Ok(false);
        }
        if let Some(s) = map.get("if") {
            let branch = if self.fits(s, value, depth + 1)? { "then" } else { "else" };
            if let Some(s) = map.get(branch) {
                return self.fits(s, value, depth + 1);
            }
        }
        Ok(true)
    }

    fn object(
        &mut self,
        map: &Map<String, Value>,
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<bool, String> {
        let strings = |v: &Value| -> Vec<String> {
            v.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(String::from)).collect()
        };
        if map.get("required").map(strings).unwrap_or_default().iter().any(|key| !object.contains_key(key)) {
            return Ok(false);
        }
        if let Some(Value::Object(needs)) = map.get("dependentRequired") {
            for (key, others) in needs {
                if object.contains_key(key) && strings(others).iter().any(|other| !object.contains_key(other))
                {
                    return Ok(false);
                }
            }
        }
        let properties = map.get("properties").and_then(Value::as_object);
        let mut patterns = Vec::new();
        for (text, s) in map.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
            patterns.push((pattern(text)?, s));
        }
        for (key, v) in object {
            let mut known = false;
            if let Some(s) = map.get("propertyNames")
                && !self.fits(s, &Value::String(key.clone()), depth + 1)?
            {
                return Ok(false);
            }
            if let Some(s) = properties.and_then(|p| p.get(key)) {
                known = true;
                if !self.fits(s, v, depth + 1)? {
                    return Ok(false);
                }
            }
            for (pattern, s) in &patterns {
                if pattern.is_match(key) {
                    known = true;
                    if !self.fits(s, v, depth + 1)? {
                        return Ok(false);
                    }
                }
            }
            if let (false, Some(s)) = (known, map.get("additionalProperties"))
                && !self.fits(s, v, depth + 1)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn array(&mut self, map: &Map<String, Value>, items: &[Value], depth: usize) -> Result<bool, String> {
        let first = map.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (s, v) in first.iter().zip(items) {
            if !self.fits(s, v, depth + 1)? {
                return Ok(false);
            }
        }
        if let Some(s) = map.get("items") {
            for v in items.iter().skip(first.len()) {
                if !self.fits(s, v, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        if let Some(s) = map.get("contains") {
            let mut found = false;
            for v in items {
                found = found || self.fits(s, v, depth + 1)?;
            }
            if !found {
                return Ok(false);
            }
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) {
            // equal values have equal canonical texts, so this stays linear
            let mut seen = HashSet::new();
            return Ok(items.iter().all(|v| seen.insert(canonical(v))));
        }
        Ok(true)
    }
}

/// The keywords that look at one value alone.
fn plain(map: &Map<String, Value>, value: &Value) -> Result<bool, String> {
    for (key, want) in map {
        let number = |test: &dyn Fn(f64, f64) -> bool| match (value.as_f64(), want.as_f64()) {
            (Some(v), Some(w)) => test(v, w),
            _ => true,
        };
        let counted = match value {
            Value::String(s) if key.ends_with("Length") => Some(s.chars().count()),
            Value::Array(a) if key.ends_with("Items") => Some(a.len()),
            Value::Object(o) if key.ends_with("Properties") => Some(o.len()),
            _ => None,
        };
        let fits = match key.as_str() {
            "type" => {
                want.as_array().map_or_else(|| is_type(want, value), |l| l.iter().any(|t| is_type(t, value)))
            }
            "enum" => want.as_array().is_none_or(|l| l.iter().any(|w| equal(w, value))),
            "const" => equal(want, value),
            "minimum" => number(&|v, w| v >= w),
            "maximum" => number(&|v, w| v <= w),
            "exclusiveMinimum" => number(&|v, w| v > w),
            "exclusiveMaximum" => number(&|v, w| v < w),
            "multipleOf" => match (value.as_i64(), want.as_i64()) {
                (Some(v), Some(w)) if w != 0 => v % w == 0,
                _ => number(&|v, w| (v / w).fract() == 0.0),
            },
            "minLength" | "minItems" | "minProperties" => match (counted, want.as_f64()) {
                (Some(n), Some(w)) => n as f64 >= w,
                _ => true,
            },
            "maxLength" | "maxItems" | "maxProperties" => match (counted, want.as_f64()) {
                (Some(n), Some(w)) => n as f64 <= w,
                _ => true,
            },
            "pattern" => match (value, want) {
                (Value::String(s), Value::String(p)) => pattern(p)?.is_match(s),
                _ => true,
            },
            _ => true,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 2.0 is a whole number too
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => true,
    }
}

/// The same text for equal values.
fn canonical(value: &Value) -> String {
    match value {
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), ..) => n.to_string(),
            (None, Some(n), _) => n.to_string(),
            // a whole number that was written with a point; f64 holds it exactly
            (.., Some(f)) if f.fract() == 0.0 && f.abs() < 1e15 => format!("{f:.0}"),
            _ => n.to_string(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let mut all: Vec<String> =
                map.iter().map(|(k, v)| format!("{}:{}", Value::String(k.clone()), canonical(v))).collect();
            all.sort();
            format!("{{{}}}", all.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_found_bare_or_in_one_fence() {
        for (text, want) in [
            (" {\"a\": 1} ", Some(json!({"a": 1}))),
            ("Here:\n```json\n[1, 2]\n```\nDone.", Some(json!([1, 2]))),
            ("```\n3\n```", Some(json!(3))),
            ("The answer is {\"a\": 1}", None),
            ("```json\n1\n```\n```json\n2\n```", None),
            ("{\"a\": }", None),
            ("", None),
        ] {
            assert_eq!(find(text), want, "{text}");
        }
        assert_eq!(find(&"[".repeat(100_000)), None);
    }

    #[test]
    fn what_is_not_checked_is_refused() {
        for (schema, says) in [
            (json!({"unevaluatedProperties": false}), "unevaluatedProperties"),
            (json!({"properties": {"a": {"typo": 1}}}), "/properties/a has the keyword \"typo\""),
            (json!({"$ref": "https://example.com/x"}), "leads nowhere"),
            (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
            (json!({"pattern": "(?=x)"}), "cannot be used"),
            (json!({"type": "text"}), "is none of"),
            (json!({"items": [{}]}), "prefixItems"),
            (json!(3), "the schema is a number"),
        ] {
            let error = check_schema(&schema).unwrap_err();
            assert!(error.contains(says), "{schema}: {error}");
        }
    }

    #[test]
    fn loops_and_explosions_end() {
        let schema =
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
        check_schema(&schema).unwrap();
        assert!(valid(&schema, &json!(1)).is_err());
        let twice = json!({"$defs": {"n": {"allOf": [{"items": {"$ref": "#/$defs/n"}}, {"items": {"$ref": "#/$defs/n"}}]}},
                           "$ref": "#/$defs/n"});
        let mut deep = json!(1);
        for _ in 0..60 {
            deep = json!([deep]);
        }
        assert!(valid(&twice, &deep).is_err());
    }

    #[test]
    fn unique_items_are_compared_by_value() {
        let schema = json!({"uniqueItems": true});
        let fits = |v: Value| valid(&schema, &v).unwrap();
        assert!(fits(json!([1, "1", true, [1], {"a": 1}])));
        assert!(!fits(json!([1, 1.0])) && !fits(json!([{"a": 1, "b": 2}, {"b": 2, "a": 1}])));
    }
}
