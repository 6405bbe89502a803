//! What the audit trail says.

use bemi_diesel::schema::changes;
use bemi_diesel::{BemiConnection, Change, Lsn};
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::app::Pool;

/// Where the log is now: everything that has been committed lies before it.
pub(crate) fn now(pool: &Pool) -> anyhow::Result<Lsn> {
    let position = diesel::dsl::sql::<BigInt>("(pg_current_wal_insert_lsn() - '0/0')::bigint");
    Ok(diesel::select(position).get_result(&mut pool.get()?)?)
}

/// The changes that were committed after `begin`.
pub(crate) fn since(pool: &Pool, begin: Lsn) -> anyhow::Result<Vec<Change>> {
    Ok(changes::table
        .filter(changes::commit_lsn.ge(begin.as_i64()))
        .order((changes::commit_lsn, changes::ordinal))
        .select(Change::as_select())
        .load(&mut pool.get()?)?)
}

/// The latest changes, the newest first.
pub(crate) fn latest(connection: &mut BemiConnection) -> QueryResult<Vec<Change>> {
    changes::table
        .order((changes::commit_lsn.desc(), changes::ordinal.desc()))
        .limit(20)
        .select(Change::as_select())
        .load(connection)
}
