//! The disk behind the loop: a checkpoint is copied between two steps and written while training goes on.
//!
//! At most one is on its way; the next one waits for it. What goes wrong stops the run at its next step, with the same
//! words that the loop itself would have used.

use crate::checkpoint::{self, Snapshot};
use crate::error::TrainError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

/// The thread that writes, if one does.
#[derive(Debug, Default)]
pub(crate) struct Writer(Option<JoinHandle<Result<(), TrainError>>>);

impl Writer {
    /// Begins to write `snapshot` once the one before it is there; `first`, a file with what the checkpoint stands on,
    /// is flushed before.
    pub(crate) fn begin(
        &mut self,
        folder: &Path,
        snapshot: Snapshot,
        first: (PathBuf, File),
    ) -> Result<(), TrainError> {
        self.wait()?;
        let place = folder.to_path_buf();
        let work = move || {
            let (path, file) = first;
            file.sync_data().map_err(|e| TrainError::io(&path, "flushing", e))?;
            checkpoint::save(&place, &snapshot.state, &snapshot.tensors())
        };
        let thread = Builder::new().name("checkpoint".to_string()).spawn(work);
        self.0 = Some(thread.map_err(|e| TrainError::io(folder, "starting the thread that writes", e))?);
        Ok(())
    }

    /// Says whether what was written so far went well, without waiting for what is still on its way.
    pub(crate) fn look(&mut self) -> Result<(), TrainError> {
        match &self.0 {
            Some(thread) if thread.is_finished() => self.wait(),
            _ => Ok(()),
        }
    }

    /// Waits until everything is on the disk.
    pub(crate) fn wait(&mut self) -> Result<(), TrainError> {
        let Some(thread) = self.0.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            let lost = io::Error::other("the thread that writes checkpoints broke off");
            Err(TrainError::io(Path::new(checkpoint::CHECKPOINTS), "writing", lost))
        })
    }
}

impl Drop for Writer {
    /// Whoever comes next finds the folder at rest. An error has nobody left to hear it: the older checkpoint stands.
    fn drop(&mut self) {
        let _ = self.wait();
    }
}
