//! The pure core of the read path, for the fuzz targets, the benchmarks, and the test that counts allocations; and the
//! reading without storing that a benchmark measures. Behind the feature `__internals`, and not for people: it changes
//! without notice.

use bytes::Bytes;
use chrono::DateTime;

use crate::pgoutput::{self, Message};
use crate::recorded;
use crate::stitch::{ColumnPattern, Rules, Stitcher};
use crate::value::{self, ColumnType};
use crate::{Change, Error, Lsn};

pub use crate::pgoutput::wire::{
    Cell, begin, commit, delete, insert, message, relation, t, truncate, update,
};

/// Each major version of PostgreSQL with the messages that were recorded from it.
#[must_use]
pub fn recordings() -> Vec<(u32, Vec<(Lsn, Bytes)>)> {
    let recordings = recorded::RECORDINGS.into_iter();
    recordings
        .map(|(major, recording)| (major, recorded::frames(recording).collect()))
        .collect()
}

/// Whether `frame` is a message of the protocol.
#[must_use]
pub fn is_message(frame: Bytes) -> bool {
    pgoutput::decode(frame).is_ok()
}

/// Decoder and stitcher, one behind the other.
#[derive(Debug)]
pub struct Stream(Stitcher);

/// The stream makes no sense any more.
#[derive(Debug)]
pub struct Broken;

impl Stream {
    /// The stream of a new connection, which leaves out updates of only the columns `ignore`.
    #[must_use]
    pub fn new(ignore: &[&str]) -> Self {
        let ignore = ignore.iter().filter_map(|name| ColumnPattern::new(name));
        let rules = Rules {
            ignore: ignore.collect(),
            ..Rules::default()
        };
        Self(Stitcher::new(42, "shop".into(), rules))
    }

    /// Takes the next message; that of a commit gives the transaction's changes. Tables are described as
    /// those of the recordings.
    ///
    /// # Errors
    ///
    /// When it is no message, or one that cannot come here.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "nobody has a use for it afterwards"
    )]
    pub fn push(&mut self, frame: Bytes, position: Lsn) -> Result<Option<Vec<Change>>, Broken> {
        let message = match pgoutput::decode(frame.clone()).map_err(|_| Broken)? {
            Message::Relation(relation) => {
                let description = recorded::describe(&relation);
                self.0.describe(relation, Some(&frame), description);
                return Ok(None);
            }
            message => message,
        };
        let pushed = self.0.push(message, position, DateTime::UNIX_EPOCH);
        let transaction = pushed.map_err(|_| Broken)?;
        Ok(transaction.map(|transaction| transaction.changes))
    }
}

/// Reads through the slot up to `end` and stores nothing; how many changes there are.
///
/// # Errors
///
/// When the server cannot be reached, or sends what makes no sense.
pub async fn receive(url: &str, slot: &str, publication: &str, end: Lsn) -> Result<u64, Error> {
    crate::replication::receive(url, slot, publication, end).await
}

/// How a column's text becomes JSON.
#[derive(Clone, Debug)]
pub struct Type(ColumnType);

impl Type {
    /// The built-in type with the object identifier `oid`, of anything else a text.
    #[must_use]
    pub fn builtin(oid: u32) -> Self {
        Self(value::builtin(oid).unwrap_or_else(ColumnType::text))
    }

    /// Arrays of `element`.
    #[must_use]
    pub fn array(element: Self, delimiter: char) -> Self {
        Self(ColumnType::array(element.0, delimiter))
    }

    /// Composites of `fields`.
    #[must_use]
    pub fn composite(fields: Vec<(String, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, ty)| (name, ty.0));
        Self(ColumnType::composite(fields.collect()))
    }

    /// Appends the JSON of the value whose text form is `text`.
    pub fn write_json(&self, out: &mut String, text: &str) {
        value::write_json(out, &self.0, text);
    }
}

/// Valid JSON as a destination holds it that has no characters but those of ASCII.
#[must_use]
pub fn ascii_json(json: &str) -> String {
    value::encodable_json(json, |_| true).into_owned()
}
