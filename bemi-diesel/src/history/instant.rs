//! Instants in the past.

use chrono::{DateTime, Utc};

use crate::{Change, Lsn, Xid};

/// A moment to look back at. It is the state between two commits, the same for every table.
///
/// A time is the state after the last commit at or before it. An [`Lsn`] is the state made by everything
/// that was committed before it; [`pg_current_wal_insert_lsn()`] tells the present one.
///
/// [`pg_current_wal_insert_lsn()`]: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-BACKUP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instant {
    /// As of this time.
    Time(DateTime<Utc>),
    /// As of this place in the log.
    Lsn(Lsn),
    /// Just before the transaction committed.
    Before(Xid),
    /// Just after the transaction committed.
    After(Xid),
}

impl Instant {
    /// Just before the transaction of `change` committed.
    #[must_use]
    pub fn before(change: &Change) -> Self {
        Self::Lsn(change.commit_lsn)
    }

    /// Just after the transaction of `change` committed.
    #[must_use]
    pub fn after(change: &Change) -> Self {
        Self::Lsn(Lsn::new(change.commit_lsn.as_u64() + 1))
    }
}

impl From<DateTime<Utc>> for Instant {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Time(time)
    }
}

impl From<Lsn> for Instant {
    fn from(lsn: Lsn) -> Self {
        Self::Lsn(lsn)
    }
}
