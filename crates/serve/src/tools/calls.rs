//! Reading calls out of an answer while it comes.

use super::{Call, Tools};
use nurture_text::ToolStyle;
use serde_json::Value;
use std::sync::Arc;

/// Most calls of one answer; what comes behind them stays text.
const CALLS: usize = 64;
const OPEN: &str = ToolStyle::OPEN;
const CLOSE: &str = ToolStyle::CLOSE;

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Text(String),
    Call(Call),
}

/// An answer that may hold calls. What is no call of a tool that was offered stays text: nothing is lost.
#[derive(Debug)]
pub(crate) struct Calls {
    tools: Arc<Tools>,
    style: ToolStyle,
    /// what is held back
    held: String,
    inside: bool,
    /// something that cannot be part of a bare call came
    words: bool,
    count: usize,
}

impl Calls {
    pub(crate) fn new(tools: Arc<Tools>, style: ToolStyle) -> Calls {
        Calls { tools, style, held: String::new(), inside: false, words: false, count: 0 }
    }

    /// Whether there was a call.
    pub(crate) fn any(&self) -> bool {
        self.count > 0
    }

    /// More text of the answer.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Heard> {
        self.held.push_str(text);
        let mut out = Vec::new();
        match self.style {
            ToolStyle::Tagged => self.tagged(&mut out),
            ToolStyle::Bare => {
                let begin = self.held.trim_start();
                let may = begin.is_empty()
                    || begin.starts_with(['{', '['])
                    || "```json".starts_with(begin)
                    || begin.starts_with("```json");
                if self.words || !may {
                    self.words = true;
                    said(&mut out, std::mem::take(&mut self.held));
                }
            }
        }
        out
    }

    fn tagged(&mut self, out: &mut Vec<Heard>) {
        loop {
            let mark = if self.inside { CLOSE } else { OPEN };
            let Some(at) = self.held.find(mark) else {
                if !self.inside {
                    let part = (1..mark.len()).rev().find(|&n| self.held.ends_with(&mark[..n])).unwrap_or(0);
                    // blanks before a call belong to neither
                    let rest = self.held[..self.held.len() - part].trim_end().len();
                    let tail = self.held.split_off(rest);
                    said(out, std::mem::replace(&mut self.held, tail));
                }
                return;
            };
            let rest = self.held.split_off(at + mark.len());
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(at);
            if self.inside {
                match self.read(&before) {
                    Some(calls) => out.extend(calls.into_iter().map(Heard::Call)),
                    None => said(out, format!("{OPEN}{before}{CLOSE}")),
                }
            } else {
                let end = before.trim_end().len();
                before.truncate(end);
                said(out, before);
            }
            self.inside = !self.inside;
        }
    }

    /// The answer is over.
    pub(crate) fn finish(&mut self) -> Vec<Heard> {
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::new();
        match self.style {
            // some models leave the last mark out
            ToolStyle::Tagged if self.inside => match self.read(&held) {
                Some(calls) => out.extend(calls.into_iter().map(Heard::Call)),
                None => said(&mut out, format!("{OPEN}{held}")),
            },
            ToolStyle::Bare if !self.words => {
                let bare = held.trim().trim_start_matches("```json").trim_end_matches("```");
                match self.read(bare) {
                    Some(calls) => out.extend(calls.into_iter().map(Heard::Call)),
                    None => said(&mut out, held),
                }
            }
            _ if !(self.count > 0 && held.trim().is_empty()) => said(&mut out, held),
            _ => {}
        }
        self.inside = false;
        out
    }

    /// One call, a list of calls, or calls with `;` between them.
    fn read(&mut self, text: &str) -> Option<Vec<Call>> {
        let mut values = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            values.push(stream.next()?.ok()?);
            rest = rest.get(stream.byte_offset()..)?.trim_start().trim_start_matches(';').trim_start();
        }
        let values = match <[Value; 1]>::try_from(values) {
            Ok([Value::Array(list)]) => list,
            Ok([one]) => vec![one],
            Err(several) => several,
        };
        let calls = values.iter().map(|v| self.one(v)).collect::<Option<Vec<_>>>()?;
        if calls.is_empty() || self.count + calls.len() > CALLS {
            return None;
        }
        self.count += calls.len();
        Some(calls)
    }

    fn one(&self, value: &Value) -> Option<Call> {
        let name = value.get("name")?.as_str().filter(|n| self.tools.knows(n))?;
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None | Some(Value::Null) => "{}".to_string(),
            Some(Value::String(text)) => {
                serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?;
                text.clone()
            }
            Some(object @ Value::Object(_)) => object.to_string(),
            Some(_) => return None,
        };
        Some(Call { id: String::new(), name: name.to_string(), arguments })
    }
}

fn said(out: &mut Vec<Heard>, text: String) {
    if text.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(Heard::Text(last)) => last.push_str(&text),
        _ => out.push(Heard::Text(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    /// Reads an answer in pieces of `step` characters: text, and calls as `name(arguments)`.
    fn read(style: ToolStyle, text: &str, step: usize) -> (String, Vec<String>) {
        let tools = br#"{"tools": [{"type": "function", "function": {"name": "f"}},
                                   {"type": "function", "function": {"name": "g"}}]}"#;
        let tools = Tools::chat(&mut Fields::parse(tools).unwrap()).unwrap().unwrap();
        let mut calls = Calls::new(Arc::new(tools), style);
        let letters: Vec<char> = text.chars().collect();
        let mut heard: Vec<Heard> =
            letters.chunks(step).flat_map(|c| calls.push(&c.iter().collect::<String>())).collect();
        heard.extend(calls.finish());
        let mut out = (String::new(), Vec::new());
        for h in heard {
            match h {
                Heard::Text(t) => out.0.push_str(&t),
                Heard::Call(c) => out.1.push(format!("{}({})", c.name, c.arguments)),
            }
        }
        out
    }

    #[test]
    fn calls_are_heard_however_the_text_comes() {
        let one = r#"{"name": "f", "arguments": {"x": "</b>"}}"#;
        let bare = r#"{"name": "f", "parameters": {"x": 1}}"#;
        for step in 1..20 {
            let check = |style, text: &str, said: &str, calls: &[&str]| {
                let (found_text, found) = read(style, text, step);
                assert_eq!(
                    (found_text.as_str(), found),
                    (said, calls.iter().map(|s| s.to_string()).collect()),
                    "{text} {step}"
                );
            };
            let f = r#"f({"x":"</b>"})"#;
            check(ToolStyle::Tagged, &format!("<tool_call>\n{one}\n</tool_call>"), "", &[f]);
            check(
                ToolStyle::Tagged,
                &format!("Let me see.\n<tool_call>{one}</tool_call>\n<tool_call>{one}</tool_call>\n"),
                "Let me see.",
                &[f, f],
            );
            check(ToolStyle::Tagged, &format!("<tool_call>[{one}, {one}]"), "", &[f, f]);
            check(ToolStyle::Tagged, "a < b <tool c>", "a < b <tool c>", &[]);
            check(
                ToolStyle::Tagged,
                "<tool_call>{\"name\": \"h\"}</tool_call>!",
                "<tool_call>{\"name\": \"h\"}</tool_call>!",
                &[],
            );
            check(ToolStyle::Tagged, "x <tool_", "x <tool_", &[]);
            check(ToolStyle::Bare, bare, "", &[r#"f({"x":1})"#]);
            check(ToolStyle::Bare, &format!("```json\n{bare}\n```"), "", &[r#"f({"x":1})"#]);
            check(ToolStyle::Bare, &format!("{bare}; {bare}"), "", &[r#"f({"x":1})"#, r#"f({"x":1})"#]);
            check(ToolStyle::Bare, "{\"a\": 1}", "{\"a\": 1}", &[]);
            check(ToolStyle::Bare, "In words: {", "In words: {", &[]);
            check(ToolStyle::Bare, r#"{"name": "g"}"#, "", &["g({})"]);
            check(
                ToolStyle::Bare,
                r#"{"name": "g", "parameters": 3}"#,
                r#"{"name": "g", "parameters": 3}"#,
                &[],
            );
        }
    }
}
