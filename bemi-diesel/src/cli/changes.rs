//! `bemi changes`.

use chrono::SecondsFormat;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::filter::{self, FilterArgs};
use super::output::{self, Array, Output};
use super::pager::page;
use crate::Change;
use crate::error::Error;
use crate::settings::Settings;

/// How many changes people see unless they ask for more.
const DEFAULT_LIMIT: i64 = 50;

#[derive(Args)]
pub(super) struct ChangesArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Only the last N [default: 50 for people, all with --json].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    limit: Option<i64>,
}

pub(super) async fn run(
    settings: &Settings,
    args: ChangesArgs,
    output: Output,
) -> Result<(), Error> {
    list(settings, args, output, output::json, table).await
}

/// Lists changes: for programs each as the JSON that `document` gives, for people as the text that `text`
/// makes of the last of them.
pub(super) async fn list(
    settings: &Settings,
    args: ChangesArgs,
    output: Output,
    document: impl Fn(&Change) -> Result<String, Error>,
    text: impl Fn(&[Change]) -> String,
) -> Result<(), Error> {
    match output {
        Output::Json => {
            let mut array = Array::new(std::io::stdout().lock());
            filter::read(settings, args.filter, args.limit, |change| {
                array.push(&document(&change)?)
            })
            .await?;
            array.finish()
        }
        Output::Text => {
            let limit = args.limit.unwrap_or(DEFAULT_LIMIT);
            let (changes, more) = last(settings, args.filter, limit).await?;
            if changes.is_empty() {
                anstream::eprintln!("no change matches");
                return Ok(());
            }
            page(&text(&changes))?;
            if more {
                let shown = changes.len();
                anstream::eprintln!("the last {shown} of more; --limit shows others");
            }
            Ok(())
        }
    }
}

/// The last `limit` changes, and whether there are more.
async fn last(
    settings: &Settings,
    filter: FilterArgs,
    limit: i64,
) -> Result<(Vec<Change>, bool), Error> {
    let mut changes = Vec::new();
    // One more than is shown tells whether there are more.
    filter::read(settings, filter, Some(limit.saturating_add(1)), |change| {
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

fn table(changes: &[Change]) -> String {
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
        let at = change
            .committed_at
            .to_rfc3339_opts(SecondsFormat::Micros, true);
        let cells = [
            change.primary_key.as_deref().unwrap_or(""),
            &change.table,
            change.operation.as_str(),
            change.before.as_str(),
            change.after.as_str(),
            change.context.as_str(),
            &at,
        ];
        table.add_row(cells.map(output::visible));
    }
    table.to_string()
}
