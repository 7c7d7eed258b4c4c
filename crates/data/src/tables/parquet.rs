//! Parquet: rows as JSON objects, page by page. Held are one page of each column and a few rows.

use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use serde_json::{Map, Value};

use crate::error::DataError;
use crate::input::Input;
use crate::load::size;

use super::{Sink, Streamed, broken};

const FORMAT: &str = "parquet";

/// A row with its number from 1.
pub(crate) type NumberedRow = (usize, Map<String, Value>);

/// Starts reading. Rows larger than `cap` bytes end it.
pub(crate) fn open(input: &Input, file: &str, cap: usize) -> Result<Streamed<NumberedRow>, DataError> {
    let head = input.head()?;
    if !head.starts_with(b"PAR1") {
        return Err(broken(file, FORMAT, "it does not begin as parquet files do"));
    }
    let name = file.to_string();
    match input {
        Input::File(path) => {
            let source =
                std::fs::File::open(path).map_err(|source| DataError::Io { path: path.clone(), source })?;
            Streamed::start(file, FORMAT, move |sink| read(source, &name, cap, sink))
        }
        Input::Memory { bytes, .. } => {
            let source = bytes::Bytes::from_owner(bytes.clone());
            Streamed::start(file, FORMAT, move |sink| read(source, &name, cap, sink))
        }
    }
}

fn read<R: ChunkReader + 'static>(
    source: R,
    file: &str,
    cap: usize,
    sink: &Sink<NumberedRow>,
) -> Result<(), DataError> {
    let failed = |e: parquet::errors::ParquetError| broken(file, FORMAT, e.to_string());
    let reader = SerializedFileReader::new(source).map_err(failed)?;
    let mut line = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(failed)?;
        for row in RowIter::from_row_group(None, group.as_ref()).map_err(failed)? {
            line += 1;
            let Value::Object(fields) = row.map_err(failed)?.to_json_value() else { continue };
            if fields.values().map(size).sum::<usize>() > cap {
                return Err(DataError::RowTooLong { file: file.to_string(), line, cap });
            }
            if !sink.put((line, fields)) {
                return Ok(());
            }
        }
    }
    Ok(())
}
