//! Tools: what a request offers, the conversation that the model reads of it, and the rule that forces a call. How tools and calls
//! are worded is [`ToolStyle`]'s matter; calls are read back by `calls.rs`.

mod calls;
mod offer;

pub(crate) use calls::{Calls, Heard};
pub(crate) use offer::{Choice, Tools};

use crate::error::ApiError;
use nurture_text::{Message, ToolStyle};
use serde_json::Value;

type Result<T> = std::result::Result<T, ApiError>;

/// A call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON
    pub(crate) arguments: String,
}

impl Call {
    /// As the model writes it.
    fn spelt(&self, style: ToolStyle) -> String {
        let arguments: Value =
            serde_json::from_str(&self.arguments).unwrap_or_else(|_| self.arguments.clone().into());
        style.call(&self.name, &arguments)
    }
}

/// A message as APIs know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) role: String,
    pub(crate) content: String,
    pub(crate) calls: Vec<Call>,
    /// of a tool's result: the call that it belongs to
    pub(crate) answers: Option<String>,
}

impl Turn {
    pub(crate) fn new(role: &str, content: impl Into<String>) -> Turn {
        Turn { role: role.to_string(), content: content.into(), ..Turn::default() }
    }
}

/// Every tool result must belong to a call before it.
pub(crate) fn check(turns: &[Turn], param: &str) -> Result<()> {
    let mut known = std::collections::BTreeSet::new();
    for (i, turn) in turns.iter().enumerate() {
        known.extend(turn.calls.iter().map(|c| c.id.as_str()));
        if let Some(id) = &turn.answers
            && !known.contains(id.as_str())
        {
            let place = format!("{param}[{i}]");
            let message = format!(
                "\"{place}\" is the result of the call `{}`, which does not stand before it",
                id.escape_debug()
            );
            return Err(ApiError::invalid(place, message));
        }
    }
    Ok(())
}

/// Conversations with tools as plain ones: calls and results in the model's notation, the offer in the system text.
pub(crate) fn spell(turns: Vec<Turn>, style: ToolStyle, tools: Option<&Tools>) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(turns.len() + 1);
    let mut results = false;
    for turn in turns {
        let result = turn.answers.is_some() || turn.role == "tool";
        if result {
            let text = style.result(&turn.content);
            // results of parallel calls are one turn: many templates want turns to alternate
            match out.last_mut().filter(|_| results) {
                Some(last) => last.content = format!("{}\n{text}", last.content),
                None => out.push(Message::new("user", text)),
            }
        } else {
            let calls: Vec<String> = turn.calls.iter().map(|c| c.spelt(style)).collect();
            let text = [turn.content].into_iter().filter(|t| !t.is_empty()).chain(calls);
            out.push(Message::new(turn.role, text.collect::<Vec<_>>().join("\n")));
        }
        results = result;
    }
    if let Some(tools) = tools.filter(|t| t.choice != Choice::None && !t.list.is_empty()) {
        let list: Vec<String> = tools.list.iter().map(|t| t.line()).collect();
        style.offer(&list, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_results_stand_where_the_model_expects_them() {
        let call = |id: &str| Call { id: id.into(), name: "f".into(), arguments: r#"{"x": 1}"#.into() };
        let result = |id: &str, text: &str| Turn { answers: Some(id.into()), ..Turn::new("tool", text) };
        let turns = vec![
            Turn::new("user", "q"),
            Turn { calls: vec![call("a"), call("b")], ..Turn::new("assistant", "") },
            result("a", "1"),
            result("b", "2"),
        ];
        check(&turns, "messages").unwrap();
        assert!(check(&turns[2..], "messages").unwrap_err().message.contains("`a`"));
        let plain = spell(turns.clone(), ToolStyle::Tagged, None);
        assert_eq!(plain.len(), 3);
        assert_eq!(
            plain[1]
                .content
                .matches("<tool_call>\n{\"name\":\"f\",\"arguments\":{\"x\":1}}\n</tool_call>")
                .count(),
            2
        );
        assert_eq!(
            (plain[2].role.as_str(), plain[2].content.matches("<tool_response>").count()),
            ("user", 2)
        );
        let plain = spell(turns, ToolStyle::Bare, None);
        assert!(plain[1].content.contains("\"parameters\":{\"x\":1}") && plain[2].content == "1\n2");
    }
}
