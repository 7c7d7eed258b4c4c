//! Finding out by looking what the columns of a file mean. The result is a `Mapping`, as a user could have written
//! it, with the reason in a sentence; where the columns could mean two things the answer is an error, not a guess.

use serde::Serialize;
use serde_json::Value;

use crate::error::DataError;
use crate::mapping::{Fields, Mapping, SchemaKind, recipe_word};
use crate::rows::Row;
use crate::why::Why;

/// How many rows at the start of a file are looked at.
pub(crate) const SAMPLE_ROWS: usize = 256;

/// What the columns of a file mean, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaFound {
    /// The shape of the data.
    pub kind: SchemaKind,
    /// The reason.
    pub why: Why,
    /// The part of each column.
    pub mapping: Mapping,
    /// Columns that play no part.
    pub unused: Vec<String>,
}

impl SchemaFound {
    /// Rows behind the sample may bring columns that it did not have; they are named among the unused.
    pub(crate) fn note_late_columns(&mut self, row: &Row) {
        const NAMED: usize = 100;
        for name in row.fields.keys() {
            let known = self.unused.contains(name)
                || self.mapping.parts().iter().any(|(_, used)| used.contains(name));
            if !known && self.unused.len() < NAMED {
                self.unused.push(name.clone());
            }
        }
    }
}

const MESSAGES: &[&str] =
    &["messages", "conversations", "conversation", "dialog", "dialogue", "turns", "chat", "对话"];
const INSTRUCTION: &[&str] = &["instruction", "指令"];
const PROMPT: &[&str] = &["prompt"];
const COMPLETION: &[&str] = &["completion", "response", "output"];
const OUTPUT: &[&str] = &["output", "response", "输出"];
const QUESTION: &[&str] = &["question", "query", "problem", "问题", "提问"];
const ANSWER: &[&str] = &["answer", "answers", "response", "reply", "output", "答案", "回答", "答复"];
const OPTIONS: &[&str] = &["options", "choices", "选项"];
const CORRECT: &[&str] = &[
    "answer",
    "answers",
    "label",
    "correct",
    "answer_idx",
    "answer_index",
    "answer_key",
    "answerkey",
    "target",
    "gold",
    "答案",
    "正确答案",
];
const CLASSIFY: &[&str] = &[
    "text",
    "sentence",
    "utterance",
    "question",
    "query",
    "review",
    "content",
    "message",
    "input",
    "text_a",
    "文本",
    "内容",
    "问题",
    "评论",
    "句子",
];
const LABEL: &[&str] =
    &["category", "label", "intent", "class", "sentiment", "topic", "类别", "标签", "分类", "意图", "情感"];
const TEXT: &[&str] = &["text", "content", "document", "article", "正文", "文本", "内容"];
/// Columns that say where a text comes from.
const DESCRIBES: &[&str] = &[
    "id",
    "idx",
    "index",
    "url",
    "title",
    "source",
    "meta",
    "metadata",
    "timestamp",
    "date",
    "author",
    "lang",
    "language",
    "file",
    "path",
    "标题",
    "作者",
    "来源",
];
const CONTEXT: &[&str] = &["context", "passage", "contexts", "body", "上下文", "材料"];
const SYSTEM: &[&str] = &["system", "system_prompt"];
const INPUT: &[&str] = &["input", "输入"];
const HISTORY: &[&str] = &["history"];
const CHOSEN: &[&str] = &["chosen", "chosen_response", "better"];
const REJECTED: &[&str] = &["rejected", "rejected_response", "worse"];
const JUDGED: &[&str] = &["kto_tag", "label", "desirable"];

/// Whether a header cell is a name that schemas are found by.
pub(crate) fn is_known_column(name: &str) -> bool {
    let name = name.trim().to_lowercase();
    [
        MESSAGES,
        INSTRUCTION,
        PROMPT,
        COMPLETION,
        QUESTION,
        ANSWER,
        OPTIONS,
        CORRECT,
        CLASSIFY,
        LABEL,
        TEXT,
        CONTEXT,
        SYSTEM,
        INPUT,
        HISTORY,
        CHOSEN,
        REJECTED,
        JUDGED,
    ]
    .iter()
    .any(|names| names.contains(&name.as_str()))
}

/// What the sample shows of one column.
struct Column {
    name: String,
    /// Rows in which it is neither absent nor null nor an empty text.
    filled: usize,
    scalars: usize,
    bools: usize,
    lists: usize,
    objects: usize,
    /// Keys of the first object in a list.
    inner: Vec<String>,
    /// Different scalar values, at most `SAMPLE_ROWS`.
    distinct: std::collections::BTreeSet<String>,
    longest: usize,
}

struct Columns {
    columns: Vec<Column>,
    rows: usize,
}

impl Columns {
    fn of(sample: &[Row]) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for row in sample {
            for (name, value) in &row.fields {
                let at = match columns.iter().position(|c| c.name == *name) {
                    Some(at) => at,
                    None => {
                        columns.push(Column {
                            name: name.clone(),
                            filled: 0,
                            scalars: 0,
                            bools: 0,
                            lists: 0,
                            objects: 0,
                            inner: Vec::new(),
                            distinct: Default::default(),
                            longest: 0,
                        });
                        columns.len() - 1
                    }
                };
                if let Some(column) = columns.get_mut(at) {
                    column.see(value);
                }
            }
        }
        Columns { columns, rows: sample.len() }
    }

    /// The first filled column whose name stands in `names`, in the order of `names`.
    fn pick(&self, names: &[&str], fits: impl Fn(&Column) -> bool) -> Option<&Column> {
        names.iter().find_map(|name| {
            self.columns.iter().find(|c| c.filled > 0 && c.name.trim().to_lowercase() == *name && fits(c))
        })
    }

    /// For parts that a row may leave out: a column of such a name, even if the sample leaves it empty.
    fn optional(&self, names: &[&str], fits: impl Fn(&Column) -> bool) -> Option<String> {
        let found = names
            .iter()
            .find_map(|name| self.columns.iter().find(|c| c.name.trim().to_lowercase() == *name && fits(c)));
        found.map(|c| c.name.clone())
    }

    fn listed(&self) -> String {
        const SHOWN: usize = 20;
        let mut names: Vec<String> =
            self.columns.iter().take(SHOWN).map(|c| format!("\"{}\"", c.name)).collect();
        if self.columns.len() > SHOWN {
            names.push(format!("and {} more", self.columns.len() - SHOWN));
        }
        names.join(", ")
    }

    fn of_name(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Columns called A, B, C, ... (at least two), in order.
    fn letters(&self) -> Vec<String> {
        let found = ('A'..='J').map_while(|letter| {
            self.columns
                .iter()
                .find(|c| c.filled > 0 && c.name.trim() == letter.to_string())
                .map(|c| c.name.clone())
        });
        found.collect()
    }
}

impl Column {
    fn see(&mut self, value: &Value) {
        match value {
            Value::Null => return,
            Value::String(text) if text.trim().is_empty() => return,
            Value::String(text) => self.scalar(text.trim().to_string()),
            Value::Number(number) => self.scalar(number.to_string()),
            Value::Bool(flag) => {
                self.bools += 1;
                self.scalar(flag.to_string());
            }
            Value::Array(items) => {
                self.lists += 1;
                if self.inner.is_empty()
                    && let Some(Value::Object(object)) = items.first()
                {
                    self.inner = object.keys().cloned().collect();
                }
            }
            Value::Object(_) => self.objects += 1,
        }
        self.filled += 1;
    }

    fn scalar(&mut self, text: String) {
        self.scalars += 1;
        self.longest = self.longest.max(text.chars().count());
        self.distinct.insert(text);
    }

    fn has_inner(&self, keys: [&str; 2]) -> bool {
        self.lists > 0 && keys.iter().all(|key| self.inner.iter().any(|k| k == key))
    }

    /// Mostly texts, numbers or truth values: one odd row does not change what the column is.
    fn is_scalar(&self) -> bool {
        self.scalars * 2 > self.filled
    }

    /// As `is_scalar`, but the sample may leave it empty: later rows may fill it.
    fn may_be_scalar(&self) -> bool {
        self.filled == 0 || self.is_scalar()
    }

    fn is_scalar_or_list(&self) -> bool {
        self.filled > 0 && self.objects == 0
    }

    /// A small closed set of short values, as categories are.
    fn is_closed_set(&self, rows: usize) -> bool {
        self.is_scalar() && self.longest <= 60 && rows >= 2 && self.distinct.len() * 2 <= rows.max(4)
    }
}

/// Finds the schema of `sample`, or checks `given` against it. `file` is the name for errors.
pub(crate) fn find_schema(
    file: &str,
    sample: &[Row],
    given: Option<&Mapping>,
) -> Result<SchemaFound, DataError> {
    let columns = Columns::of(sample);
    let (mapping, why) = match given {
        Some(mapping) => {
            check_given(file, mapping, &columns)?;
            (mapping.clone(), Why::Given)
        }
        None => look(file, &columns)?,
    };
    let parts = mapping.parts();
    let unused = columns
        .columns
        .iter()
        .filter(|c| !parts.iter().any(|(_, names)| names.contains(&c.name)))
        .map(|c| c.name.clone())
        .collect();
    Ok(SchemaFound { kind: mapping.kind, why, mapping, unused })
}

fn check_given(file: &str, mapping: &Mapping, columns: &Columns) -> Result<(), DataError> {
    let wrong = |problem| DataError::Mapping { file: file.to_string(), kind: mapping.kind, problem };
    mapping.check().map_err(wrong)?;
    mapping.check_columns(|name| columns.of_name(name).is_some()).map_err(wrong)?;
    for (part, names) in mapping.parts() {
        for name in names {
            if columns.of_name(name).is_none() {
                let all = columns.columns.iter().map(|c| c.name.as_str());
                return Err(DataError::NoSuchColumn {
                    file: file.to_string(),
                    part: recipe_word(part),
                    name: name.clone(),
                    columns: columns.listed(),
                    nearest: nearest(name, all).map(String::from),
                });
            }
        }
    }
    Ok(())
}

fn look(file: &str, columns: &Columns) -> Result<(Mapping, Why), DataError> {
    if let Some(found) = preference(columns).or_else(|| judged(columns)) {
        return Ok(found);
    }
    if let Some(found) = conversation(file, columns)? {
        return Ok(found);
    }
    if let Some(found) = choice(columns) {
        return Ok(found);
    }
    let labelled = label(columns);
    let answered = instruction(columns).or_else(|| prompt(columns)).or_else(|| question(columns));
    match (answered, labelled) {
        // An answer beside a closed set of categories: either could be what is to be learnt.
        (Some((answered, _)), Some((labelled, _)))
            if labelled
                .label
                .as_deref()
                .and_then(|name| columns.of_name(name))
                .is_some_and(|c| c.is_closed_set(columns.rows)) =>
        {
            Err(DataError::SchemaUnclear {
                file: file.to_string(),
                columns: columns.listed(),
                example: Box::new(labelled),
                other: Some(Box::new(answered)),
                nameless: false,
            })
        }
        (Some(found), _) | (None, Some(found)) => Ok(found),
        (None, None) => text(columns).or_else(|| two_nameless(columns)).ok_or_else(|| unclear(file, columns)),
    }
}

fn conversation(file: &str, columns: &Columns) -> Result<Option<(Mapping, Why)>, DataError> {
    let kinds = [(SchemaKind::Messages, ["role", "content"]), (SchemaKind::Sharegpt, ["from", "value"])];
    for (kind, keys) in kinds {
        let Some(column) = columns.pick(MESSAGES, |c| c.has_inner(keys)) else { continue };
        if let Some(judged) = columns.pick(&["label"], |c| c.bools > 0) {
            return Err(DataError::Preference { file: file.to_string(), column: judged.name.clone() });
        }
        let mut mapping = Mapping::new(kind);
        mapping.messages = Some(column.name.clone());
        mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
        let why = Why::Turns { column: column.name.clone(), keys };
        return Ok(Some((mapping, why)));
    }
    Ok(None)
}

/// A better and a worse answer, after a prompt or each at the end of a whole conversation.
fn preference(columns: &Columns) -> Option<(Mapping, Why)> {
    let rejected = columns.pick(REJECTED, |_| true)?;
    // some sets call the better answer `response` beside a `rejected_response`
    let chosen = columns.pick(CHOSEN, |_| true).or_else(|| columns.pick(COMPLETION, |_| true))?;
    let mut mapping = Mapping::new(SchemaKind::Preference);
    mapping.answer = Some(chosen.name.clone());
    mapping.rejected = Some(rejected.name.clone());
    let prompt = [PROMPT, MESSAGES, INSTRUCTION, QUESTION, INPUT]
        .iter()
        .find_map(|names| columns.pick(names, |c| c.objects == 0))
        .map(|c| c.name.clone());
    mapping.user = prompt.clone();
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let why = Why::Preference { prompt, chosen: chosen.name.clone(), rejected: rejected.name.clone() };
    Some((mapping, why))
}

/// An answer with a column that says nothing but true and false.
fn judged(columns: &Columns) -> Option<(Mapping, Why)> {
    let good = columns.pick(JUDGED, |c| c.bools > 0 && c.bools == c.filled)?;
    let mut mapping = Mapping::new(SchemaKind::Judged);
    mapping.good = Some(good.name.clone());
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let turns =
        columns.pick(MESSAGES, |c| c.has_inner(["role", "content"]) || c.has_inner(["from", "value"]));
    let prompt = || [PROMPT, INSTRUCTION].iter().find_map(|names| columns.pick(names, |c| c.objects == 0));
    let completion = || columns.pick(COMPLETION, |c| c.filled > 0);
    let answer = match (turns, prompt(), completion()) {
        (Some(turns), ..) => {
            mapping.user = Some(turns.name.clone());
            turns
        }
        (None, Some(prompt), Some(completion)) => {
            mapping.user = Some(prompt.name.clone());
            mapping.answer = Some(completion.name.clone());
            completion
        }
        _ => return None,
    };
    let why = Why::Judged { answer: answer.name.clone(), good: good.name.clone() };
    Some((mapping, why))
}

fn choice(columns: &Columns) -> Option<(Mapping, Why)> {
    let mut mapping = Mapping::new(SchemaKind::Choice);
    let question =
        columns.pick(QUESTION, Column::is_scalar).or_else(|| columns.pick(PROMPT, Column::is_scalar))?;
    let answer = columns.pick(CORRECT, Column::is_scalar)?;
    mapping.user = Some(question.name.clone());
    mapping.answer = Some(answer.name.clone());
    let letters = columns.letters();
    let options = match columns.pick(OPTIONS, |c| c.lists > 0 || c.objects > 0) {
        Some(options) => {
            mapping.options = Some(Fields::One(options.name.clone()));
            vec![options.name.clone()]
        }
        None if letters.len() >= 2 => {
            mapping.options = Some(Fields::Many(letters.clone()));
            letters
        }
        None => return None,
    };
    mapping.context = columns.optional(CONTEXT, |c| c.objects == 0).map(Fields::One);
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let (question, answer) = (question.name.clone(), answer.name.clone());
    Some((mapping, Why::Options { options, question, answer }))
}

fn instruction(columns: &Columns) -> Option<(Mapping, Why)> {
    let user = columns.pick(INSTRUCTION, Column::is_scalar)?;
    let answer = columns.pick(OUTPUT, Column::is_scalar)?;
    let mut mapping = Mapping::new(SchemaKind::Instruction);
    mapping.user = Some(user.name.clone());
    mapping.answer = Some(answer.name.clone());
    mapping.input = columns.optional(INPUT, Column::may_be_scalar);
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    mapping.history = columns.optional(HISTORY, |c| c.filled == 0 || c.lists > 0);
    let why = Why::Instruction { instruction: user.name.clone(), output: answer.name.clone() };
    Some((mapping, why))
}

fn prompt(columns: &Columns) -> Option<(Mapping, Why)> {
    let user = columns.pick(PROMPT, Column::is_scalar)?;
    let answer = columns.pick(COMPLETION, Column::is_scalar)?;
    let mut mapping = Mapping::new(SchemaKind::PromptCompletion);
    mapping.user = Some(user.name.clone());
    mapping.answer = Some(answer.name.clone());
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let why = Why::Completion { prompt: user.name.clone(), completion: answer.name.clone() };
    Some((mapping, why))
}

fn question(columns: &Columns) -> Option<(Mapping, Why)> {
    let user =
        columns.pick(QUESTION, Column::is_scalar).or_else(|| columns.pick(INPUT, Column::is_scalar))?;
    let answer = columns.pick(ANSWER, Column::is_scalar_or_list)?;
    let mut mapping = Mapping::new(SchemaKind::QuestionAnswer);
    mapping.user = Some(user.name.clone());
    mapping.answer = Some(answer.name.clone());
    let before: Vec<String> = [INSTRUCTION, CONTEXT]
        .iter()
        .filter_map(|names| columns.optional(names, |c| c.objects == 0))
        .collect();
    mapping.context = (!before.is_empty()).then_some(Fields::Many(before));
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let why = Why::Question { question: user.name.clone(), answer: answer.name.clone() };
    Some((mapping, why))
}

fn label(columns: &Columns) -> Option<(Mapping, Why)> {
    let label = columns.pick(LABEL, Column::is_scalar)?;
    let user = columns.pick(CLASSIFY, |c| c.is_scalar() && c.name != label.name)?;
    let mut mapping = Mapping::new(SchemaKind::Label);
    mapping.user = Some(user.name.clone());
    mapping.label = Some(label.name.clone());
    mapping.system = columns.optional(SYSTEM, Column::may_be_scalar);
    let why = Why::Category { text: user.name.clone(), category: label.name.clone() };
    Some((mapping, why))
}

/// Plain text only where every other column describes the text: a column such as `intents` could be the answer.
fn text(columns: &Columns) -> Option<(Mapping, Why)> {
    let text = columns.pick(TEXT, Column::is_scalar)?;
    let describes = |c: &Column| c.filled == 0 || DESCRIBES.contains(&c.name.trim().to_lowercase().as_str());
    if !columns.columns.iter().all(|c| c.name == text.name || describes(c)) {
        return None;
    }
    let mut mapping = Mapping::new(SchemaKind::Text);
    mapping.text = Some(text.name.clone());
    let why = Why::PlainText { text: text.name.clone() };
    Some((mapping, why))
}

/// Two columns without a header: one has few short values, the other nearly always a new one.
fn two_nameless(columns: &Columns) -> Option<(Mapping, Why)> {
    let [first, second] = columns.columns.as_slice() else { return None };
    if first.name != "column_1" || second.name != "column_2" {
        return None;
    }
    let pairs = [(first, second), (second, first)];
    let (label, user) = pairs.into_iter().find(|(label, user)| {
        label.is_closed_set(columns.rows) && user.is_scalar() && user.distinct.len() * 10 >= columns.rows * 9
    })?;
    let mut mapping = Mapping::new(SchemaKind::Label);
    mapping.user = Some(user.name.clone());
    mapping.label = Some(label.name.clone());
    let why = Why::Nameless {
        category: label.name.clone(),
        categories: label.distinct.len(),
        rows: columns.rows,
        text: user.name.clone(),
        texts: user.distinct.len(),
    };
    Some((mapping, why))
}

fn unclear(file: &str, columns: &Columns) -> DataError {
    // The column with the longest values as the text, and a small closed set as its category: right often enough to
    // start from. Without a closed set, the text alone.
    let mut by_length: Vec<&Column> = columns.columns.iter().filter(|c| c.scalars > 0).collect();
    by_length.sort_by_key(|c| std::cmp::Reverse(c.longest));
    let closed =
        by_length.iter().skip(1).filter(|c| c.is_closed_set(columns.rows)).min_by_key(|c| c.distinct.len());
    let lines = columns.columns.iter().find(|c| c.lists > 0 && c.inner.is_empty());
    let mapping = match (by_length.first(), closed) {
        (Some(user), Some(label)) => {
            let mut mapping = Mapping::new(SchemaKind::Label);
            mapping.user = Some(user.name.clone());
            mapping.label = Some(label.name.clone());
            mapping
        }
        (user, _) => {
            let mut mapping = Mapping::new(SchemaKind::Text);
            mapping.text =
                Some(lines.or(user.copied()).map_or_else(|| "...".to_string(), |c| c.name.clone()));
            mapping
        }
    };
    let nameless = columns.of_name("column_1").is_some();
    DataError::SchemaUnclear {
        file: file.to_string(),
        columns: columns.listed(),
        example: Box::new(mapping),
        other: None,
        nameless,
    }
}

/// The candidate nearest to `name`, if it is near: at most a third of its letters differ.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = candidates.map(|c| (edit_distance(&name.to_lowercase(), &c.to_lowercase()), c)).min()?;
    (best.0 * 3 <= name.chars().count()).then_some(best.1)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(200).enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (above, y) in row.windows(2).zip(&b) {
            let [diagonal, up] = above else { continue };
            left = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
