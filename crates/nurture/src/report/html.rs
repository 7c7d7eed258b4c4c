//! A page as one HTML file that asks nothing of the network: style and pictures are inside, scripts there are none.
use std::fmt::Write as _;

use super::page::{Block, Case, Cell, Page, Table, Tone, clean};
use crate::lang::Lang;

const STYLE: &str = include_str!("style.css");

/// Text for HTML, inside elements and attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

pub(crate) fn render(lang: Lang, page: &Page) -> String {
    let (tag, title) = (lang.tag(), escape(&page.title));
    let mut out = format!(
        r#"<!doctype html>
<html lang="{tag}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
"#
    );
    lead(page, &mut out);
    for block in &page.blocks {
        write_block(block, &mut out);
    }
    let _ = write!(out, "</main>\n<footer>{}</footer>\n</body>\n</html>\n", escape(&page.foot));
    out
}

fn lead(page: &Page, out: &mut String) {
    let lead = &page.lead;
    let [eyebrow, title, verdict, sentence] =
        [&lead.eyebrow, &lead.title, &lead.verdict, &lead.sentence].map(|text| escape(text));
    let _ = write!(
        out,
        "<header>\n<p class=\"eyebrow\">{eyebrow}</p>\n<h1 dir=\"auto\">{title}</h1>\n\
         <p class=\"verdict\"><strong class=\"{}\">{verdict}</strong> {sentence}</p>\n<dl class=\"tiles\">\n",
        tone(lead.tone)
    );
    for tile in &lead.tiles {
        let [label, value, note] = [&tile.label, &tile.value, &tile.note].map(|text| escape(text));
        let class = tone(tile.tone);
        let _ = writeln!(
            out,
            "<div><dt>{label}</dt><dd class=\"figure {class}\">{value}</dd><dd>{note}</dd></div>"
        );
    }
    out.push_str("</dl>\n</header>\n");
}

fn write_block(block: &Block, out: &mut String) {
    let _ = match block {
        Block::Section(id, title) => writeln!(out, "<h2 id=\"{id}\">{}</h2>", escape(title)),
        Block::Sub(title) => writeln!(out, "<h3>{}</h3>", escape(title)),
        Block::Para(text) => writeln!(out, "<p>{}</p>", escape(text)),
        Block::Note(text) => writeln!(out, "<p class=\"note\">{}</p>", escape(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
            writeln!(out, "<ul>\n{items}</ul>")
        }
        Block::Facts(facts) => {
            let facts: String = facts
                .iter()
                .map(|(name, cell)| {
                    format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), inline(cell))
                })
                .collect();
            writeln!(out, "<dl class=\"facts\">\n{facts}</dl>")
        }
        Block::Table(table) => {
            write_table(table, out);
            Ok(())
        }
        Block::Figure { wide, narrow, caption, .. } => {
            writeln!(out, "<figure>{wide}{narrow}<figcaption>{}</figcaption></figure>", escape(caption))
        }
        Block::Cases(cases) => {
            out.push_str("<div class=\"cases\">\n");
            cases.iter().for_each(|case| write_case(case, out));
            writeln!(out, "</div>")
        }
        Block::Code(_, text) => writeln!(out, "<pre><code>{}</code></pre>", escape(text)),
        Block::Only { html, .. } => {
            out.push_str(html);
            Ok(())
        }
        Block::Fold(summary, blocks) => {
            let _ = writeln!(out, "<details><summary>{}</summary>", escape(summary));
            blocks.iter().for_each(|block| write_block(block, out));
            writeln!(out, "</details>")
        }
    };
}

fn write_table(table: &Table, out: &mut String) {
    let side = |index: usize| {
        if table.head.get(index).is_some_and(|(_, right)| *right) { " class=\"n\"" } else { "" }
    };
    out.push_str("<div class=\"table\"><table>\n<thead><tr>");
    for (index, (head, _)) in table.head.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", side(index), escape(head));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", side(index), inline(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn write_case(case: &Case, out: &mut String) {
    let _ = writeln!(out, "<article><p dir=\"auto\">{}</p><dl>", escape(&case.question));
    for (label, answer, mark) in &case.answers {
        let sign = match mark {
            Tone::Good => "<span class=\"good\">✓</span> ",
            Tone::Bad => "<span class=\"bad\">✗</span> ",
            _ => "",
        };
        let _ = writeln!(
            out,
            "<div><dt>{}</dt><dd dir=\"auto\">{sign}{}</dd></div>",
            escape(label),
            escape(answer)
        );
    }
    out.push_str("</dl></article>\n");
}

fn inline(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) | Cell::Toned(Tone::Plain, text) => escape(text),
        Cell::Mono(text) => format!("<code>{}</code>", escape(text)),
        Cell::Toned(mark, text) => format!("<span class=\"{}\">{}</span>", tone(*mark), escape(text)),
    }
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Caution => "caution",
        Tone::Bad => "bad",
    }
}
