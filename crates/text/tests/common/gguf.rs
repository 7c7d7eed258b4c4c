//! Just enough of a GGUF reader for trusted files to give this crate's tests the real vocabularies. The project's
//! reader is in crates/formats, which these tests must not lean on.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

use nurture_text::{GgufTokenizerKeys, Tokenizer};

#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
}

struct Source(BufReader<std::fs::File>);

impl Source {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut buffer = [0; N];
        self.0.read_exact(&mut buffer).unwrap();
        buffer
    }

    fn count(&mut self) -> usize {
        u64::from_le_bytes(self.bytes()) as usize
    }

    fn text(&mut self) -> String {
        let mut buffer = vec![0; self.count()];
        self.0.read_exact(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 | 1 => Value::Int(i64::from(self.bytes::<1>()[0])),
            2 | 3 => Value::Int(i64::from(u16::from_le_bytes(self.bytes()))),
            4 | 5 => Value::Int(i64::from(u32::from_le_bytes(self.bytes()))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()))),
            7 => Value::Bool(self.bytes::<1>()[0] != 0),
            8 => Value::Text(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.bytes());
                let n = self.count();
                match kind {
                    8 => Value::Texts((0..n).map(|_| self.text()).collect()),
                    6 => Value::Floats((0..n).map(|_| f32::from_le_bytes(self.bytes())).collect()),
                    4 | 5 => Value::Ints((0..n).map(|_| i32::from_le_bytes(self.bytes())).collect()),
                    other => panic!("array of type {other}"),
                }
            }
            10 | 11 => Value::Int(i64::from_le_bytes(self.bytes())),
            12 => Value::Float(f64::from_le_bytes(self.bytes())),
            other => panic!("value of type {other}"),
        }
    }
}

pub struct Keys(HashMap<String, Value>);

impl Keys {
    pub fn read(path: &Path) -> Keys {
        let mut source = Source(BufReader::with_capacity(1 << 20, std::fs::File::open(path).unwrap()));
        assert_eq!(&source.bytes::<4>(), b"GGUF");
        source.bytes::<4>();
        source.count();
        let n = source.count();
        let pairs = (0..n).map(|_| {
            let key = source.text();
            let kind = u32::from_le_bytes(source.bytes());
            (key, source.value(kind))
        });
        Keys(pairs.collect())
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    fn id(&self, key: &str) -> Option<u32> {
        match self.0.get(&format!("tokenizer.ggml.{key}_token_id"))? {
            Value::Int(i) => u32::try_from(*i).ok(),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(&format!("tokenizer.ggml.{key}"))? {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    fn texts(&self, key: &str) -> Option<&[String]> {
        match self.0.get(&format!("tokenizer.ggml.{key}"))? {
            Value::Texts(t) => Some(t),
            _ => None,
        }
    }

    pub fn tokenizer_keys(&self) -> GgufTokenizerKeys<'_> {
        GgufTokenizerKeys {
            model: self.text("tokenizer.ggml.model").unwrap(),
            pre: self.text("tokenizer.ggml.pre"),
            tokens: self.texts("tokens").unwrap(),
            scores: match self.0.get("tokenizer.ggml.scores") {
                Some(Value::Floats(f)) => Some(f),
                _ => None,
            },
            token_types: match self.0.get("tokenizer.ggml.token_type") {
                Some(Value::Ints(i)) => Some(i),
                _ => None,
            },
            merges: self.texts("merges"),
            bos: self.id("bos"),
            eos: self.id("eos"),
            unk: self.id("unknown"),
            pad: self.id("padding"),
            eot: self.id("eot"),
            eom: self.id("eom"),
            add_bos: self.flag("add_bos_token"),
            add_eos: self.flag("add_eos_token"),
            add_space_prefix: self.flag("add_space_prefix"),
            chat_template: self.text("tokenizer.chat_template"),
        }
    }
}

/// The tokenizer of a real file.
pub fn tokenizer(path: &Path) -> Tokenizer {
    Tokenizer::from_gguf(&Keys::read(path).tokenizer_keys()).unwrap()
}
