//! Real data sets, if they lie beside the checkout.

mod common;

use common::real;
use nurture_data::{
    Answer, DataError, LabelForm, LoadOptions, Loaded, OnBadRow, OverlapKind, SchemaKind, SourceSpec,
    load_exam, load_training, overlap,
};

fn train(path: &str) -> Option<Loaded> {
    let loaded = load_training(&[SourceSpec::new(real(path)?)], &LoadOptions::default());
    let loaded = loaded.unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(loaded.ledger.adds_up(), "{path}");
    Some(loaded)
}

fn check(path: &str, kind: SchemaKind, rows: u64) {
    let Some(loaded) = train(path) else { return };
    assert_eq!(loaded.sources[0].schema.as_ref().map(|s| s.kind), Some(kind), "{path}");
    assert_eq!(loaded.ledger.total().rows, rows, "{path}");
}

#[test]
fn banking77() {
    let Some(loaded) = train("intent-banking77/train.csv") else { return };
    let total = loaded.ledger.total();
    assert_eq!((total.rows, total.used + total.duplicate), (9_999, 9_999));
    let labels = loaded.labels.as_ref().expect("labels");
    assert_eq!(labels.len(), 77);
    let Some(exam) = real("intent-banking77/dev_exam.csv") else { return };
    let options = LoadOptions { labels: LabelForm::Words, ..LoadOptions::default() };
    let Some(path) = real("intent-banking77/train.csv") else { return };
    let words =
        load_training(&[SourceSpec::new(path)], &options).expect("the labels stay one to one as words");
    let exam = load_exam(&[SourceSpec::new(exam)], &options, words.labels.as_ref()).expect("an exam");
    assert_eq!(exam.examples.len(), 1_540);
    let shared = overlap(&exam.examples, &words.examples, &Default::default());
    let same = shared.iter().filter(|o| o.kind == OverlapKind::Same).count();
    assert!(same < 20, "{same} exam items stand in the training data");
    assert!(shared.len() < 40, "{} exam items stand in the training data, nearly at least", shared.len());
}

#[test]
fn every_shape_is_found() {
    check("intent-clinc150/train.jsonl", SchemaKind::Label, 15_088);
    check("intent-hwu64/train.jsonl", SchemaKind::Label, 9_918);
    // Tab-separated, no header, with quotes that are plain characters: a lenient reader loses 528 rows here.
    check("sentiment-chnsenticorp/train.tsv", SchemaKind::Label, 3_099);
    check("sft-alpaca-demo/alpaca_en_demo.jsonl", SchemaKind::Instruction, 900);
    check("sft-alpaca-demo/alpaca_zh_demo.jsonl", SchemaKind::Instruction, 898);
    check("sft-alpaca-demo/identity.json", SchemaKind::Instruction, 91);
    check("domain-finance-zh/computing_part.json", SchemaKind::Instruction, 100);
    check("reason-gsm8k/train.jsonl", SchemaKind::QuestionAnswer, 7_473);
    check("exam-mmlu-stem/dev_exam.jsonl", SchemaKind::Choice, 1_501);
    check("exam-cmmlu-nc/few_shot.jsonl", SchemaKind::Choice, 335);
    check("exam-cmmlu-nc/dev_exam.jsonl", SchemaKind::Choice, 5_799);
    check("safety-safetybench-zh/dev_exam.jsonl", SchemaKind::Choice, 1_070);
    check("text-web-wiki-en/c4_demo.jsonl", SchemaKind::Text, 270);
    check("text-zh-novels/xiyouji.txt", SchemaKind::Text, 1);
    check("docs-law-zh/宪法__宪法.md", SchemaKind::Text, 1);
}

#[test]
fn preference_data_is_read_where_it_is_asked_for_and_else_refused() {
    for (path, rows) in [
        ("pref-dpo-demo/dpo_en_demo.jsonl", 270),
        ("pref-dpo-demo/dpo_zh_demo.jsonl", 266),
        ("pref-kto-demo/kto_en_demo.jsonl", 270),
    ] {
        let Some(found) = real(path) else { continue };
        let options = LoadOptions { preference: true, on_bad_row: OnBadRow::Drop, ..LoadOptions::default() };
        let loaded = load_training(&[SourceSpec::new(&found)], &options).unwrap();
        assert!(loaded.ledger.adds_up());
        assert_eq!(loaded.ledger.total().rows, rows, "{path}");
        let kept = loaded.examples.len();
        println!("{path}: {kept} of {rows}: {:?}", loaded.ledger.total().dropped);
        assert!(kept as u64 >= rows * 9 / 10, "{path}: {kept}");
        for e in &loaded.examples {
            assert!(matches!(e.answer, Answer::Pair { .. } | Answer::Judged { .. }), "{path}");
            assert!(e.messages.last().is_some_and(|m| m.role == "user"), "{}", e.id);
        }
        let error = load_training(&[SourceSpec::new(found)], &LoadOptions::default()).err();
        assert!(matches!(error, Some(DataError::Preference { .. })), "{path}: {error:?}");
    }
}

/// Every table among the real sets gives examples or a clear error, and never a panic.
#[test]
fn nothing_real_panics() {
    let Some(root) = real("") else { return };
    let mut folders = vec![root];
    let (mut files, mut read) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["jsonl", "json", "csv", "tsv"].contains(&extension) {
                files += 1;
                match load_exam(&[SourceSpec::new(&path)], &LoadOptions::default(), None) {
                    Ok(loaded) => {
                        assert!(loaded.ledger.adds_up());
                        let found = &loaded.sources[0];
                        let schema =
                            found.schema.as_ref().map(|s| (s.kind, s.why.to_string(), s.unused.clone()));
                        eprintln!("{}: {} rows, {schema:?}", found.file, loaded.examples.len());
                        read += 1;
                    }
                    Err(error) => eprintln!("{error}"),
                }
            }
        }
    }
    assert!(read * 5 > files * 2, "only {read} of {files} real tables are read");
}
