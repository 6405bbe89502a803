//! `bemi diff`.

use chrono::{DateTime, SecondsFormat, Utc};
use owo_colors::OwoColorize;
use serde::Serialize;
use uuid::Uuid;

use super::changes::{ChangesArgs, list};
use super::output::{self, Output, visible};
use crate::error::Error;
use crate::settings::Settings;
use crate::{Change, Difference, Operation};

/// A value longer than this many characters is folded for people.
const FOLD: usize = 200;

pub(super) async fn run(
    settings: &Settings,
    args: ChangesArgs,
    output: Output,
) -> Result<(), Error> {
    let texts = |changes: &[Change]| changes.iter().map(text).collect::<Vec<_>>().join("\n");
    list(settings, args, output, document, texts).await
}

/// The change with its differences in place of the rows.
fn document(change: &Change) -> Result<String, Error> {
    #[derive(Serialize)]
    struct Differences<'a> {
        id: Uuid,
        schema: &'a str,
        table: &'a str,
        primary_key: Option<&'a str>,
        operation: &'a str,
        committed_at: DateTime<Utc>,
        diff: Vec<Difference>,
    }
    output::json(&Differences {
        id: change.id,
        schema: &change.schema,
        table: &change.table,
        primary_key: change.primary_key.as_deref(),
        operation: change.operation.as_str(),
        committed_at: change.committed_at,
        diff: change.diff(),
    })
}

/// A line for the change, and one or two for each value.
fn text(change: &Change) -> String {
    let key = change.primary_key.as_deref().unwrap_or_default();
    let at = change
        .committed_at
        .to_rfc3339_opts(SecondsFormat::Micros, true);
    let operation = change.operation.as_str();
    let title = match change.operation {
        // Of no table.
        Operation::Gap => operation.to_owned(),
        _ => format!("{operation} {}.{} {key}", change.schema, change.table),
    };
    let title = visible(title.trim_end());
    let mut lines = vec![format!("{} {}", title.bold(), at.dimmed())];
    for difference in change.diff() {
        let path = difference.path.join(".");
        let path = visible(&path);
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
        Some((end, _)) => format!("{}… ({} bytes)", visible(&value[..end]), value.len()),
        None => visible(value).into_owned(),
    }
}
