//! A page as markdown: the same content, pictures in characters, for terminals, pull requests and mails.
use std::fmt::Write as _;

use super::page::{Block, Cell, Page, Tone, clean};

/// Text on one line in which nothing acts as markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text) {
        match c {
            '\n' | '\t' => out.push(' '),
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

/// Text in a code span of its own; a bar would end the cell of a table even there.
fn mono(text: &str) -> String {
    let plain: String = clean(text).map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    if plain.trim().is_empty() {
        return String::new();
    }
    if plain.contains(['`', '|']) { escape(&plain) } else { format!("`{plain}`") }
}

/// A fenced block whose fence is longer than any run of backticks inside.
fn fenced(language: &str, text: &str) -> String {
    let text: String = clean(text).collect();
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n\n", text.trim_end())
}

pub(crate) fn render(page: &Page) -> String {
    let lead = &page.lead;
    let mut out = format!(
        "# {}\n\n{}\n\n**{}** {}\n\n",
        escape(&lead.title),
        escape(&lead.eyebrow),
        escape(&lead.verdict),
        escape(&lead.sentence)
    );
    out.push_str("| | | |\n| --- | --- | --- |\n");
    for tile in &lead.tiles {
        let _ = writeln!(
            out,
            "| {} | **{}** | {} |",
            escape(&tile.label),
            escape(&tile.value),
            escape(&tile.note)
        );
    }
    out.push('\n');
    for block in &page.blocks {
        write_block(block, &mut out);
    }
    let _ = write!(out, "---\n\n{}\n", escape(&page.foot));
    out
}

fn write_block(block: &Block, out: &mut String) {
    let _ = match block {
        Block::Section(_, title) => write!(out, "## {}\n\n", escape(title)),
        Block::Sub(title) => write!(out, "### {}\n\n", escape(title)),
        Block::Para(text) | Block::Note(text) | Block::Only { note: text, .. } => {
            write!(out, "{}\n\n", escape(text))
        }
        Block::List(items) => {
            for item in items {
                let _ = writeln!(out, "- {}", escape(item));
            }
            writeln!(out)
        }
        Block::Facts(facts) => {
            for (name, cell) in facts {
                let _ = writeln!(out, "- {}: {}", escape(name), inline(cell));
            }
            writeln!(out)
        }
        Block::Table(table) => {
            let heads: Vec<_> = table.head.iter().map(|(head, _)| escape(head)).collect();
            let rules: Vec<_> =
                table.head.iter().map(|(_, right)| if *right { "---:" } else { "---" }).collect();
            let _ = writeln!(out, "| {} |\n| {} |", heads.join(" | "), rules.join(" | "));
            for row in &table.rows {
                let cells: Vec<_> = row.iter().map(inline).collect();
                let _ = writeln!(out, "| {} |", cells.join(" | "));
            }
            writeln!(out)
        }
        Block::Figure { text, caption, .. } => write!(out, "{}{}\n\n", fenced("text", text), escape(caption)),
        Block::Cases(cases) => {
            for case in cases {
                let _ = writeln!(out, "- {}", escape(&case.question));
                for (label, answer, tone) in &case.answers {
                    let sign = match tone {
                        Tone::Good => "✓ ",
                        Tone::Bad => "✗ ",
                        _ => "",
                    };
                    let _ = writeln!(out, "  - {}: {sign}{}", escape(label), escape(answer));
                }
            }
            writeln!(out)
        }
        Block::Code(language, text) => write!(out, "{}", fenced(language, text)),
        Block::Fold(summary, blocks) => {
            let _ = write!(out, "### {}\n\n", escape(summary));
            blocks.iter().for_each(|block| write_block(block, out));
            Ok(())
        }
    };
}

fn inline(cell: &Cell) -> String {
    match cell {
        Cell::Mono(text) => mono(text),
        Cell::Toned(Tone::Bad, text) => format!("**{}**", escape(text)),
        Cell::Text(text) | Cell::Toned(_, text) => escape(text),
    }
}
