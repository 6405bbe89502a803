//! What is missing, and the making of it.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, ToSql};

use super::source::{Publication, Server, Slot, Table};
use super::{OnGap, Report, unless_silent};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::{Settings, Tables};
use crate::sink::store::{self, Progress};

/// How long setup waits for the lock on a table: it must not queue in front of the application.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// A setup whose checks have passed.
pub(super) struct Plan<'a> {
    settings: &'a Settings,
    server: Server,
    on_gap: OnGap,
    /// The tables to track.
    tables: Vec<Table>,
    /// Tables that cannot be tracked without harm.
    untrackable: Vec<Table>,
    /// Tables that no log has.
    unlogged: Vec<String>,
    publication: Option<Publication>,
    slot: Option<Slot>,
    /// How far changes are stored already.
    stored: Option<Progress>,
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
        let (tables, untrackable) = tables
            .select(&Table::read_all(source).await?)?
            .into_iter()
            .partition(|table| table.identity().is_some());
        let mut plan = Self {
            settings,
            on_gap,
            stored: None,
            tables,
            untrackable,
            unlogged: Table::unlogged(source).await?,
            publication: Publication::read(source, &settings.publication).await?,
            slot: Slot::read(source, &settings.slot).await?,
            server,
        };
        let (source, database) = (plan.server.system_identifier, &plan.server.database);
        plan.stored = store::progress(destination, source, database).await?;
        if let Some(slot) = &plan.slot {
            slot.check_database(database)?;
        }
        let readable = plan.slot.as_ref().is_some_and(|slot| !slot.is_lost());
        if on_gap == OnGap::Refuse {
            match (&plan.slot, &plan.stored) {
                (_, Some(stored)) if stored.slot != settings.slot => {
                    let stored = stored.slot.clone();
                    return Err(Error::new(ErrorKind::OtherSlot { stored }));
                }
                (_, Some(stored)) if !readable => {
                    return Err(Error::new(ErrorKind::SlotLost {
                        slot: stored.slot.clone(),
                        stored: stored.flush_lsn,
                    }));
                }
                (_, Some(stored)) if !plan.publishes_since(stored) => {
                    let publication = settings.publication.clone();
                    return Err(Error::new(ErrorKind::PublicationLost { publication }));
                }
                (Some(slot), None) => slot.check(database)?,
                _ => {}
            }
        }
        if plan.slot.is_none() {
            plan.server.check_free_slot()?;
        }
        plan.check_ownership()?;
        Ok(plan)
    }

    /// Whether there has been one publication since the changes of `stored` were read.
    fn publishes_since(&self, stored: &Progress) -> bool {
        self.publication
            .as_ref()
            .is_some_and(|publication| publication.oid == stored.publication)
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
            .filter(|table| !(table.owned || table.is_identified() && self.is_published(table)))
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
            self.start_slot(source, report, notify).await?;
            let Some(slot) = Slot::read(source, &self.settings.slot).await? else {
                let missing = format!("the replication slot {:?}", self.settings.slot);
                return Err(Error::new(ErrorKind::NotSetUp { missing }));
            };
            let publication = &self.settings.publication;
            let Some(publication) = Publication::read(source, publication).await? else {
                let missing = format!("the publication {publication:?}");
                return Err(Error::new(ErrorKind::NotSetUp { missing }));
            };
            let behind = match self.on_gap {
                OnGap::Refuse => store::Behind::Stay,
                #[cfg(feature = "cli")]
                OnGap::Accept => store::Behind::CatchUp,
            };
            store::start(destination, &self.server, &slot, &publication, behind).await?;
            self.cover_empty(source, destination).await
        }
        .await;
        if outcome.is_err() {
            self.undo(source, destination, made_tables).await;
        }
        outcome
    }

    /// Notes of each table that is tracked from now on and has no row yet that its changes will tell all
    /// of them. Nobody was writing to it: a new slot waits for the transactions that are running, a new
    /// replica identity for those that use the table.
    async fn cover_empty(
        &self,
        source: &Connection,
        destination: &Connection,
    ) -> Result<(), Error> {
        let waited = |table: &&Table| self.slot.is_none() || !table.is_identified();
        let new = self.tables.iter().filter(|table| !self.is_published(table));
        for table in new.filter(waited) {
            let sql = format!(
                "SELECT NOT EXISTS (SELECT FROM {}), pg_current_wal_insert_lsn(), clock_timestamp()",
                table.quoted()
            );
            let query = source.client.query_one(&sql, &[]);
            let row = source.answer("looking for rows", query).await?;
            if row.get(0) {
                let lsn = Lsn::new(row.get::<_, PgLsn>(1).into());
                store::cover(destination, &self.server, table.name(), lsn, row.get(2)).await?;
            }
        }
        Ok(())
    }

    /// Gives the tables their replica identity and publishes them.
    ///
    /// The replica identity comes in the same transaction, first: a published table without one would
    /// make the application's own UPDATE and DELETE fail.
    async fn publish(&self, source: &Connection, report: &mut Report) -> Result<(), Error> {
        let name = quote_identifier(&self.settings.publication);
        let mut statements = vec![LOCK_TIMEOUT.to_owned()];
        for table in &self.tables {
            let Some(identity) = table.identity() else {
                continue;
            };
            let (identity, name) = (identity.sql(), table.full_name());
            let what = format!("replica identity {identity} on {name}");
            report.step(!table.is_identified(), what);
            if !table.is_identified() {
                let table = table.quoted();
                statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY {identity}"));
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
        // Before the tables: those with generated columns must not be published without.
        if let Some(publication) = &self.publication
            && self.server.publishes_generated_columns()
            && !publication.generated_columns
            && self.tables.iter().any(Table::stores_generated)
        {
            report.step(true, "stored generated columns published");
            statements.push(format!(
                "ALTER PUBLICATION {name} SET (publish_generated_columns = stored)"
            ));
        }
        let options = if self.server.publishes_generated_columns() {
            " WITH (publish_generated_columns = stored)"
        } else {
            ""
        };
        match (is_new, missing.is_empty()) {
            (true, true) => statements.push(format!("CREATE PUBLICATION {name}{options}")),
            (true, false) => {
                statements.push(format!(
                    "CREATE PUBLICATION {name} FOR TABLE {list}{options}"
                ));
            }
            (false, true) => {}
            (false, false) => statements.push(format!("ALTER PUBLICATION {name} ADD TABLE {list}")),
        }
        source
            .batch("publishing the tables", &statements.join("; "))
            .await
    }

    /// Makes the slot unless there is one that can be read.
    async fn start_slot(
        &self,
        source: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<(), Error> {
        let name = &self.settings.slot;
        if let Some(slot) = &self.slot
            && !slot.is_lost()
        {
            let skipped = slot.active_pid.is_none() && self.skip_unpublished(source).await?;
            let what = format!("replication slot {name:?}");
            report.step(skipped, what);
            return Ok(());
        }
        report.step(true, format!("replication slot {name:?}"));
        let binds: [&(dyn ToSql + Sync); 1] = [name];
        if self.slot.is_some() {
            let drop = "SELECT pg_drop_replication_slot($1)";
            let dropped = source.client.execute(drop, &binds).await;
            dropped.map_err(|error| source.error("dropping the lost replication slot", &error))?;
        }
        let create = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
        let creating = source.client.execute(create, &binds);
        let waiting = "the replication slot waits for the transactions that are running to end; \
                       `SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL` lists them";
        unless_silent(creating, waiting, notify)
            .await
            .map_err(|error| source.error("creating the replication slot", &error))?;
        Ok(())
    }

    /// Moves a slot past changes that cannot be read, as they were made while there was no publication
    /// (it was dropped, or made after the slot). Whether there may be any.
    async fn skip_unpublished(&self, source: &Connection) -> Result<bool, Error> {
        let Settings {
            slot, publication, ..
        } = self.settings;
        match &self.stored {
            Some(stored) if self.publishes_since(stored) => return Ok(false),
            // The gap is accepted.
            Some(_) => {}
            None => {
                let peek = "SELECT FROM pg_logical_slot_peek_binary_changes($1, NULL, 1, 'proto_version', '1', \
                            'publication_names', $2, 'messages', 'true')";
                let quoted = quote_identifier(publication);
                match source.client.query(peek, &[slot, &quoted]).await {
                    Ok(_) => return Ok(false),
                    Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
                    Err(error) => {
                        return Err(source.error("reading from the replication slot", &error));
                    }
                }
            }
        }
        let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_insert_lsn())";
        let advanced = source.client.execute(advance, &[slot]).await;
        advanced.map_err(|error| source.error("moving the replication slot", &error))?;
        Ok(true)
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
        let left_out = self
            .publication
            .iter()
            .filter(|publication| !publication.leaves_out.is_empty())
            .map(|publication| {
                let left_out = publication.leaves_out.join(", ");
                format!(
                    "the publication {:?} leaves out {left_out}: they are not captured",
                    self.settings.publication
                )
            });
        let former = self.stored.iter().map(|stored| &stored.slot);
        let former = former.filter(|slot| **slot != self.settings.slot);
        let former = former.map(|slot| {
            format!("stays, and keeps the log from now on: replication slot {slot:?}, unless you drop it")
        });
        let untrackable = self.untrackable.iter().map(|table| {
            let name = table.full_name();
            format!(
                "table {name} is not tracked: it has virtual generated columns and no primary key, so that PostgreSQL \
                 would refuse its UPDATE and DELETE; give it a primary key and run setup again"
            )
        });
        let unlogged = self.unlogged.iter().map(|name| {
            format!("table {name} is not tracked: it is unlogged, so that its rows are in no log")
        });
        keyless
            .chain(none)
            .chain(former)
            .chain(left_out)
            .chain(untrackable)
            .chain(unlogged)
    }
}
