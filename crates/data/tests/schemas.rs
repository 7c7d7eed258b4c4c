//! Each shape of data is found by looking, explained, and becomes the right conversation.

mod common;

use common::{load, load_with, shown};
use nurture_data::{Answer, ChoiceStyle, DataError, LabelForm, LoadOptions, PromptTemplate, SchemaKind};

fn check(name: &str, content: &str, kind: SchemaKind, expected: &[&str]) {
    let loaded = load(name, content).unwrap_or_else(|e| panic!("{name}: {e}"));
    let schema = loaded.sources[0].schema.as_ref().expect("a schema");
    assert_eq!(schema.kind, kind, "{name}: {}", schema.why);
    assert!(schema.why.to_string().len() > 10, "the reason is a sentence");
    assert_eq!(shown(&loaded.examples[0]), expected, "{name}");
}

#[test]
fn conversations() {
    check(
        "a.jsonl",
        r#"{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello 😀"}]}"#,
        SchemaKind::Messages,
        &["system: Be kind.", "user: Hi", "assistant: Hello 😀"],
    );
    check(
        "parts.jsonl",
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": [{"type": "text", "value": "Yo"}]}]}"#,
        SchemaKind::Messages,
        &["user: Hi", "assistant: Yo"],
    );
    check(
        "s.json",
        r#"[{"conversations": [{"from": "human", "value": "查天气"}, {"from": "function_call", "value": "{\"name\": \"weather\", \"arguments\": {}}"}, {"from": "observation", "value": "晴"}, {"from": "gpt", "value": "晴天"}], "system": "你是助手", "tools": "[]"}]"#,
        SchemaKind::Sharegpt,
        &[
            "system: 你是助手",
            "user: 查天气",
            "assistant: <tool_call>\n{\"name\":\"weather\",\"arguments\":{}}\n</tool_call>",
            "user: <tool_response>\n晴\n</tool_response>",
            "assistant: 晴天",
        ],
    );
}

#[test]
fn instructions_prompts_and_questions() {
    check(
        "alpaca.json",
        r#"[{"instruction": "Add", "input": "1 and 2", "output": "3", "system": "Count.", "history": [["a", "b"]]}]"#,
        SchemaKind::Instruction,
        &["system: Count.", "user: a", "assistant: b", "user: Add\n1 and 2", "assistant: 3"],
    );
    check(
        "p.jsonl",
        r#"{"prompt": "Once", "completion": " upon a time"}"#,
        SchemaKind::PromptCompletion,
        &["user: Once", "assistant:  upon a time"],
    );
    check("q.csv", "问题,答案\n1+1=?,2\n", SchemaKind::QuestionAnswer, &["user: 1+1=?", "assistant: 2"]);
    check(
        "law.jsonl",
        r#"{"instruction": "Name the law.", "question": "Theft", "answer": "Art. 264"}"#,
        SchemaKind::QuestionAnswer,
        &["user: Name the law.\n\nTheft", "assistant: Art. 264"],
    );
    let several = load("q.jsonl", r#"{"question": "Capital?", "answers": ["Paris", "paris "]}"#).unwrap();
    assert_eq!(several.examples[0].answer, Answer::Free(vec!["Paris".into(), "paris".into()]));
}

#[test]
fn labels() {
    check(
        "t.csv",
        "text,category\n\"Where is\nmy card?\n\",card_arrival\n",
        SchemaKind::Label,
        &["user: Where is\nmy card?", "assistant: card_arrival"],
    );
    check(
        "t.jsonl",
        r#"{"text": "play a song", "intent": "music"}"#,
        SchemaKind::Label,
        &["user: play a song", "assistant: music"],
    );
    check("t.csv", "question,category\nwho?,a\n", SchemaKind::Label, &["user: who?", "assistant: a"]);
    check(
        "t.tsv",
        "1\t房间很好\n0\t太吵了\n1\t早餐不错\n0\t服务差\n",
        SchemaKind::Label,
        &["user: 房间很好", "assistant: 1"],
    );
    check(
        "semicolon.csv",
        "text;label\na, b and c;x\nd;y\n",
        SchemaKind::Label,
        &["user: a, b and c", "assistant: x"],
    );
}

#[test]
fn choices_by_letter_and_by_text() {
    let rows = r#"{"question": "Sky?", "choices": ["red", "blue"], "answer": 1}"#;
    check("c.jsonl", rows, SchemaKind::Choice, &["user: Sky?\nA. red\nB. blue", "assistant: B"]);
    check(
        "c.csv",
        "question,A,B,C,answer\nSky?,red,blue,,B\n",
        SchemaKind::Choice,
        &["user: Sky?\nA. red\nB. blue", "assistant: B"],
    );
    let texts = LoadOptions {
        template: PromptTemplate { choices: ChoiceStyle::Texts, ..PromptTemplate::default() },
        ..LoadOptions::default()
    };
    let loaded = load_with("c.jsonl", rows, &texts).unwrap();
    assert_eq!(shown(&loaded.examples[0]), ["user: Sky?", "assistant: blue"]);
}

#[test]
fn plain_text() {
    check("t.jsonl", r#"{"text": "A page."}"#, SchemaKind::Text, &["text: A page."]);
    check("t.md", "# Title\n\nBody.\n", SchemaKind::Text, &["text: # Title\n\nBody.\n"]);
}

#[test]
fn what_could_mean_two_things_is_refused_with_a_mapping_to_copy() {
    let rows = "question,category,answer\na?,x,1\nb?,x,2\nc?,y,3\nd?,y,4\n";
    let error = load("both.csv", rows).unwrap_err().to_string();
    assert!(
        error.contains(r#"{ path = ..., kind = "label", user = "question", answer = "category" }"#),
        "{error}"
    );
    assert!(
        error.contains(r#"{ path = ..., kind = "question_answer", user = "question", answer = "answer" }"#),
        "{error}"
    );
    let error = load("none.csv", "alpha,beta\nsome text,x\n").unwrap_err().to_string();
    assert!(
        error.contains(r#"columns: "alpha", "beta""#) && error.contains("{ path = ..., kind = "),
        "{error}"
    );
    let error = load("multi.jsonl", r#"{"text": "hi", "intents": ["a", "b"]}"#).unwrap_err();
    assert!(matches!(error, DataError::SchemaUnclear { .. }), "{error}");
    let error = load("dpo.jsonl", r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#).unwrap_err();
    assert!(matches!(error, DataError::Preference { .. }), "{error}");
}

#[test]
fn columns_that_only_later_rows_fill_are_not_lost() {
    let mut rows = String::new();
    for row in 0..400 {
        rows.push_str(&format!("{{\"instruction\": \"do {row}\", \"input\": \"\", \"output\": \"x\"}}\n"));
    }
    rows.push_str("{\"instruction\": \"add\", \"input\": \"1 and 2\", \"output\": \"3\", \"note\": \"n\"}\n");
    let loaded = load("late.jsonl", rows).unwrap();
    assert_eq!(shown(&loaded.examples[400]), ["user: add\n1 and 2", "assistant: 3"]);
    assert_eq!(loaded.sources[0].schema.as_ref().unwrap().unused, ["note"]);
}

#[test]
fn templates_and_label_forms() {
    let options = LoadOptions {
        labels: LabelForm::Words,
        template: PromptTemplate {
            system: Some("One of: {labels}.".into()),
            user: Some("[{lang}] {text}".into()),
            ..PromptTemplate::default()
        },
        ..LoadOptions::default()
    };
    let loaded = load_with("t.csv", "lang,text,label\nen,hi,say_hello\nzh,再见,say_bye\n", &options).unwrap();
    assert_eq!(
        shown(&loaded.examples[0]),
        ["system: One of: say bye, say hello.", "user: [en] hi", "assistant: say hello"]
    );
    assert_eq!(loaded.sources[0].schema.as_ref().unwrap().unused, ["lang"]);
    let misspelt = LoadOptions {
        template: PromptTemplate { user: Some("{txt}".into()), ..PromptTemplate::default() },
        ..LoadOptions::default()
    };
    let error = load_with("t.csv", "text,label\nhi,x\n", &misspelt).unwrap_err().to_string();
    assert!(error.contains("{txt} is none of the columns"), "{error}");
}
