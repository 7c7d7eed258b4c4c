//! What a service remembers: conversations with their branches, feedback, stored responses, keys with their limits and use, and
//! an audit of what administrators did. One SQLite file.
//!
//! A file that another program wrote, or a newer version of this one, is refused and not touched. Every change is one
//! transaction in the write-ahead log, so a process may be killed at any moment. What is deleted is overwritten. All times are
//! seconds since 1970. Calls wait for the disk: in a request they belong on a thread that may wait.

mod audit;
mod conversations;
mod feedback;
mod keys;
mod messages;
mod privacy;
mod responses;
mod schema;

pub use audit::AuditEntry;
pub use conversations::{Change, Conversation, NewConversation};
pub use feedback::{Feedback, NewFeedback, Verdict};
pub use keys::{KeyLimits, KeyRecord, Used};
pub use messages::{Message, NewMessage, Revision};
pub use privacy::{Erased, Scope};
pub use responses::StoredResponse;

use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The usual name of the file.
pub const FILE_NAME: &str = "service.sqlite";

/// How long a call waits for another process that writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest text of one field.
pub const MAX_TEXT: usize = 4 << 20;

/// What can be wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("{}: the store cannot be opened: {why}", path.display())]
    Open {
        /// the file
        path: PathBuf,
        /// why
        why: String,
    },
    /// A file of something else.
    #[error("{}: this is an SQLite file of another program; choose another file for the store", path.display())]
    Foreign {
        /// the file
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "{}: the store has version {found}, this program knows versions up to {known}; use the newer program", path.display()
    )]
    Newer {
        /// the file
        path: PathBuf,
        /// its version
        found: i64,
        /// the newest version known here
        known: i64,
    },
    /// There is no such thing, or it is somebody else's.
    #[error("there is no {what} `{id}` here")]
    Missing {
        /// what was asked for
        what: &'static str,
        /// its id
        id: String,
    },
    /// A value that cannot be.
    #[error("{what}: {why}")]
    Invalid {
        /// the field
        what: &'static str,
        /// why it cannot be
        why: String,
    },
    /// A file is in the way.
    #[error("{}: {source}", path.display())]
    File {
        /// the file
        path: PathBuf,
        /// why
        source: std::io::Error,
    },
    /// SQLite says no: a full disk, a broken file, another process that holds it too long.
    #[error("the store: {0}")]
    Sql(#[from] rusqlite::Error),
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The store. Shared by threads; one call at a time.
pub struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// changes of keys by this process
    keys_changed: AtomicU64,
    /// most bytes, of a store in memory
    bound: Option<i64>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

impl Store {
    /// Opens the file, makes it where there is none, and brings an older one up to date. Only its owner may read it.
    ///
    /// # Errors
    /// A file that is not ours, is newer, is broken, or cannot be opened.
    pub fn open(path: &Path) -> Result<Store> {
        let failed = |why: String| StoreError::Open { path: path.to_path_buf(), why };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| failed(e.to_string()))?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|e| failed(e.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(e.to_string()))?;
        Store::start(connection, path, None)
    }

    /// A store that is forgotten with the process.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> Result<Store> {
        Store::start(Connection::open_in_memory()?, Path::new(":memory:"), None)
    }

    /// The same of at most so many bytes: when it is nearly full, the conversations that were not touched for longest go.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory_of(bytes: i64) -> Result<Store> {
        Store::start(Connection::open_in_memory()?, Path::new(":memory:"), Some(bytes))
    }

    fn start(mut connection: Connection, path: &Path, bound: Option<i64>) -> Result<Store> {
        connection.busy_timeout(PATIENCE)?;
        schema::prepare(&mut connection, path)?;
        if let Some(bytes) = bound {
            let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            let pages = format!("PRAGMA max_page_count = {}", bytes / page);
            connection.query_row(&pages, [], |_| Ok(()))?;
        }
        Ok(Store {
            connection: Mutex::new(connection),
            path: path.to_path_buf(),
            keys_changed: AtomicU64::new(0),
            bound,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes when another process changed the store, or this one its keys.
    ///
    /// # Errors
    /// As all calls.
    pub(crate) fn version_of_keys(&self) -> Result<(i64, u64)> {
        let own = self.keys_changed.load(Relaxed);
        Ok((self.lock().query_row("PRAGMA data_version", [], |row| row.get(0))?, own))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // a panic leaves no half of a change behind: its transaction was rolled back
        self.connection.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// In a store of a bounded size: forgets the oldest conversations until a quarter is free, but not the one that is at work.
    fn make_room(&self, at_work: &str) -> Result<()> {
        let Some(bytes) = self.bound else { return Ok(()) };
        self.change(|t| {
            let number = |name: &str| t.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
            let page = number("page_size")?;
            while (number("page_count")? - number("freelist_count")?) * page > bytes / 4 * 3 {
                let oldest = "id = (SELECT id FROM conversation WHERE id != ?1
                              ORDER BY updated, leaf IS NULL, leaf LIMIT 1)";
                let gone = delete_conversations(t, oldest, [at_work])?;
                // nobody will read feedback of a store in memory but beside its message
                let loose = t.execute("DELETE FROM feedback WHERE message IS NULL", [])?;
                if gone + loose == 0 {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Runs changes that belong together.
    fn change<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let out = work(&transaction)?;
        transaction.commit()?;
        Ok(out)
    }
}

/// Deletes the conversations for which the condition `which` holds, with their messages; how many conversations there were.
///
/// Messages go one by one, children before their parents (whose numbers are smaller): a parent takes its children with it, one
/// deletion inside the other, and SQLite bears only a thousand of those.
fn delete_conversations(
    t: &rusqlite::Transaction<'_>,
    which: &str,
    values: impl rusqlite::Params + Copy,
) -> Result<usize> {
    let sql = format!(
        "SELECT id FROM message WHERE conversation IN (SELECT id FROM conversation WHERE {which}) ORDER BY id DESC"
    );
    let messages: Vec<i64> =
        t.prepare(&sql)?.query_map(values, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut delete = t.prepare("DELETE FROM message WHERE id = ?1")?;
    for message in messages {
        delete.execute([message])?;
    }
    Ok(t.execute(&format!("DELETE FROM conversation WHERE {which}"), values)?)
}

/// Seconds since 1970.
fn now() -> i64 {
    crate::models::now() as i64
}

/// A new id that nobody can guess.
fn new_id(prefix: &str) -> Result<String> {
    let mut bytes = [0u8; 12];
    random(&mut bytes)?;
    Ok(bytes.iter().fold(prefix.to_string(), |id, b| id + &format!("{b:02x}")))
}

fn random(bytes: &mut [u8]) -> Result<()> {
    let failed = |e: getrandom::Error| StoreError::Invalid { what: "random numbers", why: e.to_string() };
    getrandom::fill(bytes).map_err(failed)
}

fn short_enough(what: &'static str, text: &str, most: usize) -> Result<()> {
    match text.len() {
        n if n > most => {
            Err(StoreError::Invalid { what, why: format!("{n} bytes, at most {most} are kept") })
        }
        _ => Ok(()),
    }
}

fn missing(what: &'static str, id: impl std::fmt::Display) -> StoreError {
    StoreError::Missing { what, id: id.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_and_of_tomorrow_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other.sqlite");
        let theirs = Connection::open(&other).unwrap();
        theirs.execute_batch("CREATE TABLE t (x); PRAGMA application_id = 7;").unwrap();
        drop(theirs);
        assert!(matches!(Store::open(&other), Err(StoreError::Foreign { .. })));

        let ours = dir.path().join("a/b/ours.sqlite");
        drop(Store::open(&ours).unwrap());
        let later = Connection::open(&ours).unwrap();
        later.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(later);
        let before = std::fs::read(&ours).unwrap();
        assert!(matches!(Store::open(&ours), Err(StoreError::Newer { found: 99, .. })));
        assert_eq!(std::fs::read(&ours).unwrap(), before);

        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "not a database, but a text of some length\n".repeat(60)).unwrap();
        assert!(Store::open(&text).unwrap_err().to_string().contains("not a database"));
        assert!(Store::open(dir.path()).is_err());
    }

    #[test]
    fn a_store_in_memory_keeps_within_its_bound() {
        let bound = 4 << 20;
        let store = Store::in_memory_of(bound).unwrap();
        let text = "x".repeat(100_000);
        let mut last = String::new();
        for i in 0..200 {
            last = store
                .new_conversation(
                    "me",
                    &NewConversation { title: i.to_string(), ..NewConversation::default() },
                )
                .unwrap()
                .id;
            store.add_message("me", &last, &NewMessage::of("user", text.as_str())).unwrap();
        }
        let kept = store.conversations("me", None, None, 999).unwrap();
        assert!((20..42).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().any(|c| c.id == last) && !kept.iter().any(|c| c.title == "0"));
        // one that alone is larger than everything is told so, and the store goes on
        let parent = |leaf| NewMessage { parent: leaf, ..NewMessage::of("user", text.as_str()) };
        let mut leaf = None;
        let full = (0..99).find_map(|_| match store.add_message("me", &last, &parent(leaf)) {
            Ok(message) => {
                leaf = Some(message.id);
                None
            }
            Err(e) => Some(e.to_string()),
        });
        assert!(full.is_some_and(|e| e.contains("full")));
        let next = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        store.add_message("me", &next, &NewMessage::of("user", text.as_str())).unwrap();
        assert_eq!(store.conversations("me", None, None, 9).unwrap().len(), 1);
    }

    /// A conversation of 5,000 messages, one behind the other.
    fn long_conversation(store: &Store) -> String {
        let id = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let add = |t: &rusqlite::Transaction<'_>| {
            let sql = "INSERT INTO message (conversation, parent, role, content, model, generation, finish, prompt_tokens,
                       tokens, seconds, created) VALUES (?1, ?2, 'user', 'text', '', 0, '', 0, 0, 0, 0)";
            let mut parent = None;
            for _ in 0..5000 {
                t.execute(sql, rusqlite::params![id, parent])?;
                parent = Some(t.last_insert_rowid());
            }
            Ok(())
        };
        store.change(add).unwrap();
        id
    }

    #[test]
    fn long_conversations_go_like_short_ones() {
        let store = Store::in_memory().unwrap();
        let messages = |store: &Store| -> i64 {
            store.lock().query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap()
        };
        let id = long_conversation(&store);
        assert_eq!(messages(&store), 5000);
        store.delete_conversation("me", &id).unwrap();
        assert_eq!(messages(&store), 0);
        for scope in [Scope::Owner("me"), Scope::All] {
            long_conversation(&store);
            assert_eq!(store.erase("test", scope).unwrap().conversations, 1);
            assert_eq!(messages(&store), 0);
        }
        store.set_retention("test", Some(30)).unwrap();
        long_conversation(&store);
        store.lock().execute("UPDATE conversation SET updated = 0", []).unwrap();
        assert_eq!((store.retain().unwrap().conversations, messages(&store)), (1, 0));

        let small = Store::in_memory_of(1 << 20).unwrap();
        long_conversation(&small);
        let next = small.new_conversation("me", &NewConversation::default()).unwrap().id;
        small.add_message("me", &next, &NewMessage::of("user", "x".repeat(400_000))).unwrap();
        small.make_room(&next).unwrap();
        assert_eq!(messages(&small), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.sqlite")).unwrap();
        store.new_conversation("a", &NewConversation::default()).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
        }
    }
}
