//! Pairs and judged answers, in the shapes in which they are published.

mod common;

use common::{load, load_with};
use nurture_data::{Answer, DataError, Example, LoadOptions, Loaded, OnBadRow, SchemaKind};

fn read(rows: &str) -> Result<Loaded, DataError> {
    load_with("p.jsonl", rows, &LoadOptions { preference: true, ..LoadOptions::default() })
}

/// Each message of the prompt, and the answers.
fn shown(e: &Example) -> Vec<String> {
    let mut out: Vec<String> = e.messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect();
    out.push(match &e.answer {
        Answer::Pair { chosen, rejected } => format!("{chosen} > {rejected}"),
        Answer::Judged { answer, good } => format!("{answer} {}", if *good { "+" } else { "-" }),
        other => panic!("{other:?}"),
    });
    out
}

#[test]
fn every_published_shape_of_a_pair_is_the_same_pair() {
    let shapes = [
        r#"{"prompt": "Q", "chosen": "good", "rejected": "bad"}"#,
        r#"{"question": "Q", "chosen": "good", "rejected": "bad", "score": 3}"#,
        r#"{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}}"#,
        r#"{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}]}"#,
        // no prompt: what both conversations begin with
        r#"{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]}"#,
        // the prompt beside whole conversations
        r#"{"prompt": "Q", "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]}"#,
        r#"{"query": "Q", "response": "good", "rejected_response": "bad"}"#,
    ];
    for row in shapes {
        let loaded = read(row).unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!(shown(&loaded.examples[0]), ["user: Q", "good > bad"], "{row}");
        let found = loaded.sources[0].schema.clone().unwrap();
        assert_eq!(found.kind, SchemaKind::Preference);
        assert!(!found.why.to_string().is_empty() && found.mapping.check().is_ok(), "{}", found.why);
        let with = loaded.examples[0].with_rejected().unwrap();
        assert_eq!(with.last().map(|m| (m.role.as_str(), m.content.as_str())), Some(("assistant", "bad")));
    }
}

#[test]
fn judged_answers() {
    let rows = [
        (r#"{"prompt": "Q", "completion": "A", "label": true}"#, "A +"),
        (
            r#"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "label": false}"#,
            "A -",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "kto_tag": true}"#,
            "A +",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}], "label": false}"#,
            "A -",
        ),
    ];
    for (row, want) in rows {
        let loaded = read(row).unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!(shown(&loaded.examples[0]), ["user: Q", want], "{row}");
        assert_eq!(loaded.sources[0].schema.clone().unwrap().kind, SchemaKind::Judged);
    }
    // a mark that is no truth value is a category, as before
    let loaded = load("c.jsonl", r#"{"text": "Q", "label": true}"#).unwrap();
    assert!(matches!(loaded.examples[0].answer, Answer::Label(_)));
}

#[test]
fn several_pairs_of_one_prompt_are_no_conflict_and_repetitions_are_counted() {
    let rows = r#"{"system": "S", "prompt": "Q", "chosen": "a", "rejected": "b"}
{"system": "S", "prompt": "Q", "chosen": "a", "rejected": "c"}
{"system": "S", "prompt": "Q", "chosen": "a", "rejected": "b"}"#;
    let loaded = read(rows).unwrap();
    assert_eq!((loaded.examples.len(), loaded.conflicts.count), (2, 0));
    assert_eq!(loaded.ledger.total().duplicate, 1);
    assert_eq!(shown(&loaded.examples[1]), ["system: S", "user: Q", "a > c"]);
}

#[test]
fn what_is_no_preference_is_named_with_line_and_field() {
    let good = r#"{"prompt": "Q", "chosen": "good", "rejected": "bad"}"#;
    let turns = r#"[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "a"}]"#;
    for (row, want) in [
        (
            r#"{"prompt": "Q", "chosen": "same", "rejected": " same "}"#.to_string(),
            "is the same answer as \"chosen\"",
        ),
        (r#"{"prompt": "Q", "chosen": "good"}"#.to_string(), "rejected"),
        (r#"{"prompt": "Q", "chosen": "good", "rejected": "  "}"#.to_string(), "rejected"),
        (r#"{"prompt": "Q", "chosen": "good", "rejected": []}"#.to_string(), "rejected"),
        (r#"{"prompt": "Q", "chosen": "good", "rejected": [1, 2]}"#.to_string(), "turn 1: is not an object"),
        (
            r#"{"prompt": "Q", "chosen": "good", "rejected": [{"role": "wizard", "content": "x"}]}"#
                .to_string(),
            "\"wizard\"",
        ),
        (
            r#"{"prompt": "Q", "chosen": "good", "rejected": [{"role": "user", "content": "x"}]}"#
                .to_string(),
            "turn of the user",
        ),
        (
            format!(r#"{{"prompt": "other", "chosen": "good", "rejected": {turns}}}"#),
            "2 turns behind the prompt",
        ),
        (r#"{"prompt": "", "chosen": "good", "rejected": "bad"}"#.to_string(), "prompt"),
    ] {
        let rows = format!("{good}\n{row}\n");
        let error = read(&rows).map(|l| l.examples.len()).unwrap_err();
        assert!(matches!(error, DataError::BadRow { line: 2, .. }), "{row}: {error}");
        assert!(error.to_string().contains(want), "{row}: {error}");
        let drop = LoadOptions { preference: true, on_bad_row: OnBadRow::Drop, ..LoadOptions::default() };
        assert_eq!(load_with("p.jsonl", &rows, &drop).unwrap().examples.len(), 1);
    }
    let judged = r#"{"prompt": "Q", "completion": "A", "label": true}
{"prompt": "Q", "completion": "A", "label": "perhaps"}"#;
    // of two rows one says something else: no column of true and false alone
    assert!(load("p.jsonl", judged).is_ok());
    let long = format!(
        "{}{}",
        r#"{"prompt": "Q", "completion": "A", "label": true}
"#
        .repeat(300),
        r#"{"prompt": "Q", "completion": "A", "label": "perhaps"}"#
    );
    let error = read(&long).unwrap_err().to_string();
    assert!(error.contains("\"perhaps\" where true or false is needed"), "{error}");
}

#[test]
fn methods_that_imitate_refuse_it() {
    for row in [
        r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#,
        r#"{"prompt": "a", "completion": "b", "label": false}"#,
    ] {
        let error = load("dpo.jsonl", row).unwrap_err();
        assert!(
            matches!(error, DataError::Preference { .. }) && error.to_string().contains("kto"),
            "{error}"
        );
    }
}
