//! Why the columns of a file were taken for what they are: the facts, which whoever shows them puts into words.

use std::fmt;

use serde::Serialize;

/// The reason of a [`crate::SchemaFound`]. `Display` is one English sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Why {
    /// The recipe names the columns.
    Given,
    /// A column of turns.
    Turns {
        /// The column.
        column: String,
        /// Who speaks, and what.
        keys: [&'static str; 2],
    },
    /// A question with options, one of them right.
    Options {
        /// The columns of the options; one: it lists them.
        options: Vec<String>,
        /// The column of the question.
        question: String,
        /// The column that says which option is right.
        answer: String,
    },
    /// Alpaca's shape.
    Instruction {
        /// The column of the instruction.
        instruction: String,
        /// The column of the answer.
        output: String,
    },
    /// A prompt and what follows it.
    Completion {
        /// The column of the prompt.
        prompt: String,
        /// The column of what follows.
        completion: String,
    },
    /// A question and its answer.
    Question {
        /// The column of the question.
        question: String,
        /// The column of the answer.
        answer: String,
    },
    /// A text and its category.
    Category {
        /// The column of the text.
        text: String,
        /// The column of the category.
        category: String,
    },
    /// A text that nothing answers.
    PlainText {
        /// The column.
        text: String,
    },
    /// Documents, each read whole.
    Documents {
        /// How many.
        count: usize,
        /// Their formats.
        formats: Vec<String>,
    },
    /// A better answer and a worse one.
    Preference {
        /// The column of the prompt; `None`: both answers are whole conversations.
        prompt: Option<String>,
        /// The column of the better answer.
        chosen: String,
        /// The column of the worse answer.
        rejected: String,
    },
    /// An answer that is marked good or bad.
    Judged {
        /// The column of the answer, or of the conversation that ends with it.
        answer: String,
        /// The column of the mark.
        good: String,
    },
    /// Documents, asked about by rules.
    Questions {
        /// How many documents.
        count: usize,
        /// Questions made of them.
        pairs: usize,
    },
    /// Two columns without names, told apart by their values.
    Nameless {
        /// The column with few values.
        category: String,
        /// How many.
        categories: usize,
        /// Rows that were looked at.
        rows: usize,
        /// The other column.
        text: String,
        /// How many values it has.
        texts: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Given => f.write_str("the recipe says so"),
            Why::Turns { column, keys: [who, what] } => {
                write!(f, "\"{column}\" is a list of turns with {who} and {what}")
            }
            Why::Options { options, question, answer } => {
                match options.as_slice() {
                    [one] => write!(f, "\"{one}\" lists the options")?,
                    more => write!(f, "the columns {} are the options", more.join(", "))?,
                }
                write!(f, " of \"{question}\" and \"{answer}\" is the right one")
            }
            Why::Instruction { instruction, output } => {
                write!(f, "\"{instruction}\" and \"{output}\" are an instruction and its output (Alpaca)")
            }
            Why::Completion { prompt, completion } => {
                write!(f, "\"{prompt}\" is a prompt and \"{completion}\" completes it")
            }
            Why::Question { question, answer } => {
                write!(f, "\"{question}\" is a question and \"{answer}\" its answer")
            }
            Why::Category { text, category } => {
                write!(f, "\"{text}\" is a text and \"{category}\" its category")
            }
            Why::PlainText { text } => write!(f, "\"{text}\" is plain text and no column is its answer"),
            Why::Documents { count, formats } => {
                let s = if *count == 1 { "" } else { "s" };
                write!(f, "{count} document{s} ({}) to learn the text of", formats.join(", "))
            }
            Why::Preference { prompt: Some(prompt), chosen, rejected } => {
                write!(f, "\"{chosen}\" is the better and \"{rejected}\" the worse answer to \"{prompt}\"")
            }
            Why::Preference { prompt: None, chosen, rejected } => write!(
                f,
                "\"{chosen}\" and \"{rejected}\" are two conversations that part at their last answer, the first the better"
            ),
            Why::Judged { answer, good } => {
                write!(f, "\"{good}\" says true or false of the answer in \"{answer}\"")
            }
            Why::Questions { count, pairs } => {
                let s = if *count == 1 { "" } else { "s" };
                write!(f, "{pairs} questions made from {count} document{s}")
            }
            Why::Nameless { category, categories, rows, text, texts } => write!(
                f,
                "there is no header; \"{category}\" has {categories} different values in the first {rows} rows, as \
                 categories do, and \"{text}\" has {texts}"
            ),
        }
    }
}
