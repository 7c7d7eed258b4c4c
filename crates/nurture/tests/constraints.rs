//! Constraints on the real model: whatever the schema and the sampling, the answer parses and follows the schema.

use nurture::engine::{Completion, LoadOptions, Model, complete};
use nurture::infer::{
    Constraint, Finish, Generator, Grammars, InferError, RULE_BYTES, Rule, Sampler, Sampling,
};
use nurture::kernels::Rng;
use nurture::model::Mode;
use nurture::text::Message;
use serde_json::{Value, json};

fn model() -> Option<Model> {
    let path = nurture_testing::model(nurture_testing::SMOLLM2)?;
    Some(Model::load(&path, &LoadOptions { threads: 2, ..LoadOptions::default() }).unwrap())
}

/// Whether a value follows a schema: the part of the standard that the schemas below use.
fn valid(schema: &Value, v: &Value, root: &Value) -> bool {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return root.pointer(name.trim_start_matches('#')).is_some_and(|s| valid(s, v, root));
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let within = |n: f64, least: &str, most: &str| {
        number(least).is_none_or(|x| n >= x) && number(most).is_none_or(|x| n <= x)
    };
    let of_type = |name: &str| match name {
        "object" => v.is_object(),
        "array" => v.is_array(),
        "string" => v.is_string(),
        "integer" => v.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => v.is_number(),
        "boolean" => v.is_boolean(),
        _ => v.is_null(),
    };
    let typed = match schema.get("type") {
        Some(Value::String(name)) => of_type(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(of_type),
        _ => true,
    };
    let listed = schema.get("enum").and_then(Value::as_array).is_none_or(|e| e.contains(v));
    let same = schema.get("const").is_none_or(|c| c == v);
    let any = schema.get("anyOf").and_then(Value::as_array);
    let any = any.is_none_or(|some| some.iter().any(|s| valid(s, v, root)));
    let inside = match v {
        Value::Object(o) => {
            let empty = serde_json::Map::new();
            let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
            let needed = schema.get("required").and_then(Value::as_array);
            let closed = schema.get("additionalProperties") == Some(&json!(false));
            o.iter().all(|(k, v)| known.get(k).map_or(!closed, |s| valid(s, v, root)))
                && needed.is_none_or(|n| n.iter().filter_map(Value::as_str).all(|k| o.contains_key(k)))
        }
        Value::Array(a) => {
            within(a.len() as f64, "minItems", "maxItems")
                && a.iter().all(|v| schema.get("items").is_none_or(|s| valid(s, v, root)))
        }
        Value::String(s) => within(s.chars().count() as f64, "minLength", "maxLength"),
        Value::Number(n) => within(n.as_f64().unwrap(), "minimum", "maximum"),
        _ => true,
    };
    typed && listed && same && any && inside
}

/// A random schema that something follows.
fn schema(rng: &mut Rng, depth: usize) -> Value {
    const WORDS: [&str; 8] = ["name", "颜色", "price in €", "a\"b\\c", "tags", "id", "is_open", "x"];
    match rng.below(if depth == 0 { 7 } else { 10 }) {
        0 => json!({ "type": "boolean" }),
        1 => json!({ "type": "integer", "minimum": -(rng.below(50) as i64), "maximum": rng.below(5000) }),
        // bounded: JSON allows exponents that no float has
        2 => json!({ "type": "number", "minimum": -1000, "maximum": 1000 }),
        3 => {
            let least = rng.below(6);
            json!({ "type": "string", "minLength": least, "maxLength": least + 1 + rng.below(30) })
        }
        4 => json!({ "enum": (0..1 + rng.below(5)).map(|i| json!(WORDS[i])).collect::<Vec<_>>() }),
        5 => json!({ "type": ["string", "null"] }),
        6 => json!({ "const": { "kind": WORDS[rng.below(8)], "n": rng.below(9) } }),
        7 => {
            json!({ "type": "array", "items": schema(rng, depth - 1), "minItems": rng.below(3), "maxItems": 4 })
        }
        8 => json!({ "anyOf": [schema(rng, depth - 1), schema(rng, depth - 1)] }),
        _ => {
            let names: Vec<&str> = WORDS[rng.below(4)..][..1 + rng.below(4)].to_vec();
            let properties: serde_json::Map<String, Value> =
                names.iter().map(|n| (n.to_string(), schema(rng, depth - 1))).collect();
            let needed: Vec<&str> = names.iter().filter(|_| rng.below(3) > 0).copied().collect();
            json!({ "type": "object", "properties": properties, "required": needed, "additionalProperties": false })
        }
    }
}

fn fixed() -> Vec<Value> {
    vec![
        json!({ "type": "object" }),
        json!(true),
        json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "age": { "type": "integer", "minimum": 0, "maximum": 120 },
                "email": { "type": "string", "format": "email" },
                "born": { "type": "string", "format": "date" },
                "friends": { "type": "array", "items": { "$ref": "#/$defs/person" }, "maxItems": 2 },
            },
            "required": ["name", "age", "born"],
            "additionalProperties": false,
            "$defs": { "person": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
                "required": ["name"],
                "additionalProperties": false,
            } },
        }),
        json!({
            "type": "object",
            "properties": { "tree": { "$ref": "#/$defs/node" } },
            "required": ["tree"],
            "$defs": { "node": {
                "type": "object",
                "properties": {
                    "value": { "type": "string", "maxLength": 8 },
                    "children": { "type": "array", "items": { "$ref": "#/$defs/node" } },
                },
                "required": ["value", "children"],
                "additionalProperties": false,
            } },
        }),
    ]
}

fn prompt(model: &Model, text: &str) -> Vec<u32> {
    model.renderer().prompt(&[Message::new("user", text)]).unwrap().tokens
}

#[test]
fn answers_follow_their_schemas() {
    let Some(model) = model() else { return };
    let grammars = model.grammars().unwrap();
    let prompt = prompt(&model, "Tell me about a shop in Berlin, as JSON.");
    let mut generator = Generator::new(model.decoder(), None, model.cpu(), Mode::Fast, 512);
    let mut rng = Rng::new(7);
    let mut schemas = fixed();
    schemas.extend((0..44).map(|_| schema(&mut rng, 3)));
    let (mut cut, mut unfit) = (0, 0);
    for (n, schema) in schemas.iter().enumerate() {
        let text = schema.to_string();
        let mut rule = grammars.rule(Rule::JsonSchema(&text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        // free, and with so little room that the text must be brought to its end
        let most = if n % 2 == 0 { 160 } else { 80 };
        if rule.ending(most).is_none() {
            unfit += 1;
            continue;
        }
        let (temperature, seed) = ([0.0, 1.0, 1.8][n % 3], n as u64);
        let mut sampler = Sampler::new(Sampling { temperature, seed, ..Sampling::default() });
        let completion = Completion {
            prompt: &prompt,
            most,
            sampler: &mut sampler,
            stop: &[],
            constraint: Some(&mut rule),
            drafts: None,
        };
        let reply = complete(&model, &mut generator, completion, |_| true).unwrap();
        let value: Value = serde_json::from_str(&reply.text).unwrap_or_else(|e| {
            panic!("{e} ({:?}, {} tokens)\n{text}\n{}", reply.finish, reply.tokens, reply.text)
        });
        assert!(valid(schema, &value, schema), "{text}\n{}", reply.text);
        assert_eq!(reply.finish, Finish::Stop);
        cut += usize::from(reply.tokens + 8 > most);
    }
    assert!(unfit <= 4, "{unfit} schemas have no short answer");
    assert!(cut > 0, "no text had to be brought to its end");
}

#[test]
fn expressions_and_grammars_are_followed() {
    let Some(model) = model() else { return };
    let grammars = model.grammars().unwrap();
    let prompt = prompt(&model, "When was the Berlin Wall opened? Give the date.");
    let mut generator = Generator::new(model.decoder(), None, model.cpu(), Mode::Fast, 256);
    let mut write = |rule: Rule<'_>, most: usize| {
        let mut rule = grammars.rule(rule).unwrap();
        let mut sampler = Sampler::new(Sampling::default());
        let constraint: Option<&mut dyn Constraint> = Some(&mut rule);
        let completion =
            Completion { prompt: &prompt, most, sampler: &mut sampler, stop: &[], constraint, drafts: None };
        complete(&model, &mut generator, completion, |_| true).unwrap()
    };
    let date = write(Rule::Regex(r"(19|20)\d\d-(0[1-9]|1[0-2])-[0-3]\d"), 30);
    let bytes = date.text.as_bytes();
    assert!(bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-', "{}", date.text);
    let only = write(Rule::Regex(r"The Wall was opened on the ninth of November, 中文 and €\."), 40);
    assert_eq!(only.text, "The Wall was opened on the ninth of November, 中文 and €.");
    let sum = write(Rule::Lark("start: number (\" + \" number)*\nnumber: /[0-9]{1,4}/\n"), 12);
    assert!(sum.text.split(" + ").all(|n| n.parse::<u32>().is_ok()), "{}", sum.text);
}

/// A part of an address or of a date may be of any length: the way out of it must be found all the same.
#[test]
fn every_format_has_a_way_to_its_end() {
    let Some(model) = model() else { return };
    let grammars = model.grammars().unwrap();
    for (format, begun) in [
        ("email", "some.name"),
        ("email", "name@"),
        ("date", "20"),
        ("date-time", "2024-05-06T1"),
        ("time", "1"),
        ("uri", "https://a"),
        ("hostname", "a-"),
        ("ipv4", "1"),
        ("uuid", "01"),
    ] {
        let schema = serde_json::json!({ "type": "string", "format": format }).to_string();
        let mut rule = grammars.rule(Rule::JsonSchema(&schema)).unwrap();
        for c in format!("\"{begun}").chars() {
            let token = model.tokenizer().encode(&c.to_string(), false).unwrap();
            rule.accept(token[0]).unwrap();
        }
        let way = rule.ending(48);
        assert!(way.is_some_and(|way| way.len() <= 48), "{format} after {begun}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(model) = model() else { return };
    let grammars: Grammars = model.grammars().unwrap();
    let refused = |rule: Rule<'_>| {
        let begin = std::time::Instant::now();
        let error = match grammars.rule(rule) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("taken: {:.200}", format!("{rule:?}")),
        };
        assert!(begin.elapsed().as_secs() < 5, "{error}");
        assert!(error.len() < 4000 && !error.contains("backtrace"), "{error}");
        error
    };
    assert!(refused(Rule::JsonSchema("{")).contains("JSON"));
    refused(Rule::JsonSchema(r#"{"type": "no such type"}"#));
    refused(Rule::JsonSchema(r##"{"$ref": "#/$defs/missing"}"##));
    refused(Rule::JsonSchema(r#"{"type": "integer", "minimum": 5, "maximum": 1}"#));
    refused(Rule::JsonSchema(&"[".repeat(100_000)));
    refused(Rule::Regex("(unclosed"));
    refused(Rule::Regex(&"a".repeat(600_000)));
    refused(Rule::Lark("start: missing"));
    let wide: String = (0..20_000).map(|i| format!("\"k{i}\": {{\"type\": \"string\"}},")).collect();
    let text = format!("{{\"type\": \"object\", \"properties\": {{{}}}}}", wide.trim_end_matches(','));
    assert!(text.len() > 512 * 1024);
    refused(Rule::JsonSchema(&text));
}

/// One whose machine grows with its text is ended where all rules together have no more; others are not touched.
#[test]
fn rules_share_what_they_may_take() {
    let Some(model) = model() else { return };
    let most = 8 * RULE_BYTES;
    let grammars = model.grammars().unwrap().within(most);
    let label = Rule::JsonSchema(
        r#"{"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"], "additionalProperties": false}"#,
    );
    let some: Vec<_> = (0..8).map(|_| grammars.rule(label).unwrap()).collect();
    assert!(matches!(grammars.rule(label), Err(InferError::RuleMemory { .. })));
    drop(some);
    assert_eq!(grammars.memory(), 0, "all is given back");

    let mut ordinary = grammars.rule(label).unwrap();
    // its automaton has a state for each of 2^20 pasts
    let mut hostile = grammars.rule(Rule::Regex("(a|b)*a(a|b){20}")).unwrap();
    let mut rng = Rng::new(7);
    let ended = (0..100_000).find_map(|_| {
        let allowed: Vec<u32> = match hostile.mask() {
            Ok(mask) => mask.tokens().filter(|t| !model.tokenizer().stop_ids().contains(t)).collect(),
            Err(e) => return Some(e),
        };
        assert!(grammars.memory() <= most);
        hostile.accept(allowed[rng.below(allowed.len())]).err()
    });
    assert!(matches!(ended, Some(InferError::RuleMemory { .. })), "{ended:?}");
    assert!(grammars.memory() > most / 2, "{}", grammars.memory());
    for step in 0.. {
        assert!(step < 100 && grammars.memory() <= most);
        if ordinary.done() {
            break;
        }
        let token = ordinary.mask().unwrap().tokens().next().unwrap();
        if model.tokenizer().stop_ids().contains(&token) {
            break;
        }
        ordinary.accept(token).unwrap();
    }
    drop((hostile, ordinary));
    assert_eq!(grammars.memory(), 0);
}
