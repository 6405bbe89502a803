//! `bemi run`.

use bytesize::ByteSize;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::output::{self, Output};
use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::replication::{Status, start};
use crate::settings::{GapPolicy, Settings};

/// What the log shows unless `RUST_LOG` says otherwise.
const LOG_FILTER: &str = "bemi_diesel=info";

#[derive(Args)]
pub(super) struct RunArgs {
    /// Make no entry of an UPDATE that changed only these columns: `column`, `table.column` or
    /// `schema.table.column`, separated by commas, with `*` for any text within a name.
    #[arg(
        long,
        value_name = "COLUMNS",
        value_delimiter = ',',
        env = "BEMI_IGNORE",
        hide_env_values = true
    )]
    ignore: Vec<String>,

    /// Make an entry also of an UPDATE that left its row as it was.
    #[arg(long, env = "BEMI_KEEP_UNCHANGED", hide_env_values = true, value_parser = FalseyValueParser::new())]
    keep_unchanged: bool,

    /// What to do when changes cannot be read any more: the slot was dropped or has lost its log, say.
    #[arg(
        long,
        value_enum,
        value_name = "POLICY",
        default_value_t,
        env = "BEMI_ON_GAP",
        hide_env_values = true
    )]
    on_gap: OnGap,

    /// Give the slot up once the source keeps as much log for it, as `50GiB`, before that fills its disk: what is not
    /// stored by then is lost, and --on-gap says how it goes on [default: never].
    #[arg(
        long,
        value_name = "SIZE",
        env = "BEMI_GIVE_UP_AT",
        hide_env_values = true
    )]
    give_up_at: Option<ByteSize>,
}

/// `--on-gap`.
#[derive(Clone, Copy, Default, ValueEnum)]
enum OnGap {
    /// Stop, with an error that says what to do.
    #[default]
    Stop,
    /// Store an entry with the operation GAP that says what is missing, and go on.
    Record,
}

pub(super) async fn run(settings: Settings, args: RunArgs, output: Output) -> Result<(), Error> {
    let mut settings = settings.with_rules(&args.ignore, args.keep_unchanged)?;
    settings.on_gap = match args.on_gap {
        OnGap::Stop => GapPolicy::Stop,
        OnGap::Record => GapPolicy::Record,
    };
    settings.give_up_at = args.give_up_at.map(|size| size.as_u64());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
    let cannot_listen = |error| {
        Error::with_source(
            ErrorKind::Io {
                doing: "listening for signals",
            },
            error,
        )
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;

    let starting = start(settings, None);
    let capture = tokio::select! {
        capture = starting => capture?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = capture.ended() => return capture.finished().await,
    }
    let status = capture.stop().await?;
    match output {
        Output::Json => output::print_json(&Summary::from(&status)),
        Output::Text => {
            anstream::eprintln!(
                "stopped after {} changes, all stored up to {}",
                status.changes,
                status.flush_lsn
            );
            Ok(())
        }
    }
}

/// What a run has done.
#[derive(Serialize)]
struct Summary {
    changes: u64,
    transactions: u64,
    flush_lsn: String,
}

impl From<&Status> for Summary {
    fn from(status: &Status) -> Self {
        let lsn: Lsn = status.flush_lsn;
        Self {
            changes: status.changes,
            transactions: status.transactions,
            flush_lsn: lsn.to_string(),
        }
    }
}
