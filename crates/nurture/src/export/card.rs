//! The model card of an export: what it is, from what, by which data, how it was examined, how it was proven, its limits.
//! Everything comes from the run's own report; what was not recorded is named as not recorded.

use super::Parity;
use serde_json::Value;
use std::fmt::Write as _;

/// The line of a card's head by which an export is known.
pub const TAGS: &str = "tags: [nurture]";

/// What a card is made from.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// name of the export
    pub name: String,
    /// what was written, e.g. `GGUF, Q4_K_M, merged`
    pub form: String,
    /// name of the base
    pub base: String,
    /// its licence, where the file names one
    pub licence: Option<String>,
    /// `report.json` of the run, where there is one
    pub report: Option<Value>,
    /// the proof, where it was made
    pub parity: Option<Parity>,
    /// `√(Σ (x - x̂)² / Σ x²)` that the type of the file costs
    pub error: Option<f64>,
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(v: &Value, key: &str) -> f64 {
    v.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn list<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v.get(key).and_then(Value::as_array).map_or(&[], |a| a)
}

/// `[low, high]` in per cent.
fn interval(v: &Value, key: &str) -> String {
    let at = |i: usize| list(v, key).get(i).and_then(Value::as_f64).unwrap_or(f64::NAN) * 100.0;
    format!("[{:.1}, {:.1}]", at(0), at(1))
}

/// One line of text that cannot break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// The text of `README.md`.
pub fn card(c: &Card) -> String {
    let none = Value::Null;
    let report = c.report.as_ref().unwrap_or(&none);
    let base = report.get("base").unwrap_or(&none);
    let licence = c.licence.as_deref().or_else(|| Some(text(base, "licence")).filter(|l| !l.is_empty()));
    let quoted = |s: &str| Value::String(s.to_string()).to_string();
    let mut o = String::from("---\n");
    let _ = writeln!(o, "base_model: {}", quoted(&c.base));
    if let Some(l) = licence {
        let _ = writeln!(o, "license: {}", quoted(&l.to_lowercase()));
    }
    let _ = writeln!(o, "pipeline_tag: text-generation\n{TAGS}\n---\n\n# {}\n", c.name);
    let _ = writeln!(o, "{}\n\n## Base\n", c.form);
    let _ = writeln!(o, "- {}", c.base);
    for (key, what) in [("file", "file"), ("sha256", "sha256"), ("dtypes", "stored as")] {
        if !text(base, key).is_empty() {
            let _ = writeln!(o, "- {what}: {}", text(base, key));
        }
    }
    let _ = writeln!(o, "- licence: {}", licence.unwrap_or("not recorded; ask the base's makers"));
    data(&mut o, report);
    if !text(report, "recipe").is_empty() {
        let _ = writeln!(o, "\n## Recipe\n\n```toml\n{}\n```", text(report, "recipe").trim());
    }
    exams(&mut o, report);
    proof(&mut o, c);
    o.push_str(
        "\n## Limits\n\nWhat the exams above did not ask is not known. A small model states wrong facts fluently; outside of the \
         field that it was taught it is at most as good as its base. The texts it learnt from may be recalled word for \
         word. Check its use against the licences of base and data.\n",
    );
    summary(&mut o, c, report, licence);
    o
}

fn data(o: &mut String, report: &Value) {
    o.push_str("\n## Data\n\n");
    if list(report, "inputs").is_empty() {
        o.push_str("Not recorded.\n");
        return;
    }
    o.push_str("| role | file | sha256 | licence |\n| --- | --- | --- | --- |\n");
    for i in list(report, "inputs") {
        let licence = Some(text(i, "licence")).filter(|l| !l.is_empty()).unwrap_or("not recorded");
        let (role, path, hash) = (cell(text(i, "role")), cell(text(i, "path")), cell(text(i, "sha256")));
        let _ = writeln!(o, "| {role} | {path} | {hash} | {} |", cell(licence));
    }
    for source in list(report, "ledger") {
        let fates: Vec<String> = list(source, "buckets")
            .iter()
            .map(|b| format!("{} {}", b["count"], text(b.get("fate").unwrap_or(&Value::Null), "en")))
            .collect();
        let (path, rows) = (text(source, "path"), source.get("rows").and_then(Value::as_u64).unwrap_or(0));
        let _ = writeln!(o, "\n{path}: {rows} rows ({}).", fates.join(", "));
    }
}

fn exams(o: &mut String, report: &Value) {
    o.push_str("\n## Exams\n\n");
    let (exams, breadth) = (list(report, "exams"), list(report, "breadth"));
    if exams.is_empty() && breadth.is_empty() {
        o.push_str("No exam is recorded.\n");
        return;
    }
    if !exams.is_empty() {
        o.push_str(
            "| exam | items | base % | tuned % | gain, points (95 %) |\n| --- | --- | --- | --- | --- |\n",
        );
        let none = Value::Null;
        for e in exams {
            let part = |key: &str| e.get(key).unwrap_or(&none);
            let mark = |m: &Value| format!("{:.1} {}", 100.0 * number(m, "accuracy"), interval(m, "ci"));
            let paired = part("paired");
            let gain = format!("{:+.1} {}", 100.0 * number(paired, "diff"), interval(paired, "ci"));
            let items = e.get("items").and_then(Value::as_u64).unwrap_or(0);
            let (base, tuned) = (mark(part("base")), mark(part("tuned")));
            let _ = writeln!(o, "| {} | {items} | {base} | {tuned} | {gain} |", cell(text(e, "name")));
        }
    }
    if !breadth.is_empty() {
        o.push_str("\n| general text | base perplexity | tuned | bits a byte, change (95 %) |\n| --- | --- | --- | --- |\n");
        for b in breadth {
            let ci = |i: usize| list(b, "ci").get(i).and_then(Value::as_f64).unwrap_or(f64::NAN);
            let change = format!("{:+.4} [{:+.4}, {:+.4}]", number(b, "diff"), ci(0), ci(1));
            let (before, after) = (number(b, "base_ppl"), number(b, "tuned_ppl"));
            let _ = writeln!(o, "| {} | {before:.3} | {after:.3} | {change} |", cell(text(b, "name")));
        }
    }
    let verdict = report.get("verdict").map_or("", |v| text(v, "kind"));
    if !verdict.is_empty() {
        let _ = writeln!(o, "\nVerdict: {}.", verdict.replace('_', " "));
    }
}

fn proof(o: &mut String, c: &Card) {
    o.push_str("\n## Parity\n\n");
    match &c.parity {
        None => o.push_str("Not verified: export with --verify.\n"),
        Some(p) => {
            let _ = writeln!(
                o,
                "Read back from the disk, {} fixed prompts: {} of {} tokens of the trainer's greedy answers are chosen again; \
                 log-probabilities differ by {:.2e} on average, {:.2e} at most; perplexity of these texts {:.4} by the \
                 trainer, {:.4} by this export.",
                p.prompts, p.same_tokens, p.tokens, p.mean, p.largest, p.perplexity[0], p.perplexity[1]
            );
        }
    }
    if let Some(e) = c.error {
        let _ = writeln!(
            o,
            "\nStoring the weights in this type changes them by {:.3} % (root mean square).",
            e * 100.0
        );
    }
}

fn summary(o: &mut String, c: &Card, report: &Value, licence: Option<&str>) {
    let _ = write!(
        o,
        "\n## 中文摘要\n\n由 {} 养成；形式：{}；基座许可：{}。",
        c.base,
        c.form,
        licence.unwrap_or("未记录")
    );
    for e in list(report, "exams") {
        let none = Value::Null;
        let paired = e.get("paired").unwrap_or(&none);
        let _ = write!(
            o,
            "考试 {}：提高 {:+.1} 个百分点（95 % 区间 {}）。",
            text(e, "name"),
            100.0 * number(paired, "diff"),
            interval(paired, "ci")
        );
    }
    if let Some(p) = &c.parity {
        let (same, all, largest) = (p.same_tokens, p.tokens, p.largest);
        let _ = write!(
            o,
            "从磁盘读回核对：{all} 个词元中 {same} 个与训练器一致，对数概率最多相差 {largest:.2e}。"
        );
    }
    o.push_str("考试没有问到的，不知道；小模型会流利地说错。使用前请核对基座与数据的许可。\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_card_says_what_is_known_and_what_is_not() {
        let empty = card(&Card { name: "x".into(), base: "b: \"c\"".into(), ..Card::default() });
        for part in ["base_model: \"b: \\\"c\\\"\"", "Not recorded.", "No exam", "Not verified", "中文摘要"]
        {
            assert!(empty.contains(part), "{part} in {empty}");
        }
        let report = json!({
            "base": { "licence": "Apache-2.0", "sha256": "ab12" }, "recipe": "[train]\nsteps = 1",
            "inputs": [{ "role": "train", "path": "a|b.jsonl", "sha256": "ff" }],
            "exams": [{ "name": "e", "items": 10, "base": { "accuracy": 0.5, "ci": [0.4, 0.6] },
                        "tuned": { "accuracy": 0.75, "ci": [0.7, 0.8] }, "paired": { "diff": 0.25, "ci": [0.1, 0.4] } }],
            "verdict": { "kind": "not_shown" },
        });
        let parity = Parity { prompts: 8, tokens: 100, same_tokens: 99, largest: 0.01, ..Parity::default() };
        let full =
            card(&Card { report: Some(report), parity: Some(parity), error: Some(0.05), ..Card::default() });
        for part in [
            "license: \"apache-2.0\"",
            "a\\|b.jsonl",
            "ab12",
            "+25.0 [10.0, 40.0]",
            "not shown",
            "99 of 100",
            "5.000 %",
            "steps = 1",
        ] {
            assert!(full.contains(part), "{part} in {full}");
        }
    }
}
