//! Documents to questions: pairs made by rules from the structure that a document has, each with the passage that it comes
//! from. An answer is always taken from its passage word by word.
//!
//! The rules: articles of law (第…条), definitions (`X means …`, `X是指…`), headings that ask or name what their section says,
//! tables (row, column, cell). Left out on purpose: writing questions freely. A model outside may do that and propose pairs
//! for passages ([`document_passages`], [`Proposed`]); they are held to the same promise. What nobody asks stays unasked;
//! learning the plain text (`train.method = "pretrain"`) is the other road.

use serde::{Deserialize, Serialize};

use crate::clean::{Language, letters};
use crate::document::{Block, Document};
use crate::rows::SourceSpec;

/// Characters of an answer; a longer one is a text, not an answer.
const LONGEST_ANSWER: usize = 800;
/// Characters of a question that a model proposes.
const LONGEST_QUESTION: usize = 400;
/// Characters of an answer; a shorter section says nothing.
const SHORTEST_SECTION: usize = 20;
/// Characters of a term that is defined.
const LONGEST_TERM: usize = 40;
/// Cells of one table that are asked for.
const MOST_CELLS: usize = 200;

/// Why a pair was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionRule {
    /// An article of law.
    Article,
    /// A sentence that says what a word means.
    Definition,
    /// A heading and the text below it.
    Heading,
    /// A cell of a table.
    Table,
    /// No rule: a model proposed it.
    Model,
}

impl QuestionRule {
    /// All that are rules.
    pub const ALL: [QuestionRule; 4] =
        [QuestionRule::Article, QuestionRule::Definition, QuestionRule::Heading, QuestionRule::Table];
}

/// The ledger's reason for a document that answers no question of the rules.
pub const NO_QUESTIONS: &str = "no_questions";

/// Documents that are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionSource {
    /// A file, folder or archive.
    pub spec: SourceSpec,
    /// The rules that may ask.
    pub rules: Vec<QuestionRule>,
    /// Whether the model is shown the passage before the question.
    pub passage: bool,
    /// Pairs that a model proposes beside the rules.
    pub proposed: Vec<Proposed>,
}

/// A pair that a model proposes for a passage of a document. One without a question stands for a reply that held no pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposed {
    /// The document.
    pub document: String,
    /// The passage that the model was shown.
    pub passage: String,
    /// The question.
    pub question: String,
    /// The answer, said to stand in the passage.
    pub answer: String,
}

impl Proposed {
    /// The pair as it is kept, or the ledger's reason against it.
    ///
    /// # Errors
    /// `no_pair`, `question_unusable` (too long, of several lines, or it tells the answer), `answer_not_in_passage`.
    pub fn accept(&self) -> Result<Asked, &'static str> {
        let question = self.question.trim();
        if question.is_empty() {
            return Err("no_pair");
        }
        // quotes around the answer and a full stop behind it are the model's own
        let quotes = ['"', '“', '”', '「', '」', ' '];
        let whole = self.answer.trim();
        let bare = whole.trim_matches(quotes);
        let answers = [whole, bare, bare.trim_end_matches(['.', '。']).trim_matches(quotes)];
        let has_words = |text: &str| text.chars().any(char::is_alphanumeric);
        let Some(answer) = answers.into_iter().find(|a| has_words(a) && self.passage.contains(a)) else {
            return Err("answer_not_in_passage");
        };
        let short = question.chars().count() <= LONGEST_QUESTION && answer.chars().count() <= LONGEST_ANSWER;
        let odd = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        if !short || !has_words(question) || question.contains(odd) || question.contains(answer) {
            return Err("question_unusable");
        }
        Ok(Asked {
            document: self.document.clone(),
            rule: QuestionRule::Model,
            question: question.to_string(),
            answer: answer.to_string(),
            passage: self.passage.clone(),
        })
    }
}

/// A document cut at its own headings into passages of at most about `longest` characters, each below the headings that it
/// stands under. What is shorter than a sentence is left out.
pub fn document_passages(document: &Document, longest: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut path: Vec<(u8, String)> = Vec::new();
    let mut body = String::new();
    let mut length = 0;
    let mut close = |body: &mut String, length: &mut usize, path: &[(u8, String)]| {
        if std::mem::take(length) >= SHORTEST_SECTION {
            let head: Vec<&str> = path.iter().map(|(_, heading)| heading.as_str()).collect();
            let head = if head.is_empty() { String::new() } else { head.join(" › ") + "\n" };
            out.push(head + body.trim());
        }
        body.clear();
    };
    for block in &document.blocks {
        let text = match block {
            Block::Heading { level, text } => {
                close(&mut body, &mut length, &path);
                path.retain(|(above, _)| above < level);
                path.push((*level, on_one_line(text)));
                continue;
            }
            Block::Table(rows) => {
                let line =
                    |row: &Vec<String>| row.iter().map(|c| on_one_line(c)).collect::<Vec<_>>().join(" | ");
                rows.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Block::Paragraph(text) | Block::Item(text) | Block::Code(text) => text.clone(),
        };
        // a paragraph that is too long alone is cut behind sentences, and a sentence by characters
        for sentence in sentences(&text) {
            let letters: Vec<char> = sentence.chars().collect();
            for piece in letters.chunks(longest.max(1)) {
                if length > 0 && length + piece.len() > longest {
                    close(&mut body, &mut length, &path);
                }
                body.extend(piece);
                body.push(if sentence.is_ascii() { ' ' } else { '\n' });
                length += piece.len();
            }
        }
        body.truncate(body.trim_end().len());
        body.push('\n');
    }
    close(&mut body, &mut length, &path);
    out
}

/// A question with its answer, and where both come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The document.
    pub document: String,
    /// The rule that made it.
    pub rule: QuestionRule,
    /// The question.
    pub question: String,
    /// The answer; it stands in the passage.
    pub answer: String,
    /// The passage.
    pub passage: String,
}

/// The questions that a document answers, in its order. Questions that it would answer in two ways are not asked.
pub fn questions(document: &Document) -> Vec<Asked> {
    let mut maker = Maker { document, title: title(document), path: Vec::new(), out: Vec::new() };
    let mut section: Vec<&Block> = Vec::new();
    for block in &document.blocks {
        if let Block::Heading { level, text } = block {
            maker.section(&std::mem::take(&mut section));
            maker.path.retain(|(above, _)| above < level);
            maker.path.push((*level, on_one_line(text)));
        } else {
            section.push(block);
        }
    }
    maker.section(&section);
    let mut out = maker.out;
    let mut answers: std::collections::HashMap<String, Option<String>> = std::collections::HashMap::new();
    for asked in &out {
        answers
            .entry(asked.question.clone())
            .and_modify(|known| {
                if known.as_ref() != Some(&asked.answer) {
                    *known = None;
                }
            })
            .or_insert_with(|| Some(asked.answer.clone()));
    }
    let mut seen = std::collections::HashSet::new();
    out.retain(|a| answers.get(&a.question).is_some_and(Option::is_some) && seen.insert(a.question.clone()));
    out
}

/// What the document calls itself: its title, its first heading of the first level, the heading that it begins with, or its
/// file's name.
fn title(document: &Document) -> String {
    let heading = document.blocks.iter().find_map(|b| match b {
        Block::Heading { level: 1, text } => Some(on_one_line(text)),
        _ => None,
    });
    let first = match document.blocks.first() {
        Some(Block::Heading { text, .. }) => Some(on_one_line(text)),
        _ => None,
    };
    let name = || {
        let file = document.id.rsplit('/').next().unwrap_or_default();
        file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_string()
    };
    document.title.clone().filter(|t| !t.trim().is_empty()).or(heading).or(first).unwrap_or_else(name)
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Maker<'a> {
    document: &'a Document,
    title: String,
    /// The headings above, with their levels.
    path: Vec<(u8, String)>,
    out: Vec<Asked>,
}

impl Maker<'_> {
    /// Keeps a pair whose answer stands in its passage.
    fn keep(&mut self, rule: QuestionRule, question: String, answer: &str, passage: &str) {
        let answer = answer.trim();
        let fits = !answer.is_empty() && answer.chars().count() <= LONGEST_ANSWER;
        if fits && passage.contains(answer) {
            let document = self.document.id.clone();
            let (answer, passage) = (answer.to_string(), passage.to_string());
            self.out.push(Asked { document, rule, question, answer, passage });
        }
    }

    /// What stands between two headings.
    fn section(&mut self, blocks: &[&Block]) {
        let texts: Vec<&str> = blocks
            .iter()
            .filter_map(|b| match b {
                Block::Paragraph(text) | Block::Item(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let articles = self.articles(&texts);
        for text in &texts {
            self.definitions(text);
        }
        for block in blocks {
            if let Block::Table(rows) = block {
                self.table(rows);
            }
        }
        if !articles {
            self.heading(blocks);
        }
    }

    /// Articles, each with the paragraphs up to the next one. Whether there were any.
    fn articles(&mut self, texts: &[&str]) -> bool {
        let mut open: Option<(String, Vec<&str>)> = None;
        let mut any = false;
        for text in texts.iter().copied().map(Some).chain([None]) {
            let number = text.and_then(article);
            if number.is_some() || text.is_none() {
                if let Some((number, body)) = open.take() {
                    any = true;
                    let answer = body.join("\n");
                    let passage = format!("{number} {answer}");
                    let question = format!("《{}》{number}是怎么规定的？", self.title);
                    self.keep(QuestionRule::Article, question, &answer, &passage);
                }
                open = number.map(|(number, rest)| (number.to_string(), vec![rest]));
            } else if let (Some((_, body)), Some(text)) = (&mut open, text) {
                body.push(text);
            }
        }
        any
    }

    /// Sentences that define a word.
    fn definitions(&mut self, text: &str) {
        let body = article(text).map_or(text, |(_, rest)| rest);
        for sentence in sentences(body) {
            if let Some(term) = defined_zh(sentence) {
                self.keep(QuestionRule::Definition, format!("什么是{term}？"), sentence, text);
            } else if let Some(term) = defined_en(sentence) {
                self.keep(QuestionRule::Definition, format!("What does “{term}” mean?"), sentence, text);
            }
        }
    }

    /// A heading that asks is the question; of another one the question is what its section says.
    fn heading(&mut self, blocks: &[&Block]) {
        let Some((level, heading)) = self.path.last().cloned() else { return };
        let parts: Vec<String> = blocks.iter().filter_map(|b| plain(b)).collect();
        let passage = parts.join("\n");
        let length = passage.chars().count();
        if !(SHORTEST_SECTION..=LONGEST_ANSWER).contains(&length) {
            return;
        }
        let chinese = letters(&heading).language() == Some(Language::Zh);
        let question = if asks(&heading) {
            heading.clone()
        } else if level <= 1 || heading == self.title {
            return;
        } else if chinese {
            format!("《{}》在“{heading}”部分写了什么？", self.title)
        } else {
            format!("What does “{}” say under “{heading}”?", self.title)
        };
        self.keep(QuestionRule::Heading, question, &passage, &passage);
    }

    /// Each cell, by the first cell of its row and the head of its column.
    fn table(&mut self, rows: &[Vec<String>]) {
        let Some((head, body)) = rows.split_first().filter(|(head, body)| head.len() > 1 && !body.is_empty())
        else {
            return;
        };
        let line = |row: &[String]| row.iter().map(|c| on_one_line(c)).collect::<Vec<_>>().join(" | ");
        let passage = rows.iter().map(|row| line(row)).collect::<Vec<_>>().join("\n");
        if passage.chars().count() > 4 * LONGEST_ANSWER {
            return;
        }
        let mut names: Vec<&String> = body.iter().filter_map(|row| row.first()).collect();
        names.sort_unstable();
        if names.windows(2).any(|w| w[0] == w[1]) {
            return;
        }
        let about = self.path.last().map_or(self.title.clone(), |(_, heading)| heading.clone());
        let mut left = MOST_CELLS;
        for row in body {
            let name = row.first().map(|c| on_one_line(c)).unwrap_or_default();
            for (column, cell) in head.iter().zip(row).skip(1) {
                let (column, cell) = (on_one_line(column), on_one_line(cell));
                let has_words = |text: &str| text.chars().any(char::is_alphanumeric);
                if left == 0 || ![&name, &column, &cell].into_iter().all(|t| has_words(t)) {
                    continue;
                }
                left -= 1;
                let chinese = letters(&format!("{name}{column}{about}")).language() == Some(Language::Zh);
                let question = match chinese {
                    true => format!("{about}：{name}的{column}是什么？"),
                    false => format!("{about}: what is the {column} of {name}?"),
                };
                self.keep(QuestionRule::Table, question, &cell, &passage);
            }
        }
    }
}

fn plain(block: &Block) -> Option<String> {
    match block {
        Block::Paragraph(text) | Block::Item(text) | Block::Code(text) => Some(text.clone()),
        Block::Table(_) | Block::Heading { .. } => None,
    }
}

/// The number of an article (`第十二条之一`) and its text, where a paragraph begins with one.
fn article(text: &str) -> Option<(&str, &str)> {
    const NUMERALS: &str = "零〇一二三四五六七八九十百千两0123456789";
    let text = text.trim_start();
    let digits =
        |text: &str| text.chars().take_while(|c| NUMERALS.contains(*c)).map(char::len_utf8).sum::<usize>();
    let number = text.strip_prefix('第')?;
    let count = digits(number);
    let mut end = "第".len() + count + "条".len();
    if count == 0 || !number.get(count..)?.starts_with('条') {
        return None;
    }
    if let Some(more) = text.get(end..)?.strip_prefix('之') {
        let count = digits(more);
        end += if count > 0 { "之".len() + count } else { 0 };
    }
    let rest = text.get(end..)?;
    // `第十条的规定` speaks of an article, it does not begin one
    let body = rest.trim_start_matches([' ', '\u{3000}', '\t', '：', ':']);
    (body.len() < rest.len() && !body.is_empty()).then(|| (&text[..end], body))
}

/// The sentences of a paragraph with their marks.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['。', '！', '？', '\n'])
        .flat_map(|part| {
            let mut from = 0;
            let ends: Vec<usize> =
                part.match_indices(". ").map(|(at, _)| at + 1).chain([part.len()]).collect();
            ends.into_iter().filter_map(move |end| {
                let sentence = part.get(from..end)?;
                from = end;
                Some(sentence.trim())
            })
        })
        .filter(|s| !s.is_empty())
}

/// The word that a Chinese sentence defines: `X是指…`, `本法所称X，是指…`.
fn defined_zh(sentence: &str) -> Option<&str> {
    let (before, after) = sentence.split_once("是指")?;
    let before = before.trim_end_matches(['，', ',', ' ', '：']);
    let term = before.rsplit(['，', '；', '：', '。', '、', '“', '”', '《', '》', ' ']).next()?;
    let quoted = before.ends_with('”').then(|| before.trim_end_matches('”').rsplit('“').next()).flatten();
    let term = quoted.unwrap_or(term);
    let term = term.rsplit_once("所称").map_or(term, |(_, term)| term);
    // `（四）关联关系，是指…`: an item's number is no part of the word
    let term =
        term.strip_prefix(['（', '(']).and_then(|t| t.split_once(['）', ')'])).map_or(term, |(_, term)| term);
    let term = ["的", "本", "前款", "其中"].iter().fold(term, |t, p| t.strip_prefix(p).unwrap_or(t)).trim();
    let speaks_of_nothing = [
        "这", "其", "该", "它", "此", "上述", "主要", "一般", "通常", "也", "就", "即", "并不", "不", "均",
        "都",
    ];
    let fits = (2..=LONGEST_TERM / 2).contains(&term.chars().count()) && after.chars().count() >= 4;
    (fits && !speaks_of_nothing.iter().any(|w| term.starts_with(w))).then_some(term)
}

/// The word that an English sentence defines: `X means …`, `X is defined as …`, `X refers to …`, `X stands for …`.
fn defined_en(sentence: &str) -> Option<&str> {
    let verbs = [" means ", " is defined as ", " refers to ", " stands for "];
    let (at, verb) = verbs.iter().filter_map(|v| Some((sentence.find(v)?, v))).min()?;
    let after = sentence.get(at + verb.len()..)?;
    let term = sentence.get(..at)?.trim();
    let term = ["The term ", "The word ", "A ", "An ", "The "]
        .iter()
        .find_map(|a| term.strip_prefix(a))
        .unwrap_or(term);
    let term = term.trim_matches(['"', '“', '”', '`', '*', '_']);
    let pronouns = [
        "This", "That", "It", "Which", "What", "These", "Those", "There", "He", "She", "They", "We", "You",
        "I", "If", "When", "Doing", "Using", "For", "In", "By", "But", "And", "So", "As", "Here", "Because",
        "Note", "Rust",
    ];
    let first = term.split_whitespace().next()?;
    let words = term.split_whitespace().count();
    let fits = (1..=4).contains(&words)
        && term.chars().count() <= LONGEST_TERM
        && after.split_whitespace().count() >= 3
        && !term.contains([',', ';', ':', '(', ')'])
        && after.split_whitespace().next().is_some_and(|w| w != "that" && w != "you" && w != "we");
    (fits && !pronouns.contains(&first)).then_some(term)
}

/// Whether a heading is a question.
fn asks(heading: &str) -> bool {
    let starts = [
        "如何",
        "怎样",
        "怎么",
        "什么是",
        "为什么",
        "为何",
        "What ",
        "How ",
        "Why ",
        "When ",
        "Where ",
        "Who ",
    ];
    heading.ends_with(['?', '？']) || starts.iter().any(|s| heading.starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(blocks: Vec<Block>) -> Vec<(QuestionRule, String, String)> {
        let document = Document { id: "a/泵.md".into(), title: None, blocks };
        let all = questions(&document);
        assert!(all.iter().all(|a| a.passage.contains(&a.answer) && a.document == "a/泵.md"), "{all:#?}");
        all.into_iter().map(|a| (a.rule, a.question, a.answer)).collect()
    }

    fn heading(level: u8, text: &str) -> Block {
        Block::Heading { level, text: text.into() }
    }

    fn para(text: &str) -> Block {
        Block::Paragraph(text.into())
    }

    fn asked(rule: QuestionRule, question: &str, answer: &str) -> (QuestionRule, String, String) {
        (rule, question.into(), answer.into())
    }

    #[test]
    fn articles_of_law_with_all_their_paragraphs() {
        let found = of(vec![
            heading(1, "供水条例"),
            heading(2, "第一章 总则"),
            para("第一条 为了规范供水，制定本条例。"),
            para("第二条　本条例所称水泵，是指向管网加压的设备。"),
            para("前款规定的设备应当登记。"),
            para("第三条之一 违反第二条规定的，责令改正。"),
            para("第四条规定的情形除外。"),
        ]);
        use QuestionRule::*;
        assert_eq!(
            found,
            [
                asked(Article, "《供水条例》第一条是怎么规定的？", "为了规范供水，制定本条例。"),
                asked(
                    Article,
                    "《供水条例》第二条是怎么规定的？",
                    "本条例所称水泵，是指向管网加压的设备。\n前款规定的设备应当登记。"
                ),
                asked(
                    Article,
                    "《供水条例》第三条之一是怎么规定的？",
                    "违反第二条规定的，责令改正。\n第四条规定的情形除外。"
                ),
                asked(Definition, "什么是水泵？", "本条例所称水泵，是指向管网加压的设备。"),
            ]
        );
    }

    #[test]
    fn definitions_of_both_languages() {
        let zh = |s: &str| defined_zh(s).map(String::from);
        assert_eq!(zh("“保险金额”是指保险人承担责任的最高限额。").as_deref(), Some("保险金额"));
        assert_eq!(zh("本法所称保险，是指商业保险行为。").as_deref(), Some("保险"));
        assert_eq!(zh("（四）关联关系，是指公司之间的关系。").as_deref(), Some("关联关系"));
        for none in ["这是指上面的规定。", "其主要是指这些。", "没有定义。", "是指什么也没有。"]
        {
            assert_eq!(zh(none), None, "{none}");
        }
        let en = |s: &str| defined_en(s).map(String::from);
        assert_eq!(en("A relief valve means a valve that opens by itself.").as_deref(), Some("relief valve"));
        assert_eq!(en("“Head” is defined as the height of the column.").as_deref(), Some("Head"));
        assert_eq!(en("RPM stands for revolutions per minute.").as_deref(), Some("RPM"));
        for none in
            ["This means that it is late.", "Which means nothing at all here.", "He who stands, means that."]
        {
            assert_eq!(en(none), None, "{none}");
        }
    }

    #[test]
    fn headings_and_tables() {
        let cells = |rows: &[&[&str]]| {
            Block::Table(rows.iter().map(|r| r.iter().map(|c| (*c).to_string()).collect()).collect())
        };
        let found = of(vec![
            heading(1, "Pump handbook"),
            heading(2, "How is the pump started?"),
            para("Open the valve. Then press the green button."),
            heading(2, "Storage"),
            para("Keep the pump dry and above five degrees."),
            heading(2, "参数"),
            cells(&[&["型号", "功率"], &["甲型", "3 kW"], &["乙型", ""]]),
            heading(2, "Sizes"),
            cells(&[&["Model", "Width"], &["A1", "20 mm"]]),
            heading(2, "Twice"),
            cells(&[&["Model", "Width"], &["A1", "20 mm"], &["A1", "30 mm"]]),
        ]);
        use QuestionRule::*;
        assert_eq!(
            found,
            [
                asked(Heading, "How is the pump started?", "Open the valve. Then press the green button."),
                asked(
                    Heading,
                    "What does “Pump handbook” say under “Storage”?",
                    "Keep the pump dry and above five degrees."
                ),
                asked(Table, "参数：甲型的功率是什么？", "3 kW"),
                asked(Table, "Sizes: what is the Width of A1?", "20 mm"),
            ]
        );
    }

    #[test]
    fn what_has_two_answers_is_not_asked() {
        let found = of(vec![
            para("Head means the height of the column."),
            para("Head means the person who leads a group."),
        ]);
        assert_eq!(found, []);
        assert_eq!(of(vec![]), []);
    }

    #[test]
    fn passages_keep_their_headings_and_their_length() {
        let document = Document {
            id: "a.md".into(),
            title: None,
            blocks: vec![
                para("short"),
                heading(1, "Pumps"),
                heading(2, "Start"),
                para("Open the valve. Then press the green button. Then wait."),
                heading(2, "保养"),
                para(&"每月检查一次密封圈。".repeat(9)),
                Block::Table(vec![
                    vec!["型号".into(), "功率".into()],
                    vec!["甲".into(), "3 kW 的大电机，全年运转不停".into()],
                ]),
            ],
        };
        let all = document_passages(&document, 60);
        assert_eq!(all[0], "Pumps › Start\nOpen the valve. Then press the green button. Then wait.");
        assert!(
            all[1..].iter().all(|p| p.starts_with("Pumps › 保养\n") && p.chars().count() < 80),
            "{all:#?}"
        );
        assert!(all.last().unwrap().contains("甲 | 3 kW"));
        // no length hangs or loses a letter
        for longest in [0, 1, 7, 10_000] {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
            let found: usize = document_passages(&document, longest)
                .iter()
                .map(|p| letters(p.split_once('\n').unwrap().1))
                .sum();
            if longest >= SHORTEST_SECTION {
                assert!(found > 120, "{longest}: {found}");
            }
        }
    }

    #[test]
    fn what_a_model_proposes_must_stand_in_the_passage() {
        let accept = |question: &str, answer: &str| {
            let passage = "Pumps › Start\nOpen the valve. Press the green button.".to_string();
            let (question, answer) = (question.to_string(), answer.to_string());
            Proposed { document: "a.md".into(), passage, question, answer }.accept().map(|a| a.answer)
        };
        assert_eq!(accept("Which button?", "the green button").as_deref(), Ok("the green button"));
        assert_eq!(accept("Which button?", " “the green button”. ").as_deref(), Ok("the green button"));
        assert_eq!(accept("Which button?", "the red button"), Err("answer_not_in_passage"));
        assert_eq!(accept("Which button?", ""), Err("answer_not_in_passage"));
        assert_eq!(accept("Which button?", "."), Err("answer_not_in_passage"));
        assert_eq!(accept("", "the valve"), Err("no_pair"));
        assert_eq!(accept("Is it the green button?", "the green button"), Err("question_unusable"));
        assert_eq!(accept("Which\nbutton?", "the green button"), Err("question_unusable"));
        assert_eq!(accept(&"x".repeat(401), "the valve"), Err("question_unusable"));
        assert_eq!(accept("?", "the valve"), Err("question_unusable"));
    }

    #[test]
    fn proposals_are_rows_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pump.md"), "Open the valve before the pump is started.\n").unwrap();
        let propose = |question: &str, answer: &str| Proposed {
            document: format!("{}/pump.md", dir.path().file_name().unwrap().to_str().unwrap()),
            passage: "Open the valve before the pump is started.".into(),
            question: question.into(),
            answer: answer.into(),
        };
        let source = QuestionSource {
            spec: SourceSpec::new(dir.path()),
            rules: Vec::new(),
            passage: false,
            proposed: vec![
                propose("What is opened first?", "the valve"),
                propose("What colour is the pump?", "green"),
                propose("", ""),
                propose("What is started?", "the pump"),
                propose("What is started?", "the pump"),
                Proposed { document: "elsewhere.md".into(), ..propose("What is opened?", "the valve") },
            ],
        };
        let options = crate::LoadOptions { questions: vec![source], ..Default::default() };
        let loaded = crate::load_training(&[], &options).unwrap();
        let total = loaded.ledger.total();
        assert!(loaded.ledger.adds_up(), "{total:?}");
        assert_eq!((total.rows, total.used, total.duplicate), (5, 2, 1), "{total:?}");
        assert_eq!((total.dropped["answer_not_in_passage"], total.dropped["no_pair"]), (1, 1));
        assert_eq!(loaded.asked.len(), 2);
        assert!(loaded.asked.values().all(|a| a.rule == QuestionRule::Model));
    }

    #[test]
    fn documents_become_rows_that_the_ledger_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("law.md", "# 供水条例\n\n第一条 为了规范供水，制定本条例。\n\n第二条 水费按月交纳。\n");
        write("empty.md", "Nothing to ask here.\n");
        let source = QuestionSource {
            spec: SourceSpec::new(dir.path()),
            rules: QuestionRule::ALL.to_vec(),
            passage: true,
            proposed: Vec::new(),
        };
        let options = crate::LoadOptions { questions: vec![source], ..Default::default() };
        let loaded = crate::load_training(&[], &options).unwrap();
        let total = loaded.ledger.total();
        assert!(loaded.ledger.adds_up());
        assert_eq!((total.rows, total.used, total.dropped[NO_QUESTIONS]), (3, 2, 1));
        let first = &loaded.examples[0];
        assert_eq!(
            first.messages[0].content,
            "第一条 为了规范供水，制定本条例。\n\n《供水条例》第一条是怎么规定的？"
        );
        let asked = &loaded.asked[&first.id];
        assert_eq!(first.group.as_deref(), Some(asked.document.as_str()));
        assert_eq!(first.expected(), Some("为了规范供水，制定本条例。"));
    }
}
