//! Reading a request's JSON object field by field: what is read is checked, what is left over is refused by name.

use crate::body::Held;
use crate::error::ApiError;
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, ApiError>;

/// Deepest nesting of a body.
const DEPTH: usize = 64;

/// A JSON object whose fields are taken one by one.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// where the object stands in the request, e.g. `messages[0].`
    place: String,
    /// what the body takes, as long as it is read
    _held: Option<Held>,
}

/// Bytes that the values of a JSON text take at most, about; `None` where brackets are nested deeper than `deepest`. Strings count
/// once more what they take in the text.
fn weigh(bytes: &[u8], deepest: usize) -> Option<usize> {
    // of a value in a list, of an object, of an entry of an object beside its value
    const VALUE: usize = 32;
    const OBJECT: usize = 256;
    const ENTRY: usize = 96;
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut weight = bytes.len();
    for &b in bytes {
        match (in_string, b) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                weight += if b == b'{' { OBJECT } else { VALUE };
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, b',') => weight += VALUE,
            (false, b':') => weight += ENTRY,
            _ => {}
        }
        if depth > deepest {
            return None;
        }
    }
    Some(weight)
}

impl Fields {
    /// What a body takes in memory as values, about.
    pub(crate) fn weight(bytes: &[u8]) -> Result<usize> {
        let deep = || ApiError::body(format!("the body is nested deeper than {DEPTH} levels"));
        weigh(bytes, DEPTH).ok_or_else(deep)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Fields> {
        Fields::weight(bytes)?;
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Fields { map, place: String::new(), _held: None }),
            Ok(_) => Err(ApiError::body("the body must be a JSON object")),
            Err(e) => Err(ApiError::body(format!("the body is not JSON: {e}"))),
        }
    }

    /// Keeps the body's part of what all bodies may take.
    pub(crate) fn holding(self, held: Held) -> Fields {
        Fields { _held: Some(held), ..self }
    }

    /// An object inside the request.
    pub(crate) fn inner(value: Value, place: &str) -> Result<Fields> {
        match value {
            Value::Object(map) => Ok(Fields { map, place: format!("{place}."), _held: None }),
            _ => Err(ApiError::invalid(place, format!("\"{place}\" must be an object"))),
        }
    }

    pub(crate) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.place)
    }

    fn wrong(&self, field: &str, wanted: impl std::fmt::Display) -> ApiError {
        let name = self.name(field);
        ApiError::invalid(&name, format!("\"{name}\" must be {wanted}"))
    }

    /// The field; `null` counts as absent, as in OpenAI's API.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|v| !v.is_null())
    }

    /// The field, left where it is.
    pub(crate) fn peek(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    pub(crate) fn needed(&mut self, field: &str) -> Result<Value> {
        self.take(field).ok_or_else(|| ApiError::missing(&self.name(field)))
    }

    pub(crate) fn number(&mut self, field: &str, from: f64, to: f64) -> Result<Option<f32>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let number = value.as_f64().filter(|x| (from..=to).contains(x));
        number
            .map(|x| Some(x as f32))
            .ok_or_else(|| self.wrong(field, format!("a number from {from} to {to}")))
    }

    pub(crate) fn count(&mut self, field: &str, from: u64, to: u64) -> Result<Option<usize>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let wanted = || self.wrong(field, format!("a whole number from {from} to {to}"));
        value.as_u64().filter(|n| (from..=to).contains(n)).map(|n| Some(n as usize)).ok_or_else(wanted)
    }

    pub(crate) fn switch(&mut self, field: &str) -> Result<Option<bool>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(field, "true or false"))
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "a string")),
        }
    }

    pub(crate) fn list(&mut self, field: &str, most: usize) -> Result<Option<Vec<Value>>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() <= most => Ok(Some(list)),
            Some(Value::Array(list)) => {
                Err(self.wrong(field, format!("a list of at most {most} entries, not {}", list.len())))
            }
            Some(_) => Err(self.wrong(field, "a list")),
        }
    }

    /// Fields that cannot change the answer: taken and dropped.
    pub(crate) fn harmless(&mut self, fields: &[&str]) {
        for field in fields {
            self.map.remove(*field);
        }
    }

    /// Fields that would change the answer and are not done here; `false`, empty lists and empty objects ask for nothing.
    pub(crate) fn refuse(&mut self, fields: &[&str]) -> Result<()> {
        for field in fields {
            let asks = |v: &Value| match v {
                Value::Bool(false) => false,
                Value::Array(list) => !list.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => true,
            };
            if self.take(field).as_ref().is_some_and(asks) {
                let name = self.name(field);
                let message = format!("\"{name}\" is not supported by this server");
                return Err(ApiError::unsupported(name, message));
            }
        }
        Ok(())
    }

    /// All fields must have been taken.
    pub(crate) fn done(self) -> Result<()> {
        match self.map.iter().find(|(_, v)| !v.is_null()) {
            None => Ok(()),
            Some((field, _)) => Err(ApiError::unknown(&self.name(field))),
        }
    }
}

/// Token ids out of a JSON list; `None` where an entry is not one.
pub(crate) fn token_ids(list: &[Value]) -> Option<Vec<u32>> {
    list.iter().map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_refused_by_name() {
        let mut f = Fields::parse(br#"{"a": 1, "b": null, "tools": [], "c": {"d": "[[[" }}"#).unwrap();
        assert_eq!(f.count("a", 0, 5), Ok(Some(1)));
        f.refuse(&["tools"]).unwrap();
        let mut c = Fields::inner(f.take("c").unwrap(), "c").unwrap();
        assert_eq!(c.count("d", 0, 1).unwrap_err().param.as_deref(), Some("c.d"));
        f.done().unwrap();
        let error = Fields::parse(br#"{"temprature": 1}"#).unwrap().done().unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Some("unknown_parameter"), Some("temprature")));
    }

    #[test]
    fn numbers_have_bounds_and_bodies_a_depth() {
        let mut f = Fields::parse(br#"{"t": -0.1, "n": 1e3, "k": -1, "s": 1}"#).unwrap();
        assert!(
            f.number("t", 0.0, 2.0).is_err() && f.count("n", 0, 5000).is_err() && f.count("k", 0, 9).is_err()
        );
        assert!(f.switch("s").is_err());
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Fields::parse(deep(63).as_bytes()).is_ok());
        assert!(Fields::parse(deep(64).as_bytes()).unwrap_err().message.contains("64"));
        assert!(weigh(br#"{"a":[1,2,{"b":"[[[[{{{{,,,,\"::"}]}"#, 3).unwrap() < 1024);
        assert!(weigh("[0,0]".replace("0", &"0,".repeat(1000)).as_bytes(), 3).unwrap() > 2000 * 32);
        assert!(Fields::parse("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(
            Fields::parse(b"[1]").is_err() && Fields::parse(b"{").is_err() && Fields::parse(b"\xff").is_err()
        );
    }
}
