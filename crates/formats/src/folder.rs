//! Folders that appear whole or not at all: written beside their place, then renamed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::FormatError;
use crate::atomic::{folder_of, sync_folder, temporary_beside};
use crate::error::shown;

/// Saves a folder as `dir`: `fill` writes it beside its place, then it is put there. `what` names it in messages.
///
/// An older folder in `dir` is replaced if it holds nothing but files named in `known`; any other is refused. At every
/// moment either the old or the new one is there, or the old one under the name of [`previous_of`].
///
/// # Errors
/// The disk, a folder that holds something else, and whatever `fill` says.
pub fn save_folder<E: From<FormatError>>(
    dir: impl AsRef<Path>,
    what: &'static str,
    known: &[&str],
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let dir = dir.as_ref();
    let previous = previous_of(dir)?;
    if !dir.exists() && previous.exists() {
        // An earlier save was killed between its two renames.
        fs::rename(&previous, dir).map_err(|e| FormatError::io(dir, "restoring the previous folder", e))?;
    }
    check_replaceable(dir, what, known)?;
    let parent = folder_of(dir);
    fs::create_dir_all(parent).map_err(|e| FormatError::io(parent, "creating the folder", e))?;
    let temp = TempDir(temporary_beside(dir)?);
    fs::create_dir(&temp.0).map_err(|e| FormatError::io(&temp.0, "creating the folder", e))?;
    fill(&temp.0)?;

    // A folder cannot be renamed over a full one, so the old one steps aside first; readers know where to.
    let io = |e| FormatError::io(dir, "putting the folder in place", e);
    if dir.exists() {
        remove_folder(&previous)?;
        fs::rename(dir, &previous).map_err(io)?;
    }
    if let Err(error) = fs::rename(&temp.0, dir) {
        if previous.exists() {
            fs::rename(&previous, dir).map_err(io)?;
        }
        return Err(io(error).into());
    }
    sync_folder(parent)?;
    Ok(remove_folder(&previous)?)
}

/// Where a folder stands while its successor takes its place.
///
/// # Errors
/// A path that names no folder.
pub(crate) fn previous_of(dir: &Path) -> Result<PathBuf, FormatError> {
    match dir.file_name() {
        Some(name) => Ok(folder_of(dir).join(format!(".{}.previous", name.to_string_lossy()))),
        None => Err(FormatError::request(dir, "not a folder name that something can be saved under")),
    }
}

/// Only what an earlier save wrote may be replaced: nothing of the user's is ever removed.
fn check_replaceable(dir: &Path, what: &str, known: &[&str]) -> Result<(), FormatError> {
    if !dir.exists() {
        return Ok(());
    }
    let io = |e| FormatError::io(dir, "looking into the folder", e);
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !known.iter().any(|known| name == *known) {
            let problem = format!(
                "will not be replaced by the {what}, because it also holds \"{}\"; choose another folder or move that away",
                shown(&name.to_string_lossy())
            );
            return Err(FormatError::request(dir, problem));
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), FormatError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FormatError::io(path, "removing the previous folder", e))
        }
        _ => Ok(()),
    }
}

/// Removes what is left of an unfinished save; after the rename there is nothing to remove.
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
