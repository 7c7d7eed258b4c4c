//! What is marked, and the marks.

use serde::{Deserialize, Serialize};

/// An answer to be marked.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The question, as the user put it.
    pub question: &'a str,
    /// What the model wrote.
    pub text: &'a str,
    /// What is right: any of these. For [`crate::Code`] the tests, for a schema that comes with each row the schema.
    pub reference: &'a [String],
    /// What reward models found it worth, any numbers, in the order in which [`crate::Check::Model`] counts them.
    pub worth: &'a [f64],
}

/// Two looks at one answer, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Right, and in the form that was asked for.
    pub strict: f64,
    /// Right somewhere, whatever the form.
    pub lenient: f64,
}

impl Score {
    /// Both from yes or no. What is strictly right is leniently right too.
    pub fn of(strict: bool, lenient: bool) -> Score {
        Score { strict: f64::from(u8::from(strict)), lenient: f64::from(u8::from(strict || lenient)) }
    }

    /// The same for both.
    pub fn both(value: f64) -> Score {
        Score { strict: value, lenient: value }
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The reward, from 0 to 1: what the policy is trained on.
    pub reward: f64,
    /// The weighted strict scores, guards applied.
    pub strict: f64,
    /// The weighted lenient scores, guards left out: the task alone.
    pub lenient: f64,
    /// The scores of each rule, in their order.
    pub scores: Vec<Score>,
}
