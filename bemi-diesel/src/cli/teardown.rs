//! `bemi teardown`.

use std::io::{self, IsTerminal};

use clap::Args;

use super::output::{self, Output};
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;
use crate::setup::teardown;
use crate::sink::store;

#[derive(Args)]
pub(super) struct TeardownArgs {
    /// Keep the table `changes` and what is in it.
    #[arg(long)]
    keep_changes: bool,

    /// Do not ask on a terminal.
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(
    settings: &Settings,
    args: &TeardownArgs,
    output: Output,
) -> Result<(), Error> {
    if !args.yes && !args.keep_changes && io::stdin().is_terminal() && !confirmed()? {
        return Err(Error::configuration("nothing was removed"));
    }
    let report = teardown(settings, args.keep_changes).await?;
    output::print_report(&report, output)
}

fn confirmed() -> Result<bool, Error> {
    anstream::eprint!(
        "This drops {} with every change in it. Type yes to go on: ",
        store::CHANGES
    );
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| {
        Error::with_source(
            ErrorKind::Io {
                doing: "reading the answer",
            },
            error,
        )
    })?;
    Ok(answer.trim() == "yes")
}
