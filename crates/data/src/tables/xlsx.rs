//! Excel workbooks (Office Open XML), cell by cell, so that two cells far apart cost two cells. Held are the texts of the
//! workbook, which Excel keeps in one list for all sheets, and a few rows.
//!
//! One sheet is read: the one that is named, or the first visible one with cells; the others are named in a note. Dates
//! become `2024-05-01` or `2024-05-01 08:30:00`, whole numbers lose their `.0`, errors such as `#N/A` are empty.

use std::io::{BufReader, Read};

use calamine::{DataRef, Reader, SheetType, SheetVisible, Xlsx, open_workbook_from_rs};
use serde_json::Value;

use crate::archive;
use crate::documents::{DocumentProblem, Note, check_archive};
use crate::error::DataError;
use crate::input::{Input, ReadSeek};
use crate::rows::ReadLimits;

use super::{Sink, Streamed, broken};

const FORMAT: &str = "xlsx";
/// Columns that a sheet has at most.
const COLUMNS: u32 = 16_384;

/// What the thread tells: first the note about other sheets, then rows with their numbers.
pub(crate) enum Told {
    /// The sheet, and the others with cells.
    Sheet(Option<Note>),
    /// A row; empty ones are left out.
    Row(usize, Vec<Value>),
}

/// Starts reading.
pub(crate) fn open(
    input: &Input,
    file: &str,
    sheet: Option<&str>,
    limits: ReadLimits,
) -> Result<Streamed<Told>, DataError> {
    let problem = |problem| DataError::Document { file: file.to_string(), problem };
    let mut all = Vec::new();
    let io = |source| DataError::Io { path: input.path().to_path_buf(), source };
    if !input.head()?.starts_with(b"PK\x03\x04") {
        input.open()?.take(1 << 20).read_to_end(&mut all).map_err(io)?;
        check_archive(&all, FORMAT).map_err(problem)?;
    }
    let mut zip = archive::open(BufReader::new(input.open()?), FORMAT).map_err(problem)?;
    // the library unpacks without a limit, so it is tried out before
    archive::check_size(&mut zip, limits.workbook_bytes, "the workbook, unpacked,").map_err(problem)?;
    drop(zip);
    let source = BufReader::new(input.open()?);
    let (name, wanted) = (file.to_string(), sheet.map(String::from));
    Streamed::start(file, FORMAT, move |sink| read(source, &name, wanted.as_deref(), limits.row_bytes, sink))
}

fn read(
    source: BufReader<Box<dyn ReadSeek>>,
    file: &str,
    wanted: Option<&str>,
    cap: usize,
    sink: &Sink<Told>,
) -> Result<(), DataError> {
    let failed = |e: calamine::XlsxError| match e {
        calamine::XlsxError::Password => {
            DataError::Document { file: file.to_string(), problem: DocumentProblem::Encrypted }
        }
        e => broken(file, FORMAT, e.to_string()),
    };
    let mut book: Xlsx<_> = open_workbook_from_rs(source).map_err(failed)?;
    let sheets: Vec<(String, bool)> = book
        .sheets_metadata()
        .iter()
        .filter(|s| s.typ == SheetType::WorkSheet)
        .map(|s| (s.name.clone(), s.visible == SheetVisible::Visible))
        .collect();
    let mut filled = Vec::new();
    for (name, visible) in &sheets {
        if *visible && first_cell(&mut book, name).map_err(failed)? {
            filled.push(name.clone());
        }
    }
    let chosen = match wanted {
        Some(wanted) if sheets.iter().any(|(name, _)| name == wanted) => wanted.to_string(),
        Some(wanted) => {
            let all: Vec<String> = sheets.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let problem = format!("there is no sheet \"{wanted}\"; it has {}", all.join(", "));
            return Err(DataError::Setting { file: file.to_string(), problem });
        }
        None => match filled.first() {
            Some(first) => first.clone(),
            None => return Ok(()),
        },
    };
    let others: Vec<String> = filled.into_iter().filter(|name| *name != chosen).collect();
    let note =
        (wanted.is_none() && !others.is_empty()).then(|| Note::OtherSheets { read: chosen.clone(), others });
    if !sink.put(Told::Sheet(note)) {
        return Ok(());
    }
    let mut cells = book.worksheet_cells_reader(&chosen).map_err(failed)?;
    let (mut line, mut row, mut bytes) = (0usize, Vec::<Value>::new(), 0usize);
    let flush = |line: usize, row: &mut Vec<Value>| {
        let row = std::mem::take(row);
        row.iter().all(Value::is_null) || sink.put(Told::Row(line, row))
    };
    while let Some(cell) = cells.next_cell().map_err(failed)? {
        let (at, column) = cell.get_position();
        if column >= COLUMNS {
            return Err(broken(file, FORMAT, format!("a cell stands in column {}", u64::from(column) + 1)));
        }
        let (at, column) = (at as usize + 1, column as usize);
        if at != line {
            if !flush(line, &mut row) {
                return Ok(());
            }
            (line, bytes) = (at, 0);
        }
        let value = value(cell.get_value());
        bytes += crate::load::size(&value);
        if bytes > cap {
            return Err(DataError::RowTooLong { file: file.to_string(), line, cap });
        }
        if row.len() <= column {
            row.resize(column + 1, Value::Null);
        }
        if let Some(slot) = row.get_mut(column) {
            *slot = value;
        }
    }
    flush(line, &mut row);
    Ok(())
}

fn first_cell(
    book: &mut Xlsx<BufReader<Box<dyn ReadSeek>>>,
    sheet: &str,
) -> Result<bool, calamine::XlsxError> {
    let mut cells = book.worksheet_cells_reader(sheet)?;
    while let Some(cell) = cells.next_cell()? {
        if !value(cell.get_value()).is_null() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn value(cell: &DataRef<'_>) -> Value {
    let text = |text: &str| if text.trim().is_empty() { Value::Null } else { Value::from(text) };
    match cell {
        DataRef::Int(n) => Value::from(*n),
        DataRef::Float(n) if n.fract() == 0.0 && n.abs() < 1e15 => Value::from(*n as i64),
        DataRef::Float(n) => Value::from(*n),
        DataRef::String(s) | DataRef::DateTimeIso(s) | DataRef::DurationIso(s) => text(s),
        DataRef::SharedString(s) => text(s),
        DataRef::Bool(b) => Value::from(*b),
        DataRef::DateTime(when) => {
            let (year, month, day, hour, minute, second, _) = when.to_ymd_hms_milli();
            let (date, time) =
                (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"));
            Value::from(match (when.as_f64() < 1.0, (hour, minute, second) == (0, 0, 0)) {
                (true, _) => time,
                (false, true) => date,
                (false, false) => format!("{date} {time}"),
            })
        }
        DataRef::Error(_) | DataRef::Empty => Value::Null,
    }
}
