//! A document as every reader gives it back, whatever file it came from: headings, paragraphs, list items, tables and code
//! in the order of reading.
//!
//! Left out on purpose: how it looks. Fonts, colours, pictures and places on a page are not what a language model learns.

use serde::{Deserialize, Serialize};

/// One document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Where it comes from: the file's name, with the path inside a folder or archive.
    pub id: String,
    /// Its title, where the file names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its parts in the order of reading.
    pub blocks: Vec<Block>,
}

/// A part of a document. Texts are trimmed and not empty; a line feed inside one is a line of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// A heading of level 1 (the document's own) to 6 or deeper.
    Heading {
        /// 1 is the highest.
        level: u8,
        /// Its words.
        text: String,
    },
    /// A paragraph.
    Paragraph(String),
    /// An item of a list, without its bullet; a number that belongs to the text stands in it.
    Item(String),
    /// A table: rows of cells, the first row is mostly its header. Rows may differ in length.
    Table(Vec<Vec<String>>),
    /// Text whose line ends and spaces matter.
    Code(String),
}

impl Document {
    /// The document as plain text, as it is learnt in pre-training: blocks are parted by an empty line, items of one list
    /// by a line end. Headings carry `#`, items `-`, tables are rows of cells between `|`; code stands as it is.
    pub fn plain_text(&self) -> String {
        let mut out = String::new();
        let mut in_list = false;
        for block in &self.blocks {
            let item = matches!(block, Block::Item(_));
            if !out.is_empty() {
                out.push_str(if item && in_list { "\n" } else { "\n\n" });
            }
            in_list = item;
            match block {
                Block::Heading { level, text } => {
                    out.extend(std::iter::repeat_n('#', usize::from((*level).clamp(1, 6))));
                    out.push(' ');
                    out.push_str(&on_one_line(text));
                }
                Block::Paragraph(text) => out.push_str(text),
                Block::Item(text) => {
                    out.push_str("- ");
                    out.push_str(&text.replace('\n', "\n  "));
                }
                Block::Table(rows) => {
                    let rows: Vec<String> = rows.iter().map(|row| table_row(row)).collect();
                    out.push_str(&rows.join("\n"));
                }
                Block::Code(text) => out.push_str(text),
            }
        }
        out
    }

    /// Whether there is nothing to read in it.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

fn on_one_line(text: &str) -> String {
    text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

fn table_row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| on_one_line(cell)).collect();
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_keeps_every_word_in_order() {
        let cells = |row: &[&str]| row.iter().map(|c| (*c).to_string()).collect::<Vec<_>>();
        let document = Document {
            id: "handbook.docx".into(),
            title: Some("Handbook".into()),
            blocks: vec![
                Block::Heading { level: 1, text: "Water\nPumps".into() },
                Block::Paragraph("Read this first.\nThen start.".into()),
                Block::Item("open the valve".into()),
                Block::Item("wait\nten seconds".into()),
                Block::Heading { level: 9, text: "参数".into() },
                Block::Table(vec![cells(&["型号", "功率"]), cells(&["甲\n型", "3 kW", ""])]),
                Block::Code("let x = 1;\n  go(x)".into()),
            ],
        };
        assert_eq!(
            document.plain_text(),
            "# Water Pumps\n\nRead this first.\nThen start.\n\n- open the valve\n- wait\n  ten seconds\n\n\
             ###### 参数\n\n| 型号 | 功率 |\n| 甲 型 | 3 kW |  |\n\nlet x = 1;\n  go(x)"
        );
        assert!(!document.is_empty());
        assert_eq!(Document::default().plain_text(), "");
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
    }
}
