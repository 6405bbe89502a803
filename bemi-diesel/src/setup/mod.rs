//! Everything that has to exist before changes can be captured. Idempotent, and undone when it fails.
//!
//! `source` and `table` read what there is, `selection` says what of it is meant, `publish` and `plan` make
//! what is missing, `follow` keeps to it, `teardown` takes it back.

mod follow;
mod pattern;
mod plan;
mod publish;
mod selection;
mod source;
mod table;
#[cfg(feature = "cli")]
mod teardown;

use std::pin::pin;
use std::time::Duration;

use tokio_postgres::types::ToSql;

pub(crate) use follow::{SWEEP_INTERVAL, Swept, sweep, tell_partitions};
pub(crate) use pattern::TablePattern;
use plan::Plan;
pub(crate) use selection::{RowCondition, Tables};
pub(crate) use source::{Publication, Server, Slot};
#[cfg(feature = "cli")]
pub(crate) use teardown::teardown;

use crate::error::Error;
use crate::postgres::Connection;
use crate::settings::Settings;

/// The key of the advisory lock that keeps two setups of one database apart: "bemi" in ASCII.
const SETUP_LOCK: i64 = 0x6265_6d69;

/// How long a wait may be without a word.
const SILENCE: Duration = Duration::from_secs(2);

/// What happens when the slot cannot go on where the stored changes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGap {
    /// Refuse, so that nobody overlooks it.
    Refuse,
    /// Go on from where the slot is; what lies between stays missing.
    #[cfg(feature = "cli")]
    Accept,
}

/// What setup or teardown did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) steps: Vec<Step>,
    /// What the user should know besides.
    pub(crate) notes: Vec<String>,
}

/// One thing that was done, or that was so already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) what: String,
    pub(crate) changed: bool,
}

impl Report {
    fn step(&mut self, changed: bool, what: impl Into<String>) {
        self.steps.push(Step {
            what: what.into(),
            changed,
        });
    }

    /// Whether everything was so already.
    #[cfg(feature = "cli")]
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.steps.iter().any(|step| step.changed)
    }
}

/// Makes whatever is missing: the tables of the destination, the replica identities, the publication,
/// the slot. Every check comes before the first change.
///
/// `notify` is told what a long wait is for.
pub(crate) async fn setup(
    settings: &Settings,
    tables: &Tables,
    on_gap: OnGap,
    notify: fn(&str),
) -> Result<Report, Error> {
    let source = Connection::open(&settings.source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let server = Server::read(&source).await?;
    server.check()?;
    let binds: [&(dyn ToSql + Sync); 1] = [&SETUP_LOCK];
    let locking = source.client.execute("SELECT pg_advisory_lock($1)", &binds);
    unless_silent(
        locking,
        "another setup of this database is running: waiting for it",
        notify,
    )
    .await
    .map_err(|error| source.error("waiting for another setup", &error))?;
    let plan = Plan::make(&source, &destination, settings, server, tables, on_gap).await?;
    let mut report = Report::default();
    plan.carry_out(&source, &destination, &mut report, notify)
        .await?;
    report.notes.extend(plan.notes());
    Ok(report)
}

/// Waits for `work`, and after [`SILENCE`] says what for.
async fn unless_silent<T>(work: impl Future<Output = T>, waiting: &str, notify: fn(&str)) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(SILENCE, work.as_mut()).await {
        return done;
    }
    notify(waiting);
    work.await
}
