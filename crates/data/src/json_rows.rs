//! JSON rows: one row's text to its fields, and the rows of one large array taken out one at a time.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{DataError, RowProblem};
use crate::text_reader::TextReader;

/// Parses the text of one row. A string counts as the field `text`, so that arrays of strings are documents.
pub(crate) fn parse_row(text: &str) -> Result<Map<String, Value>, RowProblem> {
    let object = match serde_json::from_str::<Object>(text) {
        Ok(object) => object,
        Err(error) if error.is_data() => return other_value(text),
        Err(error) => return Err(broken(text, &error)),
    };
    match object.twice {
        Some(key) => Err(RowProblem::DuplicateKey { key }),
        None => Ok(object.fields),
    }
}

fn broken(text: &str, error: &serde_json::Error) -> RowProblem {
    let what = error.to_string();
    // The position inside the row would be read as a position in the file.
    let what = what.split(" at line ").next().unwrap_or_default();
    let what = if text.lines().count() > 1 {
        format!("{what} (in the row's line {})", error.line())
    } else {
        what.to_string()
    };
    RowProblem::BrokenJson { column: error.column(), what }
}

fn other_value(text: &str) -> Result<Map<String, Value>, RowProblem> {
    let found = match serde_json::from_str::<Value>(text) {
        Ok(Value::String(text)) => {
            let mut fields = Map::new();
            fields.insert("text".to_string(), Value::String(text));
            return Ok(fields);
        }
        Ok(Value::Array(_)) => "a list",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_)) => "true or false",
        Ok(Value::Null | Value::Object(_)) => "null",
        Err(error) => return Err(broken(text, &error)),
    };
    Err(RowProblem::NotAnObject { found })
}

/// An object that notices a key standing twice, which plain parsing would lose.
struct Object {
    fields: Map<String, Value>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object { fields: Map::new(), twice: None };
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if object.fields.contains_key(&key) {
                        object.twice.get_or_insert(key);
                    } else {
                        object.fields.insert(key, value);
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Takes values one at a time out of `[a, b, ...]`, or out of values that simply follow each other. Only strings and
/// brackets are understood here; whether a value is right JSON is `parse_row`'s question.
pub(crate) struct JsonValues {
    mode: Mode,
}

#[derive(PartialEq)]
enum Mode {
    Unopened,
    Array { first: bool },
    Sequence,
    Ended,
}

impl JsonValues {
    pub(crate) fn new() -> Self {
        JsonValues { mode: Mode::Unopened }
    }

    /// Reads the next value's text into `out`; returns the line where it starts, `None` at the end.
    pub(crate) fn next_value(
        &mut self,
        text: &mut TextReader,
        out: &mut String,
        cap: usize,
    ) -> Result<Option<usize>, DataError> {
        out.clear();
        let frame = |text: &TextReader, problem| {
            Err(DataError::JsonFrame { file: text.file().to_string(), line: text.line(), problem })
        };
        let mut next = text.skip_space()?;
        if self.mode == Mode::Unopened {
            self.mode = if next == Some('[') { Mode::Array { first: true } } else { Mode::Sequence };
            if next == Some('[') {
                text.consume(1);
                next = text.skip_space()?;
            }
        }
        match self.mode {
            Mode::Array { first } => match next {
                None => return frame(text, "the file ends before the closing ] of its list"),
                Some(']') => {
                    text.consume(1);
                    self.mode = Mode::Ended;
                    return match text.skip_space()? {
                        None => Ok(None),
                        Some(_) => frame(text, "text behind the closing ] of the list"),
                    };
                }
                Some(',') if !first => {
                    text.consume(1);
                    if matches!(text.skip_space()?, None | Some(']' | ',')) {
                        return frame(text, "a comma with no row behind it");
                    }
                }
                Some(_) if first => self.mode = Mode::Array { first: false },
                Some(_) => return frame(text, "two rows without a comma between them"),
            },
            Mode::Sequence if next.is_some() => {}
            Mode::Sequence | Mode::Ended | Mode::Unopened => return Ok(None),
        }
        let line = text.line();
        if take_value(text, out, cap)? {
            Ok(Some(line))
        } else {
            Err(DataError::JsonFrame {
                file: text.file().to_string(),
                line,
                problem: "the row that starts here never ends (a missing quote or bracket)",
            })
        }
    }
}

/// Copies one value; false when the file ends inside it.
fn take_value(text: &mut TextReader, out: &mut String, cap: usize) -> Result<bool, DataError> {
    let line = text.line();
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    while text.fill()? {
        let mut taken = text.rest().len();
        let mut complete = false;
        for (at, byte) in text.rest().bytes().enumerate() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                complete = !in_string && depth == 0;
                if complete {
                    taken = at + 1;
                    break;
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        (taken, complete) = (at + 1, true);
                        break;
                    }
                }
                // A bare word or number ends before whatever follows it. One byte is always taken, so that the
                // caller comes forward on any input.
                b',' | b']' | b'}' | b'\n' | b'\r' | b' ' | b'\t' if depth == 0 => {
                    let first_byte = out.is_empty() && at == 0;
                    (taken, complete) = (at + usize::from(first_byte), true);
                    break;
                }
                _ => {}
            }
        }
        let part = text.rest().get(..taken).unwrap_or_default();
        if out.len() + part.len() > cap {
            return Err(DataError::RowTooLong { file: text.file().to_string(), line, cap });
        }
        out.push_str(part);
        text.consume(taken);
        if complete {
            return Ok(true);
        }
    }
    Ok(depth == 0 && !in_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;

    fn values(content: &str) -> Result<Vec<(usize, String)>, DataError> {
        let input = Box::new(std::io::Cursor::new(content.as_bytes().to_vec()));
        let mut text = TextReader::new(input, std::path::Path::new("t.json"), "t.json", Encoding::Utf8);
        let (mut reader, mut out, mut found) = (JsonValues::new(), String::new(), Vec::new());
        while let Some(line) = reader.next_value(&mut text, &mut out, 1 << 20)? {
            found.push((line, out.clone()));
        }
        Ok(found)
    }

    #[test]
    fn arrays_and_sequences_give_their_values_with_lines() {
        let array = values("[\n {\"a\": \"]},\\\"\"},\n {\"b\": [1, {}]}, \"s\", 12\n]\n").unwrap();
        let want = [(2, "{\"a\": \"]},\\\"\"}"), (3, "{\"b\": [1, {}]}"), (3, "\"s\""), (3, "12")];
        assert_eq!(array, want.map(|(line, text)| (line, text.to_string())));
        assert_eq!(values("{\"a\":1}\n{\"a\":2}").unwrap().len(), 2);
        assert_eq!(values("[]").unwrap().len(), 0);
        assert_eq!(values("").unwrap().len(), 0);
    }

    #[test]
    fn a_broken_frame_names_its_line() {
        for (content, line, part) in [
            ("[\n{\"a\":1}\n{\"a\":2}]", 3, "without a comma"),
            ("[{\"a\":1},\n]", 2, "comma with no row"),
            ("[{\"a\":1}\n", 2, "before the closing ]"),
            ("[{\"a\":1}]\nx", 2, "behind the closing ]"),
            ("[{\"a\":1},\n{\"a\":\"x]", 2, "never ends"),
        ] {
            let error = values(content).err().unwrap().to_string();
            assert!(
                error.starts_with(&format!("t.json:{line}: ")) && error.contains(part),
                "{content}: {error}"
            );
        }
    }

    #[test]
    fn rows_say_what_is_wrong_with_them() {
        assert_eq!(
            parse_row("{\"a\": 1, \"a\": 2}").unwrap_err(),
            RowProblem::DuplicateKey { key: "a".into() }
        );
        assert_eq!(parse_row("[1]").unwrap_err(), RowProblem::NotAnObject { found: "a list" });
        assert_eq!(parse_row("\"doc\"").unwrap().get("text"), Some(&Value::from("doc")));
        assert!(matches!(parse_row("{\"a\": }").unwrap_err(), RowProblem::BrokenJson { column: 7, .. }));
    }
}
