//! `bemi revert`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::PgLsn;
use uuid::Uuid;

use super::filter::parse_member;
use super::output::{self, Output};
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::revert::{
    self, Conflict, Failure, OnConflict, Plan, PlannedRow, Refusal, Resolution, Selection,
};
use crate::settings::Settings;
use crate::setup::Slot;
use crate::sink::store;
use crate::{Context, JsonObject, Lsn, Xid};

/// How often the progress is looked at while it is waited for.
const GLANCE: Duration = Duration::from_millis(200);

/// A wait shorter than this goes without a word.
const SILENCE: Duration = Duration::from_secs(2);

/// A capture stores a position that no change belongs to after half a minute, but after a second where it
/// has moved by 64 KiB.
const NUDGE: &str = "SELECT pg_catalog.pg_logical_emit_message(true, '_bemi_heartbeat', pg_catalog.repeat('-', 66000))";

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true)
    .args(["transaction", "change", "context", "table", "since", "to"]))]
pub(super) struct RevertArgs {
    /// What the transaction with this identifier did.
    #[arg(long, value_name = "XID")]
    transaction: Option<u32>,

    /// This one change.
    #[arg(long, value_name = "ID")]
    change: Option<Uuid>,

    /// What was done with this member in the context, such as a request's or a user's; the value is JSON
    /// where it parses, else a string. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_member)]
    context: Vec<(String, Value)>,

    /// What was done to this table: `table` (in every schema) or `schema.table`. Repeatable.
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,

    /// What was done to the record with this primary key; of several columns, a JSON array of texts.
    #[arg(long, value_name = "KEY", requires = "table")]
    primary_key: Option<String>,

    /// What was committed at or after this time, as PostgreSQL reads it (UTC unless it says otherwise).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// What was committed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// What was committed after this time: everything is as it was then.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    to: Option<String>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,

    /// What to do about rows that are not as the changes left them.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Policy::Abort)]
    on_conflict: Policy,

    /// How many seconds to wait until everything committed so far is in the trail.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,

    /// Do not ask on a terminal.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Revert nothing.
    Abort,
    /// Leave these rows alone, and revert the others.
    Skip,
    /// Write them all the same.
    Force,
}

impl From<Policy> for OnConflict {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Abort => Self::Abort,
            Policy::Skip => Self::Skip,
            Policy::Force => Self::Force,
        }
    }
}

/// What was, or would be, done.
#[derive(Serialize)]
struct Document<'a> {
    applied: bool,
    /// The transaction that did it, to be reverted in turn.
    transaction: Option<Xid>,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub(super) async fn run(
    settings: &Settings,
    args: RevertArgs,
    output: Output,
) -> Result<(), Error> {
    let mut source = Connection::open(&settings.source).await?;
    let mut destination = Connection::open(&settings.destination).await?;
    if !store::exists(&destination, store::CHANGES).await? {
        return Err(Error::new(ErrorKind::NotSetUp {
            missing: format!("the table {}", store::CHANGES),
        }));
    }
    wait_for_trail(
        settings,
        &source,
        &destination,
        Duration::from_secs(args.wait),
    )
    .await?;
    let policy = OnConflict::from(args.on_conflict);
    let selection = Selection {
        change: args.change,
        transaction: args.transaction.map(Xid::new),
        context: args.context.into_iter().collect::<Context>(),
        tables: args.table,
        primary_key: args.primary_key,
        since: args.since,
        until: args.until,
        to: args.to,
        ..Selection::default()
    };
    let origin = revert::origin(&mut source).await.map_err(failed)?;
    let trail = revert::load(&mut destination, &selection, &origin)
        .await
        .map_err(failed)?;
    let plan = revert::plan(&mut source, trail.clone(), policy)
        .await
        .map_err(failed)?;
    let shown = output == Output::Text;
    if shown {
        print_plan(&plan)?;
    }
    let nothing = plan.rows.is_empty();
    if args.dry_run || !plan.is_applicable() || nothing {
        if !shown {
            print_document(&plan, None, false)?;
        }
        if !plan.is_applicable() && !args.dry_run {
            return Err(in_conflict(&plan));
        }
        if shown && args.dry_run && !nothing {
            anstream::eprintln!("nothing was changed: this was a dry run");
        }
        return Ok(());
    }
    if !args.yes && io::stdin().is_terminal() && !confirmed(plan.rows.len())? {
        return Err(Error::configuration("nothing was reverted"));
    }
    let context = Context::new().with("revert", &selection);
    match revert::apply(&mut source, trail, policy, &context).await {
        Ok(reverted) if shown => {
            let number = reverted.transaction.map_or_else(String::new, |xid| {
                format!(": `bemi revert --transaction {xid}` takes it back")
            });
            anstream::eprintln!("{} reverted{number}", "✔".green());
            Ok(())
        }
        Ok(reverted) => print_document(&reverted.plan, reverted.transaction, true),
        Err(Failure::Conflicts(plan)) => {
            // They came up since the plan was made, or when it was carried out.
            if shown {
                print_plan(&plan)?;
            } else {
                print_document(&plan, None, false)?;
            }
            Err(in_conflict(&plan))
        }
        Err(failure) => Err(failed(failure)),
    }
}

/// Waits until everything that is committed by now is in the trail.
async fn wait_for_trail(
    settings: &Settings,
    source: &Connection,
    destination: &Connection,
    patience: Duration,
) -> Result<(), Error> {
    let query = source.client.query_one(
        "SELECT pg_current_wal_insert_lsn(), (SELECT system_identifier FROM pg_control_system()), current_database()::text",
        &[],
    );
    let row = source.answer("reading the end of the log", query).await?;
    let end = Lsn::new(row.get::<_, PgLsn>(0).into());
    let (identifier, database): (i64, String) = (row.get(1), row.get(2));
    let started = Instant::now();
    let (mut nudged, mut told) = (false, false);
    loop {
        let progress = store::existing_progress(destination, identifier, &database).await?;
        if progress.flush_lsn >= end {
            return Ok(());
        }
        let behind = end.as_u64() - progress.flush_lsn.as_u64();
        let running = Slot::read(source, &settings.slot)
            .await?
            .is_some_and(|slot| slot.active_pid.is_some());
        if !running || started.elapsed() >= patience {
            let why = if running {
                format!(
                    "is {behind} bytes of log behind after {} s: give --wait more",
                    patience.as_secs()
                )
            } else {
                format!("is {behind} bytes of log behind, and nothing captures: start `bemi run`")
            };
            return Err(Error::configuration(format!("the trail {why}")));
        }
        if !nudged {
            nudged = true;
            // A server that does not let us has us wait for longer.
            let _refused = source.client.execute(NUDGE, &[]).await;
        }
        if !told && started.elapsed() >= SILENCE {
            told = true;
            output::print_note(&format!(
                "waiting for the trail, which is {behind} bytes of log behind"
            ));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

fn failed(failure: Failure<Error>) -> Error {
    match failure {
        Failure::Client(error) => explain(error),
        Failure::Conflicts(plan) => in_conflict(&plan),
        Failure::Refused(refusal @ (Refusal::Unspecified | Refusal::Ambiguous)) => {
            let error = revert::RevertError::from(refusal);
            Error::configuration(format!("{error} (--since, --until)"))
        }
        Failure::Refused(refusal) => {
            Error::configuration(revert::RevertError::from(refusal).to_string())
        }
    }
}

/// A time that PostgreSQL cannot read is the user's mistake.
fn explain(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Server { error, .. }
            if matches!(&*error.sqlstate, "22007" | "22008" | "22009") =>
        {
            Error::configuration(
                "cannot read the time given with --since, --until or --to: write it like 2026-01-31 or 2026-01-31T12:00:00Z",
            )
        }
        _ => error,
    }
}

fn in_conflict(plan: &Plan) -> Error {
    Error::configuration(format!(
        "nothing was reverted: {}. --on-conflict skip leaves these rows alone, force writes them where that can be",
        revert::Summary(plan)
    ))
}

fn confirmed(rows: usize) -> Result<bool, Error> {
    anstream::eprint!("This writes {}. Type yes to go on: ", counted(rows));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| {
        let doing = "reading the answer";
        Error::with_source(ErrorKind::Io { doing }, error)
    })?;
    Ok(answer.trim() == "yes")
}

fn counted(rows: usize) -> String {
    format!("{rows} {}", if rows == 1 { "row" } else { "rows" })
}

fn print_document(plan: &Plan, transaction: Option<Xid>, applied: bool) -> Result<(), Error> {
    output::print_json(&Document {
        applied,
        transaction,
        plan,
    })
}

fn print_plan(plan: &Plan) -> Result<(), Error> {
    if plan.changes == 0 {
        anstream::eprintln!("no change matches");
        return Ok(());
    }
    if !plan.rows.is_empty() {
        let mut table = new_table(["action", "table", "primary_key", "what becomes of it"]);
        for row in &plan.rows {
            let key = row.primary_key.as_deref().unwrap_or_default();
            table.add_row([&row.action.to_string(), &row.table, key, &difference(row)]);
        }
        output::print_text(&table.to_string())?;
    }
    if !plan.conflicts.is_empty() {
        let mut table = new_table(["conflict", "table", "primary_key", "what becomes of it"]);
        for conflict in &plan.conflicts {
            let Conflict {
                table: name,
                primary_key,
                kind,
                ..
            } = conflict;
            let resolution = match conflict.resolution {
                Resolution::Abort => "nothing is reverted",
                Resolution::Skip => "it is left alone",
                Resolution::Force => "it is written all the same",
            };
            let key = primary_key.as_deref().unwrap_or_default();
            table.add_row([&kind.to_string(), name, key, resolution]);
        }
        output::print_text(&table.to_string())?;
    }
    let unchanged = match plan.unchanged {
        0 => String::new(),
        rows => format!("; {} already as before", counted(rows)),
    };
    anstream::eprintln!(
        "{} {}: {} to write{unchanged}",
        plan.changes,
        if plan.changes == 1 {
            "change"
        } else {
            "changes"
        },
        counted(plan.rows.len())
    );
    Ok(())
}

fn new_table(header: [&str; 4]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// The columns that are written, one a line: the value now, and the value then.
fn difference(row: &PlannedRow) -> String {
    // Objects of ours are ones.
    let members = |object: &JsonObject| object.members().unwrap_or_default();
    let (before, after) = (members(&row.before), members(&row.after));
    let names: BTreeSet<&String> = before.iter().chain(&after).map(|(name, _)| name).collect();
    let find = |members: &[(String, Box<serde_json::value::RawValue>)], name: &str| {
        let member = members.iter().find(|(other, _)| other == name);
        member.map(|(_, value)| value.get().to_owned())
    };
    let lines =
        names
            .into_iter()
            .filter_map(|name| match (find(&before, name), find(&after, name)) {
                (before, after) if before == after => None,
                (Some(before), Some(after)) => {
                    Some(format!("{name}: {} → {}", before.red(), after.green()))
                }
                (None, Some(after)) => Some(format!("+ {name}: {}", after.green())),
                (Some(before), None) => Some(format!("- {name}: {}", before.red())),
                (None, None) => None,
            });
    lines.collect::<Vec<_>>().join("\n")
}
