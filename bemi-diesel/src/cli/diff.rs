//! `bemi diff`.

use chrono::SecondsFormat;
use owo_colors::OwoColorize;
use serde::Serialize;

use super::changes::{ChangesArgs, DEFAULT_LIMIT, last, say_more};
use super::filter;
use super::output::{self, Output};
use crate::error::Error;
use crate::settings::Settings;
use crate::{Change, Difference};

/// A value longer than this many characters is folded for people.
const FOLD: usize = 200;

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
            }
            for change in &changes {
                output::print_text(&text(change))?;
            }
            say_more(changes.len(), more);
            Ok(())
        }
    }
}

/// An array of changes, each with its differences in place of the rows.
async fn print_json(settings: &Settings, args: ChangesArgs) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Differences<'a> {
        id: uuid::Uuid,
        schema: &'a str,
        table: &'a str,
        primary_key: Option<&'a str>,
        operation: &'a str,
        committed_at: chrono::DateTime<chrono::Utc>,
        diff: Vec<Difference>,
    }
    let mut separator = "[";
    filter::read(settings, args.filter, args.limit, |change| {
        let differences = Differences {
            id: change.id,
            schema: &change.schema,
            table: &change.table,
            primary_key: change.primary_key.as_deref(),
            operation: change.operation.as_str(),
            committed_at: change.committed_at,
            diff: change.diff(),
        };
        output::print_text(&format!("{separator}{}", output::json(&differences)?))?;
        separator = ",";
        Ok(())
    })
    .await?;
    output::print_text(if separator == "[" { "[]" } else { "]" })
}

/// A line for the change, and one or two for each value.
fn text(change: &Change) -> String {
    let key = change.primary_key.as_deref().unwrap_or_default();
    let at = change
        .committed_at
        .to_rfc3339_opts(SecondsFormat::Micros, true);
    let title = format!(
        "{} {}.{} {key}",
        change.operation.as_str(),
        change.schema,
        change.table
    );
    let mut lines = vec![format!("{} {}", title.trim_end().bold(), at.dimmed())];
    for difference in change.diff() {
        let path = difference.path.join(".");
        if let Some(old) = &difference.old {
            lines.push(
                format!("  - {path}: {}", folded(old.get()))
                    .red()
                    .to_string(),
            );
        }
        if let Some(new) = &difference.new {
            lines.push(
                format!("  + {path}: {}", folded(new.get()))
                    .green()
                    .to_string(),
            );
        }
    }
    lines.join("\n")
}

fn folded(value: &str) -> String {
    match value.char_indices().nth(FOLD) {
        Some((end, _)) => format!("{}… ({} bytes)", &value[..end], value.len()),
        None => value.to_owned(),
    }
}
