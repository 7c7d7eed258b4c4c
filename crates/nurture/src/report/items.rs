//! The table of all items of an exam: question, right answer, both answers. It is filtered by style alone, without a script.
use std::fmt::Write as _;

use super::data::{ExamReport, ItemRow};
use super::fmt;
use super::html::escape;
use super::page::{Block, short};
use crate::lang::Lang;
use crate::say;

/// Class, name and membership of each filter.
type Filter = (&'static str, &'static str, &'static str, fn(&ItemRow) -> bool);

const FILTERS: [Filter; 4] = [
    ("won", "right only after", "只有养成后答对", |r| r.item.tuned_right && !r.item.base_right),
    ("lost", "right only before", "只有养成前答对", |r| r.item.base_right && !r.item.tuned_right),
    ("none", "wrong twice", "两次都错", |r| !r.item.base_right && !r.item.tuned_right),
    ("both", "right twice", "两次都对", |r| r.item.base_right && r.item.tuned_right),
];

/// The table to open, for HTML; the markdown has its counts and says where the rows are. `None` without items.
pub(super) fn items(lang: Lang, exam: &ExamReport, number: usize) -> Option<Block> {
    if exam.all.is_empty() {
        return None;
    }
    let (shown, all) = (fmt::count(exam.all.len() as u64), fmt::count(exam.items));
    let title = match exam.all.len() as u64 == exam.items {
        true => say!(lang, "Each of the {all} items", "全部 {all} 题"),
        false => say!(lang, "The first {shown} of the {all} items", "{all} 题中的前 {shown} 题"),
    };
    let counts: Vec<usize> = FILTERS.iter().map(|f| exam.all.iter().filter(|r| f.3(r)).count()).collect();
    let said: Vec<String> = FILTERS
        .iter()
        .zip(&counts)
        .map(|(f, n)| format!("{} {}", lang.pick(f.1, f.2), fmt::count(*n as u64)))
        .collect();
    let file = &exam.name;
    let note = say!(
        lang,
        "{title}: {}. Every item with both answers: eval/{file}.base.jsonl and eval/{file}.tuned.jsonl in the run's folder.",
        "{title}：{}。每题的两个回答都在运行目录的 eval/{file}.base.jsonl 和 eval/{file}.tuned.jsonl 里。",
        said.join(lang.pick(", ", "，"))
    );

    let mut html = format!("<details class=\"items\"><summary>{}</summary>\n", escape(&title));
    let mut button = |class: &str, name: &str, first: bool| {
        let checked = if first { " checked" } else { "" };
        let _ = writeln!(
            html,
            "<input type=\"radio\" name=\"i{number}\" class=\"{class}\" id=\"i{number}-{class}\"{checked}/>\
             <label for=\"i{number}-{class}\">{}</label>",
            escape(name)
        );
    };
    button("every", lang.pick("all", "全部"), true);
    for ((class, ..), name) in FILTERS.iter().zip(&said) {
        button(class, name, false);
    }
    let heads = [("item", "题"), ("right", "正确答案"), ("base", "基座"), ("raised", "养成后")];
    let heads = heads.map(|(en, zh)| lang.pick(en, zh));
    html.push_str("<div class=\"table\"><table>\n<thead><tr>");
    html.extend(heads.iter().map(|head| format!("<th>{head}</th>")));
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &exam.all {
        let class = FILTERS.iter().find(|f| f.3(row)).map_or("", |f| f.0);
        let item = &row.item;
        let answer = |text: &str, right: bool, side: usize| {
            let (tone, sign) = if right { ("good", "✓") } else { ("bad", "✗") };
            let text = if text.trim().is_empty() { lang.pick("(nothing)", "（空）") } else { text };
            let sure = row.sure.map(|s| fmt::percent(lang, s[side])).unwrap_or_default();
            let sure = if sure.is_empty() { sure } else { format!(" <small>{}</small>", escape(&sure)) };
            format!("<span class=\"{tone}\">{sign}</span> {}{sure}", escape(&short(text, 400)))
        };
        let cells = [
            escape(&short(&item.question, 600)),
            escape(&short(&item.gold, 400)),
            answer(&item.base, item.base_right, 0),
            answer(&item.tuned, item.tuned_right, 1),
        ];
        let _ = write!(html, "<tr class=\"{class}\">");
        for (head, cell) in heads.iter().zip(cells) {
            let _ = write!(html, "<td data-head=\"{head}\" dir=\"auto\">{cell}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div></details>\n");
    Some(Block::Only { html, note })
}
