//! Questions about the changes, as diesel queries.

use chrono::{DateTime, Utc};
use diesel::dsl::{AsSelect, IntoBoxed, Select, sql};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::AsQuery;
use diesel::sql_types::{BigInt, Bool, Text};
use serde_json::Value;

use super::cursor::Cursor;
use super::group::{GroupBy, Groups};
use super::key::Key;
use crate::schema::changes;
use crate::tracked::TrackedTable;
use crate::{Change, Lsn, Operation, Xid};

/// A boxed diesel query for [`Change`]s, to which every method of diesel's can be added.
pub type Changes = IntoBoxed<'static, Select<changes::table, AsSelect<Change, Pg>>, Pg>;

/// One of the three JSON columns of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// [`Change::before`].
    Before,
    /// [`Change::after`].
    After,
    /// [`Change::context`].
    Context,
}

impl Document {
    fn column(self) -> &'static str {
        match self {
            Self::Before => "changes.before",
            Self::After => "changes.after",
            Self::Context => "changes.context",
        }
    }
}

/// A question about the changes; [`history`] starts one.
///
/// Every method narrows it: all conditions must hold. It is a diesel query of [`Change`]s, in the order of
/// the commits: `load`, `first`, `load_iter` and diesel-async's `load_stream` work on it as on any other. A
/// trail of many changes is read without holding all of it by
/// `load_iter::<Change, diesel::pg::PgRowByRowLoadingMode>` or by `load_stream`.
///
/// It tells what the trail holds. A change that could not be read or stored is
/// [put aside](crate::docs::faults) and not there until `bemi replay-poison` has stored it, in its own place;
/// `SELECT count(*) FROM _bemi_poison`, `bemi status` and [`Status::put_aside`](crate::Status::put_aside) tell
/// whether there is one.
///
/// ```no_run
/// use bemi_diesel::history::{Cursor, history};
/// use bemi_diesel::{AsyncBemiConnection, Change, Operation};
/// use diesel_async::RunQueryDsl;
///
/// # async fn example(connection: &mut AsyncBemiConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let deletions = || history().table("todos").operations([Operation::Delete]).limit(50);
/// let page: Vec<Change> = deletions().load(connection).await?;
/// if let Some(last) = page.last() {
///     let next: Vec<Change> = deletions().continue_after(Cursor::from(last)).load(connection).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a question does nothing until it is loaded"]
pub struct History {
    query: Changes,
    latest_first: bool,
    continue_after: Option<Cursor>,
    limit: Option<i64>,
}

/// Starts a question about the changes: as it is, every change.
pub fn history() -> History {
    History {
        query: changes::table.select(Change::as_select()).into_boxed(),
        latest_first: false,
        continue_after: None,
        limit: None,
    }
}

impl History {
    fn filter<P>(mut self, predicate: P) -> Self
    where
        Changes: diesel::query_dsl::methods::FilterDsl<P, Output = Changes>,
    {
        self.query = diesel::query_dsl::methods::FilterDsl::filter(self.query, predicate);
        self
    }

    /// Of the table `name`, in every schema; `schema.name` for one of them. A partition is a table of its
    /// own.
    pub fn table(self, name: &str) -> Self {
        match name.split_once('.') {
            Some((schema, table)) => self
                // Said apart, as no index serves an OR of different columns.
                .filter(changes::table_name.eq_any([name.to_owned(), table.to_owned()]))
                .filter(
                    changes::table_name
                        .eq(name.to_owned())
                        .or(changes::schema.eq(schema.to_owned())),
                ),
            None => self.filter(changes::table_name.eq(name.to_owned())),
        }
    }

    /// Of one record: its [primary key](Change::primary_key) as text. The change that gave it this key and
    /// the one that took it away belong to it.
    pub fn record(self, table: &str, key: impl Into<Key>) -> Self {
        self.table(table).primary_key(key)
    }

    /// Of the records with this [primary key](Change::primary_key), whatever the table.
    pub fn primary_key(self, key: impl Into<Key>) -> Self {
        let key = String::from(key.into());
        self.filter(
            changes::primary_key
                .eq(key.clone())
                .or(changes::previous_key
                    .is_not_null()
                    .and(changes::previous_key.eq(key)))
                .assume_not_null(),
        )
    }

    /// Of the table of a model, under each of its names.
    pub(crate) fn of(self, table: &TrackedTable) -> Self {
        let names: Vec<String> = table.names().map(str::to_owned).collect();
        self.filter(
            changes::schema
                .eq(table.schema().to_owned())
                .and(changes::table_name.eq_any(names)),
        )
    }

    /// Of the records with this primary key, and what emptied their tables.
    pub(crate) fn life_of(self, key: Key) -> Self {
        let key = String::from(key);
        self.filter(
            changes::primary_key
                .eq(key.clone())
                .or(changes::previous_key
                    .is_not_null()
                    .and(changes::previous_key.eq(key)))
                .assume_not_null()
                // As a literal: the index of these is a partial one.
                .or(sql::<Bool>("changes.operation = 'TRUNCATE'")),
        )
    }

    /// Of one of these operations.
    pub fn operations(self, operations: impl IntoIterator<Item = Operation>) -> Self {
        let names: Vec<&'static str> = operations.into_iter().map(Operation::as_str).collect();
        self.filter(changes::operation.eq_any(names))
    }

    /// With a row before that [contains](Self::containing) `value`.
    pub fn before(self, value: impl Into<Value>) -> Self {
        self.containing(Document::Before, value)
    }

    /// With a row after that [contains](Self::containing) `value`.
    pub fn after(self, value: impl Into<Value>) -> Self {
        self.containing(Document::After, value)
    }

    /// With a context that [contains](Self::containing) `value`, such as `json!({"user_id": 7})`.
    pub fn context(self, value: impl Into<Value>) -> Self {
        self.containing(Document::Context, value)
    }

    /// With a `document` that has the members of `value`, and perhaps others, in the sense of
    /// PostgreSQL's [`@>`](https://www.postgresql.org/docs/current/datatype-json.html#JSON-CONTAINMENT).
    pub fn containing(self, document: Document, value: impl Into<Value>) -> Self {
        self.documented(document, " @> ", value.into().to_string(), "::jsonb")
    }

    /// With a `document` that does not [contain](Self::containing) `value`.
    pub fn lacking(self, document: Document, value: impl Into<Value>) -> Self {
        self.filter(
            sql::<Bool>("NOT ")
                .sql(document.column())
                .sql(" @> ")
                .bind::<Text, _>(value.into().to_string())
                .sql("::jsonb"),
        )
    }

    /// With a `document` in which the [path](https://www.postgresql.org/docs/current/functions-json.html#FUNCTIONS-SQLJSON-PATH)
    /// finds something, such as `$.price ? (@ > 100)`.
    pub fn matching(self, document: Document, path: &str) -> Self {
        self.documented(document, " @? ", path.to_owned(), "::jsonpath")
    }

    fn documented(
        self,
        document: Document,
        operator: &str,
        value: String,
        cast: &'static str,
    ) -> Self {
        self.filter(
            sql::<Bool>(document.column())
                .sql(operator)
                .bind::<Text, _>(value)
                .sql(cast),
        )
    }

    /// Updates that changed the column `name`, digit for digit.
    pub fn changed(self, name: &str) -> Self {
        self.filter(
            sql::<Bool>("(changes.operation = 'UPDATE' AND (changes.before -> ")
                .bind::<Text, _>(name.to_owned())
                .sql(")::text IS DISTINCT FROM (changes.after -> ")
                .bind::<Text, _>(name.to_owned())
                .sql(")::text)"),
        )
    }

    /// With `text` somewhere in the row before, the row after or the context, as they are in JSON. Upper
    /// and lower case are the same. It reads every change that the other conditions leave.
    pub fn text(self, text: &str) -> Self {
        self.filter(
            sql::<Bool>(
                "strpos(lower(concat(changes.before, changes.after, changes.context)), lower(",
            )
            .bind::<Text, _>(text.to_owned())
            .sql(")) > 0"),
        )
    }

    /// Made by the transaction with this identifier. They are given anew after four billion of them: add
    /// a [time](Self::since) where a trail is that long.
    pub fn transaction(self, xid: Xid) -> Self {
        self.filter(changes::transaction_id.eq(i64::from(xid.as_u32())))
    }

    /// Made by the transaction whose commit stands at `lsn`.
    pub fn commit(self, lsn: Lsn) -> Self {
        self.filter(changes::commit_lsn.eq(lsn.as_i64()))
    }

    /// Committed at or after `time`.
    pub fn since(self, time: DateTime<Utc>) -> Self {
        self.filter(changes::committed_at.ge(time))
    }

    /// Committed before `time`.
    pub fn until(self, time: DateTime<Utc>) -> Self {
        self.filter(changes::committed_at.lt(time))
    }

    /// Committed at or after this place in the log.
    pub fn since_lsn(self, lsn: Lsn) -> Self {
        self.filter(changes::commit_lsn.ge(lsn.as_i64()))
    }

    /// Committed before this place in the log.
    pub fn until_lsn(self, lsn: Lsn) -> Self {
        self.filter(changes::commit_lsn.lt(lsn.as_i64()))
    }

    /// Made in the database `name`, where several keep their changes in one place.
    pub fn database(self, name: &str) -> Self {
        self.filter(changes::database.eq(name.to_owned()))
    }

    /// The latest change first.
    pub fn latest_first(mut self) -> Self {
        self.latest_first = true;
        self
    }

    /// At most `count` changes.
    pub fn limit(mut self, count: i64) -> Self {
        self.limit = Some(count);
        self
    }

    /// Only what comes behind the change at `cursor`, the last one of the page before: however long the
    /// trail, a page costs the same, and changes that come in meanwhile shift nothing.
    pub fn continue_after(mut self, cursor: Cursor) -> Self {
        self.continue_after = Some(cursor);
        self
    }

    /// The changes counted in groups: by transaction, by request, or by any member of the context. The
    /// order, the limit and the cursor are not of the groups.
    pub fn grouped_by(self, by: GroupBy) -> Groups {
        Groups::new(self.query, by)
    }

    /// The diesel query, for whatever else diesel can do with it.
    #[must_use]
    pub fn into_query(self) -> Changes {
        let mut query = self.query;
        if let Some(cursor) = self.continue_after {
            let beyond = if self.latest_first { "<" } else { ">" };
            query = query.filter(
                sql::<Bool>("(changes.source, changes.commit_lsn, changes.ordinal) ")
                    .sql(beyond)
                    .sql(" (")
                    .bind::<BigInt, _>(cursor.source)
                    .sql(", ")
                    .bind::<BigInt, _>(cursor.commit_lsn.as_i64())
                    .sql(", ")
                    .bind::<BigInt, _>(cursor.ordinal.cast_signed())
                    .sql(")"),
            );
        }
        if let Some(limit) = self.limit {
            query = query.limit(limit);
        }
        // The order of the index that identifies a change.
        if self.latest_first {
            query.order((
                changes::source.desc(),
                changes::commit_lsn.desc(),
                changes::ordinal.desc(),
            ))
        } else {
            query.order((changes::source, changes::commit_lsn, changes::ordinal))
        }
    }
}

impl AsQuery for History {
    type SqlType = <Changes as AsQuery>::SqlType;
    type Query = Changes;

    fn as_query(self) -> Changes {
        self.into_query()
    }
}

/// For `first`.
impl diesel::query_dsl::methods::LimitDsl for History {
    type Output = Self;

    fn limit(self, count: i64) -> Self {
        Self::limit(self, count)
    }
}

#[cfg(feature = "sync")]
impl<Conn> diesel::RunQueryDsl<Conn> for History {}
