//! Files to rows: one streaming iterator over every format, in bounded memory, each row with its line.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::delimited::{Dialect, Record, find_delimiter, next_record};
use crate::encoding::Encoding;
use crate::error::{DataError, RowProblem};
use crate::json_rows::{JsonValues, parse_row};
use crate::mapping::Mapping;
use crate::text_reader::TextReader;

/// The format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// One JSON object a line.
    Jsonl,
    /// A JSON list of objects, or objects that follow each other.
    Json,
    /// Fields separated by commas, or by what the file shows (`;`, tab, `|`).
    Csv,
    /// Fields separated by tabs.
    Tsv,
    /// One plain document: txt, md.
    Text,
}

/// One data file and what is said about it; everything but `path` is found by looking where it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FileFormat>,
    /// Its text encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The character between the fields of csv; ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Whether the first record of csv or tsv names the columns; without one they are `column_1`, `column_2`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Whether `"` quotes fields of csv or tsv (true) or is a plain character (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<bool>,
    /// What the fields mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
}

impl SourceSpec {
    /// A file about which nothing is said.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SourceSpec {
            path: path.into(),
            format: None,
            encoding: None,
            delimiter: None,
            header: None,
            quote: None,
            mapping: None,
        }
    }
}

/// Fields of one row, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line of the file where the row starts, from 1.
    pub line: usize,
    /// Field name to value.
    pub fields: Map<String, Value>,
}

/// A row that could not be read; reading can go on behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRow {
    /// Line of the file where the row starts, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: RowProblem,
}

/// What was found out about a file before its first row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFound {
    /// Its format.
    pub format: FileFormat,
    /// Its text encoding.
    pub encoding: Encoding,
    /// csv, tsv: the character between fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// csv, tsv: whether the first record names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// csv, tsv: whether `"` quotes fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<bool>,
}

/// Limits of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Largest row, in bytes of UTF-8.
    pub row_bytes: usize,
    /// Largest plain document, in bytes of UTF-8.
    pub document_bytes: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits { row_bytes: 16 << 20, document_bytes: 256 << 20 }
    }
}

/// Iterates over the rows of one file. `Err` ends it; a row that cannot be read is `Ok(Err(BadRow))` and reading
/// goes on. Memory: one row and two 64 KiB chunks.
pub struct RowReader {
    text: TextReader,
    found: FileFound,
    limits: ReadLimits,
    kind: Kind,
    buffer: String,
    failed: bool,
}

enum Kind {
    Lines,
    Values(JsonValues),
    Records { dialect: Dialect, columns: Vec<String>, first: Option<Record> },
    Document { read: bool },
}

impl RowReader {
    /// Opens a file and finds format, encoding, delimiter, quotes and header where `spec` leaves them open.
    /// `file` is the name that stands in ids and errors.
    pub fn open(spec: &SourceSpec, file: &str, limits: ReadLimits) -> Result<Self, DataError> {
        let mut text = TextReader::open(&spec.path, file, spec.encoding)?;
        let encoding = text.encoding();
        let format = match spec.format {
            Some(format) => format,
            None => find_format(&spec.path, &mut text)?,
        };
        let mut found = FileFound { format, encoding, delimiter: None, header: None, quote: None };
        let kind = match format {
            // A .jsonl file that opens with a bracket is a list all the same.
            FileFormat::Jsonl if text.skip_space()? != Some('[') => Kind::Lines,
            FileFormat::Jsonl | FileFormat::Json => {
                found.format = FileFormat::Json;
                Kind::Values(JsonValues::new())
            }
            FileFormat::Csv | FileFormat::Tsv => {
                let dialect = find_dialect(spec, file, format, &mut text, limits)?;
                let (columns, first, header) = find_header(spec, file, &mut text, dialect, limits)?;
                found.delimiter = Some(char::from(dialect.delimiter));
                found.quote = Some(dialect.quote);
                found.header = Some(header);
                Kind::Records { dialect, columns, first }
            }
            FileFormat::Text => Kind::Document { read: false },
        };
        Ok(RowReader { text, found, limits, kind, buffer: String::new(), failed: false })
    }

    /// What was found out about the file.
    pub fn found(&self) -> &FileFound {
        &self.found
    }

    fn step(&mut self) -> Result<Option<Result<Row, BadRow>>, DataError> {
        let cap = self.limits.row_bytes;
        let (line, fields) = match &mut self.kind {
            Kind::Lines => loop {
                let Some(line) = self.text.next_line(&mut self.buffer, cap)? else { return Ok(None) };
                if !self.buffer.trim().is_empty() {
                    break (line, parse_row(&self.buffer));
                }
            },
            Kind::Values(values) => match values.next_value(&mut self.text, &mut self.buffer, cap)? {
                Some(line) => (line, parse_row(&self.buffer)),
                None => return Ok(None),
            },
            Kind::Records { dialect, columns, first } => {
                let record = match first.take() {
                    Some(record) => record,
                    None => match next_record(&mut self.text, *dialect, cap)? {
                        Some(record) => record,
                        None => return Ok(None),
                    },
                };
                (record.line, to_fields(columns, record.fields))
            }
            Kind::Document { read } => {
                if std::mem::replace(read, true) {
                    return Ok(None);
                }
                match read_document(&mut self.text, self.limits.document_bytes)? {
                    Some(document) => {
                        let mut fields = Map::new();
                        fields.insert("text".to_string(), Value::String(document));
                        (1, Ok(fields))
                    }
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(match fields {
            Ok(fields) => Ok(Row { line, fields }),
            Err(problem) => Err(BadRow { line, problem }),
        }))
    }
}

impl Iterator for RowReader {
    type Item = Result<Result<Row, BadRow>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

fn to_fields(columns: &[String], values: Vec<String>) -> Result<Map<String, Value>, RowProblem> {
    if columns.len() != values.len() {
        return Err(RowProblem::FieldCount { expected: columns.len(), found: values.len() });
    }
    Ok(columns.iter().cloned().zip(values.into_iter().map(Value::String)).collect())
}

fn read_document(text: &mut TextReader, cap: usize) -> Result<Option<String>, DataError> {
    let mut document = String::new();
    while text.fill()? {
        let part = text.rest();
        if document.len() + part.len() > cap {
            return Err(DataError::RowTooLong { file: text.file().to_string(), line: 1, cap });
        }
        document.push_str(part);
        let taken = part.len();
        text.consume(taken);
    }
    Ok((!document.trim().is_empty()).then_some(document))
}

fn find_format(path: &Path, text: &mut TextReader) -> Result<FileFormat, DataError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    Ok(match extension.as_str() {
        "jsonl" | "ndjson" => FileFormat::Jsonl,
        "json" => FileFormat::Json,
        "csv" => FileFormat::Csv,
        "tsv" | "tab" => FileFormat::Tsv,
        "txt" | "text" | "md" | "markdown" => FileFormat::Text,
        _ => match text.skip_space()? {
            Some('{' | '[') => FileFormat::Json,
            _ => return Err(DataError::UnknownFormat { file: text.file().to_string() }),
        },
    })
}

/// Delimiter: as said, a tab for tsv, or by looking at the first chunk. Quotes: as said, or on; but a tab-separated
/// file in which quotes do not balance and which is even without them uses `"` as a plain character.
fn find_dialect(
    spec: &SourceSpec,
    file: &str,
    format: FileFormat,
    text: &mut TextReader,
    limits: ReadLimits,
) -> Result<Dialect, DataError> {
    let delimiter = match (spec.delimiter, format) {
        (Some(said), _) => u8::try_from(said)
            .ok()
            .filter(|b| b.is_ascii() && !b"\"\r\n".contains(b))
            .ok_or_else(|| DataError::Setting {
                file: file.to_string(),
                problem: format!("delimiter {said:?} cannot separate fields; use one ASCII character"),
            })?,
        (None, FileFormat::Tsv) => b'\t',
        (None, _) => {
            text.fill()?;
            find_delimiter(text.rest())
        }
    };
    if let Some(quote) = spec.quote {
        return Ok(Dialect { delimiter, quote });
    }
    let quoted = Dialect { delimiter, quote: true };
    let plain = Dialect { delimiter, quote: false };
    let even = |dialect| -> Result<bool, DataError> {
        let mut text = TextReader::open(&spec.path, file, Some(text.encoding()))?;
        let mut width = None;
        while let Some(record) = next_record(&mut text, dialect, limits.row_bytes)? {
            if *width.get_or_insert(record.fields.len()) != record.fields.len() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if delimiter == b'\t' && !matches!(even(quoted), Ok(true)) && matches!(even(plain), Ok(true)) {
        return Ok(plain);
    }
    Ok(quoted)
}

/// Column names, the first record if it is data, and whether there is a header.
fn find_header(
    spec: &SourceSpec,
    file: &str,
    text: &mut TextReader,
    dialect: Dialect,
    limits: ReadLimits,
) -> Result<(Vec<String>, Option<Record>, bool), DataError> {
    let Some(record) = next_record(text, dialect, limits.row_bytes)? else {
        return Ok((Vec::new(), None, spec.header.unwrap_or(true)));
    };
    if !spec.header.unwrap_or_else(|| looks_like_header(&record.fields)) {
        let columns = (1..=record.fields.len()).map(|n| format!("column_{n}")).collect();
        return Ok((columns, Some(record), false));
    }
    let columns: Vec<String> = record.fields.iter().map(|f| f.trim().to_string()).collect();
    for (at, name) in columns.iter().enumerate() {
        if columns.iter().take(at).any(|earlier| earlier == name) {
            return Err(DataError::Setting {
                file: file.to_string(),
                problem: format!(
                    "line {}: the column name \"{name}\" stands twice; rename one, or set header = false if the \
                     first record is data",
                    record.line
                ),
            });
        }
    }
    Ok((columns, None, true))
}

/// A header is made of short, different, non-numeric names; one known name decides at once.
fn looks_like_header(fields: &[String]) -> bool {
    if fields.iter().any(|f| crate::schema::is_known_column(f)) {
        return true;
    }
    let name = |f: &String| {
        let f = f.trim();
        !f.is_empty() && f.chars().count() <= 40 && f.parse::<f64>().is_err() && !f.contains('\n')
    };
    let different =
        fields.iter().enumerate().all(|(at, f)| fields.iter().take(at).all(|earlier| earlier != f));
    different && fields.iter().all(name)
}
