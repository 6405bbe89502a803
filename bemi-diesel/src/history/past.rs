//! A query as of an instant, as diesel sends it.

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::result::QueryResult;

use super::travel::Travel;

/// `query` with the text that shows the past. Its parameters are its own.
pub(crate) struct Past<T> {
    query: T,
    sql: String,
}

impl<T: QueryFragment<Pg>> Past<T> {
    pub(crate) fn new(query: T, travel: &Travel) -> QueryResult<Self> {
        let mut sql = PgQueryBuilder::default();
        query.to_sql(&mut sql, &Pg)?;
        let sql = travel.rewrite(&sql.finish())?;
        Ok(Self { query, sql })
    }
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Past<T> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.query.walk_ast(out)
    }

    fn to_sql(&self, out: &mut PgQueryBuilder, _: &Pg) -> QueryResult<()> {
        out.push_sql(&self.sql);
        Ok(())
    }

    /// Never: each instant has a text of its own.
    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(false)
    }
}

/// Not that of the query: it would be taken for the one that shows the present.
impl<T> QueryId for Past<T> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: Query> Query for Past<T> {
    type SqlType = T::SqlType;
}
