//! Scores equal those of sacrebleu, rouge-score (also with jieba's words) and jsonschema (`tools/goldens/scores.py`).

use nurture_eval::score::bleu::{Cut, corpus_bleu};
use nurture_eval::score::chrf::corpus_chrf;
use nurture_eval::score::{Scorer, json};
use serde_json::Value;

fn goldens() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/scores.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn texts(row: &Value) -> (String, Vec<String>) {
    let text = |v: &Value| v.as_str().unwrap().to_string();
    (text(&row["answer"]), row["references"].as_array().unwrap().iter().map(text).collect())
}

fn check(row: &Value, scorer: Scorer, key: &str) {
    let (answer, references) = texts(row);
    let (got, want) = (scorer.score(&answer, &references).score, row[key].as_f64().unwrap());
    assert!((got - want).abs() < 1e-9, "{key} of {answer:?} against {references:?}: {got}, not {want}");
}

#[test]
fn likeness_equals_the_reference_packages() {
    let all = goldens();
    for (name, cut) in [("en", Cut::Western), ("zh", Cut::Chinese)] {
        let rows = all[name]["pairs"].as_array().unwrap();
        assert!(rows.len() > 20);
        for row in rows {
            check(row, Scorer::Bleu, "bleu");
            check(row, Scorer::Chrf, "chrf");
            check(row, Scorer::Rouge1, "rouge1");
            check(row, Scorer::Rouge2, "rouge2");
            check(row, Scorer::RougeL, "rougeL");
            if name == "zh" {
                check(row, Scorer::Rouge1Jieba, "rouge1_jieba");
                check(row, Scorer::Rouge2Jieba, "rouge2_jieba");
                check(row, Scorer::RougeLJieba, "rougeL_jieba");
            }
        }
        let pairs: Vec<(String, Vec<String>)> = rows.iter().map(texts).collect();
        let first: Vec<(&str, &[String])> = pairs.iter().map(|(a, r)| (a.as_str(), &r[..1])).collect();
        let want = |key: &str| all[name][key].as_f64().unwrap();
        assert!((corpus_bleu(first.iter().copied(), cut) - want("corpus_bleu")).abs() < 1e-9, "{name}");
        assert!((corpus_chrf(first.iter().copied()) - want("corpus_chrf")).abs() < 1e-9, "{name}");
        assert_eq!(Scorer::Bleu.corpus(&first), Some(corpus_bleu(first.iter().copied(), cut)), "{name}");
    }
    for row in all["mixed"].as_array().unwrap() {
        check(row, Scorer::Bleu, "bleu");
        check(row, Scorer::Chrf, "chrf");
        check(row, Scorer::Rouge1Jieba, "rouge1_jieba");
        check(row, Scorer::Rouge2Jieba, "rouge2_jieba");
        check(row, Scorer::RougeLJieba, "rougeL_jieba");
    }
}

#[test]
fn schemas_equal_jsonschema() {
    let all = goldens();
    let mut valid = 0;
    for case in all["schemas"].as_array().unwrap() {
        let schema = &case["schema"];
        json::check_schema(schema).unwrap();
        for row in case["values"].as_array().unwrap() {
            let want = row["valid"].as_bool().unwrap();
            assert_eq!(json::valid(schema, &row["value"]), Ok(want), "{} against {schema}", row["value"]);
            let answer = format!("```json\n{}\n```", row["value"]);
            let accepted = [schema.to_string()];
            assert_eq!(Scorer::JsonSchema.score(&answer, &accepted).correct(), want, "{answer}");
            valid += usize::from(want);
        }
    }
    assert!(valid > 20);
}
