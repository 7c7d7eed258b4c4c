//! Broken, empty and hostile files end in a clear answer, and every row is in the ledger.

mod common;

use common::{Folder, load, load_with};
use nurture_data::{
    DataError, Encoding, LoadOptions, Mapping, OnBadRow, SchemaKind, SourceSpec, load_exam, load_training,
};

fn drop_bad() -> LoadOptions {
    LoadOptions { on_bad_row: OnBadRow::Drop, ..LoadOptions::default() }
}

fn error(name: &str, bytes: impl AsRef<[u8]>) -> String {
    load(name, bytes).err().map(|e| e.to_string()).expect("an error")
}

#[test]
fn a_broken_line_in_the_middle_is_named_or_dropped_into_the_ledger() {
    let rows = "{\"text\": \"a\", \"label\": \"x\"}\n\n{\"text\": \"b\", \"label\": }\n{\"text\": \"c\", \"label\": \"y\"}\n";
    let said = error("t.jsonl", rows);
    assert!(said.starts_with("t.jsonl:3: broken JSON at column 24") && said.contains("on_bad_row"), "{said}");
    let loaded = load_with("t.jsonl", rows, &drop_bad()).unwrap();
    let ledger = &loaded.ledger.sources[0];
    assert_eq!((ledger.rows, ledger.used, ledger.dropped["broken_json"]), (3, 2, 1));
    assert_eq!(ledger.examples["broken_json"], ["t.jsonl:3"]);
    assert_eq!(loaded.examples[1].id, "t.jsonl:4");
}

#[test]
fn rows_without_an_answer_are_named() {
    let said = error("t.csv", "text,label\na,x\nb,\n");
    assert!(said.starts_with("t.csv:3: the row has no answer: field \"label\""), "{said}");
    let said = error("q.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": \"c\"}\n");
    assert!(said.starts_with("q.jsonl:2: the row has no answer"), "{said}");
    let chat = r#"{"messages": [{"role": "user", "content": "Hi"}]}"#;
    assert!(error("m.jsonl", chat).contains("no assistant turn"));
    let ledger = load_with("t.csv", "text,label\na,x\nb,\n", &drop_bad()).unwrap().ledger;
    assert_eq!(ledger.total().dropped["missing_answer"], 1);
}

#[test]
fn empty_files_and_files_without_rows_are_errors() {
    for name in ["t.jsonl", "t.json", "t.csv", "t.tsv", "t.txt"] {
        assert!(error(name, "").contains("no rows"), "{name}");
        assert!(error(name, "\u{FEFF}\n\n").contains("no rows"), "{name}");
    }
    assert!(error("t.csv", "text,label\n").contains("no rows"));
    assert!(error("t.json", "[]").contains("no rows"));
    let said = load_with("t.jsonl", "{\n{\n", &drop_bad()).unwrap_err().to_string();
    assert!(said.contains("2 rows read, none used") && said.contains("broken_json 2"), "{said}");
}

#[test]
fn encodings_are_found_and_broken_bytes_are_named() {
    let csv = "文本,类别\n我的卡丢了，怎么办？,挂失\n\"余额是多少？\n谢谢\",查询\n";
    let jsonl = "{\"text\": \"我的卡丢了，怎么办？\", \"label\": \"挂失\"}\n{\"text\": \"余额是多少？\\n谢谢\", \"label\": \"查询\"}\n";
    for (name, content) in [("t.csv", csv), ("t.jsonl", jsonl)] {
        let wide: Vec<u8> = content.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let files: [(Vec<u8>, Encoding); 4] = [
            (content.as_bytes().to_vec(), Encoding::Utf8),
            ([b"\xEF\xBB\xBF", content.as_bytes()].concat(), Encoding::Utf8),
            (encoding_rs::GB18030.encode(content).0.into_owned(), Encoding::Gb18030),
            ([b"\xFF\xFE", &wide[..]].concat(), Encoding::Utf16Le),
        ];
        for (bytes, encoding) in files {
            let loaded = load(name, bytes).unwrap_or_else(|e| panic!("{name} {encoding:?}: {e}"));
            assert_eq!(loaded.sources[0].found.encoding, Some(encoding), "{name}");
            let shown: Vec<&str> = loaded.examples.iter().map(|e| e.messages[0].content.as_str()).collect();
            assert_eq!(shown, ["我的卡丢了，怎么办？", "余额是多少？\n谢谢"], "{name} {encoding:?}");
        }
    }
    let mut broken = csv.as_bytes().to_vec();
    broken[20] = 0xFF;
    let said = error("t.csv", &broken);
    assert!(said.starts_with("t.csv:2: byte 20 is not valid utf-8"), "{said}");

    let folder = Folder::new();
    let mut spec = SourceSpec::new(folder.file("t.csv", csv));
    spec.encoding = Some(Encoding::Utf16Be);
    let said = load_training(&[spec], &LoadOptions::default()).unwrap_err().to_string();
    assert!(said.contains("t.csv"), "{said}");
    assert!(error("t.csv", b"PK\x03\x04\0\0\0\0").contains("not a text file"));
}

#[test]
fn duplicates_leave_and_conflicts_are_listed() {
    let rows = "text,label\na,x\na,x\na,y\nb,x\n";
    let loaded = load("t.csv", rows).unwrap();
    let ledger = &loaded.ledger.sources[0];
    assert_eq!((ledger.rows, ledger.used, ledger.duplicate), (4, 3, 1));
    assert_eq!(ledger.examples["duplicate"], ["t.csv:3"]);
    assert_eq!(loaded.conflicts.count, 1);
    assert_eq!(loaded.conflicts.examples, [("t.csv:2".to_string(), "t.csv:4".to_string())]);
}

#[test]
fn a_label_that_training_never_saw_is_named() {
    let folder = Folder::new();
    let train = SourceSpec::new(folder.file("train.csv", "text,label\na,card_arrival\nb,top_up\n"));
    let exam = SourceSpec::new(folder.file("exam.csv", "text,label\nc,top_up\nd,card_arival\n"));
    let mut options = LoadOptions::default();
    let trained = load_training(std::slice::from_ref(&train), &options).unwrap();
    let said =
        load_exam(std::slice::from_ref(&exam), &options, trained.labels.as_ref()).unwrap_err().to_string();
    assert!(
        said.starts_with("exam.csv:3: the label \"card_arival\"") && said.contains("card_arrival"),
        "{said}"
    );
    options.on_unknown_label = OnBadRow::Drop;
    let exam = load_exam(&[exam], &options, trained.labels.as_ref()).unwrap();
    assert_eq!((exam.examples.len(), exam.ledger.total().dropped["unknown_label"]), (1, 1));
    assert!(exam.ledger.adds_up());
    assert_eq!(exam.labels, trained.labels);
}

#[test]
fn overlaps_of_exam_and_training_are_listed() {
    let folder = Folder::new();
    let train = SourceSpec::new(folder.file("train.csv", "text,label\nWhere is my card?,x\nb,y\n"));
    let exam = SourceSpec::new(folder.file("exam.csv", "text,label\nwhere is  MY card？,x\nnew,y\n"));
    let options = LoadOptions::default();
    let train = load_training(&[train], &options).unwrap();
    let exam = load_exam(&[exam], &options, train.labels.as_ref()).unwrap();
    let found = nurture_data::overlap(&exam.examples, &train.examples, &Default::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].exam.as_str(), found[0].training.as_str()), ("exam.csv:2", "train.csv:2"));
}

#[test]
fn mappings_that_do_not_fit_say_why() {
    let folder = Folder::new();
    let mut spec = SourceSpec::new(folder.file("t.csv", "Frage,Klasse\na,x\n"));
    let mut mapping = Mapping::new(SchemaKind::Label);
    mapping.user = Some("Frage".into());
    mapping.label = Some("Klase".into());
    spec.mapping = Some(mapping.clone());
    let said = load_training(&[spec.clone()], &LoadOptions::default()).unwrap_err().to_string();
    assert!(
        said.contains("`answer` names the column \"Klase\"") && said.contains("did you mean \"Klasse\"?"),
        "{said}"
    );
    mapping.label = Some("Klasse".into());
    spec.mapping = Some(mapping);
    assert_eq!(load_training(&[spec], &LoadOptions::default()).unwrap().examples.len(), 1);
}

#[test]
fn a_row_without_end_stops_at_the_cap() {
    let mut options = LoadOptions::default();
    options.limits.row_bytes = 1 << 20;
    let endless = "x".repeat(2 << 20);
    for (name, content) in [
        ("t.jsonl", format!("{{\"text\": \"{endless}\"}}")),
        ("t.json", format!("[{{\"text\": \"{endless}\"}}]")),
        ("t.csv", format!("text,label\n\"{endless}")),
    ] {
        assert!(matches!(load_with(name, content, &options), Err(DataError::RowTooLong { .. })), "{name}");
    }
}

#[test]
fn wrong_widths_and_double_names_in_csv() {
    let said = error("t.csv", "text,label\na,x\nb,y,z\n");
    assert!(said.starts_with("t.csv:3: the row has 3 fields where the first row has 2"), "{said}");
    assert!(error("t.csv", "text,text\na,b\n").contains("\"text\" stands twice"));
}

/// Random bytes, random cuts and random swaps of good files: an answer every time, never a panic, and a ledger that
/// adds up whenever rows came through.
#[test]
fn mutated_files_never_panic() {
    let good: [(&str, &str); 6] = [
        ("t.jsonl", "{\"text\": \"我 a\\\"b\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n"),
        (
            "t.json",
            "[{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": \"B\"}, {\"question\": \"d\"}]",
        ),
        (
            "m.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n",
        ),
        ("t.csv", "text,label\n\"a\n\"\"b\"\"\",x\r\n问题,y\n"),
        ("t.tsv", "1\t\"a\n0\tb\n1\tc\n"),
        ("t.txt", "plain\ntext"),
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let special = b"\"\\{}[],:\n\r\t \0\xFF\xFE\xEF\xBB\xBF0eE-";
    let folder = Folder::new();
    let mut loaded = 0;
    for round in 0..2000 {
        let (name, content) = good[round % good.len()];
        let mut bytes = content.as_bytes().to_vec();
        for _ in 0..=next(6) {
            let at = next(bytes.len());
            match next(5) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] = special[next(special.len())],
                2 if !bytes.is_empty() => bytes[at] = next(256) as u8,
                3 => bytes.insert(at, special[next(special.len())]),
                _ if !bytes.is_empty() => {
                    let to = next(bytes.len());
                    bytes.swap(at, to);
                }
                _ => {}
            }
        }
        let spec = SourceSpec::new(folder.file(name, &bytes));
        for options in [LoadOptions::default(), drop_bad()] {
            if let Ok(found) = load_training(std::slice::from_ref(&spec), &options) {
                assert!(found.ledger.adds_up());
                assert_eq!(found.ledger.total().used as usize, found.examples.len());
                loaded += 1;
            }
        }
    }
    assert!(loaded > 400, "most mutations are too coarse to say anything: only {loaded} loads came through");
}

#[test]
fn deep_nesting_is_a_bad_row() {
    let deep = format!("{{\"text\": {}1{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(error("t.jsonl", deep).contains("broken JSON"));
}

#[test]
fn a_hundred_thousand_rows_are_quick() {
    let mut rows = String::from("text,label\n");
    for row in 0..100_000 {
        rows.push_str(&format!("question number {row} about something,label_{}\n", row % 77));
    }
    let start = std::time::Instant::now();
    let loaded = load("t.csv", rows).unwrap();
    assert_eq!((loaded.examples.len(), loaded.labels.unwrap().len()), (100_000, 77));
    assert!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
}

#[test]
fn hold_out_and_sample_keep_the_ledger_whole() {
    let mut rows = String::from("text,label\n");
    for row in 0..2000 {
        // Every question stands twice, written differently, and must not be parted.
        rows.push_str(&format!("question {row},label_{}\nQUESTION  {row},label_{}\n", row % 7, row % 7));
    }
    let mut loaded = load("t.csv", rows).unwrap();
    use nurture_data::{HoldOutBy, HoldOutSize, hold_out};
    let (all, by) = (loaded.examples.clone(), HoldOutBy::Group);
    let (training, held) = hold_out(all, HoldOutSize::Share(0.1), by, 42, &mut loaded.ledger);
    assert!((300..500).contains(&held.len()), "{} of 4000 held out", held.len());
    assert_eq!(nurture_data::overlap(&held, &training, &Default::default()), []);
    let kept = nurture_data::keep_sample(training, 700, 42, &mut loaded.ledger);
    assert_eq!(kept.len(), 700);
    let total = loaded.ledger.total();
    assert!(loaded.ledger.adds_up());
    assert_eq!((total.used, total.held_out as usize, total.rows), (700, held.len(), 4000));
    let (all, none) = hold_out(kept, HoldOutSize::Share(0.0), by, 42, &mut loaded.ledger);
    assert_eq!((all.len(), none.len()), (700, 0));
    let (kept, held) = hold_out(all, HoldOutSize::Count(50), HoldOutBy::Question, 7, &mut loaded.ledger);
    assert!((50..=51).contains(&held.len()) && kept.len() + held.len() == 700, "{}", held.len());
    let (none, all) = hold_out(kept, HoldOutSize::Count(9), HoldOutBy::Document, 7, &mut loaded.ledger);
    assert!(none.is_empty() && !all.is_empty(), "one file is one document");
    assert!(loaded.ledger.adds_up());
}
