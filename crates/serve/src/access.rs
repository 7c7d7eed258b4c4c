//! Who may come in, and how much they may use: keys of a file, keys of the store, and the meter that counts.

use crate::error::ApiError;
use crate::http::Caller;
use crate::keys::{Keys, same};
use crate::store::{KeyLimits, KeyRecord, Store, StoreError, Used};
use axum::http::StatusCode;
use nurture_infer::engine::Usage;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

/// Tenants of the store's keys begin here; below are the places in a key file.
const STORED: u64 = 1 << 32;
/// An administrator by a key file.
const ADMIN: u64 = u64::MAX;
const DAY: u64 = 86_400;

/// All keys, and what was used with them.
#[derive(Debug)]
pub(crate) struct Access {
    clients: Keys,
    admins: Keys,
    stored: RwLock<Vec<KeyRecord>>,
    meters: Mutex<HashMap<u64, Meter>>,
    /// the store's state when keys were read last
    seen: Mutex<Option<(i64, u64)>>,
}

/// What one key uses.
#[derive(Debug)]
struct Meter {
    limits: KeyLimits,
    /// requests that may come at once, and when that was counted
    level: f64,
    at: Instant,
    running: u32,
    day: u64,
    /// today, what the store has and what it has not yet
    today: Used,
    unsaved: Used,
}

impl Meter {
    fn new(limits: KeyLimits, today: Used) -> Meter {
        let level = limits.requests_per_minute.map_or(0.0, f64::from);
        Meter { limits, level, at: Instant::now(), running: 0, day: day(), today, unsaved: Used::default() }
    }

    fn roll(&mut self) {
        if self.day != day() {
            (self.day, self.today) = (day(), Used::default());
        }
    }
}

fn seconds() -> u64 {
    crate::models::now()
}

fn day() -> u64 {
    seconds() / DAY
}

fn too_many(code: &'static str, retry_after: u64, message: String) -> ApiError {
    let error = ApiError::status(StatusCode::TOO_MANY_REQUESTS, code, message);
    ApiError { kind: "rate_limit_error", retry_after: Some(retry_after.max(1)), ..error }
}

impl Access {
    pub(crate) fn new(clients: Keys, admins: Keys) -> Access {
        Access {
            clients,
            admins,
            stored: RwLock::default(),
            meters: Mutex::default(),
            seen: Mutex::new(None),
        }
    }

    /// Whether a key is needed at all. Keys that were taken back still count: the door does not open when the last one goes.
    pub(crate) fn closed(&self) -> bool {
        !self.clients.is_empty() || !self.stored().is_empty()
    }

    /// Whether there is a key that somebody could sign in with.
    pub(crate) fn any(&self) -> bool {
        self.closed() || !self.admins.is_empty()
    }

    fn stored(&self) -> std::sync::RwLockReadGuard<'_, Vec<KeyRecord>> {
        self.stored.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Whose key it is. Takes the same time for every key that is not one.
    pub(crate) fn find(&self, key: &str) -> Option<Caller> {
        self.find_hash(&Access::hash(key))
    }

    /// What is kept of a key.
    pub(crate) fn hash(key: &str) -> [u8; 32] {
        Sha256::digest(key).into()
    }

    /// Whose key it is that has this hash.
    pub(crate) fn find_hash(&self, hash: &[u8; 32]) -> Option<Caller> {
        let (client, admin) = (self.clients.find_hash(hash), self.admins.find_hash(hash).is_some());
        let mut found = None;
        for record in self.stored().iter() {
            if same(&record.hash, hash) {
                found = Some(record.clone());
            }
        }
        let stored = found.filter(|r| r.opens(seconds() as i64));
        let admin = admin || stored.as_ref().is_some_and(|r| r.admin);
        match (stored, client) {
            (Some(record), _) => Some(Caller { tenant: STORED + record.number as u64, admin }),
            (None, Some(tenant)) => Some(Caller { tenant, admin }),
            (None, None) => admin.then_some(Caller { tenant: ADMIN, admin }),
        }
    }

    /// Whose conversations a caller sees: the id of a key of the store, a name made of the hash of a key of a file, nothing
    /// where no key is needed.
    pub(crate) fn owner(&self, caller: Caller) -> String {
        match caller.tenant {
            0 => String::new(),
            ADMIN => "admin".into(),
            tenant if tenant >= STORED => {
                let number = (tenant - STORED) as i64;
                let own = |r: &&KeyRecord| r.number == number;
                self.stored().iter().find(own).map_or_else(|| format!("gone-{number}"), |r| r.id.clone())
            }
            place => {
                let twice = Sha256::digest(self.clients.hash(place).unwrap_or_default());
                twice.iter().take(8).fold("file-".to_string(), |s, b| s + &format!("{b:02x}"))
            }
        }
    }

    /// Counts a request. Of a key without limits nothing is asked.
    pub(crate) fn request(&self, caller: Caller) -> Result<(), ApiError> {
        self.metered(caller.tenant, |m| {
            if let Some(rate) = m.limits.requests_per_minute {
                let (now, rate) = (Instant::now(), f64::from(rate));
                m.level = (m.level + (now - m.at).as_secs_f64() * rate / 60.0).min(rate);
                m.at = now;
                if m.level < 1.0 {
                    let wait = ((1.0 - m.level) * 60.0 / rate).ceil() as u64;
                    let message =
                        format!("this key may send {rate} requests a minute; try again in {wait} s");
                    return Err(too_many("rate_limit_exceeded", wait, message));
                }
                m.level -= 1.0;
            }
            m.unsaved.requests += 1;
            m.today.requests += 1;
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Takes places for `answers` that run at once; they are free again when the guard goes.
    pub(crate) fn begin(self: &Arc<Access>, tenant: u64, answers: usize) -> Result<Running, ApiError> {
        let answers = u32::try_from(answers).unwrap_or(u32::MAX);
        let begun = self.metered(tenant, |m| {
            m.roll();
            if let Some(most) = m.limits.tokens_per_day
                && m.today.tokens() >= most
            {
                let wait = DAY - seconds() % DAY;
                let message = format!(
                    "this key may use {most} tokens a day, which are used; the day ends in {wait} s (UTC)"
                );
                return Err(too_many("insufficient_quota", wait, message));
            }
            if let Some(most) = m.limits.parallel
                && m.running.saturating_add(answers) > most
            {
                let running = m.running;
                let message = format!(
                    "this key may have {most} answers at once; {running} run and {answers} more are asked for"
                );
                return Err(too_many("too_many_at_once", 1, message));
            }
            m.running = m.running.saturating_add(answers);
            Ok(())
        });
        let answers = if begun.transpose()?.is_some() { answers } else { 0 };
        Ok(Running { access: self.clone(), tenant, answers })
    }

    /// Answers that may begin now beside those that run, at least one; `None` where nothing bounds them.
    pub(crate) fn free(&self, tenant: u64) -> Option<usize> {
        let free = |m: &mut Meter| Some(m.limits.parallel?.saturating_sub(m.running).max(1) as usize);
        self.metered(tenant, free).flatten()
    }

    /// Adds what an answer took.
    pub(crate) fn charge(&self, tenant: u64, usage: &Usage) {
        self.metered(tenant, |m| {
            m.roll();
            for used in [&mut m.unsaved, &mut m.today] {
                used.prompt_tokens += usage.prompt as u64;
                used.generated_tokens += usage.generated as u64;
            }
        });
    }

    fn metered<T>(&self, tenant: u64, f: impl FnOnce(&mut Meter) -> T) -> Option<T> {
        let mut meters = self.meters.lock().unwrap_or_else(|e| e.into_inner());
        meters.get_mut(&tenant).map(f)
    }

    /// Reads the store's keys where somebody may have changed them, and saves what was used. Waits for the disk.
    pub(crate) fn sync(&self, store: &Store) -> Result<(), StoreError> {
        let unsaved: Vec<(i64, Used)> = {
            let mut meters = self.meters.lock().unwrap_or_else(|e| e.into_inner());
            let used = meters.iter_mut().filter(|(_, m)| m.unsaved != Used::default());
            used.map(|(t, m)| ((t - STORED) as i64, std::mem::take(&mut m.unsaved))).collect()
        };
        if !unsaved.is_empty()
            && let Err(e) = store.add_use(&unsaved)
        {
            for (number, used) in unsaved {
                self.metered(STORED + number as u64, |m| {
                    m.unsaved.requests += used.requests;
                    m.unsaved.prompt_tokens += used.prompt_tokens;
                    m.unsaved.generated_tokens += used.generated_tokens;
                });
            }
            return Err(e);
        }
        let version = store.version_of_keys()?;
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        if *seen == Some(version) {
            return Ok(());
        }
        let keys = store.keys()?;
        let mut today = Vec::with_capacity(keys.len());
        for key in &keys {
            today.push(store.used(key.number, 1)?);
        }
        let mut meters = self.meters.lock().unwrap_or_else(|e| e.into_inner());
        for (key, today) in keys.iter().zip(today) {
            let tenant = STORED + key.number as u64;
            let meter = meters.entry(tenant).or_insert_with(|| Meter::new(key.limits, today));
            if meter.limits != key.limits {
                *meter = Meter {
                    running: meter.running,
                    today: meter.today,
                    unsaved: meter.unsaved,
                    ..Meter::new(key.limits, today)
                };
            }
        }
        drop(meters);
        *self.stored.write().unwrap_or_else(|e| e.into_inner()) = keys;
        *seen = Some(version);
        Ok(())
    }
}

/// Answers at work for a key.
#[derive(Debug)]
pub(crate) struct Running {
    access: Arc<Access>,
    tenant: u64,
    answers: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.access.metered(self.tenant, |m| m.running = m.running.saturating_sub(self.answers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_key(limits: KeyLimits) -> (Arc<Access>, Store, String, Caller) {
        let store = Store::in_memory().unwrap();
        let (key, _) = store.add_key("test", "team", false, limits, None).unwrap();
        let access = Arc::new(Access::new(Keys::parse("file"), Keys::parse("boss")));
        assert!(access.find(&key).is_none());
        access.sync(&store).unwrap();
        let caller = access.find(&key).unwrap();
        (access, store, key, caller)
    }

    #[test]
    fn every_key_is_somebody_else() {
        let (access, store, key, caller) = with_key(KeyLimits::default());
        let (file, boss) = (access.find("file").unwrap(), access.find("boss").unwrap());
        assert!(!caller.admin && !file.admin && boss.admin);
        let owners: Vec<String> =
            [Caller::default(), file, boss, caller].into_iter().map(|c| access.owner(c)).collect();
        assert_eq!(owners[3], store.keys().unwrap()[0].id);
        assert_eq!(owners.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{owners:?}");
        assert!(access.find("").is_none() && access.find(&key[..key.len() - 1]).is_none());
        store.revoke_key("test", &owners[3]).unwrap();
        access.sync(&store).unwrap();
        assert!(access.find(&key).is_none() && access.closed());
        let alone = Access::new(Keys::default(), Keys::default());
        assert!(!alone.closed());
        alone.sync(&store).unwrap();
        assert!(alone.closed(), "taking the last key back does not open the door");
    }

    #[test]
    fn limits_hold_and_use_is_kept() {
        let limits = KeyLimits { requests_per_minute: Some(2), tokens_per_day: Some(100), parallel: Some(3) };
        let (access, store, _, caller) = with_key(limits);
        access.request(caller).unwrap();
        access.request(caller).unwrap();
        let refused = access.request(caller).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(30)));
        access.request(Caller::default()).unwrap();
        let running = access.begin(caller.tenant, 2).unwrap();
        assert_eq!(access.begin(caller.tenant, 2).unwrap_err().code, Some("too_many_at_once"));
        assert_eq!((access.free(caller.tenant), access.free(0)), (Some(1), None));
        drop(running);
        assert_eq!(access.free(caller.tenant), Some(3));
        drop(access.begin(caller.tenant, 3).unwrap());
        access.charge(caller.tenant, &Usage { prompt: 60, generated: 40, ..Usage::default() });
        assert_eq!(access.begin(caller.tenant, 1).unwrap_err().code, Some("insufficient_quota"));
        access.sync(&store).unwrap();
        access.sync(&store).unwrap();
        let number = store.keys().unwrap()[0].number;
        let used = Used { requests: 2, prompt_tokens: 60, generated_tokens: 40 };
        assert_eq!(store.used(number, 1).unwrap(), used);
        // a service that starts again knows what was used today
        let again = Arc::new(Access::new(Keys::default(), Keys::default()));
        again.sync(&store).unwrap();
        assert_eq!(again.begin(caller.tenant, 1).unwrap_err().code, Some("insufficient_quota"));
    }
}
