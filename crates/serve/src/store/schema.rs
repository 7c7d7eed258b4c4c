//! The tables, as steps from nothing to the newest version. A step that was released is never changed; new ones come behind it.

use super::{Result, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Marks our files: "Nurt".
const APPLICATION: i64 = 0x4e75_7274;

/// Step `i` leads from version `i` to `i + 1`.
const STEPS: &[&str] = &["
    CREATE TABLE conversation (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        system TEXT NOT NULL,
        settings TEXT NOT NULL,          -- a JSON object, the page's own
        leaf INTEGER,                    -- last message of the branch that is shown
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX conversation_owner ON conversation (owner, updated, id);

    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
        parent INTEGER REFERENCES message ON DELETE CASCADE,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        model TEXT NOT NULL,
        generation INTEGER NOT NULL,     -- of the adapter; 0 is the base
        finish TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE INDEX message_conversation ON message (conversation, id);
    CREATE INDEX message_parent ON message (parent, id);

    -- whole in itself: it outlives its conversation
    CREATE TABLE feedback (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        message INTEGER REFERENCES message ON DELETE SET NULL,
        verdict TEXT NOT NULL,           -- up, down, edited, right
        model TEXT NOT NULL,
        generation INTEGER NOT NULL,
        prompt TEXT NOT NULL,            -- JSON list of {role, content}
        answer TEXT NOT NULL,            -- what the model said
        correction TEXT,                 -- what it should have said
        comment TEXT NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE INDEX feedback_message ON feedback (message);
    CREATE INDEX feedback_owner ON feedback (owner, id);

    CREATE TABLE response (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        previous TEXT,
        messages TEXT NOT NULL,          -- JSON: its own input and output, without what went before
        object TEXT NOT NULL,            -- JSON: as it was answered
        created INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX response_created ON response (created);

    CREATE TABLE access_key (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,       -- SHA-256 of the key, which stands nowhere
        admin INTEGER NOT NULL,
        requests_per_minute INTEGER,
        tokens_per_day INTEGER,
        parallel INTEGER,
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER
    );

    CREATE TABLE key_use (
        number INTEGER NOT NULL REFERENCES access_key ON DELETE CASCADE,
        day INTEGER NOT NULL,            -- days since 1970, UTC
        requests INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        generated_tokens INTEGER NOT NULL,
        PRIMARY KEY (number, day)
    ) WITHOUT ROWID;

    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        object TEXT NOT NULL
    );

    CREATE TABLE setting (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
"];

/// Checks whose file it is and brings it up to date.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
    let number = |c: &Connection, name: &str| c.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let opened = |e: rusqlite::Error| StoreError::Open { path: path.to_path_buf(), why: e.to_string() };
    let known = STEPS.len() as i64;
    let check = |c: &Connection| -> Result<i64> {
        let application: i64 = number(c, "application_id").map_err(opened)?;
        let found: i64 = number(c, "user_version").map_err(opened)?;
        let tables: i64 =
            c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(opened)?;
        match (application, tables) {
            (APPLICATION, _) if found > known => {
                Err(StoreError::Newer { path: path.to_path_buf(), found, known })
            }
            (APPLICATION, _) | (0, 0) => Ok(found),
            _ => Err(StoreError::Foreign { path: path.to_path_buf() }),
        }
    };
    check(connection)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;
         PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = 16777216;",
    )?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // another process may have been quicker
    let found = check(&transaction)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    if found < known {
        transaction.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {known};"
        ))?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store of the first version keeps what is in it, however many versions came later.
    #[test]
    fn every_old_version_comes_up_to_date() {
        for version in 0..=STEPS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            for step in &STEPS[..version] {
                connection.execute_batch(step).unwrap();
            }
            if version > 0 {
                let insert = "INSERT INTO setting VALUES ('kept', 'yes')";
                connection.execute_batch(insert).unwrap();
                let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}");
                connection.execute_batch(&marks).unwrap();
            }
            prepare(&mut connection, Path::new("x")).unwrap();
            prepare(&mut connection, Path::new("x")).unwrap();
            let kept: i64 = connection.query_row("SELECT count(*) FROM setting", [], |r| r.get(0)).unwrap();
            assert_eq!(kept, i64::from(version > 0));
            let now: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
            assert_eq!(now, STEPS.len() as i64);
        }
    }
}
