//! Encoder-decoders with the real binary: one is born and learns, survives `kill -9`, is examined and writes; rows are translated by it
//! and by an endpoint, with a way back that weeds out what went wrong.

mod common;

use common::{Home, finish, spawn, until};
use nurture::pairs::PairModel;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Words of two syllables of our own: what stands behind follows from what stands before, syllable by syllable.
fn pairs() -> String {
    let syllables = [
        ("ka", "東"),
        ("lo", "西"),
        ("mi", "南"),
        ("nu", "北"),
        ("pe", "山"),
        ("sa", "水"),
        ("ti", "火"),
        ("vo", "木"),
        ("zu", "土"),
    ];
    let mut rows = String::new();
    for (a, x) in syllables {
        for (b, y) in syllables {
            for (c, z) in syllables {
                rows += &json!({ "from": format!("{a} {b} {c}"), "to": format!("{x}{y}{z}") }).to_string();
                rows.push('\n');
            }
        }
    }
    rows
}

fn home(form: &str) -> Home {
    let home = Home::bare();
    home.write("pairs.jsonl", pairs());
    home.write(
        "small.toml",
        format!(
            r#"
[model]
seq2seq = {{ {form}, depth = 1, width = 64, heads = 4, vocab = 600, beams = 3, max_tokens = 12 }}

[data]
train = [{{ path = "pairs.jsonl", kind = "question_answer", user = "from", answer = "to" }}]
hold_out = {{ share = 0.1, by = "question", name = "words" }}
clean = {{ near_duplicates = "off" }}

[train]
epochs = 20
batch = 16
rate = 3e-3
checkpoint_every = 20
"#
        ),
    );
    home
}

const T5: &str = r#"form = "t5""#;
const APART: &str = r#"form = "transformer", shared = false"#;

fn model(home: &Home, run: &str) -> Vec<(String, Vec<u8>)> {
    let folder = home.path(&format!("runs/{run}/model"));
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|p| (p.file_name().unwrap().to_string_lossy().into(), fs::read(&p).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn it_learns_is_examined_and_writes() {
    let home = home(T5);
    let said = home.nurture("run small.toml --lang en");
    said.done();
    let exam = home.json("runs/small/eval/words.tuned.json");
    let of = |key: &str| exam[key].as_u64().unwrap();
    assert!(of("items") >= 10 && of("best") * 2 > of("items"), "{exam}");
    assert!(of("among") >= of("best") && exam["interval"][0].as_f64().unwrap() > 0.0, "{exam}");
    let lines = home.text("runs/small/eval/words.tuned.jsonl");
    assert_eq!(lines.lines().count() as u64, of("items"));
    let ledger = home.json("runs/small/ledger.json");
    let source = &ledger["sources"][0];
    assert_eq!(source["rows"], 729);
    assert_eq!(source["used"].as_u64().unwrap() + source["held_out"].as_u64().unwrap(), 729);
    assert!(home.json("runs/small/forecast.json")["memory_bytes"].as_u64().unwrap() > 0);
    let report = home.text("runs/small/report.md");
    assert!(report.contains("best beam right") && report.contains("model.seq2seq.ffn"), "{report}");
    // once more: nothing is done again
    let again = home.nurture("run small.toml --lang zh");
    assert!(format!("{}{}", again.out, again.err).contains("之前已完成"), "{again:?}");
    assert!(home.text("runs/small/report.md").contains("最佳束答对"));
    // its report is its own kind, which no page of a base and a gain may replace
    home.nurture("report runs/small --lang en").done();
    let written = home.text("runs/small/report.md");
    assert!(written.contains("best beam right") && !written.contains("No gain"), "{written}");
    assert!(!home.exists("runs/small/report.html"));
    home.nurture("eval compare runs/small runs/small --lang en").refused(&["encoder-decoder", "report.md"]);
    // the lock file is the recipe again
    home.nurture("train runs/small/recipe.lock.toml --set run.name=again --lang en").done();
    assert!(model(&home, "small") == model(&home, "again"));

    home.write("lines.txt", "ka lo mi\n\nsa pe nu\n");
    let said = home.nurture("translate lines.txt --model runs/small --lang en");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(said.code == Some(0) && lines.len() == 3 && lines[1].is_empty(), "{said:?}");
    let said = home.nurture("translate lines.txt --model runs/small --beams 3 --lang en");
    let beams: Vec<usize> = said.out.lines().map(|l| l.split('\t').count()).collect();
    assert_eq!(beams, [3, 1, 3], "{said:?}");
    // an answer is known by the weights and the beams, wherever they lie
    let open = |run: &str| PairModel::open(&home.path(&format!("runs/{run}")), 1).unwrap();
    let of = |model: PairModel| model.sha256().unwrap();
    assert_eq!(of(open("small")), of(open("again")));
    assert_ne!(of(open("small")), of(open("small").with_beams(2)));
    let weights = home.path("runs/again/model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_ne!(of(open("small")), of(open("again")));
    home.nurture("generate runs/small --prompt ka --lang en").refused(&["nurture translate"]);
    // a decoder's commands say what they are for
    home.nurture("prepare small.toml --lang en").refused(&["model.seq2seq"]);
}

#[test]
fn its_exams_are_drawn_and_its_files_weigh_as_in_every_run() {
    let home = home(T5);
    let rows = pairs();
    let some =
        |from: usize, n: usize| rows.lines().skip(from).take(n).flat_map(|l| [l, "\n"]).collect::<String>();
    home.write("pairs.jsonl", some(0, 60));
    // five that training holds too, and thirty of its own, the first of which has a second answer
    let second = json!({ "from": "mi ka ka", "to": "no syllables" }).to_string();
    assert!(some(162, 1).contains("mi ka ka"));
    home.write("exam.jsonl", some(10, 5) + &some(162, 30) + &second + "\n");
    let mut command =
        home.command("run small.toml --lang en --set data.hold_out={share=0.1,by=\"question\",items=3}");
    for set in [
        "train.epochs=1",
        "data.train[0].weight=2.5",
        r#"eval.depth=[{path="exam.jsonl",kind="free",user="from",answer="to",items=12}]"#,
    ] {
        command.arg("--set").arg(set);
    }
    let said = finish(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(format!("{}{}", said.out, said.err).contains("5 of 35 items"), "{said:?}");
    let exam = home.json("runs/small/eval/exam.tuned.json");
    assert_eq!(exam["items"], 12, "{exam}");
    let lines = home.text("runs/small/eval/exam.tuned.jsonl");
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 12);
    let trained = some(0, 60);
    for line in &lines {
        let question = line["question"].as_str().unwrap();
        assert!(!trained.contains(&format!("\"{question}\"")), "{question}");
        let right = if question == "mi ka ka" { 2 } else { 1 };
        assert_eq!(line["gold"].as_array().unwrap().len(), right, "{line}");
    }
    assert_eq!(home.json("runs/small/eval/held-out.tuned.json")["items"], 3);
    assert_eq!(home.json("runs/small/exam-overlap.json")[0][1].as_array().unwrap().len(), 5);
    let source = &home.json("runs/small/ledger.json")["sources"][0];
    let (used, again) = (source["used"].as_u64().unwrap(), source["repeated"].as_u64().unwrap());
    assert!(used > 40 && again.abs_diff(used * 3 / 2) <= 1, "{source}");
}

#[test]
fn killed_it_goes_on_to_the_same_bytes() {
    let home = home(APART);
    let at = |name: &str, threads: u64| {
        let mut command =
            home.command(&format!("train small.toml --set train.epochs=5 --set train.threads={threads}"));
        command.arg("--set").arg(format!("run.name={name}"));
        command
    };
    assert_eq!(finish(at("alone", 2)).code, Some(0));
    let checkpoints = home.path("runs/killed/checkpoints");
    let mut process = spawn(&mut at("killed", 2));
    assert!(until(|| fs::read_dir(&checkpoints).is_ok_and(|d| d.count() > 0)));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!home.exists("runs/killed/model"), "too late to kill it");
    assert_eq!(finish(at("killed", 1)).code, Some(0));
    let (alone, killed) = (model(&home, "alone"), model(&home, "killed"));
    assert!(alone.iter().any(|(name, _)| name == "source_tokenizer.json"));
    for ((name, a), (_, b)) in alone.iter().zip(&killed) {
        assert!(a == b, "{name} differs");
    }
    // another recipe does not go on in the same folder
    home.nurture(
        "train small.toml --set train.epochs=5 --set run.name=killed --set train.rate=1e-3 --lang en",
    )
    .refused(&["train.rate"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let home = home(T5);
    for (set, word) in [
        ("model.base=smollm2-135m-instruct", "model.base"),
        ("train.method=dpo", "train.method"),
        ("train.adapter={kind=\"lora\"}", "train.adapter"),
        ("model.seq2seq.shared=false", "form"),
        ("model.seq2seq.heads=0", "heads"),
        ("data.train[0].answer=nothing", "nothing"),
    ] {
        let mut command = home.command("train small.toml --lang en --set");
        command.arg(set);
        let said = finish(command);
        assert!(matches!(said.code, Some(1 | 2)) && said.err.contains(word), "{set}: {said:?}");
    }
}

/// An endpoint that "translates" into Chinese by a prefix and back by taking it away; what holds the word "lost" is lost on the way.
fn endpoint(asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
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
            let (system, text) =
                (body["messages"][0]["content"].as_str(), body["messages"][1]["content"].as_str());
            let (system, text) = (system.unwrap(), text.unwrap());
            let said = match text.strip_prefix("译：") {
                Some(text) if system.contains("English") => text.to_string(),
                _ if text.contains("lost") => "译：完全不同的话".to_string(),
                _ => format!("译：{text}"),
            };
            asked.fetch_add(1, Ordering::SeqCst);
            let answer = json!({ "choices": [{ "message": { "content": said } }] }).to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    url
}

#[test]
fn answers_are_taken_up_by_text_and_translator() {
    let home = Home::bare();
    let asked = Arc::new(AtomicUsize::new(0));
    let url = endpoint(asked.clone());
    let rows = |first: &str| {
        let row = |text: &str| format!("{}\n", json!({ "text": text }));
        [first, "It rains.", "The road is wet."].map(row).concat()
    };
    let more = |to: &str| {
        let before = asked.load(Ordering::SeqCst);
        let command =
            format!("translate en.jsonl --out out.jsonl --field text --url {url} --name m --to {to}");
        let said = home.nurture(&format!("{command} --lang en"));
        (said, asked.load(Ordering::SeqCst) - before)
    };
    // broken off at a line that is no row, then the first row is corrected: it alone is asked again
    home.write("en.jsonl", rows("It rans.") + "no row\n");
    assert_eq!(more("Chinese").1, 3);
    home.write("en.jsonl", rows("It ran.") + "no row\n");
    assert_eq!(more("Chinese").1, 1);
    // another language is another answer, and the first ones stay
    assert_eq!(more("French").1, 3);
    assert_eq!(more("Chinese").1, 0);
    // torn inside of a character, it costs the last answer alone
    let part = home.path("out.jsonl.part");
    let bytes = fs::read(&part).unwrap();
    let at = bytes.iter().rposition(|b| *b >= 0x80).unwrap();
    fs::write(&part, &bytes[..at]).unwrap();
    assert_eq!(more("French").1, 1);
    // two at once do not write over each other
    let file = fs::File::open(&part).unwrap();
    file.lock().unwrap();
    more("Chinese").0.refused(&["out.jsonl.part", "another process"]);
    drop(file);
    home.write("en.jsonl", rows("It ran."));
    let (said, n) = more("Chinese");
    assert_eq!((said.code, n), (Some(0), 0), "{said:?}");
    assert_eq!(home.text("out.jsonl").lines().count(), 3);
    assert!(!part.exists());
    // lines: none is dropped in silence
    home.write("lines.txt", "It rains.\n\nThe road is wet.");
    let lines = format!("translate lines.txt --url {url} --name m --to Chinese --lang en");
    assert_eq!(
        home.nurture(&lines).out.lines().collect::<Vec<_>>(),
        ["译：It rains.", "", "译：The road is wet."]
    );
    let said = home.nurture(&format!("{lines} --beams 3"));
    assert!(said.code == Some(2) && said.err.contains("--beams counts for --model"), "{said:?}");
    home.write("lines.txt", "\n".repeat((64 << 20) + 1));
    home.nurture(&lines).refused(&["lines.txt", "64 MB"]);
}

#[test]
fn rows_come_back_in_another_language_marked_and_weeded() {
    let home = Home::bare();
    let asked = Arc::new(AtomicUsize::new(0));
    let url = endpoint(asked.clone());
    let rows = [
        json!({ "id": 7, "question": "Where is the warehouse?", "answer": "Behind the railway station." }),
        json!({ "question": "Is the parcel lost?", "answer": "It is on its way." }),
        json!({ "question": "When do you open?", "answer": "" }),
    ];
    home.write("en.jsonl", rows.iter().map(|r| format!("{r}\n")).collect::<Vec<_>>().concat() + "\n");
    let command = format!(
        "translate en.jsonl --out zh.jsonl --field question --field answer --url {url} --name tutor --to Chinese --from English --lang en"
    );
    let said = home.nurture(&command);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("2 of 3 rows"), "{said:?}");
    let out: Vec<Value> = home.text("zh.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(out.len(), 2);
    assert_eq!(out[0]["question"], "译：Where is the warehouse?");
    assert_eq!((&out[0]["id"], &out[1]["answer"]), (&json!(7), &json!("")));
    let note = &out[0]["translated"];
    assert_eq!(
        (&note["by"], &note["from"], &note["chrf"]),
        (&json!("tutor"), &json!("en.jsonl:1"), &json!(1.0))
    );
    let ledger = home.json("zh.jsonl.ledger.json");
    let source = &ledger["sources"][0];
    assert_eq!((&source["rows"], &source["used"], &source["translated"]), (&json!(3), &json!(2), &json!(2)));
    assert_eq!(source["dropped"]["round_trip"], 1);
    assert_eq!(asked.load(Ordering::SeqCst), 10, "five texts, there and back");
    assert!(!home.exists("zh.jsonl.part"));
    // what is there is not written over, and what was answered is not asked again
    assert_eq!(home.nurture(&command).code, Some(1));
    let first = home.text("zh.jsonl");
    fs::remove_file(home.path("zh.jsonl")).unwrap();
    home.write("en.jsonl", rows.iter().map(|r| format!("{r}\n")).collect::<Vec<_>>().concat() + "no row\n");
    home.nurture(&command).refused(&["en.jsonl:4"]);
    assert!(home.exists("zh.jsonl.part") && !home.exists("zh.jsonl"));
    let before = asked.load(Ordering::SeqCst);
    home.write("en.jsonl", rows.iter().map(|r| format!("{r}\n")).collect::<Vec<_>>().concat());
    assert_eq!(home.nurture(&command).code, Some(0));
    assert_eq!((asked.load(Ordering::SeqCst), home.text("zh.jsonl")), (before, first));
    // a later run counts them
    home.write(
        "later.toml",
        "[model]\nseq2seq = { depth = 1, width = 32, vocab = 512 }\n[data]\ntrain = [{ path = \"zh.jsonl\", kind = \"question_answer\", user = \"answer\", answer = \"question\" }]\non_bad_row = \"drop\"\n",
    );
    let said = home.nurture("prepare later.toml --no-tokens --out cleaned --lang en");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(home.json("cleaned/ledger.json")["train"]["sources"][0]["translated"], 2);
}
