//! Messages of conversations. Each knows the one before it; an edited question or another answer is a second child of the same
//! parent, so a conversation is a tree and what is shown is the way from a leaf to the root.

use super::{MAX_TEXT, Result, Store, StoreError, missing, now, short_enough};
use rusqlite::{OptionalExtension as _, Row, params};

const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// its number; later ones have larger numbers
    pub id: i64,
    /// the message before it; `None` begins the conversation
    pub parent: Option<i64>,
    /// `system`, `user`, `assistant` or `tool`
    pub role: String,
    /// its text
    pub content: String,
    /// who said it, of an answer
    pub model: String,
    /// generation of the adapter; 0 is the base
    pub generation: i64,
    /// why an answer ended, as in the API
    pub finish: String,
    /// tokens before an answer
    pub prompt_tokens: i64,
    /// tokens of an answer
    pub tokens: i64,
    /// time that an answer took
    pub seconds: f64,
    /// when it was said
    pub created: i64,
    /// all children of its parent, itself among them, the oldest first
    pub siblings: Vec<i64>,
}

/// A message to be added.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// the message before it
    pub parent: Option<i64>,
    /// `system`, `user`, `assistant` or `tool`
    pub role: String,
    /// its text
    pub content: String,
    /// who said it, of an answer
    pub model: String,
    /// generation of the adapter
    pub generation: i64,
    /// why an answer ended
    pub finish: String,
    /// tokens before an answer
    pub prompt_tokens: i64,
    /// tokens of an answer
    pub tokens: i64,
    /// time that an answer took
    pub seconds: f64,
}

impl NewMessage {
    /// Of a role, with a text.
    pub fn of(role: impl Into<String>, content: impl Into<String>) -> NewMessage {
        NewMessage { role: role.into(), content: content.into(), ..NewMessage::default() }
    }
}

/// What an answer became: it went on, or ended.
#[derive(Clone, Debug, Default)]
pub struct Revision {
    /// its whole text
    pub content: String,
    /// why it ended
    pub finish: String,
    /// tokens before it
    pub prompt_tokens: i64,
    /// its tokens
    pub tokens: i64,
    /// time that it took
    pub seconds: f64,
}

const COLUMNS: &str =
    "id, parent, role, content, model, generation, finish, prompt_tokens, tokens, seconds, created";

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(0)?,
        parent: row.get(1)?,
        role: row.get(2)?,
        content: row.get(3)?,
        model: row.get(4)?,
        generation: row.get(5)?,
        finish: row.get(6)?,
        prompt_tokens: row.get(7)?,
        tokens: row.get(8)?,
        seconds: row.get(9)?,
        created: row.get(10)?,
        siblings: Vec::new(),
    })
}

impl Store {
    /// Adds a message to one of the owner's conversations; it becomes the leaf that is shown.
    ///
    /// # Errors
    /// No such conversation; a parent of another one; a role that is not known; a text that is too large.
    pub fn add_message(&self, owner: &str, conversation: &str, new: &NewMessage) -> Result<Message> {
        short_enough("content", &new.content, MAX_TEXT)?;
        if !ROLES.contains(&new.role.as_str()) {
            let why = format!("`{}`; it can be {}", new.role, ROLES.join(", "));
            return Err(StoreError::Invalid { what: "role", why });
        }
        self.make_room(conversation)?;
        let id = self.change(|t| {
            let sql = "UPDATE conversation SET updated = ?3 WHERE id = ?1 AND owner = ?2";
            if t.execute(sql, params![conversation, owner, now()])? == 0 {
                return Err(missing("conversation", conversation));
            }
            if let Some(parent) = new.parent {
                let sql = "SELECT 1 FROM message WHERE id = ?1 AND conversation = ?2";
                let own = t.query_row(sql, params![parent, conversation], |_| Ok(())).optional()?;
                own.ok_or_else(|| missing("message", parent))?;
            }
            t.execute(
                "INSERT INTO message (conversation, parent, role, content, model, generation, finish, prompt_tokens, tokens,
                 seconds, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    conversation,
                    new.parent,
                    new.role,
                    new.content,
                    new.model,
                    new.generation,
                    new.finish,
                    new.prompt_tokens,
                    new.tokens,
                    new.seconds,
                    now()
                ],
            )?;
            let id = t.last_insert_rowid();
            t.execute("UPDATE conversation SET leaf = ?2 WHERE id = ?1", params![conversation, id])?;
            Ok(id)
        })?;
        self.message(owner, id)
    }

    /// One message of one of the owner's conversations.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn message(&self, owner: &str, id: i64) -> Result<Message> {
        let connection = self.lock();
        let sql = format!(
            "SELECT {COLUMNS} FROM message WHERE id = ?1
             AND conversation IN (SELECT id FROM conversation WHERE owner = ?2)"
        );
        let found = connection.query_row(&sql, params![id, owner], message).optional()?;
        let mut found = found.ok_or_else(|| missing("message", id))?;
        siblings(&connection, &mut found)?;
        Ok(found)
    }

    /// Gives an answer of one of the owner's conversations its text and figures: it was begun before, or goes on.
    ///
    /// # Errors
    /// There is none of that number; a text that is too large.
    pub fn revise_message(&self, owner: &str, id: i64, revision: &Revision) -> Result<()> {
        short_enough("content", &revision.content, MAX_TEXT)?;
        let done = self.lock().execute(
            "UPDATE message SET content = ?3, finish = ?4, prompt_tokens = ?5, tokens = ?6, seconds = ?7 WHERE id = ?1
             AND role = 'assistant' AND conversation IN (SELECT id FROM conversation WHERE owner = ?2)",
            params![
                id,
                owner,
                revision.content,
                revision.finish,
                revision.prompt_tokens,
                revision.tokens,
                revision.seconds
            ],
        )?;
        if done == 0 { Err(missing("answer", id)) } else { Ok(()) }
    }

    /// The last `most` messages on the way to `leaf`, the oldest first. The parent of the first one is the leaf of what goes
    /// before: so long histories come page by page.
    ///
    /// # Errors
    /// The leaf is not one of the owner's messages.
    pub fn branch(&self, owner: &str, leaf: i64, most: usize) -> Result<Vec<Message>> {
        self.message(owner, leaf)?;
        let connection = self.lock();
        let sql = format!(
            "WITH RECURSIVE way (at, depth) AS (
                 SELECT ?1, 1 UNION ALL
                 SELECT parent, depth + 1 FROM message JOIN way ON id = at WHERE parent IS NOT NULL AND depth < ?2
             ) SELECT {COLUMNS} FROM message JOIN way ON id = at ORDER BY depth DESC"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![leaf, most as i64], message)?;
        let mut messages: Vec<Message> = rows.collect::<rusqlite::Result<_>>()?;
        for message in &mut messages {
            siblings(&connection, message)?;
        }
        Ok(messages)
    }

    /// The newest leaf below a message: where its branch goes when it is chosen.
    ///
    /// # Errors
    /// It is not one of the owner's messages.
    pub fn newest_leaf(&self, owner: &str, id: i64) -> Result<i64> {
        self.message(owner, id)?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT max(id) FROM message WHERE parent = ?1")?;
        let mut leaf = id;
        // children are younger than parents, so this ends
        while let Some(child) = statement.query_row([leaf], |row| row.get::<_, Option<i64>>(0))? {
            leaf = child;
        }
        Ok(leaf)
    }
}

fn siblings(connection: &rusqlite::Connection, message: &mut Message) -> Result<()> {
    let sql = "SELECT id FROM message WHERE parent IS ?1 AND conversation = (SELECT conversation FROM message WHERE id = ?2)
               ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![message.parent, message.id], |row| row.get(0))?;
    message.siblings = rows.collect::<rusqlite::Result<_>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::NewConversation;
    use super::*;

    fn add(store: &Store, c: &str, parent: Option<i64>, role: &str, text: &str) -> i64 {
        let new = NewMessage { parent, ..NewMessage::of(role, text) };
        store.add_message("me", c, &new).unwrap().id
    }

    #[test]
    fn branches_are_ways_through_a_tree() {
        let store = Store::in_memory().unwrap();
        let c = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let q = add(&store, &c, None, "user", "q");
        let a = add(&store, &c, Some(q), "assistant", "a");
        let b = add(&store, &c, Some(q), "assistant", "b");
        let next = add(&store, &c, Some(a), "user", "next");
        assert_eq!(store.conversation("me", &c).unwrap().leaf, Some(next));
        let said = |leaf: i64| -> Vec<String> {
            store.branch("me", leaf, 99).unwrap().into_iter().map(|m| m.content).collect()
        };
        assert_eq!(
            (said(next), said(b)),
            (vec!["q".into(), "a".into(), "next".into()], vec!["q".into(), "b".into()])
        );
        assert_eq!(store.message("me", a).unwrap().siblings, [a, b]);
        assert_eq!((store.newest_leaf("me", q).unwrap(), store.newest_leaf("me", a).unwrap()), (b, next));
        assert!(store.branch("you", next, 9).is_err() && store.message("you", a).is_err());
        let revision = Revision { content: "a more".into(), ..Revision::default() };
        assert!(store.revise_message("you", a, &revision).is_err());
        assert!(store.revise_message("me", q, &revision).is_err(), "questions are not revised");
        store.revise_message("me", a, &revision).unwrap();
        assert_eq!(said(a), ["q", "a more"]);
        let other = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let wrong = NewMessage { parent: Some(q), ..NewMessage::of("user", "x") };
        assert!(store.add_message("me", &other, &wrong).is_err(), "a parent of another conversation");
        assert!(store.add_message("me", &c, &NewMessage::of("god", "x")).is_err());
    }

    #[test]
    fn long_histories_come_page_by_page() {
        let store = Store::in_memory().unwrap();
        let c = store.new_conversation("me", &NewConversation::default()).unwrap().id;
        let mut leaf = None;
        for i in 0..1000 {
            leaf = Some(add(&store, &c, leaf, "user", &i.to_string()));
        }
        let (mut at, mut seen) = (leaf, Vec::new());
        while let Some(leaf) = at {
            let page = store.branch("me", leaf, 64).unwrap();
            assert!(page.len() <= 64);
            at = page[0].parent;
            seen.splice(0..0, page.into_iter().map(|m| m.content));
        }
        assert_eq!(seen, (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}
