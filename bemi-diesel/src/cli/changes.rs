//! `bemi changes`.

use chrono::SecondsFormat;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::filter::{self, FilterArgs};
use super::output::{self, Output};
use crate::Change;
use crate::error::Error;
use crate::settings::Settings;

/// How many changes people see unless they ask for more.
pub(super) const DEFAULT_LIMIT: i64 = 50;

#[derive(Args)]
pub(super) struct ChangesArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,

    /// Only the last N [default: 50 for people, all with --json].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) limit: Option<i64>,
}

pub(super) async fn run(
    settings: &Settings,
    args: ChangesArgs,
    output: Output,
) -> Result<(), Error> {
    match output {
        Output::Json => print_json(settings, args).await,
        Output::Text => {
            let limit = args.limit.unwrap_or(DEFAULT_LIMIT);
            let (changes, more) = last(settings, args.filter, limit).await?;
            if changes.is_empty() {
                anstream::eprintln!("no change matches");
                return Ok(());
            }
            print_table(&changes)?;
            say_more(changes.len(), more);
            Ok(())
        }
    }
}

/// The last `limit` changes, and whether there are more.
pub(super) async fn last(
    settings: &Settings,
    filter: FilterArgs,
    limit: i64,
) -> Result<(Vec<Change>, bool), Error> {
    let mut changes = Vec::new();
    // One more than is shown tells whether there are more.
    filter::read(settings, filter, Some(limit + 1), |change| {
        changes.push(change);
        Ok(())
    })
    .await?;
    let more = i64::try_from(changes.len()).is_ok_and(|found| found > limit);
    if more {
        changes.remove(0);
    }
    Ok((changes, more))
}

pub(super) fn say_more(shown: usize, more: bool) {
    if more {
        anstream::eprintln!("the last {shown} of more; --limit shows others");
    }
}

/// One array, written row by row: it may be larger than memory.
async fn print_json(settings: &Settings, args: ChangesArgs) -> Result<(), Error> {
    let mut separator = "[";
    filter::read(settings, args.filter, args.limit, |change| {
        output::print_text(&format!("{separator}{}", output::json(&change)?))?;
        separator = ",";
        Ok(())
    })
    .await?;
    output::print_text(if separator == "[" { "[]" } else { "]" })
}

fn print_table(changes: &[Change]) -> Result<(), Error> {
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
    for change in changes {
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
    output::print_text(&table.to_string())
}
