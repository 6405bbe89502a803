//! What is missing, and the making of it.

use std::pin::pin;
use std::time::Duration;

use tokio_postgres::types::{PgLsn, ToSql};

use super::source::{Publication, Server, Slot, Table};
use super::{OnGap, Report};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::{Settings, Tables};
use crate::sink::store;

/// How long setup waits for the lock on a table: it must not queue in front of the application.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// How long a wait may be without a word.
const SILENCE: Duration = Duration::from_secs(2);

/// A setup whose checks have passed.
pub(super) struct Plan<'a> {
    settings: &'a Settings,
    server: Server,
    on_gap: OnGap,
    /// The tables to track.
    tables: Vec<Table>,
    publication: Option<Publication>,
    slot: Option<Slot>,
}

impl<'a> Plan<'a> {
    pub(super) async fn make(
        source: &Connection,
        destination: &Connection,
        settings: &'a Settings,
        server: Server,
        tables: &Tables,
        on_gap: OnGap,
    ) -> Result<Self, Error> {
        let plan = Self {
            settings,
            on_gap,
            tables: tables.select(&Table::read_all(source).await?)?,
            publication: Publication::read(source, &settings.publication).await?,
            slot: Slot::read(source, &settings.slot).await?,
            server,
        };
        match &plan.slot {
            Some(slot) => slot.check(&plan.server.database)?,
            None => plan.server.check_free_slot()?,
        }
        plan.check_ownership()?;
        let (source, database) = (plan.server.system_identifier, &plan.server.database);
        let stored = store::progress(destination, source, database).await?;
        match (&plan.slot, stored) {
            (None, Some(stored)) if on_gap == OnGap::Refuse => {
                Err(Error::new(ErrorKind::SlotLost {
                    slot: settings.slot.clone(),
                    stored: stored.flush_lsn,
                }))
            }
            _ => Ok(plan),
        }
    }

    fn is_published(&self, table: &Table) -> bool {
        self.publication
            .as_ref()
            .is_some_and(|p| p.all_tables || p.tables.contains(&table.oid))
    }

    fn check_ownership(&self) -> Result<(), Error> {
        let foreign: Vec<String> = self
            .tables
            .iter()
            .filter(|table| !(table.owned || table.full_identity && self.is_published(table)))
            .map(Table::quoted)
            .collect();
        if foreign.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotOwner {
            role: self.server.role.clone(),
            tables: foreign,
        }))
    }

    /// Makes what is missing; after an error, what was made is taken back.
    pub(super) async fn carry_out(
        &self,
        source: &Connection,
        destination: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<(), Error> {
        let made_tables = store::create(destination).await?;
        report.step(made_tables, format!("table {}", store::CHANGES));
        let outcome = async {
            self.publish(source, report).await?;
            let lsn = self.start_slot(source, report, notify).await?;
            let behind = match self.on_gap {
                OnGap::Refuse => store::Behind::Stay,
                #[cfg(feature = "cli")]
                OnGap::Accept => store::Behind::CatchUp,
            };
            store::start(destination, &self.server, &self.settings.slot, lsn, behind).await
        }
        .await;
        if outcome.is_err() {
            self.undo(source, destination, made_tables).await;
        }
        outcome
    }

    /// Gives the tables their replica identity and publishes them.
    ///
    /// `REPLICA IDENTITY FULL` comes in the same transaction, first: a published table without a
    /// replica identity would make the application's own UPDATE and DELETE fail.
    async fn publish(&self, source: &Connection, report: &mut Report) -> Result<(), Error> {
        let name = quote_identifier(&self.settings.publication);
        let mut statements = vec![LOCK_TIMEOUT.to_owned()];
        for table in &self.tables {
            let what = format!("replica identity FULL on {}", table.full_name());
            report.step(!table.full_identity, what);
            if !table.full_identity {
                let table = table.quoted();
                statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL"));
            }
        }
        let is_new = self.publication.is_none();
        report.step(
            is_new,
            format!("publication {:?}", self.settings.publication),
        );
        let mut missing = Vec::new();
        for table in &self.tables {
            let published = self.is_published(table);
            report.step(!published, format!("{} published", table.full_name()));
            if !published {
                missing.push(table.quoted());
            }
        }
        let list = missing.join(", ");
        match (is_new, missing.is_empty()) {
            (true, true) => statements.push(format!("CREATE PUBLICATION {name}")),
            (true, false) => statements.push(format!("CREATE PUBLICATION {name} FOR TABLE {list}")),
            (false, true) => {}
            (false, false) => statements.push(format!("ALTER PUBLICATION {name} ADD TABLE {list}")),
        }
        source
            .batch("publishing the tables", &statements.join("; "))
            .await
    }

    /// Makes the slot unless it is there, and returns where it begins.
    async fn start_slot(
        &self,
        source: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<Lsn, Error> {
        let name = &self.settings.slot;
        report.step(self.slot.is_none(), format!("replication slot {name:?}"));
        if let Some(slot) = &self.slot {
            return Ok(slot.confirmed_flush_lsn);
        }
        let create = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')";
        let binds: [&(dyn ToSql + Sync); 1] = [name];
        let mut creating = pin!(source.client.query_one(create, &binds));
        let row = if let Ok(row) = tokio::time::timeout(SILENCE, creating.as_mut()).await {
            row
        } else {
            notify(
                "the replication slot waits for the transactions that are running to end; \
                     `SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL` lists them",
            );
            creating.await
        };
        let row = row.map_err(|error| source.error("creating the replication slot", &error))?;
        Ok(Lsn::new(row.get::<_, PgLsn>(0).into()))
    }

    /// Half a setup is worse than none: an idle slot fills the disk, an unread publication confuses.
    /// The replica identities stay: they harm nobody.
    async fn undo(&self, source: &Connection, destination: &Connection, made_tables: bool) {
        // The error that led here is the one to report, so those of the undoing are not.
        if self.slot.is_none() {
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
            let _best_effort = source.client.execute(drop, &[&self.settings.slot]).await;
        }
        if self.publication.is_none() {
            let name = quote_identifier(&self.settings.publication);
            let drop = format!("DROP PUBLICATION IF EXISTS {name}");
            let _best_effort = source.batch("dropping the publication", &drop).await;
        }
        if made_tables {
            let _best_effort = store::drop(destination).await;
        }
    }

    /// What the user should know.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let keyless = self
            .tables
            .iter()
            .filter(|table| !table.has_primary_key)
            .map(|table| {
                let name = table.full_name();
                format!("table {name} has no primary key: its changes have no primary_key either")
            });
        let none = self
            .tables
            .is_empty()
            .then(|| "there is no table to track yet: run setup again when there is".to_owned());
        keyless.chain(none)
    }
}
