//! Why the past cannot be shown.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{Lsn, Xid};

/// Why the past cannot be shown. In diesel's errors it is the content of
/// `QueryBuilderError`.
///
/// ```
/// # #[cfg(feature = "sync")] {
/// use bemi_diesel::history::TravelError;
/// use diesel::result::Error;
///
/// fn reason(error: &Error) -> Option<&TravelError> {
///     match error {
///         Error::QueryBuilderError(inner) => inner.downcast_ref(),
///         _ => None,
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TravelError {
    /// Nothing captures this database into itself.
    NoTrail,
    /// The changes of several databases are stored here, and none was named.
    Several(Vec<String>),
    /// The instant is later than what is stored.
    TooLate {
        /// Everything that was committed before this is stored.
        covered_lsn: Lsn,
        /// Everything that was committed up to this time is stored, as far as is known.
        covered_at: Option<DateTime<Utc>>,
    },
    /// What was waited for has not been stored in time.
    NotReached {
        /// Everything that was committed before this was to be stored.
        wanted_lsn: Lsn,
        /// How long it was waited.
        waited: Duration,
        /// Everything that was committed before this is stored.
        covered_lsn: Lsn,
        /// Everything that was committed up to this time is stored, as far as is known.
        covered_at: Option<DateTime<Utc>>,
    },
    /// The instant is earlier than the trail of the table.
    TooEarly {
        /// The table, as `schema.table`.
        table: String,
        /// Since when the trail tells all of its rows.
        since: DateTime<Utc>,
    },
    /// The trail does not tell all rows of the table: it had some when it began to be tracked, or only some are.
    Incomplete {
        /// The table, as `schema.table`.
        table: String,
    },
    /// The table is not there any more, dropped or with another name, and has no change from this instant on:
    /// its trail tells its rows up to its last change.
    Gone {
        /// The table, as `schema.table`.
        table: String,
    },
    /// Rows came to the table or went from it with a partition, of which the trail does not tell. From a TRUNCATE on
    /// it covers the table again; not on PostgreSQL 14, which may go on sending the rows under their former name.
    Partitions {
        /// The table, as `schema.table`.
        table: String,
        /// When that was.
        until: DateTime<Utc>,
    },
    /// The partitions of the table are others than the trail knows. It learns of them within seconds while the
    /// capture runs.
    Unsettled {
        /// The table, as `schema.table`.
        table: String,
    },
    /// Changes of the table have no primary key, though it has one now.
    NoKey {
        /// The table, as `schema.table`.
        table: String,
    },
    /// Changes of the table could not be stored, and are put aside.
    PutAside {
        /// The table, as `schema.table`.
        table: String,
    },
    /// No change of this transaction is in the trail.
    UnknownTransaction(Xid),
    /// Nothing can be changed in the past.
    Write,
    /// Part of the statement would show the present.
    Present {
        /// The part.
        name: String,
        /// What it is.
        why: &'static str,
    },
    /// The statement cannot be read.
    Unreadable,
}

impl fmt::Display for TravelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        match self {
            Self::NoTrail => f.write_str(
                "this database holds no trail of its own: capture it into itself, or ask the database that holds its changes",
            ),
            Self::Several(databases) => write!(
                f,
                "the changes of several databases are stored here, so one must be named: {}",
                databases.join(", ")
            ),
            Self::TooLate {
                covered_lsn,
                covered_at: Some(at),
            } => write!(
                f,
                "the trail does not reach this instant yet: it covers {covered_lsn}, {}",
                text(at)
            ),
            Self::TooLate { covered_lsn, .. } => write!(
                f,
                "the trail does not reach this instant yet: it covers {covered_lsn}"
            ),
            Self::NotReached {
                wanted_lsn,
                waited,
                covered_lsn,
                covered_at,
            } => {
                write!(
                    f,
                    "the trail has not reached {wanted_lsn} in {waited:?}: it covers {covered_lsn}"
                )?;
                if let Some(at) = covered_at {
                    write!(f, ", {}", text(at))?;
                }
                f.write_str("; is the capture running? `bemi status` tells")
            }
            Self::TooEarly { table, since } => write!(
                f,
                "the trail of {table} covers no instant before {}",
                text(since)
            ),
            Self::Incomplete { table } => write!(
                f,
                "the trail does not tell all rows of {table}: it is not tracked, or for some rows alone, or had rows when that began and no snapshot of them was taken"
            ),
            Self::Partitions { table, until } => write!(
                f,
                "the trail of {table} covers no instant from {} on: rows came or went with a partition",
                text(until)
            ),
            Self::Unsettled { table } => write!(
                f,
                "the partitions of {table} are others than the trail knows; ask again when the capture has seen them"
            ),
            Self::Gone { table } => write!(
                f,
                "{table} is not there any more, and when that came to be the trail does not tell: it covers the instants up to the table's last change"
            ),
            Self::NoKey { table } => write!(
                f,
                "changes of {table} up to this instant tell no primary key, so its rows cannot be told apart"
            ),
            Self::PutAside { table } => write!(
                f,
                "changes of {table} up to this instant could not be stored and are put aside: \
                 `bemi replay-poison` tells why, and tries them again"
            ),
            Self::UnknownTransaction(xid) => {
                write!(f, "the trail has no change of the transaction {xid}")
            }
            Self::Write => f.write_str("nothing can be changed in the past: it takes queries alone"),
            Self::Present { name, why } => {
                write!(f, "{name} would show the present, not the past: {why}")
            }
            Self::Unreadable => f.write_str(
                "the statement cannot be shown as of the past: its tables cannot be told",
            ),
        }
    }
}

impl std::error::Error for TravelError {}

#[cfg(any(feature = "sync", feature = "async"))]
impl From<TravelError> for diesel::result::Error {
    fn from(error: TravelError) -> Self {
        Self::QueryBuilderError(Box::new(error))
    }
}
