//! Tables that are no text: parquet and workbooks, as streams of rows.
//!
//! Their libraries read from a thread of their own, a few rows ahead: memory stays bounded, and a file that makes a library
//! give up ends the thread, not the program.

pub(crate) mod parquet;
pub(crate) mod xlsx;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::documents::DocumentProblem;
use crate::error::DataError;

/// Rows that may be read ahead.
const AHEAD: usize = 64;
const STACK: usize = 16 << 20;

/// Rows that a thread reads.
pub(crate) struct Streamed<T> {
    rows: Receiver<Result<T, DataError>>,
    thread: Option<JoinHandle<()>>,
    file: String,
    format: &'static str,
}

/// Where a reader puts its rows. False: nobody wants more.
pub(crate) struct Sink<T>(SyncSender<Result<T, DataError>>);

impl<T> Sink<T> {
    pub(crate) fn put(&self, row: T) -> bool {
        self.0.send(Ok(row)).is_ok()
    }
}

impl<T: Send + 'static> Streamed<T> {
    /// Starts `read`. `file` and `format` are for errors.
    pub(crate) fn start(
        file: &str,
        format: &'static str,
        read: impl FnOnce(&Sink<T>) -> Result<(), DataError> + Send + 'static,
    ) -> Result<Self, DataError> {
        let (send, rows) = sync_channel(AHEAD);
        let work = move || {
            let sink = Sink(send);
            if let Err(error) = read(&sink) {
                // nobody listens where the reader was dropped
                let _unheard = sink.0.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new()
            .name(format.into())
            .stack_size(STACK)
            .spawn(work)
            .map_err(|source| DataError::Io { path: file.into(), source })?;
        Ok(Streamed { rows, thread: Some(thread), file: file.to_string(), format })
    }

    /// The next row; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<T>, DataError> {
        if let Ok(row) = self.rows.recv() {
            return row.map(Some);
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(broken(&self.file, self.format, "its structure cannot be followed")),
            _ => Ok(None),
        }
    }
}

/// The error for a broken table.
pub(crate) fn broken(file: &str, format: &'static str, what: impl Into<String>) -> DataError {
    let problem = DocumentProblem::Broken { format, what: what.into() };
    DataError::Document { file: file.to_string(), problem }
}
