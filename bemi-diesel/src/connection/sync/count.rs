//! Executing a tagged statement without keeping its rows.

use diesel::connection::LoadConnection;
use diesel::pg::{Pg, PgConnection, PgRowByRowLoadingMode};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::Untyped;

use crate::connection::tagged::Tagged;

/// Executes a tagged statement and returns how many rows it changed. They are read one by one and
/// dropped, as `execute` would keep all of them until the end, and an `UPDATE` can have millions.
pub(super) fn count<T>(inner: &mut PgConnection, query: Tagged<T>) -> QueryResult<usize>
where
    T: QueryFragment<Pg> + QueryId,
{
    let mut rows = LoadConnection::<PgRowByRowLoadingMode>::load(inner, Counted(query))?;
    let mut count = 0;
    for row in rows.by_ref() {
        row?;
        count += 1;
    }
    // What fails when the transaction ends, as deferred constraints do, comes behind the last row.
    // After none at all diesel's cursor does not look there.
    match rows.next() {
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(count),
    }
}

/// A tagged statement whose rows are only counted, so it need not say what is in them.
struct Counted<T>(Tagged<T>);

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Counted<T> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<T: QueryId> QueryId for Counted<T> {
    type QueryId = <Tagged<T> as QueryId>::QueryId;

    const HAS_STATIC_QUERY_ID: bool = T::HAS_STATIC_QUERY_ID;
}

impl<T> Query for Counted<T> {
    type SqlType = Untyped;
}
