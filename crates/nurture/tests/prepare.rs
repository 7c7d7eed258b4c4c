//! `nurture prepare`: cleaned books and a ledger that adds up, with the real binary.

mod common;

use common::Home;
use serde_json::Value;

const ROWS: &str = "{\"question\": \"Who answers the desk phone?\", \"answer\": \"Ask at 13800138000.\"}
{\"question\": \"Who answers the desk phone?\", \"answer\": \"Ask at\u{a0}138 0013 8000.  \"}
{\"question\": \"Whose number is 138-0013-8000?\", \"answer\": \"The desk's.\"}
{\"question\": \"How is the red valve of the main pump closed in winter when the frost alarm sounds twice?\", \"answer\": \"Turn it clockwise until it stops, then wait.\"}
{\"question\": \"How is the red valve of the main pump closed in winter when the frost alarm sounds twice?\", \"answer\": \"Turn it clockwise until it stops, then wait!!\"}
{\"question\": \"Wo ist das Ventil und wie wird es geschlossen?\", \"answer\": \"Es ist nicht hier, sie ist mit der Pumpe weg.\"}
{\"question\": \"broken
{\"question\": \"What is the code?\", \"answer\": \"token: a1b2c3d4e5f6a7\"}
";

const RECIPE: &str = r#"
[model]
base = "nobody-needs-a-model"
[data]
train = ["rows.jsonl"]
on_bad_row = "drop"
[data.clean]
languages = ["en", "zh"]
near_duplicates = "drop"
personal = "redact"
secrets = "drop"
"#;

#[test]
fn books_are_cleaned_and_every_row_is_accounted_for() {
    let home = Home::bare();
    home.write("rows.jsonl", ROWS);
    home.write("small.toml", RECIPE);
    let said = home.nurture("prepare small.toml --no-tokens --show 1 --out clean");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out
            .contains("── rows.jsonl:1\n[user] Who answers the desk phone?\n[assistant] Ask at [PHONE_1]."),
        "{}",
        said.out
    );
    let ledger: Value = serde_json::from_slice(&home.read("clean/ledger.json")).unwrap();
    let source = &ledger["train"]["sources"][0];
    let count = |key: &str| source[key].as_u64().unwrap();
    let dropped: u64 = source["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let all = [
        count("used"),
        count("duplicate"),
        count("near_duplicate"),
        count("cut"),
        count("held_out"),
        dropped,
    ];
    assert_eq!((all, count("rows"), count("redacted")), ([3, 1, 1, 0, 0, 3], 8, 2), "{ledger:#}");
    assert_eq!(source["dropped"]["secret"], 1);
    assert_eq!(source["dropped"]["language"], 1);
    assert_eq!(source["dropped"]["broken_json"], 1);
    let kept = String::from_utf8(home.read("clean/train.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 3);
    assert_eq!(kept.matches("[PHONE_1]").count(), 2, "{kept}");
    assert!(!kept.contains("138") && !said.out.contains("13800138000"), "{kept}");
    // what was written is read again
    home.write("again.toml", RECIPE.replace("rows.jsonl", "clean/train.jsonl"));
    let again = home.nurture("prepare again.toml --no-tokens --out again --lang zh");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(home.read("again/train.jsonl").iter().filter(|b| **b == b'\n').count(), 3);
    assert!(again.out.contains("已写出") && again.out.contains("检查的行"), "{}", again.out);
}

#[test]
fn by_default_nothing_is_taken_away_and_a_warning_says_what_is_there() {
    let home = Home::bare();
    home.write("rows.jsonl", ROWS);
    home.write("small.toml", RECIPE.split("[data.clean]").next().unwrap());
    let said = home.nurture("prepare small.toml --no-tokens");
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in ["telephone numbers 3", "data.clean.secrets", "nearly repeat"] {
        assert!(said.err.contains(part), "no {part:?} in {}", said.err);
    }
}

#[test]
fn tokens_are_those_of_the_trainer() {
    let Some(home) = Home::new() else { return };
    let said = home.nurture("prepare small.toml --show 1");
    assert_eq!(said.code, Some(0), "{said:?}");
    let shown = home.nurture("show example small.toml --n 1");
    assert!(!shown.out.is_empty() && said.out.starts_with(&shown.out), "{}\n{}", said.out, shown.out);
    assert!(said.out.contains("trained") && !said.out.contains('\u{1b}'), "{}", said.out);
}

/// Thirty questions about three pumps, in groups, and an exam of which one item is known and one is nearly known.
fn grouped(home: &Home) {
    let row = |n: usize| {
        let (pump, part) =
            (["red", "green", "blue"][n % 3], ["seal", "valve", "shaft", "gauge", "hose"][n / 3 % 5]);
        format!(
            "{{\"q\": \"How often is the {part} of the {pump} pump checked in hall {n}?\", \"a\": \"every {n} days\", \"pump\": \"{pump}\"}}\n"
        )
    };
    home.write("train.jsonl", (0..30).map(row).collect::<String>());
    home.write(
        "exam.jsonl",
        "{\"question\": \"HOW often is the seal of the red pump checked in hall 0\", \"answer\": \"every 0 days\"}\n\
         {\"question\": \"Who owns the yellow pump?\", \"answer\": \"nobody\"}\n",
    );
}

const GROUPED: &str = r#"
data.train = [{ path = "train.jsonl", kind = "question_answer", user = "q", answer = "a", group = "pump" }]
data.hold_out = { count = 3 }
eval.depth = ["exam.jsonl"]
eval.breadth = []
"#;

#[test]
fn held_out_rows_are_whole_groups_and_overlap_is_told() {
    let home = Home::bare();
    grouped(&home);
    home.write("small.toml", format!("model.base = \"none\"\n{GROUPED}"));
    let said = home.nurture("prepare small.toml --no-tokens --out out");
    assert_eq!(said.code, Some(0), "{said:?}");
    let pumps = |file: &str| -> Vec<String> {
        let text = home.text(file);
        let of =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["group"].as_str().unwrap().to_string();
        let mut all: Vec<String> = text.lines().map(of).collect();
        assert_eq!(all.len() % 10, 0, "a group was parted: {all:?}");
        all.sort();
        all.dedup();
        all
    };
    let (kept, held) = (pumps("out/train.jsonl"), pumps("out/held-out.jsonl"));
    assert_eq!((kept.len(), held.len()), (2, 1));
    assert!(!kept.contains(&held[0]));
    let ledger = home.json("out/ledger.json");
    assert_eq!(ledger["train"]["sources"][0]["held_out"], 10);
    let exams = ledger["exams"].as_array().unwrap();
    assert_eq!(
        (exams.len(), exams[1]["exam"].as_str(), exams[1]["items"].as_u64()),
        (2, Some("held-out"), Some(10))
    );
    // the question of the exam is in training unless its pump was held out
    let known = u64::from(held[0] != "red");
    assert_eq!(exams[0]["overlap"].as_array().unwrap().len() as u64, known, "{exams:#?}");
    for (set, part) in
        [("data.hold_out.share=0", "too few"), ("data.hold_out.by=document", "data.hold_out.by")]
    {
        let count = if set.contains("share") { "data.hold_out={share=0.0}" } else { "train.seed=1" };
        home.nurture(&format!("prepare small.toml --no-tokens --set {count} --set {set}")).refused(&[part]);
    }
}

#[test]
fn held_out_rows_are_sat_by_both_models() {
    let Some(home) = Home::new() else { return };
    let recipe = home.text("small.toml").replace("[data]", "[data]\nhold_out = { count = 3 }");
    home.write("small.toml", recipe.split("[eval]").next().unwrap().to_string() + "[eval]\nbreadth = []\n");
    let said = home.nurture("run small.toml");
    said.done();
    let report = home.json("runs/small/report.json");
    let exam = &report["exams"][0];
    let held = report["ledger"][0]["rows"].as_u64().unwrap() - report["train_examples"].as_u64().unwrap();
    assert!(held >= 3, "{report:#}");
    assert_eq!(
        (exam["name"].as_str(), exam["kind"].as_str(), exam["of"].as_u64()),
        (Some("held-out"), Some("label"), Some(held))
    );
    let lock = home.text("runs/small/recipe.lock.toml");
    assert!(lock.contains("[data.hold_out]"), "{lock}");
    // the lock file is a recipe, and finds everything done
    let again = home.nurture("run runs/small");
    again.done();
    let told = again.out + &again.err;
    assert!(told.contains("done before"), "{told}");
}

#[test]
fn whole_documents_are_held_out_of_plain_text() {
    let home = Home::bare();
    std::fs::create_dir(home.path("books")).unwrap();
    for n in 0..12 {
        home.write(
            &format!("books/{n}.md"),
            format!("# Book {n}\n\nThe pump of hall {n} is checked every {n} days.\n"),
        );
    }
    home.write(
        "text.toml",
        "model.base = \"none\"\n[data]\ntrain = [\"books\"]\nhold_out = { count = 3 }\n[train]\nmethod = \"pretrain\"\n[eval]\nbreadth = []\n",
    );
    let said = home.nurture("prepare text.toml --no-tokens --out out");
    assert_eq!(said.code, Some(0), "{said:?}");
    let rows = |file: &str| home.text(file).lines().count();
    assert_eq!((rows("out/train-texts.jsonl"), rows("out/held-out-texts.jsonl")), (9, 3));
    assert_eq!(home.json("out/ledger.json")["train"]["sources"][0]["held_out"], 3);
    home.write("qa.jsonl", "{\"question\": \"Who?\", \"answer\": \"Ann\"}\n");
    let set = "--set data.train[1].path=qa.jsonl --set data.train[1].kind=question_answer";
    home.nurture(&format!("prepare text.toml --no-tokens {set}")).refused(&["data.hold_out", "12 of 13"]);
}

/// A teacher that answers with what `reply` makes of the passage, and counts how often it is asked.
fn teacher(
    reply: fn(&str, usize) -> (u16, String),
) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{Read as _, Write as _};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
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
            let (status, text) =
                reply(body["messages"][1]["content"].as_str().unwrap(), count.fetch_add(1, Ordering::SeqCst));
            let answer = serde_json::json!({ "choices": [{ "message": { "content": text } }] }).to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all((head + &answer).as_bytes());
        }
    });
    (url, asked)
}

/// Honest about hall 0, wrong about hall 1, and hostile about the others.
fn replies(asked: &str, _: usize) -> (u16, String) {
    let text = match asked.split("hall ").nth(1).and_then(|t| t.chars().next()) {
        Some('0') => {
            "Q: How often is the pump of hall 0 checked?\nA: every 0 days\nQ: Where is it?\nA: in hall 0"
                .into()
        }
        Some('1') => "1. **Q:** Who made the pump?\n**A:** Nobody said so.".into(),
        Some('2') => "{\"a\": [".repeat(60_000),
        Some('3') => "\u{0}\u{202e}Q:\u{7}\nA:".into(),
        _ => String::new(),
    };
    (200, text)
}

const TAUGHT: &str =
    "model.base = \"none\"\ndata.train = [{ path = \"books\", kind = \"questions\" }]\neval.breadth = []\n";

#[test]
fn a_teacher_asks_and_only_what_stands_in_the_passage_is_kept() {
    use std::sync::atomic::Ordering;
    let home = Home::bare();
    std::fs::create_dir(home.path("books")).unwrap();
    for n in 0..5 {
        home.write(&format!("books/{n}.md"), format!("The pump in hall {n} is checked every {n} days.\n"));
    }
    let (url, asked) = teacher(replies);
    home.write(
        "small.toml",
        format!(
            "{TAUGHT}data.questions = {{ rules = [], teacher = {{ url = \"{url}\", model = \"t\" }} }}\n"
        ),
    );
    let said = home.nurture("prepare small.toml --no-tokens --out out");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    let source = &home.json("out/ledger.json")["train"]["sources"][0];
    assert_eq!((source["rows"].as_u64(), source["used"].as_u64()), (Some(6), Some(2)), "{source:#}");
    assert_eq!(
        (&source["dropped"]["answer_not_in_passage"], &source["dropped"]["no_pair"]),
        (&1.into(), &3.into())
    );
    let first: Value = serde_json::from_str(home.text("out/train.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(first["rule"], "model");
    assert_eq!(first["passage"], "The pump in hall 0 is checked every 0 days.");
    // nothing is asked twice; a line that a kill cut off is asked again
    home.nurture("prepare small.toml --no-tokens");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    let journal = home.text("runs/small/teacher.jsonl");
    home.write("runs/small/teacher.jsonl", &journal[..journal.len() - 4]);
    home.nurture("prepare small.toml --no-tokens");
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    assert_eq!(home.text("runs/small/teacher.jsonl"), journal);
    // fewer passages, spread over the documents
    let said = home.nurture("prepare small.toml --no-tokens --set data.questions.teacher.passages=2");
    assert!(said.err.contains("2 of 5 passages"), "{said:?}");
    home.nurture("prepare small.toml --no-tokens --set data.questions.teacher.key_env=NURTURE_NO_SUCH_KEY")
        .refused(&["NURTURE_NO_SUCH_KEY"]);
}

#[test]
fn a_teacher_that_fails_stops_the_run_and_what_came_is_kept() {
    use std::sync::atomic::Ordering;
    let home = Home::bare();
    std::fs::create_dir(home.path("books")).unwrap();
    for n in 0..6 {
        home.write(&format!("books/{n}.md"), format!("The pump in hall {n} is checked every {n} days.\n"));
    }
    let (url, asked) = teacher(|asked, n| if n < 4 { replies(asked, n) } else { (400, "no".into()) });
    home.write(
        "small.toml",
        format!("{TAUGHT}data.questions = {{ teacher = {{ url = \"{url}\", model = \"t\" }} }}\n"),
    );
    home.nurture("prepare small.toml --no-tokens").refused(&["HTTP 400", "kept"]);
    assert_eq!(home.text("runs/small/teacher.jsonl").lines().count(), 4);
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    home.write("none.toml", "model.base = \"none\"\ndata.train = [\"x.jsonl\"]\ndata.questions.teacher = { url = \"http://127.0.0.1:1\", model = \"t\" }\n");
    home.write("x.jsonl", "{\"question\": \"Who?\", \"answer\": \"Ann\"}\n");
    home.nurture("prepare none.toml --no-tokens").refused(&["kind = \"questions\""]);
}
