//! One row of the audit trail.

mod diff;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::diff::Difference;
use crate::{JsonObject, Lsn, Xid};

/// One change of one row, as the table `changes` holds it.
///
/// `(source, commit_lsn, ordinal)` identifies it: several rows written by one `COPY` share a
/// [`position`](Change::position), and transaction identifiers wrap around.
///
/// With diesel it is [`Queryable`](https://docs.rs/diesel/2/diesel/deserialize/trait.Queryable.html) and
/// `Selectable` from `schema::changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    any(feature = "sync", feature = "async"),
    derive(diesel::Queryable, diesel::Selectable),
    diesel(table_name = crate::schema::changes, check_for_backend(diesel::pg::Pg))
)]
pub struct Change {
    /// Identifier of the change: a UUIDv7 of its commit time, the same each time the change is read
    /// from the log.
    pub id: Uuid,
    /// The system identifier of the cluster the change was read from.
    pub source: i64,
    /// The database the row lives in.
    #[cfg_attr(any(feature = "sync", feature = "async"), diesel(deserialize_as = String))]
    pub database: Arc<str>,
    /// The schema the row lives in.
    #[cfg_attr(any(feature = "sync", feature = "async"), diesel(deserialize_as = String))]
    pub schema: Arc<str>,
    /// The table the row lives in; for a row of a partition, the partition.
    #[cfg_attr(any(feature = "sync", feature = "async"), diesel(deserialize_as = String, column_name = table_name))]
    pub table: Arc<str>,
    /// The row's primary key as text: one column gives its text, several give a JSON array of texts
    /// in the key's order, and a table without primary key gives `None`.
    pub primary_key: Option<String>,
    /// The key that the row had before, in the same form, where an `UPDATE` changed it.
    pub previous_key: Option<String>,
    /// What happened to the row.
    pub operation: Operation,
    /// The whole row before the change; `{}` where there was none.
    pub before: JsonObject,
    /// The whole row after the change; `{}` where there is none.
    pub after: JsonObject,
    /// The application's context; `{}` where there is none.
    pub context: JsonObject,
    /// When the transaction was committed, by the source's clock, in microseconds.
    pub committed_at: DateTime<Utc>,
    /// When the change was read from the log, by the capture's clock.
    pub queued_at: DateTime<Utc>,
    /// When the change was stored, by the destination's clock: `None` until it is.
    #[cfg_attr(any(feature = "sync", feature = "async"), diesel(deserialize_as = DateTime<Utc>))]
    pub created_at: Option<DateTime<Utc>>,
    /// The transaction in the source.
    pub transaction_id: Xid,
    /// Where in the log the row's record stands.
    pub position: Lsn,
    /// Where in the log the commit record stands: changes ordered by `(commit_lsn, ordinal)` are in
    /// the order in which they became visible.
    pub commit_lsn: Lsn,
    /// The change's place in its transaction, counted from 0. Updates that were left out, such as those
    /// that changed nothing, are counted and missing.
    #[cfg_attr(any(feature = "sync", feature = "async"), diesel(deserialize_as = crate::schema::Ordinal))]
    pub ordinal: u64,
}

impl Change {
    /// What the rows and the context take in memory, in bytes.
    #[cfg(feature = "capture")]
    pub(crate) fn size(&self) -> usize {
        [&self.before, &self.after, &self.context]
            .into_iter()
            .map(|json| json.as_str().len())
            .sum()
    }

    /// The identifier of the change `(source, commit_lsn, ordinal)`.
    ///
    /// A UUIDv7 ([RFC 9562, section 5.7]): 48 bits of milliseconds, 12 bits of the fraction below
    /// (method 3), then 30 bits of the ordinal, so that a transaction's changes sort as they
    /// happened, and 32 bits of a hash that keeps transactions of one microsecond apart.
    ///
    /// [RFC 9562, section 5.7]: https://www.rfc-editor.org/rfc/rfc9562#section-5.7
    #[must_use]
    pub fn identifier(
        source: i64,
        commit_lsn: Lsn,
        ordinal: u64,
        committed_at: DateTime<Utc>,
    ) -> Uuid {
        let micros = u128::try_from(committed_at.timestamp_micros()).unwrap_or(0);
        let fraction = (micros % 1000) * 4096 / 1000;
        let mut hash = fnv1a(&source.to_be_bytes(), FNV_OFFSET);
        hash = fnv1a(&commit_lsn.as_u64().to_be_bytes(), hash);
        hash = fnv1a(&(ordinal >> 30).to_be_bytes(), hash);
        let bits = (micros / 1000) << 80
            | 0x7 << 76
            | fraction << 64
            | 0b10 << 62
            | u128::from(ordinal & 0x3FFF_FFFF) << 32
            | u128::from((hash >> 32) ^ (hash & 0xFFFF_FFFF));
        Uuid::from_u128(bits)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// The 64-bit FNV-1a hash: fixed for ever, unlike the standard library's hashers.
fn fnv1a(bytes: &[u8], hash: u64) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(
    any(feature = "sync", feature = "async"),
    derive(diesel::deserialize::FromSqlRow)
)]
#[non_exhaustive]
pub enum Operation {
    /// It was inserted.
    Create,
    /// It was updated.
    Update,
    /// It was deleted.
    Delete,
    /// Its whole table was truncated; the change has no row.
    Truncate,
    /// It was there when tracking began.
    Snapshot,
    /// Its table was made, altered or dropped; the change has no row, and `after` holds the `command`, its
    /// `tag` and the `object`.
    Ddl,
    /// Changes are missing: what was committed from [`position`](Change::position) on and before `commit_lsn`
    /// could not be read. The change has no table, and `after` holds `from`, `to`, the `reason`, and
    /// `since`, when the last change before it was committed.
    Gap,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::Snapshot,
        Self::Ddl,
        Self::Gap,
    ];

    /// The text in the column `operation`: `CREATE`, `UPDATE`, `DELETE`, `TRUNCATE`, `SNAPSHOT`,
    /// `DDL` or `GAP`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::Snapshot => "SNAPSHOT",
            Self::Ddl => "DDL",
            Self::Gap => "GAP",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOperationError;

impl fmt::Display for ParseOperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Operation::ALL.map(Operation::as_str);
        write!(f, "not an operation: expected one of {}", all.join(", "))
    }
}

impl std::error::Error for ParseOperationError {}

impl FromStr for Operation {
    type Err = ParseOperationError;

    /// Case does not matter.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str().eq_ignore_ascii_case(s))
            .ok_or(ParseOperationError)
    }
}

#[cfg(test)]
mod tests;
