//! Everything that has to exist before changes can be captured. Idempotent, and undone when it fails.
//!
//! `source` and `table` read what there is, `selection` says what of it is meant, `publish` and `plan` make
//! what is missing, `reading` tells whether the slot goes on where the stored changes end, `follow` keeps to it, `teardown` takes it back.

mod follow;
mod pattern;
mod plan;
mod publish;
mod reading;
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
use reading::Reading;
pub(crate) use selection::{RowCondition, Tables};
pub(crate) use source::{Publication, Server, Slot, drop_slot};
#[cfg(feature = "cli")]
pub(crate) use teardown::teardown;

use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::settings::{GapPolicy, Settings};

/// The key of the advisory lock that keeps two setups of one database apart: "bemi" in ASCII.
const SETUP_LOCK: i64 = 0x6265_6d69;

/// How long a wait may be without a word.
const SILENCE: Duration = Duration::from_secs(2);

/// What happens when the slot cannot go on where the stored changes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGap {
    /// Refuse, so that nobody overlooks it.
    Refuse,
    /// Go on from where the slot is, unless that is a matter for a person; what lies between stays missing, which
    /// is recorded.
    Record,
    /// Go on from where the slot is, whatever the reason.
    #[cfg(feature = "cli")]
    Accept,
}

impl From<GapPolicy> for OnGap {
    fn from(policy: GapPolicy) -> Self {
        match policy {
            GapPolicy::Stop => Self::Refuse,
            GapPolicy::Record => Self::Record,
        }
    }
}

impl OnGap {
    fn allows(self, gap: &ErrorKind) -> bool {
        match self {
            Self::Refuse => false,
            Self::Record => gap.is_gap(),
            #[cfg(feature = "cli")]
            Self::Accept => true,
        }
    }
}

/// What setup or teardown did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) steps: Vec<Step>,
    /// What the user should know besides.
    pub(crate) notes: Vec<String>,
    /// Between which positions changes are missing, if that was found and accepted.
    pub(crate) gap: Option<(Lsn, Lsn)>,
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
    lock(&source, notify).await?;
    let plan = Plan::make(&source, &destination, settings, server, tables, on_gap).await?;
    let mut report = Report::default();
    plan.carry_out(&source, &destination, &mut report, notify)
        .await?;
    report.notes.extend(plan.notes());
    Ok(report)
}

/// Goes on from where the log can be read, and records what is missing: between which positions, if that is anything.
/// Nothing else changes.
pub(crate) async fn record_gap(settings: &Settings) -> Result<Option<(Lsn, Lsn)>, Error> {
    let source = Connection::open(&settings.source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let server = Server::read(&source).await?;
    server.check()?;
    let notify = |note: &str| tracing::warn!("{note}");
    lock(&source, notify).await?;
    let Some(publication) = Publication::read(&source, &settings.publication).await? else {
        let missing = format!("the publication {:?}", settings.publication);
        return Err(Error::new(ErrorKind::NotSetUp { missing }));
    };
    let known = Some(&publication);
    let reading = Reading::read(&source, &destination, settings, &server, known).await?;
    reading.check(OnGap::Record)?;
    let mut report = Report::default();
    reading.make(&source, &mut report, notify).await?;
    let starting = reading.start(&source, &destination, &server, &publication, OnGap::Record);
    starting.await
}

/// Keeps other setups of this database away, as long as the connection lives.
async fn lock(source: &Connection, notify: fn(&str)) -> Result<(), Error> {
    let binds: [&(dyn ToSql + Sync); 1] = [&SETUP_LOCK];
    let locking = source.client.execute("SELECT pg_advisory_lock($1)", &binds);
    let waiting = "another setup of this database is running: waiting for it";
    unless_silent(locking, waiting, notify)
        .await
        .map_err(|error| source.error("waiting for another setup", &error))?;
    Ok(())
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
