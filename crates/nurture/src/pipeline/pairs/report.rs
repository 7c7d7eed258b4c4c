//! The report of an encoder-decoder: what it is, what it took, what it can do.

use super::exam::PairResult;
use crate::lang::Lang;
use crate::recipe::Derived;
use crate::report::data::ReportKind;
use nurture_train::Outcome;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    #[serde(default = "pairs")]
    pub(super) kind: ReportKind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) command: String,
    pub(super) form: String,
    pub(super) parameters: u64,
    pub(super) source_vocab: u64,
    pub(super) target_vocab: u64,
    /// pairs that were learnt from
    pub(super) pairs: u64,
    pub(super) derived: Vec<Derived>,
    pub(super) forecast_seconds: Option<f64>,
    pub(super) forecast_bytes: u64,
    pub(super) outcome: Option<Outcome>,
    pub(super) exams: Vec<PairResult>,
}

fn pairs() -> ReportKind {
    ReportKind::Pairs
}

/// Text in a table's cell, in which nothing acts as markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64)
}

/// The report as text.
pub(crate) fn markdown(d: &PairReport, lang: Lang) -> String {
    let mut out = String::new();
    let say = |en: String, zh: String| if lang == Lang::Zh { zh } else { en };
    let mut line = |en: String, zh: String| {
        let _ = writeln!(out, "{}", say(en, zh));
    };
    let name = cell(&d.name);
    line(format!("# {name}\n"), format!("# {name}\n"));
    let (form, pairs, size) = (cell(&d.form), d.pairs, d.parameters as f64 / 1e6);
    let (from, to) = (d.source_vocab, d.target_vocab);
    line(
        format!(
            "An encoder-decoder from birth (form {form}, {size:.2} M parameters, vocabularies {from} → {to}) learnt {pairs} pairs.\n"
        ),
        format!(
            "从出生养起的编码器–解码器（形式 {form}，{size:.2} 百万参数，词表 {from} → {to}），学了 {pairs} 对数据。\n"
        ),
    );
    if !d.exams.is_empty() {
        line(
            "| exam | items | best beam right | 95 % interval | greedy right | one of the beams right | chrF | cut |\n| --- | --- | --- | --- | --- | --- | --- | --- |".into(),
            "| 考试 | 题数 | 最佳束答对 | 95% 区间 | 贪心答对 | 各束之一答对 | chrF | 截断 |\n| --- | --- | --- | --- | --- | --- | --- | --- |".into(),
        );
    }
    for e in &d.exams {
        let [low, high] = e.interval.map(|x| format!("{:.1}", 100.0 * x));
        let row = format!(
            "| {} | {} | {} | {low}–{high} % | {} | {} ({}) | {:.1} | {} |",
            cell(&e.name),
            e.items,
            percent(e.best, e.items),
            percent(e.greedy, e.items),
            percent(e.among, e.items),
            e.beams,
            100.0 * e.chrf,
            e.cut
        );
        line(row.clone(), row);
    }
    line(
        "\nRight is what equals an answer of the rows, character by character. A source that stands in several rows is one item, and each of their answers is right. There is no base to compare with: before it learnt, the network guessed evenly.\n".into(),
        "\n与数据行的某个答案逐字相同才算对。多行共有的源文算一题，各行的答案都算对。没有基座可比：学习之前，网络只是均匀乱猜。\n".into(),
    );
    for e in d.exams.iter().filter(|e| !e.shown.is_empty()) {
        let name = cell(&e.name);
        line(
            format!(
                "## Answers: {name}\n\n| source | right | beams, best first | |\n| --- | --- | --- | --- |"
            ),
            format!("## 作答：{name}\n\n| 源文 | 正确 | 各束，最佳在前 | |\n| --- | --- | --- | --- |"),
        );
        for s in &e.shown {
            let all = |texts: &[String]| texts.iter().map(|t| cell(t)).collect::<Vec<_>>().join(" · ");
            let mark = if s.right { "✓" } else { "✗" };
            let row = format!("| {} | {} | {} | {mark} |", cell(&s.question), all(&s.gold), all(&s.answers));
            line(row.clone(), row);
        }
        line(String::new(), String::new());
    }
    if let Some(o) = &d.outcome {
        let minutes = o.seconds / 60.0;
        let foretold = d.forecast_seconds.map_or("–".to_string(), |s| format!("{:.1}", s / 60.0));
        let gb = |bytes: u64| format!("{:.2}", bytes as f64 / 1e9);
        let (memory, peak) = (gb(d.forecast_bytes), o.peak_rss.map_or("–".to_string(), gb));
        let (steps, tokens, loss) = (o.steps, o.tokens, o.last_loss);
        line(
            format!(
                "## Training\n\n| | forecast | outcome |\n| --- | --- | --- |\n| minutes | {foretold} | {minutes:.1} |\n| memory, GB | {memory} | {peak} |\n| steps | | {steps} |\n| tokens | | {tokens} |\n| last loss, nats a target token | | {loss:.3} |\n"
            ),
            format!(
                "## 训练\n\n| | 预测 | 实际 |\n| --- | --- | --- |\n| 分钟 | {foretold} | {minutes:.1} |\n| 内存，GB | {memory} | {peak} |\n| 步数 | | {steps} |\n| 词元 | | {tokens} |\n| 最后的损失，每个译文词元的奈特 | | {loss:.3} |\n"
            ),
        );
    }
    line(
        "## Values\n\n| key | value | why |\n| --- | --- | --- |".into(),
        "## 取值\n\n| 键 | 值 | 理由 |\n| --- | --- | --- |".into(),
    );
    for v in &d.derived {
        let (key, value) = (cell(&v.key), cell(&v.value));
        let why = |text: &str| cell(text);
        line(
            format!("| {key} | {value} | {} |", why(&v.reason.en)),
            format!("| {key} | {value} | {} |", why(&v.reason.zh)),
        );
    }
    let command = cell(&d.command);
    let version = cell(&d.version);
    line(format!("\n{command} · nurture {version}"), format!("\n{command} · nurture {version}"));
    out
}
