//! Placeholders for sensitive values: the same value is the same placeholder wherever it stands in a run.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::personal::{self, Found, Sensitive};
use super::{CleanOptions, SensitivePolicy, secrets};
use crate::digest::Parts;
use crate::units::narrow;

/// The text with each value of these kinds, and each placeholder of one, as the bare word of its kind: `[EMAIL]`.
pub(crate) fn kinds_only<'t>(text: &'t str, kinds: &[Sensitive]) -> Cow<'t, str> {
    if kinds.is_empty() {
        return Cow::Borrowed(text);
    }
    let policy = |wanted| if wanted { SensitivePolicy::Redact } else { SensitivePolicy::Off };
    let options = CleanOptions {
        personal: policy(kinds.iter().any(|k| *k != Sensitive::Secret)),
        personal_kinds: kinds.to_vec(),
        secrets: policy(kinds.contains(&Sensitive::Secret)),
        ..CleanOptions::default()
    };
    let mut out: Cow<'t, str> = match Redactor::new(&options).text(text, &mut HashSet::new()) {
        Some(redacted) => Cow::Owned(redacted),
        None => Cow::Borrowed(text),
    };
    for kind in kinds {
        let begin = format!("[{}_", kind.word());
        if let Some(bare) = without_numbers(&out, &begin) {
            out = Cow::Owned(bare);
        }
    }
    out
}

/// The text with `[KIND]` for each `[KIND_12]`; `begin`: what it begins with, up to the number.
fn without_numbers(text: &str, begin: &str) -> Option<String> {
    let mut parts = text.split(begin);
    let mut out = parts.next()?.to_string();
    let mut found = false;
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = rest.len() < part.len() && rest.starts_with(']');
        found |= numbered;
        out.push_str(if numbered { begin.trim_end_matches('_') } else { begin });
        out.push_str(if numbered { rest } else { part });
    }
    found.then_some(out)
}

/// Finds values, and knows the number of each.
#[derive(Debug)]
pub(crate) struct Redactor<'a> {
    options: &'a CleanOptions,
    /// The number of each value by the first bytes of its hash: the values themselves are not kept.
    numbers: HashMap<[u8; 16], u64>,
    /// Places and values of each kind.
    counts: BTreeMap<Sensitive, (u64, u64)>,
}

impl<'a> Redactor<'a> {
    pub(crate) fn new(options: &'a CleanOptions) -> Redactor<'a> {
        Redactor { options, numbers: HashMap::new(), counts: BTreeMap::new() }
    }

    /// The text with its values replaced, where that is wished and there are some. Their kinds are added to `kinds`.
    pub(crate) fn text(&mut self, text: &str, kinds: &mut HashSet<Sensitive>) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        for Found { what, at } in self.find(text) {
            let value = text.get(at.clone()).unwrap_or_default();
            let number = self.number(what, value);
            kinds.insert(what);
            if self.policy(what) == SensitivePolicy::Redact {
                out.push_str(text.get(copied..at.start).unwrap_or_default());
                out.push_str(&format!("[{}_{number}]", what.word()));
                copied = at.end;
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Some(out)
    }

    /// Places and different values of each kind.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Sensitive, u64, u64)> + '_ {
        self.counts.iter().map(|(kind, (places, values))| (*kind, *places, *values))
    }

    fn policy(&self, what: Sensitive) -> SensitivePolicy {
        if what == Sensitive::Secret { self.options.secrets } else { self.options.personal }
    }

    /// What counts, in order. Where a secret and a number overlap, it is a secret.
    fn find(&self, text: &str) -> Vec<Found> {
        let mut all = Vec::new();
        if self.options.secrets != SensitivePolicy::Off {
            secrets::find(text, &mut all);
        }
        if self.options.personal != SensitivePolicy::Off {
            let mut found = Vec::new();
            personal::find(text, &mut found);
            let secrets = all.clone();
            let mut next = 0;
            found.retain(|f| {
                while secrets.get(next).is_some_and(|s| s.at.end <= f.at.start) {
                    next += 1;
                }
                let free = secrets.get(next).is_none_or(|s| s.at.start >= f.at.end);
                free && self.options.personal_kinds.contains(&f.what)
            });
            all.extend(found);
            all.sort_by_key(|f| f.at.start);
        }
        all
    }

    /// The number of a value, from 1 for each kind. How it is written does not count: spaces, hyphens, width, case.
    fn number(&mut self, what: Sensitive, value: &str) -> u64 {
        let plain = |c: &char| c.is_alphanumeric() || matches!(c, '@' | '.' | '_');
        let same: String = match what {
            Sensitive::Secret => value.to_string(),
            Sensitive::Email => value.to_ascii_lowercase(),
            Sensitive::Phone => {
                let digits: String = value.chars().map(narrow).filter(char::is_ascii_digit).collect();
                let local = digits.strip_prefix("0086").or_else(|| digits.strip_prefix("86"));
                local.filter(|d| d.len() == 11).map(String::from).unwrap_or(digits)
            }
            _ => value.chars().map(narrow).filter(plain).flat_map(char::to_uppercase).collect(),
        };
        let hash = Parts::default().add(what.word().as_bytes()).add(same.as_bytes()).finish();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        let count = self.counts.entry(what).or_default();
        count.0 += 1;
        *self.numbers.entry(key).or_insert_with(|| {
            count.1 += 1;
            count.1
        })
    }
}
