//! The rule for regulated verse on poems of the Tang, and on the same poems with their lines in another order.

use nurture_reward::{Form, Tones, Verse};
use serde_json::Value;

/// `(form, poems)` of the anthology; `None`, with a word, where it is not there.
fn poems() -> Option<Vec<(Form, Vec<String>)>> {
    let file = nurture_testing::data("text-zh-poetry/tangshi300.json")?;
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut out = Vec::new();
    for (name, lines, length) in
        [("五言绝句", 4, 5), ("七言绝句", 4, 7), ("五言律诗", 8, 5), ("七言律诗", 8, 7)]
    {
        let of = |poem: &&Value| poem["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == name));
        let text = |poem: &Value| {
            poem["paragraphs"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<String>()
        };
        out.push((Form { lines, length }, all.iter().filter(of).map(text).collect()));
    }
    Some(out)
}

/// Lines one place on: the last one first. Rhyme and opposition fall apart, tones within lines stay.
fn turned(poem: &str) -> String {
    let mut lines: Vec<&str> = poem.split(['，', '。', '？', '！', '；']).filter(|l| !l.is_empty()).collect();
    lines.rotate_right(1);
    lines.join("，")
}

#[test]
fn poems_of_the_tang_keep_the_rules_better_than_the_same_lines_turned() {
    let Some(poems) = poems() else { return };
    for tones in [Tones::Modern, Tones::Classical] {
        let (mut own, mut other, mut n) = (0.0, 0.0, 0);
        for (form, poems) in &poems {
            let verse = Verse { form: Some(*form), tones };
            let mean = |f: &dyn Fn(&str) -> String| {
                poems.iter().map(|p| verse.score(&f(p)).lenient).sum::<f64>() / poems.len() as f64
            };
            let (as_written, turned) = (mean(&|p| p.to_string()), mean(&turned));
            let strict: f64 = poems.iter().map(|p| verse.score(p).strict).sum();
            println!(
                "{form:?} {tones:?}: {as_written:.3}, turned {turned:.3}, all kept {strict} of {}",
                poems.len()
            );
            own += as_written * poems.len() as f64;
            other += turned * poems.len() as f64;
            n += poems.len();
        }
        let (own, other) = (own / n as f64, other / n as f64);
        assert!(own > 0.8 && own > other + 0.15, "{tones:?}: {own} {other}");
    }
}
