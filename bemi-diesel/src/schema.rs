//! The table `changes` for diesel, and how its rows become [`Change`](crate::Change)s.
//!
//! ```no_run
//! use bemi_diesel::schema::changes;
//! use bemi_diesel::{BemiConnection, Change};
//! use diesel::prelude::*;
//!
//! fn history(connection: &mut BemiConnection, id: &str) -> QueryResult<Vec<Change>> {
//!     changes::table
//!         .filter(changes::table_name.eq("todos").and(changes::primary_key.eq(id)))
//!         .order((changes::commit_lsn, changes::ordinal))
//!         .select(Change::as_select())
//!         .load(connection)
//! }
//! ```

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{BigInt, Jsonb, Text};

use crate::{JsonObject, Lsn, Operation, Xid};

diesel::table! {
    /// One row for every change of a tracked row; the fields of [`Change`](crate::Change) document the
    /// columns.
    changes (id) {
        /// See [`Change::id`](crate::Change::id).
        id -> Uuid,
        /// See [`Change::source`](crate::Change::source).
        source -> BigInt,
        /// See [`Change::database`](crate::Change::database).
        database -> Text,
        /// See [`Change::schema`](crate::Change::schema).
        schema -> Text,
        /// The column `table`: see [`Change::table`](crate::Change::table).
        #[sql_name = "table"]
        table_name -> Text,
        /// See [`Change::primary_key`](crate::Change::primary_key).
        primary_key -> Nullable<Text>,
        /// See [`Change::previous_key`](crate::Change::previous_key).
        previous_key -> Nullable<Text>,
        /// See [`Change::operation`](crate::Change::operation).
        operation -> Text,
        /// See [`Change::before`](crate::Change::before).
        before -> Jsonb,
        /// See [`Change::after`](crate::Change::after).
        after -> Jsonb,
        /// See [`Change::context`](crate::Change::context).
        context -> Jsonb,
        /// See [`Change::committed_at`](crate::Change::committed_at).
        committed_at -> Timestamptz,
        /// See [`Change::queued_at`](crate::Change::queued_at).
        queued_at -> Timestamptz,
        /// See [`Change::created_at`](crate::Change::created_at).
        created_at -> Timestamptz,
        /// See [`Change::transaction_id`](crate::Change::transaction_id).
        transaction_id -> BigInt,
        /// See [`Change::position`](crate::Change::position).
        position -> BigInt,
        /// See [`Change::commit_lsn`](crate::Change::commit_lsn).
        commit_lsn -> BigInt,
        /// See [`Change::ordinal`](crate::Change::ordinal).
        ordinal -> BigInt,
    }
}

impl FromSql<BigInt, Pg> for Lsn {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(value).map(Self::from_i64)
    }
}

impl FromSql<BigInt, Pg> for Xid {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::new(u32::try_from(i64::from_sql(value)?)?))
    }
}

impl FromSql<Text, Pg> for Operation {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(std::str::from_utf8(value.as_bytes())?.parse()?)
    }
}

impl FromSql<Jsonb, Pg> for JsonObject {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // The binary form is a version, 1, and the text.
        match value.as_bytes() {
            [1, text @ ..] => Ok(std::str::from_utf8(text)?.parse()?),
            _ => Err("jsonb of an unknown version".into()),
        }
    }
}

/// A count that the database holds as `bigint`. Not for people: `Change` has the number itself.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct Ordinal(u64);

impl FromSql<BigInt, Pg> for Ordinal {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(u64::try_from(i64::from_sql(value)?)?))
    }
}

impl From<Ordinal> for u64 {
    fn from(ordinal: Ordinal) -> Self {
        ordinal.0
    }
}
