//! Blocks as readers build them: texts trimmed, empty ones left out.

use crate::document::Block;

/// The blocks of a document in the making.
#[derive(Default)]
pub(crate) struct Blocks(Vec<Block>);

impl Blocks {
    pub(crate) fn heading(&mut self, level: u8, text: &str) {
        self.push_text(text, |text| Block::Heading { level, text });
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.push_text(text, Block::Paragraph);
    }

    pub(crate) fn item(&mut self, text: &str) {
        self.push_text(text, Block::Item);
    }

    pub(crate) fn code(&mut self, text: &str) {
        // the first line's spaces matter, empty lines around do not
        let text = text.trim_end().trim_start_matches(['\n', '\r']);
        if !text.trim().is_empty() {
            self.0.push(Block::Code(text.to_string()));
        }
    }

    /// A table; rows without words are left out, and one that has a single cell is no table.
    pub(crate) fn table(&mut self, rows: Vec<Vec<String>>) {
        let mut rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|row| row.iter().map(|cell| lines(cell)).collect::<Vec<_>>())
            .filter(|row| row.iter().any(|cell| !cell.is_empty()))
            .collect();
        match rows.as_mut_slice() {
            [] => {}
            [row] if row.len() == 1 => self.paragraph(&row.concat()),
            _ => self.0.push(Block::Table(rows)),
        }
    }

    pub(crate) fn append(&mut self, blocks: Vec<Block>) {
        self.0.extend(blocks);
    }

    /// The first heading of level 1, or the only one of the highest level.
    pub(crate) fn first_heading(&self) -> Option<String> {
        self.0.iter().find_map(|b| match b {
            Block::Heading { level: 1, text } => Some(text.replace('\n', " ")),
            _ => None,
        })
    }

    pub(crate) fn done(self) -> Vec<Block> {
        self.0
    }

    fn push_text(&mut self, text: &str, block: impl FnOnce(String) -> Block) {
        let text = lines(text);
        if !text.is_empty() {
            self.0.push(block(text));
        }
    }
}

/// Trimmed lines; empty ones left out.
fn lines(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
