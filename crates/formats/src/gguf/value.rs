//! Values of GGUF metadata and typed access to them.
//!
//! Source: the GGUF specification in the ggml repository (`docs/gguf.md`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::FormatError;

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are the types
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array of metadata values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are the types
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Strings(Strings),
    Arrays(Vec<Array>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(xs) => xs.len(),
            Array::I8(xs) => xs.len(),
            Array::U16(xs) => xs.len(),
            Array::I16(xs) => xs.len(),
            Array::U32(xs) => xs.len(),
            Array::I32(xs) => xs.len(),
            Array::U64(xs) => xs.len(),
            Array::I64(xs) => xs.len(),
            Array::F32(xs) => xs.len(),
            Array::F64(xs) => xs.len(),
            Array::Bool(xs) => xs.len(),
            Array::Strings(xs) => xs.len(),
            Array::Arrays(xs) => xs.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Many strings in one piece of memory: a vocabulary has up to a quarter of a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// End of each string in `text`.
    ends: Vec<usize>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at place `i`.
    pub fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)?;
        let start = match i.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }

    /// Adds a string at the end.
    pub fn push(&mut self, s: &str) {
        self.text.push_str(s);
        self.ends.push(self.text.len());
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Strings {
        let mut out = Strings::default();
        strings.into_iter().for_each(|s| out.push(s.as_ref()));
        out
    }
}

impl Value {
    /// The GGUF name of the value's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::U8(_) => "u8",
            Value::I8(_) => "i8",
            Value::U16(_) => "u16",
            Value::I16(_) => "i16",
            Value::U32(_) => "u32",
            Value::I32(_) => "i32",
            Value::U64(_) => "u64",
            Value::I64(_) => "i64",
            Value::F32(_) => "f32",
            Value::F64(_) => "f64",
            Value::Bool(_) => "bool",
            Value::String(_) => "string",
            Value::Array(Array::Strings(_)) => "array of strings",
            Value::Array(Array::F32(_) | Array::F64(_)) => "array of floats",
            Value::Array(Array::Bool(_)) => "array of bools",
            Value::Array(Array::Arrays(_)) => "array of arrays",
            Value::Array(_) => "array of integers",
        }
    }

    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(x) => x.into(),
            Value::I8(x) => x.into(),
            Value::U16(x) => x.into(),
            Value::I16(x) => x.into(),
            Value::U32(x) => x.into(),
            Value::I32(x) => x.into(),
            Value::U64(x) => x.into(),
            Value::I64(x) => x.into(),
            _ => return None,
        })
    }
}

/// A Rust type that a metadata value can be taken as.
pub trait FromValue<'a>: Sized {
    /// What is expected, for messages.
    const WANTED: &'static str;
    /// The value, if it is of a fitting kind and size.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! from_integer {
    ($($t:ty),*) => {$(
        impl FromValue<'_> for $t {
            const WANTED: &'static str = concat!("an integer that fits ", stringify!($t));
            fn from_value(value: &Value) -> Option<$t> {
                value.integer()?.try_into().ok()
            }
        }
    )*};
}
from_integer!(u32, u64, i32, i64, usize);

impl FromValue<'_> for f32 {
    const WANTED: &'static str = "a number";
    fn from_value(value: &Value) -> Option<f32> {
        f64::from_value(value).map(|x| x as f32)
    }
}

impl FromValue<'_> for f64 {
    const WANTED: &'static str = "a number";
    fn from_value(value: &Value) -> Option<f64> {
        match *value {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => value.integer().map(|x| x as f64),
        }
    }
}

impl FromValue<'_> for bool {
    const WANTED: &'static str = "a bool";
    fn from_value(value: &Value) -> Option<bool> {
        if let Value::Bool(x) = value { Some(*x) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const WANTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<&'a str> {
        if let Value::String(x) = value { Some(x) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a Strings {
    const WANTED: &'static str = "an array of strings";
    fn from_value(value: &'a Value) -> Option<&'a Strings> {
        if let Value::Array(Array::Strings(x)) = value { Some(x) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [bool] {
    const WANTED: &'static str = "an array of bools";
    fn from_value(value: &'a Value) -> Option<&'a [bool]> {
        if let Value::Array(Array::Bool(x)) = value { Some(x) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [f32] {
    const WANTED: &'static str = "an array of f32";
    fn from_value(value: &'a Value) -> Option<&'a [f32]> {
        if let Value::Array(Array::F32(x)) = value { Some(x) } else { None }
    }
}

impl<'a> FromValue<'a> for Cow<'a, [i32]> {
    const WANTED: &'static str = "an array of integers that fit i32";
    fn from_value(value: &'a Value) -> Option<Cow<'a, [i32]>> {
        fn fit<T: Copy + TryInto<i32>>(xs: &[T]) -> Option<Cow<'static, [i32]>> {
            xs.iter().map(|&x| x.try_into().ok()).collect::<Option<Vec<i32>>>().map(Cow::Owned)
        }
        match value {
            Value::Array(Array::I32(xs)) => Some(Cow::Borrowed(xs)),
            Value::Array(Array::U8(xs)) => fit(xs),
            Value::Array(Array::I8(xs)) => fit(xs),
            Value::Array(Array::U16(xs)) => fit(xs),
            Value::Array(Array::I16(xs)) => fit(xs),
            Value::Array(Array::U32(xs)) => fit(xs),
            Value::Array(Array::U64(xs)) => fit(xs),
            Value::Array(Array::I64(xs)) => fit(xs),
            _ => None,
        }
    }
}

/// The metadata of a GGUF file: keys and values in the order of the file.
///
/// ```
/// use nurture_formats::{Metadata, Value};
/// let mut meta = Metadata::new("example.gguf");
/// meta.set("llama.block_count", Value::U32(30));
/// assert_eq!(meta.u32("llama.block_count").unwrap(), 30);
/// assert_eq!(meta.find::<f32>("llama.rope.freq_base").unwrap(), None);
/// assert!(meta.str("llama.block_count").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Metadata {
    file: PathBuf,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Empty metadata; `file` is the name that its errors give.
    pub fn new(file: impl Into<PathBuf>) -> Metadata {
        Metadata { file: file.into(), entries: Vec::new(), index: HashMap::new() }
    }

    /// The file that errors name.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&i| self.entries.get(i)).map(|(_, value)| value)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets a key, in place if it was there, else at the end.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.index.get(key).and_then(|&i| self.entries.get_mut(i)) {
            Some(entry) => entry.1 = value,
            None => {
                self.index.insert(key.to_string(), self.entries.len());
                self.entries.push((key.to_string(), value));
            }
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// An optional key: `None` if it is missing, an error if its value is of another kind.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, FormatError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| {
            let found = match value.integer() {
                Some(n) => format!("{} {n}", value.kind()),
                None => value.kind().to_string(),
            };
            FormatError::key(&self.file, key, format!("expected {}, found {found}", T::WANTED))
        })
    }

    /// A required key: an error if it is missing or its value is of another kind.
    pub fn need<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, FormatError> {
        self.find(key)?.ok_or_else(|| {
            FormatError::key(&self.file, key, format!("missing from the metadata; expected {}", T::WANTED))
        })
    }

    /// A required string.
    pub fn str(&self, key: &str) -> Result<&str, FormatError> {
        self.need(key)
    }

    /// A required integer of any stored kind that fits.
    pub fn u32(&self, key: &str) -> Result<u32, FormatError> {
        self.need(key)
    }

    /// A required integer of any stored kind that fits.
    pub fn u64(&self, key: &str) -> Result<u64, FormatError> {
        self.need(key)
    }

    /// A required integer of any stored kind that fits.
    pub fn usize(&self, key: &str) -> Result<usize, FormatError> {
        self.need(key)
    }

    /// A required number.
    pub fn f32(&self, key: &str) -> Result<f32, FormatError> {
        self.need(key)
    }

    /// A required bool.
    pub fn bool(&self, key: &str) -> Result<bool, FormatError> {
        self.need(key)
    }

    /// A required array of strings.
    pub fn strings(&self, key: &str) -> Result<&Strings, FormatError> {
        self.need(key)
    }

    /// A required array of f32.
    pub fn f32s(&self, key: &str) -> Result<&[f32], FormatError> {
        self.need(key)
    }

    /// A required array of integers of any stored kind that fit i32.
    pub fn i32s(&self, key: &str) -> Result<Cow<'_, [i32]>, FormatError> {
        self.need(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_integer_kind_is_taken_if_it_fits() {
        let mut meta = Metadata::new("m");
        for (i, value) in
            [Value::U8(7), Value::I8(7), Value::U16(7), Value::I64(7), Value::U64(7)].into_iter().enumerate()
        {
            meta.set(&format!("k{i}"), value);
            assert_eq!(meta.u32(&format!("k{i}")).unwrap(), 7);
        }
        meta.set("big", Value::U64(1 << 40));
        meta.set("negative", Value::I32(-1));
        assert_eq!(meta.u64("big").unwrap(), 1 << 40);
        let error = meta.u32("big").unwrap_err().to_string();
        assert_eq!(error, "m: key \"big\": expected an integer that fits u32, found u64 1099511627776");
        assert!(meta.u64("negative").is_err());
        assert_eq!(meta.f32("negative").unwrap(), -1.0);
        assert!(meta.u32("none").unwrap_err().to_string().contains("missing"));
        meta.set("ids", Value::Array(Array::U64(vec![1, 2])));
        assert_eq!(meta.i32s("ids").unwrap()[..], [1, 2]);
        meta.set("ids", Value::Array(Array::U64(vec![1, u64::MAX])));
        assert!(meta.i32s("ids").is_err());
    }

    #[test]
    fn strings_keep_their_borders() {
        let strings: Strings = ["", "ab", "", "养成"].into_iter().collect();
        assert_eq!(strings.len(), 4);
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "ab", "", "养成"]);
        assert_eq!(strings.get(4), None);
    }
}
