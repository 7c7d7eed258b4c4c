//! Answers of `/v1/responses` that a later request may refer to.

use super::{MAX_TEXT, Result, Store, missing, now, short_enough};
use rusqlite::{OptionalExtension as _, params};

/// Longest chain of responses.
const CHAIN: usize = 1024;

/// A response that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResponse {
    /// its id
    pub id: String,
    /// the one before it
    pub previous: Option<String>,
    /// its own input and output as JSON, without what went before
    pub messages: String,
    /// as it was answered, JSON
    pub object: String,
}

impl Store {
    /// Keeps a response.
    ///
    /// # Errors
    /// Texts that are too large; as all calls.
    pub fn keep_response(&self, owner: &str, response: &StoredResponse) -> Result<()> {
        let StoredResponse { id, previous, messages, object } = response;
        short_enough("messages", messages, 4 * MAX_TEXT)?;
        short_enough("object", object, 4 * MAX_TEXT)?;
        let sql = "INSERT INTO response (id, owner, previous, messages, object, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.lock().execute(sql, params![id, owner, previous, messages, object, now()])?;
        Ok(())
    }

    /// One of the owner's responses.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn response(&self, owner: &str, id: &str) -> Result<StoredResponse> {
        let sql = "SELECT id, previous, messages, object FROM response WHERE id = ?1 AND owner = ?2";
        let one = |row: &rusqlite::Row<'_>| {
            Ok(StoredResponse {
                id: row.get(0)?,
                previous: row.get(1)?,
                messages: row.get(2)?,
                object: row.get(3)?,
            })
        };
        self.lock().query_row(sql, [id, owner], one).optional()?.ok_or_else(|| missing("response", id))
    }

    /// The messages of a response and of those before it, the oldest response first.
    ///
    /// # Errors
    /// One of them is not there any more.
    pub fn chain(&self, owner: &str, id: &str) -> Result<Vec<String>> {
        let connection = self.lock();
        let sql = "SELECT messages, previous FROM response WHERE id = ?1 AND owner = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let (mut chain, mut next) = (Vec::new(), Some(id.to_string()));
        while let Some(id) = next.filter(|_| chain.len() < CHAIN) {
            let one = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = statement.query_row([&id, owner], one).optional()?;
            let (messages, previous) = found.ok_or_else(|| missing("response", &id))?;
            chain.push(messages);
            next = previous;
        }
        chain.reverse();
        Ok(chain)
    }

    /// Deletes one of the owner's responses.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn delete_response(&self, owner: &str, id: &str) -> Result<()> {
        match self.lock().execute("DELETE FROM response WHERE id = ?1 AND owner = ?2", [id, owner])? {
            0 => Err(missing("response", id)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_come_in_order_and_only_to_their_owner() {
        let store = Store::in_memory().unwrap();
        let mut previous = None;
        for id in ["r1", "r2", "r3"] {
            let response = StoredResponse {
                id: id.into(),
                previous,
                messages: format!("[\"{id}\"]"),
                object: "{}".into(),
            };
            store.keep_response("me", &response).unwrap();
            previous = Some(id.to_string());
        }
        assert_eq!(store.chain("me", "r3").unwrap(), ["[\"r1\"]", "[\"r2\"]", "[\"r3\"]"]);
        assert!(store.chain("you", "r3").is_err());
        store.delete_response("me", "r1").unwrap();
        assert!(
            store.chain("me", "r3").unwrap_err().to_string().contains("r1"),
            "a gap is told, not skipped"
        );
    }
}
