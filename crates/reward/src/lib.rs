//! Rewards by rule: what an answer is worth, checked by a program instead of by people.
//!
//! Each [`Rule`] gives two scores side by side: *strict*, the answer is right and has the form that was asked for, and
//! *lenient*, what is right can be found somewhere in it. A policy that learns to please a rule without doing the task shows
//! in the two growing apart; guards ([`Rule::guard`]) take the whole reward away where length or form run wild.
//!
//! | file | rule |
//! | --- | --- |
//! | `number`, `words`, `pattern` | the right number; the right words, alone or contained; a regular expression |
//! | `schema` | JSON that follows a schema |
//! | `code`, `sandbox` | a program that passes its tests, in a child process with bounds |
//! | `command` | whatever the owner's own program says |
//! | `verse` | Chinese regulated verse: lines, tones, rhyme |
//! | `guard` | length, repetition |
//!
//! Left out on purpose: the network, tokens, training; judges that are models. An answer is a text here.

mod answer;
mod code;
mod command;
mod error;
mod guard;
mod number;
mod pattern;
mod process;
mod rule;
mod sandbox;
mod schema;
mod verse;
mod words;

pub use answer::{Answer, Mark, Score};
pub use code::Code;
pub use command::External;
pub use error::RewardError;
pub use guard::{Length, repetition};
pub use number::{Number, numbers};
pub use pattern::Pattern;
pub use rule::{Check, Rule, mark};
pub use sandbox::{Limits, Outcome, Walls};
pub use schema::{Schema, find_json};
pub use verse::{Form, Tones, Verse};
