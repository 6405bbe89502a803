//! `bemi as-of`.

use chrono::{DateTime, Utc};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use tokio_postgres::types::ToSql;

use super::filter::explain;
use super::output::{self, Output, visible};
use super::pager::page;
use crate::error::{Error, ErrorKind};
use crate::history::{
    Answer, Instant, Live, Place, Stored, TravelError, decide, images, live, moment, stored,
};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::Server;
use crate::sink::store;
use crate::{JsonObject, Lsn};

#[derive(Args)]
pub(super) struct AsOfArgs {
    /// The instant: a time as PostgreSQL reads it (UTC unless it says otherwise), or a position in the log
    /// such as 16/B374D848.
    #[arg(value_name = "TIME")]
    instant: String,

    /// The table: `table` or `schema.table`; a partition is a table of its own.
    #[arg(value_name = "TABLE")]
    table: String,

    /// The primary key of one record; of several columns, a JSON array of texts.
    #[arg(value_name = "KEY")]
    key: Option<String>,
}

pub(super) async fn run(settings: &Settings, args: AsOfArgs, output: Output) -> Result<(), Error> {
    let source = Connection::open(&settings.source).await?;
    let server = Server::read(&source).await?;
    let destination = Connection::open(&settings.destination).await?;
    if !store::exists(&destination, store::CHANGES).await? {
        return Err(Error::new(ErrorKind::NotSetUp {
            missing: format!("the table {}", store::CHANGES),
        }));
    }
    let instant = instant(&destination, &args.instant).await?;
    let place = Place::Source(server.system_identifier, &server.database);
    let failed = |error: tokio_postgres::Error| destination.error("asking the trail", &error);
    let answers = destination
        .client
        .query(&moment(instant, place), &[])
        .await
        .map_err(failed)?;
    let answers = answers
        .iter()
        .map(|row| Answer {
            source: row.get(0),
            database: row.get(1),
            flush_lsn: row.get(2),
            covered_at: row.get(3),
            commit_lsn: row.get(4),
            conforming: row.get(5),
            publication: row.get(6),
        })
        .collect();
    let moment = decide(instant, answers).map_err(|error| uncovered(&error))?;
    let asking = source
        .client
        .query_one(&live(&moment, &args.table), &[])
        .await;
    let row = asking.map_err(|error| source.error("looking for the table", &error))?;
    let live: Live = serde_json::from_str(row.get(0)).map_err(unreadable)?;
    let facts = destination
        .client
        .query(&stored(&moment, &args.table, &live), &[])
        .await
        .map_err(failed)?;
    let facts: Vec<Stored> = facts
        .iter()
        .map(|row| serde_json::from_str(row.get(0)))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let sql = images(&moment, &args.table, (&facts, &live), args.key.as_deref())
        .map_err(|error| uncovered(&error))?;
    let sql = format!("SELECT image::text FROM ({sql}) images");
    let rows = destination.client.query(&sql, &[]).await.map_err(failed)?;
    let rows: Vec<JsonObject> = rows
        .iter()
        .map(|row| row.get::<_, &str>(0).parse())
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    match output {
        Output::Json => output::print_json(&rows),
        Output::Text if rows.is_empty() => {
            anstream::eprintln!("no row was there then");
            Ok(())
        }
        Output::Text => page(&table(&rows).map_err(unreadable)?.to_string()),
    }
}

/// The destination reads a time as it reads those of `bemi changes`.
async fn instant(destination: &Connection, text: &str) -> Result<Instant, Error> {
    if let Ok(lsn) = text.parse::<Lsn>() {
        return Ok(lsn.into());
    }
    let binds: [&(dyn ToSql + Sync); 1] = [&text];
    let reading = destination
        .client
        .query_one("SELECT $1::text::timestamptz", &binds)
        .await;
    let row = reading.map_err(|error| explain(destination, &error))?;
    let time: DateTime<Utc> = row.get(0);
    Ok(time.into())
}

fn uncovered(error: &TravelError) -> Error {
    Error::configuration(error.to_string())
}

fn unreadable(_: serde_json::Error) -> Error {
    Error::new(ErrorKind::Io {
        doing: "reading a row that this version does not know",
    })
}

fn table(rows: &[JsonObject]) -> serde_json::Result<Table> {
    let rows: Vec<_> = rows
        .iter()
        .map(JsonObject::members)
        .collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(names.iter().copied().map(visible));
    for row in &rows {
        table.add_row(names.iter().map(|name| {
            let value = row.iter().find(|(own, _)| own == name);
            let value = value.map_or("", |(_, value)| value.get());
            let text = serde_json::from_str::<String>(value);
            visible(text.as_deref().unwrap_or(value)).into_owned()
        }));
    }
    Ok(table)
}
