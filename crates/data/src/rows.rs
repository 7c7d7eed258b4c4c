//! Files to rows: one streaming iterator over every format, in bounded memory, each row with its line.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::delimited::{Dialect, Record, find_delimiter, next_record};
use crate::documents::Note;
use crate::encoding::Encoding;
use crate::error::{DataError, RowProblem};
use crate::input::Input;
use crate::json_rows::{JsonValues, parse_row};
use crate::mapping::Mapping;
use crate::tables::parquet::NumberedRow;
use crate::tables::xlsx::Told;
use crate::tables::{Streamed, parquet, xlsx};
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
    /// Apache Parquet.
    Parquet,
    /// An Excel workbook.
    Xlsx,
    /// Documents: pdf, docx, html, and those of a folder or archive.
    Documents,
}

impl FileFormat {
    /// The format that a file name's ending stands for, if it is one of rows.
    pub(crate) fn of_name(path: &Path) -> Option<FileFormat> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "jsonl" | "ndjson" => FileFormat::Jsonl,
            "json" => FileFormat::Json,
            "csv" => FileFormat::Csv,
            "tsv" | "tab" => FileFormat::Tsv,
            "txt" | "text" | "md" | "markdown" => FileFormat::Text,
            "parquet" | "pq" => FileFormat::Parquet,
            "xlsx" | "xlsm" => FileFormat::Xlsx,
            _ => return None,
        })
    }
}

/// One data file (or folder, or archive) and what is said about it; everything but `path` is found by looking where it is left out.
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
    /// Of a workbook the sheet, of a `dataset_info.json` the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
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
            part: None,
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
    /// Its text encoding, where it is a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// csv, tsv: the character between fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// csv, tsv, xlsx: whether the first record names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// csv, tsv: whether `"` quotes fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<bool>,
    /// How many documents there are, where it is documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<usize>,
}

impl FileFound {
    pub(crate) fn new(format: FileFormat) -> FileFound {
        FileFound { format, encoding: None, delimiter: None, header: None, quote: None, documents: None }
    }
}

/// Limits of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Largest row, in bytes of UTF-8.
    pub row_bytes: usize,
    /// Largest document: its file, its text, and what any part of it may unpack to.
    pub document_bytes: usize,
    /// Largest workbook, unpacked.
    pub workbook_bytes: u64,
    /// What one archive may unpack to in all.
    pub archive_bytes: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits {
            row_bytes: 16 << 20,
            document_bytes: 256 << 20,
            workbook_bytes: 2 << 30,
            archive_bytes: 16 << 30,
        }
    }
}

/// Iterates over the rows of one file. `Err` ends it; a row that cannot be read is `Ok(Err(BadRow))` and reading
/// goes on. Memory: of text files one row and two 64 KiB chunks; of parquet a page of each column and 64 rows; of
/// workbooks all their texts and 64 rows.
pub struct RowReader {
    found: FileFound,
    limits: ReadLimits,
    kind: Kind,
    buffer: String,
    failed: bool,
    notes: Vec<Note>,
}

enum Kind {
    Text(Box<TextReader>, TextKind),
    Rows(Streamed<NumberedRow>),
    Cells { rows: Streamed<Told>, columns: Vec<String>, first: Option<(usize, Vec<Value>)> },
}

enum TextKind {
    Lines,
    Values(JsonValues),
    Records { dialect: Dialect, columns: Vec<String>, first: Option<Record> },
    Document { read: bool },
}

impl RowReader {
    /// Opens a file and finds format, encoding, delimiter, quotes and header where `spec` leaves them open.
    /// `file` is the name that stands in ids and errors.
    pub fn open(spec: &SourceSpec, file: &str, limits: ReadLimits) -> Result<Self, DataError> {
        Self::of_input(spec, &Input::File(spec.path.clone()), file, limits)
    }

    pub(crate) fn of_input(
        spec: &SourceSpec,
        input: &Input,
        file: &str,
        limits: ReadLimits,
    ) -> Result<Self, DataError> {
        let mut notes = Vec::new();
        let format = match spec.format {
            Some(format) => Some(format),
            None => of_content(input)?,
        };
        let (kind, found) = match format {
            Some(FileFormat::Parquet) => (
                Kind::Rows(parquet::open(input, file, limits.row_bytes)?),
                FileFound::new(FileFormat::Parquet),
            ),
            Some(FileFormat::Xlsx) => {
                let mut rows = xlsx::open(input, file, spec.part.as_deref(), limits)?;
                let mut found = FileFound::new(FileFormat::Xlsx);
                let (columns, first, header) = sheet_header(spec, file, &mut rows, &mut notes)?;
                found.header = Some(header);
                (Kind::Cells { rows, columns, first }, found)
            }
            Some(FileFormat::Documents) => {
                let problem = "documents are read whole, not as rows".to_string();
                return Err(DataError::Setting { file: file.to_string(), problem });
            }
            _ => {
                let (text, kind, found) = open_text(spec, input, file, limits)?;
                (Kind::Text(Box::new(text), kind), found)
            }
        };
        Ok(RowReader { found, limits, kind, buffer: String::new(), failed: false, notes })
    }

    /// What was found out about the file.
    pub fn found(&self) -> &FileFound {
        &self.found
    }

    /// What is left out although it may matter.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    fn step(&mut self) -> Result<Option<Result<Row, BadRow>>, DataError> {
        let step = match &mut self.kind {
            Kind::Text(text, kind) => text_step(text, kind, &mut self.buffer, self.limits)?,
            Kind::Rows(rows) => rows.next()?.map(|(line, fields)| (line, Ok(fields))),
            Kind::Cells { rows, columns, first } => match first.take() {
                Some((line, cells)) => Some((line, cell_fields(columns, cells))),
                None => loop {
                    match rows.next()? {
                        Some(Told::Row(line, cells)) => break Some((line, cell_fields(columns, cells))),
                        Some(Told::Sheet(_)) => {}
                        None => break None,
                    }
                },
            },
        };
        Ok(step.map(|(line, fields)| match fields {
            Ok(fields) => Ok(Row { line, fields }),
            Err(problem) => Err(BadRow { line, problem }),
        }))
    }
}

type Fields = Result<Map<String, Value>, RowProblem>;

fn open_text(
    spec: &SourceSpec,
    input: &Input,
    file: &str,
    limits: ReadLimits,
) -> Result<(TextReader, TextKind, FileFound), DataError> {
    let mut text = TextReader::open(input, file, spec.encoding)?;
    let format = match spec.format {
        Some(format) => format,
        None => find_format(input.path(), &mut text)?,
    };
    let mut found = FileFound { encoding: Some(text.encoding()), ..FileFound::new(format) };
    let kind = match format {
        // A .jsonl file that opens with a bracket is a list all the same.
        FileFormat::Jsonl if text.skip_space()? != Some('[') => TextKind::Lines,
        FileFormat::Csv | FileFormat::Tsv => {
            let dialect = find_dialect(spec, input, file, format, &mut text, limits)?;
            let (columns, first, header) = find_header(spec, file, &mut text, dialect, limits)?;
            found.delimiter = Some(char::from(dialect.delimiter));
            found.quote = Some(dialect.quote);
            found.header = Some(header);
            TextKind::Records { dialect, columns, first }
        }
        FileFormat::Text => TextKind::Document { read: false },
        _ => {
            found.format = FileFormat::Json;
            TextKind::Values(JsonValues::new())
        }
    };
    Ok((text, kind, found))
}

fn text_step(
    text: &mut TextReader,
    kind: &mut TextKind,
    buffer: &mut String,
    limits: ReadLimits,
) -> Result<Option<(usize, Fields)>, DataError> {
    let cap = limits.row_bytes;
    Ok(match kind {
        TextKind::Lines => loop {
            let Some(line) = text.next_line(buffer, cap)? else { break None };
            if !buffer.trim().is_empty() {
                break Some((line, parse_row(buffer)));
            }
        },
        TextKind::Values(values) => {
            values.next_value(text, buffer, cap)?.map(|line| (line, parse_row(buffer)))
        }
        TextKind::Records { dialect, columns, first } => {
            let record = match first.take() {
                Some(record) => Some(record),
                None => next_record(text, *dialect, cap)?,
            };
            record.map(|record| (record.line, to_fields(columns, record.fields)))
        }
        TextKind::Document { read } => match std::mem::replace(read, true) {
            true => None,
            false => read_document(text, limits.document_bytes)?.map(|document| {
                let mut fields = Map::new();
                fields.insert("text".to_string(), Value::String(document));
                (1, Ok(fields))
            }),
        },
    })
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

/// What the ending or the first bytes say, of formats that are no text.
fn of_content(input: &Input) -> Result<Option<FileFormat>, DataError> {
    Ok(match FileFormat::of_name(input.path()) {
        Some(format) => Some(format),
        None if input.head()?.starts_with(b"PAR1") => Some(FileFormat::Parquet),
        None => None,
    })
}

fn find_format(path: &Path, text: &mut TextReader) -> Result<FileFormat, DataError> {
    match FileFormat::of_name(path) {
        Some(format) => Ok(format),
        None => match text.skip_space()? {
            Some('{' | '[') => Ok(FileFormat::Json),
            _ => Err(DataError::UnknownFormat { file: text.file().to_string() }),
        },
    }
}

type SheetHeader = (Vec<String>, Option<(usize, Vec<Value>)>, bool);

/// Column names of a sheet, its first row if that is data, and whether there is a header.
fn sheet_header(
    spec: &SourceSpec,
    file: &str,
    rows: &mut Streamed<Told>,
    notes: &mut Vec<Note>,
) -> Result<SheetHeader, DataError> {
    let (line, cells) = loop {
        match rows.next()? {
            Some(Told::Sheet(note)) => notes.extend(note),
            Some(Told::Row(line, cells)) => break (line, cells),
            None => return Ok((Vec::new(), None, spec.header.unwrap_or(true))),
        }
    };
    let numbered = |n: usize| format!("column_{}", n + 1);
    let names: Vec<String> = cells.iter().map(|c| crate::convert::display(c).trim().to_string()).collect();
    // a figure at the top is data
    let texts = cells.iter().all(|c| c.is_string() || c.is_null());
    if !spec.header.unwrap_or_else(|| texts && looks_like_header(&names)) {
        return Ok(((0..cells.len()).map(numbered).collect(), Some((line, cells)), false));
    }
    let columns: Vec<String> = names
        .into_iter()
        .enumerate()
        .map(|(n, name)| if name.is_empty() { numbered(n) } else { name })
        .collect();
    no_name_twice(file, line, &columns)?;
    Ok((columns, None, true))
}

fn cell_fields(columns: &[String], cells: Vec<Value>) -> Fields {
    if cells.iter().skip(columns.len()).any(|cell| !cell.is_null()) {
        return Err(RowProblem::FieldCount { expected: columns.len(), found: cells.len() });
    }
    let cells = cells.into_iter().chain(std::iter::repeat(Value::Null));
    Ok(columns.iter().cloned().zip(cells).collect())
}

/// Delimiter: as said, a tab for tsv, or by looking at the first chunk. Quotes: as said, or on; but a tab-separated
/// file in which quotes do not balance and which is even without them uses `"` as a plain character.
fn find_dialect(
    spec: &SourceSpec,
    input: &Input,
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
        let mut text = TextReader::open(input, file, Some(text.encoding()))?;
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
    no_name_twice(file, record.line, &columns)?;
    Ok((columns, None, true))
}

fn no_name_twice(file: &str, line: usize, columns: &[String]) -> Result<(), DataError> {
    let mut seen = std::collections::HashSet::new();
    match columns.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(DataError::Setting {
            file: file.to_string(),
            problem: format!(
                "line {line}: the column name \"{name}\" stands twice; rename one, or set header = false if the first \
                 record is data"
            ),
        }),
    }
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
