//! `bemi setup`.

use clap::Args;

use super::output::{self, Output};
use crate::error::Error;
use crate::settings::{Settings, Tables};
use crate::setup::{OnGap, setup};

#[derive(Args)]
pub(super) struct SetupArgs {
    /// Track these tables only, as `table` (in every schema) or `schema.table`, separated by commas.
    #[arg(
        long,
        value_name = "TABLES",
        value_delimiter = ',',
        conflicts_with = "all_tables"
    )]
    tables: Option<Vec<String>>,

    /// Track every table (the default).
    #[arg(long)]
    all_tables: bool,

    /// Leave these tables out, in the same form.
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    exclude: Vec<String>,

    /// Go on although changes were lost with a dropped slot, or lie before where the slot begins.
    #[arg(long)]
    accept_gap: bool,
}

pub(super) async fn run(settings: &Settings, args: SetupArgs, output: Output) -> Result<(), Error> {
    let tables = Tables {
        only: args.tables,
        exclude: args.exclude,
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
