//! The application's context and the form in which it travels through the write-ahead log.
//!
//! A context is a JSON object. The wrapped connection writes it into the log as a **transactional
//! logical message** with the prefix [`PREFIX`], so it commits and rolls back with the rows it
//! explains. Any other program can do the same by hand:
//!
//! ```sql
//! SELECT pg_logical_emit_message(true, '_bemi', '{"user_id": 7}');
//! ```
//!
//! One member is reserved: `"_bemi"`, an object of protocol hints, is never part of the context.

mod redaction;
mod wire;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use redaction::{REDACTED, Redaction};
#[cfg(any(feature = "sync", feature = "async", feature = "capture", test))]
pub(crate) use wire::Lead;
pub(crate) use wire::MembersJson;
#[cfg(any(feature = "sync", feature = "async", test))]
pub(crate) use wire::{message, sql_member};

/// The prefix of the logical messages that carry a context.
pub const PREFIX: &str = "_bemi";

/// The member of the message that carries protocol hints; it is stripped before a context is stored.
pub const RESERVED_MEMBER: &str = "_bemi";

/// The member under which the statement's text is stored.
pub const SQL_MEMBER: &str = "SQL";

/// A message longer than this many bytes (1 MiB) is reported and never attached to a change.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// What the members of a context may take of a message, in bytes: the rest (8 KiB) is left to the
/// statement's text and the protocol.
///
/// A context that is longer is cut when it is sent, the largest members first: the value of such a
/// member becomes the text `oversized: 1048577 bytes`, which is what then stands in `changes`, a
/// warning is logged, and the write is counted. (`RefusedContext::Error` makes it an error instead.) Everything else
/// in the context arrives. A member whose key alone is longer than
/// 128 bytes is left out instead, as are the largest of thousands of small ones.
///
/// The length is that of the JSON in ASCII, in which `é` takes six bytes and a character beyond the
/// [Basic Multilingual Plane](https://www.unicode.org/glossary/#basic_multilingual_plane) twelve.
pub const MAX_CONTEXT_BYTES: usize = MAX_MESSAGE_BYTES - (8 << 10);

/// Who, where and why: the JSON object stored beside every change that the application makes.
///
/// ```
/// use bemi_diesel::Context;
///
/// let context = Context::new().with("user_id", 7).with("endpoint", "/todos");
/// assert_eq!(context.get("user_id"), Some(&7.into()));
/// ```
///
/// `Debug` shows the keys and hides the values, as contexts hold personal data. The key `_bemi` is
/// reserved for the protocol: a value set under it is not sent. The key `SQL` holds the text of the
/// statement, unless the application sets it itself.
///
/// A context serialises as the object that it is, so it can travel in a queue or a file (see
/// [`Job`](crate::Job)). It arrives in the log whatever its values hold: quotes, comments and control
/// characters stay inside their string, and every character beyond ASCII travels as a JSON escape, so
/// the encoding of the database does not matter. (That of the destination does: `jsonb` holds only
/// characters that it has, so the destination should be in UTF-8.) Two things are different at the far
/// end: a character NUL, which `jsonb` cannot hold, is stored as the six characters `\u0000`, and a context
/// beyond [`MAX_CONTEXT_BYTES`] is cut.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context {
    members: Map<String, Value>,
}

impl Context {
    /// A context without members, stored as `{}`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` and returns the context, for building one in an expression. See [`Context::set`].
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.set(key, value);
        self
    }

    /// Sets `key` to the JSON form of `value`, replacing what was there.
    ///
    /// A value that has no JSON form (a map whose keys are not strings, a `Serialize` that fails) is
    /// stored as the text `unserializable: …` with the reason, so that the mistake shows up in
    /// `changes` and costs the request nothing.
    pub fn set(&mut self, key: impl Into<String>, value: impl Serialize) {
        self.members.insert(key.into(), to_value(value));
    }

    /// Sets the member at the end of `path` and returns the context. See [`Context::set_in`].
    #[must_use]
    pub fn with_in(mut self, path: &[&str], value: impl Serialize) -> Self {
        self.set_in(path, value);
        self
    }

    /// Sets a member of an object inside the context; its other members stay.
    ///
    /// What is missing on the way is made, and what is there but is no object is replaced by one. An
    /// empty path sets nothing.
    ///
    /// ```
    /// use bemi_diesel::Context;
    ///
    /// let mut context = Context::new().with_in(&["user", "id"], 7);
    /// context.set_in(&["user", "role"], "admin");
    /// assert_eq!(context.get_in(&["user", "id"]), Some(&7.into()));
    /// assert_eq!(context.get_in(&["user", "role"]), Some(&"admin".into()));
    /// ```
    pub fn set_in(&mut self, path: &[&str], value: impl Serialize) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut members = &mut self.members;
        for key in parents {
            let inner = members.entry(*key).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(object) = inner else {
                return;
            };
            members = object;
        }
        members.insert((*last).to_owned(), to_value(value));
    }

    /// Takes over every member of `other`; where both have a key, `other` wins, and a value that is an
    /// object is replaced as a whole.
    pub fn merge(&mut self, other: Context) {
        self.members.extend(other.members);
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key)
    }

    /// The value at the end of `path`, through objects.
    #[must_use]
    pub fn get_in(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.members.get(*first)?, |value, key| value.get(*key))
    }

    /// Removes the member at the end of `path` and returns its value. The objects around it stay.
    pub fn remove_in(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut members = &mut self.members;
        for key in parents {
            members = members.get_mut(*key)?.as_object_mut()?;
        }
        members.remove(*last)
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key)
    }

    /// Whether the context has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")?;
        f.debug_set().entries(self.members.keys()).finish()
    }
}

impl From<Map<String, Value>> for Context {
    fn from(members: Map<String, Value>) -> Self {
        Self { members }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Self {
            members: members
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }
}

impl From<Context> for Map<String, Value> {
    fn from(context: Context) -> Self {
        context.members
    }
}

fn to_value(value: impl Serialize) -> Value {
    serde_json::to_value(value)
        .unwrap_or_else(|error| Value::String(format!("unserializable: {error}")))
}

#[cfg(test)]
mod tests;
