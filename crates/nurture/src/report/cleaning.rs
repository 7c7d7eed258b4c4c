//! What cleaning found and did: counts, and the ids of the first rows. Values themselves are never shown.

use nurture_data::CleanReport;

use super::fmt;
use super::page::{Block, Cell, Table};
use crate::lang::Lang;
use crate::pipeline::sensitive_name;

/// Ids that are shown of a kind.
const SHOWN: usize = 3;

/// Rows of what, how many, where: for the report's page and the terminal.
pub fn cleaning_rows(lang: Lang, c: &CleanReport) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut row = |what: String, count: u64, detail: String| {
        if count > 0 {
            rows.push([what, fmt::count(count), detail]);
        }
    };
    let shares = || {
        let all = (c.letters.zh + c.letters.en + c.letters.other).max(1) as f64;
        let share = |n: u64| format!("{:.1} %", 100.0 * n as f64 / all);
        let (zh, en, other) = (share(c.letters.zh), share(c.letters.en), share(c.letters.other));
        crate::say!(
            lang,
            "letters: Chinese {zh}, English {en}, other {other}",
            "文字：中文 {zh}，英文 {en}，其他 {other}"
        )
    };
    row(lang.pick("rows looked at", "检查的行").into(), c.rows, shares());
    for (key, en, zh) in [
        ("zh", "mostly Chinese", "以中文为主"),
        ("en", "mostly English", "以英文为主"),
        ("other", "mostly another language", "以其他语言为主"),
        ("none", "without letters", "没有文字"),
    ] {
        row(lang.pick(en, zh).into(), c.languages.get(key).copied().unwrap_or(0), String::new());
    }
    row(
        lang.pick("Unicode and white space evened out", "统一了 Unicode 和空白").into(),
        c.tidied,
        String::new(),
    );
    let lines: Vec<String> =
        c.boilerplate.iter().take(SHOWN).map(|l| format!("“{}” ×{}", l.text, l.documents)).collect();
    row(lang.pick("repeated lines taken out", "去掉的重复行").into(), c.boilerplate_lines, lines.join(" · "));
    let pairs: Vec<String> = c
        .near_pairs
        .iter()
        .take(SHOWN)
        .map(|p| format!("{} ≈ {} ({:.2})", p.second, p.first, p.similarity))
        .collect();
    row(lang.pick("near duplicates", "几乎相同的行").into(), c.near_duplicates, pairs.join(" · "));
    for (kind, found) in &c.sensitive {
        let (values, ids) =
            (fmt::count(found.values), found.examples.iter().take(SHOWN).cloned().collect::<Vec<_>>());
        let ids = ids.join(" · ");
        let detail = crate::say!(
            lang,
            "different values: {values}; first rows: {ids}",
            "{values} 个不同的值；最先的行：{ids}"
        );
        row(sensitive_name(*kind).get(lang).to_string(), found.rows, detail);
    }
    row(lang.pick("rows with values replaced", "已替换敏感值的行").into(), c.redacted, String::new());
    rows
}

/// The same as a part of the page.
pub(super) fn cleaning(lang: Lang, c: &CleanReport) -> Vec<Block> {
    let rows = cleaning_rows(lang, c);
    if rows.is_empty() {
        return Vec::new();
    }
    let head = vec![
        (lang.pick("cleaning", "清洗").into(), false),
        (lang.pick("rows", "行").into(), true),
        (String::new(), false),
    ];
    let rows = rows.into_iter().map(|row| row.into_iter().map(Cell::Text).collect()).collect();
    vec![
        Block::Sub(lang.pick("What cleaning found and did", "清洗的发现与处理").into()),
        Block::Table(Table { head, rows }),
    ]
}
