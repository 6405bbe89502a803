//! What the destination's encoding can hold, learnt from the destination.
//!
//! A destination in UTF-8 holds everything and is never asked. Another one refuses what has a character
//! that it lacks, and is then asked for each character: the conversions are its own, and may have been
//! altered there.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use tokio_postgres::types::ToSql;

use crate::error::{Error, ErrorKind};
use crate::postgres::{Connection, Endpoint};
use crate::value::{encodable_json, encodable_text};
use crate::{Change, JsonObject};

/// The characters beyond ASCII that the destination was asked for, and whether it lacks them. None, as long
/// as it has refused nothing.
pub(super) struct Encoding {
    destination: Endpoint,
    lacking: HashMap<char, bool>,
}

impl Encoding {
    pub(super) fn new(destination: Endpoint) -> Self {
        Self {
            destination,
            lacking: HashMap::new(),
        }
    }

    /// Asks for what is in `changes` and has not been asked for; whether there was something.
    pub(super) async fn learn(&mut self, changes: &[&Change]) -> Result<bool, Error> {
        let mut found = BTreeSet::new();
        for change in changes {
            for json in [&change.before, &change.after, &change.context] {
                encodable_json(json.as_str(), note(&mut found));
            }
            let key = change.primary_key.as_deref().unwrap_or_default();
            let previous = change.previous_key.as_deref().unwrap_or_default();
            for text in [
                &change.database,
                &change.schema,
                &change.table,
                key,
                previous,
            ] {
                encodable_text(text, note(&mut found));
            }
        }
        self.ask(found).await
    }

    /// As [`learn`](Self::learn), for one context.
    pub(super) async fn learn_context(&mut self, context: &JsonObject) -> Result<bool, Error> {
        let mut found = BTreeSet::new();
        encodable_json(context.as_str(), note(&mut found));
        self.ask(found).await
    }

    /// The refusals would end a transaction, so they get a connection of their own.
    async fn ask(&mut self, mut characters: BTreeSet<char>) -> Result<bool, Error> {
        characters.retain(|character| !self.lacking.contains_key(character));
        if characters.is_empty() {
            return Ok(false);
        }
        let connection = Connection::open(&self.destination).await?;
        for character in characters {
            let lacking = is_lacking(&connection, character).await?;
            self.lacking.insert(character, lacking);
        }
        Ok(true)
    }

    /// The text of `object` in a form that the destination holds, as far as is known.
    pub(super) fn json<'a>(&self, object: &'a JsonObject) -> Cow<'a, str> {
        if self.lacking.is_empty() {
            return Cow::Borrowed(object.as_str());
        }
        encodable_json(object.as_str(), |character| self.lacks(character))
    }

    /// As [`json`](Self::json), for text that is no JSON.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.lacking.is_empty() {
            return Cow::Borrowed(text);
        }
        encodable_text(text, |character| self.lacks(character))
    }

    fn lacks(&self, character: char) -> bool {
        self.lacking.get(&character) == Some(&true)
    }
}

/// Notes each character that it is asked about, and calls none lacking.
fn note(found: &mut BTreeSet<char>) -> impl FnMut(char) -> bool {
    |character| {
        found.insert(character);
        false
    }
}

async fn is_lacking(connection: &Connection, character: char) -> Result<bool, Error> {
    let text = character.to_string();
    let binds: [&(dyn ToSql + Sync); 1] = [&text];
    let reading = connection.client.execute("SELECT $1::text", &binds);
    match connection.answer("storing changes", reading).await {
        Ok(_) => Ok(false),
        Err(error) if is_untranslatable(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// `untranslatable_character`; and `feature_not_supported`, which PostgreSQL 14 says where there is no
/// conversion at all.
pub(super) fn is_untranslatable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server { error, .. }
        if error.sqlstate == "22P05" || error.sqlstate == "0A000")
}
