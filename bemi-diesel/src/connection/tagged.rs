//! A statement with the message appended to it.
//!
//! `RETURNING (SELECT pg_logical_emit_message(…))` is an uncorrelated subquery, which the server
//! [evaluates once], when the first row is returned: no row, no message. It compares the result so
//! that one byte per row comes back and not a position as text.
//!
//! [evaluates once]: https://www.postgresql.org/docs/current/sql-expressions.html#SQL-SYNTAX-SCALAR-SUBQUERIES

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::Text;

use super::emit::FUNCTION;
use super::plan::Tag;
use crate::context::PREFIX;

/// `query` with `tag` behind it. The message is a parameter, so all contexts share one prepared
/// statement; its column comes last and disturbs no index.
pub(super) struct Tagged<T> {
    query: T,
    tag: Tag,
}

impl<T> Tagged<T> {
    pub(super) fn new(query: T, tag: Tag) -> Self {
        Self { query, tag }
    }
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Tagged<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(if self.tag.returning {
            ", (SELECT pg_catalog."
        } else {
            " RETURNING (SELECT pg_catalog."
        });
        out.push_sql(FUNCTION);
        out.push_sql("(true,'");
        out.push_sql(PREFIX);
        out.push_sql("',$");
        // Never the query builder's own number: `MultiConnection` does not advance it.
        out.push_sql(&self.tag.parameter.to_string());
        out.push_bind_param_value_only::<Text, String>(&self.tag.message)?;
        out.push_sql(") IS NULL)");
        Ok(())
    }
}

impl<T: QueryId> QueryId for Tagged<T> {
    type QueryId = Tagged<T::QueryId>;

    // The tag's SQL follows from the statement's own.
    const HAS_STATIC_QUERY_ID: bool = T::HAS_STATIC_QUERY_ID;
}

impl<T: Query> Query for Tagged<T> {
    type SqlType = T::SqlType;
}
