//! Conversations: whose they are, what they are called, which branch is shown.

use super::{MAX_TEXT, Result, Store, delete_conversations, missing, new_id, now, short_enough};
use rusqlite::{OptionalExtension as _, Row, params};

/// Longest title in bytes.
const TITLE: usize = 1024;
/// Largest settings in bytes.
const SETTINGS: usize = 64 << 10;

/// A conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// its id
    pub id: String,
    /// what it is called
    pub title: String,
    /// the model that is asked
    pub model: String,
    /// system text
    pub system: String,
    /// the page's own settings, a JSON object
    pub settings: String,
    /// last message of the branch that is shown
    pub leaf: Option<i64>,
    /// when it began
    pub created: i64,
    /// when it last changed
    pub updated: i64,
}

/// What a new conversation begins with.
#[derive(Clone, Debug, Default)]
pub struct NewConversation {
    /// what it is called
    pub title: String,
    /// the model that is asked
    pub model: String,
    /// system text
    pub system: String,
    /// the page's own settings, a JSON object; empty is `{}`
    pub settings: String,
}

/// What changes of a conversation; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// what it is called
    pub title: Option<String>,
    /// the model that is asked
    pub model: Option<String>,
    /// system text
    pub system: Option<String>,
    /// the page's own settings
    pub settings: Option<String>,
    /// last message of the branch that is shown; it must belong to the conversation
    pub leaf: Option<i64>,
}

const COLUMNS: &str = "id, title, model, system, settings, leaf, created, updated";

fn conversation(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    Ok(Conversation {
        id: row.get(0)?,
        title: row.get(1)?,
        model: row.get(2)?,
        system: row.get(3)?,
        settings: row.get(4)?,
        leaf: row.get(5)?,
        created: row.get(6)?,
        updated: row.get(7)?,
    })
}

/// `%` and `_` stand for themselves.
fn like(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

impl Store {
    /// Begins a conversation.
    ///
    /// # Errors
    /// Texts that are too large; as all calls.
    pub fn new_conversation(&self, owner: &str, new: &NewConversation) -> Result<Conversation> {
        let NewConversation { title, model, system, settings } = new.clone();
        let settings = if settings.is_empty() { "{}".to_string() } else { settings };
        bounds(Some(&title), Some(&system), Some(&settings))?;
        self.make_room("")?;
        let (id, time) = (new_id("c-")?, now());
        let made =
            Conversation { id, title, model, system, settings, leaf: None, created: time, updated: time };
        self.lock().execute(
            "INSERT INTO conversation (id, owner, title, model, system, settings, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            params![made.id, owner, made.title, made.model, made.system, made.settings, time],
        )?;
        Ok(made)
    }

    /// One of the owner's conversations.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn conversation(&self, owner: &str, id: &str) -> Result<Conversation> {
        let sql = format!("SELECT {COLUMNS} FROM conversation WHERE id = ?1 AND owner = ?2");
        let found = self.lock().query_row(&sql, [id, owner], conversation).optional()?;
        found.ok_or_else(|| missing("conversation", id))
    }

    /// The owner's conversations, the one that changed last first; with `search` those whose title or messages hold that text
    /// (the case of Latin letters does not count). `after`: `updated` and `id` of the last one that is known already.
    ///
    /// # Errors
    /// As all calls.
    pub fn conversations(
        &self,
        owner: &str,
        search: Option<&str>,
        after: Option<(i64, &str)>,
        most: usize,
    ) -> Result<Vec<Conversation>> {
        let (updated, id) = after.unwrap_or((i64::MAX, ""));
        let sql = format!(
            "SELECT {COLUMNS} FROM conversation c WHERE owner = ?1 AND (updated, id) < (?2, ?3)
             AND (?4 IS NULL OR title LIKE ?4 ESCAPE '\\'
                  OR EXISTS (SELECT 1 FROM message m WHERE m.conversation = c.id AND m.content LIKE ?4 ESCAPE '\\'))
             ORDER BY updated DESC, id DESC LIMIT ?5"
        );
        let search = search.filter(|s| !s.is_empty()).map(like);
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![owner, updated, id, search, most as i64], conversation)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Changes one of the owner's conversations.
    ///
    /// # Errors
    /// There is none of that id; the leaf is not one of its messages; texts that are too large.
    pub fn change_conversation(&self, owner: &str, id: &str, change: &Change) -> Result<()> {
        bounds(change.title.as_deref(), change.system.as_deref(), change.settings.as_deref())?;
        self.change(|t| {
            if let Some(leaf) = change.leaf {
                let sql = "SELECT 1 FROM message WHERE id = ?1 AND conversation = ?2";
                let own = t.query_row(sql, params![leaf, id], |_| Ok(())).optional()?;
                own.ok_or_else(|| missing("message", leaf))?;
            }
            let done = t.execute(
                "UPDATE conversation SET title = coalesce(?3, title), model = coalesce(?4, model),
                 system = coalesce(?5, system), settings = coalesce(?6, settings), leaf = coalesce(?7, leaf), updated = ?8
                 WHERE id = ?1 AND owner = ?2",
                params![
                    id,
                    owner,
                    change.title,
                    change.model,
                    change.system,
                    change.settings,
                    change.leaf,
                    now()
                ],
            )?;
            if done == 0 { Err(missing("conversation", id)) } else { Ok(()) }
        })
    }

    /// Deletes one of the owner's conversations with its messages. Feedback that was given stays: it is a lesson; `erase` takes it.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn delete_conversation(&self, owner: &str, id: &str) -> Result<()> {
        self.change(|t| match delete_conversations(t, "id = ?1 AND owner = ?2", [id, owner])? {
            0 => Err(missing("conversation", id)),
            _ => Ok(()),
        })
    }
}

fn bounds(title: Option<&str>, system: Option<&str>, settings: Option<&str>) -> Result<()> {
    short_enough("title", title.unwrap_or_default(), TITLE)?;
    short_enough("system", system.unwrap_or_default(), MAX_TEXT)?;
    short_enough("settings", settings.unwrap_or_default(), SETTINGS)
}

#[cfg(test)]
mod tests {
    use super::super::NewMessage;
    use super::*;

    #[test]
    fn each_sees_only_their_own() {
        let store = Store::in_memory().unwrap();
        let new = NewConversation { title: "Lamp 灯".into(), ..NewConversation::default() };
        let mine = store.new_conversation("me", &new).unwrap();
        assert_eq!(store.conversation("me", &mine.id).unwrap(), mine);
        assert!(store.conversation("you", &mine.id).is_err());
        let change = Change { title: Some("stolen".into()), ..Change::default() };
        assert!(store.change_conversation("you", &mine.id, &change).is_err());
        assert!(store.delete_conversation("you", &mine.id).is_err());
        assert!(store.add_message("you", &mine.id, &NewMessage::of("user", "hi")).is_err());
        assert!(store.conversations("you", None, None, 10).unwrap().is_empty());
        let other = store.new_conversation("you", &new).unwrap();
        let message = store.add_message("you", &other.id, &NewMessage::of("user", "hi")).unwrap();
        let change = Change { leaf: Some(message.id), ..Change::default() };
        assert!(
            store.change_conversation("me", &mine.id, &change).is_err(),
            "a leaf of another conversation"
        );
        store.delete_conversation("me", &mine.id).unwrap();
        assert!(store.conversation("me", &mine.id).is_err());
    }

    #[test]
    fn found_by_title_or_words_page_by_page() {
        let store = Store::in_memory().unwrap();
        for i in 0..25 {
            let new = NewConversation { title: format!("chat {i}"), ..NewConversation::default() };
            let c = store.new_conversation("me", &new).unwrap();
            let text = if i == 7 { "a 100% Red_Lamp and 红灯" } else { "nothing" };
            store.add_message("me", &c.id, &NewMessage::of("user", text)).unwrap();
        }
        let count = |s: &str| store.conversations("me", Some(s), None, 99).unwrap().len();
        assert_eq!(
            [count("red_lamp"), count("红灯"), count("100%"), count("%"), count("chat 1")],
            [1, 1, 1, 1, 11]
        );
        assert_eq!([count("'; DROP TABLE message; --"), count("RedXLamp")], [0, 0]);
        let (mut seen, mut after) = (std::collections::BTreeSet::new(), None::<(i64, String)>);
        loop {
            let page =
                store.conversations("me", None, after.as_ref().map(|(u, i)| (*u, i.as_str())), 4).unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.updated, last.id.clone()));
            seen.extend(page.into_iter().map(|c| c.id));
        }
        assert_eq!(seen.len(), 25);
    }
}
