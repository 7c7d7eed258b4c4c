//! What a run is: its settings, its examples, its base. Only the same run is resumed.

use crate::config::TrainConfig;
use crate::digest::Digest;
use crate::keep::Lessons;
use crate::subject::Subject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The identity of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// settings and the adapter's shape, as JSON
    pub(crate) config: String,
    /// SHA-256 of `config`
    pub(crate) config_sha256: String,
    /// SHA-256 of all tokens and masks in order
    pub(crate) data_sha256: String,
    /// as the caller gave it
    pub(crate) base_sha256: String,
}

impl Identity {
    pub(crate) fn new(
        config: &TrainConfig,
        subject: &Subject,
        lessons: &Lessons,
        base_sha256: &str,
    ) -> Identity {
        let (what, how) = subject.identity();
        Identity::of(config, what, how, lessons, base_sha256)
    }

    /// The same of whatever learns: `how` says under the name `what` what it is.
    pub(crate) fn of(
        config: &TrainConfig,
        what: &str,
        how: Value,
        lessons: &Lessons,
        base_sha256: &str,
    ) -> Identity {
        let mut config = json!({ "train": config, what: how });
        // when to stop does not change what is learnt: a run that was stopped may go on with a warning instead
        config["train"]["divergence"].take();
        let config = config.to_string();
        let mut digest = Digest::default();
        digest.part(config.as_bytes());
        let config_sha256 = digest.hex();
        let mut digest = Digest::default();
        digest.count(lessons.examples.len());
        for example in &lessons.examples {
            digest.words(&example.tokens, u32::to_le_bytes);
            digest.words(&example.trained, |flag| [u8::from(flag)]);
        }
        if !lessons.judged.is_empty() {
            digest.words(&lessons.judged, |flag| [u8::from(flag)]);
        }
        for window in &lessons.keep {
            digest.words(window, u32::to_le_bytes);
        }
        Identity { config, config_sha256, data_sha256: digest.hex(), base_sha256: base_sha256.to_string() }
    }

    /// What differs between an earlier run and this one, for people.
    pub(crate) fn differences(&self, now: &Identity) -> Vec<String> {
        let mut out = Vec::new();
        for (what, was, is) in [
            ("base model (sha256)", &self.base_sha256, &now.base_sha256),
            ("training data (sha256 of the tokens)", &self.data_sha256, &now.data_sha256),
        ] {
            if was != is {
                out.push(format!("{what}: was {was}, is {is}"));
            }
        }
        if self.config != now.config {
            let parse = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
            let before = out.len();
            settings("", &parse(&self.config), &parse(&now.config), &mut out);
            if out.len() == before {
                out.push("settings (in their spelling)".to_string());
            }
        }
        out
    }
}

/// Lists the leaves in which two JSON trees differ.
fn settings(path: &str, was: &Value, is: &Value, out: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let get =
                    |m: &serde_json::Map<String, Value>| m.get(key.as_str()).cloned().unwrap_or(Value::Null);
                settings(&path, &get(a), &get(b), out);
            }
        }
        _ if was != is => out.push(format!("{path}: was {was}, is {is}")),
        _ => {}
    }
}
