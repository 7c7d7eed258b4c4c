//! Conversations with tools, in every shape that people have them, become the same text that the service writes; and the
//! data sets of other programs are read as those read them.

mod common;

use common::{Folder, load, load_with, shown};
use nurture_data::{DataError, LoadOptions, SchemaKind, SourceSpec, ToolStyle, load_training};

const CALL: &str = "<tool_call>\n{\"name\":\"weight_of\",\"arguments\":{\"pump\":\"A1\"}}\n</tool_call>";

#[test]
fn calls_results_and_offers_of_every_shape_are_the_same_text() {
    let openai = r#"{"messages": [{"role": "user", "content": "How heavy?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weight_of", "arguments": "{\"pump\": \"A1\"}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "40"}, {"role": "assistant", "content": "40 kg."}],
        "tools": [{"type": "function", "function": {"name": "weight_of", "description": "d", "parameters": {"type": "object"}}}]}"#;
    let sharegpt = r#"{"conversations": [{"from": "human", "value": "How heavy?"},
        {"from": "function_call", "value": "{\"name\": \"weight_of\", \"arguments\": {\"pump\": \"A1\"}}"},
        {"from": "observation", "value": "40"}, {"from": "gpt", "value": "40 kg."}],
        "tools": "[{\"name\": \"weight_of\", \"description\": \"d\", \"parameters\": {\"type\": \"object\"}}]"}"#;
    let swift = r#"{"messages": [{"role": "user", "content": "How heavy?"},
        {"role": "tool_call", "content": "{\"name\": \"weight_of\", \"arguments\": {\"pump\": \"A1\"}}"},
        {"role": "tool_response", "content": "40"}, {"role": "assistant", "content": "40 kg."}],
        "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"weight_of\", \"description\": \"d\", \"parameters\": {\"type\": \"object\"}}}]"}"#;
    let first = shown(&load("a.jsonl", openai.replace('\n', " ")).unwrap().examples[0]);
    assert_eq!(
        first[1..],
        [
            "user: How heavy?".to_string(),
            format!("assistant: {CALL}"),
            "user: <tool_response>\n40\n</tool_response>".to_string(),
            "assistant: 40 kg.".to_string(),
        ]
    );
    let tool = r#"{"type":"function","function":{"name":"weight_of","parameters":{"type":"object"},"description":"d"}}"#;
    assert!(
        first[0].starts_with("system: # Tools\n") && first[0].contains(&format!("<tools>\n{tool}\n</tools>")),
        "{}",
        first[0]
    );
    for other in [sharegpt, swift] {
        assert_eq!(shown(&load("a.jsonl", other.replace('\n', " ")).unwrap().examples[0]), first);
    }
    let options = LoadOptions { tool_style: ToolStyle::Bare, ..LoadOptions::default() };
    let bare = shown(&load_with("a.jsonl", openai.replace('\n', " "), &options).unwrap().examples[0]);
    assert_eq!(
        bare[2..4],
        ["assistant: {\"name\":\"weight_of\",\"parameters\":{\"pump\":\"A1\"}}", "user: 40"]
    );
    assert_eq!(ToolStyle::of_template("<start_of_turn>"), ToolStyle::Bare);
    assert_eq!(ToolStyle::of_template("<|im_start|>"), ToolStyle::Tagged);
}

#[test]
fn broken_calls_and_turns_that_are_not_to_be_learnt_are_refused() {
    let row = |turn: &str| format!(r#"{{"messages": [{{"role": "user", "content": "q"}}, {turn}]}}"#);
    for (turn, part) in [
        (r#"{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}"#, "without the name"),
        (
            r#"{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}"#,
            "no JSON object",
        ),
        (r#"{"role": "tool_call", "content": "weather"}"#, "no JSON of a call"),
        (r#"{"role": "assistant", "content": "a", "loss": false}"#, "\"loss\" keeps a single turn"),
        (r#"{"role": "assistant", "content": "a", "weight": 0}"#, "\"weight\" keeps a single turn"),
        (r#"{"role": "user", "content": "a", "tool_calls": [{"name": "f"}]}"#, "only the assistant"),
    ] {
        let error = load("a.jsonl", row(turn)).unwrap_err().to_string();
        assert!(error.contains("turn 2") && error.contains(part), "{error}");
    }
    let error = load("a.jsonl", r#"{"messages": [{"role": "assistant", "content": "a"}], "tools": "x"}"#)
        .unwrap_err();
    assert!(error.to_string().contains("field \"tools\": is no JSON list"), "{error}");
}

fn dataset_info(info: &str, part: Option<&str>) -> Result<Vec<Vec<String>>, DataError> {
    let folder = Folder::new();
    folder.file("own.json", r#"[{"q": "Q", "a": "A", "say": [["u", "b"]], "talk": [{"who": "me", "text": "hi"}, {"who": "it", "text": "yo"}]}]"#);
    folder.file("plain.json", r#"[{"instruction": "I", "input": "x", "output": "O"}]"#);
    let mut spec = SourceSpec::new(folder.file("dataset_info.json", info));
    spec.part = part.map(String::from);
    load_training(&[spec], &LoadOptions::default()).map(|l| l.examples.iter().map(shown).collect())
}

#[test]
fn llama_factorys_lists_of_data_sets_with_their_trap() {
    let read = |info: &str| dataset_info(info, None);
    let plain = r#"{"plain": {"file_name": "plain.json"}}"#;
    assert_eq!(read(plain).unwrap(), [["user: I\nx", "assistant: O"]]);
    let own = r#"{"own": {"file_name": "own.json", "columns": {"prompt": "q", "response": "a", "history": "say"}}}"#;
    assert_eq!(read(own).unwrap(), [["user: u", "assistant: b", "user: Q", "assistant: A"]]);
    let talk = r#"{"own": {"file_name": "own.json", "formatting": "sharegpt", "columns": {"messages": "talk"},
        "tags": {"role_tag": "who", "content_tag": "text", "user_tag": "me", "assistant_tag": "it"}}}"#;
    assert_eq!(read(talk).unwrap(), [["user: hi", "assistant: yo"]]);
    // text alone, for pre-training
    assert_eq!(
        read(r#"{"t": {"file_name": "own.json", "columns": {"prompt": "q"}}}"#).unwrap(),
        [["text: Q"]]
    );
    for (info, part) in [
        (
            r#"{"p": {"file_name": "plain.json", "columns": {"prompt": "instruction"}}}"#,
            "names no `response`",
        ),
        (r#"{"p": {"file_name": "plain.json", "format": "sharegpt"}}"#, "did you mean `formatting`?"),
        (r#"{"p": {"file_name": "gone.json"}}"#, "is not there"),
        (r#"{"p": {"hf_hub_url": "a/b"}}"#, "another machine"),
        (r#"{"p": {"file_name": "plain.json", "ranking": true}}"#, "preference"),
        (r#"{"p": {"file_name": "plain.json", "columns": {"images": "i"}}}"#, "pictures"),
        (r#"{"a": {}, "b": {}}"#, "names 2 data sets"),
        ("[]", "no JSON object"),
    ] {
        let error = read(info).unwrap_err().to_string();
        assert!(error.contains(".json: ") && error.contains(part), "{part}: {error}");
    }
    let two = r#"{"plain": {"file_name": "plain.json"}, "own": {"file_name": "own.json"}}"#;
    assert_eq!(dataset_info(two, Some("plain")).unwrap().len(), 1);
    assert!(dataset_info(two, Some("plan")).unwrap_err().to_string().contains("did you mean \"plain\"?"));
}

#[test]
fn real_tool_conversations_are_read_whole() {
    for name in ["glaive_toolcall_en_demo.jsonl", "glaive_toolcall_zh_demo.jsonl"] {
        let Some(path) = common::real(&format!("sft-toolcall-demo/{name}")) else { continue };
        let loaded = load_training(&[SourceSpec::new(path)], &LoadOptions::default()).unwrap();
        assert_eq!(loaded.sources[0].schema.as_ref().unwrap().kind, SchemaKind::Sharegpt);
        let all: Vec<String> = loaded.examples.iter().flat_map(shown).collect();
        let count = |part: &str| all.iter().filter(|m| m.contains(part)).count();
        assert!(count("assistant: <tool_call>\n") > 50 && count("user: <tool_response>\n") > 50, "{name}");
        assert!(count("system: # Tools") + count("\n\n# Tools") > 50, "{name}");
    }
}
