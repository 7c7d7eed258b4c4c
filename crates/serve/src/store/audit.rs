//! What was done with power over others: keys, adapters, erasure. Never text of conversations.

use super::{Result, Store, now};
use rusqlite::params;

/// Older entries beyond this number go.
const MOST: i64 = 100_000;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// when
    pub time: i64,
    /// by whom: a key's id, or `command line`
    pub actor: String,
    /// what
    pub action: String,
    /// to what
    pub object: String,
}

impl Store {
    /// Notes that something was done.
    ///
    /// # Errors
    /// As all calls.
    pub fn note(&self, actor: &str, action: &str, object: &str) -> Result<()> {
        self.change(|t| note(t, actor, action, object))
    }

    /// The last `most` entries, the newest first.
    ///
    /// # Errors
    /// As all calls.
    pub fn audit(&self, most: usize) -> Result<Vec<AuditEntry>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT time, actor, action, object FROM audit ORDER BY id DESC LIMIT ?1")?;
        let entry = |row: &rusqlite::Row<'_>| {
            Ok(AuditEntry { time: row.get(0)?, actor: row.get(1)?, action: row.get(2)?, object: row.get(3)? })
        };
        let rows = statement.query_map([most as i64], entry)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

pub(super) fn note(t: &rusqlite::Transaction<'_>, actor: &str, action: &str, object: &str) -> Result<()> {
    let sql = "INSERT INTO audit (time, actor, action, object) VALUES (?1, ?2, ?3, ?4)";
    t.execute(sql, params![now(), actor, action, object])?;
    t.execute("DELETE FROM audit WHERE id <= ?1", [t.last_insert_rowid() - MOST])?;
    Ok(())
}
