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

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The prefix of the logical messages that carry a context.
pub const PREFIX: &str = "_bemi";

/// The member of the message that carries protocol hints; it is stripped before a context is stored.
pub const RESERVED_MEMBER: &str = "_bemi";

/// The member under which the statement's text is stored.
pub const SQL_MEMBER: &str = "SQL";

/// A message longer than this many bytes (1 MiB) is reported and never attached to a change.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

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
        let value = serde_json::to_value(value)
            .unwrap_or_else(|error| Value::String(format!("unserializable: {error}")));
        self.members.insert(key.into(), value);
    }

    /// Takes over every member of `other`; where both have a key, `other` wins.
    pub fn merge(&mut self, other: Context) {
        self.members.extend(other.members);
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key)
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

    /// The members as they stand between the braces of the message: `"a":1,"b":2`, without the
    /// reserved one.
    pub(crate) fn members_json(&self) -> String {
        let mut json = String::new();
        for (key, value) in self.iter().filter(|(key, _)| *key != RESERVED_MEMBER) {
            if !json.is_empty() {
                json.push(',');
            }
            json.push_str(&Value::from(key).to_string());
            json.push(':');
            json.push_str(&value.to_string());
        }
        json
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

/// Which rows a message covers, beside those after it.
#[cfg(any(feature = "sync", feature = "async", feature = "capture", test))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// None: the message was written on its own.
    None,
    /// The one row immediately before it: the message was emitted by a statement's own first row.
    Row,
}

/// The content of a message: the context's members (see [`Context::members_json`]), the statement and
/// the hint.
///
/// The statement comes first, so that a member `SQL` of the application's own wins (of two equal keys
/// jsonb keeps the last).
#[cfg(any(feature = "sync", feature = "async", test))]
pub(crate) fn message(members_json: &str, sql: Option<&str>, lead: Lead) -> String {
    let mut json =
        String::with_capacity(members_json.len() + sql.map_or(0, |sql| sql.len() + 16) + 32);
    let mut separator = "{";
    let mut member = |part: std::fmt::Arguments<'_>| {
        json.push_str(separator);
        separator = ",";
        // Writing into a `String` cannot fail.
        let _ = fmt::Write::write_fmt(&mut json, part);
    };
    if let Some(sql) = sql {
        member(format_args!("\"{SQL_MEMBER}\":{}", Value::from(sql)));
    }
    if !members_json.is_empty() {
        member(format_args!("{members_json}"));
    }
    if lead == Lead::Row {
        member(format_args!("\"{RESERVED_MEMBER}\":{{\"lead\":true}}"));
    }
    if json.is_empty() {
        json.push('{');
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests;
