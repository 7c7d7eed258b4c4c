//! Feedback on answers: the next lesson. It carries the prompt, the answer and who gave it, so it needs nothing else.

use super::{MAX_TEXT, Result, Store, StoreError, missing, now, short_enough};
use rusqlite::{OptionalExtension as _, Row, params};

/// What somebody thinks of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// good
    Up,
    /// bad
    Down,
    /// it should have been so: `correction` has the better answer
    Edited,
    /// this is the right answer
    Right,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 4] = [Verdict::Up, Verdict::Down, Verdict::Edited, Verdict::Right];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
            Verdict::Edited => "edited",
            Verdict::Right => "right",
        }
    }

    /// By its word.
    pub fn of(word: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|v| v.word() == word)
    }
}

/// Feedback to be kept.
#[derive(Clone, Debug)]
pub struct NewFeedback {
    /// the message of a conversation that it is about, if it is one; a later verdict on it replaces an earlier one
    pub message: Option<i64>,
    /// what is thought of it
    pub verdict: Verdict,
    /// who gave the answer
    pub model: String,
    /// generation of the adapter; 0 is the base
    pub generation: i64,
    /// the conversation before the answer: a JSON list of `{role, content}`
    pub prompt: String,
    /// the answer
    pub answer: String,
    /// what it should have been
    pub correction: Option<String>,
    /// why
    pub comment: String,
}

/// Feedback.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// its number
    pub id: i64,
    /// who gave it
    pub owner: String,
    /// the message that it is about
    pub message: Option<i64>,
    /// what is thought of it
    pub verdict: Verdict,
    /// who gave the answer
    pub model: String,
    /// generation of the adapter
    pub generation: i64,
    /// the conversation before the answer, as JSON
    pub prompt: String,
    /// the answer
    pub answer: String,
    /// what it should have been
    pub correction: Option<String>,
    /// why
    pub comment: String,
    /// when it was given
    pub created: i64,
}

const COLUMNS: &str =
    "id, owner, message, verdict, model, generation, prompt, answer, correction, comment, created";

fn feedback(row: &Row<'_>) -> rusqlite::Result<Feedback> {
    let word: String = row.get(3)?;
    let unknown = || rusqlite::Error::InvalidColumnType(3, "verdict".into(), rusqlite::types::Type::Text);
    Ok(Feedback {
        id: row.get(0)?,
        owner: row.get(1)?,
        message: row.get(2)?,
        verdict: Verdict::of(&word).ok_or_else(unknown)?,
        model: row.get(4)?,
        generation: row.get(5)?,
        prompt: row.get(6)?,
        answer: row.get(7)?,
        correction: row.get(8)?,
        comment: row.get(9)?,
        created: row.get(10)?,
    })
}

impl Store {
    /// Keeps feedback. What was said before about the same message by the same owner gives way.
    ///
    /// # Errors
    /// A message that is not the owner's; `Edited` without a correction; texts that are too large.
    pub fn give_feedback(&self, owner: &str, new: &NewFeedback) -> Result<i64> {
        for (what, text) in [
            ("prompt", Some(&new.prompt)),
            ("answer", Some(&new.answer)),
            ("correction", new.correction.as_ref()),
            ("comment", Some(&new.comment)),
        ] {
            short_enough(what, text.map_or("", String::as_str), MAX_TEXT)?;
        }
        if new.verdict == Verdict::Edited && new.correction.as_ref().is_none_or(|c| c.trim().is_empty()) {
            let why = "the verdict `edited` needs the better answer".to_string();
            return Err(StoreError::Invalid { what: "correction", why });
        }
        self.change(|t| {
            if let Some(message) = new.message {
                let sql = "SELECT 1 FROM message m JOIN conversation c ON c.id = m.conversation WHERE m.id = ?1 AND owner = ?2";
                let own = t.query_row(sql, params![message, owner], |_| Ok(())).optional()?;
                own.ok_or_else(|| missing("message", message))?;
                t.execute("DELETE FROM feedback WHERE message = ?1 AND owner = ?2", params![message, owner])?;
            }
            t.execute(
                "INSERT INTO feedback (owner, message, verdict, model, generation, prompt, answer, correction, comment, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    owner,
                    new.message,
                    new.verdict.word(),
                    new.model,
                    new.generation,
                    new.prompt,
                    new.answer,
                    new.correction,
                    new.comment,
                    now()
                ],
            )?;
            Ok(t.last_insert_rowid())
        })
    }

    /// What the owner said about a message.
    ///
    /// # Errors
    /// As all calls.
    pub fn feedback_on(&self, owner: &str, message: i64) -> Result<Option<Feedback>> {
        let sql = format!("SELECT {COLUMNS} FROM feedback WHERE message = ?1 AND owner = ?2");
        Ok(self.lock().query_row(&sql, params![message, owner], feedback).optional()?)
    }

    /// Takes back what the owner said about a message. Whether there was something.
    ///
    /// # Errors
    /// As all calls.
    pub fn withdraw_feedback(&self, owner: &str, message: i64) -> Result<bool> {
        let sql = "DELETE FROM feedback WHERE message = ?1 AND owner = ?2";
        Ok(self.lock().execute(sql, params![message, owner])? > 0)
    }

    /// The feedback of everybody behind number `after`, the oldest first, at most `most`.
    ///
    /// # Errors
    /// As all calls.
    pub fn feedback_after(&self, after: i64, most: usize) -> Result<Vec<Feedback>> {
        let sql = format!("SELECT {COLUMNS} FROM feedback WHERE id > ?1 ORDER BY id LIMIT ?2");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, most as i64], feedback)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewConversation, NewMessage};
    use super::*;

    #[test]
    fn feedback_outlives_its_conversation() {
        let store = Store::in_memory().unwrap();
        let c = store.new_conversation("me", &NewConversation::default()).unwrap();
        let m = store.add_message("me", &c.id, &NewMessage::of("assistant", "a")).unwrap().id;
        let new = |verdict, correction: Option<&str>| NewFeedback {
            message: Some(m),
            verdict,
            model: "base".into(),
            generation: 0,
            prompt: "[]".into(),
            answer: "a".into(),
            correction: correction.map(String::from),
            comment: String::new(),
        };
        assert!(store.give_feedback("you", &new(Verdict::Up, None)).is_err(), "not their message");
        assert!(store.give_feedback("me", &new(Verdict::Edited, Some(" "))).is_err());
        store.give_feedback("me", &new(Verdict::Down, None)).unwrap();
        store.give_feedback("me", &new(Verdict::Edited, Some("better"))).unwrap();
        assert_eq!(store.feedback_on("me", m).unwrap().unwrap().correction.as_deref(), Some("better"));
        assert_eq!(store.feedback_after(0, 9).unwrap().len(), 1, "the later verdict counts");
        store.delete_conversation("me", &c.id).unwrap();
        let left = store.feedback_after(0, 9).unwrap();
        assert_eq!((left.len(), left[0].message), (1, None));
    }
}
