//! Keys that open the door, with what each may use. A key is shown once, when it is made; here lies only its hash.

use super::{Result, Store, StoreError, audit, missing, new_id, now, random, short_enough};
use base64::Engine as _;
use rusqlite::{OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::Ordering::Relaxed;

const DAY: i64 = 86_400;

/// What a key may use; `None` is as much as the service bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// requests in a minute
    pub requests_per_minute: Option<u32>,
    /// tokens, of prompts and answers together, in a day (UTC)
    pub tokens_per_day: Option<u64>,
    /// answers at the same time
    pub parallel: Option<u32>,
}

/// A key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// its number
    pub number: i64,
    /// its id, which may be shown
    pub id: String,
    /// whose it is
    pub name: String,
    /// SHA-256 of the key
    pub hash: [u8; 32],
    /// whether it may load adapters and manage keys
    pub admin: bool,
    /// what it may use
    pub limits: KeyLimits,
    /// when it was made
    pub created: i64,
    /// when it ends
    pub expires: Option<i64>,
    /// when it was taken back
    pub revoked: Option<i64>,
}

impl KeyRecord {
    /// Whether it opens the door at a time.
    pub fn opens(&self, time: i64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|e| time < e)
    }
}

/// What a key used on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// requests
    pub requests: u64,
    /// tokens of prompts
    pub prompt_tokens: u64,
    /// tokens of answers
    pub generated_tokens: u64,
}

impl Used {
    /// Tokens of prompts and answers.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.generated_tokens)
    }
}

const COLUMNS: &str =
    "number, id, name, hash, admin, requests_per_minute, tokens_per_day, parallel, created, expires, revoked";

fn record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let limits = KeyLimits {
        requests_per_minute: row.get(5)?,
        tokens_per_day: row.get::<_, Option<i64>>(6)?.map(|n| n.max(0) as u64),
        parallel: row.get(7)?,
    };
    Ok(KeyRecord {
        number: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        hash: row.get(3)?,
        admin: row.get(4)?,
        limits,
        created: row.get(8)?,
        expires: row.get(9)?,
        revoked: row.get(10)?,
    })
}

impl Store {
    /// Makes a key and returns it: it is shown this once and cannot be read again.
    ///
    /// # Errors
    /// A name that is empty or too long; as all calls.
    pub fn add_key(
        &self,
        actor: &str,
        name: &str,
        admin: bool,
        limits: KeyLimits,
        expires: Option<i64>,
    ) -> Result<(String, KeyRecord)> {
        short_enough("name", name, 256)?;
        if name.trim().is_empty() {
            return Err(StoreError::Invalid { what: "name", why: "a key needs a name".into() });
        }
        let mut secret = [0u8; 32];
        random(&mut secret)?;
        let key = format!("nk-{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret));
        let hash: [u8; 32] = Sha256::digest(&key).into();
        let id = new_id("key-")?;
        self.change(|t| {
            t.execute(
                "INSERT INTO access_key (id, name, hash, admin, requests_per_minute, tokens_per_day, parallel, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    id,
                    name,
                    hash,
                    admin,
                    limits.requests_per_minute,
                    limits.tokens_per_day.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
                    limits.parallel,
                    now(),
                    expires
                ],
            )?;
            audit::note(t, actor, if admin { "admin key added" } else { "key added" }, &id)
        })?;
        self.keys_changed.fetch_add(1, Relaxed);
        Ok((key, self.key(&id)?))
    }

    /// A key by its id.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn key(&self, id: &str) -> Result<KeyRecord> {
        let sql = format!("SELECT {COLUMNS} FROM access_key WHERE id = ?1");
        self.lock().query_row(&sql, [id], record).optional()?.ok_or_else(|| missing("key", id))
    }

    /// All keys, those that were taken back too.
    ///
    /// # Errors
    /// As all calls.
    pub fn keys(&self) -> Result<Vec<KeyRecord>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS} FROM access_key ORDER BY number"))?;
        let rows = statement.query_map([], record)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes a key back. A service that runs learns of it within seconds.
    ///
    /// # Errors
    /// There is none of that id, or it was taken back before.
    pub fn revoke_key(&self, actor: &str, id: &str) -> Result<()> {
        self.change(|t| {
            let sql = "UPDATE access_key SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
            if t.execute(sql, params![id, now()])? == 0 {
                return Err(missing("key in use", id));
            }
            audit::note(t, actor, "key revoked", id)
        })?;
        self.keys_changed.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Changes what a key may use.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn limit_key(&self, actor: &str, id: &str, limits: KeyLimits) -> Result<()> {
        self.change(|t| {
            let done = t.execute(
                "UPDATE access_key SET requests_per_minute = ?2, tokens_per_day = ?3, parallel = ?4 WHERE id = ?1",
                params![
                    id,
                    limits.requests_per_minute,
                    limits.tokens_per_day.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
                    limits.parallel
                ],
            )?;
            if done == 0 {
                return Err(missing("key", id));
            }
            audit::note(t, actor, "key limited", id)
        })?;
        self.keys_changed.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Adds to what keys (by number) used today.
    ///
    /// # Errors
    /// As all calls.
    pub fn add_use(&self, used: &[(i64, Used)]) -> Result<()> {
        self.change(|t| {
            for (number, u) in used {
                t.execute(
                    "INSERT INTO key_use (number, day, requests, prompt_tokens, generated_tokens)
                     SELECT number, ?2, ?3, ?4, ?5 FROM access_key WHERE number = ?1
                     ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
                     prompt_tokens = prompt_tokens + excluded.prompt_tokens,
                     generated_tokens = generated_tokens + excluded.generated_tokens",
                    params![
                        number,
                        now() / DAY,
                        u.requests as i64,
                        u.prompt_tokens as i64,
                        u.generated_tokens as i64
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// What a key used in the last `days` days, today among them.
    ///
    /// # Errors
    /// As all calls.
    pub fn used(&self, number: i64, days: u32) -> Result<Used> {
        let sql = "SELECT coalesce(sum(requests), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(generated_tokens), 0)
                   FROM key_use WHERE number = ?1 AND day > ?2";
        let count = |row: &Row<'_>, i: usize| row.get::<_, i64>(i).map(|n| n.max(0) as u64);
        let used = |row: &Row<'_>| {
            Ok(Used {
                requests: count(row, 0)?,
                prompt_tokens: count(row, 1)?,
                generated_tokens: count(row, 2)?,
            })
        };
        Ok(self.lock().query_row(sql, params![number, now() / DAY - i64::from(days)], used)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_once_and_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sqlite");
        let store = Store::open(&path).unwrap();
        let limits = KeyLimits { requests_per_minute: Some(5), tokens_per_day: Some(1000), parallel: None };
        let (key, record) = store.add_key("test", "team", false, limits, Some(50)).unwrap();
        assert_eq!(record.hash, <[u8; 32]>::from(Sha256::digest(&key)));
        assert_eq!((record.limits, store.keys().unwrap().len()), (limits, 1));
        assert!(record.opens(49) && !record.opens(50));
        let used = Used { requests: 2, prompt_tokens: 10, generated_tokens: 5 };
        store.add_use(&[(record.number, used), (99, used), (record.number, used)]).unwrap();
        assert_eq!(store.used(record.number, 1).unwrap().tokens(), 30);
        store.revoke_key("test", &record.id).unwrap();
        assert!(store.revoke_key("test", &record.id).is_err());
        assert!(!store.key(&record.id).unwrap().opens(0));
        assert_eq!(store.audit(9).unwrap()[0].action, "key revoked");
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(key.len()).any(|w| w == key.as_bytes()), "the key itself stands nowhere");
        assert!(Store::open(&path).unwrap().add_key("test", " ", false, limits, None).is_err());
    }
}
