//! Automatic numbers of Word's paragraphs: "第三条", "2.1", "(a)". They stand in no text but in `numbering.xml` as formats
//! that count; without them a contract loses the names of its clauses.

use std::collections::HashMap;

use super::problem::DocumentProblem;
use super::xml::{Xml, attribute, walk};

/// Levels that Word has.
const LEVELS: usize = 9;

#[derive(Clone, Debug, Default)]
struct Level {
    /// `%1.%2`, `第%1条`.
    text: String,
    format: String,
    start: u32,
}

/// The list formats of a document and how far each has counted.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// `w:num` id to `w:abstractNum` id.
    of: HashMap<String, String>,
    formats: HashMap<String, Vec<Level>>,
    counts: HashMap<String, [Option<u32>; LEVELS]>,
}

/// What stands before a paragraph.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A bullet or nothing: an item of a list.
    Bullet,
    /// A number, as it is shown.
    Number(String),
}

impl Numbering {
    pub(super) fn read(bytes: &[u8]) -> Result<Numbering, DocumentProblem> {
        let mut found = Numbering::default();
        let (mut abstract_id, mut num_id, mut level) = (None::<String>, None::<String>, 0usize);
        walk(bytes, "numbering.xml", |xml| {
            match xml {
                Xml::Start(e) => match e.local_name().as_ref() {
                    "abstractNum" => {
                        abstract_id = attribute(e, "abstractNumId");
                        if let Some(id) = &abstract_id {
                            found.formats.insert(id.clone(), vec![Level::default(); LEVELS]);
                        }
                    }
                    "num" => num_id = attribute(e, "numId"),
                    "abstractNumId" => {
                        if let (Some(num), Some(to)) = (num_id.take(), attribute(e, "val")) {
                            found.of.insert(num, to);
                        }
                    }
                    "lvl" => level = attribute(e, "ilvl").and_then(|l| l.parse().ok()).unwrap_or(0),
                    name @ ("start" | "numFmt" | "lvlText") => {
                        let slot = abstract_id
                            .as_ref()
                            .and_then(|id| found.formats.get_mut(id))
                            .and_then(|levels| levels.get_mut(level));
                        if let (Some(slot), Some(value)) = (slot, attribute(e, "val")) {
                            match name {
                                "start" => slot.start = value.parse().unwrap_or(1),
                                "numFmt" => slot.format = value,
                                _ => slot.text = value.chars().take(100).collect(),
                            }
                        }
                    }
                    _ => {}
                },
                Xml::End("abstractNum") => abstract_id = None,
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Counts on and gives what stands before the paragraph; nothing for an unknown list.
    pub(super) fn next(&mut self, num: &str, level: usize) -> Option<Mark> {
        let id = self.of.get(num)?;
        let levels = self.formats.get(id)?;
        let own = levels.get(level)?;
        if own.format == "bullet" || own.format == "none" {
            return Some(Mark::Bullet);
        }
        // lists of one abstract format count together, as they do where a style carries the number
        let counts = self.counts.entry(id.clone()).or_default();
        for (n, count) in counts.iter_mut().enumerate() {
            let start = levels.get(n).map_or(1, |l| l.start);
            match n.cmp(&level) {
                std::cmp::Ordering::Less => *count = Some(count.unwrap_or(start)),
                std::cmp::Ordering::Equal => *count = Some(count.map_or(start, |c| c.saturating_add(1))),
                std::cmp::Ordering::Greater => *count = None,
            }
        }
        let mut text = String::new();
        let mut chars = own.text.chars().peekable();
        while let Some(c) = chars.next() {
            match chars.peek().and_then(|d| d.to_digit(10)).filter(|d| c == '%' && (1..=9).contains(d)) {
                Some(digit) => {
                    chars.next();
                    let n = digit as usize - 1;
                    let format = levels.get(n).map_or("decimal", |l| l.format.as_str());
                    // "2.1" under "第二章" stays in figures
                    let format = if n < level && own.format == "decimal" { "decimal" } else { format };
                    text.push_str(&number(counts.get(n).copied().flatten().unwrap_or(1), format));
                }
                None => text.push(c),
            }
        }
        let text = text.trim().to_string();
        Some(if text.is_empty() { Mark::Bullet } else { Mark::Number(text) })
    }
}

fn number(n: u32, format: &str) -> String {
    match format {
        "chineseCounting"
        | "chineseCountingThousand"
        | "ideographDigital"
        | "japaneseCounting"
        | "taiwaneseCountingThousand" => chinese(n),
        "decimalEnclosedCircle" | "decimalEnclosedCircleChinese" if (1..=20).contains(&n) => {
            char::from_u32(0x245F + n).map(String::from).unwrap_or_default()
        }
        "lowerLetter" => letters(n).to_lowercase(),
        "upperLetter" => letters(n),
        "lowerRoman" => roman(n).to_lowercase(),
        "upperRoman" => roman(n),
        "decimalZero" => format!("{n:02}"),
        _ => n.to_string(),
    }
}

/// 1 to 9,999 as people count in Chinese; larger ones in figures.
fn chinese(n: u32) -> String {
    const DIGITS: [char; 10] = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];
    if n == 0 || n > 9999 {
        return n.to_string();
    }
    let mut out = String::new();
    let mut gap = false;
    for (unit, name) in [(1000, "千"), (100, "百"), (10, "十"), (1, "")] {
        let digit = n / unit % 10;
        if digit == 0 {
            gap = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut gap) {
            out.push('零');
        }
        // ten to nineteen begin with ten itself
        if !(unit == 10 && digit == 1 && out.is_empty()) {
            out.push(DIGITS.get(digit as usize).copied().unwrap_or('零'));
        }
        out.push_str(name);
    }
    out
}

/// A to Z, then AA, BB, ..., as Word counts.
fn letters(n: u32) -> String {
    let n = n.max(1) - 1;
    let letter = char::from(b'A' + (n % 26) as u8);
    letter.to_string().repeat((n / 26 + 1).min(10) as usize)
}

fn roman(n: u32) -> String {
    const PARTS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    if n == 0 || n > 3999 {
        return n.to_string();
    }
    let mut n = n;
    let mut out = String::new();
    for (value, letters) in PARTS {
        while n >= value {
            out.push_str(letters);
            n -= value;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        let zh = [
            (1, "一"),
            (10, "十"),
            (11, "十一"),
            (20, "二十"),
            (105, "一百零五"),
            (110, "一百一十"),
            (1001, "一千零一"),
            (3210, "三千二百一十"),
        ];
        for (n, want) in zh {
            assert_eq!(chinese(n), want);
        }
        assert_eq!((roman(1994), letters(28)), ("MCMXCIV".into(), "BB".into()));
    }

    #[test]
    fn levels_count_on_and_begin_again() {
        let xml = r#"<w:numbering xmlns:w="w"><w:abstractNum w:abstractNumId="7">
            <w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="chineseCounting"/><w:lvlText w:val="第%1章"/></w:lvl>
            <w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl>
            <w:lvl w:ilvl="2"><w:numFmt w:val="bullet"/><w:lvlText w:val="•"/></w:lvl></w:abstractNum>
            <w:num w:numId="3"><w:abstractNumId w:val="7"/></w:num></w:numbering>"#;
        let mut n = Numbering::read(xml.as_bytes()).unwrap();
        let shown: Vec<Option<Mark>> =
            [0, 1, 1, 2, 0, 1].into_iter().map(|level| n.next("3", level)).collect();
        let number = |s: &str| Some(Mark::Number(s.to_string()));
        let want = [
            number("第一章"),
            number("1.1"),
            number("1.2"),
            Some(Mark::Bullet),
            number("第二章"),
            number("2.1"),
        ];
        assert_eq!(shown, want);
        assert_eq!(n.next("4", 0), None);
        assert_eq!(n.next("3", 99), None);
    }
}
