//! HTML: the tokens of `html5gum`, read as a reader sees the page: headings, paragraphs, lists, tables, code.
//!
//! No tree is built, so that wrongly nested and endless tags cost nothing. Scripts, styles, menus (`nav`) and forms'
//! controls are left out. Tables that hold headings or tables lay out a page: their cells are read as paragraphs.

use html5gum::{DefaultEmitter, Token, Tokenizer};

use crate::document::Document;

use super::blocks::Blocks;
use super::plain;
use super::problem::DocumentProblem;

/// The text of an HTML file: what is UTF-8 is UTF-8 whatever it says of itself, then its mark or its own `charset`
/// decides, else the encoding is found by looking.
pub(super) fn decode(bytes: &[u8]) -> Result<String, DocumentProblem> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains('\0')
    {
        return Ok(text.trim_start_matches('\u{FEFF}').to_string());
    }
    let marked = encoding_rs::Encoding::for_bom(bytes).is_some();
    let head =
        String::from_utf8_lossy(bytes.get(..bytes.len().min(2048)).unwrap_or_default()).to_ascii_lowercase();
    let named = head.split("charset=").nth(1).and_then(|rest| {
        let name = rest.trim_start_matches(['"', '\'', ' ']);
        let end =
            name.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(name.len());
        encoding_rs::Encoding::for_label(name.get(..end)?.as_bytes())
    });
    if let (false, Some(named)) = (marked, named)
        && let Some(text) = named.decode_without_bom_handling_and_without_replacement(bytes)
    {
        return Ok(text.into_owned());
    }
    plain::decode(bytes)
}

/// Left out with all that is inside.
const HIDDEN: [&str; 13] = [
    "script", "style", "noscript", "template", "svg", "iframe", "object", "select", "button", "nav", "rt",
    "rp", "textarea",
];
/// Begin and end a paragraph.
const BLOCK: [&str; 30] = [
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "blockquote",
    "figure",
    "figcaption",
    "dl",
    "dt",
    "dd",
    "ul",
    "ol",
    "form",
    "fieldset",
    "address",
    "details",
    "summary",
    "body",
    "html",
    "head",
    "hr",
    "center",
    "caption",
    "legend",
    "tbody",
    "thead",
];

#[derive(Default)]
struct Reader {
    blocks: Blocks,
    text: String,
    title: Option<String>,
    in_title: bool,
    heading: Option<u8>,
    in_item: bool,
    /// Next number of each open list; `None`: bullets.
    lists: Vec<Option<u64>>,
    preformatted: usize,
    /// Open hidden elements.
    hidden: Vec<String>,
    tables: Vec<Table>,
}

/// An open table; once it turns out to lay out the page, its cells are paragraphs.
#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
    in_cell: bool,
    layout: bool,
}

pub(super) fn parse(text: &str) -> Document {
    let reader = read(text, &HIDDEN);
    // a menu that never closes would hide the page
    let reader = if reader.hidden.is_empty() { reader } else { read(text, &["script", "style"]) };
    let title = reader.title.clone().or_else(|| reader.blocks.first_heading());
    Document { id: String::new(), title, blocks: reader.blocks.done() }
}

fn read(text: &str, hidden: &[&str]) -> Reader {
    let mut r = Reader::default();
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(text, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                if hidden.contains(&name.as_str()) {
                    if !tag.self_closing {
                        r.hidden.push(name);
                    }
                } else if r.hidden.is_empty() {
                    r.open(&name);
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                if let Some(at) = r.hidden.iter().rposition(|open| *open == name) {
                    r.hidden.truncate(at);
                } else if r.hidden.is_empty() {
                    r.close(&name);
                }
            }
            Token::String(words) if r.hidden.is_empty() => r.words(&String::from_utf8_lossy(&words)),
            _ => {}
        }
    }
    while !r.tables.is_empty() {
        r.close("table");
    }
    r.flush();
    r
}

impl Reader {
    fn words(&mut self, words: &str) {
        if self.in_title {
            let title = words.split_whitespace().collect::<Vec<_>>().join(" ");
            if !title.is_empty() {
                self.title.get_or_insert(title);
            }
            return;
        }
        if self.preformatted > 0 {
            self.text.push_str(words);
            return;
        }
        if words.starts_with(char::is_whitespace) {
            self.space();
        }
        for (n, word) in words.split_whitespace().enumerate() {
            if n > 0 {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
        if words.ends_with(char::is_whitespace) {
            self.space();
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
    }

    /// Ends the running text as whatever it is.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if let Some(table) = self.tables.last_mut().filter(|t| t.in_cell && !t.layout) {
            if let Some(cell) = table.rows.last_mut().and_then(|row| row.last_mut()) {
                if !cell.is_empty() && !text.trim().is_empty() {
                    cell.push('\n');
                }
                cell.push_str(text.trim());
            }
            return;
        }
        match self.heading {
            Some(level) => self.blocks.heading(level, &text),
            None if self.preformatted > 0 => self.blocks.code(&text),
            None if self.in_item => {
                // what follows in the same item is a paragraph of its own
                if !text.trim().is_empty() {
                    self.in_item = false;
                }
                self.blocks.item(&text);
            }
            None => self.blocks.paragraph(&text),
        }
    }

    /// The innermost table lays out the page: its cells so far are paragraphs.
    fn lay_out(&mut self) {
        let Some(table) = self.tables.last_mut().filter(|t| !t.layout) else { return };
        table.layout = true;
        let cells: Vec<String> = std::mem::take(&mut table.rows).into_iter().flatten().collect();
        for cell in cells {
            self.blocks.paragraph(&cell);
        }
    }

    fn open(&mut self, name: &str) {
        match name {
            "br" => self.text.push('\n'),
            "title" => self.in_title = true,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.lay_out();
                self.heading = name.get(1..).and_then(|n| n.parse().ok());
            }
            "ul" => {
                self.flush();
                self.lists.push(None);
            }
            "ol" => {
                self.flush();
                self.lists.push(Some(1));
            }
            "li" => {
                self.flush();
                self.in_item = true;
                if let Some(Some(number)) = self.lists.last_mut() {
                    self.text = format!("{number}. ");
                    *number += 1;
                }
            }
            "pre" => {
                self.flush();
                self.preformatted += 1;
            }
            "table" => {
                self.flush();
                self.lay_out();
                self.tables.push(Table::default());
            }
            "tr" => {
                self.flush();
                if let Some(table) = self.tables.last_mut() {
                    table.in_cell = false;
                    if !table.layout {
                        table.rows.push(Vec::new());
                    }
                }
            }
            "td" | "th" => {
                self.flush();
                if let Some(table) = self.tables.last_mut() {
                    table.in_cell = true;
                    if !table.layout {
                        if table.rows.is_empty() {
                            table.rows.push(Vec::new());
                        }
                        if let Some(row) = table.rows.last_mut() {
                            row.push(String::new());
                        }
                    }
                }
            }
            _ if BLOCK.contains(&name) => self.flush(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "title" => self.in_title = false,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = None;
            }
            "ul" | "ol" => {
                self.flush();
                self.lists.pop();
                self.in_item = false;
            }
            "li" => {
                self.flush();
                self.in_item = false;
            }
            "pre" => {
                self.flush();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            "td" | "th" | "tr" => {
                self.flush();
                if let Some(table) = self.tables.last_mut() {
                    table.in_cell = false;
                }
            }
            "table" => {
                self.flush();
                if let Some(table) = self.tables.pop() {
                    self.blocks.table(table.rows);
                }
            }
            _ if BLOCK.contains(&name) => self.flush(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        parse(html).plain_text()
    }

    #[test]
    fn a_page_as_a_reader_sees_it() {
        let page = "<!DOCTYPE html><html><head><title>泵 &amp; 阀</title><style>p{}</style></head><body>\
            <nav><a href=x>Home</a></nav><h1>Pump <i>One</i></h1><p>Read  <b>this</b>\n first.<br>Then&nbsp;go.</p>\
            <ul><li>open<ul><li>inner</li></ul></li><li><p>close</p><p>more</p></li></ul><ol><li>a<li>b</ol>\
            <table><tr><th>k<th>v</tr><tr><td>1</td><td>x<br>y</td></tr></table>\
            <pre>let a\n  b</pre><script>if (a < b) { x('<p>no</p>') }</script>end</body></html>";
        assert_eq!(
            text(page),
            "# Pump One\n\nRead this first.\nThen go.\n\n- open\n- inner\n- close\n\nmore\n\n- 1. a\n- 2. b\n\n\
             | k | v |\n| 1 | x y |\n\nlet a\n  b\n\nend"
        );
        assert_eq!(parse(page).title.as_deref(), Some("泵 & 阀"));
    }

    #[test]
    fn tables_that_lay_out_a_page_are_paragraphs() {
        let page = "<table><tr><td>menu</td><td><h2>Head</h2>words<table><tr><td>a</td><td>b</td></tr></table>after</td></tr></table>";
        assert_eq!(text(page), "menu\n\n## Head\n\nwords\n\n| a | b |\n\nafter");
    }

    #[test]
    fn broken_and_endless_html_is_read_all_the_same() {
        assert_eq!(text("<nav><p>all of the page"), "all of the page");
        assert_eq!(text("a</p></table></li></ul></h1>b"), "a\n\nb");
        assert_eq!(text("&lt;b&#x4e2d;<"), "<b中<");
        for endless in ["<div>", "<table><tr><td>", "<ul><li>", "<b", "&#", "<!--", "<pre>"] {
            text(&endless.repeat(20_000));
        }
    }

    #[test]
    fn the_encoding_is_the_marked_the_named_or_the_found_one() {
        let gb = |s: &str| encoding_rs::GB18030.encode(s).0.into_owned();
        let named = gb("<meta charset=\"gb2312\"><p>中</p>");
        assert_eq!(decode(&named).unwrap(), "<meta charset=\"gb2312\"><p>中</p>");
        assert_eq!(decode(&gb("<p>中华人民共和国</p>")).unwrap(), "<p>中华人民共和国</p>");
        // the name is wrong
        assert_eq!(decode("<meta charset=gbk><p>中文字</p>".as_bytes()).unwrap().len(), 34);
        assert!(decode(b"\x00\x01\x02").is_err());
    }
}
