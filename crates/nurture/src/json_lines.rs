//! Files of JSON lines that keep what was costly to make: answers of an exam, replies that were paid for.
//!
//! A line is on the disk before it is used. What a kill or a full disk left unfinished, also inside of a character, is cut off when
//! the file is opened again; lines between good ones that say nothing are passed over. A file that cannot be read is an error, and
//! stays as it is. One process at a time: the file is locked as long as it is open.

use crate::said;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The lines of a file; none where it is not there. Nothing is locked or cut: another process may be writing.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        bytes => Ok(good(&bytes.with_context(|| path.display().to_string())?).0),
    }
}

/// What can be read, and the bytes up to the end of the last such line.
fn good<T: DeserializeOwned>(bytes: &[u8]) -> (Vec<T>, usize) {
    let (mut lines, mut at, mut whole) = (Vec::new(), 0, 0);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        at += line.len();
        if let (true, Ok(value)) = (line.ends_with(b"\n"), serde_json::from_slice(line)) {
            lines.push(value);
            whole = at;
        }
    }
    (lines, whole)
}

/// An open file of lines, this process's own until it is dropped.
#[derive(Debug)]
pub(crate) struct JsonLines(File);

impl JsonLines {
    /// Opens or makes a file; what stands in it comes with it.
    ///
    /// # Errors
    /// Another process has it open; a file that cannot be read or written.
    pub(crate) fn open<T: DeserializeOwned>(path: &Path) -> Result<(JsonLines, Vec<T>)> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = open.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                bail!(said!(
                    "{path}: another process is writing to this file; wait until it is done",
                    "{path}：另一个进程正在写这个文件；请等它结束"
                ))
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| path.display().to_string()),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
        let (lines, whole) = good(&bytes);
        let mut out = JsonLines(file);
        if whole < bytes.len() {
            out.cut(whole as u64).with_context(|| path.display().to_string())?;
        }
        Ok((out, lines))
    }

    fn cut(&mut self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)?;
        self.0.seek(SeekFrom::End(0)).map(drop)
    }

    /// Throws away what stands in it.
    pub(crate) fn clear(&mut self) -> std::io::Result<()> {
        self.cut(0)
    }

    /// Writes lines behind the others, on the disk before it returns.
    pub(crate) fn append(&mut self, lines: &[impl Serialize]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        self.0.write_all(&bytes)?;
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_goes_and_the_rest_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lines.jsonl");
        assert_eq!(read::<String>(&path).unwrap(), [""; 0]);
        let (mut file, old) = JsonLines::open::<String>(&path).unwrap();
        assert!(old.is_empty());
        file.append(&["一", "东风夜放花千树"]).unwrap();
        // nobody else writes meanwhile
        let busy = JsonLines::open::<String>(&path).unwrap_err().to_string();
        assert!(busy.contains("another process"), "{busy}");
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        // each cut, most of them inside of a character
        for cut in 1.."\"东风夜放花千树\"\n".len() {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read::<String>(&path).unwrap(), ["一"], "{cut}");
            let (mut file, old) = JsonLines::open::<String>(&path).unwrap();
            assert_eq!(old, ["一"], "{cut}");
            file.append(&["东风夜放花千树"]).unwrap();
            drop(file);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{cut}");
        }
        // a line that was spoilt costs itself alone
        std::fs::write(&path, "\"一\"\n\"二\n\"三\"\n\"四").unwrap();
        assert_eq!(JsonLines::open::<String>(&path).unwrap().1, ["一", "三"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"一\"\n\"二\n\"三\"\n");
        let (mut file, _) = JsonLines::open::<String>(&path).unwrap();
        file.clear().unwrap();
        file.append(&["五"]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"五\"\n");
    }

    #[test]
    fn what_cannot_be_read_is_no_empty_file() {
        let home = tempfile::tempdir().unwrap();
        assert!(read::<String>(home.path()).is_err(), "a folder");
        assert!(JsonLines::open::<String>(home.path()).is_err());
    }
}
