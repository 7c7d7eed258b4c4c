//! csv and tsv records (RFC 4180), strict about quotes.
//!
//! A stray quote at the start of a field makes a lenient reader swallow hundreds of rows as one field, in silence.
//! Here a closing quote must be followed by a delimiter or a line end, and a quote must close before the file ends;
//! otherwise the error names the line where the quote opened.

use crate::error::DataError;
use crate::text_reader::TextReader;

/// How the fields of a record are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// An ASCII character between fields.
    pub(crate) delimiter: u8,
    /// Whether `"` at the start of a field opens a quoted field.
    pub(crate) quote: bool,
}

/// One record and the line where it starts.
pub(crate) struct Record {
    pub(crate) line: usize,
    pub(crate) fields: Vec<String>,
}

#[derive(PartialEq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote inside a quoted field: the end of the field or the first half of `""`.
    QuoteSeen,
}

/// Reads the next record; blank lines are not records. `cap` limits the bytes of one record.
pub(crate) fn next_record(
    text: &mut TextReader,
    dialect: Dialect,
    cap: usize,
) -> Result<Option<Record>, DataError> {
    loop {
        match record(text, dialect, cap)? {
            Some(record) if record.fields.len() == 1 && record.fields.iter().all(|f| f.trim().is_empty()) => {
            }
            other => return Ok(other),
        }
    }
}

fn record(text: &mut TextReader, dialect: Dialect, cap: usize) -> Result<Option<Record>, DataError> {
    if !text.fill()? {
        return Ok(None);
    }
    let line = text.line();
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut state = State::FieldStart;
    let mut quote_line = line;
    let mut size = 0usize;
    let broken =
        |text: &TextReader, line, problem| DataError::Quote { file: text.file().to_string(), line, problem };

    while text.fill()? {
        let chunk = text.rest();
        let mut from = 0; // start of the run that belongs to the field and is not yet copied
        let mut end = None; // bytes taken, when the record ends inside this chunk
        let mut newlines = 0;
        for (at, byte) in chunk.bytes().enumerate() {
            newlines += usize::from(byte == b'\n');
            match state {
                State::FieldStart if byte == b'"' && dialect.quote => {
                    state = State::Quoted;
                    quote_line = text.line() + newlines;
                    from = at + 1;
                    continue;
                }
                State::FieldStart => state = State::Plain,
                State::Plain => {}
                State::Quoted => {
                    if byte == b'"' {
                        field.push_str(chunk.get(from..at).unwrap_or_default());
                        from = at + 1;
                        state = State::QuoteSeen;
                    }
                    continue;
                }
                State::QuoteSeen if byte == b'"' => {
                    from = at; // the second quote of `""` belongs to the field
                    state = State::Quoted;
                    continue;
                }
                State::QuoteSeen if byte == b'\r' => {
                    from = at + 1;
                    continue;
                }
                State::QuoteSeen if byte == dialect.delimiter || byte == b'\n' => {}
                State::QuoteSeen => {
                    return Err(broken(
                        text,
                        quote_line,
                        "the quote that opens here closes with text behind it",
                    ));
                }
            }
            if byte == dialect.delimiter || byte == b'\n' {
                field.push_str(chunk.get(from..at).unwrap_or_default());
                if byte == b'\n' && state == State::Plain && field.ends_with('\r') {
                    field.pop();
                }
                fields.push(std::mem::take(&mut field));
                from = at + 1;
                state = State::FieldStart;
                if byte == b'\n' {
                    end = Some(at + 1);
                    break;
                }
            }
        }
        let taken = end.unwrap_or(chunk.len());
        if end.is_none() {
            field.push_str(chunk.get(from..).unwrap_or_default());
        }
        size += taken;
        if size > cap {
            return Err(DataError::RowTooLong { file: text.file().to_string(), line, cap });
        }
        text.consume(taken);
        if end.is_some() {
            return Ok(Some(Record { line, fields }));
        }
    }
    if state == State::Quoted {
        return Err(broken(text, quote_line, "the quote that opens here never closes"));
    }
    if state == State::Plain && field.ends_with('\r') {
        field.pop();
    }
    fields.push(field);
    Ok(Some(Record { line, fields }))
}

const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];

/// The delimiter that splits the first records of `sample` into the same number (more than one) of fields most
/// often; a comma where none does.
pub(crate) fn find_delimiter(sample: &str) -> u8 {
    let mut best = (0, b',');
    for delimiter in CANDIDATES {
        let bytes = sample.as_bytes().to_vec();
        let mut text = TextReader::new(
            Box::new(std::io::Cursor::new(bytes)),
            std::path::Path::new(""),
            "",
            crate::encoding::Encoding::Utf8,
        );
        let mut widths = Vec::new();
        while widths.len() < 20 {
            match next_record(&mut text, Dialect { delimiter, quote: true }, usize::MAX) {
                Ok(Some(record)) => widths.push(record.fields.len()),
                // The sample may end inside a quote; what came before still counts.
                Ok(None) | Err(_) => break,
            }
        }
        let Some(&width) = widths.first().filter(|&&w| w > 1) else { continue };
        let same = widths.iter().filter(|&&w| w == width).count();
        if same > best.0 {
            best = (same, delimiter);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;

    fn read(content: &str, dialect: Dialect) -> Result<Vec<(usize, Vec<String>)>, DataError> {
        let input = Box::new(std::io::Cursor::new(content.as_bytes().to_vec()));
        let mut text = TextReader::new(input, std::path::Path::new("t.csv"), "t.csv", Encoding::Utf8);
        let mut records = Vec::new();
        while let Some(record) = next_record(&mut text, dialect, 1 << 20)? {
            records.push((record.line, record.fields));
        }
        Ok(records)
    }

    const CSV: Dialect = Dialect { delimiter: b',', quote: true };

    #[test]
    fn quotes_newlines_and_line_numbers() {
        let records = read("a,b\r\n\"x\ny, \"\"z\"\"\",1\r\n\r\n,\nlast,\"\"", CSV).unwrap();
        let expected: Vec<(usize, Vec<&str>)> = vec![
            (1, vec!["a", "b"]),
            (2, vec!["x\ny, \"z\"", "1"]),
            (5, vec!["", ""]),
            (6, vec!["last", ""]),
        ];
        assert_eq!(records.len(), expected.len());
        for (found, want) in records.iter().zip(&expected) {
            assert_eq!(
                (found.0, found.1.iter().map(String::as_str).collect::<Vec<_>>()),
                (want.0, want.1.clone())
            );
        }
    }

    #[test]
    fn stray_quotes_are_errors_that_name_the_opening_line() {
        let open = read("a,b\n1,\"never\nclosed,2\n", CSV).err().unwrap().to_string();
        assert!(open.starts_with("t.csv:2: the quote that opens here never closes"), "{open}");
        let behind = read("a,b\n1,\"x\n2,y \"z\" w\n", CSV).err().unwrap().to_string();
        assert!(behind.starts_with("t.csv:2: the quote that opens here closes with text"), "{behind}");
        let plain = read("a\tb\n1\t\"x\n", Dialect { delimiter: b'\t', quote: false }).unwrap();
        assert_eq!(plain[1].1[1], "\"x");
    }

    #[test]
    fn a_quote_inside_a_plain_field_is_a_character() {
        assert_eq!(read("5\" disk,x\n", CSV).unwrap()[0].1, ["5\" disk", "x"]);
    }

    #[test]
    fn delimiters_are_found() {
        assert_eq!(find_delimiter("a,b\n1,2\n"), b',');
        assert_eq!(find_delimiter("a;b\n1,5;2\n2,5;3\n"), b';');
        assert_eq!(find_delimiter("a\tb\nx, y\tz\n"), b'\t');
        assert_eq!(find_delimiter("one column\nof text\n"), b',');
    }
}
