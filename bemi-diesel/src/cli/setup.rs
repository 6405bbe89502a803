//! `bemi setup`.

use clap::Args;

use super::output::{self, Output};
use crate::error::Error;
use crate::settings::Settings;
use crate::setup::{OnGap, RowCondition, TablePattern, Tables, setup};

#[derive(Args)]
pub(super) struct SetupArgs {
    /// Track these tables only: `table` (in every schema) or `schema.table`, separated by commas, with *
    /// for any text within a name, ? for one character, and double quotes around what stands for itself.
    #[arg(long, value_name = "TABLES", conflicts_with = "all_tables")]
    tables: Vec<String>,

    /// Track every table (the default).
    #[arg(long)]
    all_tables: bool,

    /// Leave these tables out, in the same form.
    #[arg(long, value_name = "TABLES")]
    exclude: Vec<String>,

    /// Track only the rows of TABLE for which CONDITION is true, an SQL expression of its columns. May be
    /// given several times; needs PostgreSQL 15.
    #[arg(long = "where", value_name = "TABLE=CONDITION")]
    conditions: Vec<String>,

    /// Let rows of partitions pass for rows of the partitioned table [default: as it is, at first false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    publish_via_partition_root: Option<bool>,

    /// Record commands that make, alter or drop a table as changes too, with the operation DDL [default: as
    /// it is, at first false]. Takes a superuser.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ddl: Option<bool>,

    /// Go on although changes were lost with a dropped slot, or lie before where the slot begins.
    #[arg(long)]
    accept_gap: bool,
}

pub(super) async fn run(settings: &Settings, args: SetupArgs, output: Output) -> Result<(), Error> {
    let tables = Tables {
        only: (!args.tables.is_empty())
            .then(|| patterns(&args.tables))
            .transpose()?,
        exclude: patterns(&args.exclude)?,
        conditions: args
            .conditions
            .iter()
            .map(|text| condition(text))
            .collect::<Result<_, _>>()?,
        publish_via_partition_root: args.publish_via_partition_root,
        ddl: args.ddl,
    };
    let on_gap = if args.accept_gap {
        OnGap::Accept
    } else {
        OnGap::Refuse
    };
    let report = setup(settings, &tables, on_gap, output::print_note).await?;
    output::print_report(&report, output)?;
    if output == Output::Text {
        let done = if report.is_unchanged() {
            "everything was set up already"
        } else {
            "set up"
        };
        anstream::eprintln!("{done}: `bemi run` captures");
    }
    Ok(())
}

/// The patterns in lists of them.
pub(super) fn patterns(lists: &[String]) -> Result<Vec<TablePattern>, Error> {
    let mut patterns = Vec::new();
    for list in lists {
        patterns.extend(TablePattern::parse_list(list)?);
    }
    Ok(patterns)
}

fn condition(text: &str) -> Result<RowCondition, Error> {
    let (table, condition) = TablePattern::parse_assignment(text).ok_or_else(|| {
        Error::configuration("a row condition is TABLE=CONDITION, such as orders='total > 0'")
    })?;
    Ok(RowCondition { table, condition })
}
