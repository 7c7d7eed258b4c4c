//! A branch of a conversation as turns: a question, and the answers to it side by side.

use super::super::markdown;
use super::super::view::{View, safe};
use crate::error::ApiError;
use crate::store::{Message, Store, StoreError};
use minijinja::{Value, context};

/// Most answers to one question that are looked at.
const ANSWERS: usize = 64;

/// What a message of the branch is shown with.
#[derive(Debug)]
pub(super) struct Turn {
    question: Message,
    columns: Vec<Column>,
}

/// The answers of one model to a question; one of them is shown.
#[derive(Debug)]
struct Column {
    shown: Message,
    /// all answers of this model, the oldest first
    versions: Vec<i64>,
    verdict: String,
    /// whether the branch goes through it
    chosen: bool,
}

/// The end of a branch.
#[derive(Debug, Default)]
pub(super) struct Branch {
    turns: Vec<Turn>,
    /// the answer before the first turn
    pub(super) earlier: Option<i64>,
    pub(super) leaf: Option<i64>,
    pub(super) used: Last,
}

/// What the last turn tells.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// tokens of prompt and answer
    pub(super) tokens: i64,
    /// who answered, the chosen one first
    pub(super) models: Vec<String>,
}

/// Reads the last turns of a branch.
pub(super) fn read(store: &Store, owner: &str, leaf: i64, most: usize) -> Result<Branch, StoreError> {
    let mut messages = store.branch(owner, leaf, 2 * most)?;
    // a page begins with a question
    let first = messages.iter().position(|m| m.role == "user").unwrap_or(messages.len());
    messages.drain(..first);
    let mut branch =
        Branch { earlier: messages.first().and_then(|m| m.parent), leaf: Some(leaf), ..Branch::default() };
    let mut messages = messages.into_iter().peekable();
    while let Some(question) = messages.next() {
        if question.role != "user" {
            continue;
        }
        let answer = messages.next_if(|m| m.role == "assistant");
        let columns = answer.map(|a| columns(store, owner, a)).transpose()?.unwrap_or_default();
        branch.turns.push(Turn { question, columns });
    }
    if let Some(last) = branch.turns.last() {
        let mut columns: Vec<&Column> = last.columns.iter().collect();
        columns.sort_by_key(|c| !c.chosen);
        branch.used = Last {
            tokens: columns.first().map_or(0, |c| c.shown.prompt_tokens + c.shown.tokens),
            models: columns.iter().map(|c| c.shown.model.clone()).collect(),
        };
    }
    Ok(branch)
}

/// All answers beside one, by model in the order in which they first came.
fn columns(store: &Store, owner: &str, chosen: Message) -> Result<Vec<Column>, StoreError> {
    let mut columns: Vec<Column> = Vec::new();
    let newest = chosen.siblings.len().saturating_sub(ANSWERS);
    for &id in &chosen.siblings[newest..] {
        let own = id == chosen.id;
        let answer = if own { chosen.clone() } else { store.message(owner, id)? };
        match columns.iter_mut().find(|c| c.shown.model == answer.model) {
            Some(column) => {
                column.versions.push(id);
                if !column.chosen {
                    (column.shown, column.chosen) = (answer, own);
                }
            }
            None => {
                let verdict = String::new();
                columns.push(Column { shown: answer, versions: vec![id], verdict, chosen: own });
            }
        }
    }
    for column in &mut columns {
        let said = store.feedback_on(owner, column.shown.id)?;
        column.verdict = said.map_or(String::new(), |f| f.verdict.word().to_string());
    }
    Ok(columns)
}

/// All answers of one model to a question, the oldest first.
pub(super) fn versions(store: &Store, owner: &str, answer: i64) -> Result<Vec<i64>, StoreError> {
    let all = columns(store, owner, store.message(owner, answer)?)?;
    Ok(all.into_iter().find(|c| c.versions.contains(&answer)).map_or_else(Vec::new, |c| c.versions))
}

/// The links between versions: the one before, which of how many, the next one.
fn pager(all: &[i64], shown: i64) -> Value {
    let at = all.iter().position(|&m| m == shown).unwrap_or(0);
    let beside = |i: Option<usize>| i.and_then(|i| all.get(i)).map_or(String::new(), |m| m.to_string());
    context! { before => beside(at.checked_sub(1)), after => beside(Some(at + 1)), at => at + 1, of => all.len() }
}

impl Branch {
    /// The turns as HTML.
    pub(super) fn html(self, view: &View, conversation: &str) -> Result<String, ApiError> {
        let mut out = String::new();
        let last = self.turns.len().saturating_sub(1);
        for (i, turn) in self.turns.iter().enumerate() {
            let answers = turn
                .columns
                .iter()
                .map(|c| {
                    answer_html(view, &c.shown, (&c.versions, &c.verdict), c.chosen, i == last, conversation)
                        .map(safe)
                })
                .collect::<Result<Vec<_>, _>>()?;
            out.push_str(&turn_html(view, conversation, &turn.question, answers)?);
        }
        Ok(out)
    }
}

/// A question with its answers.
pub(super) fn turn_html(
    view: &View,
    conversation: &str,
    question: &Message,
    answers: Vec<Value>,
) -> Result<String, ApiError> {
    let values = context! {
        conversation, id => question.id, text => &question.content, pager => pager(&question.siblings, question.id), answers,
    };
    view.part("turn.html", values)
}

/// An answer that is whole, with all versions of its model, and what was said of it.
pub(super) fn answer_html(
    view: &View,
    answer: &Message,
    (versions, verdict): (&[i64], &str),
    chosen: bool,
    last: bool,
    conversation: &str,
) -> Result<String, ApiError> {
    let rate = if answer.seconds > 0.0 && answer.tokens > 1 {
        format!("{:.1}", (answer.tokens - 1) as f64 / answer.seconds)
    } else {
        String::new()
    };
    let values = context! {
        conversation, id => answer.id, lane => "", model => &answer.model, generation => answer.generation,
        html => safe(markdown::render(&answer.content, true)), source => &answer.content,
        tokens => answer.tokens, rate, finish => &answer.finish, verdict, chosen, last, pager => pager(versions, answer.id),
    };
    view.part("answer.html", values)
}

/// The place of an answer that is about to come.
pub(super) fn waiting_html(
    view: &View,
    answer: &Message,
    lane: usize,
    begun: &str,
) -> Result<String, ApiError> {
    let values = context! {
        conversation => "", id => answer.id, lane => lane.to_string(), model => &answer.model, generation => answer.generation,
        html => safe(markdown::render(begun, true)), source => "", tokens => 0, rate => "", finish => "", verdict => "",
        chosen => lane == 0, last => true, pager => pager(&[answer.id], answer.id),
    };
    view.part("answer.html", values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewConversation, NewMessage};

    fn add(store: &Store, c: &str, parent: Option<i64>, role: &str, model: &str, text: &str) -> i64 {
        let new = NewMessage { parent, model: model.into(), ..NewMessage::of(role, text) };
        store.add_message("me", c, &new).unwrap().id
    }

    #[test]
    fn answers_stand_by_model_and_version() {
        let store = Store::in_memory().unwrap();
        let c = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let q = add(&store, &c, None, "user", "", "q");
        let deep = add(&store, &c, Some(q), "assistant", "deep", "1");
        let base = add(&store, &c, Some(q), "assistant", "base", "2");
        let again = add(&store, &c, Some(q), "assistant", "deep", "3");
        let branch = read(&store, "me", deep, 9).unwrap();
        let columns = &branch.turns[0].columns;
        let seen: Vec<(i64, &[i64], bool)> =
            columns.iter().map(|c| (c.shown.id, c.versions.as_slice(), c.chosen)).collect();
        assert_eq!(seen, [(deep, &[deep, again][..], true), (base, &[base][..], false)]);
        assert_eq!(branch.used.models, ["deep", "base"]);
        assert_eq!(versions(&store, "me", again).unwrap(), [deep, again]);
        // of the others the newest is shown
        assert_eq!(read(&store, "me", base, 9).unwrap().turns[0].columns[0].shown.id, again);
        assert!(read(&store, "you", base, 9).is_err());
    }

    #[test]
    fn ten_thousand_messages_are_read_page_by_page() {
        let store = Store::in_memory().unwrap();
        let c = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let mut leaf = None;
        for i in 0..10_000 {
            let (role, model) = if i % 2 == 0 { ("user", "") } else { ("assistant", "base") };
            leaf = Some(add(&store, &c, leaf, role, model, &format!("{i}")));
        }
        let begin = std::time::Instant::now();
        read(&store, "me", leaf.unwrap(), 20).unwrap();
        assert!(begin.elapsed().as_millis() < 500, "a page costs what it shows: {:?}", begin.elapsed());
        let mut seen = Vec::new();
        while let Some(at) = leaf {
            let branch = read(&store, "me", at, 20).unwrap();
            let page: Vec<String> = branch.turns.iter().rev().map(|t| t.question.content.clone()).collect();
            assert!(page.len() <= 20);
            seen.extend(page);
            leaf = branch.earlier;
        }
        let all: Vec<String> = (0..5_000).rev().map(|i| (2 * i).to_string()).collect();
        assert_eq!(seen, all, "every question once, from the end to the beginning");
    }
}
