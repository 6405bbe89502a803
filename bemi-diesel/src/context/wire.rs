//! The form in which a context travels.
//!
//! It is ASCII throughout: a message has the [encoding of its database], and the text of a parameter is
//! converted to that on the way in. A character that the encoding lacks would make the application's own
//! statement fail, and one that it has would arrive in bytes that are no UTF-8.
//!
//! [encoding of its database]: https://www.postgresql.org/docs/current/multibyte.html

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use super::{Context, MAX_CONTEXT_BYTES, RESERVED_MEMBER};

/// A member with a longer key is left out, rather than kept with a note, when the context is too long.
const MAX_NOTED_KEY_BYTES: usize = 128;

/// The members of a context on the wire, as they stand between the braces of the message: `"a":1,"b":2`, without
/// the reserved one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MembersJson {
    json: Arc<str>,
    /// How many of them are not what was set, because all together they were too long.
    pub(crate) cut: usize,
}

impl MembersJson {
    pub(crate) fn new(json: impl Into<Arc<str>>, cut: usize) -> Self {
        let json = json.into();
        Self { json, cut }
    }
}

impl Deref for MembersJson {
    type Target = str;

    fn deref(&self) -> &str {
        &self.json
    }
}

impl Context {
    pub(crate) fn members_json(&self) -> MembersJson {
        let mut json = Vec::with_capacity(128);
        for (key, value) in self.members() {
            if !json.is_empty() {
                json.push(b',');
            }
            write_member(&mut json, key, value);
        }
        if json.len() < MAX_CONTEXT_BYTES {
            return MembersJson::new(into_string(json), 0);
        }
        self.cut_members_json()
    }

    fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.iter().filter(|(key, _)| *key != RESERVED_MEMBER)
    }

    /// The same for one that is too long: the largest members give way to a note.
    fn cut_members_json(&self) -> MembersJson {
        let mut members: Vec<String> = self
            .members()
            .map(|(key, value)| member(key, value))
            .collect();
        let mut length: usize = members.iter().map(|member| member.len() + 1).sum();
        let mut cut = 0;
        let mut largest_first: Vec<(usize, &str)> =
            self.members().map(|(key, _)| key).enumerate().collect();
        largest_first.sort_by_key(|(at, _)| std::cmp::Reverse(members[*at].len()));
        for (at, key) in largest_first {
            if length <= MAX_CONTEXT_BYTES {
                break;
            }
            let bytes = members[at].len();
            let note = member(key, &Value::String(format!("oversized: {bytes} bytes")));
            length -= bytes;
            cut += 1;
            if key.len() <= MAX_NOTED_KEY_BYTES && note.len() < bytes {
                length += note.len();
                members[at] = note;
            } else {
                length -= 1;
                members[at].clear();
            }
        }
        members.retain(|member| !member.is_empty());
        MembersJson::new(members.join(","), cut)
    }
}

fn member(key: &str, value: &Value) -> String {
    let mut json = Vec::new();
    write_member(&mut json, key, value);
    into_string(json)
}

fn write_member(json: &mut Vec<u8>, key: &str, value: impl Serialize) {
    write(json, key);
    json.push(b':');
    write(json, value);
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

/// The text of a statement as a member of a message.
#[cfg(any(feature = "sync", feature = "async", test))]
pub(crate) fn sql_member(text: &str) -> String {
    let mut json = Vec::with_capacity(text.len() + text.len() / 8 + 16);
    write_member(&mut json, super::SQL_MEMBER, text);
    into_string(json)
}

/// The content of a message: the context's members (see [`Context::members_json`]), the statement (see
/// [`sql_member`]) and the hint.
///
/// The statement comes first, so that a member `SQL` of the application's own wins (of two equal keys
/// jsonb keeps the last). Where there is no room for it, it gives way to the context.
#[cfg(any(feature = "sync", feature = "async", test))]
pub(crate) fn message(members_json: &str, sql_member: Option<&str>, lead: Lead) -> String {
    let hint = match lead {
        Lead::None => "",
        Lead::Row => "\"_bemi\":{\"lead\":true}",
    };
    let others = members_json.len() + hint.len() + "{,,}".len();
    let room = super::MAX_MESSAGE_BYTES.saturating_sub(others);
    let sql_member = sql_member.filter(|text| text.len() <= room);
    let sql_member = sql_member.unwrap_or_default();
    let mut json = String::with_capacity(sql_member.len() + members_json.len() + hint.len() + 4);
    json.push('{');
    for part in [sql_member, members_json, hint] {
        if json.len() > 1 && !part.is_empty() {
            json.push(',');
        }
        json.push_str(part);
    }
    json.push('}');
    json
}

/// Strings and numbers of a context have no way to fail.
fn write(json: &mut Vec<u8>, value: impl Serialize) {
    let written = value.serialize(&mut Serializer::with_formatter(json, Ascii));
    debug_assert!(written.is_ok(), "a JSON value has a JSON form");
}

fn into_string(ascii: Vec<u8>) -> String {
    String::from_utf8(ascii).unwrap_or_default()
}

/// Compact JSON whose strings hold ASCII alone.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character: char| !character.is_ascii()) {
            let (ascii, from) = rest.split_at(at);
            writer.write_all(ascii.as_bytes())?;
            let beyond = from.find(|character: char| character.is_ascii());
            let (escaped, after) = from.split_at(beyond.unwrap_or(from.len()));
            for unit in escaped.encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }
}
