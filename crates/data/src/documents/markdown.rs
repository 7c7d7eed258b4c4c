//! Markdown: CommonMark with tables, by `pulldown-cmark`.
//!
//! Marks of emphasis and link targets fall away, their words stay. HTML inside goes through the HTML reader. Numbers of
//! ordered lists stay with their items; line ends inside a paragraph stay line ends, since in Chinese they are no spaces.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::document::Document;

use super::blocks::Blocks;
use super::html;

#[derive(Default)]
struct Reader {
    blocks: Blocks,
    text: String,
    /// Next number of each open list; `None`: bullets.
    lists: Vec<Option<u64>>,
    /// Open items: whether the text is still theirs.
    items: usize,
    table: Option<Vec<Vec<String>>>,
    html: String,
    /// Depth of parts whose text is left out: pictures, front matter.
    hidden: usize,
}

impl Reader {
    /// Ends the running text as an item or a paragraph.
    fn flush(&mut self) {
        if self.items > 0 {
            self.blocks.item(&self.text);
        } else {
            self.blocks.paragraph(&self.text);
        }
        self.text.clear();
    }
}

pub(super) fn parse(text: &str) -> Document {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut r = Reader::default();
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Image { .. } | Tag::MetadataBlock(_)) => r.hidden += 1,
            Event::End(TagEnd::Image | TagEnd::MetadataBlock(_)) => r.hidden = r.hidden.saturating_sub(1),
            _ if r.hidden > 0 => {}
            Event::Start(tag) => start(&mut r, &tag),
            Event::End(tag) => end(&mut r, tag),
            Event::Text(t) | Event::Code(t) | Event::InlineMath(t) | Event::DisplayMath(t) => {
                r.text.push_str(&t)
            }
            Event::SoftBreak | Event::HardBreak => r.text.push('\n'),
            Event::InlineHtml(t) if t.to_ascii_lowercase().starts_with("<br") => r.text.push('\n'),
            Event::Html(t) => r.html.push_str(&t),
            Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::Rule | Event::TaskListMarker(_) => {}
        }
    }
    r.flush();
    let title = r.blocks.first_heading();
    Document { id: String::new(), title, blocks: r.blocks.done() }
}

fn start(r: &mut Reader, tag: &Tag<'_>) {
    match tag {
        Tag::Paragraph if r.items == 0 => r.flush(),
        Tag::Heading { .. } | Tag::CodeBlock(_) => r.flush(),
        Tag::List(first) => {
            if r.items > 0 {
                r.flush();
            }
            r.lists.push(*first);
        }
        Tag::Item => {
            r.flush();
            r.items += 1;
            if let Some(Some(number)) = r.lists.last_mut() {
                r.text = format!("{number}. ");
                *number += 1;
            }
        }
        Tag::HtmlBlock => r.html.clear(),
        Tag::Table(_) => {
            r.flush();
            r.table = Some(Vec::new());
        }
        Tag::TableHead | Tag::TableRow => {
            if let Some(rows) = &mut r.table {
                rows.push(Vec::new());
            }
        }
        _ => {}
    }
}

fn end(r: &mut Reader, tag: TagEnd) {
    match tag {
        TagEnd::Paragraph if r.items > 0 => r.text.push('\n'),
        TagEnd::Paragraph => r.flush(),
        TagEnd::Heading(level) => {
            r.blocks.heading(level as u8, &r.text);
            r.text.clear();
        }
        TagEnd::Item => {
            r.flush();
            r.items = r.items.saturating_sub(1);
        }
        TagEnd::List(_) => {
            r.lists.pop();
        }
        TagEnd::CodeBlock => {
            r.blocks.code(&r.text);
            r.text.clear();
        }
        TagEnd::HtmlBlock => {
            let inside = html::parse(&std::mem::take(&mut r.html));
            r.blocks.append(inside.blocks);
        }
        TagEnd::TableCell => {
            if let Some(row) = r.table.as_mut().and_then(|rows| rows.last_mut()) {
                row.push(std::mem::take(&mut r.text));
            }
        }
        TagEnd::Table => {
            let rows = r.table.take().unwrap_or_default();
            r.blocks.table(rows);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_and_words_stay() {
        let text = "---\ntitle: x\n---\n# 泵 *Guide*\n\nRead [this](http://x) `now`.\n中文行\n\n1. open\n   - valve\n2. wait\n\n\
                    | a | b |\n|---|---|\n| 1 | **2** |\n\n```rust\nlet x = 1;\n\n  y\n```\n\n<div>\n<p>inside &amp; out</p>\n</div>\n\n![alt](p.png)\n\nend\n";
        let document = parse(text);
        assert_eq!(document.title.as_deref(), Some("泵 Guide"));
        assert_eq!(
            document.plain_text(),
            "# 泵 Guide\n\nRead this now.\n中文行\n\n- 1. open\n- valve\n- 2. wait\n\n| a | b |\n| 1 | 2 |\n\n\
             let x = 1;\n\n  y\n\ninside & out\n\nend"
        );
    }

    #[test]
    fn any_nesting_ends() {
        for text in ["> ".repeat(20_000), "- ".repeat(20_000), "[".repeat(20_000), "*a ".repeat(20_000)] {
            parse(&text);
        }
    }
}
