//! A report to hand on: no rows of the data, no folders of this machine. Figures, labels, hashes and the recipe stay.
use super::data::ReportData;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

impl ReportData {
    /// The same without questions and answers of exams and prompts, and with the names of files alone in place of paths.
    ///
    /// # Errors
    /// A figure of the report is no number, so that it cannot be read back.
    pub fn public(&self) -> Result<ReportData, serde_json::Error> {
        Ok(ReportData { public: true, ..without_rows(self)? })
    }
}

/// A report of any kind without its rows and folders.
pub(super) fn without_rows<T: Serialize + DeserializeOwned>(report: &T) -> Result<T, serde_json::Error> {
    let mut value = serde_json::to_value(report)?;
    walk(&mut value);
    serde_json::from_value(value)
}

/// Lists that hold rows, wherever they stand: a stage has a report of its own.
const ROWS: [&str; 4] = ["changed", "all", "moved", "shown"];

fn walk(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_folders(text),
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| match value {
            Value::Array(rows) if ROWS.contains(&key.as_str()) => rows.clear(),
            value => walk(value),
        }),
        _ => {}
    }
}

/// What ends a path that is not in quotes.
const ENDS: [char; 15] = [' ', '\t', '\n', '\r', '"', '\'', '`', ',', ';', ')', ']', '}', '，', '；', '）'];

/// What a path does not begin behind, besides letters and digits.
const WITHIN: [char; 11] = ['/', '\\', '.', ':', '_', '-', '<', '}', ')', ']', '…'];

/// Cuts each absolute path (also of the home folder, of Windows, of a `file:` address) to its last name.
fn without_folders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let at_word = before.is_none_or(|b: char| !b.is_alphanumeric() && !WITHIN.contains(&b));
        if !(at_word && absolute(rest)) {
            out.push(c);
            before = Some(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        // a text that is a path from its first letter to its last, or one in quotes, may have spaces in it
        let quote = before.filter(|b| matches!(b, '"' | '\'' | '`'));
        let end = match quote {
            Some(quote) => rest.find([quote, '\n']),
            None if before.is_none() && !text.contains('\n') => None,
            None => rest.find(ENDS),
        };
        let path = &rest[..end.unwrap_or(rest.len())];
        let name = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
        // `/v1` alone is no folder of anybody's
        let deep = path.trim_start_matches(['/', '\\']).contains(['/', '\\']);
        out.push_str(if deep { name } else { path });
        before = path.chars().last();
        rest = &rest[path.len()..];
    }
    out
}

fn absolute(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('/'), Some(c), _) => !c.is_whitespace() && c != '/' && c != '>',
        (Some('~'), Some('/' | '\\'), _) | (Some('\\'), Some('\\'), _) => true,
        (Some(drive), Some(':'), Some('/' | '\\')) => {
            drive.is_ascii_alphabetic() && !text[2..].starts_with("//")
        }
        _ => text.starts_with("file:/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_and_all_else_stays() {
        let check = |text: &str, want: &str| assert_eq!(without_folders(text), want);
        check("/home/ann/Acme Ltd/train.jsonl", "train.jsonl");
        check(
            "nurture run a.toml --set data.train[0].path=/srv/acme/t.jsonl --set x=1",
            "nurture run a.toml --set data.train[0].path=t.jsonl --set x=1",
        );
        check("path = \"/srv/my data/t.jsonl\" # x", "path = \"t.jsonl\" # x");
        check(
            "train = [\"~/acme/a.csv\", 'C:\\Users\\ann\\b.csv', \"file:///srv/c.csv\"]",
            "train = [\"a.csv\", 'b.csv', \"c.csv\"]",
        );
        check("见 /数据/客户/表.xlsx，第 3 行", "见 表.xlsx，第 3 行");
        check("nurture chat /srv/runs/desk/", "nurture chat desk");
        for same in [
            "../data/t.jsonl",
            "base / tuned",
            "3/4 of all",
            "https://example.org/a/b",
            "km/h",
            "with `/v1`",
            "{a}/{b}/{c}",
            "a:b/c",
            "`</s>`",
            "",
            "12:/",
            "train.jsonl:17",
        ] {
            check(same, same);
        }
    }

    #[test]
    fn no_row_is_left() {
        let mut full = super::super::tests::sample();
        full.stages = vec![super::super::data::StageReport { report: full.clone(), ..Default::default() }];
        full.inputs[0].path = "/srv/acme/secret-client/train.jsonl".into();
        let public = full.public().unwrap();
        assert!(public.exams[0].all.is_empty() && !full.exams[0].all.is_empty());
        assert!(!serde_json::to_string(&public).unwrap().contains("went dark"));
        for lang in crate::lang::Lang::ALL {
            for page in [super::super::html(&public, lang), super::super::markdown(&public, lang)] {
                for row in ["went dark", "auf Rechnung", "hash map", "secret-client"] {
                    assert!(!page.contains(row), "{row}");
                }
                assert!(page.contains("service-desk") && page.contains("label 3"), "figures stay");
                assert!(page.contains(lang.pick("left out of this copy", "略去")));
            }
        }
    }
}
