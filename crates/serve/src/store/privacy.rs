//! Forgetting, and copies that are whole.

use super::{Result, Store, StoreError, audit, delete_conversations, now};
use rusqlite::{OptionalExtension as _, params};
use std::path::Path;

const DAY: i64 = 86_400;
const RETENTION: &str = "retention_days";

/// Whose texts are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// those of one owner (the id of a key; empty where the service has no keys)
    Owner(&'a str),
    /// those of everybody
    All,
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// conversations with their messages
    pub conversations: usize,
    /// pieces of feedback
    pub feedback: usize,
    /// responses
    pub responses: usize,
}

impl Store {
    /// Erases texts: conversations, feedback and responses, of one owner or of all. Freed places in the file are overwritten.
    ///
    /// # Errors
    /// As all calls.
    pub fn erase(&self, actor: &str, scope: Scope<'_>) -> Result<Erased> {
        let owner = match scope {
            Scope::Owner(owner) => Some(owner),
            Scope::All => None,
        };
        let erased = self.change(|t| {
            let erased = Erased {
                conversations: delete_conversations(t, "?1 IS NULL OR owner = ?1", [owner])?,
                feedback: t.execute("DELETE FROM feedback WHERE ?1 IS NULL OR owner = ?1", params![owner])?,
                responses: t
                    .execute("DELETE FROM response WHERE ?1 IS NULL OR owner = ?1", params![owner])?,
            };
            audit::note(t, actor, "erased", owner.unwrap_or("everything"))?;
            Ok(erased)
        })?;
        self.forget_log()?;
        Ok(erased)
    }

    /// Days that texts are kept after their last change; `None` is for ever.
    ///
    /// # Errors
    /// As all calls.
    pub fn retention(&self) -> Result<Option<u32>> {
        let sql = "SELECT value FROM setting WHERE name = ?1";
        let text: Option<String> = self.lock().query_row(sql, [RETENTION], |row| row.get(0)).optional()?;
        Ok(text.and_then(|t| t.parse().ok()))
    }

    /// Sets it.
    ///
    /// # Errors
    /// As all calls.
    pub fn set_retention(&self, actor: &str, days: Option<u32>) -> Result<()> {
        self.change(|t| {
            match days {
                None => t.execute("DELETE FROM setting WHERE name = ?1", [RETENTION])?,
                Some(days) => t.execute(
                    "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
                    params![RETENTION, days.to_string()],
                )?,
            };
            let object = days.map_or("for ever".to_string(), |d| format!("{d} days"));
            audit::note(t, actor, "retention set", &object)
        })
    }

    /// Erases what is older than it may become.
    ///
    /// # Errors
    /// As all calls.
    pub fn retain(&self) -> Result<Erased> {
        let Some(days) = self.retention()? else { return Ok(Erased::default()) };
        let before = now() - i64::from(days) * DAY;
        let erased = self.change(|t| {
            let erased = Erased {
                conversations: delete_conversations(t, "updated < ?1", [before])?,
                feedback: t.execute("DELETE FROM feedback WHERE created < ?1", [before])?,
                responses: t.execute("DELETE FROM response WHERE created < ?1", [before])?,
            };
            if erased != Erased::default() {
                audit::note(t, "retention", "erased", &format!("older than {days} days"))?;
            }
            Ok(erased)
        })?;
        if erased != Erased::default() {
            self.forget_log()?;
        }
        Ok(erased)
    }

    /// Writes a whole copy to a file that is not there yet, while others read and write.
    ///
    /// # Errors
    /// The file is there; no room; as all calls.
    pub fn backup(&self, to: &Path) -> Result<()> {
        let wrong = |source: std::io::Error| StoreError::File { path: to.to_path_buf(), source };
        if to.exists() {
            return Err(wrong(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "there is a file of this name; a backup overwrites nothing",
            )));
        }
        let mut name = to.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        let part = to.with_file_name(name);
        // a copy holds what the store holds: only its owner may read it
        let mut options = std::fs::OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&part).map_err(wrong)?;
        let copied = self.copy(&part).and_then(|()| {
            std::fs::File::open(&part).and_then(|f| f.sync_all()).map_err(wrong)?;
            // unlike a rename this never replaces what appeared in the meantime
            std::fs::hard_link(&part, to).map_err(wrong)
        });
        _ = std::fs::remove_file(&part);
        copied
    }

    fn copy(&self, part: &Path) -> Result<()> {
        let text = part.to_str().ok_or_else(|| StoreError::Invalid {
            what: "file",
            why: format!("{}: the name is not UTF-8", part.display()),
        })?;
        // one reading transaction: writers go on, the copy is of one moment
        self.lock().execute("VACUUM INTO ?1", [text])?;
        let copy = rusqlite::Connection::open(part)?;
        let sound: String = copy.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
        match sound.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Open { path: part.to_path_buf(), why: sound }),
        }
    }

    /// Empties the write-ahead log, where deleted texts would stand for a while.
    fn forget_log(&self) -> Result<()> {
        // another process that reads may put it off; then its next checkpoint does it
        self.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewConversation, NewMessage};
    use super::*;

    fn told(store: &Store, owner: &str, text: &str) {
        let c = store.new_conversation(owner, &NewConversation::default()).unwrap();
        store.add_message(owner, &c.id, &NewMessage::of("user", text)).unwrap();
    }

    #[test]
    fn what_is_erased_is_gone_from_the_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sqlite");
        let store = Store::open(&path).unwrap();
        told(&store, "me", "my-own-secret-text");
        told(&store, "you", "what you said");
        let found = |what: &str| {
            std::fs::read_dir(dir.path()).unwrap().any(|entry| {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                bytes.windows(what.len()).any(|w| w == what.as_bytes())
            })
        };
        assert!(found("my-own-secret-text"));
        let erased = store.erase("test", Scope::Owner("me")).unwrap();
        assert_eq!(erased, Erased { conversations: 1, ..Erased::default() });
        assert!(!found("my-own-secret-text") && found("what you said"));
        assert_eq!(store.erase("test", Scope::All).unwrap().conversations, 1);
    }

    #[test]
    fn old_texts_go_when_their_time_is_over() {
        let store = Store::in_memory().unwrap();
        told(&store, "me", "old");
        told(&store, "me", "new");
        assert_eq!(store.retain().unwrap(), Erased::default(), "for ever, unless somebody says otherwise");
        let sql = "UPDATE conversation SET updated = updated - 40 * 86400
                   WHERE id = (SELECT conversation FROM message WHERE content = 'old')";
        store.lock().execute(sql, []).unwrap();
        store.set_retention("test", Some(30)).unwrap();
        assert_eq!((store.retention().unwrap(), store.retain().unwrap().conversations), (Some(30), 1));
        assert_eq!(store.retain().unwrap(), Erased::default());
        store.set_retention("test", None).unwrap();
        assert_eq!(store.retention().unwrap(), None);
    }

    #[test]
    fn a_backup_is_a_store_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.sqlite")).unwrap();
        told(&store, "me", "first");
        let to = dir.path().join("copy.sqlite");
        std::thread::scope(|s| {
            let writer = s.spawn(|| (0..50).for_each(|i| told(&store, "me", &i.to_string())));
            store.backup(&to).unwrap();
            writer.join().unwrap();
        });
        let copy = Store::open(&to).unwrap();
        let kept = copy.conversations("me", None, None, 99).unwrap();
        assert!((1..=51).contains(&kept.len()));
        assert!(store.backup(&to).unwrap_err().to_string().contains("overwrites nothing"));
        assert!(store.backup(&dir.path().join("no/such/folder.sqlite")).is_err());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".part")), "{left:?}");
    }
}
