//! `bemi changes`.

use std::pin::pin;

use chrono::SecondsFormat;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::output::{self, Output};
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::sink::store;
use crate::{Change, JsonObject, Lsn, Operation, Xid};

/// How many changes people see unless they ask for more.
const DEFAULT_LIMIT: i64 = 50;

#[derive(Args)]
pub(super) struct ChangesArgs {
    /// Of this table: `table` (in every schema) or `schema.table`.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,

    /// Of the record with this primary key; of several columns, a JSON array of texts.
    #[arg(long, value_name = "KEY")]
    primary_key: Option<String>,

    /// With this member in the context; the value is JSON where it parses, else a string. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_member)]
    context: Vec<(String, Value)>,

    /// CREATE, UPDATE, DELETE, TRUNCATE, SNAPSHOT or DDL. Repeatable.
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

    /// Only the last N [default: 50 for people, all with --json].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    limit: Option<i64>,
}

fn parse_member(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((
        key.to_owned(),
        serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())),
    ))
}

/// A query's text and what is bound to it.
struct Query {
    conditions: Vec<String>,
    binds: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Query {
    fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> usize {
        self.binds.push(Box::new(value));
        self.binds.len()
    }

    fn new(args: ChangesArgs) -> Self {
        let mut query = Self {
            conditions: Vec::new(),
            binds: Vec::new(),
        };
        if let Some(table) = args.table {
            let n = query.bind(table);
            query.conditions.push(format!(
                "(\"table\" = ${n} OR schema || '.' || \"table\" = ${n})"
            ));
        }
        if let Some(key) = args.primary_key {
            let n = query.bind(key);
            query.conditions.push(format!("primary_key = ${n}"));
        }
        if !args.context.is_empty() {
            let n = query.bind(Value::Object(args.context.into_iter().collect()));
            query.conditions.push(format!("context @> ${n}"));
        }
        if !args.operation.is_empty() {
            let n = query.bind(
                args.operation
                    .iter()
                    .map(|operation| operation.as_str())
                    .collect::<Vec<_>>(),
            );
            query.conditions.push(format!("operation = ANY (${n})"));
        }
        if let Some(since) = args.since {
            let n = query.bind(since);
            query
                .conditions
                .push(format!("committed_at >= ${n}::text::timestamptz"));
        }
        if let Some(until) = args.until {
            let n = query.bind(until);
            query
                .conditions
                .push(format!("committed_at < ${n}::text::timestamptz"));
        }
        if let Some(transaction) = args.transaction {
            let n = query.bind(transaction);
            query.conditions.push(format!("transaction_id = ${n}"));
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
            None => format!("{SELECT} FROM {changes} {filter} ORDER BY commit_lsn, ordinal"),
            Some(limit) => {
                let n = self.bind(limit);
                format!(
                    "{SELECT} FROM (SELECT * FROM {changes} {filter} ORDER BY commit_lsn DESC, ordinal DESC LIMIT ${n}) \
                     latest ORDER BY commit_lsn, ordinal"
                )
            }
        }
    }
}

const SELECT: &str = "SELECT id, source, database, schema, \"table\", primary_key, operation, before::text, after::text, \
                      context::text, committed_at, queued_at, created_at, transaction_id, position, commit_lsn, ordinal";

pub(super) async fn run(
    settings: &Settings,
    args: ChangesArgs,
    output: Output,
) -> Result<(), Error> {
    let destination = Connection::open(&settings.destination).await?;
    if !store::exists(&destination, store::CHANGES).await? {
        return Err(Error::new(ErrorKind::NotSetUp {
            missing: format!("the table {}", store::CHANGES),
        }));
    }
    // One more than is shown tells whether there are more.
    let limit = match output {
        Output::Json => args.limit,
        Output::Text => Some(args.limit.unwrap_or(DEFAULT_LIMIT) + 1),
    };
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
    let next = async || match rows.try_next().await {
        Ok(row) => row.map(|row| change_from_row(&row)).transpose(),
        Err(error) => Err(failed(error)),
    };
    match output {
        Output::Json => print_json(next).await,
        Output::Text => print_table(next, limit).await,
    }
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
        operation: row.get::<_, &str>(6).parse().map_err(|_| unreadable())?,
        before: json(7)?,
        after: json(8)?,
        context: json(9)?,
        committed_at: row.get(10),
        queued_at: row.get(11),
        created_at: row.get(12),
        transaction_id: Xid::new(u32::try_from(row.get::<_, i64>(13)).map_err(|_| unreadable())?),
        position: Lsn::from_i64(row.get(14)),
        commit_lsn: Lsn::from_i64(row.get(15)),
        ordinal: row.get::<_, i64>(16).cast_unsigned(),
    })
}

/// A time that PostgreSQL cannot read is the user's mistake, and its text is no row's value.
fn explain(destination: &Connection, error: &tokio_postgres::Error) -> Error {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("22007" | "22008" | "22009") => Error::configuration(
            "cannot read the time given with --since or --until: write it like 2026-01-31 or 2026-01-31T12:00:00Z",
        ),
        _ => destination.error("reading changes", error),
    }
}

/// One array, written row by row: it may be larger than memory.
async fn print_json(
    mut next: impl AsyncFnMut() -> Result<Option<Change>, Error>,
) -> Result<(), Error> {
    let mut separator = "[";
    while let Some(change) = next().await? {
        let json = serde_json::to_string(&change).map_err(|error| {
            Error::with_source(
                ErrorKind::Io {
                    doing: "writing JSON",
                },
                error,
            )
        })?;
        output::print_text(&format!("{separator}{json}"))?;
        separator = ",";
    }
    output::print_text(if separator == "[" { "[]" } else { "]" })
}

async fn print_table(
    mut next: impl AsyncFnMut() -> Result<Option<Change>, Error>,
    limit: Option<i64>,
) -> Result<(), Error> {
    let mut changes = Vec::new();
    while let Some(change) = next().await? {
        changes.push(change);
    }
    if changes.is_empty() {
        anstream::eprintln!("no change matches");
        return Ok(());
    }
    let more = limit.is_some_and(|limit| i64::try_from(changes.len()) == Ok(limit));
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "primary_key",
        "table",
        "operation",
        "before",
        "after",
        "context",
        "committed_at",
    ]);
    for change in changes.iter().skip(usize::from(more)) {
        table.add_row([
            change.primary_key.as_deref().unwrap_or(""),
            &change.table,
            change.operation.as_str(),
            change.before.as_str(),
            change.after.as_str(),
            change.context.as_str(),
            &change
                .committed_at
                .to_rfc3339_opts(SecondsFormat::Micros, true),
        ]);
    }
    output::print_text(&table.to_string())?;
    if more {
        anstream::eprintln!(
            "the last {} of more; --limit shows others",
            changes.len() - 1
        );
    }
    Ok(())
}
