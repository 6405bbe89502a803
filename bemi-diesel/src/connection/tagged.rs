//! A statement with the message appended to it.
//!
//! The message is a parameter, so all contexts share one prepared statement.

use std::cell::Cell;
use std::sync::Arc;

use diesel::internal::derives::multiconnection::AstPassHelper;
use diesel::pg::{Pg, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Text, Untyped};

use super::emit::FUNCTION;
use super::plan::{Form, Tag};
use crate::context::PREFIX;

/// `query` with `tag` in its `RETURNING`.
///
/// `(SELECT pg_logical_emit_message(…))` is an uncorrelated subquery, which the server
/// [evaluates once], when the first row is returned: no row, no message. Where there is one row the call
/// stands there without it, as a subquery takes the server 2 µs (of 25 for an `INSERT`, PostgreSQL 15).
/// The column comes last, so it disturbs no index, and is NULL, so that it takes next to nothing in every
/// row.
///
/// [evaluates once]: https://www.postgresql.org/docs/current/sql-expressions.html#SQL-SYNTAX-SCALAR-SUBQUERIES
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
        out.push_sql(match self.tag.form {
            Form::Column => ", ",
            Form::Returning | Form::Counted => " RETURNING ",
        });
        let (open, close) = if self.tag.one {
            ("", "")
        } else {
            ("(SELECT ", ")")
        };
        out.push_sql(open);
        out.push_sql("CASE WHEN ");
        push_call(&self.tag, &mut out)?;
        out.push_sql(" IS NULL THEN false END");
        out.push_sql(close);
        Ok(())
    }

    fn is_safe_to_cache_prepared(&self, backend: &Pg) -> QueryResult<bool> {
        self.query.is_safe_to_cache_prepared(backend)
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

/// `query`, which has no `RETURNING`, as a part of one that gives back a single row: how many rows it
/// changed. The message is written behind the last of them, if anything was written at all.
///
/// A tag in the `RETURNING` gives back every row, and a statement can change millions.
pub(super) struct Counted<T> {
    query: T,
    tag: Tag,
}

impl<T> Counted<T> {
    pub(super) fn new(query: T, tag: Tag) -> Self {
        Self { query, tag }
    }
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Counted<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // The statement does not see a name that stands for itself, so it hides none.
        out.push_sql("WITH _bemi AS (");
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(
            " RETURNING 1) SELECT pg_catalog.count(*), \
             CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN ",
        );
        push_call(&self.tag, &mut out)?;
        out.push_sql(" END FROM _bemi");
        Ok(())
    }

    fn is_safe_to_cache_prepared(&self, backend: &Pg) -> QueryResult<bool> {
        self.query.is_safe_to_cache_prepared(backend)
    }
}

impl<T: QueryId> QueryId for Counted<T> {
    type QueryId = Counted<T::QueryId>;

    const HAS_STATIC_QUERY_ID: bool = T::HAS_STATIC_QUERY_ID;
}

impl<T> Query for Counted<T> {
    type SqlType = Untyped;
}

/// The parameters of a query, taken out of it.
pub(super) type Binds = RawBytesBindCollector<Pg>;

/// How many they are.
pub(super) fn bound(binds: &Binds) -> u32 {
    u32::try_from(binds.binds.len()).unwrap_or(u32::MAX - 1)
}

/// `query` in the words of `sql`, with the message behind its parameters. See [`Inline`](super::inline::Inline).
pub(super) struct Inlined<T> {
    query: T,
    sql: Arc<str>,
    prepare: bool,
    message: String,
    /// The query's parameters, which were collected to decide. They are moved out the first time, as an `INSERT` can
    /// have thousands.
    binds: Cell<Option<Binds>>,
}

/// An [`Inlined`] whose prepared statement is found by its type, or by its text.
pub(super) enum InlinedBy<T> {
    Type(Inlined<T>),
    Text(Inlined<ByText<T>>),
}

impl<T> InlinedBy<T> {
    /// `query` with the parameters `binds`. Where its type does not tell its text, `prepare` says whether
    /// it is to be prepared under a name.
    pub(super) fn new(
        query: T,
        sql: &Arc<str>,
        by_type: bool,
        prepare: bool,
        binds: Binds,
        message: String,
    ) -> Self {
        let (sql, binds) = (Arc::clone(sql), Cell::new(Some(binds)));
        if by_type {
            Self::Type(Inlined {
                query,
                sql,
                prepare: true,
                message,
                binds,
            })
        } else {
            Self::Text(Inlined {
                query: ByText(query),
                sql,
                prepare,
                message,
                binds,
            })
        }
    }
}

/// A query whose type does not tell its text.
pub(super) struct ByText<T>(T);

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for ByText<T> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<T> QueryId for ByText<T> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: Query> Query for ByText<T> {
    type SqlType = T::SqlType;
}

/// The numbers of `text` and of `text[]`, the same in every server.
const TEXT: u32 = 25;
const TEXT_ARRAY: u32 = 1009;

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Inlined<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if let Some((out, lookup)) = out.bind_collector() {
            match self.binds.take() {
                Some(binds) => {
                    out.metadata.extend(binds.metadata);
                    out.binds.extend(binds.binds);
                }
                None => self.query.collect_binds(out, lookup, &Pg)?,
            }
            out.metadata.push(PgTypeMetadata::new(TEXT, TEXT_ARRAY));
            out.binds.push(Some(self.message.clone().into_bytes()));
            return Ok(());
        }
        if out.debug_binds().is_some() {
            self.query.walk_ast(out.reborrow())?;
            return out.push_bind_param_value_only::<Text, String>(&self.message);
        }
        out.push_sql(&self.sql);
        if !self.prepare {
            out.unsafe_to_cache_prepared();
        }
        Ok(())
    }
}

impl<T: QueryId> QueryId for Inlined<T> {
    type QueryId = Inlined<T::QueryId>;

    const HAS_STATIC_QUERY_ID: bool = T::HAS_STATIC_QUERY_ID;
}

impl<T: Query> Query for Inlined<T> {
    type SqlType = T::SqlType;
}

fn push_call<'b>(tag: &'b Tag, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("pg_catalog.");
    out.push_sql(FUNCTION);
    out.push_sql("(true,'");
    out.push_sql(PREFIX);
    out.push_sql("',$");
    // Never the query builder's own number: `MultiConnection` does not advance it.
    out.push_sql(&tag.parameter.to_string());
    out.push_bind_param_value_only::<Text, String>(&tag.message)?;
    out.push_sql(")");
    Ok(())
}
