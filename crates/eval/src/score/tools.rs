//! Tool calls: which functions with which arguments, whatever dress they wear.
//!
//! Read are `<tool_call>{…}</tool_call>` blocks (Hermes, Qwen), JSON of one call or a list of them (`name` with
//! `arguments` or `parameters`; OpenAI's `tool_calls` and `function`, arguments as object or as text), Mistral's
//! `[TOOL_CALLS]` before it, and Python calls (`[weather(city="Paris", days=2)]`). Calls are compared as a set: order says
//! nothing, each must be there as often as it is wanted and no other may be. Arguments are equal as JSON, texts without
//! the space around them. Left out on purpose: defaults, optional arguments, positional arguments, running the call.

use serde_json::{Map, Value};

use super::json;

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name of the function.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
}

/// The calls of an answer; `None` where something looks like a call and is not whole, an empty list where nothing does.
pub fn calls(text: &str) -> Option<Vec<Call>> {
    let text = text.trim();
    if text.contains("<tool_call>") {
        let blocks = text.split("<tool_call>").skip(1).map(|b| b.split("</tool_call>").next().unwrap_or(b));
        let found: Option<Vec<Vec<Call>>> = blocks.map(|b| from_json(&json::find(b)?)).collect();
        return found.map(|f| f.into_iter().flatten().collect());
    }
    let bare = text.strip_prefix("[TOOL_CALLS]").unwrap_or(text).trim();
    if let Some(value) = json::find(bare) {
        // a number or a text is an answer, not a call
        return if value.is_object() || value.is_array() { from_json(&value) } else { Some(Vec::new()) };
    }
    match Python::read(bare) {
        Some(calls) => Some(calls),
        None if bare.len() < text.len() || bare.starts_with(['{', '[']) => None,
        None => Some(Vec::new()),
    }
}

/// Whether both are the same calls, in any order.
pub fn same(answer: &[Call], gold: &[Call]) -> bool {
    let mut left: Vec<&Call> = answer.iter().collect();
    answer.len() == gold.len()
        && gold.iter().all(|g| match left.iter().position(|a| alike(a, g)) {
            Some(at) => {
                left.swap_remove(at);
                true
            }
            None => false,
        })
}

fn alike(a: &Call, b: &Call) -> bool {
    fn trimmed(value: &Value) -> Value {
        match value {
            Value::String(s) => Value::String(s.trim().into()),
            Value::Array(items) => items.iter().map(trimmed).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), trimmed(v))).collect(),
            other => other.clone(),
        }
    }
    let arguments = |call: &Call| trimmed(&Value::Object(call.arguments.clone()));
    a.name == b.name && json::equal(&arguments(a), &arguments(b))
}

/// Calls in JSON; `None` where an object is no call.
pub fn from_json(value: &Value) -> Option<Vec<Call>> {
    match value {
        Value::Array(items) => {
            items.iter().map(from_json).collect::<Option<Vec<_>>>().map(|l| l.into_iter().flatten().collect())
        }
        Value::Object(map) => {
            if let Some(inner) = map.get("tool_calls").or(map.get("function").filter(|f| f.is_object())) {
                return from_json(inner);
            }
            let name = map.get("name")?.as_str()?.to_string();
            let arguments = match map.get("arguments").or(map.get("parameters")) {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(arguments)) => arguments.clone(),
                Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
                Some(Value::String(text)) => match serde_json::from_str(text) {
                    Ok(Value::Object(arguments)) => arguments,
                    _ => return None,
                },
                Some(_) => return None,
            };
            Some(vec![Call { name, arguments }])
        }
        _ => None,
    }
}

/// Reads `f(a=1), g()` and `[f(a=1)]`.
struct Python<'t> {
    text: &'t [u8],
    at: usize,
}

/// Lists within lists.
const DEEPEST: usize = 64;

impl<'t> Python<'t> {
    fn read(text: &'t str) -> Option<Vec<Call>> {
        let mut this = Python { text: text.as_bytes(), at: 0 };
        let listed = this.take(b'[');
        let mut calls = vec![this.call()?];
        while this.take(b',') {
            calls.push(this.call()?);
        }
        (listed == this.take(b']') && this.peek().is_none()).then_some(calls)
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, c: u8) -> bool {
        let there = self.peek() == Some(c);
        self.at += usize::from(there);
        there
    }

    fn name(&mut self) -> Option<String> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let len = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || b"_.".contains(c)).count();
        let name = std::str::from_utf8(&rest[..len]).ok()?;
        self.at += len;
        (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then(|| name.to_string())
    }

    fn call(&mut self) -> Option<Call> {
        let name = self.name()?;
        let mut arguments = Map::new();
        if !self.take(b'(') {
            return None;
        }
        while !self.take(b')') {
            let key = self.name()?;
            if !self.take(b'=') {
                return None;
            }
            let value = self.value(0)?;
            if arguments.insert(key, value).is_some() || !(self.take(b',') || self.peek() == Some(b')')) {
                return None;
            }
        }
        Some(Call { name, arguments })
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'"' | b'\'' => self.string().map(Value::String),
            b'[' | b'(' => {
                let close = if self.text[self.at] == b'[' { b']' } else { b')' };
                self.at += 1;
                let mut items = Vec::new();
                while !self.take(close) {
                    items.push(self.value(depth + 1)?);
                    if !(self.take(b',') || self.peek() == Some(close)) {
                        return None;
                    }
                }
                Some(Value::Array(items))
            }
            b'{' => {
                self.at += 1;
                let mut map = Map::new();
                while !self.take(b'}') {
                    self.peek()?;
                    let key = self.string()?;
                    if !self.take(b':') {
                        return None;
                    }
                    map.insert(key, self.value(depth + 1)?);
                    if !(self.take(b',') || self.peek() == Some(b'}')) {
                        return None;
                    }
                }
                Some(Value::Object(map))
            }
            _ => {
                let rest = &self.text[self.at..];
                let len =
                    rest.iter().take_while(|c| c.is_ascii_alphanumeric() || b"+-._".contains(c)).count();
                let word = std::str::from_utf8(&rest[..len]).ok()?;
                self.at += len;
                match word {
                    "True" | "true" => Some(Value::Bool(true)),
                    "False" | "false" => Some(Value::Bool(false)),
                    "None" | "null" => Some(Value::Null),
                    number => serde_json::from_str::<serde_json::Number>(number).ok().map(Value::Number),
                }
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = *self.text.get(self.at).filter(|c| matches!(c, b'"' | b'\''))?;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let c = *self.text.get(self.at)?;
            self.at += 1;
            match c {
                b'\\' => {
                    let c = *self.text.get(self.at)?;
                    self.at += 1;
                    match c {
                        b'n' => out.push(b'\n'),
                        b't' => out.push(b'\t'),
                        b'\\' | b'"' | b'\'' => out.push(c),
                        _ => out.extend([b'\\', c]),
                    }
                }
                c if c == quote => return String::from_utf8(out).ok(),
                c => out.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn weather(city: &str, days: i64) -> Call {
        let arguments = json!({ "city": city, "days": days });
        Call { name: "weather".into(), arguments: arguments.as_object().unwrap().clone() }
    }

    #[test]
    fn the_same_call_in_every_dress() {
        let want = [weather("巴黎", 2)];
        for text in [
            r#"<tool_call>{"name": "weather", "arguments": {"city": "巴黎", "days": 2}}</tool_call>"#,
            "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2.0, \"city\": \"巴黎 \"}}\n</tool_call>",
            r#"{"name": "weather", "parameters": {"city": "巴黎", "days": 2}}"#,
            r#"```json
[{"name": "weather", "arguments": "{\"city\": \"巴黎\", \"days\": 2}"}]
```"#,
            r#"{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"巴黎\", \"days\": 2}"}}]}"#,
            r#"[TOOL_CALLS][{"name": "weather", "arguments": {"city": "巴黎", "days": 2}}]"#,
            "[weather(city='巴黎', days=2)]",
            "weather(days=2, city=\"巴黎\",)",
        ] {
            let got = calls(text).unwrap_or_else(|| panic!("{text}"));
            assert!(same(&got, &want), "{text}: {got:?}");
        }
    }

    #[test]
    fn calls_are_a_set_in_which_each_counts() {
        let (a, b) = (weather("x", 1), weather("y", 2));
        assert!(same(&[a.clone(), b.clone()], &[b.clone(), a.clone()]));
        assert!(!same(&[a.clone(), a.clone()], &[a.clone(), b.clone()]));
        assert!(
            !same(std::slice::from_ref(&a), &[a.clone(), a.clone()]) && !same(std::slice::from_ref(&a), &[])
        );
        assert!(same(&[], &[]));
    }

    #[test]
    fn no_call_is_an_answer_and_a_broken_one_is_none() {
        for text in ["I cannot call anything.", "3", "\"weather\"", "", "[]"] {
            assert_eq!(calls(text), Some(vec![]), "{text}");
        }
        for text in [
            r#"<tool_call>{"name": "weather", "arguments": {"city": </tool_call>"#,
            r#"{"city": "Paris"}"#,
            "[weather(city=Paris)]",
            r#"{"name": "weather", "arguments": "Paris"}"#,
            "[TOOL_CALLS]weather",
        ] {
            assert_eq!(calls(text), None, "{text}");
        }
        assert_eq!(calls(&format!("[f(a={})]", "[".repeat(10_000))), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9_(){}\\[\\]=,:'\" \\\\.<>é-]{0,40}") {
            let _ = calls(&text);
        }
    }
}
