//! A page before it is HTML or markdown: what is said, in which order, once for both.
//!
//! All texts are plain; each writer escapes them in its own way.

/// A whole page.
pub(crate) struct Page {
    /// Title of the browser's tab.
    pub(crate) title: String,
    /// The first screen.
    pub(crate) lead: Lead,
    /// Everything below it.
    pub(crate) blocks: Vec<Block>,
    /// The last line.
    pub(crate) foot: String,
}

/// What a reader with one minute sees.
pub(crate) struct Lead {
    /// Small line above the headline.
    pub(crate) eyebrow: String,
    /// Headline.
    pub(crate) title: String,
    /// The verdict in a word.
    pub(crate) verdict: String,
    /// Its colour.
    pub(crate) tone: Tone,
    /// The verdict in a sentence or two.
    pub(crate) sentence: String,
    /// The figures.
    pub(crate) tiles: Vec<Tile>,
}

/// One figure of the first screen.
pub(crate) struct Tile {
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) note: String,
    pub(crate) tone: Tone,
}

/// How a figure is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Caution,
    Bad,
}

/// A piece of the page.
pub(crate) enum Block {
    /// Heading of a part, with its anchor.
    Section(&'static str, String),
    /// Heading within a part.
    Sub(String),
    /// A paragraph.
    Para(String),
    /// A paragraph in small print.
    Note(String),
    /// Points.
    List(Vec<String>),
    /// Names and their values.
    Facts(Vec<(String, Cell)>),
    /// A table.
    Table(Table),
    /// A picture, drawn for wide and for narrow windows, and in characters for markdown.
    Figure { wide: String, narrow: String, text: String, caption: String },
    /// Questions with the answers of both models.
    Cases(Vec<Case>),
    /// Text that is shown exactly.
    Code(&'static str, String),
    /// HTML of our own, every text in it escaped; what markdown says instead.
    Only { html: String, note: String },
    /// Something to open.
    Fold(String, Vec<Block>),
}

pub(crate) struct Table {
    /// Heads; `true` stands to the right, for figures.
    pub(crate) head: Vec<(String, bool)>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

pub(crate) enum Cell {
    Text(String),
    /// Shown as code: names, hashes.
    Mono(String),
    Toned(Tone, String),
}

impl Cell {
    pub(crate) fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Mono(text) | Cell::Toned(_, text) => text,
        }
    }
}

/// A question with its answers.
pub(crate) struct Case {
    pub(crate) question: String,
    /// Label and answer, with whether it is right.
    pub(crate) answers: Vec<(String, String, Tone)>,
}

/// Text without what would harm a page: control characters, and marks that turn the direction of writing.
pub(crate) fn clean(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    })
}

/// At most `limit` characters, an ellipsis at the end if there were more.
pub(crate) fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_string(),
    }
}
