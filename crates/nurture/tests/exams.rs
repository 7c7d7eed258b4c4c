//! Exams by the real binary on the real SmolLM2: every manner of asking, and one that is killed on its way.
//! Skipped, and said so, where the model is not on this machine.

mod common;

use common::{Home, finish, spawn, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// An endpoint that prefers the longer answer, and counts how often it is asked.
fn judge(key: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (mut head, mut byte) = (Vec::new(), [0u8; 1]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let mut body = vec![0u8; length.map_or(0, |l| l.trim().parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let text = body["messages"][1]["content"].as_str().unwrap();
            let part =
                |a: &str, b: &str| text.split(a).nth(1).unwrap().split(b).next().unwrap().chars().count();
            let lengths =
                ["A", "B"].map(|l| part(&format!("[Answer {l}]\n"), &format!("\n[End of answer {l}]")));
            let vote = ["[[A]]", "[[B]]", "[[C]]"][match lengths[0].cmp(&lengths[1]) {
                std::cmp::Ordering::Greater => 0,
                std::cmp::Ordering::Less => 1,
                std::cmp::Ordering::Equal => 2,
            }];
            let good = head.contains(&format!("authorization: bearer {key}"))
                && head.starts_with("post /v1/chat/completions");
            let answer =
                json!({ "choices": [{ "message": { "content": format!("Longer is better.\n{vote}") } }] });
            let (status, answer) = match good {
                true => ("200 OK", answer),
                false => ("401 Unauthorized", json!({ "error": { "message": "who are you?" } })),
            };
            let answer = answer.to_string();
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, asked)
}

#[test]
fn a_judge_is_asked_once_in_both_orders_and_runs_are_compared() {
    let Some(home) = Home::new() else { return };
    let rows = QUESTIONS.map(|(q, o, a)| json!({ "question": q, "answer": o[a] }).to_string() + "\n");
    home.write("free.jsonl", rows[..4].concat());
    home.write(
        "prompts.jsonl",
        "{\"prompt\": \"Name a colour.\", \"ability\": \"words\"}\n{\"prompt\": \"Count to three.\"}\n",
    );
    recipe(
        &home,
        "judged.toml",
        "{ path = \"free.jsonl\", kind = \"free\", score = \"judge\", max_tokens = 12 }",
    );
    let (url, asked) = judge("sesame");
    let text = home.text("judged.toml").replace("breadth = []", "breadth = [\"prompts.jsonl\"]");
    home.write(
        "judged.toml",
        text + &format!("judge = {{ url = \"{url}/v1\", model = \"j\", key_env = \"JUDGE_KEY\" }}\n"),
    );
    let run = |key: Option<&str>, args: &str| {
        let mut command = home.command(args);
        key.map(|key| command.env("JUDGE_KEY", key));
        finish(command)
    };
    let train = "--set train.epochs=0.5 --set train.rate=1e-2";
    run(None, &format!("run judged.toml {train}")).refused(&["JUDGE_KEY"]);
    run(Some("wrong"), &format!("run judged.toml {train}")).refused(&["401", "who are you?"]);
    asked.store(0, Ordering::SeqCst);
    assert_eq!(run(Some("sesame"), &format!("run judged.toml {train}")).code, Some(0));

    let answers = |role: &str| -> Vec<String> {
        let text = home.text(&format!("runs/judged/eval/free.{role}.jsonl"));
        let rows = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        rows.map(|r| r["answer"].as_str().unwrap().to_string()).collect()
    };
    let pairs: Vec<(String, String)> = answers("base").into_iter().zip(answers("tuned")).collect();
    let differ = pairs.iter().filter(|(b, t)| b != t).count();
    let won = pairs.iter().filter(|(b, t)| t.chars().count() > b.chars().count()).count() as u64;
    let lost = pairs.iter().filter(|(b, t)| t.chars().count() < b.chars().count()).count() as u64;
    assert!(differ > 0, "training changed nothing");
    assert_eq!(asked.load(Ordering::SeqCst), 2 * differ);
    let report = home.json("runs/judged/report.json");
    let paired = &report["exams"][0]["paired"];
    assert_eq!((paired["only_tuned"].as_u64(), paired["only_base"].as_u64()), (Some(won), Some(lost)));
    let drift = &report["drifts"][0];
    assert!(drift["kl"].as_f64().unwrap() > 0.0 && drift["groups"].as_array().unwrap().len() == 2, "{drift}");
    // what was judged is not judged again
    assert_eq!(run(Some("sesame"), "eval runs/judged").code, Some(0));
    assert_eq!(asked.load(Ordering::SeqCst), 2 * differ);

    assert_eq!(
        run(Some("sesame"), &format!("run judged.toml --set run.name=other --set train.seed=2 {train}")).code,
        Some(0)
    );
    let said = home.nurture("eval compare runs/judged runs/other");
    assert_eq!(said.code, Some(0), "{said:?}");
    let page = home.text("runs/compare.html");
    for part in ["judged", "other", "train.seed", "differ in their seed alone"] {
        assert!(said.out.contains(part) && page.contains(part), "{part}: {}", said.out);
    }
    home.nurture("eval compare runs/judged").refused(&["two runs"]);
    home.nurture("eval compare runs/judged runs/none").refused(&["runs/none", "report.json"]);
    home.nurture("eval runs/judged runs/other").refused(&["eval compare"]);
}

#[test]
fn several_seeds_are_runs_of_their_own_and_the_verdict_speaks_of_all() {
    let Some(home) = Home::new() else { return };
    home.nurture("run small.toml --set eval.seeds=2").done();
    let report = home.json("runs/small/report.json");
    let seeds = &report["seeds"];
    assert_eq!(seeds["runs"], json!(["small", "small-seed2"]));
    assert_eq!(seeds["gains"].as_array().unwrap().len(), 2, "{seeds:#}");
    let other = home.json("runs/small-seed2/report.json");
    assert_eq!(seeds["gains"][1], other["exams"][0]["paired"]["diff"]);
    assert!(home.text("runs/small-seed2/recipe.lock.toml").contains("seed = 2"));
    assert!(home.text("runs/small/report.md").contains("Over 2 runs with different seeds"));
    assert!(
        home.read("runs/small/adapter/adapter_model.safetensors")
            != home.read("runs/small-seed2/adapter/adapter_model.safetensors")
    );
    // done once, it is done: nothing trains again, and the report says the same
    let again = home.nurture("run small.toml --set eval.seeds=2");
    again.done();
    assert_eq!(home.json("runs/small/report.json")["seeds"], *seeds);
    // one seed is what a run is; its report speaks of no other
    home.nurture("run small.toml").done();
    assert!(home.json("runs/small/report.json").get("seeds").is_none());
    // the items of the exam stand in the report, and in no public copy
    let row = report["exams"][0]["all"][0]["question"].as_str().unwrap().to_string();
    assert!(
        row.len() > 10
            && home.text("runs/small/report.html").contains(row.split(['\'', '"', '&', '<']).next().unwrap())
    );
    let said = home.nurture("report runs/small --public --to out");
    assert_eq!(said.code, Some(0), "{said:?}");
    let folder = home.path("").display().to_string();
    for file in ["out/report-public.html", "out/report-public.md"] {
        let page = home.text(file);
        assert!(!page.contains(row.split(['\'', '"', '&', '<']).next().unwrap()), "{file}");
        assert!(!page.contains(folder.trim_end_matches('/')), "{file}");
        assert!(page.contains("left out of this copy"), "{file}");
    }
    assert!(home.nurture("report runs/small --lang zh").out.contains("报告"));
    assert!(home.text("runs/small/report.md").contains("深度：本领域"));
    home.nurture("report runs/none").refused(&["report.json", "nurture run"]);
    home.write("runs/small/report.json", "{\"exams\": 7}");
    home.nurture("report runs/small").refused(&["not the report of this version"]);
}
