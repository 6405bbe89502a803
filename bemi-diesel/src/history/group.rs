//! Changes counted in groups.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};

use super::query::Changes;
use crate::Lsn;

/// What the changes of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The transaction, as `16/B374D848`: where its commit stands.
    Transaction,
    /// The request: the member `request_id` of the context, which bemi-actix gives every request.
    Request,
    /// The member of the context at this path, such as `["user", "id"]`, as text.
    Context(Vec<String>),
}

impl GroupBy {
    /// The member of the context with this name.
    #[must_use]
    pub fn context(name: &str) -> Self {
        Self::Context(vec![name.to_owned()])
    }
}

/// A group of changes.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Group {
    /// What they have in common, as text: `None` for the changes whose context lacks it.
    pub key: Option<String>,
    /// How many transactions they were made by.
    pub transactions: i64,
    /// How many there are.
    pub changes: i64,
    /// The tables they are of, as `schema.table`.
    pub tables: Vec<String>,
    /// When the first one was committed.
    pub first_at: DateTime<Utc>,
    /// When the last one was committed.
    pub last_at: DateTime<Utc>,
    /// Where the last one's commit stands in the log.
    pub last_lsn: Lsn,
}

/// A query of [`Group`]s, the one with the latest change first.
#[must_use = "a query does nothing until it is loaded"]
pub struct Groups {
    changes: Changes,
    by: GroupBy,
    path: Vec<String>,
    limit: Option<i64>,
}

impl Groups {
    pub(super) fn new(changes: Changes, by: GroupBy) -> Self {
        let path = match &by {
            GroupBy::Transaction => Vec::new(),
            GroupBy::Request => vec!["request_id".to_owned()],
            GroupBy::Context(path) => path.clone(),
        };
        Self {
            changes,
            by,
            path,
            limit: None,
        }
    }

    /// At most `count` groups.
    pub fn limit(mut self, count: i64) -> Self {
        self.limit = Some(count);
        self
    }
}

impl QueryFragment<Pg> for Groups {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        if self.by == GroupBy::Transaction {
            out.push_sql("('0/0'::pg_lsn + commit_lsn::numeric)::text");
        } else {
            out.push_sql("context #>> ");
            out.push_bind_param::<Array<Text>, _>(&self.path)?;
        }
        out.push_sql(
            " AS key, count(DISTINCT (source, commit_lsn)), count(*), \
             array_agg(DISTINCT schema || '.' || \"table\"), min(committed_at), max(committed_at), max(commit_lsn) FROM (",
        );
        QueryFragment::<Pg>::walk_ast(&self.changes, out.reborrow())?;
        out.push_sql(
            ") changes GROUP BY key ORDER BY max(committed_at) DESC, max(commit_lsn) DESC, key",
        );
        if let Some(limit) = &self.limit {
            out.push_sql(" LIMIT ");
            out.push_bind_param::<BigInt, _>(limit)?;
        }
        Ok(())
    }
}

impl QueryId for Groups {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Groups {
    type SqlType = (
        Nullable<Text>,
        BigInt,
        BigInt,
        Array<Text>,
        Timestamptz,
        Timestamptz,
        BigInt,
    );
}

#[cfg(feature = "sync")]
impl<Conn> diesel::RunQueryDsl<Conn> for Groups {}
