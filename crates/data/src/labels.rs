//! The closed set of labels of a run, and how they are written.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, RowProblem};
use crate::schema::nearest;

/// How labels are written for the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelForm {
    /// As they stand in the data.
    #[default]
    AsIs,
    /// `card_arrival` and `card-arrival` as `card arrival`.
    Words,
}

impl LabelForm {
    fn write(self, raw: &str) -> String {
        match self {
            LabelForm::AsIs => raw.to_string(),
            LabelForm::Words => {
                let parts: Vec<&str> = raw
                    .split(|c: char| c == '_' || c == '-' || c.is_whitespace())
                    .filter(|p| !p.is_empty())
                    .collect();
                // A label made of nothing but dashes has no words.
                if parts.is_empty() { raw.to_string() } else { parts.join(" ") }
            }
        }
    }
}

/// The labels of the training data: what stands in the files, and what is written for the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    /// As in the data, to what is written.
    written: BTreeMap<String, String>,
    /// What is written, sorted by code point.
    sorted: Vec<String>,
}

impl LabelSet {
    /// The set of `raw` labels in the given form; an error where two labels would be written alike.
    pub fn new<'a>(raw: impl IntoIterator<Item = &'a str>, form: LabelForm) -> Result<Self, DataError> {
        let mut written = BTreeMap::new();
        let mut owner: BTreeMap<String, String> = BTreeMap::new();
        for raw in raw.into_iter().collect::<BTreeSet<_>>() {
            let words = form.write(raw);
            if let Some(first) = owner.insert(words.clone(), raw.to_string()) {
                return Err(DataError::LabelClash { first, second: raw.to_string(), words });
            }
            written.insert(raw.to_string(), words);
        }
        Ok(LabelSet { written, sorted: owner.into_keys().collect() })
    }

    /// The labels as they are written for the model, sorted by code point.
    pub fn sorted(&self) -> &[String] {
        &self.sorted
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// How a label of the data is written.
    pub fn write(&self, raw: &str) -> Result<&str, RowProblem> {
        self.written.get(raw).map(String::as_str).ok_or_else(|| RowProblem::UnknownLabel {
            label: raw.to_string(),
            nearest: nearest(raw, self.written.keys().map(String::as_str)).map(String::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_to_one() {
        let set = LabelSet::new(["card_arrival", "top-up  failed", "查询"], LabelForm::Words).unwrap();
        assert_eq!(set.sorted(), ["card arrival", "top up failed", "查询"]);
        assert_eq!(set.write("card_arrival").unwrap(), "card arrival");
        let problem = set.write("card_arival").unwrap_err().to_string();
        assert!(problem.contains("card_arival") && problem.contains("\"card_arrival\""), "{problem}");
        let clash = LabelSet::new(["a_b", "a-b"], LabelForm::Words).unwrap_err().to_string();
        assert!(
            clash.contains("\"a-b\"") && clash.contains("\"a_b\"") && clash.contains("\"a b\""),
            "{clash}"
        );
        assert_eq!(LabelSet::new(["a_b", "a-b"], LabelForm::AsIs).unwrap().len(), 2);
    }
}
