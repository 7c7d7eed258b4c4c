//! What a field of the recipe is: name, kind, documentation in both languages. The macros [`section!`] and
//! [`choices!`] write the struct *and* its entry in the table from one place, so that neither can drift.
use crate::lang::{Said, Text};
use crate::said;

/// One table of the recipe, such as `[train]`.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What the table is for.
    pub doc: Text,
    /// Its keys, in the order in which they are shown.
    pub fields: &'static [Field],
    /// The values that stand when nothing is said.
    pub defaults: fn() -> toml::Table,
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means to leave it out.
    pub absent: Absent,
    /// A value as it would be written in TOML.
    pub example: &'static str,
    /// What it is for.
    pub doc: Text,
}

/// What it means when a key is left out.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// It must be given.
    Required,
    /// The default of the struct stands.
    Default,
    /// The value comes from elsewhere; the text says from where.
    Means(Text),
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A name that becomes a folder name: no slashes, not empty.
    Name,
    /// An input file or folder; relative ones start at the recipe's folder.
    Path,
    /// A folder to write to; relative ones start at the current folder.
    OutputPath,
    /// A name from a catalogue, or a path if it looks like one (see [`looks_like_path`]).
    NameOrPath,
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A number. Zero is refused where `positive`.
    Number {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
        /// Whether zero is refused as well.
        positive: bool,
    },
    /// One of some words.
    Choice(&'static [Choice]),
    /// A table of its own.
    Table(&'static Section),
    /// Several of a kind. A single value is taken as a list of one.
    List(&'static Kind),
}

/// A word that a [`Kind::Choice`] allows.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The word.
    pub name: &'static str,
    /// What it means.
    pub doc: Text,
    /// Whether this version can do it; planned words are known, explained and refused.
    pub available: bool,
}

impl Section {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Kind {
    /// The table behind this kind, through a list as well.
    pub fn section(&self) -> Option<&'static Section> {
        match self {
            Kind::Table(section) => Some(section),
            Kind::List(inner) => inner.section(),
            _ => None,
        }
    }

    /// What is expected, for people.
    pub fn said(&self) -> Said {
        match self {
            Kind::Text => Said::new("a text in quotes", "带引号的文本"),
            Kind::Name => Said::new("a name in quotes", "带引号的名字"),
            Kind::Path | Kind::OutputPath => Said::new("a path in quotes", "带引号的路径"),
            Kind::NameOrPath => Said::new("a name or path in quotes", "带引号的名字或路径"),
            Kind::Bool => Said::new("true or false", " true 或 false"),
            Kind::Integer { .. } => Said::new("a whole number", "整数"),
            Kind::Number { .. } => Said::new("a number", "数字"),
            Kind::Choice(choices) => {
                let words: Vec<_> = choices.iter().filter(|c| c.available).map(|c| c.name).collect();
                let words = words.join(", ");
                said!("one of {words}, in quotes", "带引号的 {words} 之一")
            }
            Kind::Table(_) => Said::new("a table", "表"),
            Kind::List(inner) => {
                let inner = inner.said();
                Said::new(format!("a list, each {}", inner.en), format!("列表，每项是{}", inner.zh))
            }
        }
    }

    /// The key that a bare string fills where a table is expected (`train = "a.jsonl"`).
    pub(crate) fn shorthand(section: &Section) -> Option<&'static str> {
        section.fields.iter().find(|field| matches!(field.kind, Kind::Path)).map(|field| field.name)
    }
}

/// Whether a [`Kind::NameOrPath`] is a path: it starts with `.`, `/` or `~`, holds a backslash, or ends like a
/// model, template or text file. What exists on disk is not asked, so a recipe means the same everywhere.
pub fn looks_like_path(value: &str) -> bool {
    const ENDINGS: [&str; 9] =
        [".gguf", ".safetensors", ".jinja", ".txt", ".md", ".jsonl", ".json", ".csv", ".tsv"];
    value.starts_with(['.', '/', '~'])
        || value.contains('\\')
        || ENDINGS.iter().any(|ending| value.to_ascii_lowercase().ends_with(ending))
}

/// Writes an enum of words with its [`Choice`] table. Words after `later` are known but refused.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident {
        $($variant:ident = $word:literal [$en:literal, $zh:literal];)+
    } $(later { $($planned:literal [$pen:literal, $pzh:literal];)+ })?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $(#[doc = $en] #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The words with their documentation.
            pub const CHOICES: &'static [crate::recipe::Choice] = &[
                $(crate::recipe::Choice {
                    name: $word, doc: crate::lang::Text::new($en, $zh), available: true,
                },)+
                $($(crate::recipe::Choice {
                    name: $planned, doc: crate::lang::Text::new($pen, $pzh), available: false,
                },)+)?
            ];

            /// The word as it is written in a recipe.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

/// Writes the struct of a table together with its [`Section`]:
/// `key: Type = default, kind, absent, example, [English, Chinese];`
macro_rules! section {
    ($name:ident [$sen:literal, $szh:literal] {
        $($(#[$meta:meta])* $field:ident: $ty:ty = $default:expr, $kind:expr, $absent:expr, $example:literal,
            [$en:literal, $zh:literal];)+
    }) => {
        #[doc = $sen]
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$meta])* #[doc = $en] pub $field: $ty,)+ }

        impl Default for $name {
            fn default() -> Self { $name { $($field: $default,)+ } }
        }

        impl $name {
            /// The keys of this table with their documentation.
            pub const SECTION: crate::recipe::Section = crate::recipe::Section {
                doc: crate::lang::Text::new($sen, $szh),
                fields: &[$(crate::recipe::Field {
                    name: stringify!($field), kind: $kind, absent: $absent, example: $example,
                    doc: crate::lang::Text::new($en, $zh),
                },)+],
                defaults: || toml::Table::try_from($name::default()).unwrap_or_default(),
            };
        }
    };
}

pub(crate) use {choices, section};
