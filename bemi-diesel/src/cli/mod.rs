//! The `bemi` command: what it takes, and where each call goes.

mod as_of;
mod changes;
mod diff;
mod export;
mod filter;
mod output;
mod pager;
mod replay_poison;
mod revert;
mod run;
mod setup;
mod snapshot;
mod status;
mod teardown;

use std::process::ExitCode;

use clap::error::ErrorKind as UsageErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::output::Output;
use crate::error::Error;
use crate::settings::{DEFAULT_NAME, Settings};

/// A complete, context-aware audit trail of a PostgreSQL database.
///
/// bemi reads the write-ahead log, so it sees every change, also one made by direct SQL, and stores it
/// with the application's context in one table, `changes`.
///
/// Begin with `bemi setup`, then keep `bemi run` running, and ask with `bemi changes`.
///
/// On a terminal, long answers are coloured unless `NO_COLOR` is set, and go through `BEMI_PAGER`, `PAGER` or
/// `less`.
#[derive(Parser)]
#[command(name = "bemi", version, max_term_width = 100)]
struct Cli {
    /// Print one JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(subcommand)]
    command: Command,
}

/// Which database, and which slot and publication on it.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// The database to capture: `postgres://role:password@host:port/database`.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<String>,

    /// The database that holds the table `changes` [default: the captured one].
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "BEMI_DESTINATION_URL",
        hide_env_values = true
    )]
    destination_url: Option<String>,

    /// The replication slot.
    #[arg(long, global = true, value_name = "NAME", env = "BEMI_SLOT", hide_env_values = true, default_value = DEFAULT_NAME)]
    slot: String,

    /// The publication.
    #[arg(long, global = true, value_name = "NAME", env = "BEMI_PUBLICATION", hide_env_values = true, default_value = DEFAULT_NAME)]
    publication: String,
}

impl ConnectionArgs {
    fn settings(&self) -> Result<Settings, Error> {
        let Some(url) = &self.database_url else {
            Cli::command()
                .error(
                    UsageErrorKind::MissingRequiredArgument,
                    "no database to work on: give --database-url <URL>, or set DATABASE_URL",
                )
                .exit()
        };
        Settings::new(
            url,
            self.destination_url.as_deref(),
            &self.slot,
            &self.publication,
        )
    }
}

#[derive(Subcommand)]
enum Command {
    /// Prepare the database: the table `changes`, replica identities, publication and slot.
    ///
    /// Running it again changes nothing, and adds tables that are new; what it was asked for last holds. Each tracked table gets
    /// `REPLICA IDENTITY FULL` before it is published, so that `before` holds the whole row and the
    /// application's own UPDATE and DELETE keep working.
    ///
    /// Unlogged, temporary and foreign tables and views have no rows in the log: they are named. A row
    /// condition (--where) is the WHERE of a publication: an UPDATE that takes a row out of it is recorded
    /// as a DELETE, one that brings it in as a CREATE, and TRUNCATE always.
    ///
    /// New tables become tracked by themselves, also partitions, `CREATE TABLE AS` and those of new schemas.
    /// A superuser's setup makes an event trigger for that, which works in the transaction that makes the
    /// table and never fails it. Without one the running capture looks every 5 s, and tracks what its role
    /// owns; what is written to the table before that is not recorded. Neither are the rows that a
    /// `CREATE TABLE AS` or `SELECT INTO` itself writes.
    ///
    /// The role needs the attribute REPLICATION, ownership of the tables, and CREATE on the database
    /// and on the schema public.
    #[command(
        after_help = "Examples:\n  bemi setup\n  bemi setup --tables 'orders,billing.*'\n  \
                            bemi setup --where \"orders=state <> 'draft'\"\n  \
                            bemi setup --exclude 'sessions,public.*_cache' --destination-url postgres://audit@db2/audit"
    )]
    Setup(setup::SetupArgs),
    /// Store the rows that were there before they were tracked, as changes with the operation SNAPSHOT.
    ///
    /// Each row is stored as it is at one position of the log, to which the table is locked against writers
    /// for a moment, for which they wait 0.1 s at most; so the trail can be read from there as if the row
    /// had just been made. Run it again after it was interrupted: a table goes on behind the last key that
    /// is stored, one without primary key begins anew, and one that is done stays as it is.
    #[command(
        after_help = "Examples:\n  bemi snapshot\n  bemi snapshot --tables 'orders,sales.*' --rows-per-second 5000"
    )]
    Snapshot(snapshot::SnapshotArgs),
    /// Capture in the foreground until SIGTERM or Ctrl-C.
    ///
    /// Wants `bemi setup` to have been run. Reconnects by itself whenever a connection is lost; what
    /// was committed meanwhile is in the log and is stored then. `RUST_LOG` sets what it logs.
    #[command(
        after_help = "Examples:\n  bemi run\n  bemi run --ignore '*.updated_at,*_cached_counter'"
    )]
    Run(run::RunArgs),
    /// Tell how the capture is doing: slot, lag, last commit, rate.
    Status,
    /// List changes in the order in which they were committed; all filters must hold.
    #[command(
        after_help = "Examples:\n  bemi changes --table todos --primary-key 7\n  \
                            bemi changes --context user_id=7 --since yesterday --operation DELETE\n  \
                            bemi changes --json | jq '.[].after'"
    )]
    Changes(changes::ChangesArgs),
    /// Show what changed: old and new of each value; all filters must hold.
    #[command(
        after_help = "Examples:\n  bemi diff --table todos --primary-key 7\n  bemi diff --changed price --since yesterday"
    )]
    Diff(changes::ChangesArgs),
    /// Show rows as they were at an instant.
    ///
    /// The trail is asked, so it must cover the instant: it begins where a table was tracked while it was
    /// empty, where a snapshot of it was taken, or at a TRUNCATE. What is not covered is an error.
    #[command(
        name = "as-of",
        after_help = "Examples:\n  bemi as-of yesterday todos\n  bemi as-of '2026-01-31 12:00' sales.orders 7\n  \
                            bemi as-of 16/B374D848 todos --json"
    )]
    AsOf(as_of::AsOfArgs),
    /// Write changes to a file or to standard output, however many there are.
    ///
    /// Each has all the columns of the table `changes`. In CSV the rows and the context are JSON, an empty
    /// field is NULL, and an empty text is "".
    #[command(
        after_help = "Examples:\n  bemi export --format csv --output changes.csv --since 2026-01-01\n  \
                            bemi export --table todos | gzip > todos.jsonl.gz"
    )]
    Export(export::ExportArgs),
    /// Take changes back: a transaction, what one request did, a user's changes, a record's.
    ///
    /// First the trail is waited for, and a plan is shown: the rows to write, several changes of one row
    /// folded to one, and whatever is not as the changes left it. All of it is written in one transaction,
    /// or nothing is. The revert is in the trail like any other change, with `revert` in its context, and
    /// can be reverted.
    ///
    /// What is said adds up: `--context user_id=7 --since yesterday` are the changes that have both.
    #[command(
        after_help = "Examples:\n  bemi revert --transaction 4711 --dry-run\n  \
                            bemi revert --context request_id=0194f8a1\n  \
                            bemi revert --context user_id=7 --since '2026-01-31 12:00' --on-conflict skip\n  \
                            bemi revert --table todos --primary-key 7 --to yesterday --yes"
    )]
    Revert(Box<revert::RevertArgs>),
    /// Store the changes that were put aside, now that their cause is gone.
    ///
    /// A change that the table `changes` refuses for what it holds (a value that PostgreSQL cannot take there, a
    /// key that is too long for an index, a CHECK that somebody has added), or that bemi cannot read, does not
    /// stop the capture: it is put aside whole, in the table `_bemi_poison`, and what was committed after it is
    /// stored. `bemi status` counts such changes, and `as-of` refuses to answer for their tables.
    ///
    /// Remove the cause first: drop the CHECK or the index, or upgrade bemi where a change cannot be read. Each
    /// change then takes its own place in the trail, once, however often this is run. Those that still cannot be
    /// stored stay put aside; they are listed with the place of their commit in the log and the reason, and the
    /// exit status is 1.
    #[command(
        name = "replay-poison",
        after_help = "Examples:\n  bemi replay-poison --dry-run\n  bemi replay-poison\n  \
                            bemi replay-poison --json | jq '.put_aside[].reason'"
    )]
    ReplayPoison(replay_poison::ReplayPoisonArgs),
    /// Remove everything that setup made, and say what stays.
    ///
    /// The event trigger, the slot, the publication and bemi's tables go, with every change stored so far. Replica
    /// identities stay as setup left them, and are named with the statement that puts them back.
    Teardown(teardown::TeardownArgs),
}

/// Runs the command with the arguments of this process. Exit status: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "__internals")]
    let _failpoints = fail::FailScenario::setup();
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let settings = cli.connection.settings()?;
        match cli.command {
            Command::Setup(args) => setup::run(&settings, args, output).await,
            Command::Snapshot(args) => snapshot::run(&settings, args, output).await,
            Command::Run(args) => run::run(settings, args, output).await,
            Command::Status => status::run(&settings, output).await,
            Command::Changes(args) => changes::run(&settings, args, output).await,
            Command::Diff(args) => diff::run(&settings, args, output).await,
            Command::AsOf(args) => as_of::run(&settings, args, output).await,
            Command::Export(args) => export::run(&settings, args, output).await,
            Command::Revert(args) => revert::run(&settings, *args, output).await,
            Command::ReplayPoison(args) => replay_poison::run(&settings, args, output).await,
            Command::Teardown(args) => teardown::run(&settings, &args, output).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_enough(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
