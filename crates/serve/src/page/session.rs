//! Who has signed in: a key becomes a cookie that scripts cannot read and other sites cannot send.
//!
//! A session holds the SHA-256 of its key, not the key: each request asks again whether that key still opens the door, so a
//! key that is taken back ends its sessions. Sessions live in memory and end with the process.

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Name of the cookie.
pub(crate) const COOKIE: &str = "nurture_session";
/// Without a request for so long it ends.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// And after so long in any case.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most sessions; beyond it the one that was idle longest ends.
const MOST: usize = 10_000;

type Hash = [u8; 32];

#[derive(Debug)]
struct Session {
    key: Hash,
    begun: Instant,
    used: Instant,
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE && now.duration_since(self.begun) < LONGEST
    }
}

/// All sessions, by the hash of what the cookie holds.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Hash, Session>>);

impl Sessions {
    /// A new session for a key; what the cookie shall hold. `None`: the system gives no random numbers.
    pub(crate) fn begin(&self, key: &str) -> Option<String> {
        self.begin_at(key, Instant::now())
    }

    fn begin_at(&self, key: &str, now: Instant) -> Option<String> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).ok()?;
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if all.len() >= MOST {
            all.retain(|_, s| s.lives(now));
        }
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, s)| s.used).map(|(k, _)| *k)
        {
            all.remove(&oldest);
        }
        all.insert(hash(&token), Session { key: hash(key), begun: now, used: now });
        Some(token)
    }

    /// The hash of the key behind a cookie.
    pub(crate) fn key(&self, headers: &HeaderMap) -> Option<Hash> {
        self.key_at(super::query::cookie(headers, COOKIE)?, Instant::now())
    }

    fn key_at(&self, token: &str, now: Instant) -> Option<Hash> {
        // the map is asked for a hash: how long that takes tells nothing of a token
        let id = hash(token);
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let session = all.get_mut(&id)?;
        if !session.lives(now) {
            all.remove(&id);
            return None;
        }
        session.used = now;
        Some(session.key)
    }

    /// Ends the session behind a cookie.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(token) = super::query::cookie(headers, COOKIE) {
            self.0.lock().unwrap_or_else(|e| e.into_inner()).remove(&hash(token));
        }
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// What the browser is told to keep; empty `token`: to forget.
pub(crate) fn set_cookie(token: &str, secure: bool) -> String {
    let age = if token.is_empty() { 0 } else { LONGEST.as_secs() };
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_begin_and_end() {
        let (all, now) = (Sessions::default(), Instant::now());
        let token = all.begin_at("secret", now).unwrap();
        assert_eq!(token.len(), 64);
        assert_ne!(all.begin_at("secret", now).unwrap(), token);
        let hour = Duration::from_secs(3600);
        assert_eq!(all.key_at(&token, now), Some(hash("secret")));
        assert_eq!(all.key_at(&token[..63], now), None);
        // use keeps it, up to its longest time
        let mut at = now;
        let mut held = 0;
        while all.key_at(&token, at).is_some() {
            (at, held) = (at + 11 * hour, held + 11);
        }
        assert_eq!(held, 176, "the first multiple of 11 hours after 7 days");
        let idle = all.begin_at("k", now).unwrap();
        assert_eq!(all.key_at(&idle, now + 13 * hour), None);
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let (all, now) = (Sessions::default(), Instant::now());
        let first = all.begin_at("k", now).unwrap();
        for i in 1..=MOST as u64 {
            all.begin_at("k", now + Duration::from_millis(i)).unwrap();
        }
        assert_eq!(all.0.lock().unwrap().len(), MOST);
        assert_eq!(all.key_at(&first, now), None);
    }

    #[test]
    fn the_cookie_is_closed_to_scripts_and_other_sites() {
        let c = set_cookie("t", true);
        assert!(c.contains("HttpOnly") && c.contains("SameSite=Strict") && c.ends_with("; Secure"), "{c}");
        assert!(set_cookie("", false).contains("Max-Age=0"));
    }
}
