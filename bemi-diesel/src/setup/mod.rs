//! Everything that has to exist before changes can be captured. Idempotent, and undone when it fails.

mod source;
mod teardown;

use tokio_postgres::types::PgLsn;

pub(crate) use source::{Publication, Server, Slot, Table};
pub(crate) use teardown::teardown;

use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::{Settings, Tables};
use crate::sink::store;

/// The key of the advisory lock that keeps two setups of one database apart: "bemi" in ASCII.
const SETUP_LOCK: i64 = 0x6265_6d69;

/// How long setup waits for the lock on a table: it must not queue in front of the application.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// What happens when the slot cannot go on where the stored changes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGap {
    /// Refuse, so that nobody overlooks it.
    Refuse,
    /// Go on from where the slot is; what lies between stays missing.
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
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.steps.iter().any(|step| step.changed)
    }
}

/// Makes whatever is missing: the tables of the destination, the replica identities, the publication,
/// the slot.
///
/// Every check comes before the first change. `REPLICA IDENTITY FULL` is set in the transaction that
/// publishes the table, before it does: a published table without a replica identity would make the
/// application's own UPDATE and DELETE fail.
pub(crate) async fn setup(
    settings: &Settings,
    tables: &Tables,
    on_gap: OnGap,
) -> Result<Report, Error> {
    let source = Connection::open(&settings.source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let server = Server::read(&source).await?;
    server.check()?;
    source
        .client
        .execute("SELECT pg_advisory_lock($1)", &[&SETUP_LOCK])
        .await
        .map_err(|error| source.error("waiting for another setup", &error))?;
    let slot = Slot::read(&source, &settings.slot).await?;
    match &slot {
        Some(slot) => slot.check(&server.database)?,
        None => server.check_free_slot()?,
    }
    let chosen = tables.select(&Table::read_all(&source).await?)?;
    let publication = Publication::read(&source, &settings.publication).await?;
    check_ownership(&server, publication.as_ref(), &chosen)?;
    let stored = store::progress(&destination, server.system_identifier, &server.database).await?;
    if let (None, Some(stored), OnGap::Refuse) = (&slot, stored, on_gap) {
        let kind = ErrorKind::SlotLost {
            slot: settings.slot.clone(),
            stored: stored.flush_lsn,
        };
        return Err(Error::new(kind));
    }

    let mut report = Report::default();
    let made_tables = store::create(&destination).await?;
    report.step(made_tables, format!("table {}", store::CHANGES));
    let published = publish(
        &source,
        settings,
        publication.as_ref(),
        &chosen,
        &mut report,
    )
    .await;
    let started = match published {
        Ok(()) => start_slot(&source, settings, slot.as_ref(), &mut report).await,
        Err(error) => Err(error),
    };
    let started = match started {
        Ok(lsn) => {
            store::start(
                &destination,
                &server,
                &settings.slot,
                lsn,
                on_gap == OnGap::Accept,
            )
            .await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = started {
        // Half a setup is worse than none: an idle slot fills the disk, an unread publication confuses.
        let undo = Undo {
            tables: made_tables,
            publication: publication.is_none(),
            slot: slot.is_none(),
        };
        undo.run(&source, &destination, settings).await;
        return Err(error);
    }
    report.notes.extend(
        chosen
            .iter()
            .filter(|table| !table.has_primary_key)
            .map(|table| {
                format!(
                    "table {} has no primary key: its changes have no primary_key either",
                    table.full_name()
                )
            }),
    );
    if chosen.is_empty() {
        report
            .notes
            .push("there is no table to track yet: run setup again when there is".to_owned());
    }
    Ok(report)
}

fn check_ownership(
    server: &Server,
    publication: Option<&Publication>,
    chosen: &[Table],
) -> Result<(), Error> {
    let is_published =
        |table: &Table| publication.is_some_and(|p| p.all_tables || p.tables.contains(&table.oid));
    let foreign: Vec<String> = chosen
        .iter()
        .filter(|table| !table.owned && !(table.full_identity && is_published(table)))
        .map(Table::quoted)
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotOwner {
        role: server.role.clone(),
        tables: foreign,
    }))
}

/// Gives the chosen tables their replica identity and publishes them, in one transaction.
async fn publish(
    source: &Connection,
    settings: &Settings,
    publication: Option<&Publication>,
    chosen: &[Table],
    report: &mut Report,
) -> Result<(), Error> {
    let name = quote_identifier(&settings.publication);
    let mut statements = vec![LOCK_TIMEOUT.to_owned()];
    for table in chosen {
        report.step(
            !table.full_identity,
            format!("replica identity FULL on {}", table.full_name()),
        );
        if !table.full_identity {
            statements.push(format!(
                "ALTER TABLE {} REPLICA IDENTITY FULL",
                table.quoted()
            ));
        }
    }
    report.step(
        publication.is_none(),
        format!("publication {:?}", settings.publication),
    );
    let missing: Vec<&Table> = chosen
        .iter()
        .filter(|table| publication.is_none_or(|p| !p.all_tables && !p.tables.contains(&table.oid)))
        .collect();
    let list = missing
        .iter()
        .map(|table| table.quoted())
        .collect::<Vec<_>>()
        .join(", ");
    match publication {
        None if missing.is_empty() => statements.push(format!("CREATE PUBLICATION {name}")),
        None => statements.push(format!("CREATE PUBLICATION {name} FOR TABLE {list}")),
        Some(_) if missing.is_empty() => {}
        Some(_) => statements.push(format!("ALTER PUBLICATION {name} ADD TABLE {list}")),
    }
    for table in chosen {
        let changed = missing.iter().any(|missing| missing.oid == table.oid);
        report.step(changed, format!("{} published", table.full_name()));
    }
    source
        .batch("publishing the tables", &statements.join("; "))
        .await
}

/// Makes the slot unless it is there, and returns where it begins.
async fn start_slot(
    source: &Connection,
    settings: &Settings,
    slot: Option<&Slot>,
    report: &mut Report,
) -> Result<Lsn, Error> {
    report.step(
        slot.is_none(),
        format!("replication slot {:?}", settings.slot),
    );
    if let Some(slot) = slot {
        return Ok(slot.confirmed_flush_lsn);
    }
    let row = source
        .client
        .query_one(
            "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')",
            &[&settings.slot],
        )
        .await
        .map_err(|error| source.error("creating the replication slot", &error))?;
    Ok(Lsn::new(row.get::<_, PgLsn>(0).into()))
}

/// What a failed setup has made and takes back. The replica identities stay: they harm nobody.
struct Undo {
    tables: bool,
    publication: bool,
    slot: bool,
}

impl Undo {
    async fn run(self, source: &Connection, destination: &Connection, settings: &Settings) {
        // The error that led here is the one to report, so those of the undoing are not.
        if self.slot {
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
            let _best_effort = source.client.execute(drop, &[&settings.slot]).await;
        }
        if self.publication {
            let drop = format!(
                "DROP PUBLICATION IF EXISTS {}",
                quote_identifier(&settings.publication)
            );
            let _best_effort = source.batch("dropping the publication", &drop).await;
        }
        if self.tables {
            let _best_effort = store::drop(destination).await;
        }
    }
}
