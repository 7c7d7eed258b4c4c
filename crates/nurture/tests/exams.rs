//! Exams by the real binary on the real SmolLM2: every manner of asking, and one that is killed on its way.
//! Skipped, and said so, where the model is not on this machine.

mod common;

use common::{Home, spawn, until};
use serde_json::{Value, json};
use std::fs;

/// Questions that a small model may or may not know; written for this test.
const QUESTIONS: [(&str, [&str; 3], usize); 8] = [
    ("Which of these is a fruit?", ["apple", "stone", "river"], 0),
    ("What colour is fresh snow?", ["black", "white", "green"], 1),
    ("How many legs has a spider?", ["four", "six", "eight"], 2),
    ("Where do fish live?", ["in water", "in fire", "in books"], 0),
    ("What do bees make?", ["milk", "honey", "paper"], 1),
    ("Which day comes after Monday?", ["Sunday", "Friday", "Tuesday"], 2),
    ("What is frozen water called?", ["ice", "steam", "sand"], 0),
    ("Which animal barks?", ["the cat", "the dog", "the hen"], 1),
];

fn choices(home: &Home) {
    let rows =
        QUESTIONS.map(|(q, o, a)| json!({ "question": q, "options": o, "answer": a }).to_string() + "\n");
    home.write("choice.jsonl", rows.concat());
    let shots = [
        ("What is the sun?", ["a star", "a lamp", "a wheel"], 0),
        ("Who flies?", ["a cow", "a bird", "a pig"], 1),
    ];
    let rows = shots.map(|(q, o, a)| json!({ "question": q, "options": o, "answer": a }).to_string() + "\n");
    home.write("shots.jsonl", rows.concat());
}

/// The recipe of the home with these exams instead of its own.
fn recipe(home: &Home, name: &str, exams: &str) {
    let small = home.text("small.toml");
    let head = small.split("[eval]").next().unwrap();
    home.write(name, format!("{head}[eval]\nbreadth = []\ngate = \"nothing\"\ndepth = [{exams}]\n"));
}

#[test]
fn one_exam_in_every_manner() {
    let Some(home) = Home::new() else { return };
    choices(&home);
    let exam = |name: &str, how: &str| format!("{{ path = \"choice.jsonl\", name = \"{name}\", {how} }},");
    let all = [
        exam("letters", ""),
        exam("texts", "options_as = \"texts\""),
        exam("likely", "options_as = \"texts\", pick = \"likelihood\""),
        exam("token", "options_as = \"texts\", pick = \"per_token\", ask = \"plain\""),
        exam(
            "char",
            "options_as = \"texts\", pick = \"per_char\", ask = \"plain\", shots = 2, shots_from = \"shots.jsonl\"",
        ),
    ];
    recipe(&home, "manners.toml", &all.concat().replace(", }", " }"));
    // the gate lets every verdict pass
    let said = home.nurture("run manners.toml --set train.epochs=0.1");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("so few items") || said.out.contains("a gain of"), "{}", said.out);
    for (name, manner) in [
        ("letters", json!({ "ask": "chat", "pick": "greedy", "shots": 0 })),
        ("char", json!({ "ask": "plain", "pick": "per_char", "shots": 2 })),
    ] {
        assert_eq!(home.json(&format!("runs/manners/eval/{name}.base.json"))["manner"], manner, "{name}");
    }
    let items = |name: &str| -> Vec<Value> {
        let text = home.text(&format!("runs/manners/eval/{name}.base.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for name in ["letters", "texts", "likely", "token", "char"] {
        for item in items(name) {
            let p = item["probability"].as_f64().unwrap();
            assert!(p > 0.0 && p <= 1.0, "{item}");
            assert!(!item["question"].as_str().unwrap().contains("What is the sun?"), "{item}");
        }
        assert!(home.json(&format!("runs/manners/eval/{name}.base.json"))["ece"].is_number(), "{name}");
    }
    // worked examples make prompts longer, and only there
    let tokens = |name: &str| items(name).iter().map(|i| i["prompt_tokens"].as_u64().unwrap()).sum::<u64>();
    assert!(tokens("char") > tokens("token") + 8 * 10);
    // in plain text, with examples, a small model knows most of it
    let right = items("char").iter().filter(|i| i["correct"] == true).count();
    assert!(right >= 5, "{right} of 8");
    assert!(!home.exists("runs/manners/eval/letters.base.part.jsonl"));

    let refused = |exam: &str, parts: &[&str]| {
        recipe(&home, "bad.toml", exam);
        let said = home.nurture("run bad.toml");
        assert!(matches!(said.code, Some(1 | 2)), "{said:?}");
        parts.iter().for_each(|part| assert!(said.err.contains(part), "{part}: {}", said.err));
    };
    refused(&exam("a", "shots = 2").replace(", }", " }"), &["eval.depth[0].shots_from"]);
    refused(&exam("a", "shots = 2, shots_from = \"choice.jsonl\""), &["shots_from", "proves nothing"]);
    refused(&exam("a", "shots = 3, shots_from = \"shots.jsonl\""), &["3 worked examples", "holds 2"]);
    home.write("free.jsonl", "{\"question\": \"How much?\", \"answer\": \"many\"}\n");
    refused("{ path = \"free.jsonl\", kind = \"free\", score = \"number\" }", &["free.jsonl", "no number"]);
}

#[test]
fn a_killed_exam_goes_on_with_the_next_item() {
    let Some(home) = Home::new() else { return };
    let rows = QUESTIONS.map(|(q, o, a)| json!({ "question": q, "answer": o[a] }).to_string() + "\n");
    home.write("free.jsonl", rows.concat());
    let exam = "{ path = \"free.jsonl\", kind = \"free\", score = \"contains\", max_tokens = 24 }";
    recipe(&home, "free.toml", exam);
    let set = "--set train.epochs=0.1";
    let alone = home.nurture(&format!("run free.toml --set run.name=alone {set}"));
    assert_eq!(alone.code, Some(0), "{alone:?}");
    let eval = |run: &str, file: &str| home.read(&format!("runs/{run}/eval/{file}"));

    let part = home.path("runs/killed/eval/free.base.part.jsonl");
    let mut child = spawn(&mut home.command(&format!("run free.toml --set run.name=killed {set}")));
    let answered = || fs::read_to_string(&part).map_or(0, |t| t.lines().count().saturating_sub(1));
    assert!(until(|| answered() >= 1 || child.try_wait().unwrap().is_some()), "no answer ever came");
    child.kill().unwrap();
    child.wait().unwrap();
    let before = answered();
    assert!(before >= 1, "the exam was over before it could be killed");
    let resumed = home.nurture(&format!("run free.toml --set run.name=killed {set}"));
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let told = format!("goes on after {before} of 8 answers");
    assert!(resumed.out.contains(&told) || resumed.err.contains(&told), "{resumed:?}");
    for file in ["free.base.jsonl", "free.tuned.jsonl"] {
        assert!(eval("alone", file) == eval("killed", file), "{file} differs");
    }
    assert!(!part.exists() && home.litter().is_empty());
}
