//! `bemi export`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueEnum};

use super::filter::{self, FilterArgs};
use super::output::{self, Array, Output};
use crate::Change;
use crate::error::Error;
use crate::settings::Settings;

/// After how many changes people see how far it is.
const STEP: u64 = 10_000;

#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// The form [default: jsonl, or json with --json].
    #[arg(long, value_enum)]
    format: Option<Format>,

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

pub(super) async fn run(
    settings: &Settings,
    args: ExportArgs,
    output: Output,
) -> Result<(), Error> {
    let format = args.format.unwrap_or(match output {
        Output::Json => Format::Json,
        Output::Text => Format::Jsonl,
    });
    let path = args.output.as_deref();
    let mut progress = Progress::new(path.is_some() || !io::stdout().is_terminal());
    let mut writer = None;
    let read = filter::read(settings, args.filter, None, |change| {
        // Not before: an export that cannot begin leaves an earlier one alone.
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(Writer::begin(format, path)?),
        };
        writer.write(&change)?;
        progress.advance(&change);
        Ok(())
    });
    let read = read.await;
    progress.end();
    read?;
    let writer = match writer {
        Some(writer) => writer,
        None => Writer::begin(format, path)?,
    };
    writer.finish()?;
    if path.is_some() {
        let changes = if progress.count == 1 {
            "change"
        } else {
            "changes"
        };
        anstream::eprintln!("{} {changes}", progress.count);
    }
    Ok(())
}

/// How far it is, for people who look on.
struct Progress {
    shown: bool,
    count: u64,
}

impl Progress {
    /// `apart` tells whether the changes themselves go elsewhere than to the terminal.
    fn new(apart: bool) -> Self {
        Self {
            shown: apart && io::stderr().is_terminal(),
            count: 0,
        }
    }

    fn advance(&mut self, change: &Change) {
        self.count += 1;
        if self.shown && self.count.is_multiple_of(STEP) {
            anstream::eprint!(
                "\r{} changes, up to {}",
                self.count,
                time(change.committed_at)
            );
        }
    }

    fn end(&self) {
        if self.shown && self.count >= STEP {
            anstream::eprintln!();
        }
    }
}

type Target = Box<dyn Write>;

enum Writer {
    Csv(BufWriter<Target>),
    Json(Array<Target>),
    Jsonl(BufWriter<Target>),
}

impl Writer {
    fn begin(format: Format, path: Option<&Path>) -> Result<Self, Error> {
        let target: Target = match path {
            Some(path) => Box::new(File::create(path).map_err(|error| {
                Error::configuration(format!("cannot write {}: {error}", path.display()))
            })?),
            None => Box::new(io::stdout().lock()),
        };
        Ok(match format {
            Format::Csv => {
                let mut target = BufWriter::new(target);
                writeln!(target, "{COLUMNS}").map_err(output::writing)?;
                Self::Csv(target)
            }
            Format::Json => Self::Json(Array::new(target)),
            Format::Jsonl => Self::Jsonl(BufWriter::new(target)),
        })
    }

    fn write(&mut self, change: &Change) -> Result<(), Error> {
        match self {
            Self::Csv(target) => writeln!(target, "{}", line(change)).map_err(output::writing),
            Self::Json(array) => array.push(&output::json(change)?),
            Self::Jsonl(target) => {
                writeln!(target, "{}", output::json(change)?).map_err(output::writing)
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self {
            Self::Csv(mut target) | Self::Jsonl(mut target) => {
                target.flush().map_err(output::writing)
            }
            Self::Json(array) => array.finish(),
        }
    }
}

const COLUMNS: &str = "id,source,database,schema,table,primary_key,previous_key,operation,before,after,context,\
                       committed_at,queued_at,created_at,transaction_id,position,commit_lsn,ordinal";

fn line(change: &Change) -> String {
    let text = |text: &str| Some(text.to_owned());
    let fields = [
        Some(change.id.to_string()),
        Some(change.source.to_string()),
        text(&change.database),
        text(&change.schema),
        text(&change.table),
        change.primary_key.clone(),
        change.previous_key.clone(),
        text(change.operation.as_str()),
        text(change.before.as_str()),
        text(change.after.as_str()),
        text(change.context.as_str()),
        Some(time(change.committed_at)),
        Some(time(change.queued_at)),
        change.created_at.map(time),
        Some(change.transaction_id.to_string()),
        Some(change.position.as_u64().to_string()),
        Some(change.commit_lsn.as_u64().to_string()),
        Some(change.ordinal.to_string()),
    ];
    fields
        .map(|value| value.as_deref().map_or_else(String::new, field))
        .join(",")
}

/// As in JSON.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A field as [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180) writes it.
fn field(value: &str) -> String {
    if value.is_empty() || value.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
