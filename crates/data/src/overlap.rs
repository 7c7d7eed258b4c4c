//! Does the exam share questions with the training data?

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Parts, question};
use crate::example::Example;

/// An exam item whose question also stands in the training data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// Id of the exam item.
    pub exam: String,
    /// Id of the first training example with the same question.
    pub training: String,
}

/// Exam items whose question, normalised (case, width, white space), equals one of the training data.
pub fn overlap(exam: &[Example], training: &[Example]) -> Vec<Overlap> {
    let key = |example: &Example| Parts::default().add(question(example).as_bytes()).finish();
    let mut seen = HashMap::with_capacity(training.len());
    for example in training {
        seen.entry(key(example)).or_insert(&example.id);
    }
    exam.iter()
        .filter_map(|item| {
            let training = seen.get(&key(item))?;
            Some(Overlap { exam: item.id.clone(), training: training.to_string() })
        })
        .collect()
}
