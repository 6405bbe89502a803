//! `bemi replay-poison`.

use clap::Args;
use serde::Serialize;

use super::output::{self, Output};
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::replication::replay::replay;
use crate::settings::Settings;
use crate::setup::Server;
use crate::sink::poison::Poison;
use crate::sink::postgres::PostgresSink;
use crate::sink::store;

#[derive(Args)]
pub(super) struct ReplayPoisonArgs {
    /// Only show what is put aside, and why.
    #[arg(long)]
    dry_run: bool,
}

/// What was stored, and what is still put aside.
#[derive(Serialize)]
struct Document {
    stored: usize,
    put_aside: Vec<Remaining>,
}

#[derive(Serialize)]
struct Remaining {
    table: String,
    operation: String,
    commit_lsn: Lsn,
    ordinal: i64,
    reason: String,
}

impl From<Poison> for Remaining {
    fn from(poison: Poison) -> Self {
        let (commit_lsn, ordinal) = poison.place;
        Self {
            table: poison.table,
            operation: poison.operation,
            commit_lsn: Lsn::from_i64(commit_lsn),
            ordinal,
            reason: poison.reason,
        }
    }
}

pub(super) async fn run(
    settings: &Settings,
    args: ReplayPoisonArgs,
    output: Output,
) -> Result<(), Error> {
    let connection = Connection::open(&settings.source).await?;
    let server = Server::read(&connection).await?;
    let destination = Connection::open(&settings.destination).await?;
    let (source, database) = (server.system_identifier, &*server.database);
    store::existing_progress(&destination, source, database).await?;
    let list = async || Poison::list(&destination, source, database).await;
    let mut stored = 0;
    if !args.dry_run {
        let endpoint = &settings.destination;
        let mut sink = PostgresSink::open(endpoint, source, database, &settings.slot).await?;
        for poison in list().await? {
            stored += usize::from(replay(&connection, &mut sink, poison.place).await?);
        }
    }
    let remaining: Vec<Remaining> = list().await?.into_iter().map(Remaining::from).collect();
    let left = remaining.len();
    let document = Document {
        stored,
        put_aside: remaining,
    };
    match output {
        Output::Json => output::print_json(&document)?,
        Output::Text => print(&document)?,
    }
    if left > 0 && !args.dry_run {
        return Err(Error::new(ErrorKind::PutAside { changes: left }));
    }
    Ok(())
}

fn print(document: &Document) -> Result<(), Error> {
    let changes = |count| if count == 1 { "change" } else { "changes" };
    for change in &document.put_aside {
        output::print_text(&format!(
            "{} #{} {} {}: {}",
            change.commit_lsn, change.ordinal, change.operation, change.table, change.reason
        ))?;
    }
    let (stored, left) = (document.stored, document.put_aside.len());
    anstream::eprintln!(
        "{stored} {} stored, {left} {} put aside",
        changes(stored),
        changes(left)
    );
    Ok(())
}
