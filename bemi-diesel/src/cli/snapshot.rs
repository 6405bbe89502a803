//! `bemi snapshot`.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::output::{self, Output};
use super::setup::patterns;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::replication::baseline::{Table, store_table};
use crate::settings::Settings;
use crate::setup::{Publication, Server, TablePattern};
use crate::sink::store;

/// The key of the advisory lock that keeps two snapshots of one database apart: "bemb" in ASCII.
const SNAPSHOT_LOCK: i64 = 0x6265_6d62;

#[derive(Args)]
pub(super) struct SnapshotArgs {
    /// Store the rows of these tables only, in the form of `bemi setup` [default: every tracked table].
    #[arg(long, value_name = "TABLES")]
    tables: Vec<String>,

    /// Store at most so many rows a second [default: no limit].
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    rows_per_second: Option<u32>,

    /// Read so many tables at once.
    #[arg(long, value_name = "TABLES", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
}

/// What was stored of a table.
#[derive(Serialize)]
struct Stored {
    table: String,
    rows: u64,
}

pub(super) async fn run(
    settings: &Settings,
    args: SnapshotArgs,
    output: Output,
) -> Result<(), Error> {
    let source = Connection::open(&settings.source).await?;
    let server = Server::read(&source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let progress =
        store::existing_progress(&destination, server.system_identifier, &server.database).await?;
    Publication::check(&source, &settings.publication, progress.publication).await?;
    drop(destination);
    let tables = chosen(&source, settings, &patterns(&args.tables)?).await?;
    let locking = source
        .client
        .execute("SELECT pg_advisory_lock($1)", &[&SNAPSHOT_LOCK]);
    locking
        .await
        .map_err(|error| source.error("waiting for another snapshot", &error))?;
    let jobs = args.jobs;
    let rate = args.rows_per_second.map(|rate| (rate / jobs).max(1));
    let bars = MultiProgress::new();
    let server = &server;
    let storing = stream::iter(tables).map(async |table| {
        let bar = bars.add(bar(&table));
        let rows = store_table(settings, server, &table, rate, |rows| bar.inc(rows)).await;
        bar.finish_and_clear();
        rows.map(|rows| Stored {
            table: table.full_name(),
            rows,
        })
    });
    let mut stored: Vec<Stored> = storing
        .buffer_unordered(jobs as usize)
        .try_collect()
        .await?;
    stored.sort_by(|a, b| a.table.cmp(&b.table));
    match output {
        Output::Json => output::print_json(&stored),
        Output::Text => {
            for Stored { table, rows } in &stored {
                let unit = if *rows == 1 { "row" } else { "rows" };
                anstream::eprintln!("{table}: {rows} {unit} stored");
            }
            Ok(())
        }
    }
}

/// The published tables that `patterns` mean, each of them at least one; all of them if there is none.
async fn chosen(
    source: &Connection,
    settings: &Settings,
    patterns: &[TablePattern],
) -> Result<Vec<Table>, Error> {
    let published =
        async |patterns| Table::published(source, &settings.publication, patterns).await;
    for pattern in patterns {
        if published(std::slice::from_ref(pattern)).await?.is_empty() {
            return Err(Error::new(ErrorKind::UnknownTables {
                tables: vec![pattern.as_str().to_owned()],
                known: published(&[]).await?.iter().map(Table::full_name).collect(),
            }));
        }
    }
    published(patterns).await
}

/// Shown where standard error is a terminal.
fn bar(table: &Table) -> ProgressBar {
    let bar = ProgressBar::new(table.estimate).with_message(table.full_name());
    let template = "{spinner} {msg} {wide_bar} {human_pos}/{human_len} rows {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
