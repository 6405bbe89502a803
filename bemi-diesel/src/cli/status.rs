//! `bemi status`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Table, presets};
use owo_colors::OwoColorize;
use serde::Serialize;

use super::output::{self, Output};
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::{Server, Slot};
use crate::sink::poison::Poison;
use crate::sink::store::{self, Progress};

/// The rate is measured over this time.
const SAMPLE: Duration = Duration::from_secs(1);

/// How a capture is doing, seen from outside.
#[derive(Debug, Serialize)]
struct Document {
    health: Health,
    database: String,
    slot: String,
    /// The server process that serves the capture.
    active_pid: Option<i32>,
    /// Log written by the source and not stored yet.
    lag_bytes: i64,
    /// How long the oldest log that is not stored yet has waited; 0 when everything is stored.
    lag_seconds: f64,
    /// Log that the source keeps for the slot.
    retained_bytes: i64,
    flush_lsn: String,
    last_committed_at: Option<DateTime<Utc>>,
    changes: i64,
    transactions: i64,
    changes_per_second: f64,
    /// Changes that could not be stored, of those.
    put_aside: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// A capture reads from the slot.
    Capturing,
    /// Nobody reads from the slot: the log piles up.
    NotRunning,
}

pub(super) async fn run(settings: &Settings, output: Output) -> Result<(), Error> {
    let source = Connection::open(&settings.source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let server = Server::read(&source).await?;
    let progress =
        || store::existing_progress(&destination, server.system_identifier, &server.database);
    let before = progress().await?;
    tokio::time::sleep(SAMPLE).await;
    let after = progress().await?;
    let slot = Slot::read(&source, &settings.slot).await?.ok_or_else(|| {
        let missing = format!("the replication slot {:?}", settings.slot);
        Error::new(ErrorKind::NotSetUp { missing })
    })?;
    slot.check_database(&server.database)?;
    if slot.is_lost() {
        return Err(Error::new(ErrorKind::SlotLost {
            slot: settings.slot.clone(),
            stored: after.flush_lsn,
        }));
    }
    let put_aside = Poison::count(&destination, server.system_identifier, &server.database).await?;
    let lag_seconds = lag_seconds(&source, &slot, &after).await?;
    let document = Document {
        health: if slot.active_pid.is_some() {
            Health::Capturing
        } else {
            Health::NotRunning
        },
        database: server.database.clone(),
        slot: settings.slot.clone(),
        active_pid: slot.active_pid,
        lag_bytes: slot.lag_bytes,
        lag_seconds,
        retained_bytes: slot.retained_bytes,
        flush_lsn: after.flush_lsn.to_string(),
        last_committed_at: after.last_committed_at,
        changes: after.changes,
        transactions: after.transactions,
        changes_per_second: per_second(after.changes - before.changes),
        put_aside,
    };
    match output {
        Output::Json => output::print_json(&document),
        Output::Text => print(&document),
    }
}

/// A running capture's lag is what its walsender measures; a stopped one falls behind from its last word.
async fn lag_seconds(source: &Connection, slot: &Slot, progress: &Progress) -> Result<f64, Error> {
    let Some(pid) = slot.active_pid else {
        let since = Utc::now() - progress.updated_at;
        return Ok(since.as_seconds_f64().max(0.0));
    };
    let row = source
        .client
        .query_opt(
            "SELECT extract(epoch FROM flush_lag)::float8 FROM pg_stat_replication WHERE pid = $1",
            &[&pid],
        )
        .await
        .map_err(|error| source.error("reading the lag", &error))?;
    Ok(row
        .and_then(|row| row.get::<_, Option<f64>>(0))
        .unwrap_or(0.0))
}

fn per_second(changes: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "fewer than 2^52 changes a second"
    )]
    let changes = changes as f64;
    changes / SAMPLE.as_secs_f64()
}

fn print(document: &Document) -> Result<(), Error> {
    let health = match document.health {
        Health::Capturing => format!(
            "{} (server process {})",
            "capturing".green(),
            document.active_pid.unwrap_or(0)
        ),
        Health::NotRunning => format!("{}: start it with `bemi run`", "not running".red()),
    };
    let last = document.last_committed_at.map_or_else(
        || "none yet".to_owned(),
        |at| at.to_rfc3339_opts(SecondsFormat::Micros, true),
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in [
        ("database", document.database.clone()),
        ("slot", document.slot.clone()),
        ("health", health),
        (
            "lag",
            format!(
                "{} bytes, {:.1} s",
                document.lag_bytes, document.lag_seconds
            ),
        ),
        ("log kept", format!("{} bytes", document.retained_bytes)),
        ("stored up to", document.flush_lsn.clone()),
        ("last commit", last),
        (
            "stored",
            format!(
                "{} changes in {} transactions",
                document.changes, document.transactions
            ),
        ),
        (
            "rate",
            format!("{:.0} changes/s", document.changes_per_second),
        ),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    if document.put_aside > 0 {
        let what = format!("{} that could not be stored", document.put_aside)
            .red()
            .to_string();
        table.add_row([
            "put aside",
            &format!("{what}: `bemi replay-poison --dry-run` tells why"),
        ]);
    }
    output::print_text(&table.trim_fmt())
}
