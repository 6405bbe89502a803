//! `bemi export`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::filter::{self, FilterArgs};
use super::output;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;
use crate::{Change, Lsn};

/// After how many changes people see how far it is.
const STEP: u64 = 10_000;

#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// The form.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    /// Write to this file [default: standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header and a line for each change; the rows and the context are JSON.
    Csv,
    /// One array.
    Json,
    /// A JSON document on a line for each change.
    Jsonl,
}

pub(super) async fn run(settings: &Settings, args: ExportArgs) -> Result<(), Error> {
    let target: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(std::fs::File::create(path).map_err(writing)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut target = BufWriter::new(target);
    let terminal = io::stderr().is_terminal();
    let mut count = 0;
    let written = filter::read(settings, args.filter, None, |change| {
        write(&mut target, args.format, count, &change).map_err(writing)?;
        count += 1;
        if terminal && count % STEP == 0 {
            anstream::eprint!("\r{count} changes, up to {}", change.committed_at);
        }
        Ok(())
    })
    .await
    .and_then(|()| finish(&mut target, args.format, count).map_err(writing));
    if terminal && count >= STEP {
        anstream::eprintln!();
    }
    match written {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            if args.output.is_some() {
                anstream::eprintln!("{count} changes");
            }
            Ok(())
        }
    }
}

fn writing(error: io::Error) -> Error {
    Error::with_source(
        ErrorKind::Io {
            doing: "writing the export",
        },
        error,
    )
}

fn is_broken_pipe(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

const COLUMNS: &str = "id,source,database,schema,table,primary_key,previous_key,operation,before,after,context,\
                       committed_at,transaction_id,position,commit_lsn,ordinal";

fn write(target: &mut impl Write, format: Format, count: u64, change: &Change) -> io::Result<()> {
    match format {
        Format::Jsonl => writeln!(
            target,
            "{}",
            output::json(change).map_err(io::Error::other)?
        ),
        Format::Json => {
            let separator = if count == 0 { '[' } else { ',' };
            let json = output::json(change).map_err(io::Error::other)?;
            writeln!(target, "{separator}{json}")
        }
        Format::Csv => {
            if count == 0 {
                writeln!(target, "{COLUMNS}")?;
            }
            let lsn = |lsn: Lsn| lsn.to_string();
            let fields = [
                change.id.to_string(),
                change.source.to_string(),
                change.database.to_string(),
                change.schema.to_string(),
                change.table.to_string(),
                change.primary_key.clone().unwrap_or_default(),
                change.previous_key.clone().unwrap_or_default(),
                change.operation.as_str().to_owned(),
                change.before.as_str().to_owned(),
                change.after.as_str().to_owned(),
                change.context.as_str().to_owned(),
                change.committed_at.to_rfc3339(),
                change.transaction_id.to_string(),
                lsn(change.position),
                lsn(change.commit_lsn),
                change.ordinal.to_string(),
            ];
            writeln!(target, "{}", fields.map(|field| quoted(&field)).join(","))
        }
    }
}

fn finish(target: &mut impl Write, format: Format, count: u64) -> io::Result<()> {
    match (format, count) {
        (Format::Json, 0) => writeln!(target, "[]")?,
        (Format::Json, _) => writeln!(target, "]")?,
        (Format::Csv, 0) => writeln!(target, "{COLUMNS}")?,
        _ => {}
    }
    target.flush()
}

/// A field as [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180) writes it.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
