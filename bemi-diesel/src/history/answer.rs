//! The questions before a journey, through diesel.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{Error, QueryResult};
use diesel::sql_types::{BigInt, Bool, Jsonb, Nullable, Text, Timestamptz};
use serde::de::DeserializeOwned;

use super::ask::Answer;
use crate::JsonObject;

/// A row of [`moment`](super::ask::moment).
#[derive(QueryableByName)]
pub(crate) struct AnswerRow {
    #[diesel(sql_type = BigInt)]
    source: i64,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    flush_lsn: Option<i64>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    covered_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    commit_lsn: Option<i64>,
    #[diesel(sql_type = Bool)]
    conforming: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    publication: Option<i64>,
}

impl From<AnswerRow> for Answer {
    fn from(row: AnswerRow) -> Self {
        Self {
            source: row.source,
            database: row.database,
            flush_lsn: row.flush_lsn,
            covered_at: row.covered_at,
            commit_lsn: row.commit_lsn,
            conforming: row.conforming,
            publication: row.publication,
        }
    }
}

/// A row that holds one JSON text.
#[derive(QueryableByName)]
pub(crate) struct FactRow {
    #[diesel(sql_type = Text)]
    fact: String,
}

/// What the rows hold.
pub(crate) fn read<T: DeserializeOwned>(rows: &[FactRow]) -> QueryResult<Vec<T>> {
    rows.iter().map(read_one).collect()
}

/// What the row holds.
pub(crate) fn read_one<T: DeserializeOwned>(row: &FactRow) -> QueryResult<T> {
    serde_json::from_str(&row.fact).map_err(|error| Error::DeserializationError(error.into()))
}

/// A row of the past.
#[derive(QueryableByName)]
pub(crate) struct ImageRow {
    #[diesel(sql_type = Jsonb)]
    pub(crate) image: JsonObject,
}
