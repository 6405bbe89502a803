//! Which changes a call is about, and reading them.

use std::pin::pin;

use clap::Args;
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::sink::store;
use crate::{Change, JsonObject, Lsn, Operation, Xid};

#[derive(Args)]
pub(super) struct FilterArgs {
    /// Of this table: `table` (in every schema) or `schema.table`.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,

    /// Of the record with this primary key; of several columns, a JSON array of texts.
    #[arg(long, value_name = "KEY")]
    primary_key: Option<String>,

    /// With this member in the context; the value is JSON where it parses, else a string. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_member)]
    context: Vec<(String, Value)>,

    /// Without this member in the context. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_member)]
    without_context: Vec<(String, Value)>,

    /// With this value in the row before. Repeatable.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = parse_member)]
    before: Vec<(String, Value)>,

    /// With this value in the row after. Repeatable.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = parse_member)]
    after: Vec<(String, Value)>,

    /// Updates that changed this column.
    #[arg(long, value_name = "COLUMN")]
    changed: Option<String>,

    /// With this text somewhere in the rows or the context, in upper or lower case.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,

    /// CREATE, UPDATE, DELETE, TRUNCATE, SNAPSHOT, DDL or GAP. Repeatable.
    #[arg(long, value_name = "OPERATION")]
    operation: Vec<Operation>,

    /// Committed at or after this time, as PostgreSQL reads it (UTC unless it says otherwise).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Committed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Of the transaction with this identifier.
    #[arg(long, value_name = "XID")]
    transaction: Option<i64>,
}

pub(super) fn parse_member(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((
        key.to_owned(),
        serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())),
    ))
}

/// A query's text and what is bound to it.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    binds: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Query {
    /// Adds the condition that `condition` makes of the number of the parameter.
    fn push(
        &mut self,
        value: impl ToSql + Sync + Send + 'static,
        condition: impl FnOnce(usize) -> String,
    ) {
        self.binds.push(Box::new(value));
        self.conditions.push(condition(self.binds.len()));
    }

    fn new(args: FilterArgs) -> Self {
        let mut query = Self::default();
        if let Some(table) = args.table {
            // The names that it can mean, said apart: no index serves an OR of expressions.
            let behind_dots = table.match_indices('.').map(|(at, _)| &table[at + 1..]);
            let names: Vec<String> = std::iter::once(&*table)
                .chain(behind_dots)
                .map(str::to_owned)
                .collect();
            query.push(names, |n| format!("\"table\" = ANY (${n})"));
            query.push(table, |n| {
                format!("(\"table\" = ${n} OR schema || '.' || \"table\" = ${n})")
            });
        }
        if let Some(key) = args.primary_key {
            query.push(key, |n| {
                format!("(primary_key = ${n} OR previous_key IS NOT NULL AND previous_key = ${n})")
            });
        }
        for (column, members) in [
            ("context", args.context),
            ("before", args.before),
            ("after", args.after),
        ] {
            if !members.is_empty() {
                let members = Value::Object(members.into_iter().collect());
                query.push(members, |n| format!("{column} @> ${n}"));
            }
        }
        for member in args.without_context {
            let member = Value::Object([member].into_iter().collect());
            query.push(member, |n| format!("NOT context @> ${n}"));
        }
        if let Some(column) = args.changed {
            query.push(column, |n| {
                format!(
                    "operation = 'UPDATE' AND (before -> ${n}::text)::text IS DISTINCT FROM (after -> ${n}::text)::text"
                )
            });
        }
        if let Some(text) = args.text {
            query.push(text, |n| {
                format!("strpos(lower(concat(before, after, context)), lower(${n}::text)) > 0")
            });
        }
        if !args.operation.is_empty() {
            let names: Vec<&str> = args
                .operation
                .iter()
                .map(|operation| operation.as_str())
                .collect();
            query.push(names, |n| format!("operation = ANY (${n})"));
        }
        if let Some(since) = args.since {
            query.push(since, |n| {
                format!("committed_at >= ${n}::text::timestamptz")
            });
        }
        if let Some(until) = args.until {
            query.push(until, |n| format!("committed_at < ${n}::text::timestamptz"));
        }
        if let Some(transaction) = args.transaction {
            query.push(transaction, |n| format!("transaction_id = ${n}"));
        }
        query
    }

    /// The text: the last `limit` changes, in the order of the trail.
    fn sql(&mut self, limit: Option<i64>) -> String {
        let filter = match &*self.conditions {
            [] => String::new(),
            conditions => format!("WHERE {}", conditions.join(" AND ")),
        };
        let changes = store::CHANGES;
        match limit {
            None => {
                format!("{SELECT} FROM {changes} {filter} ORDER BY source, commit_lsn, ordinal")
            }
            Some(limit) => {
                self.binds.push(Box::new(limit));
                let n = self.binds.len();
                format!(
                    "{SELECT} FROM (SELECT * FROM {changes} {filter} ORDER BY source DESC, commit_lsn DESC, ordinal DESC LIMIT ${n}) \
                     latest ORDER BY source, commit_lsn, ordinal"
                )
            }
        }
    }
}

const SELECT: &str = "SELECT id, source, database, schema, \"table\", primary_key, previous_key, operation, before::text, after::text, \
                      context::text, committed_at, queued_at, created_at, transaction_id, position, commit_lsn, ordinal";

/// Hands the changes to `each`, one by one: the last `limit` of them, or all.
pub(super) async fn read(
    settings: &Settings,
    args: FilterArgs,
    limit: Option<i64>,
    mut each: impl FnMut(Change) -> Result<(), Error>,
) -> Result<(), Error> {
    let destination = Connection::open(&settings.destination).await?;
    if !store::exists(&destination, store::CHANGES).await? {
        return Err(Error::new(ErrorKind::NotSetUp {
            missing: format!("the table {}", store::CHANGES),
        }));
    }
    let mut query = Query::new(args);
    let sql = query.sql(limit);
    let failed = |error: tokio_postgres::Error| explain(&destination, &error);
    let binds = query
        .binds
        .iter()
        .map(|bind| &**bind as &(dyn ToSql + Sync));
    let mut rows = pin!(
        destination
            .client
            .query_raw(&sql, binds)
            .await
            .map_err(failed)?
    );
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        each(change_from_row(&row)?)?;
    }
    Ok(())
}

fn change_from_row(row: &Row) -> Result<Change, Error> {
    let unreadable = || {
        Error::new(ErrorKind::Io {
            doing: "reading a change that this version does not know",
        })
    };
    let json = |index: usize| {
        row.get::<_, &str>(index)
            .parse::<JsonObject>()
            .map_err(|_| unreadable())
    };
    Ok(Change {
        id: row.get(0),
        source: row.get(1),
        database: row.get::<_, &str>(2).into(),
        schema: row.get::<_, &str>(3).into(),
        table: row.get::<_, &str>(4).into(),
        primary_key: row.get(5),
        previous_key: row.get(6),
        operation: row.get::<_, &str>(7).parse().map_err(|_| unreadable())?,
        before: json(8)?,
        after: json(9)?,
        context: json(10)?,
        committed_at: row.get(11),
        queued_at: row.get(12),
        created_at: row.get(13),
        transaction_id: Xid::new(u32::try_from(row.get::<_, i64>(14)).map_err(|_| unreadable())?),
        position: Lsn::from_i64(row.get(15)),
        commit_lsn: Lsn::from_i64(row.get(16)),
        ordinal: row.get::<_, i64>(17).cast_unsigned(),
    })
}

/// A time that PostgreSQL cannot read is the user's mistake, and its text is no row's value.
pub(super) fn explain(destination: &Connection, error: &tokio_postgres::Error) -> Error {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("22007" | "22008" | "22009") => Error::configuration(
            "cannot read the time: write it like 2026-01-31 or 2026-01-31T12:00:00Z",
        ),
        _ => destination.error("reading changes", error),
    }
}
